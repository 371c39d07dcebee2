// SPDX-License-Identifier: Apache-2.0
//
// quarantine/ of the trail: batches that did not verify, kept as they came.
// They are evidence, of an attack or of a fault; nothing is ever repaired.
#ifndef NODETRAIL_COLLECTOR_STORE_QUARANTINE_H_
#define NODETRAIL_COLLECTOR_STORE_QUARANTINE_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"

namespace nodetrail::collector {

// Bounded: whoever can send rubbish must not fill the disk. Beyond the bounds
// a batch is counted and logged, not kept. Half of it is for agents that have no
// more than a quarter each: what one sends can't keep out the evidence of others.
struct QuarantineLimits {
  uint64_t max_files = 1000;
  uint64_t max_bytes = 64U << 20;
};

// Keep: the ingest thread. Counters: any thread.
class Quarantine {
 public:
  // Creates `dir` if need be and counts what is there.
  static Result<std::unique_ptr<Quarantine>> Open(const std::string& dir, const QuarantineLimits& limits = {});

  // Writes <agent>-<first 16 hex of SHA-256(leaf || body)>.leaf and .body as
  // they came, and .reason, one line. The same bytes are kept once. `agent_id`
  // is from the certificate, and valid. OK too when the bounds are reached.
  Status Keep(std::string_view agent_id, std::string_view leaf, std::string_view body, std::string_view reason);
  // As Keep, but false when the bounds are reached, which is not counted.
  Result<bool> TryKeep(std::string_view agent_id, std::string_view leaf, std::string_view body,
                       std::string_view reason);

  [[nodiscard]] uint64_t batches() const { return batches_.load(std::memory_order_relaxed); }
  [[nodiscard]] uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  Quarantine(std::string dir, const QuarantineLimits& limits) : dir_(std::move(dir)), limits_(limits) {}

  struct Usage {
    uint64_t files = 0;
    uint64_t bytes = 0;
  };
  void Count(std::string_view agent_id, uint64_t files, uint64_t bytes);
  [[nodiscard]] bool Fits(std::string_view agent_id, uint64_t files, uint64_t bytes) const;

  const std::string dir_;
  const QuarantineLimits limits_;
  Usage all_;
  std::map<std::string, Usage, std::less<>> agents_;
  std::atomic<uint64_t> batches_ = 0;
  std::atomic<uint64_t> dropped_ = 0;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_STORE_QUARANTINE_H_
