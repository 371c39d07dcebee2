// SPDX-License-Identifier: Apache-2.0
#include "collector/witness/witness_book.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <optional>
#include <string_view>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::collector {
namespace {

constexpr std::string_view kMagic = "nodetrail-witnesses 1\n";
constexpr std::string_view kSum = "sha256 ";
constexpr size_t kMaxBytes = 1U << 20;

std::optional<uint64_t> Number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string FormatWitnessBook(const WitnessBook& book) {
  std::string out(kMagic);
  for (const auto& [vkey, entry] : book) {
    out += fmt::format("{} {} {} {}\n", vkey, entry.size, entry.unix_time, entry.rollbacks);
  }
  return out + fmt::format("{}{}\n", kSum, trail::Hex(trail::Sha256Of(out)));
}

Result<WitnessBook> ParseWitnessBook(std::string_view text) {
  const size_t sum = text.rfind(kSum);
  if (!text.starts_with(kMagic) || sum == std::string_view::npos ||
      text.substr(sum) != fmt::format("{}{}\n", kSum, trail::Hex(trail::Sha256Of(text.substr(0, sum))))) {
    return DataLoss("the checksum does not match");
  }
  WitnessBook out;
  std::string_view rest = text.substr(kMagic.size(), sum - kMagic.size());
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos) return DataLoss("a line does not end");
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 1);
    std::array<uint64_t, 3> numbers{};
    for (size_t i = numbers.size(); i-- > 0;) {
      const size_t space = line.rfind(' ');
      const auto value = space == std::string_view::npos ? std::nullopt : Number(line.substr(space + 1));
      if (!value) return DataLoss("a line is not a key and three numbers");
      numbers[i] = *value;
      line = line.substr(0, space);
    }
    if (!out.emplace(line, WitnessEntry{numbers[0], numbers[1], numbers[2]}).second) {
      return DataLoss("a key is there twice");
    }
  }
  return out;
}

Result<WitnessBook> LoadWitnessBook(const std::string& path) {
  const auto text = ReadFile(path, kMaxBytes);
  if (!text.ok()) {
    if (text.status().code() == Code::kNotFound) return WitnessBook{};
    return text.status();
  }
  auto book = ParseWitnessBook(*text);
  if (book.ok()) return book;
  return DataLoss(fmt::format("{}: {}", path, book.status().message()));
}

}  // namespace nodetrail::collector
