// SPDX-License-Identifier: Apache-2.0
#include "collector/query/expr/pattern.h"

namespace nodetrail::expr {
namespace {

uint8_t Fold(uint8_t c) { return c >= 'A' && c <= 'Z' ? static_cast<uint8_t>(c + 32) : c; }

}  // namespace

Pattern Pattern::Compile(std::string_view text) {
  Pattern out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && i + 1 < text.size()) {
      out.glyphs_.push_back(static_cast<uint8_t>(text[++i]));
    } else if (c == '*') {
      // A run of stars is one star.
      if (out.glyphs_.empty() || out.glyphs_.back() != kStar) out.glyphs_.push_back(kStar);
      out.wild_ = true;
    } else if (c == '?') {
      out.glyphs_.push_back(kOne);
      out.wild_ = true;
    } else {
      out.glyphs_.push_back(static_cast<uint8_t>(c));
    }
  }
  return out;
}

Pattern Pattern::CompileContains(std::string_view text) {
  Pattern out = Compile(text);
  for (auto& glyph : out.glyphs_) {
    if (glyph < 256) glyph = Fold(static_cast<uint8_t>(glyph));
  }
  if (out.glyphs_.empty() || out.glyphs_.front() != kStar) out.glyphs_.insert(out.glyphs_.begin(), kStar);
  if (out.glyphs_.back() != kStar) out.glyphs_.push_back(kStar);
  out.wild_ = true;
  out.fold_ = true;
  return out;
}

bool Pattern::Matches(std::string_view text) const {
  size_t p = 0;
  size_t t = 0;
  size_t star = std::string_view::npos;  // last star seen, and where its run ends
  size_t resume = 0;
  const auto one = [&text](size_t at) {  // length of the character at `at`
    size_t n = 1;
    while (at + n < text.size() && n < 4 && (static_cast<uint8_t>(text[at + n]) & 0xc0) == 0x80) ++n;
    return static_cast<uint8_t>(text[at]) >= 0xc0 ? n : size_t{1};
  };
  while (t < text.size()) {
    if (p < glyphs_.size() && glyphs_[p] == kStar) {
      star = p++;
      resume = t;
      continue;
    }
    if (p < glyphs_.size() && glyphs_[p] == kOne) {
      t += one(t);
      ++p;
      continue;
    }
    if (p < glyphs_.size()) {
      const auto c = static_cast<uint8_t>(text[t]);
      if (glyphs_[p] == (fold_ ? Fold(c) : c)) {
        ++p;
        ++t;
        continue;
      }
    }
    if (star == std::string_view::npos) return false;
    p = star + 1;
    t = ++resume;
  }
  while (p < glyphs_.size() && glyphs_[p] == kStar) ++p;
  return p == glyphs_.size();
}

std::string Pattern::Literal() const {
  std::string out;
  for (const uint16_t glyph : glyphs_) out.push_back(static_cast<char>(glyph));
  return out;
}

std::string Pattern::Prefix() const {
  std::string out;
  if (fold_) return out;
  for (const uint16_t glyph : glyphs_) {
    if (glyph >= 256) break;
    out.push_back(static_cast<char>(glyph));
  }
  return out;
}

std::string Pattern::LongestLiteral() const {
  std::string best;
  std::string run;
  for (const uint16_t glyph : glyphs_) {
    if (glyph < 256) run.push_back(static_cast<char>(glyph));
    else run.clear();
    if (run.size() > best.size()) best = run;
  }
  return best;
}

bool Pattern::HasByte(char c) const {
  for (const uint16_t glyph : glyphs_) {
    if (glyph == static_cast<uint8_t>(c)) return true;
  }
  return false;
}

bool Pattern::EndsWith(char c) const { return !glyphs_.empty() && glyphs_.back() == static_cast<uint8_t>(c); }

bool Pattern::MatchesAll() const { return glyphs_.size() == 1 && glyphs_[0] == kStar; }

Pattern Pattern::WithStar() const {
  Pattern out = *this;
  if (out.glyphs_.empty() || out.glyphs_.back() != kStar) out.glyphs_.push_back(kStar);
  out.wild_ = true;
  return out;
}

}  // namespace nodetrail::expr
