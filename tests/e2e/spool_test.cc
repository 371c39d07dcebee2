// SPDX-License-Identifier: Apache-2.0
//
// A spool in trouble under the real agent: what it costs is in the trail.
#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "tests/e2e/harness.h"

namespace nodetrail::e2e {
namespace {

namespace fs = std::filesystem;

uint64_t Number(const Json& status, const char* key) { return status.is_null() ? 0 : status.value(key, uint64_t{0}); }

std::vector<fs::path> Segments(const Node& node) {
  std::vector<fs::path> out;
  for (const auto& entry : fs::directory_iterator(node.spool_dir())) {
    if (entry.path().extension() == ".seg") out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// The n-th batch record of a segment (agent/spool/record_format.md) loses a bit.
void SpoilBatch(const fs::path& segment, int n) {
  const std::string bytes = ReadAll(segment);
  size_t at = 64;
  for (int batch = 0; at + 24 < bytes.size() && bytes.compare(at, 4, "NTSR") == 0;) {
    uint32_t length = 0;
    std::memcpy(&length, bytes.data() + at + 8, sizeof(length));
    if (bytes[at + 5] == 1 && batch++ == n) {
      std::fstream file(segment, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(at + 24 + length / 2));
      file.put(static_cast<char>(bytes[at + 24 + length / 2] ^ 1));
      return;
    }
    at += (24 + length + 7) / 8 * 8;
  }
  ADD_FAILURE() << segment << " has no batch " << n;
}

// Bytes that rot while the agent runs: what follows is sent, and the agent
// signs what is missing, and where, as soon as the log goes on behind it.
// Readable again, it comes late and lies beside the log, and the status says so.
TEST(Spool, WhatCanNotBeReadBackIsDeclared) {
  Node node("rot");
  const std::string config = ReadAll(node.collector_config());
  WriteFile(node.collector_config(), config + "checkpoint_interval_ms: 60000\n");  // nothing is let go meanwhile
  node.StartAgent();                                                               // no collector yet
  for (int i = 0; i < 12; ++i) {
    const uint64_t before = Number(node.AgentStatus(), "spool_batches");
    RunCommand({"touch", node.dir() + "/f" + std::to_string(i)});
    ASSERT_TRUE(Eventually([&] { return Number(node.AgentStatus(), "spool_batches") > before; }, seconds(20)));
  }
  const fs::path segment = Segments(node).at(0);
  SpoilBatch(segment, 6);
  node.StartCollector();
  ASSERT_TRUE(node.Settled(seconds(60)));
  std::vector<Json> losses;
  ASSERT_TRUE(Eventually(
      [&] {
        losses = node.Query({"--since", "1h", "--kind", "agent.loss"});
        return !losses.empty();
      },
      seconds(20)));
  ASSERT_EQ(losses.size(), 1U);
  const Json& loss = losses[0].at("resource");
  EXPECT_EQ(loss.at("stage"), "spool") << loss.dump();
  EXPECT_EQ(loss.at("seq_from"), 6) << loss.dump();
  EXPECT_EQ(loss.at("seq_to"), 6) << loss.dump();
  EXPECT_GT(loss.at("count").get<uint64_t>(), 0U) << loss.dump();
  EXPECT_LE(loss.at("from").get<std::string>(), loss.at("to").get<std::string>());
  EXPECT_NE(loss.dump().find(segment.filename().string() + " at "), std::string::npos) << loss.dump();
  // In the running epoch a word excuses no hole of that epoch: the two stand side by side.
  const auto [code, report] = node.Verify();
  EXPECT_EQ(code, 2) << report.dump(1);
  EXPECT_NE(report.dump().find("stage spool"), std::string::npos) << report.dump(1);
  EXPECT_EQ(Number(node.AgentStatus(), "unread_batches"), 1U);
  EXPECT_EQ(Number(node.Status(), "late_batches"), 0U);
  node.collector.Signal(SIGKILL);
  ASSERT_EQ(node.collector.Wait(seconds(10)).value_or(-1), 128 + SIGKILL);
  SpoilBatch(segment, 6);  // the bit flips back
  WriteFile(node.collector_config(), config);
  node.StartCollector();
  RunCommand({"touch", node.dir() + "/after"});
  ASSERT_TRUE(node.Settled(seconds(60)));
  EXPECT_EQ(node.Query({"--since", "1h", "--kind", "agent.loss"}).size(), 1U);
  EXPECT_TRUE(Eventually([&] { return Number(node.AgentStatus(), "spool_batches") == 0; }, seconds(20)));
  EXPECT_EQ(Number(node.AgentStatus(), "late_batches"), 1U);
  EXPECT_EQ(Number(node.Status(), "late_batches"), 1U);
  EXPECT_NE(node.Cli({"status"}).out.find("late       1 batches"), std::string::npos);
  EXPECT_EQ(node.Verify().first, 2);
}

}  // namespace
}  // namespace nodetrail::e2e
