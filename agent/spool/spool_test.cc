// SPDX-License-Identifier: Apache-2.0
#include "agent/spool/spool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "agent/spool/testing_spool.h"

namespace nodetrail::agent {
namespace {

using std::chrono::milliseconds;

class SpoolTest : public SpoolTestBase {};

TEST_F(SpoolTest, WhatIsAppendedComesOutAndSurvives) {
  {
    const auto spool = Open();
    EXPECT_FALSE(spool->head().known);
    Append(spool.get(), 5);
    EXPECT_EQ(spool->head().seq, 4U);
    EXPECT_EQ(spool->stats().batches_pending, 5U);
    EXPECT_EQ(spool->stats().oldest_wall_ns, batches_[0].header.sealed_wall_ns());
    ExpectBatches(Drain(spool.get()));
  }
  const auto spool = Open();
  EXPECT_EQ(spool->recovery().batches_pending, 5U);
  EXPECT_EQ(spool->recovery().torn_bytes, 0U);
  EXPECT_TRUE(spool->recovery().missing.empty());
  EXPECT_EQ(spool->head().batch_hash, batches_.back().batch_hash);
  EXPECT_EQ(spool->head().next_key, batches_.back().header.next_key());
  ExpectBatches(Drain(spool.get()));
  Append(spool.get(), 2);
  ExpectBatches(Drain(spool.get()), 5);
}

TEST_F(SpoolTest, AcksAreRememberedAndSegmentsGo) {
  options_.segment_bytes = 1 << 20;
  {
    const auto spool = Open();
    Append(spool.get(), 10);
    Drain(spool.get());
    EXPECT_TRUE(spool->Ack(1, 3).ok());
    EXPECT_TRUE(spool->Ack(1, 1).ok()) << "an old ack is ignored";
    EXPECT_EQ(spool->Ack(1, 99).code(), Code::kNotFound);
    EXPECT_EQ(spool->stats().batches_pending, 6U);
    EXPECT_EQ(spool->oldest_pending()->seq, 4U);
    spool->Rewind();
    ExpectBatches(Drain(spool.get()), 4);
  }
  {
    const auto spool = Open();
    EXPECT_EQ(spool->recovery().batches_pending, 6U);
    ExpectBatches(Drain(spool.get()), 4);
    EXPECT_TRUE(spool->Ack(1, 9).ok());
    EXPECT_EQ(spool->stats().batches_pending, 0U);
    EXPECT_EQ(spool->stats().oldest_wall_ns, 0U);
    EXPECT_EQ(Segments().size(), 1U) << "the old segment is gone";
  }
  // The head outlives the batches it came from.
  const auto spool = Open();
  EXPECT_EQ(spool->head().seq, 9U);
  EXPECT_EQ(spool->head().batch_hash, batches_.back().batch_hash);
  EXPECT_TRUE(spool->recovery().missing.empty());
  EXPECT_TRUE(Drain(spool.get()).empty());
  Append(spool.get(), 1);
  ExpectBatches(Drain(spool.get()), 10);
}

TEST_F(SpoolTest, RotatesOverManySegments) {
  options_.segment_bytes = 16 * 1024;
  const auto spool = Open();
  Append(spool.get(), 60);
  EXPECT_GE(Segments().size(), 3U);
  ExpectBatches(Drain(spool.get()));
  EXPECT_TRUE(spool->Ack(1, 40).ok());
  EXPECT_EQ(spool->stats().batches_pending, 19U);
  spool->Rewind();
  ExpectBatches(Drain(spool.get()), 41);
  EXPECT_TRUE(spool->Ack(1, 59).ok());
  EXPECT_EQ(Segments().size(), 1U);
}

TEST_F(SpoolTest, ABatchLargerThanASegmentHasItsOwn) {
  options_.segment_bytes = 8 * 1024;
  const auto spool = Open();
  trail::SealedBatch big = agent_.Batch();
  big.body.assign(3 << 20, 'x');
  ASSERT_TRUE(spool->Append(big).ok());
  const auto out = Drain(spool.get());
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].body.size(), big.body.size());
}

TEST_F(SpoolTest, ResumesWhereTheReceiverIs) {
  {
    const auto spool = Open();
    Append(spool.get(), 8);
  }
  // A new process: nothing is in flight, the ack was never seen.
  const auto spool = Open();
  EXPECT_EQ(spool->ResumeAfter(1, 4, batches_[3].batch_hash).code(), Code::kFailedPrecondition);
  EXPECT_EQ(spool->stats().batches_pending, 8U) << "nothing moved";
  EXPECT_TRUE(spool->ResumeAfter(1, 4, batches_[4].batch_hash).ok());
  EXPECT_EQ(spool->stats().batches_pending, 3U);
  ExpectBatches(Drain(spool.get()), 5);
  EXPECT_TRUE(spool->ResumeAfter(1, 4, batches_[4].batch_hash).ok());
  EXPECT_EQ(spool->ResumeAfter(1, 4, batches_[3].batch_hash).code(), Code::kFailedPrecondition);
  EXPECT_EQ(spool->ResumeAfter(1, 2, batches_[2].batch_hash).code(), Code::kNotFound);
  EXPECT_EQ(spool->ResumeAfter(9, 0, batches_[2].batch_hash).code(), Code::kNotFound);
}

TEST_F(SpoolTest, RefusesAtItsLimitAndTakesAgainOnceThereIsRoom) {
  options_.segment_bytes = 64 * 1024;
  options_.max_bytes = 3 * 64 * 1024;
  const auto spool = Open();
  Status status;
  while (status.ok()) {
    batches_.push_back(agent_.Batch());
    status = spool->Append(batches_.back());
  }
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.ToString();
  EXPECT_NE(status.message().find("max_bytes"), std::string_view::npos);
  EXPECT_LE(spool->stats().bytes, options_.max_bytes);
  EXPECT_EQ(spool->stats().full_refusals, 1U);
  const trail::SealedBatch waiting = batches_.back();
  batches_.pop_back();
  ExpectBatches(Drain(spool.get()));
  ASSERT_TRUE(spool->Ack(1, batches_.back().header.seq()).ok());
  EXPECT_TRUE(spool->Append(waiting).ok());
  batches_.push_back(waiting);
  ExpectBatches(Drain(spool.get()), batches_.size() - 1);
}

TEST_F(SpoolTest, OneProcessAtATime) {
  const auto spool = Open();
  EXPECT_EQ(Spool::Open(options_).status().code(), Code::kFailedPrecondition);
}

TEST_F(SpoolTest, NextWaitsAndStopWakesIt) {
  const auto spool = Open();
  std::atomic<bool> got = false;
  std::thread reader([&] {
    if (spool->Next(std::chrono::minutes(1))) got = true;
    EXPECT_FALSE(spool->Next(std::chrono::minutes(1)).has_value());
  });
  Append(spool.get(), 1);
  spool->Stop();
  reader.join();
  // Either the reader saw the batch first, or the stop.
  EXPECT_FALSE(spool->Next(milliseconds(0)).has_value());
}

TEST_F(SpoolTest, OneAppendsWhileAnotherShips) {
  options_.segment_bytes = 64 * 1024;
  const auto spool = Open();
  constexpr int kBatches = 300;
  std::thread shipper([&] {
    uint64_t next = 0;
    std::set<uint64_t> rewound;
    while (next < kBatches) {
      const auto batch = spool->Next(std::chrono::seconds(30));
      ASSERT_TRUE(batch.has_value());
      ASSERT_EQ(batch->seq, next);
      if (next % 7 == 3) {
        ASSERT_TRUE(spool->Ack(batch->epoch, batch->seq).ok());
      }
      if (next % 50 == 49 && rewound.insert(next).second) {
        spool->Rewind();
        const auto oldest = spool->oldest_pending();
        next = oldest ? oldest->seq : next + 1;
        continue;
      }
      ++next;
      (void)spool->stats();
    }
    ASSERT_TRUE(spool->Ack(1, kBatches - 1).ok());
  });
  Append(spool.get(), kBatches);
  shipper.join();
  EXPECT_EQ(spool->stats().batches_pending, 0U);
  EXPECT_EQ(spool->head().seq, static_cast<uint64_t>(kBatches - 1));
}

}  // namespace
}  // namespace nodetrail::agent
