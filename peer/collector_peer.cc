// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/peer/collector_peer.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <utility>
#include <vector>

namespace nodetrail {
namespace {

class PeerVerifier final : public grpc::experimental::ExternalCertificateVerifier {
 public:
  explicit PeerVerifier(std::shared_ptr<Peer> peer) : peer_(std::move(peer)) {}

  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request,
              std::function<void(grpc::Status)> /*callback*/, grpc::Status* sync_status) override {
    const grpc::string_ref cert = request->peer_cert();
    const grpc::string_ref chain = request->peer_cert_full_chain();
    const Status verdict = peer_->Meet({cert.data(), cert.size()}, {chain.data(), chain.size()});
    *sync_status = verdict.ok() ? grpc::Status::OK
                                : grpc::Status(grpc::StatusCode::UNAUTHENTICATED, std::string(verdict.message()));
    return true;
  }
  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest* /*request*/) override {}

 private:
  const std::shared_ptr<Peer> peer_;
};

}  // namespace

Status Peer::Meet(std::string_view cert_pem, std::string_view chain_pem) {
  Status verdict = check_(cert_pem, chain_pem);
  const std::lock_guard lock(mutex_);
  cert_pem_ = cert_pem;
  chain_pem_ = chain_pem;
  refusal_ = verdict;
  return verdict;
}

Status Peer::refusal() const {
  const std::lock_guard lock(mutex_);
  return refusal_;
}

std::string Peer::cert_pem() const {
  const std::lock_guard lock(mutex_);
  return cert_pem_;
}

Status Peer::CheckAgain() const {
  std::string cert, chain;
  {
    const std::lock_guard lock(mutex_);
    cert = cert_pem_;
    chain = chain_pem_;
  }
  return cert.empty() ? OkStatus() : check_(cert, chain);
}

PeerCheck CollectorPeerCheck(CollectorRule rule, std::string own_pem, std::shared_ptr<RevocationFile> revocations,
                             const Clock* clock) {
  return [rule = std::move(rule), own = std::move(own_pem), revocations = std::move(revocations), clock](
             std::string_view cert, std::string_view chain) {
    NT_RETURN_IF_ERROR(CheckCollector(rule, cert, own));
    const Status good = revocations->Check(cert, chain, clock->WallNs());
    return good.ok() ? good : Annotate(good, rule.endpoint);
  };
}

std::shared_ptr<grpc::ChannelCredentials> PeerCredentials(const TlsMaterial& tls, const std::shared_ptr<Peer>& peer) {
  using grpc::experimental::IdentityKeyCertPair;
  std::vector<IdentityKeyCertPair> own;
  if (!tls.key_pem.empty()) own.push_back({tls.key_pem, tls.cert_pem});
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(
      std::make_shared<grpc::experimental::StaticDataCertificateProvider>(tls.ca_pem, own));
  options.watch_root_certs();
  if (!own.empty()) options.watch_identity_key_cert_pairs();
  options.set_verify_server_certs(true);
  options.set_check_call_host(false);
  options.set_certificate_verifier(grpc::experimental::ExternalCertificateVerifier::Create<PeerVerifier>(peer));
  return grpc::experimental::TlsCredentials(options);
}

}  // namespace nodetrail
