// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <optional>
#include <utility>

#include "collector/query/expr/expr.h"
#include "nodetrail/schema/labels.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::expr {
namespace {

using schema::FieldInfo;
using schema::FieldType;

struct Token {
  enum class Kind : uint8_t { kEnd, kOpen, kClose, kAnd, kOr, kNot, kTerm };
  Kind kind = Kind::kEnd;
  size_t at = 0;        // byte position in the query
  size_t value_at = 0;  // of the value
  const FieldInfo* field = nullptr;
  std::string value;  // of a term, escapes kept
  bool quoted = false;
  bool range = false;  // value is the inside of [..]
};

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

bool IsWordEnd(char c) { return IsSpace(c) || c == '(' || c == ')'; }

bool LooksLikeField(std::string_view name) {
  if (name.empty() || name[0] < 'a' || name[0] > 'z') return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.'; });
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

// The value with its escapes undone; for types that have no wildcards.
std::string Plain(std::string_view value) {
  std::string out;
  for (size_t i = 0; i < value.size(); ++i) {
    if (value[i] == '\\' && i + 1 < value.size()) ++i;
    out.push_back(value[i]);
  }
  return out;
}

std::optional<int64_t> ParseInteger(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) base = 16;
  else if (text.starts_with("0o")) base = 8;
  if (base != 10) text.remove_prefix(2);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (value > kMax) value = kMax;
  return negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

std::optional<int> ErrnoByName(std::string_view name) {
  std::string upper(name);
  for (char& c : upper) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  }
  if (upper == "EWOULDBLOCK") return EAGAIN;
  for (int err = 1; err < 134; ++err) {
    if (ErrnoName(err) == upper) return err;
  }
  return std::nullopt;
}

class Parser {
 public:
  Parser(std::string_view text, uint64_t now_ns) : text_(text), now_ns_(now_ns) {}

  Result<Node> Run() {
    if (text_.size() > kMaxQueryBytes) {
      return InvalidArgument(fmt::format("query: longer than {} bytes", kMaxQueryBytes));
    }
    Node out;
    if (!Next()) return Failure();
    if (token_.kind == Token::Kind::kEnd) return out;
    if (!ParseOr(&out, 0)) return Failure();
    if (token_.kind != Token::Kind::kEnd) {
      Fail(token_.at, token_.kind == Token::Kind::kClose ? "')' without '('" : "unexpected word");
      return Failure();
    }
    return out;
  }

 private:
  bool Fail(size_t at, std::string message) {
    if (error_.empty()) error_ = std::move(message), error_at_ = at;
    return false;
  }

  [[nodiscard]] Status Failure() const {
    // The caret stands under the place also when what is before it was escaped.
    const std::string before = schema::TerminalSafe(text_.substr(0, std::min(error_at_, text_.size())));
    return InvalidArgument(fmt::format("query: {}\n  {}\n  {:>{}}", schema::TerminalSafe(error_),
                                       schema::TerminalSafe(text_), "^", schema::DisplayWidth(before) + 1));
  }

  // --- tokens ---

  bool Next() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
    token_ = Token();
    token_.at = token_.value_at = at_;
    if (at_ >= text_.size()) return true;
    const char c = text_[at_];
    if (c == '(' || c == ')') {
      token_.kind = c == '(' ? Token::Kind::kOpen : Token::Kind::kClose;
      ++at_;
      return true;
    }
    token_.kind = Token::Kind::kTerm;
    if (c == '"') return ReadQuoted();
    // A word up to white space or a parenthesis. A quote may follow "field:".
    const size_t begin = at_;
    while (at_ < text_.size() && !IsWordEnd(text_[at_])) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
      if (text_[at_] == ':' && token_.field == nullptr) {
        if (!TakeField(text_.substr(begin, at_ - begin), begin)) return false;
        if (token_.field != nullptr) return ReadValue();
      }
      ++at_;
    }
    token_.value = text_.substr(begin, at_ - begin);
    const std::string word = Lower(token_.value);
    if (word == "and") token_.kind = Token::Kind::kAnd;
    if (word == "or") token_.kind = Token::Kind::kOr;
    if (word == "not") token_.kind = Token::Kind::kNot;
    return true;
  }

  // Sets token_.field if `name` is one. A name that looks like a field and is
  // none is a mistake, except where the word is an event id.
  bool TakeField(std::string_view name, size_t at) {
    if (token_.field != nullptr || fieldless_ == at) return true;
    token_.field = schema::FindField(name);
    if (token_.field != nullptr) {
      token_.value_at = at_ + 1;
      return true;
    }
    size_t end = at_;
    while (end < text_.size() && !IsWordEnd(text_[end])) ++end;
    fieldless_ = at;
    const std::string_view word = text_.substr(at, end - at);
    if (schema::ParseEventId(word)) {
      token_.field = schema::FindField("id");
      at_ = at - 1;  // the value is the whole word
      token_.value_at = at;
      return true;
    }
    if (!LooksLikeField(name) || word.substr(name.size()).starts_with("://")) return true;
    const auto near = schema::SuggestField(name);
    return Fail(at, near.empty()
                        ? fmt::format("unknown field '{}'; put the word in quotes to search for it as text", name)
                        : fmt::format("unknown field '{}'; did you mean '{}'?", name, near));
  }

  bool ReadValue() {
    ++at_;  // the colon
    if (at_ >= text_.size() || IsWordEnd(text_[at_])) {
      return Fail(at_, fmt::format("'{}:' needs a value, e.g. {}", token_.field->name, token_.field->example));
    }
    if (text_[at_] == '"') return ReadQuoted();
    if (text_[at_] == '[' && token_.field->type != FieldType::kText && token_.field->type != FieldType::kPath) {
      const size_t close = text_.find(']', at_);
      if (close == std::string_view::npos) return Fail(at_, "'[' without ']': a range is [from..to]");
      token_.value = text_.substr(at_ + 1, close - at_ - 1);
      token_.range = true;
      at_ = close + 1;
      return true;
    }
    const size_t begin = at_;
    while (at_ < text_.size() && !IsWordEnd(text_[at_])) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
      ++at_;
    }
    token_.value = text_.substr(begin, at_ - begin);
    return true;
  }

  bool ReadQuoted() {
    const size_t open = at_++;
    token_.quoted = true;
    while (at_ < text_.size() && text_[at_] != '"') {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
        // \" is a quote; other escapes are the pattern's.
        if (text_[at_ + 1] != '"') token_.value.push_back('\\');
        ++at_;
      }
      token_.value.push_back(text_[at_++]);
    }
    if (at_ >= text_.size()) return Fail(open, "the quote is not closed");
    ++at_;
    return true;
  }

  // --- grammar: or < and < not < ( ) and terms ---

  bool ParseOr(Node* out, size_t depth) {
    if (depth > kMaxDepth) return Fail(token_.at, fmt::format("nested deeper than {} levels", kMaxDepth));
    return ParseList(out, depth, Node::Kind::kOr);
  }

  bool ParseList(Node* out, size_t depth, Node::Kind kind) {
    std::vector<Node> children;
    while (true) {
      Node child;
      if (kind == Node::Kind::kOr ? !ParseList(&child, depth, Node::Kind::kAnd) : !ParseNot(&child, depth))
        return false;
      children.push_back(std::move(child));
      if (kind == Node::Kind::kOr) {
        if (token_.kind != Token::Kind::kOr) break;
      } else if (token_.kind != Token::Kind::kAnd) {
        // Terms side by side are joined by and.
        if (token_.kind != Token::Kind::kTerm && token_.kind != Token::Kind::kNot &&
            token_.kind != Token::Kind::kOpen) {
          break;
        }
        continue;
      }
      if (!Next()) return false;
    }
    if (children.size() == 1) {
      *out = std::move(children.front());
      return true;
    }
    out->kind = kind;
    out->children = std::move(children);
    return true;
  }

  bool ParseNot(Node* out, size_t depth) {
    if (token_.kind == Token::Kind::kNot) {
      if (depth > kMaxDepth) return Fail(token_.at, fmt::format("nested deeper than {} levels", kMaxDepth));
      if (!Next()) return false;
      Node child;
      if (!ParseNot(&child, depth + 1)) return false;
      out->kind = Node::Kind::kNot;
      out->children.push_back(std::move(child));
      return true;
    }
    if (token_.kind == Token::Kind::kOpen) {
      const size_t open = token_.at;
      if (!Next() || !ParseOr(out, depth + 1)) return false;
      if (token_.kind != Token::Kind::kClose) return Fail(open, "'(' without ')'");
      return Next();
    }
    if (token_.kind != Token::Kind::kTerm) {
      return Fail(token_.at, token_.kind == Token::Kind::kEnd ? "the query ends where a term is expected"
                                                              : "a term is expected here");
    }
    if (++terms_ > kMaxTerms) return Fail(token_.at, fmt::format("more than {} terms", kMaxTerms));
    out->kind = Node::Kind::kTerm;
    return MakeTerm(&out->term) && Next();
  }

  // --- terms ---

  bool MakeTerm(Term* term) {
    if (token_.field == nullptr) {
      if (token_.value.empty()) return Fail(token_.at, "empty quotes match nothing");
      term->bare = true;
      term->pattern = Pattern::CompileContains(token_.value);
      return true;
    }
    term->field = token_.field->id;
    term->type = token_.field->type;
    if (!token_.quoted && !token_.range) {
      if (token_.value == "*") {
        term->op = Term::Op::kAny;
        return true;
      }
      if (token_.value == "unset" || token_.value == "none") {
        term->op = Term::Op::kUnset;
        return true;
      }
    }
    switch (term->type) {
      case FieldType::kText:
      case FieldType::kPath:
        if (token_.value.empty()) return Fail(token_.value_at, "empty value; `unset` finds events without one");
        term->op = Term::Op::kText;
        term->pattern = Pattern::Compile(token_.value);
        return true;
      case FieldType::kId: return MakeId(term);
      case FieldType::kKind: return MakeKind(term);
      case FieldType::kUser: return MakeUser(term);
      case FieldType::kBool:
      case FieldType::kOutcome: return MakeChoice(term);
      case FieldType::kAddress: return MakeAddress(term);
      case FieldType::kNumber:
      case FieldType::kErrno:
      case FieldType::kTime:
      case FieldType::kDuration: return MakeInterval(term);
    }
    return false;
  }

  bool MakeId(Term* term) {
    term->op = Term::Op::kId;
    term->hex = Lower(token_.value);
    if (term->hex.size() < 4 || term->hex.size() > 128 ||
        term->hex.find_first_not_of("0123456789abcdef") != std::string::npos || token_.range) {
      return Fail(token_.value_at, "an identity is 4 or more hexadecimal digits");
    }
    return true;
  }

  bool MakeKind(Term* term) {
    term->op = Term::Op::kKind;
    const Pattern pattern = Pattern::Compile(token_.value);
    for (const auto kind : schema::AllKinds()) {
      if (pattern.Matches(schema::KindLabel(kind))) term->kinds.push_back(kind);
    }
    if (!term->kinds.empty() && !token_.range) return true;
    std::string hint;
    for (const auto kind : schema::AllKinds()) {
      const auto label = schema::KindLabel(kind);
      const std::string wanted = Plain(token_.value);
      if (label.substr(label.find('.') + 1) == wanted || (wanted.size() > 2 && label.starts_with(wanted))) {
        hint += fmt::format("{}{}", hint.empty() ? "; did you mean " : ", ", label);
      }
    }
    return Fail(token_.value_at, fmt::format("no kind '{}'{}", Plain(token_.value),
                                             hint.empty() ? "; e.g. process.exec, file.*, net.connect" : hint + "?"));
  }

  bool MakeUser(Term* term) {
    if (token_.range || (!token_.quoted && (token_.value[0] == '<' || token_.value[0] == '>'))) {
      term->op = Term::Op::kUser;
      term->has_number = true;
      return ReadInterval(&term->interval);
    }
    if (token_.value.empty()) return Fail(token_.value_at, "empty value; `unset` finds events without one");
    term->op = Term::Op::kUser;
    term->pattern = Pattern::Compile(token_.value);
    if (const auto number = ParseInteger(token_.value)) {
      term->has_number = true;
      term->interval = {*number, *number};
    }
    return true;
  }

  bool MakeChoice(Term* term) {
    term->op = Term::Op::kNumber;
    const std::string value = Lower(token_.value);
    std::optional<int64_t> chosen;
    if (value == "true" || value == "yes" || value == "1") chosen = 1;
    if (value == "false" || value == "no" || value == "0") chosen = 0;
    if (term->type == FieldType::kOutcome) {
      if (value == "success" || value == "ok") chosen = 1;
      if (value == "failure" || value == "failed" || value == "fail") chosen = 0;
    }
    if (!chosen || token_.range) {
      return Fail(token_.value_at, term->type == FieldType::kOutcome
                                       ? "the outcome is success or failure"
                                       : fmt::format("{} is true or false", token_.field->name));
    }
    term->interval = {*chosen, *chosen};
    return true;
  }

  bool MakeAddress(Term* term) {
    const std::string value = Plain(token_.value);
    const size_t slash = value.find('/');
    const auto ip = schema::ParseIp(value.substr(0, slash));
    if (ip && !token_.range) {
      term->op = Term::Op::kAddress;
      term->block.network = schema::NormaliseIp(*ip);
      const int width = ip->size() == 4 ? 32 : 128;
      int bits = width;
      if (slash != std::string::npos) {
        const auto number = ParseInteger(std::string_view(value).substr(slash + 1));
        if (!number || *number < 0 || *number > width) {
          return Fail(token_.value_at, fmt::format("a prefix length is 0 to {}", width));
        }
        bits = static_cast<int>(*number);
      }
      term->block.bits = bits + (128 - width);
      return true;
    }
    if (!token_.range && (value.find('*') != std::string::npos || value.find('?') != std::string::npos)) {
      term->op = Term::Op::kAddressText;
      term->pattern = Pattern::Compile(token_.value);
      return true;
    }
    return Fail(token_.value_at,
                fmt::format("'{}' is not an address; write 192.0.2.7, 10.0.0.0/8, 2001:db8::/32 or 10.1.*", value));
  }

  bool MakeInterval(Term* term) {
    term->op = Term::Op::kNumber;
    return ReadInterval(&term->interval);
  }

  // One end of an interval. `span`: how far the named value reaches, e.g. a day less 1 ns.
  bool ReadPoint(std::string_view text, size_t at, int64_t* out, int64_t* reach) {
    *reach = 0;
    switch (token_.field->type) {
      case FieldType::kTime: {
        uint64_t span = 0;
        const auto time = ParseTime(text, now_ns_, &span);
        if (!time.ok()) return Fail(at, std::string(time.status().message()));
        *out = static_cast<int64_t>(std::min<uint64_t>(*time, std::numeric_limits<int64_t>::max()));
        *reach = span == 0 ? 0 : static_cast<int64_t>(span - 1);
        return true;
      }
      case FieldType::kDuration: {
        const auto duration = ParseDuration(text);
        if (!duration.ok()) return Fail(at, std::string(duration.status().message()));
        *out = static_cast<int64_t>(*duration);
        return true;
      }
      case FieldType::kErrno:
        if (const auto err = ErrnoByName(text)) {
          *out = *err;
          return true;
        }
        [[fallthrough]];
      default: {
        const auto number = ParseInteger(text);
        if (!number) {
          return Fail(
              at, fmt::format("'{}' is not {}", text,
                              token_.field->type == FieldType::kErrno ? "an errno, e.g. EACCES or 13" : "a number"));
        }
        *out = *number;
        return true;
      }
    }
  }

  static int64_t AddSaturated(int64_t a, int64_t b) {
    int64_t out = 0;
    return __builtin_add_overflow(a, b, &out) ? std::numeric_limits<int64_t>::max() : out;
  }

  bool ReadInterval(Interval* interval) {
    const std::string value = Plain(token_.value);
    const size_t at = token_.value_at;
    int64_t point = 0;
    int64_t reach = 0;
    if (token_.range) return ReadRange(value, interval);
    if (value.empty()) return Fail(at, "a value is missing");
    if (value[0] == '<' || value[0] == '>') {
      const bool equal = value.size() > 1 && value[1] == '=';
      const size_t skip = equal ? 2 : 1;
      if (!ReadPoint(std::string_view(value).substr(skip), at + skip, &point, &reach)) return false;
      if (value[0] == '>') {
        if (equal) interval->low = point;
        else if (point == std::numeric_limits<int64_t>::max()) return Fail(at, "nothing is greater");
        else interval->low = AddSaturated(point, 1);
      } else if (equal) {
        interval->high = AddSaturated(point, reach);
      } else if (point == std::numeric_limits<int64_t>::min()) {
        return Fail(at, "nothing is less");
      } else {
        interval->high = point - 1;
      }
      return true;
    }
    if (!ReadPoint(value, at, &point, &reach)) return false;
    if (token_.field->type == FieldType::kTime && reach == 0 && (value.back() < '0' || value.back() > '9') &&
        value.find('T') == std::string::npos) {
      return Fail(at, fmt::format("a point in time matches nothing; write time:>{}", value));
    }
    *interval = {point, AddSaturated(point, reach)};
    return true;
  }

  bool ReadRange(std::string_view value, Interval* interval) {
    const size_t dots = value.find("..");
    const size_t inside = token_.value_at + 1;
    if (dots == std::string_view::npos) return Fail(inside, "a range is [from..to]");
    const std::string_view from = value.substr(0, dots);
    const std::string_view to = value.substr(dots + 2);
    int64_t reach = 0;
    if (!from.empty() && from != "*" && !ReadPoint(from, inside, &interval->low, &reach)) return false;
    if (!to.empty() && to != "*") {
      if (!ReadPoint(to, inside + dots + 2, &interval->high, &reach)) return false;
      interval->high = AddSaturated(interval->high, reach);
    }
    if (interval->low > interval->high) return Fail(inside, "the range is empty: its end is before its start");
    return true;
  }

  std::string_view text_;
  uint64_t now_ns_;
  size_t at_ = 0;
  Token token_;
  size_t fieldless_ = std::string_view::npos;  // start of a word known to have no field
  size_t terms_ = 0;
  std::string error_;
  size_t error_at_ = 0;
};

}  // namespace

Result<Node> Parse(std::string_view text, uint64_t now_ns) { return Parser(text, now_ns).Run(); }

std::string Quote(std::string_view value) {
  std::string out = "\"";
  for (size_t i = 0; i < value.size(); ++i) {
    if (value[i] == '"') {
      out += "\\\"";
    } else if (value[i] == '\\') {
      // With what it escapes; a lone one at the end would take our quote.
      out += i + 1 < value.size() && value[i + 1] != '"' ? std::string{'\\', value[++i]} : std::string("\\\\");
    } else {
      out.push_back(value[i]);
    }
  }
  return out + "\"";
}

std::string QuoteLiteral(std::string_view value) {
  std::string out = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\' || c == '*' || c == '?') out.push_back('\\');
    out.push_back(c);
  }
  return out + "\"";
}

}  // namespace nodetrail::expr
