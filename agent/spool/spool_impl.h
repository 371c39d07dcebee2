// SPDX-License-Identifier: Apache-2.0
//
// The inside of the spool: writing and reading of segments. How it makes room
// is in spool_ladder.cc. For spool.cc and spool_ladder.cc alone.
#ifndef NODETRAIL_AGENT_SPOOL_SPOOL_IMPL_H_
#define NODETRAIL_AGENT_SPOOL_SPOOL_IMPL_H_

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "agent/seal/eviction_signer.h"
#include "agent/spool/compaction.h"
#include "agent/spool/record_format.h"
#include "agent/spool/recovery.h"
#include "agent/spool/segment_scanner.h"
#include "agent/spool/spool.h"
#include "agent/spool/unread.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/log.h"

namespace nodetrail::agent {

// Every segment keeps this much for acknowledgements, so that a full disk can
// always be emptied.
inline constexpr uint64_t kAckReserve = 4096;
inline constexpr uint64_t kReserveBytes = 64 * 1024;
inline constexpr uint64_t kMinHeaderReserve = 16 * 1024;

inline std::pair<uint64_t, uint64_t> Key(const Spool::Position& p) { return {p.epoch, p.seq}; }

// Worded as errno says; the codes that mean "no room" are told apart.
inline Status WriteError(int error, std::string_view what) {
  return ErrnoStatus(-error, fmt::format("spool: {}", what));
}

struct Spool::Impl {
  // A place between records.
  struct Cursor {
    uint64_t segment = 0;  // first_lsn; 0: before the first segment
    uint64_t offset = kSpoolHeaderBytes;
    uint64_t generation = 0;       // of the segment's file that `offset` is in
    uint64_t scan_lsn = 0;         // LSN before `offset`
    uint64_t last_lsn = 0;         // everything up to here was passed
    SpoolAck before;               // the batch before
    bool before_numbered = false;  // what follows is known of it
    uint64_t before_event_seq = 0;
    uint64_t before_wall_ns = 0;
    std::string passed;  // where something since that one could not be read; empty: nowhere
  };
  struct InFlight {
    Position position;
    trail::Hash hash{};
    Cursor after;
    uint64_t bytes = 0;
    uint64_t wall_ns = 0;
    uint64_t unread = 0;  // batches before it that were passed over
  };

  SpoolOptions options;
  FileOps* ops = nullptr;
  UniqueFd lock;
  SpoolRecovery recovery;

  std::mutex write_mu;  // the active segment; taken before mu
  int active_fd = -1;
  bool active_is_reserve = false;  // for headers only
  uint64_t next_lsn = 1;

  mutable std::mutex mu;  // what follows
  std::condition_variable changed;
  std::deque<SegmentInfo> segments;  // the last is the active one if active_fd >= 0
  SpoolHead head;
  std::array<uint64_t, 2> batch_lsns{};  // of the last batch but one, of the last
  Cursor read;
  Cursor acked;
  std::deque<InFlight> in_flight;
  uint64_t pending = 0;
  uint64_t pending_bytes = 0;
  uint64_t oldest_wall_ns = 0;
  SpoolStats counters;
  EvictionLedger evictions;
  struct KeptFile {
    std::string path;
    uint64_t bytes = 0;
  };
  std::deque<KeptFile> kept;  // segments that could not be read, the oldest first
  bool stopped = false;

  // write_mu
  std::chrono::steady_clock::time_point sign_again{};
  bool no_room = false;  // this append found none for a body

  int read_fd = -1;  // ship thread only
  uint64_t read_fd_segment = 0;
  uint64_t read_fd_generation = 0;

  ~Impl() {
    if (active_fd >= 0) ops->Close(active_fd);
    if (read_fd >= 0) ops->Close(read_fd);
  }

  // ---- writing: write_mu is held ----

  // The active segment takes no further record.
  void Retire(bool poisoned) {
    if (active_fd < 0) return;
    const std::lock_guard guard(mu);
    SegmentInfo& segment = segments.back();
    // Not after an error: nothing is written to that file again.
    if (!poisoned && ops->Ftruncate(active_fd, segment.used) == 0) segment.bytes = segment.used;
    ops->Close(active_fd);
    active_fd = -1;
  }

  uint64_t DiskBytes() const {
    const std::lock_guard guard(mu);
    uint64_t total = 0;
    for (const SegmentInfo& segment : segments) total += segment.bytes;
    for (const KeptFile& file : kept) total += file.bytes;
    return total;
  }

  // A new segment with room for a record of `record` bytes, whose head record
  // is durable.
  Status StartSegment(uint64_t record, bool for_ack) {
    Status status = CreateSegment(record, options.segment_bytes, false);
    while (status.code() == Code::kResourceExhausted && DropKept()) {
      status = CreateSegment(record, options.segment_bytes, false);
    }
    if (!for_ack || status.code() != Code::kResourceExhausted) return status;
    // Full, and only an acknowledgement can empty it: a small segment, in the
    // room that the reserve file kept.
    ops->Unlink(ReservePath());
    return CreateSegment(record, 0, true);
  }

  std::string ReservePath() const { return options.dir + "/reserve"; }
  std::string HeaderReservePath() const { return options.dir + "/reserve.headers"; }
  uint64_t HeaderReserveBytes() const {
    return std::min(options.segment_bytes, std::max(kMinHeaderReserve, options.max_bytes / 64));
  }
  // What segments may take before only headers are stored.
  uint64_t Usable() const {
    if (options.signer == nullptr) return options.max_bytes;
    return options.max_bytes - std::min(options.max_bytes, HeaderReserveBytes());
  }

  // Best effort: on a disk that is full already there is none.
  void KeepFile(const std::string& path, uint64_t bytes) {
    const int fd = ops->Open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (fd < 0) return;
    if (ops->Fallocate(fd, bytes) != 0) ops->Unlink(path);
    ops->Close(fd);
  }
  void KeepReserves() {
    KeepFile(ReservePath(), kReserveBytes);
    const uint64_t headers = options.signer != nullptr ? HeaderReserveBytes() : 0;
    while (DiskBytes() + headers > options.max_bytes && DropKept()) continue;
    if (options.signer != nullptr && DiskBytes() + HeaderReserveBytes() <= options.max_bytes) {
      KeepFile(HeaderReservePath(), HeaderReserveBytes());
    }
  }

  Status CreateSegment(uint64_t record, uint64_t wanted, bool may_pass_limit) {
    SpoolHead now;
    {
      const std::lock_guard guard(mu);
      now = head;
    }
    SpoolSegmentHeader header;
    trail::RandomBytes(header.salt);
    const uint64_t overhead = kSpoolHeaderBytes + RecordBytes(EncodeHeadPayload(now).size()) + kAckReserve;
    uint64_t size = std::max(wanted, overhead + record);
    const uint64_t taken = DiskBytes();
    // The last one before the limit may be smaller than the others.
    if (!may_pass_limit && taken + size > Usable() && taken + overhead + record <= Usable()) {
      size = (Usable() - taken) / kSpoolAlign * kSpoolAlign;
    }
    if (!may_pass_limit && taken + size > Usable()) {
      return ResourceExhausted(fmt::format("spool: {} is full: {} bytes wait for the collector, spool.max_bytes is {}",
                                           options.dir, taken, options.max_bytes));
    }
    std::string path;
    int fd = -EEXIST;
    // A name may be taken by what recovery had to leave alone.
    for (int i = 0; i < 1000 && fd == -EEXIST; ++i) {
      if (i > 0) ++next_lsn;
      path = options.dir + "/" + SegmentName(next_lsn);
      fd = ops->Open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    }
    if (fd < 0) return WriteError(fd, fmt::format("create {}", path));
    header.first_lsn = next_lsn;
    const std::string bytes = EncodeSegmentHeader(header) +
                              EncodeRecord(SpoolRecordType::kHead, next_lsn, EncodeHeadPayload(now), header.salt);
    int error = ops->Fallocate(fd, size);
    uint64_t allocated = size;
    if (error == -EOPNOTSUPP || error == -ENOSYS) {
      error = 0;
      allocated = bytes.size();
    }
    if (error == 0) error = WriteAt(fd, bytes, 0);
    if (error == 0) error = ops->Fdatasync(fd);
    if (error == 0) error = ops->SyncDir(options.dir);
    if (error != 0) {
      ops->Close(fd);
      ops->Unlink(path);  // nothing in it counts
      return WriteError(error, fmt::format("start {}", path));
    }
    Activate(fd, path, header, bytes.size(), std::max<uint64_t>(allocated, bytes.size()), size);
    return OkStatus();
  }

  // The segment takes records from now on; its head record is durable.
  void Activate(int fd, const std::string& path, const SpoolSegmentHeader& header, uint64_t used, uint64_t allocated,
                uint64_t size) {
    // Only now: until there is another, the old one still takes acks.
    Retire(false);
    const std::lock_guard guard(mu);
    SegmentInfo info;
    info.first_lsn = next_lsn;
    info.salt = header.salt;
    info.path = path;
    info.used = used;
    info.bytes = allocated;
    info.last_lsn = next_lsn++;
    segments.push_back(std::move(info));
    capacity = size;
    active_fd = fd;
    active_is_reserve = false;
  }

  // The file that was kept for headers becomes the active segment: its room is
  // there, whatever the disk says.
  Status StartHeaderReserve() {
    const std::string reserve = HeaderReservePath();
    const int fd = ops->Open(reserve, O_RDWR | O_NOFOLLOW, 0);
    if (fd < 0) return ResourceExhausted(fmt::format("spool: {} is full, for headers too", options.dir));
    SpoolHead now;
    {
      const std::lock_guard guard(mu);
      now = head;
    }
    // A rename would replace what has the name.
    std::error_code error_code;
    while (std::filesystem::exists(
        std::filesystem::symlink_status(options.dir + "/" + SegmentName(next_lsn), error_code))) {
      ++next_lsn;
    }
    const std::string path = options.dir + "/" + SegmentName(next_lsn);
    SpoolSegmentHeader header;
    trail::RandomBytes(header.salt);
    header.first_lsn = next_lsn;
    const std::string bytes = EncodeSegmentHeader(header) +
                              EncodeRecord(SpoolRecordType::kHead, next_lsn, EncodeHeadPayload(now), header.salt);
    int error = WriteAt(fd, bytes, 0);
    if (error == 0) error = ops->Fdatasync(fd);
    const bool named = error == 0 && (error = ops->Rename(reserve, path)) == 0;
    if (named) error = ops->SyncDir(options.dir);
    if (error != 0) {
      ops->Close(fd);
      ops->Unlink(named ? path : reserve);
      return WriteError(error, fmt::format("start {}", path));
    }
    Activate(fd, path, header, bytes.size(), HeaderReserveBytes(), HeaderReserveBytes());
    active_is_reserve = true;
    return OkStatus();
  }
  uint64_t capacity = 0;  // of the active segment

  // 0, or -errno. Short writes go on; a write of nothing is no room.
  int WriteAt(int fd, std::string_view bytes, uint64_t offset) {
    while (!bytes.empty()) {
      const ssize_t n = ops->Pwrite(fd, bytes.data(), bytes.size(), offset);
      if (n < 0) return static_cast<int>(n);
      if (n == 0) return -ENOSPC;
      bytes.remove_prefix(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return 0;
  }

  // Writes a record to the active segment or a new one; once more in a fresh
  // segment if that fails. `done` runs under mu with the record's segment.
  template <typename Done>
  Status Write(SpoolRecordType type, std::string_view payload, bool sync, uint64_t reserve, Done done,
               EvidenceClass cls = EvidenceClass::kUnstated) {
    const uint64_t size = RecordBytes(payload.size());
    bool has_body = false;
    if (type == SpoolRecordType::kBatch) {
      if (const auto batch = DecodeBatchPayload(payload)) has_body = !batch->body.empty();
    }
    Status status;
    for (int attempt = 0; attempt < 2; ++attempt) {
      uint64_t offset = 0;
      SpoolSalt salt;
      const auto fits = [&] {
        if (active_fd < 0 || (active_is_reserve && has_body && !no_room)) return false;
        const std::lock_guard guard(mu);
        offset = segments.back().used;
        salt = segments.back().salt;
        return offset + size + reserve <= capacity;
      };
      if (!fits()) {
        NT_RETURN_IF_ERROR(StartSegment(size, type == SpoolRecordType::kAck));
        NT_CHECK(fits());
      }
      const std::string bytes = EncodeRecord(type, next_lsn, payload, salt, cls);
      int error = WriteAt(active_fd, bytes, offset);
      if (error == 0 && sync) error = ops->Fdatasync(active_fd);
      if (error == 0) {
        const std::lock_guard guard(mu);
        SegmentInfo& segment = segments.back();
        segment.used += bytes.size();
        segment.bytes = std::max(segment.bytes, segment.used);
        segment.last_lsn = next_lsn++;
        done(&segment);
        return OkStatus();
      }
      const std::lock_guard guard(mu);
      status = WriteError(error, fmt::format("append to {}", segments.back().path));
      ++counters.append_errors;
      ops->Close(active_fd);  // never written to, never synced again
      active_fd = -1;
    }
    return status;
  }

  // ---- the ladder, spool_ladder.cc: write_mu is held ----

  uint64_t Used() const;
  bool CanSign() const;
  void EvictionFailed(const Status& status);
  // The oldest segment with bodies of the lowest class that there is.
  std::optional<SegmentInfo> Victim(EvidenceClass* cls, CompactRequest* request) const;
  // Gives up bodies of one segment. False: there was nothing to gain.
  bool MakeRoom();
  // Under mu: who reads the segment finds either file with its own salt.
  Status Replace(const SegmentInfo& victim, const std::string& temp, Compaction* made);
  void Count(const EvictedBody& body);  // mu is held
  // The record is durable; mu is held.
  void Appended(const trail::SealedBatch& batch, uint64_t rest, SegmentInfo* segment);
  Status AppendWhole(const trail::SealedBatch& batch, EvidenceClass cls);
  // The leaf, and a statement in the body's place; with its body if that stays
  // (spool_ladder.cc). In the room that was kept for that if there is no other.
  Status AppendHeader(const trail::SealedBatch& batch, EvidenceClass cls);
  Status AppendIntoReserve(const std::function<Status()>& write);
  Status AppendByLevel(const trail::SealedBatch& batch, EvidenceClass cls);
  Status Append(const trail::SealedBatch& batch, EvidenceClass cls);
  // Each step up and the way back is said once. mu is not held.
  void SetLevel(SpoolLevel level);

  // ---- what can't be read back, spool_unread.cc: mu is not held ----

  // The batches that were passed over between the cursor and this header.
  std::optional<SpoolUnread> UnreadBefore(const Cursor& cursor, const trail::v1::BatchHeader& header) const;
  void PassOver(const SegmentInfo& segment, uint64_t offset, std::string_view why, Cursor* cursor);
  // Those of a run before.
  void FindKept();
  // The segment's file goes: deleted, or kept if it can't be read. 0, or -errno.
  int Remove(const SegmentInfo& segment);
  // Deletes the oldest that is kept. False: there is none.
  bool DropKept();

  // ---- reading: the ship thread ----

  const SegmentInfo* Segment(uint64_t first_lsn) const {
    const auto it =
        std::find_if(segments.begin(), segments.end(), [&](const SegmentInfo& s) { return s.first_lsn >= first_lsn; });
    return it == segments.end() ? nullptr : &*it;
  }

  static void Enter(const SegmentInfo& segment, Cursor* cursor) {
    cursor->segment = segment.first_lsn;
    cursor->generation = segment.generation;
    cursor->offset = kSpoolHeaderBytes;
    cursor->scan_lsn = segment.first_lsn - 1;
  }

  // The segment's file was replaced since the copy was made. mu is not held.
  bool Replaced(const SegmentInfo& segment) const {
    const std::lock_guard guard(mu);
    const SegmentInfo* now = Segment(segment.first_lsn);
    return now != nullptr && now->first_lsn == segment.first_lsn && now->generation != segment.generation;
  }

  // Moves `cursor` to a segment that has bytes after it; false: nothing there. mu is held.
  bool Settle(Cursor* cursor) const {
    while (true) {
      const SegmentInfo* segment = Segment(cursor->segment);
      if (segment == nullptr) return false;
      // Another segment, or another file of the same: what was passed of it is
      // told by the LSN.
      if (segment->first_lsn != cursor->segment || segment->generation != cursor->generation) Enter(*segment, cursor);
      if (cursor->offset < segment->used) return true;
      const SegmentInfo* next = Segment(cursor->segment + 1);
      if (next == nullptr) return false;
      Enter(*next, cursor);
    }
  }

  struct Found {
    SpooledBatch batch;
    Cursor after;
    uint64_t wall_ns = 0;
  };
  static uint64_t UnreadBatches(const SpooledBatch& batch) {
    return batch.unread ? batch.unread->seq_to - batch.unread->seq_from + 1 : 0;
  }
  static uint64_t Bytes(const SpooledBatch& batch) {
    return batch.leaf.size() + batch.body.size() + batch.eviction.size();
  }
  // The next batch from `*at` on, without waiting. Without one, `*at` is moved
  // behind what is no batch. mu is not held.
  std::optional<Found> ReadFrom(Cursor* at) {
    Cursor& cursor = *at;
    while (true) {
      SegmentInfo segment;
      uint64_t before_lsn = UINT64_MAX;
      {
        const std::lock_guard guard(mu);
        if (!Settle(&cursor)) return std::nullopt;
        segment = *Segment(cursor.segment);
        if (const SegmentInfo* next = Segment(cursor.segment + 1)) before_lsn = next->first_lsn;
      }
      if (read_fd < 0 || read_fd_segment != segment.first_lsn || read_fd_generation != segment.generation) {
        if (read_fd >= 0) ops->Close(read_fd);
        read_fd = ops->Open(segment.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        read_fd_segment = segment.first_lsn;
        read_fd_generation = segment.generation;
      }
      if (read_fd < 0) {
        PassOver(segment, cursor.offset, ErrnoName(-read_fd), &cursor);
        cursor.offset = segment.used;
        continue;
      }
      SegmentScanner scanner(ops, read_fd, segment.salt, cursor.offset, segment.used,
                             std::max(cursor.scan_lsn, segment.first_lsn - 1), before_lsn);
      const ScanItem item = scanner.Next();
      // The name was another file's by the time it was opened.
      if (item.kind != ScanItem::Kind::kRecord && Replaced(segment)) {
        ops->Close(read_fd);
        read_fd = -1;
        continue;
      }
      if (item.kind == ScanItem::Kind::kError || item.kind == ScanItem::Kind::kTorn ||
          item.kind == ScanItem::Kind::kRot) {
        PassOver(segment, item.offset, item.error != 0 ? ErrnoName(-item.error) : "damaged", &cursor);
      }
      if (item.kind != ScanItem::Kind::kRecord) {
        cursor.offset = item.kind == ScanItem::Kind::kRot ? item.end : segment.used;
        continue;
      }
      cursor.offset = item.end;
      cursor.scan_lsn = item.lsn;
      if (item.lsn <= cursor.last_lsn) continue;
      cursor.last_lsn = item.lsn;
      const auto whole = item.type == SpoolRecordType::kBatch ? DecodeBatchPayload(item.payload) : std::nullopt;
      const auto evicted = item.type == SpoolRecordType::kEvicted ? DecodeEvictedPayload(item.payload) : std::nullopt;
      if (!whole && !evicted) continue;
      const std::string_view bytes = whole ? whole->leaf : evicted->leaf;
      const auto leaf = trail::ParseLeaf(bytes);
      if (!leaf.ok()) continue;  // recovery raised the alarm
      Found found;
      found.batch.lsn = item.lsn;
      found.batch.epoch = leaf->header.epoch();
      found.batch.seq = leaf->header.seq();
      found.batch.batch_hash = leaf->batch_hash;
      found.batch.leaf = std::string(bytes);
      if (whole) found.batch.body = std::string(whole->body);
      if (evicted) found.batch.eviction = std::string(evicted->eviction);
      found.batch.after_hole = cursor.before.known && leaf->header.prev_hash() != trail::View(cursor.before.batch_hash);
      if (!cursor.passed.empty()) found.batch.unread = UnreadBefore(cursor, leaf->header);
      found.wall_ns = leaf->header.sealed_wall_ns();
      cursor.before = {true, found.batch.epoch, found.batch.seq, leaf->batch_hash};
      cursor.before_numbered = true;
      cursor.before_event_seq = leaf->header.last_event_seq();
      cursor.before_wall_ns = leaf->header.last_wall_ns();
      cursor.passed.clear();
      found.after = cursor;
      return found;
    }
  }

  std::optional<SpooledBatch> Next(std::chrono::milliseconds timeout) {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    while (true) {
      Cursor cursor;
      uint64_t seen = 0;
      {
        const std::lock_guard guard(mu);
        if (stopped) return std::nullopt;
        cursor = read;
        seen = counters.appended;
      }
      const auto found = ReadFrom(&cursor);
      if (found) {
        const std::lock_guard guard(mu);
        read = found->after;
        in_flight.push_back({{found->batch.epoch, found->batch.seq},
                             found->batch.batch_hash,
                             found->after,
                             Bytes(found->batch),
                             found->wall_ns,
                             UnreadBatches(found->batch)});
        return found->batch;
      }
      std::unique_lock guard(mu);
      read = cursor;
      // What lies after the cursor may be acknowledgements only, which are no
      // batches: wait for an append, not for bytes.
      if (stopped || !changed.wait_until(guard, deadline, [&] { return stopped || counters.appended != seen; })) {
        return std::nullopt;
      }
    }
  }

  // Everything up to and including that batch is the receiver's. mu is held.
  void AdvanceAck(const InFlight& to) {
    acked = to.after;
    head.ack = {true, to.position.epoch, to.position.seq, to.hash};
    ++counters.acked;
    pending -= std::min<uint64_t>(pending, 1 + to.unread);
    pending_bytes -= std::min(pending_bytes, to.bytes);
    // How large those were that could not be read, nobody knows: until nothing waits.
    if (acked.last_lsn >= batch_lsns[1]) pending = pending_bytes = 0;
  }

  enum class AckResult { kDone, kAlready, kNotFound, kOtherHash };
  AckResult Advance(Position position, const trail::Hash* expected) {
    {
      const std::lock_guard guard(mu);
      const Position now{head.ack.epoch, head.ack.seq};
      if (head.ack.known && Key(position) <= Key(now)) {
        if (expected == nullptr) return AckResult::kAlready;
        if (Key(position) < Key(now)) return AckResult::kNotFound;
        return head.ack.batch_hash == *expected ? AckResult::kAlready : AckResult::kOtherHash;
      }
      const auto it = std::find_if(in_flight.begin(), in_flight.end(),
                                   [&](const InFlight& f) { return Key(f.position) == Key(position); });
      if (it != in_flight.end()) {
        if (expected != nullptr && it->hash != *expected) return AckResult::kOtherHash;
        for (auto at = in_flight.begin(); at <= it; ++at) AdvanceAck(*at);
        in_flight.erase(in_flight.begin(), it + 1);
        return AckResult::kDone;
      }
    }
    return AdvanceByReading(position, expected);
  }

  // A position that this run has not handed out: found by reading on.
  AckResult AdvanceByReading(Position position, const trail::Hash* expected) {
    Cursor cursor;
    {
      const std::lock_guard guard(mu);
      cursor = acked;
    }
    std::deque<InFlight> passed;
    while (auto found = ReadFrom(&cursor)) {
      const Position at{found->batch.epoch, found->batch.seq};
      if (Key(at) > Key(position)) return AckResult::kNotFound;
      // Only what the acknowledgement sums up is kept of each.
      passed.push_back(
          {at, found->batch.batch_hash, found->after, Bytes(found->batch), 0, UnreadBatches(found->batch)});
      if (passed.size() > 1) {
        passed[1].bytes += passed[0].bytes;
        passed[1].unread += passed[0].unread;
        passed.pop_front();
        ++skipped;
      }
      if (Key(at) != Key(position)) continue;
      if (expected != nullptr && found->batch.batch_hash != *expected) {
        skipped = 0;
        return AckResult::kOtherHash;
      }
      const std::lock_guard guard(mu);
      AdvanceAck(passed.front());
      pending -= std::min(pending, skipped);
      counters.acked += skipped;
      skipped = 0;
      std::erase_if(in_flight, [&](const InFlight& f) { return Key(f.position) <= Key(position); });
      if (read.last_lsn < acked.last_lsn) read = acked;
      return AckResult::kDone;
    }
    skipped = 0;
    return AckResult::kNotFound;
  }
  uint64_t skipped = 0;  // batches that AdvanceByReading passed besides the last

  // Writes the acknowledgement down and deletes what lies below it.
  Status PersistAck() {
    const std::lock_guard write_guard(write_mu);
    SpoolAck ack;
    {
      const std::lock_guard guard(mu);
      ack = head.ack;
    }
    // A lost ack record only means sending again. A lost ack record whose
    // batches are deleted would be a hole: so sync before the first unlink.
    const std::string payload = EncodeAckPayload(ack);
    const bool deletable = Deletable() != nullptr;
    // The reserve is for acks that free a segment.
    if (!deletable && !HasRoom(RecordBytes(payload.size()) + kAckReserve)) return OkStatus();
    NT_RETURN_IF_ERROR(Write(SpoolRecordType::kAck, payload, false, 0, [](SegmentInfo*) {}));
    if (!deletable) return OkStatus();
    if (const int error = ops->Fdatasync(active_fd); error != 0) {
      {
        const std::lock_guard guard(mu);
        ops->Close(active_fd);
        active_fd = -1;
      }
      NT_RETURN_IF_ERROR(StartSegment(0, true));  // its head record holds the ack, and is durable
    }
    NT_CHECK(active_fd >= 0);  // the one that holds the ack is never deleted
    while (const SegmentInfo* segment = Deletable()) {
      const std::string path = segment->path;
      const int error = Remove(*segment);
      const std::lock_guard guard(mu);
      segments.pop_front();
      if (error != 0 && error != -ENOENT) return WriteError(error, fmt::format("unlink {}", path));
    }
    KeepReserves();
    SetLevel(LevelOf(Used(), Usable()));
    return OkStatus();
  }

  // Can the active segment take that many more bytes?
  bool HasRoom(uint64_t bytes) const {
    const std::lock_guard guard(mu);
    return active_fd >= 0 && segments.back().used + bytes <= capacity;
  }

  // The oldest segment, if it is wholly acknowledged, not the active one, and not needed after a crash.
  const SegmentInfo* Deletable() const {
    const std::lock_guard guard(mu);
    if (segments.size() < (active_fd < 0 ? 1U : 2U)) return nullptr;
    const SegmentInfo& front = segments.front();
    const Position ack{head.ack.epoch, head.ack.seq};
    // An eviction in it that no header counts yet.
    if (front.evicted_at > batch_lsns[0]) return nullptr;
    if (front.batches > 0 && (!head.ack.known || Key(front.last_batch) > Key(ack))) return nullptr;
    return &front;
  }

  void UpdateOldest() {
    Cursor cursor;
    {
      const std::lock_guard guard(mu);
      if (pending == 0) {
        oldest_wall_ns = 0;
        return;
      }
      if (!in_flight.empty()) {
        oldest_wall_ns = in_flight.front().wall_ns;
        return;
      }
      cursor = acked;
    }
    const auto found = ReadFrom(&cursor);
    const std::lock_guard guard(mu);
    if (found) oldest_wall_ns = found->wall_ns;
  }

  // After recovery: the cursor behind the last acknowledged batch, and what waits.
  void PlaceCursors() {
    for (const SegmentInfo& segment : segments) {
      pending += segment.batches;
      pending_bytes += segment.batch_bytes;
    }
    const SpoolAck ack = head.ack;
    if (ack.known) {
      // Whole segments below the ack first, by their counts.
      const Position target{ack.epoch, ack.seq};
      for (const SegmentInfo& segment : segments) {
        if (segment.batches > 0 && Key(segment.last_batch) > Key(target)) break;
        pending -= segment.batches;
        pending_bytes -= segment.batch_bytes;
        acked.segment = segment.first_lsn + 1;  // Settle finds the next one
        acked.last_lsn = segment.last_lsn;
      }
      Cursor cursor = acked;
      while (auto found = ReadFrom(&cursor)) {
        if (Key({found->batch.epoch, found->batch.seq}) > Key(target)) break;
        acked = found->after;
        --pending;
        pending_bytes -= Bytes(found->batch);
      }
      if (acked.before.epoch != ack.epoch || acked.before.seq != ack.seq) acked.before_numbered = false;
      acked.before = ack;
    }
    read = acked;
    UpdateOldest();
  }
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SPOOL_SPOOL_IMPL_H_
