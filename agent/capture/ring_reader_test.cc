// SPDX-License-Identifier: Apache-2.0
#include "agent/capture/ring_reader.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <random>
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
    std::array<std::byte, 4096> bytes{};
    EXPECT_LE(step, bytes.size());
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
  // CPUs with a reserve.
  void Pairs(size_t n, uint64_t size = 4096) {
    for (size_t i = 0; i < n; ++i) {
      rings_.push_back(std::make_unique<FakeRing>(size));
      reserves_.push_back(std::make_unique<FakeRing>(size));
      merge_.Add(rings_.back()->View(), reserves_.back()->View());
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

  std::vector<std::unique_ptr<FakeRing>> rings_, reserves_;
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

TEST_F(RingMergeTest, BothRingsOfACpuComeInTheOrderOfTheirNumbers) {
  Pairs(2);
  rings_[0]->Put(10, 1);
  reserves_[0]->Put(20, 2);
  reserves_[0]->Put(30, 3);
  rings_[0]->Put(40, 4);
  reserves_[0]->Put(50, 7);  // 5 and 6 found room in neither
  rings_[0]->Put(60, 8);
  rings_[1]->Put(25, 1);
  reserves_[1]->Put(45, 2);
  EXPECT_EQ(Drain(100), (Order{{10, 1}, {20, 2}, {25, 1}, {30, 3}, {40, 4}, {45, 2}, {50, 7}, {60, 8}}));
  for (size_t cpu = 0; cpu < 2; ++cpu) {
    EXPECT_EQ(rings_[cpu]->consumer(), rings_[cpu]->producer());
    EXPECT_EQ(reserves_[cpu]->consumer(), reserves_[cpu]->producer());
  }
}

TEST_F(RingMergeTest, NumbersWinOverTimesBetweenTheRingsToo) {
  Pairs(2);
  rings_[0]->Put(12, 2);  // interrupted number 1 after it was given, before it had read the clock
  reserves_[0]->Put(13, 1);
  rings_[1]->Put(12, 1);
  EXPECT_EQ(Drain(100), (Order{{12, 1}, {13, 1}, {12, 2}}));
}

TEST_F(RingMergeTest, ARecordUnderWayInTheOneRingHoldsTheOther) {
  Pairs(2);
  rings_[0]->Put(10, 1);
  rings_[0]->Put(20, 2, sizeof(nt_header), kBusy);
  reserves_[0]->Put(30, 3);
  rings_[1]->Put(40, 1);
  EXPECT_EQ(Drain(100), (Order{{10, 1}, {40, 1}}));
  EXPECT_EQ(Drain(100), Order{});
  rings_[0]->CommitLast();
  reserves_[0]->Put(50, 4, sizeof(nt_header), kBusy);
  EXPECT_EQ(Drain(100), (Order{{20, 2}, {30, 3}}));
  rings_[0]->Put(60, 5);
  EXPECT_EQ(Drain(100), Order{});
  reserves_[0]->CommitLast();
  EXPECT_EQ(Drain(100), (Order{{50, 4}, {60, 5}}));
}

TEST_F(RingMergeTest, AYoungRecordHoldsLaterNumbersOfTheOtherRing) {
  Pairs(1);
  rings_[0]->Put(50, 1);
  reserves_[0]->Put(49, 2);
  EXPECT_EQ(Drain(49), Order{});
  EXPECT_EQ(Drain(50), (Order{{50, 1}, {49, 2}}));
}

// What comes in while a drain is under way waits for the next one, in both
// rings: between the looks at the two of them neither may get ahead.
TEST_F(RingMergeTest, ADrainTakesWhatWasThereWhenItBegan) {
  Pairs(1);
  rings_[0]->Put(1, 1);
  std::vector<uint64_t> got;
  const RecordSink sink = [&](std::span<const std::byte> record) {
    nt_header h{};
    std::memcpy(&h, record.data(), sizeof h);
    got.push_back(h.cpu_seq);
    if (h.cpu_seq == 1) {
      rings_[0]->Put(2, 2);
      reserves_[0]->Put(3, 3);
    }
    return true;
  };
  EXPECT_EQ(merge_.Drain(sink, UINT64_MAX), 1U);
  EXPECT_EQ(merge_.Drain(sink, UINT64_MAX), 2U);
  EXPECT_EQ(got, (std::vector<uint64_t>{1, 2, 3}));
}

// The kernel's side of one CPU as emit.bpf.h has it. Whatever comes out is in
// order, and each number that is missing was counted as lost.
TEST_F(RingMergeTest, AStormInTheBulkRingEvictsNothingOfTheReserve) {
  Pairs(1, 2048);
  std::mt19937 random(1);
  uint64_t seq = 0, lost = 0, last = 0, holes = 0, critical = 0, got_critical = 0;
  const auto take = [&] {
    for (const auto& [time, number] : Drain(UINT64_MAX)) {
      ASSERT_GT(number, last);
      holes += number - last - 1;
      last = number;
      got_critical += time % 2;
    }
  };
  for (int round = 0; round < 2000; ++round) {
    const int burst = static_cast<int>(random() % 150);  // of which the bulk ring holds 51
    for (int i = 0; i < burst; ++i) {
      const bool reserved = random() % 8 == 0;
      ++seq;
      critical += reserved ? 1 : 0;
      const uint64_t time = 2 * seq + (reserved ? 1 : 0);
      if (rings_[0]->Put(time, seq) || (reserved && reserves_[0]->Put(time, seq))) continue;
      ++lost;
      EXPECT_FALSE(reserved);
    }
    take();
  }
  EXPECT_GT(lost, 10000U);
  EXPECT_EQ(holes + seq - last, lost);
  EXPECT_EQ(got_critical, critical);
  EXPECT_GT(merge_.ReserveUse().records, 0U);
  EXPECT_LT(merge_.ReserveUse().records, critical) << "most find room in the bulk ring";
}

TEST_F(RingMergeTest, TellsHowFullTheRingsWere) {
  Pairs(2, 1024);
  EXPECT_EQ(merge_.BulkUse().size_bytes, 1024U);
  EXPECT_EQ(merge_.ReserveUse().size_bytes, 1024U);
  for (uint64_t i = 1; i <= 3; ++i) rings_[1]->Put(i, i);
  rings_[0]->Put(1, 1);
  reserves_[0]->Put(2, 2);
  EXPECT_EQ(merge_.BulkUse().used_bytes, 3U * 40);
  EXPECT_EQ(merge_.ReserveUse().used_bytes, 40U);
  EXPECT_EQ(merge_.BulkUse().peak_bytes, 0U) << "nobody looked yet";
  EXPECT_EQ(Drain(100).size(), 5U);
  EXPECT_EQ(merge_.BulkUse().used_bytes, 0U);
  EXPECT_EQ(merge_.BulkUse().peak_bytes, 3U * 40);
  EXPECT_EQ(merge_.BulkUse().records, 4U);
  EXPECT_EQ(merge_.ReserveUse().peak_bytes, 40U);
  EXPECT_EQ(merge_.ReserveUse().records, 1U);
}

TEST_F(RingMergeTest, WithoutAReserveThereIsNone) {
  Rings(1);
  rings_[0]->Put(1, 1);
  EXPECT_EQ(Drain(100).size(), 1U);
  EXPECT_EQ(merge_.ReserveUse().size_bytes, 0U);
  EXPECT_EQ(merge_.ReserveUse().used_bytes, 0U);
}

}  // namespace
}  // namespace nodetrail::agent
