// SPDX-License-Identifier: Apache-2.0
//
// status, fd, clock, log.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "nodetrail/base/clock.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/log.h"
#include "nodetrail/base/status.h"

namespace nodetrail {
namespace {

TEST(Status, CarriesCodeAndMessage) {
  EXPECT_TRUE(OkStatus().ok());
  EXPECT_EQ(OkStatus().ToString(), "OK");
  const Status status = ErrnoStatus(ENOSPC, "spool: append");
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_EQ(status.ToString(), "RESOURCE_EXHAUSTED: spool: append: ENOSPC (No space left on device)");
  const Status outer = Annotate(status, "agent");
  EXPECT_EQ(outer.code(), status.code());
  EXPECT_EQ(outer.message(), "agent: spool: append: ENOSPC (No space left on device)");
  EXPECT_TRUE(Annotate(OkStatus(), "agent").ok());
  EXPECT_EQ(ErrnoName(4095), "errno 4095");
}

Result<int> Half(int n) {
  if (n % 2 != 0) return InvalidArgument("odd");
  return n / 2;
}

Result<int> Quarter(int n) {
  NT_ASSIGN_OR_RETURN(const int half, Half(n));
  return Half(half);
}

TEST(Result, ValueOrWhyNot) {
  EXPECT_EQ(Quarter(8).value(), 2);
  EXPECT_EQ(Quarter(6).status().message(), "odd");
  EXPECT_EQ(Quarter(3).value_or(-1), -1);
  Result<std::unique_ptr<int>> owned = std::make_unique<int>(7);
  EXPECT_EQ(*std::move(owned).value(), 7);
}

TEST(ResultDeathTest, TakingAnAbsentValueAborts) { EXPECT_DEATH(static_cast<void>(Half(1).value()), ""); }

TEST(StatusDeathTest, CheckNamesTheConditionAndPlace) {
  EXPECT_DEATH(NT_CHECK(1 + 1 == 3), "base_test.cc:[0-9]+: invariant broken: 1 \\+ 1 == 3");
}

class FdTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "nt_fd_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string dir_;
};

TEST_F(FdTest, UniqueFdClosesOnceAndMoves) {
  auto opened = OpenFd("/dev/null", O_RDONLY);
  ASSERT_TRUE(opened.ok());
  UniqueFd first = std::move(opened).value();
  const int raw = first.get();
  EXPECT_NE(::fcntl(raw, F_GETFD) & FD_CLOEXEC, 0);
  UniqueFd second = std::move(first);
  EXPECT_FALSE(first.valid());  // NOLINT(bugprone-use-after-move): what a move leaves is promised
  second.Reset();
  EXPECT_EQ(::fcntl(raw, F_GETFD), -1);
}

TEST_F(FdTest, AtomicReplacementKeepsOldOrNew) {
  const std::string path = dir_ + "/f";
  ASSERT_TRUE(WriteFileAtomically(path, "old", 0600).ok());
  ASSERT_TRUE(WriteFileAtomically(path, "new", 0600).ok());
  EXPECT_EQ(ReadFile(path, 100).value(), "new");
  struct stat st {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0600U);
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
  EXPECT_EQ(WriteFileAtomically(dir_ + "/none/f", "x").code(), Code::kNotFound);
  // A link planted where the temporary file goes is not followed.
  ASSERT_EQ(::symlink("target", (path + ".tmp").c_str()), 0);
  EXPECT_FALSE(WriteFileAtomically(path, "evil").ok());
  EXPECT_EQ(ReadFile(path, 100).value(), "new");
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/target"));
}

TEST_F(FdTest, ReadFileIsBounded) {
  const std::string path = dir_ + "/f";
  ASSERT_TRUE(WriteFileAtomically(path, std::string(1000, 'x')).ok());
  EXPECT_EQ(ReadFile(path, 1000).value().size(), 1000U);
  EXPECT_EQ(ReadFile(path, 999).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(ReadFile(dir_ + "/none", 10).status().code(), Code::kNotFound);
  EXPECT_FALSE(ReadFile(dir_, 10).ok());
}

TEST_F(FdTest, MakeDirectoriesMakesAllAndIsIdempotent) {
  const std::string deep = dir_ + "/a/b/c";
  ASSERT_TRUE(MakeDirectories(deep, 0700).ok());
  ASSERT_TRUE(MakeDirectories(deep, 0700).ok());
  struct stat st {};
  ASSERT_EQ(::stat((dir_ + "/a/b").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777U, 0700U);
  ASSERT_TRUE(WriteFileAtomically(dir_ + "/file", "").ok());
  EXPECT_FALSE(MakeDirectories(dir_ + "/file").ok());
  EXPECT_FALSE(MakeDirectories(dir_ + "/file/below").ok());
}

TEST(Clock, BootAndWallAdvance) {
  const SystemClock clock;
  const uint64_t boot = clock.BootNs();
  EXPECT_GE(clock.BootNs(), boot);
  EXPECT_GT(clock.WallNs(), 1'600'000'000'000'000'000U);
  FakeClock fake;
  const uint64_t before = fake.BootNs();
  fake.Advance(5);
  EXPECT_EQ(fake.BootNs(), before + 5);
}

TEST(Log, OneLinePerMessageWhateverItHolds) {
  testing::internal::CaptureStderr();
  log::Init("prog", log::Level::kInfo, /*json=*/false);
  log::Debug("hidden");
  log::Info("a\nb\x1b[31m");
  log::Init("prog", log::Level::kInfo, /*json=*/true);
  log::Warn("say \"hi\"\n\\");
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, testing::HasSubstr("prog info: a\\x0ab\\x1b[31m\n"));
  EXPECT_THAT(text, testing::HasSubstr(R"("message":"say \"hi\"\u000a\\"})"));
  EXPECT_THAT(text, testing::Not(testing::HasSubstr("hidden")));
  log::Level level{};
  EXPECT_TRUE(log::ParseLevel("warn", &level));
  EXPECT_EQ(level, log::Level::kWarn);
  EXPECT_FALSE(log::ParseLevel("WARN", &level));
}

}  // namespace
}  // namespace nodetrail
