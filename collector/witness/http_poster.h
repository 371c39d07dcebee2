// SPDX-License-Identifier: Apache-2.0
//
// POSTs to several servers at once, answers in the order in which they come.
#ifndef NODETRAIL_COLLECTOR_WITNESS_HTTP_POSTER_H_
#define NODETRAIL_COLLECTOR_WITNESS_HTTP_POSTER_H_

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>

#include "nodetrail/base/status.h"

namespace nodetrail::collector {

inline constexpr size_t kMaxReplyBytes = 64 * 1024;

struct HttpReply {
  size_t id = 0;
  Status transport;  // not OK: there was no answer; says why
  int status = 0;    // HTTP
  std::string body;  // at most kMaxReplyBytes
};

// One thread at a time.
class HttpPoster {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  virtual ~HttpPoster() = default;
  virtual void Start(size_t id, const std::string& url, std::string body) = 0;
  // The next reply; nothing once `deadline` is over or no request is open.
  virtual std::optional<HttpReply> Next(TimePoint deadline) = 0;
  // Gives up what is open.
  virtual void Cancel() = 0;
};

// By libcurl: http and https alone, no redirects, no proxy, connections kept
// open between requests. `ca_file` empty: the system's authorities.
Result<std::unique_ptr<HttpPoster>> MakeCurlPoster(const std::string& ca_file);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_WITNESS_HTTP_POSTER_H_
