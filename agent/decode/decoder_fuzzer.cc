// SPDX-License-Identifier: Apache-2.0
//
// Fuzzes Decode. The header's version, type and length are repaired in most
// inputs, so that the fuzzer spends its time behind them; the first input byte
// says whether and how.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "agent/decode/decode.h"
#include "agent/decode/paths.h"

namespace nodetrail::agent {
namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

// Every view of an accepted record lies inside the record, and every path
// helper copes with it.
void Inspect(const std::vector<std::byte>& record, const RawEvent& event) {
  const auto begin = reinterpret_cast<uintptr_t>(record.data());
  const uintptr_t end = begin + record.size();
  std::string base;
  std::string path;
  for (unsigned kind = 0; kind < NT_TAIL_MAX; ++kind) {
    const auto tail_kind = static_cast<nt_tail>(kind);
    if (!event.Has(tail_kind)) {
      Require(event.Tail(tail_kind).empty());
      continue;
    }
    const std::string_view tail = event.Tail(tail_kind);
    const auto at = reinterpret_cast<uintptr_t>(tail.data());
    Require(at >= begin && at + tail.size() <= end);
    if (kind == NT_TAIL_USER_PATH || kind == NT_TAIL_USER_PATH2 || kind == NT_TAIL_SCRIPT) {
      const std::string from = base.empty() ? "/" : base;
      JoinPathInRoot(from, tail, &path);
      Require(path.empty() == tail.empty());
      // Never above the root it was given.
      if (!path.empty() && from != "/") Require(path.compare(0, from.size(), from) == 0);
      JoinPath(from, tail, &path);
      Require(path.empty() == tail.empty());
      if (!path.empty()) Require(path.front() == '/');
    } else if (kind != NT_TAIL_ARGV && kind != NT_TAIL_TEXT && kind != NT_TAIL_SOCKET_NAME) {
      ReversePath(tail, &base);
      Require(base.front() == '/');
      Require(base.size() == (tail.empty() ? 1 : tail.size()));
    }
  }
}

}  // namespace
}  // namespace nodetrail::agent

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace nodetrail::agent;  // NOLINT
  if (size < 1) return 0;
  const uint8_t repair = data[0];
  std::vector<std::byte> record(size - 1);
  if (size > 1) std::memcpy(record.data(), data + 1, size - 1);
  if (record.size() >= sizeof(nt_header)) {
    nt_header header;
    std::memcpy(&header, record.data(), sizeof header);
    if ((repair & 1U) == 0) header.abi_version = NT_ABI_VERSION;
    if ((repair & 2U) == 0) header.total_len = static_cast<uint32_t>(record.size());
    if ((repair & 4U) == 0) header.type = static_cast<uint16_t>(1U + header.type % NT_TYPE_LAST);
    std::memcpy(record.data(), &header, sizeof header);
  }
  RawEvent event;
  const Reject reject = Decode(record, &event);
  Require(!RejectName(reject).empty() && RejectName(reject) != "unknown");
  if (reject == Reject::kNone) Inspect(record, event);
  return 0;
}
