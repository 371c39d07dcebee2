// SPDX-License-Identifier: Apache-2.0
//
// The trail over restarts and faults: what is rebuilt, and when the collector
// refuses to go on.
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "collector/test_fixture.h"
#include "nodetrail/trail/tile.h"
#include "nodetrail/trail/verify.h"
#include "tests/fakes/tcp_proxy.h"

namespace nodetrail::collector {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

class TrailTest : public CollectorTest {
 protected:
  // `n` batches of `maker` into the log.
  void Feed(BatchMaker* maker, size_t n, const std::string& agent_id = "web-1") {
    RawAgent raw(collector_->port(), pki().Agent(agent_id));
    raw.Hello(agent_id);
    ASSERT_TRUE(raw.Read().has_welcome());
    // A window at a time: the collector commits in groups.
    constexpr size_t kWindow = 50;
    for (size_t done = 0; done < n;) {
      const size_t count = std::min(kWindow, n - done);
      for (size_t i = 0; i < count; ++i) {
        batches_.push_back(maker->Next());
        ASSERT_TRUE(raw.Send(batches_.back()));
      }
      for (size_t i = 0; i < count; ++i) ASSERT_TRUE(raw.Read().has_ack());
      done += count;
    }
  }
  void StopCollector() { collector_.reset(); }
  std::string Path(const std::string& name) const { return config_.trail_dir() + "/" + name; }
  void Flip(const std::string& path, std::streamoff at) {
    std::fstream f(path, std::ios::in | std::ios::out | std::ios::binary);
    f.seekg(at);
    const int byte = f.get();
    f.seekp(at);
    f.put(static_cast<char>(byte ^ 0x40));
    ASSERT_TRUE(f.good()) << path;
  }
  trail::VerifyReport Verify() {
    trail::VerifyPolicy policy;
    policy.identity_ca_pem = ReadFile(pki().File("identity-ca/ca.pem"), 1 << 16).value();
    const std::string vkey = ReadFile(Path("log/log.vkey"), 4096).value();
    policy.log_key = trail::NoteVerifier::Parse(std::string_view(vkey).substr(0, vkey.size() - 1)).value();
    auto report = trail::VerifyTrail(config_.trail_dir(), policy);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    return *report;
  }
  void RefusesToStart(const std::string& why, ExitCode code = ExitCode::kStorage) {
    const Failure failure = StartFails();
    EXPECT_EQ(failure.code, code);
    EXPECT_NE(failure.status.message().find(why), std::string::npos) << failure.status.message();
    EXPECT_EQ(failure.status.message().find('\n'), std::string::npos);
  }

  BatchMaker maker_{pki(), "web-1"};
  std::vector<trail::SealedBatch> batches_;
};

TEST_F(TrailTest, ARestartKnowsEveryAgentAndKeepsTheRoot) {
  StartCollector();
  BatchMaker second(pki(), "web-2");
  Feed(&maker_, 12);
  Feed(&second, 7, "web-2");
  const std::vector<std::string> leaves = LogLeaves();
  ExpectCheckpointOf(leaves);
  const std::vector<IngestAgent> before = collector_->ingest().Agents();
  const Sequencer::Head head = collector_->head();
  StopCollector();
  StartCollector();
  const std::vector<IngestAgent> after = collector_->ingest().Agents();
  ASSERT_EQ(after.size(), before.size());
  for (size_t i = 0; i < after.size(); ++i) {
    EXPECT_EQ(after[i].agent_id, before[i].agent_id);
    EXPECT_EQ(after[i].epoch, before[i].epoch);
    EXPECT_EQ(after[i].last_seq, before[i].last_seq);
    EXPECT_EQ(after[i].batches, before[i].batches);
  }
  EXPECT_EQ(collector_->head().size, head.size);
  EXPECT_EQ(collector_->head().root, head.root);
  EXPECT_EQ(LogLeaves(), leaves);
  Feed(&maker_, 3);
  Feed(&second, 3, "web-2");
  ExpectCheckpointOf(LogLeaves());
  StopCollector();
  const trail::VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, trail::TrailVerdict::kIntact) << report.summary;
  EXPECT_EQ(report.leaves, 25U);
  EXPECT_EQ(report.not_under_checkpoint, 0U);
}

// Checkpoints form one chain: each is over what the one before was over.
TEST_F(TrailTest, CheckpointsGrowConsistently) {
  StartCollector();
  uint64_t size = 0;
  std::vector<trail::Checkpoint> seen;
  for (int i = 0; i < 6; ++i) {
    Feed(&maker_, 3);
    size += 3;
    ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == size; }));
    const Sequencer::Head head = collector_->head();
    seen.push_back({"", head.size, head.root, {}});
  }
  std::vector<trail::Hash> hashes;
  for (const std::string& leaf : LogLeaves()) hashes.push_back(trail::LeafHash(leaf));
  for (size_t i = 1; i < seen.size(); ++i) {
    const auto newer = std::span(hashes).first(seen[i].size);
    const auto proof = trail::ConsistencyProof(newer, seen[i - 1].size);
    ASSERT_TRUE(proof.ok());
    EXPECT_TRUE(trail::VerifyConsistency(seen[i - 1].size, seen[i - 1].root, seen[i].size, seen[i].root, *proof).ok());
  }
}

// What a web server would serve is the log under its checkpoint, at every size.
TEST_F(TrailTest, TilesAreThereBeforeTheCheckpointThatCoversThem) {
  StartCollector();
  const auto read = [this](const trail::TileId& id) { return ReadFile(Path("log/" + trail::TilePath(id)), 1U << 24); };
  for (const size_t n : {3U, 252U, 1U, 4U}) {
    Feed(&maker_, n);
    const std::vector<std::string> leaves = LogLeaves();
    ExpectCheckpointOf(leaves);
    const Sequencer::Head head = collector_->head();
    const auto root = trail::TileRoot(head.size, read);
    ASSERT_TRUE(root.ok()) << root.status().ToString();
    EXPECT_EQ(*root, head.root);
    for (uint64_t tile = 0; tile <= head.size / 256; ++tile) {
      const unsigned width = trail::TileWidthAt(0, tile, head.size);
      if (width == 0) continue;
      const auto bundle = read({true, 0, tile, width});
      ASSERT_TRUE(bundle.ok()) << bundle.status().ToString();
      const auto entries = trail::ParseEntryBundle(*bundle, width);
      ASSERT_TRUE(entries.ok()) << entries.status().ToString();
      for (unsigned i = 0; i < width; ++i) EXPECT_EQ((*entries)[i], leaves[tile * 256 + i]);
    }
  }
  StopCollector();
  // Partial tiles gave way to the full one; nothing unfinished lies about.
  EXPECT_FALSE(fs::exists(Path("log/tile/0/000.p")));
  EXPECT_FALSE(fs::exists(Path("log/tile/entries/000.p")));
  for (const auto& entry : fs::recursive_directory_iterator(Path("log/tile"))) {
    EXPECT_NE(entry.path().extension(), ".tmp") << entry.path();
  }
  const trail::VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, trail::TrailVerdict::kIntact) << report.summary;
  EXPECT_EQ(report.tiles_missing, 0U);
  EXPECT_GE(report.tiles, 5U);
}

TEST_F(TrailTest, MissingTilesArePublishedAtStart) {
  StartCollector();
  Feed(&maker_, 260);
  ExpectCheckpointOf(LogLeaves());
  StopCollector();
  fs::remove_all(Path("log/tile"));
  EXPECT_EQ(Verify().tiles_missing, 5U);
  // What a killed collector was about to rename goes, though nothing of its name comes.
  const std::string left = Path("log/tile/0/001.p/3.tmp");
  fs::create_directories(fs::path(left).parent_path());
  std::ofstream(left) << "x";
  StartCollector();
  StopCollector();
  EXPECT_FALSE(fs::exists(left));
  const trail::VerifyReport report = Verify();
  EXPECT_EQ(report.tiles_missing, 0U);
  EXPECT_EQ(report.tiles, 5U);
  EXPECT_EQ(report.verdict, trail::TrailVerdict::kIntact) << report.summary;
}

// The batches are taken all the same; that the log is signed no more is said.
TEST_F(TrailTest, ATileThatWasAlteredIsNeitherRewrittenNorSignedOver) {
  StartCollector();
  Feed(&maker_, 260);
  ExpectCheckpointOf(LogLeaves());
  StopCollector();
  const std::string checkpoint = ReadFile(Path("log/checkpoint"), 4096).value();
  Flip(Path("log/tile/0/000"), 100);
  const std::string altered = ReadFile(Path("log/tile/0/000"), 8192).value();
  StartCollector();
  ASSERT_TRUE(WaitUntil([&] { return !collector_->head().problem.empty(); }));
  EXPECT_NE(collector_->head().problem.find("log/tile/0/000"), std::string::npos) << collector_->head().problem;
  Feed(&maker_, 3);
  StopCollector();
  EXPECT_EQ(ReadFile(Path("log/tile/0/000"), 8192).value(), altered);
  EXPECT_EQ(ReadFile(Path("log/checkpoint"), 4096).value(), checkpoint);
  const trail::VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, trail::TrailVerdict::kTamper);
  EXPECT_EQ(report.first_bad->file, "log/tile/0/000");
}

TEST_F(TrailTest, ATornTailIsCutAndTheChainGoesOn) {
  StartCollector();
  Feed(&maker_, 5);
  ExpectCheckpointOf(LogLeaves());
  StopCollector();
  std::ofstream(Path("log/000000.leaves"), std::ios::app | std::ios::binary) << "half a record";
  StartCollector();
  EXPECT_EQ(LogLeaves().size(), 5U);
  Feed(&maker_, 2);
  EXPECT_EQ(LogLeaves().size(), 7U);
  ExpectCheckpointOf(LogLeaves());
}

TEST_F(TrailTest, AnAlteredLeafStopsTheStart) {
  StartCollector();
  Feed(&maker_, 5);
  ExpectCheckpointOf(LogLeaves());
  StopCollector();
  Flip(Path("log/000000.leaves"), 400);
  RefusesToStart("000000.leaves");
}

// The records are whole, but the last ones are gone.
TEST_F(TrailTest, ALogShorterThanItsCheckpointStopsTheStart) {
  StartCollector();
  Feed(&maker_, 3);
  ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == 3; }));
  const auto three = fs::file_size(Path("log/000000.leaves"));
  Feed(&maker_, 3);
  ExpectCheckpointOf(LogLeaves());
  StopCollector();
  fs::resize_file(Path("log/000000.leaves"), three);
  RefusesToStart("the log has 3 leaves, a checkpoint for 6 was signed");
}

TEST_F(TrailTest, AnAlteredCheckpointStopsTheStart) {
  StartCollector();
  Feed(&maker_, 2);
  ExpectCheckpointOf(LogLeaves());
  StopCollector();
  Flip(Path("log/checkpoint"), 30);
  RefusesToStart("log/checkpoint");
}

TEST_F(TrailTest, AnotherLogKeyStopsTheStart) {
  StartCollector();
  StopCollector();
  const std::string other = dir_.path() + "/other.key";
  ASSERT_EQ(std::system(("openssl genpkey -algorithm ed25519 -out " + other + " && chmod 600 " + other).c_str()), 0);
  config_.set_log_key_file(other);
  RefusesToStart("begun with another log key", ExitCode::kKeys);
}

TEST_F(TrailTest, AnotherTenantStopsTheStart) {
  StartCollector();
  Feed(&maker_, 1);
  StopCollector();
  config_.set_tenant("other");
  RefusesToStart("the trail is of tenant default");
}

TEST_F(TrailTest, ASecondCollectorOnTheTrailDoesNotStart) {
  StartCollector();
  RefusesToStart("another process writes this trail");
  Feed(&maker_, 1);
}

TEST_F(TrailTest, ABusyPortIsNamed) {
  StartCollector();
  config_.set_trail_dir(dir_.path() + "/trail2");
  config_.set_listen(fmt::format("127.0.0.1:{}", collector_->port()));
  RefusesToStart("EADDRINUSE; another process has the port", ExitCode::kConfig);
}

TEST_F(TrailTest, BadKeysAreNamed) {
  const std::string key = dir_.path() + "/log.key";
  fs::copy_file(pki().File("log/log.key"), key);
  fs::permissions(key, fs::perms::owner_read | fs::perms::group_read);
  const std::string good = config_.log_key_file();
  config_.set_log_key_file(key);
  RefusesToStart("readable by others (mode 0440); chmod 0600", ExitCode::kKeys);
  config_.set_log_key_file(pki().File("collector/tls.key"));
  RefusesToStart("log key: ", ExitCode::kKeys);
  config_.set_log_key_file(good);
  config_.set_identity_ca_file(pki().File("log/origin"));
  RefusesToStart("identity_ca_file: ", ExitCode::kKeys);
  config_.set_identity_ca_file(pki().File("identity-ca/ca.pem"));
  config_.mutable_tls()->set_ca_file(pki().File("log/origin"));
  RefusesToStart("log/origin: no PEM certificate in it", ExitCode::kKeys);
  EXPECT_FALSE(fs::exists(config_.trail_dir()));
}

TEST_F(TrailTest, ATrailDirThatCannotBeMadeIsNamed) {
  std::ofstream(dir_.path() + "/file") << "x";
  config_.set_trail_dir(dir_.path() + "/file/trail");
  RefusesToStart("file/trail");
}

// A batch that was accepted but could not be stored never happened: it is
// refused for now, and accepted when it comes again.
TEST_F(TrailTest, AFailedCommitIsTakenBack) {
  StartCollector();
  Feed(&maker_, 3);
  RawAgent raw(collector_->port(), pki().Agent("web-1"));
  raw.Hello("web-1");
  raw.Read();
  // Files where the folders of bodies would be.
  std::vector<std::string> blocks;
  for (int i = 0; i < 256; ++i) {
    const std::string path = Path(fmt::format("bodies/{:02x}", i));
    if (fs::exists(path)) continue;
    std::ofstream(path) << "x";
    blocks.push_back(path);
  }
  std::vector<trail::SealedBatch> refused;
  for (int i = 0; i < 4; ++i) refused.push_back(maker_.Next());
  for (const trail::SealedBatch& b : refused) raw.Send(b);
  uint64_t retries = 0;
  for (size_t i = 0; i < refused.size(); ++i) {
    const ingest::v1::ServerMessage m = raw.Read();
    if (m.has_ack()) continue;  // its folder was there already
    ASSERT_TRUE(m.has_nack());
    if (m.nack().reason() == ingest::v1::NACK_REASON_RETRY) ++retries;
  }
  EXPECT_GE(retries, 1U);
  const size_t stored = LogLeaves().size();
  EXPECT_LT(stored, 7U);
  for (const std::string& path : blocks) fs::remove(path);
  for (const trail::SealedBatch& b : refused) ASSERT_TRUE(raw.Exchange(b).has_ack());
  EXPECT_EQ(LogLeaves().size(), 7U);
  EXPECT_EQ(collector_->ingest().Totals().rejected, 0U);
  ExpectCheckpointOf(LogLeaves());
}

// The log itself takes no more: the next commit begins a new segment.
TEST_F(TrailTest, AFailedAppendIsTakenBack) {
  StartCollector();
  Feed(&maker_, 20);
  ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == 20; }));
  const auto grown = fs::file_size(Path("log/000000.leaves"));
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit low{grown, before.rlim_max};
  const trail::SealedBatch batch = maker_.Next();
  RawAgent raw(collector_->port(), pki().Agent("web-1"));
  raw.Hello("web-1");
  raw.Read();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &low), 0);
  const ingest::v1::ServerMessage refused = raw.Exchange(batch);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  ASSERT_TRUE(refused.has_nack());
  EXPECT_EQ(refused.nack().reason(), ingest::v1::NACK_REASON_RETRY);
  EXPECT_NE(refused.nack().detail().find("EFBIG"), std::string::npos) << refused.nack().detail();
  ASSERT_TRUE(raw.Exchange(batch).has_ack());
  EXPECT_EQ(LogLeaves().size(), 21U);
  EXPECT_TRUE(fs::exists(Path("log/000001.leaves")));
  ExpectCheckpointOf(LogLeaves());
  StopCollector();
  EXPECT_EQ(Verify().verdict, trail::TrailVerdict::kIntact) << Verify().summary;
  StartCollector();
  Feed(&maker_, 1);
}

// What was made durable changes on the disk before it is signed.
TEST_F(TrailTest, ABitThatFlipsBeforeTheSignatureIsFound) {
  config_.set_checkpoint_interval_ms(60'000);
  StartCollector();
  Feed(&maker_, 4);
  Flip(Path("log/000000.leaves"), 400);
  collector_->Stop(milliseconds(2000));
  EXPECT_EQ(collector_->head().size, 0U);
  EXPECT_FALSE(collector_->head().problem.empty());
}

// Long after the recent ones were forgotten, a duplicate is still one.
TEST_F(TrailTest, AnOldDuplicateIsFoundInTheLog) {
  StartCollector();
  Feed(&maker_, 1100);
  RawAgent raw(collector_->port(), pki().Agent("web-1"));
  raw.Hello("web-1");
  raw.Read();
  for (const size_t i : {3U, 4U, 63U, 64U, 70U}) {
    const ingest::v1::ServerMessage m = raw.Exchange(batches_[i]);
    ASSERT_TRUE(m.has_ack()) << i << ": " << m.ShortDebugString();
    EXPECT_EQ(m.ack().log_index(), i);
  }
  EXPECT_EQ(LogLeaves().size(), 1100U);
}

TEST_F(TrailTest, ManyAgentsAtOnce) {
  StartCollector();
  constexpr int kAgents = 8;
  constexpr size_t kBatches = 60;
  std::vector<std::unique_ptr<MemorySource>> sources;
  std::vector<std::unique_ptr<agent::Shipper>> shippers;
  for (int a = 0; a < kAgents; ++a) {
    const std::string id = fmt::format("many-{}", a);
    pki().Run("agent", id);
    BatchMaker maker(pki(), id);
    sources.push_back(std::make_unique<MemorySource>());
    for (size_t i = 0; i < kBatches; ++i) sources.back()->Add(maker.Next(2, 300));
    shippers.push_back(std::make_unique<agent::Shipper>(ShipTo(collector_->port(), id), sources.back().get(), &clock_));
  }
  for (const auto& shipper : shippers) shipper->Start();
  for (const auto& source : sources) ASSERT_TRUE(WaitUntil([&] { return source->size() == 0; }));
  const std::vector<std::string> leaves = LogLeaves();
  EXPECT_EQ(leaves.size(), kAgents * kBatches);
  ExpectCheckpointOf(leaves);
  shippers.clear();
  StopCollector();
  EXPECT_EQ(Verify().verdict, trail::TrailVerdict::kIntact) << Verify().summary;
}

// A certificate and its authority are renewed while the collector runs.
TEST_F(TrailTest, ARenewedServerCertificateIsServed) {
  TestPki own;
  own.Run("agent", "web-1");
  config_.mutable_tls()->set_ca_file(own.File("tls-ca/ca.pem"));
  config_.mutable_tls()->set_cert_file(own.File("collector/tls.pem"));
  config_.mutable_tls()->set_key_file(own.File("collector/tls.key"));
  StartCollector();
  const auto probe = [&] {
    auto material = LoadTlsFiles(own.Agent("web-1"), clock_.WallNs());
    if (!material.ok()) return false;
    return ProbeTls(fmt::format("127.0.0.1:{}", collector_->port()), "localhost", *material, milliseconds(3000)).ok();
  };
  ASSERT_TRUE(probe());
  own.Run("init", "", "--ca next-ca");
  // Everyone moves to the next authority.
  own.Run("collector", "localhost 127.0.0.1", "--ca next-ca --force");
  own.Run("agent", "web-1", "--ca next-ca --force");
  fs::copy_file(own.File("next-ca/ca.pem"), own.File("tls-ca/ca.pem"), fs::copy_options::overwrite_existing);
  EXPECT_TRUE(WaitUntil(probe, milliseconds(15'000)));
}

}  // namespace
}  // namespace nodetrail::collector
