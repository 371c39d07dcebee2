// SPDX-License-Identifier: Apache-2.0
//
// The agent's queue and its truth: what was appended here exists, what was
// not does not. agent/spool/record_format.md specifies the bytes.
#ifndef NODETRAIL_AGENT_SPOOL_SPOOL_H_
#define NODETRAIL_AGENT_SPOOL_SPOOL_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/batch/evidence_class.h"
#include "agent/spool/file_ops.h"
#include "agent/spool/ladder.h"
#include "agent/spool/unread.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/leaf.h"

namespace nodetrail::agent {

class EvictionSigner;

struct SpoolOptions {
  std::string dir;  // created if missing, mode 0700
  // Disk that segments and reserve.headers take. While a segment is compacted
  // its new file comes on top: at most max_bytes + one segment (or one record,
  // if that is larger) + 64 KiB for `reserve`. Acknowledged segments that are
  // kept in quarantine/ because they can't be read count too, and go first.
  uint64_t max_bytes = 2ULL << 30;
  uint64_t segment_bytes = 16U << 20;
  FileOps* ops = nullptr;  // null: SystemFileOps()
  // Signs for bodies that are given up; outlives the spool. Null: none are,
  // and a full spool refuses.
  EvictionSigner* signer = nullptr;
};

// What recovery met. Anything here but torn_bytes means that batches may be
// lost for good: the agent declares it (agent.loss, stage "spool").
struct SpoolRecovery {
  trail::ChainHead head;         // last durable batch
  uint64_t batches_pending = 0;  // not acknowledged
  uint64_t torn_bytes = 0;       // an unfinished append, cut off
  uint64_t rotten_ranges = 0;    // damaged bytes with good records after them
  uint64_t rotten_bytes = 0;
  uint64_t quarantined_files = 0;  // moved to quarantine/: unreadable or not a segment
  // Batches missing between good ones: [from_seq, to_seq] of `epoch`.
  struct Missing {
    uint64_t epoch = 0;
    uint64_t from_seq = 0;
    uint64_t to_seq = 0;
  };
  std::vector<Missing> missing;
  // Intact checksums, but the chain of hashes or the newest signature does not
  // hold: somebody edited the spool. Kept as it is; the collector will refuse it.
  uint64_t tampered = 0;
  std::vector<std::string> messages;  // one line each, for the log
};

struct SpoolStats {
  uint64_t bytes = 0;            // of segment files, allocated
  uint64_t batches_pending = 0;  // appended, not acknowledged
  uint64_t pending_bytes = 0;    // leaf + body of those
  uint64_t oldest_wall_ns = 0;   // sealed_wall_ns of the oldest pending batch, 0: none
  uint64_t appended = 0;         // since open
  uint64_t acked = 0;            // since open
  uint64_t append_errors = 0;
  uint64_t full_refusals = 0;  // appends refused for want of room
  SpoolLevel level = SpoolLevel::kOk;
  uint64_t used_percent = 0;  // of what segments may take
  // Bodies given up since open, those included that a crash left uncounted.
  uint64_t evicted_batches = 0;
  uint64_t evicted_events = 0;
  uint64_t header_only = 0;      // of evicted_batches: stored without their body from the start
  uint64_t compactions = 0;      // segments written anew since open
  uint64_t eviction_errors = 0;  // room could not be made: signer or disk
  // Acknowledged segments with parts that can't be read, in quarantine/.
  uint64_t unread_kept = 0;
  uint64_t unread_kept_bytes = 0;
  uint64_t unread_dropped = 0;  // of those, deleted to make room, since open
};

struct SpooledBatch {
  uint64_t lsn = 0;
  uint64_t epoch = 0;
  uint64_t seq = 0;
  trail::Hash batch_hash{};
  std::string leaf;
  std::string body;
  std::string eviction;  // SignedEviction, if the body was given up
  // Batches before this one are missing for good (rot): tell the collector.
  bool after_hole = false;
  // Those that the cursor had to pass over right before this one, if recovery
  // did not report them as missing already.
  std::optional<SpoolUnread> unread;
};

// Append: pipeline thread. Next, Ack, ResumeAfter, Rewind, oldest_pending: ship
// thread. stats, head, TakeEvictions and Stop: any.
class Spool {
 public:
  // Always opens, whatever lies in the directory: what can't be used is moved
  // to quarantine/. An error only if the directory itself can't be made,
  // read or locked (FailedPrecondition: another process has it).
  static Result<std::unique_ptr<Spool>> Open(const SpoolOptions& options);
  ~Spool();

  [[nodiscard]] const SpoolRecovery& recovery() const;

  // Makes the batch durable. On OK it exists. On error it does not, and never
  // left: Sealer::Abandon, and seal the content again later. ResourceExhausted:
  // no room (max_bytes, ENOSPC, EDQUOT, EFBIG). Unavailable: I/O errors. A
  // write or fsync that fails is never repeated on its file: the same bytes go
  // to a new segment, which from then on supersedes what the old one may hold.
  // May give up bodies to make room, that of this batch included: at most one
  // segment is written anew in a call, and 512 statements are signed.
  Status Append(const trail::SealedBatch& batch, EvidenceClass cls = EvidenceClass::kUnstated);

  // The oldest unacknowledged batch that the cursor has not passed; waits up
  // to `timeout` for one. Nothing: time ran out or Stop was called.
  std::optional<SpooledBatch> Next(std::chrono::milliseconds timeout);
  // Sets the cursor to the oldest unacknowledged batch (after a reconnect).
  void Rewind();
  // The receiver has everything up to and including this position durable:
  // writes it down, then deletes whole segments below it. Positions already
  // acknowledged are ignored; NotFound if it was never appended here.
  Status Ack(uint64_t epoch, uint64_t seq);
  // As Ack, if the position is here and its hash is `batch_hash`; after a
  // Welcome. NotFound: not here (older than the spool, or never sent).
  // FailedPrecondition: here with another hash; the caller raises the alarm.
  Status ResumeAfter(uint64_t epoch, uint64_t seq, const trail::Hash& batch_hash);
  // Wakes Next for good.
  void Stop();

  [[nodiscard]] trail::ChainHead head() const;
  [[nodiscard]] SpoolStats stats() const;
  // Bodies given up since the last call, one entry an epoch: for agent.loss.
  std::vector<SpoolEviction> TakeEvictions();
  // Position of the oldest unacknowledged batch; nothing: all acknowledged.
  struct Position {
    uint64_t epoch = 0;
    uint64_t seq = 0;
  };
  [[nodiscard]] std::optional<Position> oldest_pending() const;

 private:
  struct Impl;
  explicit Spool(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SPOOL_SPOOL_H_
