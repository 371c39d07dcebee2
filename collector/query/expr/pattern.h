// SPDX-License-Identifier: Apache-2.0
//
// A text pattern: '*' is any run of bytes, '?' one character (a whole UTF-8
// sequence), a backslash takes the next character literally. Matching is
// linear in the text for each '*', without recursion.
#ifndef NODETRAIL_COLLECTOR_QUERY_EXPR_PATTERN_H_
#define NODETRAIL_COLLECTOR_QUERY_EXPR_PATTERN_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nodetrail::expr {

class Pattern {
 public:
  Pattern() = default;
  // A backslash at the very end stands for itself.
  static Pattern Compile(std::string_view text);
  // Matches texts that contain `text` (wildcards active), ASCII letters of
  // either case alike.
  static Pattern CompileContains(std::string_view text);

  // Of the whole text.
  [[nodiscard]] bool Matches(std::string_view text) const;

  // No wildcard in it: it matches exactly Literal().
  [[nodiscard]] bool IsLiteral() const { return !wild_ && !fold_; }
  [[nodiscard]] std::string Literal() const;
  // What every match begins with; empty if it folds case.
  [[nodiscard]] std::string Prefix() const;
  // The longest run of literal bytes: every match contains it (folded if fold()).
  [[nodiscard]] std::string LongestLiteral() const;
  [[nodiscard]] bool HasByte(char c) const;
  [[nodiscard]] bool EndsWith(char c) const;
  [[nodiscard]] bool MatchesAll() const;  // "*"
  [[nodiscard]] bool fold() const { return fold_; }
  // The pattern with '*' at its end.
  [[nodiscard]] Pattern WithStar() const;

 private:
  static constexpr uint16_t kStar = 256;
  static constexpr uint16_t kOne = 257;
  std::vector<uint16_t> glyphs_;  // a byte, kStar or kOne
  bool wild_ = false;
  bool fold_ = false;
};

}  // namespace nodetrail::expr

#endif  // NODETRAIL_COLLECTOR_QUERY_EXPR_PATTERN_H_
