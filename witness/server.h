// SPDX-License-Identifier: Apache-2.0
//
// A witness's port: HTTP/1.1, plain or over TLS.
//   POST /add-checkpoint   https://c2sp.org/tlog-witness
//   GET /metrics           Prometheus text
//   GET /                  name and verifier key
// A fixed number of threads each serve one connection at a time, so that peers
// can't make it use more memory or threads; those that wait are in the kernel.
// A request has a deadline as a whole, not per byte.
#ifndef NODETRAIL_WITNESS_SERVER_H_
#define NODETRAIL_WITNESS_SERVER_H_

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"
#include "witness/core.h"
#include "witness/http.h"

struct ssl_ctx_st;

namespace nodetrail::witness {

class Server {
 public:
  struct Options {
    std::string host = "127.0.0.1";
    std::string port = "0";
    std::string cert_file, key_file;  // PEM; empty: no TLS
    size_t connections = 64;          // served at a time
    std::chrono::milliseconds request_timeout{10'000};
    std::chrono::milliseconds idle_timeout{5'000};
  };
  // Listens and serves when it returns. `witness` outlives it. Errors name the
  // address or the file.
  static Result<std::unique_ptr<Server>> Start(Options options, Witness* witness);
  ~Server();  // Stop()
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Takes the certificate from its files anew, for connections from now on; the
  // old one stays after an error.
  Status ReloadTls();
  // Answers the requests under way, then closes. Idempotent.
  void Stop();

  [[nodiscard]] int port() const { return port_; }
  // The answer to a request that was read whole. Any thread.
  [[nodiscard]] HttpAnswer Handle(const HttpHead& head, std::string_view body) const;

 private:
  class Connection;
  Server(Options options, Witness* witness) : options_(std::move(options)), witness_(witness) {}
  Status Listen();
  void Work();
  void Serve(UniqueFd fd);

  const Options options_;
  Witness* const witness_;
  UniqueFd listener_;
  UniqueFd stop_;  // readable once it is to stop
  int port_ = 0;
  std::atomic<size_t> busy_ = 0;
  std::mutex mutex_;
  std::shared_ptr<ssl_ctx_st> tls_;
  std::vector<std::jthread> threads_;
};

// "host:port" or "[v6]:port"; false if it is not one.
bool SplitHostPort(const std::string& text, std::string* host, std::string* port);

}  // namespace nodetrail::witness

#endif  // NODETRAIL_WITNESS_SERVER_H_
