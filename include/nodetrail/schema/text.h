// SPDX-License-Identifier: Apache-2.0
//
// Bytes of the observed, made printable. What an event carries (paths,
// arguments, names) was chosen by whoever acted: it may be invalid UTF-8 or
// hold terminal control sequences. Nothing here writes it raw.
#ifndef NODETRAIL_SCHEMA_TEXT_H_
#define NODETRAIL_SCHEMA_TEXT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nodetrail::schema {

[[nodiscard]] bool IsValidUtf8(std::string_view bytes);

// Valid UTF-8 unchanged; each invalid byte becomes the four characters \xNN.
// Control characters stay: JSON escapes them itself.
[[nodiscard]] std::string EscapeInvalidUtf8(std::string_view bytes);

// Safe for a terminal: as EscapeInvalidUtf8, and control characters (C0, DEL,
// C1), line separators and bidirectional overrides become \xNN or \u{NNNN}.
[[nodiscard]] std::string TerminalSafe(std::string_view bytes);

// Columns that valid UTF-8 takes on a terminal: 0 for combining marks, 2 for
// East Asian wide characters and emoji.
[[nodiscard]] size_t DisplayWidth(std::string_view utf8);

// At most `columns` wide, whole characters; when something is cut the last
// column is an ellipsis ("…", or "~" if !unicode). `from_left` cuts the start.
[[nodiscard]] std::string FitWidth(std::string_view utf8, size_t columns, bool unicode, bool from_left = false);

[[nodiscard]] std::string Hex(std::string_view bytes);
// Lower or upper case; nullopt unless an even number of hex digits.
[[nodiscard]] std::optional<std::string> Unhex(std::string_view hex);
[[nodiscard]] std::string Base64(std::string_view bytes);

// RFC 3339 in UTC with nine decimals: 2026-01-31T10:20:30.000000001Z.
[[nodiscard]] std::string FormatTimeUtc(uint64_t wall_ns);
// 1.5s, 20ms, 3m20s, 4h05m, 2d03h.
[[nodiscard]] std::string FormatDuration(uint64_t ns);
// 1.4 MiB.
[[nodiscard]] std::string FormatBytes(uint64_t bytes);

// 4 or 16 bytes in network order; a v4-mapped address prints as ::ffff:1.2.3.4.
// Empty or of another length: "".
[[nodiscard]] std::string FormatIp(std::string_view ip);
// 4 or 16 bytes, or nullopt.
[[nodiscard]] std::optional<std::string> ParseIp(std::string_view text);
// The 16-byte form in which addresses are compared: v4 is mapped (::ffff:0:0/96).
[[nodiscard]] std::string NormaliseIp(std::string_view ip);

// "pts/3", "tty1", "136:3"; empty for 0. `tty_nr` as in /proc/PID/stat.
[[nodiscard]] std::string FormatTty(uint32_t tty_nr);

}  // namespace nodetrail::schema

#endif  // NODETRAIL_SCHEMA_TEXT_H_
