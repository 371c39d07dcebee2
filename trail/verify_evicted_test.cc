// SPDX-License-Identifier: Apache-2.0
//
// Trails in which an agent gave up bodies: declared if it signed so, else tampering.
#include <gtest/gtest.h>

#include <filesystem>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::trail {
namespace {

namespace fs = std::filesystem;

class VerifyEvictedTest : public ::testing::Test {
 protected:
  VerifyEvictedTest()
      : key_(Ed25519Key::Generate()), agent_(ca_, "acme", "web-1"), writer_(*TrailWriter::Open(dir_ / "trail")) {
    policy_.identity_ca_pem = ca_.CertPem();
    policy_.log_key = *NoteVerifier::Make("trail.example.org/acme", key_.public_key());
  }
  static Hash BodyHash(const SealedBatch& batch) { return *HashFromBytes(batch.header.body_sha256()); }
  void AppendLeaf(const SealedBatch& batch) {
    const std::string_view leaf = batch.leaf;
    ASSERT_TRUE(writer_->AppendLeaves({&leaf, 1}).ok());
    tree_.Append(LeafHash(leaf));
    ASSERT_TRUE(
        writer_->WriteCheckpoint(*SignCheckpoint({"trail.example.org/acme", tree_.size(), tree_.Root(), {}}, key_))
            .ok());
  }
  SealedBatch Append(const std::vector<event::v1::Event>& events = {}) {
    const SealedBatch batch = events.empty() ? agent_.Batch() : agent_.BatchOf(events);
    EXPECT_TRUE(writer_->PutBody(BodyHash(batch), batch.body).ok());
    AppendLeaf(batch);
    return batch;
  }
  SealedBatch AppendEvicted(const std::function<void(v1::BodyEvicted*)>& edit = nullptr) {
    const SealedBatch batch = agent_.Batch(4);
    const std::string eviction = agent_.Eviction(batch, edit);
    const std::pair<Hash, std::string_view> one(BodyHash(batch), eviction);
    EXPECT_TRUE(writer_->PutEvictions({&one, 1}).ok());
    AppendLeaf(batch);
    return batch;
  }
  VerifyReport Verify() {
    auto report = VerifyTrail(dir_ / "trail", policy_);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    return *report;
  }
  std::string Path(const SealedBatch& batch) { return dir_ / "trail" + "/" + EvictionPath(BodyHash(batch)); }

  TempDir dir_;
  TestCa ca_;
  Ed25519Key key_;
  TestAgent agent_;
  std::unique_ptr<TrailWriter> writer_;
  CompactRange tree_;
  VerifyPolicy policy_;
};

TEST_F(VerifyEvictedTest, ASignedEvictionIsDeclaredLoss) {
  Append();
  const SealedBatch gone = AppendEvicted();
  Append();
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kDeclaredLoss) << report.summary;
  ASSERT_EQ(report.agents.size(), 1U);
  ASSERT_EQ(report.agents[0].losses.size(), 1U);
  const EventLoss& loss = report.agents[0].losses[0];
  EXPECT_EQ(loss.batch, "web-1:1:1");
  EXPECT_EQ(loss.stage, "evicted");
  EXPECT_EQ(loss.count, 4U);
  EXPECT_EQ(loss.from_wall_ns, gone.header.first_wall_ns());
  EXPECT_EQ(loss.to_wall_ns, gone.header.last_wall_ns());
  EXPECT_EQ(report.bodies, 2U);
}

TEST_F(VerifyEvictedTest, AMissingBodyWithoutAStatementIsTampering) {
  Append();
  const SealedBatch gone = AppendEvicted();
  fs::remove(Path(gone));
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_EQ(report.first_bad->batch, "web-1:1:1");
}

TEST_F(VerifyEvictedTest, AWrongStatementIsTampering) {
  Append();
  const SealedBatch gone = AppendEvicted();
  const std::string good = *ReadFile(Path(gone), kMaxBodyBytes);
  std::string flipped = good;
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 1);
  // Flipped; of another batch; by another agent; too long; empty.
  const SealedBatch other = Append();
  for (const std::string& bad : {flipped, agent_.Eviction(other), TestAgent(ca_, "acme", "web-2").Eviction(gone),
                                 std::string(70'000, 'x'), std::string()}) {
    ASSERT_TRUE(WriteFileAtomically(Path(gone), bad).ok());
    const VerifyReport report = Verify();
    EXPECT_EQ(report.verdict, TrailVerdict::kTamper) << report.summary;
    EXPECT_EQ(report.first_bad->batch, "web-1:1:1") << report.summary;
    EXPECT_EQ(report.first_bad->file, EvictionPath(BodyHash(gone)));
  }
  ASSERT_TRUE(WriteFileAtomically(Path(gone), good).ok());
  EXPECT_EQ(Verify().verdict, TrailVerdict::kDeclaredLoss);
}

TEST_F(VerifyEvictedTest, ABodyThatIsThereCounts) {
  Append();
  const SealedBatch gone = AppendEvicted([](v1::BodyEvicted* s) { s->set_seq(99); });
  EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper);
  ASSERT_TRUE(writer_->PutBody(BodyHash(gone), gone.body).ok());
  EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact) << "what lies beside it is not read";
}

// Who gave up bodies may not use that to explain batches that are missing.
TEST_F(VerifyEvictedTest, BodiesOnlyExcusesNoMissingBatch) {
  for (const bool body_only : {false, true}) {
    fs::remove_all(dir_ / "trail");
    writer_ = *TrailWriter::Open(dir_ / "trail");
    tree_ = CompactRange();
    agent_ = TestAgent(ca_, "acme", "web-1");
    Append();
    agent_.Batch();  // 1:1 never comes
    Append();
    const SealedBatch last = agent_.CleanShutdown();
    ASSERT_TRUE(writer_->PutBody(BodyHash(last), last.body).ok());
    AppendLeaf(last);
    agent_.Restart();
    event::v1::Event loss = TestAgent::SpoolLossEvent(1, 1, 1);
    loss.mutable_agent()->set_body_only(body_only);
    Append({loss});
    const VerifyReport report = Verify();
    bool gap = false;
    for (const Finding& finding : report.findings) gap = gap || finding.kind == FindingKind::kGap;
    EXPECT_EQ(gap, body_only);
  }
}

// The name is a body's hash: the first statement under it stays.
TEST_F(VerifyEvictedTest, NoStatementReplacesAnother) {
  const SealedBatch gone = AppendEvicted();
  const std::string second = agent_.Eviction(gone, [](v1::BodyEvicted* s) { s->set_evicted_wall_ns(7); });
  const std::pair<Hash, std::string_view> one(BodyHash(gone), second);
  const std::string before = *ReadFile(Path(gone), kMaxBodyBytes);
  ASSERT_TRUE(writer_->PutEvictions({&one, 1}).ok());
  EXPECT_EQ(*ReadFile(Path(gone), kMaxBodyBytes), before);
}

}  // namespace
}  // namespace nodetrail::trail
