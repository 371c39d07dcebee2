// SPDX-License-Identifier: Apache-2.0
//
// Role: answers readers (query.v1.Query). Search and Get read the index and
// the bodies, Tail follows the log itself. Each of the three is a read of the
// trail and is in the trail, durably, before the first byte of its answer leaves;
// where it can't be, there is no answer. Status and Agents tell of the service.
//
// Access: the client certificate must carry exactly one URI SAN
// spiffe://<domain>/t/<tenant>/r/<reader> of this collector's tenant. An
// agent's certificate is refused with PERMISSION_DENIED.
//
// Threads: gRPC's. Every call is bounded: Search by its limit and deadline,
// Tail by the number of streams (each holds a log position, never a queue).
#ifndef NODETRAIL_COLLECTOR_QUERY_QUERY_SERVICE_H_
#define NODETRAIL_COLLECTOR_QUERY_QUERY_SERVICE_H_

#include <functional>
#include <memory>
#include <string>

#include "collector/index/indexer.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/query/v1/query.grpc.pb.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::collector {

class QueryService : public query::v1::Query::Service {
 public:
  struct Options {
    Indexer* indexer = nullptr;    // outlives the service
    const Clock* clock = nullptr;  // outlives the service
    std::string trail_dir;
    std::string tenant = "default";
    std::string version;
    unsigned max_tails = 64;  // concurrent Tail streams; more are RESOURCE_EXHAUSTED
    // What only the collector knows of a StatusResponse: log_size, root,
    // checkpoint_size, disk_free_bytes, quarantined, and of each agent
    // `connected` and `rejected`. It may add agents that the index has not
    // seen. Called after the index filled in its part. Any thread.
    std::function<void(query::v1::StatusResponse*)> collector_status;
    // Asked at each call, and while a Tail lasts: OK, or why this peer is not
    // answered although its certificate is a reader's. Null: all are. Any thread.
    std::function<nodetrail::Status(const grpc::AuthContext&)> admit;
    // Enters a read into the log; back once it is durable there, or with why it
    // is not. Required. Any thread.
    std::function<nodetrail::Status(const trail::v1::Access&)> enter_access;
    trail::Hash question_key{};  // of Access.question_hmac
    // Whether the body of this leaf was deleted by rule. Null: none was. Any thread.
    std::function<bool(uint64_t leaf)> retired;
    // The inventory, out of a status that is filled in. Null: there is none. Any thread.
    std::function<query::v1::AgentsResponse(const query::v1::StatusResponse&, uint64_t heartbeat_ns)> inventory;
  };

  static std::unique_ptr<QueryService> Create(Options options);

  // Ends Tail streams and long searches, so that the server can shut down.
  // Any thread, idempotent.
  virtual void Shutdown() = 0;

 protected:
  QueryService() = default;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_QUERY_QUERY_SERVICE_H_
