// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/ratchet_key.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>

#include <utility>

#include "trail/openssl_util.h"

namespace nodetrail::trail {
namespace {

constexpr size_t kEd25519Bytes = 32;
constexpr size_t kP256Bytes = 33;
constexpr int kScalarBytes = 32;

struct EcFree {
  void operator()(BIGNUM* p) const { BN_clear_free(p); }
  void operator()(EC_GROUP* p) const { EC_GROUP_free(p); }
  void operator()(EC_POINT* p) const { EC_POINT_free(p); }
  void operator()(ECDSA_SIG* p) const { ECDSA_SIG_free(p); }
  void operator()(EVP_PKEY_CTX* p) const { EVP_PKEY_CTX_free(p); }
  void operator()(OSSL_PARAM_BLD* p) const { OSSL_PARAM_BLD_free(p); }
  void operator()(OSSL_PARAM* p) const {
    OSSL_PARAM* scalar = p == nullptr ? nullptr : OSSL_PARAM_locate(p, OSSL_PKEY_PARAM_PRIV_KEY);
    if (scalar != nullptr) SecureErase(scalar->data, scalar->data_size);
    OSSL_PARAM_free(p);
  }
};
template <typename T>
using Ec = std::unique_ptr<T, EcFree>;

const unsigned char* Data(std::string_view bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

const EC_GROUP* Group() {
  static const EC_GROUP* const group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
  NT_CHECK(group != nullptr);
  return group;
}
const BIGNUM* Order() { return EC_GROUP_get0_order(Group()); }
const BIGNUM* HalfOrder() {
  static const BIGNUM* const half = [] {
    BIGNUM* out = BN_new();
    NT_CHECK(out != nullptr && BN_rshift1(out, Order()) == 1);
    return out;
  }();
  return half;
}

// Null if the parts are no key of the curve.
EvpKey MakeKey(std::string_view point, const BIGNUM* scalar) {
  const Ec<OSSL_PARAM_BLD> builder(OSSL_PARAM_BLD_new());
  NT_CHECK(builder != nullptr);
  NT_CHECK(OSSL_PARAM_BLD_push_utf8_string(builder.get(), OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) == 1);
  NT_CHECK(OSSL_PARAM_BLD_push_octet_string(builder.get(), OSSL_PKEY_PARAM_PUB_KEY, point.data(), point.size()) == 1);
  if (scalar != nullptr) NT_CHECK(OSSL_PARAM_BLD_push_BN(builder.get(), OSSL_PKEY_PARAM_PRIV_KEY, scalar) == 1);
  const Ec<OSSL_PARAM> params(OSSL_PARAM_BLD_to_param(builder.get()));
  const Ec<EVP_PKEY_CTX> ctx(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  NT_CHECK(params != nullptr && ctx != nullptr && EVP_PKEY_fromdata_init(ctx.get()) == 1);
  EVP_PKEY* key = nullptr;
  const int what = scalar != nullptr ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY;
  if (EVP_PKEY_fromdata(ctx.get(), &key, what, params.get()) != 1) key = nullptr;
  ERR_clear_error();
  return EvpKey(key);
}

std::string CompressedPoint(const BIGNUM* scalar) {
  const Ec<EC_POINT> point(EC_POINT_new(Group()));
  NT_CHECK(point != nullptr && EC_POINT_mul(Group(), point.get(), scalar, nullptr, nullptr, nullptr) == 1);
  std::string out(kP256Bytes, '\0');
  NT_CHECK(EC_POINT_point2oct(Group(), point.get(), POINT_CONVERSION_COMPRESSED,
                              reinterpret_cast<unsigned char*>(out.data()), out.size(), nullptr) == out.size());
  return out;
}

}  // namespace

size_t RatchetKeyBytes(v1::SigAlg alg) {
  switch (alg) {
    case v1::SIG_ALG_ED25519: return kEd25519Bytes;
    case v1::SIG_ALG_ECDSA_P256_SHA256: return kP256Bytes;
    default: return 0;
  }
}

// The library wipes the scalar when the key is freed.
struct P256Key::Secret {
  Ec<BIGNUM> scalar;
  EvpKey key;
};

P256Key::P256Key() : secret_(std::make_unique<Secret>()) {}
P256Key::~P256Key() = default;
P256Key::P256Key(P256Key&&) noexcept = default;
P256Key& P256Key::operator=(P256Key&&) noexcept = default;

P256Key P256Key::Generate() {
  while (true) {
    std::array<uint8_t, kScalarBytes> bytes{};
    RandomBytes(bytes);
    auto key = FromScalar(View(bytes));
    SecureErase(bytes.data(), bytes.size());
    if (key.ok()) return std::move(*key);  // else above the order: once in 2^32
  }
}

Result<P256Key> P256Key::FromScalar(std::string_view scalar) {
  if (scalar.size() != kScalarBytes) return InvalidArgument("P-256 scalar: not 32 bytes");
  P256Key out;
  out.secret_->scalar.reset(BN_bin2bn(Data(scalar), kScalarBytes, nullptr));
  BIGNUM* number = out.secret_->scalar.get();
  NT_CHECK(number != nullptr);
  if (BN_is_zero(number) || BN_cmp(number, Order()) >= 0) return InvalidArgument("P-256 scalar: out of range");
  BN_set_flags(number, BN_FLG_CONSTTIME);
  out.public_ = CompressedPoint(number);
  out.secret_->key = MakeKey(out.public_, number);
  NT_CHECK(out.secret_->key != nullptr);
  return out;
}

Signature P256Key::Sign(std::string_view message) const {
  const std::unique_ptr<EVP_MD_CTX, OpenSslFree> ctx(EVP_MD_CTX_new());
  NT_CHECK(ctx != nullptr);
  NT_CHECK(EVP_DigestSignInit(ctx.get(), nullptr, EVP_sha256(), nullptr, secret_->key.get()) == 1);
  std::array<unsigned char, 80> der{};
  size_t size = der.size();
  NT_CHECK(EVP_DigestSign(ctx.get(), der.data(), &size, Data(message), message.size()) == 1);
  const unsigned char* at = der.data();
  const Ec<ECDSA_SIG> signature(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(size)));
  NT_CHECK(signature != nullptr);
  const BIGNUM* r = ECDSA_SIG_get0_r(signature.get());
  Ec<BIGNUM> s(BN_dup(ECDSA_SIG_get0_s(signature.get())));
  NT_CHECK(s != nullptr);
  if (BN_cmp(s.get(), HalfOrder()) > 0) NT_CHECK(BN_sub(s.get(), Order(), s.get()) == 1);
  Signature out{};
  NT_CHECK(BN_bn2binpad(r, out.data(), kScalarBytes) == kScalarBytes);
  NT_CHECK(BN_bn2binpad(s.get(), out.data() + kScalarBytes, kScalarBytes) == kScalarBytes);
  return out;
}

void P256Key::CopyScalar(std::span<uint8_t, 32> out) const {
  NT_CHECK(BN_bn2binpad(secret_->scalar.get(), out.data(), kScalarBytes) == kScalarBytes);
}

bool P256Verify(std::string_view key, std::string_view message, std::string_view signature) {
  if (key.size() != kP256Bytes || (key[0] != 2 && key[0] != 3) || signature.size() != size_t{2} * kScalarBytes) {
    return false;
  }
  Ec<BIGNUM> r(BN_bin2bn(Data(signature), kScalarBytes, nullptr));
  Ec<BIGNUM> s(BN_bin2bn(Data(signature) + kScalarBytes, kScalarBytes, nullptr));
  NT_CHECK(r != nullptr && s != nullptr);
  if (BN_is_zero(r.get()) || BN_cmp(r.get(), Order()) >= 0) return false;
  if (BN_is_zero(s.get()) || BN_cmp(s.get(), HalfOrder()) > 0) return false;
  const EvpKey point = MakeKey(key, nullptr);
  if (point == nullptr) return false;
  const Ec<ECDSA_SIG> parts(ECDSA_SIG_new());
  NT_CHECK(parts != nullptr && ECDSA_SIG_set0(parts.get(), r.get(), s.get()) == 1);
  (void)r.release();
  (void)s.release();
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(parts.get(), &der);
  NT_CHECK(size > 0);
  const std::unique_ptr<EVP_MD_CTX, OpenSslFree> ctx(EVP_MD_CTX_new());
  const bool good = ctx != nullptr &&
                    EVP_DigestVerifyInit(ctx.get(), nullptr, EVP_sha256(), nullptr, point.get()) == 1 &&
                    EVP_DigestVerify(ctx.get(), der, static_cast<size_t>(size), Data(message), message.size()) == 1;
  OPENSSL_free(der);
  ERR_clear_error();
  return good;
}

RatchetKey::RatchetKey(Ed25519Key key) : key_(std::move(key)) {
  public_ = Bytes(std::get<Ed25519Key>(key_).public_key());
}
RatchetKey::RatchetKey(P256Key key) : key_(std::move(key)) { public_ = std::get<P256Key>(key_).public_key(); }

RatchetKey RatchetKey::Generate(v1::SigAlg alg) {
  NT_CHECK(RatchetKeyBytes(alg) != 0);
  return alg == v1::SIG_ALG_ED25519 ? RatchetKey(Ed25519Key::Generate()) : RatchetKey(P256Key::Generate());
}

Result<RatchetKey> RatchetKey::FromSecret(v1::SigAlg alg, std::string_view secret) {
  if (alg == v1::SIG_ALG_ED25519) {
    NT_ASSIGN_OR_RETURN(Ed25519Key key, Ed25519Key::FromSeed(secret));
    return RatchetKey(std::move(key));
  }
  if (alg == v1::SIG_ALG_ECDSA_P256_SHA256) {
    NT_ASSIGN_OR_RETURN(P256Key key, P256Key::FromScalar(secret));
    return RatchetKey(std::move(key));
  }
  return InvalidArgument("ratchet key: unknown algorithm");
}

v1::SigAlg RatchetKey::alg() const {
  return std::holds_alternative<Ed25519Key>(key_) ? v1::SIG_ALG_ED25519 : v1::SIG_ALG_ECDSA_P256_SHA256;
}

Signature RatchetKey::Sign(std::string_view message) const {
  return std::visit([&](const auto& key) { return key.Sign(message); }, key_);
}

void RatchetKey::CopySecret(std::span<uint8_t, 32> out) const {
  if (const auto* ed = std::get_if<Ed25519Key>(&key_)) {
    ed->CopySeed(out);
  } else {
    std::get<P256Key>(key_).CopyScalar(out);
  }
}

bool RatchetVerify(v1::SigAlg alg, std::string_view key, std::string_view message, std::string_view signature) {
  if (alg == v1::SIG_ALG_ECDSA_P256_SHA256) return P256Verify(key, message, signature);
  if (alg != v1::SIG_ALG_ED25519) return false;
  const auto ed = FixedBytes<kEd25519Bytes>(key);
  return ed && Ed25519Verify(*ed, message, signature);
}

}  // namespace nodetrail::trail
