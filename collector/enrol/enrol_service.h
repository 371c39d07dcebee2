// SPDX-License-Identifier: Apache-2.0
//
// Gives agents their certificates. Whoever has a good token and a key gets in
// the log first, durably, and then a certificate: so the log itself says who
// should be reporting.
//
// Callers may be hostile and have no certificate: every size is checked first,
// the token before the requests are parsed, and who fails often waits.
#ifndef NODETRAIL_COLLECTOR_ENROL_ENROL_SERVICE_H_
#define NODETRAIL_COLLECTOR_ENROL_ENROL_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "collector/enrol/certificates.h"
#include "collector/enrol/token_store.h"
#include "collector/ingest/committer.h"
#include "collector/ingest/peer_gate.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/config/v1/config.pb.h"
#include "nodetrail/enrol/v1/enrol.grpc.pb.h"

namespace nodetrail::collector {

inline constexpr int kMaxEnrolMessageBytes = 16 * 1024;
inline constexpr std::string_view kRenewPayloadType = "application/vnd.nodetrail.renew.v1";

// Failures a peer may have: a burst, then one for each refill. Thread-safe.
class FailureLimiter {
 public:
  explicit FailureLimiter(const Clock* clock) : clock_(clock) {}
  [[nodiscard]] bool MayTry(const std::string& peer);
  void Failed(const std::string& peer);

 private:
  struct Bucket {
    double failures = 0;
    uint64_t at_boot_ns = 0;
  };
  void Drain(Bucket* bucket) const;
  const Clock* const clock_;
  std::mutex mutex_;
  std::map<std::string, Bucket> buckets_;
};

// Thread-safe; the two services are its faces.
class Enroller {
 public:
  struct Options {
    config::v1::CollectorConfig::Enrol config;
    std::string tenant;
    std::string log_public_key;
    const Clock* clock = nullptr;
  };
  // All that is borrowed outlives it.
  Enroller(Options options, Issuer identity_ca, Issuer tls_ca, TokenStore* tokens, Committer* committer)
      : options_(std::move(options)),
        identity_ca_(std::move(identity_ca)),
        tls_ca_(std::move(tls_ca)),
        tokens_(tokens),
        committer_(committer),
        limiter_(options_.clock) {}

  // `peer` as gRPC has it: "ipv4:192.0.2.1:4711".
  Result<enrol::v1::EnrolResponse> Enrol(const enrol::v1::EnrolRequest& request, const std::string& peer);
  // `agent_id` as in the caller's certificate.
  Result<enrol::v1::RenewResponse> Renew(const enrol::v1::RenewRequest& request, const std::string& agent_id);

 private:
  [[nodiscard]] std::string UriOf(const std::string& agent_id) const;
  Result<enrol::v1::EnrolResponse> EnrolChecked(const enrol::v1::EnrolRequest& request);
  // The index of the entry that enrols the key; it is in the log already if the
  // same token brought the same key before.
  Result<uint64_t> EnterIntoLog(const TokenStore::Grant& grant, const std::string& agent_id, const trail::Hash& key);
  Result<std::string> IssueTls(const CertRequest& request, const std::string& agent_id) const;

  const Options options_;
  const Issuer identity_ca_;
  const Issuer tls_ca_;
  TokenStore* const tokens_;
  Committer* const committer_;
  FailureLimiter limiter_;
};

class EnrolmentService final : public enrol::v1::Enrolment::Service {
 public:
  explicit EnrolmentService(Enroller* enroller) : enroller_(enroller) {}
  grpc::Status Enrol(grpc::ServerContext* context, const enrol::v1::EnrolRequest* request,
                     enrol::v1::EnrolResponse* response) override;

 private:
  Enroller* const enroller_;
};

class RenewalService final : public enrol::v1::Renewal::Service {
 public:
  RenewalService(std::string tenant, Enroller* enroller, const PeerGate* gate)
      : tenant_(std::move(tenant)), enroller_(enroller), gate_(gate) {}
  grpc::Status Renew(grpc::ServerContext* context, const enrol::v1::RenewRequest* request,
                     enrol::v1::RenewResponse* response) override;

 private:
  const std::string tenant_;
  Enroller* const enroller_;
  const PeerGate* const gate_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_ENROL_ENROL_SERVICE_H_
