// SPDX-License-Identifier: Apache-2.0
//
// A batch is deleted on the node only once the log holds it, and the agent
// notices a log that does not hold any more what it held.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <set>

#include "tests/e2e/harness.h"

namespace nodetrail::e2e {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

void Touch(const Node& node, int from, int to) {
  for (int i = from; i < to; ++i) {
    RunCommand({"sh", "-c", "echo x > " + node.dir() + "/f" + std::to_string(i)});
  }
}

uint64_t Number(const Json& status, const char* key) { return status.is_null() ? 0 : status.value(key, uint64_t{0}); }

TEST(Receipts, ACollectorKilledBetweenDurableAndLoggedLosesAndDoublesNothing) {
  Node node("receipts");
  const std::string config = ReadAll(node.collector_config());
  WriteFile(node.collector_config(), config + "checkpoint_interval_ms: 60000\n");
  node.StartCollector();
  node.StartAgent();
  // Some at a time: what happens within 20 ms makes one batch.
  for (int i = 0; i < 20; i += 4) {
    const uint64_t before = Number(node.AgentStatus(), "awaiting_receipts");
    Touch(node, i, i + 4);
    ASSERT_TRUE(Eventually([&] { return Number(node.AgentStatus(), "awaiting_receipts") > before; }, seconds(40)));
  }
  node.collector.Signal(SIGKILL);
  ASSERT_EQ(node.collector.Wait(seconds(10)).value_or(-1), 128 + SIGKILL);
  // Durable there, and kept here.
  const Json held = node.AgentStatus();
  EXPECT_GE(Number(held, "acked_batches"), 5U);
  EXPECT_GE(Number(held, "spool_batches"), 5U);
  EXPECT_EQ(Number(held, "receipts"), 0U);

  WriteFile(node.collector_config(), config);
  node.StartCollector();
  Touch(node, 20, 25);
  ASSERT_TRUE(node.Settled(seconds(60)));
  ASSERT_TRUE(Eventually([&] { return Number(node.AgentStatus(), "spool_batches") == 0; }, seconds(60)));
  EXPECT_GT(Number(node.AgentStatus(), "receipts"), 5U);
  EXPECT_EQ(Number(node.AgentStatus(), "bad_receipts") + Number(node.AgentStatus(), "log_alarms"), 0U);
  std::multiset<std::string> paths;
  for (const Json& e : node.Query({"--since", "1h", "--kind", "file.create", "--path", node.dir() + "/f*"})) {
    paths.insert(e.at("resource").at("path").get<std::string>());
  }
  EXPECT_EQ(paths.size(), 25U);
  EXPECT_EQ(std::set<std::string>(paths.begin(), paths.end()).size(), 25U);
  EXPECT_EQ(node.Verify().first, 0);
}

// Restored from a backup behind the agent's back.
TEST(Receipts, ACollectorThatLostLoggedBatchesIsAnAlarmAndVerifySeesIt) {
  Node node("receipts-cut");
  node.StartCollector();
  node.StartAgent();
  Touch(node, 0, 5);
  ASSERT_TRUE(node.Settled());
  EXPECT_EQ(node.StopCollector(), 0);
  const std::string backup = node.dir() + "/backup";
  fs::copy(node.trail_dir(), backup, fs::copy_options::recursive);
  node.StartCollector();
  Touch(node, 5, 10);
  ASSERT_TRUE(node.Settled());
  ASSERT_TRUE(Eventually([&] { return Number(node.AgentStatus(), "spool_batches") == 0; }, seconds(30)));
  EXPECT_EQ(node.StopCollector(), 0);
  fs::remove_all(node.trail_dir());
  fs::copy(backup, node.trail_dir(), fs::copy_options::recursive);
  node.StartCollector();
  Touch(node, 10, 12);
  ASSERT_TRUE(Eventually([&] { return Number(node.AgentStatus(), "log_alarms") > 0; }, seconds(60)));
  const Json status = node.AgentStatus();
  EXPECT_EQ(status.at("health"), "degraded");
  EXPECT_NE(node.Cli({"status"}).out.find("ALARM"), std::string::npos);
  EXPECT_GT(Number(status, "spool_batches"), 0U);
  ASSERT_TRUE(Eventually([&] { return node.Verify().first == 3; }, seconds(30)));
  EXPECT_NE(node.Verify().second.dump().find("the log was longer once"), std::string::npos);
}

}  // namespace
}  // namespace nodetrail::e2e
