// SPDX-License-Identifier: Apache-2.0
//
// Role: one search over the partitions, in order of (time, position). The
// index proposes, the record decides: a row is what its body holds, put to
// expr::Matches. One object for each search; one thread.
#ifndef NODETRAIL_COLLECTOR_INDEX_SEARCH_H_
#define NODETRAIL_COLLECTOR_INDEX_SEARCH_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "collector/index/batch_store.h"
#include "collector/index/catalog.h"
#include "collector/query/expr/expr.h"

namespace nodetrail::collector {

// Place of a row in the order of results.
struct RowKey {
  int64_t time = 0;  // wall clock, ns
  int64_t position = 0;
  friend auto operator<=>(const RowKey&, const RowKey&) = default;
};

struct FoundRow {
  RowKey key;
  const LeafInfo& leaf;
  const schema::EventView& view;
  std::string_view event_bytes;    // verbatim
  std::string_view process_bytes;  // verbatim; empty if the actor is not known
};

struct SearchSpec {
  const expr::Node* query = nullptr;  // outlives the search
  uint64_t since_wall_ns = 0;
  uint64_t until_wall_ns = 0;  // exclusive; 0: no bound
  bool oldest_first = false;
  std::optional<RowKey> after;                 // only what comes after it in the order
  std::function<bool(uint64_t leaf)> retired;  // whether its body was deleted by rule; may be empty
  std::function<bool()> stop;                  // true ends the search with kCancelled; may be empty
};

struct SearchStats {
  uint64_t candidates = 0;  // rows the index proposed
  uint64_t retired = 0;     // rows whose body was deleted by rule: they may have matched
  uint64_t unreadable = 0;  // leaves whose body is not there or is damaged
  std::string first_problem;
};

// Calls `on_row` for each match until it returns false. An index that is not
// there yet has no rows.
Result<SearchStats> Search(const std::string& index_dir, BatchStore* bodies, const SearchSpec& spec,
                           const std::function<bool(const FoundRow&)>& on_row);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INDEX_SEARCH_H_
