// SPDX-License-Identifier: Apache-2.0
//
// Faults that need the kernel's help or a second disk; the others are in
// fault_test.cc, recovery_test.cc and ladder_test.cc.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/spool/testing_spool.h"

namespace nodetrail::agent {
namespace {

namespace fs = std::filesystem;
using Op = FaultyFileOps::Op;

// Runs `body` in a child, so that its limits are not ours; 0 if all held.
int InChild(const std::function<int()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) ::_exit(body());
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// A compaction's rename finds no room: nothing is given up, nothing is lost.
TEST_F(SpoolFaults, Row04NoSpaceOnRename) {
  TestSigner signer(&agent_);
  options_.signer = &signer;
  options_.segment_bytes = 32 * 1024;
  options_.max_bytes = 256 * 1024;
  auto spool = Open();
  ops_.fault = [](Op op, int) { return op == Op::kRename ? -ENOSPC : 0; };
  Status status;
  while (status.ok()) {
    const trail::SealedBatch batch = agent_.Batch(200);
    status = spool->Append(batch, EvidenceClass::kBulk);
    if (status.ok()) batches_.push_back(batch);
    ASSERT_LT(batches_.size(), 2000U);
  }
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.ToString();
  EXPECT_FALSE(fs::exists(options_.dir + "/compact.tmp"));
  const std::vector<SpooledBatch> got = Drain(spool.get());
  ASSERT_EQ(got.size(), batches_.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].leaf, batches_[i].leaf);
  Heal();
  ASSERT_TRUE(spool->Ack(1, batches_.back().header.seq()).ok());
  EXPECT_TRUE(spool->Append(agent_.Batch(), EvidenceClass::kBulk).ok());
}

// A real RLIMIT_FSIZE: EFBIG, since the agent ignores SIGXFSZ (agent/main.cc).
TEST_F(SpoolFaults, Row05FileSizeLimit) {
  options_.ops = nullptr;
  options_.segment_bytes = 256 * 1024;
  const int result = InChild([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    auto spool = Spool::Open(options_);
    if (!spool.ok()) return 1;
    if (!(*spool)->Append(agent_.Batch()).ok()) return 2;
    rlimit limit{64 * 1024, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 3;
    Status status;
    for (int i = 0; i < 1000 && status.ok(); ++i) {
      const trail::SealedBatch batch = agent_.Batch(500);
      status = (*spool)->Append(batch);
      if (status.ok()) continue;
      if (status.code() != Code::kResourceExhausted) return 4;
      limit.rlim_cur = RLIM_INFINITY;
      if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 5;
      return (*spool)->Append(batch).ok() ? 0 : 6;
    }
    return 7;
  });
  EXPECT_EQ(result, 0);
  const auto spool = Open();
  EXPECT_TRUE(spool->recovery().missing.empty()) << testing::PrintToString(spool->recovery().messages);
  EXPECT_EQ(spool->recovery().tampered, 0U);
  EXPECT_EQ(spool->recovery().rotten_ranges, 0U);
}

// EDQUOT is as good as a full disk; the receiver can still empty it.
TEST_F(SpoolFaults, Row05QuotaCanBeEmptied) {
  options_.segment_bytes = 16 * 1024;
  auto spool = Open();
  Append(spool.get(), 20);
  ops_.fault = [](Op op, int) { return op == Op::kFallocate ? -EDQUOT : 0; };
  Status status;
  while (status.ok()) {
    const trail::SealedBatch batch = agent_.Batch();
    status = spool->Append(batch);
    if (status.ok()) batches_.push_back(batch);
  }
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  for (const SpooledBatch& batch : Drain(spool.get())) EXPECT_TRUE(spool->Ack(batch.epoch, batch.seq).ok());
  EXPECT_EQ(spool->stats().batches_pending, 0U);
}

TEST_F(SpoolFaults, Row06ReadOnlyFileSystemAndBack) {
  auto spool = Open();
  Append(spool.get(), 3);
  ops_.fault = [](Op op, int) { return op == Op::kRead ? 0 : -EROFS; };
  const trail::SealedBatch batch = agent_.Batch();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(spool->Append(batch).code(), Code::kUnavailable);
  EXPECT_EQ(Drain(spool.get()).size(), 3U) << "what is there can still be sent";
  (void)spool->Ack(1, 1).ok();
  Heal();
  ASSERT_TRUE(spool->Append(batch).ok());
  spool.reset();
  spool = Open();
  EXPECT_EQ(spool->head().batch_hash, batch.batch_hash);
  EXPECT_TRUE(spool->recovery().missing.empty());
  EXPECT_EQ(spool->recovery().tampered, 0U);
}

// A start on a disk that takes no write: what is there is found and sent.
TEST_F(SpoolFaults, Row06AStartOnAReadOnlyDisk) {
  { Append(Open().get(), 4); }
  ops_.fault = [](Op op, int) { return op == Op::kRead ? 0 : -EROFS; };
  const auto spool = Open();
  ASSERT_NE(spool, nullptr);
  ExpectBatches(Drain(spool.get()));
  EXPECT_EQ(spool->Append(agent_.Batch()).code(), Code::kUnavailable);
}

// EINTR from a write is tried again by SystemFileOps; from a sync it is a
// failure like any other, since nobody knows what was written.
TEST_F(SpoolFaults, Row07AnInterruptedSyncGoesToANewSegment) {
  auto spool = Open();
  Append(spool.get(), 1);
  int left = 1;
  ops_.fault = [&](Op op, int) { return op == Op::kSync && left-- > 0 ? -EINTR : 0; };
  Append(spool.get(), 1);
  EXPECT_EQ(Segments().size(), 2U);
  Heal();
  ExpectBatches(Drain(spool.get()));
  spool.reset();
  ExpectBatches(Drain(Open().get()));
}

// The spool is restored from an old copy; the collector has more than it.
TEST_F(SpoolFaults, Row10SpoolOlderThanTheCollector) {
  {
    const auto spool = Open();
    Append(spool.get(), 5);
  }
  const std::string copy = dir_ / "copy";
  fs::copy(options_.dir, copy, fs::copy_options::recursive);
  trail::SealedBatch newest;
  {
    const auto spool = Open();
    Append(spool.get(), 5);
    newest = batches_.back();
  }
  fs::remove_all(options_.dir);
  fs::rename(copy, options_.dir);
  const auto spool = Open();
  EXPECT_EQ(spool->head().seq, 4U);
  EXPECT_EQ(spool->ResumeAfter(1, newest.header.seq(), newest.batch_hash).code(), Code::kNotFound);
  EXPECT_EQ(spool->stats().batches_pending, 5U) << "nothing is taken for acknowledged";
  // What both have is found by its hash, and another hash is an alarm.
  EXPECT_EQ(spool->ResumeAfter(1, 3, newest.batch_hash).code(), Code::kFailedPrecondition);
  EXPECT_TRUE(spool->ResumeAfter(1, 3, batches_[3].batch_hash).ok());
  EXPECT_EQ(spool->stats().batches_pending, 1U);
}

TEST_F(SpoolFaults, Row12ADuplicatedSegmentCountsOnce) {
  options_.segment_bytes = 8 * 1024;
  { Append(Open().get(), 30); }
  const std::vector<std::string> segments = Segments();
  ASSERT_GE(segments.size(), 3U);
  fs::copy(segments[1], options_.dir + "/00000000000fffff.seg");
  fs::copy(segments[0], options_.dir + "/0000000000000000.seg");
  const auto spool = Open();
  EXPECT_EQ(spool->recovery().quarantined_files, 2U);
  EXPECT_TRUE(spool->recovery().missing.empty());
  EXPECT_EQ(spool->recovery().tampered, 0U);
  ExpectBatches(Drain(spool.get()));
}

// No descriptor is left: a real RLIMIT_NOFILE.
TEST_F(SpoolFaults, Row17NoFileDescriptors) {
  options_.ops = nullptr;
  options_.segment_bytes = 16 * 1024;
  const int result = InChild([&] {
    auto opened = Spool::Open(options_);
    if (!opened.ok()) return 1;
    Spool* spool = opened->get();
    for (int i = 0; i < 5; ++i) {
      if (!spool->Append(agent_.Batch()).ok()) return 2;
    }
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{3, before.rlim_max};
    if (::setrlimit(RLIMIT_NOFILE, &none) != 0) return 3;
    // The active segment goes on until it is full; then there is no other.
    Status status;
    trail::SealedBatch batch;
    for (int i = 0; i < 200 && status.ok(); ++i) {
      batch = agent_.Batch();
      status = spool->Append(batch);
    }
    if (status.ok()) return 4;
    ::setrlimit(RLIMIT_NOFILE, &before);
    if (!spool->Append(batch).ok()) return 5;
    uint64_t next = 0;
    while (const auto out = spool->Next(std::chrono::milliseconds(0))) {
      if (out->seq != next++ || out->after_hole) return 6;
    }
    return next == batch.header.seq() + 1 ? 0 : 7;
  });
  EXPECT_EQ(result, 0);
  const auto spool = Open();
  EXPECT_TRUE(spool->recovery().missing.empty());
  EXPECT_EQ(spool->recovery().tampered, 0U);
}

}  // namespace
}  // namespace nodetrail::agent
