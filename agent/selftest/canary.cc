// SPDX-License-Identifier: Apache-2.0
#include "agent/selftest/canary.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <string_view>
#include <system_error>
#include <utility>

#include "nodetrail/base/fd.h"

namespace nodetrail::agent {
namespace {

// "file 0\nprivilege 0\n…", as canary_main.cc writes it.
CanaryReport Parse(std::string_view text) {
  CanaryReport report;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) break;
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    const size_t space = line.find(' ');
    int error = 0;
    if (space == std::string_view::npos) continue;
    const auto parsed = std::from_chars(line.data() + space + 1, line.data() + line.size(), error);
    if (parsed.ec == std::errc() && parsed.ptr == line.data() + line.size()) {
      report.acts.emplace(line.substr(0, space), error);
    }
  }
  return report;
}

struct Pipe {
  UniqueFd read, write;
};

Result<Pipe> MakePipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

class ChildCanary final : public Canary {
 public:
  ChildCanary(std::string program, std::string dir) : program_(std::move(program)), dir_(std::move(dir)) {}
  ~ChildCanary() override { Reap(); }
  ChildCanary(const ChildCanary&) = delete;
  ChildCanary& operator=(const ChildCanary&) = delete;

  Result<uint32_t> Launch() override {
    Reap();
    NT_ASSIGN_OR_RETURN(Pipe go, MakePipe());
    NT_ASSIGN_OR_RETURN(Pipe told, MakePipe());
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_adddup2(&actions, go.read.get(), STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, told.write.get(), STDOUT_FILENO);
    // The agent blocks the signals it waits for; the child has defaults.
    sigset_t none;
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    char* argv[] = {program_.data(), dir_.data(), nullptr};
    char* environment[] = {nullptr};
    pid_t pid = 0;
    const int error = ::posix_spawn(&pid, program_.c_str(), &actions, &attributes, argv, environment);
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
    if (error != 0) return ErrnoStatus(error, fmt::format("start {}", program_));
    pid_ = pid;
    go_ = std::move(go.write);
    told_ = std::move(told.read);
    return static_cast<uint32_t>(pid);
  }

  Status Release() override {
    if (::write(go_.get(), "\n", 1) != 1) return ErrnoStatus(errno, fmt::format("tell {} to go on", program_));
    return OkStatus();
  }

  std::optional<CanaryReport> Ended() override {
    siginfo_t info{};
    if (pid_ == 0 || ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0) return {};
    if (info.si_pid == 0) return {};
    char text[512];  // more than it ever says; it has ended, so this doesn't wait
    const ssize_t length = ::read(told_.get(), text, sizeof text);
    CanaryReport report = Parse({text, length > 0 ? static_cast<size_t>(length) : 0});
    // Its last act is to become what ends with 0.
    if (info.si_code != CLD_EXITED || info.si_status != 0) report.acts.erase("process");
    return report;
  }

  void Reap() override {
    if (pid_ == 0) return;
    ::kill(pid_, SIGKILL);  // to a child that has ended: nothing
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    go_.Reset();
    told_.Reset();
  }

 private:
  std::string program_, dir_;
  pid_t pid_ = 0;
  UniqueFd go_, told_;
};

}  // namespace

std::unique_ptr<Canary> MakeCanary(std::string program, std::string dir) {
  return std::make_unique<ChildCanary>(std::move(program), std::move(dir));
}

}  // namespace nodetrail::agent
