// SPDX-License-Identifier: Apache-2.0
//
// The pieces of the format against public test vectors, and the vectors of
// docs/trail-format.md against the code.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/leaf.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/note.h"
#include "nodetrail/trail/policy.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_pki.h"

namespace nodetrail::trail {

uint32_t Crc32cPortable(std::string_view data, uint32_t crc);

namespace {

TEST(CryptoTest, KnownAnswers) {
  EXPECT_EQ(Hex(Sha256Of("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex(Sha256Of({"a", "", "bc"})), Hex(Sha256Of("abc")));
  Sha256 incremental;
  EXPECT_EQ(incremental.Update("a").Update("bc").Finish(), Sha256Of("abc"));
  EXPECT_EQ(incremental.Update("abc").Finish(), Sha256Of("abc")) << "starts afresh";
  EXPECT_EQ(Pae("http://example.com/HelloWorld", "hello world"),
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(Crc32c("6789", Crc32c("12345")), 0xe3069283U);
  std::string bytes;
  for (int i = 0; i < 300; ++i) {
    bytes += static_cast<char>(i * 7);
    EXPECT_EQ(Crc32c(bytes), Crc32cPortable(bytes, 0)) << i;
  }
  // RFC 8032 section 7.1, test 2.
  const auto key = Ed25519Key::FromSeed(*HexDecode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
  EXPECT_EQ(Hex(key->public_key()), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
  const Signature signature = key->Sign("\x72");
  EXPECT_EQ(Hex(signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00");
  EXPECT_TRUE(Ed25519Verify(key->public_key(), "\x72", View(signature)));
  EXPECT_FALSE(Ed25519Verify(key->public_key(), "\x73", View(signature)));
  EXPECT_FALSE(Ed25519Verify(key->public_key(), "\x72", View(signature).substr(1)));
  // A key of small order verifies nothing.
  EXPECT_FALSE(Ed25519Verify(PublicKey{}, "\x72", View(signature)));
}

TEST(CryptoTest, TextFormsAreStrict) {
  EXPECT_EQ(*HexDecode("00ff"), std::string("\0\xff", 2));
  for (const char* bad : {"0", "0F", "0g", " 00"}) EXPECT_FALSE(HexDecode(bad).ok()) << bad;
  EXPECT_EQ(Base64Encode("ab"), "YWI=");
  EXPECT_EQ(*Base64Decode("YWI="), "ab");
  EXPECT_EQ(*Base64Decode(""), "");
  for (const char* bad : {"YWI", "YWJ=", "YWI= ", "YW\nI=", "YWI==", "_-8="})
    EXPECT_FALSE(Base64Decode(bad).ok()) << bad;
  EXPECT_TRUE(ParseSpiffeId("spiffe://example.org/t/acme/a/web-1").ok());
  for (const char* bad :
       {"spiffe://example.org/t/acme/x/web-1", "spiffe:///t/acme/a/web-1", "https://example.org/t/acme/a/web-1",
        "spiffe://example.org/t/acme/a/web-1/", "spiffe://example.org/t/../a/web-1", "spiffe://Example.org/t/a/a/b"}) {
    EXPECT_FALSE(ParseSpiffeId(bad).ok()) << bad;
  }
}

TEST(CryptoTest, KeysFromPem) {
  const auto ed = Ed25519Key::FromPem(
      "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE "
      "KEY-----\n");
  ASSERT_TRUE(ed.ok());
  EXPECT_EQ(Hex(ed->public_key()), "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");  // RFC 8410
  const TestCa ca;
  const TestCa::Identity id = ca.IssueAgent("acme", "web-1");
  EXPECT_FALSE(Ed25519Key::FromPem(id.key_pem).ok());
  EXPECT_FALSE(EcdsaKey::FromPem("-----BEGIN nothing").ok());
  const auto key = EcdsaKey::FromPem(id.key_pem);
  const auto cert = Certificate::FromPem(id.cert_pem);
  ASSERT_TRUE(key.ok() && cert.ok());
  std::string signature = *key->Sign("message");
  EXPECT_TRUE(cert->VerifyEcdsa("message", signature));
  EXPECT_FALSE(cert->VerifyEcdsa("massage", signature));
  signature.back() = static_cast<char>(signature.back() ^ 1);
  EXPECT_FALSE(cert->VerifyEcdsa("message", signature));
  EXPECT_EQ(key->PublicDer(), cert->PublicDer());
  EXPECT_FALSE(Certificate::FromDer(cert->Der() + "x").ok());
  EXPECT_FALSE(Certificate::FromDer("x").ok());
}

// Roots of the trees over the eight entries that Certificate Transparency's
// implementations share as vectors.
TEST(MerkleTest, KnownRoots) {
  const std::vector<std::string> entries = {
      "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"};
  const std::vector<std::string> roots = {"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                                          "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
                                          "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
                                          "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                                          "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
                                          "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
                                          "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
                                          "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
  EXPECT_EQ(Hex(EmptyRoot()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CompactRange range;
  std::vector<Hash> hashes;
  for (size_t i = 0; i < entries.size(); ++i) {
    hashes.push_back(LeafHash(*HexDecode(entries[i])));
    range.Append(hashes.back());
    EXPECT_EQ(Hex(range.Root()), roots[i]);
    EXPECT_EQ(MerkleRoot(hashes), range.Root());
  }
}

TEST(MerkleTest, ProofsOfEverySizeAndNoOther) {
  std::vector<Hash> all;
  std::vector<Hash> roots{EmptyRoot()};
  for (int i = 0; i < 40; ++i) {
    all.push_back(LeafHash(std::to_string(i)));
    roots.push_back(MerkleRoot(all));
  }
  for (uint64_t n = 1; n <= all.size(); ++n) {
    const std::span<const Hash> tree = std::span(all).first(n);
    for (uint64_t i = 0; i < n; ++i) {
      std::vector<Hash> proof = *InclusionProof(tree, i);
      ASSERT_TRUE(VerifyInclusion(all[i], i, n, proof, roots[n]).ok());
      EXPECT_FALSE(VerifyInclusion(all[i], (i + 1) % n, n, proof, roots[n]).ok() && n > 1);
      EXPECT_FALSE(VerifyInclusion(LeafHash("other"), i, n, proof, roots[n]).ok());
      proof.push_back(all[0]);
      EXPECT_FALSE(VerifyInclusion(all[i], i, n, proof, roots[n]).ok());
      proof.pop_back();
      if (!proof.empty()) {
        proof.back()[0] ^= 1;
        EXPECT_FALSE(VerifyInclusion(all[i], i, n, proof, roots[n]).ok());
        proof.pop_back();
        EXPECT_FALSE(VerifyInclusion(all[i], i, n, proof, roots[n]).ok());
      }
    }
    for (uint64_t m = 0; m <= n; ++m) {
      std::vector<Hash> proof = *ConsistencyProof(tree, m);
      ASSERT_TRUE(VerifyConsistency(m, roots[m], n, roots[n], proof).ok()) << m << " " << n;
      if (m > 0) {
        EXPECT_FALSE(VerifyConsistency(m, LeafHash("x"), n, roots[n], proof).ok());
      }
      proof.push_back(all[0]);
      EXPECT_FALSE(VerifyConsistency(m, roots[m], n, roots[n], proof).ok());
      proof.pop_back();
      if (proof.empty()) continue;
      EXPECT_FALSE(VerifyConsistency(m, roots[m], n, LeafHash("x"), proof).ok());
      proof.pop_back();
      EXPECT_FALSE(VerifyConsistency(m, roots[m], n, roots[n], proof).ok());
    }
    EXPECT_FALSE(VerifyConsistency(n, roots[n], n - 1, roots[n - 1], {}).ok());
  }
  EXPECT_FALSE(InclusionProof(all, all.size()).ok());
}

TEST(NoteTest, TheStandardsExample) {
  // From the specification of signed notes (C2SP).
  const auto verifier = NoteVerifier::Parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
  ASSERT_TRUE(verifier.ok()) << verifier.status().ToString();
  EXPECT_EQ(verifier->ToString(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
  const std::string note =
      "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
      "\xe2\x80\x94 PeterNeumann "
      "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
  const auto verified = VerifyNote(note, {&*verifier, 1});
  ASSERT_TRUE(verified.ok()) << verified.status().ToString();
  for (size_t i = 0; i < note.size(); ++i) {
    std::string bad = note;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    EXPECT_FALSE(VerifyNote(bad, {&*verifier, 1}).ok()) << i;
  }
}

TEST(NoteTest, ExtraLinesAndWrongOrigins) {
  const Ed25519Key key = Ed25519Key::Generate();
  const NoteVerifier verifier = *NoteVerifier::Make("log.example.org", key.public_key());
  const std::string note = *SignCheckpoint({"log.example.org", 7, Sha256Of("x"), {}}, key);
  ASSERT_TRUE(VerifyCheckpoint(note, verifier).ok());
  const std::string cosigned = *CosignNote(note, "witness", Ed25519Key::Generate());
  EXPECT_TRUE(VerifyCheckpoint(cosigned, verifier).ok()) << "lines of unknown keys are ignored";
  EXPECT_FALSE(VerifyCheckpoint(*CosignNote(note, "log.example.org", key), verifier).ok()) << "twice the same key";
  EXPECT_FALSE(VerifyCheckpoint(note + "\xe2\x80\x94 x\n", verifier).ok());
  EXPECT_FALSE(VerifyCheckpoint(note.substr(0, note.size() - 1), verifier).ok());
  EXPECT_FALSE(VerifyCheckpoint(
                   *SignNote("other\n7\n" + Base64Encode(View(Sha256Of("x"))) + "\n", "log.example.org", key), verifier)
                   .ok());
  for (const std::string bad : {"log\n07\nAAAA\n", "log\n-1\nAAAA\n", "log\n1\nAAAA\n", "log\n1\n", "lo g\n1\nAAAA\n",
                                "log\n18446744073709551616\nAAAA\n", ""}) {
    EXPECT_FALSE(ParseCheckpointBody(bad).ok()) << bad;
  }
}

TEST(BodyTest, LimitsAreHard) {
  const std::string raw(100'000, 'x');
  const std::string stored = *CompressBody(raw);
  EXPECT_EQ(*DecompressBody(stored, raw.size()), raw);
  EXPECT_FALSE(DecompressBody(stored, raw.size() - 1).ok());
  EXPECT_FALSE(DecompressBody(stored, raw.size() + 1).ok());
  EXPECT_FALSE(DecompressBody(stored, kMaxBodyBytes + 1).ok());
  EXPECT_FALSE(DecompressBody(stored + stored, raw.size()).ok());
  EXPECT_FALSE(DecompressBody(stored + "x", raw.size()).ok());
  EXPECT_FALSE(DecompressBody(stored.substr(0, stored.size() - 1), raw.size()).ok());
  EXPECT_FALSE(DecompressBody("", 0).ok());
  EXPECT_FALSE(DecompressBody(std::string("\x50\x2a\x4d\x18\x00\x00\x00\x00", 8), 0).ok()) << "a skippable frame";
  EXPECT_FALSE(CompressBody(std::string(kMaxBodyBytes + 1, 'x')).ok());
}

TEST(BodyTest, OneRecordIsDisclosedAlone) {
  event::v1::EventBatch batch;
  batch.set_host("host");
  batch.add_processes("process");
  batch.add_events("first");
  batch.add_events("second");
  batch.add_absent("absent");
  EXPECT_EQ(Records(batch), (std::vector<std::string_view>{"host", "process", "first", "second", "absent"}));
  const uint64_t index = EventRecordIndex(batch, 1);
  EXPECT_EQ(index, 3U);
  const auto proof = ProveRecord(batch, index);
  ASSERT_TRUE(proof.ok());
  EXPECT_TRUE(VerifyRecord("second", *proof, EventsRoot(batch)).ok());
  EXPECT_FALSE(VerifyRecord("first", *proof, EventsRoot(batch)).ok());
  EXPECT_FALSE(ProveRecord(batch, 5).ok());
}

TEST(BodyTest, EventsAndAbsentRangesCoverTheNumbers) {
  const auto open = [](const std::vector<uint64_t>& events, const std::vector<std::pair<uint64_t, uint64_t>>& absent,
                       uint64_t first, uint64_t last) {
    event::v1::EventBatch batch;
    for (const uint64_t seq : events) {
      event::v1::Event event;
      event.set_seq(seq);
      batch.add_events(event.SerializeAsString());
    }
    for (const auto& [from, to] : absent) {
      event::v1::Absent range;
      range.set_first_seq(from);
      range.set_last_seq(to);
      batch.add_absent(range.SerializeAsString());
    }
    const std::string raw = batch.SerializeAsString();
    const std::string stored = *CompressBody(raw);
    v1::BatchHeader h;
    h.set_body_codec(v1::BODY_CODEC_ZSTD);
    h.set_raw_body_len(raw.size());
    h.set_stored_body_len(stored.size());
    h.set_body_sha256(Bytes(Sha256Of(stored)));
    h.set_events_root(Bytes(EventsRoot(batch)));
    h.set_event_count(events.size());
    h.set_first_event_seq(first);
    h.set_last_event_seq(last);
    return OpenBody(stored, h).ok();
  };
  EXPECT_TRUE(open({5, 6, 7}, {}, 5, 7));
  EXPECT_TRUE(open({6, 9}, {{5, 5}, {7, 8}, {10, 12}}, 5, 12));
  EXPECT_TRUE(open({}, {{5, 9}}, 5, 9));
  EXPECT_FALSE(open({5, 7}, {}, 5, 7));
  EXPECT_FALSE(open({5, 6, 7}, {}, 5, 8));
  EXPECT_FALSE(open({5, 6, 7}, {{6, 6}}, 5, 7));
  EXPECT_FALSE(open({6, 5}, {}, 5, 6));
  EXPECT_FALSE(open({5}, {{7, 6}}, 5, 5));
  EXPECT_FALSE(open({5}, {{6, UINT64_MAX}}, 5, 6));
}

TEST(TrailStoreTest, AppendsReadsAndRotates) {
  TempDir dir;
  TrailWriter::Options options;
  options.segment_bytes = 256;
  std::vector<std::string> leaves;
  {
    auto writer = *TrailWriter::Open(dir / "t", options);
    EXPECT_FALSE(TrailWriter::Open(dir / "t", options).ok()) << "one writer at a time";
    for (int i = 0; i < 20; ++i) {
      leaves.push_back("\x0a" + std::string(static_cast<size_t>(30 + i), 'l'));
      const std::string_view leaf = leaves.back();
      ASSERT_TRUE(writer->AppendLeaves({&leaf, 1}).ok());
    }
    const std::string_view empty;
    EXPECT_FALSE(writer->AppendLeaves({&empty, 1}).ok());
    EXPECT_EQ(writer->size(), 20U);
  }
  {
    auto writer = *TrailWriter::Open(dir / "t", options);
    EXPECT_EQ(writer->size(), 20U);
    leaves.emplace_back("\x0amore");
    leaves.emplace_back("\x0aand more");
    const std::vector<std::string_view> group{leaves[20], leaves[21]};
    ASSERT_TRUE(writer->AppendLeaves(group).ok());
  }
  auto reader = *TrailReader::Open(dir / "t");
  EXPECT_EQ(*reader->Size(), 22U);
  for (size_t i = leaves.size(); i-- > 0;) EXPECT_EQ(*reader->Leaf(i), leaves[i]);
  EXPECT_EQ(reader->Leaf(22).status().code(), Code::kNotFound);
  uint64_t next = 7;
  ASSERT_TRUE(reader
                  ->ForEach(7,
                            [&](const LeafLocation& where, std::string_view leaf) {
                              EXPECT_EQ(where.index, next);
                              EXPECT_EQ(leaf, leaves[next++]);
                              return true;
                            })
                  .ok());
  EXPECT_EQ(next, 22U);
}

std::string EntryVectors(const Ed25519Key& log) {
  v1::LogEntry enrol;
  enrol.set_format_version(1);
  enrol.set_tenant("acme");
  enrol.set_wall_ns(1'700'000'000'000'000'000);
  enrol.mutable_enrol()->set_agent_id("web-1");
  enrol.mutable_enrol()->set_identity_spki_sha256(std::string(32, '\x22'));
  enrol.mutable_enrol()->set_token_id("t1");
  v1::LogEntry revoke = enrol;
  enrol.mutable_enrol()->add_sig_algs(v1::SIG_ALG_ED25519);
  enrol.mutable_enrol()->add_sig_algs(v1::SIG_ALG_ECDSA_P256_SHA256);
  revoke.mutable_revoke()->set_agent_id("web-1");
  revoke.mutable_revoke()->set_epoch(2);
  revoke.mutable_revoke()->set_effective_seq(6);
  revoke.mutable_revoke()->set_reason("stolen");
  v1::LogEntry access = enrol;
  access.mutable_access()->set_reader("spiffe://example.org/t/acme/r/ann");
  access.mutable_access()->set_certificate_sha256(std::string(32, '\x33'));
  access.mutable_access()->set_method("Search");
  access.mutable_access()->set_shape("user:?");
  access.mutable_access()->set_question_hmac(std::string(32, '\x44'));
  v1::LogEntry hold = enrol;
  hold.mutable_hold()->set_id("case-7");
  hold.mutable_hold()->add_agents("web-1");
  hold.mutable_hold()->add_agents("web-2");
  hold.mutable_hold()->set_since_wall_ns(1'690'000'000'000'000'000);
  hold.mutable_hold()->set_reason("court order");
  hold.mutable_hold()->set_by("ann");
  v1::LogEntry release = enrol;
  release.mutable_release()->set_id("case-7");
  release.mutable_release()->set_requested_by("ann");
  release.mutable_release()->set_confirmed_by("bob");
  v1::LogEntry retire = enrol;
  retire.mutable_retire()->set_policy("90d");
  retire.mutable_retire()->set_max_age_ns(90ULL * 86'400'000'000'000);
  retire.mutable_retire()->set_not_before_ns(1'700'000'000'000'000'000);
  retire.mutable_retire()->set_holds_checked_at(500);
  for (const uint64_t step : {3U, 1U, 300U}) retire.mutable_retire()->add_leaves(step);
  retire.mutable_retire()->set_body_sha256(std::string(96, '\x55'));
  v1::LogEntry retired = enrol;
  retired.mutable_retired()->set_retire_index(500);
  retired.mutable_retired()->set_bodies(3);
  const auto leaf = [&](const v1::LogEntry& entry) { return HexEncode(*MakeLogEntry(entry, log)); };
  return fmt::format(
      "enrol       {}\nenrol leaf  {}\nrevoke leaf {}\naccess leaf {}\nhold leaf   {}\nrelease leaf {}\nretire leaf "
      "{}\n"
      "retired leaf {}\n",
      HexEncode(enrol.SerializeAsString()), leaf(enrol), leaf(revoke), leaf(access), leaf(hold), leaf(release),
      leaf(retire), leaf(retired));
}

// The text between the markers of docs/trail-format.md.
std::string Vectors() {
  const Ed25519Key first = *Ed25519Key::FromSeed(std::string(32, '\x01'));
  const Ed25519Key second = *Ed25519Key::FromSeed(std::string(32, '\x02'));
  const Ed25519Key log = *Ed25519Key::FromSeed(std::string(32, '\x03'));
  event::v1::Event event;
  event.set_schema_version(1);
  event.set_seq(4);
  event.set_kind(event::v1::KIND_FILE_CREATE);
  event::v1::EventBatch batch;
  batch.set_schema_version(1);
  batch.add_events(event.SerializeAsString());
  v1::BatchHeader h;
  h.set_format_version(1);
  h.set_type(v1::BATCH_TYPE_HEARTBEAT);
  h.set_sig_alg(v1::SIG_ALG_ED25519);
  h.set_body_codec(v1::BODY_CODEC_NONE);
  h.set_tenant("acme");
  h.set_agent_id("web-1");
  h.set_boot_id("boot");
  h.set_epoch(2);
  h.set_seq(5);
  h.set_prev_hash(std::string(32, '\x11'));
  h.set_signer_key(Bytes(first.public_key()));
  h.set_next_key(Bytes(second.public_key()));
  h.set_first_event_seq(5);
  h.set_last_event_seq(4);
  const std::string header = h.SerializeAsString();
  const std::string leaf = *MakeLeaf(header, first);
  EXPECT_TRUE(ParseLeaf(leaf).ok());
  const std::vector<Hash> leaves{LeafHash("a"), LeafHash("b"), LeafHash("c")};
  const NoteVerifier verifier = *NoteVerifier::Make("trail.example.org/acme", log.public_key());
  const std::string note = *SignCheckpoint({verifier.name, 3, MerkleRoot(leaves), {}}, log);
  const Ed25519Key witness = *Ed25519Key::FromSeed(std::string(32, '\x04'));
  const CosignerVerifier cosigner = *CosignerVerifier::Make("witness.example.org/w1", witness.public_key());
  const std::string cosignature = *CosignCheckpoint(note, cosigner.name, witness, 1679315147);
  const std::string policy =
      fmt::format("log {}\nwitness w1 {}\nquorum w1\n", verifier.ToString(), cosigner.ToString());
  EXPECT_TRUE(LogPolicy::Parse(policy)->Check(note + cosignature).ok());
  return fmt::format(
      "signer seed (32 x 01), public  {}\nnext seed (32 x 02), public    {}\nheader      {}\nPAE         {}\nsignature "
      "  {}\n"
      "leaf        {}\nbatch_hash  {}\nleaf_hash   {}\nevent       {}\nbody (raw)  {}\nevents_root {}\nroot(a,b,c) {}\n"
      "log key     {}\n{}checkpoint:\n{}policy:\n{}cosignature, seed 32 x 04, time 1679315147:\n{}",
      Hex(first.public_key()), Hex(second.public_key()), HexEncode(header), HexEncode(Pae(kHeaderPayloadType, header)),
      HexEncode(ParseLeaf(leaf)->signature), HexEncode(leaf), Hex(BatchHash(leaf)), Hex(LeafHash(leaf)),
      HexEncode(batch.events(0)), HexEncode(batch.SerializeAsString()), Hex(EventsRoot(batch)), Hex(MerkleRoot(leaves)),
      verifier.ToString(), EntryVectors(log), note, policy, cosignature);
}

TEST(FormatDocument, ItsVectorsAreTheCodes) {
  const std::string document = *ReadFile(NT_SOURCE_DIR "/docs/trail-format.md", 1 << 20);
  const std::string vectors = Vectors();
  EXPECT_NE(document.find("```vectors\n" + vectors + "```"), std::string::npos) << "docs/trail-format.md must hold:\n"
                                                                                << vectors;
}

}  // namespace
}  // namespace nodetrail::trail
