// SPDX-License-Identifier: Apache-2.0
#include "agent/health/status_document.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace nodetrail::agent {
namespace {

using Json = nlohmann::json;

class StatusDocument : public testing::Test {
 protected:
  StatusDocument() {
    config_.set_agent_id("web-1");
    config_.set_state_dir("/var/lib/nodetrail/agent");
    config_.mutable_capture()->mutable_scope()->set_mode("host");
    coverage_ = {{"tracepoint/syscalls/sys_exit_openat",
                  "tracepoint",
                  "file",
                  HookState::kAttached,
                  "attached",
                  {"file.open", "file.create"}}};
    facts_.config = &config_;
    facts_.coverage = &coverage_;
    facts_.ship.connected = true;
    facts_.now_wall_ns = 100'000'000'000;
  }
  [[nodiscard]] Json Render() const { return Json::parse(RenderStatus(facts_)); }

  config::v1::AgentConfig config_;
  std::vector<HookCoverage> coverage_;
  StatusFacts facts_;
};

TEST_F(StatusDocument, IsOkWhenNothingIsWrong) {
  const Json document = Render();
  EXPECT_EQ(document.at("health"), "ok");
  EXPECT_TRUE(document.at("problems").empty());
  EXPECT_EQ(document.at("spool_dir"), "/var/lib/nodetrail/agent/spool");
}

TEST_F(StatusDocument, TellsOfEachSortOfRings) {
  facts_.pipeline.lost_ring = 10;
  facts_.pipeline.lost_reserved = 3;
  facts_.pipeline.bulk = {4096, 100, 4096, 5000};
  facts_.pipeline.reserve = {2048, 0, 64, 1};
  const Json rings = Render().at("rings");
  EXPECT_EQ(rings.at("bulk"), Json::parse(R"({"bytes_per_cpu": 4096, "used_bytes": 100, "peak_bytes": 4096,
                                             "records": 5000, "lost": 7})"));
  EXPECT_EQ(rings.at("reserve"), Json::parse(R"({"bytes_per_cpu": 2048, "used_bytes": 0, "peak_bytes": 64,
                                                "records": 1, "lost": 3})"));
}

TEST_F(StatusDocument, AKindThatNoHookFeedsIsAProblem) {
  coverage_.push_back(
      {"tp_btf/inet_sock_set_state", "tracepoint", "network", HookState::kAbsent, "EPERM", {"net.connect"}});
  const Json document = Render();
  EXPECT_EQ(document.at("health"), "degraded");
  EXPECT_NE(document.at("problems").dump().find("inet_sock_set_state"), std::string::npos);
  EXPECT_TRUE(document.at("blind_spots").empty());
}

TEST_F(StatusDocument, AWayThatPassesUnseenIsABlindSpot) {
  coverage_.push_back({"io_uring", "tracepoint", "file", HookState::kAbsent, "not seen", {"file.open"}});
  const Json document = Render();
  EXPECT_EQ(document.at("health"), "ok");
  EXPECT_EQ(document.at("blind_spots"), Json({"io_uring: not seen"}));
}

TEST_F(StatusDocument, AFullSpoolIsAProblem) {
  facts_.refusing = true;
  EXPECT_EQ(Render().at("health"), "degraded");
}

TEST_F(StatusDocument, WhatTheSpoolCouldNotReadIsAProblem) {
  EXPECT_EQ(Render().at("unread_batches"), 0);
  facts_.ship.unread_batches = 7;
  facts_.ship.late_batches = 3;
  facts_.spool.unread_kept = 2;
  facts_.spool.unread_dropped = 1;
  const Json document = Render();
  EXPECT_EQ(document.at("health"), "degraded");
  EXPECT_NE(document.at("problems").dump().find("7 batches could not be read"), std::string::npos);
  EXPECT_EQ(document.at("unread_batches"), 7);
  EXPECT_EQ(document.at("unread_segments"), 2);
  EXPECT_EQ(document.at("unread_segments_dropped"), 1);
  EXPECT_EQ(document.at("late_batches"), 3);
}

TEST_F(StatusDocument, ACollectorMayBeAwayForAMinute) {
  facts_.ship.connected = false;
  facts_.ship.last_error = "ECONNREFUSED";
  facts_.spool.oldest_wall_ns = facts_.now_wall_ns - 59'000'000'000;
  EXPECT_EQ(Render().at("health"), "ok");
  EXPECT_DOUBLE_EQ(Render().at("lag_seconds").get<double>(), 59.0);
  facts_.spool.oldest_wall_ns = facts_.now_wall_ns - 61'000'000'000;
  EXPECT_EQ(Render().at("health"), "degraded");
  EXPECT_NE(Render().at("problems").dump().find("ECONNREFUSED"), std::string::npos);
}

}  // namespace
}  // namespace nodetrail::agent
