// SPDX-License-Identifier: Apache-2.0
//
// The spool reader on hostile bytes. The first byte says what the harness
// repairs, so that the fuzzer gets past the checksums: bit 0 the segment
// header, bit 1 the checksum of every record that looks like one, bit 2 the
// sequence numbers too. Bit 3: the disk fails, at the read that bits 4 to 7
// count. Bit 7 without bit 3: the file is shorter than it was said to be.
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "agent/spool/record_format.h"
#include "agent/spool/segment_scanner.h"
#include "nodetrail/base/status.h"

namespace nodetrail::agent {
namespace {

// One file, in memory.
class MemoryFile final : public FileOps {
 public:
  // `fail_at`: the read that fails, and all after it; 0: none.
  MemoryFile(std::string_view bytes, unsigned fail_at) : bytes_(bytes), fail_at_(fail_at) {}
  int Open(const std::string&, int, unsigned) override { return 3; }
  void Close(int) override {}
  int64_t RegularSize(int) override { return static_cast<int64_t>(bytes_.size()); }
  ssize_t Pread(int, void* data, size_t size, uint64_t offset) override {
    if (fail_at_ > 0 && ++reads_ >= fail_at_) return -EIO;
    if (offset >= bytes_.size()) return 0;
    const size_t n = std::min<size_t>(size, bytes_.size() - offset);
    std::memcpy(data, bytes_.data() + offset, n);
    return static_cast<ssize_t>(n);
  }
  ssize_t Pwrite(int, const void*, size_t, uint64_t) override { return -EROFS; }
  int Fallocate(int, uint64_t) override { return -EROFS; }
  int Ftruncate(int, uint64_t) override { return -EROFS; }
  int Fdatasync(int) override { return -EROFS; }
  int Rename(const std::string&, const std::string&) override { return -EROFS; }
  int Unlink(const std::string&) override { return -EROFS; }
  int SyncDir(const std::string&) override { return -EROFS; }

 private:
  std::string_view bytes_;
  unsigned fail_at_;
  unsigned reads_ = 0;
};

void PutLe(std::string* bytes, size_t offset, uint64_t value, unsigned size) {
  for (unsigned i = 0; i < size; ++i) (*bytes)[offset + i] = static_cast<char>((value >> (8 * i)) & 0xffU);
}

void RepairRecords(std::string* bytes, const SpoolSalt& salt, bool number) {
  uint64_t lsn = 1;
  for (size_t at = kSpoolHeaderBytes; at + kSpoolRecordHeaderBytes <= bytes->size();) {
    const auto header = DecodeRecordHeader(std::string_view(*bytes).substr(at, kSpoolRecordHeaderBytes));
    if (!header || header->length > bytes->size() - at - kSpoolRecordHeaderBytes) {
      at += kSpoolAlign;
      continue;
    }
    if (number) PutLe(bytes, at + 12, ++lsn, 8);
    const std::string_view all(*bytes);
    PutLe(bytes, at + 20, RecordCrc(all.substr(at, 20), salt, all.substr(at + kSpoolRecordHeaderBytes, header->length)),
          4);
    at += RecordBytes(header->length);
  }
}

void Run(std::string bytes, unsigned mode) {
  SpoolSegmentHeader fixed;
  fixed.first_lsn = 1;
  fixed.salt.fill(0x5a);
  if ((mode & 1U) != 0) {
    bytes.resize(std::max(bytes.size(), kSpoolHeaderBytes));
    bytes.replace(0, kSpoolHeaderBytes, EncodeSegmentHeader(fixed));
  }
  const auto header = DecodeSegmentHeader(std::string_view(bytes).substr(0, kSpoolHeaderBytes));
  const SpoolSalt salt = header ? header->salt : fixed.salt;
  if ((mode & 2U) != 0) RepairRecords(&bytes, salt, (mode & 4U) != 0);

  const bool fails = (mode & 8U) != 0;
  MemoryFile file(bytes, fails ? 1 + (mode >> 4U) : 0);
  const uint64_t claimed = bytes.size() + (!fails && (mode & 0x80U) != 0 ? 4096 : 0);
  SegmentScanner scanner(&file, 3, salt, std::min(bytes.size(), kSpoolHeaderBytes), claimed, 0, UINT64_MAX);
  uint64_t end = kSpoolHeaderBytes;
  uint64_t lsn = 0;
  while (true) {
    const ScanItem item = scanner.Next();
    if (item.kind == ScanItem::Kind::kEnd) break;
    if (item.kind == ScanItem::Kind::kError) {
      NT_CHECK(fails && item.error == -EIO);
      NT_CHECK(scanner.Next().kind == ScanItem::Kind::kEnd);
      break;
    }
    // What is handed out lies in the file, in order, and moves on.
    NT_CHECK(item.offset >= end && item.end > item.offset);
    end = item.end;
    if (item.kind != ScanItem::Kind::kRecord) continue;
    NT_CHECK(item.lsn > lsn);
    lsn = item.lsn;
    // A record has one encoding, padding aside.
    const std::string again = EncodeRecord(item.type, item.lsn, item.payload, salt, item.cls);
    NT_CHECK(again.size() == item.end - item.offset);
    NT_CHECK(bytes.compare(item.offset, kSpoolRecordHeaderBytes, again, 0, kSpoolRecordHeaderBytes) == 0);
    NT_CHECK(ParseSegmentName(SegmentName(lsn)) == lsn);
    switch (item.type) {
      case SpoolRecordType::kBatch:
        if (const auto batch = DecodeBatchPayload(item.payload)) {
          NT_CHECK(EncodeBatchPayload(batch->leaf, batch->body) == item.payload);
          (void)trail::ParseLeaf(batch->leaf).ok();
        }
        break;
      case SpoolRecordType::kEvicted:
        if (const auto evicted = DecodeEvictedPayload(item.payload)) {
          NT_CHECK(EncodeEvictedPayload(evicted->at_lsn, evicted->leaf, evicted->eviction) == item.payload);
          (void)trail::ParseLeaf(evicted->leaf).ok();
          (void)trail::ParseEviction(evicted->eviction).ok();
        }
        break;
      case SpoolRecordType::kAck:
        if (const auto ack = DecodeAckPayload(item.payload)) NT_CHECK(EncodeAckPayload(*ack) == item.payload);
        break;
      case SpoolRecordType::kHead:
        if (const auto head = DecodeHeadPayload(item.payload)) {
          NT_CHECK(DecodeHeadPayload(EncodeHeadPayload(*head)).has_value());
        }
        break;
    }
  }
  (void)ParseSegmentName(std::string_view(bytes).substr(0, 20)).has_value();
}

}  // namespace
}  // namespace nodetrail::agent

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  nodetrail::agent::Run(std::string(reinterpret_cast<const char*>(data) + 1, size - 1), data[0]);
  return 0;
}
