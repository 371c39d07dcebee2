// SPDX-License-Identifier: Apache-2.0
//
// What ingest tells about its agents; the Query service's Status reads it.
#ifndef NODETRAIL_COLLECTOR_INGEST_INGEST_VIEW_H_
#define NODETRAIL_COLLECTOR_INGEST_INGEST_VIEW_H_

#include <cstdint>
#include <string>
#include <vector>

namespace nodetrail::collector {

struct IngestAgent {
  std::string tenant;
  std::string agent_id;
  bool connected = false;
  uint64_t epoch = 0;  // of the newest batch in the log
  uint64_t last_seq = 0;
  uint64_t last_received_wall_ns = 0;  // of the newest batch; 0: none since the collector started
  uint64_t batches = 0;                // in the log
  uint64_t rejected = 0;               // since the collector started
  bool clean = false;                  // the newest batch is CLEAN_SHUTDOWN
};

struct IngestTotals {
  uint64_t log_size = 0;  // leaves, durable
  uint64_t batches = 0;   // appended since the collector started
  uint64_t bytes = 0;     // of them, leaf and body
  uint64_t duplicates = 0;
  uint64_t rejected = 0;
  uint64_t equivocations = 0;
  uint64_t late = 0;         // kept beside the log: it holds what follows them
  uint64_t late_kept = 0;    // batches in quarantine/late/, those of former runs too
  uint64_t revoked = 0;      // rejected, since the agent was revoked
  uint64_t refused = 0;      // streams of agents that were revoked
  uint64_t retries = 0;      // refused because storage can't take them now
  uint64_t quarantined = 0;  // files in quarantine/
  uint64_t streams = 0;      // open now
  uint64_t receipts = 0;     // given since the collector started
};

// Thread-safe; a snapshot, may be taken at any rate a person asks.
class IngestView {
 public:
  virtual ~IngestView() = default;
  [[nodiscard]] virtual std::vector<IngestAgent> Agents() const = 0;
  [[nodiscard]] virtual IngestTotals Totals() const = 0;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INGEST_INGEST_VIEW_H_
