// SPDX-License-Identifier: Apache-2.0
//
// Rows of the fault table that need whole processes: no memory, no
// descriptors, no CPU, no disk, and peers that want harm.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "collector/test_fixture.h"
#include "tests/e2e/harness.h"
#include "tests/fakes/tcp_proxy.h"
#include "tests/fault/sweep.h"
#include "tests/fault/trail_facts.h"

namespace nodetrail::fault {
namespace {

namespace fs = std::filesystem;
using collector::BatchMaker;
using collector::MemorySource;
using collector::RawAgent;
using collector::WaitUntil;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::TcpProxy;

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

uint64_t OpenDescriptors(pid_t pid) {
  std::error_code none;
  uint64_t highest = 0;
  for (const auto& entry : fs::directory_iterator(fmt::format("/proc/{}/fd", pid), none)) {
    highest = std::max<uint64_t>(highest, std::strtoull(entry.path().filename().c_str(), nullptr, 10));
  }
  return highest + 1;
}

// At most `limit` descriptors for a process; 0: as many as it may have.
void LimitDescriptors(pid_t pid, uint64_t limit) {
  rlimit now{};
  ASSERT_EQ(::prlimit(pid, RLIMIT_NOFILE, nullptr, &now), 0);
  now.rlim_cur = limit == 0 ? now.rlim_max : limit;
  ASSERT_EQ(::prlimit(pid, RLIMIT_NOFILE, &now, nullptr), 0);
}

uint64_t PeakMemoryBytes(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) * 1024;
  }
  return 0;
}

// The real collector, and one honest shipper behind a proxy.
class FaultCollector : public collector::CollectorTest {
 protected:
  FaultCollector() { WriteCollectorConfig(pki(), dir_.path()); }

  void StartProcess(const MemoryGroup* group = nullptr) {
    process_.reset();
    const std::map<std::string, std::string> env;
    process_ = group == nullptr ? std::make_unique<CollectorProcess>(dir_.path(), env)
                                : std::make_unique<CollectorProcess>(dir_.path(), env, group->Enter({}));
    const int port = process_->Port();
    ASSERT_NE(port, 0) << Tail(dir_.path() + "/collector.log");
    port_ = port;
    if (proxy_ == nullptr) proxy_ = std::make_unique<TcpProxy>(port);
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

  MemorySource source_;
  std::vector<std::string> sent_;
  BatchMaker maker_{pki(), "web-1"};
  int port_ = 0;
  std::unique_ptr<CollectorProcess> process_;
  std::unique_ptr<TcpProxy> proxy_;
  std::unique_ptr<agent::Shipper> shipper_;
};

// The kernel kills the collector for want of memory, in the middle of load.
TEST_F(FaultCollector, Row16_AnOomKillLosesNothing) {
  const MemoryGroup group(1U << 30);
  if (!group.obstacle().empty()) GTEST_SKIP() << "no memory cgroup can be made here: " << group.obstacle();
  StartProcess(&group);
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

// No descriptor is left for bodies, connections, the index: batches wait with
// the agent.
TEST_F(FaultCollector, Row17_NoDescriptorsLeft) {
  StartProcess();
  StartShipper();
  Add(20);
  ASSERT_TRUE(Drained());
  LimitDescriptors(process_->child().pid(), OpenDescriptors(process_->child().pid()) / 2);
  Add(40);
  proxy_->CutAll();
  // New bodies can't be stored, or the new connection not be taken.
  ASSERT_TRUE(WaitUntil([&] {
    const agent::ShipStats stats = shipper_->Stats();
    return stats.nacks_retry > 0 || (!stats.connected && !stats.last_error.empty());
  }));
  EXPECT_EQ(process_->child().Wait(milliseconds(0)), std::nullopt) << "it does not die of it";
  LimitDescriptors(process_->child().pid(), 0);
  ExpectAll();
}

// Stopped for longer than a connection may be silent; then it goes on.
TEST_F(FaultCollector, Row18_StoppedAndContinued) {
  StartProcess();
  StartShipper();
  Add(20);
  ASSERT_TRUE(Drained());
  process_->child().Signal(SIGSTOP);
  Add(40);
  // The shipper's patience is 3 s here.
  ASSERT_TRUE(WaitUntil([&] { return !shipper_->Stats().connected; }));
  process_->child().Signal(SIGCONT);
  ExpectAll();
}

// A file system of its own, filled to the last page.
TEST_F(FaultCollector, Row36_TheDiskIsFull) {
  if (::geteuid() != 0) GTEST_SKIP() << "a mount needs root";
  ASSERT_EQ(::unshare(CLONE_NEWNS), 0);  // of this thread: the mount is seen by it and its children
  ASSERT_EQ(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
  const std::string trail = dir_.path() + "/trail", filler = trail + "/filler";
  fs::create_directories(trail);
  ASSERT_EQ(::mount("tmpfs", trail.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=2m"), 0);
  struct Unmount {
    std::string dir;
    ~Unmount() { ::umount2(dir.c_str(), MNT_DETACH); }
  } unmount{trail};
  StartProcess();
  StartShipper();
  Add(20);
  ASSERT_TRUE(Drained());
  {
    std::ofstream fill(filler, std::ios::binary);
    const std::string chunk(4096, 'x');
    while (fill.write(chunk.data(), 4096).flush()) {
    }
  }
  Add(40);
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().nacks_retry > 0; })) << shipper_->Stats().last_error;
  EXPECT_GE(source_.size(), 1U);
  EXPECT_EQ(process_->child().Wait(milliseconds(0)), std::nullopt);
  fs::remove(filler);
  ExpectAll();
  process_.reset();
}

// Bytes that no agent would send, in floods, by somebody with a certificate
// and by somebody without: the collector's memory is bounded, and the honest
// agent is served all the while.
TEST_F(FaultCollector, Row45_HostileAgents) {
  StartProcess();
  StartShipper();
  const pid_t pid = process_->child().pid();
  std::mt19937 random(45);
  const auto noise = [&](size_t size) {
    std::string out(size, '\0');
    for (char& c : out) c = static_cast<char>(random());
    return out;
  };
  BatchMaker second(pki(), "web-2");
  const trail::SealedBatch good = second.Next(1, 100'000);
  for (int round = 0; round < 20; ++round) {
    Add(5);
    // Without TLS: noise, and the beginning of a handshake that never ends.
    std::vector<UniqueFd> sockets;
    for (int i = 0; i < 20; ++i) {
      sockaddr_in to{};
      to.sin_family = AF_INET;
      to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      to.sin_port = htons(static_cast<uint16_t>(port_));
      sockets.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      ASSERT_EQ(::connect(sockets.back().get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
      const std::string bytes = i % 2 == 0 ? noise(4096) : std::string("\x16\x03\x01\xff\xff", 5);
      ::send(sockets.back().get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    // With another agent's certificate: frames before Hello, ids of others, noise as leaf, lengths as large as they go.
    RawAgent early(port_, pki().Agent("web-2"));
    early.Send(good);
    EXPECT_FALSE(early.Read().has_ack());
    RawAgent other(port_, pki().Agent("web-2"));
    other.Hello("web-1");
    EXPECT_FALSE(other.Read().has_welcome());
    RawAgent flood(port_, pki().Agent("web-2"));
    flood.Hello("web-2");
    for (int i = 0; i < 30; ++i) {
      std::string leaf = i % 3 == 0 ? noise(65'534) : good.leaf;
      if (i % 3 == 1) leaf[random() % leaf.size()] = static_cast<char>(random());
      // Nobody reads the answers.
      if (!flood.Send(leaf, noise(i % 5 == 0 ? 8U << 20 : 100'000))) break;
    }
  }
  EXPECT_EQ(process_->child().Wait(milliseconds(0)), std::nullopt) << "it is alive";
  EXPECT_TRUE(Drained()) << shipper_->Stats().last_error;
  const uint64_t peak = PeakMemoryBytes(pid);
  fmt::print("peak memory {} MiB\n", peak >> 20);
  EXPECT_GT(peak, 0U);
  // gRPC's quota, what all streams may hold, and the rest of the program.
  EXPECT_LT(peak, 768U << 20);
  ExpectAll();
}

// ---- the agent, whole, with its probes ------------------------------------

using e2e::AgentOptions;
using e2e::Eventually;
using e2e::Json;
using e2e::Node;

class FaultAgent : public ::testing::Test {
 protected:
  // `count` files made and deleted; how many that were.
  uint64_t Act(int count) {
    const std::string work = node_.dir() + "/work";
    fs::create_directories(work);
    const Json truth = Json::parse(
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
    for (const Json& e : node_.Query({"--since", "1h", "--kind", "agent.loss"})) {
      if (e.at("resource").at("kind") == "file.delete") lost += e.at("resource").at("count").get<uint64_t>();
    }
    return {told, lost};
  }

  Node node_{"fault"};
  std::vector<pid_t> pids_;
};

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

// No descriptor for a new segment, a connection, a look into /proc: nothing is
// lost in silence, and it goes on once there are some.
TEST_F(FaultAgent, Row17_NoDescriptorsLeft) {
  node_.StartCollector();
  AgentOptions options;
  options.extra_yaml = "spool: {segment_bytes: 1048576}\n";
  node_.StartAgent(options);
  uint64_t truth = Act(100);
  ASSERT_TRUE(node_.Settled());
  LimitDescriptors(node_.agent.pid(), 3);
  EXPECT_EQ(node_.StopCollector(), 0);
  truth += Act(20'000);  // more than a segment
  EXPECT_TRUE(node_.agent.running());
  LimitDescriptors(node_.agent.pid(), 0);
  node_.StartCollector();
  ASSERT_TRUE(node_.Settled(seconds(60))) << node_.AgentStatus().dump();
  const auto [told, lost] = Told();
  EXPECT_EQ(told + lost, truth);
  const int verdict = node_.Verify().first;
  EXPECT_EQ(verdict, lost > 0 ? 1 : 0);
}

TEST_F(FaultAgent, Row18_StoppedAndContinued) {
  node_.StartCollector();
  AgentOptions options;
  options.ring_bytes_per_cpu = 65536;
  node_.StartAgent(options);
  uint64_t truth = Act(100);
  ASSERT_TRUE(node_.Settled());
  node_.agent.Signal(SIGSTOP);
  truth += Act(5'000);  // more than the rings hold
  node_.agent.Signal(SIGCONT);
  ASSERT_TRUE(node_.Settled(seconds(60)));
  const auto [told, lost] = Told();
  EXPECT_GT(lost, 0U);
  EXPECT_EQ(told + lost, truth);
  EXPECT_EQ(node_.Verify().first, 1);
}

}  // namespace
}  // namespace nodetrail::fault
