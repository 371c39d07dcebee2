// SPDX-License-Identifier: Apache-2.0
//
// The collector's query service over mutual TLS, and the agent's status socket.
#ifndef NODETRAIL_CLI_CLIENT_H_
#define NODETRAIL_CLI_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/context.h"
#include "nodetrail/query/v1/query.grpc.pb.h"
#include "nodetrail/schema/event_view.h"

namespace nodetrail::cli {

// A row taken apart. Keep it where it is: the view points into it.
class Row {
 public:
  // DataLoss if a record does not parse.
  static Result<std::unique_ptr<Row>> Parse(query::v1::EventRow proto);
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;

  [[nodiscard]] schema::EventView view() const { return {event, has_process ? &process : nullptr, facts}; }

  query::v1::EventRow proto;
  event::v1::Event event;
  event::v1::Process process;
  bool has_process = false;
  schema::RowFacts facts;

 private:
  Row() = default;
};

class Client {
 public:
  // Reads the TLS files and waits for the connection, at most 5 s. The error
  // names the endpoint, the cause and the fix.
  static Result<std::unique_ptr<Client>> Connect(const Context& context);

  // False from `on_row` ends it with OK.
  using OnRow = std::function<bool(const Row&)>;
  // Follows page tokens until `limit` rows (0: all). *more: there are others.
  Status Search(query::v1::SearchRequest request, uint64_t limit, const OnRow& on_row, bool* more);
  // What the searches so far could not look at: events deleted by rule.
  [[nodiscard]] uint64_t retired_events() const { return retired_events_; }
  // Runs until the stream ends or `on_row` returns false. `on_skip` hears of
  // what a slow reader missed.
  Status Tail(const query::v1::TailRequest& request, const OnRow& on_row,
              const std::function<void(uint64_t events, uint64_t batches)>& on_skip);
  Result<query::v1::GetResponse> Get(const std::string& event_id);
  Result<query::v1::StatusResponse> GetStatus();
  Result<query::v1::AgentsResponse> GetAgents(const query::v1::AgentsRequest& request);

 private:
  Client() = default;
  [[nodiscard]] Status FromGrpc(const grpc::Status& status) const;
  std::string endpoint_;
  uint64_t retired_events_ = 0;
  std::unique_ptr<query::v1::Query::Stub> stub_;
};

// The agent's status document. NotFound if no agent listens there;
// PermissionDenied if we may not ask.
Result<nlohmann::json> AskAgent(const std::string& socket_path);

}  // namespace nodetrail::cli

#endif  // NODETRAIL_CLI_CLIENT_H_
