// SPDX-License-Identifier: Apache-2.0
//
// Processes that exist already, found in /proc.
#ifndef NODETRAIL_AGENT_CAPTURE_SCOPE_SEED_H_
#define NODETRAIL_AGENT_CAPTURE_SCOPE_SEED_H_

#include <cstdint>
#include <functional>

#include "nodetrail/base/status.h"

namespace nodetrail::agent {

// Calls `add` for root and every descendant running now, and again for those
// a new look at /proc finds, until a look finds none: the probes are attached
// already, so a child born of an added parent adds itself. `drop` is called
// for one that died meanwhile. kInvalidArgument: root isn't alive.
Status SeedProcessTree(uint32_t root, const std::function<Status(uint32_t tgid)>& add,
                       const std::function<void(uint32_t tgid)>& drop);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_CAPTURE_SCOPE_SEED_H_
