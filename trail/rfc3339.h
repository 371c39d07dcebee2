// SPDX-License-Identifier: Apache-2.0
//
// The one text form of a time in reports and manifests.
#ifndef NODETRAIL_TRAIL_RFC3339_H_
#define NODETRAIL_TRAIL_RFC3339_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace nodetrail::trail {

// "2026-03-01T09:30:00.000000000Z" of nanoseconds since 1970.
std::string FormatRfc3339(uint64_t wall_ns);
// Exactly that form, of a date that exists, 1970 to 2261; nothing otherwise.
std::optional<uint64_t> ParseRfc3339(std::string_view text);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_RFC3339_H_
