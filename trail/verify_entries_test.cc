// SPDX-License-Identifier: Apache-2.0
//
// Verification of who was enrolled and who was revoked: each rule with a trail
// that breaks it, each otherwise rightly made and under a signed root.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::trail {
namespace {

class VerifyEntriesTest : public ::testing::Test {
 protected:
  VerifyEntriesTest() : agent_(ca_, "acme", "web-1"), writer_(*TrailWriter::Open(dir_ / "trail")) {
    policy_.identity_ca_pem = ca_.CertPem();
    policy_.log_key = *NoteVerifier::Make("trail.example.org/acme", log_key_.public_key());
  }
  void AppendLeaf(std::string_view leaf) {
    ASSERT_TRUE(writer_->AppendLeaves({&leaf, 1}).ok());
    tree_.Append(LeafHash(leaf));
  }
  void Append(const SealedBatch& batch) {
    ASSERT_TRUE(writer_->PutBody(*HashFromBytes(batch.header.body_sha256()), batch.body).ok());
    AppendLeaf(batch.leaf);
  }
  v1::LogEntry Entry(const std::string& tenant = "acme") const {
    v1::LogEntry entry;
    entry.set_format_version(1);
    entry.set_tenant(tenant);
    entry.set_wall_ns(1'700'000'000'000'000'000);
    return entry;
  }
  void Enrol(const Hash& key, const std::string& agent = "web-1", const std::string& tenant = "acme") {
    v1::LogEntry entry = Entry(tenant);
    entry.mutable_enrol()->set_agent_id(agent);
    entry.mutable_enrol()->set_identity_spki_sha256(Bytes(key));
    entry.mutable_enrol()->set_token_id("t1");
    AppendLeaf(*MakeLogEntry(entry, log_key_));
  }
  void Revoke(uint64_t epoch, uint64_t seq) {
    v1::LogEntry entry = Entry();
    entry.mutable_revoke()->set_agent_id("web-1");
    entry.mutable_revoke()->set_epoch(epoch);
    entry.mutable_revoke()->set_effective_seq(seq);
    entry.mutable_revoke()->set_reason("stolen");
    AppendLeaf(*MakeLogEntry(entry, log_key_));
  }
  static Hash KeyOf(const SealedBatch& opening) {
    return Certificate::FromDer(opening.header.epoch_open().identity_cert())->SpkiSha256();
  }
  VerifyReport Verify() {
    EXPECT_TRUE(
        writer_->WriteCheckpoint(*SignCheckpoint({"trail.example.org/acme", tree_.size(), tree_.Root(), {}}, log_key_))
            .ok());
    auto report = VerifyTrail(dir_ / "trail", policy_);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    return *std::move(report);
  }
  void ExpectTamper(const std::string& batch, uint64_t index, const std::string& text) {
    const VerifyReport report = Verify();
    EXPECT_EQ(report.verdict, TrailVerdict::kTamper) << report.summary;
    ASSERT_TRUE(report.first_bad);
    EXPECT_EQ(report.first_bad->batch, batch) << report.summary;
    EXPECT_EQ(report.first_bad->log_index, index) << report.summary;
    EXPECT_NE(report.first_bad->text.find(text), std::string::npos) << report.first_bad->text;
  }

  const TestCa ca_;
  const TempDir dir_;
  const Ed25519Key log_key_ = Ed25519Key::Generate();
  TestAgent agent_;
  std::unique_ptr<TrailWriter> writer_;
  CompactRange tree_;
  VerifyPolicy policy_;
};

TEST_F(VerifyEntriesTest, EnrolledAndRevokedInOrderIsIntact) {
  policy_.require_enrolment = true;
  const SealedBatch opening = agent_.Batch();
  Enrol(KeyOf(opening));
  Enrol(Sha256Of("never came"), "db-1");
  Append(opening);
  Append(agent_.Batch());
  Revoke(opening.header.epoch(), 2);
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact) << report.summary;
  EXPECT_EQ(report.entries, 3U);
  EXPECT_EQ(report.leaves, 5U);
  EXPECT_EQ(report.never_reported, std::vector<std::string>{"db-1"});
  EXPECT_NE(VerifyReportText(report).find("enrolled and never reported: db-1"), std::string::npos);
  EXPECT_NE(VerifyReportJson(report).find("\"never_reported\""), std::string::npos);
}

TEST_F(VerifyEntriesTest, NeverEnrolledIsANoteOrTampering) {
  Append(agent_.Batch());
  Append(agent_.Batch());
  EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact);
  policy_.require_enrolment = true;
  ExpectTamper("web-1:1:0", 0, "never enrolled");
}

TEST_F(VerifyEntriesTest, EnrolledOnlyAfterwardsIsNotBefore) {
  policy_.require_enrolment = true;
  const SealedBatch opening = agent_.Batch();
  Append(opening);
  Enrol(KeyOf(opening));
  ExpectTamper("web-1:1:0", 0, "never enrolled");
}

TEST_F(VerifyEntriesTest, AnotherKeyThanEnrolledIsTampering) {
  Enrol(Sha256Of("another"));
  Append(agent_.Batch());
  ExpectTamper("web-1:1:0", 1, "enrolled is");
}

TEST_F(VerifyEntriesTest, AnEpochAfterAnotherEnrolmentNeedsItsKey) {
  const SealedBatch opening = agent_.Batch();
  Enrol(KeyOf(opening));
  Append(opening);
  Enrol(Sha256Of("another"));
  Append(agent_.Batch());  // of the epoch that was open
  Append(agent_.CleanShutdown());
  agent_.Restart();
  Append(agent_.Batch());
  ExpectTamper("web-1:2:0", 5, "enrolled is");
}

TEST_F(VerifyEntriesTest, AnAlgorithmThatWasNotEnrolledIsTampering) {
  const SealedBatch opening = agent_.Batch();
  v1::LogEntry entry = Entry();
  entry.mutable_enrol()->set_agent_id("web-1");
  entry.mutable_enrol()->set_identity_spki_sha256(Bytes(KeyOf(opening)));
  entry.mutable_enrol()->add_sig_algs(v1::SIG_ALG_ECDSA_P256_SHA256);
  AppendLeaf(*MakeLogEntry(entry, log_key_));
  Append(opening);
  ExpectTamper("web-1:1:0", 1, "algorithm");
}

TEST_F(VerifyEntriesTest, ABatchAfterItsRevocationIsTampering) {
  const SealedBatch opening = agent_.Batch();
  Enrol(KeyOf(opening));
  Append(opening);
  Revoke(1, 1);
  Append(agent_.Batch());
  ExpectTamper("web-1:1:1", 3, "revoked from 1:1");
}

TEST_F(VerifyEntriesTest, ALaterEpochIsRevokedToo) {
  const SealedBatch opening = agent_.Batch();
  Enrol(KeyOf(opening));
  Append(opening);
  Append(agent_.CleanShutdown());
  Revoke(1, 2);
  agent_.Restart();
  Append(agent_.Batch());
  ExpectTamper("web-1:2:0", 4, "revoked");
}

TEST_F(VerifyEntriesTest, TheSameKeyDoesNotEndARevocation) {
  const SealedBatch opening = agent_.Batch();
  Enrol(KeyOf(opening));
  Append(opening);
  Append(agent_.CleanShutdown());
  Revoke(1, 2);
  Enrol(KeyOf(opening));
  agent_.Restart();
  Append(agent_.Batch());
  ExpectTamper("web-1:2:0", 5, "revoked");
}

TEST_F(VerifyEntriesTest, ARevokedEpochDoesNotGoOnAfterANewEnrolment) {
  const SealedBatch opening = agent_.Batch();
  Enrol(KeyOf(opening));
  Append(opening);
  Revoke(1, 1);
  Enrol(Sha256Of("another"));
  Append(agent_.Batch());
  ExpectTamper("web-1:1:1", 4, "revoked");
}

TEST_F(VerifyEntriesTest, AnEntryOfAnotherKeyIsTampering) {
  v1::LogEntry entry = Entry();
  entry.mutable_revoke()->set_agent_id("web-1");
  entry.mutable_revoke()->set_epoch(1);
  AppendLeaf(*MakeLogEntry(entry, Ed25519Key::Generate()));
  Append(agent_.Batch());  // the forged entry counts for nothing
  ExpectTamper("", 0, "not signed by the log key");
  // Without a key nobody can tell.
  policy_.log_key.reset();
  ExpectTamper("web-1:1:0", 1, "revoked");
}

TEST_F(VerifyEntriesTest, AnEntryOfAnotherTenantIsTampering) {
  Enrol(Sha256Of("k"), "db-1");
  Enrol(Sha256Of("k"), "web-1", "evil");
  ExpectTamper("", 1, "tenant evil");
}

TEST_F(VerifyEntriesTest, AMalformedEntryTakesNoBatchesName) {
  const SealedBatch first = agent_.Batch();
  (void)agent_.Batch();
  const SealedBatch third = agent_.Batch();
  Append(first);
  std::string damaged = *MakeLogEntry(
      [&] {
        v1::LogEntry entry = Entry();
        entry.mutable_enrol()->set_agent_id("web-1");
        entry.mutable_enrol()->set_identity_spki_sha256(std::string(32, 'k'));
        return entry;
      }(),
      log_key_);
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  AppendLeaf(damaged);
  Append(third);
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  ASSERT_EQ(report.agents.size(), 1U);
  EXPECT_EQ(report.agents[0].holes.size(), 1U);  // still missing
  ASSERT_TRUE(report.first_bad);
  EXPECT_EQ(report.first_bad->batch, "");
  EXPECT_EQ(report.first_bad->log_index, 1U);
}

}  // namespace
}  // namespace nodetrail::trail
