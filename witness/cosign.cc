// SPDX-License-Identifier: Apache-2.0
#include "witness/cosign.h"

#include <fmt/format.h>

namespace nodetrail::witness {
namespace {

constexpr std::string_view kType("\x04", 1);

std::string KeyId(std::string_view name, const trail::PublicKey& key) {
  return trail::Bytes(trail::Sha256Of({name, "\n", kType, trail::View(key)})).substr(0, 4);
}

}  // namespace

std::string CosignerVkey(std::string_view name, const trail::PublicKey& key) {
  return fmt::format("{}+{}+{}", name, trail::HexEncode(KeyId(name, key)),
                     trail::Base64Encode(std::string(kType) + trail::Bytes(key)));
}

std::string CosignatureLine(std::string_view text, std::string_view name, const trail::Ed25519Key& key,
                            uint64_t unix_time) {
  std::string blob = KeyId(name, key.public_key());
  for (unsigned shift = 64; shift > 0; shift -= 8) blob += static_cast<char>((unix_time >> (shift - 8)) & 0xffU);
  blob += trail::Bytes(key.Sign(fmt::format("cosignature/v1\ntime {}\n{}", unix_time, text)));
  return fmt::format("\xe2\x80\x94 {} {}\n", name, trail::Base64Encode(blob));
}

bool VerifyCosignature(std::string_view text, std::string_view signature, const trail::PublicKey& key) {
  if (signature.size() != 72) return false;
  uint64_t time = 0;
  for (size_t i = 0; i < 8; ++i) time = (time << 8U) | static_cast<unsigned char>(signature[i]);
  return time >> 63U == 0 &&
         trail::Ed25519Verify(key, fmt::format("cosignature/v1\ntime {}\n{}", time, text), signature.substr(8));
}

uint32_t CosignerKeyId(std::string_view name, const trail::PublicKey& key) {
  uint32_t id = 0;
  for (const char c : KeyId(name, key)) id = (id << 8U) | static_cast<unsigned char>(c);
  return id;
}

}  // namespace nodetrail::witness
