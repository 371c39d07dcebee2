// SPDX-License-Identifier: Apache-2.0
//
// T24, algorithm confusion: the header says one algorithm, and key, signature
// or predecessor are of another.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/eviction.h"
#include "nodetrail/trail/ratchet_key.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::trail {
namespace {

constexpr auto kEd25519 = v1::SIG_ALG_ED25519;
constexpr auto kP256 = v1::SIG_ALG_ECDSA_P256_SHA256;

TEST(RatchetKeys, SignAndVerifyByTheirAlgorithm) {
  for (const auto alg : {kEd25519, kP256}) {
    const RatchetKey key = RatchetKey::Generate(alg);
    EXPECT_EQ(key.alg(), alg);
    EXPECT_EQ(key.public_key().size(), RatchetKeyBytes(alg));
    const Signature signature = key.Sign("words");
    EXPECT_TRUE(RatchetVerify(alg, key.public_key(), "words", View(signature)));
    EXPECT_FALSE(RatchetVerify(alg, key.public_key(), "other", View(signature)));
    EXPECT_FALSE(RatchetVerify(alg == kP256 ? kEd25519 : kP256, key.public_key(), "words", View(signature)));
    EXPECT_FALSE(RatchetVerify(v1::SIG_ALG_UNSPECIFIED, key.public_key(), "words", View(signature)));
    for (size_t i = 0; i < signature.size(); ++i) {
      Signature wrong = signature;
      wrong[i] = static_cast<uint8_t>(wrong[i] ^ 1U);
      EXPECT_FALSE(RatchetVerify(alg, key.public_key(), "words", View(wrong))) << i;
    }
    std::array<uint8_t, 32> secret{};
    key.CopySecret(secret);
    const auto again = RatchetKey::FromSecret(alg, View(secret));
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(again->public_key(), key.public_key());
  }
  EXPECT_FALSE(RatchetKey::FromSecret(v1::SIG_ALG_UNSPECIFIED, std::string(32, 'x')).ok());
  EXPECT_FALSE(RatchetKey::FromSecret(kP256, std::string(31, 'x')).ok());
  EXPECT_FALSE(RatchetKey::FromSecret(kP256, std::string(32, '\0')).ok());
  EXPECT_FALSE(RatchetKey::FromSecret(kP256, std::string(32, '\xff')).ok()) << "above the order";
}

// The order of the curve, and n - s for a signature's s.
std::string Order() { return *HexDecode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"); }
std::string Subtract(const std::string& a, const std::string& b) {
  std::string out(a.size(), '\0');
  int borrow = 0;
  for (size_t i = a.size(); i-- > 0;) {
    int d = static_cast<unsigned char>(a[i]) - static_cast<unsigned char>(b[i]) - borrow;
    borrow = d < 0 ? 1 : 0;
    if (d < 0) d += 256;
    out[i] = static_cast<char>(d);
  }
  return out;
}

TEST(P256Rules, OneSignatureHasOneForm) {
  for (int round = 0; round < 64; ++round) {
    const P256Key key = P256Key::Generate();
    const std::string signature = Bytes(key.Sign("words"));
    ASSERT_TRUE(P256Verify(key.public_key(), "words", signature));
    const std::string r = signature.substr(0, 32);
    const std::string s = signature.substr(32);
    EXPECT_LT(s, Subtract(Order(), s)) << "s is the lower of the two";
    EXPECT_FALSE(P256Verify(key.public_key(), "words", r + Subtract(Order(), s))) << "its twin";
    EXPECT_FALSE(P256Verify(key.public_key(), "words", r + std::string(32, '\0')));
    EXPECT_FALSE(P256Verify(key.public_key(), "words", std::string(32, '\0') + s));
    EXPECT_FALSE(P256Verify(key.public_key(), "words", Order() + s));
    EXPECT_FALSE(P256Verify(key.public_key(), "words", signature + "x"));
    EXPECT_FALSE(P256Verify(key.public_key(), "words", signature.substr(0, 63)));
  }
}

TEST(P256Rules, OneKeyHasOneForm) {
  const P256Key key = P256Key::Generate();
  const std::string signature = Bytes(key.Sign("words"));
  std::string other = key.public_key();
  other[0] = static_cast<char>(other[0] ^ 1);  // the other root: -P
  EXPECT_FALSE(P256Verify(other, "words", signature));
  for (const int first : {0, 1, 4, 6, 7}) {
    other[0] = static_cast<char>(first);
    EXPECT_FALSE(P256Verify(other, "words", signature)) << first;
  }
  EXPECT_FALSE(P256Verify(std::string(1, '\2') + std::string(32, '\xff'), "words", signature)) << "x above p";
  // About every second x has no y: those are no keys.
  for (int i = 0; i <= 32; ++i) {
    EXPECT_FALSE(P256Verify(std::string(1, '\2') + std::string(31, '\0') + static_cast<char>(i), "words", signature));
  }
  EXPECT_FALSE(P256Verify(std::string(1, '\0'), "words", signature)) << "the point at infinity";
}

class T24AlgorithmConfusion : public ::testing::Test {
 protected:
  T24AlgorithmConfusion() : cas_(*CaSet::FromPem(ca_.CertPem())), agent_(ca_, "acme", "web-1") {}
  ChainVerifier Verifier(std::vector<v1::SigAlg> allowed = {}) {
    ChainPolicy policy{"acme", "web-1", &cas_, 1024};
    policy.sig_algs = std::move(allowed);
    return ChainVerifier(std::move(policy));
  }
  static ChainResult Check(ChainVerifier* v, const SealedBatch& b, bool allow_hole = false) {
    CheckOptions options;
    options.allow_hole = allow_hole;
    return v->Check(b.leaf, b.body, options);
  }
  TestCa ca_;
  CaSet cas_;
  TestAgent agent_;
};

TEST_F(T24AlgorithmConfusion, EpochsOfEachAlgorithmHold) {
  ChainVerifier v = Verifier();
  for (const auto alg : {kP256, kEd25519, kP256}) {
    agent_.sig_alg = alg;
    for (int i = 0; i < 3; ++i) {
      const ChainResult result = Check(&v, agent_.Batch());
      ASSERT_TRUE(result.accepted()) << result.reason;
    }
    agent_.Restart();
  }
}

TEST_F(T24AlgorithmConfusion, TheHeaderSaysAnotherAlgorithmThanTheKey) {
  for (const auto alg : {kEd25519, kP256}) {
    TestAgent agent(ca_, "acme", "web-1");
    agent.sig_alg = alg;
    const auto other = alg == kP256 ? kEd25519 : kP256;
    ChainVerifier v = Verifier();
    ASSERT_TRUE(Check(&v, agent.Batch()).accepted());
    EXPECT_EQ(Check(&v, agent.Batch(3, [&](auto* h) { h->set_sig_alg(other); })).verdict, ChainVerdict::kMalformed);
    EXPECT_EQ(v.state().head.seq, 0U);
  }
  for (const int number : {0, 3, 77}) {
    TestAgent agent(ca_, "acme", "web-1");
    ChainVerifier v = Verifier();
    EXPECT_EQ(Check(&v, agent.Batch(3, [&](auto* h) { h->set_sig_alg(static_cast<v1::SigAlg>(number)); })).verdict,
              ChainVerdict::kMalformed);
  }
}

// Keys that fit the header, and a signature of the other kind under it.
TEST_F(T24AlgorithmConfusion, ASignatureOfTheOtherKind) {
  for (const auto alg : {kEd25519, kP256}) {
    TestAgent agent(ca_, "acme", "web-1");
    agent.sig_alg = alg;
    ChainVerifier v = Verifier();
    ASSERT_TRUE(Check(&v, agent.Batch()).accepted());
    SealedBatch batch = agent.Batch();
    const std::string header = ParseLeaf(batch.leaf)->header_bytes;
    batch.leaf = *MakeLeaf(header, RatchetKey::Generate(alg == kP256 ? kEd25519 : kP256));
    EXPECT_EQ(Check(&v, batch).verdict, ChainVerdict::kBadSignature);
  }
}

// A next key of the other kind would let the one after change the algorithm.
TEST_F(T24AlgorithmConfusion, ANextKeyOfTheOtherKind) {
  for (const auto alg : {kEd25519, kP256}) {
    TestAgent agent(ca_, "acme", "web-1");
    agent.sig_alg = alg;
    const RatchetKey foreign = RatchetKey::Generate(alg == kP256 ? kEd25519 : kP256);
    ChainVerifier v = Verifier();
    ASSERT_TRUE(Check(&v, agent.Batch()).accepted());
    EXPECT_EQ(Check(&v, agent.Batch(3, [&](auto* h) { h->set_next_key(foreign.public_key()); })).verdict,
              ChainVerdict::kMalformed);
  }
}

// After a hole no key ties a batch to its predecessor; the algorithm must
// still be that of the epoch.
TEST_F(T24AlgorithmConfusion, AChangeWithinTheEpochBehindAHole) {
  for (const auto alg : {kEd25519, kP256}) {
    TestAgent agent(ca_, "acme", "web-1");
    TestAgent forger(ca_, "acme", "web-1");
    agent.sig_alg = alg;
    forger.sig_alg = alg == kP256 ? kEd25519 : kP256;
    ChainVerifier v = Verifier();
    ASSERT_TRUE(Check(&v, agent.Batch()).accepted());
    forger.Batch();
    forger.Batch();
    EXPECT_EQ(Check(&v, forger.Batch(), true).verdict, ChainVerdict::kBadAlgorithm);
    agent.Batch();
    const ChainResult taken = Check(&v, agent.Batch(), true);
    EXPECT_TRUE(taken.accepted()) << taken.reason;
  }
}

TEST_F(T24AlgorithmConfusion, OnlyWhatIsAllowedToTheAgent) {
  ChainVerifier strict = Verifier({kEd25519});
  agent_.sig_alg = kP256;
  EXPECT_EQ(Check(&strict, agent_.Batch()).verdict, ChainVerdict::kBadAlgorithm);
  ChainVerifier fips = Verifier({kP256});
  TestAgent agent(ca_, "acme", "web-1");
  EXPECT_EQ(Check(&fips, agent.Batch()).verdict, ChainVerdict::kBadAlgorithm);
}

TEST_F(T24AlgorithmConfusion, TheStatementVouchesForTheKeyThatTheHeaderUses) {
  agent_.sig_alg = kP256;
  agent_.edit_statement = [](v1::EpochStatement* s) { s->set_first_key(std::string(32, 'k')); };
  ChainVerifier v = Verifier();
  EXPECT_EQ(Check(&v, agent_.Batch()).verdict, ChainVerdict::kBadEpochOpen);
}

// The second block of vectors in docs/trail-format.md. ECDSA draws a random
// number, so the signature is one of many that hold.
std::string P256Vectors(const std::string& signature) {
  const P256Key first = *P256Key::FromScalar(std::string(32, '\x04'));
  const P256Key second = *P256Key::FromScalar(std::string(32, '\x05'));
  v1::BatchHeader h;
  h.set_format_version(1);
  h.set_type(v1::BATCH_TYPE_HEARTBEAT);
  h.set_sig_alg(kP256);
  h.set_body_codec(v1::BODY_CODEC_NONE);
  h.set_tenant("acme");
  h.set_agent_id("web-1");
  h.set_boot_id("boot");
  h.set_epoch(2);
  h.set_seq(5);
  h.set_prev_hash(std::string(32, '\x11'));
  h.set_signer_key(first.public_key());
  h.set_next_key(second.public_key());
  h.set_first_event_seq(5);
  h.set_last_event_seq(4);
  const std::string header = h.SerializeAsString();
  const std::string r = signature.substr(0, 32);
  const std::string s = signature.substr(32);
  const std::string pae = Pae(kHeaderPayloadType, header);
  EXPECT_TRUE(P256Verify(first.public_key(), pae, signature)) << "one that holds: " << HexEncode(View(first.Sign(pae)));
  EXPECT_FALSE(P256Verify(first.public_key(), pae, r + Subtract(Order(), s)));

  // A batch with a body, of which only what the statement tells matters.
  h.set_event_count(1);
  h.set_first_wall_ns(1'700'000'000'000'000'000);
  h.set_last_wall_ns(1'700'000'000'250'000'000);
  h.set_body_sha256(std::string(32, '\x22'));
  Hash hash{};
  hash.fill(0x33);
  const std::string statement = EvictionStatement(h, hash, 1'700'000'100'000'000'000).SerializeAsString();
  return fmt::format(
      "signer scalar (32 x 04), public  {}\nnext scalar (32 x 05), public    {}\nheader             {}\nsignature      "
      "    {}\nits twin, refused  {}\nBodyEvicted        {}\nits PAE            {}\n",
      HexEncode(first.public_key()), HexEncode(second.public_key()), HexEncode(header), HexEncode(signature),
      HexEncode(r + Subtract(Order(), s)), HexEncode(statement), HexEncode(Pae(kEvictionPayloadType, statement)));
}

TEST(FormatDocument, ItsP256VectorsAreTheCodes) {
  const std::string document = *ReadFile(NT_SOURCE_DIR "/docs/trail-format.md", 1 << 20);
  const std::string vectors =
      P256Vectors(*HexDecode("2e1483e2bc449540c5c474d54874660da844d97d078c250c476b3951011fcf81"
                             "027a7a385d1800b674a2f8c42f322f5e85c9a594987b2ce93e55674f714f3a6b"));
  EXPECT_NE(document.find("```vectors-p256\n" + vectors + "```"), std::string::npos)
      << "docs/trail-format.md must hold:\n"
      << vectors;
}

}  // namespace
}  // namespace nodetrail::trail
