// SPDX-License-Identifier: Apache-2.0
//
// Bytes of a leaf segment (docs/trail-format.md): a header of 32 bytes, then
// records of u32 length, u32 CRC-32C, leaf. Little-endian.
#ifndef NODETRAIL_TRAIL_SEGMENT_FORMAT_H_
#define NODETRAIL_TRAIL_SEGMENT_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "nodetrail/trail/crypto.h"

namespace nodetrail::trail {

inline constexpr std::string_view kFormatFile = "nodetrail-trail 1\n";
inline constexpr std::string_view kBundleFormatFile = "nodetrail-bundle 1\n";
inline constexpr std::string_view kSegmentMagic = "NTLEAVES";
inline constexpr uint32_t kSegmentVersion = 1;
inline constexpr size_t kSegmentHeaderBytes = 32;
inline constexpr size_t kRecordHeaderBytes = 8;

inline void PutLe(std::string* out, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i) *out += static_cast<char>((value >> (8 * i)) & 0xffU);
}
// `bytes` (at most 8) little-endian bytes at `offset`; the caller checked the size.
inline uint64_t GetLe(std::string_view data, size_t offset, unsigned bytes) {
  uint64_t value = 0;
  for (unsigned i = 0; i < bytes; ++i) {
    value |= static_cast<uint64_t>(static_cast<unsigned char>(data[offset + i])) << (8 * i);
  }
  return value;
}

inline std::string SegmentHeader(uint64_t first_index) {
  std::string out(kSegmentMagic);
  PutLe(&out, kSegmentVersion, 4);
  PutLe(&out, 0, 4);
  PutLe(&out, first_index, 8);
  PutLe(&out, 0, 4);
  PutLe(&out, Crc32c(out), 4);
  return out;
}

// First index, or nothing if the bytes are not such a header.
inline std::optional<uint64_t> ParseSegmentHeader(std::string_view bytes) {
  if (bytes.size() != kSegmentHeaderBytes || !bytes.starts_with(kSegmentMagic)) return std::nullopt;
  if (GetLe(bytes, 8, 4) != kSegmentVersion || GetLe(bytes, 28, 4) != Crc32c(bytes.substr(0, 28))) return std::nullopt;
  return GetLe(bytes, 16, 8);
}

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_SEGMENT_FORMAT_H_
