// SPDX-License-Identifier: Apache-2.0
//
// Against the real /proc, of processes that the test itself starts.
#include "agent/attribute/proc_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>

namespace nodetrail::agent {
namespace {

TEST(ProcReader, ReadsItself) {
  auto reader = OpenProcReader("/proc");
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  const auto self = static_cast<uint32_t>(::getpid());
  const auto pids = (*reader)->List();
  ASSERT_TRUE(pids.ok());
  EXPECT_TRUE(std::binary_search(pids->begin(), pids->end(), self));
  const auto info = (*reader)->Read(self, ProcDetail::kFull);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->ppid, static_cast<uint32_t>(::getppid()));
  EXPECT_EQ(info->pgid, static_cast<uint32_t>(::getpgid(0)));
  EXPECT_EQ(info->sid, static_cast<uint32_t>(::getsid(0)));
  EXPECT_TRUE(info->has_exe);
  EXPECT_NE(info->exe.find("nt_pipeline_test"), std::string::npos);
  struct stat st {};
  ASSERT_EQ(::stat("/proc/self/exe", &st), 0);
  EXPECT_EQ(info->file.ino, st.st_ino);
  EXPECT_NE(info->argv.find("nt_pipeline_test"), std::string::npos);
  EXPECT_FALSE(info->argv_truncated);
  EXPECT_TRUE(info->has_cred);
  EXPECT_EQ(info->cred.uid, ::getuid());
  EXPECT_EQ(info->cred.fsgid, ::getegid());
  EXPECT_NE(info->pid_ns, 0U);
  EXPECT_NE(info->cred.userns_inum, 0U);
  EXPECT_FALSE(info->cgroups.empty());
  std::array<char, 4096> cwd{};
  ASSERT_NE(::getcwd(cwd.data(), cwd.size()), nullptr);
  EXPECT_EQ(info->cwd, cwd.data());
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  EXPECT_LE(info->start_boot_ns,
            static_cast<uint64_t>(now.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(now.tv_nsec));
  EXPECT_GT(info->start_boot_ns, 0U);
  EXPECT_EQ(info->start_boot_ns % (*reader)->TickNs(), 0U);
}

TEST(ProcReader, TheDeadAreNotFound) {
  auto reader = OpenProcReader("/proc");
  ASSERT_TRUE(reader.ok());
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ((*reader)->Read(static_cast<uint32_t>(child), ProcDetail::kFull).status().code(), Code::kNotFound);
}

TEST(ProcReader, LongCommandLinesAreCut) {
  auto reader = OpenProcReader("/proc");
  ASSERT_TRUE(reader.ok());
  const std::string big(100'000, 'x');
  std::array<int, 2> in{};
  std::array<int, 2> out{};
  ASSERT_EQ(::pipe2(in.data(), O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(out.data(), O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(in[0], STDIN_FILENO);
    ::dup2(out[1], STDOUT_FILENO);
    ::execl("/bin/sh", "sh", "-c", "echo; read x", big.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(in[0]);
  ::close(out[1]);
  // The program itself says that it runs: the exec is wholly over.
  char byte = 0;
  EXPECT_EQ(::read(out[0], &byte, 1), 1);
  const auto info = (*reader)->Read(static_cast<uint32_t>(child), ProcDetail::kFull);
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  ::close(in[1]);
  ::close(out[0]);
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->argv.size(), NT_ARGV_MAX);
  EXPECT_TRUE(info->argv_truncated);
  EXPECT_EQ(info->ppid, static_cast<uint32_t>(::getpid()));
}

TEST(ProcReader, NotEveryDirectoryIsProc) { EXPECT_FALSE(OpenProcReader("/nonexistent").ok()); }

}  // namespace
}  // namespace nodetrail::agent
