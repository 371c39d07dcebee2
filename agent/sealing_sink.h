// SPDX-License-Identifier: Apache-2.0
//
// Batch to durable fact: seal, append, commit the key, wake the shipper. The
// order is the promise: the key that signed a batch is erased only after the
// batch is on disk, and the batch leaves only after the key is gone.
#ifndef NODETRAIL_AGENT_SEALING_SINK_H_
#define NODETRAIL_AGENT_SEALING_SINK_H_

#include <atomic>
#include <cstdint>
#include <functional>

#include "agent/batch/batch_content.h"
#include "agent/pipeline/batch_sink.h"
#include "agent/seal/sealer.h"
#include "agent/spool/spool.h"
#include "nodetrail/base/clock.h"

namespace nodetrail::agent {

// Where the durable chain ends; from any thread.
struct DurablePosition {
  uint64_t epoch = 0;
  uint64_t batch_seq = 0;
  uint64_t batches = 0;    // since start
  uint64_t event_seq = 0;  // last event that is durable
};

// Owner: the composition root. Thread: pipeline, save Position() and refusing().
class SealingSink final : public BatchSink {
 public:
  // `on_durable` is called after each commit, on the pipeline thread.
  // `halt_on_full`: a spool without any room is fatal (FailedPrecondition).
  SealingSink(Sealer* sealer, Spool* spool, const Clock* clock, std::function<void()> on_durable,
              bool halt_on_full = false);

  // As BatchSink says. After a refusal for want of room the disk is not asked
  // again for a while: sealing the same batch at each tick would only burn CPU.
  Status OnBatch(const BatchContent& batch) override;

  [[nodiscard]] DurablePosition Position() const;
  // The spool had no room at the last try.
  [[nodiscard]] bool refusing() const { return refusing_.load(std::memory_order_relaxed); }

 private:
  Sealer* sealer_;
  Spool* spool_;
  const Clock* clock_;
  std::function<void()> on_durable_;
  bool halt_on_full_;
  uint64_t retry_at_boot_ns_ = 0;
  Status refusal_;
  std::atomic<bool> refusing_{false};
  std::atomic<uint64_t> epoch_{0}, batch_seq_{0}, batches_{0}, event_seq_{0};
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SEALING_SINK_H_
