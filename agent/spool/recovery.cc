// SPDX-License-Identifier: Apache-2.0
#include "agent/spool/recovery.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "agent/spool/compaction.h"
#include "agent/spool/segment_scanner.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/guard.h"

namespace nodetrail::agent {
namespace {

namespace fs = std::filesystem;

constexpr int kOpenFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
constexpr size_t kCopyChunk = 256 * 1024;

class Recovery {
 public:
  Recovery(const std::string& dir, FileOps* ops) : dir_(dir), ops_(ops) {}

  RecoveredSpool Run() {
    std::vector<SegmentInfo> found = FindSegments();
    for (size_t i = 0; i < found.size(); ++i) {
      const uint64_t before = i + 1 < found.size() ? found[i + 1].first_lsn : UINT64_MAX;
      if (ReadSegment(&found[i], before)) out_.segments.push_back(std::move(found[i]));
    }
    if (!out_.segments.empty()) MakeDurable(out_.segments.back());
    NoteFrontLoss();
    CountEvictions();
    if (last_leaf_ && NT_GUARD(spool_signature, !trail::VerifyLeafSignature(*last_leaf_)))
      Tampered("the newest batch is wrongly signed");
    out_.report.head = out_.head.head;
    return std::move(out_);
  }

 private:
  void Say(std::string text) { out_.report.messages.push_back(std::move(text)); }

  void Tampered(std::string_view what) {
    ++out_.report.tampered;
    Say(fmt::format("spool: TAMPER: {}; the bytes are kept, the collector will judge them", what));
  }

  void Quarantine(const std::string& path, std::string_view why) {
    ++out_.report.quarantined_files;
    const bool moved = !QuarantineFile(dir_, path, ops_).empty();
    Say(fmt::format("spool: {}: {}; {}", path, why, moved ? "moved to quarantine" : "could not be moved, ignored"));
  }

  // Files named like segments that are segments, by LSN.
  std::vector<SegmentInfo> FindSegments() {
    std::vector<SegmentInfo> found;
    std::error_code error;
    std::vector<std::string> paths;
    for (fs::directory_iterator it(dir_, error), end; !error && it != end; it.increment(error)) {
      if (it->path().extension() == ".seg") paths.push_back(it->path().string());
      // What a compaction had not finished: the segment itself is still there.
      if (it->path().filename() == kCompactionTemp) ops_->Unlink(it->path().string());
    }
    if (error) Say(fmt::format("spool: list {}: {}", dir_, error.message()));
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) {
      // Names are never used twice, not even that of a file that is set aside.
      if (const auto lsn = ParseSegmentName(fs::path(path).filename().string()); lsn && *lsn < UINT64_MAX / 2) {
        out_.next_lsn = std::max(out_.next_lsn, *lsn + 1);
      }
      if (auto segment = OpenSegment(path)) found.push_back(std::move(*segment));
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const SegmentInfo& a, const SegmentInfo& b) { return a.first_lsn < b.first_lsn; });
    // A copy under another name must not count twice.
    for (size_t i = 1; i < found.size();) {
      if (found[i].first_lsn != found[i - 1].first_lsn) {
        ++i;
        continue;
      }
      const bool first_is_named = fs::path(found[i - 1].path).filename() == SegmentName(found[i - 1].first_lsn);
      const size_t extra = first_is_named ? i : i - 1;
      Quarantine(found[extra].path, "a second segment with the same first LSN");
      found.erase(found.begin() + static_cast<std::ptrdiff_t>(extra));
    }
    return found;
  }

  std::optional<SegmentInfo> OpenSegment(const std::string& path) {
    const int fd = ops_->Open(path, kOpenFlags, 0);
    if (fd < 0) {
      Quarantine(path, fmt::format("open: {}", ErrnoName(-fd)));
      return std::nullopt;
    }
    const int64_t size = ops_->RegularSize(fd);
    std::string bytes(kSpoolHeaderBytes, '\0');
    const bool sized = size >= 0 && static_cast<uint64_t>(size) <= kMaxSpoolSegment;
    const ssize_t n = sized ? ops_->Pread(fd, bytes.data(), bytes.size(), 0) : -1;
    std::optional<SpoolSegmentHeader> header;
    bool empty = size == 0;
    if (n == static_cast<ssize_t>(kSpoolHeaderBytes)) {
      header = DecodeSegmentHeader(bytes);
      if (!header) empty = AllZero(fd, static_cast<uint64_t>(size));
    }
    ops_->Close(fd);
    if (!header) {
      if (empty) {
        // A crash between making the file and syncing its header.
        ops_->Unlink(path);
        return std::nullopt;
      }
      Quarantine(path, !sized ? "not a regular file of a segment's size" : "not a segment");
      return std::nullopt;
    }
    SegmentInfo info;
    info.first_lsn = header->first_lsn;
    info.salt = header->salt;
    info.path = path;
    info.bytes = static_cast<uint64_t>(size);
    return info;
  }

  bool AllZero(int fd, uint64_t size) {
    std::string chunk(kCopyChunk, '\0');
    for (uint64_t at = 0; at < size;) {
      const ssize_t n = ops_->Pread(fd, chunk.data(), chunk.size(), at);
      if (n <= 0) return false;
      if (chunk.find_first_not_of('\0') < static_cast<size_t>(n)) return false;
      at += static_cast<uint64_t>(n);
    }
    return true;
  }

  // False: unreadable, and moved away.
  bool ReadSegment(SegmentInfo* segment, uint64_t before_lsn) {
    const int fd = ops_->Open(segment->path, kOpenFlags, 0);
    if (fd < 0) {
      Quarantine(segment->path, fmt::format("open: {}", ErrnoName(-fd)));
      return false;
    }
    SegmentScanner scanner(ops_, fd, segment->salt, kSpoolHeaderBytes, segment->bytes, segment->first_lsn - 1,
                           before_lsn);
    bool good = true;
    while (true) {
      const ScanItem item = scanner.Next();
      if (item.kind == ScanItem::Kind::kEnd) break;
      if (item.kind == ScanItem::Kind::kError) {
        good = false;
        Quarantine(segment->path, fmt::format("read at {}: {}", item.offset, ErrnoName(-item.error)));
        break;
      }
      if (item.kind == ScanItem::Kind::kRecord) {
        segment->used = item.end;
        segment->last_lsn = item.lsn;
        out_.next_lsn = std::max(out_.next_lsn, item.lsn + 1);
        TakeRecord(item, segment);
        continue;
      }
      Damage(fd, item, segment);
    }
    ops_->Close(fd);
    if (good) Trim(segment);
    return good;
  }

  void Damage(int fd, const ScanItem& item, const SegmentInfo* segment) {
    const uint64_t size = item.end - item.offset;
    const bool torn = item.kind == ScanItem::Kind::kTorn;
    if (torn) {
      out_.report.torn_bytes += size;
    } else {
      ++out_.report.rotten_ranges;
      out_.report.rotten_bytes += size;
    }
    const bool kept = CopyRange(fd, item.offset, size, segment->path);
    Say(fmt::format("spool: {} at {}: {} bytes {}; {}", segment->path, item.offset, size,
                    torn ? "of an append that never finished" : "are damaged, later records are good",
                    kept ? "a copy is in quarantine" : "no copy could be kept"));
  }

  bool CopyRange(int fd, uint64_t offset, uint64_t size, const std::string& path) {
    const std::string name = fmt::format("{}/quarantine/{}-{:x}.bad", dir_, fs::path(path).filename().string(), offset);
    const int out = ops_->Open(name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (out < 0) return false;
    std::string chunk(kCopyChunk, '\0');
    uint64_t done = 0;
    while (done < size) {
      const auto want = static_cast<size_t>(std::min<uint64_t>(chunk.size(), size - done));
      const ssize_t n = ops_->Pread(fd, chunk.data(), want, offset + done);
      if (n <= 0 || ops_->Pwrite(out, chunk.data(), static_cast<size_t>(n), done) != n) break;
      done += static_cast<uint64_t>(n);
    }
    ops_->Close(out);
    return done == size;
  }

  // A segment of a former run is never written to again: give back what it
  // does not use, the torn tail included.
  void Trim(SegmentInfo* segment) {
    if (segment->bytes <= segment->used) return;
    const int fd = ops_->Open(segment->path, O_RDWR | O_NOFOLLOW, 0);
    if (fd < 0) return;
    if (ops_->Ftruncate(fd, segment->used) == 0) segment->bytes = segment->used;
    if (ops_->Fdatasync(fd) != 0) Say(fmt::format("spool: {}: fdatasync failed", segment->path));
    ops_->Close(fd);
  }

  // What was read of the newest segment counts from here on, and may be in the
  // page cache only: its writer died before its sync, or after one that
  // failed. The kernel takes such pages for written; so they are written again.
  void MakeDurable(const SegmentInfo& segment) {
    const int fd = ops_->Open(segment.path, O_RDWR | O_NOFOLLOW, 0);
    int error = std::min(fd, 0);
    std::string chunk(kCopyChunk, '\0');
    for (uint64_t at = 0; error == 0 && at < segment.used;) {
      const ssize_t n = ops_->Pread(fd, chunk.data(), std::min<uint64_t>(chunk.size(), segment.used - at), at);
      if (n <= 0) {
        error = n < 0 ? static_cast<int>(n) : -EIO;
        break;
      }
      for (ssize_t done = 0; error == 0 && done < n;) {
        const ssize_t w =
            ops_->Pwrite(fd, chunk.data() + done, static_cast<size_t>(n - done), at + static_cast<uint64_t>(done));
        if (w <= 0) error = w < 0 ? static_cast<int>(w) : -ENOSPC;
        else done += w;
      }
      at += static_cast<uint64_t>(n);
    }
    if (error == 0) error = ops_->Fdatasync(fd);
    if (fd >= 0) ops_->Close(fd);
    if (error == 0) error = ops_->SyncDir(dir_);
    if (error != 0) Say(fmt::format("spool: {}: write its end again: {}", segment.path, ErrnoName(-error)));
  }

  void TakeRecord(const ScanItem& item, SegmentInfo* segment) {
    switch (item.type) {
      case SpoolRecordType::kAck:
        if (const auto ack = DecodeAckPayload(item.payload)) TakeAck(*ack);
        return;
      case SpoolRecordType::kHead:
        if (const auto head = DecodeHeadPayload(item.payload)) TakeHead(*head);
        return;
      case SpoolRecordType::kEvicted: return TakeEvicted(item, segment);
      case SpoolRecordType::kBatch: break;
    }
    const auto payload = DecodeBatchPayload(item.payload);
    if (!TakeBatch(item, payload ? payload->leaf : std::string_view(), payload ? payload->body.size() : 0, segment)) {
      return;
    }
    NoteEvictable(item.cls, payload->body.size(), segment);
  }

  // The leaf, and in the body's place the statement about this very batch. Who
  // signed that, the collector judges.
  void TakeEvicted(const ScanItem& item, SegmentInfo* segment) {
    const auto payload = DecodeEvictedPayload(item.payload);
    if (!TakeBatch(item, payload ? payload->leaf : std::string_view(), payload ? payload->eviction.size() : 0,
                   segment)) {
      return;
    }
    const trail::v1::BatchHeader& h = last_leaf_->header;
    const auto eviction = trail::ParseEviction(payload->eviction);
    if (!eviction.ok() || eviction->statement.batch_hash() != trail::View(last_leaf_->batch_hash) ||
        eviction->statement.body_sha256() != h.body_sha256()) {
      Tampered(fmt::format("{} at {}: an eviction that is not of its batch", segment->path, item.offset));
    }
    segment->evicted_at = std::max(segment->evicted_at, payload->at_lsn);
    evictions_.push_back({payload->at_lsn, h.event_count()});
    // Those before the last batch but one are counted in the last one's header.
    while (!evictions_.empty() && evictions_.front().at_lsn <= out_.batch_lsns[0]) evictions_.pop_front();
  }

  bool TakeBatch(const ScanItem& item, std::string_view leaf_bytes, size_t rest, SegmentInfo* segment) {
    auto leaf =
        leaf_bytes.empty() ? Result<trail::ParsedLeaf>(InvalidArgument("no batch")) : trail::ParseLeaf(leaf_bytes);
    if (!leaf.ok()) {
      Tampered(fmt::format("{} at {}: {}", segment->path, item.offset, leaf.status().message()));
      return false;
    }
    out_.batch_lsns = {out_.batch_lsns[1], item.lsn};
    const trail::v1::BatchHeader& h = leaf->header;
    CheckChain(h);
    ++segment->batches;
    segment->batch_bytes += leaf_bytes.size() + rest;
    segment->last_batch = {h.epoch(), h.seq()};
    out_.head.head = trail::HeadOf(h, leaf->batch_hash);
    last_leaf_ = std::move(*leaf);
    return true;
  }

  // Evictions that no header counts yet, of batches that are acknowledged too.
  void CountEvictions() {
    for (const Eviction& e : evictions_) {
      if (e.at_lsn <= out_.batch_lsns[0]) continue;
      ++out_.uncounted_batches;
      out_.uncounted_events += e.events;
    }
  }

  void TakeAck(const SpoolAck& ack) {
    if (ack.known &&
        (!out_.head.ack.known || std::pair(ack.epoch, ack.seq) > std::pair(out_.head.ack.epoch, out_.head.ack.seq))) {
      out_.head.ack = ack;
    }
  }

  void TakeHead(const SpoolHead& head) {
    TakeAck(head.ack);
    if (!head.head.known) return;
    if (!out_.head.head.known) {
      // The oldest segment: what was appended before it is acknowledged, or gone.
      front_ = head.head;
      out_.head.head = head.head;
    } else if (std::pair(head.head.epoch, head.head.seq) > std::pair(out_.head.head.epoch, out_.head.head.seq)) {
      const trail::ChainHead& before = out_.head.head;
      NoteMissing({head.head.epoch, head.head.epoch == before.epoch ? before.seq + 1 : 0, head.head.seq});
      out_.head.head = head.head;
      last_leaf_.reset();
    }
  }

  // Does the batch follow the one before?
  void CheckChain(const trail::v1::BatchHeader& h) {
    const trail::ChainHead& head = out_.head.head;
    if (!head.known) {
      NoteFront(h);
      return;
    }
    if (std::pair(h.epoch(), h.seq()) <= std::pair(head.epoch, head.seq)) {
      Tampered(fmt::format("batch {}:{} after {}:{}", h.epoch(), h.seq(), head.epoch, head.seq));
      return;
    }
    if (const auto missing = MissingBetween({true, head.epoch, head.seq, head.batch_hash}, h)) {
      NoteMissing(*missing);
      return;
    }
    const bool linked = h.prev_hash() == trail::View(head.batch_hash);
    if (h.epoch() == head.epoch) {
      if (NT_GUARD(spool_chain, !linked || h.signer_key() != head.next_key)) {
        Tampered(fmt::format("batch {}:{} does not continue {}:{}", h.epoch(), h.seq(), head.epoch, head.seq));
      }
      return;
    }
    trail::v1::EpochStatement s;
    if (linked || !s.ParseFromString(h.epoch_open().statement()) || !s.prev_known()) return;
    Tampered(fmt::format("epoch {} does not continue {}:{}", h.epoch(), head.epoch, head.seq));
  }

  void NoteMissing(const SpoolRecovery::Missing& m) {
    out_.report.missing.push_back(m);
    Say(fmt::format("spool: batches {}:{} to {}:{} are missing", m.epoch, m.from_seq, m.epoch, m.to_seq));
  }

  // The first batch here, with no head record before it that could be read. A
  // spool begins with an agent's first batch; another one had something before
  // it, which rotted unless it was acknowledged.
  void NoteFront(const trail::v1::BatchHeader& h) {
    trail::ChainHead before;
    trail::v1::EpochStatement s;
    if (h.seq() > 0) {
      before.epoch = h.epoch();
      before.seq = h.seq() - 1;
    } else if (s.ParseFromString(h.epoch_open().statement()) && s.prev_known()) {
      before.epoch = s.prev_epoch();
      before.seq = s.prev_last_seq();
    } else {
      return;
    }
    before.known = true;
    front_ = before;
  }

  // Segments in front of the oldest one that were not acknowledged.
  void NoteFrontLoss() {
    const SpoolAck& ack = out_.head.ack;
    if (!front_ || (ack.known && std::pair(ack.epoch, ack.seq) >= std::pair(front_->epoch, front_->seq))) return;
    const uint64_t from = ack.known && ack.epoch == front_->epoch ? ack.seq + 1 : 0;
    out_.report.missing.push_back({front_->epoch, from, front_->seq});
    Say(fmt::format("spool: batches {}:{} to {}:{} are missing: segments are gone", front_->epoch, from, front_->epoch,
                    front_->seq));
  }

  std::string dir_;
  FileOps* ops_;
  RecoveredSpool out_;
  std::optional<trail::ChainHead> front_;
  std::optional<trail::ParsedLeaf> last_leaf_;
  struct Eviction {
    uint64_t at_lsn = 0;
    uint64_t events = 0;
  };
  std::deque<Eviction> evictions_;
};

}  // namespace

std::optional<SpoolRecovery::Missing> MissingBetween(const SpoolAck& before, const trail::v1::BatchHeader& h) {
  if (before.known && h.epoch() == before.epoch) {
    if (h.seq() <= before.seq + 1) return std::nullopt;
    return SpoolRecovery::Missing{h.epoch(), before.seq + 1, h.seq() - 1};
  }
  if (h.seq() > 0) return SpoolRecovery::Missing{h.epoch(), 0, h.seq() - 1};
  trail::v1::EpochStatement s;
  const bool linked = before.known && h.prev_hash() == trail::View(before.batch_hash);
  if (linked || !s.ParseFromString(h.epoch_open().statement()) || !s.prev_known()) return std::nullopt;
  const std::pair last(s.prev_epoch(), s.prev_last_seq());
  if (before.known && last <= std::pair(before.epoch, before.seq)) return std::nullopt;
  const uint64_t from = before.known && last.first == before.epoch ? before.seq + 1 : 0;
  return SpoolRecovery::Missing{last.first, from, last.second};
}

std::string QuarantineFile(const std::string& dir, const std::string& path, FileOps* ops, std::string_view suffix) {
  const std::string name = fs::path(path).filename().string() + std::string(suffix);
  for (int i = 0; i < 1000; ++i) {
    const std::string to =
        i == 0 ? fmt::format("{}/quarantine/{}", dir, name) : fmt::format("{}/quarantine/{}.{}", dir, name, i);
    std::error_code error;
    const auto status = fs::symlink_status(to, error);  // rename would replace it
    if (status.type() != fs::file_type::not_found) continue;
    return ops->Rename(path, to) == 0 ? to : std::string();
  }
  return {};
}

RecoveredSpool RecoverSpool(const std::string& dir, FileOps* ops) { return Recovery(dir, ops).Run(); }

}  // namespace nodetrail::agent
