// SPDX-License-Identifier: Apache-2.0
//
// A server on loopback that answers every connection with the same bytes,
// whatever it is asked, and closes. One thread.
#ifndef NODETRAIL_TESTS_FAKES_CANNED_SERVER_H_
#define NODETRAIL_TESTS_FAKES_CANNED_SERVER_H_

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mutex>
#include <string>
#include <thread>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"

namespace nodetrail::testing {

class CannedServer {
 public:
  explicit CannedServer(std::string answer) : answer_(std::move(answer)) {
    listener_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in addr{};
    addr.sin_family = AF_INET;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(addr);
    NT_CHECK(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&addr), size) == 0);
    NT_CHECK(::listen(listener_.get(), 16) == 0);
    NT_CHECK(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&addr), &size) == 0);
    port_ = ntohs(addr.sin_port);
    stop_ = UniqueFd(::eventfd(0, EFD_CLOEXEC));
    thread_ = std::jthread([this] { Run(); });
  }
  ~CannedServer() {
    const uint64_t one = 1;
    NT_CHECK(::write(stop_.get(), &one, sizeof(one)) == sizeof(one));
  }
  CannedServer(const CannedServer&) = delete;
  CannedServer& operator=(const CannedServer&) = delete;

  void Answer(std::string answer) {
    const std::lock_guard lock(mutex_);
    answer_ = std::move(answer);
  }
  [[nodiscard]] std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }

 private:
  void Run() {
    for (;;) {
      pollfd fds[2] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0) continue;
      if (fds[1].revents != 0) return;
      const UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!peer.valid()) continue;
      pollfd wait{peer.get(), POLLIN, 0};
      char request[65536];
      // The request, as much of it as comes at once; what it says does not matter.
      if (::poll(&wait, 1, 1000) <= 0 || ::recv(peer.get(), request, sizeof(request), 0) < 0) continue;
      std::string answer;
      {
        const std::lock_guard lock(mutex_);
        answer = answer_;
      }
      for (std::string_view rest = answer; !rest.empty();) {
        const ssize_t n = ::send(peer.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
        if (n <= 0) break;
        rest.remove_prefix(static_cast<size_t>(n));
      }
    }
  }

  UniqueFd listener_, stop_;
  int port_ = 0;
  std::mutex mutex_;
  std::string answer_;
  std::jthread thread_;
};

}  // namespace nodetrail::testing

#endif  // NODETRAIL_TESTS_FAKES_CANNED_SERVER_H_
