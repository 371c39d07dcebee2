// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/schema/text.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <array>
#include <ctime>
#include <iterator>

namespace nodetrail::schema {
namespace {

// Length of the valid UTF-8 sequence at the start of `s`, its code point in
// *cp; 0 if the first byte begins none (overlong forms and surrogates included).
size_t DecodeUtf8(std::string_view s, uint32_t* cp) {
  if (s.empty()) return 0;
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  const uint8_t b0 = byte(0);
  if (b0 < 0x80) {
    *cp = b0;
    return 1;
  }
  size_t len = 0;
  uint32_t value = 0;
  uint32_t least = 0;
  if ((b0 & 0xe0) == 0xc0) {
    len = 2, value = b0 & 0x1fU, least = 0x80;
  } else if ((b0 & 0xf0) == 0xe0) {
    len = 3, value = b0 & 0x0fU, least = 0x800;
  } else if ((b0 & 0xf8) == 0xf0) {
    len = 4, value = b0 & 0x07U, least = 0x10000;
  } else {
    return 0;
  }
  if (s.size() < len) return 0;
  for (size_t i = 1; i < len; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    value = (value << 6) | (byte(i) & 0x3fU);
  }
  if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return 0;
  *cp = value;
  return len;
}

bool IsControl(uint32_t cp) {
  return cp < 0x20 || (cp >= 0x7f && cp < 0xa0) || cp == 0x2028 || cp == 0x2029 || cp == 0x061c || cp == 0x200e ||
         cp == 0x200f || (cp >= 0x202a && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069) || cp == 0xfeff;
}

bool IsZeroWidth(uint32_t cp) {
  return (cp >= 0x0300 && cp <= 0x036f) || (cp >= 0x0483 && cp <= 0x0489) || (cp >= 0x0591 && cp <= 0x05bd) ||
         (cp >= 0x0610 && cp <= 0x061a) || (cp >= 0x064b && cp <= 0x065f) || (cp >= 0x0e34 && cp <= 0x0e3a) ||
         (cp >= 0x1ab0 && cp <= 0x1aff) || (cp >= 0x1dc0 && cp <= 0x1dff) || (cp >= 0x200b && cp <= 0x200d) ||
         (cp >= 0x20d0 && cp <= 0x20ff) || (cp >= 0xfe00 && cp <= 0xfe0f) || (cp >= 0xfe20 && cp <= 0xfe2f) ||
         (cp >= 0xe0100 && cp <= 0xe01ef);
}

bool IsWide(uint32_t cp) {
  return (cp >= 0x1100 && cp <= 0x115f) || (cp >= 0x2e80 && cp <= 0x303e) || (cp >= 0x3041 && cp <= 0x33ff) ||
         (cp >= 0x3400 && cp <= 0x4dbf) || (cp >= 0x4e00 && cp <= 0x9fff) || (cp >= 0xa000 && cp <= 0xa4cf) ||
         (cp >= 0xac00 && cp <= 0xd7a3) || (cp >= 0xf900 && cp <= 0xfaff) || (cp >= 0xfe30 && cp <= 0xfe6f) ||
         (cp >= 0xff00 && cp <= 0xff60) || (cp >= 0xffe0 && cp <= 0xffe6) || (cp >= 0x1f300 && cp <= 0x1f64f) ||
         (cp >= 0x1f680 && cp <= 0x1f6ff) || (cp >= 0x1f900 && cp <= 0x1f9ff) || (cp >= 0x20000 && cp <= 0x3fffd);
}

size_t WidthOf(uint32_t cp) { return IsZeroWidth(cp) ? 0 : IsWide(cp) ? 2 : 1; }

}  // namespace

bool IsValidUtf8(std::string_view bytes) {
  while (!bytes.empty()) {
    uint32_t cp = 0;
    const size_t n = DecodeUtf8(bytes, &cp);
    if (n == 0) return false;
    bytes.remove_prefix(n);
  }
  return true;
}

std::string EscapeInvalidUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    uint32_t cp = 0;
    const size_t n = DecodeUtf8(bytes, &cp);
    if (n == 0) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<uint8_t>(bytes[0]));
      bytes.remove_prefix(1);
      continue;
    }
    out.append(bytes.substr(0, n));
    bytes.remove_prefix(n);
  }
  return out;
}

std::string TerminalSafe(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    uint32_t cp = 0;
    size_t n = DecodeUtf8(bytes, &cp);
    if (n == 0) {
      n = 1;
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<uint8_t>(bytes[0]));
    } else if (cp == '\n') {
      out += "\\n";
    } else if (cp == '\t') {
      out += "\\t";
    } else if (IsControl(cp)) {
      if (cp < 0x80) fmt::format_to(std::back_inserter(out), "\\x{:02x}", cp);
      else fmt::format_to(std::back_inserter(out), "\\u{{{:04x}}}", cp);
    } else {
      out.append(bytes.substr(0, n));
    }
    bytes.remove_prefix(n);
  }
  return out;
}

size_t DisplayWidth(std::string_view utf8) {
  size_t width = 0;
  while (!utf8.empty()) {
    uint32_t cp = 0;
    const size_t n = DecodeUtf8(utf8, &cp);
    width += n == 0 ? 1 : WidthOf(cp);
    utf8.remove_prefix(n == 0 ? 1 : n);
  }
  return width;
}

std::string FitWidth(std::string_view utf8, size_t columns, bool unicode, bool from_left) {
  const size_t width = DisplayWidth(utf8);
  if (width <= columns) return std::string(utf8);
  const std::string_view mark = unicode ? "…" : "~";
  if (columns == 0) return {};
  const size_t room = columns - 1;
  if (!from_left) {
    size_t used = 0;
    size_t at = 0;
    while (at < utf8.size()) {
      uint32_t cp = 0;
      const size_t n = DecodeUtf8(utf8.substr(at), &cp);
      const size_t w = n == 0 ? 1 : WidthOf(cp);
      if (used + w > room) break;
      used += w;
      at += n == 0 ? 1 : n;
    }
    return std::string(utf8.substr(0, at)).append(mark);
  }
  size_t left = width;
  size_t at = 0;
  while (at < utf8.size() && left > room) {
    uint32_t cp = 0;
    const size_t n = DecodeUtf8(utf8.substr(at), &cp);
    left -= n == 0 ? 1 : WidthOf(cp);
    at += n == 0 ? 1 : n;
  }
  return std::string(mark).append(utf8.substr(at));
}

std::string Hex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    out.push_back(kDigits[static_cast<uint8_t>(c) >> 4]);
    out.push_back(kDigits[static_cast<uint8_t>(c) & 15]);
  }
  return out;
}

std::optional<std::string> Unhex(std::string_view hex) {
  if (hex.size() % 2 != 0) return std::nullopt;
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  std::string out;
  out.reserve(hex.size() / 2);
  for (size_t i = 0; i < hex.size(); i += 2) {
    const int hi = digit(hex[i]);
    const int lo = digit(hex[i + 1]);
    if (hi < 0 || lo < 0) return std::nullopt;
    out.push_back(static_cast<char>(hi * 16 + lo));
  }
  return out;
}

std::string Base64(std::string_view bytes) {
  static constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t v = static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])) << 16;
    if (i + 1 < bytes.size()) v |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[i + 1])) << 8;
    if (i + 2 < bytes.size()) v |= static_cast<uint8_t>(bytes[i + 2]);
    out.push_back(kAlphabet[v >> 18]);
    out.push_back(kAlphabet[(v >> 12) & 63]);
    out.push_back(i + 1 < bytes.size() ? kAlphabet[(v >> 6) & 63] : '=');
    out.push_back(i + 2 < bytes.size() ? kAlphabet[v & 63] : '=');
  }
  return out;
}

std::string FormatTimeUtc(uint64_t wall_ns) {
  const auto seconds = static_cast<time_t>(wall_ns / 1'000'000'000);
  struct tm tm {};
  if (gmtime_r(&seconds, &tm) == nullptr) return fmt::format("@{}", wall_ns);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                     tm.tm_hour, tm.tm_min, tm.tm_sec, wall_ns % 1'000'000'000);
}

std::string FormatDuration(uint64_t ns) {
  if (ns < 1'000) return fmt::format("{}ns", ns);
  if (ns < 1'000'000) return fmt::format("{}µs", ns / 1'000);
  if (ns < 1'000'000'000) return fmt::format("{}ms", ns / 1'000'000);
  const uint64_t s = ns / 1'000'000'000;
  if (s < 60) return fmt::format("{}.{}s", s, ns / 100'000'000 % 10);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  if (s < 86400) return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
  return fmt::format("{}d{:02}h", s / 86400, s / 3600 % 24);
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  static constexpr std::array<std::string_view, 6> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) value /= 1024, ++unit;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string FormatIp(std::string_view ip) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const int family = ip.size() == 4 ? AF_INET : ip.size() == 16 ? AF_INET6 : -1;
  if (family < 0 || inet_ntop(family, ip.data(), text.data(), text.size()) == nullptr) return {};
  return text.data();
}

std::optional<std::string> ParseIp(std::string_view text) {
  const std::string z(text);
  std::array<char, 16> out{};
  if (inet_pton(AF_INET, z.c_str(), out.data()) == 1) return std::string(out.data(), 4);
  if (inet_pton(AF_INET6, z.c_str(), out.data()) == 1) return std::string(out.data(), 16);
  return std::nullopt;
}

std::string NormaliseIp(std::string_view ip) {
  if (ip.size() != 4) return std::string(ip);
  std::string out(10, '\0');
  out += "\xff\xff";
  out += ip;
  return out;
}

std::string FormatTty(uint32_t tty_nr) {
  if (tty_nr == 0) return {};
  const uint32_t major = (tty_nr >> 8) & 0xfffU;
  const uint32_t minor = (tty_nr & 0xffU) | ((tty_nr >> 12) & 0xfff00U);
  if (major >= 136 && major <= 143) return fmt::format("pts/{}", minor + ((major - 136) << 8));
  if (major == 4) return minor < 64 ? fmt::format("tty{}", minor) : fmt::format("ttyS{}", minor - 64);
  return fmt::format("{}:{}", major, minor);
}

}  // namespace nodetrail::schema
