// SPDX-License-Identifier: Apache-2.0
//
// What of an agent's time the log covers.
#ifndef NODETRAIL_TRAIL_VERIFY_COVERAGE_H_
#define NODETRAIL_TRAIL_VERIFY_COVERAGE_H_

#include "nodetrail/trail/v1/trail.pb.h"
#include "nodetrail/trail/verify.h"

namespace nodetrail::trail {

// A batch that the agent's chain accepted.
void CountBatch(const v1::BatchHeader& header, AgentCoverage* coverage);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_COVERAGE_H_
