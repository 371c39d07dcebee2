// SPDX-License-Identifier: Apache-2.0
#include "trail/testing/test_pki.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <ctime>

#include "nodetrail/base/status.h"
#include "trail/openssl_util.h"

namespace nodetrail::trail {
namespace {

constexpr long kDay = 24L * 3600;
time_t fixed_time = 0;  // 0: it is now

std::string BioText(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<size_t>(size)};
}

std::string PemOf(X509* cert) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  NT_CHECK(PEM_write_bio_X509(bio.get(), cert) == 1);
  return BioText(bio.get());
}

std::string PemOf(EVP_PKEY* key) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  NT_CHECK(PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1);
  return BioText(bio.get());
}

void AddExtension(X509* cert, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX ctx;
  X509V3_set_ctx_nodb(&ctx);
  X509V3_set_ctx(&ctx, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &ctx, nid, value.c_str());
  NT_CHECK(extension != nullptr);
  NT_CHECK(X509_add_ext(cert, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

X509Ptr MakeCert(const std::string& name, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key, bool ca,
                 const std::string& san, bool expired) {
  X509Ptr cert(X509_new());
  NT_CHECK(X509_set_version(cert.get(), 2) == 1);
  unsigned char serial[8];
  NT_CHECK(RAND_bytes(serial, sizeof(serial)) == 1);
  serial[0] &= 0x7fU;
  BIGNUM* number = BN_bin2bn(serial, sizeof(serial), nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert.get()));
  BN_free(number);
  time_t now = fixed_time != 0 ? fixed_time : time(nullptr);
  X509_time_adj(X509_getm_notBefore(cert.get()), -2 * kDay, &now);
  X509_time_adj(X509_getm_notAfter(cert.get()), expired ? -kDay : kDay, &now);
  X509_NAME* subject = X509_get_subject_name(cert.get());
  NT_CHECK(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0) == 1);
  NT_CHECK(X509_set_issuer_name(cert.get(), issuer != nullptr ? X509_get_subject_name(issuer) : subject) == 1);
  NT_CHECK(X509_set_pubkey(cert.get(), key) == 1);
  X509* by = issuer != nullptr ? issuer : cert.get();
  AddExtension(cert.get(), by, NID_basic_constraints, ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
  AddExtension(cert.get(), by, NID_key_usage, ca ? "critical,keyCertSign,cRLSign" : "critical,digitalSignature");
  AddExtension(cert.get(), by, NID_subject_key_identifier, "hash");
  if (issuer != nullptr) AddExtension(cert.get(), by, NID_authority_key_identifier, "keyid:always");
  if (!san.empty()) AddExtension(cert.get(), by, NID_subject_alt_name, san);
  NT_CHECK(X509_sign(cert.get(), issuer_key != nullptr ? issuer_key : key, EVP_sha256()) > 0);
  return cert;
}

}  // namespace

void FixPkiTime(int64_t unix_seconds) { fixed_time = unix_seconds; }

struct TestCa::Rep {
  EvpKey key;
  X509Ptr cert;
};

TestCa::TestCa(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
TestCa::TestCa(const std::string& name) : rep_(std::make_unique<Rep>()) {
  rep_->key.reset(EVP_EC_gen("P-256"));
  rep_->cert = MakeCert(name, rep_->key.get(), nullptr, nullptr, true, "", false);
}
TestCa::~TestCa() = default;
TestCa::TestCa(TestCa&&) noexcept = default;
TestCa& TestCa::operator=(TestCa&&) noexcept = default;

std::string TestCa::CertPem() const { return PemOf(rep_->cert.get()); }

TestCa::Identity TestCa::Issue(const std::string& uri, const std::string& second_uri, bool expired) const {
  const EvpKey key(EVP_EC_gen("P-256"));
  std::string san = uri.empty() ? "" : "URI:" + uri;
  if (!second_uri.empty()) san += ",URI:" + second_uri;
  const X509Ptr cert = MakeCert("test agent", key.get(), rep_->cert.get(), rep_->key.get(), false, san, expired);
  return {PemOf(cert.get()), PemOf(key.get())};
}

TestCa TestCa::IssueCa(const std::string& name) const {
  auto rep = std::make_unique<Rep>();
  rep->key.reset(EVP_EC_gen("P-256"));
  rep->cert = MakeCert(name, rep->key.get(), rep_->cert.get(), rep_->key.get(), true, "", false);
  return TestCa(std::move(rep));
}

}  // namespace nodetrail::trail
