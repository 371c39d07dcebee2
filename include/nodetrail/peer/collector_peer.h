// SPDX-License-Identifier: Apache-2.0
//
// Whom a client meets in the TLS handshake: gRPC verifies the chain, and asks
// us for the rest before the channel carries anything.
#ifndef NODETRAIL_PEER_COLLECTOR_PEER_H_
#define NODETRAIL_PEER_COLLECTOR_PEER_H_

#include <grpcpp/security/credentials.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "nodetrail/base/clock.h"
#include "nodetrail/base/revocation.h"
#include "nodetrail/base/status.h"
#include "nodetrail/base/tls_files.h"
#include "nodetrail/peer/collector_check.h"

namespace nodetrail {

// What is asked of the peer's certificate, and those it sent along. On gRPC's
// threads.
using PeerCheck = std::function<Status(std::string_view cert_pem, std::string_view chain_pem)>;

// Whom the last handshake met. Any thread.
class Peer {
 public:
  explicit Peer(PeerCheck check) : check_(std::move(check)) {}

  Status Meet(std::string_view cert_pem, std::string_view chain_pem);
  // What the check said at the last handshake; OK: we met nobody yet.
  [[nodiscard]] Status refusal() const;
  [[nodiscard]] std::string cert_pem() const;  // empty: we met nobody yet
  // What it says now.
  [[nodiscard]] Status CheckAgain() const;

 private:
  const PeerCheck check_;
  mutable std::mutex mutex_;
  std::string cert_pem_, chain_pem_;
  Status refusal_;
};

// CheckCollector, then the revocation lists. `clock` outlives what is made
// with it.
PeerCheck CollectorPeerCheck(CollectorRule rule, std::string own_pem, std::shared_ptr<RevocationFile> revocations,
                             const Clock* clock);

// TLS with these authorities and, unless its key is empty, our certificate, to
// whom `peer` admits.
std::shared_ptr<grpc::ChannelCredentials> PeerCredentials(const TlsMaterial& tls, const std::shared_ptr<Peer>& peer);

}  // namespace nodetrail

#endif  // NODETRAIL_PEER_COLLECTOR_PEER_H_
