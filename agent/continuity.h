// SPDX-License-Identifier: Apache-2.0
//
// What a start tells about the run before it: the interval in which nobody
// observed this node, and what the spool lost.
#ifndef NODETRAIL_AGENT_CONTINUITY_H_
#define NODETRAIL_AGENT_CONTINUITY_H_

#include <optional>
#include <string_view>
#include <vector>

#include "agent/pipeline/pipeline.h"
#include "agent/spool/spool.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/leaf.h"

namespace nodetrail::agent {

// From the last durable batch of the run before to now. Nothing: there was none.
std::optional<event::v1::AgentEvent> GapSince(const trail::ChainHead& last, const Clock& clock);

// The first words of a run, `before` being where the spool ends. `continued`:
// the epoch goes on (Sealer::continued).
StartInfo MakeStartInfo(const trail::ChainHead& before, bool continued, std::string_view version, const Clock& clock);

// One agent.loss per range that recovery could not read: it was durable once
// and is gone, a loss like any other.
std::vector<event::v1::AgentEvent> SpoolLosses(const SpoolRecovery& recovery);

// The agent.loss of batches that could not be read when their turn came.
event::v1::AgentEvent LossOfUnread(const SpoolUnread& unread);

// The agent.loss of bodies that the spool gave up to make room.
event::v1::AgentEvent LossOfBodies(const SpoolEviction& evicted, SpoolLevel level);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_CONTINUITY_H_
