// SPDX-License-Identifier: Apache-2.0
//
// Rows of the fault table that need whole processes: no descriptors, no CPU, no
// disk, and peers that want harm.
#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <random>

#include "tests/fault/process_fixture.h"

namespace nodetrail::fault {
namespace {

namespace fs = std::filesystem;
using collector::BatchMaker;
using collector::RawAgent;
using e2e::AgentOptions;

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
