// SPDX-License-Identifier: Apache-2.0
//
// A cheap first look: does a text contain anything that a rule begins with?
// Most argv contain none, and no rule runs on them.
#ifndef NODETRAIL_AGENT_REDACT_TRIGGER_H_
#define NODETRAIL_AGENT_REDACT_TRIGGER_H_

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "agent/redact/rules.h"

namespace nodetrail::agent::redact {

enum Family : uint8_t {
  kWord = 1,     // a word that names a secret: names.h, text_rules.h
  kUrl = 2,      // "://"
  kShape = 4,    // a token's own shape: shapes.h
  kProgram = 8,  // a program with options of its own: commands.h
};

struct Needle {
  std::string_view text;  // lower case, at least 3 bytes
  uint8_t family;
  uint8_t shape;  // index in Shapes(), when family is kShape
};

// Looks for all needles at once, without regard to case: of each three bytes
// in a row, three tables say which groups of needles they may begin.
class Triggers {
 public:
  static const Triggers& Get();

  // The families with a needle in `s`, or-ed.
  [[nodiscard]] uint8_t Families(std::string_view s) const {
    uint8_t families = 0;
    for (size_t i = 0; i + 3 <= s.size(); ++i) {
      const uint32_t groups = Groups(s, i);
      if (groups != 0) [[unlikely]]
        families = static_cast<uint8_t>(families | Confirm(s, i, groups));
    }
    return families;
  }

  // f(position, needle) for each needle of a shape, in order of position.
  template <typename F>
  void ForEachShape(std::string_view s, F f) const {
    for (size_t i = 0; i + 3 <= s.size(); ++i) {
      uint32_t groups = Groups(s, i);
      for (uint32_t group = 0; groups != 0; ++group, groups >>= 1U) {
        if ((groups & 1U) == 0) continue;
        for (const Needle& needle : groups_[group]) {
          if (needle.family == kShape && StartsWithIgnoreCase(s.substr(i), needle.text)) f(i, needle);
        }
      }
    }
  }

 private:
  Triggers();
  void Insert(const Needle& needle);
  [[nodiscard]] uint32_t Groups(std::string_view s, size_t i) const {
    return first_[static_cast<uint8_t>(s[i])] & second_[static_cast<uint8_t>(s[i + 1])] &
           third_[static_cast<uint8_t>(s[i + 2])];
  }
  [[nodiscard]] uint8_t Confirm(std::string_view s, size_t i, uint32_t groups) const;

  std::array<uint32_t, 256> first_{}, second_{}, third_{};
  std::array<std::vector<Needle>, 32> groups_;
  uint32_t count_ = 0;
};

}  // namespace nodetrail::agent::redact

#endif  // NODETRAIL_AGENT_REDACT_TRIGGER_H_
