// SPDX-License-Identifier: Apache-2.0
#include "collector/store/quarantine.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "collector/store/disk_guard.h"
#include "tests/fakes/temp_dir.h"

namespace nodetrail::collector {
namespace {

size_t Files(const std::string& dir) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(dir), {}));
}

TEST(QuarantineTest, IsBoundedInFiles) {
  const nodetrail::testing::TempDir dir;
  auto q = Quarantine::Open(dir.path() + "/q", {.max_files = 30, .max_bytes = 1 << 20});
  ASSERT_TRUE(q.ok());
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE((*q)->Keep(fmt::format("a-{}", i), fmt::format("leaf {}", i), "body", "why").ok());
  }
  EXPECT_EQ((*q)->batches(), 10U);
  EXPECT_EQ((*q)->dropped(), 90U);
  EXPECT_EQ(Files(dir.path() + "/q"), 30U);
}

TEST(QuarantineTest, OneAgentLeavesRoomForOthersOverRestarts) {
  const nodetrail::testing::TempDir dir;
  const QuarantineLimits limits{.max_files = 24, .max_bytes = 1 << 20};
  for (int run = 0; run < 2; ++run) {
    auto q = Quarantine::Open(dir.path(), limits);
    ASSERT_TRUE(q.ok());
    for (int i = 0; i < 20; ++i) ASSERT_TRUE((*q)->TryKeep("web-1", fmt::format("{} {}", run, i), "b", "why").ok());
    EXPECT_EQ((*q)->batches(), 4U) << "half of all";
  }
  auto q = Quarantine::Open(dir.path(), limits);
  ASSERT_TRUE(q.ok());
  // Each of the others has its quarter, also one whose name begins like that.
  for (const char* agent : {"web", "web-2"}) {
    EXPECT_TRUE(*(*q)->TryKeep(agent, "first", agent, "why"));
    EXPECT_TRUE(*(*q)->TryKeep(agent, "second", agent, "why"));
    EXPECT_FALSE(*(*q)->TryKeep(agent, "third", agent, "why"));
  }
  EXPECT_FALSE(*(*q)->TryKeep("web-3", "leaf", "body", "why")) << "now it is full";
}

TEST(QuarantineTest, IsBoundedInBytesOverRestarts) {
  const nodetrail::testing::TempDir dir;
  for (int run = 0; run < 3; ++run) {
    auto q = Quarantine::Open(dir.path(), {.max_files = 1000, .max_bytes = 10'000});
    ASSERT_TRUE(q.ok());
    for (int i = 0; i < 10; ++i) {
      const std::string agent = fmt::format("a{}", i);
      ASSERT_TRUE((*q)->Keep(agent, fmt::format("{} {}", run, i), std::string(1500, 'x'), "why").ok());
    }
    EXPECT_EQ((*q)->batches(), 6U);
  }
  uint64_t bytes = 0;
  for (const auto& f : std::filesystem::directory_iterator(dir.path())) bytes += f.file_size();
  EXPECT_LE(bytes, 10'000U);
}

TEST(DiskGuardTest, LeavesTheReserve) {
  const nodetrail::testing::TempDir dir;
  const DiskGuard none(dir.path(), 0);
  EXPECT_TRUE(none.Check(1).ok());
  const auto free = none.FreeBytes();
  ASSERT_TRUE(free.ok());
  EXPECT_EQ(none.Check(*free * 2).code(), Code::kResourceExhausted);
  EXPECT_EQ(DiskGuard(dir.path(), UINT64_MAX).Check(0).code(), Code::kResourceExhausted);
  EXPECT_EQ(DiskGuard(dir.path() + "/missing", 0).Check(0).code(), Code::kNotFound);
}

}  // namespace
}  // namespace nodetrail::collector
