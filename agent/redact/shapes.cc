// SPDX-License-Identifier: Apache-2.0
#include "agent/redact/shapes.h"

#include <algorithm>
#include <array>

#include "agent/redact/trigger.h"

namespace nodetrail::agent::redact {
namespace {

constexpr std::array kShapes = {
    Shape{kPrivateKey, "-----begin", "-----BEGIN", Form::kPem, Set::kAlnum, 0, 0, false},
    Shape{kJwt, "eyj", "eyJ", Form::kJwt, Set::kUrlSafe, 10, 0, false},
    Shape{kTelegram, ":aa", ":AA", Form::kTelegram, Set::kUrlSafe, 33, 0, false},
    Shape{kSendgrid, "sg.", "SG.", Form::kSendgrid, Set::kUrlSafe, 22, 0, false},
    Shape{kBearer, "bearer", "", Form::kBearer, Set::kDotted, 16, 0, false},
    Shape{kAwsKeyId, "akia", "AKIA", Form::kTail, Set::kUpperDigit, 16, 16, false},
    Shape{kAwsKeyId, "asia", "ASIA", Form::kTail, Set::kUpperDigit, 16, 16, false},
    Shape{kAwsKeyId, "abia", "ABIA", Form::kTail, Set::kUpperDigit, 16, 16, false},
    Shape{kAwsKeyId, "acca", "ACCA", Form::kTail, Set::kUpperDigit, 16, 16, false},
    Shape{kGithub, "ghp_", "ghp_", Form::kTail, Set::kAlnum, 36, 0, false},
    Shape{kGithub, "gho_", "gho_", Form::kTail, Set::kAlnum, 36, 0, false},
    Shape{kGithub, "ghu_", "ghu_", Form::kTail, Set::kAlnum, 36, 0, false},
    Shape{kGithub, "ghs_", "ghs_", Form::kTail, Set::kAlnum, 36, 0, false},
    Shape{kGithub, "ghr_", "ghr_", Form::kTail, Set::kAlnum, 36, 0, false},
    Shape{kGithub, "github_pat_", "github_pat_", Form::kTail, Set::kWordChar, 40, 0, false},
    Shape{kGitlab, "glpat-", "glpat-", Form::kTail, Set::kDotted, 20, 0, false},
    Shape{kGitlab, "gldt-", "gldt-", Form::kTail, Set::kDotted, 20, 0, false},
    Shape{kGitlab, "glrt-", "glrt-", Form::kTail, Set::kDotted, 20, 0, false},
    Shape{kGitlab, "glptt-", "glptt-", Form::kTail, Set::kDotted, 20, 0, false},
    Shape{kGitlab, "glcbt-", "glcbt-", Form::kTail, Set::kDotted, 20, 0, false},
    Shape{kSlack, "xoxa-", "xoxa-", Form::kTail, Set::kUrlSafe, 10, 0, false},
    Shape{kSlack, "xoxb-", "xoxb-", Form::kTail, Set::kUrlSafe, 10, 0, false},
    Shape{kSlack, "xoxp-", "xoxp-", Form::kTail, Set::kUrlSafe, 10, 0, false},
    Shape{kSlack, "xoxr-", "xoxr-", Form::kTail, Set::kUrlSafe, 10, 0, false},
    Shape{kSlack, "xoxs-", "xoxs-", Form::kTail, Set::kUrlSafe, 10, 0, false},
    Shape{kSlack, "xoxe-", "xoxe-", Form::kTail, Set::kUrlSafe, 10, 0, false},
    Shape{kSlack, "xapp-", "xapp-", Form::kTail, Set::kUrlSafe, 20, 0, true},
    Shape{kStripe, "sk_live_", "sk_live_", Form::kTail, Set::kAlnum, 16, 0, false},
    Shape{kStripe, "rk_live_", "rk_live_", Form::kTail, Set::kAlnum, 16, 0, false},
    Shape{kStripe, "sk_test_", "sk_test_", Form::kTail, Set::kAlnum, 16, 0, false},
    Shape{kStripe, "whsec_", "whsec_", Form::kTail, Set::kAlnum, 16, 0, false},
    Shape{kGoogle, "aiza", "AIza", Form::kTail, Set::kUrlSafe, 35, 0, false},
    Shape{kGoogle, "ya29.", "ya29.", Form::kTail, Set::kDotted, 20, 0, false},
    Shape{kGoogle, "gocspx-", "GOCSPX-", Form::kTail, Set::kUrlSafe, 20, 0, false},
    Shape{kNpm, "npm_", "npm_", Form::kTail, Set::kAlnum, 36, 0, false},
    Shape{kPypi, "pypi-", "pypi-", Form::kTail, Set::kUrlSafe, 50, 0, true},
    Shape{kTwilio, "sk0", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "sk1", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "sk2", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "sk3", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "sk4", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "sk5", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "sk6", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "sk7", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "sk8", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "sk9", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "ska", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "skb", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "skc", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "skd", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "ske", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kTwilio, "skf", "SK", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kSquare, "sq0atp-", "sq0atp-", Form::kTail, Set::kUrlSafe, 22, 0, false},
    Shape{kSquare, "sq0csp-", "sq0csp-", Form::kTail, Set::kUrlSafe, 43, 0, false},
    Shape{kSquare, "eaaa", "EAAA", Form::kTail, Set::kUrlSafe, 60, 0, true},
    Shape{kShopify, "shpat_", "shpat_", Form::kTail, Set::kHex, 32, 0, false},
    Shape{kShopify, "shpss_", "shpss_", Form::kTail, Set::kHex, 32, 0, false},
    Shape{kShopify, "shpca_", "shpca_", Form::kTail, Set::kHex, 32, 0, false},
    Shape{kShopify, "shppa_", "shppa_", Form::kTail, Set::kHex, 32, 0, false},
    Shape{kDigitalOcean, "dop_v1_", "dop_v1_", Form::kTail, Set::kHex, 64, 0, false},
    Shape{kDigitalOcean, "doo_v1_", "doo_v1_", Form::kTail, Set::kHex, 64, 0, false},
    Shape{kDigitalOcean, "dor_v1_", "dor_v1_", Form::kTail, Set::kHex, 64, 0, false},
    Shape{kModelApi, "sk-", "sk-", Form::kTail, Set::kUrlSafe, 20, 0, true},
    Shape{kModelApi, "hf_", "hf_", Form::kTail, Set::kAlnum, 34, 0, false},
    Shape{kAge, "age-secret-key-1", "AGE-SECRET-KEY-1", Form::kTail, Set::kUpperDigit, 58, 0, false},
    Shape{kVault, "hvs.", "hvs.", Form::kTail, Set::kUrlSafe, 24, 0, false},
    Shape{kVault, "hvb.", "hvb.", Form::kTail, Set::kUrlSafe, 24, 0, false},
    Shape{kVault, "hvr.", "hvr.", Form::kTail, Set::kUrlSafe, 24, 0, false},
    Shape{kDocker, "dckr_pat_", "dckr_pat_", Form::kTail, Set::kUrlSafe, 20, 0, false},
    Shape{kDocker, "dckr_oat_", "dckr_oat_", Form::kTail, Set::kUrlSafe, 20, 0, false},
    Shape{kOtherToken, "glsa_", "glsa_", Form::kTail, Set::kWordChar, 32, 0, false},
    Shape{kOtherToken, "dapi", "dapi", Form::kTail, Set::kHex, 32, 32, false},
    Shape{kOtherToken, "atatt3", "ATATT3", Form::kTail, Set::kUrlSafe, 60, 0, true},
    Shape{kOtherToken, "rubygems_", "rubygems_", Form::kTail, Set::kHex, 48, 0, false},
    Shape{kOtherToken, "lin_api_", "lin_api_", Form::kTail, Set::kAlnum, 32, 0, false},
    Shape{kOtherToken, "pscale_tkn_", "pscale_tkn_", Form::kTail, Set::kUrlSafe, 32, 0, false},
    Shape{kOtherToken, "nrak-", "NRAK-", Form::kTail, Set::kUpperDigit, 27, 0, false},
};
static_assert(kShapes.size() < 256);

bool In(Set set, char c) {
  switch (set) {
    case Set::kAlnum: return IsAlnum(c);
    case Set::kWordChar: return IsAlnum(c) || c == '_';
    case Set::kUrlSafe: return IsAlnum(c) || c == '_' || c == '-';
    case Set::kUpperDigit: return IsUpper(c) || IsDigit(c);
    case Set::kHex: return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    case Set::kDotted:
      return IsAlnum(c) || c == '_' || c == '-' || c == '.' || c == '~' || c == '+' || c == '/' || c == '=';
  }
  return false;
}

size_t Run(std::string_view s, size_t i, Set set) {
  while (i < s.size() && In(set, s[i])) ++i;
  return i;
}

bool Boundary(std::string_view s, size_t i) { return i == 0 || !(IsAlnum(s[i - 1]) || s[i - 1] == '_'); }

class ShapeFinder {
 public:
  ShapeFinder(const Text& text, Findings* findings) : text_(text), s_(text.s), findings_(findings) {}

  void Try(size_t i, const Shape& shape) {
    if (i < done_ || s_.substr(i, shape.prefix.size()) != shape.prefix) return;
    switch (shape.form) {
      case Form::kTail: Tail(i, shape); break;
      case Form::kJwt: Jwt(i, shape); break;
      case Form::kPem: Pem(i); break;
      case Form::kTelegram: Telegram(i, shape); break;
      case Form::kSendgrid: Sendgrid(i, shape); break;
      case Form::kBearer: Bearer(i, shape); break;
    }
  }

 private:
  // The capture ends within what began at `end`'s run.
  [[nodiscard]] bool CutAt(size_t end) const { return text_.cut && end == s_.size(); }

  void Add(size_t begin, size_t end, uint16_t rule) {
    findings_->Add(text_, begin, end, rule);
    done_ = end;
  }

  void Tail(size_t i, const Shape& shape) {
    if (!Boundary(s_, i)) return;
    const size_t begin = i + shape.prefix.size();
    const size_t end = Run(s_, begin, shape.set);
    const size_t size = end - begin;
    if (!CutAt(end)) {
      if (size < shape.min_tail || (shape.max_tail != 0 && size > shape.max_tail)) return;
      if (end < s_.size() && s_[end] == '_' && shape.max_tail != 0) return;
      const std::string_view tail = s_.substr(begin, size);
      if (shape.needs_digit && std::none_of(tail.begin(), tail.end(), IsDigit)) {
        done_ = end;
        return;
      }
    }
    if (shape.rule == kAwsKeyId) findings_->saw_aws_key = true;
    Add(i, end, shape.rule);
  }

  void Jwt(size_t i, const Shape& shape) {
    if (!Boundary(s_, i)) return;
    size_t end = Run(s_, i, shape.set);
    int parts = 1;
    bool long_enough = end - i >= shape.min_tail;
    while (end < s_.size() && s_[end] == '.' && parts < 5) {
      const size_t next = Run(s_, end + 1, shape.set);
      if (parts == 1) long_enough = long_enough && next - end > shape.min_tail;
      end = next;
      ++parts;
    }
    if (CutAt(end) || (parts >= 2 && long_enough)) return Add(i, end, shape.rule);
    done_ = end;
  }

  // The label stays, what it labels goes, whether or not it ends.
  void Pem(size_t i) {
    const size_t label_end = s_.find("-----", i + 10);
    if (label_end == std::string_view::npos || label_end - i > 80) return;
    if (s_.substr(i, label_end - i).find("PRIVATE KEY") == std::string_view::npos) return;
    const size_t begin = label_end + 5;
    size_t end = s_.find("-----END", begin);
    if (end == std::string_view::npos) end = s_.size();
    Add(begin, end, kPrivateKey);
  }

  // The digits before the colon are the bot's public number.
  void Telegram(size_t i, const Shape& shape) {
    size_t digits = 0;
    while (digits < i && digits < 11 && IsDigit(s_[i - 1 - digits])) ++digits;
    if (digits < 8 || digits > 10) return;
    const size_t end = Run(s_, i + 3, shape.set);
    if (end - (i + 3) >= shape.min_tail || CutAt(end)) Add(i + 1, end, shape.rule);
  }

  void Sendgrid(size_t i, const Shape& shape) {
    if (!Boundary(s_, i)) return;
    const size_t dot = Run(s_, i + 3, shape.set);
    if (CutAt(dot)) return Add(i, dot, shape.rule);
    if (dot - (i + 3) < shape.min_tail || dot == s_.size() || s_[dot] != '.') return;
    const size_t end = Run(s_, dot + 1, shape.set);
    if (end - dot > 40 || CutAt(end)) Add(i, end, shape.rule);
  }

  void Bearer(size_t i, const Shape& shape) {
    if (!Boundary(s_, i)) return;
    size_t begin = i + 6;
    while (begin < s_.size() && s_[begin] == ' ') ++begin;
    if (begin == i + 6) return;
    const size_t end = Run(s_, begin, shape.set);
    const std::string_view token = s_.substr(begin, end - begin);
    if (CutAt(end)) return Add(begin, end, shape.rule);
    if (token.size() < shape.min_tail || std::none_of(token.begin(), token.end(), IsDigit)) return;
    Add(begin, end, shape.rule);
  }

  const Text& text_;
  std::string_view s_;
  Findings* findings_;
  size_t done_ = 0;
};

}  // namespace

std::span<const Shape> Shapes() { return kShapes; }

void FindShapes(const Text& text, Findings* findings) {
  ShapeFinder finder(text, findings);
  Triggers::Get().ForEachShape(text.s, [&](size_t i, const Needle& needle) { finder.Try(i, kShapes[needle.shape]); });
}

void FindAwsSecrets(const Text& text, Findings* findings) {
  const auto in = [](char c) { return IsAlnum(c) || c == '/' || c == '+'; };
  for (size_t i = 0; i < text.s.size();) {
    if (!in(text.s[i])) {
      ++i;
      continue;
    }
    size_t end = i;
    bool upper = false, lower = false, digit = false;
    while (end < text.s.size() && in(text.s[end])) {
      const char c = text.s[end++];
      upper = upper || IsUpper(c);
      lower = lower || IsLower(c);
      digit = digit || IsDigit(c);
    }
    const bool cut = text.cut && end == text.s.size() && end - i >= 8;
    if (cut || (end - i == 40 && upper && lower && digit)) findings->Add(text, i, end, kAwsSecret);
    i = end;
  }
}

}  // namespace nodetrail::agent::redact
