// SPDX-License-Identifier: Apache-2.0
//
// Role: one partition file: the events of one span of time, as integers and
// ids into dictionaries of strings, process images and ancestries. Written by
// the indexer's thread; readers open their own connections.
//
// Absent is 0 for ids of strings, -1 for numbers, never NULL: a predicate and
// its negation then cover all rows.
#ifndef NODETRAIL_COLLECTOR_INDEX_PARTITION_H_
#define NODETRAIL_COLLECTOR_INDEX_PARTITION_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "collector/index/sqlite.h"
#include "nodetrail/schema/event_view.h"

namespace nodetrail::collector {

// Where an event is: leaf << 20 | ordinal in the body. A body of 8 MiB holds
// fewer than 2^20 records, each of which takes at least 9 bytes.
inline constexpr int kOrdinalBits = 20;
inline constexpr int64_t PositionOf(uint64_t log_index, size_t ordinal) {
  return static_cast<int64_t>(log_index << kOrdinalBits | ordinal);
}
inline constexpr uint64_t LeafOf(int64_t position) { return static_cast<uint64_t>(position) >> kOrdinalBits; }
inline constexpr size_t OrdinalOf(int64_t position) {
  return static_cast<size_t>(position) & ((size_t{1} << kOrdinalBits) - 1);
}

// "p20260131T00" for the span that holds `wall_ns`; "odd" for times that no
// honest clock shows (before 2000, from 2100 on), which share one partition.
[[nodiscard]] std::string PartitionName(uint64_t wall_ns, uint32_t partition_hours);
// Time as it is indexed: saturated to what SQLite's integers hold.
[[nodiscard]] int64_t IndexTime(uint64_t wall_ns);

class PartitionWriter {
 public:
  // Creates the file if need be. DataLoss if it is damaged or of another format.
  static Result<PartitionWriter> Open(const std::string& path);

  Status Begin();
  // Idempotent: an event that is there stays as it is.
  Status Add(int64_t position, const schema::EventView& view, std::string_view process_bytes);
  // Events of these leaves, and what no other event says: their bodies were
  // deleted by rule. How many events there were.
  Result<uint64_t> Remove(const std::vector<uint64_t>& leaves);
  Status Commit();
  Status Rollback();
  // What was removed is overwritten in the files too, as far as readers allow;
  // between two transactions.
  Status Flush();
  // Rows added (not found there) since Begin.
  [[nodiscard]] uint64_t added() const { return added_; }

 private:
  Result<int64_t> Str(std::string_view text);
  Result<int64_t> Image(const event::v1::Process& process, std::string_view process_bytes);
  Result<int64_t> Chain(const event::v1::Process& process);
  void DropCaches();

  Db db_;
  Stmt str_get_, str_put_, img_get_, img_put_, chain_get_, chain_put_, anc_put_, ev_put_, ev_del_;
  // Bounded: emptied when full, and after a rollback.
  std::unordered_map<std::string, int64_t> strings_;
  std::unordered_map<std::string, int64_t> images_;
  uint64_t added_ = 0;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INDEX_PARTITION_H_
