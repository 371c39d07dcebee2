// SPDX-License-Identifier: Apache-2.0
//
// A real collector and real nodetrail-witness processes: who is down, silent,
// rolled back or lying, and what the collector does about it.
#include <filesystem>
#include <fstream>

#include "collector/test_fixture.h"
#include "collector/witness/witness_book.h"
#include "nodetrail/query/v1/query.grpc.pb.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/policy.h"
#include "nodetrail/trail/verify.h"
#include "tests/fakes/canned_server.h"
#include "tests/fakes/tcp_proxy.h"
#include "witness/testing/witness_process.h"

namespace nodetrail::collector {
namespace {

namespace fs = std::filesystem;
using nodetrail::testing::CannedServer;
using nodetrail::testing::TcpProxy;
using std::chrono::milliseconds;
using witness::WitnessProcess;

class Witnessed : public CollectorTest {
 protected:
  Witnessed() {
    const auto signer = LogSigner::Load(pki().File("log/log.key"), config_.log_origin());
    log_vkey_ = signer->verifier.ToString();
    for (int i = 1; i <= 3; ++i) {
      witnesses_.push_back(std::make_unique<WitnessProcess>(fmt::format("{}/w{}", dir_.path(), i),
                                                            fmt::format("witness.example.com/w{}", i), log_vkey_));
      NT_CHECK(witnesses_.back()->Start());
      urls_.push_back(witnesses_.back()->url());
      vkeys_.push_back(witnesses_.back()->vkey());
    }
    config_.mutable_witness()->set_policy_file(dir_.path() + "/policy.txt");
    config_.mutable_witness()->set_timeout_ms(1000);
    WritePolicy("2");
  }

  WitnessProcess& w(size_t i) { return *witnesses_[i - 1]; }

  // Of all witnesses; `quorum` of them must cosign.
  void WritePolicy(const std::string& quorum, size_t count = 3) {
    std::string text = fmt::format("log {}\n", log_vkey_);
    std::string names;
    for (size_t i = 0; i < count; ++i) {
      text += fmt::format("witness w{} {} {}\n", i + 1, vkeys_[i], urls_[i]);
      names += fmt::format(" w{}", i + 1);
    }
    text += fmt::format("group all-of-them {}{}\nquorum all-of-them\n", quorum, names);
    std::ofstream(config_.witness().policy_file()) << text;
  }
  trail::LogPolicy Policy() const {
    return *trail::LogPolicy::Parse(*ReadFile(config_.witness().policy_file(), 65536));
  }
  // What the published checkpoint is under the policy.
  std::optional<trail::PolicyVerdict> Published() const {
    const auto note = ReadFile(Path("log/checkpoint"), 65536);
    if (!note.ok()) return std::nullopt;
    auto verdict = Policy().Examine(*note);
    EXPECT_TRUE(verdict.ok()) << verdict.status().ToString();
    if (!verdict.ok()) return std::nullopt;
    return *verdict;
  }
  // The whole log is under a checkpoint that exactly these did not cosign.
  void ExpectPublished(std::vector<std::string> missing) {
    const uint64_t leaves = LogLeaves().size();
    EXPECT_TRUE(WaitUntil([&] {
      const auto verdict = Published();
      if (!verdict || verdict->checkpoint.size != leaves || verdict->missing != missing) return false;
      // The file is there a moment before the collector's answers tell of it.
      return collector_ == nullptr || collector_->head().note == ReadFile(Path("log/checkpoint"), 65536).value_or("");
    })) << fmt::format("{} leaves; published: {}", leaves, ReadFile(Path("log/checkpoint"), 65536).value_or(""));
  }
  query::v1::StatusResponse Status() const {
    grpc::SslCredentialsOptions options;
    const TlsPaths tls = pki().Reader("alice");
    options.pem_root_certs = ReadFile(tls.ca_file, 1 << 20).value();
    options.pem_cert_chain = ReadFile(tls.cert_file, 1 << 20).value();
    options.pem_private_key = ReadFile(tls.key_file, 1 << 20).value();
    auto stub = query::v1::Query::NewStub(
        grpc::CreateChannel(fmt::format("127.0.0.1:{}", collector_->port()), grpc::SslCredentials(options)));
    grpc::ClientContext context;
    query::v1::StatusResponse response;
    const grpc::Status status = stub->Status(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  query::v1::WitnessStatus StatusOf(int i) const { return Status().witnesses(i - 1); }

  // `n` batches into the log of `collector`.
  void FeedTo(Collector* collector, BatchMaker* maker, size_t n, const std::string& agent_id = "web-1") {
    RawAgent raw(collector->port(), pki().Agent(agent_id));
    raw.Hello(agent_id);
    ASSERT_TRUE(raw.Read().has_welcome());
    for (size_t i = 0; i < n; ++i) ASSERT_TRUE(raw.Exchange(maker->Next()).has_ack());
  }
  void Feed(size_t n) { FeedTo(collector_.get(), &maker_, n); }
  void StopCollector() { collector_.reset(); }
  void RefusesToStart(const std::string& why) {
    const Failure failure = StartFails();
    EXPECT_EQ(failure.code, ExitCode::kStorage);
    EXPECT_NE(failure.status.message().find(why), std::string::npos) << failure.status.message();
    EXPECT_EQ(failure.status.message().find('\n'), std::string::npos);
  }
  std::string Path(const std::string& name) const { return config_.trail_dir() + "/" + name; }
  void CopyTrail(const std::string& to) {
    fs::remove_all(to);
    fs::copy(config_.trail_dir(), to, fs::copy_options::recursive);
  }

  std::string log_vkey_;
  std::vector<std::unique_ptr<WitnessProcess>> witnesses_;
  std::vector<std::string> urls_, vkeys_;
  BatchMaker maker_{pki(), "web-1"};
};

TEST_F(Witnessed, ACheckpointCarriesTheCosignatures) {
  StartCollector();
  Feed(300);  // over the edge of a tile
  ExpectPublished({});
  for (int round = 0; round < 3; ++round) {
    Feed(3);
    ExpectPublished({});
  }
  EXPECT_TRUE(Policy().Check(*ReadFile(Path("log/checkpoint"), 65536)).ok());
  const auto status = Status();
  EXPECT_TRUE(status.quorum());
  EXPECT_EQ(status.quorum_shortfall(), "");
  ASSERT_EQ(status.witnesses_size(), 3);
  for (const auto& one : status.witnesses()) {
    EXPECT_TRUE(one.current());
    EXPECT_EQ(one.size(), 309U);
    EXPECT_EQ(one.problem(), "");
    EXPECT_EQ(one.failures(), 0U);
    EXPECT_GT(one.cosigned_wall_s(), 1'700'000'000U);
  }
  StopCollector();
  // A further file beside the checkpoint is no trouble to who verifies.
  trail::VerifyPolicy policy;
  policy.identity_ca_pem = ReadFile(pki().File("identity-ca/ca.pem"), 1 << 16).value();
  policy.log_key = trail::NoteVerifier::Parse(log_vkey_).value();
  const auto report = trail::VerifyTrail(config_.trail_dir(), policy);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->verdict, trail::TrailVerdict::kIntact);
  // Nor to the collector: it goes on where it was.
  StartCollector();
  maker_.NewEpoch(2);
  Feed(2);
  ExpectPublished({});
}

TEST_F(Witnessed, AWitnessThatIsDownIsNamedAndCatchesUp) {
  StartCollector();
  Feed(5);
  ExpectPublished({});
  w(3).Kill();
  Feed(270);
  ExpectPublished({"w3"});
  EXPECT_TRUE(Status().quorum());
  EXPECT_NE(StatusOf(3).problem().find("onnect"), std::string::npos) << StatusOf(3).problem();
  EXPECT_GT(StatusOf(3).failures(), 0U);
  EXPECT_FALSE(StatusOf(3).current());
  ASSERT_TRUE(w(3).Start());
  ExpectPublished({});  // the same checkpoint again, with one line more
  EXPECT_EQ(StatusOf(3).problem(), "");
}

TEST_F(Witnessed, WithoutAQuorumItPublishesAndSaysSo) {
  StartCollector();
  Feed(5);
  ExpectPublished({});
  w(2).Kill();
  w(3).Kill();
  Feed(5);
  ExpectPublished({"w2", "w3"});
  auto status = Status();
  EXPECT_FALSE(status.quorum());
  EXPECT_NE(status.quorum_shortfall().find("w2"), std::string::npos) << status.quorum_shortfall();
  EXPECT_GT(status.uncosigned_checkpoints(), 0U);
  EXPECT_NE(collector_->StatusLine().find("witnesses: "), std::string::npos) << collector_->StatusLine();
  ASSERT_TRUE(w(2).Start());
  ExpectPublished({"w3"});
  EXPECT_TRUE(Status().quorum());
}

TEST_F(Witnessed, ABlackHoleDelaysButDoesNotStop) {
  TcpProxy proxy(w(3).port());
  urls_[2] = fmt::format("http://127.0.0.1:{}", proxy.port());
  WritePolicy("2");
  StartCollector();
  Feed(5);
  ExpectPublished({});
  proxy.BlackHole(true);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < 8; ++i) {
    Feed(1);
    ExpectPublished({"w3"});
  }
  const auto took = std::chrono::steady_clock::now() - begin;
  EXPECT_NE(StatusOf(3).problem().find("no answer within 1000 ms"), std::string::npos) << StatusOf(3).problem();
  // It was not waited for each time.
  EXPECT_LT(took, milliseconds(6000));
  proxy.BlackHole(false);
  ExpectPublished({});
}

TEST_F(Witnessed, AForeignCosignatureAndGarbageCountForNothing) {
  // A real witness under another key than the policy's, and one that talks nonsense.
  const trail::Ed25519Key other = trail::Ed25519Key::Generate();
  vkeys_[1] = trail::CosignerVerifier::Make("witness.example.com/w2", other.public_key())->ToString();
  CannedServer garbage("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nnot a line.\n");
  urls_[2] = garbage.url();
  WritePolicy("1");
  StartCollector();
  Feed(5);
  ExpectPublished({"w2", "w3"});
  EXPECT_NE(StatusOf(2).problem().find("no cosignature by"), std::string::npos) << StatusOf(2).problem();
  EXPECT_NE(StatusOf(3).problem().find("not signature lines"), std::string::npos) << StatusOf(3).problem();
}

// T33
TEST_F(Witnessed, ARolledBackWitnessRaisesAnAlarm) {
  StartCollector();
  Feed(5);
  ExpectPublished({});
  ASSERT_EQ(w(1).Stop(), 0);
  fs::copy(w(1).state_dir(), dir_.path() + "/backup", fs::copy_options::recursive);
  ASSERT_TRUE(w(1).Start());
  Feed(20);
  ExpectPublished({});
  ASSERT_EQ(w(1).Stop(), 0);
  fs::remove_all(w(1).state_dir());
  fs::copy(dir_.path() + "/backup", w(1).state_dir(), fs::copy_options::recursive);
  ASSERT_TRUE(w(1).Start());
  Feed(1);
  ExpectPublished({});
  EXPECT_TRUE(WaitUntil([&] { return StatusOf(1).rollbacks() == 1; }));
  EXPECT_NE(StatusOf(1).problem().find("rolled back: it knows size 5, and cosigned 25 before"), std::string::npos)
      << StatusOf(1).problem();
  Feed(3);
  ExpectPublished({});
  EXPECT_NE(StatusOf(1).problem().find("rolled back"), std::string::npos);  // stays
  StopCollector();
  StartCollector();
  EXPECT_EQ(StatusOf(1).rollbacks(), 1U);  // is remembered
}

// T10: two collectors with the log's key, two histories.
TEST_F(Witnessed, ASplitViewIsNotCosigned) {
  StartCollector();
  Feed(5);
  ExpectPublished({});
  StopCollector();
  CopyTrail(dir_.path() + "/other");
  StartCollector();
  config::v1::CollectorConfig other_config = config_;
  other_config.set_trail_dir(dir_.path() + "/other");
  Failure failure;
  auto other = Collector::Start(other_config, &clock_, &failure);
  ASSERT_NE(other, nullptr) << failure.status.ToString();
  BatchMaker second(pki(), "web-2");
  FeedTo(other.get(), &second, 1, "web-2");
  ASSERT_TRUE(WaitUntil([&] { return other->head().size == 6; })) << other->head().problem;
  maker_.NewEpoch(2);
  Feed(1);  // the same size, another root
  ASSERT_TRUE(WaitUntil([&] { return !collector_->head().problem.empty(); }));
  EXPECT_NE(collector_->head().problem.find("has cosigned another"), std::string::npos) << collector_->head().problem;
  EXPECT_EQ(Published()->checkpoint.size, 5U);
  // Nor a larger one.
  Feed(3);
  EXPECT_FALSE(collector_->healthy());
  EXPECT_EQ(Published()->checkpoint.size, 5U);
  // Nor after a restart.
  StopCollector();
  StartCollector();
  ASSERT_TRUE(WaitUntil([&] { return !collector_->head().problem.empty(); }));
  EXPECT_NE(collector_->head().problem.find("another history"), std::string::npos) << collector_->head().problem;
  EXPECT_EQ(Published()->checkpoint.size, 5U);
}

// T10, later: the fork has grown past what the witnesses know.
TEST_F(Witnessed, AForkThatWentAheadIsFoundByItsProof) {
  StartCollector();
  Feed(5);
  ExpectPublished({});
  StopCollector();
  CopyTrail(dir_.path() + "/other");
  StartCollector();
  maker_.NewEpoch(2);
  Feed(2);
  ExpectPublished({});
  StopCollector();
  for (int i = 1; i <= 3; ++i) w(static_cast<size_t>(i)).Kill();
  const std::string honest = config_.trail_dir();
  config_.set_trail_dir(dir_.path() + "/other");
  StartCollector();  // nobody is there to contradict it
  BatchMaker second(pki(), "web-2");
  FeedTo(collector_.get(), &second, 9, "web-2");
  ExpectPublished({"w1", "w2", "w3"});
  StopCollector();
  for (int i = 1; i <= 3; ++i) ASSERT_TRUE(w(static_cast<size_t>(i)).Start());
  RefusesToStart("has cosigned another history of this log: what it has at size 7");
}

// T11
TEST_F(Witnessed, ACollectorRestoredFromABackupRefusesToSign) {
  StartCollector();
  Feed(5);
  ExpectPublished({});
  StopCollector();
  CopyTrail(dir_.path() + "/backup");
  StartCollector();
  maker_.NewEpoch(2);
  Feed(7);
  ExpectPublished({});
  StopCollector();
  fs::rename(config_.trail_dir(), dir_.path() + "/newest");
  fs::rename(dir_.path() + "/backup", config_.trail_dir());
  RefusesToStart("has cosigned this log at size 12, but the trail has 5 leaves");
  RefusesToStart("Put the newest copy of the trail in place");
  // The fix that it names.
  fs::rename(config_.trail_dir(), dir_.path() + "/backup");
  fs::rename(dir_.path() + "/newest", config_.trail_dir());
  StartCollector();
  ExpectPublished({});
}

TEST_F(Witnessed, ALostTrailRefusesToBeginAgain) {
  StartCollector();
  Feed(5);
  ExpectPublished({});
  StopCollector();
  fs::remove_all(config_.trail_dir());
  RefusesToStart("has cosigned this log at size 5, but the trail has 0 leaves");
}

// T11, with the witnesses out of reach at start.
TEST_F(Witnessed, ARestoredCollectorStopsSigningWhenAWitnessComesBack) {
  StartCollector();
  Feed(5);
  ExpectPublished({});
  StopCollector();
  CopyTrail(dir_.path() + "/backup");
  StartCollector();
  maker_.NewEpoch(2);
  Feed(7);
  ExpectPublished({});
  StopCollector();
  for (size_t i = 1; i <= 3; ++i) w(i).Kill();
  fs::remove_all(config_.trail_dir());
  fs::rename(dir_.path() + "/backup", config_.trail_dir());
  StartCollector();
  ASSERT_TRUE(w(2).Start());
  ASSERT_TRUE(WaitUntil([&] { return !collector_->head().problem.empty(); }, milliseconds(40'000)));
  EXPECT_NE(collector_->head().problem.find("witness w2"), std::string::npos) << collector_->head().problem;
  EXPECT_NE(collector_->head().problem.find("size 12"), std::string::npos) << collector_->head().problem;
  EXPECT_EQ(Published()->checkpoint.size, 5U);
}

// T8: cut below the witnessed size and signed again with the stolen log key.
TEST_F(Witnessed, ALogCutBelowItsWitnessedSizeIsFound) {
  StartCollector();
  Feed(5);
  ExpectPublished({});
  StopCollector();
  CopyTrail(dir_.path() + "/cut");
  StartCollector();
  maker_.NewEpoch(2);
  Feed(7);
  ExpectPublished({});
  StopCollector();
  config_.set_trail_dir(dir_.path() + "/cut");
  const auto signer = LogSigner::Load(pki().File("log/log.key"), config_.log_origin());
  const auto leaves = LogLeaves();
  ASSERT_EQ(leaves.size(), 5U);
  std::vector<trail::Hash> hashes;
  for (const std::string& leaf : leaves) hashes.push_back(trail::LeafHash(leaf));
  hashes.pop_back();
  const std::string note =
      *trail::SignCheckpoint({config_.log_origin(), hashes.size(), trail::MerkleRoot(hashes), {}}, signer->key);
  std::ofstream(Path("log/checkpoint"), std::ios::trunc) << note;
  // Offline: the thief has no witness's key.
  EXPECT_EQ(Policy().Check(note).status().code(), Code::kFailedPrecondition);
  // Online: the collector asks.
  RefusesToStart("has cosigned this log at size 12, but the trail has 5 leaves");
}

// Killed between the cosignatures and the publication: the witnesses are ahead
// of log/checkpoint, but the leaves are there.
TEST_F(Witnessed, ACheckpointThatWasCosignedButNotPublishedIsNoConflict) {
  StartCollector();
  Feed(5);
  ExpectPublished({});
  const std::string old_note = *ReadFile(Path("log/checkpoint"), 65536);
  const std::string old_book = *ReadFile(Path("log/witnesses"), 65536);
  Feed(4);
  ExpectPublished({});
  StopCollector();
  std::ofstream(Path("log/checkpoint"), std::ios::trunc) << old_note;
  std::ofstream(Path("log/witnesses"), std::ios::trunc) << old_book;
  StartCollector();
  ExpectPublished({});
  maker_.NewEpoch(2);
  Feed(1);
  ExpectPublished({});
  EXPECT_EQ(StatusOf(1).rollbacks(), 0U);
}

TEST_F(Witnessed, AnAlteredBookStopsTheStart) {
  StartCollector();
  Feed(5);
  ExpectPublished({});
  StopCollector();
  std::string book = *ReadFile(Path("log/witnesses"), 65536);
  ASSERT_EQ(ParseWitnessBook(book)->at(vkeys_[0]).size, 5U);
  book[book.find(" 5 ") + 1] = '4';
  std::ofstream(Path("log/witnesses"), std::ios::trunc) << book;
  RefusesToStart("log/witnesses: the checksum does not match");
}

TEST_F(Witnessed, AnUnusablePolicyIsNamed) {
  const auto fails = [&](const std::string& text, const std::string& why) {
    std::ofstream(config_.witness().policy_file(), std::ios::trunc) << text;
    const Failure failure = StartFails();
    EXPECT_EQ(failure.code, ExitCode::kConfig);
    EXPECT_NE(failure.status.message().find(why), std::string::npos) << failure.status.message();
    EXPECT_NE(failure.status.message().find("policy.txt"), std::string::npos) << failure.status.message();
  };
  fails("quorum none\n", "it names no witness");
  fails(fmt::format("witness w1 {}\nquorum w1\n", vkeys_[0]), "witness w1 has no http or https URL");
  fails(fmt::format("witness w1 {} ftp://x\nquorum w1\n", vkeys_[0]), "witness w1 has no http or https URL");
  fails("witness\n", "line 1");
  const trail::Ed25519Key other = trail::Ed25519Key::Generate();
  fails(
      fmt::format("log {}\nwitness w1 {} {}\nquorum w1\n",
                  trail::NoteVerifier::Make(config_.log_origin(), other.public_key())->ToString(), vkeys_[0], urls_[0]),
      "add the line: log " + log_vkey_);
}

// The key is rolled under load: old, both, new. Whoever knows either key, or
// both, can check each checkpoint; who knows only the new one, from the middle on.
TEST_F(Witnessed, TheLogKeyIsRolledWithoutABreak) {
  const std::string next_file = dir_.path() + "/next.key";
  const auto next = witness::MakeKeyFile(next_file);
  ASSERT_TRUE(next.ok());
  const auto old_key = trail::NoteVerifier::Parse(log_vkey_).value();
  const auto new_key = trail::NoteVerifier::Make(config_.log_origin(), next->public_key()).value();
  const auto signed_by = [&](const trail::NoteVerifier& key) {
    return trail::VerifyCheckpoint(ReadFile(Path("log/checkpoint"), 65536).value_or(""), key).ok();
  };
  StartCollector();
  Feed(5);
  ExpectPublished({});
  EXPECT_TRUE(signed_by(old_key));
  EXPECT_FALSE(signed_by(new_key));
  StopCollector();
  log_vkey_ = new_key.ToString() + "\nlog " + old_key.ToString();
  WritePolicy("2");
  const std::string old_file = config_.log_key_file();
  config_.set_log_key_file(next_file);  // at one blow: no
  EXPECT_EQ(StartFails().code, ExitCode::kKeys);
  config_.set_log_key_file(old_file);
  config_.set_log_key_next_file(next_file);
  StartCollector();
  ASSERT_TRUE(WaitUntil([&] { return signed_by(new_key); }));  // though nothing was added
  EXPECT_TRUE(signed_by(old_key));
  ExpectPublished({});
  EXPECT_EQ(*ReadFile(Path("log/log-next.vkey"), 4096), new_key.ToString() + "\n");
  maker_.NewEpoch(2);
  Feed(3);
  ExpectPublished({});
  EXPECT_TRUE(signed_by(old_key) && signed_by(new_key));
  StopCollector();

  // Witnesses learn the new key, then the old one goes.
  for (size_t i = 1; i <= 3; ++i) {
    ASSERT_EQ(w(i).Stop(), 0);
    w(i).SetLogs(fmt::format("'{}', '{}'", old_key.ToString(), new_key.ToString()));
    ASSERT_TRUE(w(i).Start()) << w(i).log();
  }
  config_.set_log_key_file(next_file);
  config_.clear_log_key_next_file();
  StartCollector();
  maker_.NewEpoch(3);
  Feed(3);
  ExpectPublished({});
  EXPECT_TRUE(signed_by(new_key));
  EXPECT_FALSE(signed_by(old_key));
  EXPECT_EQ(*ReadFile(Path("log/log.vkey"), 4096), new_key.ToString() + "\n");
  EXPECT_FALSE(fs::exists(Path("log/log-next.vkey")));
  StopCollector();
  config_.set_log_key_file(old_file);  // and does not come back
  EXPECT_EQ(StartFails().code, ExitCode::kKeys);
}

TEST_F(Witnessed, AWitnessMayServeTls) {
  const std::string tls = fmt::format("tls: {{cert_file: {}, key_file: {}}}\n", pki().File("collector/tls.pem"),
                                      pki().File("collector/tls.key"));
  WitnessProcess secure(dir_.path() + "/secure", "witness.example.com/tls", log_vkey_, tls);
  ASSERT_TRUE(secure.Start()) << secure.log();
  vkeys_[0] = secure.vkey();
  urls_[0] = fmt::format("https://127.0.0.1:{}", secure.port());
  WritePolicy("1", 1);
  config_.mutable_witness()->set_ca_file(pki().File("tls-ca/ca.pem"));
  StartCollector();
  Feed(5);
  ExpectPublished({});
  StopCollector();
  // Another authority's server is not believed.
  config_.mutable_witness()->set_ca_file(pki().File("identity-ca/ca.pem"));
  StartCollector();
  EXPECT_TRUE(WaitUntil([&] { return StatusOf(1).problem().find("certificate") != std::string::npos; }));
}

}  // namespace
}  // namespace nodetrail::collector
