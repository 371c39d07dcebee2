// SPDX-License-Identifier: Apache-2.0
//
// As much of HTTP/1.1 as a witness needs: one head in, one answer out. Pure;
// the bytes are a stranger's.
#ifndef NODETRAIL_WITNESS_HTTP_H_
#define NODETRAIL_WITNESS_HTTP_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace nodetrail::witness {

inline constexpr size_t kMaxHeadBytes = 8 * 1024;

struct HttpHead {
  enum class State { kIncomplete, kComplete, kRefused };
  State state = State::kIncomplete;
  int refusal = 0;  // kRefused: the status to answer with; the connection can't be used after it
  // kComplete:
  std::string method;
  std::string path;         // without a query
  size_t size = 0;          // bytes of the head, blank line included
  uint64_t body_bytes = 0;  // that follow
  bool keep_alive = false;
  bool expects_continue = false;
};

// The head at the front of `bytes`. Refused: anything but HTTP/1.0 and 1.1
// (505), a head longer than kMaxHeadBytes (431), a body of unstated length
// (501 for a transfer coding), whatever two readers could take two ways (400).
HttpHead ParseHttpHead(std::string_view bytes);

struct HttpAnswer {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
  std::string allow;  // of a 405
};
std::string FormatAnswer(const HttpAnswer& answer, bool keep_alive, bool head_only);

}  // namespace nodetrail::witness

#endif  // NODETRAIL_WITNESS_HTTP_H_
