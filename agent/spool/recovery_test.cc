// SPDX-License-Identifier: Apache-2.0
#include "agent/spool/recovery.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "agent/spool/testing_spool.h"
#include "nodetrail/base/fd.h"

namespace nodetrail::agent {
namespace {

namespace fs = std::filesystem;

class RecoveryTest : public SpoolTestBase {
 protected:
  std::string Load(const std::string& path) { return *ReadFile(path, 1U << 30); }
  void Store(const std::string& path, std::string_view bytes) { std::ofstream(path, std::ios::binary) << bytes; }

  // Offsets and sizes of the batch records in a segment's bytes.
  struct Place {
    size_t offset;
    size_t size;
  };
  static std::vector<Place> BatchRecords(const std::string& bytes) {
    std::vector<Place> out;
    size_t at = kSpoolHeaderBytes;
    while (at + kSpoolRecordHeaderBytes <= bytes.size()) {
      const auto header = DecodeRecordHeader(std::string_view(bytes).substr(at, kSpoolRecordHeaderBytes));
      if (!header) break;
      if (header->type == SpoolRecordType::kBatch) out.push_back({at, RecordBytes(header->length)});
      at += RecordBytes(header->length);
    }
    return out;
  }
  // A spool of n batches in one segment; its path and bytes.
  std::string Prepare(int n) {
    { Append(Open().get(), n); }
    const std::vector<std::string> segments = Segments();
    EXPECT_EQ(segments.size(), 1U);
    { Open(); }  // trims it
    return segments.at(0);
  }
};

TEST_F(RecoveryTest, Row08ATornTailIsCutAtEveryLength) {
  const std::string path = Prepare(4);
  const std::string good = Load(path);
  const std::vector<Place> records = BatchRecords(good);
  ASSERT_EQ(records.size(), 4U);
  const Place last = records[3];
  // The padding at the end is no part of what counts.
  for (size_t size = last.offset + 1; size < last.offset + last.size - kSpoolAlign; size += 13) {
    Store(path, good.substr(0, size));
    const auto spool = Open();
    EXPECT_EQ(spool->recovery().batches_pending, 3U) << size;
    EXPECT_GT(spool->recovery().torn_bytes, 0U) << size;
    EXPECT_TRUE(spool->recovery().missing.empty());
    EXPECT_EQ(spool->recovery().rotten_ranges, 0U);
    EXPECT_EQ(spool->head().seq, 2U);
  }
  EXPECT_FALSE(fs::is_empty(options_.dir + "/quarantine"));
}

TEST_F(RecoveryTest, Row08AppendsGoOnAfterATornTail) {
  const std::string path = Prepare(4);
  const std::string good = Load(path);
  Store(path, good.substr(0, good.size() - 30));
  batches_.pop_back();
  trail::TestAgent other(ca_, "acme", "web-1");
  {
    const auto spool = Open();
    batches_.push_back(other.Batch());
    // Not of that chain, which the spool does not judge when it appends.
    ASSERT_TRUE(spool->Append(batches_.back()).ok());
  }
  const auto out = Drain(Open().get());
  EXPECT_EQ(out.size(), 4U);
}

TEST_F(RecoveryTest, Row11RotInTheMiddleLosesOneBatchAndSaysWhich) {
  const std::string path = Prepare(6);
  const std::string good = Load(path);
  const std::vector<Place> records = BatchRecords(good);
  for (const size_t hit : {size_t{0}, size_t{2}, size_t{4}}) {
    // The magic, the length, the checksum, the payload.
    for (const size_t at : {size_t{0}, size_t{9}, size_t{21}, size_t{100}, records[hit].size - kSpoolAlign - 1}) {
      std::string bad = good;
      bad[records[hit].offset + at] = static_cast<char>(bad[records[hit].offset + at] ^ 0x40);
      Store(path, bad);
      const auto spool = Open();
      const SpoolRecovery& report = spool->recovery();
      EXPECT_EQ(report.rotten_ranges, 1U) << hit << " " << at;
      EXPECT_EQ(report.batches_pending, 5U);
      EXPECT_EQ(report.tampered, 0U);
      if (hit > 0) {
        ASSERT_EQ(report.missing.size(), 1U);
        EXPECT_EQ(report.missing[0].from_seq, hit);
        EXPECT_EQ(report.missing[0].to_seq, hit);
        const auto out = Drain(spool.get());
        ASSERT_EQ(out.size(), 5U);
        EXPECT_TRUE(out[hit].after_hole);
        EXPECT_FALSE(out[hit - 1].after_hole);
      }
      EXPECT_EQ(spool->head().seq, 5U);
    }
  }
}

TEST_F(RecoveryTest, Row11RotUnderAnOpenSpoolIsAHoleToo) {
  const auto spool = Open();
  Append(spool.get(), 4);
  const std::string path = Segments().at(0);
  std::string bytes = Load(path);
  const std::vector<Place> records = BatchRecords(bytes);
  bytes[records[1].offset + 200] = static_cast<char>(bytes[records[1].offset + 200] ^ 1);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  const auto out = Drain(spool.get());
  ASSERT_EQ(out.size(), 3U);
  EXPECT_EQ(out[1].seq, 2U);
  EXPECT_TRUE(out[1].after_hole);
}

TEST_F(RecoveryTest, AnEditedBatchWithARepairedChecksumIsTampering) {
  const std::string path = Prepare(3);
  const std::string good = Load(path);
  const std::vector<Place> records = BatchRecords(good);
  const auto header = DecodeSegmentHeader(std::string_view(good).substr(0, kSpoolHeaderBytes));
  for (const size_t hit : {size_t{1}, size_t{2}}) {
    trail::v1::BatchHeader edited = batches_[hit].header;
    edited.set_sealed_wall_ns(1);
    const trail::Ed25519Key key = trail::Ed25519Key::Generate();
    const std::string leaf = *trail::MakeLeaf(edited.SerializeAsString(), key);
    const auto record = DecodeRecordHeader(std::string_view(good).substr(records[hit].offset, kSpoolRecordHeaderBytes));
    std::string bytes =
        good.substr(0, records[hit].offset) +
        EncodeRecord(SpoolRecordType::kBatch, record->lsn, EncodeBatchPayload(leaf, batches_[hit].body), header->salt) +
        good.substr(records[hit].offset + records[hit].size);
    Store(path, bytes);
    const auto spool = Open();
    EXPECT_GE(spool->recovery().tampered, 1U) << hit;
    EXPECT_EQ(spool->recovery().batches_pending, 3U) << "kept for the collector to judge";
  }
}

TEST_F(RecoveryTest, Row13StartsOnWhateverLiesThere) {
  { Append(Open().get(), 3); }
  const std::string dir = options_.dir + "/";
  ASSERT_EQ(::mkfifo((dir + SegmentName(100)).c_str(), 0600), 0);
  ASSERT_EQ(::symlink("/dev/zero", (dir + SegmentName(101)).c_str()), 0);
  fs::create_directory(dir + SegmentName(102));
  Store(dir + SegmentName(103), "");
  Store(dir + SegmentName(104), "garbage");
  Store(dir + SegmentName(105), std::string(1 << 20, 'g'));
  Store(dir + SegmentName(106), std::string(1 << 20, '\0'));
  Store(dir + SegmentName(107), "");
  ASSERT_EQ(::truncate((dir + SegmentName(107)).c_str(), off_t{1} << 40), 0) << "a sparse terabyte";
  Store(dir + "notes.txt", "not ours");
  fs::copy(Segments().at(0), dir + SegmentName(108));  // a second copy
  Store(dir + "zzzz.seg", "no such name");
  {
    const auto spool = Open();
    EXPECT_EQ(spool->recovery().quarantined_files, 8U);
    EXPECT_EQ(spool->recovery().batches_pending, 3U);
    ExpectBatches(Drain(spool.get()));
    Append(spool.get(), 1);
  }
  EXPECT_TRUE(fs::exists(dir + "notes.txt"));
  EXPECT_FALSE(fs::exists(dir + SegmentName(103))) << "an empty segment is nothing";
  EXPECT_FALSE(fs::exists(dir + SegmentName(106)));
  const auto spool = Open();
  EXPECT_EQ(spool->recovery().quarantined_files, 0U);
  ExpectBatches(Drain(spool.get()));
}

TEST_F(RecoveryTest, Row12ARenamedSegmentIsReadByItsHeader) {
  const std::string path = Prepare(3);
  fs::rename(path, options_.dir + "/" + SegmentName(0x777));
  const auto spool = Open();
  ExpectBatches(Drain(spool.get()));
}

TEST_F(RecoveryTest, Row12AMissingSegmentIsReported) {
  options_.segment_bytes = 8 * 1024;
  { Append(Open().get(), 40); }
  const std::vector<std::string> segments = Segments();
  ASSERT_GE(segments.size(), 4U);
  const std::string middle = Load(segments[1]);
  fs::remove(segments[1]);
  {
    const auto spool = Open();
    ASSERT_EQ(spool->recovery().missing.size(), 1U);
    EXPECT_EQ(spool->recovery().missing[0].epoch, 1U);
    EXPECT_GT(spool->recovery().missing[0].from_seq, 0U);
  }
  // The front one: only the head record of the next tells that it was there.
  Store(segments[1], middle);
  fs::remove(segments[0]);
  const auto spool = Open();
  ASSERT_EQ(spool->recovery().missing.size(), 1U);
  EXPECT_EQ(spool->recovery().missing[0].from_seq, 0U);
  EXPECT_EQ(spool->head().seq, 39U);
}

TEST_F(RecoveryTest, AnUnreadableSegmentIsSetAside) {
  FaultyFileOps ops;
  options_.segment_bytes = 8 * 1024;
  { Append(Open().get(), 60); }
  options_.ops = &ops;
  int reads = 0;
  ops.fault = [&](FaultyFileOps::Op op, int) { return op == FaultyFileOps::Op::kRead && ++reads == 60 ? -EIO : 0; };
  const auto spool = Open();
  EXPECT_EQ(spool->recovery().quarantined_files, 1U);
  EXPECT_FALSE(spool->recovery().missing.empty());
  ops.fault = [](FaultyFileOps::Op, int) { return 0; };
  Append(spool.get(), 1);
}

TEST_F(RecoveryTest, ARestartAcrossEpochsIsNoHole) {
  {
    const auto spool = Open();
    Append(spool.get(), 3);
    agent_.Restart();
    Append(spool.get(), 3);
  }
  const auto spool = Open();
  EXPECT_TRUE(spool->recovery().missing.empty());
  EXPECT_EQ(spool->recovery().tampered, 0U);
  ExpectBatches(Drain(spool.get()));
  EXPECT_TRUE(spool->Ack(2, 0).ok());
  EXPECT_EQ(spool->stats().batches_pending, 2U);
}

}  // namespace
}  // namespace nodetrail::agent
