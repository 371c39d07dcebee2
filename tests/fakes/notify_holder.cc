// SPDX-License-Identifier: Apache-2.0
//
// Stands in for systemd where there is none: runs one program as a service of
// Type=notify with a descriptor store.
//
//   notify_holder [--restart] [--max-restarts N] [--watchdog-ms N] -- CMD...
//
// What the program says is printed, a line each, on standard output, flushed:
//
//   CHILD 4711          started with this pid
//   READY · STATUS text · STOPPING · WATCHDOG missed
//   FDSTORE name · FDSTOREREMOVE name
//   EXIT code 0 · EXIT signal 9
//   RESTART 1
//
// Stored descriptors are passed to the next start as systemd does it: from
// descriptor 3 on, with LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. --restart
// starts again after a failure (Restart=on-failure). SIGTERM and SIGINT are
// passed on; then there is no further start. The exit code is the program's,
// or 128 + the signal.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nodetrail/base/fd.h"

namespace {

using nodetrail::UniqueFd;
using SteadyClock = std::chrono::steady_clock;

constexpr size_t kMaxStored = 768;  // systemd's own default bound of a unit's store

struct Options {
  bool restart = false;
  int max_restarts = 100;
  int watchdog_ms = 0;
  std::vector<char*> command;  // null-terminated
};

struct Stored {
  std::string name;
  UniqueFd fd;
};

void Say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

[[noreturn]] void Die(const char* what) {
  std::fprintf(stderr, "notify_holder: %s: %s\n", what, std::strerror(errno));
  std::exit(70);
}

class Holder {
 public:
  explicit Holder(Options options) : options_(std::move(options)) {
    socket_.Reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket_.valid()) Die("socket");
    const int on = 1;
    if (::setsockopt(socket_.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) != 0) Die("SO_PASSCRED");
    name_ = "@nt-notify-holder-" + std::to_string(::getpid());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name_.data() + 1, name_.size() - 1);
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size());
    if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) Die("bind");

    sigset_t set;
    sigemptyset(&set);
    for (const int s : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&set, s);
    if (sigprocmask(SIG_BLOCK, &set, &old_mask_) != 0) Die("sigprocmask");
    signals_.Reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_.valid()) Die("signalfd");
  }

  int Run() {
    for (int restarts = 0;;) {
      Start();
      const int status = WaitForExit();
      DrainMessages();  // a program may store a descriptor and crash at once
      Say(WIFSIGNALED(status) ? "EXIT signal " + std::to_string(WTERMSIG(status))
                              : "EXIT code " + std::to_string(WEXITSTATUS(status)));
      const int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      if (code == 0 || stopping_ || !options_.restart || restarts == options_.max_restarts) return code;
      ++restarts;
      Say("RESTART " + std::to_string(restarts));
    }
  }

 private:
  void Start() {
    const pid_t parent = ::getpid();
    child_ = ::fork();
    if (child_ < 0) Die("fork");
    if (child_ == 0) Exec(parent);
    Say("CHILD " + std::to_string(child_));
    last_sign_of_life_ = SteadyClock::now();
  }

  [[noreturn]] void Exec(pid_t parent) {
    // The program must not outlive the holder, whatever ends the holder.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(70);
    sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
    PassDescriptors();
    ::setenv("NOTIFY_SOCKET", name_.c_str(), 1);
    if (options_.watchdog_ms > 0) {
      ::setenv("WATCHDOG_USEC", std::to_string(options_.watchdog_ms * 1000L).c_str(), 1);
      ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
    }
    ::execvp(options_.command[0], options_.command.data());
    std::fprintf(stderr, "notify_holder: %s: %s\n", options_.command[0], std::strerror(errno));
    ::_exit(127);
  }

  // To 3, 4, 5…: first out of the way, since the targets may be in use by the
  // very descriptors that are to be moved.
  void PassDescriptors() {
    if (stored_.empty()) return;
    const int base = 3 + static_cast<int>(stored_.size());
    std::vector<int> moved;
    std::string names;
    for (const auto& stored : stored_) {
      moved.push_back(::fcntl(stored.fd.get(), F_DUPFD_CLOEXEC, base));
      if (moved.back() < 0) Die("fcntl");
      names += (names.empty() ? "" : ":") + stored.name;
    }
    for (size_t i = 0; i < moved.size(); ++i) {
      if (::dup2(moved[i], 3 + static_cast<int>(i)) < 0) Die("dup2");
    }
    ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", std::to_string(moved.size()).c_str(), 1);
    ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
  }

  int WaitForExit() {
    for (;;) {
      pollfd fds[2] = {{socket_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
      if (::poll(fds, 2, PollTimeoutMs()) < 0 && errno != EINTR) Die("poll");
      DrainMessages();
      signalfd_siginfo info;
      while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD) continue;
        stopping_ = true;
        ::kill(child_, static_cast<int>(info.ssi_signo));
      }
      int status = 0;
      if (::waitpid(child_, &status, WNOHANG) == child_) return status;
      if (options_.watchdog_ms > 0 && PollTimeoutMs() == 0) {
        Say("WATCHDOG missed");
        ::kill(child_, SIGABRT);
        last_sign_of_life_ = SteadyClock::now();
      }
    }
  }

  [[nodiscard]] int PollTimeoutMs() const {
    if (options_.watchdog_ms == 0) return -1;
    const auto due = last_sign_of_life_ + std::chrono::milliseconds(options_.watchdog_ms);
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - SteadyClock::now()).count();
    return static_cast<int>(std::max<decltype(left)>(left, 0));
  }

  void DrainMessages() {
    while (ReceiveOne()) {
    }
  }

  bool ReceiveOne() {
    char data[4096];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 16) + CMSG_SPACE(sizeof(ucred))];
    iovec io{data, sizeof(data)};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t n = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
    if (n < 0) return false;
    std::vector<UniqueFd> fds;
    pid_t sender = 0;
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
      if (c->cmsg_level != SOL_SOCKET) continue;
      if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len >= CMSG_LEN(sizeof(ucred))) {
        ucred cred{};
        std::memcpy(&cred, CMSG_DATA(c), sizeof(cred));
        sender = cred.pid;
      } else if (c->cmsg_type == SCM_RIGHTS) {
        const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; ++i) {
          int fd = -1;
          std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
          fds.emplace_back(fd);
        }
      }
    }
    if (sender != child_) return true;  // NotifyAccess=main
    Handle(std::string_view(data, static_cast<size_t>(n)), std::move(fds));
    return true;
  }

  void Handle(std::string_view text, std::vector<UniqueFd> fds) {
    std::string fd_name = "stored";
    bool store = false;
    bool remove = false;
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(std::min(end + 1, text.size()));
      if (line == "READY=1") Say("READY");
      if (line == "STOPPING=1") Say("STOPPING");
      if (line == "WATCHDOG=1") last_sign_of_life_ = SteadyClock::now();
      if (line == "FDSTORE=1") store = true;
      if (line == "FDSTOREREMOVE=1") remove = true;
      if (line.starts_with("FDNAME=")) fd_name = line.substr(7);
      if (line.starts_with("STATUS=")) Say("STATUS " + std::string(line.substr(7)));
    }
    if (remove) {
      std::erase_if(stored_, [&](const Stored& s) { return s.name == fd_name; });
      Say("FDSTOREREMOVE " + fd_name);
    }
    if (!store) return;
    for (auto& fd : fds) {
      if (stored_.size() == kMaxStored) break;
      stored_.push_back({fd_name, std::move(fd)});
      Say("FDSTORE " + fd_name);
    }
  }

  Options options_;
  UniqueFd socket_;
  UniqueFd signals_;
  std::string name_;
  sigset_t old_mask_{};
  std::vector<Stored> stored_;
  pid_t child_ = -1;
  bool stopping_ = false;
  SteadyClock::time_point last_sign_of_life_;
};

bool ParseOptions(int argc, char** argv, Options* options) {
  int i = 1;
  for (; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--") {
      ++i;
      break;
    }
    if (arg == "--restart") {
      options->restart = true;
    } else if ((arg == "--max-restarts" || arg == "--watchdog-ms") && i + 1 < argc) {
      const long value = std::strtol(argv[++i], nullptr, 10);
      if (value <= 0 || value > 1'000'000) return false;
      (arg == "--watchdog-ms" ? options->watchdog_ms : options->max_restarts) = static_cast<int>(value);
    } else {
      return false;
    }
  }
  for (; i < argc; ++i) options->command.push_back(argv[i]);
  if (options->command.empty()) return false;
  options->command.push_back(nullptr);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!ParseOptions(argc, argv, &options)) {
    std::fputs("usage: notify_holder [--restart] [--max-restarts N] [--watchdog-ms N] -- CMD...\n", stderr);
    return 64;
  }
  return Holder(std::move(options)).Run();
}
