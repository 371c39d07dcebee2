// SPDX-License-Identifier: Apache-2.0
//
// Whole processes that something happens to: a collector with an honest
// shipper, and an agent with its probes.
#ifndef NODETRAIL_TESTS_FAULT_PROCESS_FIXTURE_H_
#define NODETRAIL_TESTS_FAULT_PROCESS_FIXTURE_H_

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "collector/test_fixture.h"
#include "tests/e2e/harness.h"
#include "tests/fakes/tcp_proxy.h"
#include "tests/fault/sweep.h"
#include "tests/fault/trail_facts.h"

namespace nodetrail::fault {

using collector::WaitUntil;
using std::chrono::milliseconds;
using std::chrono::seconds;

// The real collector, and one honest shipper behind a proxy.
class FaultCollector : public collector::CollectorTest {
 protected:
  FaultCollector() { WriteCollectorConfig(pki(), dir_.path()); }

  // `through`: a command that runs what follows it.
  void StartProcess(std::vector<std::string> through = {}) {
    process_.reset();
    process_ =
        std::make_unique<CollectorProcess>(dir_.path(), std::map<std::string, std::string>(), std::move(through));
    const int port = process_->Port();
    ASSERT_NE(port, 0) << Tail(dir_.path() + "/collector.log");
    port_ = port;
    if (proxy_ == nullptr) proxy_ = std::make_unique<testing::TcpProxy>(port);
    proxy_->set_target(port);
  }
  void StartShipper() {
    shipper_ = std::make_unique<agent::Shipper>(ShipTo(proxy_->port()), &source_, &clock_);
    shipper_->Start();
  }
  void Add(int n, size_t padding = 50) {
    for (int i = 0; i < n; ++i) {
      const trail::SealedBatch batch = maker_.Next(1, padding);
      sent_.push_back(batch.leaf);
      source_.Add(batch);
    }
    if (shipper_ != nullptr) shipper_->Notify();
  }
  bool Drained() {
    return WaitUntil([&] { return source_.size() == 0; }, milliseconds(60'000));
  }
  // Stops it and judges the trail: every batch once, byte for byte, intact.
  void ExpectAll() {
    ASSERT_TRUE(Drained()) << shipper_->Stats().last_error;
    process_->child().Signal(SIGTERM);
    EXPECT_EQ(process_->child().Wait(seconds(30)), 0) << Tail(dir_.path() + "/collector.log");
    const auto logged = ReadTrail(dir_.path() + "/trail");
    ASSERT_TRUE(logged.ok()) << logged.status().ToString();
    std::vector<std::string> leaves;
    for (const LoggedBatch& batch : *logged) {
      if (batch.agent_id == "web-1") leaves.push_back(batch.leaf);
    }
    EXPECT_EQ(leaves.size(), sent_.size());
    EXPECT_TRUE(leaves == sent_);
    const std::string log = dir_.path() + "/verify.log";
    Child verify({Binary("nodetrail"), "verify", "--identity-ca", pki().File("identity-ca/ca.pem"), "--log-key",
                  dir_.path() + "/trail/log/log.vkey", dir_.path() + "/trail"},
                 log);
    EXPECT_EQ(verify.Wait(seconds(60)), 0) << Tail(log);
  }

  collector::MemorySource source_;
  std::vector<std::string> sent_;
  collector::BatchMaker maker_{pki(), "web-1"};
  int port_ = 0;
  std::unique_ptr<CollectorProcess> process_;
  std::unique_ptr<testing::TcpProxy> proxy_;
  std::unique_ptr<agent::Shipper> shipper_;
};

class FaultAgent : public ::testing::Test {
 protected:
  // `count` files made and deleted; how many that were.
  uint64_t Act(int count) {
    const std::string work = node_.dir() + "/work";
    std::filesystem::create_directories(work);
    const e2e::Json truth = e2e::Json::parse(
        e2e::RunCommand({e2e::Binary("nt_e2e_load"), work, "--count", std::to_string(count)}).out, nullptr, false);
    EXPECT_EQ(truth.at("failed"), 0);
    pids_.push_back(truth.at("pid"));
    return truth.at("deleted").get<uint64_t>();
  }
  // Deletions by the load that are in the trail, and those that are counted as lost.
  std::pair<uint64_t, uint64_t> Told() {
    uint64_t told = 0, lost = 0;
    for (const pid_t pid : pids_) {
      told += node_.Query({"--since", "1h", "--kind", "file.delete", fmt::format("pid:{}", pid)}).size();
    }
    for (const e2e::Json& e : node_.Query({"--since", "1h", "--kind", "agent.loss"})) {
      if (e.at("resource").at("kind") == "file.delete") lost += e.at("resource").at("count").get<uint64_t>();
    }
    return {told, lost};
  }

  e2e::Node node_{"fault"};
  std::vector<pid_t> pids_;
};

}  // namespace nodetrail::fault

#endif  // NODETRAIL_TESTS_FAULT_PROCESS_FIXTURE_H_
