// SPDX-License-Identifier: Apache-2.0
//
// One attempt at a connection: channel, call and TLS. gRPC's threads only put
// events into a bounded queue; the ship thread takes them out.
#ifndef NODETRAIL_AGENT_SHIP_SHIP_STREAM_H_
#define NODETRAIL_AGENT_SHIP_SHIP_STREAM_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nodetrail/base/status.h"
#include "nodetrail/base/tls_files.h"
#include "nodetrail/ingest/v1/ingest.pb.h"
#include "nodetrail/peer/collector_peer.h"

namespace nodetrail::agent {

struct ShipEvent {
  enum class Kind { kMessage, kWritten, kClosed };
  Kind kind = Kind::kMessage;
  ingest::v1::ServerMessage message;  // kMessage
  Status status;                      // kClosed: how the call ended; OK if the collector ended it
};

struct ShipEndpoint {
  std::string endpoint;     // host:port
  std::string server_name;  // expected in the certificate; empty: the host of `endpoint`
  std::chrono::milliseconds connect_timeout{10'000};
  // An idle connection is tried with a ping this often; without an answer for
  // keepalive_timeout it is over.
  std::chrono::milliseconds keepalive{20'000};
  std::chrono::milliseconds keepalive_timeout{10'000};
};

// Owner: the ship thread, which alone calls it. Destruction cancels the call
// and waits for gRPC to let go.
class ShipStream {
 public:
  // `check` outlives the stream. `wake` is called on gRPC's threads when Take() has something; it must not
  // block and outlives the stream.
  ShipStream(const ShipEndpoint& endpoint, const TlsMaterial& tls, PeerCheck check, std::function<void()> wake);
  ~ShipStream();
  ShipStream(const ShipStream&) = delete;
  ShipStream& operator=(const ShipStream&) = delete;

  // One write at a time: false while one is under way or once the call is over.
  bool Write(ingest::v1::ClientMessage message);
  // We have no more to send; the collector ends the call after its last answer.
  void HalfClose();
  // What happened since the last call, in order. kClosed is the last event.
  std::vector<ShipEvent> Take();
  // What `check` said of the peer, at the last handshake or now.
  [[nodiscard]] Status refusal() const;
  [[nodiscard]] Status CheckAgain() const;

 private:
  class Call;
  std::unique_ptr<Call> call_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SHIP_SHIP_STREAM_H_
