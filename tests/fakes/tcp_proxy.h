// SPDX-License-Identifier: Apache-2.0
//
// A TCP proxy on loopback that misbehaves on demand: cuts a connection after
// so many bytes, swallows everything, or forwards slowly. One thread.
#ifndef NODETRAIL_TESTS_FAKES_TCP_PROXY_H_
#define NODETRAIL_TESTS_FAKES_TCP_PROXY_H_

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"

namespace nodetrail::testing {

// Settings may change at any time, from any thread; they hold for connections
// that are open too.
class TcpProxy {
 public:
  static constexpr int64_t kNoLimit = INT64_MAX;

  // Listens on 127.0.0.1, forwards to 127.0.0.1:`target_port`.
  explicit TcpProxy(int target_port) : target_port_(target_port) {
    listener_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_in addr = Loopback(0);
    NT_CHECK(::bind(listener_.get(), Cast(&addr), sizeof(addr)) == 0);
    NT_CHECK(::listen(listener_.get(), 16) == 0);
    socklen_t len = sizeof(addr);
    NT_CHECK(::getsockname(listener_.get(), Cast(&addr), &len) == 0);
    port_ = ntohs(addr.sin_port);
    wake_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    thread_ = std::jthread([this] { Run(); });
  }
  ~TcpProxy() {
    stop_ = true;
    Wake();
  }
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  [[nodiscard]] int port() const { return port_; }
  void set_target(int port) { target_port_ = port; }
  // Each connection is reset once so many bytes went to the server (or to the
  // client); the bytes beyond are not forwarded.
  void CutAfter(int64_t to_server, int64_t to_client = kNoLimit) {
    cut_server_ = to_server;
    cut_client_ = to_client;
  }
  // Takes bytes and forwards none, either way.
  void BlackHole(bool on) {
    black_hole_ = on;
    Wake();
  }
  // Resets all connections now.
  void CutAll() {
    cut_all_ = true;
    Wake();
  }
  // Bytes forwarded at once, each way; a small number makes a slow link.
  void Chunk(size_t bytes) { chunk_ = bytes; }

  [[nodiscard]] uint64_t connections() const { return connections_; }
  [[nodiscard]] uint64_t cuts() const { return cuts_; }
  // Bytes that went to the server over all connections.
  [[nodiscard]] uint64_t to_server() const { return to_server_; }

 private:
  struct Pipe {
    UniqueFd client, server;
    int64_t to_server = 0, to_client = 0;
  };

  static sockaddr_in Loopback(int port) {
    sockaddr_in addr{};
    addr.sin_family = AF_INET;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    addr.sin_port = htons(static_cast<uint16_t>(port));
    return addr;
  }
  static sockaddr* Cast(sockaddr_in* a) { return reinterpret_cast<sockaddr*>(a); }

  void Wake() {
    const uint64_t one = 1;
    const ssize_t n = ::write(wake_.get(), &one, sizeof(one));
    static_cast<void>(n);
  }

  static void Reset(Pipe* p) {
    const linger hard{1, 0};
    for (const UniqueFd* fd : {&p->client, &p->server}) {
      ::setsockopt(fd->get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    }
    p->client.Reset();
    p->server.Reset();
  }

  // False: the pipe is over.
  bool Forward(int from, int to, int64_t* count, int64_t limit, bool to_server) {
    std::string buffer(std::min<size_t>(chunk_, 65536), '\0');
    const ssize_t n = ::recv(from, buffer.data(), buffer.size(), 0);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    if (black_hole_) return true;
    const int64_t room = std::max<int64_t>(limit - *count, 0);  // the limit may have been lowered since
    const auto want = static_cast<size_t>(std::min<int64_t>(n, room));
    size_t done = 0;
    while (done < want) {
      const ssize_t w = ::send(to, buffer.data() + done, want - done, MSG_NOSIGNAL);
      if (w > 0) {
        done += static_cast<size_t>(w);
      } else if (errno == EAGAIN) {
        pollfd p{to, POLLOUT, 0};
        if (::poll(&p, 1, 1000) <= 0) return false;
      } else if (errno != EINTR) {
        return false;
      }
    }
    *count += static_cast<int64_t>(want);
    if (to_server) to_server_ += want;
    if (static_cast<int64_t>(n) > room || *count >= limit) {
      ++cuts_;
      return false;
    }
    return true;
  }

  void Accept() {
    Pipe p;
    p.client = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!p.client.valid()) return;
    ++connections_;
    p.server = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in addr = Loopback(target_port_);
    if (::connect(p.server.get(), Cast(&addr), sizeof(addr)) != 0) return Reset(&p);
    ::fcntl(p.server.get(), F_SETFL, O_NONBLOCK);
    const int on = 1;
    for (const UniqueFd* fd : {&p.client, &p.server}) {
      ::setsockopt(fd->get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    pipes_.push_back(std::move(p));
  }

  void Run() {
    while (!stop_) {
      std::vector<pollfd> fds{{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
      for (const Pipe& p : pipes_) {
        fds.push_back({p.client.get(), POLLIN, 0});
        fds.push_back({p.server.get(), POLLIN, 0});
      }
      if (::poll(fds.data(), fds.size(), -1) < 0) continue;
      uint64_t count = 0;
      if (fds[0].revents != 0 && ::read(wake_.get(), &count, sizeof(count)) < 0) continue;
      if (cut_all_.exchange(false)) {
        for (Pipe& p : pipes_) Reset(&p);
        cuts_ += pipes_.size();
        pipes_.clear();
        continue;
      }
      size_t i = 2;
      for (auto it = pipes_.begin(); it != pipes_.end(); i += 2) {
        bool open = true;
        if (fds[i].revents != 0) {
          open = Forward(it->client.get(), it->server.get(), &it->to_server, cut_server_, true);
        }
        if (open && fds[i + 1].revents != 0) {
          open = Forward(it->server.get(), it->client.get(), &it->to_client, cut_client_, false);
        }
        if (open) {
          ++it;
        } else {
          Reset(&*it);
          it = pipes_.erase(it);
        }
      }
      if (fds[1].revents != 0) Accept();
    }
    for (Pipe& p : pipes_) Reset(&p);
  }

  std::atomic<int> target_port_;
  int port_ = 0;
  UniqueFd listener_, wake_;
  std::list<Pipe> pipes_;  // the thread's
  std::atomic<int64_t> cut_server_ = kNoLimit, cut_client_ = kNoLimit;
  std::atomic<bool> black_hole_ = false, cut_all_ = false, stop_ = false;
  std::atomic<size_t> chunk_ = 65536;
  std::atomic<uint64_t> connections_ = 0, cuts_ = 0, to_server_ = 0;
  std::jthread thread_;
};

}  // namespace nodetrail::testing

#endif  // NODETRAIL_TESTS_FAKES_TCP_PROXY_H_
