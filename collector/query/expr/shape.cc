// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "collector/query/expr/expr.h"

namespace nodetrail::expr {
namespace {

std::string TermShape(const Term& term) {
  if (term.bare) return "text:?";
  std::string out(schema::Info(term.field).name);
  switch (term.op) {
    case Term::Op::kAny: return out + ":*";
    case Term::Op::kUnset: return out + ":unset";
    default: return out + ":?";
  }
}

// Stops, somewhere behind `most`, once nobody will read on.
void Append(const Node& node, size_t most, std::string* out) {
  if (out->size() > most) return;
  switch (node.kind) {
    case Node::Kind::kTrue: *out += "all"; return;
    case Node::Kind::kTerm: *out += TermShape(node.term); return;
    case Node::Kind::kNot: *out += "not "; break;
    case Node::Kind::kAnd:
    case Node::Kind::kOr: break;
  }
  bool first = true;
  for (const Node& child : node.children) {
    if (!first) *out += node.kind == Node::Kind::kAnd ? " and " : " or ";
    first = false;
    const bool joined = child.kind == Node::Kind::kAnd || child.kind == Node::Kind::kOr;
    if (joined) *out += '(';
    Append(child, most, out);
    if (joined) *out += ')';
  }
}

}  // namespace

std::string Shape(const Node& node, size_t most) {
  std::string out;
  Append(node, most, &out);
  if (out.size() > most) out.replace(most < 3 ? 0 : most - 3, std::string::npos, "...");
  return out;
}

}  // namespace nodetrail::expr
