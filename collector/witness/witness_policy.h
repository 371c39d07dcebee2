// SPDX-License-Identifier: Apache-2.0
#ifndef NODETRAIL_COLLECTOR_WITNESS_WITNESS_POLICY_H_
#define NODETRAIL_COLLECTOR_WITNESS_WITNESS_POLICY_H_

#include <string>
#include <vector>

#include "collector/witness/witness_set.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/policy.h"

namespace nodetrail::collector {

// A C2SP tlog-policy file whose witnesses all have an http or https URL. Errors
// name the file, what is wrong and the fix.
Result<trail::LogPolicy> LoadWitnessPolicy(const std::string& path);
std::vector<WitnessPeer> PeersOf(const trail::LogPolicy& policy);
// For judging our own checkpoints: `policy`, if it names logs then ours must be
// one of them (FailedPrecondition), if it names none then with ours.
Result<trail::LogPolicy> PolicyOfLog(const trail::LogPolicy& policy, const trail::NoteVerifier& log);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_WITNESS_WITNESS_POLICY_H_
