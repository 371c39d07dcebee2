// SPDX-License-Identifier: Apache-2.0
//
// What the shipper deletes on the word of a receipt, and what it does not:
// against real collectors, and against logs that were cut or forked.
#include <filesystem>

#include "agent/ship/log_watch.h"
#include "agent/ship/shipper.h"
#include "collector/test_fixture.h"
#include "nodetrail/trail/verify.h"
#include "tests/fakes/tcp_proxy.h"

namespace nodetrail::collector {
namespace {

namespace fs = std::filesystem;
using agent::LogWatch;
using agent::Shipper;
using agent::ShipState;
using nodetrail::testing::TcpProxy;
using std::chrono::milliseconds;

class ShipReceiptsTest : public CollectorTest {
 protected:
  ShipReceiptsTest() { OpenWatch(); }
  void OpenWatch() { watch_ = LogWatch::Open(policy_, dir_.path() + "/checkpoint").value(); }
  // Batches that tell what the agent has seen, as the sealer makes them.
  void Add(size_t n) {
    for (size_t i = 0; i < n; ++i) {
      const agent::SeenCheckpoint seen = watch_->seen();
      const trail::SealedBatch batch = maker_.NextWith([&](trail::v1::BatchHeader* h) {
        if (seen.size == 0) return;
        h->set_seen_size(seen.size);
        h->set_seen_root(trail::Bytes(seen.root));
      });
      source_.Add(batch);
      sent_.push_back(batch.leaf);
    }
    if (shipper_) shipper_->Notify();
  }
  agent::ShipOptions Options(int port) {
    agent::ShipOptions options = ShipTo(port);
    options.log_watch = watch_.get();
    options.config.set_release("logged");
    return options;
  }
  void Start(const agent::ShipOptions& options) {
    shipper_.reset();
    shipper_ = std::make_unique<Shipper>(options, &source_, &clock_);
    shipper_->Start();
  }
  bool Drained() {
    const bool drained = WaitUntil([&] { return source_.size() == 0; });
    EXPECT_TRUE(drained) << source_.size() << " left: " << shipper_->Stats().last_error;
    return drained;
  }
  bool ErrorHas(const std::string& text) {
    const bool found =
        WaitUntil([&] { return shipper_->Stats().last_error.find(text) != std::string::npos; }, milliseconds(10'000));
    EXPECT_TRUE(found) << shipper_->Stats().last_error;
    EXPECT_EQ(shipper_->Stats().last_error.find('\n'), std::string::npos);
    return found;
  }
  void StopCollector() {
    collector_->Stop(milliseconds(2000));
    collector_.reset();
  }
  std::string Backup(const std::string& name) {
    const std::string copy = dir_.path() + "/" + name;
    fs::copy(config_.trail_dir(), copy, fs::copy_options::recursive);
    fs::remove_all(copy + "/index");  // made anew; a copy of one in use may not be whole
    return copy;
  }
  void Restore(const std::string& copy) {
    fs::remove_all(config_.trail_dir());
    fs::copy(copy, config_.trail_dir(), fs::copy_options::recursive);
  }
  trail::VerifyReport Verify() {
    trail::VerifyPolicy policy;
    policy.identity_ca_pem = ReadFile(pki().File("identity-ca/ca.pem"), 1 << 16).value();
    auto report = trail::VerifyTrail(config_.trail_dir(), policy);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    return *report;
  }
  static bool Found(const trail::VerifyReport& report, const std::string& text) {
    for (const trail::Finding& finding : report.findings) {
      if (finding.kind == trail::FindingKind::kTamper && finding.text.find(text) != std::string::npos) return true;
    }
    return false;
  }

  std::string policy_ = ReadFile(pki().File("log/policy"), 4096).value();
  std::unique_ptr<LogWatch> watch_;
  BatchMaker maker_{pki(), "web-1"};
  MemorySource source_;
  std::vector<std::string> sent_;
  std::unique_ptr<Shipper> shipper_;
};

TEST_F(ShipReceiptsTest, EachBatchIsDeletedOnItsReceipt) {
  StartCollector();
  Add(100);
  Start(Options(collector_->port()));
  ASSERT_TRUE(Drained());
  Add(3);
  ASSERT_TRUE(Drained());
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().receipts == 103; }));
  const agent::ShipStats stats = shipper_->Stats();
  EXPECT_EQ(stats.connects, 1U);
  EXPECT_EQ(stats.bad_receipts + stats.log_alarms + stats.bad_acks, 0U);
  EXPECT_EQ(stats.awaiting_receipts, 0U);
  EXPECT_EQ(stats.log_size, 103U);
  EXPECT_EQ(stats.alarm, "");
  EXPECT_EQ(LogLeaves(), sent_);
  EXPECT_TRUE(shipper_->Stop(milliseconds(1000)).ok());
  StopCollector();
  const trail::VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, trail::TrailVerdict::kIntact) << report.summary;
}

// Durable, and then the collector is gone before it signed: nothing is
// deleted, all is sent again, nothing is there twice.
TEST_F(ShipReceiptsTest, WhatIsOnlyDurableIsKeptAndSentAgain) {
  config_.set_checkpoint_interval_ms(60'000);
  StartCollector();
  ASSERT_TRUE(WaitUntil([&] { return fs::exists(config_.trail_dir() + "/log/checkpoint"); }));
  TcpProxy proxy(collector_->port());
  Add(20);
  Start(Options(proxy.port()));
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().acked_batches == 20; }));
  EXPECT_EQ(source_.size(), 20U);
  EXPECT_EQ(shipper_->Stats().awaiting_receipts, 20U);
  EXPECT_EQ(shipper_->Stats().receipts, 0U);
  EXPECT_NE(shipper_->Stats().oldest_unacked_wall_ns, 0U);
  // As if killed: no answer gets through any more.
  proxy.BlackHole(true);
  StopCollector();
  EXPECT_EQ(source_.size(), 20U);
  config_.set_checkpoint_interval_ms(20);
  StartCollector();
  proxy.set_target(collector_->port());
  proxy.BlackHole(false);
  proxy.CutAll();
  ASSERT_TRUE(Drained());
  EXPECT_EQ(LogLeaves(), sent_);
  EXPECT_EQ(collector_->ingest().Totals().batches, 0U);
  EXPECT_EQ(collector_->ingest().Totals().duplicates, 20U);
}

TEST_F(ShipReceiptsTest, NoMoreIsSentThanMayWaitForReceipts) {
  config_.set_checkpoint_interval_ms(60'000);
  StartCollector();
  ASSERT_TRUE(WaitUntil([&] { return fs::exists(config_.trail_dir() + "/log/checkpoint"); }));
  Add(30);
  agent::ShipOptions options = Options(collector_->port());
  options.config.set_receipt_window_batches(7);
  options.config.set_receipt_timeout_s(1);
  Start(options);
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().awaiting_receipts == 7; }));
  EXPECT_EQ(LogLeaves().size(), 7U);
  ASSERT_TRUE(ErrorHas("no receipt for batch 1:0 within 1 s"));
  EXPECT_EQ(source_.size(), 30U);
  EXPECT_EQ(LogLeaves().size(), 7U);
}

// Answers are lost anywhere: durable ones, receipts, or both.
TEST_F(ShipReceiptsTest, AResponseLostAfterTheCommitDoublesNothing) {
  StartCollector();
  TcpProxy proxy(collector_->port());
  Add(30);
  int64_t limit = 1400;
  proxy.CutAfter(TcpProxy::kNoLimit, limit);
  Start(Options(proxy.port()));
  uint64_t cuts = 0;
  ASSERT_TRUE(WaitUntil(
      [&] {
        if (proxy.cuts() > cuts) {
          cuts = proxy.cuts();
          limit += 811;
          proxy.CutAfter(TcpProxy::kNoLimit, limit);
        }
        return source_.size() == 0;
      },
      milliseconds(60'000)));
  EXPECT_GT(cuts, 3U);
  EXPECT_EQ(LogLeaves(), sent_);
  EXPECT_EQ(shipper_->Stats().bad_receipts + shipper_->Stats().log_alarms, 0U);
}

TEST_F(ShipReceiptsTest, AReceiptOfAnotherLogDeletesNothing) {
  pki().Run("log-key", "trail.example.com/default", "--force");
  config_.set_log_key_file(pki().File("log/log.key"));
  StartCollector();
  Add(3);
  Start(Options(collector_->port()));
  ASSERT_TRUE(ErrorHas("bad receipt for batch 1:0"));
  EXPECT_NE(shipper_->Stats().alarm.find("ship.log_policy_file"), std::string::npos) << shipper_->Stats().alarm;
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().bad_receipts >= 2; }));
  EXPECT_NE(shipper_->Stats().alarm_wall_ns, 0U);
  EXPECT_EQ(source_.size(), 3U);
  EXPECT_EQ(LogLeaves(), sent_);
}

// T8, T9: the collector's log is cut after the agent got its receipts.
TEST_F(ShipReceiptsTest, ALogThatWasCutIsRefusedAndVerifyFindsIt) {
  StartCollector();
  Add(5);
  Start(Options(collector_->port()));
  ASSERT_TRUE(Drained());
  shipper_.reset();
  StopCollector();
  const std::string older = Backup("older");
  StartCollector();
  Start(Options(collector_->port()));
  Add(5);
  ASSERT_TRUE(Drained());
  shipper_->Stop(milliseconds(1000)).Ignore();
  StopCollector();
  Restore(older);
  StartCollector();
  Add(2);
  Start(Options(collector_->port()));
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().state == ShipState::kAlarm; }));
  const agent::ShipStats stats = shipper_->Stats();
  EXPECT_GE(stats.log_alarms, 1U);
  EXPECT_NE(stats.alarm.find("and had 10 before"), std::string::npos) << stats.alarm;
  EXPECT_EQ(source_.size(), 2U);
  EXPECT_EQ(watch_->seen().size, 10U);
  shipper_.reset();
  StopCollector();
  const trail::VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, trail::TrailVerdict::kTamper) << report.summary;
  EXPECT_TRUE(Found(report, "a checkpoint of 10 leaves")) << report.summary;
}

// The same while the agent runs: it knows which batches it had receipts for.
TEST_F(ShipReceiptsTest, BatchesThatAReceiptProvedAreMissedAtOnce) {
  StartCollector();
  TcpProxy proxy(collector_->port());
  Start(Options(proxy.port()));
  Add(5);
  ASSERT_TRUE(Drained());
  const std::string older = Backup("older");
  Add(5);
  ASSERT_TRUE(Drained());
  StopCollector();
  Restore(older);
  StartCollector();
  proxy.set_target(collector_->port());
  proxy.CutAll();
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().log_alarms > 0; }));
  EXPECT_NE(shipper_->Stats().alarm.find("holds batches up to 1:4 only, its log gave a receipt for 1:9"),
            std::string::npos)
      << shipper_->Stats().alarm;
  // What comes now is evidence, and is sent. Even when the log has outgrown what
  // was seen, nothing is deleted.
  Add(12);
  ASSERT_TRUE(WaitUntil([&] { return LogLeaves().size() == 17; }, milliseconds(20'000)));
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().receipts >= 22; }, milliseconds(20'000)));
  EXPECT_EQ(source_.size(), 12U);
}

// T10: the operator shows each agent a log of its own, signed with one key.
TEST_F(ShipReceiptsTest, ASplitViewIsFoundByVerify) {
  StartCollector();
  BatchMaker other(pki(), "web-2");
  Add(3);
  Start(Options(collector_->port()));
  ASSERT_TRUE(Drained());
  StopCollector();
  // Another trail under the same key, with web-2 first.
  const std::string first = config_.trail_dir();
  config_.set_trail_dir(dir_.path() + "/other");
  StartCollector();
  {
    RawAgent raw(collector_->port(), pki().Agent("web-2"));
    raw.Hello("web-2");
    raw.Read();
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(raw.Exchange(other.Next()).has_ack());
  }
  ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == 4; }));
  // A log of another size is not yet a contradiction to the agent …
  Add(1);
  Start(Options(collector_->port()));
  ASSERT_TRUE(WaitUntil([&] { return LogLeaves().size() == 5; }));
  shipper_.reset();
  StopCollector();
  // … but its batch says what it saw.
  const trail::VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, trail::TrailVerdict::kTamper) << report.summary;
  EXPECT_TRUE(Found(report, "another tree")) << report.summary;
  config_.set_trail_dir(first);
  EXPECT_EQ(Verify().verdict, trail::TrailVerdict::kIntact);
}

// The witness never signs: what release asks for decides.
TEST_F(ShipReceiptsTest, WithoutWitnessesOnlyLoggedIsReleased) {
  const trail::Ed25519Key key = trail::Ed25519Key::Generate();
  const auto vkey = trail::CosignerVerifier::Make("witness.example.org/w", key.public_key());
  policy_ = policy_.substr(0, policy_.find('\n') + 1) + fmt::format("witness w {}\nquorum w\n", vkey->ToString());
  OpenWatch();
  StartCollector();
  Add(4);
  agent::ShipOptions options = Options(collector_->port());
  options.config.set_release("witnessed");
  options.unwitnessed_retry = milliseconds(100);
  Start(options);
  ASSERT_TRUE(ErrorHas("without the quorum of ship.log_policy_file"));
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().unwitnessed_receipts >= 8; }));
  EXPECT_EQ(shipper_->Stats().receipts, 0U);
  EXPECT_EQ(source_.size(), 4U);
  options.config.set_release("logged");
  Start(options);
  ASSERT_TRUE(Drained());
  EXPECT_EQ(watch_->seen().size, 0U);
  EXPECT_EQ(LogLeaves(), sent_);
}

TEST_F(ShipReceiptsTest, TheNextEndpointIsTriedAfterAFailure) {
  StartCollector();
  Add(5);
  agent::ShipOptions options = Options(1);
  options.config.add_endpoints("127.0.0.1:2");
  options.config.add_endpoints(fmt::format("127.0.0.1:{}", collector_->port()));
  Start(options);
  ASSERT_TRUE(Drained());
  EXPECT_EQ(shipper_->Stats().endpoint, fmt::format("127.0.0.1:{}", collector_->port()));
  EXPECT_GE(shipper_->Stats().attempts, 3U);
}

// One that works is kept, and given up only when it does not any more.
TEST_F(ShipReceiptsTest, AFailoverMovesToACollectorOfTheSameLog) {
  StartCollector();
  TcpProxy first(collector_->port());
  TcpProxy second(collector_->port());
  agent::ShipOptions options = Options(first.port());
  options.config.add_endpoints(fmt::format("127.0.0.1:{}", second.port()));
  Start(options);
  Add(10);
  ASSERT_TRUE(Drained());
  EXPECT_EQ(shipper_->Stats().endpoint, options.config.endpoint());
  first.CutAfter(0);
  first.CutAll();
  Add(10);
  ASSERT_TRUE(Drained());
  EXPECT_EQ(shipper_->Stats().endpoint, options.config.endpoints(0));
  EXPECT_EQ(LogLeaves(), sent_);
}

}  // namespace
}  // namespace nodetrail::collector
