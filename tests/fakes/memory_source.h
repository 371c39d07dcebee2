// SPDX-License-Identifier: Apache-2.0
//
// A spool in memory, for the shipper's tests.
#ifndef NODETRAIL_TESTS_FAKES_MEMORY_SOURCE_H_
#define NODETRAIL_TESTS_FAKES_MEMORY_SOURCE_H_

#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "agent/ship/batch_source.h"
#include "nodetrail/trail/leaf.h"

namespace nodetrail::testing {

// Thread-safe.
class MemorySource final : public agent::BatchSource {
 public:
  void Add(const trail::SealedBatch& b, bool after_hole = false) {
    const std::lock_guard lock(mutex_);
    batches_.push_back({{b.header.epoch(), b.header.seq()}, b.batch_hash, b.leaf, b.body, after_hole});
  }
  [[nodiscard]] size_t size() const {
    const std::lock_guard lock(mutex_);
    return batches_.size();
  }
  // Forgets the oldest without an acknowledgement, as rot would.
  void Lose(size_t n) {
    const std::lock_guard lock(mutex_);
    batches_.erase(batches_.begin(), batches_.begin() + static_cast<std::ptrdiff_t>(n));
    cursor_ = 0;
  }

  std::optional<agent::ShipBatch> Next() override {
    const std::lock_guard lock(mutex_);
    if (cursor_ >= batches_.size()) return std::nullopt;
    return batches_[cursor_++];
  }
  void Rewind() override {
    const std::lock_guard lock(mutex_);
    cursor_ = 0;
  }
  std::optional<agent::BatchPosition> Oldest() override {
    const std::lock_guard lock(mutex_);
    if (batches_.empty()) return std::nullopt;
    return batches_.front().position;
  }
  Status Ack(const agent::BatchPosition& through) override {
    const std::lock_guard lock(mutex_);
    while (!batches_.empty() && batches_.front().position <= through) {
      batches_.pop_front();
      if (cursor_ > 0) --cursor_;
    }
    return OkStatus();
  }
  Status ResumeAfter(const agent::BatchPosition& through, const trail::Hash& batch_hash) override {
    {
      const std::lock_guard lock(mutex_);
      bool found = false;
      for (const agent::ShipBatch& b : batches_) {
        if (b.position != through) continue;
        if (b.batch_hash != batch_hash) return FailedPrecondition("another batch is here");
        found = true;
      }
      if (!found) return NotFound("not here");
    }
    return Ack(through);
  }

 private:
  mutable std::mutex mutex_;
  std::deque<agent::ShipBatch> batches_;
  size_t cursor_ = 0;
};

}  // namespace nodetrail::testing

#endif  // NODETRAIL_TESTS_FAKES_MEMORY_SOURCE_H_
