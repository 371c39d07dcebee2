// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/crypto.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <sodium.h>

#include <cstring>

#include "nodetrail/base/status.h"
#include "trail/openssl_util.h"

namespace nodetrail::trail {
namespace {

void EnsureSodium() {
  static const int ready = sodium_init();  // 1: was initialised before
  NT_CHECK(ready >= 0);
}

// Fetched once: an implicit fetch per digest costs more than hashing a header.
const EVP_MD* Sha256Md() {
  static EVP_MD* const md = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  NT_CHECK(md != nullptr);
  return md;
}

const unsigned char* Data(std::string_view bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

EVP_MD_CTX* ThreadDigest() {
  thread_local const std::unique_ptr<EVP_MD_CTX, OpenSslFree> ctx(EVP_MD_CTX_new());
  NT_CHECK(ctx != nullptr);
  return ctx.get();
}

}  // namespace

struct Sha256::Ctx {
  std::unique_ptr<EVP_MD_CTX, OpenSslFree> md{EVP_MD_CTX_new()};
};

Sha256::Sha256() : ctx_(std::make_unique<Ctx>()) {
  NT_CHECK(ctx_->md != nullptr);
  NT_CHECK(EVP_DigestInit_ex(ctx_->md.get(), Sha256Md(), nullptr) == 1);
}
Sha256::~Sha256() = default;

Sha256& Sha256::Update(std::string_view data) {
  NT_CHECK(EVP_DigestUpdate(ctx_->md.get(), data.data(), data.size()) == 1);
  return *this;
}

Hash Sha256::Finish() {
  Hash out;
  NT_CHECK(EVP_DigestFinal_ex(ctx_->md.get(), out.data(), nullptr) == 1);
  NT_CHECK(EVP_DigestInit_ex(ctx_->md.get(), Sha256Md(), nullptr) == 1);
  return out;
}

Hash Sha256Of(std::initializer_list<std::string_view> parts) {
  EVP_MD_CTX* ctx = ThreadDigest();
  NT_CHECK(EVP_DigestInit_ex(ctx, Sha256Md(), nullptr) == 1);
  for (const std::string_view part : parts) NT_CHECK(EVP_DigestUpdate(ctx, part.data(), part.size()) == 1);
  Hash out;
  NT_CHECK(EVP_DigestFinal_ex(ctx, out.data(), nullptr) == 1);
  return out;
}

Hash Sha256Of(std::string_view data) { return Sha256Of({data}); }

Hash HmacSha256(std::string_view key, std::string_view data) {
  Hash out;
  NT_CHECK(HMAC(Sha256Md(), key.data(), static_cast<int>(key.size()), Data(data), data.size(), out.data(), nullptr) !=
           nullptr);
  return out;
}

std::string Pae(std::string_view payload_type, std::string_view payload) {
  std::string out = "DSSEv1 ";
  out += std::to_string(payload_type.size());
  out += ' ';
  out += payload_type;
  out += ' ';
  out += std::to_string(payload.size());
  out += ' ';
  out += payload;
  return out;
}

// sodium_malloc: guard pages, locked where RLIMIT_MEMLOCK allows, kept out of
// core dumps, wiped by sodium_free.
struct Ed25519Key::Secret {
  Secret() : sk(static_cast<unsigned char*>(sodium_malloc(crypto_sign_ed25519_SECRETKEYBYTES))) {
    NT_CHECK(sk != nullptr);
  }
  ~Secret() { sodium_free(sk); }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  unsigned char* sk;  // seed || public
};

Ed25519Key::Ed25519Key() {
  EnsureSodium();
  secret_ = std::make_unique<Secret>();
}
Ed25519Key::~Ed25519Key() = default;
Ed25519Key::Ed25519Key(Ed25519Key&&) noexcept = default;
Ed25519Key& Ed25519Key::operator=(Ed25519Key&&) noexcept = default;

Ed25519Key Ed25519Key::Generate() {
  Ed25519Key key;
  NT_CHECK(crypto_sign_ed25519_keypair(key.public_.data(), key.secret_->sk) == 0);
  return key;
}

Result<Ed25519Key> Ed25519Key::FromSeed(std::string_view seed) {
  if (seed.size() != crypto_sign_ed25519_SEEDBYTES) return InvalidArgument("Ed25519 seed: not 32 bytes");
  Ed25519Key key;
  NT_CHECK(crypto_sign_ed25519_seed_keypair(key.public_.data(), key.secret_->sk, Data(seed)) == 0);
  return key;
}

Result<Ed25519Key> Ed25519Key::FromPem(std::string_view pem) {
  NT_ASSIGN_OR_RETURN(const EvpKey evp, ParsePrivatePem(pem));
  if (EVP_PKEY_get_base_id(evp.get()) != EVP_PKEY_ED25519) {
    return InvalidArgument("not an Ed25519 key (make one with: openssl genpkey -algorithm ed25519)");
  }
  std::array<uint8_t, 32> seed{};
  size_t size = seed.size();
  if (EVP_PKEY_get_raw_private_key(evp.get(), seed.data(), &size) != 1 || size != seed.size()) {
    return InvalidArgument(OpenSslError("Ed25519 key"));
  }
  auto key = FromSeed(View(seed));
  SecureErase(seed.data(), seed.size());
  return key;
}

Signature Ed25519Key::Sign(std::string_view message) const {
  Signature out;
  NT_CHECK(crypto_sign_ed25519_detached(out.data(), nullptr, Data(message), message.size(), secret_->sk) == 0);
  return out;
}

void Ed25519Key::CopySeed(std::span<uint8_t, 32> out) const { std::memcpy(out.data(), secret_->sk, out.size()); }

bool Ed25519Verify(const PublicKey& key, std::string_view message, std::string_view signature) {
  if (signature.size() != crypto_sign_ed25519_BYTES) return false;
  EnsureSodium();
  return crypto_sign_ed25519_verify_detached(Data(signature), Data(message), message.size(), key.data()) == 0;
}

std::string HexEncode(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += kDigits[byte >> 4U];
    out += kDigits[byte & 15U];
  }
  return out;
}

Result<std::string> HexDecode(std::string_view hex) {
  if (hex.size() % 2 != 0) return InvalidArgument("hex: odd length");
  std::string out;
  out.reserve(hex.size() / 2);
  unsigned value = 0;
  for (size_t i = 0; i < hex.size(); ++i) {
    const char c = hex[i];
    unsigned digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else {
      return InvalidArgument("hex: not a lower-case hexadecimal digit");
    }
    value = (value << 4U) | digit;
    if (i % 2 == 1) out += static_cast<char>(value & 0xffU);
  }
  return out;
}

std::string Base64Encode(std::string_view bytes) {
  std::string out(sodium_base64_encoded_len(bytes.size(), sodium_base64_VARIANT_ORIGINAL), '\0');
  sodium_bin2base64(out.data(), out.size(), Data(bytes), bytes.size(), sodium_base64_VARIANT_ORIGINAL);
  out.pop_back();  // the terminator
  return out;
}

Result<std::string> Base64Decode(std::string_view text) {
  std::string out(text.size() / 4 * 3 + 3, '\0');
  size_t size = 0;
  const char* end = nullptr;
  if (sodium_base642bin(reinterpret_cast<unsigned char*>(out.data()), out.size(), text.data(), text.size(), nullptr,
                        &size, &end, sodium_base64_VARIANT_ORIGINAL) != 0 ||
      end != text.data() + text.size()) {
    return InvalidArgument("base64: not canonical RFC 4648 text");
  }
  out.resize(size);
  // One text per value, whatever the decoder tolerates.
  if (Base64Encode(out) != text) return InvalidArgument("base64: not canonical RFC 4648 text");
  return out;
}

void SecureErase(void* data, size_t size) { sodium_memzero(data, size); }

void RandomBytes(std::span<uint8_t> out) {
  EnsureSodium();
  randombytes_buf(out.data(), out.size());
}

bool ConstantTimeEqual(std::string_view a, std::string_view b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace nodetrail::trail
