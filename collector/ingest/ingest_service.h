// SPDX-License-Identifier: Apache-2.0
//
// The agents' gRPC service. It says who the peer is and passes frames to the
// committer; gRPC's threads never wait for the disk.
//
// Peers may be hostile. Who they are is what their certificate says; an agent
// has one stream (a newer one ends the older: it reconnects before we notice
// that it was gone); a stream holds a bounded number of bytes of its own, and
// is not read from while they wait, while its answers are not taken, or while
// too many of its batches wait for a receipt.
#ifndef NODETRAIL_COLLECTOR_INGEST_INGEST_SERVICE_H_
#define NODETRAIL_COLLECTOR_INGEST_INGEST_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "collector/ingest/committer.h"
#include "collector/ingest/ingest_view.h"
#include "collector/ingest/peer_gate.h"
#include "collector/ingest/receipt_issuer.h"
#include "nodetrail/ingest/v1/ingest.grpc.pb.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::collector {

// The largest message that a peer may send: a leaf, a body, and their frame.
inline constexpr int kMaxIngestMessageBytes = (8 << 20) + (64 << 10) + 1024;

// The one URI SAN of the peer's certificate. kUnauthenticated: none, several,
// or not ours.
Result<trail::SpiffeId> PeerId(const grpc::AuthContext& auth);

class IngestService final : public ingest::v1::Ingest::CallbackService, public IngestView {
 public:
  // All outlive it. `tenant` is the one whose agents are served.
  IngestService(std::string tenant, Committer* committer, ReceiptIssuer* receipts, const PeerGate* gate);
  ~IngestService() override;

  grpc::ServerBidiReactor<ingest::v1::ClientMessage, ingest::v1::ServerMessage>* Stream(
      grpc::CallbackServerContext* context) override;

  // Ends all streams, and those that come later. Idempotent.
  void Shutdown();

  std::vector<IngestAgent> Agents() const override;
  IngestTotals Totals() const override;

 private:
  class Link;
  class Reactor;
  void Register(const std::string& agent_id, const std::shared_ptr<Link>& link);
  void Unregister(const std::string& agent_id, const std::shared_ptr<Link>& link);

  const std::string tenant_;
  Committer* const committer_;
  ReceiptIssuer* const receipts_;
  const PeerGate* const gate_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Link>> links_;  // by agent id
  bool shutdown_ = false;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INGEST_INGEST_SERVICE_H_
