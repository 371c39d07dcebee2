// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "collector/query/expr/expr.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::expr {
namespace {

using schema::FieldType;
using schema::FieldValues;

bool AnyText(const FieldValues& values, const Pattern& pattern) {
  return std::any_of(values.text.begin(), values.text.end(),
                     [&pattern](std::string_view text) { return pattern.Matches(text); });
}

bool AnyNumber(const FieldValues& values, const Interval& interval) {
  return std::any_of(values.numbers.begin(), values.numbers.end(),
                     [&interval](int64_t number) { return interval.Contains(number); });
}

}  // namespace

bool AddressBlock::Contains(std::string_view ip) const {
  if (ip.size() != 4 && ip.size() != 16) return false;
  const std::string full = schema::NormaliseIp(ip);
  const auto whole = static_cast<size_t>(bits / 8);
  if (full.compare(0, whole, network, 0, whole) != 0) return false;
  const int rest = bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<uint8_t>(0xff << (8 - rest));
  return (static_cast<uint8_t>(full[whole]) & mask) == (static_cast<uint8_t>(network[whole]) & mask);
}

bool PathMatches(const Pattern& pattern, std::string_view path) {
  if (pattern.Matches(path)) return true;
  if (pattern.EndsWith('/')) return pattern.WithStar().Matches(path);
  if (pattern.HasByte('/')) return false;
  const size_t slash = path.rfind('/');
  return slash != std::string_view::npos && pattern.Matches(path.substr(slash + 1));
}

bool TermMatches(const Term& term, const schema::EventView& view) {
  thread_local FieldValues values;
  if (term.bare) {
    schema::GetMainText(view, &values);
    return AnyText(values, term.pattern);
  }
  schema::GetField(view, term.field, &values);
  switch (term.op) {
    case Term::Op::kText:
      if (term.type == FieldType::kPath) {
        return std::any_of(values.text.begin(), values.text.end(),
                           [&term](std::string_view text) { return PathMatches(term.pattern, text); });
      }
      return AnyText(values, term.pattern);
    case Term::Op::kNumber: return AnyNumber(values, term.interval);
    case Term::Op::kUser: return AnyText(values, term.pattern) || (term.has_number && AnyNumber(values, term.interval));
    case Term::Op::kKind:
      return std::any_of(values.numbers.begin(), values.numbers.end(), [&term](int64_t kind) {
        return std::find(term.kinds.begin(), term.kinds.end(), kind) != term.kinds.end();
      });
    case Term::Op::kId:
      return std::any_of(values.text.begin(), values.text.end(),
                         [&term](std::string_view id) { return schema::Hex(id).starts_with(term.hex); });
    case Term::Op::kAddress:
      return std::any_of(values.text.begin(), values.text.end(),
                         [&term](std::string_view ip) { return term.block.Contains(ip); });
    case Term::Op::kAddressText:
      return std::any_of(values.text.begin(), values.text.end(),
                         [&term](std::string_view ip) { return term.pattern.Matches(schema::FormatIp(ip)); });
    case Term::Op::kAny: return !values.text.empty() || !values.numbers.empty();
    case Term::Op::kUnset: return values.text.empty() && values.numbers.empty();
  }
  return false;
}

bool Matches(const Node& node, const schema::EventView& view) {
  switch (node.kind) {
    case Node::Kind::kTrue: return true;
    case Node::Kind::kAnd:
      return std::all_of(node.children.begin(), node.children.end(),
                         [&view](const Node& child) { return Matches(child, view); });
    case Node::Kind::kOr:
      return std::any_of(node.children.begin(), node.children.end(),
                         [&view](const Node& child) { return Matches(child, view); });
    case Node::Kind::kNot: return !Matches(node.children.front(), view);
    case Node::Kind::kTerm: return TermMatches(node.term, view);
  }
  return false;
}

}  // namespace nodetrail::expr
