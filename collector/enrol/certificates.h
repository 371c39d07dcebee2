// SPDX-License-Identifier: Apache-2.0
//
// Certificate requests of agents, and the authorities that answer them. Of a
// request only the public key gets into a certificate; all else is ours.
#ifndef NODETRAIL_COLLECTOR_ENROL_CERTIFICATES_H_
#define NODETRAIL_COLLECTOR_ENROL_CERTIFICATES_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::collector {

inline constexpr size_t kMaxCsrBytes = 4096;

// A PKCS#10 request that proved possession of its key. Immutable.
class CertRequest {
 public:
  // Hostile bytes. InvalidArgument: longer than kMaxCsrBytes, not one DER
  // request, a key that is not P-256 (curve by name, point uncompressed), a signature that is not by that key, or names
  // that are not exactly `uri`: a request may ask for that one URI, or for nothing.
  static Result<CertRequest> Parse(std::string_view der, std::string_view uri);

  [[nodiscard]] const trail::Hash& spki_sha256() const { return spki_sha256_; }

 private:
  friend class Issuer;
  struct Key;
  CertRequest(std::shared_ptr<const Key> key, const trail::Hash& spki) : key_(std::move(key)), spki_sha256_(spki) {}
  std::shared_ptr<const Key> key_;
  trail::Hash spki_sha256_{};
};

// An authority with its P-256 key. Thread-safe.
class Issuer {
 public:
  // The key file must not be readable by group or others. Errors name the file,
  // the cause and the fix. `what` is the option's name, for them.
  static Result<Issuer> Load(const std::string& cert_file, const std::string& key_file, const std::string& what);

  // End-entity certificate with `uri` as its one name, valid from five minutes
  // before `now_wall_ns`. `tls_client`: for TLS clients only. PEM; the
  // authority's certificate follows if it is itself issued by another.
  [[nodiscard]] Result<std::string> Issue(const CertRequest& request, const std::string& uri, uint64_t now_wall_ns,
                                          std::chrono::seconds validity, bool tls_client) const;
  // The authority's certificate, PEM.
  [[nodiscard]] const std::string& cert_pem() const { return cert_pem_; }

 private:
  struct Rep;
  Issuer(std::shared_ptr<const Rep> rep, std::string cert_pem) : rep_(std::move(rep)), cert_pem_(std::move(cert_pem)) {}
  std::shared_ptr<const Rep> rep_;
  std::string cert_pem_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_ENROL_CERTIFICATES_H_
