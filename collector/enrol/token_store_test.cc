// SPDX-License-Identifier: Apache-2.0
#include "collector/enrol/token_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

#include "nodetrail/base/fd.h"
#include "tests/fakes/temp_dir.h"

namespace nodetrail::collector {
namespace {

using nodetrail::testing::TempDir;

class TokenStoreTest : public ::testing::Test {
 protected:
  void SetUp() override { Open(); }
  void Open() {
    store_.reset();
    auto store = TokenStore::Open(dir_.path() + "/tokens", &clock_);
    ASSERT_TRUE(store.ok()) << store.status().ToString();
    store_ = std::move(*store);
  }
  std::string Make(const std::string& pattern = "web-*", uint32_t ttl = 60) {
    return store_->Create(pattern, ttl).value().token();
  }
  Code Spend(const std::string& token, const std::string& agent = "web-1", std::string_view key = "k") {
    return store_->Spend(token, agent, trail::Sha256Of(key)).status().code();
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<TokenStore> store_;
};

TEST_F(TokenStoreTest, KeepsNoSecret) {
  const std::string token = Make();
  const std::string secret = token.substr(token.rfind('-') + 1);
  EXPECT_EQ(secret.size(), 64U);
  int files = 0;
  for (const auto& file : std::filesystem::directory_iterator(dir_.path() + "/tokens")) {
    ++files;
    struct stat st {};
    ASSERT_EQ(::stat(file.path().c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777U, 0600U);
    const std::string bytes = ReadFile(file.path().string(), 4096).value();
    EXPECT_EQ(bytes.find(secret), std::string::npos);
    EXPECT_EQ(bytes.find(trail::HexDecode(secret).value()), std::string::npos);
  }
  EXPECT_EQ(files, 1);
}

TEST_F(TokenStoreTest, IsGoodOnceForOneAgentAndKey) {
  const std::string token = Make();
  EXPECT_TRUE(store_->Check(token, "web-1").ok());
  EXPECT_EQ(Spend(token), Code::kOk);
  EXPECT_EQ(Spend(token), Code::kOk);  // the answer was lost
  EXPECT_EQ(Spend(token, "web-1", "another key"), Code::kPermissionDenied);
  EXPECT_EQ(Spend(token, "web-2"), Code::kPermissionDenied);
  Open();
  EXPECT_EQ(Spend(token, "web-2"), Code::kPermissionDenied);
  EXPECT_EQ(Spend(token), Code::kOk);
  clock_.Advance(61ULL * 1'000'000'000);
  EXPECT_EQ(Spend(token), Code::kPermissionDenied);
}

TEST_F(TokenStoreTest, RefusesWhatIsNotItsOwn) {
  const std::string token = Make();
  EXPECT_EQ(Spend(token, "db-1"), Code::kPermissionDenied);
  std::string wrong = token;
  wrong.back() = wrong.back() == '0' ? '1' : '0';
  EXPECT_EQ(Spend(wrong), Code::kPermissionDenied);
  wrong = token;
  wrong[5] = wrong[5] == '0' ? '1' : '0';
  EXPECT_EQ(Spend(wrong), Code::kPermissionDenied);
  for (const std::string& garbage : {std::string(), std::string("nt1-"), token + "0", token.substr(1),
                                     std::string(85, '\0'), std::string(85, '-')}) {
    EXPECT_EQ(Spend(garbage), Code::kPermissionDenied);
  }
  const std::string id = store_->List().front().id();
  EXPECT_TRUE(store_->Revoke(id).ok());
  EXPECT_EQ(Spend(token), Code::kPermissionDenied);
  Open();
  EXPECT_EQ(Spend(token), Code::kPermissionDenied);
  EXPECT_EQ(store_->Revoke("0123456789abcdef").code(), Code::kNotFound);
  const std::string late = Make("web-1", 1);
  clock_.Advance(1'000'000'000);
  EXPECT_EQ(Spend(late), Code::kPermissionDenied);
}

TEST_F(TokenStoreTest, RacersGetItOnce) {
  for (int round = 0; round < 20; ++round) {
    const std::string token = Make();
    std::atomic<int> won = 0;
    std::vector<std::thread> racers;
    for (int i = 0; i < 8; ++i) {
      racers.emplace_back([&, i] {
        if (Spend(token, "web-" + std::to_string(i), std::to_string(i)) == Code::kOk) ++won;
      });
    }
    for (std::thread& racer : racers) racer.join();
    EXPECT_EQ(won, 1);
  }
}

TEST_F(TokenStoreTest, LimitsWhatIsAskedFor) {
  EXPECT_EQ(store_->Create("web-*", 0).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->Create("web-*", 3601).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->Create("web 1", 60).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(store_->Create("", 60).status().code(), Code::kInvalidArgument);
  // What has expired long ago goes.
  (void)Make();
  clock_.Advance(8ULL * 24 * 3600 * 1'000'000'000);
  (void)Make();
  EXPECT_EQ(store_->List().size(), 1U);
}

TEST_F(TokenStoreTest, WhatAKillLeftUnfinishedGoes) {
  const std::string token = Make();
  const std::string left = dir_.path() + "/tokens/0123456789abcdef.tmp", other = dir_.path() + "/tokens/README.tmp";
  ASSERT_TRUE(WriteFileAtomically(left, "half a tok", 0600).ok());
  ASSERT_TRUE(WriteFileAtomically(other, "not ours", 0600).ok());
  Open();
  EXPECT_FALSE(std::filesystem::exists(left));
  EXPECT_TRUE(std::filesystem::exists(other));
  EXPECT_TRUE(store_->Check(token, "web-1").ok());
}

TEST_F(TokenStoreTest, ADamagedFileStopsTheStart) {
  (void)Make();
  const std::string id = store_->List().front().id();
  ASSERT_TRUE(WriteFileAtomically(dir_.path() + "/tokens/" + id, "rubbish\xff", 0600).ok());
  const auto store = TokenStore::Open(dir_.path() + "/tokens", &clock_);
  EXPECT_EQ(store.status().code(), Code::kDataLoss);
  EXPECT_NE(store.status().message().find(id), std::string::npos);
}

TEST(AgentPattern, StarsStandForAnything) {
  EXPECT_TRUE(MatchesAgentPattern("web-*", "web-1"));
  EXPECT_TRUE(MatchesAgentPattern("web-*", "web-"));
  EXPECT_FALSE(MatchesAgentPattern("web-*", "web"));
  EXPECT_TRUE(MatchesAgentPattern("*", "anything"));
  EXPECT_TRUE(MatchesAgentPattern("*-a*c", "x-abbc"));
  EXPECT_FALSE(MatchesAgentPattern("*-a*c", "x-abb"));
  EXPECT_TRUE(MatchesAgentPattern("a**b", "ab"));
  EXPECT_FALSE(MatchesAgentPattern("a", "ab"));
  EXPECT_FALSE(ValidAgentPattern(".*"));
  EXPECT_FALSE(ValidAgentPattern(std::string(65, 'a')));
}

}  // namespace
}  // namespace nodetrail::collector
