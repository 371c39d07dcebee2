// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/chain.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "trail/testing/test_agent.h"
#include "trail/testing/test_pki.h"
#include "trail/wire.h"

namespace nodetrail::trail {
namespace {

class ChainTest : public ::testing::Test {
 protected:
  ChainTest() : cas_(*CaSet::FromPem(ca_.CertPem())), agent_(ca_, "acme", "web-1") {}

  ChainVerifier Verifier() { return ChainVerifier({"acme", "web-1", &cas_, 1024}); }
  static ChainResult Check(ChainVerifier* v, const SealedBatch& b, const CheckOptions& options = {}) {
    return v->Check(b.leaf, b.body, options);
  }

  TestCa ca_;
  CaSet cas_;
  TestAgent agent_;
};

TEST_F(ChainTest, AcceptsAChainOverACleanRestart) {
  ChainVerifier v = Verifier();
  const ChainResult first = Check(&v, agent_.Batch());
  ASSERT_TRUE(first.accepted()) << first.reason;
  EXPECT_TRUE(first.notes.epoch_opened);
  EXPECT_FALSE(first.notes.unclean_restart);
  for (int i = 0; i < 20; ++i) {
    const ChainResult next = Check(&v, agent_.Batch(i % 4));
    ASSERT_TRUE(next.accepted()) << next.reason;
  }
  ASSERT_TRUE(Check(&v, agent_.CleanShutdown()).accepted());
  agent_.Restart();
  const ChainResult opened = Check(&v, agent_.Batch());
  ASSERT_TRUE(opened.accepted()) << opened.reason;
  EXPECT_TRUE(opened.notes.epoch_opened);
  EXPECT_FALSE(opened.notes.unclean_restart);
}

TEST_F(ChainTest, NotesAnUncleanRestart) {
  ChainVerifier v = Verifier();
  ASSERT_TRUE(Check(&v, agent_.Batch()).accepted());
  agent_.Restart();
  const ChainResult opened = Check(&v, agent_.Batch());
  ASSERT_TRUE(opened.accepted()) << opened.reason;
  EXPECT_TRUE(opened.notes.unclean_restart);
  EXPECT_TRUE(opened.notes.same_boot_restart);
  EXPECT_FALSE(opened.notes.history_unknown);
}

TEST_F(ChainTest, NotesAWipedSpool) {
  ChainVerifier v = Verifier();
  ASSERT_TRUE(Check(&v, agent_.Batch()).accepted());
  agent_.Restart(false);
  const ChainResult opened = Check(&v, agent_.Batch());
  ASSERT_TRUE(opened.accepted()) << opened.reason;
  EXPECT_TRUE(opened.notes.history_unknown);
}

TEST_F(ChainTest, TellsDuplicateFromEquivocation) {
  ChainVerifier v = Verifier();
  const SealedBatch a = agent_.Batch();
  const SealedBatch b = agent_.Batch();
  v1::BatchHeader other = b.header;
  other.set_sealed_wall_ns(1);
  const std::string forged = agent_.Forge(other);  // with the key of b
  const SealedBatch c = agent_.Batch();
  for (const SealedBatch* batch : {&a, &b, &c}) ASSERT_TRUE(Check(&v, *batch).accepted());
  EXPECT_EQ(Check(&v, a).verdict, ChainVerdict::kDuplicate);
  EXPECT_EQ(Check(&v, b).verdict, ChainVerdict::kDuplicate);
  EXPECT_EQ(v.Check(forged, b.body).verdict, ChainVerdict::kEquivocation);
  // The same without a right signature is nobody's evidence.
  std::string garbled = forged;
  garbled.back() = static_cast<char>(garbled.back() ^ 1);
  EXPECT_EQ(v.Check(garbled, b.body).verdict, ChainVerdict::kBadSignature);
  EXPECT_EQ(v.expected(), (ChainPosition{1, 3}));
}

TEST_F(ChainTest, AsksForWhatIsMissingAndTakesAHoleOnlyWhenTold) {
  ChainVerifier v = Verifier();
  ASSERT_TRUE(Check(&v, agent_.Batch()).accepted());
  agent_.Batch();
  agent_.Batch();
  const SealedBatch d = agent_.Batch();
  const ChainResult ahead = Check(&v, d);
  EXPECT_EQ(ahead.verdict, ChainVerdict::kAhead);
  ASSERT_TRUE(ahead.expected.has_value());
  EXPECT_EQ(*ahead.expected, (ChainPosition{1, 1}));
  CheckOptions options;
  options.allow_hole = true;
  const ChainResult taken = Check(&v, d, options);
  ASSERT_TRUE(taken.accepted()) << taken.reason;
  ASSERT_EQ(taken.notes.holes.size(), 1U);
  EXPECT_EQ(taken.notes.holes[0].from_seq, 1U);
  EXPECT_EQ(taken.notes.holes[0].to_seq, 2U);
}

TEST_F(ChainTest, FindsAHoleAtTheEndOfTheEpochBefore) {
  ChainVerifier v = Verifier();
  ASSERT_TRUE(Check(&v, agent_.Batch()).accepted());
  agent_.Batch();
  agent_.Batch();
  agent_.Restart();
  const SealedBatch opening = agent_.Batch();
  const ChainResult ahead = Check(&v, opening);
  EXPECT_EQ(ahead.verdict, ChainVerdict::kAhead);
  EXPECT_EQ(*ahead.expected, (ChainPosition{1, 1}));
  CheckOptions options;
  options.allow_hole = true;
  const ChainResult taken = Check(&v, opening, options);
  ASSERT_TRUE(taken.accepted());
  EXPECT_EQ(taken.notes.holes.at(0).to_seq, 2U);
}

TEST_F(ChainTest, AnUnknownAgentStartsAtItsOpening) {
  ChainVerifier v = Verifier();
  agent_.Batch();
  const ChainResult ahead = Check(&v, agent_.Batch());
  EXPECT_EQ(ahead.verdict, ChainVerdict::kAhead);
  EXPECT_EQ(*ahead.expected, (ChainPosition{1, 0}));
}

TEST_F(ChainTest, NothingFollowsACleanShutdownInItsEpoch) {
  ChainVerifier v = Verifier();
  ASSERT_TRUE(Check(&v, agent_.Batch()).accepted());
  ASSERT_TRUE(Check(&v, agent_.CleanShutdown()).accepted());
  EXPECT_EQ(Check(&v, agent_.Batch()).verdict, ChainVerdict::kClosed);
}

struct HeaderMutation {
  const char* name;
  std::function<void(v1::BatchHeader*)> edit;
  ChainVerdict expected;
};

// Each is signed with the right key: what an agent of ill will could send.
TEST_F(ChainTest, RefusesSignedHeadersThatDoNotJoin) {
  const std::vector<HeaderMutation> mutations = {
      {"tenant", [](auto* h) { h->set_tenant("other"); }, ChainVerdict::kWrongIdentity},
      {"agent", [](auto* h) { h->set_agent_id("web-2"); }, ChainVerdict::kWrongIdentity},
      {"algorithm", [](auto* h) { h->set_sig_alg(v1::SIG_ALG_ECDSA_P256_SHA256); }, ChainVerdict::kMalformed},
      {"no algorithm", [](auto* h) { h->clear_sig_alg(); }, ChainVerdict::kMalformed},
      {"prev_hash", [](auto* h) { h->set_prev_hash(std::string(32, 'x')); }, ChainVerdict::kBrokenChain},
      {"boot", [](auto* h) { h->set_boot_id("other"); }, ChainVerdict::kBrokenChain},
      {"signer_key", [](auto* h) { h->set_signer_key(std::string(32, 'x')); }, ChainVerdict::kWrongKey},
      {"event numbers",
       [](auto* h) {
         h->set_first_event_seq(h->first_event_seq() + 1), h->set_last_event_seq(h->last_event_seq() + 1);
       },
       ChainVerdict::kBadCounters},
      {"losses", [](auto* h) { h->mutable_losses()->clear_ring(); }, ChainVerdict::kBadCounters},
      {"body hash", [](auto* h) { h->set_body_sha256(std::string(32, 'x')); }, ChainVerdict::kBadBody},
      {"body length", [](auto* h) { h->set_stored_body_len(h->stored_body_len() + 1); }, ChainVerdict::kBadBody},
      {"version", [](auto* h) { h->set_format_version(2); }, ChainVerdict::kMalformed},
      {"type", [](auto* h) { h->set_type(static_cast<v1::BatchType>(77)); }, ChainVerdict::kMalformed},
      {"opening in the middle", [](auto* h) { h->set_type(v1::BATCH_TYPE_EPOCH_OPEN); }, ChainVerdict::kMalformed},
      {"huge raw body", [](auto* h) { h->set_raw_body_len(kMaxBodyBytes + 1); }, ChainVerdict::kMalformed},
      {"huge stored body", [](auto* h) { h->set_stored_body_len(UINT64_MAX); }, ChainVerdict::kMalformed},
      {"short key", [](auto* h) { h->set_next_key("x"); }, ChainVerdict::kMalformed},
      {"no next key", [](auto* h) { h->clear_next_key(); }, ChainVerdict::kMalformed},
      {"epoch zero", [](auto* h) { h->set_epoch(0); }, ChainVerdict::kMalformed},
      {"bad id", [](auto* h) { h->set_agent_id("../x"); }, ChainVerdict::kMalformed},
      {"more events than numbers", [](auto* h) { h->set_event_count(99); }, ChainVerdict::kMalformed},
      {"last seq wraps", [](auto* h) { h->set_last_event_seq(UINT64_MAX); }, ChainVerdict::kMalformed},
  };
  for (const HeaderMutation& mutation : mutations) {
    TestAgent agent(ca_, "acme", "web-1");
    ChainVerifier v = Verifier();
    ASSERT_TRUE(Check(&v, agent.Batch(3, [](auto* h) { h->mutable_losses()->set_ring(5); })).accepted());
    const auto keep = [](auto* h) { h->mutable_losses()->set_ring(5); };
    const SealedBatch bad = agent.Batch(3, [&](auto* h) {
      keep(h);
      mutation.edit(h);
    });
    const ChainResult result = Check(&v, bad);
    EXPECT_EQ(result.verdict, mutation.expected)
        << mutation.name << ": " << ChainVerdictName(result.verdict) << ": " << result.reason;
    EXPECT_FALSE(result.reason.empty()) << mutation.name;
    EXPECT_EQ(v.expected(), (ChainPosition{1, 1})) << mutation.name << " moved the state";
  }
}

struct OpenMutation {
  const char* name;
  std::function<void(TestAgent*)> prepare;
};

TEST_F(ChainTest, RefusesOpeningsThatDoNotHold) {
  const TestCa stranger("another authority");
  const TestCa::Identity two = ca_.Issue("spiffe://example.org/t/acme/a/web-1", "spiffe://example.org/t/acme/a/web-2");
  const TestCa::Identity other = ca_.IssueAgent("acme", "web-2");
  const TestCa::Identity reader = ca_.Issue("spiffe://example.org/t/acme/r/web-1");
  const auto use = [](const TestCa::Identity& id) {
    return [&id](TestAgent* a) {
      a->edit_open = [&id](v1::EpochOpen* open) {
        open->set_identity_cert(Certificate::FromPem(id.cert_pem)->Der());
        open->set_signature(*EcdsaKey::FromPem(id.key_pem)->Sign(Pae(kEpochPayloadType, open->statement())));
      };
    };
  };
  const auto statement = [](const std::function<void(v1::EpochStatement*)>& edit) {
    return [edit](TestAgent* a) { a->edit_statement = edit; };
  };
  const TestCa::Identity foreign = stranger.IssueAgent("acme", "web-1");
  const std::vector<OpenMutation> mutations = {
      {"two URIs", use(two)},
      {"another agent's certificate", use(other)},
      {"a reader's certificate", use(reader)},
      {"a stranger's authority", use(foreign)},
      {"signature", [](TestAgent* a) { a->edit_open = [](auto* o) { o->mutable_signature()->back() ^= 1; }; }},
      {"no certificate", [](TestAgent* a) { a->edit_open = [](auto* o) { o->clear_identity_cert(); }; }},
      {"trailing bytes",
       [](TestAgent* a) { a->edit_open = [](auto* o) { o->mutable_identity_cert()->push_back('x'); }; }},
      {"statement of another epoch", statement([](auto* s) { s->set_epoch(9); })},
      {"statement of another agent", statement([](auto* s) { s->set_agent_id("web-2"); })},
      {"statement of another boot", statement([](auto* s) { s->set_boot_id("x"); })},
      {"another first key", statement([](auto* s) { s->set_first_key(std::string(32, 'x')); })},
      {"a past out of nothing", statement([](auto* s) { s->set_prev_last_seq(3); })},
  };
  for (const OpenMutation& mutation : mutations) {
    TestAgent agent(ca_, "acme", "web-1");
    mutation.prepare(&agent);
    ChainVerifier v = Verifier();
    const ChainResult result = Check(&v, agent.Batch());
    EXPECT_EQ(result.verdict, ChainVerdict::kBadEpochOpen) << mutation.name << ": " << ChainVerdictName(result.verdict);
  }
}

TEST_F(ChainTest, AnExpiredIdentityAndAnIntermediateAreAccepted) {
  const TestCa below = ca_.IssueCa("intermediate");
  const TestCa::Identity id = below.Issue("spiffe://example.org/t/acme/a/web-1", "", true);
  agent_.edit_open = [&](v1::EpochOpen* open) {
    open->set_identity_cert(Certificate::FromPem(id.cert_pem)->Der());
    open->set_signature(*EcdsaKey::FromPem(id.key_pem)->Sign(Pae(kEpochPayloadType, open->statement())));
    open->add_intermediates(Certificate::FromPem(below.CertPem())->Der());
  };
  ChainVerifier v = Verifier();
  const ChainResult result = Check(&v, agent_.Batch());
  EXPECT_TRUE(result.accepted()) << result.reason;
}

TEST_F(ChainTest, AnotherPastThanOursIsABrokenChain) {
  ChainVerifier v = Verifier();
  ASSERT_TRUE(Check(&v, agent_.Batch()).accepted());
  ASSERT_TRUE(Check(&v, agent_.Batch()).accepted());
  // A restored copy of the host goes on from a batch that we never saw.
  TestAgent copy(ca_, "acme", "web-1");
  copy.Batch();
  copy.Batch();
  copy.Restart();
  EXPECT_EQ(Check(&v, copy.Batch()).verdict, ChainVerdict::kBrokenChain);
}

TEST_F(ChainTest, EveryFlippedBitOfALeafIsRefused) {
  ChainVerifier v = Verifier();
  ASSERT_TRUE(Check(&v, agent_.Batch()).accepted());
  const ChainState before = v.state();
  const SealedBatch batch = agent_.Batch();
  for (size_t i = 0; i < batch.leaf.size(); ++i) {
    for (const int bit : {0, 7}) {
      std::string leaf = batch.leaf;
      leaf[i] = static_cast<char>(leaf[i] ^ (1 << bit));
      CheckOptions options;
      options.allow_hole = true;
      const ChainResult result = v.Check(leaf, batch.body, options);
      EXPECT_FALSE(result.accepted()) << "byte " << i << " bit " << bit;
      v.set_state(before);
    }
  }
  EXPECT_TRUE(Check(&v, batch).accepted());
}

TEST_F(ChainTest, ALeafHasOneEncodingOnly) {
  const SealedBatch batch = agent_.Batch();
  const auto parsed = ParseLeaf(batch.leaf);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->batch_hash, batch.batch_hash);
  std::string trailing = batch.leaf;
  AppendBytesField(&trailing, 3, "more");
  EXPECT_FALSE(ParseLeaf(trailing).ok());
  std::string twice = batch.leaf;
  AppendBytesField(&twice, 2, parsed->signature);
  EXPECT_FALSE(ParseLeaf(twice).ok());
  std::string swapped;
  AppendBytesField(&swapped, 2, parsed->signature);
  AppendBytesField(&swapped, 1, parsed->header_bytes);
  EXPECT_FALSE(ParseLeaf(swapped).ok());
  EXPECT_FALSE(ParseLeaf("").ok());
  EXPECT_FALSE(ParseLeaf(std::string(70'000, 'x')).ok());
  // A field of the header that comes twice, signed.
  const Ed25519Key key = Ed25519Key::Generate();
  EXPECT_FALSE(ParseLeaf(*MakeLeaf(parsed->header_bytes + std::string("\x50\x05", 2), key)).ok());
  // A field that is not known yet is signed, and said.
  std::string newer = parsed->header_bytes;
  AppendBytesField(&newer, 99, "future");
  const auto with_unknown = ParseLeaf(*MakeLeaf(newer, key));
  ASSERT_TRUE(with_unknown.ok()) << with_unknown.status().ToString();
  EXPECT_TRUE(with_unknown->unknown_fields);
}

// What the agent has seen is a size with a root, or nothing.
TEST_F(ChainTest, SeenIsASizeWithARoot) {
  const auto parse = [&](uint64_t size, const std::string& root) {
    return ParseLeaf(agent_
                         .Batch(1,
                                [&](v1::BatchHeader* h) {
                                  h->set_seen_size(size);
                                  h->set_seen_root(root);
                                })
                         .leaf);
  };
  const auto seen = parse(7, std::string(32, 'r'));
  ASSERT_TRUE(seen.ok()) << seen.status().ToString();
  EXPECT_FALSE(seen->unknown_fields);
  EXPECT_TRUE(parse(0, "").ok());
  EXPECT_FALSE(parse(7, "").ok());
  EXPECT_FALSE(parse(0, std::string(32, 'r')).ok());
  EXPECT_FALSE(parse(7, std::string(31, 'r')).ok());
}

TEST_F(ChainTest, NotesClocksThatGoBack) {
  ChainVerifier v = Verifier();
  ASSERT_TRUE(Check(&v, agent_.Batch(1, [](auto* h) { h->set_clock_error_ns(1000); })).accepted());
  const uint64_t then = agent_.now_ns;
  agent_.now_ns = then - 3'600'000'000'000;
  const ChainResult back = Check(&v, agent_.Batch());
  ASSERT_TRUE(back.accepted()) << back.reason;
  EXPECT_TRUE(back.notes.wall_clock_back);
  EXPECT_TRUE(back.notes.boot_clock_back);
}

TEST_F(ChainTest, StateTravelsAsBytes) {
  ChainVerifier v = Verifier();
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(Check(&v, agent_.Batch()).accepted());
  const std::string bytes = SerializeChainState(v.state());
  const auto state = ParseChainState(bytes);
  ASSERT_TRUE(state.ok()) << state.status().ToString();
  ChainVerifier other = Verifier();
  other.set_state(*state);
  EXPECT_EQ(other.expected(), (ChainPosition{1, 5}));
  EXPECT_TRUE(Check(&other, agent_.Batch()).accepted());
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string bad = bytes;
    bad[i] = static_cast<char>(bad[i] ^ 4);
    EXPECT_FALSE(ParseChainState(bad).ok()) << i;
  }
}

TEST_F(ChainTest, TrustedReplayRebuildsTheState) {
  ChainVerifier v = Verifier();
  ChainVerifier replay = Verifier();
  CheckOptions trusted;
  trusted.trusted = true;
  for (int i = 0; i < 4; ++i) {
    const SealedBatch batch = agent_.Batch();
    ASSERT_TRUE(Check(&v, batch).accepted());
    ASSERT_TRUE(replay.Check(batch.leaf, std::nullopt, trusted).accepted());
  }
  EXPECT_EQ(SerializeChainState(v.state()), SerializeChainState(replay.state()));
}

TEST_F(ChainTest, HashesFurtherBackComeFromTheLookup) {
  std::map<std::pair<uint64_t, uint64_t>, Hash> log;
  ChainVerifier v({"acme", "web-1", &cas_, 2}, [&](uint64_t epoch, uint64_t seq) -> std::optional<Hash> {
    const auto it = log.find({epoch, seq});
    return it == log.end() ? std::nullopt : std::optional(it->second);
  });
  std::vector<SealedBatch> batches;
  for (int i = 0; i < 6; ++i) {
    batches.push_back(agent_.Batch());
    ASSERT_TRUE(Check(&v, batches.back()).accepted());
  }
  EXPECT_EQ(Check(&v, batches[5]).verdict, ChainVerdict::kDuplicate);
  EXPECT_EQ(Check(&v, batches[1]).verdict, ChainVerdict::kOld);
  log[{1, 1}] = batches[1].batch_hash;
  EXPECT_EQ(Check(&v, batches[1]).verdict, ChainVerdict::kDuplicate);
}

}  // namespace
}  // namespace nodetrail::trail
