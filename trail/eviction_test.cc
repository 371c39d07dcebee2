// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/eviction.h"

#include <gtest/gtest.h>

#include <functional>

#include "nodetrail/trail/chain.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::trail {
namespace {

class EvictionTest : public ::testing::Test {
 protected:
  EvictionTest() : cas_(*CaSet::FromPem(ca_.CertPem())), agent_(ca_, "acme", "web-1"), batch_(agent_.Batch(5)) {}
  Status Check(std::string_view bytes) const { return CheckEviction(bytes, batch_.header, batch_.batch_hash, cas_); }
  TestCa ca_;
  CaSet cas_;
  TestAgent agent_;
  SealedBatch batch_;
};

TEST_F(EvictionTest, TheAgentsOwnStatementHolds) {
  const std::string eviction = agent_.Eviction(batch_);
  EXPECT_TRUE(Check(eviction).ok()) << Check(eviction).ToString();
  const auto parsed = ParseEviction(eviction);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->statement.event_count(), 5U);
  EXPECT_EQ(parsed->statement.evicted_wall_ns(), agent_.now_ns);
}

TEST_F(EvictionTest, EachWordOfTheStatementBinds) {
  const std::vector<std::function<void(v1::BodyEvicted*)>> edits = {
      [](auto* s) { s->set_tenant("other"); },
      [](auto* s) { s->set_agent_id("web-2"); },
      [](auto* s) { s->set_epoch(s->epoch() + 1); },
      [](auto* s) { s->set_seq(s->seq() + 1); },
      [](auto* s) { s->set_batch_hash(std::string(32, 'x')); },
      [](auto* s) { s->set_batch_hash("short"); },
      [](auto* s) { s->set_body_sha256(std::string(32, 'x')); },
      [](auto* s) { s->clear_body_sha256(); },
      [](auto* s) { s->set_event_count(4); },
      [](auto* s) { s->set_first_wall_ns(1); },
      [](auto* s) { s->set_last_wall_ns(1); },
      [](auto* s) { s->set_tenant("ac\nme"); },
  };
  for (size_t i = 0; i < edits.size(); ++i) EXPECT_FALSE(Check(agent_.Eviction(batch_, edits[i])).ok()) << i;
}

TEST_F(EvictionTest, OnlyTheAgentsIdentityMaySayIt) {
  const TestCa stranger("another authority");
  EXPECT_FALSE(Check(TestAgent(stranger, "acme", "web-1").Eviction(batch_)).ok());
  EXPECT_FALSE(Check(TestAgent(ca_, "acme", "web-2").Eviction(batch_)).ok());
  // Its certificate, and the signature of another key.
  v1::SignedEviction mixed;
  ASSERT_TRUE(mixed.ParseFromString(agent_.Eviction(batch_)));
  mixed.set_signature(*EcdsaKey::Generate().Sign(Pae(kEvictionPayloadType, mixed.statement())));
  EXPECT_FALSE(Check(mixed.SerializeAsString()).ok());
}

TEST_F(EvictionTest, NoOtherBytesAreTaken) {
  const std::string good = agent_.Eviction(batch_);
  EXPECT_FALSE(Check("").ok());
  EXPECT_FALSE(Check(good + std::string("\x2a\x00", 2)).ok()) << "an unknown field";
  EXPECT_FALSE(Check(good + good).ok()) << "fields that repeat";
  EXPECT_FALSE(Check(good.substr(0, good.size() - 1)).ok());
  EXPECT_FALSE(Check(std::string(kMaxEvictionBytes + 1, 'x')).ok());
  for (size_t i = 0; i < good.size(); ++i) {
    std::string flipped = good;
    flipped[i] = static_cast<char>(flipped[i] ^ 1);
    EXPECT_FALSE(Check(flipped).ok()) << i;
  }
  for (const int field : {1, 2, 3}) {
    v1::SignedEviction part;
    ASSERT_TRUE(part.ParseFromString(good));
    if (field == 1) part.clear_statement();
    if (field == 2) part.clear_signature();
    if (field == 3) part.clear_identity_cert();
    EXPECT_FALSE(Check(part.SerializeAsString()).ok()) << field;
  }
}

// In the place of the body, in the chain's own check.
TEST_F(EvictionTest, TheChainTakesItInTheBodysPlace) {
  ChainVerifier v({"acme", "web-1", &cas_, 1024});
  const std::string eviction = agent_.Eviction(batch_);
  CheckOptions options;
  options.eviction = eviction;
  ASSERT_TRUE(v.Check(batch_.leaf, std::nullopt, options).accepted());
  const SealedBatch second = agent_.Batch();
  const ChainResult wrong = v.Check(second.leaf, std::nullopt, options);
  EXPECT_EQ(wrong.verdict, ChainVerdict::kBadBody) << wrong.reason;
  EXPECT_EQ(v.state().head.seq, 0U);
  const std::string right = agent_.Eviction(second);
  options.eviction = right;
  EXPECT_TRUE(v.Check(second.leaf, std::nullopt, options).accepted());
}

TEST_F(EvictionTest, ABatchWithoutABodyHasNoneToGiveUp) {
  const SealedBatch none = agent_.Batch(0, [](v1::BatchHeader* h) {
    h->set_body_codec(v1::BODY_CODEC_NONE);
    h->clear_body_sha256();
    h->clear_events_root();
    h->clear_raw_body_len();
    h->clear_stored_body_len();
  });
  EXPECT_FALSE(CheckEviction(agent_.Eviction(none), none.header, none.batch_hash, cas_).ok());
}

}  // namespace
}  // namespace nodetrail::trail
