// SPDX-License-Identifier: Apache-2.0
//
// A collector that stays away: what the spool gives up, in which order, and
// that what it says of it is true.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <thread>

#include "agent/spool/record_format.h"
#include "agent/spool/testing_spool.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/trail/eviction.h"

namespace nodetrail::agent {
namespace {

namespace fs = std::filesystem;
using Op = FaultyFileOps::Op;

constexpr uint64_t kKiB = 1024;

class SpoolLadder : public SpoolTestBase {
 protected:
  SpoolLadder() : signer_(&agent_), cas_(*trail::CaSet::FromPem(ca_.CertPem())) {
    options_.segment_bytes = 64 * kKiB;
    options_.max_bytes = 1024 * kKiB;
    options_.signer = &signer_;
    options_.ops = &ops_;
    ops_.real_sync = false;
  }

  // A batch whose stored body is about `bytes` long.
  trail::SealedBatch Big(uint64_t bytes) {
    std::string path(bytes, '\0');
    for (char& c : path) c = static_cast<char>(' ' + random_() % 95);  // 6.6 bits a character
    event::v1::Event event;
    event.set_kind(event::v1::KIND_FILE_CREATE);
    event.mutable_file()->mutable_path()->set_path(path);
    return agent_.BatchOf({event});
  }
  Status Put(Spool* spool, EvidenceClass cls, uint64_t bytes = 6 * kKiB) {
    const trail::SealedBatch batch = Big(bytes);
    const Status status = spool->Append(batch, cls);
    if (status.ok()) {
      batches_.push_back(batch);
      classes_.push_back(cls);
    } else {
      refused_ = batch;
    }
    return status;
  }
  // Everything that was appended, in order; each with its body, or with a
  // statement that holds. The numbers of those without.
  std::set<uint64_t> CheckDrained(Spool* spool, size_t from = 0) {
    std::set<uint64_t> evicted;
    const auto got = Drain(spool);
    EXPECT_EQ(got.size(), batches_.size() - from);
    for (size_t i = 0; i < std::min(got.size(), batches_.size() - from); ++i) {
      const trail::SealedBatch& was = batches_[from + i];
      EXPECT_EQ(got[i].leaf, was.leaf) << i;
      EXPECT_FALSE(got[i].after_hole) << i;
      if (got[i].eviction.empty()) {
        EXPECT_EQ(got[i].body, was.body) << i;
        continue;
      }
      EXPECT_TRUE(got[i].body.empty());
      const Status holds = trail::CheckEviction(got[i].eviction, was.header, was.batch_hash, cas_);
      EXPECT_TRUE(holds.ok()) << holds.ToString();
      evicted.insert(from + i);
    }
    return evicted;
  }
  // Blocks on the disk, but for quarantine/.
  uint64_t DiskBytes() const {
    uint64_t total = 0;
    for (const auto& entry : fs::directory_iterator(options_.dir)) {
      struct stat st {};
      if (::lstat(entry.path().c_str(), &st) == 0 && S_ISREG(st.st_mode)) {
        total += static_cast<uint64_t>(st.st_blocks) * 512;
      }
    }
    return total;
  }
  void ExpectClean(const Spool& spool) {
    const SpoolRecovery& r = spool.recovery();
    EXPECT_EQ(r.tampered, 0U) << testing::PrintToString(r.messages);
    EXPECT_EQ(r.rotten_ranges, 0U) << testing::PrintToString(r.messages);
    EXPECT_EQ(r.quarantined_files, 0U) << testing::PrintToString(r.messages);
    EXPECT_TRUE(r.missing.empty()) << testing::PrintToString(r.messages);
  }

  FaultyFileOps ops_;
  TestSigner signer_;
  trail::CaSet cas_;
  std::vector<EvidenceClass> classes_;
  trail::SealedBatch refused_;
  std::mt19937 random_{20240607};
};

TEST_F(SpoolLadder, LowClassesGoFirstOldestFirstAndTheirLeavesStay) {
  auto spool = Open();
  const EvidenceClass kinds[] = {EvidenceClass::kBulk, EvidenceClass::kBulk,     EvidenceClass::kNormal,
                                 EvidenceClass::kBulk, EvidenceClass::kCritical, EvidenceClass::kBulk,
                                 EvidenceClass::kBulk, EvidenceClass::kVital};
  SpoolLevel highest = SpoolLevel::kOk;
  for (int i = 0; i < 320; ++i) {  // 1.7 MiB
    const Status status = Put(spool.get(), kinds[i % 8]);
    ASSERT_TRUE(status.ok()) << i << ": " << status.ToString();
    highest = std::max(highest, spool->stats().level);
  }
  const SpoolStats stats = spool->stats();
  EXPECT_GE(highest, SpoolLevel::kEvict);
  EXPECT_GT(stats.compactions, 0U);
  EXPECT_EQ(stats.full_refusals, 0U);
  const std::set<uint64_t> evicted = CheckDrained(spool.get());
  EXPECT_EQ(evicted.size(), stats.evicted_batches);
  EXPECT_EQ(stats.evicted_events, stats.evicted_batches) << "one event in each";
  ASSERT_GT(evicted.size(), 40U);
  uint64_t last_bulk = 0;
  for (const uint64_t i : evicted) {
    EXPECT_LE(classes_[i], EvidenceClass::kNormal) << "a critical body was given up";
    if (classes_[i] == EvidenceClass::kBulk) last_bulk = i;
  }
  // Oldest first: all before the newest evicted one of a class are gone.
  for (uint64_t i = 0; i < last_bulk; ++i) {
    if (classes_[i] == EvidenceClass::kBulk) {
      EXPECT_TRUE(evicted.contains(i)) << i;
    }
  }
  // What is said of it in the trail.
  uint64_t told = 0;
  for (const SpoolEviction& e : spool->TakeEvictions()) {
    told += e.batches;
    EXPECT_EQ(e.epoch, 1U);
    EXPECT_EQ(e.seq_from, *evicted.begin());
    EXPECT_EQ(e.seq_to, *evicted.rbegin());
    EXPECT_GT(e.first_wall_ns, 0U);
  }
  EXPECT_EQ(told, evicted.size());
  EXPECT_TRUE(spool->TakeEvictions().empty());

  spool.reset();
  spool = Open();
  ExpectClean(*spool);
  EXPECT_EQ(CheckDrained(spool.get()), evicted);
  EXPECT_EQ(spool->head().batch_hash, batches_.back().batch_hash);
}

TEST_F(SpoolLadder, AtNinetyFivePercentOnlyCriticalBodiesAreTaken) {
  const auto spool = Open();
  while (spool->stats().level < SpoolLevel::kCriticalOnly) {
    ASSERT_TRUE(Put(spool.get(), EvidenceClass::kCritical).ok());
  }
  EXPECT_EQ(spool->stats().evicted_batches, 0U) << "there was nothing of a low class";
  const size_t critical = batches_.size();
  ASSERT_TRUE(Put(spool.get(), EvidenceClass::kBulk).ok());
  ASSERT_TRUE(Put(spool.get(), EvidenceClass::kNormal).ok());
  ASSERT_TRUE(Put(spool.get(), EvidenceClass::kCritical).ok());
  EXPECT_EQ(CheckDrained(spool.get()), (std::set<uint64_t>{critical, critical + 1}));
  EXPECT_EQ(spool->stats().header_only, 2U);
}

TEST_F(SpoolLadder, WithoutRoomHeadersGoIntoTheReserveAndThenNothing) {
  auto spool = Open();
  EXPECT_TRUE(fs::exists(options_.dir + "/reserve.headers"));
  Status status;
  SpoolLevel highest = SpoolLevel::kOk;
  for (int i = 0; i < 2000 && status.ok(); ++i) {
    status = Put(spool.get(), EvidenceClass::kCritical);
    highest = std::max(highest, spool->stats().level);
    ASSERT_LE(DiskBytes(), options_.max_bytes + options_.segment_bytes + 64 * kKiB);
  }
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.ToString();
  EXPECT_EQ(spool->stats().level, SpoolLevel::kFull);
  EXPECT_GE(highest, SpoolLevel::kHeadersOnly);
  EXPECT_FALSE(fs::exists(options_.dir + "/reserve.headers"));
  const uint64_t headers = spool->stats().header_only;
  EXPECT_GE(headers, 5U);
  const std::set<uint64_t> evicted = CheckDrained(spool.get());
  EXPECT_EQ(evicted.size(), headers);
  EXPECT_EQ(*evicted.begin(), batches_.size() - headers) << "the newest, when there was no room";
  // A restart on a full spool, and then the collector comes back.
  spool.reset();
  spool = Open();
  ExpectClean(*spool);
  EXPECT_EQ(CheckDrained(spool.get()), evicted);
  ASSERT_TRUE(spool->Ack(1, batches_.back().header.seq()).ok());
  EXPECT_EQ(spool->stats().batches_pending, 0U);
  EXPECT_EQ(spool->stats().level, SpoolLevel::kOk);
  EXPECT_TRUE(fs::exists(options_.dir + "/reserve.headers"));
  const size_t from = batches_.size();
  ASSERT_TRUE(spool->Append(refused_, EvidenceClass::kBulk).ok());
  batches_.push_back(refused_);
  EXPECT_TRUE(CheckDrained(spool.get(), from).empty());
}

// A loss that was declared must not be lost itself; and where a statement is no
// smaller than the body, nothing is won by giving that up.
TEST_F(SpoolLadder, WithoutRoomTheAgentsOwnWordsAndSmallBodiesStay) {
  auto spool = Open();
  while (spool->stats().level < SpoolLevel::kHeadersOnly) {
    ASSERT_TRUE(Put(spool.get(), EvidenceClass::kCritical).ok());
  }
  const size_t from = batches_.size();
  ASSERT_TRUE(Put(spool.get(), EvidenceClass::kVital, 3 * kKiB).ok());
  EXPECT_GT(batches_.back().body.size(), 2 * kKiB);
  ASSERT_TRUE(Put(spool.get(), EvidenceClass::kBulk, 500).ok());
  ASSERT_TRUE(Put(spool.get(), EvidenceClass::kVital, 20 * kKiB).ok());
  EXPECT_EQ(spool->stats().level, SpoolLevel::kHeadersOnly);
  Status status;
  uint64_t words = 2;
  for (; status.ok() && words < 200; ++words) {
    status = Put(spool.get(), words % 2 == 0 ? EvidenceClass::kNormal : EvidenceClass::kVital, 700);
    ASSERT_LE(spool->stats().bytes, options_.max_bytes);
    ASSERT_LE(DiskBytes(), options_.max_bytes + options_.segment_bytes + 64 * kKiB);
  }
  EXPECT_EQ(status.code(), Code::kResourceExhausted) << status.ToString();
  EXPECT_EQ(spool->stats().level, SpoolLevel::kFull);
  EXPECT_FALSE(fs::exists(options_.dir + "/reserve.headers"));
  EXPECT_GT(words, 5U);
  spool.reset();
  spool = Open();
  ExpectClean(*spool);
  std::set<uint64_t> evicted = CheckDrained(spool.get());
  evicted.erase(evicted.begin(), evicted.lower_bound(from));
  EXPECT_EQ(evicted, std::set<uint64_t>{from + 2}) << "more than 4 KiB";
}

// At 95 % too: small bodies of a low class.
TEST_F(SpoolLadder, SmallBodiesStayAtEveryStep) {
  const auto spool = Open();
  while (spool->stats().level < SpoolLevel::kCriticalOnly) {
    ASSERT_TRUE(Put(spool.get(), EvidenceClass::kCritical).ok());
  }
  ASSERT_TRUE(Put(spool.get(), EvidenceClass::kBulk, 500).ok());
  ASSERT_TRUE(Put(spool.get(), EvidenceClass::kNormal, 500).ok());
  EXPECT_TRUE(CheckDrained(spool.get()).empty());
}

// I6: the cap holds, whatever comes while the collector is away.
TEST_F(SpoolLadder, TheDiskCapHoldsUnderALoad) {
  auto spool = Open();
  std::mt19937 random(7);
  uint64_t stored = 0;
  uint64_t highest = 0;
  for (int i = 0; i < 900; ++i) {  // five times max_bytes
    const auto cls = static_cast<EvidenceClass>(1 + random() % 4);
    if (!Put(spool.get(), cls, 1 + random() % (12 * kKiB)).ok()) agent_.Restart();
    stored += batches_.back().body.size();
    highest = std::max(highest, DiskBytes());
    ASSERT_LE(highest, options_.max_bytes + options_.segment_bytes + 64 * kKiB) << i;
    if (i % 300 == 299) {
      spool.reset();
      spool = Open();
      EXPECT_EQ(spool->recovery().tampered, 0U);
    }
  }
  EXPECT_GT(stored, 3 * options_.max_bytes);
  std::printf("max_bytes %lu, most blocks on disk %lu\n", options_.max_bytes, highest);
}

// The process is killed before its n-th file operation, for every fourth n, or
// each with NODETRAIL_FULL set: what was committed is there, with its body or
// with a statement that holds.
TEST_F(SpoolLadder, AKillAtAnyStepOfAnEvictionLosesNothing) {
  options_.max_bytes = 112 * kKiB;
  options_.segment_bytes = 16 * kKiB;
  int points = 0;
  const int stride = std::getenv("NODETRAIL_FULL") != nullptr ? 1 : 4;
  for (int kill_at = 1;; kill_at += stride) {
    trail::TempDir dir;
    options_.dir = dir / "spool";
    agent_ = trail::TestAgent(ca_, "acme", "web-1");
    batches_.clear();
    classes_.clear();
    int ops = 0;
    bool killed = false;
    ops_.fault = [&](Op, int) {
      if (++ops >= kill_at) killed = true;
      return killed ? -EIO : 0;
    };
    std::optional<trail::SealedBatch> at_kill;
    {
      auto opened = Spool::Open(options_);
      for (int i = 0; opened.ok() && i < 36 && !killed; ++i) {
        at_kill = Big(4 * kKiB);
        const auto cls = i % 4 == 3 ? EvidenceClass::kCritical : EvidenceClass::kBulk;
        if (!(*opened)->Append(*at_kill, cls).ok()) break;
        batches_.push_back(*at_kill);
        classes_.push_back(cls);
        at_kill.reset();
      }
    }
    ops_.fault = [](Op, int) { return 0; };
    const auto spool = Open();
    ASSERT_NE(spool, nullptr);
    ExpectClean(*spool);
    // A record whose sync "failed" may be whole on the disk.
    if (at_kill && spool->head().batch_hash == at_kill->batch_hash) batches_.push_back(*at_kill);
    const std::set<uint64_t> evicted = CheckDrained(spool.get());
    EXPECT_LE(spool->stats().evicted_batches, evicted.size());
    ASSERT_FALSE(HasFailure()) << "killed at operation " << kill_at;
    EXPECT_FALSE(fs::exists(options_.dir + "/compact.tmp"));
    if (!killed) {
      EXPECT_GT(evicted.size(), 5U) << "the workload evicts";
      break;
    }
    ++points;
  }
  std::printf("killed at %d file operations, each %d.\n", points, stride);
  EXPECT_GT(points * stride, 120);
}

// Evictions that no header could count before the end are counted by the next process.
TEST_F(SpoolLadder, WhatACrashLeftUncountedIsCountedLater) {
  uint64_t uncounted = 0;
  {
    const auto spool = Open();
    uint64_t before = 0;
    while (spool->stats().evicted_batches == before) ASSERT_TRUE(Put(spool.get(), EvidenceClass::kBulk).ok());
    uncounted = spool->stats().evicted_batches;  // the batch that was appended by this does not know of them
  }
  {
    const auto spool = Open();
    EXPECT_EQ(spool->stats().evicted_batches, uncounted);
    EXPECT_EQ(spool->stats().evicted_events, uncounted);
    const uint64_t now = spool->stats().evicted_batches;
    ASSERT_TRUE(Put(spool.get(), EvidenceClass::kCritical, 100).ok());
    ASSERT_EQ(spool->stats().evicted_batches, now);
  }
  EXPECT_EQ(Open()->stats().evicted_batches, 0U) << "the last batch's header counted them";
}

// And be their batches acknowledged: nothing else would ever count them.
TEST_F(SpoolLadder, WhatACrashLeftUncountedIsKeptThoughAcknowledged) {
  uint64_t uncounted = 0;
  {
    const auto spool = Open();
    while (spool->stats().evicted_batches == 0) ASSERT_TRUE(Put(spool.get(), EvidenceClass::kBulk).ok());
    uncounted = spool->stats().evicted_batches;
    const trail::ChainHead head = spool->head();
    while (spool->Next(std::chrono::milliseconds(0))) {
    }
    ASSERT_TRUE(spool->Ack(head.epoch, head.seq).ok());
  }
  const auto spool = Open();
  EXPECT_EQ(spool->stats().evicted_batches, uncounted);
  EXPECT_EQ(spool->stats().batches_pending, 0U);
  // Two batches later a header has counted them, and the next acknowledgement deletes the segment.
  const size_t kept = Segments().size();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(Put(spool.get(), EvidenceClass::kCritical, 100).ok());
  while (spool->Next(std::chrono::milliseconds(0))) {
  }
  ASSERT_TRUE(spool->Ack(spool->head().epoch, spool->head().seq).ok());
  EXPECT_LT(Segments().size(), kept + 1);
  EXPECT_EQ(Segments().size(), 1U);
}

// The disk is full because of somebody else: bodies go, and what is kept for
// headers lends the room to write the segment anew.
TEST_F(SpoolLadder, ADiskThatOthersFilledIsRelievedByEviction) {
  const auto spool = Open();
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(Put(spool.get(), EvidenceClass::kBulk).ok());
  int full = 0;
  ops_.fault = [&](Op op, int) {
    if (op == Op::kFallocate && !fs::exists(options_.dir + "/reserve.headers")) return 0;
    if (op == Op::kFallocate) {
      ++full;
      return -ENOSPC;
    }
    return 0;
  };
  for (int i = 0; i < 60; ++i) ASSERT_TRUE(Put(spool.get(), EvidenceClass::kCritical).ok());
  EXPECT_GT(full, 0);
  EXPECT_GT(spool->stats().compactions, 0U);
  ops_.fault = [](Op, int) { return 0; };
  for (const uint64_t i : CheckDrained(spool.get())) EXPECT_TRUE(classes_[i] == EvidenceClass::kBulk || i >= 40U);
}

// Without a key nothing can be signed, so nothing is given up: the spool
// refuses, and the rings count what they lose.
TEST_F(SpoolLadder, NothingIsGivenUpWithoutASignature) {
  signer_.fail = true;
  const auto spool = Open();
  Status status;
  while (status.ok()) status = Put(spool.get(), EvidenceClass::kBulk);
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_GT(spool->stats().eviction_errors, 0U);
  EXPECT_EQ(spool->stats().evicted_batches, 0U);
  EXPECT_TRUE(CheckDrained(spool.get()).empty());
}

TEST_F(SpoolLadder, WhatIsOnItsWayKeepsItsBody) {
  const auto spool = Open();
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(Put(spool.get(), EvidenceClass::kBulk).ok());
  for (int i = 0; i < 25; ++i) ASSERT_TRUE(spool->Next(std::chrono::milliseconds(0)).has_value());
  for (int i = 0; i < 250; ++i) ASSERT_TRUE(Put(spool.get(), EvidenceClass::kBulk).ok());
  spool->Rewind();
  const std::set<uint64_t> evicted = CheckDrained(spool.get());
  ASSERT_FALSE(evicted.empty());
  EXPECT_GE(*evicted.begin(), 25U);
}

// A reader at any place while segments are written anew under it.
TEST_F(SpoolLadder, OneReadsWhileAnotherCompacts) {
  const auto spool = Open();
  std::atomic<bool> done = false;
  std::thread shipper([&] {
    uint64_t next = 0;
    while (!done || next == 0) {
      const auto batch = spool->Next(std::chrono::milliseconds(20));
      if (!batch) {
        spool->Rewind();
        next = 0;
        continue;
      }
      ASSERT_EQ(batch->seq, next);
      ASSERT_FALSE(batch->after_hole);
      ASSERT_NE(batch->body.empty(), batch->eviction.empty());
      ++next;
      if (next % 40 == 0) {  // a connection that breaks: all begins anew
        spool->Rewind();
        next = 0;
      }
    }
  });
  for (int i = 0; i < 600; ++i) {
    const Status status = Put(spool.get(), i % 9 == 0 ? EvidenceClass::kCritical : EvidenceClass::kBulk, 4 * kKiB);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  done = true;
  shipper.join();
  EXPECT_GT(spool->stats().compactions, 3U);
  spool->Rewind();
  EXPECT_FALSE(CheckDrained(spool.get()).empty());
}

// An edited statement is found as an edited leaf is.
TEST_F(SpoolLadder, AnEvictionOfAnotherBatchIsTampering) {
  {
    const auto spool = Open();
    while (spool->stats().compactions == 0) ASSERT_TRUE(Put(spool.get(), EvidenceClass::kBulk).ok());
  }
  const std::string path = Segments().front();
  std::string bytes = *ReadFile(path, 1 << 24);
  const auto header = DecodeSegmentHeader(std::string_view(bytes).substr(0, kSpoolHeaderBytes));
  ASSERT_TRUE(header.has_value());
  std::string edited = bytes.substr(0, kSpoolHeaderBytes);
  bool done = false;
  for (size_t at = kSpoolHeaderBytes; at + kSpoolRecordHeaderBytes <= bytes.size();) {
    const auto record = DecodeRecordHeader(std::string_view(bytes).substr(at, kSpoolRecordHeaderBytes));
    ASSERT_TRUE(record.has_value());
    std::string payload = bytes.substr(at + kSpoolRecordHeaderBytes, record->length);
    if (record->type == SpoolRecordType::kEvicted && !done) {
      const auto parts = DecodeEvictedPayload(payload);
      payload = EncodeEvictedPayload(parts->at_lsn, parts->leaf, agent_.Eviction(batches_.back()));
      done = true;
    }
    edited += EncodeRecord(record->type, record->lsn, payload, header->salt, record->cls);
    at += RecordBytes(record->length);
  }
  ASSERT_TRUE(done);
  ASSERT_TRUE(WriteFileAtomically(path, edited).ok());
  const auto spool = Open();
  EXPECT_EQ(spool->recovery().tampered, 1U) << testing::PrintToString(spool->recovery().messages);
  EXPECT_TRUE(spool->recovery().missing.empty());
}

}  // namespace
}  // namespace nodetrail::agent
