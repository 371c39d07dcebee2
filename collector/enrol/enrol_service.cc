// SPDX-License-Identifier: Apache-2.0
#include "collector/enrol/enrol_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <optional>
#include <utility>

#include "collector/ingest/ingest_service.h"
#include "nodetrail/base/guard.h"
#include "nodetrail/base/log.h"

namespace nodetrail::collector {
namespace {

using std::chrono::hours;

constexpr size_t kMaxTokenBytes = 256;
constexpr size_t kMaxCertBytes = 16 * 1024;
constexpr size_t kMaxSignatureBytes = 128;
constexpr double kFailureBurst = 10;
constexpr double kRefillNs = 6e9;
constexpr size_t kMaxPeers = 4096;

// What a peer without a certificate is told, whatever it was.
Status BadToken() {
  return PermissionDenied(
      "the token is not valid: unknown, expired, used, revoked, or not for this agent; make one with "
      "nodetrail-collector token create");
}

// "ipv4:192.0.2.1:4711" without the port.
std::string HostOf(const std::string& peer) { return peer.substr(0, peer.rfind(':')); }

grpc::Status ToGrpc(const Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

}  // namespace

void FailureLimiter::Drain(Bucket* bucket) const {
  const uint64_t now = clock_->BootNs();
  bucket->failures = std::max(0.0, bucket->failures - static_cast<double>(now - bucket->at_boot_ns) / kRefillNs);
  bucket->at_boot_ns = now;
}

bool FailureLimiter::MayTry(const std::string& peer) {
  const std::lock_guard lock(mutex_);
  const auto it = buckets_.find(HostOf(peer));
  if (it == buckets_.end()) return true;
  Drain(&it->second);
  return it->second.failures + 1 <= kFailureBurst;
}

void FailureLimiter::Failed(const std::string& peer) {
  const std::lock_guard lock(mutex_);
  if (buckets_.size() >= kMaxPeers) {
    for (auto it = buckets_.begin(); it != buckets_.end();) {
      Drain(&it->second);
      it = it->second.failures == 0 ? buckets_.erase(it) : std::next(it);
    }
    // So many that fail now are one that has many addresses.
    if (buckets_.size() >= kMaxPeers) buckets_.erase(buckets_.begin());
  }
  auto [it, fresh] = buckets_.try_emplace(HostOf(peer), Bucket{0, clock_->BootNs()});
  Drain(&it->second);
  it->second.failures += 1;
}

std::string Enroller::UriOf(const std::string& agent_id) const {
  return fmt::format("spiffe://{}/t/{}/a/{}", options_.config.trust_domain(), options_.tenant, agent_id);
}

Result<enrol::v1::EnrolResponse> Enroller::Enrol(const enrol::v1::EnrolRequest& request, const std::string& peer) {
  if (!limiter_.MayTry(peer)) {
    return Status(Code::kResourceExhausted, "too many attempts that failed; wait a minute");
  }
  if (!trail::ValidId(request.agent_id()) || request.token().size() > kMaxTokenBytes ||
      request.identity_csr().size() > kMaxCsrBytes || request.tls_csr().size() > kMaxCsrBytes) {
    limiter_.Failed(peer);
    return InvalidArgument(
        fmt::format("the agent id is not legal, or a request is longer than {} bytes", kMaxCsrBytes));
  }
  auto response = EnrolChecked(request);
  if (response.ok()) {
    log::Info(fmt::format("enrol: {}: enrolled by entry {}, from {}", request.agent_id(), response->log_index(), peer));
    return response;
  }
  limiter_.Failed(peer);
  log::Warn(fmt::format("enrol: {} from {}: {}", request.agent_id(), peer, response.status().message()));
  return response.status().code() == Code::kPermissionDenied ? BadToken() : response.status();
}

Result<enrol::v1::EnrolResponse> Enroller::EnrolChecked(const enrol::v1::EnrolRequest& request) {
  // A stranger costs a hash, not a public-key operation.
  NT_RETURN_IF_ERROR(tokens_->Check(request.token(), request.agent_id()));
  const std::string uri = UriOf(request.agent_id());
  NT_ASSIGN_OR_RETURN(const CertRequest identity, CertRequest::Parse(request.identity_csr(), uri));
  NT_ASSIGN_OR_RETURN(const CertRequest tls, CertRequest::Parse(request.tls_csr(), uri));
  if (identity.spki_sha256() == tls.spki_sha256()) {
    return InvalidArgument("identity and TLS must have keys of their own");
  }
  NT_ASSIGN_OR_RETURN(const TokenStore::Grant grant,
                      tokens_->Spend(request.token(), request.agent_id(), identity.spki_sha256()));
  NT_ASSIGN_OR_RETURN(const uint64_t index, EnterIntoLog(grant, request.agent_id(), identity.spki_sha256()));
  enrol::v1::EnrolResponse response;
  response.set_tenant(options_.tenant);
  response.set_log_public_key(options_.log_public_key);
  response.set_log_index(index);
  NT_ASSIGN_OR_RETURN(*response.mutable_identity_cert_pem(),
                      identity_ca_.Issue(identity, uri, options_.clock->WallNs(),
                                         hours(24) * options_.config.identity_validity_d(), false));
  NT_ASSIGN_OR_RETURN(*response.mutable_tls_cert_pem(), IssueTls(tls, request.agent_id()));
  return response;
}

Result<std::string> Enroller::IssueTls(const CertRequest& request, const std::string& agent_id) const {
  return tls_ca_.Issue(request, UriOf(agent_id), options_.clock->WallNs(), hours(options_.config.tls_validity_h()),
                       true);
}

Result<uint64_t> Enroller::EnterIntoLog(const TokenStore::Grant& grant, const std::string& agent_id,
                                        const trail::Hash& key) {
  trail::v1::LogEntry entry;
  trail::v1::Enrol* enrol = entry.mutable_enrol();
  enrol->set_agent_id(agent_id);
  enrol->set_identity_spki_sha256(trail::Bytes(key));
  enrol->set_token_id(grant.id);
  enrol->add_sig_algs(trail::v1::SIG_ALG_ED25519);
  enrol->add_sig_algs(trail::v1::SIG_ALG_ECDSA_P256_SHA256);
  std::optional<uint64_t> known;
  const auto prepare = [&](const Committer::Before& before, trail::v1::LogEntry* /*entry*/) -> Status {
    const trail::Enrolment* agent = before.enrolments.Find(options_.tenant, agent_id);
    if (agent != nullptr && agent->enrolled && agent->token_id == grant.id && agent->spki_sha256 == key) {
      known = agent->enrolled_index;
      return Status(Code::kAlreadyExists, "in the log already");
    }
    if (agent != nullptr && agent->revoked && agent->revoked_key == key) {
      return FailedPrecondition(fmt::format("{}: this identity key was revoked; make a new one", agent_id));
    }
    // Whoever has a token for many must not take the place of one that is there.
    const bool there = before.chain != nullptr || (agent != nullptr && agent->enrolled);
    if (NT_GUARD(enrol_taken, there && !grant.exact && (agent == nullptr || !agent->revoked))) {
      return FailedPrecondition(
          fmt::format("{} is enrolled or reports already; only a token for this very id enrols it anew", agent_id));
    }
    return OkStatus();
  };
  Result<uint64_t> index = committer_->EnterAndWait(std::move(entry), prepare);
  if (known) return *known;
  return index;
}

Result<enrol::v1::RenewResponse> Enroller::Renew(const enrol::v1::RenewRequest& request, const std::string& agent_id) {
  if (request.tls_csr().size() > kMaxCsrBytes || request.identity_cert().size() > kMaxCertBytes ||
      request.signature().size() > kMaxSignatureBytes) {
    return InvalidArgument("renew: a field is too long");
  }
  const auto enrolled = committer_->Enrolled();
  const trail::Enrolment* agent = enrolled->Find(options_.tenant, agent_id);
  if (agent == nullptr || !agent->enrolled) {
    return FailedPrecondition(
        fmt::format("{} was not enrolled here: its certificates are renewed where they came from", agent_id));
  }
  NT_RETURN_IF_ERROR(committer_->Admit(agent_id));
  NT_ASSIGN_OR_RETURN(const trail::Certificate identity, trail::Certificate::FromDer(request.identity_cert()));
  if (identity.SpkiSha256() != agent->spki_sha256) {
    return PermissionDenied(fmt::format("renew: {}: not the identity key that was enrolled", agent_id));
  }
  if (!identity.VerifyEcdsa(trail::Pae(kRenewPayloadType, request.tls_csr()), request.signature())) {
    return PermissionDenied(fmt::format("renew: {}: not signed by its identity key", agent_id));
  }
  NT_ASSIGN_OR_RETURN(const CertRequest tls, CertRequest::Parse(request.tls_csr(), UriOf(agent_id)));
  if (tls.spki_sha256() == agent->spki_sha256) return InvalidArgument("renew: TLS must have a key of its own");
  enrol::v1::RenewResponse response;
  NT_ASSIGN_OR_RETURN(*response.mutable_tls_cert_pem(), IssueTls(tls, agent_id));
  log::Info(fmt::format("enrol: {}: TLS certificate renewed", agent_id));
  return response;
}

grpc::Status EnrolmentService::Enrol(grpc::ServerContext* context, const enrol::v1::EnrolRequest* request,
                                     enrol::v1::EnrolResponse* response) {
  auto answer = enroller_->Enrol(*request, context->peer());
  if (!answer.ok()) return ToGrpc(answer.status());
  *response = *std::move(answer);
  return grpc::Status::OK;
}

grpc::Status RenewalService::Renew(grpc::ServerContext* context, const enrol::v1::RenewRequest* request,
                                   enrol::v1::RenewResponse* response) {
  const auto id = PeerId(*context->auth_context());
  if (!id.ok()) return ToGrpc(id.status());
  if (id->role != 'a' || id->tenant != tenant_) {
    return {grpc::StatusCode::PERMISSION_DENIED, "renew: the certificate is not of an agent served here"};
  }
  if (const Status admitted = gate_->Admit(*context->auth_context()); !admitted.ok()) return ToGrpc(admitted);
  auto answer = enroller_->Renew(*request, id->name);
  if (!answer.ok()) {
    log::Warn(fmt::format("enrol: {}: {}", id->name, answer.status().message()));
    return ToGrpc(answer.status());
  }
  *response = *std::move(answer);
  return grpc::Status::OK;
}

}  // namespace nodetrail::collector
