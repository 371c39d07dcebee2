// SPDX-License-Identifier: Apache-2.0
//
// A query tree as SQL over one partition file. What SQL proposes is a superset
// of what matches; expr::Matches decides. Terms that the columns can't answer
// exactly are widened, and widened to "all" under a negation.
//
// Strings are resolved first, in one pass over the dictionary: a wildcard or a
// bare word costs a scan of distinct strings, not of events.
#ifndef NODETRAIL_COLLECTOR_INDEX_PREDICATE_H_
#define NODETRAIL_COLLECTOR_INDEX_PREDICATE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "collector/index/sqlite.h"
#include "collector/query/expr/expr.h"

namespace nodetrail::collector {

struct Predicate {
  std::string where;   // over table ev
  bool exact = false;  // equal to the query, not only a superset
  // Subqueries "SELECT pos FROM ev WHERE …", each by an index, that together
  // propose all rows that match; nothing: scan by time.
  std::optional<std::vector<std::string>> drivers;
};

// Makes temporary tables in `db` that the predicate refers to. `low` and
// `high`: the times looked at (both included), to judge what is selective.
Result<Predicate> CompilePredicate(Db* db, const expr::Node& query, int64_t low, int64_t high);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INDEX_PREDICATE_H_
