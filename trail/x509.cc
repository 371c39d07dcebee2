// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <climits>
#include <utility>

#include "nodetrail/trail/crypto.h"
#include "trail/openssl_util.h"

namespace nodetrail::trail {
namespace {

const unsigned char* Data(std::string_view bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }

bool IsP256(const EVP_PKEY* key) {
  if (key == nullptr || EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) return false;
  char group[64] = {};
  size_t size = 0;
  return EVP_PKEY_get_group_name(key, group, sizeof(group), &size) == 1 && std::string_view(group) == "prime256v1";
}

std::string SubjectPublicKeyDer(const EVP_PKEY* key) {
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(key, &der);
  NT_CHECK(size > 0);
  std::string out(reinterpret_cast<const char*>(der), static_cast<size_t>(size));
  OPENSSL_free(der);
  return out;
}

// No passphrase is ever asked for on a terminal.
int NoPassphrase(char* /*buf*/, int /*size*/, int /*rwflag*/, void* /*u*/) { return -1; }

}  // namespace

std::string OpenSslError(std::string_view what) {
  char text[256] = "unknown";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof(text));
  ERR_clear_error();
  return fmt::format("{}: {}", what, text);
}

Result<BioPtr> MemoryBio(std::string_view bytes) {
  if (bytes.size() > INT_MAX) return InvalidArgument("longer than 2 GiB");
  BioPtr bio(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
  if (bio == nullptr) return Status(Code::kResourceExhausted, OpenSslError("BIO_new_mem_buf"));
  return bio;
}

Result<EvpKey> ParsePrivatePem(std::string_view pem) {
  NT_ASSIGN_OR_RETURN(const BioPtr bio, MemoryBio(pem));
  EvpKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) return InvalidArgument(OpenSslError("no unencrypted private key in PEM form"));
  return key;
}

struct EcdsaKey::Rep {
  EvpKey key;
};
EcdsaKey::EcdsaKey(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
EcdsaKey::~EcdsaKey() = default;
EcdsaKey::EcdsaKey(EcdsaKey&&) noexcept = default;
EcdsaKey& EcdsaKey::operator=(EcdsaKey&&) noexcept = default;

EcdsaKey EcdsaKey::Generate() {
  auto rep = std::make_unique<Rep>();
  rep->key.reset(EVP_EC_gen("P-256"));
  NT_CHECK(rep->key != nullptr);
  return EcdsaKey(std::move(rep));
}

Result<EcdsaKey> WrapEcdsaKey(EvpKey key) {
  if (!IsP256(key.get())) {
    return InvalidArgument(
        "not a P-256 key (make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256)");
  }
  auto rep = std::make_unique<EcdsaKey::Rep>();
  rep->key = std::move(key);
  return EcdsaKey(std::move(rep));
}

Result<EcdsaKey> EcdsaKey::FromPem(std::string_view pem) {
  NT_ASSIGN_OR_RETURN(EvpKey key, ParsePrivatePem(pem));
  return WrapEcdsaKey(std::move(key));
}

Result<std::string> EcdsaKey::Sign(std::string_view message) const {
  const std::unique_ptr<EVP_MD_CTX, OpenSslFree> ctx(EVP_MD_CTX_new());
  if (ctx == nullptr || EVP_DigestSignInit(ctx.get(), nullptr, EVP_sha256(), nullptr, rep_->key.get()) != 1) {
    return Internal(OpenSslError("ECDSA sign"));
  }
  size_t size = 0;
  if (EVP_DigestSign(ctx.get(), nullptr, &size, Data(message), message.size()) != 1) {
    return Internal(OpenSslError("ECDSA sign"));
  }
  std::string out(size, '\0');
  if (EVP_DigestSign(ctx.get(), reinterpret_cast<unsigned char*>(out.data()), &size, Data(message), message.size()) !=
      1) {
    return Internal(OpenSslError("ECDSA sign"));
  }
  out.resize(size);
  return out;
}

std::string EcdsaKey::PublicDer() const { return SubjectPublicKeyDer(rep_->key.get()); }

struct Certificate::Rep {
  X509Ptr x509;
};
Certificate::Certificate(std::shared_ptr<Rep> rep) : rep_(std::move(rep)) {}
Certificate::~Certificate() = default;
Certificate::Certificate(Certificate&&) noexcept = default;
Certificate& Certificate::operator=(Certificate&&) noexcept = default;
Certificate::Certificate(const Certificate&) = default;
Certificate& Certificate::operator=(const Certificate&) = default;

Result<Certificate> Certificate::FromDer(std::string_view der) {
  if (der.size() > 65'536) return InvalidArgument("certificate: longer than 64 KiB");
  const unsigned char* at = Data(der);
  X509Ptr x509(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (x509 == nullptr) return InvalidArgument(OpenSslError("certificate"));
  if (at != Data(der) + der.size()) return InvalidArgument("certificate: bytes after its end");
  return Certificate(std::make_shared<Rep>(Rep{std::move(x509)}));
}

Result<std::vector<Certificate>> Certificate::AllFromPem(std::string_view pem) {
  NT_ASSIGN_OR_RETURN(const BioPtr bio, MemoryBio(pem));
  std::vector<Certificate> out;
  while (true) {
    X509Ptr x509(PEM_read_bio_X509(bio.get(), nullptr, NoPassphrase, nullptr));
    if (x509 == nullptr) {
      const unsigned long code = ERR_peek_last_error();
      if (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE && !out.empty()) {
        ERR_clear_error();
        return out;
      }
      return InvalidArgument(OpenSslError("no certificate in PEM form"));
    }
    out.push_back(Certificate(std::make_shared<Rep>(Rep{std::move(x509)})));
  }
}

Result<Certificate> Certificate::FromPem(std::string_view pem) {
  NT_ASSIGN_OR_RETURN(std::vector<Certificate> all, AllFromPem(pem));
  return std::move(all.front());
}

std::string Certificate::Der() const {
  unsigned char* der = nullptr;
  const int size = i2d_X509(rep_->x509.get(), &der);
  NT_CHECK(size > 0);
  std::string out(reinterpret_cast<const char*>(der), static_cast<size_t>(size));
  OPENSSL_free(der);
  return out;
}

std::vector<std::string> Certificate::UriSans() const {
  std::vector<std::string> out;
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(rep_->x509.get(), NID_subject_alt_name, nullptr, nullptr));
  if (names == nullptr) {
    ERR_clear_error();
    return out;
  }
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* uri = name->d.uniformResourceIdentifier;
    out.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(uri)),
                     static_cast<size_t>(ASN1_STRING_length(uri)));
  }
  GENERAL_NAMES_free(names);
  return out;
}

std::string Certificate::PublicDer() const {
  const EVP_PKEY* key = X509_get0_pubkey(rep_->x509.get());
  ERR_clear_error();
  return key == nullptr ? std::string() : SubjectPublicKeyDer(key);
}

Hash Certificate::SpkiSha256() const {
  unsigned char* der = nullptr;
  const int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(rep_->x509.get()), &der);
  NT_CHECK(size > 0);
  const Hash hash = Sha256Of(std::string_view(reinterpret_cast<const char*>(der), static_cast<size_t>(size)));
  OPENSSL_free(der);
  return hash;
}

bool Certificate::VerifyEcdsa(std::string_view message, std::string_view signature) const {
  EVP_PKEY* key = X509_get0_pubkey(rep_->x509.get());
  if (!IsP256(key)) {
    ERR_clear_error();
    return false;
  }
  const std::unique_ptr<EVP_MD_CTX, OpenSslFree> ctx(EVP_MD_CTX_new());
  if (ctx == nullptr || EVP_DigestVerifyInit(ctx.get(), nullptr, EVP_sha256(), nullptr, key) != 1) {
    ERR_clear_error();
    return false;
  }
  const bool good = EVP_DigestVerify(ctx.get(), Data(signature), signature.size(), Data(message), message.size()) == 1;
  ERR_clear_error();
  return good;
}

struct CaSet::Rep {
  std::unique_ptr<X509_STORE, OpenSslFree> store;
};
CaSet::CaSet(std::shared_ptr<Rep> rep) : rep_(std::move(rep)) {}
CaSet::~CaSet() = default;
CaSet::CaSet(CaSet&&) noexcept = default;
CaSet& CaSet::operator=(CaSet&&) noexcept = default;
CaSet::CaSet(const CaSet&) = default;
CaSet& CaSet::operator=(const CaSet&) = default;

CaSet CaSet::None() {
  auto rep = std::make_shared<Rep>();
  rep->store.reset(X509_STORE_new());
  NT_CHECK(rep->store != nullptr);
  return CaSet(std::move(rep));
}

Result<CaSet> CaSet::FromPem(std::string_view pem) {
  NT_ASSIGN_OR_RETURN(const std::vector<Certificate> authorities, Certificate::AllFromPem(pem));
  auto rep = std::make_shared<Rep>();
  rep->store.reset(X509_STORE_new());
  NT_CHECK(rep->store != nullptr);
  for (const Certificate& authority : authorities) {
    if (X509_STORE_add_cert(rep->store.get(), authority.rep_->x509.get()) != 1) {
      return InvalidArgument(OpenSslError("add authority"));
    }
  }
  return CaSet(std::move(rep));
}

Status CaSet::Verify(const Certificate& leaf, std::span<const Certificate> intermediates) const {
  const std::unique_ptr<X509_STORE_CTX, OpenSslFree> ctx(X509_STORE_CTX_new());
  STACK_OF(X509)* chain = sk_X509_new_null();
  if (ctx == nullptr || chain == nullptr) return Internal(OpenSslError("X509_STORE_CTX_new"));
  for (const Certificate& certificate : intermediates) sk_X509_push(chain, certificate.rep_->x509.get());
  Status status;
  if (X509_STORE_CTX_init(ctx.get(), rep_->store.get(), leaf.rep_->x509.get(), chain) != 1) {
    status = Internal(OpenSslError("X509_STORE_CTX_init"));
  } else {
    X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(ctx.get());
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME | X509_V_FLAG_X509_STRICT | X509_V_FLAG_PARTIAL_CHAIN);
    X509_VERIFY_PARAM_set_depth(param, 8);
    if (X509_verify_cert(ctx.get()) != 1) {
      status = Status(Code::kUnauthenticated,
                      fmt::format("certificate does not chain to an enrolment authority: {}",
                                  X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx.get()))));
    }
  }
  sk_X509_free(chain);
  ERR_clear_error();
  return status;
}

bool ValidId(std::string_view id) {
  if (id.empty() || id.size() > 64 || id.front() == '.') return false;
  for (const char c : id) {
    const bool ok =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!ok) return false;
  }
  return true;
}

Result<SpiffeId> ParseSpiffeId(std::string_view uri) {
  const Status bad = InvalidArgument("not a URI of the form spiffe://<domain>/t/<tenant>/a/<agent>");
  constexpr std::string_view kScheme = "spiffe://";
  if (uri.size() > 512 || !uri.starts_with(kScheme)) return bad;
  uri.remove_prefix(kScheme.size());
  std::vector<std::string_view> parts;
  while (true) {
    const size_t slash = uri.find('/');
    parts.push_back(uri.substr(0, slash));
    if (slash == std::string_view::npos) break;
    uri.remove_prefix(slash + 1);
  }
  if (parts.size() != 5 || parts[1] != "t" || (parts[3] != "a" && parts[3] != "r" && parts[3] != "c")) return bad;
  if (parts[0].empty() || parts[0].size() > 255) return bad;
  for (const char c : parts[0]) {
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-')) return bad;
  }
  if (!ValidId(parts[2]) || !ValidId(parts[4])) return bad;
  return SpiffeId{std::string(parts[0]), std::string(parts[2]), parts[3].front(), std::string(parts[4])};
}

}  // namespace nodetrail::trail
