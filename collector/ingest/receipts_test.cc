// SPDX-License-Identifier: Apache-2.0
//
// What the collector gives to who waits for receipts.
#include <filesystem>
#include <fstream>
#include <map>

#include "collector/test_fixture.h"
#include "nodetrail/trail/receipt.h"

namespace nodetrail::collector {
namespace {

namespace fs = std::filesystem;

class ReceiptsTest : public CollectorTest {
 protected:
  std::unique_ptr<RawAgent> Connect(const std::string& agent_id = "web-1", bool receipts = true) {
    auto raw = std::make_unique<RawAgent>(collector_->port(), pki().Agent(agent_id));
    raw->Hello(agent_id, "default", 1, receipts);
    EXPECT_TRUE(raw->Read().has_welcome());
    return raw;
  }
  // The leaf's receipt under the policy that trusts this log.
  trail::Checkpoint Check(const trail::SealedBatch& batch, const ingest::v1::Ack& ack) {
    const auto policy = trail::LogPolicy::Parse(ReadFile(pki().File("log/policy"), 4096).value());
    EXPECT_TRUE(policy.ok()) << policy.status().ToString();
    EXPECT_EQ(ack.batch_hash(), trail::Bytes(batch.batch_hash));
    EXPECT_EQ(ack.seq(), batch.header.seq());
    const auto receipt = trail::ParseReceipt(ack.proof());
    EXPECT_TRUE(receipt.ok()) << receipt.status().ToString();
    if (!receipt.ok()) return {};
    EXPECT_EQ(receipt->index, ack.log_index());
    const auto checkpoint = trail::VerifyReceipt(trail::LeafHash(batch.leaf), *receipt, *policy);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
    return checkpoint.ok() ? *checkpoint : trail::Checkpoint{};
  }
  // Sends `n` batches and reads both answers of each.
  void Feed(RawAgent* raw, BatchMaker* maker, size_t n) {
    std::map<uint64_t, trail::SealedBatch> sent;
    std::map<uint64_t, int> answers;
    for (size_t i = 0; i < n; ++i) {
      const trail::SealedBatch batch = maker->Next();
      sent.emplace(batch.header.seq(), batch);
      ASSERT_TRUE(raw->Send(batch));
    }
    for (size_t i = 0; i < 2 * n; ++i) {
      const ingest::v1::ServerMessage m = raw->Read();
      ASSERT_TRUE(m.has_ack()) << i << ": " << m.ShortDebugString();
      const bool logged = m.ack().level() == ingest::v1::ACK_LEVEL_LOGGED;
      // Durable first, logged then, and each once.
      EXPECT_EQ(answers[m.ack().seq()]++, logged ? 1 : 0);
      EXPECT_EQ(m.ack().proof().empty(), !logged);
      if (logged) Check(sent.at(m.ack().seq()), m.ack());
    }
  }

  BatchMaker maker_{pki(), "web-1"};
};

TEST_F(ReceiptsTest, EachBatchGetsOneOnceACheckpointCoversIt) {
  StartCollector();
  const auto raw = Connect();
  Feed(raw.get(), &maker_, 40);
  Feed(raw.get(), &maker_, 1);
  EXPECT_EQ(collector_->ingest().Totals().receipts, 41U);
}

// Over a full tile, with several agents at once.
TEST_F(ReceiptsTest, ManyAgentsGetTheirsOverTheBorderOfATile) {
  StartCollector();
  BatchMaker other(pki(), "web-2");
  const auto one = Connect();
  const auto two = Connect("web-2");
  std::jthread second([&] {
    for (int i = 0; i < 4; ++i) Feed(two.get(), &other, 40);
  });
  for (int i = 0; i < 4; ++i) Feed(one.get(), &maker_, 40);
  second.join();
  EXPECT_EQ(collector_->ingest().Totals().receipts, 320U);
}

TEST_F(ReceiptsTest, WhoDoesNotAskGetsNone) {
  StartCollector();
  const auto raw = Connect("web-1", false);
  ASSERT_TRUE(raw->Exchange(maker_.Next()).has_ack());
  ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == 1; }));
  EXPECT_EQ(raw->Exchange(maker_.Next()).ack().level(), ingest::v1::ACK_LEVEL_DURABLE);
  EXPECT_EQ(collector_->ingest().Totals().receipts, 0U);
}

// The leaf alone suffices for a batch that is there, and the log need not grow.
TEST_F(ReceiptsTest, ABatchThatComesAgainGetsBothAgainUnderTheCurrentCheckpoint) {
  StartCollector();
  const trail::SealedBatch first = maker_.Next();
  {
    const auto raw = Connect();
    ASSERT_TRUE(raw->Exchange(first).has_ack());
    EXPECT_EQ(Check(first, raw->Read().ack()).size, 1U);
    Feed(raw.get(), &maker_, 5);
  }
  for (int i = 0; i < 2; ++i) {
    const auto raw = Connect();
    ASSERT_TRUE(raw->Send(first.leaf, ""));
    EXPECT_EQ(raw->Read().ack().level(), ingest::v1::ACK_LEVEL_DURABLE);
    EXPECT_EQ(Check(first, raw->Read().ack()).size, 6U);
    // A new collector has the old checkpoint.
    collector_.reset();
    StartCollector();
  }
  EXPECT_EQ(LogLeaves().size(), 6U);
}

// What is awaited goes with the stream.
TEST_F(ReceiptsTest, AnAgentThatLeavesCostsNothing) {
  config_.set_checkpoint_interval_ms(60'000);
  StartCollector();
  ASSERT_TRUE(WaitUntil([&] { return fs::exists(config_.trail_dir() + "/log/checkpoint"); }));
  {
    const auto raw = Connect();
    for (int i = 0; i < 30; ++i) ASSERT_TRUE(raw->Exchange(maker_.Next()).has_ack());
  }
  ASSERT_TRUE(WaitUntil([&] { return collector_->ingest().Totals().streams == 0; }));
  collector_->Stop(std::chrono::milliseconds(2000));
  EXPECT_EQ(collector_->head().size, 30U);
  EXPECT_EQ(collector_->ingest().Totals().receipts, 0U);
}

// Stopping signs what is there, and who waits still gets the receipt.
TEST_F(ReceiptsTest, AStopGivesOutWhatIsDue) {
  config_.set_checkpoint_interval_ms(60'000);
  StartCollector();
  ASSERT_TRUE(WaitUntil([&] { return fs::exists(config_.trail_dir() + "/log/checkpoint"); }));
  const auto raw = Connect();
  const trail::SealedBatch batch = maker_.Next();
  ASSERT_TRUE(raw->Exchange(batch).has_ack());
  std::jthread stop([&] { collector_->Stop(std::chrono::milliseconds(5000)); });
  const ingest::v1::ServerMessage m = raw->Read();
  ASSERT_TRUE(m.has_ack()) << m.ShortDebugString();
  EXPECT_EQ(Check(batch, m.ack()).size, 1U);
}

// Proofs come from tiles. Without them nobody gets one, and ingest goes on.
TEST_F(ReceiptsTest, WithoutTilesThereIsNoReceiptAndIngestGoesOn) {
  StartCollector();
  auto raw = Connect();
  const trail::SealedBatch batch = maker_.Next();
  ASSERT_TRUE(raw->Exchange(batch).has_ack());
  Check(batch, raw->Read().ack());
  fs::rename(config_.trail_dir() + "/log/tile", config_.trail_dir() + "/log/away");
  std::ofstream(config_.trail_dir() + "/log/tile") << "x";
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(raw->Send(maker_.Next()));
    const ingest::v1::ServerMessage m = raw->Read();
    ASSERT_EQ(m.ack().level(), ingest::v1::ACK_LEVEL_DURABLE) << m.ShortDebugString();
  }
  EXPECT_EQ(LogLeaves().size(), 6U);
  EXPECT_EQ(collector_->ingest().Totals().receipts, 1U);
  fs::remove(config_.trail_dir() + "/log/tile");
  fs::rename(config_.trail_dir() + "/log/away", config_.trail_dir() + "/log/tile");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(raw->Read().ack().level(), ingest::v1::ACK_LEVEL_LOGGED);
}

}  // namespace
}  // namespace nodetrail::collector
