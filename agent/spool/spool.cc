// SPDX-License-Identifier: Apache-2.0
#include "agent/spool/spool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "agent/spool/record_format.h"
#include "agent/spool/recovery.h"
#include "agent/spool/segment_scanner.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/log.h"

namespace nodetrail::agent {
namespace {

// Every segment keeps this much for acknowledgements, so that a full disk can
// always be emptied.
constexpr uint64_t kAckReserve = 4096;
constexpr uint64_t kReserveBytes = 64 * 1024;

std::pair<uint64_t, uint64_t> Key(const Spool::Position& p) { return {p.epoch, p.seq}; }

// Worded as errno says; the codes that mean "no room" are told apart.
Status WriteError(int error, std::string_view what) { return ErrnoStatus(-error, fmt::format("spool: {}", what)); }

}  // namespace

struct Spool::Impl {
  // A place between records.
  struct Cursor {
    uint64_t segment = 0;  // first_lsn; 0: before the first segment
    uint64_t offset = kSpoolHeaderBytes;
    uint64_t last_lsn = 0;
    bool known_hash = false;
    trail::Hash hash{};  // of the batch before
  };
  struct InFlight {
    Position position;
    trail::Hash hash{};
    Cursor after;
    uint64_t bytes = 0;
    uint64_t wall_ns = 0;
  };

  SpoolOptions options;
  FileOps* ops = nullptr;
  UniqueFd lock;
  SpoolRecovery recovery;

  std::mutex write_mu;  // the active segment; taken before mu
  int active_fd = -1;
  uint64_t next_lsn = 1;

  mutable std::mutex mu;  // what follows
  std::condition_variable changed;
  std::deque<SegmentInfo> segments;  // the last is the active one if active_fd >= 0
  SpoolHead head;
  Cursor read;
  Cursor acked;
  std::deque<InFlight> in_flight;
  uint64_t pending = 0;
  uint64_t pending_bytes = 0;
  uint64_t oldest_wall_ns = 0;
  SpoolStats counters;
  bool stopped = false;

  int read_fd = -1;  // ship thread only
  uint64_t read_fd_segment = 0;

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
    return total;
  }

  // A new segment with room for a record of `record` bytes, whose head record
  // is durable.
  Status StartSegment(uint64_t record, bool for_ack) {
    Status status = CreateSegment(record, options.segment_bytes, for_ack);
    if (!for_ack || status.code() != Code::kResourceExhausted) return status;
    // The disk is full, and only an acknowledgement can empty it: a small
    // segment, in the room that the reserve file kept.
    ops->Unlink(ReservePath());
    return CreateSegment(record, 0, for_ack);
  }

  std::string ReservePath() const { return options.dir + "/reserve"; }

  // Best effort: on a disk that is full already there is none.
  void KeepReserve() {
    const int fd = ops->Open(ReservePath(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (fd < 0) return;
    if (ops->Fallocate(fd, kReserveBytes) != 0) ops->Unlink(ReservePath());
    ops->Close(fd);
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
    const uint64_t size = std::max(wanted, overhead + record);
    if (!may_pass_limit && DiskBytes() + size > options.max_bytes) {
      return ResourceExhausted(fmt::format("spool: {} is full: {} bytes wait for the collector, spool.max_bytes is {}",
                                           options.dir, DiskBytes(), options.max_bytes));
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
    // Only now: until there is another, the old one still takes acks.
    Retire(false);
    const std::lock_guard guard(mu);
    SegmentInfo info;
    info.first_lsn = next_lsn;
    info.salt = header.salt;
    info.path = path;
    info.used = bytes.size();
    info.bytes = std::max<uint64_t>(allocated, bytes.size());
    info.last_lsn = next_lsn++;
    segments.push_back(std::move(info));
    capacity = size;
    active_fd = fd;
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
  Status Write(SpoolRecordType type, std::string_view payload, bool sync, uint64_t reserve, Done done) {
    const uint64_t size = RecordBytes(payload.size());
    Status status;
    for (int attempt = 0; attempt < 2; ++attempt) {
      uint64_t offset = 0;
      SpoolSalt salt;
      const auto fits = [&] {
        if (active_fd < 0) return false;
        const std::lock_guard guard(mu);
        offset = segments.back().used;
        salt = segments.back().salt;
        return offset + size + reserve <= capacity;
      };
      if (!fits()) {
        NT_RETURN_IF_ERROR(StartSegment(size, type != SpoolRecordType::kBatch));
        NT_CHECK(fits());
      }
      const std::string bytes = EncodeRecord(type, next_lsn, payload, salt);
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

  Status Append(const trail::SealedBatch& batch) {
    const std::lock_guard write_guard(write_mu);
    const std::string payload = EncodeBatchPayload(batch.leaf, batch.body);
    Status status = Write(SpoolRecordType::kBatch, payload, true, kAckReserve, [&](SegmentInfo* segment) {
      ++segment->batches;
      segment->batch_bytes += batch.leaf.size() + batch.body.size();
      segment->last_batch = {batch.header.epoch(), batch.header.seq()};
      head.head = trail::HeadOf(batch.header, batch.batch_hash);
      if (pending == 0) oldest_wall_ns = batch.header.sealed_wall_ns();
      ++pending;
      pending_bytes += batch.leaf.size() + batch.body.size();
      ++counters.appended;
    });
    if (status.code() == Code::kResourceExhausted) {
      const std::lock_guard guard(mu);
      ++counters.full_refusals;
    } else if (!status.ok()) {
      status = Status(Code::kUnavailable, std::string(status.message()));
    }
    if (status.ok()) changed.notify_all();
    return status;
  }

  // ---- reading: the ship thread ----

  const SegmentInfo* Segment(uint64_t first_lsn) const {
    const auto it =
        std::find_if(segments.begin(), segments.end(), [&](const SegmentInfo& s) { return s.first_lsn >= first_lsn; });
    return it == segments.end() ? nullptr : &*it;
  }

  // Moves `cursor` to a segment that has bytes after it; false: nothing there. mu is held.
  bool Settle(Cursor* cursor) const {
    while (true) {
      const SegmentInfo* segment = Segment(cursor->segment);
      if (segment == nullptr) return false;
      if (segment->first_lsn != cursor->segment) {
        cursor->segment = segment->first_lsn;
        cursor->offset = kSpoolHeaderBytes;
      }
      if (cursor->offset < segment->used) return true;
      const SegmentInfo* next = Segment(cursor->segment + 1);
      if (next == nullptr) return false;
      cursor->segment = next->first_lsn;
      cursor->offset = kSpoolHeaderBytes;
    }
  }

  struct Found {
    SpooledBatch batch;
    Cursor after;
    uint64_t wall_ns = 0;
  };
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
      if (read_fd < 0 || read_fd_segment != segment.first_lsn) {
        if (read_fd >= 0) ops->Close(read_fd);
        read_fd = ops->Open(segment.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
        read_fd_segment = segment.first_lsn;
      }
      if (read_fd < 0) {
        log::Error(fmt::format("spool: open {}: {}: its batches can't be sent", segment.path, ErrnoName(-read_fd)));
        cursor.offset = segment.used;
        continue;
      }
      SegmentScanner scanner(ops, read_fd, segment.salt, cursor.offset, segment.used,
                             std::max(cursor.last_lsn, segment.first_lsn - 1), before_lsn);
      const ScanItem item = scanner.Next();
      if (item.kind == ScanItem::Kind::kError || item.kind == ScanItem::Kind::kTorn ||
          item.kind == ScanItem::Kind::kRot) {
        log::Error(fmt::format("spool: {} at {}: unreadable ({}): the batches there can't be sent", segment.path,
                               item.offset, item.error != 0 ? ErrnoName(-item.error) : "damaged"));
      }
      if (item.kind != ScanItem::Kind::kRecord) {
        cursor.offset = item.kind == ScanItem::Kind::kRot ? item.end : segment.used;
        continue;
      }
      cursor.offset = item.end;
      cursor.last_lsn = item.lsn;
      if (item.type != SpoolRecordType::kBatch) continue;
      const auto payload = DecodeBatchPayload(item.payload);
      const auto leaf =
          payload ? trail::ParseLeaf(payload->leaf) : Result<trail::ParsedLeaf>(InvalidArgument("no batch"));
      if (!leaf.ok()) continue;  // recovery raised the alarm
      Found found;
      found.batch.lsn = item.lsn;
      found.batch.epoch = leaf->header.epoch();
      found.batch.seq = leaf->header.seq();
      found.batch.batch_hash = leaf->batch_hash;
      found.batch.leaf = std::string(payload->leaf);
      found.batch.body = std::string(payload->body);
      found.batch.after_hole = cursor.known_hash && leaf->header.prev_hash() != trail::View(cursor.hash);
      found.wall_ns = leaf->header.sealed_wall_ns();
      cursor.known_hash = true;
      cursor.hash = leaf->batch_hash;
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
                             found->batch.leaf.size() + found->batch.body.size(),
                             found->wall_ns});
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
    pending -= std::min<uint64_t>(pending, 1);
    pending_bytes -= std::min(pending_bytes, to.bytes);
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
          {at, found->batch.batch_hash, found->after, found->batch.leaf.size() + found->batch.body.size(), 0});
      if (passed.size() > 1) {
        passed[1].bytes += passed[0].bytes;
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
      if (std::pair(read.segment, read.offset) < std::pair(acked.segment, acked.offset)) read = acked;
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
      const int error = ops->Unlink(path);
      const std::lock_guard guard(mu);
      segments.pop_front();
      if (error != 0 && error != -ENOENT) return WriteError(error, fmt::format("unlink {}", path));
    }
    return OkStatus();
  }

  // Can the active segment take that many more bytes?
  bool HasRoom(uint64_t bytes) const {
    const std::lock_guard guard(mu);
    return active_fd >= 0 && segments.back().used + bytes <= capacity;
  }

  // The oldest segment, if it is wholly acknowledged and not the active one.
  const SegmentInfo* Deletable() const {
    const std::lock_guard guard(mu);
    if (segments.size() < (active_fd < 0 ? 1U : 2U)) return nullptr;
    const SegmentInfo& front = segments.front();
    const Position ack{head.ack.epoch, head.ack.seq};
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
      }
      Cursor cursor = acked;
      while (auto found = ReadFrom(&cursor)) {
        if (Key({found->batch.epoch, found->batch.seq}) > Key(target)) break;
        acked = found->after;
        --pending;
        pending_bytes -= found->batch.leaf.size() + found->batch.body.size();
      }
      acked.known_hash = true;
      acked.hash = ack.batch_hash;
    }
    read = acked;
    UpdateOldest();
  }
};

Spool::Spool(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Spool::~Spool() = default;

Result<std::unique_ptr<Spool>> Spool::Open(const SpoolOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->ops = options.ops != nullptr ? options.ops : &SystemFileOps();
  NT_RETURN_IF_ERROR(MakeDirectories(options.dir, 0700));
  NT_RETURN_IF_ERROR(MakeDirectories(options.dir + "/quarantine", 0700));
  const std::string lock_path = options.dir + "/LOCK";
  NT_ASSIGN_OR_RETURN(impl->lock, OpenFd(lock_path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(impl->lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return FailedPrecondition(fmt::format("spool: {}: another agent uses this spool; stop it first", options.dir));
    }
    return ErrnoStatus(errno, fmt::format("spool: lock {}", lock_path));
  }
  RecoveredSpool recovered = RecoverSpool(options.dir, impl->ops);
  impl->segments = std::move(recovered.segments);
  impl->head = std::move(recovered.head);
  impl->next_lsn = recovered.next_lsn;
  impl->PlaceCursors();
  impl->KeepReserve();
  impl->recovery = std::move(recovered.report);
  impl->recovery.batches_pending = impl->pending;
  return std::unique_ptr<Spool>(new Spool(std::move(impl)));
}

const SpoolRecovery& Spool::recovery() const { return impl_->recovery; }
Status Spool::Append(const trail::SealedBatch& batch) { return impl_->Append(batch); }
std::optional<SpooledBatch> Spool::Next(std::chrono::milliseconds timeout) { return impl_->Next(timeout); }

void Spool::Rewind() {
  const std::lock_guard guard(impl_->mu);
  impl_->read = impl_->acked;
  impl_->in_flight.clear();
}

Status Spool::Ack(uint64_t epoch, uint64_t seq) {
  switch (impl_->Advance({epoch, seq}, nullptr)) {
    case Impl::AckResult::kAlready: return OkStatus();
    case Impl::AckResult::kDone: break;
    default: return NotFound(fmt::format("spool: ack of {}:{}, which is not here", epoch, seq));
  }
  impl_->UpdateOldest();
  return impl_->PersistAck();
}

Status Spool::ResumeAfter(uint64_t epoch, uint64_t seq, const trail::Hash& batch_hash) {
  switch (impl_->Advance({epoch, seq}, &batch_hash)) {
    case Impl::AckResult::kAlready: return OkStatus();
    case Impl::AckResult::kDone: break;
    case Impl::AckResult::kNotFound: return NotFound(fmt::format("spool: {}:{} is not here", epoch, seq));
    case Impl::AckResult::kOtherHash:
      return FailedPrecondition(
          fmt::format("spool: the collector holds another batch {}:{} than this spool", epoch, seq));
  }
  impl_->UpdateOldest();
  return impl_->PersistAck();
}

void Spool::Stop() {
  {
    const std::lock_guard guard(impl_->mu);
    impl_->stopped = true;
  }
  impl_->changed.notify_all();
}

trail::ChainHead Spool::head() const {
  const std::lock_guard guard(impl_->mu);
  return impl_->head.head;
}

SpoolStats Spool::stats() const {
  const std::lock_guard guard(impl_->mu);
  SpoolStats out = impl_->counters;
  for (const SegmentInfo& segment : impl_->segments) out.bytes += segment.bytes;
  out.batches_pending = impl_->pending;
  out.pending_bytes = impl_->pending_bytes;
  out.oldest_wall_ns = impl_->oldest_wall_ns;
  return out;
}

std::optional<Spool::Position> Spool::oldest_pending() const {
  Impl::Cursor cursor;
  {
    const std::lock_guard guard(impl_->mu);
    if (impl_->pending == 0) return std::nullopt;
    if (!impl_->in_flight.empty()) return impl_->in_flight.front().position;
    cursor = impl_->acked;
  }
  const auto found = impl_->ReadFrom(&cursor);
  if (!found) return std::nullopt;
  return Position{found->batch.epoch, found->batch.seq};
}

}  // namespace nodetrail::agent
