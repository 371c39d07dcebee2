// SPDX-License-Identifier: Apache-2.0
//
// What ship needs of the spool. The spool's adapter is spool_source.h; tests
// have one in memory.
#ifndef NODETRAIL_AGENT_SHIP_BATCH_SOURCE_H_
#define NODETRAIL_AGENT_SHIP_BATCH_SOURCE_H_

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>

#include "nodetrail/base/status.h"

namespace nodetrail::agent {

// Where a batch stands in its agent's chain. Ordered: epoch, then seq.
struct BatchPosition {
  uint64_t epoch = 0;
  uint64_t seq = 0;
  auto operator<=>(const BatchPosition&) const = default;
};

// A sealed batch as it lies in the spool; the bytes are sent verbatim.
struct SpooledBatch {
  BatchPosition position;
  std::array<uint8_t, 32> batch_hash{};
  std::string leaf;
  std::string body;  // stored bytes; empty if the batch has none
};

// Used by the ship thread alone; the implementation synchronises with the
// thread that appends.
class BatchSource {
 public:
  virtual ~BatchSource() = default;

  // The first batch after `after`, in chain order; without `after` the oldest
  // that is not acknowledged. nullopt: none yet. Only batches that are durable
  // are returned. Never blocks on the appending thread for longer than a copy.
  [[nodiscard]] virtual Result<std::optional<SpooledBatch>> Next(const std::optional<BatchPosition>& after) = 0;

  // `through` and all before it are safe at the collector: they may be
  // deleted. Durable when it returns OK.
  [[nodiscard]] virtual Status Acknowledge(const BatchPosition& through) = 0;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SHIP_BATCH_SOURCE_H_
