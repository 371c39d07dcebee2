// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_coverage.h"

#include <algorithm>

namespace nodetrail::trail {

void CountBatch(const v1::BatchHeader& header, AgentCoverage* coverage) {
  if (coverage->epochs.empty() || coverage->epochs.back().epoch != header.epoch()) {
    EpochCoverage epoch;
    epoch.epoch = header.epoch();
    epoch.first_seq = header.seq();
    epoch.from_wall_ns = header.first_wall_ns();
    coverage->epochs.push_back(epoch);
  }
  EpochCoverage& epoch = coverage->epochs.back();
  epoch.last_seq = header.seq();
  ++epoch.batches;
  epoch.events += header.event_count();
  epoch.to_wall_ns = std::max(epoch.to_wall_ns, header.last_wall_ns());
  epoch.clean_shutdown = header.type() == v1::BATCH_TYPE_CLEAN_SHUTDOWN;
  ++coverage->batches;
  coverage->events += header.event_count();
  coverage->body_bytes += header.stored_body_len();
}

}  // namespace nodetrail::trail
