// SPDX-License-Identifier: Apache-2.0
//
// What a batch is worth when not all can be kept: the class of its most
// valuable event. Stored in the spool, so the numbers stay.
#ifndef NODETRAIL_AGENT_BATCH_EVIDENCE_CLASS_H_
#define NODETRAIL_AGENT_BATCH_EVIDENCE_CLASS_H_

#include <cstdint>

namespace nodetrail::agent {

enum class EvidenceClass : uint8_t {
  kUnstated = 0,  // written before there were classes: kept like kCritical
  kBulk = 1,      // file events only
  kNormal = 2,    // other kinds that are not critical
  kCritical = 3,  // kinds with `critical` in event.proto
  kVital = 4,     // the agent's own words: start, stop, coverage, loss, gap
};
inline constexpr uint8_t kEvidenceClasses = 5;

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_BATCH_EVIDENCE_CLASS_H_
