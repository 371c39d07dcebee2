// SPDX-License-Identifier: Apache-2.0
//
// Rows of the fault table about memory: a process that gets none, and one that
// the kernel kills for want of it.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "nodetrail/base/last_words.h"
#include "tests/fault/process_fixture.h"

namespace nodetrail::fault {
namespace {

using collector::RawAgent;
using e2e::Eventually;

// A memory cgroup for one process of ours. v1 or v2, below the cgroup that
// this test runs in.
class MemoryGroup {
 public:
  explicit MemoryGroup(uint64_t bytes) {
    std::ifstream own("/proc/self/cgroup");
    for (std::string line; std::getline(own, line);) {
      const size_t second = line.find(':', line.find(':') + 1);
      if (second == std::string::npos) continue;
      const std::string controllers = line.substr(line.find(':') + 1, second - line.find(':') - 1);
      const std::string path = line.substr(second + 1);
      if (controllers == "memory")
        TryAt("/sys/fs/cgroup/memory" + path, "memory.limit_in_bytes", "memory.usage_in_bytes", bytes);
      if (controllers.empty()) TryAt("/sys/fs/cgroup" + path, "memory.max", "memory.current", bytes);
    }
  }
  ~MemoryGroup() {
    if (dir_.empty()) return;
    WaitUntil([&] { return ::rmdir(dir_.c_str()) == 0; }, milliseconds(5'000));
  }
  // Empty if there is one; else why not.
  [[nodiscard]] const std::string& obstacle() const { return obstacle_; }
  // A command that enters the group, then becomes `argv`.
  [[nodiscard]] std::vector<std::string> Enter(const std::vector<std::string>& argv) const {
    std::vector<std::string> out{"/bin/sh", "-c", "echo $$ >" + dir_ + "/cgroup.procs && exec \"$@\"", "sh"};
    out.insert(out.end(), argv.begin(), argv.end());
    return out;
  }
  // Takes away what can be taken: v2 kills for it, v1 refuses at some point, and whatever grows then is killed.
  void Squeeze() const {
    uint64_t usage = 0;
    std::ifstream(dir_ + "/" + usage_) >> usage;
    while (usage > (1U << 20) && Limit(usage)) usage -= 128U << 10;
  }

 private:
  bool Limit(uint64_t bytes) const {
    std::ofstream out(limit_);
    out << bytes << std::flush;
    return out.good();
  }

  void TryAt(const std::string& parent, const char* limit, const char* usage, uint64_t bytes) {
    if (!dir_.empty()) return;
    const std::string dir = fmt::format("{}/nt-fault-{}", parent, ::getpid());
    if (::mkdir(dir.c_str(), 0755) != 0) {
      obstacle_ = fmt::format("mkdir {}: {}", dir, ErrnoName(errno));
      return;
    }
    limit_ = dir + "/" + limit;
    usage_ = usage;
    if (!Limit(bytes)) {
      obstacle_ = "no memory limit can be set in " + dir;
      ::rmdir(dir.c_str());
      return;
    }
    dir_ = dir;
    obstacle_.clear();
  }

  std::string dir_, limit_, usage_;
  std::string obstacle_ = "no memory cgroup";
};

// No more address space than a process has, from now on.
void NoMoreMemory(pid_t pid) {
  const rlimit none{.rlim_cur = 1, .rlim_max = RLIM_INFINITY};
  ASSERT_EQ(::prlimit(pid, RLIMIT_AS, &none, nullptr), 0);
}

// How a process ends that finds no memory, and that it says so.
void ExpectDeathForMemory(int status, const std::string& log) {
  fmt::print("ended with {}: {}\n", status, log.substr(log.rfind('\n', log.size() - 2) + 1));
  const bool aborted = status == 128 + SIGABRT;
  EXPECT_TRUE(aborted || status == kNoMemoryExitCode) << log;
  EXPECT_NE(log.find(aborted ? "aborted: " : "no memory is left"), std::string::npos) << log;
}

TEST_F(FaultCollector, Row15_NoAddressSpaceLeft) {
  StartProcess();
  StartShipper();
  Add(20);
  ASSERT_TRUE(Drained());
  NoMoreMemory(process_->child().pid());
  std::vector<std::unique_ptr<RawAgent>> streams;
  ASSERT_TRUE(WaitUntil(
      [&] {
        Add(1, 200'000);
        streams.push_back(std::make_unique<RawAgent>(port_, pki().Agent("web-2")));
        streams.back()->Hello("web-2");
        return process_->child().Wait(milliseconds(20)).has_value();
      },
      milliseconds(60'000)))
      << "it lives without memory";
  ExpectDeathForMemory(*process_->child().Wait(milliseconds(0)), Tail(dir_.path() + "/collector.log"));
  streams.clear();
  StartProcess();
  ExpectAll();
}

TEST_F(FaultAgent, Row15_NoAddressSpaceLeft) {
  node_.StartCollector();
  node_.StartAgent();
  const uint64_t before = Act(200);
  ASSERT_TRUE(node_.Settled());
  NoMoreMemory(node_.agent.pid());
  ASSERT_TRUE(Eventually(
      [&] {
        Act(5'000);
        return !node_.agent.running();
      },
      seconds(60)))
      << "it lives without memory";
  ExpectDeathForMemory(*node_.agent.Wait(milliseconds(0)), Tail(node_.log("agent")));
  pids_.resize(1);
  node_.StartAgent();
  ASSERT_TRUE(node_.Settled());
  EXPECT_EQ(Told().first, before);
  EXPECT_EQ(node_.Query({"--since", "1h", "--kind", "agent.gap"}).size(), 1U);
  EXPECT_EQ(node_.Verify().first, 1);
}

// The kernel kills the collector for want of memory, in the middle of load.
TEST_F(FaultCollector, Row16_AnOomKillLosesNothing) {
  const MemoryGroup group(1U << 30);
  if (!group.obstacle().empty()) GTEST_SKIP() << "no memory cgroup can be made here: " << group.obstacle();
  StartProcess(group.Enter({}));
  StartShipper();
  Add(20);
  ASSERT_TRUE(Drained());
  group.Squeeze();
  // Each connection takes some.
  std::vector<std::unique_ptr<RawAgent>> streams;
  ASSERT_TRUE(WaitUntil(
      [&] {
        Add(1);
        streams.push_back(std::make_unique<RawAgent>(port_, pki().Agent("web-2")));
        streams.back()->Hello("web-2");
        return process_->child().Wait(milliseconds(20)).has_value();
      },
      milliseconds(60'000)));
  EXPECT_EQ(process_->child().Wait(milliseconds(0)), 128 + SIGKILL);
  streams.clear();
  StartProcess();
  ExpectAll();
}

TEST_F(FaultAgent, Row16_AnOomKillIsADeclaredGap) {
  const MemoryGroup group(1U << 30);
  if (!group.obstacle().empty()) GTEST_SKIP() << "no memory cgroup can be made here: " << group.obstacle();
  node_.StartCollector();
  node_.WriteAgentConfig({});
  node_.agent =
      e2e::Process(group.Enter({e2e::Binary("nodetrail-agent"), "--config", node_.agent_config()}), node_.log("agent"));
  ASSERT_TRUE(Eventually([&] { return !node_.AgentStatus().is_null(); }, seconds(120)));
  const uint64_t before = Act(200);
  ASSERT_TRUE(node_.Settled());
  group.Squeeze();
  ASSERT_TRUE(Eventually(
      [&] {
        Act(5'000);
        return !node_.agent.running();
      },
      seconds(60)));
  EXPECT_EQ(node_.agent.Wait(milliseconds(0)), 128 + SIGKILL);
  pids_.resize(1);
  node_.StartAgent();
  ASSERT_TRUE(node_.Settled());
  EXPECT_EQ(Told().first, before);
  const auto gaps = node_.Query({"--since", "1h", "--kind", "agent.gap"});
  ASSERT_EQ(gaps.size(), 1U);
  EXPECT_FALSE(gaps[0].at("resource").at("clean").get<bool>());
  EXPECT_EQ(node_.Verify().first, 1);
}

}  // namespace
}  // namespace nodetrail::fault
