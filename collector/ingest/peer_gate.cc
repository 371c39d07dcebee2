// SPDX-License-Identifier: Apache-2.0
#include "collector/ingest/peer_gate.h"

#include <vector>

#include "nodetrail/base/guard.h"

namespace nodetrail::collector {
namespace {

std::string Property(const grpc::AuthContext& peer, const char* name) {
  const std::vector<grpc::string_ref> values = peer.FindPropertyValues(name);
  return values.empty() ? std::string() : std::string(values[0].data(), values[0].size());
}

}  // namespace

Status PeerGate::Admit(const grpc::AuthContext& peer) const {
  const Status good =
      revocations_->Check(Property(peer, "x509_pem_cert"), Property(peer, "x509_pem_cert_chain"), clock_->WallNs());
  if (NT_GUARD(peer_revoked, !good.ok())) {
    return {good.code() == Code::kPermissionDenied ? Code::kUnauthenticated : Code::kUnavailable,
            std::string(good.message())};
  }
  return OkStatus();
}

Status AdmittedPeer::StillGood() {
  const uint64_t now = gate_->Generation();
  if (now == seen_) return OkStatus();
  seen_ = now;
  return gate_->Admit(*peer_);
}

}  // namespace nodetrail::collector
