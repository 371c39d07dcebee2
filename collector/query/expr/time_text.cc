// SPDX-License-Identifier: Apache-2.0
//
// Times and durations as people write them.
#include <fmt/format.h>

#include <array>
#include <charconv>
#include <ctime>
#include <limits>
#include <optional>
#include <utility>

#include "collector/query/expr/expr.h"

namespace nodetrail::expr {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kDay = 86'400 * kSecond;
// The end of what signed 64-bit nanoseconds can say: the year 2262.
constexpr auto kMaxNs = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());

// Exactly `digits` decimal digits at the front of *text.
std::optional<int> Digits(std::string_view* text, size_t digits) {
  if (text->size() < digits) return std::nullopt;
  int value = 0;
  for (size_t i = 0; i < digits; ++i) {
    const char c = (*text)[i];
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  text->remove_prefix(digits);
  return value;
}

bool Skip(std::string_view* text, char c) {
  if (text->empty() || text->front() != c) return false;
  text->remove_prefix(1);
  return true;
}

// Days since 1970-01-01 of a Gregorian date; nullopt if there is no such date.
std::optional<int64_t> DaysOf(int year, int month, int day) {
  static constexpr std::array<int, 12> kDays = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (year < 1970 || year > 2262 || month < 1 || month > 12 || day < 1) return std::nullopt;
  const bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
  if (day > kDays[static_cast<size_t>(month - 1)] + (leap && month == 2 ? 1 : 0)) return std::nullopt;
  struct tm tm {};
  tm.tm_year = year - 1900;
  tm.tm_mon = month - 1;
  tm.tm_mday = day;
  return timegm(&tm) / 86'400;
}

// Fraction of a second after the point, 1 to 9 digits; nullopt otherwise.
std::optional<uint64_t> Fraction(std::string_view* text) {
  uint64_t value = 0;
  size_t n = 0;
  while (n < text->size() && (*text)[n] >= '0' && (*text)[n] <= '9') {
    if (n == 9) return std::nullopt;
    value = value * 10 + static_cast<uint64_t>((*text)[n] - '0');
    ++n;
  }
  if (n == 0) return std::nullopt;
  text->remove_prefix(n);
  for (; n < 9; ++n) value *= 10;
  return value;
}

// "Z", "+hh:mm", "-hh:mm" or nothing (UTC); seconds east. nullopt if malformed.
std::optional<int64_t> Offset(std::string_view* text) {
  if (text->empty()) return 0;
  if (Skip(text, 'Z') || Skip(text, 'z')) return 0;
  const bool east = text->front() == '+';
  if (!east && text->front() != '-') return std::nullopt;
  text->remove_prefix(1);
  const auto hours = Digits(text, 2);
  if (!hours || !Skip(text, ':')) return std::nullopt;
  const auto minutes = Digits(text, 2);
  if (!minutes || *hours > 23 || *minutes > 59) return std::nullopt;
  const int64_t seconds = *hours * 3600 + *minutes * 60;
  return east ? seconds : -seconds;
}

std::optional<uint64_t> ParseCalendar(std::string_view text, uint64_t* span) {
  const auto year = Digits(&text, 4);
  if (!year || !Skip(&text, '-')) return std::nullopt;
  const auto month = Digits(&text, 2);
  if (!month || !Skip(&text, '-')) return std::nullopt;
  const auto day = Digits(&text, 2);
  if (!day) return std::nullopt;
  const auto days = DaysOf(*year, *month, *day);
  if (!days) return std::nullopt;
  uint64_t ns = static_cast<uint64_t>(*days) * kDay;
  *span = kDay;
  int64_t offset = 0;
  if (!text.empty()) {
    if (!Skip(&text, 'T') && !Skip(&text, 't') && !Skip(&text, ' ')) return std::nullopt;
    const auto hour = Digits(&text, 2);
    if (!hour || !Skip(&text, ':')) return std::nullopt;
    const auto minute = Digits(&text, 2);
    if (!minute || *hour > 23 || *minute > 59) return std::nullopt;
    ns += static_cast<uint64_t>(*hour * 3600 + *minute * 60) * kSecond;
    *span = 60 * kSecond;
    if (Skip(&text, ':')) {
      const auto second = Digits(&text, 2);
      if (!second || *second > 60) return std::nullopt;
      ns += static_cast<uint64_t>(*second) * kSecond;
      *span = kSecond;
      if (Skip(&text, '.')) {
        const auto fraction = Fraction(&text);
        if (!fraction) return std::nullopt;
        ns += *fraction;
        *span = 0;
      }
    }
    const auto east = Offset(&text);
    if (!east || !text.empty()) return std::nullopt;
    offset = *east;
  }
  const auto shift = static_cast<uint64_t>(offset < 0 ? -offset : offset) * kSecond;
  if (offset > 0 && ns < shift) return std::nullopt;
  ns = offset > 0 ? ns - shift : ns + shift;
  if (ns > kMaxNs) return std::nullopt;
  return ns;
}

}  // namespace

Result<uint64_t> ParseDuration(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, uint64_t>, 9> kUnits = {{{"ns", 1},
                                                                                   {"us", 1'000},
                                                                                   {"µs", 1'000},
                                                                                   {"ms", 1'000'000},
                                                                                   {"s", kSecond},
                                                                                   {"m", 60 * kSecond},
                                                                                   {"h", 3600 * kSecond},
                                                                                   {"d", kDay},
                                                                                   {"w", 7 * kDay}}};
  const auto wrong = [text] {
    return InvalidArgument(
        fmt::format("'{}' is not a duration: write a number and a unit (ns us ms s m h d w), e.g. 90s or 1h30m", text));
  };
  if (text == "0") return uint64_t{0};
  std::string_view rest = text;
  uint64_t total = 0;
  if (rest.empty()) return wrong();
  while (!rest.empty()) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error != std::errc()) return wrong();
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    size_t unit_len = 0;
    while (unit_len < rest.size() && (rest[unit_len] < '0' || rest[unit_len] > '9')) ++unit_len;
    uint64_t unit = 0;
    for (const auto& [name, ns] : kUnits) {
      if (rest.substr(0, unit_len) == name) unit = ns;
    }
    if (unit == 0) return wrong();
    uint64_t part = 0;
    if (__builtin_mul_overflow(number, unit, &part) || __builtin_add_overflow(total, part, &total) || total > kMaxNs) {
      return InvalidArgument(fmt::format("'{}' is longer than 292 years", text));
    }
    rest.remove_prefix(unit_len);
  }
  return total;
}

Result<uint64_t> ParseTime(std::string_view text, uint64_t now_ns, uint64_t* span) {
  uint64_t ignored = 0;
  if (span == nullptr) span = &ignored;
  *span = 0;
  if (text == "now") return now_ns;
  if (text.starts_with('@')) {
    std::string_view rest = text.substr(1);
    uint64_t seconds = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), seconds);
    if (error == std::errc() && seconds <= kMaxNs / kSecond - 1) {
      rest.remove_prefix(static_cast<size_t>(end - rest.data()));
      uint64_t ns = seconds * kSecond;
      if (rest.empty()) {
        *span = kSecond;
        return ns;
      }
      if (Skip(&rest, '.')) {
        if (const auto fraction = Fraction(&rest); fraction && rest.empty()) return ns + *fraction;
      }
    }
  } else if (const auto calendar = ParseCalendar(text, span)) {
    return *calendar;
  } else if (const auto ago = ParseDuration(text.starts_with('-') ? text.substr(1) : text); ago.ok()) {
    return *ago > now_ns ? uint64_t{0} : now_ns - *ago;
  }
  *span = 0;
  return InvalidArgument(fmt::format(
      "'{}' is not a time: write RFC 3339 (2026-01-31T10:20:30Z), a date, @seconds, or a span before now (10m, 2h, 7d)",
      text));
}

}  // namespace nodetrail::expr
