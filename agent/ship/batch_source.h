// SPDX-License-Identifier: Apache-2.0
//
// What ship needs of the spool. The spool's adapter is spool_source.h; tests
// have one in memory.
#ifndef NODETRAIL_AGENT_SHIP_BATCH_SOURCE_H_
#define NODETRAIL_AGENT_SHIP_BATCH_SOURCE_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

#include "agent/spool/unread.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::agent {

// Where a batch stands in its agent's chain. Ordered: epoch, then seq.
struct BatchPosition {
  uint64_t epoch = 0;
  uint64_t seq = 0;
  friend auto operator<=>(const BatchPosition&, const BatchPosition&) = default;
};

// A sealed batch as it lies in the spool; the bytes are sent verbatim.
struct ShipBatch {
  BatchPosition position;
  trail::Hash batch_hash{};
  std::string leaf;
  std::string body;                     // stored bytes; empty if the batch has none
  bool after_hole = false;              // the batches before it are missing for good
  std::string eviction{};               // SignedEviction, if the agent gave the body up
  std::optional<SpoolUnread> unread{};  // right before it, and could not be read
};

// Used by the ship thread alone; the implementation synchronises with the
// thread that appends. No call waits for a new batch.
class BatchSource {
 public:
  virtual ~BatchSource() = default;

  // The oldest durable batch that is not acknowledged and that the cursor has
  // not passed; nothing: none now.
  [[nodiscard]] virtual std::optional<ShipBatch> Next() = 0;
  // The cursor goes back to the oldest batch that is not acknowledged.
  virtual void Rewind() = 0;
  // Position of that batch; nothing: all are acknowledged.
  [[nodiscard]] virtual std::optional<BatchPosition> Oldest() = 0;
  // `through` and all before it are safe at the collector: they may be
  // deleted. Durable when it returns OK.
  [[nodiscard]] virtual Status Ack(const BatchPosition& through) = 0;
  // As Ack, if the batch at `through` is here with this hash. NotFound: not
  // here. FailedPrecondition: here with another hash.
  [[nodiscard]] virtual Status ResumeAfter(const BatchPosition& through, const trail::Hash& batch_hash) = 0;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SHIP_BATCH_SOURCE_H_
