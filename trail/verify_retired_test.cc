// SPDX-License-Identifier: Apache-2.0
//
// Bodies deleted by rule: what coverage and bundles make of them. Which
// deletions hold is compared with the second verifier (testing/corpus_retention.cc).
#include <gtest/gtest.h>

#include <filesystem>

#include "nodetrail/trail/bundle.h"
#include "nodetrail/trail/retention.h"
#include "nodetrail/trail/verify.h"
#include "trail/testing/trail_maker.h"

namespace nodetrail::trail {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kDay = 86'400'000'000'000;

v1::LogEntry RetireOf(const std::vector<uint64_t>& leaves, uint64_t log_index) {
  v1::LogEntry entry;
  entry.set_format_version(1);
  entry.set_tenant("acme");
  entry.mutable_retire()->set_policy("one-day");
  entry.mutable_retire()->set_holds_checked_at(log_index);
  uint64_t last = 0;
  for (const uint64_t leaf : leaves) {
    entry.mutable_retire()->add_leaves(leaf - last);
    last = leaf;
  }
  entry.mutable_retire()->set_body_sha256(std::string(32 * leaves.size(), 'h'));
  return entry;
}

TEST(Retention, KnowsWhichLeavesWereNamed) {
  Retention retention;
  ASSERT_TRUE(retention.Take(RetireOf({1, 2, 3, 7}, 10), 10).ok());
  ASSERT_TRUE(retention.Take(RetireOf({0, 5}, 11), 11).ok());
  ASSERT_TRUE(retention.Take(RetireOf({4, 5, 6}, 12), 12).ok());
  for (const uint64_t leaf : {0U, 1U, 2U, 3U, 4U, 5U, 6U, 7U}) EXPECT_TRUE(retention.Names(leaf)) << leaf;
  EXPECT_FALSE(retention.Names(8));
  EXPECT_FALSE(retention.Take(RetireOf({13}, 13), 13).ok());
  EXPECT_FALSE(retention.Names(13));
  EXPECT_EQ(retention.unfinished().size(), 3U);
}

// Ten batches of one agent, ten seconds apart; those from 3 to 5 are retired.
class VerifyRetiredTest : public testing::Test {
 protected:
  VerifyRetiredTest() {
    for (int i = 0; i < 10; ++i) batches_.push_back(maker_.Batch(&maker_.one, 10.0 * i));
    v1::LogEntry entry = RetireOf({3, 4, 5}, 10);
    v1::Retire* retire = entry.mutable_retire();
    retire->clear_body_sha256();
    for (size_t i = 3; i <= 5; ++i) retire->mutable_body_sha256()->append(batches_[i].header.body_sha256());
    retire->set_max_age_ns(kDay);
    retire->set_not_before_ns(TrailMaker::At(50) + kDay);
    entry.set_wall_ns(TrailMaker::At(60) + kDay);
    maker_.Enter(entry);
    maker_.Checkpoint();
    policy_.identity_ca_pem = maker_.ca.CertPem();
    policy_.log_key = maker_.LogKey();
  }
  void Remove(size_t batch) {
    fs::remove(maker_.dir() + "/" + BodyPath(*HashFromBytes(batches_[batch].header.body_sha256())));
  }
  VerifyReport Verify(const std::string& dir) {
    auto report = VerifyTrail(dir, policy_);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    return *std::move(report);
  }

  TrailMaker maker_;
  std::vector<SealedBatch> batches_;
  VerifyPolicy policy_;
};

TEST_F(VerifyRetiredTest, CoverageTellsRetiredFromLost) {
  for (const size_t batch : {3U, 4U, 5U}) Remove(batch);
  const VerifyReport report = Verify(maker_.dir());
  ASSERT_EQ(report.verdict, TrailVerdict::kIntact) << report.summary;
  EXPECT_EQ(report.bodies_retired, 3U);
  const AgentCoverage& agent = report.agents.at(0);
  ASSERT_EQ(agent.intervals.size(), 3U);
  EXPECT_EQ(agent.intervals[1].kind, CoverageKind::kRetired);
  EXPECT_EQ(agent.intervals[1].from_ns, TrailMaker::At(20));
  EXPECT_EQ(agent.intervals[1].to_ns, TrailMaker::At(50));
  EXPECT_EQ(agent.covered_ns[static_cast<size_t>(CoverageKind::kDeclared)], 0U);
  EXPECT_NE(VerifyReportText(report).find("3 deleted by rule"), std::string::npos);
}

TEST_F(VerifyRetiredTest, ABundleOfThemHolds) {
  for (const size_t batch : {3U, 4U}) Remove(batch);
  const auto exported = ExportBundle(maker_.dir(), maker_.path("bundle"), {});
  ASSERT_TRUE(exported.ok()) << exported.status().ToString();
  EXPECT_EQ(exported->retired, 2U);
  const VerifyReport report = Verify(maker_.path("bundle"));
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact) << report.summary;
  EXPECT_EQ(report.bodies_retired, 2U);
  // One that nobody retired can't be exported as if it had been.
  Remove(8);
  const auto refused = ExportBundle(maker_.dir(), maker_.path("other"), {});
  EXPECT_EQ(refused.status().code(), Code::kDataLoss);
  EXPECT_NE(refused.status().message().find("web-1:1:8"), std::string::npos) << refused.status().message();
}

}  // namespace
}  // namespace nodetrail::trail
