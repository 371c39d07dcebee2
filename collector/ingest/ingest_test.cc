// SPDX-License-Identifier: Apache-2.0
//
// Verdicts of ingest, message by message, over real mutual TLS.
#include <filesystem>

#include "collector/test_fixture.h"
#include "nodetrail/trail/verify.h"

namespace nodetrail::collector {
namespace {

using ingest::v1::ServerMessage;

class IngestTest : public CollectorTest {
 protected:
  void SetUp() override {
    StartCollector();
    agent_ = std::make_unique<RawAgent>(collector_->port(), pki().Agent("web-1"));
    ASSERT_TRUE(agent_->Hello("web-1"));
    const ServerMessage welcome = agent_->Read();
    ASSERT_TRUE(welcome.has_welcome());
    EXPECT_FALSE(welcome.welcome().known());
  }
  void ExpectAck(const ServerMessage& m, const trail::SealedBatch& batch, uint64_t log_index) {
    ASSERT_TRUE(m.has_ack()) << m.ShortDebugString();
    EXPECT_EQ(m.ack().level(), ingest::v1::ACK_LEVEL_DURABLE);
    EXPECT_EQ(m.ack().epoch(), batch.header.epoch());
    EXPECT_EQ(m.ack().seq(), batch.header.seq());
    EXPECT_EQ(m.ack().batch_hash(), trail::View(batch.batch_hash));
    EXPECT_EQ(m.ack().log_index(), log_index);
  }
  void ExpectRejected(const ServerMessage& m, const std::string& verdict) {
    ASSERT_TRUE(m.has_nack()) << m.ShortDebugString();
    EXPECT_EQ(m.nack().reason(), ingest::v1::NACK_REASON_REJECTED);
    EXPECT_EQ(m.nack().detail().substr(0, verdict.size()), verdict) << m.nack().detail();
  }
  // The log has what was accepted, quarantine what was refused.
  void ExpectState(size_t leaves, uint64_t quarantined) {
    EXPECT_EQ(LogLeaves().size(), leaves);
    EXPECT_EQ(collector_->ingest().Totals().quarantined, quarantined);
  }

  BatchMaker maker_{pki(), "web-1"};
  std::unique_ptr<RawAgent> agent_;
};

TEST_F(IngestTest, AcceptsAChainAndAcknowledgesItDurable) {
  std::vector<std::string> leaves;
  for (uint64_t i = 0; i < 20; ++i) {
    const trail::SealedBatch batch = maker_.Next(3);
    ExpectAck(agent_->Exchange(batch), batch, i);
    leaves.push_back(batch.leaf);
    EXPECT_EQ(
        ReadFile(config_.trail_dir() + "/" + trail::BodyPath(trail::HashFromBytes(batch.header.body_sha256()).value()),
                 1 << 20)
            .value(),
        batch.body);
  }
  EXPECT_EQ(LogLeaves(), leaves);
  ExpectCheckpointOf(leaves);
  const std::vector<IngestAgent> agents = collector_->ingest().Agents();
  ASSERT_EQ(agents.size(), 1U);
  EXPECT_EQ(agents[0].agent_id, "web-1");
  EXPECT_TRUE(agents[0].connected);
  EXPECT_EQ(agents[0].last_seq, 19U);
  EXPECT_EQ(agents[0].batches, 20U);
}

TEST_F(IngestTest, ReacknowledgesADuplicateAndStoresItOnce) {
  const trail::SealedBatch first = maker_.Next();
  const trail::SealedBatch second = maker_.Next();
  ExpectAck(agent_->Exchange(first), first, 0);
  ExpectAck(agent_->Exchange(second), second, 1);
  ExpectAck(agent_->Exchange(first), first, 0);
  ExpectAck(agent_->Exchange(second), second, 1);
  ExpectState(2, 0);
  EXPECT_EQ(collector_->ingest().Totals().duplicates, 2U);
}

TEST_F(IngestTest, DuplicateWithinOneGroupWaitsForItsCommit) {
  const trail::SealedBatch batch = maker_.Next();
  for (int i = 0; i < 8; ++i) agent_->Send(batch);
  for (int i = 0; i < 8; ++i) ExpectAck(agent_->Read(), batch, 0);
  ExpectState(1, 0);
}

// An agent that had to give up a body sends its signed statement instead.
TEST_F(IngestTest, TakesASignedEvictionInTheBodysPlace) {
  const trail::SealedBatch first = maker_.Next();
  ExpectAck(agent_->Exchange(first), first, 0);
  const trail::SealedBatch evicted = maker_.Next(5);
  const std::string eviction = maker_.Eviction(evicted);
  agent_->SendEvicted(evicted.leaf, eviction);
  ExpectAck(agent_->Read(), evicted, 1);
  const std::string path =
      config_.trail_dir() + "/" + trail::EvictionPath(trail::HashFromBytes(evicted.header.body_sha256()).value());
  EXPECT_EQ(ReadFile(path, 1 << 20).value(), eviction);
  // Sent again, as it is and with the body after all: the same answer.
  agent_->SendEvicted(evicted.leaf, eviction);
  ExpectAck(agent_->Read(), evicted, 1);
  ExpectAck(agent_->Exchange(evicted), evicted, 1);
  const trail::SealedBatch third = maker_.Next();
  ExpectAck(agent_->Exchange(third), third, 2);
  ExpectState(3, 0);
  trail::VerifyPolicy policy;
  policy.identity_ca_pem = ReadFile(config_.identity_ca_file(), 1 << 20).value();
  const auto report = trail::VerifyTrail(config_.trail_dir(), policy);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  EXPECT_EQ(report->verdict, trail::TrailVerdict::kDeclaredLoss) << report->summary;
}

TEST_F(IngestTest, RefusesAnEvictionThatDoesNotHold) {
  const trail::SealedBatch first = maker_.Next();
  ExpectAck(agent_->Exchange(first), first, 0);
  const trail::SealedBatch second = maker_.Next();
  std::string flipped = maker_.Eviction(second);
  flipped[flipped.size() / 2] = static_cast<char>(flipped[flipped.size() / 2] ^ 1);
  for (const std::string& bad : {flipped, maker_.Eviction(first), std::string("x"), std::string(70'000, 'x')}) {
    agent_->SendEvicted(second.leaf, bad);
    ExpectRejected(agent_->Read(), "bad_body");
  }
  agent_->SendEvicted(second.leaf, "");
  ExpectRejected(agent_->Read(), "bad_body");
  EXPECT_EQ(LogLeaves().size(), 1U);
  ExpectAck(agent_->Exchange(second), second, 1);
}

TEST_F(IngestTest, EquivocationIsKeptAsEvidence) {
  const trail::SealedBatch batch = maker_.Next();
  const trail::SealedBatch rival = maker_.Rival();
  ASSERT_EQ(batch.header.seq(), rival.header.seq());
  ExpectAck(agent_->Exchange(batch), batch, 0);
  const ServerMessage m = agent_->Exchange(rival);
  ASSERT_TRUE(m.has_nack());
  EXPECT_EQ(m.nack().reason(), ingest::v1::NACK_REASON_EQUIVOCATION);
  EXPECT_EQ(m.nack().batch_hash(), trail::View(rival.batch_hash));
  ExpectState(1, 1);
  EXPECT_EQ(collector_->ingest().Totals().equivocations, 1U);
  const std::string base =
      config_.trail_dir() + "/quarantine/web-1-" + trail::Hex(trail::Sha256Of({rival.leaf, rival.body})).substr(0, 16);
  EXPECT_EQ(ReadFile(base + ".leaf", 1 << 20).value(), rival.leaf);
  EXPECT_EQ(ReadFile(base + ".body", 1 << 20).value(), rival.body);
  EXPECT_NE(ReadFile(base + ".reason", 4096).value().find("equivocation"), std::string::npos);
  // The honest chain goes on.
  const trail::SealedBatch next = maker_.Next();
  ExpectAck(agent_->Exchange(next), next, 1);
}

TEST_F(IngestTest, AsksForWhatIsMissing) {
  const trail::SealedBatch first = maker_.Next();
  ExpectAck(agent_->Exchange(first), first, 0);
  const trail::SealedBatch second = maker_.Next();
  const trail::SealedBatch third = maker_.Next();
  const ServerMessage m = agent_->Exchange(third);
  ASSERT_TRUE(m.has_nack());
  EXPECT_EQ(m.nack().reason(), ingest::v1::NACK_REASON_EXPECTED);
  EXPECT_EQ(m.nack().expected_epoch(), 1U);
  EXPECT_EQ(m.nack().expected_seq(), 1U);
  ExpectAck(agent_->Exchange(second), second, 1);
  ExpectAck(agent_->Exchange(third), third, 2);
  ExpectState(3, 0);
}

TEST_F(IngestTest, TakesABatchAfterADeclaredHole) {
  const trail::SealedBatch first = maker_.Next();
  ExpectAck(agent_->Exchange(first), first, 0);
  maker_.Next();
  const trail::SealedBatch third = maker_.Next();
  agent_->Send(third.leaf, third.body, true);
  ExpectAck(agent_->Read(), third, 1);
}

TEST_F(IngestTest, RejectsWhatWasTamperedWith) {
  const trail::SealedBatch opening = maker_.Next();
  ExpectAck(agent_->Exchange(opening), opening, 0);
  uint64_t rejected = 0;

  trail::SealedBatch bad = maker_.Fork();
  bad.leaf.back() = static_cast<char>(bad.leaf.back() ^ 1);
  ExpectRejected(agent_->Exchange(bad), "bad_signature");
  ++rejected;

  bad = maker_.Fork();
  bad.body.back() = static_cast<char>(bad.body.back() ^ 1);
  ExpectRejected(agent_->Exchange(bad), "bad_body");
  ++rejected;

  bad = maker_.Fork();
  bad.body.clear();
  ExpectRejected(agent_->Exchange(bad), "bad_body");
  ++rejected;

  bad = maker_.Fork([](trail::v1::BatchHeader* h) { h->set_prev_hash(std::string(32, 'x')); });
  ExpectRejected(agent_->Exchange(bad), "broken_chain");
  ++rejected;

  const trail::Ed25519Key other = trail::Ed25519Key::Generate();
  bad = maker_.Fork([&](trail::v1::BatchHeader* h) { h->set_signer_key(trail::Bytes(other.public_key())); });
  ExpectRejected(agent_->Exchange(bad), "wrong_key");
  ++rejected;

  bad = maker_.Fork([](trail::v1::BatchHeader* h) { h->set_sig_alg(trail::v1::SIG_ALG_ECDSA_P256_SHA256); });
  ExpectRejected(agent_->Exchange(bad), "malformed");
  ++rejected;

  bad = maker_.Fork([](trail::v1::BatchHeader* h) {
    h->set_first_event_seq(h->first_event_seq() + 5);
    h->set_last_event_seq(h->last_event_seq() + 5);
  });
  ExpectRejected(agent_->Exchange(bad), "bad_counters");
  ++rejected;

  bad = maker_.Fork([](trail::v1::BatchHeader* h) { h->set_agent_id("web-2"); });
  ExpectRejected(agent_->Exchange(bad), "wrong_identity");
  ++rejected;

  bad = maker_.Fork([](trail::v1::BatchHeader* h) { h->set_tenant("other"); });
  ExpectRejected(agent_->Exchange(bad), "wrong_identity");
  ++rejected;

  agent_->Send(std::string("rubbish"), std::string("rubbish"));
  ExpectRejected(agent_->Read(), "malformed");
  ++rejected;

  agent_->Send(std::string(70'000, 'x'), std::string());
  ExpectRejected(agent_->Read(), "malformed");
  ++rejected;

  ExpectState(1, rejected);
  EXPECT_EQ(collector_->ingest().Agents()[0].rejected, rejected);
  // Nothing of it harmed the chain.
  const trail::SealedBatch next = maker_.Next();
  ExpectAck(agent_->Exchange(next), next, 1);
}

TEST_F(IngestTest, TheSameRubbishIsKeptOnce) {
  for (int i = 0; i < 5; ++i) {
    agent_->Send(std::string("rubbish"), std::string());
    ExpectRejected(agent_->Read(), "malformed");
  }
  ExpectState(0, 1);
  EXPECT_EQ(collector_->ingest().Totals().rejected, 5U);
}

TEST_F(IngestTest, AnEpochMustBeOpenedByTheIdentityKey) {
  pki().Run("agent", "stranger");
  BatchMaker stranger(pki(), "stranger");
  trail::SealedBatch foreign = stranger.Next();
  // web-1's first batch, with the stranger's identity.
  const trail::SealedBatch bad = maker_.Fork([&](trail::v1::BatchHeader* h) {
    h->mutable_epoch_open()->set_identity_cert(foreign.header.epoch_open().identity_cert());
  });
  ExpectRejected(agent_->Exchange(bad), "bad_epoch_open");
}

TEST_F(IngestTest, AcceptsANewEpoch) {
  const trail::SealedBatch a = maker_.Next();
  ExpectAck(agent_->Exchange(a), a, 0);
  maker_.NewEpoch(7);
  const trail::SealedBatch b = maker_.Next();
  ExpectAck(agent_->Exchange(b), b, 1);
  // What the old epoch would have gone on with is past now.
  ExpectAck(agent_->Exchange(a), a, 0);
}

TEST_F(IngestTest, HelloTellsThePositionAfterAReconnect) {
  trail::SealedBatch last;
  for (int i = 0; i < 5; ++i) {
    last = maker_.Next();
    ExpectAck(agent_->Exchange(last), last, static_cast<uint64_t>(i));
  }
  agent_.reset();
  RawAgent again(collector_->port(), pki().Agent("web-1"));
  again.Hello("web-1");
  const ServerMessage m = again.Read();
  ASSERT_TRUE(m.has_welcome());
  EXPECT_TRUE(m.welcome().known());
  EXPECT_EQ(m.welcome().seq(), 4U);
  EXPECT_EQ(m.welcome().batch_hash(), trail::View(last.batch_hash));
}

TEST_F(IngestTest, ANewerStreamEndsTheOlder) {
  RawAgent newer(collector_->port(), pki().Agent("web-1"));
  newer.Hello("web-1");
  ASSERT_TRUE(newer.Read().has_welcome());
  EXPECT_EQ(agent_->Read().message_case(), ServerMessage::MESSAGE_NOT_SET);
  EXPECT_EQ(agent_->Finish().error_code(), grpc::StatusCode::ABORTED);
  const trail::SealedBatch batch = maker_.Next();
  ExpectAck(newer.Exchange(batch), batch, 0);
  EXPECT_EQ(collector_->ingest().Totals().streams, 1U);
}

TEST_F(IngestTest, HalfCloseIsAnsweredInFull) {
  std::vector<trail::SealedBatch> batches;
  for (int i = 0; i < 40; ++i) batches.push_back(maker_.Next());
  for (const trail::SealedBatch& b : batches) agent_->Send(b);
  agent_->HalfClose();
  for (size_t i = 0; i < batches.size(); ++i) ExpectAck(agent_->Read(), batches[i], i);
  EXPECT_EQ(agent_->Read().message_case(), ServerMessage::MESSAGE_NOT_SET);
  EXPECT_TRUE(agent_->Finish().ok());
  EXPECT_TRUE(WaitUntil([&] { return collector_->ingest().Totals().streams == 0; }));
}

TEST_F(IngestTest, RefusesABrokenProtocol) {
  agent_->Hello("web-1");  // a second one
  EXPECT_EQ(agent_->Read().message_case(), ServerMessage::MESSAGE_NOT_SET);
  EXPECT_EQ(agent_->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  RawAgent frame_first(collector_->port(), pki().Agent("web-1"));
  frame_first.Send(maker_.Fork());
  EXPECT_EQ(frame_first.Read().message_case(), ServerMessage::MESSAGE_NOT_SET);
  EXPECT_EQ(frame_first.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  RawAgent future(collector_->port(), pki().Agent("web-1"));
  future.Hello("web-1", "default", 2);
  EXPECT_EQ(future.Read().message_case(), ServerMessage::MESSAGE_NOT_SET);
  EXPECT_EQ(future.Finish().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(IngestTest, RefusesAMessageThatIsTooLarge) {
  agent_->Send(std::string("x"), std::string((8U << 20) + (128U << 10), 'x'));
  EXPECT_EQ(agent_->Read().message_case(), ServerMessage::MESSAGE_NOT_SET);
  EXPECT_EQ(agent_->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  ExpectState(0, 0);
}

TEST_F(IngestTest, APeerThatTakesNoAnswersStopsOnlyItself) {
  const trail::SealedBatch batch = maker_.Next(1, 20'000);
  ExpectAck(agent_->Exchange(batch), batch, 0);
  // Writes until flow control holds it, and reads nothing.
  std::jthread flood([&] {
    for (int i = 0; i < 20'000 && agent_->Send(batch); ++i) {
    }
  });
  pki().Run("agent", "web-2");
  RawAgent other(collector_->port(), pki().Agent("web-2"));
  other.Hello("web-2");
  ASSERT_TRUE(other.Read().has_welcome());
  BatchMaker other_maker(pki(), "web-2");
  for (uint64_t i = 0; i < 50; ++i) {
    const trail::SealedBatch b = other_maker.Next();
    ExpectAck(other.Exchange(b), b, i + 1);
  }
  // A newer stream of the flooding agent ends the flood.
  RawAgent again(collector_->port(), pki().Agent("web-1"));
  again.Hello("web-1");
  EXPECT_TRUE(again.Read().has_welcome());
}

// Who may speak at all.
class PeerTest : public CollectorTest {
 protected:
  void SetUp() override { StartCollector(); }
  grpc::Status Try(RawAgent& agent, const std::string& id, const std::string& tenant = "default") {
    agent.Hello(id, tenant);
    EXPECT_EQ(agent.Read().message_case(), ServerMessage::MESSAGE_NOT_SET);
    return agent.Finish();
  }
};

TEST_F(PeerTest, TheHelloMustBeOfTheCertificate) {
  RawAgent other(collector_->port(), pki().Agent("web-1"));
  EXPECT_EQ(Try(other, "web-2").error_code(), grpc::StatusCode::PERMISSION_DENIED);
  RawAgent tenant(collector_->port(), pki().Agent("web-1"));
  EXPECT_EQ(Try(tenant, "web-1", "other").error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(PeerTest, AReaderIsNoAgent) {
  RawAgent reader(collector_->port(), pki().Reader("alice"));
  EXPECT_EQ(Try(reader, "alice").error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(PeerTest, AnotherTenantIsRefused) {
  pki().Run("agent", "foreign other");
  RawAgent foreign(collector_->port(), pki().Agent("foreign"));
  EXPECT_EQ(Try(foreign, "foreign", "other").error_code(), grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(PeerTest, ACertificateMustHaveOneUri) {
  for (const std::string san :
       {"DNS:web-9", "URI:spiffe://nodetrail.dev/t/default/a/web-9,URI:spiffe://x.dev/t/default/a/y",
        "URI:spiffe://nodetrail.dev/t/default/a/web-9/extra", "URI:https://nodetrail.dev/t/default/a/web-9"}) {
    pki().Run("agent", "web-9", "--san " + san);
    RawAgent agent(collector_->port(), pki().Agent("web-9"));
    EXPECT_EQ(Try(agent, "web-9").error_code(), grpc::StatusCode::UNAUTHENTICATED) << san;
  }
}

TEST_F(PeerTest, BadCertificatesDoNotGetThrough) {
  pki().Run("agent", "expired", "--expired");
  pki().Run("agent", "future", "--not-yet-valid");
  pki().Run("agent", "elsewhere", "--ca other-ca");
  for (const std::string id : {"expired", "future", "elsewhere"}) {
    RawAgent agent(collector_->port(), pki().Agent(id));
    EXPECT_EQ(Try(agent, id).error_code(), grpc::StatusCode::UNAVAILABLE) << id;
  }
  RawAgent none(collector_->port(), TlsPaths{pki().File("tls-ca/ca.pem"), "", ""});
  EXPECT_EQ(Try(none, "web-1").error_code(), grpc::StatusCode::UNAVAILABLE);
  RawAgent plain(collector_->port(), grpc::InsecureChannelCredentials());
  EXPECT_EQ(Try(plain, "web-1").error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(collector_->ingest().Agents().empty());
}

}  // namespace
}  // namespace nodetrail::collector
