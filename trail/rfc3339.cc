// SPDX-License-Identifier: Apache-2.0
#include "trail/rfc3339.h"

#include <fmt/format.h>

#include <chrono>
#include <ctime>

namespace nodetrail::trail {
namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;
constexpr std::string_view kPattern = "dddd-dd-ddTdd:dd:dd.dddddddddZ";

}  // namespace

std::string FormatRfc3339(uint64_t wall_ns) {
  const auto seconds = static_cast<std::time_t>(wall_ns / kNsPerSecond);
  std::tm tm{};
  if (::gmtime_r(&seconds, &tm) == nullptr) return std::to_string(wall_ns);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec, wall_ns % kNsPerSecond);
}

std::optional<uint64_t> ParseRfc3339(std::string_view text) {
  if (text.size() != kPattern.size()) return std::nullopt;
  for (size_t i = 0; i < text.size(); ++i) {
    if (kPattern[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != kPattern[i]) return std::nullopt;
  }
  const auto number = [text](size_t at, size_t digits) {
    uint64_t value = 0;
    for (const char c : text.substr(at, digits)) value = 10 * value + static_cast<uint64_t>(c - '0');
    return value;
  };
  const uint64_t year = number(0, 4);
  const uint64_t hour = number(11, 2);
  const uint64_t minute = number(14, 2);
  const uint64_t second = number(17, 2);
  const std::chrono::year_month_day date(std::chrono::year(static_cast<int>(year)),
                                         std::chrono::month(static_cast<unsigned>(number(5, 2))),
                                         std::chrono::day(static_cast<unsigned>(number(8, 2))));
  if (year < 1970 || year > 2261 || !date.ok() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
  const auto days = static_cast<uint64_t>(std::chrono::sys_days(date).time_since_epoch().count());
  return (((days * 24 + hour) * 60 + minute) * 60 + second) * kNsPerSecond + number(20, 9);
}

}  // namespace nodetrail::trail
