// SPDX-License-Identifier: Apache-2.0
//
// Who should report, and who does: the log's entries beside what came.
#ifndef NODETRAIL_COLLECTOR_QUERY_INVENTORY_H_
#define NODETRAIL_COLLECTOR_QUERY_INVENTORY_H_

#include <cstdint>
#include <set>
#include <string>

#include "nodetrail/query/v1/query.pb.h"
#include "nodetrail/trail/enrolment.h"

namespace nodetrail::collector {

struct InventoryFacts {
  // Agents of whom batches came.
  const query::v1::StatusResponse* status = nullptr;
  const trail::Enrolments* enrolments = nullptr;
  // Agent ids whose newest batch is CLEAN_SHUTDOWN.
  const std::set<std::string>* stopped = nullptr;
  uint64_t now_wall_ns = 0;
  uint64_t heartbeat_ns = 0;
};

// By tenant and agent id. Pure.
query::v1::AgentsResponse BuildInventory(const InventoryFacts& facts);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_QUERY_INVENTORY_H_
