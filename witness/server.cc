// SPDX-License-Identifier: Apache-2.0
#include "witness/server.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "witness/metrics.h"

namespace nodetrail::witness {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

// A connection that is idle while all are taken makes room this soon.
constexpr milliseconds kIdleWhenFull{20};
constexpr int kRequestsPerConnection = 1000;
constexpr int kBacklog = 128;
constexpr milliseconds kDrainTime{500};
constexpr size_t kDrainBytes = 1U << 20;

std::string OpensslError() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "unknown error" : reason;
}

Result<std::shared_ptr<SSL_CTX>> MakeTls(const std::string& cert_file, const std::string& key_file) {
  struct stat st {};
  if (::stat(key_file.c_str(), &st) != 0) return ErrnoStatus(errno, fmt::format("tls.key_file: stat {}", key_file));
  if ((st.st_mode & 077) != 0) {
    return PermissionDenied(fmt::format("tls.key_file: {}: readable by others (mode {:04o}); chmod 0600 {}", key_file,
                                        st.st_mode & 07777, key_file));
  }
  std::shared_ptr<SSL_CTX> ctx(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  if (!ctx) return Internal("no TLS context");
  SSL_CTX_set_min_proto_version(ctx.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(ctx.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(ctx.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(ctx.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (SSL_CTX_use_certificate_chain_file(ctx.get(), cert_file.c_str()) != 1) {
    return InvalidArgument(
        fmt::format("tls.cert_file: {}: {}; put a certificate in PEM there", cert_file, OpensslError()));
  }
  if (SSL_CTX_use_PrivateKey_file(ctx.get(), key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
    return InvalidArgument(
        fmt::format("tls.key_file: {}: {}; it must be the key of {}", key_file, OpensslError(), cert_file));
  }
  return ctx;
}

}  // namespace

bool SplitHostPort(const std::string& text, std::string* host, std::string* port) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  *host = text.substr(0, colon);
  *port = text.substr(colon + 1);
  if (host->size() > 2 && host->front() == '[' && host->back() == ']') *host = host->substr(1, host->size() - 2);
  unsigned number = 0;
  const char* end = port->data() + port->size();
  const auto [at, error] = std::from_chars(port->data(), end, number);
  return error == std::errc() && at == end && number <= 65535;
}

// One peer. All waits end at a deadline, or when the server stops if the wait
// is for a new request.
class Server::Connection {
 public:
  Connection(UniqueFd fd, int stop_fd) : fd_(std::move(fd)), stop_fd_(stop_fd) {}
  ~Connection() {
    if (ssl_ == nullptr) return;
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  bool Handshake(SSL_CTX* ctx, Steady::time_point deadline) {
    ssl_.reset(SSL_new(ctx));
    if (ssl_ == nullptr || SSL_set_fd(ssl_.get(), fd_.get()) != 1) return false;
    for (;;) {
      const int rc = SSL_accept(ssl_.get());
      if (rc == 1) return true;
      if (!WaitForSsl(rc, deadline)) return false;
    }
  }

  // True if bytes of a next request are there within `idle`.
  bool AwaitRequest(milliseconds idle) {
    if (!buffer_.empty() || (ssl_ != nullptr && SSL_pending(ssl_.get()) > 0)) return true;
    pollfd fds[2] = {{fd_.get(), POLLIN, 0}, {stop_fd_, POLLIN, 0}};
    const int n = ::poll(fds, 2, static_cast<int>(idle.count()));
    return n > 0 && fds[1].revents == 0;
  }

  // More bytes into buffer(); false: over.
  bool Read(Steady::time_point deadline) {
    char chunk[8192];
    for (;;) {
      if (ssl_ != nullptr) {
        const int n = SSL_read(ssl_.get(), chunk, sizeof(chunk));
        if (n > 0) {
          buffer_.append(chunk, static_cast<size_t>(n));
          return true;
        }
        if (!WaitForSsl(n, deadline)) return false;
        continue;
      }
      const ssize_t n = ::recv(fd_.get(), chunk, sizeof(chunk), 0);
      if (n > 0) {
        buffer_.append(chunk, static_cast<size_t>(n));
        return true;
      }
      if (n == 0 || (errno != EAGAIN && errno != EINTR) || !Wait(POLLIN, deadline)) return false;
    }
  }

  bool Write(std::string_view bytes, Steady::time_point deadline) {
    while (!bytes.empty()) {
      if (ssl_ != nullptr) {
        const int n = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(std::min<size_t>(bytes.size(), 16384)));
        if (n > 0) bytes.remove_prefix(static_cast<size_t>(n));
        else if (!WaitForSsl(n, deadline)) return false;
        continue;
      }
      const ssize_t n = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n >= 0) bytes.remove_prefix(static_cast<size_t>(n));
      else if ((errno != EAGAIN && errno != EINTR) || !Wait(POLLOUT, deadline)) return false;
    }
    return true;
  }

  // After an answer to what was not read whole: takes some of the rest, so that
  // the kernel doesn't reset the connection before the peer has read the answer.
  void Drain() {
    ::shutdown(fd_.get(), SHUT_WR);
    const auto deadline = Steady::now() + kDrainTime;
    while (buffer_.size() < kDrainBytes && ssl_ == nullptr && Read(deadline)) {
    }
  }

  std::string& buffer() { return buffer_; }

 private:
  bool Wait(short events, Steady::time_point deadline) const {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - Steady::now()).count();
    if (left <= 0) return false;
    pollfd p{fd_.get(), events, 0};
    const int n = ::poll(&p, 1, static_cast<int>(left));
    return n > 0 || (n < 0 && errno == EINTR);
  }

  bool WaitForSsl(int rc, Steady::time_point deadline) {
    const int why = SSL_get_error(ssl_.get(), rc);
    ERR_clear_error();
    if (why == SSL_ERROR_WANT_READ) return Wait(POLLIN, deadline);
    if (why == SSL_ERROR_WANT_WRITE) return Wait(POLLOUT, deadline);
    return false;
  }

  struct SslFree {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  const UniqueFd fd_;
  const int stop_fd_;
  std::unique_ptr<SSL, SslFree> ssl_;
  std::string buffer_;
};

Result<std::unique_ptr<Server>> Server::Start(Options options, Witness* witness) {
  std::unique_ptr<Server> out(new Server(std::move(options), witness));
  out->stop_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!out->stop_.valid()) return ErrnoStatus(errno, "eventfd");
  NT_RETURN_IF_ERROR(out->ReloadTls());
  NT_RETURN_IF_ERROR(out->Listen());
  for (size_t i = 0; i < out->options_.connections; ++i) {
    out->threads_.emplace_back([server = out.get()] { server->Work(); });
  }
  return out;
}

Server::~Server() { Stop(); }

void Server::Stop() {
  if (stop_.valid()) {
    const uint64_t one = 1;
    const ssize_t n = ::write(stop_.get(), &one, sizeof(one));
    static_cast<void>(n);
  }
  threads_.clear();
  listener_.Reset();
}

Status Server::ReloadTls() {
  if (options_.cert_file.empty()) return OkStatus();
  NT_ASSIGN_OR_RETURN(auto ctx, MakeTls(options_.cert_file, options_.key_file));
  const std::lock_guard lock(mutex_);
  tls_ = std::move(ctx);
  return OkStatus();
}

Status Server::Listen() {
  const std::string shown = fmt::format("listen: {}:{}", options_.host, options_.port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* list = nullptr;
  if (const int rc = ::getaddrinfo(options_.host.c_str(), options_.port.c_str(), &hints, &list); rc != 0) {
    return InvalidArgument(fmt::format("{}: {}; use an address of this node", shown, gai_strerror(rc)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(list, &freeaddrinfo);
  Status status = Unavailable(fmt::format("{}: no address", shown));
  for (const addrinfo* a = list; a != nullptr; a = a->ai_next) {
    UniqueFd fd(::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    if (fd.valid()) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (!fd.valid() || ::bind(fd.get(), a->ai_addr, a->ai_addrlen) != 0 || ::listen(fd.get(), kBacklog) != 0) {
      const int err = errno;
      const char* fix = "check listen";
      if (err == EADDRINUSE) fix = "another process has the port: stop it, or set another port";
      if (err == EADDRNOTAVAIL) fix = "it is not an address of this node";
      if (err == EACCES) fix = "ports below 1024 need CAP_NET_BIND_SERVICE";
      status = Unavailable(fmt::format("{}: {}; {}", shown, ErrnoName(err), fix));
      continue;
    }
    sockaddr_storage bound{};
    socklen_t size = sizeof(bound);
    if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
      return ErrnoStatus(errno, shown);
    }
    port_ = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                              : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
    listener_ = std::move(fd);
    return OkStatus();
  }
  return status;
}

void Server::Work() {
  for (;;) {
    pollfd fds[2] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) return;
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd.valid()) {
      // Another thread took it; or there are no descriptors: then not in a tight loop.
      pollfd stop{stop_.get(), POLLIN, 0};
      if (errno != EAGAIN) ::poll(&stop, 1, 50);
      continue;
    }
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    ++busy_;
    Serve(std::move(fd));
    --busy_;
  }
}

void Server::Serve(UniqueFd fd) {
  Connection peer(std::move(fd), stop_.get());
  std::shared_ptr<SSL_CTX> tls;
  {
    const std::lock_guard lock(mutex_);
    tls = tls_;
  }
  if (tls && !peer.Handshake(tls.get(), Steady::now() + options_.request_timeout)) return;
  for (int i = 0; i < kRequestsPerConnection; ++i) {
    if (!peer.AwaitRequest(busy_ >= options_.connections ? kIdleWhenFull : options_.idle_timeout)) return;
    const auto deadline = Steady::now() + options_.request_timeout;
    HttpHead head = ParseHttpHead(peer.buffer());
    while (head.state == HttpHead::State::kIncomplete) {
      if (!peer.Read(deadline)) return;
      head = ParseHttpHead(peer.buffer());
    }
    if (head.state == HttpHead::State::kComplete && head.body_bytes > kMaxRequestBytes) {
      head.state = HttpHead::State::kRefused;
      head.refusal = 413;
    }
    if (head.state == HttpHead::State::kRefused) {
      const HttpAnswer refusal{head.refusal, HttpAnswer{}.content_type, "", ""};
      if (peer.Write(FormatAnswer(refusal, false, false), deadline)) peer.Drain();
      return;
    }
    peer.buffer().erase(0, head.size);
    if (head.expects_continue && peer.buffer().size() < head.body_bytes &&
        !peer.Write("HTTP/1.1 100 Continue\r\n\r\n", deadline)) {
      return;
    }
    while (peer.buffer().size() < head.body_bytes) {
      if (!peer.Read(deadline)) return;
    }
    const std::string body = peer.buffer().substr(0, head.body_bytes);
    peer.buffer().erase(0, head.body_bytes);
    const HttpAnswer answer = Handle(head, body);
    const bool keep = head.keep_alive && i + 1 < kRequestsPerConnection;
    if (!peer.Write(FormatAnswer(answer, keep, head.method == "HEAD"), deadline) || !keep) return;
  }
}

HttpAnswer Server::Handle(const HttpHead& head, std::string_view body) const {
  const bool reads = head.method == "GET" || head.method == "HEAD";
  HttpAnswer out;
  if (head.path == "/add-checkpoint") {
    if (head.method != "POST") return {405, out.content_type, "POST a checkpoint\n", "POST"};
    Answer answer = witness_->AddCheckpoint(body);
    return {answer.status, answer.is_size ? "text/x.tlog.size" : out.content_type, std::move(answer.body), ""};
  }
  if (head.path == "/metrics" || head.path == "/") {
    if (!reads) return {405, out.content_type, "", "GET, HEAD"};
    if (head.path == "/") out.body = witness_->vkey() + "\n";
    else return {200, "text/plain; version=0.0.4; charset=utf-8", FormatMetrics(*witness_), ""};
    return out;
  }
  out.status = 404;
  return out;
}

}  // namespace nodetrail::witness
