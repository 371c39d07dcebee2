// SPDX-License-Identifier: Apache-2.0
//
// The notifier against a socket of the test, and against notify_holder, which
// stands in for the service manager.
#include "nodetrail/base/notify.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

namespace nodetrail {
namespace {

class NotifySocket {
 public:
  NotifySocket() : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    name_ = "@nt-notify-test-" + std::to_string(::getpid());
    std::memcpy(address.sun_path + 1, name_.data() + 1, name_.size() - 1);
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_.size());
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
    ::setenv("NOTIFY_SOCKET", name_.c_str(), 1);
  }
  ~NotifySocket() { ::unsetenv("NOTIFY_SOCKET"); }
  NotifySocket(const NotifySocket&) = delete;
  NotifySocket& operator=(const NotifySocket&) = delete;

  // The next message and the descriptor with it. A datagram of a unix socket is
  // there when the send returned, so there is nothing to wait for.
  std::pair<std::string, UniqueFd> Receive() {
    char data[1024];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    iovec io{data, sizeof(data)};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t n = ::recvmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0) return {"", UniqueFd()};
    UniqueFd fd;
    if (const cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr && c->cmsg_type == SCM_RIGHTS) {
      int raw = -1;
      std::memcpy(&raw, CMSG_DATA(c), sizeof(raw));
      fd.Reset(raw);
    }
    return {std::string(data, static_cast<size_t>(n)), std::move(fd)};
  }

 private:
  UniqueFd fd_;
  std::string name_;
};

TEST(Notify, WithoutAManagerNothingHappens) {
  ::unsetenv("NOTIFY_SOCKET");
  EXPECT_FALSE(ServiceNotifier::Present());
  EXPECT_TRUE(ServiceNotifier::Ready("up").ok());
  EXPECT_TRUE(ServiceNotifier::Watchdog().ok());
  EXPECT_TRUE(ServiceNotifier::StoreFd("ring", STDERR_FILENO).ok());
  EXPECT_FALSE(ServiceNotifier::WatchdogInterval().has_value());
}

TEST(Notify, SpeaksTheProtocol) {
  NotifySocket socket;
  EXPECT_TRUE(ServiceNotifier::Present());
  ASSERT_TRUE(ServiceNotifier::Ready("up since now\nSTOPPING=1").ok());
  EXPECT_EQ(socket.Receive().first, "READY=1\nSTATUS=up since now STOPPING=1");
  ASSERT_TRUE(ServiceNotifier::SetStatus("3 events").ok());
  EXPECT_EQ(socket.Receive().first, "STATUS=3 events");
  ASSERT_TRUE(ServiceNotifier::Watchdog().ok());
  EXPECT_EQ(socket.Receive().first, "WATCHDOG=1");
  ASSERT_TRUE(ServiceNotifier::Stopping("bye").ok());
  EXPECT_EQ(socket.Receive().first, "STOPPING=1\nSTATUS=bye");
}

TEST(Notify, StoresADescriptorUnderItsName) {
  NotifySocket socket;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  const UniqueFd writer(ends[1]);
  ASSERT_TRUE(ServiceNotifier::StoreFd("ring-0", writer.get()).ok());
  const auto [text, fd] = socket.Receive();
  EXPECT_EQ(text, "FDSTORE=1\nFDNAME=ring-0\nFDPOLL=0");
  ASSERT_TRUE(fd.valid());
  ASSERT_EQ(::write(fd.get(), "x", 1), 1);
  char byte = 0;
  ASSERT_EQ(::read(reader.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
  for (const char* bad : {"", "a:b", "a b", "a\nFDSTORE=1"}) {
    EXPECT_EQ(ServiceNotifier::StoreFd(bad, writer.get()).code(), Code::kInvalidArgument) << bad;
  }
  EXPECT_EQ(ServiceNotifier::StoreFd(std::string(256, 'n'), writer.get()).code(), Code::kInvalidArgument);
}

TEST(Notify, AVanishedManagerIsAnErrorNotACrash) {
  ::setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
  const Status status = ServiceNotifier::SetStatus("x");
  ::unsetenv("NOTIFY_SOCKET");
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("notify the service manager"));
}

TEST(Notify, WatchdogIntervalIsRead) {
  ::setenv("WATCHDOG_USEC", "20000000", 1);
  ::setenv("WATCHDOG_PID", std::to_string(::getpid()).c_str(), 1);
  EXPECT_EQ(ServiceNotifier::WatchdogInterval(), std::chrono::microseconds(20'000'000));
  ::setenv("WATCHDOG_PID", "1", 1);
  EXPECT_FALSE(ServiceNotifier::WatchdogInterval().has_value()) << "meant for another process";
  ::unsetenv("WATCHDOG_USEC");
  ::unsetenv("WATCHDOG_PID");
}

std::pair<int, std::string> RunCommand(const std::string& command) {
  FILE* pipe = ::popen(command.c_str(), "re");
  if (pipe == nullptr) return {-1, ""};
  std::string output;
  char buffer[512];
  size_t n = 0;
  while ((n = ::fread(buffer, 1, sizeof(buffer), pipe)) > 0) output.append(buffer, n);
  const int status = ::pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status), output};
}

const std::string kHolder = NT_BINARY_DIR "/bin/notify_holder";
const std::string kProbe = NT_BINARY_DIR "/bin/notify_probe";

TEST(NotifyHolder, KeepsDescriptorsAcrossACrash) {
  const auto [code, output] = RunCommand(kHolder + " --restart -- " + kProbe + " crash-then-check");
  EXPECT_EQ(code, 0) << output;
  EXPECT_THAT(output, testing::HasSubstr("FDSTORE state"));
  EXPECT_THAT(output, testing::HasSubstr("EXIT signal 6"));
  EXPECT_THAT(output, testing::HasSubstr("RESTART 1"));
  EXPECT_THAT(output, testing::HasSubstr("STATUS found: kept across the crash"));
  EXPECT_THAT(output, testing::HasSubstr("READY"));
  EXPECT_THAT(output, testing::HasSubstr("EXIT code 0"));
}

TEST(NotifyHolder, WithoutRestartGivesTheChildsExit) {
  EXPECT_EQ(RunCommand(kHolder + " -- " + kProbe + " exit-3").first, 3);
  EXPECT_EQ(RunCommand(kHolder + " -- " + kProbe + " crash-then-check").first, 128 + 6);
  EXPECT_EQ(RunCommand(kHolder + " -- /nonexistent/program 2>/dev/null").first, 127);
}

TEST(NotifyHolder, ForwardsTermination) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const pid_t holder = ::fork();
  ASSERT_GE(holder, 0);
  if (holder == 0) {
    ::dup2(writer.get(), STDOUT_FILENO);
    ::execl(kHolder.c_str(), kHolder.c_str(), "--", kProbe.c_str(), "wait", nullptr);
    ::_exit(127);
  }
  writer.Reset();
  std::string output;
  bool told = false;
  pollfd poll_fd{reader.get(), POLLIN, 0};
  while (::poll(&poll_fd, 1, /*timeout ms=*/10'000) == 1) {
    char buffer[256];
    const ssize_t n = ::read(reader.get(), buffer, sizeof(buffer));
    if (n <= 0) break;
    output.append(buffer, static_cast<size_t>(n));
    if (!told && output.find("READY\n") != std::string::npos) {
      told = true;
      EXPECT_EQ(::kill(holder, SIGTERM), 0);
    }
  }
  if (!told) ::kill(holder, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(holder, &status, 0), holder);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << output;
  EXPECT_THAT(output, testing::HasSubstr("STOPPING"));
}

TEST(NotifyHolder, EndsAChildThatMissesItsWatchdog) {
  const auto [code, output] = RunCommand(kHolder + " --watchdog-ms 200 -- " + kProbe + " hang");
  EXPECT_EQ(code, 128 + 6) << output;
  EXPECT_THAT(output, testing::HasSubstr("WATCHDOG missed"));
}

}  // namespace
}  // namespace nodetrail
