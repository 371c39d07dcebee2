// SPDX-License-Identifier: Apache-2.0
//
// A body that is not there: did the agent give it up, and sign that?
#ifndef NODETRAIL_TRAIL_VERIFY_EVICTED_H_
#define NODETRAIL_TRAIL_VERIFY_EVICTED_H_

#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "trail/verify_findings.h"

namespace nodetrail::trail {

enum class EvictedBody {
  kDeclared,
  kBad,      // what lies in its place does not hold
  kNotSaid,  // nothing lies there
};

// The body of an accepted batch is missing. Adds a declared loss if the
// agent's statement lies in its place and holds, a tamper finding if it does
// not hold. An error is operational: the file can't be read.
Result<EvictedBody> CheckEvictedBody(const TrailReader& reader, const CaSet& cas, const v1::BatchHeader& header,
                                     const Hash& batch_hash, const LeafLocation& where, AgentCoverage* coverage,
                                     Findings* findings);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_EVICTED_H_
