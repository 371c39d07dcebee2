// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/enrich/host.h"
#include "agent/enrich/operations.h"
#include "agent/enrich/socket_names.h"
#include "agent/enrich/syscall_names.h"

namespace nodetrail::agent {
namespace {

class EnrichTest : public ::testing::Test {
 protected:
  EnrichTest() {
    std::string pattern = ::testing::TempDir() + "nt_enrich_XXXXXX";
    dir = ::mkdtemp(pattern.data());
  }
  ~EnrichTest() override { std::filesystem::remove_all(dir); }
  std::string Write(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = dir / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
    return path;
  }
  std::filesystem::path dir;
};

TEST_F(EnrichTest, LocalNamesAreThereAtOnceAndFollowTheFile) {
  NssOptions options;
  options.passwd_file = Write("passwd", "root:x:0:0::/root:/bin/sh\nbob:x:4000001:4000001::/:/bin/sh\n");
  options.group_file = Write("group", "root:x:0:\nbobs:x:4000001:bob\n");
  auto made = NssNameResolver::Create(options);
  ASSERT_TRUE(made.ok());
  NameResolver& names = **made;
  EXPECT_EQ(names.User(4000001).state, NameState::kKnown);
  EXPECT_EQ(names.User(4000001).name, "bob");
  EXPECT_EQ(names.Group(4000001).name, "bobs");
  const uint64_t generation = names.Generation();
  // A user made a moment ago, of another length so that the stamp differs for sure.
  Write("passwd", "root:x:0:0::/root:/bin/sh\nbob:x:4000001:4000001::/:/bin/sh\ncarol:x:4000002:1::/:/bin/sh\n");
  EXPECT_EQ(names.User(4000002).name, "carol");
  EXPECT_NE(names.Generation(), generation);
}

TEST_F(EnrichTest, UnknownIdsAreAskedElsewhereWithoutWaiting) {
  NssOptions options;
  options.passwd_file = Write("passwd", "");
  options.group_file = Write("group", "");
  auto made = NssNameResolver::Create(options);
  ASSERT_TRUE(made.ok());
  NameResolver& names = **made;
  EXPECT_EQ(names.User(0).state, NameState::kPending);
  EXPECT_EQ(names.User(4111222333U).state, NameState::kPending);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while ((names.User(0).state == NameState::kPending || names.User(4111222333U).state == NameState::kPending) &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
    names.Poll();
  }
  EXPECT_EQ(names.User(0).name, "root");  // NSS has its own file
  EXPECT_EQ(names.User(4111222333U).state, NameState::kAbsent);
}

TEST_F(EnrichTest, NamesAreText) {
  NssOptions options;
  options.passwd_file = Write("passwd", "b\xff\xfe:x:4000001:1::/:/bin/sh\n");
  options.group_file = Write("group", "");
  auto made = NssNameResolver::Create(options);
  EXPECT_EQ((*made)->User(4000001).name, "b??");
}

TEST_F(EnrichTest, HostFacts) {
  Write("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME='Debian \"12\"'\n# comment\n");
  Write("etc/machine-id", "3d1219c7c4c5404aaa1f6d2a48adfda4\n");
  Write("proc/sys/kernel/random/boot_id", "6ce3a6df-0a4d-4508-af43-4e2ade0ef9d3\n");
  Write("sys/kernel/security/lsm", "lockdown,capability,apparmor,bpf");
  Write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  const event::v1::Host host = ReadHost({{"env", "test"}}, "0.1.0", dir);
  EXPECT_EQ(host.os_id(), "debian");
  EXPECT_EQ(host.os_version(), "12");
  EXPECT_EQ(host.os_name(), "Debian \"12\"");
  EXPECT_EQ(host.boot_id(), "6ce3a6df-0a4d-4508-af43-4e2ade0ef9d3");
  EXPECT_EQ(host.lsm(), "lockdown,capability,apparmor,bpf");
  EXPECT_EQ(host.lockdown(), "integrity");
  EXPECT_EQ(host.labels().at("env"), "test");
  EXPECT_EQ(host.agent_version(), "0.1.0");
  EXPECT_GT(host.cpus(), 0U);
  EXPECT_FALSE(host.kernel_release().empty());
  // printf 'nodetrail-machine-id\n3d12…' | sha256sum: the id itself is nowhere.
  EXPECT_EQ(host.machine_id_hash(), "dd528f52f6e26860e0a6222663dd6f467a215c511ae256c8ec3b9a7d6b7e1923");
  EXPECT_EQ(host.SerializeAsString().find("3d1219c7"), std::string::npos);
}

TEST_F(EnrichTest, MissingFactsAreEmpty) {
  const event::v1::Host host = ReadHost({}, "x", dir);
  EXPECT_EQ(host.os_id(), "");
  EXPECT_EQ(host.machine_id_hash(), "");
}

TEST(SocketNames, NumbersWithoutANameStayNumbers) {
  EXPECT_EQ(FamilyName(AF_INET6), "inet6");
  EXPECT_EQ(FamilyName(45), "45");
  EXPECT_EQ(FamilyName(AF_UNSPEC), "");
  EXPECT_EQ(SocketTypeName(SOCK_SEQPACKET), "seqpacket");
  EXPECT_EQ(SocketTypeName(9), "9");
  EXPECT_EQ(ProtocolName(AF_INET, 17), "udp");
  EXPECT_EQ(ProtocolName(AF_INET, 89), "89");
  EXPECT_EQ(ProtocolName(AF_PACKET, 3), "0x0003");
  EXPECT_EQ(ProtocolName(AF_PACKET, 0), "0x0000") << "deaf until it is bound";
  EXPECT_EQ(ProtocolName(AF_UNIX, 0), "");
}

TEST(SyscallNames, BothTables) {
  EXPECT_EQ(SyscallName(257, false), "openat");
  EXPECT_EQ(SyscallName(257 | 0x40000000U, false), "openat");  // x32
  EXPECT_EQ(SyscallName(5, true), "open");
  EXPECT_EQ(SyscallName(5, false), "");  // fstat
  EXPECT_EQ(SyscallName(38, true), "rename");
}

TEST(Operations, AreSpeltAsTheKernelSpellsThem) {
  const auto name = [](uint16_t type, std::initializer_list<uint64_t> args) {
    nt_act act{};
    std::copy(args.begin(), args.end(), act.args);
    return OperationName(type, act, false);
  };
  EXPECT_EQ(name(NT_PTRACE, {0x4206}), "PTRACE_SEIZE");
  EXPECT_EQ(name(NT_PTRACE, {0x9999}), "0x9999");
  EXPECT_EQ(name(NT_NS_UNSHARE, {0x10000000 | 0x20000}), "CLONE_NEWNS|CLONE_NEWUSER");
  EXPECT_EQ(name(NT_NS_UNSHARE, {0xffffffff00000000U | 0x20000 | 1}), "CLONE_NEWNS|0x1") << "an int: the rest is noise";
  EXPECT_EQ(name(NT_NS_SETNS, {3, 0}), "any");
  EXPECT_EQ(name(NT_FS_MOUNT, {0, 0, 0, 0xc0ed0000 | 4096 | 1}), "MS_RDONLY|MS_BIND");
  EXPECT_EQ(name(NT_FS_UMOUNT, {0, 0}), "0");
  EXPECT_EQ(name(NT_REBOOT, {0, 0, 0x89abcdef}), "LINUX_REBOOT_CMD_CAD_ON");
  EXPECT_EQ(name(NT_BPF_DETACH, {9}), "BPF_PROG_DETACH");
  EXPECT_EQ(name(NT_FILE_CHMOD, {1}), "");
}

TEST(SyscallNames, OfBothTables) {
  EXPECT_EQ(SyscallName(257, false), "openat");
  EXPECT_EQ(SyscallName(268, false), "fchmodat");
  EXPECT_EQ(SyscallName(306, true), "fchmodat");
  EXPECT_EQ(SyscallName(59, false), "execve");
  EXPECT_EQ(SyscallName(39, false), "");
}

}  // namespace
}  // namespace nodetrail::agent
