// SPDX-License-Identifier: Apache-2.0
//
// Makes room: writes a segment anew in which the leaves stay and bodies of a
// low class are replaced by what the agent signs about giving them up. The new
// file takes the old one's name by one rename, so that a crash at any moment
// leaves the one or the other, each a whole segment with the same LSNs.
#ifndef NODETRAIL_AGENT_SPOOL_COMPACTION_H_
#define NODETRAIL_AGENT_SPOOL_COMPACTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "agent/batch/evidence_class.h"
#include "agent/seal/eviction_signer.h"
#include "agent/spool/file_ops.h"
#include "agent/spool/recovery.h"
#include "nodetrail/base/status.h"

namespace nodetrail::agent {

// A body that the agent gave up.
struct EvictedBody {
  uint64_t epoch = 0;
  uint64_t seq = 0;
  uint64_t events = 0;
  uint64_t first_wall_ns = 0;
  uint64_t last_wall_ns = 0;
};
EvictedBody DescribeEviction(const trail::v1::BatchHeader& header);

// What a compaction writes, beside the segments.
inline constexpr char kCompactionTemp[] = "compact.tmp";

// Smaller bodies are not worth the statement that would stand in their place.
inline constexpr uint64_t kMinEvictableBody = 1024;

// Counts a body of this class in `segment->evictable`, if it is worth it.
void NoteEvictable(EvidenceClass cls, uint64_t body_bytes, SegmentInfo* segment);

struct CompactRequest {
  EvidenceClass max_class = EvidenceClass::kNormal;  // bodies of this class and below go
  // Records up to this LSN may be on their way to the collector: they stay.
  uint64_t floor_lsn = 0;
  SpoolAck ack;                      // nothing up to here needs a statement
  uint64_t at_lsn = 0;               // of the next record: when the eviction happened
  uint64_t before_lsn = UINT64_MAX;  // a later segment supersedes what is not below
  size_t max_evictions = 512;        // signatures take time, and the pipeline waits
  EvictionSigner* signer = nullptr;
};

struct Compaction {
  SegmentInfo segment;  // as it is once `temp` has its name
  std::vector<EvictedBody> evicted;
};

// Writes `temp` and syncs it; the caller renames it to segment.path. NotFound:
// nothing to gain. DataLoss: the segment has damage in it and is left alone.
// FailedPrecondition: the signer can't sign. Else the errno's status. On error
// there is no `temp`.
Result<Compaction> WriteCompacted(FileOps* ops, const SegmentInfo& segment, const std::string& temp,
                                  const CompactRequest& request);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SPOOL_COMPACTION_H_
