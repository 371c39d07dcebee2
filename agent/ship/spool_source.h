// SPDX-License-Identifier: Apache-2.0
//
// The spool as ship sees it.
#ifndef NODETRAIL_AGENT_SHIP_SPOOL_SOURCE_H_
#define NODETRAIL_AGENT_SHIP_SPOOL_SOURCE_H_

#include <optional>

#include "agent/ship/batch_source.h"
#include "agent/spool/spool.h"

namespace nodetrail::agent {

class SpoolSource final : public BatchSource {
 public:
  // `spool` outlives it.
  explicit SpoolSource(Spool* spool) : spool_(spool) {}

  std::optional<ShipBatch> Next() override {
    std::optional<SpooledBatch> batch = spool_->Next(std::chrono::milliseconds(0));
    if (!batch) return std::nullopt;
    return ShipBatch{{batch->epoch, batch->seq}, batch->batch_hash, std::move(batch->leaf),
                     std::move(batch->body),     batch->after_hole, std::move(batch->eviction),
                     std::move(batch->unread)};
  }
  void Rewind() override { spool_->Rewind(); }
  std::optional<BatchPosition> Oldest() override {
    const auto oldest = spool_->oldest_pending();
    if (!oldest) return std::nullopt;
    return BatchPosition{oldest->epoch, oldest->seq};
  }
  Status Ack(const BatchPosition& through) override { return spool_->Ack(through.epoch, through.seq); }
  Status ResumeAfter(const BatchPosition& through, const trail::Hash& batch_hash) override {
    return spool_->ResumeAfter(through.epoch, through.seq, batch_hash);
  }

 private:
  Spool* spool_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SHIP_SPOOL_SOURCE_H_
