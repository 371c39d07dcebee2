// SPDX-License-Identifier: Apache-2.0
//
// Nothing twice, nothing missing: over restarts, wiped, damaged and foreign
// indexes, and bodies that are gone.
#include "collector/index/indexer.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "collector/index/catalog.h"
#include "collector/index/partition.h"
#include "collector/index/search.h"
#include "collector/index/test_trail.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/trail/leaf.h"

namespace nodetrail::collector {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

class IndexerTest : public testing::Test {
 protected:
  IndexerTest()
      : dir_(fmt::format("{}indexer_test.{}.{}", testing::TempDir(), ::getpid(),
                         testing::UnitTest::GetInstance()->current_test_info()->name())) {
    fs::remove_all(dir_);
    trail_ = std::make_unique<TestTrail>(dir_);
  }
  ~IndexerTest() override {
    indexer_.reset();
    fs::remove_all(dir_);
  }

  void Fill(int batches) {
    for (int i = 0; i < batches; ++i) {
      auto batch = maker_.Batch(20);
      events_ += batch.events.size();
      trail_->Append(std::move(batch));
      maker_.wall_ns += 3'600'000'000'000;
    }
  }
  void Open() {
    indexer_.reset();
    Indexer::Options options;
    options.trail_dir = dir_;
    options.clock = &clock_;
    auto opened = Indexer::Open(options);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    indexer_ = *std::move(opened);
    indexer_->Start();
    Settle();
  }
  void Settle() {
    indexer_->Notify(trail_->size());
    const Status done = indexer_->WaitIndexed(trail_->size(), seconds(60));
    ASSERT_TRUE(done.ok()) << done.ToString();
  }
  // Every row, as "position time event".
  std::vector<std::string> Rows() {
    std::vector<std::string> out;
    const expr::Node all;
    SearchSpec spec;
    spec.query = &all;
    spec.oldest_first = true;
    const auto stats = Search(dir_ + "/index", indexer_->bodies(), spec, [&out](const FoundRow& row) {
      out.push_back(fmt::format("{} {} {} {}", row.key.position, row.key.time, row.leaf.hostname, row.event_bytes));
      return true;
    });
    // While the index is made anew a search may say so; it never says anything wrong.
    EXPECT_TRUE(stats.ok() || stats.status().code() == Code::kUnavailable) << stats.status().ToString();
    return out;
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(dir_ + "/index")) out.push_back(entry.path().string());
    std::sort(out.begin(), out.end());
    return out;
  }
  // A partition that is not in use and has no log beside it.
  std::string SomePartition() const {
    for (const auto& file : Files()) {
      if (file.ends_with(".db") && file.find("/p2") != std::string::npos) return file;
    }
    return {};
  }

  const std::string dir_;
  std::unique_ptr<TestTrail> trail_;
  EventMaker maker_{11, 10};
  FakeClock clock_;
  std::unique_ptr<Indexer> indexer_;
  size_t events_ = 0;
};

TEST_F(IndexerTest, FollowsTheLogAndResumes) {
  Fill(5);
  Open();
  EXPECT_EQ(Rows().size(), events_);
  Fill(5);
  Settle();
  EXPECT_EQ(Rows().size(), events_);
  const auto before = Rows();
  Open();
  EXPECT_EQ(Rows(), before) << "a restart adds nothing twice";
  Fill(3);
  Settle();
  EXPECT_EQ(Rows().size(), events_);
}

// As after a crash between the partitions' commit and the catalog's.
TEST_F(IndexerTest, LeavesThatAreAddedAgainChangeNothing) {
  Fill(3);
  Open();
  indexer_.reset();
  ASSERT_FALSE(fs::exists(dir_ + "/index/catalog.db-wal")) << "closed in order, so that the file is whole";
  const std::string kept = dir_ + "/catalog.kept";
  fs::copy_file(dir_ + "/index/catalog.db", kept);
  Fill(3);
  Open();
  const auto before = Rows();
  indexer_.reset();
  fs::copy_file(kept, dir_ + "/index/catalog.db", fs::copy_options::overwrite_existing);
  Open();
  EXPECT_EQ(Rows(), before);
}

TEST_F(IndexerTest, PartitionsOfAnUnknownLogAreNotTrusted) {
  Fill(6);
  Open();
  const auto before = Rows();
  indexer_.reset();
  fs::remove(dir_ + "/index/catalog.db");
  // What is left behind holds nothing right.
  const std::string part = SomePartition();
  {
    auto db = Db::Open(part, Db::Mode::kReadWrite);
    ASSERT_TRUE(db.ok());
    ASSERT_TRUE(db->Exec("UPDATE ev SET t = t + 1, path = 0").ok());
  }
  Open();
  EXPECT_EQ(Rows(), before);
}

TEST_F(IndexerTest, AWipedIndexIsRebuiltEqual) {
  Fill(8);
  Open();
  const auto before = Rows();
  indexer_.reset();
  fs::remove_all(dir_ + "/index");
  Open();
  EXPECT_EQ(Rows(), before);
}

TEST_F(IndexerTest, AnIndexWipedUnderItIsRebuilt) {
  Fill(4);
  Open();
  const auto before = Rows();
  fs::remove_all(dir_ + "/index");
  Fill(1);
  Settle();
  // The tick notices, whatever was still open.
  const auto deadline = std::chrono::steady_clock::now() + seconds(30);
  std::vector<std::string> rows;
  while ((rows = Rows()).size() != events_ && std::chrono::steady_clock::now() < deadline) {
    indexer_->WaitForLog(trail_->size(), std::chrono::milliseconds(100));
  }
  EXPECT_EQ(rows.size(), events_);
}

TEST_F(IndexerTest, ADamagedCatalogIsRebuilt) {
  Fill(4);
  Open();
  const auto before = Rows();
  indexer_.reset();
  fs::remove(dir_ + "/index/catalog.db-wal");
  std::ofstream(dir_ + "/index/catalog.db", std::ios::trunc) << std::string(8192, 'x');
  Open();
  EXPECT_EQ(Rows(), before);
}

TEST_F(IndexerTest, AMissingPartitionIsRebuilt) {
  Fill(30);
  Open();
  const auto before = Rows();
  indexer_.reset();
  fs::remove(SomePartition());
  Open();
  EXPECT_EQ(Rows(), before);
}

TEST_F(IndexerTest, ADamagedPartitionThatAReaderMeetsIsRebuilt) {
  Fill(30);
  Open();
  const auto before = Rows();
  indexer_.reset();
  const std::string part = SomePartition();
  fs::remove(part + "-wal");
  std::fstream file(part, std::ios::in | std::ios::out | std::ios::binary);
  file << std::string(100, '\x7f');
  file.close();
  Indexer::Options options;
  options.trail_dir = dir_;
  options.clock = &clock_;
  indexer_ = Indexer::Open(options).value();
  indexer_->Start();
  const expr::Node all;
  SearchSpec spec;
  spec.query = &all;
  const auto stats = Search(dir_ + "/index", indexer_->bodies(), spec, [](const FoundRow&) { return true; });
  ASSERT_EQ(stats.status().code(), Code::kDataLoss);
  indexer_->ReportDamage(std::string(stats.status().message()));
  const auto deadline = std::chrono::steady_clock::now() + seconds(30);
  indexer_->Notify(trail_->size());
  std::vector<std::string> rows;
  while (rows != before && std::chrono::steady_clock::now() < deadline) {
    indexer_->WaitForLog(trail_->size(), std::chrono::milliseconds(100));
    const auto again = Search(dir_ + "/index", indexer_->bodies(), spec, [](const FoundRow&) { return true; });
    if (again.ok()) rows = Rows();
  }
  EXPECT_EQ(rows, before);
}

TEST_F(IndexerTest, AnIndexOfAnotherLogIsRebuilt) {
  Fill(4);
  Open();
  indexer_.reset();
  trail_.reset();
  const std::string kept = dir_ + ".index";
  fs::remove_all(kept);
  fs::rename(dir_ + "/index", kept);
  fs::remove_all(dir_);
  trail_ = std::make_unique<TestTrail>(dir_);
  events_ = 0;
  Fill(6);
  fs::rename(kept, dir_ + "/index");
  // The old index is of as many leaves, and of other ones.
  Indexer::Options options;
  options.trail_dir = dir_;
  options.clock = &clock_;
  indexer_ = Indexer::Open(options).value();
  indexer_->Start();
  const auto deadline = std::chrono::steady_clock::now() + seconds(30);
  indexer_->Notify(trail_->size());
  std::vector<std::string> rows;
  while (rows.size() != events_ && std::chrono::steady_clock::now() < deadline) {
    indexer_->WaitForLog(trail_->size(), std::chrono::milliseconds(100));
    rows = Rows();
  }
  EXPECT_EQ(rows.size(), events_);
}

TEST_F(IndexerTest, ABodyThatIsGoneHidesOnlyItsEvents) {
  Fill(5);
  fs::remove(trail_->BodyFile(2));
  Open();
  EXPECT_EQ(Rows().size(), events_ - 20);
  // One that goes after it was indexed: the rest is still found.
  fs::remove(trail_->BodyFile(3));
  indexer_.reset();
  Open();
  EXPECT_EQ(Rows().size(), events_ - 40);
}

// What retention deletes is in the index no longer: no row, no word that nothing
// else says, no bytes of it in the files.
TEST_F(IndexerTest, WhatWasRetiredLeavesNoRow) {
  const auto batch = [this](uint32_t pid, const std::string& exe) {
    TestBatch out;
    out.processes.push_back(TestProcess(pid, exe, {exe, "--of=" + exe}));
    out.events.push_back(TestEvent(event::v1::KIND_PROCESS_EXEC, out.processes[0], maker_.wall_ns));
    ++events_;
    return out;
  };
  Fill(2);
  trail_->Append(batch(4001, "/opt/goes-with-its-body"));  // leaf 2
  trail_->Append(batch(4002, "/opt/stays"));
  Open();
  ASSERT_EQ(Rows().size(), events_);
  const auto in_files = [this](const std::string& word) {
    return std::any_of(fs::directory_iterator(dir_ + "/index"), fs::directory_iterator(), [&](const auto& entry) {
      const auto bytes = ReadFile(entry.path(), 1U << 30);
      return bytes.ok() && bytes->find(word) != std::string::npos;
    });
  };
  EXPECT_TRUE(in_files("goes-with-its-body"));

  trail::v1::LogEntry retire;
  retire.set_format_version(1);
  retire.set_tenant("default");
  retire.mutable_retire()->set_policy("short");
  retire.mutable_retire()->add_leaves(2);
  retire.mutable_retire()->set_body_sha256(std::string(32, 'b'));
  trail_->AppendEntry(retire);  // leaf 4
  Settle();
  // Announced only: a hold may still keep it.
  EXPECT_EQ(Rows().size(), events_);
  fs::remove(trail_->BodyFile(2));
  trail::v1::LogEntry retired;
  retired.set_format_version(1);
  retired.set_tenant("default");
  retired.mutable_retired()->set_retire_index(4);
  retired.mutable_retired()->set_bodies(1);
  trail_->AppendEntry(retired);
  Settle();
  const auto rows = Rows();
  EXPECT_EQ(rows.size(), events_ - 1);
  uint64_t of_leaf = 0;
  uint64_t counted = 0;
  auto catalog = Catalog::Open(dir_ + "/index", Db::Mode::kReadOnly);
  ASSERT_TRUE(catalog.ok());
  const auto parts = catalog->Partitions(0, UINT64_MAX >> 1);
  ASSERT_TRUE(parts.ok());
  for (const PartitionInfo& part : *parts) {
    counted += part.rows;
    auto db = Db::Open(fmt::format("{}/index/{}.db", dir_, part.name), Db::Mode::kReadOnly);
    ASSERT_TRUE(db.ok());
    auto count = db->Prepare("SELECT count(*) FROM ev WHERE pos >= ?1 AND pos < ?2");
    ASSERT_TRUE(count.ok());
    ASSERT_TRUE(count->Bind(1, PositionOf(2, 0)).Bind(2, PositionOf(3, 0)).Step().value());
    of_leaf += static_cast<uint64_t>(count->Int(0));
  }
  EXPECT_EQ(of_leaf, 0U);
  EXPECT_EQ(counted, events_ - 1);
  EXPECT_TRUE(in_files("/opt/stays"));
  EXPECT_FALSE(in_files("goes-with-its-body"));
  // And what follows is indexed as ever.
  trail_->Append(batch(4001, "/opt/goes-with-its-body"));
  Settle();
  EXPECT_EQ(Rows().size(), events_ - 1);
}

TEST_F(IndexerTest, TotalsAndProofs) {
  Fill(13);
  TestBatch lossy = maker_.Batch(1);
  lossy.agent_id = "lossy";
  lossy.lost = 5;
  trail_->Append(lossy);
  lossy.lost = 9;  // counters are cumulative
  trail_->Append(lossy);
  Open();
  auto catalog = Catalog::Open(dir_ + "/index", Db::Mode::kReadOnly);
  ASSERT_TRUE(catalog.ok());
  query::v1::StatusResponse status;
  ASSERT_TRUE(catalog->FillStatus(&status).ok());
  EXPECT_EQ(status.events_total(), events_ + 2);
  EXPECT_EQ(status.lost_total(), 9U);
  const uint64_t n = trail_->size();
  std::vector<trail::Hash> hashes;
  for (uint64_t i = 0; i < n; ++i) hashes.push_back(trail::LeafHash(indexer_->bodies()->Leaf(i).value()));
  for (uint64_t size = 1; size <= n; ++size) {
    const auto root = trail::MerkleRoot(std::span(hashes).first(size));
    for (uint64_t i = 0; i < size; ++i) {
      const auto path = catalog->InclusionProof(i, size);
      ASSERT_TRUE(path.ok());
      EXPECT_TRUE(trail::VerifyInclusion(hashes[i], i, size, *path, root).ok()) << i << " of " << size;
    }
  }
  EXPECT_FALSE(catalog->InclusionProof(n, n).ok());
}

TEST_F(IndexerTest, LagIsTheAgeOfTheOldestLeafThatWaits) {
  Indexer::Options options;
  options.trail_dir = dir_;
  options.clock = &clock_;
  indexer_ = Indexer::Open(options).value();
  Fill(1);
  indexer_->Notify(trail_->size());
  clock_.Advance(2'500'000'000);
  EXPECT_DOUBLE_EQ(indexer_->GetProgress().lag_seconds, 2.5);
  indexer_->Start();
  Settle();
  EXPECT_EQ(indexer_->GetProgress().lag_seconds, 0.0);
}

}  // namespace
}  // namespace nodetrail::collector
