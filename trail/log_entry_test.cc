// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/log_entry.h"

#include <gtest/gtest.h>

#include <functional>

#include "nodetrail/trail/enrolment.h"
#include "nodetrail/trail/leaf.h"
#include "trail/testing/test_agent.h"
#include "trail/wire.h"

namespace nodetrail::trail {
namespace {

using std::string_literals::operator""s;

const Ed25519Key& LogKey() {
  static const Ed25519Key key = *Ed25519Key::FromSeed(std::string(32, '\x03'));
  return key;
}

v1::LogEntry EnrolOf(const std::string& agent, const Hash& spki) {
  v1::LogEntry entry;
  entry.set_format_version(1);
  entry.set_tenant("acme");
  entry.set_wall_ns(7);
  entry.mutable_enrol()->set_agent_id(agent);
  entry.mutable_enrol()->set_identity_spki_sha256(Bytes(spki));
  entry.mutable_enrol()->set_token_id("t-1");
  return entry;
}

v1::LogEntry RevokeOf(const std::string& agent, uint64_t epoch, uint64_t seq) {
  v1::LogEntry entry;
  entry.set_format_version(1);
  entry.set_tenant("acme");
  entry.mutable_revoke()->set_agent_id(agent);
  entry.mutable_revoke()->set_epoch(epoch);
  entry.mutable_revoke()->set_effective_seq(seq);
  entry.mutable_revoke()->set_reason("laptop stolen");
  return entry;
}

v1::LogEntry AccessBy(const std::string& reader) {
  v1::LogEntry entry;
  entry.set_format_version(1);
  entry.set_tenant("acme");
  entry.set_wall_ns(9);
  entry.mutable_access()->set_reader(reader);
  entry.mutable_access()->set_certificate_sha256(Bytes(Sha256Of("certificate")));
  entry.mutable_access()->set_method("Search");
  entry.mutable_access()->set_shape("user:? limit 1000");
  entry.mutable_access()->set_question_hmac(Bytes(Sha256Of("question")));
  return entry;
}

std::string FrameEntry(std::string_view bytes, size_t signature = 64) {
  std::string leaf;
  AppendBytesField(&leaf, 3, bytes);
  AppendBytesField(&leaf, 4, std::string(signature, '\0'));
  return leaf;
}

TEST(LogEntry, RoundTripsAndIsSignedByTheLog) {
  const std::string leaf = *MakeLogEntry(EnrolOf("web-1", Sha256Of("k")), LogKey());
  EXPECT_EQ(leaf.front(), kLogEntryLeafTag);
  EXPECT_TRUE(IsLogEntry(leaf));
  const auto parsed = ParseLogEntry(leaf);
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(AgentOf(parsed->entry), "web-1");
  EXPECT_FALSE(parsed->unknown_fields);
  EXPECT_TRUE(VerifyLogEntrySignature(*parsed, LogKey().public_key()));
  EXPECT_FALSE(VerifyLogEntrySignature(*parsed, Ed25519Key::Generate().public_key()));
  for (size_t i = 0; i < leaf.size(); ++i) {
    std::string wrong = leaf;
    wrong[i] = static_cast<char>(wrong[i] ^ 1);
    const auto bad = ParseLogEntry(wrong);
    EXPECT_FALSE(bad.ok() && VerifyLogEntrySignature(*bad, LogKey().public_key())) << i;
  }
}

TEST(LogEntry, NeitherKindOfLeafPassesForTheOther) {
  const std::string entry = *MakeLogEntry(RevokeOf("web-1", 1, 0), LogKey());
  EXPECT_FALSE(ParseLeaf(entry).ok());
  const TestCa ca;
  TestAgent agent(ca, "acme", "web-1");
  const SealedBatch batch = agent.Batch();
  EXPECT_FALSE(IsLogEntry(batch.leaf));
  EXPECT_FALSE(ParseLogEntry(batch.leaf).ok());
}

TEST(LogEntry, ReadsOneWayOnly) {
  const Hash spki = Sha256Of("k");
  const std::string good = EnrolOf("web-1", spki).SerializeAsString();
  ASSERT_TRUE(ParseLogEntry(FrameEntry(good)).ok());
  const std::string leaf = FrameEntry(good);
  EXPECT_FALSE(ParseLogEntry("").ok());
  EXPECT_FALSE(ParseLogEntry(leaf + "x").ok());
  EXPECT_FALSE(ParseLogEntry(std::string(70'000, '\x1a')).ok());
  EXPECT_FALSE(ParseLogEntry(FrameEntry(good, 63)).ok());
  EXPECT_FALSE(ParseLogEntry(FrameEntry(good, 65)).ok());
  // Twice the tenant; a long varint; a group; fields out of order.
  EXPECT_FALSE(ParseLogEntry(FrameEntry("\x08\x01\x12\x04xcme"s + good.substr(2))).ok());
  EXPECT_FALSE(ParseLogEntry(FrameEntry("\x08\x81\x00"s + good.substr(2))).ok());
  EXPECT_FALSE(ParseLogEntry(FrameEntry(good + "\x33\x34"s)).ok());
  EXPECT_FALSE(ParseLogEntry(FrameEntry(good.substr(2) + "\x08\x01"s)).ok());
  // A newer collector's field is passed over, and told of.
  const auto newer = ParseLogEntry(FrameEntry(good + "\x78\x05"s));
  ASSERT_TRUE(newer.ok()) << newer.status().message();
  EXPECT_TRUE(newer->unknown_fields);

  const auto refused = [](const v1::LogEntry& entry) {
    return !ParseLogEntry(FrameEntry(entry.SerializeAsString())).ok();
  };
  v1::LogEntry entry = EnrolOf("web-1", spki);
  entry.set_format_version(2);
  EXPECT_TRUE(refused(entry));
  entry = EnrolOf(".web", spki);
  EXPECT_TRUE(refused(entry));
  entry = EnrolOf("web-1", spki);
  entry.set_tenant("a b");
  EXPECT_TRUE(refused(entry));
  entry = EnrolOf("web-1", spki);
  entry.mutable_enrol()->set_identity_spki_sha256("short");
  EXPECT_TRUE(refused(entry));
  entry = EnrolOf("web-1", spki);
  entry.mutable_enrol()->set_token_id("a\nb");
  EXPECT_TRUE(refused(entry));
  entry = RevokeOf("web-1", 0, 3);
  EXPECT_TRUE(refused(entry));
  entry = RevokeOf("web-1", 1, 3);
  entry.mutable_revoke()->set_reason("caf\xc3\xa9");
  EXPECT_TRUE(refused(entry));
  entry = RevokeOf("web-1", 1, 3);
  entry.clear_revoke();
  EXPECT_TRUE(refused(entry));
  // Both: protobuf would keep the last.
  std::string both = good;
  AppendBytesField(&both, 5, RevokeOf("web-1", 1, 3).revoke().SerializeAsString());
  EXPECT_FALSE(ParseLogEntry(FrameEntry(both)).ok());
}

TEST(LogEntry, AReadNamesWhoAndWhat) {
  const auto accepted = [](const std::function<void(v1::Access*)>& edit) {
    v1::LogEntry entry = AccessBy("spiffe://example.org/t/acme/r/ann");
    edit(entry.mutable_access());
    return ParseLogEntry(FrameEntry(entry.SerializeAsString())).ok();
  };
  EXPECT_TRUE(accepted([](auto*) {}));
  EXPECT_TRUE(accepted([](auto* access) { access->clear_shape(); }));
  EXPECT_FALSE(accepted([](auto* access) { access->clear_reader(); }));
  EXPECT_FALSE(accepted([](auto* access) { access->set_reader("ann\x1b"); }));
  EXPECT_FALSE(accepted([](auto* access) { access->clear_method(); }));
  EXPECT_FALSE(accepted([](auto* access) { access->set_shape("caf\xc3\xa9"); }));
  EXPECT_FALSE(accepted([](auto* access) { access->set_certificate_sha256("short"); }));
  EXPECT_FALSE(accepted([](auto* access) { access->clear_question_hmac(); }));
  // It enrols nobody, but a log is of one tenant.
  Enrolments enrolments;
  v1::LogEntry entry = AccessBy("spiffe://example.org/t/acme/r/ann");
  EXPECT_TRUE(enrolments.Take(entry, 0).ok());
  EXPECT_TRUE(enrolments.agents().empty());
  entry.set_tenant("evil");
  EXPECT_FALSE(enrolments.Take(entry, 1).ok());
}

TEST(LogEntry, AlgorithmsAreOnePackedField) {
  v1::LogEntry entry = EnrolOf("web-1", Sha256Of("k"));
  entry.mutable_enrol()->add_sig_algs(v1::SIG_ALG_ED25519);
  entry.mutable_enrol()->add_sig_algs(v1::SIG_ALG_ECDSA_P256_SHA256);
  const auto packed = ParseLogEntry(FrameEntry(entry.SerializeAsString()));
  ASSERT_TRUE(packed.ok());
  EXPECT_EQ(packed->entry.enrol().sig_algs_size(), 2);

  entry = EnrolOf("web-1", Sha256Of("k"));
  const auto with = [&](const std::string& tail) {
    std::string out = "\x08\x01\x12\x04"s + "acme";
    AppendBytesField(&out, 4, entry.enrol().SerializeAsString() + tail);
    return ParseLogEntry(FrameEntry(out));
  };
  EXPECT_EQ(with("\x22\x01\x02"s)->entry.enrol().sig_algs_size(), 1);
  EXPECT_FALSE(with("\x22\x02\x82\x00"s).ok());  // a long varint
  EXPECT_FALSE(with("\x22\x01\x82"s).ok());      // cut off
  // Of another wire type than the schema says: absent.
  ASSERT_TRUE(with("\x20\x02"s).ok());
  EXPECT_EQ(with("\x20\x02"s)->entry.enrol().sig_algs_size(), 0);
}

// One agent, its openings with the key of its certificate.
class EnrolmentsTest : public testing::Test {
 protected:
  EnrolmentVerdict Judge(const SealedBatch& batch) { return enrolments_.Judge(batch.header).verdict; }
  EnrolmentVerdict Take(const SealedBatch& batch) {
    const EnrolmentVerdict verdict = Judge(batch);
    if (verdict == EnrolmentVerdict::kAllowed) enrolments_.Accept(batch.header);
    return verdict;
  }
  void Enter(const v1::LogEntry& entry) { ASSERT_TRUE(enrolments_.Take(entry, index_++).ok()); }
  static Hash KeyOf(const SealedBatch& opening) {
    return Certificate::FromDer(opening.header.epoch_open().identity_cert())->SpkiSha256();
  }

  const TestCa ca_;
  TestAgent agent_{ca_, "acme", "web-1"};
  Enrolments enrolments_;
  uint64_t index_ = 0;
};

TEST_F(EnrolmentsTest, OnlyTheEnrolledKeyOpensEpochs) {
  const SealedBatch opening = agent_.Batch();
  EXPECT_EQ(Judge(opening), EnrolmentVerdict::kAllowed);  // nobody said anything of it
  EXPECT_EQ(Enrolments(true).Judge(opening.header).verdict, EnrolmentVerdict::kNotEnrolled);
  Enter(EnrolOf("web-1", Sha256Of("another key")));
  EXPECT_EQ(Judge(opening), EnrolmentVerdict::kNotEnrolled);
  EXPECT_EQ(Judge(agent_.Batch()), EnrolmentVerdict::kAllowed);  // the chain vouches for it
  Enter(EnrolOf("web-1", KeyOf(opening)));
  EXPECT_EQ(Judge(opening), EnrolmentVerdict::kAllowed);
  v1::LogEntry p256 = EnrolOf("web-1", KeyOf(opening));
  p256.mutable_enrol()->add_sig_algs(v1::SIG_ALG_ECDSA_P256_SHA256);
  Enter(p256);
  EXPECT_EQ(Judge(opening), EnrolmentVerdict::kNotEnrolled);
  v1::LogEntry other = EnrolOf("web-1", KeyOf(opening));
  other.set_tenant("evil");
  EXPECT_FALSE(enrolments_.Take(other, index_).ok());
}

TEST_F(EnrolmentsTest, RevokedFromAPositionUntilAnotherKeyOpens) {
  const SealedBatch opening = agent_.Batch();
  Enter(EnrolOf("web-1", KeyOf(opening)));
  EXPECT_EQ(Take(opening), EnrolmentVerdict::kAllowed);
  const SealedBatch one = agent_.Batch();
  const SealedBatch two = agent_.Batch();
  Enter(RevokeOf("web-1", opening.header.epoch(), 2));
  Enter(RevokeOf("web-1", opening.header.epoch() + 5, 0));  // the earliest counts
  EXPECT_EQ(Take(one), EnrolmentVerdict::kAllowed);
  EXPECT_EQ(Take(two), EnrolmentVerdict::kRevoked);
  agent_.Restart();
  EXPECT_EQ(Take(agent_.Batch()), EnrolmentVerdict::kRevoked);
  // The same key again is no other key.
  Enter(EnrolOf("web-1", KeyOf(opening)));
  agent_.Restart();
  EXPECT_EQ(Take(agent_.Batch()), EnrolmentVerdict::kRevoked);

  TestAgent anew(ca_, "acme", "web-1");  // a key of its own
  for (int i = 0; i < 9; ++i) {
    (void)anew.Batch();
    anew.Restart();
  }
  const SealedBatch reopening = anew.Batch();
  Enter(EnrolOf("web-1", KeyOf(reopening)));
  // The old epoch goes on without an opening: it stays revoked.
  EXPECT_EQ(Take(two), EnrolmentVerdict::kRevoked);
  EXPECT_EQ(Take(reopening), EnrolmentVerdict::kAllowed);
  EXPECT_EQ(Take(anew.Batch()), EnrolmentVerdict::kAllowed);
  EXPECT_FALSE(enrolments_.Find("acme", "web-1")->revoked);
}

}  // namespace
}  // namespace nodetrail::trail
