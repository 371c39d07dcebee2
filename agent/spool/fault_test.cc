// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "agent/spool/testing_spool.h"

namespace nodetrail::agent {
namespace {

using Op = FaultyFileOps::Op;

TEST_F(SpoolFaults, Row02FdatasyncEioOnceIsNotRepeatedOnItsFile) {
  auto spool = Open();
  Append(spool.get(), 2);
  bool failed = false;
  int failed_fd = -1;
  bool touched = false;
  ops_.fault = [&](Op op, int fd) {
    if (op == Op::kSync && !failed) {
      failed = true;
      failed_fd = fd;
      return -EIO;
    }
    // The descriptor is closed at once; until its number is used again nothing may touch it.
    if (op == Op::kOpen) failed_fd = -1;
    if (failed_fd >= 0 && fd == failed_fd && (op == Op::kWrite || op == Op::kSync || op == Op::kTruncate))
      touched = true;
    return 0;
  };
  Append(spool.get(), 1);
  EXPECT_FALSE(touched);
  EXPECT_EQ(Segments().size(), 2U) << "the bytes went to a new segment";
  EXPECT_EQ(spool->stats().append_errors, 1U);
  Heal();
  Append(spool.get(), 1);
  ExpectBatches(Drain(spool.get()));
  spool.reset();
  spool = Open();
  ExpectBatches(Drain(spool.get()));
  EXPECT_TRUE(spool->recovery().missing.empty());
  EXPECT_EQ(spool->recovery().tampered, 0U);
}

// The record whose sync failed is whole on the disk, and superseded.
TEST_F(SpoolFaults, Row02AnAbandonedRecordDoesNotCount) {
  auto spool = Open();
  Append(spool.get(), 2);
  trail::TestAgent fork(ca_, "acme", "web-1");
  ops_.fault = [&](Op op, int) { return op == Op::kSync || op == Op::kOpen ? -EIO : 0; };
  // Never committed: another batch takes its place.
  trail::SealedBatch abandoned = fork.Batch();
  EXPECT_EQ(spool->Append(abandoned).code(), Code::kUnavailable);
  Heal();
  Append(spool.get(), 2);
  ExpectBatches(Drain(spool.get()));
  spool.reset();
  spool = Open();
  ExpectBatches(Drain(spool.get()));
  EXPECT_EQ(spool->recovery().tampered, 0U);
}

TEST_F(SpoolFaults, Row04Row05NoRoomAnywhereIsTellingAndHeals) {
  options_.segment_bytes = 16 * 1024;
  auto spool = Open();
  Append(spool.get(), 2);
  for (const int error : {ENOSPC, EDQUOT, EFBIG}) {
    for (const Op where : {Op::kWrite, Op::kFallocate, Op::kOpen}) {
      ops_.fault = [&](Op op, int) { return op == where || (where != Op::kWrite && op == Op::kWrite) ? -error : 0; };
      const trail::SealedBatch batch = agent_.Batch();
      const Status status = spool->Append(batch);
      EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.ToString();
      Heal();
      batches_.push_back(batch);
      ASSERT_TRUE(spool->Append(batch).ok());
    }
  }
  ExpectBatches(Drain(spool.get()));
  spool.reset();
  spool = Open();
  ExpectBatches(Drain(spool.get()));
}

TEST_F(SpoolFaults, Row03EioForEverIsUnavailable) {
  auto spool = Open();
  Append(spool.get(), 1);
  for (const Op where : {Op::kSync, Op::kWrite, Op::kSyncDir}) {
    ops_.fault = [&](Op op, int) { return op == where || (where == Op::kSyncDir && op == Op::kWrite) ? -EIO : 0; };
    const trail::SealedBatch batch = agent_.Batch();
    EXPECT_EQ(spool->Append(batch).code(), Code::kUnavailable);
    EXPECT_EQ(spool->Append(batch).code(), Code::kUnavailable);
    Heal();
    batches_.push_back(batch);
    ASSERT_TRUE(spool->Append(batch).ok());
  }
  ExpectBatches(Drain(spool.get()));
  spool.reset();
  ExpectBatches(Drain(Open().get()));
}

TEST_F(SpoolFaults, Row07ShortWritesGoOn) {
  ops_.max_write = 7;
  auto spool = Open();
  Append(spool.get(), 3);
  spool.reset();
  ExpectBatches(Drain(Open().get()));
}

TEST_F(SpoolFaults, Row03AnAckSurvivesItsFaults) {
  options_.segment_bytes = 16 * 1024;
  auto spool = Open();
  Append(spool.get(), 30);
  Drain(spool.get());
  for (const Op where : {Op::kUnlink, Op::kSync, Op::kWrite}) {
    ops_.fault = [&](Op op, int) { return op == where ? -EIO : 0; };
    (void)spool->Ack(1, where == Op::kUnlink ? 10 : where == Op::kSync ? 15 : 20).ok();
    Heal();
  }
  EXPECT_TRUE(spool->Ack(1, 25).ok());
  EXPECT_EQ(spool->stats().batches_pending, 4U);
  spool.reset();
  spool = Open();
  EXPECT_EQ(spool->stats().batches_pending, 4U);
  EXPECT_TRUE(spool->recovery().missing.empty());
  ExpectBatches(Drain(spool.get()), 26);
}

// A full disk: the segments are full too, and acknowledgements must still get
// in, or the disk would stay full for ever.
TEST_F(SpoolFaults, Row04AFullDiskCanBeEmptied) {
  options_.segment_bytes = 16 * 1024;
  auto spool = Open();
  Append(spool.get(), 30);
  // Fill the active segment up to its reserve.
  ops_.fault = [](Op op, int) { return op == Op::kFallocate || op == Op::kOpen ? -ENOSPC : 0; };
  Status status;
  while (status.ok()) {
    batches_.push_back(agent_.Batch());
    status = spool->Append(batches_.back());
  }
  batches_.pop_back();
  const uint64_t before = spool->stats().bytes;
  for (const SpooledBatch& batch : Drain(spool.get())) {
    const Status acked = spool->Ack(batch.epoch, batch.seq);
    EXPECT_TRUE(acked.ok()) << acked.ToString();
  }
  EXPECT_LT(spool->stats().bytes, before);
  EXPECT_EQ(Segments().size(), 1U);
}

// Power fails: of what was not synced, any part may be on the disk.
class LossyFileOps final : public FileOps {
 public:
  int Open(const std::string& path, int flags, unsigned mode) override {
    const int fd = real_.Open(path, flags, mode);
    if (fd >= 0) paths_[fd] = path;
    return fd;
  }
  void Close(int fd) override { real_.Close(fd); }
  int64_t RegularSize(int fd) override { return real_.RegularSize(fd); }
  ssize_t Pread(int fd, void* data, size_t size, uint64_t offset) override {
    return real_.Pread(fd, data, size, offset);
  }
  ssize_t Pwrite(int fd, const void* data, size_t size, uint64_t offset) override {
    std::string old(size, '\0');
    (void)real_.Pread(fd, old.data(), size, offset);  // past the end: zeros
    undo_[paths_[fd]].push_back({offset, std::move(old)});
    return real_.Pwrite(fd, data, size, offset);
  }
  int Fallocate(int fd, uint64_t size) override { return real_.Fallocate(fd, size); }
  int Ftruncate(int fd, uint64_t size) override { return real_.Ftruncate(fd, size); }
  int Fdatasync(int fd) override {
    undo_.erase(paths_[fd]);
    return 0;
  }
  int Rename(const std::string& from, const std::string& to) override { return real_.Rename(from, to); }
  int Unlink(const std::string& path) override {
    undo_.erase(path);
    return real_.Unlink(path);
  }
  int SyncDir(const std::string&) override { return 0; }

  // Takes back unsynced writes, sector by sector, as `keep` says.
  void LosePower(const std::function<bool()>& keep) {
    constexpr size_t kSector = 512;
    for (const auto& [path, writes] : undo_) {
      const int fd = real_.Open(path, O_RDWR, 0);
      if (fd < 0) continue;
      for (auto write = writes.rbegin(); write != writes.rend(); ++write) {
        for (size_t at = 0; at < write->old.size();) {
          const size_t end = std::min(write->old.size(), at + kSector - (write->offset + at) % kSector);
          if (!keep()) (void)real_.Pwrite(fd, write->old.data() + at, end - at, write->offset + at);
          at = end;
        }
      }
      real_.Close(fd);
    }
    undo_.clear();
  }

 private:
  struct Write {
    uint64_t offset;
    std::string old;
  };
  FileOps& real_ = SystemFileOps();
  std::map<int, std::string> paths_;
  std::map<std::string, std::vector<Write>> undo_;
};

TEST_F(SpoolFaults, Row09UnsyncedWritesLostKeepsWhatWasCommitted) {
  std::mt19937 random(20240607);
  for (int round = 0; round < 40; ++round) {
    LossyFileOps ops;
    trail::TempDir dir;
    options_.dir = dir / "spool";
    options_.ops = &ops;
    options_.segment_bytes = 16 * 1024;
    trail::TestAgent agent(ca_, "acme", "web-1");
    std::vector<trail::SealedBatch> committed;
    uint64_t acked = 0;
    {
      const auto spool = Open();
      for (int i = 0; i < 40; ++i) {
        committed.push_back(agent.Batch());
        ASSERT_TRUE(spool->Append(committed.back()).ok());
        if (random() % 5 == 0) {
          Drain(spool.get());
          ASSERT_TRUE(spool->Ack(1, static_cast<uint64_t>(i)).ok());
          acked = static_cast<uint64_t>(i) + 1;
        }
      }
      ops.LosePower([&] { return random() % 2 == 0; });
    }
    const auto spool = Open();
    EXPECT_EQ(spool->head().batch_hash, committed.back().batch_hash);
    EXPECT_TRUE(spool->recovery().missing.empty()) << testing::PrintToString(spool->recovery().messages);
    EXPECT_EQ(spool->recovery().tampered, 0U);
    // Acks may be forgotten, batches may not.
    const auto out = Drain(spool.get());
    ASSERT_GE(out.size(), committed.size() - acked);
    for (size_t i = 0; i < out.size(); ++i) {
      EXPECT_EQ(out[out.size() - 1 - i].leaf, committed[committed.size() - 1 - i].leaf);
    }
  }
}

}  // namespace
}  // namespace nodetrail::agent
