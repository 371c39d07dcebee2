// SPDX-License-Identifier: Apache-2.0
//
// The query language of docs/query.md: text -> tree, and whether an event
// matches it. Matches() is the one truth: whatever an index proposes is put
// to it. Pure; thread-safe once parsed.
//
//   user:alice and kind:file.* and path:/etc/* not outcome:success
//
// A query is untrusted input: its length, depth and number of terms are bounded.
#ifndef NODETRAIL_COLLECTOR_QUERY_EXPR_EXPR_H_
#define NODETRAIL_COLLECTOR_QUERY_EXPR_EXPR_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "collector/query/expr/pattern.h"
#include "nodetrail/base/status.h"
#include "nodetrail/schema/event_view.h"
#include "nodetrail/schema/fields.h"

namespace nodetrail::expr {

inline constexpr size_t kMaxQueryBytes = 16 * 1024;
inline constexpr size_t kMaxTerms = 256;
inline constexpr size_t kMaxDepth = 64;

// Numbers, times (ns) and durations (ns): both ends belong to it.
struct Interval {
  int64_t low = std::numeric_limits<int64_t>::min();
  int64_t high = std::numeric_limits<int64_t>::max();
  [[nodiscard]] bool Contains(int64_t value) const { return value >= low && value <= high; }
};

// A block of addresses in the 16-byte form.
struct AddressBlock {
  std::string network;  // 16 bytes
  int bits = 128;       // leading bits that count
  // `ip`: 4 or 16 bytes.
  [[nodiscard]] bool Contains(std::string_view ip) const;
};

struct Term {
  enum class Op : uint8_t {
    kText,         // pattern over the field's text; folded and "contains" for a bare word
    kNumber,       // interval
    kUser,         // pattern over names, or interval over ids if has_number
    kKind,         // one of kinds
    kId,           // hexadecimal prefix
    kAddress,      // block
    kAddressText,  // pattern over the printed address
    kAny,          // the field has a value
    kUnset,        // the field has none
  };
  Op op = Op::kText;
  bool bare = false;  // over the main text
  schema::FieldId field = schema::FieldId::kKind;
  schema::FieldType type = schema::FieldType::kText;
  Pattern pattern;
  bool has_number = false;
  Interval interval;
  std::vector<int> kinds;
  std::string hex;
  AddressBlock block;
};

struct Node {
  enum class Kind : uint8_t { kTrue, kAnd, kOr, kNot, kTerm };
  Kind kind = Kind::kTrue;
  std::vector<Node> children;  // kAnd, kOr: two or more; kNot: one
  Term term;                   // kTerm
};

// `now_ns` (UTC, since the Unix epoch) is what relative times count from. An
// empty text matches all. InvalidArgument: three lines, the message, the query
// and a caret under the place.
Result<Node> Parse(std::string_view text, uint64_t now_ns);

[[nodiscard]] bool Matches(const Node& node, const schema::EventView& view);
[[nodiscard]] bool TermMatches(const Term& term, const schema::EventView& view);

// A path pattern matches the whole path; without a '/' in it, the last
// component too; with a '/' at its end, everything below.
[[nodiscard]] bool PathMatches(const Pattern& pattern, std::string_view path);

// The query with '?' for each value: which fields were asked for, and how they
// are joined, e.g. "user:? and not (path:? or text:?)". "all" for an empty one.
// Printable ASCII; cut at `most` bytes, which "..." then ends.
[[nodiscard]] std::string Shape(const Node& node, size_t most);

// RFC 3339, a date or date and time (UTC), "now", "@seconds", or a span before
// now such as 10m, 2h, 1d12h. ns since the Unix epoch. `span` (optional): the
// length of what was named, e.g. a day for a date; 0 for a point in time.
Result<uint64_t> ParseTime(std::string_view text, uint64_t now_ns, uint64_t* span = nullptr);
// "1h30m", "250ms", "0". Units ns us ms s m h d w. ns.
Result<uint64_t> ParseDuration(std::string_view text);

// `value` as one quoted term value. Wildcards and backslash escapes in it stay active.
[[nodiscard]] std::string Quote(std::string_view value);
// As Quote, with wildcards and backslashes taken literally.
[[nodiscard]] std::string QuoteLiteral(std::string_view value);

}  // namespace nodetrail::expr

#endif  // NODETRAIL_COLLECTOR_QUERY_EXPR_EXPR_H_
