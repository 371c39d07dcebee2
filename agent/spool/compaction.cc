// SPDX-License-Identifier: Apache-2.0
#include "agent/spool/compaction.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <optional>
#include <utility>

#include "agent/spool/segment_scanner.h"

namespace nodetrail::agent {
namespace {

constexpr int kReadFlags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
constexpr size_t kWriteChunk = 256 * 1024;

// The new file, written front to back.
class Output {
 public:
  Output(FileOps* ops, int fd) : ops_(ops), fd_(fd) {}
  int Append(std::string_view bytes) {
    buffer_ += bytes;
    size_ += bytes.size();
    return buffer_.size() >= kWriteChunk ? Flush() : 0;
  }
  int Flush() {
    std::string_view rest = buffer_;
    while (!rest.empty()) {
      const ssize_t n = ops_->Pwrite(fd_, rest.data(), rest.size(), written_);
      if (n < 0) return static_cast<int>(n);
      if (n == 0) return -ENOSPC;
      written_ += static_cast<uint64_t>(n);
      rest.remove_prefix(static_cast<size_t>(n));
    }
    buffer_.clear();
    return 0;
  }
  [[nodiscard]] uint64_t size() const { return size_; }

 private:
  FileOps* ops_;
  int fd_;
  std::string buffer_;
  uint64_t written_ = 0;
  uint64_t size_ = 0;
};

// One compaction; owns both descriptors.
class Compactor {
 public:
  Compactor(FileOps* ops, const SegmentInfo& segment, const CompactRequest& request)
      : ops_(ops), segment_(segment), request_(request) {}
  ~Compactor() {
    if (in_ >= 0) ops_->Close(in_);
    if (out_ >= 0) ops_->Close(out_);
  }
  Compactor(const Compactor&) = delete;
  Compactor& operator=(const Compactor&) = delete;

  Result<Compaction> Run(const std::string& temp) {
    in_ = ops_->Open(segment_.path, kReadFlags, 0);
    if (in_ < 0) return ErrnoStatus(-in_, fmt::format("spool: open {}", segment_.path));
    out_ = ops_->Open(temp, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (out_ < 0) return ErrnoStatus(-out_, fmt::format("spool: create {}", temp));
    Output output(ops_, out_);
    SpoolSegmentHeader header;
    header.first_lsn = segment_.first_lsn;
    trail::RandomBytes(header.salt);
    made_.segment = segment_;
    made_.segment.salt = header.salt;
    made_.segment.batch_bytes = 0;
    made_.segment.evictable = {};
    int error = output.Append(EncodeSegmentHeader(header));
    SegmentScanner scanner(ops_, in_, segment_.salt, kSpoolHeaderBytes, segment_.used, segment_.first_lsn - 1,
                           request_.before_lsn);
    while (error == 0) {
      const ScanItem item = scanner.Next();
      if (item.kind == ScanItem::Kind::kEnd) break;
      if (item.kind != ScanItem::Kind::kRecord) {
        return DataLoss(fmt::format("spool: {} at {}: damaged, not compacted", segment_.path, item.offset));
      }
      NT_ASSIGN_OR_RETURN(const std::string record, Rewrite(item, header.salt));
      error = output.Append(record);
    }
    if (error == 0 && made_.evicted.empty()) return NotFound("spool: nothing to give up");
    if (error == 0) error = output.Flush();
    if (error == 0) error = ops_->Fdatasync(out_);
    if (error != 0) return ErrnoStatus(-error, fmt::format("spool: write {}", temp));
    made_.segment.used = made_.segment.bytes = output.size();
    made_.segment.evicted_at = request_.at_lsn;
    return std::move(made_);
  }

 private:
  // The record as it is in the new file.
  Result<std::string> Rewrite(const ScanItem& item, const SpoolSalt& salt) {
    const auto copy = [&] { return EncodeRecord(item.type, item.lsn, item.payload, salt, item.cls); };
    if (item.type == SpoolRecordType::kEvicted) {
      if (const auto kept = DecodeEvictedPayload(item.payload)) {
        made_.segment.batch_bytes += kept->leaf.size() + kept->eviction.size();
      }
      return copy();
    }
    if (item.type != SpoolRecordType::kBatch) return copy();
    const auto batch = DecodeBatchPayload(item.payload);
    if (!batch) return copy();
    const auto keep = [&](bool later) {
      made_.segment.batch_bytes += batch->leaf.size() + batch->body.size();
      if (later) NoteEvictable(item.cls, batch->body.size(), &made_.segment);
      return copy();
    };
    const bool low = item.cls != EvidenceClass::kUnstated && item.cls <= request_.max_class;
    if (!low || batch->body.size() < kMinEvictableBody) return keep(!low);
    if (item.lsn <= request_.floor_lsn || made_.evicted.size() >= request_.max_evictions) return keep(true);
    const auto leaf = trail::ParseLeaf(batch->leaf);
    if (!leaf.ok()) return keep(false);  // recovery raised the alarm
    const trail::v1::BatchHeader& h = leaf->header;
    if (request_.ack.known && std::pair(h.epoch(), h.seq()) <= std::pair(request_.ack.epoch, request_.ack.seq)) {
      return keep(false);
    }
    auto eviction = request_.signer->Sign(h, leaf->batch_hash);
    if (!eviction.ok()) {
      return FailedPrecondition(fmt::format("spool: sign for an evicted body: {}", eviction.status().message()));
    }
    if (eviction->size() >= batch->body.size()) return keep(false);
    made_.segment.batch_bytes += batch->leaf.size() + eviction->size();
    made_.evicted.push_back(DescribeEviction(h));
    return EncodeRecord(SpoolRecordType::kEvicted, item.lsn,
                        EncodeEvictedPayload(request_.at_lsn, batch->leaf, *eviction), salt, item.cls);
  }

  FileOps* ops_;
  const SegmentInfo& segment_;
  const CompactRequest& request_;
  Compaction made_;
  int in_ = -1;
  int out_ = -1;
};

}  // namespace

EvictedBody DescribeEviction(const trail::v1::BatchHeader& header) {
  return {header.epoch(), header.seq(), header.event_count(), header.first_wall_ns(), header.last_wall_ns()};
}

void NoteEvictable(EvidenceClass cls, uint64_t body_bytes, SegmentInfo* segment) {
  if (body_bytes >= kMinEvictableBody) segment->evictable[static_cast<size_t>(cls)] += body_bytes;
}

Result<Compaction> WriteCompacted(FileOps* ops, const SegmentInfo& segment, const std::string& temp,
                                  const CompactRequest& request) {
  auto made = Compactor(ops, segment, request).Run(temp);
  request.signer->Done();
  if (!made.ok()) ops->Unlink(temp);
  return made;
}

}  // namespace nodetrail::agent
