// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/debugger.h"

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>
#include <system_error>

#include "tests/e2e/harness.h"

namespace nodetrail::e2e {

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

// The main thread waits in a system call, whose instruction is run again with
// other registers.
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

}  // namespace nodetrail::e2e
