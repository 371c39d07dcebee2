// SPDX-License-Identifier: Apache-2.0
//
// Rows of the fault table between agent and collector: the link, certificates,
// clocks, backups, storms. NODETRAIL_FAULT_FULL=1 makes them longer.
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "agent/seal/sealer.h"
#include "agent/sealing_sink.h"
#include "agent/ship/spool_source.h"
#include "collector/test_fixture.h"
#include "nodetrail/trail/body.h"
#include "tests/fakes/tcp_proxy.h"
#include "trail/testing/test_pki.h"

namespace nodetrail::collector {
namespace {

using nodetrail::testing::TcpProxy;
using std::chrono::milliseconds;

bool Full() { return std::getenv("NODETRAIL_FAULT_FULL") != nullptr; }

void Replace(const std::string& path, const std::string& text) {
  std::ofstream(path + ".new", std::ios::binary) << text;
  std::filesystem::permissions(path + ".new", std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  std::filesystem::rename(path + ".new", path);
}

class Fault : public CollectorTest {
 protected:
  void Add(int n) {
    for (int i = 0; i < n; ++i) {
      const trail::SealedBatch batch = maker_.Next(1, 50);
      sent_.push_back(batch.leaf);
      source_.Add(batch);
    }
  }
  // `nodetrail verify` of the trail.
  int Verify(const std::string& more = "") const {
    const std::string& dir = config_.trail_dir();
    const std::string line =
        fmt::format("{}/bin/nodetrail verify --identity-ca {} --log-key {}/log/log.vkey {} {} >{}/verify.log 2>&1",
                    NT_BINARY_DIR, config_.identity_ca_file(), dir, more, dir, dir_.path());
    const int status = std::system(line.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string VerifySays() const { return ReadFile(dir_.path() + "/verify.log", 1 << 20).value_or(std::string()); }
  void Restart(const std::function<void()>& meanwhile) {
    collector_->Stop(milliseconds(1000));
    collector_.reset();
    meanwhile();
    StartCollector();
  }

  MemorySource source_;
  std::vector<std::string> sent_;
  BatchMaker maker_{pki(), "web-1"};
};

// Handshake, Hello, frames and answers: cut at each byte of them, one
// connection a byte, in either direction.
TEST_F(Fault, Row24_AResetAtEveryByteLosesAndDoublesNothing) {
  StartCollector();
  const int64_t step = Full() ? 1 : 11;
  uint64_t cut = 0;
  for (const bool to_server : {true, false}) {
    TcpProxy proxy(collector_->port());
    int whole = 0;
    for (int64_t limit = 1; whole < 3; limit += step) {
      ASSERT_LT(limit, 100'000);
      Add(static_cast<int>(3 - source_.size()));
      proxy.CutAfter(to_server ? limit : TcpProxy::kNoLimit, to_server ? TcpProxy::kNoLimit : limit);
      const uint64_t cuts = proxy.cuts();
      agent::Shipper shipper(ShipTo(proxy.port()), &source_, &clock_);
      shipper.Start();
      ASSERT_TRUE(WaitUntil([&] { return proxy.cuts() > cuts || source_.size() == 0; })) << limit;
      if (proxy.cuts() == cuts) ++whole;
    }
    cut += proxy.cuts();
  }
  EXPECT_GT(cut, Full() ? 4000U : 300U);
  agent::Shipper shipper(ShipTo(collector_->port()), &source_, &clock_);
  shipper.Start();
  ASSERT_TRUE(WaitUntil([&] { return source_.size() == 0; }));
  EXPECT_EQ(LogLeaves(), sent_);
  ExpectCheckpointOf(sent_);
  EXPECT_EQ(Verify(), 0) << VerifySays();
}

// Both sides' certificates and the authority behind them are exchanged, step
// by step as an operator does it, while batches keep coming.
TEST_F(Fault, Row29_CertificatesAndAuthorityRolledUnderLoad) {
  const TestPki own;
  own.Run("agent", "web-1");
  BatchMaker maker(own, "web-1");
  const std::string dir = dir_.path();
  const auto text = [&](const std::string& name) { return ReadFile(own.File(name), 1 << 20).value(); };
  const auto use = [&](const std::string& from, const std::string& to) {
    // The key first: a reader in between finds a pair that does not fit and tries again.
    Replace(dir + "/" + to + ".key", text(from + ".key"));
    Replace(dir + "/" + to + ".pem", text(from + ".pem"));
  };
  const std::string old_ca = text("tls-ca/ca.pem");
  Replace(dir + "/ca.pem", old_ca);
  use("agents/web-1/tls", "agent");
  use("collector/tls", "collector");
  std::filesystem::copy(own.File("agents/web-1"), dir + "/old");
  const TlsPaths old_agent{dir + "/old-ca.pem", dir + "/old/tls.pem", dir + "/old/tls.key"};
  own.Run("agent", "web-1", "--ca tls-ca2 --force");
  own.Run("collector", "localhost 127.0.0.1", "--ca tls-ca2 --force");
  const std::string new_ca = text("tls-ca2/ca.pem");
  Replace(old_agent.ca_file, old_ca + new_ca);

  config_.mutable_tls()->set_ca_file(dir + "/ca.pem");
  config_.mutable_tls()->set_cert_file(dir + "/collector.pem");
  config_.mutable_tls()->set_key_file(dir + "/collector.key");
  config_.set_identity_ca_file(own.File("identity-ca/ca.pem"));
  StartCollector();
  TcpProxy proxy(collector_->port());
  agent::ShipOptions options = ShipTo(proxy.port());
  options.config.mutable_tls()->set_ca_file(dir + "/ca.pem");
  options.config.mutable_tls()->set_cert_file(dir + "/agent.pem");
  options.config.mutable_tls()->set_key_file(dir + "/agent.key");
  agent::Shipper shipper(options, &source_, &clock_);
  shipper.Start();
  // A new connection, over which everything arrives.
  const auto settles = [&] {
    const uint64_t connects = shipper.Stats().connects;
    for (int i = 0; i < 20; ++i) {
      const trail::SealedBatch batch = maker.Next(1, 50);
      sent_.push_back(batch.leaf);
      source_.Add(batch);
    }
    shipper.Notify();
    proxy.CutAll();
    return WaitUntil([&] { return shipper.Stats().connects > connects && source_.size() == 0; });
  };
  ASSERT_TRUE(WaitUntil([&] { return shipper.Stats().connected; })) << shipper.Stats().last_error;
  Replace(dir + "/ca.pem", old_ca + new_ca);
  EXPECT_TRUE(settles()) << shipper.Stats().last_error;
  use("agents/web-1/tls", "agent");
  EXPECT_TRUE(settles()) << shipper.Stats().last_error;
  use("collector/tls", "collector");
  Replace(dir + "/ca.pem", new_ca);
  EXPECT_TRUE(settles()) << shipper.Stats().last_error;
  // Who still has a certificate of the old authority is out.
  EXPECT_TRUE(WaitUntil([&] {
    RawAgent raw(collector_->port(), old_agent);
    raw.Hello("web-1");
    return !raw.Read().has_welcome();
  }));
  EXPECT_EQ(LogLeaves(), sent_);
  EXPECT_EQ(Verify(), 0) << VerifySays();
}

// The wall clock of the node jumps ten years ahead, is put back, and goes back
// an hour more; with a restart in each time.
TEST_F(Fault, Row31_TheWallClockJumpsAndNothingIsLost) {
  FakeClock clock;
  const uint64_t hour = 3600ULL * 1'000'000'000, year = 365 * 24 * hour;
  agent::SpoolOptions spool_options;
  spool_options.dir = dir_.path() + "/spool";
  uint64_t epoch = 0, batches = 0;
  for (const int64_t jump :
       {int64_t{0}, static_cast<int64_t>(10 * year), -static_cast<int64_t>(10 * year), -static_cast<int64_t>(hour)}) {
    auto spool = agent::Spool::Open(spool_options);
    ASSERT_TRUE(spool.ok());
    agent::SealerOptions options;
    options.tenant = "default";
    options.agent_id = "web-1";
    options.identity_cert_file = pki().File("agents/web-1/identity.pem");
    options.identity_key_file = pki().File("agents/web-1/identity.key");
    options.boot_id = "6ce3a6df-0a4d-4508-af43-4e2ade0ef9d3";
    options.spool_head = (*spool)->head();
    options.clock = &clock;
    auto sealer = agent::Sealer::Open(std::move(options));
    ASSERT_TRUE(sealer.ok()) << sealer.status().ToString();
    EXPECT_GT((*sealer)->epoch(), epoch) << "an epoch comes only once, whatever the clock says";
    epoch = (*sealer)->epoch();
    agent::SealingSink sink(sealer->get(), spool->get(), &clock, [] {});
    for (int i = 0; i < 12; ++i) {
      if (i == 6) clock.wall_ns += static_cast<uint64_t>(jump);
      clock.Advance(1'000'000);
      agent::BatchContent content;
      content.type = i == 11 ? trail::v1::BATCH_TYPE_CLEAN_SHUTDOWN : trail::v1::BATCH_TYPE_HEARTBEAT;
      content.first_event_seq = (*sealer)->next_event_seq();
      content.last_event_seq = content.first_event_seq - 1;
      content.first_wall_ns = content.last_wall_ns = clock.wall_ns;
      content.first_boot_ns = content.last_boot_ns = clock.boot_ns;
      ASSERT_TRUE(sink.OnBatch(content).ok());
      ++batches;
    }
  }
  StartCollector();
  auto spool = agent::Spool::Open(spool_options);
  ASSERT_TRUE(spool.ok());
  agent::SpoolSource source(spool->get());
  agent::Shipper shipper(ShipTo(collector_->port()), &source, &clock_);
  shipper.Start();
  ASSERT_TRUE(WaitUntil([&] { return (*spool)->stats().batches_pending == 0; })) << shipper.Stats().last_error;
  EXPECT_EQ(LogLeaves().size(), batches);
  ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == batches; }));
  EXPECT_EQ(Verify(), 0) << VerifySays();
}

// A backup of yesterday is put back: what was acknowledged since is gone, the
// hole shows, and whoever kept a checkpoint of today proves it.
TEST_F(Fault, Row38_ARestoredBackupShows) {
  StartCollector();
  agent::Shipper shipper(ShipTo(collector_->port()), &source_, &clock_);
  shipper.Start();
  const auto ship = [&](int n) {
    Add(n);
    shipper.Notify();
    return WaitUntil([&] { return source_.size() == 0; });
  };
  ASSERT_TRUE(ship(20));
  const std::string trail = config_.trail_dir(), kept = dir_.path() + "/today";
  const int port = collector_->port();
  config_.set_listen(fmt::format("127.0.0.1:{}", port));
  Restart([&] { std::filesystem::copy(trail, dir_.path() + "/backup", std::filesystem::copy_options::recursive); });
  ASSERT_TRUE(ship(20));
  ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == 40; }));
  std::filesystem::copy_file(trail + "/log/checkpoint", kept);
  Restart([&] {
    std::filesystem::remove_all(trail);
    std::filesystem::rename(dir_.path() + "/backup", trail);
  });
  ASSERT_TRUE(ship(20)) << shipper.Stats().last_error;
  EXPECT_EQ(shipper.Stats().holes_declared, 1U);
  ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == 40; }));
  EXPECT_EQ(Verify(), 2) << VerifySays();
  EXPECT_EQ(Verify("--prior " + kept), 3) << VerifySays();
}

// What an earlier build left is read: its trail verifies and goes on, its spool is shipped.
TEST_F(Fault, Row20_ATrailAndASpoolOfFormat1) {
  const std::string golden = std::string(NT_SOURCE_DIR) + "/tests/fault/golden";
  std::filesystem::copy(golden + "/trail", config_.trail_dir(), std::filesystem::copy_options::recursive);
  config_.set_identity_ca_file(golden + "/identity-ca.pem");
  EXPECT_EQ(Verify(), 1) << VerifySays();  // it declares losses
  const std::vector<std::string> leaves = LogLeaves();
  EXPECT_EQ(leaves.size(), 7U);
  agent::SpoolOptions options;
  options.dir = dir_.path() + "/spool";
  std::filesystem::copy(golden + "/spool", options.dir, std::filesystem::copy_options::recursive);
  const auto spool = agent::Spool::Open(options);
  ASSERT_TRUE(spool.ok());
  EXPECT_EQ((*spool)->recovery().torn_bytes, 0U);
  EXPECT_EQ((*spool)->recovery().tampered, 0U);
  EXPECT_TRUE((*spool)->recovery().missing.empty());
  const auto batch = (*spool)->Next(milliseconds(0));
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(trail::Hex(batch->batch_hash), "a466dc61eddda8d4d020299640654fb1894ef6e7989f63247aac20563fa1ff9e");
  const auto leaf = trail::ParseLeaf(batch->leaf);
  ASSERT_TRUE(leaf.ok()) << leaf.status().ToString();
  EXPECT_TRUE(trail::VerifyLeafSignature(*leaf));
  EXPECT_TRUE(trail::OpenBody(batch->body, leaf->header).ok());
}

// A header of a later version has fields that this one does not know. They are
// signed: kept, and told, not refused.
TEST_F(Fault, Row20_FieldsOfALaterVersionAreKept) {
  StartCollector();
  source_.Add(maker_.Next());
  const trail::SealedBatch later = maker_.NextWith([](trail::v1::BatchHeader* h) {
    h->GetReflection()->MutableUnknownFields(h)->AddVarint(1000, 7);
    h->GetReflection()->MutableUnknownFields(h)->AddLengthDelimited(1001, "of a later version");
  });
  source_.Add(later);
  source_.Add(maker_.Next());
  agent::Shipper shipper(ShipTo(collector_->port()), &source_, &clock_);
  shipper.Start();
  ASSERT_TRUE(WaitUntil([&] { return source_.size() == 0; })) << shipper.Stats().last_error;
  ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == 3; }));
  EXPECT_EQ(LogLeaves().at(1), later.leaf);
  EXPECT_EQ(Verify(), 0) << VerifySays();
  // And a collector of this version starts on what a later one kept.
  Restart([] {});
  EXPECT_EQ(collector_->head().size, 3U);
}

// As many agents as this machine bears lose their collector and come back in
// the same moment.
TEST_F(Fault, Row44_AStormOfReconnects) {
  const int agents = Full() ? 1000 : 250;
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  files.rlim_cur = files.rlim_max;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
  const trail::TestCa ca;
  const std::string ca_file = dir_.path() + "/agents-ca.pem";
  Replace(ca_file, ca.CertPem() + ReadFile(pki().File("tls-ca/ca.pem"), 1 << 20).value());
  config_.mutable_tls()->set_ca_file(ca_file);
  config_.set_identity_ca_file(ca_file);
  StartCollector();

  std::vector<std::unique_ptr<BatchMaker>> makers(static_cast<size_t>(agents));
  std::atomic<int> failed = 0;
  const auto storm = [&] {
    std::vector<std::unique_ptr<RawAgent>> streams(makers.size());
    std::atomic<size_t> next = 0;
    std::vector<std::jthread> threads;
    for (int t = 0; t < 16; ++t) {
      threads.emplace_back([&] {
        for (size_t i = next++; i < streams.size(); i = next++) {
          const std::string id = fmt::format("node-{}", i), base = pki().File("agents/" + id);
          if (makers[i] == nullptr) {
            const trail::TestCa::Identity identity = ca.IssueAgent("default", id);
            std::filesystem::create_directories(base);
            Replace(base + "/identity.pem", identity.cert_pem);
            Replace(base + "/identity.key", identity.key_pem);
            makers[i] = std::make_unique<BatchMaker>(pki(), id);
          }
          streams[i] = std::make_unique<RawAgent>(
              collector_->port(),
              TlsPaths{pki().File("tls-ca/ca.pem"), base + "/identity.pem", base + "/identity.key"});
          streams[i]->Hello(id);
          if (!streams[i]->Read().has_welcome() || !streams[i]->Exchange(makers[i]->Next()).has_ack()) ++failed;
        }
      });
    }
    threads.clear();
    EXPECT_EQ(collector_->ingest().Totals().streams, makers.size());
  };
  storm();
  Restart([] {});
  storm();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(LogLeaves().size(), 2 * makers.size());
  fmt::print("{} agents, twice\n", agents);
  ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == 2 * makers.size(); }));
  EXPECT_EQ(Verify(), 0) << VerifySays();
}

}  // namespace
}  // namespace nodetrail::collector
