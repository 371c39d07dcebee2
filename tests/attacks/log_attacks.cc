// SPDX-License-Identifier: Apache-2.0
//
// On the log as a whole: its length, its root, its checkpoint, what belongs
// to it.
#include <filesystem>

#include "nodetrail/trail/eviction.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/policy.h"
#include "nodetrail/trail/receipt.h"
#include "nodetrail/trail/trail_store.h"
#include "tests/attacks/attack.h"
#include "tests/attacks/ground.h"

namespace nodetrail::attacks {
namespace {

namespace fs = std::filesystem;
using trail::SealedBatch;
using trail::TestAgent;
using trail::VerifyReport;

std::string Detail(const VerifyReport& report) { return VerifyReportText(report); }

TEST_F(Attack, T08_TruncateBelowAKnownCheckpoint) {
  Ground ground;
  ground.Take(8);
  ground.Write();
  ground.policy.kept = {{"kept", ground.ReadCheckpoint()}};
  ASSERT_EQ(ground.Exit(), 0);
  std::vector<std::string> leaves = ground.Leaves();
  leaves.resize(5);
  ground.RewriteSigned(leaves);
  const VerifyReport report = ground.Verify();
  Found("verifier: exit 3, with the checkpoint that the auditor kept", static_cast<int>(report.verdict) == 3,
        Detail(report));
}

TEST_F(Attack, T09_TruncateAboveTheWitnessedSize) {
  // No witness saw the last leaves; an agent has the receipt of one of them.
  Ground ground;
  ground.Take(8);
  ground.Write();
  ASSERT_EQ(ground.Exit(), 0);
  const std::vector<std::string> whole = ground.Leaves();
  const std::string receipt = ground.Receipt(whole, 6);
  const auto watch = ground.Watch("seen");
  using Kind = agent::LogWatch::Outcome::Kind;
  const auto take = [&](const std::string& leaf, uint64_t index, const std::string& text) {
    return watch->Take(trail::LeafHash(leaf), index, text);
  };
  ASSERT_EQ(take(whole[6], 6, receipt).kind, Kind::kHolds);
  std::vector<std::string> leaves = whole;
  leaves.resize(5);
  ground.RewriteSigned(leaves);
  ASSERT_EQ(ground.Exit(), 0);
  const auto parsed = trail::ParseReceipt(receipt);
  ASSERT_TRUE(parsed.ok());
  ground.policy.kept = {{"receipt of web-1:1:6", parsed->checkpoint}};
  VerifyReport report = ground.Verify();
  Found("verifier: exit 3, with an agent's receipt", static_cast<int>(report.verdict) == 3, Detail(report));
  ground.policy.kept.clear();

  // The collector goes on from there, and gives receipts.
  TestAgent other(ground.ca, "acme", "web-2");
  other.now_ns += 500;
  ground.batches.resize(5);
  ground.Take(Ground::BatchThatSaw(&other, whole));
  leaves = ground.Leaves();
  auto outcome = take(leaves[5], 5, ground.Receipt(leaves, 5));
  Found("agent: alarm, deletes nothing", outcome.kind == Kind::kAlarm, outcome.text);
  // It never logs the agent's batch, and hands out the receipt of another.
  const auto fresh = ground.Watch("fresh");
  outcome = fresh->Take(trail::LeafHash(whole[7]), 6, receipt);
  Found("agent: refuses the receipt, keeps the batch", outcome.kind == Kind::kBad, outcome.text);
  // And what agents had seen of it stands in the log itself.
  NT_CHECK((*trail::TrailWriter::Open(ground.trail()))
               ->PutBody(trail::Sha256Of(ground.batches[5].body), ground.batches[5].body)
               .ok());
  ground.RewriteSigned(leaves);
  report = ground.Verify();
  Found("verifier: exit 3, by what an agent had seen", static_cast<int>(report.verdict) == 3, Detail(report));
}

TEST_F(Attack, T19_FloodToForceDrops) {
  // The kernel counts what found no room; the count is in the next header.
  Ground ground;
  ground.Take(2);
  ground.Take(ground.agent.Batch(1, [](auto* h) { h->mutable_losses()->set_ring(1234); }));
  ground.Write();
  VerifyReport report = ground.Verify();
  Found("verifier: exit 1",
        static_cast<int>(report.verdict) == 1 && report.agents[0].losses.size() == 1 &&
            report.agents[0].losses[0].count == 1234,
        Detail(report));
  // The counter set back, in the hope that only the last one is read.
  ground.Take(ground.agent.Batch());
  Ground again;
  again.ca = std::move(ground.ca);
  again.policy.identity_ca_pem = again.ca.CertPem();
  for (const SealedBatch& batch : ground.batches) again.Take(batch);
  again.Write();
  report = again.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
}

TEST_F(Attack, T23_CrossTenantSplice) {
  // A whole chain of another tenant, rightly signed by its agents, put into this log.
  Ground ground;
  ground.Take(4);
  TestAgent foreign(ground.ca, "other", "web-1");
  foreign.now_ns += 500;
  for (int i = 0; i < 2; ++i) ground.Take(foreign.Batch());
  ground.Write();
  VerifyReport report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
  // Or made one of this tenant: its certificate is the other's.
  Ground mine;
  mine.Take(2);
  TestAgent agent(mine.ca, "other", "web-2");
  agent.now_ns += 500;
  agent.edit_statement = [](auto* s) { s->set_tenant("acme"); };
  mine.Take(agent.Batch(3, [](auto* h) { h->set_tenant("acme"); }));
  mine.Write();
  report = mine.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));
}

TEST_F(Attack, T29_EditedCheckpointAndExtraLines) {
  Ground ground;
  ground.Take(8);
  ground.Write();
  ASSERT_EQ(ground.Exit(), 0);
  const std::string note = ground.ReadCheckpoint();
  const std::vector<std::string> whole = ground.Leaves();

  // The tail goes, and the checkpoint says so; its signature is of before.
  std::vector<std::string> leaves = whole;
  leaves.resize(5);
  const std::string shorter = ground.Sign(leaves);
  ground.Rewrite(leaves);
  ground.PutCheckpoint(shorter.substr(0, shorter.find("\n\n")) + note.substr(note.find("\n\n")));
  VerifyReport report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));

  // The log's line twice: one of them is for a reader who checks the last only.
  ground.Rewrite(whole);
  ground.PutCheckpoint(note + note.substr(note.find("\n\n") + 2));
  report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, Detail(report));

  // Lines of keys that nobody asked for change nothing.
  ground.PutCheckpoint(*trail::CosignNote(note, "stranger.example.org", trail::Ed25519Key::Generate()));
  ASSERT_EQ(ground.Exit(), 0);
}

}  // namespace
}  // namespace nodetrail::attacks
