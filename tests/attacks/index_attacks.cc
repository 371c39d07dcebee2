// SPDX-License-Identifier: Apache-2.0
//
// Against readers who ask the index instead of the trail.
#include <sqlite3.h>

#include <filesystem>

#include "collector/index/indexer.h"
#include "collector/index/search.h"
#include "collector/index/test_trail.h"
#include "nodetrail/base/clock.h"
#include "tests/attacks/attack.h"
#include "trail/testing/temp_dir.h"

namespace nodetrail::attacks {
namespace {

namespace fs = std::filesystem;

uint64_t Rows(const std::string& trail, uint64_t leaves) {
  FakeClock clock;
  collector::Indexer::Options options;
  options.trail_dir = trail;
  options.clock = &clock;
  auto indexer = collector::Indexer::Open(options);
  NT_CHECK(indexer.ok());
  (*indexer)->Start();
  (*indexer)->Notify(leaves);
  NT_CHECK((*indexer)->WaitIndexed(leaves, std::chrono::seconds(60)).ok());
  const expr::Node all;
  collector::SearchSpec spec;
  spec.query = &all;
  uint64_t rows = 0;
  const auto found = collector::Search((*indexer)->index_dir(), (*indexer)->bodies(), spec, [&](const auto& /*row*/) {
    ++rows;
    return true;
  });
  NT_CHECK(found.ok());
  return rows;
}

// Whoever has the collector's disk takes one event out of the index.
int Withhold(const std::string& index) {
  int gone = 0;
  for (const auto& entry : fs::directory_iterator(index)) {
    sqlite3* db = nullptr;
    if (gone == 0 && entry.path().extension() == ".db" && sqlite3_open(entry.path().c_str(), &db) == SQLITE_OK &&
        sqlite3_exec(db, "DELETE FROM ev WHERE pos = (SELECT max(pos) FROM ev)", nullptr, nullptr, nullptr) ==
            SQLITE_OK) {
      gone = sqlite3_changes(db);
    }
    sqlite3_close(db);
  }
  return gone;
}

TEST_F(Attack, T32_IndexWithholdsHits) {
  const trail::TempDir dir;
  collector::TestTrail trail(dir / "trail");
  collector::EventMaker maker(1, 20);
  for (int i = 0; i < 5; ++i) trail.Append(maker.Batch(10));
  trail.Checkpoint();
  ASSERT_EQ(Rows(dir / "trail", trail.size()), 50U);
  ASSERT_EQ(Withhold(dir / "trail/index"), 1);
  ASSERT_EQ(Rows(dir / "trail", trail.size()), 49U);
  fs::remove_all(dir / "trail/index");
  Found("reader: an index made again from the bodies has it", Rows(dir / "trail", trail.size()) == 50);
}

}  // namespace
}  // namespace nodetrail::attacks
