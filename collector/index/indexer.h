// SPDX-License-Identifier: Apache-2.0
//
// Role: keeps index/ in step with the log. Own thread; ingest only tells it
// that the log has grown and never waits for it.
//
// The index is SQLite, one file per span of event time, plus catalog.db. It
// holds no evidence: a row says where in which body an event is. Each leaf's
// rows are keyed by log position, and the position reached is committed with
// them, so a leaf is indexed once whatever crashes. An index that is missing,
// damaged or of another log is deleted and rebuilt from leaves and bodies,
// with progress in the log; meanwhile queries answer from what is there.
#ifndef NODETRAIL_COLLECTOR_INDEX_INDEXER_H_
#define NODETRAIL_COLLECTOR_INDEX_INDEXER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "collector/index/batch_store.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"

namespace nodetrail::collector {

class Indexer {
 public:
  struct Options {
    std::string trail_dir;                                 // holds log/, bodies/ and index/
    uint32_t partition_hours = 24;                         // 1..168
    const Clock* clock = nullptr;                          // outlives the indexer
    std::function<bool(uint64_t leaf)> retired = nullptr;  // whether its body was deleted by rule; any thread
  };

  struct Progress {
    uint64_t indexed = 0;    // leaves indexed
    uint64_t log_size = 0;   // leaves told by Notify
    double lag_seconds = 0;  // how long the oldest leaf that is not indexed has waited; 0 if none waits
    bool rebuilding = false;
    std::string problem;  // why it makes no progress; empty if it does
  };

  // Opens or creates index/ under the trail. kUnavailable or kResourceExhausted
  // if the directory can't be used; a damaged index is not an error.
  static Result<std::unique_ptr<Indexer>> Open(Options options);
  // Stops the thread.
  virtual ~Indexer() = default;
  Indexer(const Indexer&) = delete;
  Indexer& operator=(const Indexer&) = delete;

  virtual void Start() = 0;
  // Ends the thread after the transaction under way. Idempotent.
  virtual void Stop() = 0;

  // Leaves [0, log_size) are durable, their bodies too. Any thread; returns at
  // once. Also wakes readers that follow the log.
  virtual void Notify(uint64_t log_size) = 0;

  [[nodiscard]] virtual Progress GetProgress() const = 0;

  // Blocks until `leaves` are indexed: kDeadlineExceeded after `timeout`.
  virtual Status WaitIndexed(uint64_t leaves, std::chrono::milliseconds timeout) = 0;
  // A reader met a damaged index: it is rebuilt. Any thread.
  virtual void ReportDamage(const std::string& why) = 0;

  // Blocks until the log has more than `size` leaves or `timeout` passed;
  // returns its size.
  virtual uint64_t WaitForLog(uint64_t size, std::chrono::milliseconds timeout) = 0;

  // For readers: opened bodies, shared by all, and where the index is.
  [[nodiscard]] virtual BatchStore* bodies() = 0;
  [[nodiscard]] virtual const std::string& index_dir() const = 0;

 protected:
  Indexer() = default;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INDEX_INDEXER_H_
