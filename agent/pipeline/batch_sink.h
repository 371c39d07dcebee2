// SPDX-License-Identifier: Apache-2.0
//
// Where batches go: seal and spool, in the composition root.
#ifndef NODETRAIL_AGENT_PIPELINE_BATCH_SINK_H_
#define NODETRAIL_AGENT_PIPELINE_BATCH_SINK_H_

#include "agent/batch/batch_content.h"
#include "nodetrail/base/status.h"

namespace nodetrail::agent {

// Owner: the composition root. Thread: pipeline.
class BatchSink {
 public:
  virtual ~BatchSink() = default;

  // Seals and commits. OK: the batch is durable and never offered again.
  // kResourceExhausted or kUnavailable: not now; the pipeline keeps the batch,
  // stops draining, and offers the same batch at the next tick. Any other
  // error is fatal: Tick() and Stop() return it (the batch is kept).
  virtual Status OnBatch(const BatchContent& batch) = 0;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_PIPELINE_BATCH_SINK_H_
