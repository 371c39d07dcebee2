// SPDX-License-Identifier: Apache-2.0
//
// By a collector that says "kept beside the log" of what it drops, and by
// others who use what is kept there.
#include <filesystem>
#include <utility>

#include "agent/ship/log_watch.h"
#include "agent/ship/shipper.h"
#include "collector/test_fixture.h"
#include "nodetrail/trail/leaf.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/receipt.h"
#include "tests/attacks/attack.h"
#include "tests/attacks/node.h"

namespace nodetrail::attacks {
namespace {

namespace fs = std::filesystem;
using nodetrail::testing::BatchMaker;
using nodetrail::testing::MemorySource;
using nodetrail::testing::TestPki;
using nodetrail::testing::WaitUntil;
using trail::Hash;
using trail::SealedBatch;

constexpr size_t kBatches = 8;
constexpr size_t kDropped = 3;  // and the next: both "kept"

// Its log and its receipts are right; of two batches it lies.
class Liar final : public ingest::v1::Ingest::Service {
 public:
  // `names`: its Welcome says that it lacks the two. `follows`: and its log has what follows them.
  Liar(const std::vector<SealedBatch>& batches, bool names, bool follows)
      : batches_(batches), names_(names), follows_(follows), key_(trail::Ed25519Key::Generate()) {}

  grpc::Status Stream(grpc::ServerContext* /*context*/,
                      grpc::ServerReaderWriter<ingest::v1::ServerMessage, ingest::v1::ClientMessage>* s) override {
    ingest::v1::ClientMessage in;
    std::optional<ingest::v1::ServerMessage> owed;  // the receipt of what came before the two
    while (s->Read(&in)) {
      if (in.has_hello()) {
        s->Write(Welcome());
        continue;
      }
      const size_t at = trail::ParseLeaf(in.frame().leaf())->header.seq();
      const bool dropped = at == kDropped || at == kDropped + 1;
      if (at > kDropped + 1 && !follows_) continue;
      s->Write(Answer(at, dropped ? ingest::v1::ACK_LEVEL_KEPT : ingest::v1::ACK_LEVEL_DURABLE));
      if (dropped) {
        if (at > kDropped && owed) s->Write(*std::exchange(owed, std::nullopt));
        continue;
      }
      ingest::v1::ServerMessage receipt = Answer(at, ingest::v1::ACK_LEVEL_LOGGED);
      receipt.mutable_ack()->set_proof(Receipt(at));
      // The last receipt before them comes after both were said to be kept.
      if (at + 1 == kDropped) owed = receipt;
      else s->Write(receipt);
    }
    return grpc::Status::OK;
  }

  [[nodiscard]] std::string Policy() const {
    return "log " + trail::NoteVerifier::Make("trail.example.org/acme", key_.public_key())->ToString() +
           "\nquorum none\n";
  }

 private:
  [[nodiscard]] ingest::v1::ServerMessage Welcome() const {
    ingest::v1::ServerMessage out;
    ingest::v1::Welcome* welcome = out.mutable_welcome();
    const SealedBatch& newest = batches_[kDropped + 2];
    welcome->set_known(true);
    welcome->set_epoch(newest.header.epoch());
    welcome->set_seq(newest.header.seq());
    welcome->set_batch_hash(trail::Bytes(newest.batch_hash));
    if (!names_) return out;
    ingest::v1::Gap* gap = welcome->add_gaps();
    gap->set_before_epoch(newest.header.epoch());
    gap->set_before_seq(kDropped - 1);
    gap->set_after_epoch(newest.header.epoch());
    gap->set_after_seq(kDropped + 2);
    return out;
  }
  [[nodiscard]] ingest::v1::ServerMessage Answer(size_t at, ingest::v1::AckLevel level) const {
    ingest::v1::ServerMessage out;
    ingest::v1::Ack* ack = out.mutable_ack();
    ack->set_level(level);
    ack->set_epoch(batches_[at].header.epoch());
    ack->set_seq(batches_[at].header.seq());
    ack->set_batch_hash(trail::Bytes(batches_[at].batch_hash));
    ack->set_log_index(level == ingest::v1::ACK_LEVEL_KEPT ? 0 : Index(at));
    return out;
  }
  static size_t Index(size_t at) { return at < kDropped ? at : at - 2; }
  [[nodiscard]] std::string Receipt(size_t at) const {
    std::vector<Hash> log;
    for (size_t i = 0; i < kBatches; ++i) {
      if (i != kDropped && i != kDropped + 1) log.push_back(trail::LeafHash(batches_[i].leaf));
    }
    const std::string note =
        *trail::SignCheckpoint({"trail.example.org/acme", log.size(), trail::MerkleRoot(log), {}}, key_);
    return trail::FormatReceipt(Index(at), *trail::InclusionProof(log, Index(at)), note);
  }

  const std::vector<SealedBatch>& batches_;
  const bool names_;
  const bool follows_;
  const trail::Ed25519Key key_;
};

// An agent that waits for receipts ships to such a collector. How many batches it keeps, and what it says.
std::pair<size_t, agent::ShipStats> ShipTo(bool names, bool follows) {
  const TestPki pki;
  pki.Run("agent", "web-1");
  BatchMaker maker(pki, "web-1");
  std::vector<SealedBatch> batches;
  MemorySource source;
  for (size_t i = 0; i < kBatches; ++i) {
    batches.push_back(maker.Next());
    source.Add(batches.back());
  }
  Liar liar(batches, names, follows);
  grpc::SslServerCredentialsOptions tls;
  tls.pem_key_cert_pairs.push_back({ReadFile(pki.File("collector/tls.key"), 1 << 16).value(),
                                    ReadFile(pki.File("collector/tls.pem"), 1 << 16).value()});
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(tls), &port);
  builder.RegisterService(&liar);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();

  const trail::TempDir dir;
  const auto watch = agent::LogWatch::Open(liar.Policy(), dir / "checkpoint").value();
  const SystemClock clock;
  agent::ShipOptions options;
  options.log_watch = watch.get();
  options.config.set_release("logged");
  options.config.set_endpoint(fmt::format("127.0.0.1:{}", port));
  const TlsPaths paths = pki.Agent("web-1");
  options.config.mutable_tls()->set_ca_file(paths.ca_file);
  options.config.mutable_tls()->set_cert_file(paths.cert_file);
  options.config.mutable_tls()->set_key_file(paths.key_file);
  options.config.set_window_batches(16);
  options.config.set_window_bytes(8U << 20);
  options.config.set_max_backoff_s(1);
  options.tenant = "default";
  options.agent_id = "web-1";
  options.initial_backoff = std::chrono::milliseconds(5);
  options.ack_timeout = std::chrono::milliseconds(500);
  agent::Shipper shipper(options, &source, &clock);
  shipper.Start();
  // It comes back for the answers that it lacks, or has nothing left.
  EXPECT_TRUE(WaitUntil([&] { return source.size() == 0 || shipper.Stats().attempts > 2; }));
  shipper.Stop(std::chrono::milliseconds(0)).Ignore();
  server->Shutdown(std::chrono::system_clock::now());
  return {source.size(), shipper.Stats()};
}

TEST_F(Attack, T36_SaidToBeKept) {
  {
    const auto [left, stats] = ShipTo(false, true);
    Found("agent: takes no such answer of what it was not asked for", left >= kBatches - kDropped && stats.bad_acks > 0,
          stats.last_error);
  }
  {
    const auto [left, stats] = ShipTo(true, false);
    Found("agent: deletes nothing unless the log goes on behind it", left >= kBatches - kDropped, stats.last_error);
  }
  {
    const auto [left, stats] = ShipTo(true, true);
    EXPECT_EQ(left, 0U) << stats.last_error;  // the log provably shows the hole
  }
  // Whoever stole the agent's TLS certificate puts there what the agent did not sign.
  const trail::TestCa ca;
  Node node(ca);
  node.Start();
  Site site(ca);
  for (int i = 0; i < 3; ++i) site.Take(node.Batch());
  const SealedBatch late = node.Batch();
  ASSERT_TRUE(Acked(site.Send(node.Batch(), true)));
  std::string forged = late.leaf;
  forged.back() = static_cast<char>(forged.back() ^ 1);
  const auto kept = [&](const ingest::v1::ServerMessage& answer) {
    return answer.ack().level() == ingest::v1::ACK_LEVEL_KEPT;
  };
  Found("collector: refused, quarantined", !kept(site.Send("web-1", forged, late.body)), "a signature");
  Found("collector: refused, quarantined", !kept(site.Send("web-1", late.leaf, late.body + "x")), "a body");
  Found("collector: refused, quarantined", !kept(site.Send("web-1", late.leaf, "")), "no body");
  // What is kept goes from the disk.
  const auto answer = site.Send(late);
  ASSERT_TRUE(kept(answer)) << answer.ShortDebugString();
  ASSERT_EQ(site.Sign(), "");
  fs::remove_all(site.trail() + "/quarantine/late");
  const auto report = site.Verify();
  Found("verifier: exit 2", static_cast<int>(report.verdict) == 2, VerifyReportText(report));
}

}  // namespace
}  // namespace nodetrail::attacks
