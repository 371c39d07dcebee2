// SPDX-License-Identifier: Apache-2.0
//
// Hooks that are taken from the agent behind its back: nothing in the kernel
// tells it, so it must find out itself, and say so.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "tests/e2e/harness.h"

namespace nodetrail::e2e {
namespace {

// Links to per-syscall tracepoints; those to what the kernel does are others.
std::vector<int> SyscallLinks(pid_t pid) {
  std::vector<int> out;
  const std::string proc = "/proc/" + std::to_string(pid);
  for (const auto& entry : std::filesystem::directory_iterator(proc + "/fdinfo")) {
    const std::string number = entry.path().filename().string();
    std::error_code error;
    const std::string what = std::filesystem::read_symlink(std::filesystem::path(proc) / "fd" / number, error).string();
    const bool link = what.find("bpf") != std::string::npos && what.find("link") != std::string::npos &&
                      ReadAll(entry.path().string()).find("link_type:\tperf") != std::string::npos;
    if (link || what == "anon_inode:[perf_event]") out.push_back(std::stoi(number));
  }
  return out;
}

// Has the process close its own descriptors, as a debugger does: its main thread
// waits in a system call, whose instruction is run again with other registers.
void CloseFrom(pid_t pid, const std::vector<int>& fds) {
  const auto ptrace = [](auto request, pid_t who, uintptr_t address, void* data) {
    ASSERT_EQ(::ptrace(request, who, address, data), 0) << std::strerror(errno);
  };
  int status = 0;
  ptrace(PTRACE_SEIZE, pid, 0, nullptr);
  ptrace(PTRACE_INTERRUPT, pid, 0, nullptr);
  ASSERT_EQ(::waitpid(pid, &status, __WALL), pid);
  user_regs_struct saved{};
  ptrace(PTRACE_GETREGS, pid, 0, &saved);
  const auto code = static_cast<unsigned long>(::ptrace(PTRACE_PEEKTEXT, pid, saved.rip - 2, nullptr));
  ASSERT_EQ(code & 0xffff, 0x050fUL) << "not stopped behind a system call";
  size_t closed = 0;
  for (const int fd : fds) {
    user_regs_struct regs = saved;
    regs.rip = saved.rip - 2;
    regs.rax = SYS_close;
    regs.orig_rax = static_cast<unsigned long long>(-1);
    regs.rdi = static_cast<unsigned long long>(fd);
    ptrace(PTRACE_SETREGS, pid, 0, &regs);
    ptrace(PTRACE_SINGLESTEP, pid, 0, nullptr);
    ASSERT_EQ(::waitpid(pid, &status, __WALL), pid);
    ptrace(PTRACE_GETREGS, pid, 0, &regs);
    if (regs.rax == 0) ++closed;
  }
  EXPECT_EQ(closed, fds.size());
  ptrace(PTRACE_SETREGS, pid, 0, &saved);
  ptrace(PTRACE_DETACH, pid, 0, nullptr);
}

TEST(SelfTest, HooksThatAreTakenAwayAreFoundDeaf) {
  Node node("selftest");
  node.StartCollector();
  AgentOptions options;
  options.selftest_interval_s = 1;
  node.StartAgent(options);
  const auto hears = [&](const std::string& domain, const std::string& state) {
    return Eventually([&] { return node.AgentStatus().at("selftest").value(domain, "") == state; }, seconds(20));
  };
  for (const auto* domain : {"process", "privilege", "file", "network", "kernel"}) {
    EXPECT_TRUE(hears(domain, "heard")) << domain << ": " << node.AgentStatus().at("selftest").dump();
  }
  EXPECT_EQ(node.AgentStatus().at("health"), "ok") << node.AgentStatus().at("problems").dump();

  const std::vector<int> links = SyscallLinks(node.agent.pid());
  if (links.empty()) GTEST_SKIP() << "this kernel has no tracefs: no per-syscall hooks that could be taken away";
  CloseFrom(node.agent.pid(), links);
  EXPECT_TRUE(hears("file", "deaf")) << node.AgentStatus().at("selftest").dump();
  EXPECT_TRUE(hears("privilege", "deaf"));
  EXPECT_TRUE(hears("process", "heard"));  // its hooks are others
  EXPECT_EQ(node.AgentStatus().at("health"), "failed");
  EXPECT_NE(node.AgentStatus().at("problems").dump().find("the file probes are DEAF"), std::string::npos);
  ASSERT_TRUE(node.Settled());

  // The trail tells all of it, and none of the canaries' acts.
  std::string told;
  for (const Json& said : node.Query({"--since", "1h", "--kind", "agent.selftest"})) {
    for (const Json& domain : said.at("resource").at("domains")) {
      if (domain.at("domain") == "file") told += domain.at("state").get<std::string>() + " ";
    }
  }
  EXPECT_TRUE(told.starts_with("heard ") && told.ends_with("deaf ")) << told;
  EXPECT_TRUE(node.Query({"--since", "1h", "path:" + node.dir() + "/agent/canary"}).empty());
  uint64_t withheld = 0;
  ASSERT_TRUE(node.StopAgent() == 0 && node.Query({"--since", "1h", "--kind", "agent.stop"}).size() == 1);
  for (const Json& event : node.Query({"--since", "1h", "--kind", "agent.filtered"})) {
    for (const Json& entry : event.at("resource").at("filtered")) {
      if (entry.at("rule") == "self.canary") withheld += entry.at("count").get<uint64_t>();
    }
  }
  EXPECT_GT(withheld, 20U);
}

}  // namespace
}  // namespace nodetrail::e2e
