// SPDX-License-Identifier: Apache-2.0
//
// nt_make_trails DIR --seed N --mutations N: good and damaged trails for two
// verifiers to agree on, and DIR/cases.tsv: name, expected exit code ("!0":
// any but 0), expected first bad batch ("-": not said), trail, authorities,
// log key, older checkpoint ("-": none). What is damaged, and where, depends
// on the seed only; keys are fresh in each run.
// nt_make_trails --verify CASES: one line for each case: exit code, first bad.
#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::trail {
namespace {

namespace fs = std::filesystem;
constexpr const char* kOrigin = "trail.example.org/acme";

void Check(const Status& status) {
  if (status.ok()) return;
  fmt::print(stderr, "nt_make_trails: {}\n", status.message());
  std::exit(1);
}
std::string Slurp(const std::string& file) {
  auto bytes = ReadFile(file, 1U << 28);
  Check(bytes.status());
  return *std::move(bytes);
}
void Spill(const std::string& file, const std::string& bytes) { std::ofstream(file, std::ios::binary) << bytes; }
void Flip(const std::string& file, size_t offset) {
  std::string bytes = Slurp(file);
  bytes.at(offset) = static_cast<char>(bytes.at(offset) ^ 0x20);
  Spill(file, bytes);
}

struct Trail {
  std::vector<SealedBatch> batches;
  uint64_t segment_bytes = 4096;
  uint64_t covered = UINT64_MAX;  // leaves under the checkpoint
  std::string note;               // instead of a right one
};

class Maker {
 public:
  explicit Maker(std::string dir) : dir_(std::move(dir)), log_key_(Ed25519Key::Generate()) {
    fs::create_directories(dir_);
    Spill(dir_ + "/ca.pem", ca_.CertPem());
    Spill(dir_ + "/stranger.pem", TestCa("stranger").CertPem());
    Spill(dir_ + "/log.key", NoteVerifier::Make(kOrigin, log_key_.public_key())->ToString());
    list_.open(dir_ + "/cases.tsv");
  }

  std::string Note(const std::vector<SealedBatch>& batches, uint64_t size) {
    CompactRange tree;
    for (const SealedBatch& batch : batches) {
      if (tree.size() < size) tree.Append(LeafHash(batch.leaf));
    }
    return *SignCheckpoint({kOrigin, tree.size(), tree.Root(), {}}, log_key_);
  }

  // Two agents; web-1 is 0 to 6 and 11 to 13 of the log, web-2 7 to 10.
  Trail Good() {
    Trail out;
    TestAgent one(ca_, "acme", "web-1");
    TestAgent two(ca_, "acme", "web-2");
    two.now_ns += 500;  // no two bodies alike
    for (int i = 0; i < 6; ++i) out.batches.push_back(one.Batch());
    out.batches.push_back(one.CleanShutdown());
    for (int i = 0; i < 4; ++i) out.batches.push_back(two.Batch());
    one.Restart();
    for (int i = 0; i < 3; ++i) out.batches.push_back(one.Batch());
    return out;
  }

  using OnDisk = std::function<void(const std::string& trail)>;
  void Case(const std::string& name, const std::string& expected, const std::string& bad, const Trail& trail,
            const OnDisk& damage = nullptr, const std::string& older = "", const std::string& ca = "ca.pem") {
    const std::string at = dir_ + "/" + name;
    Write(at, trail);
    Damaged(name, expected, bad, damage, older, ca);
  }
  // A trail that is on disk already; a copy is much faster than durable writes.
  void Copied(const std::string& from, const std::string& name, const std::string& expected, const OnDisk& damage) {
    fs::copy(dir_ + "/" + from, dir_ + "/" + name, fs::copy_options::recursive);
    Damaged(name, expected, "-", damage, "", "ca.pem");
  }
  // The same leaves, changed, under the checkpoint of before.
  void Kept(const std::string& name, const std::string& bad, const std::function<void(Trail*)>& edit) {
    Trail trail = Good();
    trail.note = Note(trail.batches, UINT64_MAX);
    edit(&trail);
    Case(name, "3", bad, trail);
  }
  // … and under a root that the stolen log key signed.
  void Signed(const std::string& name, const std::string& expected, const std::string& bad,
              const std::function<void(Trail*)>& edit) {
    Trail trail = Good();
    edit(&trail);
    Case(name, expected, bad, trail);
  }

  TestCa& ca() { return ca_; }

 private:
  void Write(const std::string& at, const Trail& trail) {
    TrailWriter::Options options;
    options.segment_bytes = trail.segment_bytes;
    auto writer = TrailWriter::Open(at, options);
    Check(writer.status());
    for (const SealedBatch& batch : trail.batches) {
      if (!batch.body.empty()) Check((*writer)->PutBody(Sha256Of(batch.body), batch.body));
      const std::string_view leaf = batch.leaf;
      Check((*writer)->AppendLeaves({&leaf, 1}));
    }
    Check((*writer)->WriteCheckpoint(trail.note.empty() ? Note(trail.batches, trail.covered) : trail.note));
  }
  void Damaged(const std::string& name, const std::string& expected, const std::string& bad, const OnDisk& damage,
               const std::string& older, const std::string& ca) {
    const std::string at = dir_ + "/" + name;
    if (damage) damage(at);
    if (!older.empty()) Spill(at + ".older", older);
    list_ << fmt::format("{}\t{}\t{}\t{}\t{}/{}\t{}/log.key\t{}\n", name, expected, bad, at, dir_, ca, dir_,
                         older.empty() ? "-" : at + ".older");
  }

  std::string dir_;
  TestCa ca_;
  Ed25519Key log_key_;
  std::ofstream list_;
};

std::string BodyFile(const SealedBatch& batch) { return "/" + BodyPath(*HashFromBytes(batch.header.body_sha256())); }

void Files(Maker* m) {
  const std::string segment = "/log/000000.leaves";
  m->Case("good", "0", "-", m->Good());
  m->Case("empty", "0", "-", Trail());
  Trail t = m->Good();
  t.covered = 10;
  m->Case("not-all-covered", "0", "-", t);
  t = m->Good();
  m->Case("body-flip", "3", "web-1:1:4", t, [&](const auto& d) { Flip(d + BodyFile(t.batches[4]), 20); });
  m->Case("body-missing", "3", "web-1:1:2", t, [&](const auto& d) { fs::remove(d + BodyFile(t.batches[2])); });
  m->Case("body-swapped", "3", "web-1:1:1", t,
          [&](const auto& d) { Spill(d + BodyFile(t.batches[1]), Slurp(d + BodyFile(t.batches[5]))); });
  m->Case("body-cut", "3", "web-2:1:0", t, [&](const auto& d) { fs::resize_file(d + BodyFile(t.batches[7]), 9); });
  m->Case("body-long", "3", "web-2:1:3", t,
          [&](const auto& d) { Spill(d + BodyFile(t.batches[10]), Slurp(d + BodyFile(t.batches[10])) + "x"); });
  m->Case("body-huge", "3", "web-2:1:3", t,
          [&](const auto& d) { fs::resize_file(d + BodyFile(t.batches[10]), 9U << 20); });
  m->Case("header-flip", "3", "web-1:1:0", t, [&](const auto& d) { Flip(d + segment, 32 + 8 + 30); });
  m->Case("record-length", "3", "web-1:1:0", t, [&](const auto& d) { Flip(d + segment, 32 + 2); });
  m->Case("record-checksum", "3", "web-1:1:0", t, [&](const auto& d) { Flip(d + segment, 32 + 5); });
  m->Case("segment-header", "3", "-", t, [&](const auto& d) { Flip(d + "/log/000001.leaves", 18); });
  m->Case("segment-magic", "3", "-", t, [&](const auto& d) { Flip(d + segment, 1); });
  m->Case("segment-lost", "3", "-", t, [&](const auto& d) { fs::remove(d + "/log/000001.leaves"); });
  m->Case("segment-first-lost", "3", "-", t, [&](const auto& d) { fs::remove(d + segment); });
  m->Case("torn-tail", "0", "-", t, [&](const auto& d) {
    std::string last = d + "/log/000000.leaves";
    for (int i = 0; fs::exists(fmt::format("{}/log/{:06}.leaves", d, i)); ++i) {
      last = fmt::format("{}/log/{:06}.leaves", d, i);
    }
    Spill(last, Slurp(last) + std::string("\x80\x00\x00\x00\x12\x34\x0a", 7));
  });
  m->Case("stale-records", "0", "-", t, [&](const auto& d) {
    const std::string whole = Slurp(d + segment);
    Spill(d + segment, whole + whole.substr(32));
  });
  m->Case("unknown-files", "0", "-", t, [&](const auto& d) { Spill(d + "/log/zero.other", "x"); });
  m->Case("wrong-ca", "3", "web-1:1:0", t, nullptr, "", "stranger.pem");
  m->Case("no-checkpoint", "3", "-", t, [&](const auto& d) { fs::remove(d + "/log/checkpoint"); });
  m->Case("checkpoint-flip", "3", "-", t, [&](const auto& d) { Flip(d + "/log/checkpoint", 30); });
  m->Case("checkpoint-foreign-line", "0", "-", t, [&](const auto& d) {
    Spill(d + "/log/checkpoint", *CosignNote(Slurp(d + "/log/checkpoint"), "witness", Ed25519Key::Generate()));
  });
  m->Case("checkpoint-twice", "3", "-", t, [&](const auto& d) {
    const std::string note = Slurp(d + "/log/checkpoint");
    Spill(d + "/log/checkpoint", note + note.substr(note.find("\n\n") + 2));
  });
  m->Case("checkpoint-other-key", "3", "-", t, [&](const auto& d) {
    Spill(d + "/log/checkpoint", *SignCheckpoint({kOrigin, 1, LeafHash("x"), {}}, Ed25519Key::Generate()));
  });
}

void Leaves(Maker* m) {
  m->Kept("removed-leaf", "web-1:1:3", [](Trail* t) { t->batches.erase(t->batches.begin() + 3); });
  m->Kept("removed-last", "-", [](Trail* t) { t->batches.pop_back(); });
  m->Kept("removed-second-agent", "-",
          [](Trail* t) { t->batches.erase(t->batches.begin() + 7, t->batches.begin() + 11); });
  m->Kept("reordered", "-", [](Trail* t) { std::swap(t->batches[2], t->batches[3]); });
  m->Kept("duplicated", "web-1:1:3", [](Trail* t) { t->batches.push_back(t->batches[3]); });
  m->Kept("header-repaired-crc", "web-1:1:2", [](Trail* t) { t->batches[2].leaf[40] ^= 1; });
  m->Kept("signature-repaired-crc", "web-1:1:5", [](Trail* t) { t->batches[5].leaf.back() ^= 1; });
  m->Signed("resigned-edit", "3", "web-1:1:5", [](Trail* t) { t->batches[5].leaf[40] ^= 1; });
  m->Signed("resigned-duplicate", "3", "web-1:1:1", [](Trail* t) { t->batches.push_back(t->batches[1]); });
  m->Signed("resigned-removal", "2", "web-1:1:3", [](Trail* t) { t->batches.erase(t->batches.begin() + 3); });
  m->Signed("resigned-reorder", "3", "web-1:1:2", [](Trail* t) { std::swap(t->batches[2], t->batches[3]); });
  m->Signed("resigned-garbage", "3", "-", [](Trail* t) { t->batches[8].leaf = std::string(100, '\x0a'); });
  Trail t = m->Good();
  const std::string older = m->Note(t.batches, UINT64_MAX);
  m->Case("older-checkpoint", "0", "-", t, nullptr, m->Note(t.batches, 5));
  Trail cut = t;
  cut.batches.pop_back();
  m->Case("truncated-and-resigned", "0", "-", cut);
  m->Case("truncated-older-checkpoint", "3", "-", cut, nullptr, older);
  m->Case("other-history", "3", "-", m->Good(), nullptr, m->Note(t.batches, 5));
}

Trail One(Maker* m, const std::function<void(TestAgent*, std::vector<SealedBatch>*)>& act) {
  Trail out;
  TestAgent agent(m->ca(), "acme", "web-1");
  out.batches.push_back(agent.Batch());
  out.batches.push_back(agent.Batch());
  act(&agent, &out.batches);
  return out;
}

void Chains(Maker* m) {
  using List = std::vector<SealedBatch>*;
  const auto one = [m](const std::string& name, const std::string& expected, const std::string& bad, const auto& act) {
    m->Case(name, expected, bad, One(m, act));
  };
  one("clean-restart", "0", "-", [](TestAgent* a, List l) {
    l->push_back(a->CleanShutdown());
    a->Restart();
    l->push_back(a->Batch());
  });
  one("unclean-restart", "2", "web-1:2:0", [](TestAgent* a, List l) {
    a->Restart();
    l->push_back(a->Batch());
  });
  one("unclean-restart-told", "1", "-", [](TestAgent* a, List l) {
    a->Restart();
    l->push_back(a->BatchOf({a->GapEvent()}));
  });
  one("spool-lost", "2", "web-1:2:0", [](TestAgent* a, List l) {
    a->Restart(false);
    l->push_back(a->BatchOf({a->GapEvent()}));
  });
  one("hole", "2", "web-1:1:2", [](TestAgent* a, List l) {
    a->Batch();
    l->push_back(a->Batch());
  });
  for (const unsigned to : {2U, 3U}) {
    one(fmt::format("hole-of-two-declared-to-{}", to), to == 3 ? "1" : "2", to == 3 ? "-" : "web-1:1:2",
        [to](TestAgent* a, List l) {
          a->Batch();
          a->Batch();
          l->push_back(a->Batch());
          a->Restart();
          l->push_back(a->BatchOf({a->GapEvent(), TestAgent::SpoolLossEvent(1, 2, static_cast<uint64_t>(to))}));
        });
  }
  one("hole-declared-in-own-epoch", "2", "web-1:1:2", [](TestAgent* a, List l) {
    a->Batch();
    l->push_back(a->BatchOf({TestAgent::SpoolLossEvent(1, 2, 2)}));
  });
  one("tail-of-epoch-missing", "2", "web-1:1:2", [](TestAgent* a, List l) {
    a->Batch();
    a->Restart();
    l->push_back(a->BatchOf({a->GapEvent()}));
  });
  one("loss-event", "1", "-", [](TestAgent* a, List l) { l->push_back(a->BatchOf({TestAgent::LossEvent(9)})); });
  one("loss-counter", "1", "-",
      [](TestAgent* a, List l) { l->push_back(a->Batch(1, [](auto* h) { h->mutable_losses()->set_probe(3); })); });
  one("counter-limited-only", "0", "-",
      [](TestAgent* a, List l) { l->push_back(a->Batch(1, [](auto* h) { h->mutable_losses()->set_limited(3); })); });
  one("counter-down", "3", "web-1:1:3", [](TestAgent* a, List l) {
    l->push_back(a->Batch(1, [](auto* h) { h->mutable_losses()->set_map(3); }));
    l->push_back(a->Batch(1, [](auto* h) { h->mutable_losses()->set_map(2); }));
  });
  one("equivocation", "3", "web-1:1:2", [](TestAgent* a, List l) {
    l->push_back(a->Batch());
    SealedBatch forged = l->back();
    forged.header.set_last_wall_ns(7);
    forged.leaf = a->Forge(forged.header);
    l->push_back(forged);
  });
  one("after-shutdown", "3", "web-1:1:3", [](TestAgent* a, List l) {
    l->push_back(a->CleanShutdown());
    l->push_back(a->Batch());
  });
  const auto edit = [&one](const std::string& name, const std::function<void(v1::BatchHeader*)>& change,
                           const std::string& expected = "3", const std::string& bad = "web-1:1:2") {
    one(name, expected, bad, [&change](TestAgent* a, List l) { l->push_back(a->Batch(2, change)); });
  };
  edit("wrong-algorithm", [](auto* h) { h->set_sig_alg(v1::SIG_ALG_ECDSA_P256_SHA256); });
  edit("prev-hash", [](auto* h) { h->set_prev_hash(std::string(32, 'x')); });
  edit("signer-key-small-order", [](auto* h) { h->set_signer_key(std::string(1, '\1') + std::string(31, '\0')); });
  edit("boot-changes", [](auto* h) { h->set_boot_id("another"); });
  edit("other-format", [](auto* h) { h->set_format_version(2); });
  edit("event-numbers-skip", [](auto* h) { h->set_first_event_seq(h->first_event_seq() + 1); });
  edit("raw-length-huge", [](auto* h) { h->set_raw_body_len(UINT64_C(1) << 62); });
  edit("raw-length-bomb", [](auto* h) { h->set_raw_body_len(8U << 20); });
  edit("event-count", [](auto* h) { h->set_event_count(1); });
  edit("events-root", [](auto* h) { h->set_events_root(std::string(32, 'r')); });
  edit(
      "agent-splice", [](auto* h) { h->set_agent_id("web-9"); }, "2", "web-9:1:0");
  edit(
      "tenant-splice", [](auto* h) { h->set_tenant("other"); }, "2", "web-1:1:0");
  one("body-zip-bomb", "3", "web-1:1:2", [](TestAgent* a, List l) {
    const std::string bomb = *CompressBody(std::string(8U << 20, '\0'));
    l->push_back(a->Batch(2, [&](auto* h) {
      h->set_raw_body_len(8U << 20);
      h->set_stored_body_len(bomb.size());
      h->set_body_sha256(Bytes(Sha256Of(bomb)));
    }));
    l->back().body = bomb;
  });
  one("statement-of-another-epoch", "3", "web-1:2:0", [](TestAgent* a, List l) {
    l->push_back(a->CleanShutdown());
    a->Restart();
    a->edit_statement = [](v1::EpochStatement* s) { s->set_epoch(9); };
    l->push_back(a->Batch());
  });
  one("statement-signature", "3", "web-1:2:0", [](TestAgent* a, List l) {
    l->push_back(a->CleanShutdown());
    a->Restart();
    a->edit_open = [](v1::EpochOpen* o) { o->mutable_signature()->back() ^= 1; };
    l->push_back(a->Batch());
  });
  one("prev-clean-lies", "3", "web-1:2:0", [](TestAgent* a, List l) {
    a->Restart();
    a->edit_statement = [](v1::EpochStatement* s) { s->set_prev_clean(true); };
    l->push_back(a->Batch());
  });
  one("spool-rolled-back", "2", "web-1:2:0", [](TestAgent* a, List l) {
    const SealedBatch early = l->at(0);
    a->Restart();
    a->edit_statement = [&](v1::EpochStatement* s) {
      s->set_prev_last_seq(0);
      s->set_prev_last_hash(Bytes(early.batch_hash));
    };
    l->push_back(a->Batch(2, [&](auto* h) { h->set_prev_hash(Bytes(early.batch_hash)); }));
  });
}

// One damaged file of a good trail whose leaves are all covered.
void Mutations(Maker* m, uint64_t seed, int count) {
  std::mt19937_64 random(seed);
  const Trail base = m->Good();
  m->Case("mutation-base", "0", "-", base);
  for (int i = 0; i < count; ++i) {
    const uint64_t which = random();
    const uint64_t place = random();
    const auto how = static_cast<unsigned>(random() % 10);
    m->Copied("mutation-base", fmt::format("mutation-{:05}", i), "!0", [&](const std::string& trail) {
      std::vector<std::string> files = {"/log/checkpoint"};
      for (int n = 0; fs::exists(fmt::format("{}/log/{:06}.leaves", trail, n)); ++n) {
        for (int weight = 0; weight < 3; ++weight) files.push_back(fmt::format("/log/{:06}.leaves", n));
      }
      for (size_t b = 0; b < 4; ++b) files.push_back(BodyFile(base.batches[3 * b]));
      const std::string file = trail + files[which % files.size()];
      std::string bytes = Slurp(file);
      const size_t at = place % bytes.size();
      switch (how) {
        case 0: bytes.resize(at); break;
        case 1: bytes.erase(at, 1); break;
        case 2: bytes.insert(at, 1, static_cast<char>(bytes[at] ^ 0x55)); break;
        case 3: bytes.replace(at, 4, std::string(4, static_cast<char>(~bytes[at]))); break;
        default:
          bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ (1U << ((how - 2U) % 8U)));
          break;
      }
      Spill(file, bytes);
    });
  }
}

int Verify(const std::string& cases) {
  std::istringstream lines(Slurp(cases));
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> field;
    std::istringstream cells(line);
    for (std::string cell; std::getline(cells, cell, '\t');) field.push_back(cell);
    VerifyPolicy policy;
    policy.identity_ca_pem = Slurp(field.at(4));
    policy.log_key = *NoteVerifier::Parse(Slurp(field.at(5)));
    if (field.at(6) != "-") policy.kept.push_back({"kept", Slurp(field.at(6))});
    const auto report = VerifyTrail(field.at(3), policy);
    if (!report.ok()) {
      fmt::print("64\t-\n");
      continue;
    }
    const bool named = report->first_bad && !report->first_bad->batch.empty();
    fmt::print("{}\t{}\n", static_cast<int>(report->verdict), named ? report->first_bad->batch : "-");
  }
  return 0;
}

// The numbers on the wire, as docs/trail-format.md lists them.
int Fields() {
  const google::protobuf::FileDescriptor* file = v1::BatchHeader::descriptor()->file();
  for (int i = 0; i < file->message_type_count(); ++i) {
    const google::protobuf::Descriptor* message = file->message_type(i);
    fmt::print("{}\n", message->name());
    for (int f = 0; f < message->field_count(); ++f) {
      const google::protobuf::FieldDescriptor* field = message->field(f);
      const bool nested = field->message_type() != nullptr;
      fmt::print("  {} {} {}{}\n", field->number(), field->name(), field->is_repeated() ? "repeated " : "",
                 nested ? field->message_type()->name() : std::string(field->type_name()));
    }
  }
  for (int i = 0; i < file->enum_type_count(); ++i) {
    const google::protobuf::EnumDescriptor* type = file->enum_type(i);
    fmt::print("{}\n", type->name());
    for (int v = 0; v < type->value_count(); ++v)
      fmt::print("  {} {}\n", type->value(v)->number(), type->value(v)->name());
  }
  return 0;
}

int Main(const std::vector<std::string>& args) {
  if (args.size() == 2 && args[0] == "--verify") return Verify(args[1]);
  if (args.size() == 1 && args[0] == "--fields") return Fields();
  if (args.size() != 5 || args[1] != "--seed" || args[3] != "--mutations") {
    fmt::print(stderr, "usage: nt_make_trails DIR --seed N --mutations N | --verify CASES\n");
    return 64;
  }
  Maker maker(args[0]);
  Files(&maker);
  Leaves(&maker);
  Chains(&maker);
  Mutations(&maker, std::strtoull(args[2].c_str(), nullptr, 10), std::atoi(args[4].c_str()));
  return 0;
}

}  // namespace
}  // namespace nodetrail::trail

int main(int argc, char** argv) { return nodetrail::trail::Main({argv + 1, argv + argc}); }
