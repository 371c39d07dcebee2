// SPDX-License-Identifier: Apache-2.0
//
// What the parts of the scrubber share: rule ids, a text with its way back to
// the argument it stands in, and the list of what was found.
#ifndef NODETRAIL_AGENT_REDACT_RULES_H_
#define NODETRAIL_AGENT_REDACT_RULES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nodetrail::agent::redact {

// Built-in rules; rules of the configuration are numbered from kBuiltIn on.
enum Rule : uint16_t {
  kOption,
  kProgramOption,
  kAssignment,
  kStructured,
  kSql,
  kStdin,
  kExpect,
  kHeader,
  kBearer,
  kUrlPassword,
  kUrlQuery,
  kPrivateKey,
  kJwt,
  kAwsKeyId,
  kAwsSecret,
  kGithub,
  kGitlab,
  kSlack,
  kStripe,
  kGoogle,
  kNpm,
  kPypi,
  kSendgrid,
  kTwilio,
  kSquare,
  kShopify,
  kDigitalOcean,
  kModelApi,
  kAge,
  kVault,
  kDocker,
  kTelegram,
  kOtherToken,
  kError,
  kBuiltIn,
};

// "option" for kOption; built-in rules only.
std::string_view RuleName(uint16_t rule);

// For each byte of a decoded text, the bytes of the argument it came from.
struct TextMap {
  std::vector<uint32_t> begin;
  std::vector<uint32_t> end;
  // Parts [first, second) of the text that the shell replaces by something
  // else: $NAME, ${…}, $(…), `…`. In order.
  std::vector<std::pair<uint32_t, uint32_t>> expansions;
};

// A text to search: an argument, or a word, here-document or script within it.
struct Text {
  std::string_view s;
  uint32_t arg = 0;
  uint32_t base = 0;             // where s begins in the argument; without a map
  const TextMap* map = nullptr;  // else the way back
  bool cut = false;              // s ends where the capture was cut: more followed
  uint8_t families = 0;          // of triggers in s (trigger.h)

  [[nodiscard]] uint32_t SourceBegin(size_t i) const {
    return map != nullptr ? map->begin[i] : base + static_cast<uint32_t>(i);
  }
  [[nodiscard]] uint32_t SourceEnd(size_t i) const {  // behind byte i
    return map != nullptr ? map->end[i] : base + static_cast<uint32_t>(i) + 1;
  }
  // All of [begin, end) is what the shell replaces.
  [[nodiscard]] bool IsExpansion(size_t begin, size_t end) const;
};

struct Finding {
  uint32_t arg;
  uint32_t begin;
  uint32_t end;
  uint16_t rule;
};

// What was found in one argv, and the budget of the search. Reused.
class Findings {
 public:
  void Clear();
  // [begin, end) of `text` is a secret. Nothing if empty.
  void Add(const Text& text, size_t begin, size_t end, uint16_t rule);
  // The search of this argument failed: nothing of it may be shown.
  void Fail(uint32_t arg) { failed_.push_back(arg); }

  std::vector<Finding>& list() { return list_; }
  [[nodiscard]] const std::vector<uint32_t>& failed() const { return failed_; }
  [[nodiscard]] bool empty() const { return list_.empty() && failed_.empty(); }

  bool saw_aws_key = false;  // a bare 40-byte secret may be near

 private:
  std::vector<Finding> list_;
  std::vector<uint32_t> failed_;
};

inline bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
inline bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
inline bool IsDigit(char c) { return c >= '0' && c <= '9'; }
inline bool IsAlpha(char c) { return IsUpper(c) || IsLower(c); }
inline bool IsAlnum(char c) { return IsAlpha(c) || IsDigit(c); }
inline bool IsSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
inline char Lower(char c) { return IsUpper(c) ? static_cast<char>(c + ('a' - 'A')) : c; }
bool EqualsIgnoreCase(std::string_view a, std::string_view lower);
inline bool StartsWithIgnoreCase(std::string_view a, std::string_view lower) {
  return a.size() >= lower.size() && EqualsIgnoreCase(a.substr(0, lower.size()), lower);
}

}  // namespace nodetrail::agent::redact

#endif  // NODETRAIL_AGENT_REDACT_RULES_H_
