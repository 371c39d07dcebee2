// SPDX-License-Identifier: Apache-2.0
#include "agent/enrol/key_request.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <array>
#include <ctime>
#include <memory>

namespace nodetrail::agent {
namespace {

struct Free {
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(X509_REQ* p) const { X509_REQ_free(p); }
};
template <typename T>
using Ptr = std::unique_ptr<T, Free>;

int NoPassphrase(char* /*buf*/, int /*size*/, int /*rwflag*/, void* /*user*/) { return -1; }

Status Failed(const char* what) {
  ERR_clear_error();
  return Internal(std::string(what) + " failed in OpenSSL");
}

Ptr<BIO> MemoryBio(std::string_view bytes) {
  return Ptr<BIO>(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

}  // namespace

Result<std::string> NewKeyPem() {
  const Ptr<EVP_PKEY> key(EVP_EC_gen("P-256"));
  const Ptr<BIO> out(BIO_new(BIO_s_secmem()));
  if (key == nullptr || out == nullptr ||
      PEM_write_bio_PKCS8PrivateKey(out.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return Failed("making a key");
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  return std::string(data, static_cast<size_t>(size));
}

Result<std::string> MakeCertRequest(std::string_view key_pem, const std::string& common_name) {
  const Ptr<EVP_PKEY> key(PEM_read_bio_PrivateKey(MemoryBio(key_pem).get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  std::array<char, 64> group{};
  size_t size = 0;
  if (key == nullptr || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_EC ||
      EVP_PKEY_get_group_name(key.get(), group.data(), group.size(), &size) != 1 ||
      std::string_view(group.data()) != "prime256v1") {
    ERR_clear_error();
    return InvalidArgument("not an unencrypted P-256 key in PEM form");
  }
  const Ptr<X509_REQ> request(X509_REQ_new());
  if (request == nullptr || X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) != 1 ||
      X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(request.get()), NID_commonName, MBSTRING_ASC,
                                 reinterpret_cast<const unsigned char*>(common_name.data()),
                                 static_cast<int>(common_name.size()), -1, 0) != 1 ||
      X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) <= 0) {
    return Failed("making a certificate request");
  }
  unsigned char* der = nullptr;
  const int length = i2d_X509_REQ(request.get(), &der);
  if (length <= 0) return Failed("writing a certificate request");
  std::string out(reinterpret_cast<const char*>(der), static_cast<size_t>(length));
  OPENSSL_free(der);
  return out;
}

Result<bool> PastHalfLife(std::string_view cert_pem, uint64_t wall_ns) {
  const Ptr<X509> cert(PEM_read_bio_X509(MemoryBio(cert_pem).get(), nullptr, NoPassphrase, nullptr));
  ERR_clear_error();
  if (cert == nullptr) return InvalidArgument("no certificate in PEM form");
  std::tm from{};
  std::tm to{};
  if (ASN1_TIME_to_tm(X509_get0_notBefore(cert.get()), &from) != 1 ||
      ASN1_TIME_to_tm(X509_get0_notAfter(cert.get()), &to) != 1) {
    ERR_clear_error();
    return InvalidArgument("the certificate's times can't be read");
  }
  const time_t begin = timegm(&from);
  const time_t end = timegm(&to);
  const auto now = static_cast<time_t>(wall_ns / 1'000'000'000U);
  return now < begin || now - begin >= (end - begin) / 2;
}

}  // namespace nodetrail::agent
