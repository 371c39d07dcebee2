// SPDX-License-Identifier: Apache-2.0
#include "agent/capture/ring_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace nodetrail::agent {
namespace {

constexpr uint32_t kBusy = 1U << 31;
constexpr uint32_t kDiscard = 1U << 30;

// The kernel's side of one ring, in plain memory. The second copy of the data
// is kept in step by hand.
class FakeRing {
 public:
  explicit FakeRing(uint64_t size) : size_(size), words_(2 * size / 8) {}

  RingView View() { return {&consumer_, &producer_, Bytes(), size_}; }

  // False: no room.
  bool Put(uint64_t time, uint64_t seq, uint32_t len = sizeof(nt_header), uint32_t flags = 0) {
    const uint64_t step = (len + 8 + 7) & ~uint64_t{7};
    if (producer_ + step - consumer_ > size_) return false;
    std::vector<std::byte> bytes(step);
    const uint32_t head = len | flags;
    std::memcpy(bytes.data(), &head, sizeof head);
    nt_header h{};
    h.ktime_boot_ns = time;
    h.cpu_seq = seq;
    std::memcpy(bytes.data() + 8, &h, std::min<size_t>(len, sizeof h));
    for (uint64_t i = 0; i < step; ++i) {
      const uint64_t at = (producer_ + i) & (size_ - 1);
      Bytes()[at] = Bytes()[at + size_] = bytes[i];
    }
    last_ = producer_;
    producer_ += step;
    return true;
  }

  void CommitLast() {
    uint32_t head = 0;
    std::memcpy(&head, Bytes() + (last_ & (size_ - 1)), 4);
    head &= ~kBusy;
    std::memcpy(Bytes() + (last_ & (size_ - 1)), &head, 4);
    std::memcpy(Bytes() + (last_ & (size_ - 1)) + size_, &head, 4);
  }

  [[nodiscard]] uint64_t consumer() const { return consumer_; }
  [[nodiscard]] uint64_t producer() const { return producer_; }

 private:
  std::byte* Bytes() { return reinterpret_cast<std::byte*>(words_.data()); }

  uint64_t size_;
  std::vector<uint64_t> words_;
  uint64_t consumer_ = 0, producer_ = 0, last_ = 0;
};

class RingMergeTest : public ::testing::Test {
 protected:
  void Rings(size_t n, uint64_t size = 4096) {
    for (size_t i = 0; i < n; ++i) {
      rings_.push_back(std::make_unique<FakeRing>(size));
      merge_.Add(rings_.back()->View());
    }
  }
  // (time, seq) in the order handed over; stops after `limit`.
  std::vector<std::pair<uint64_t, uint64_t>> Drain(uint64_t cutoff, size_t limit = SIZE_MAX) {
    std::vector<std::pair<uint64_t, uint64_t>> got;
    const size_t handed = merge_.Drain(
        [&](std::span<const std::byte> record) {
          nt_header h{};
          std::memcpy(&h, record.data(), std::min(record.size(), sizeof h));
          got.emplace_back(h.ktime_boot_ns, h.cpu_seq);
          return got.size() < limit;
        },
        cutoff);
    EXPECT_EQ(handed, got.size());
    return got;
  }

  std::vector<std::unique_ptr<FakeRing>> rings_;
  RingMerge merge_;
};

using Order = std::vector<std::pair<uint64_t, uint64_t>>;

TEST_F(RingMergeTest, MergesByTimeThenCpu) {
  Rings(3);
  rings_[2]->Put(10, 1);
  rings_[2]->Put(30, 2);
  rings_[0]->Put(20, 7);
  rings_[1]->Put(10, 5);
  rings_[1]->Put(40, 6);
  EXPECT_EQ(Drain(100), (Order{{10, 5}, {10, 1}, {20, 7}, {30, 2}, {40, 6}}));
  for (auto& ring : rings_) EXPECT_EQ(ring->consumer(), ring->producer());
}

TEST_F(RingMergeTest, YoungRecordsWait) {
  Rings(2);
  rings_[0]->Put(10, 1);
  rings_[0]->Put(50, 2);
  rings_[1]->Put(60, 1);
  EXPECT_EQ(Drain(20), (Order{{10, 1}}));
  rings_[1]->Put(70, 2);
  EXPECT_EQ(Drain(65), (Order{{50, 2}, {60, 1}}));
  EXPECT_EQ(Drain(UINT64_MAX), (Order{{70, 2}}));
}

TEST_F(RingMergeTest, SinkStopsAfterTheRecordItTook) {
  Rings(2);
  for (uint64_t i = 1; i <= 5; ++i) rings_[0]->Put(i, i);
  EXPECT_EQ(Drain(100, 2), (Order{{1, 1}, {2, 2}}));
  EXPECT_LT(rings_[0]->consumer(), rings_[0]->producer());
  EXPECT_EQ(Drain(100), (Order{{3, 3}, {4, 4}, {5, 5}}));
}

TEST_F(RingMergeTest, UncommittedRecordHoldsItsRingOnly) {
  Rings(2);
  rings_[0]->Put(10, 1);
  rings_[0]->Put(20, 2, sizeof(nt_header), kBusy);
  rings_[1]->Put(30, 1);
  EXPECT_EQ(Drain(100), (Order{{10, 1}, {30, 1}}));
  rings_[0]->CommitLast();
  EXPECT_EQ(Drain(100), (Order{{20, 2}}));
}

TEST_F(RingMergeTest, DiscardedRecordsAreSkipped) {
  Rings(1);
  rings_[0]->Put(10, 1, sizeof(nt_header), kDiscard);
  rings_[0]->Put(20, 2);
  rings_[0]->Put(30, 3, sizeof(nt_header), kDiscard);
  EXPECT_EQ(Drain(100), (Order{{20, 2}}));
  EXPECT_EQ(rings_[0]->consumer(), rings_[0]->producer());
}

TEST_F(RingMergeTest, NestedProbesComeInTheOrderOfTheirNumbers) {
  Rings(1);
  rings_[0]->Put(12, 2);  // interrupted number 1 and finished first
  rings_[0]->Put(11, 1);
  rings_[0]->Put(13, 3);
  EXPECT_EQ(Drain(100), (Order{{11, 1}, {12, 2}, {13, 3}}));
}

TEST_F(RingMergeTest, SpaceOfAnOvertakenRecordIsNotGivenBackEarly) {
  Rings(1);
  rings_[0]->Put(12, 2);
  rings_[0]->Put(11, 1);
  EXPECT_EQ(Drain(100, 1), (Order{{11, 1}}));
  EXPECT_EQ(rings_[0]->consumer(), 0U);
  EXPECT_EQ(Drain(100), (Order{{12, 2}}));
  EXPECT_EQ(rings_[0]->consumer(), rings_[0]->producer());
}

TEST_F(RingMergeTest, ShortRecordIsHandedOverInPlace) {
  Rings(1);
  rings_[0]->Put(10, 1);
  rings_[0]->Put(0, 0, 5);
  rings_[0]->Put(20, 2);
  EXPECT_EQ(Drain(100).size(), 3U);
}

TEST_F(RingMergeTest, WrapsManyTimes) {
  Rings(2, 256);
  uint64_t next = 1, seen = 0;
  for (int round = 0; round < 1000; ++round) {
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(rings_[next % 2]->Put(next, next));
      ++next;
    }
    for (const auto& [time, seq] : Drain(UINT64_MAX)) {
      EXPECT_EQ(time, seen + 1);
      seen = time;
    }
  }
  EXPECT_EQ(seen, 5000U);
}

}  // namespace
}  // namespace nodetrail::agent
