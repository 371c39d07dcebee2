// SPDX-License-Identifier: Apache-2.0
#include "collector/query/inventory.h"

#include <gtest/gtest.h>

#include <map>

namespace nodetrail::collector {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kNow = 1'700'000'000 * kSecond;

class InventoryTest : public ::testing::Test {
 protected:
  void Reported(const std::string& agent, uint64_t seconds_ago, uint64_t epoch = 1, uint64_t seq = 5) {
    auto* status = status_.add_agents();
    status->set_tenant("acme");
    status->set_agent_id(agent);
    status->set_batches(seq + 1);
    status->set_epoch(epoch);
    status->set_last_seq(seq);
    status->set_last_received_wall_ns(kNow - seconds_ago * kSecond);
  }
  void Enrol(const std::string& agent, const std::string& key = "k") {
    trail::v1::LogEntry entry;
    entry.set_tenant("acme");
    entry.set_wall_ns(kNow - 1000 * kSecond);
    entry.mutable_enrol()->set_agent_id(agent);
    entry.mutable_enrol()->set_token_id("t1");
    entry.mutable_enrol()->set_identity_spki_sha256(trail::Bytes(trail::Sha256Of(key)));
    ASSERT_TRUE(enrolments_.Take(entry, index_++).ok());
  }
  void Revoke(const std::string& agent, uint64_t epoch, uint64_t seq) {
    trail::v1::LogEntry entry;
    entry.set_tenant("acme");
    entry.set_wall_ns(kNow);
    entry.mutable_revoke()->set_agent_id(agent);
    entry.mutable_revoke()->set_epoch(epoch);
    entry.mutable_revoke()->set_effective_seq(seq);
    entry.mutable_revoke()->set_reason("stolen");
    ASSERT_TRUE(enrolments_.Take(entry, index_++).ok());
  }
  std::map<std::string, query::v1::AgentRecord> Build() {
    std::map<std::string, query::v1::AgentRecord> out;
    const query::v1::AgentsResponse built = BuildInventory({&status_, &enrolments_, &stopped_, kNow, 30 * kSecond});
    for (const auto& agent : built.agents()) {
      out[agent.agent_id()] = agent;
    }
    return out;
  }

  query::v1::StatusResponse status_;
  trail::Enrolments enrolments_;
  std::set<std::string> stopped_;
  uint64_t index_ = 0;
};

TEST_F(InventoryTest, EachAgentHasItsState) {
  Enrol("reports");
  Reported("reports", 60);
  Reported("silent", 61);
  Enrol("never");
  Reported("stopped", 3600);
  Reported("gone", 25 * 3600);
  stopped_ = {"stopped", "gone"};
  auto agents = Build();
  ASSERT_EQ(agents.size(), 5U);
  EXPECT_EQ(agents["reports"].state(), query::v1::AGENT_STATE_REPORTING);
  EXPECT_EQ(agents["reports"].token_id(), "t1");
  EXPECT_EQ(agents["silent"].state(), query::v1::AGENT_STATE_SILENT);
  EXPECT_EQ(agents["silent"].enrolled_wall_ns(), 0U);
  EXPECT_EQ(agents["never"].state(), query::v1::AGENT_STATE_NEVER_REPORTED);
  EXPECT_EQ(agents["stopped"].state(), query::v1::AGENT_STATE_STOPPED);
  EXPECT_EQ(agents["gone"].state(), query::v1::AGENT_STATE_GONE);
}

TEST_F(InventoryTest, RevokedUntilEnrolledWithAnotherKey) {
  Enrol("web-1");
  Reported("web-1", 1);
  Revoke("web-1", 1, 7);  // one more may come
  EXPECT_EQ(Build()["web-1"].state(), query::v1::AGENT_STATE_REPORTING);
  Revoke("web-1", 1, 6);
  EXPECT_EQ(Build()["web-1"].state(), query::v1::AGENT_STATE_REVOKED);
  EXPECT_EQ(Build()["web-1"].revoke_reason(), "stolen");
  Enrol("web-1");
  EXPECT_EQ(Build()["web-1"].state(), query::v1::AGENT_STATE_REVOKED);
  Enrol("web-1", "another");
  EXPECT_EQ(Build()["web-1"].state(), query::v1::AGENT_STATE_REPORTING);
  Enrol("db-1");
  Revoke("db-1", 1, 0);
  EXPECT_EQ(Build()["db-1"].state(), query::v1::AGENT_STATE_REVOKED);
}

}  // namespace
}  // namespace nodetrail::collector
