// SPDX-License-Identifier: Apache-2.0
//
// What a spool directory holds, found by reading it: the records are the only
// truth, there is no second file that could disagree.
#ifndef NODETRAIL_AGENT_SPOOL_RECOVERY_H_
#define NODETRAIL_AGENT_SPOOL_RECOVERY_H_

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

#include "agent/spool/file_ops.h"
#include "agent/spool/record_format.h"
#include "agent/spool/spool.h"

namespace nodetrail::agent {

struct SegmentInfo {
  uint64_t first_lsn = 0;
  SpoolSalt salt{};
  std::string path;
  uint64_t used = kSpoolHeaderBytes;  // bytes that hold records
  uint64_t bytes = 0;                 // on disk
  uint64_t last_lsn = 0;
  uint64_t batches = 0;
  uint64_t batch_bytes = 0;    // leaf + body of those
  Spool::Position last_batch;  // if batches > 0
  // Body bytes that could be given up, by class.
  std::array<uint64_t, kEvidenceClasses> evictable{};
  // LSN of the newest eviction in it. Until a header counts that one, which is the second batch after it, recovery must
  // find it here.
  uint64_t evicted_at = 0;
  // Counts how often the file was replaced by a compacted one.
  uint64_t generation = 0;
  // What could not be gained at this floor can't be gained again (compaction.h).
  uint64_t tried_floor = UINT64_MAX;
  // Some of it could not be read since the spool was opened.
  bool unread = false;
};

struct RecoveredSpool {
  std::deque<SegmentInfo> segments;  // by first_lsn
  SpoolHead head;
  uint64_t next_lsn = 1;
  std::array<uint64_t, 2> batch_lsns{};  // of the last batch but one, of the last
  // Bodies given up so shortly before the end that no header counts them yet.
  uint64_t uncounted_batches = 0;
  uint64_t uncounted_events = 0;
  SpoolRecovery report;
};

// Reads every segment of `dir`, in constant memory. What can't be a segment
// goes to `dir`/quarantine; damaged bytes are copied there. Never fails.
RecoveredSpool RecoverSpool(const std::string& dir, FileOps* ops);

// The batches between the one at `before` and that of `header`, which follows
// it; with nothing known before, those of its epoch that came first. Nothing:
// none are missing, or it can't be told.
std::optional<SpoolRecovery::Missing> MissingBetween(const SpoolAck& before, const trail::v1::BatchHeader& header);

// Moves `path` to the quarantine of `dir`, its name with `suffix` after it;
// best effort. The new path; empty: it is where it was.
std::string QuarantineFile(const std::string& dir, const std::string& path, FileOps* ops, std::string_view suffix = "");

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SPOOL_RECOVERY_H_
