// SPDX-License-Identifier: Apache-2.0
//
// The few cryptographic operations of the evidence format, each a thin skin
// over libsodium (Ed25519) or OpenSSL (SHA-256, ECDSA P-256, X.509); see
// docs/adr/0008-crypto-library.md. Everything here is thread-safe unless it
// says otherwise, and nothing throws.
#ifndef NODETRAIL_TRAIL_CRYPTO_H_
#define NODETRAIL_TRAIL_CRYPTO_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/base/status.h"

namespace nodetrail::trail {

using Hash = std::array<uint8_t, 32>;       // SHA-256
using PublicKey = std::array<uint8_t, 32>;  // Ed25519, RFC 8032
using Signature = std::array<uint8_t, 64>;  // Ed25519, RFC 8032

// The bytes of a hash, key or signature as a view; valid as long as `bytes`.
template <size_t N>
std::string_view View(const std::array<uint8_t, N>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), N};
}
template <size_t N>
std::string Bytes(const std::array<uint8_t, N>& bytes) {
  return std::string(View(bytes));
}
// Exactly N bytes, or nothing.
template <size_t N>
std::optional<std::array<uint8_t, N>> FixedBytes(std::string_view bytes) {
  if (bytes.size() != N) return std::nullopt;
  std::array<uint8_t, N> out;
  for (size_t i = 0; i < N; ++i) out[i] = static_cast<uint8_t>(bytes[i]);
  return out;
}
inline std::optional<Hash> HashFromBytes(std::string_view bytes) { return FixedBytes<32>(bytes); }

// Incremental SHA-256. One thread at a time.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  Sha256& Update(std::string_view data);
  // The digest; the object starts afresh.
  Hash Finish();

 private:
  struct Ctx;
  std::unique_ptr<Ctx> ctx_;
};

Hash Sha256Of(std::string_view data);
// Of the concatenation, without making it.
Hash Sha256Of(std::initializer_list<std::string_view> parts);

Hash HmacSha256(std::string_view key, std::string_view data);

// DSSE pre-authentication encoding:
// "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload.
std::string Pae(std::string_view payload_type, std::string_view payload);

// An Ed25519 signing key, in memory that is locked where the kernel lets us,
// and wiped when the object goes.
class Ed25519Key {
 public:
  static Ed25519Key Generate();
  // 32-byte seed (RFC 8032 private key). InvalidArgument for another length.
  static Result<Ed25519Key> FromSeed(std::string_view seed);
  // PKCS#8 PEM, unencrypted ("openssl genpkey -algorithm ed25519").
  static Result<Ed25519Key> FromPem(std::string_view pem);

  ~Ed25519Key();
  Ed25519Key(Ed25519Key&&) noexcept;
  Ed25519Key& operator=(Ed25519Key&&) noexcept;
  Ed25519Key(const Ed25519Key&) = delete;
  Ed25519Key& operator=(const Ed25519Key&) = delete;

  [[nodiscard]] const PublicKey& public_key() const { return public_; }
  [[nodiscard]] Signature Sign(std::string_view message) const;
  // Copies the 32-byte seed to `out`; the caller wipes it.
  void CopySeed(std::span<uint8_t, 32> out) const;

 private:
  struct Secret;
  Ed25519Key();
  std::unique_ptr<Secret> secret_;
  PublicKey public_{};
};

// False for a wrong signature, a wrong length, a non-canonical S or point, or
// a key of small order (libsodium's strict rules).
bool Ed25519Verify(const PublicKey& key, std::string_view message, std::string_view signature);

// An ECDSA P-256 signing key: an agent's identity. It may live in a token
// (pkcs11_key.h): then only signatures come out of it.
class EcdsaKey {
 public:
  static EcdsaKey Generate();
  // PEM, PKCS#8 or SEC1, unencrypted. InvalidArgument if it is not P-256.
  static Result<EcdsaKey> FromPem(std::string_view pem);

  ~EcdsaKey();
  EcdsaKey(EcdsaKey&&) noexcept;
  EcdsaKey& operator=(EcdsaKey&&) noexcept;

  // ECDSA with SHA-256, DER.
  [[nodiscard]] Result<std::string> Sign(std::string_view message) const;
  // The public half as DER SubjectPublicKeyInfo.
  [[nodiscard]] std::string PublicDer() const;

  struct Rep;
  // For those that have an OpenSSL key; see trail/openssl_util.h.
  explicit EcdsaKey(std::unique_ptr<Rep> rep);

 private:
  std::unique_ptr<Rep> rep_;
};

// An X.509 certificate. Immutable.
class Certificate {
 public:
  static Result<Certificate> FromDer(std::string_view der);
  // The first certificate of the PEM text.
  static Result<Certificate> FromPem(std::string_view pem);
  // All certificates of the PEM text, in order; InvalidArgument if none.
  static Result<std::vector<Certificate>> AllFromPem(std::string_view pem);

  ~Certificate();
  Certificate(Certificate&&) noexcept;
  Certificate& operator=(Certificate&&) noexcept;
  Certificate(const Certificate&);
  Certificate& operator=(const Certificate&);

  [[nodiscard]] std::string Der() const;
  // Every URI of the subject alternative name extension.
  [[nodiscard]] std::vector<std::string> UriSans() const;
  [[nodiscard]] std::string PublicDer() const;
  // SHA-256 of the SubjectPublicKeyInfo, as its bytes stand in the certificate.
  [[nodiscard]] Hash SpkiSha256() const;
  // ECDSA P-256/SHA-256 (DER signature) by this certificate's key. False if
  // the key is of another kind.
  [[nodiscard]] bool VerifyEcdsa(std::string_view message, std::string_view signature) const;

 private:
  friend class CaSet;
  struct Rep;
  explicit Certificate(std::shared_ptr<Rep> rep);
  std::shared_ptr<Rep> rep_;
};

// Authorities an auditor (or a collector) trusts to enrol agents.
class CaSet {
 public:
  // One or more PEM certificates.
  static Result<CaSet> FromPem(std::string_view pem);
  // No authority: nothing chains to it.
  static CaSet None();

  ~CaSet();
  CaSet(CaSet&&) noexcept;
  CaSet& operator=(CaSet&&) noexcept;
  CaSet(const CaSet&);
  CaSet& operator=(const CaSet&);

  // OK if `leaf` chains to one of the authorities. Validity times are not
  // looked at: a batch is judged at its position in the log, and stays valid
  // after its certificate expired.
  [[nodiscard]] Status Verify(const Certificate& leaf, std::span<const Certificate> intermediates) const;

 private:
  struct Rep;
  explicit CaSet(std::shared_ptr<Rep> rep);
  std::shared_ptr<Rep> rep_;
};

// "spiffe://<domain>/t/<tenant>/a/<agent>" ('a' agent, 'r' reader, 'c' collector) split.
struct SpiffeId {
  std::string domain;
  std::string tenant;
  char role = 'a';
  std::string name;
};
// Strict: lower-case domain, ids of 1 to 64 letters, digits, '.', '_', '-'.
Result<SpiffeId> ParseSpiffeId(std::string_view uri);
// True for 1 to 64 of letters, digits, '.', '_', '-', not starting with '.'.
bool ValidId(std::string_view id);

std::string HexEncode(std::string_view bytes);
template <size_t N>
std::string Hex(const std::array<uint8_t, N>& bytes) {
  return HexEncode(View(bytes));
}
// Lower case only, even length; nothing else.
Result<std::string> HexDecode(std::string_view hex);
// RFC 4648 section 4, with padding.
std::string Base64Encode(std::string_view bytes);
// Canonical only: padding present, unused bits zero, no white space.
Result<std::string> Base64Decode(std::string_view text);

// Overwrites memory in a way the compiler keeps.
void SecureErase(void* data, size_t size);
// From the kernel's generator.
void RandomBytes(std::span<uint8_t> out);
// Equality without a data-dependent time.
bool ConstantTimeEqual(std::string_view a, std::string_view b);

// CRC-32C (Castagnoli), for torn writes and rot; not for security.
// Crc32c(b, Crc32c(a)) is the checksum of a followed by b.
uint32_t Crc32c(std::string_view data, uint32_t crc = 0);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_CRYPTO_H_
