// SPDX-License-Identifier: Apache-2.0
//
// On what is stored: bodies, leaves, their order. The attacker has the
// collector's disk, or its log key as well.
#include <zstd.h>

#include <optional>
#include <random>

#include "nodetrail/trail/body.h"
#include "nodetrail/trail/merkle.h"
#include "tests/attacks/attack.h"
#include "tests/attacks/ground.h"

namespace nodetrail::attacks {
namespace {

using trail::SealedBatch;
using trail::TestAgent;
using trail::VerifyReport;

std::string Detail(const VerifyReport& report) { return VerifyReportText(report); }

// A body that still unpacks to as many events with the same numbers.
std::optional<event::v1::EventBatch> Unpack(const std::string& stored, const SealedBatch& like) {
  const auto raw = trail::DecompressBody(stored, like.header.raw_body_len());
  event::v1::EventBatch batch;
  if (!raw.ok() || !batch.ParseFromString(*raw)) return std::nullopt;
  if (static_cast<uint64_t>(batch.events_size()) != like.header.event_count()) return std::nullopt;
  for (int i = 0; i < batch.events_size(); ++i) {
    const auto brief = trail::PeekEvent(batch.events(i));
    if (!brief || brief->seq != like.header.first_event_seq() + static_cast<uint64_t>(i)) return std::nullopt;
  }
  return batch;
}

TEST_F(Attack, T01_FlipByteInBody) {
  Ground ground;
  ground.Take(8);
  ground.Write();
  ASSERT_EQ(ground.Exit(), 0);
  // The cleverest byte: what it makes can be read without complaint.
  const SealedBatch& victim = ground.batches[4];
  const auto honest = Unpack(victim.body, victim);
  ASSERT_TRUE(honest.has_value());
  std::optional<std::string> forged;
  for (size_t at = 0; at < victim.body.size() && !forged; ++at) {
    std::string body = victim.body;
    body[at] = static_cast<char>(body[at] ^ 1);
    const auto content = Unpack(body, victim);
    if (content && trail::EventsRoot(*content) != trail::EventsRoot(*honest)) forged = body;
  }
  ASSERT_TRUE(forged.has_value());
  Spill(ground.BodyFile(victim), *forged);
  const VerifyReport report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3 && report.first_bad->batch == "web-1:1:4",
        Detail(report));
}

TEST_F(Attack, T02_SwapBodies) {
  Ground ground;
  ground.Take(90);
  ground.Write();
  ASSERT_EQ(ground.Exit(), 0);
  // Two that no length tells apart.
  const SealedBatch* one = nullptr;
  const SealedBatch* other = nullptr;
  for (size_t i = 1; i < ground.batches.size() && other == nullptr; ++i) {
    for (size_t j = i + 1; j < ground.batches.size() && other == nullptr; ++j) {
      const auto& a = ground.batches[i].header;
      const auto& b = ground.batches[j].header;
      if (a.raw_body_len() != b.raw_body_len() || a.stored_body_len() != b.stored_body_len()) continue;
      one = &ground.batches[i];
      other = &ground.batches[j];
    }
  }
  ASSERT_NE(other, nullptr);
  Spill(ground.BodyFile(*one), other->body);
  Spill(ground.BodyFile(*other), one->body);
  const VerifyReport report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
}

TEST_F(Attack, T03_EditStoredHeader) {
  Ground ground;
  ground.Take(8);
  ground.Write();
  ASSERT_EQ(ground.Exit(), 0);
  std::vector<std::string> leaves = ground.Leaves();
  leaves[4] = EditHeader(leaves[4], [](auto* h) { h->set_critical_flush(!h->critical_flush()); });
  ground.Rewrite(leaves);
  const VerifyReport report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
}

TEST_F(Attack, T04_EditHeaderAndSignTree) {
  Ground ground;
  ground.Take(8);
  ground.Write();
  ASSERT_EQ(ground.Exit(), 0);
  std::vector<std::string> leaves = ground.Leaves();
  leaves[4] = EditHeader(leaves[4], [](auto* h) { h->set_critical_flush(!h->critical_flush()); });
  ground.RewriteSigned(leaves);
  const VerifyReport report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
}

TEST_F(Attack, T05_RemoveMiddleBatch) {
  Ground ground;
  ground.Take(8);
  ground.Write();
  ASSERT_EQ(ground.Exit(), 0);
  std::vector<std::string> leaves = ground.Leaves();
  leaves.erase(leaves.begin() + 4);
  ground.Rewrite(leaves);
  VerifyReport report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
  ground.RewriteSigned(leaves);
  report = ground.Verify();
  Found("verifier: exit 2 with the log key stolen", static_cast<int>(report.verdict) == 2, Detail(report));
}

TEST_F(Attack, T06_Reorder) {
  Ground ground;
  ground.Take(8);
  ground.Write();
  ASSERT_EQ(ground.Exit(), 0);
  std::vector<std::string> leaves = ground.Leaves();
  std::swap(leaves[4], leaves[5]);
  ground.Rewrite(leaves);
  VerifyReport report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
  ground.RewriteSigned(leaves);
  report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
}

TEST_F(Attack, T22_ClockBackAndForward) {
  // Forward and back again: the step back is in the signed headers.
  Ground ground;
  ground.Take(3);
  ground.agent.now_ns += 3'600'000'000'000;
  ground.Take(3);
  ground.agent.now_ns -= 7'200'000'000'000;
  ground.Take(3);
  ground.Write();
  const VerifyReport report = ground.Verify();
  bool said = false;
  for (const trail::Finding& finding : report.findings) {
    said = said || (finding.batch == "web-1:1:6" && finding.text.find("wall clock went back") != std::string::npos);
  }
  Found("verifier: a note", report.verdict == trail::TrailVerdict::kIntact && said, Detail(report));
}

TEST_F(Attack, T24_AlgorithmConfusion) {
  // After a hole no key was promised: the thief brings one of another kind.
  Ground ground;
  ground.Take(4);
  ground.agent.Batch();
  SealedBatch forged = ground.agent.Batch();
  const auto key = trail::RatchetKey::Generate(trail::v1::SIG_ALG_ECDSA_P256_SHA256);
  const auto next = trail::RatchetKey::Generate(trail::v1::SIG_ALG_ECDSA_P256_SHA256);
  forged.header.set_sig_alg(key.alg());
  forged.header.set_signer_key(key.public_key());
  forged.header.set_next_key(next.public_key());
  forged.leaf = *trail::MakeLeaf(forged.header.SerializeAsString(), key);
  ground.Take(forged);
  ground.Write();
  const VerifyReport report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
}

TEST_F(Attack, T25_LeafNodeConfusion) {
  // Four records; the attacker shows an inner node as a record of its own.
  Ground ground;
  const SealedBatch batch = ground.agent.Batch(3);
  const auto honest = trail::OpenBody(batch.body, batch.header);
  ASSERT_TRUE(honest.ok());
  const std::vector<trail::Hash> hashes = trail::RecordHashes(*honest);
  ASSERT_EQ(hashes.size(), 4U);
  const std::string record = trail::Bytes(hashes[0]) + trail::Bytes(hashes[1]);
  trail::RecordProof proof;
  proof.index = 0;
  proof.size = 2;
  proof.path = {trail::NodeHash(hashes[2], hashes[3])};
  const Status shown = trail::VerifyRecord(record, proof, *trail::HashFromBytes(batch.header.events_root()));
  Found("verifier: the proof does not hold", !shown.ok(), "64 bytes of two hashes were taken for an event");
  // The same in the log: a leaf begins with a field tag, never with a hash.
  Found("verifier: no leaf", !trail::ParseLeaf(record).ok());
}

TEST_F(Attack, T28_ZipBombAndHugeLengths) {
  // Signed rightly, by an agent that root has taken: 64 MiB in a few KiB.
  Ground ground;
  ground.Take(2);
  event::v1::EventBatch huge;
  huge.add_processes(std::string(64U << 20, '\0'));
  const std::string raw = huge.SerializeAsString();
  std::string body(ZSTD_compressBound(raw.size()), '\0');
  body.resize(ZSTD_compress(body.data(), body.size(), raw.data(), raw.size(), 3));
  ASSERT_LT(body.size(), 64U << 10);
  SealedBatch bomb = ground.agent.Batch(0, [&](auto* h) {
    h->set_raw_body_len(raw.size());
    h->set_stored_body_len(body.size());
    h->set_events_root(trail::Bytes(trail::EventsRoot(huge)));
    h->set_body_sha256(trail::Bytes(trail::Sha256Of(body)));
  });
  bomb.body = body;
  ground.Take(bomb);
  ground.Write();
  VerifyReport report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
  // And a record of the log that says it is 4 GiB long.
  Ground other;
  other.Take(3);
  other.Write();
  ASSERT_EQ(other.Exit(), 0);
  std::string segment = Slurp(other.trail() + "/log/000000.leaves");
  segment.replace(32, 4, "\xff\xff\xff\xff");
  Spill(other.trail() + "/log/000000.leaves", segment);
  report = other.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
}

}  // namespace
}  // namespace nodetrail::attacks
