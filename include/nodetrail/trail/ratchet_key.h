// SPDX-License-Identifier: Apache-2.0
//
// The keys that sign batches, one per batch: Ed25519, or ECDSA P-256 where a
// buyer may use FIPS algorithms only. Both have 32-byte secrets and 64-byte
// signatures; docs/trail-format.md section 2 specifies the bytes.
#ifndef NODETRAIL_TRAIL_RATCHET_KEY_H_
#define NODETRAIL_TRAIL_RATCHET_KEY_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::trail {

// Length of a public key: 32 for Ed25519, 33 for P-256 (a compressed point),
// 0 for what is no algorithm of ours.
size_t RatchetKeyBytes(v1::SigAlg alg);

// A P-256 signing key.
class P256Key {
 public:
  static P256Key Generate();
  // 32 bytes, big-endian, 1 to n-1. InvalidArgument for anything else.
  static Result<P256Key> FromScalar(std::string_view scalar);

  ~P256Key();
  P256Key(P256Key&&) noexcept;
  P256Key& operator=(P256Key&&) noexcept;
  P256Key(const P256Key&) = delete;
  P256Key& operator=(const P256Key&) = delete;

  // 33 bytes: 0x02 or 0x03, then x.
  [[nodiscard]] const std::string& public_key() const { return public_; }
  // ECDSA with SHA-256: r || s, big-endian, s at most n/2.
  [[nodiscard]] Signature Sign(std::string_view message) const;
  // Copies the scalar to `out`; the caller wipes it.
  void CopyScalar(std::span<uint8_t, 32> out) const;

 private:
  struct Secret;
  P256Key();
  std::unique_ptr<Secret> secret_;
  std::string public_;
};

// False for a key that is no compressed point of the curve, a signature that
// is not 64 bytes, r or s out of range, and s above n/2: for each signature
// there would be a second one otherwise.
bool P256Verify(std::string_view key, std::string_view message, std::string_view signature);

// Either of the two.
class RatchetKey {
 public:
  // `alg` is one of the two that RatchetKeyBytes knows.
  static RatchetKey Generate(v1::SigAlg alg);
  static Result<RatchetKey> FromSecret(v1::SigAlg alg, std::string_view secret);
  explicit RatchetKey(Ed25519Key key);
  explicit RatchetKey(P256Key key);

  [[nodiscard]] v1::SigAlg alg() const;
  [[nodiscard]] const std::string& public_key() const { return public_; }
  [[nodiscard]] Signature Sign(std::string_view message) const;
  // Copies the 32-byte secret to `out`; the caller wipes it.
  void CopySecret(std::span<uint8_t, 32> out) const;

 private:
  std::variant<Ed25519Key, P256Key> key_;
  std::string public_;
};

// By the rules of `alg`; false for another algorithm than the two.
bool RatchetVerify(v1::SigAlg alg, std::string_view key, std::string_view message, std::string_view signature);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_RATCHET_KEY_H_
