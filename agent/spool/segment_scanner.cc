// SPDX-License-Identifier: Apache-2.0
#include "agent/spool/segment_scanner.h"

#include <algorithm>
#include <cerrno>

namespace nodetrail::agent {
namespace {

constexpr size_t kChunkBytes = 256 * 1024;  // a multiple of kSpoolAlign

uint64_t AlignUp(uint64_t offset) { return (offset + kSpoolAlign - 1) / kSpoolAlign * kSpoolAlign; }

}  // namespace

SegmentScanner::SegmentScanner(FileOps* ops, int fd, const SpoolSalt& salt, uint64_t offset, uint64_t limit,
                               uint64_t after_lsn, uint64_t before_lsn)
    : ops_(ops), fd_(fd), salt_(salt), offset_(offset), limit_(limit), last_lsn_(after_lsn), before_lsn_(before_lsn) {}

bool SegmentScanner::ReadAt(uint64_t offset, size_t size, std::string* out, int* error) {
  out->resize(size);
  size_t have = 0;
  while (have < size) {
    const ssize_t n = ops_->Pread(fd_, out->data() + have, size - have, offset + have);
    if (n < 0) {
      *error = static_cast<int>(n);
      return false;
    }
    if (n == 0) return false;
    have += static_cast<size_t>(n);
  }
  return true;
}

SegmentScanner::Read SegmentScanner::ReadRecord(uint64_t offset, ScanItem* item) {
  if (limit_ < kSpoolRecordHeaderBytes || offset > limit_ - kSpoolRecordHeaderBytes) return Read::kBad;
  int error = 0;
  if (!ReadAt(offset, kSpoolRecordHeaderBytes, &header_, &error)) {
    item->error = error;
    return error != 0 ? Read::kError : Read::kBad;
  }
  const auto header = DecodeRecordHeader(header_);
  if (!header) return Read::kBad;
  if (header->lsn <= last_lsn_ || header->lsn >= before_lsn_) return Read::kBad;
  if (header->length > limit_ - offset - kSpoolRecordHeaderBytes) return Read::kBad;
  if (!ReadAt(offset + kSpoolRecordHeaderBytes, header->length, &payload_, &error)) {
    item->error = error;
    return error != 0 ? Read::kError : Read::kBad;
  }
  if (RecordCrc(std::string_view(header_).substr(0, kSpoolRecordHeaderBytes - 4), salt_, payload_) != header->crc) {
    return Read::kBad;
  }
  item->kind = ScanItem::Kind::kRecord;
  item->offset = offset;
  item->end = offset + RecordBytes(header->length);
  item->type = header->type;
  item->cls = header->cls;
  item->lsn = header->lsn;
  item->payload = payload_;
  return Read::kGood;
}

std::optional<uint64_t> SegmentScanner::Resync(uint64_t from, int* error) {
  std::string chunk;
  for (uint64_t base = AlignUp(from); base < limit_; base += kChunkBytes) {
    const auto size = static_cast<size_t>(std::min<uint64_t>(kChunkBytes, limit_ - base));
    if (!ReadAt(base, size, &chunk, error)) return std::nullopt;
    for (size_t at = 0; at + kSpoolAlign <= size; at += kSpoolAlign) {
      // The magic first: a checksum over every offset would take for ever.
      if (chunk[at] != 'N' || chunk[at + 1] != 'T' || chunk[at + 2] != 'S' || chunk[at + 3] != 'R') continue;
      ScanItem probe;
      switch (ReadRecord(base + at, &probe)) {
        case Read::kGood: return base + at;
        case Read::kError: *error = probe.error; return std::nullopt;
        case Read::kBad: break;
      }
    }
  }
  return std::nullopt;
}

uint64_t SegmentScanner::LastByteAfter(uint64_t from, int* error) {
  std::string chunk;
  uint64_t last = from;
  for (uint64_t base = from; base < limit_; base += kChunkBytes) {
    const auto size = static_cast<size_t>(std::min<uint64_t>(kChunkBytes, limit_ - base));
    if (!ReadAt(base, size, &chunk, error)) return last;
    const size_t at = chunk.find_last_not_of('\0');
    if (at != std::string::npos) last = base + at + 1;
  }
  return last;
}

ScanItem SegmentScanner::Next() {
  ScanItem item;
  if (done_ || offset_ >= limit_) return item;
  const Read read = ReadRecord(offset_, &item);
  if (read == Read::kGood) {
    offset_ = item.end;
    last_lsn_ = item.lsn;
    return item;
  }
  const auto fail = [this](int error) {
    done_ = true;
    ScanItem failed;
    failed.kind = ScanItem::Kind::kError;
    failed.offset = offset_;
    failed.error = error;
    return failed;
  };
  if (read == Read::kError) return fail(item.error);
  int error = 0;
  const uint64_t data_end = LastByteAfter(offset_, &error);
  if (error != 0) return fail(error);
  if (data_end == offset_) {  // fallocated, never written
    done_ = true;
    return ScanItem{};
  }
  const auto good = Resync(offset_ + 1, &error);
  if (error != 0) return fail(error);
  ScanItem bad;
  bad.kind = good ? ScanItem::Kind::kRot : ScanItem::Kind::kTorn;
  bad.offset = offset_;
  bad.end = good ? *good : std::min(limit_, AlignUp(data_end));
  offset_ = bad.end;
  if (!good) done_ = true;
  return bad;
}

}  // namespace nodetrail::agent
