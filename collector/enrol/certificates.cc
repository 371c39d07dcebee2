// SPDX-License-Identifier: Apache-2.0
#include "collector/enrol/certificates.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <utility>

#include "nodetrail/base/fd.h"

namespace nodetrail::collector {
namespace {

constexpr size_t kMaxPemBytes = 1U << 20;
// SubjectPublicKeyInfo of P-256 with the curve's name and both coordinates: there
// must be one way only to write a key whose hash is kept.
constexpr int kSpkiBytes = 91;
// Clocks of a fleet differ.
constexpr time_t kBackdateSeconds = 300;

struct Free {
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(X509_REQ* p) const { X509_REQ_free(p); }
  void operator()(X509_EXTENSION* p) const { X509_EXTENSION_free(p); }
  void operator()(GENERAL_NAMES* p) const { GENERAL_NAMES_free(p); }
  void operator()(STACK_OF(X509_EXTENSION) * p) const { sk_X509_EXTENSION_pop_free(p, X509_EXTENSION_free); }
};
template <typename T>
using Ptr = std::unique_ptr<T, Free>;

// What OpenSSL noted of bytes that are a peer's is of no use to anybody.
Status Refuse(std::string_view why) {
  ERR_clear_error();
  return InvalidArgument(fmt::format("certificate request: {}", why));
}

Status OpenSslFailed(std::string_view what) {
  ERR_clear_error();
  return Internal(fmt::format("{} failed in OpenSSL", what));
}

bool IsP256(const EVP_PKEY* key) {
  if (key == nullptr || EVP_PKEY_get_base_id(key) != EVP_PKEY_EC) return false;
  std::array<char, 64> group{};
  size_t size = 0;
  return EVP_PKEY_get_group_name(key, group.data(), group.size(), &size) == 1 &&
         std::string_view(group.data()) == "prime256v1";
}

int NoPassphrase(char* /*buf*/, int /*size*/, int /*rwflag*/, void* /*user*/) { return -1; }

Ptr<BIO> MemoryBio(std::string_view bytes) {
  return Ptr<BIO>(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

// The names that the request asks for: none, or `uri` alone.
Status CheckNames(X509_REQ* request, std::string_view uri) {
  if (X509_REQ_get_attr_count(request) == 0) return OkStatus();
  const Ptr<STACK_OF(X509_EXTENSION)> extensions(X509_REQ_get_extensions(request));
  if (X509_REQ_get_attr_count(request) != 1 || extensions == nullptr || sk_X509_EXTENSION_num(extensions.get()) != 1) {
    return Refuse("asks for more than one name: attributes or extensions beside the subject alternative name");
  }
  const Ptr<GENERAL_NAMES> names(
      static_cast<GENERAL_NAMES*>(X509V3_get_d2i(extensions.get(), NID_subject_alt_name, nullptr, nullptr)));
  if (names == nullptr) return Refuse("asks for an extension that is not a subject alternative name");
  if (sk_GENERAL_NAME_num(names.get()) != 1) return Refuse("asks for more than one name");
  const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), 0);
  if (name->type != GEN_URI) return Refuse("asks for a name that is not a URI");
  const ASN1_IA5STRING* text = name->d.uniformResourceIdentifier;
  const std::string_view asked(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                               static_cast<size_t>(ASN1_STRING_length(text)));
  if (asked != uri) return Refuse("asks for the name of another");
  return OkStatus();
}

Status AddExtension(X509* certificate, X509V3_CTX* context, int nid, const std::string& value) {
  const Ptr<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, context, nid, value.c_str()));
  if (extension == nullptr || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return OpenSslFailed(fmt::format("certificate extension {}", OBJ_nid2sn(nid)));
  }
  return OkStatus();
}

Result<std::string> ToPem(X509* certificate) {
  const Ptr<BIO> out(BIO_new(BIO_s_mem()));
  if (out == nullptr || PEM_write_bio_X509(out.get(), certificate) != 1) return OpenSslFailed("certificate PEM");
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

}  // namespace

struct CertRequest::Key {
  Ptr<EVP_PKEY> pkey;
};

Result<CertRequest> CertRequest::Parse(std::string_view der, std::string_view uri) {
  if (der.empty() || der.size() > kMaxCsrBytes) {
    return Refuse(fmt::format("{} bytes, 1 to {} allowed", der.size(), kMaxCsrBytes));
  }
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const unsigned char* const end = at + der.size();
  const Ptr<X509_REQ> request(d2i_X509_REQ(nullptr, &at, static_cast<long>(der.size())));
  if (request == nullptr) return Refuse("not PKCS#10 in DER form");
  if (at != end) return Refuse("bytes after its end");
  auto key = std::make_shared<Key>();
  key->pkey.reset(X509_REQ_get_pubkey(request.get()));
  if (!IsP256(key->pkey.get())) return Refuse("its key is not of P-256");
  if (X509_REQ_verify(request.get(), key->pkey.get()) != 1) return Refuse("not signed by its own key");
  NT_RETURN_IF_ERROR(CheckNames(request.get(), uri));
  unsigned char* spki = nullptr;
  // As it will stand in the certificate, which takes the key over.
  const int size = i2d_PUBKEY(key->pkey.get(), &spki);
  if (size <= 0) return Refuse("its key has no DER form");
  if (size != kSpkiBytes) {
    OPENSSL_free(spki);
    return Refuse("its key is not in the usual form: curve by name, point uncompressed");
  }
  const trail::Hash hash =
      trail::Sha256Of(std::string_view(reinterpret_cast<const char*>(spki), static_cast<size_t>(size)));
  OPENSSL_free(spki);
  ERR_clear_error();
  return CertRequest(std::move(key), hash);
}

struct Issuer::Rep {
  Ptr<X509> certificate;
  Ptr<EVP_PKEY> key;
  bool root = false;
};

Result<Issuer> Issuer::Load(const std::string& cert_file, const std::string& key_file, const std::string& what) {
  struct stat st {};
  if (stat(key_file.c_str(), &st) != 0) return ErrnoStatus(errno, fmt::format("{}: stat {}", what, key_file));
  if ((st.st_mode & 077) != 0) {
    return PermissionDenied(fmt::format("{}: {}: readable by others (mode {:04o}); chmod 0600 {}", what, key_file,
                                        st.st_mode & 07777, key_file));
  }
  auto cert_pem = ReadFile(cert_file, kMaxPemBytes);
  if (!cert_pem.ok()) return Annotate(cert_pem.status(), what);
  auto key_pem = ReadFile(key_file, kMaxPemBytes);
  if (!key_pem.ok()) return Annotate(key_pem.status(), what);
  auto rep = std::make_shared<Rep>();
  rep->certificate.reset(PEM_read_bio_X509(MemoryBio(*cert_pem).get(), nullptr, NoPassphrase, nullptr));
  rep->key.reset(PEM_read_bio_PrivateKey(MemoryBio(*key_pem).get(), nullptr, NoPassphrase, nullptr));
  trail::SecureErase(key_pem->data(), key_pem->size());
  ERR_clear_error();
  if (rep->certificate == nullptr)
    return InvalidArgument(fmt::format("{}: {}: no certificate in PEM form", what, cert_file));
  if (!IsP256(rep->key.get()))
    return InvalidArgument(fmt::format("{}: {}: no unencrypted P-256 key in PEM form", what, key_file));
  if (X509_check_ca(rep->certificate.get()) != 1) {
    return InvalidArgument(
        fmt::format("{}: {}: not an authority (basicConstraints CA:TRUE is missing)", what, cert_file));
  }
  if (X509_check_private_key(rep->certificate.get(), rep->key.get()) != 1) {
    ERR_clear_error();
    return InvalidArgument(fmt::format("{}: {} is not the key of {}", what, key_file, cert_file));
  }
  rep->root = X509_self_signed(rep->certificate.get(), 0) == 1;
  ERR_clear_error();
  NT_ASSIGN_OR_RETURN(std::string own, ToPem(rep->certificate.get()));
  return Issuer(std::move(rep), std::move(own));
}

Result<std::string> Issuer::Issue(const CertRequest& request, const std::string& uri, uint64_t now_wall_ns,
                                  std::chrono::seconds validity, bool tls_client) const {
  const Ptr<X509> certificate(X509_new());
  if (certificate == nullptr) return OpenSslFailed("certificate");
  X509* const x = certificate.get();
  std::array<uint8_t, 16> serial{};
  trail::RandomBytes(serial);
  serial[0] = static_cast<uint8_t>((serial[0] & 0x3fU) | 0x40U);  // positive, and always of 16 bytes
  BIGNUM* number = BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr);
  const bool numbered = number != nullptr && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x)) != nullptr;
  BN_free(number);
  const auto now = static_cast<time_t>(now_wall_ns / 1'000'000'000U);
  if (!numbered || X509_set_version(x, X509_VERSION_3) != 1 ||
      X509_set_issuer_name(x, X509_get_subject_name(rep_->certificate.get())) != 1 ||
      ASN1_TIME_set(X509_getm_notBefore(x), now - kBackdateSeconds) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(x), now + static_cast<time_t>(validity.count())) == nullptr ||
      X509_set_pubkey(x, request.key_->pkey.get()) != 1) {
    return OpenSslFailed("certificate fields");
  }
  const size_t slash = uri.rfind('/');
  const std::string name = uri.substr(slash + 1);
  if (X509_NAME_add_entry_by_NID(X509_get_subject_name(x), NID_commonName, MBSTRING_ASC,
                                 reinterpret_cast<const unsigned char*>(name.data()), static_cast<int>(name.size()), -1,
                                 0) != 1) {
    return OpenSslFailed("certificate subject");
  }
  X509V3_CTX context;
  X509V3_set_ctx(&context, rep_->certificate.get(), x, nullptr, nullptr, 0);
  NT_RETURN_IF_ERROR(AddExtension(x, &context, NID_basic_constraints, "critical,CA:FALSE"));
  NT_RETURN_IF_ERROR(AddExtension(x, &context, NID_key_usage, "critical,digitalSignature"));
  NT_RETURN_IF_ERROR(AddExtension(x, &context, NID_subject_key_identifier, "hash"));
  NT_RETURN_IF_ERROR(AddExtension(x, &context, NID_authority_key_identifier, "keyid"));
  if (tls_client) NT_RETURN_IF_ERROR(AddExtension(x, &context, NID_ext_key_usage, "clientAuth"));
  NT_RETURN_IF_ERROR(AddExtension(x, &context, NID_subject_alt_name, "URI:" + uri));
  if (X509_sign(x, rep_->key.get(), EVP_sha256()) <= 0) return OpenSslFailed("certificate signature");
  NT_ASSIGN_OR_RETURN(std::string pem, ToPem(x));
  return rep_->root ? pem : pem + cert_pem_;
}

}  // namespace nodetrail::collector
