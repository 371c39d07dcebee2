// SPDX-License-Identifier: Apache-2.0
//
// A disk that does not give back what it took: which batches that costs, and
// what becomes of the file.
#include <algorithm>
#include <filesystem>
#include <string>

#include "agent/spool/testing_spool.h"
#include "nodetrail/base/fd.h"

namespace nodetrail::agent {
namespace {

namespace fs = std::filesystem;
using Op = FaultyFileOps::Op;

class SpoolUnreadTest : public SpoolFaults {
 protected:
  SpoolUnreadTest() {
    options_.segment_bytes = 16 * 1024;
    ops_.real_sync = false;
  }
  // Reads of that file fail from now on.
  void BreakReadsOf(const std::string& path) {
    ops_.fault = [path](Op op, int fd) {
      if (op != Op::kRead) return 0;
      std::error_code error;
      return fs::read_symlink("/proc/self/fd/" + std::to_string(fd), error).string() == path ? -EIO : 0;
    };
  }
  [[nodiscard]] std::vector<std::string> Kept() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(options_.dir + "/quarantine")) {
      if (entry.path().extension() == ".unread") out.push_back(entry.path().filename().string());
    }
    std::sort(out.begin(), out.end());
    return out;
  }
  // Segments, what is kept for headers, and what is kept of a bad disk.
  [[nodiscard]] uint64_t DiskBytes() const {
    uint64_t total = 0;
    for (const auto& entry : fs::recursive_directory_iterator(options_.dir)) {
      if (entry.path().filename() != "reserve" && entry.is_regular_file()) total += entry.file_size();
    }
    return total;
  }
};

TEST_F(SpoolUnreadTest, TheRangeIsToldWithTheBatchBehindIt) {
  const auto spool = Open();
  Append(spool.get(), 90);
  const std::vector<std::string> segments = Segments();
  ASSERT_GE(segments.size(), 4U);
  BreakReadsOf(fs::canonical(segments[1]).string());
  const std::vector<SpooledBatch> got = Drain(spool.get());
  size_t told = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].unread.has_value(), got[i].after_hole) << i;
    if (!got[i].unread) continue;
    ++told;
    const SpoolUnread& range = *got[i].unread;
    EXPECT_EQ(range.epoch, 1U);
    EXPECT_EQ(range.seq_from, got[i - 1].seq + 1);
    EXPECT_EQ(range.seq_to, got[i].seq - 1);
    EXPECT_EQ(range.seq_to - range.seq_from + 1, batches_.size() - got.size());
    uint64_t events = 0;
    for (uint64_t seq = range.seq_from; seq <= range.seq_to; ++seq) events += batches_[seq].header.event_count();
    EXPECT_EQ(range.events, events);
    EXPECT_EQ(range.from_wall_ns, batches_[range.seq_from - 1].header.last_wall_ns());
    EXPECT_EQ(range.to_wall_ns, batches_[range.seq_to + 1].header.first_wall_ns());
    EXPECT_EQ(range.place.find(fs::path(segments[1]).filename().string()), 0U) << range.place;
  }
  EXPECT_EQ(told, 1U);
}

// Nothing before it is known: it is the beginning of the chain.
TEST_F(SpoolUnreadTest, TheFirstSegmentToo) {
  const auto spool = Open();
  Append(spool.get(), 90);
  BreakReadsOf(fs::canonical(Segments().at(0)).string());
  const auto first = spool->Next(std::chrono::milliseconds(0));
  ASSERT_TRUE(first);
  ASSERT_TRUE(first->unread);
  EXPECT_EQ(first->unread->seq_from, 0U);
  EXPECT_EQ(first->unread->seq_to, first->seq - 1);
  EXPECT_EQ(first->unread->from_wall_ns, 0U);
}

// What recovery reports is declared at the start, not once more when the cursor meets the damage.
TEST_F(SpoolUnreadTest, WhatRecoveryReportedIsNotToldTwice) {
  {
    const auto spool = Open();
    Append(spool.get(), 10);
  }
  const std::string path = Segments().at(0);
  std::string bytes = ReadFile(path, 1 << 20).value();
  const size_t at = bytes.find(batches_[4].leaf) + 20;
  bytes[at] = static_cast<char>(bytes[at] ^ 1);
  ASSERT_TRUE(WriteFileAtomically(path, bytes, 0600).ok());
  const auto spool = Open();
  ASSERT_EQ(spool->recovery().missing.size(), 1U);
  const std::vector<SpooledBatch> got = Drain(spool.get());
  ASSERT_EQ(got.size(), 9U);
  EXPECT_TRUE(got[4].after_hole);
  EXPECT_FALSE(got[4].unread);
}

// Acknowledged, it is set aside and not deleted; a restart knows it.
TEST_F(SpoolUnreadTest, TheFileIsKeptWhenItIsAcknowledged) {
  auto spool = Open();
  Append(spool.get(), 90);
  const std::string bad = fs::canonical(Segments().at(1)).string();
  const std::string bytes = ReadFile(bad, 1 << 20).value();
  BreakReadsOf(bad);
  const std::vector<SpooledBatch> got = Drain(spool.get());
  ASSERT_TRUE(spool->Ack(1, got.back().seq).ok());
  EXPECT_FALSE(fs::exists(bad));
  EXPECT_EQ(spool->stats().batches_pending, 0U);
  EXPECT_EQ(spool->stats().pending_bytes, 0U);
  const std::vector<std::string> kept = Kept();
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_EQ(kept[0], fs::path(bad).filename().string() + ".unread");
  EXPECT_EQ(ReadFile(options_.dir + "/quarantine/" + kept[0], 1 << 20).value(), bytes);
  EXPECT_EQ(spool->stats().unread_kept, 1U);
  EXPECT_EQ(spool->stats().unread_kept_bytes, bytes.size());
  EXPECT_LE(Segments().size(), 1U) << "those that can be read are deleted as ever";
  Heal();
  spool.reset();
  spool = Open();
  EXPECT_EQ(spool->stats().unread_kept, 1U);
  EXPECT_TRUE(spool->recovery().missing.empty()) << testing::PrintToString(spool->recovery().messages);
}

// What waits is what can still be sent.
TEST_F(SpoolUnreadTest, WhatWasPassedOverNoLongerWaits) {
  const auto spool = Open();
  Append(spool.get(), 90);
  BreakReadsOf(fs::canonical(Segments().at(1)).string());
  std::optional<SpooledBatch> batch;
  do batch = spool->Next(std::chrono::milliseconds(0));
  while (batch && !batch->unread);
  ASSERT_TRUE(batch);
  EXPECT_EQ(spool->stats().batches_pending, 90U);
  ASSERT_TRUE(spool->Ack(1, batch->seq).ok());
  EXPECT_EQ(spool->stats().batches_pending, 90 - batch->seq - 1);
}

// It gives way to what comes: evidence of a bad disk costs no new batch.
TEST_F(SpoolUnreadTest, TheDiskCapHoldsWithWhatIsKept) {
  options_.max_bytes = 128 * 1024;
  const auto spool = Open();
  uint64_t most = 0;
  uint64_t kept = 0;
  for (int round = 0; round < 12; ++round) {
    Append(spool.get(), 70);
    const std::vector<std::string> segments = Segments();
    ASSERT_GE(segments.size(), 3U);
    BreakReadsOf(fs::canonical(segments[segments.size() / 2]).string());
    const std::vector<SpooledBatch> got = Drain(spool.get());
    ASSERT_FALSE(got.empty());
    ASSERT_TRUE(spool->Ack(1, got.back().seq).ok());
    Heal();
    most = std::max(most, DiskBytes());
    kept = std::max(kept, spool->stats().unread_kept);
  }
  EXPECT_GT(kept, 1U);
  EXPECT_GT(spool->stats().unread_dropped, 0U);
  EXPECT_EQ(spool->stats().unread_kept, Kept().size());
  EXPECT_LE(most, options_.max_bytes);
  // All of it, if that is what it takes.
  Status status;
  while (status.ok()) {
    status = spool->Append(agent_.Batch());
    EXPECT_LE(DiskBytes(), options_.max_bytes);
  }
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_TRUE(Kept().empty());
}

}  // namespace
}  // namespace nodetrail::agent
