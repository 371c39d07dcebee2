// SPDX-License-Identifier: Apache-2.0
//
// The shipper against a real collector, through a network that fails.
#include "agent/ship/shipper.h"

#include <filesystem>

#include "agent/seal/sealer.h"
#include "agent/ship/spool_source.h"
#include "agent/spool/spool.h"
#include "collector/test_fixture.h"
#include "nodetrail/trail/body.h"
#include "tests/fakes/tcp_proxy.h"

namespace nodetrail::collector {
namespace {

using agent::Shipper;
using agent::ShipState;
using nodetrail::testing::TcpProxy;
using std::chrono::milliseconds;

class ShipperTest : public CollectorTest {
 protected:
  // `n` batches of web-1 into the source.
  void Add(size_t n, size_t padding = 0) {
    for (size_t i = 0; i < n; ++i) {
      const trail::SealedBatch batch = maker_.Next(1, padding);
      source_.Add(batch);
      sent_.push_back(batch.leaf);
    }
  }
  void StartShipper(const agent::ShipOptions& options) {
    shipper_ = std::make_unique<Shipper>(options, &source_, &clock_);
    shipper_->Start();
  }
  bool Drained() {
    return WaitUntil([&] { return source_.size() == 0; });
  }
  bool ErrorHas(const std::string& text) {
    const bool found =
        WaitUntil([&] { return shipper_->Stats().last_error.find(text) != std::string::npos; }, milliseconds(10'000));
    EXPECT_TRUE(found) << shipper_->Stats().last_error;
    EXPECT_EQ(shipper_->Stats().last_error.find('\n'), std::string::npos);
    return found;
  }

  BatchMaker maker_{pki(), "web-1"};
  MemorySource source_;
  std::vector<std::string> sent_;
  std::unique_ptr<Shipper> shipper_;
};

TEST_F(ShipperTest, ShipsEverythingInOrder) {
  StartCollector();
  Add(200, 500);
  StartShipper(ShipTo(collector_->port()));
  ASSERT_TRUE(Drained());
  Add(5);
  shipper_->Notify();
  ASSERT_TRUE(Drained());
  EXPECT_EQ(LogLeaves(), sent_);
  ExpectCheckpointOf(sent_);
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().oldest_unacked_wall_ns == 0; }));
  EXPECT_EQ(shipper_->Stats().acked_batches, 205U);
  const agent::ShipStats stats = shipper_->Stats();
  EXPECT_EQ(stats.state, ShipState::kConnected);
  EXPECT_TRUE(stats.connected);
  EXPECT_EQ(stats.sent_batches, 205U);
  EXPECT_EQ(stats.connects, 1U);
  EXPECT_EQ(stats.in_flight_batches, 0U);
  EXPECT_EQ(stats.oldest_unacked_wall_ns, 0U);
  EXPECT_EQ(stats.last_error, "");
  EXPECT_EQ(stats.last_acked, (agent::BatchPosition{1, 204}));
  EXPECT_TRUE(shipper_->Stop(milliseconds(1000)).ok());
}

TEST_F(ShipperTest, TheWindowBoundsWhatIsInFlight) {
  StartCollector();
  TcpProxy proxy(collector_->port());
  Add(60, 200);
  agent::ShipOptions options = ShipTo(proxy.port());
  options.config.set_window_batches(4);
  StartShipper(options);
  ASSERT_TRUE(Drained());
  // Nothing comes back any more.
  proxy.BlackHole(true);
  Add(60, 200);
  shipper_->Notify();
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().in_flight_batches == 4; }));
  EXPECT_EQ(shipper_->Stats().sent_batches, 64U);
  EXPECT_NE(shipper_->Stats().oldest_unacked_wall_ns, 0U);
}

// The connection breaks at any byte; each attempt gets a little further.
TEST_F(ShipperTest, ACutAtAnyMessageLosesAndDoublesNothing) {
  StartCollector();
  TcpProxy proxy(collector_->port());
  Add(40, 3000);
  int64_t limit = 2000;
  proxy.CutAfter(limit);
  agent::ShipOptions options = ShipTo(proxy.port());
  options.config.set_window_batches(8);
  StartShipper(options);
  uint64_t cuts = 0;
  ASSERT_TRUE(WaitUntil(
      [&] {
        if (proxy.cuts() > cuts) {
          cuts = proxy.cuts();
          limit += 331;
          proxy.CutAfter(limit);
        }
        return source_.size() == 0;
      },
      milliseconds(60'000)));
  EXPECT_GT(cuts, 3U);
  EXPECT_EQ(LogLeaves(), sent_);
  ExpectCheckpointOf(sent_);
}

// The batch was committed, its acknowledgement never came.
TEST_F(ShipperTest, AResponseLostAfterTheCommitDoublesNothing) {
  StartCollector();
  TcpProxy proxy(collector_->port());
  Add(30, 100);
  // The server's handshake takes some 1,500 bytes; acknowledgements come after.
  int64_t limit = 1400;
  proxy.CutAfter(TcpProxy::kNoLimit, limit);
  StartShipper(ShipTo(proxy.port()));
  uint64_t cuts = 0;
  ASSERT_TRUE(WaitUntil(
      [&] {
        if (proxy.cuts() > cuts) {
          cuts = proxy.cuts();
          limit += 173;
          proxy.CutAfter(TcpProxy::kNoLimit, limit);
        }
        return source_.size() == 0;
      },
      milliseconds(60'000)));
  EXPECT_GT(cuts, 3U);
  EXPECT_EQ(LogLeaves(), sent_);
}

TEST_F(ShipperTest, ABlackHoleIsNoticed) {
  StartCollector();
  TcpProxy proxy(collector_->port());
  Add(3);
  agent::ShipOptions options = ShipTo(proxy.port());
  options.ack_timeout = milliseconds(200);
  options.welcome_timeout = milliseconds(1000);
  StartShipper(options);
  ASSERT_TRUE(Drained());
  proxy.BlackHole(true);
  Add(3);
  shipper_->Notify();
  ASSERT_TRUE(ErrorHas("no ac"));
  proxy.BlackHole(false);
  proxy.CutAll();
  ASSERT_TRUE(Drained());
  EXPECT_EQ(LogLeaves(), sent_);
}

TEST_F(ShipperTest, ASlowLinkIsOnlySlow) {
  StartCollector();
  TcpProxy proxy(collector_->port());
  proxy.Chunk(97);
  Add(20, 4000);
  StartShipper(ShipTo(proxy.port()));
  ASSERT_TRUE(Drained());
  EXPECT_EQ(LogLeaves(), sent_);
  EXPECT_EQ(shipper_->Stats().connects, 1U);
}

TEST_F(ShipperTest, TheCollectorMayRestartAnyTime) {
  StartCollector();
  TcpProxy proxy(collector_->port());
  StartShipper(ShipTo(proxy.port()));
  for (int round = 0; round < 4; ++round) {
    Add(25, 200);
    shipper_->Notify();
    ASSERT_TRUE(WaitUntil([&] { return source_.size() < 20; }));
    collector_->Stop(milliseconds(2000));
    collector_.reset();
    StartCollector();
    proxy.set_target(collector_->port());
    proxy.CutAll();
  }
  ASSERT_TRUE(Drained());
  EXPECT_EQ(LogLeaves(), sent_);
  ExpectCheckpointOf(sent_);
}

TEST_F(ShipperTest, AFullDiskAtTheCollectorKeepsBatchesHere) {
  config_.set_min_free_bytes(UINT64_MAX / 2);
  StartCollector();
  TcpProxy proxy(collector_->port());
  Add(10);
  StartShipper(ShipTo(proxy.port()));
  ASSERT_TRUE(ErrorHas("min_free_bytes"));
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().nacks_retry >= 2; }));
  EXPECT_EQ(source_.size(), 10U);
  EXPECT_TRUE(LogLeaves().empty());
  EXPECT_FALSE(collector_->healthy());
  collector_.reset();
  config_.set_min_free_bytes(0);
  StartCollector();
  proxy.set_target(collector_->port());
  proxy.CutAll();
  ASSERT_TRUE(Drained());
  EXPECT_EQ(LogLeaves(), sent_);
}

TEST_F(ShipperTest, ARejectedBatchHaltsAndIsKept) {
  StartCollector();
  Add(3);
  trail::SealedBatch bad = maker_.Next();
  bad.leaf.back() = static_cast<char>(bad.leaf.back() ^ 1);
  source_.Add(bad);
  source_.Add(maker_.Next());
  StartShipper(ShipTo(collector_->port()));
  ASSERT_TRUE(ErrorHas("bad_signature"));
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().state == ShipState::kHalted; }));
  EXPECT_GE(shipper_->Stats().rejected, 1U);
  EXPECT_EQ(source_.size(), 2U);
  EXPECT_EQ(LogLeaves(), sent_);
  EXPECT_EQ(shipper_->Stop(milliseconds(5000)).code(), Code::kDeadlineExceeded);
}

TEST_F(ShipperTest, AnotherBatchAtTheCollectorIsAnAlarm) {
  StartCollector();
  const trail::SealedBatch known = maker_.Next();
  const trail::SealedBatch rival = maker_.Rival();
  {
    RawAgent raw(collector_->port(), pki().Agent("web-1"));
    raw.Hello("web-1");
    raw.Read();
    ASSERT_TRUE(raw.Exchange(known).has_ack());
  }
  source_.Add(rival);
  StartShipper(ShipTo(collector_->port()));
  ASSERT_TRUE(ErrorHas("holds another batch 1:0"));
  EXPECT_EQ(source_.size(), 1U);
  EXPECT_EQ(LogLeaves().size(), 1U);
}

// A spool that is ahead of what the collector kept: a restored backup.
TEST_F(ShipperTest, WhatTheCollectorLostIsDeclaredAHole) {
  StartCollector();
  Add(10);
  source_.Lose(4);
  StartShipper(ShipTo(collector_->port()));
  ASSERT_TRUE(Drained());
  EXPECT_EQ(shipper_->Stats().holes_declared, 1U);
  sent_.erase(sent_.begin(), sent_.begin() + 4);
  EXPECT_EQ(LogLeaves(), sent_);
}

TEST_F(ShipperTest, StopShipsWhatIsLeft) {
  StartCollector();
  StartShipper(ShipTo(collector_->port()));
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().connected; }));
  Add(100, 1000);
  EXPECT_TRUE(shipper_->Stop(milliseconds(10'000)).ok());
  EXPECT_EQ(source_.size(), 0U);
  EXPECT_EQ(LogLeaves(), sent_);
  EXPECT_EQ(shipper_->Stats().state, ShipState::kIdle);
}

// The connection breaks while we stop: stopping connects again and ships the rest.
TEST_F(ShipperTest, StopShipsWhatIsLeftOverABrokenConnection) {
  StartCollector();
  TcpProxy proxy(collector_->port());
  // The cut moves over handshake, Hello, Welcome and the first frames.
  for (int64_t limit = 1400; limit < 4000; limit += 50) {
    const uint64_t before = proxy.cuts();
    proxy.CutAfter(limit);
    Add(3, 300);
    StartShipper(ShipTo(proxy.port()));
    const std::jthread mend([&] {
      WaitUntil([&] { return proxy.cuts() > before || source_.size() == 0; });
      proxy.CutAfter(TcpProxy::kNoLimit);
    });
    ASSERT_TRUE(shipper_->Stop(milliseconds(15'000)).ok()) << limit;
    ASSERT_EQ(source_.size(), 0U) << limit;
  }
  EXPECT_EQ(LogLeaves(), sent_);
}

TEST_F(ShipperTest, StopWithoutACollectorEndsInTime) {
  agent::ShipOptions options = ShipTo(1);
  options.config.set_max_backoff_s(60);
  options.initial_backoff = std::chrono::seconds(60);
  Add(3);
  StartShipper(options);
  ASSERT_TRUE(ErrorHas("ECONNREFUSED"));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(shipper_->Stop(milliseconds(300)).code(), Code::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
  EXPECT_EQ(source_.size(), 3U);
}

TEST_F(ShipperTest, StopWithNothingLeftEndsAtOnce) {
  agent::ShipOptions options = ShipTo(1);
  options.config.set_max_backoff_s(60);
  options.initial_backoff = std::chrono::seconds(60);
  StartShipper(options);
  ASSERT_TRUE(ErrorHas("ECONNREFUSED"));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(shipper_->Stop(milliseconds(60'000)).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST_F(ShipperTest, SaysWhatIsWrongWithTheCertificates) {
  StartCollector();
  Add(1);
  const auto says = [&](const agent::ShipOptions& options, const std::string& text) {
    SCOPED_TRACE(text);
    StartShipper(options);
    ErrorHas(text);
    EXPECT_FALSE(shipper_->Stats().connected);
    shipper_->Stop(milliseconds(0)).Ignore();
  };
  pki().Run("agent", "s-expired", "--expired");
  says(ShipTo(collector_->port(), "s-expired"), "s-expired/tls.pem: the certificate expired at");
  pki().Run("agent", "s-future", "--not-yet-valid");
  says(ShipTo(collector_->port(), "s-future"), "is not valid before");
  pki().Run("agent", "s-other", "--ca s-other-ca");
  says(ShipTo(collector_->port(), "s-other"), "closed the connection once it had our certificate");

  agent::ShipOptions options = ShipTo(collector_->port());
  options.config.mutable_tls()->set_ca_file(pki().File("s-other-ca/ca.pem"));
  says(options, "the collector's certificate is not trusted");

  options = ShipTo(collector_->port());
  options.config.set_server_name("elsewhere.example.com");
  says(options, "is for another name than elsewhere.example.com");

  options = ShipTo(collector_->port());
  options.config.mutable_tls()->set_key_file(pki().File("agents/web-2/tls.key"));
  says(options, "is not the key of");

  options = ShipTo(collector_->port());
  options.config.mutable_tls()->set_cert_file(dir_.path() + "/nothing.pem");
  says(options, "nothing.pem");

  options = ShipTo(collector_->port());
  options.agent_id = "web-2";
  says(options, "must be as in the certificate");

  EXPECT_EQ(source_.size(), 1U);
  EXPECT_TRUE(LogLeaves().empty());
}

TEST_F(ShipperTest, AnExpiredCollectorIsNamed) {
  pki().Run("collector", "localhost 127.0.0.1", "--expired");
  const std::string cert = ReadFile(pki().File("collector/tls.pem"), 1 << 16).value();
  const std::string key = ReadFile(pki().File("collector/tls.key"), 1 << 16).value();
  pki().Run("collector", "localhost 127.0.0.1", "--force");
  // A collector refuses to start with it; one that runs may outlive it.
  config_.mutable_tls()->set_cert_file(dir_.path() + "/c.pem");
  config_.mutable_tls()->set_key_file(dir_.path() + "/c.key");
  ASSERT_TRUE(WriteFileAtomically(config_.tls().cert_file(), cert, 0600).ok());
  ASSERT_TRUE(WriteFileAtomically(config_.tls().key_file(), key, 0600).ok());
  const Failure failure = StartFails();
  EXPECT_EQ(failure.code, ExitCode::kKeys);
  EXPECT_NE(failure.status.message().find("expired"), std::string::npos);

  grpc::SslServerCredentialsOptions tls;
  tls.pem_key_cert_pairs.push_back({key, cert});
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(tls), &port);
  ingest::v1::Ingest::Service nothing;
  builder.RegisterService(&nothing);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  StartShipper(ShipTo(port));
  ErrorHas("the collector's certificate expired");
  shipper_.reset();
}

// A renewed certificate is taken at the next connection, without a restart.
TEST_F(ShipperTest, ARenewedCertificateIsTaken) {
  StartCollector();
  pki().Run("agent", "renewed", "--expired");
  BatchMaker maker(pki(), "renewed");
  source_.Add(maker.Next());
  StartShipper(ShipTo(collector_->port(), "renewed"));
  ASSERT_TRUE(ErrorHas("expired at"));
  // The identity certificate is renewed too, but a batch is judged by the one in it.
  pki().Run("agent", "renewed");
  ASSERT_TRUE(Drained());
}

// A collector that acknowledges what it was not sent must not make us delete.
TEST_F(ShipperTest, AFalseAcknowledgementDeletesNothing) {
  class Liar final : public ingest::v1::Ingest::Service {
    grpc::Status Stream(grpc::ServerContext*,
                        grpc::ServerReaderWriter<ingest::v1::ServerMessage, ingest::v1::ClientMessage>* s) override {
      ingest::v1::ClientMessage in;
      while (s->Read(&in)) {
        ingest::v1::ServerMessage out;
        if (in.has_hello()) {
          out.mutable_welcome();
        } else {
          out.mutable_ack()->set_level(ingest::v1::ACK_LEVEL_DURABLE);
          out.mutable_ack()->set_epoch(1);
          out.mutable_ack()->set_batch_hash(std::string(32, 'z'));
        }
        s->Write(out);
      }
      return grpc::Status::OK;
    }
  } liar;
  grpc::SslServerCredentialsOptions tls;
  tls.pem_key_cert_pairs.push_back({ReadFile(pki().File("collector/tls.key"), 1 << 16).value(),
                                    ReadFile(pki().File("collector/tls.pem"), 1 << 16).value()});
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(tls), &port);
  builder.RegisterService(&liar);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  Add(2);
  StartShipper(ShipTo(port));
  ASSERT_TRUE(ErrorHas("not what we sent"));
  EXPECT_GE(shipper_->Stats().bad_acks, 1U);
  EXPECT_EQ(source_.size(), 2U);
  shipper_.reset();
}

// Sealer, spool on disk, shipper, collector: the whole line, over restarts.
TEST_F(ShipperTest, SealedAndSpooledBatchesArrive) {
  StartCollector();
  TcpProxy proxy(collector_->port());
  std::vector<std::string> leaves;
  for (int run = 0; run < 3; ++run) {
    agent::SpoolOptions spool_options;
    spool_options.dir = dir_.path() + "/spool";
    auto spool = agent::Spool::Open(spool_options);
    ASSERT_TRUE(spool.ok()) << spool.status().ToString();
    agent::SealerOptions seal;
    seal.tenant = "default";
    seal.agent_id = "web-1";
    seal.identity_cert_file = pki().File("agents/web-1/identity.pem");
    seal.identity_key_file = pki().File("agents/web-1/identity.key");
    seal.spool_head = (*spool)->recovery().head;
    seal.clock = &clock_;
    auto sealer = agent::Sealer::Open(std::move(seal));
    ASSERT_TRUE(sealer.ok()) << sealer.status().ToString();
    agent::SpoolSource source(spool->get());
    Shipper shipper(ShipTo(proxy.port()), &source, &clock_);
    shipper.Start();
    for (uint64_t i = 1; i <= 30; ++i) {
      event::v1::EventBatch content;
      content.set_schema_version(1);
      event::v1::Event event;
      event.set_schema_version(1);
      event.set_seq(i);
      content.add_events(event.SerializeAsString());
      agent::BatchContent batch;
      batch.raw_body = content.SerializeAsString();
      batch.events_root = trail::EventsRoot(content);
      batch.event_count = 1;
      batch.first_event_seq = i;
      batch.last_event_seq = i;
      auto sealed = (*sealer)->Seal(batch);
      ASSERT_TRUE(sealed.ok()) << sealed.status().ToString();
      ASSERT_TRUE((*spool)->Append(*sealed).ok());
      (*sealer)->Commit();
      leaves.push_back(sealed->leaf);
      shipper.Notify();
      if (i % 10 == 0) proxy.CutAll();
    }
    // The last run ships what the others left.
    const Status stopped = shipper.Stop(run == 2 ? milliseconds(20'000) : milliseconds(0));
    EXPECT_TRUE(run < 2 || stopped.ok()) << stopped.ToString();
  }
  EXPECT_EQ(LogLeaves(), leaves);
  ExpectCheckpointOf(leaves);
}

}  // namespace
}  // namespace nodetrail::collector
