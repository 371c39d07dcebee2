// SPDX-License-Identifier: Apache-2.0
#include "agent/ship/log_watch.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/receipt.h"
#include "tests/fakes/temp_dir.h"

namespace nodetrail::agent {
namespace {

using ::testing::HasSubstr;
using trail::Ed25519Key;
using trail::Hash;
using Kind = LogWatch::Outcome::Kind;

constexpr const char* kLog = "trail.example.org/acme";

class LogWatchTest : public ::testing::Test {
 protected:
  static Ed25519Key Key(char fill) { return *Ed25519Key::FromSeed(std::string(32, fill)); }
  static std::string LogLine(const char* name = kLog, char fill = 'l') {
    return fmt::format("log {}\n", trail::NoteVerifier::Make(name, Key(fill).public_key())->ToString());
  }
  static std::string Witnessed() {
    return LogLine() +
           fmt::format("witness w {}\nquorum w\n",
                       trail::CosignerVerifier::Make("witness.example.org/w", Key('w').public_key())->ToString());
  }
  // `n` leaves; those of another `face` differ from the third on.
  static std::vector<Hash> Leaves(size_t n, char face = 'a') {
    std::vector<Hash> out;
    for (size_t i = 0; i < n; ++i) out.push_back(trail::LeafHash(fmt::format("{}{}", i < 2 ? 'a' : face, i)));
    return out;
  }
  static std::string Receipt(const std::vector<Hash>& leaves, size_t index, bool cosigned = false, char key = 'l',
                             const char* name = kLog) {
    std::string note = *trail::SignCheckpoint({name, leaves.size(), trail::MerkleRoot(leaves), {}}, Key(key));
    if (cosigned) note += *trail::CosignCheckpoint(note, "witness.example.org/w", Key('w'), 1'700'000'000);
    return trail::FormatReceipt(index, *trail::InclusionProof(leaves, index), note);
  }
  std::unique_ptr<LogWatch> Open(const std::string& policy = LogLine() + "quorum none\n") {
    auto watch = LogWatch::Open(policy, file_);
    EXPECT_TRUE(watch.ok()) << watch.status().ToString();
    return *std::move(watch);
  }
  LogWatch::Outcome Take(LogWatch* watch, size_t size, char face = 'a', size_t index = 0) {
    const std::vector<Hash> leaves = Leaves(size, face);
    return watch->Take(leaves[index], index, Receipt(leaves, index));
  }

  nodetrail::testing::TempDir dir_;
  std::string file_ = dir_.path() + "/checkpoint";
};

TEST_F(LogWatchTest, KeepsTheNewestCheckpointAndTellsOfIt) {
  auto watch = Open();
  EXPECT_EQ(watch->seen().size, 0U);
  EXPECT_EQ(Take(watch.get(), 3).kind, Kind::kHolds);
  EXPECT_EQ(watch->seen().size, 3U);
  EXPECT_EQ(Take(watch.get(), 5, 'a', 4).kind, Kind::kHolds);
  EXPECT_EQ(Take(watch.get(), 5, 'a', 1).kind, Kind::kHolds);  // the same again
  EXPECT_EQ(watch->seen().size, 5U);
  EXPECT_EQ(watch->seen().root, trail::MerkleRoot(Leaves(5)));
  watch.reset();
  EXPECT_EQ(Open()->seen().size, 5U);
}

TEST_F(LogWatchTest, ASmallerLogIsAnAlarmAlsoAfterARestart) {
  ASSERT_EQ(Take(Open().get(), 5).kind, Kind::kHolds);
  const std::string kept = ReadFile(file_, 1 << 16).value();
  auto watch = Open();
  const LogWatch::Outcome cut = Take(watch.get(), 4);
  EXPECT_EQ(cut.kind, Kind::kAlarm);
  EXPECT_THAT(cut.text, HasSubstr("4 leaves now, and had 5 before"));
  EXPECT_THAT(cut.text, HasSubstr("nodetrail verify"));
  EXPECT_EQ(watch->seen().size, 5U);
  EXPECT_EQ(ReadFile(file_, 1 << 16).value(), kept);
  // It is as long as it was: fine again.
  EXPECT_EQ(Take(watch.get(), 5).kind, Kind::kHolds);
}

TEST_F(LogWatchTest, TwoRootsAtOneSizeAreAnAlarm) {
  auto watch = Open();
  ASSERT_EQ(Take(watch.get(), 5).kind, Kind::kHolds);
  const LogWatch::Outcome split = Take(watch.get(), 5, 'b');
  EXPECT_EQ(split.kind, Kind::kAlarm);
  EXPECT_THAT(split.text, HasSubstr("two roots at 5 leaves"));
  EXPECT_THAT(split.text, HasSubstr(trail::Hex(trail::MerkleRoot(Leaves(5, 'b')))));
  EXPECT_EQ(watch->seen().root, trail::MerkleRoot(Leaves(5)));
}

TEST_F(LogWatchTest, WhatDoesNotVerifyIsBadAndMovesNothing) {
  auto watch = Open();
  const std::vector<Hash> leaves = Leaves(4);
  const std::string good = Receipt(leaves, 1);
  EXPECT_EQ(watch->Take(leaves[2], 1, good).kind, Kind::kBad);
  EXPECT_EQ(watch->Take(leaves[1], 2, good).kind, Kind::kBad);
  EXPECT_EQ(watch->Take(leaves[1], 1, "").kind, Kind::kBad);
  EXPECT_EQ(watch->Take(leaves[1], 1, good + "\n").kind, Kind::kBad);
  const LogWatch::Outcome other = watch->Take(leaves[1], 1, Receipt(leaves, 1, false, 'x'));
  EXPECT_EQ(other.kind, Kind::kBad);
  EXPECT_THAT(other.text, HasSubstr("ship.log_policy_file"));
  EXPECT_EQ(watch->seen().size, 0U);
  EXPECT_FALSE(ReadFile(file_, 1 << 16).ok());
  EXPECT_EQ(watch->Take(leaves[1], 1, good).kind, Kind::kHolds);
}

// Seen is what the whole policy vouches for; a smaller log is noticed anyway.
TEST_F(LogWatchTest, WithoutItsQuorumACheckpointIsKeptButNotSeen) {
  auto watch = Open(Witnessed());
  const std::vector<Hash> leaves = Leaves(4);
  const LogWatch::Outcome alone = watch->Take(leaves[1], 1, Receipt(leaves, 1));
  EXPECT_EQ(alone.kind, Kind::kHolds);
  EXPECT_FALSE(alone.quorum);
  EXPECT_THAT(alone.shortfall, HasSubstr("w"));
  EXPECT_EQ(watch->seen().size, 0U);
  EXPECT_EQ(Take(watch.get(), 3).kind, Kind::kAlarm);
  EXPECT_TRUE(watch->Take(leaves[1], 1, Receipt(leaves, 1, true)).quorum);
  EXPECT_EQ(watch->seen().size, 4U);
}

TEST_F(LogWatchTest, AnotherLogThanTheKeptOneIsAnAlarm) {
  const std::string both = LogLine() + LogLine("trail.example.org/other", 'o') + "quorum none\n";
  auto watch = Open(both);
  ASSERT_EQ(Take(watch.get(), 3).kind, Kind::kHolds);
  const std::vector<Hash> leaves = Leaves(9);
  const LogWatch::Outcome other = watch->Take(leaves[1], 1, Receipt(leaves, 1, false, 'o', "trail.example.org/other"));
  EXPECT_EQ(other.kind, Kind::kAlarm);
  EXPECT_THAT(other.text, HasSubstr("one log"));
}

TEST_F(LogWatchTest, AKeptCheckpointThatDoesNotVerifyIsAnAlarmNotAStart) {
  ASSERT_TRUE(WriteFileAtomically(file_, "garbage\n").ok());
  auto watch = Open();
  const LogWatch::Outcome outcome = Take(watch.get(), 3);
  EXPECT_EQ(outcome.kind, Kind::kAlarm);
  EXPECT_THAT(outcome.text, HasSubstr(file_));
  EXPECT_THAT(outcome.text, HasSubstr("remove it here"));
  EXPECT_EQ(ReadFile(file_, 100).value(), "garbage\n");
}

// The checkpoint can't be kept: then nothing may be deleted on its word.
TEST_F(LogWatchTest, WhatCannotBeKeptDoesNotCount) {
  file_ = dir_.path() + "/none/checkpoint";
  auto watch = Open();
  const LogWatch::Outcome outcome = Take(watch.get(), 3);
  EXPECT_EQ(outcome.kind, Kind::kDisk);
  EXPECT_THAT(outcome.text, HasSubstr("none/checkpoint"));
  EXPECT_EQ(watch->seen().size, 0U);
}

TEST_F(LogWatchTest, APolicyMustParseAndNameALog) {
  EXPECT_THAT(LogWatch::Open("log x\n", file_).status().ToString(), HasSubstr("policy line 1"));
  EXPECT_THAT(LogWatch::Open("quorum none\n", file_).status().ToString(), HasSubstr("names no log"));
}

}  // namespace
}  // namespace nodetrail::agent
