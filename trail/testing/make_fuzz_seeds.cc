// SPDX-License-Identifier: Apache-2.0
//
// Writes the seeds of the header, frame, log entry, eviction, note, policy, checkpoint, receipt and spool fuzzers
// under the folder given: tests/fuzz/corpus. The same bytes every time.
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/spool/record_format.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/ingest/v1/ingest.pb.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/eviction.h"
#include "nodetrail/trail/leaf.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/note.h"
#include "nodetrail/trail/receipt.h"

namespace nodetrail::trail {
namespace {

constexpr std::string_view kIdentityPem =
#include "trail/testing/fuzz_ca.inc"
    ;

Ed25519Key Key(char fill) { return *Ed25519Key::FromSeed(std::string(32, fill)); }

std::string Body() {
  event::v1::EventBatch batch;
  batch.set_schema_version(1);
  event::v1::Event event;
  event.set_seq(1);
  event.set_kind(event::v1::KIND_FILE_CREATE);
  event.mutable_file()->mutable_path()->set_path("/tmp/example");
  batch.add_events(event.SerializeAsString());
  return batch.SerializeAsString();
}

v1::BatchHeader Header(uint64_t seq, v1::BatchType type) {
  const std::string body = *CompressBody(Body());
  v1::BatchHeader h;
  h.set_format_version(1);
  h.set_type(type);
  h.set_sig_alg(v1::SIG_ALG_ED25519);
  h.set_body_codec(v1::BODY_CODEC_ZSTD);
  h.set_assurance(v1::ASSURANCE_SOFTWARE);
  h.set_tenant("acme");
  h.set_agent_id("web-1");
  h.set_boot_id("11111111-2222-3333-4444-555555555555");
  h.set_epoch(7);
  h.set_seq(seq);
  h.set_prev_hash(std::string(32, '\0'));
  h.set_signer_key(Bytes(Key('k').public_key()));
  if (type != v1::BATCH_TYPE_CLEAN_SHUTDOWN) h.set_next_key(Bytes(Key('n').public_key()));
  h.set_first_event_seq(1);
  h.set_last_event_seq(1);
  h.set_event_count(1);
  h.set_raw_body_len(Body().size());
  h.set_stored_body_len(body.size());
  h.set_events_root(std::string(32, 'r'));
  h.set_body_sha256(Bytes(Sha256Of(body)));
  h.set_sealed_wall_ns(1'700'000'000'000'000'000);
  h.mutable_losses()->set_ring(3);
  if (type == v1::BATCH_TYPE_EPOCH_OPEN) {
    v1::EpochStatement s;
    s.set_tenant("acme");
    s.set_agent_id("web-1");
    s.set_epoch(7);
    s.set_first_key(h.signer_key());
    s.set_boot_id(h.boot_id());
    s.set_prev_known(true);
    s.set_prev_epoch(6);
    s.set_prev_last_seq(41);
    s.set_prev_last_hash(h.prev_hash());
    h.mutable_epoch_open()->set_statement(s.SerializeAsString());
    h.mutable_epoch_open()->set_identity_cert("not a certificate");
    h.mutable_epoch_open()->set_signature("not a signature");
    h.mutable_epoch_open()->add_intermediates("one");
    h.mutable_epoch_open()->add_intermediates("two");
  }
  return h;
}

Status Write(const std::string& dir, const std::string& name, char mode, std::string_view bytes) {
  return WriteFileAtomically(dir + "/" + name, std::string(1, mode) + std::string(bytes), 0644);
}

Status Headers(const std::string& dir) {
  const std::string middle = Header(3, v1::BATCH_TYPE_EVENTS).SerializeAsString();
  const std::string open = Header(0, v1::BATCH_TYPE_EPOCH_OPEN).SerializeAsString();
  const std::string last = Header(9, v1::BATCH_TYPE_CLEAN_SHUTDOWN).SerializeAsString();
  NT_RETURN_IF_ERROR(Write(dir, "leaf-events", 0, *MakeLeaf(middle, Key('k'))));
  NT_RETURN_IF_ERROR(Write(dir, "leaf-open", 0, *MakeLeaf(open, Key('k'))));
  for (char mode = 1; mode <= 2; ++mode) {
    const std::string suffix = mode == 1 ? "-framed" : "-signed";
    NT_RETURN_IF_ERROR(Write(dir, "events" + suffix, mode, middle));
    NT_RETURN_IF_ERROR(Write(dir, "open" + suffix, mode, open));
    NT_RETURN_IF_ERROR(Write(dir, "shutdown" + suffix, mode, last));
  }
  v1::BatchHeader bare = Header(4, v1::BATCH_TYPE_HEARTBEAT);
  bare.set_body_codec(v1::BODY_CODEC_NONE);
  for (const auto clear : {&v1::BatchHeader::clear_raw_body_len, &v1::BatchHeader::clear_stored_body_len,
                           &v1::BatchHeader::clear_events_root, &v1::BatchHeader::clear_body_sha256,
                           &v1::BatchHeader::clear_event_count}) {
    (bare.*clear)();
  }
  NT_RETURN_IF_ERROR(Write(dir, "heartbeat-framed", 1, bare.SerializeAsString()));
  return Write(dir, "body", 3, *CompressBody(Body()));
}

// A frame as the harness reads it (frame_fuzzer.cc); `leaf` is a header that it signs.
std::string FrameOf(unsigned repair, const std::string& leaf, const std::string& body = "",
                    const std::string& eviction = "") {
  ingest::v1::ClientMessage message;
  message.mutable_frame()->set_leaf(leaf);
  message.mutable_frame()->set_body(body);
  message.mutable_frame()->set_eviction(eviction);
  const std::string bytes = message.SerializeAsString();
  return std::string{static_cast<char>(repair), static_cast<char>(bytes.size() & 0xffU),
                     static_cast<char>(bytes.size() >> 8U)} +
         bytes;
}

// One for each thing that a chain refuses or notes. `begin` opens epoch 7 with `open`.
Status OddFrames(const std::string& dir, const std::string& begin, const v1::BatchHeader& open) {
  const v1::BatchHeader middle = Header(1, v1::BATCH_TYPE_EVENTS);
  const auto header = [&](const std::string& name, unsigned repair, const std::function<void(v1::BatchHeader*)>& edit) {
    v1::BatchHeader h = middle;
    edit(&h);
    const std::string frames = begin + FrameOf(1 | 2 | 4, middle.SerializeAsString(), Body());
    return Write(dir, name, 0, frames + FrameOf(repair, h.SerializeAsString(), Body()));
  };
  const unsigned joined = 1 | 2 | 4;
  NT_RETURN_IF_ERROR(header("counter-down", joined, [](auto* h) { h->mutable_losses()->set_ring(1); }));
  NT_RETURN_IF_ERROR(header("clock-back", joined, [](auto* h) { h->set_last_wall_ns(0); }));
  NT_RETURN_IF_ERROR(header("equivocation", 1 | 4, [](auto* h) { h->mutable_losses()->set_map(7); }));
  NT_RETURN_IF_ERROR(header("another-agent", 1 | 4, [](auto* h) { h->set_agent_id("web-2"); }));
  NT_RETURN_IF_ERROR(header("past", 1 | 4, [](auto* h) { h->set_epoch(6); }));
  NT_RETURN_IF_ERROR(header("hole-within", 1 | 4 | 32, [](auto* h) { h->set_seq(5); }));
  NT_RETURN_IF_ERROR(header("hole-of-an-epoch", 1 | 4 | 32, [](auto* h) { h->set_epoch(9); }));
  NT_RETURN_IF_ERROR(header("broken-chain", 1 | 4, [](auto* h) { h->set_seq(2); }));
  NT_RETURN_IF_ERROR(header("p256-in-between", 1 | 4, [](auto* h) {
    h->set_seq(2);
    h->set_sig_alg(v1::SIG_ALG_ECDSA_P256_SHA256);
    h->set_signer_key(std::string(33, 2));
    h->set_next_key(std::string(33, 2));
  }));
  std::string wrong = *MakeLeaf(middle.SerializeAsString(), Key('x'));
  NT_RETURN_IF_ERROR(Write(dir, "wrong-signature", 0, begin + FrameOf(0, wrong, *CompressBody(Body()))));
  // Statements that are signed and don't hold.
  v1::EpochStatement right;
  right.set_tenant(open.tenant());
  right.set_agent_id(open.agent_id());
  right.set_epoch(open.epoch());
  right.set_first_key(open.signer_key());
  right.set_boot_id(open.boot_id());
  const auto statement = [&](const std::string& name, unsigned repair,
                             const std::function<void(v1::EpochStatement*)>& edit) {
    v1::EpochStatement s = right;
    edit(&s);
    v1::BatchHeader h = open;
    h.mutable_epoch_open()->set_statement(s.SerializeAsString());
    return Write(dir, name, 0, FrameOf(repair, h.SerializeAsString(), Body()));
  };
  const unsigned as_is = 1 | 4 | 8 | 128;
  NT_RETURN_IF_ERROR(statement("opening", as_is, [](auto*) {}));
  NT_RETURN_IF_ERROR(statement("opening-agent", as_is, [](auto* s) { s->set_agent_id("web-2"); }));
  NT_RETURN_IF_ERROR(statement("opening-epoch", as_is, [](auto* s) { s->set_epoch(8); }));
  NT_RETURN_IF_ERROR(statement("opening-key", as_is, [](auto* s) { s->set_first_key("x"); }));
  NT_RETURN_IF_ERROR(statement("opening-boot", as_is, [](auto* s) { s->set_boot_id("x"); }));
  NT_RETURN_IF_ERROR(statement("opening-unknown-epoch", as_is, [](auto* s) { s->set_prev_epoch(6); }));
  NT_RETURN_IF_ERROR(statement("opening-later-epoch", as_is, [](auto* s) {
    s->set_prev_known(true);
    s->set_prev_epoch(8);
  }));
  NT_RETURN_IF_ERROR(statement("opening-no-hash", as_is, [](auto* s) {
    s->set_prev_known(true);
    s->set_prev_epoch(6);
  }));
  NT_RETURN_IF_ERROR(statement("opening-unsigned", 1 | 4, [](auto*) {}));
  return statement("opening-hole", 1 | 2 | 4 | 8 | 32, [](auto* s) {
    s->set_prev_known(true);
    s->set_prev_epoch(6);
    s->set_prev_last_seq(41);
    s->set_prev_last_hash(std::string(32, 'h'));
  });
}

// Records that are no body of theirs.
Status OddBodies(const std::string& dir, const std::string& begin) {
  event::v1::EventBatch batch;
  (void)batch.ParseFromString(Body());
  const std::string middle = Header(1, v1::BATCH_TYPE_EVENTS).SerializeAsString();
  const auto body = [&](const std::string& name, const event::v1::EventBatch& odd) {
    return Write(dir, name, 0, begin + FrameOf(1 | 2 | 4, middle, odd.SerializeAsString()));
  };
  event::v1::EventBatch odd = batch;
  odd.set_schema_version(9);
  NT_RETURN_IF_ERROR(body("body-schema", odd));
  odd = batch;
  odd.add_events("\xff");
  NT_RETURN_IF_ERROR(body("body-no-event", odd));
  event::v1::Absent absent;
  absent.set_first_seq(2);
  absent.set_last_seq(2);
  odd = batch;
  odd.add_absent(absent.SerializeAsString());
  odd.set_host("host");
  odd.add_processes("process");
  NT_RETURN_IF_ERROR(body("body-absent", odd));
  odd.set_absent(0, "\xff");
  NT_RETURN_IF_ERROR(body("body-no-absent", odd));
  return Write(dir, "body-no-records", 0, begin + FrameOf(1 | 2 | 4, middle, "\xff\xff"));
}

Status Frames(const std::string& dir) {
  v1::BatchHeader open = Header(0, v1::BATCH_TYPE_EPOCH_OPEN);
  v1::EpochStatement first;
  open.mutable_epoch_open()->set_statement(first.SerializeAsString());
  open.mutable_epoch_open()->clear_intermediates();
  first.set_prev_known(true);
  v1::BatchHeader reopen = open;
  reopen.mutable_epoch_open()->set_statement(first.SerializeAsString());
  const std::string begin = FrameOf(1 | 2 | 4 | 8, open.SerializeAsString(), Body());
  const std::string middle = Header(1, v1::BATCH_TYPE_EVENTS).SerializeAsString();
  const std::string next = FrameOf(1 | 2 | 4, middle, Body());
  const std::string last = FrameOf(1 | 2 | 4, Header(9, v1::BATCH_TYPE_CLEAN_SHUTDOWN).SerializeAsString(), Body());
  const std::string again = FrameOf(1 | 2 | 4 | 8, reopen.SerializeAsString(), Body());
  NT_RETURN_IF_ERROR(Write(dir, "chain", 0, begin + next + next + last + again + next));
  NT_RETURN_IF_ERROR(Write(dir, "unclean", 2, begin + next + next + next + again));
  NT_RETURN_IF_ERROR(Write(dir, "evicted", 0, begin + FrameOf(1 | 2 | 4 | 16, middle, Body())));
  NT_RETURN_IF_ERROR(Write(dir, "hole", 0, begin + FrameOf(1 | 4 | 32, middle, Body())));
  NT_RETURN_IF_ERROR(Write(dir, "ahead", 0, begin + FrameOf(1 | 4, middle, Body())));
  NT_RETURN_IF_ERROR(Write(dir, "after-the-end", 0, begin + last + next));
  NT_RETURN_IF_ERROR(Write(dir, "another-algorithm", 1, begin));
  NT_RETURN_IF_ERROR(Write(dir, "wrong-body", 0, begin + FrameOf(1 | 2, middle, "not the body")));
  NT_RETURN_IF_ERROR(Write(
      dir, "trusted", 0, FrameOf(1 | 2 | 4 | 8 | 64, open.SerializeAsString(), Body()) + FrameOf(1 | 2 | 64, middle)));
  NT_RETURN_IF_ERROR(Write(dir, "revoked", 4, begin + next + next));
  NT_RETURN_IF_ERROR(OddFrames(dir, begin, open));
  NT_RETURN_IF_ERROR(OddBodies(dir, begin));
  return Write(dir, "as-it-comes", 0, FrameOf(0, *MakeLeaf(middle, Key('k')), *CompressBody(Body())));
}

Status Notes(const std::string& dir) {
  const Ed25519Key key = Key('n');
  const std::string name = "trail.example.org/acme";
  const Checkpoint checkpoint{name, 42, Sha256Of("root"), {}};
  const Checkpoint extended{name, 43, Sha256Of("root"), {"an extension line"}};
  NT_RETURN_IF_ERROR(Write(dir, "checkpoint", 0, *SignCheckpoint(checkpoint, key)));
  NT_RETURN_IF_ERROR(
      Write(dir, "cosigned", 0, *CosignNote(*SignCheckpoint(extended, key), "witness.example.org", Key('w'))));
  NT_RETURN_IF_ERROR(Write(dir, "text", 1, *CheckpointBody(checkpoint)));
  NT_RETURN_IF_ERROR(Write(dir, "utf8", 1,
                           "pr\xc3\xbc"
                           "fung \xe2\x82\xac \xf0\x9f\x94\x91\n"));
  NT_RETURN_IF_ERROR(Write(dir, "body", 2, *CheckpointBody(extended)));
  return Write(dir, "vkey", 3, NoteVerifier::Make(name, key.public_key())->ToString());
}

// One for each thing that makes an entry illegal.
Status OddEntries(const std::string& dir, const std::vector<v1::LogEntry>& legal) {
  std::vector<v1::LogEntry> odd;
  const auto add = [&](size_t kind) -> v1::LogEntry& { return odd.emplace_back(legal[kind]); };
  add(0).set_format_version(2);
  add(0).set_tenant("a/b");
  add(0).mutable_enrol()->set_identity_spki_sha256("short");
  add(0).mutable_enrol()->set_token_id("\x7f");
  add(1).mutable_revoke()->set_agent_id("a/b");
  add(1).mutable_revoke()->clear_epoch();
  add(2).mutable_access()->clear_reader();
  add(2).mutable_access()->set_question_hmac("short");
  add(3).mutable_hold()->set_id("a/b");
  add(3).mutable_hold()->set_agents(0, "a/b");
  add(3).mutable_hold()->set_since_wall_ns(3);
  add(3).mutable_hold()->clear_by();
  add(4).mutable_release()->set_id("a/b");
  add(4).mutable_release()->clear_confirmed_by();
  add(5).mutable_retire()->set_policy("a/b");
  add(5).mutable_retire()->clear_body_sha256();
  add(5).mutable_retire()->set_leaves(1, 0);
  add(5).mutable_retire()->set_leaves(1, 1ULL << 53U);
  for (size_t i = 0; i < odd.size(); ++i) {
    NT_RETURN_IF_ERROR(Write(dir, "odd-" + std::to_string(i), 1, odd[i].SerializeAsString()));
  }
  const std::string enrol = legal[0].SerializeAsString();
  NT_RETURN_IF_ERROR(Write(dir, "odd-two-kinds", 1, enrol + "\x52\x02\x08\x01"));
  NT_RETURN_IF_ERROR(Write(dir, "odd-later-kind", 1, enrol + "\x5a\x01x"));
  return Write(dir, "odd-no-frame", 0, "\x12\x01x");
}

// Mode 2 holds entries, each after a byte with its length.
Status Entries(const std::string& dir) {
  v1::LogEntry enrol;
  enrol.set_format_version(1);
  enrol.set_tenant("acme");
  enrol.set_wall_ns(1'700'000'000'000'000'000);
  v1::LogEntry revoke = enrol;
  enrol.mutable_enrol()->set_agent_id("web-1");
  enrol.mutable_enrol()->set_identity_spki_sha256(std::string(32, 'k'));
  enrol.mutable_enrol()->set_token_id("t1");
  revoke.mutable_revoke()->set_agent_id("web-1");
  revoke.mutable_revoke()->set_epoch(1);
  revoke.mutable_revoke()->set_effective_seq(1);
  revoke.mutable_revoke()->set_reason("stolen");
  v1::LogEntry both = enrol;
  both.mutable_enrol()->add_sig_algs(v1::SIG_ALG_ED25519);
  both.mutable_enrol()->add_sig_algs(v1::SIG_ALG_ECDSA_P256_SHA256);
  NT_RETURN_IF_ERROR(Write(dir, "leaf-enrol", 0, *MakeLogEntry(enrol, Key('l'))));
  NT_RETURN_IF_ERROR(Write(dir, "leaf-revoke", 0, *MakeLogEntry(revoke, Key('l'))));
  NT_RETURN_IF_ERROR(Write(dir, "enrol", 1, enrol.SerializeAsString()));
  NT_RETURN_IF_ERROR(Write(dir, "algorithms", 1, both.SerializeAsString()));
  NT_RETURN_IF_ERROR(Write(dir, "revoke", 1, revoke.SerializeAsString()));
  v1::LogEntry access = enrol;
  access.mutable_access()->set_reader("spiffe://example.org/t/acme/r/ann");
  access.mutable_access()->set_certificate_sha256(std::string(32, 'c'));
  access.mutable_access()->set_method("Search");
  access.mutable_access()->set_shape("user:?");
  access.mutable_access()->set_question_hmac(std::string(32, 'q'));
  NT_RETURN_IF_ERROR(Write(dir, "leaf-access", 0, *MakeLogEntry(access, Key('l'))));
  NT_RETURN_IF_ERROR(Write(dir, "access", 1, access.SerializeAsString()));
  v1::LogEntry hold = enrol;
  hold.mutable_hold()->set_id("case-7");
  hold.mutable_hold()->add_agents("web-1");
  hold.mutable_hold()->add_agents("web-2");
  hold.mutable_hold()->set_since_wall_ns(1);
  hold.mutable_hold()->set_until_wall_ns(2);
  hold.mutable_hold()->set_reason("court");
  hold.mutable_hold()->set_by("ann");
  v1::LogEntry release = enrol;
  release.mutable_release()->set_id("case-7");
  release.mutable_release()->set_requested_by("ann");
  release.mutable_release()->set_confirmed_by("bob");
  v1::LogEntry retire = enrol;
  retire.mutable_retire()->set_policy("90d");
  retire.mutable_retire()->set_max_age_ns(5);
  retire.mutable_retire()->set_not_before_ns(7);
  retire.mutable_retire()->set_holds_checked_at(3);
  retire.mutable_retire()->add_leaves(0);
  retire.mutable_retire()->add_leaves(2);
  retire.mutable_retire()->set_body_sha256(std::string(64, 'b'));
  v1::LogEntry retired = enrol;
  retired.mutable_retired()->set_retire_index(3);
  retired.mutable_retired()->set_bodies(2);
  NT_RETURN_IF_ERROR(Write(dir, "hold", 1, hold.SerializeAsString()));
  NT_RETURN_IF_ERROR(Write(dir, "release", 1, release.SerializeAsString()));
  NT_RETURN_IF_ERROR(Write(dir, "retire", 1, retire.SerializeAsString()));
  NT_RETURN_IF_ERROR(Write(dir, "retired", 1, retired.SerializeAsString()));
  std::string keeping;
  for (const v1::LogEntry& entry : {hold, enrol, access, retire, retired, release, hold}) {
    const std::string bytes = entry.SerializeAsString();
    keeping += static_cast<char>(bytes.size());
    keeping += bytes;
  }
  NT_RETURN_IF_ERROR(Write(dir, "keeping", 2, keeping));
  std::string history;
  for (const v1::LogEntry& entry : {enrol, access, revoke, both, revoke}) {
    const std::string bytes = entry.SerializeAsString();
    history += static_cast<char>(bytes.size());
    history += bytes;
  }
  NT_RETURN_IF_ERROR(Write(dir, "history", 2, history));
  // Revoked, then back with the key that the harness opens with; and with an algorithm that is not its.
  v1::LogEntry other = enrol;
  other.mutable_enrol()->set_identity_spki_sha256(Bytes(Certificate::FromPem(kIdentityPem)->SpkiSha256()));
  v1::LogEntry p256 = other;
  p256.mutable_enrol()->add_sig_algs(v1::SIG_ALG_ECDSA_P256_SHA256);
  std::string back;
  for (const v1::LogEntry& entry : {enrol, revoke, other, p256}) {
    const std::string bytes = entry.SerializeAsString();
    back += static_cast<char>(bytes.size());
    back += bytes;
  }
  NT_RETURN_IF_ERROR(Write(dir, "back", 2, back));
  v1::LogEntry elsewhere = revoke;
  elsewhere.set_tenant("umbrella");
  std::string strangers;
  for (const v1::LogEntry& entry : {enrol, elsewhere}) {
    const std::string bytes = entry.SerializeAsString();
    strangers += static_cast<char>(bytes.size());
    strangers += bytes;
  }
  NT_RETURN_IF_ERROR(Write(dir, "strangers", 2, strangers));
  return OddEntries(dir, {enrol, revoke, access, hold, release, retire});
}

// %L, %A … stand for keys of the harness (policy_fuzzer.cc).
Status Policies(const std::string& dir) {
  const std::string witnesses =
      "log %L https://log.example.org/\nwitness a %A\nwitness b %B u\nwitness c %C\nwitness d %D\n";
  NT_RETURN_IF_ERROR(Write(dir, "none", 1, "log %L\nquorum none\n"));
  NT_RETURN_IF_ERROR(Write(dir, "one", 1, "# one\nlog %L\n\twitness a %A \nquorum a\n"));
  NT_RETURN_IF_ERROR(Write(dir, "two-of-four", 1, witnesses + "group g 2 a b c d\nquorum g\n"));
  NT_RETURN_IF_ERROR(
      Write(dir, "nested", 1, witnesses + "group x any a b\ngroup y 2 c d\n\ngroup z all x y\nquorum z\n"));
  const Ed25519Key log = Key('l');
  return Write(dir, "whole", 0, "log " + NoteVerifier::Make("log", log.public_key())->ToString() + "\nquorum none\n");
}

Status Checkpoints(const std::string& dir) {
  const Checkpoint checkpoint{"log.example.org", 5, Sha256Of("root"), {}};
  const std::string note = *SignCheckpoint(checkpoint, Key('l'));
  const std::string line = *CosignCheckpoint(note, "witness.example.org", Key('w'), 1'700'000'000);
  const std::string lines = note.substr(note.rfind("\n\n") + 2) + line;
  NT_RETURN_IF_ERROR(Write(dir, "note", 0, note + line));
  NT_RETURN_IF_ERROR(Write(dir, "text", 1, *CheckpointBody(checkpoint)));
  NT_RETURN_IF_ERROR(Write(dir, "lines", 2, lines));
  NT_RETURN_IF_ERROR(Write(dir, "blob", 3, ParseNoteSignatures(line)->front().signature));
  return Write(dir, "vkey", 4, CosignerVerifier::Make("witness.example.org", Key('w').public_key())->ToString());
}

// Second byte: which leaf of how many the harness makes a receipt for.
Status Receipts(const std::string& dir) {
  std::vector<Hash> leaves;
  for (const char c : {'a', 'b', 'c'}) leaves.push_back(LeafHash(std::string(1, c)));
  const std::string note = *SignCheckpoint({"log.example.org", 3, MerkleRoot(leaves), {}}, Key('l'));
  NT_RETURN_IF_ERROR(Write(dir, "whole", 0, FormatReceipt(1, *InclusionProof(leaves, 1), note)));
  const std::string one = *SignCheckpoint({"log.example.org", 1, leaves[0], {}}, Key('l'));
  NT_RETURN_IF_ERROR(Write(dir, "alone", 0, FormatReceipt(0, {}, one)));
  NT_RETURN_IF_ERROR(Write(dir, "made", 1, std::string("\x05\x02", 2)));
  return Write(dir, "bent", 1, std::string("\x2a\x11\x07\x40", 4));
}

std::string Envelope() {
  const v1::BatchHeader h = Header(3, v1::BATCH_TYPE_EVENTS);
  v1::SignedEviction envelope;
  envelope.set_statement(EvictionStatement(h, Sha256Of("batch"), 1'700'000'100'000'000'000).SerializeAsString());
  envelope.set_signature("not a signature");
  envelope.set_identity_cert("not a certificate");
  return envelope.SerializeAsString();
}

Status Evictions(const std::string& dir) {
  NT_RETURN_IF_ERROR(Write(dir, "raw", 0, Envelope()));
  NT_RETURN_IF_ERROR(Write(dir, "cert", 5, Envelope()));
  v1::SignedEviction two;
  NT_CHECK(two.ParseFromString(Envelope()));
  two.add_intermediates("one");
  two.add_intermediates("two");
  NT_RETURN_IF_ERROR(Write(dir, "intermediates", 7, two.SerializeAsString()));
  NT_RETURN_IF_ERROR(Write(dir, "ours", 15, Envelope()));
  NT_RETURN_IF_ERROR(Write(dir, "garbage", 0, "\xff\xff\xff"));
  v1::SignedEviction odd;
  NT_CHECK(odd.ParseFromString(Envelope()));
  const std::string statement = odd.statement();
  // A field that nobody knows, one of another type, and no statement at all.
  int i = 0;
  for (const std::string& wrong : {statement + "\x7a\x01x", "\x08\x01" + statement, std::string("\xff\xff")}) {
    odd.set_statement(wrong);
    NT_RETURN_IF_ERROR(Write(dir, "odd-" + std::to_string(++i), 7, odd.SerializeAsString()));
  }
  return Write(dir, "signed", 7, Envelope());
}

Status Spool(const std::string& dir) {
  agent::SpoolSegmentHeader header;
  header.first_lsn = 1;
  header.salt.fill(0x5a);
  const std::string leaf = *MakeLeaf(Header(3, v1::BATCH_TYPE_EVENTS).SerializeAsString(), Key('k'));
  agent::SpoolHead head;
  head.ack = {true, 6, 41, Sha256Of("acked")};
  head.head = HeadOf(Header(2, v1::BATCH_TYPE_EVENTS), Sha256Of("head"));
  using agent::EncodeRecord;
  using Type = agent::SpoolRecordType;
  const std::string records = EncodeRecord(Type::kHead, 1, agent::EncodeHeadPayload(head), header.salt) +
                              EncodeRecord(Type::kBatch, 2, agent::EncodeBatchPayload(leaf, "body"), header.salt) +
                              EncodeRecord(Type::kAck, 3, agent::EncodeAckPayload(head.ack), header.salt) +
                              EncodeRecord(Type::kBatch, 4, agent::EncodeBatchPayload(leaf, ""), header.salt);
  const std::string segment = agent::EncodeSegmentHeader(header) + records;
  NT_RETURN_IF_ERROR(Write(dir, "whole", 0, segment));
  NT_RETURN_IF_ERROR(Write(dir, "whole-repaired", 7, segment));
  NT_RETURN_IF_ERROR(Write(dir, "with-free-space", 3, segment + std::string(256, '\0')));
  NT_RETURN_IF_ERROR(Write(dir, "torn", 1, segment.substr(0, segment.size() - 40)));
  NT_RETURN_IF_ERROR(Write(dir, "unreadable", 0x4f, segment));
  NT_RETURN_IF_ERROR(Write(dir, "shorter-than-said", static_cast<char>(0x87), segment));
  std::string rotten = segment;
  const std::string evicted =
      agent::EncodeSegmentHeader(header) + EncodeRecord(Type::kHead, 1, agent::EncodeHeadPayload(head), header.salt) +
      EncodeRecord(Type::kEvicted, 2, agent::EncodeEvictedPayload(9, leaf, Envelope()), header.salt,
                   agent::EvidenceClass::kBulk) +
      EncodeRecord(Type::kBatch, 3, agent::EncodeBatchPayload(leaf, "body"), header.salt, agent::EvidenceClass::kVital);
  NT_RETURN_IF_ERROR(Write(dir, "evicted", 0, evicted));
  NT_RETURN_IF_ERROR(Write(dir, "evicted-repaired", 7, evicted));
  rotten[agent::kSpoolHeaderBytes + 30] = static_cast<char>(rotten[agent::kSpoolHeaderBytes + 30] ^ 1);
  return Write(dir, "rot", 1, rotten);
}

Status Run(const std::string& root) {
  for (const char* name :
       {"/checkpoint", "/eviction", "/frame", "/header", "/log_entry", "/note", "/policy", "/receipt", "/spool"})
    NT_RETURN_IF_ERROR(MakeDirectories(root + name, 0755));
  NT_RETURN_IF_ERROR(Headers(root + "/header"));
  NT_RETURN_IF_ERROR(Frames(root + "/frame"));
  NT_RETURN_IF_ERROR(Entries(root + "/log_entry"));
  NT_RETURN_IF_ERROR(Notes(root + "/note"));
  NT_RETURN_IF_ERROR(Policies(root + "/policy"));
  NT_RETURN_IF_ERROR(Checkpoints(root + "/checkpoint"));
  NT_RETURN_IF_ERROR(Receipts(root + "/receipt"));
  NT_RETURN_IF_ERROR(Evictions(root + "/eviction"));
  return Spool(root + "/spool");
}

}  // namespace
}  // namespace nodetrail::trail

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: nt_make_fuzz_seeds tests/fuzz/corpus\n", stderr);
    return 64;
  }
  const nodetrail::Status status = nodetrail::trail::Run(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 70;
}
