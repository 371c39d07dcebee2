// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cstring>

#include "nodetrail/trail/crypto.h"

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace nodetrail::trail {
namespace {

constexpr std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
    table[i] = crc;
  }
  return table;
}

uint32_t Portable(std::string_view data, uint32_t crc) {
  static constexpr std::array<uint32_t, 256> kTable = MakeTable();
  for (const char c : data) crc = (crc >> 8U) ^ kTable[(crc ^ static_cast<unsigned char>(c)) & 0xffU];
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t Hardware(std::string_view data, uint32_t crc) {
  uint64_t wide = crc;
  while (data.size() >= sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, data.data(), sizeof(word));
    wide = _mm_crc32_u64(wide, word);
    data.remove_prefix(sizeof(word));
  }
  auto narrow = static_cast<uint32_t>(wide);
  for (const char c : data) narrow = _mm_crc32_u8(narrow, static_cast<unsigned char>(c));
  return narrow;
}
#endif

}  // namespace

uint32_t Crc32c(std::string_view data, uint32_t crc) {
#if defined(__x86_64__)
  static const bool hardware = __builtin_cpu_supports("sse4.2") != 0;
  if (hardware) return ~Hardware(data, ~crc);
#endif
  return ~Portable(data, ~crc);
}

// For the test that compares the two.
uint32_t Crc32cPortable(std::string_view data, uint32_t crc);
uint32_t Crc32cPortable(std::string_view data, uint32_t crc) { return ~Portable(data, ~crc); }

}  // namespace nodetrail::trail
