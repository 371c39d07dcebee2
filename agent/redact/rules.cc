// SPDX-License-Identifier: Apache-2.0
#include "agent/redact/rules.h"

#include <algorithm>
#include <array>

namespace nodetrail::agent::redact {

std::string_view RuleName(uint16_t rule) {
  static constexpr std::array<std::string_view, kBuiltIn> kNames = {
      "option",       "program-option", "assignment",   "structured",    "sql",          "stdin",
      "expect",       "header",         "bearer",       "url-password",  "url-query",    "private-key",
      "jwt",          "aws-key-id",     "aws-secret",   "github-token",  "gitlab-token", "slack-token",
      "stripe-key",   "google-key",     "npm-token",    "pypi-token",    "sendgrid-key", "twilio-key",
      "square-token", "shopify-token",  "digitalocean", "model-api-key", "age-key",      "vault-token",
      "docker-token", "telegram-token", "other-token",  "error"};
  return rule < kNames.size() ? kNames[rule] : std::string_view("configured");
}

bool Text::IsExpansion(size_t begin, size_t end) const {
  if (map == nullptr || begin >= end) return false;
  auto range = std::lower_bound(map->expansions.begin(), map->expansions.end(), begin,
                                [](const auto& expansion, size_t at) { return expansion.second <= at; });
  size_t at = begin;
  for (; range != map->expansions.end() && range->first <= at; ++range) {
    at = range->second;
    if (at >= end) return true;
  }
  return false;
}

void Findings::Clear() {
  list_.clear();
  failed_.clear();
  saw_aws_key = false;
}

void Findings::Add(const Text& text, size_t begin, size_t end, uint16_t rule) {
  end = std::min(end, text.s.size());
  if (begin >= end) return;
  list_.push_back({text.arg, text.SourceBegin(begin), text.SourceEnd(end - 1), rule});
}

bool EqualsIgnoreCase(std::string_view a, std::string_view lower) {
  if (a.size() != lower.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (Lower(a[i]) != lower[i]) return false;
  }
  return true;
}

}  // namespace nodetrail::agent::redact
