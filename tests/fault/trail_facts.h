// SPDX-License-Identifier: Apache-2.0
//
// What a trail says, read without the verifier: for oracles that know what it
// must say.
#ifndef NODETRAIL_TESTS_FAULT_TRAIL_FACTS_H_
#define NODETRAIL_TESTS_FAULT_TRAIL_FACTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/leaf.h"

namespace nodetrail::fault {

struct LoggedBatch {
  std::string agent_id;
  uint64_t epoch = 0;
  uint64_t seq = 0;
  trail::Hash hash{};
  std::string leaf;
  uint64_t lost_ring = 0;      // the header's counters
  uint64_t lost_evicted = 0;   // events
  bool opens_unclean = false;  // an epoch_open whose statement says so
  bool clean_shutdown = false;
  std::vector<uint64_t> events;  // N of /srv/event/N, in order
  uint64_t evicted_events = 0;   // a statement stands in the place of its body, of so many events
  uint64_t loss_events = 0;      // sum of agent.loss of stage "ring"
  uint64_t loss_bodies = 0;      // sum of agent.loss about bodies given up
  struct Gap {
    uint64_t epoch = 0;
    uint64_t seq = 0;
    bool clean = false;
  };
  std::optional<Gap> gap;  // agent.gap
};

// Every batch of the log, in its order; log entries are passed over. A body
// that is not there, or not what the header says, is an error, unless a
// statement of its eviction is there.
Result<std::vector<LoggedBatch>> ReadTrail(const std::string& dir);
// How often the log says that this agent was enrolled.
Result<uint64_t> CountEnrolments(const std::string& dir, const std::string& agent_id);

}  // namespace nodetrail::fault

#endif  // NODETRAIL_TESTS_FAULT_TRAIL_FACTS_H_
