// SPDX-License-Identifier: Apache-2.0
//
// Reads a segment from front to back and tells what is good, rotten and torn.
// Recovery and the shipper's cursor both read through it.
#ifndef NODETRAIL_AGENT_SPOOL_SEGMENT_SCANNER_H_
#define NODETRAIL_AGENT_SPOOL_SEGMENT_SCANNER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/spool/file_ops.h"
#include "agent/spool/record_format.h"

namespace nodetrail::agent {

struct ScanItem {
  enum class Kind {
    kRecord,  // a good record
    kRot,     // [offset, end) is damaged, and a good record follows
    kTorn,    // [offset, end) is damaged and nothing good follows; the last item but kEnd
    kEnd,     // nothing more, or zeros only
    kError,   // the file can't be read; `error` is -errno
  };
  Kind kind = Kind::kEnd;
  uint64_t offset = 0;
  uint64_t end = 0;  // offset of what follows
  SpoolRecordType type = SpoolRecordType::kBatch;
  EvidenceClass cls = EvidenceClass::kUnstated;
  uint64_t lsn = 0;
  std::string_view payload;  // valid until the next call
  int error = 0;
};

// Memory: one record, at most kMaxSpoolPayload. One thread at a time.
class SegmentScanner {
 public:
  // Reads `fd` (not owned) from `offset` up to `limit`. Records whose LSN is
  // not in (after_lsn, before_lsn) do not count: a later segment supersedes them.
  SegmentScanner(FileOps* ops, int fd, const SpoolSalt& salt, uint64_t offset, uint64_t limit, uint64_t after_lsn,
                 uint64_t before_lsn);

  ScanItem Next();

 private:
  enum class Read { kGood, kBad, kError };
  // The record at `offset`, into payload_ and *item.
  Read ReadRecord(uint64_t offset, ScanItem* item);
  // First good record at or after `from`: its offset; nothing: none.
  std::optional<uint64_t> Resync(uint64_t from, int* error);
  // Offset of the last byte that is not zero in [from, limit), plus one; `from` if all are.
  uint64_t LastByteAfter(uint64_t from, int* error);
  // Fills `out`; false at the end of the file or on error.
  bool ReadAt(uint64_t offset, size_t size, std::string* out, int* error);

  FileOps* ops_;
  int fd_;
  SpoolSalt salt_;
  uint64_t offset_;
  uint64_t limit_;
  uint64_t last_lsn_;
  uint64_t before_lsn_;
  bool done_ = false;
  std::string payload_;
  std::string header_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SPOOL_SEGMENT_SCANNER_H_
