// SPDX-License-Identifier: Apache-2.0
//
// A connection of a test to a server on loopback, byte by byte if it likes.
#ifndef NODETRAIL_WITNESS_TESTING_HTTP_CLIENT_H_
#define NODETRAIL_WITNESS_TESTING_HTTP_CLIENT_H_

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "nodetrail/base/fd.h"

namespace nodetrail::witness {

struct HttpReply {
  int status = 0;
  std::string head;
  std::string body;
};

class HttpConnection {
 public:
  explicit HttpConnection(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in addr{};
    addr.sin_family = AF_INET;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    addr.sin_port = htons(static_cast<uint16_t>(port));
    connected_ = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&addr), sizeof(addr)) == 0;
  }
  [[nodiscard]] bool connected() const { return connected_; }
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  // The next answer; nothing if the connection ends or 20 s pass before.
  std::optional<HttpReply> Read() {
    size_t end = std::string::npos;
    while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
      if (!More()) return std::nullopt;
    }
    HttpReply out;
    out.head = buffer_.substr(0, end + 4);
    out.status = std::atoi(out.head.c_str() + 9);
    const size_t length = out.head.find("Content-Length: ");
    const size_t size = length == std::string::npos ? 0 : std::strtoul(out.head.c_str() + length + 16, nullptr, 10);
    buffer_.erase(0, end + 4);
    while (buffer_.size() < size) {
      if (!More()) return std::nullopt;
    }
    out.body = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return out;
  }
  // True if the peer closes within 20 s, without a further byte.
  bool Closed() { return buffer_.empty() && !More() && over_; }

 private:
  bool More() {
    pollfd p{fd_.get(), POLLIN, 0};
    if (::poll(&p, 1, 20'000) <= 0) return false;
    char chunk[4096];
    const ssize_t n = ::recv(fd_.get(), chunk, sizeof(chunk), 0);
    over_ = n <= 0;
    if (n > 0) buffer_.append(chunk, static_cast<size_t>(n));
    return n > 0;
  }
  UniqueFd fd_;
  bool connected_ = false;
  bool over_ = false;
  std::string buffer_;
};

inline std::optional<HttpReply> Post(int port, std::string_view body) {
  HttpConnection connection(port);
  if (!connection.connected() ||
      !connection.Send(fmt::format("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nConnection: close\r\nContent-Length: "
                                   "{}\r\n\r\n{}",
                                   body.size(), body))) {
    return std::nullopt;
  }
  return connection.Read();
}

}  // namespace nodetrail::witness

#endif  // NODETRAIL_WITNESS_TESTING_HTTP_CLIENT_H_
