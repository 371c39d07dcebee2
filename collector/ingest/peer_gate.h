// SPDX-License-Identifier: Apache-2.0
//
// Refuses peers whose certificate was revoked, at each call and, on streams
// that stay, at each message once the lists have changed.
#ifndef NODETRAIL_COLLECTOR_INGEST_PEER_GATE_H_
#define NODETRAIL_COLLECTOR_INGEST_PEER_GATE_H_

#include <grpcpp/security/auth_context.h>

#include <cstdint>
#include <string>

#include "nodetrail/base/clock.h"
#include "nodetrail/base/revocation.h"
#include "nodetrail/base/status.h"

namespace nodetrail::collector {

// Any thread.
class PeerGate {
 public:
  // Both outlive it.
  PeerGate(RevocationFile* revocations, const Clock* clock) : revocations_(revocations), clock_(clock) {}

  // kUnauthenticated: revoked. kUnavailable: the lists can't tell.
  [[nodiscard]] Status Admit(const grpc::AuthContext& peer) const;
  [[nodiscard]] uint64_t Generation() const { return revocations_->Generation(); }

 private:
  RevocationFile* const revocations_;
  const Clock* const clock_;
};

// One peer's stream, from its begin. One thread at a time.
class AdmittedPeer {
 public:
  AdmittedPeer(const PeerGate* gate, std::shared_ptr<const grpc::AuthContext> peer)
      : gate_(gate), peer_(std::move(peer)), seen_(gate->Generation()) {}

  // OK, unless the lists have changed and name it now.
  [[nodiscard]] Status StillGood();

 private:
  const PeerGate* gate_;
  std::shared_ptr<const grpc::AuthContext> peer_;
  uint64_t seen_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INGEST_PEER_GATE_H_
