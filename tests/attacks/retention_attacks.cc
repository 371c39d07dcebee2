// SPDX-License-Identifier: Apache-2.0
//
// By whoever runs the collector: bodies deleted that must be there, and reads
// that nobody is to know of.
#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <functional>
#include <set>

#include "collector/collector.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/query/v1/query.grpc.pb.h"
#include "nodetrail/trail/eviction.h"
#include "nodetrail/trail/log_entry.h"
#include "tests/attacks/attack.h"
#include "tests/attacks/ground.h"
#include "tests/fakes/test_pki.h"

namespace nodetrail::attacks {
namespace {

namespace fs = std::filesystem;
using trail::SealedBatch;
using trail::VerifyReport;
using trail::v1::LogEntry;

constexpr uint64_t kDay = 86'400'000'000'000;
constexpr uint64_t kStart = 1'700'000'000'000'000'000;

LogEntry EntryAt(uint64_t wall_ns) {
  LogEntry entry;
  entry.set_format_version(1);
  entry.set_tenant("acme");
  entry.set_wall_ns(wall_ns);
  return entry;
}

LogEntry HoldOf(const std::string& id) {
  LogEntry entry = EntryAt(kStart);
  entry.mutable_hold()->set_id(id);
  entry.mutable_hold()->set_reason("court order");
  entry.mutable_hold()->set_by("ann");
  return entry;
}

// A trail whose collector deleted a body after these entries and a Retire that
// is right but for `edit`, all of it under a root that it signed.
VerifyReport Deleted(const std::vector<LogEntry>& before, const std::function<void(LogEntry*)>& edit) {
  Ground ground;
  ground.Take(6);
  ground.Write();
  const SealedBatch& victim = ground.batches[3];
  std::vector<std::string> leaves = ground.Leaves();
  for (const LogEntry& entry : before) leaves.push_back(*trail::MakeLogEntry(entry, ground.log_key));
  const uint64_t then = victim.header.sealed_wall_ns() + kDay;
  LogEntry entry = EntryAt(then);
  trail::v1::Retire* retire = entry.mutable_retire();
  retire->set_policy("one-day");
  retire->set_max_age_ns(kDay);
  retire->set_not_before_ns(then);
  retire->set_holds_checked_at(leaves.size());
  retire->add_leaves(3);
  retire->set_body_sha256(victim.header.body_sha256());
  if (edit) edit(&entry);
  leaves.push_back(*trail::MakeLogEntry(entry, ground.log_key));
  ground.RewriteSigned(leaves);
  fs::remove(ground.BodyFile(victim));
  return ground.Verify();
}

// A collector of its own, and a reader with a certificate.
class ReadSite {
 public:
  explicit ReadSite(uint64_t min_free_bytes) {
    pki_.Run("reader", "mallory");
    config_.set_trail_dir(dir_.path() + "/trail");
    config_.set_listen("127.0.0.1:0");
    config_.mutable_tls()->set_ca_file(pki_.File("tls-ca/ca.pem"));
    config_.mutable_tls()->set_cert_file(pki_.File("collector/tls.pem"));
    config_.mutable_tls()->set_key_file(pki_.File("collector/tls.key"));
    config_.set_identity_ca_file(pki_.File("identity-ca/ca.pem"));
    config_.set_log_key_file(pki_.File("log/log.key"));
    config_.set_log_origin("trail.example.com/default");
    config_.set_tenant("default");
    config_.set_checkpoint_interval_ms(20);
    config_.set_min_free_bytes(min_free_bytes);
    config_.mutable_index()->set_partition_hours(24);
    Start();
    const TlsPaths tls = pki_.Reader("mallory");
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = Slurp(tls.ca_file);
    options.pem_cert_chain = Slurp(tls.cert_file);
    options.pem_private_key = Slurp(tls.key_file);
    stub_ = query::v1::Query::NewStub(
        grpc::CreateChannel("127.0.0.1:" + std::to_string(collector_->port()), grpc::SslCredentials(options)));
  }

  // With a rule that nobody but who wrote the configuration knows of.
  void RestartWithRule(uint32_t max_age_d) {
    collector_.reset();
    config_.mutable_retention()->set_policy("short");
    config_.mutable_retention()->set_max_age_d(max_age_d);
    config_.mutable_retention()->set_interval_s(1);
    Start();
  }
  // Everything is held.
  [[nodiscard]] bool HoldsAll() const {
    const auto reader = trail::TrailReader::Open(config_.trail_dir());
    NT_CHECK(reader.ok());
    bool held = false;
    const auto take = [&](const trail::LeafLocation&, std::string_view leaf) {
      const auto entry = trail::ParseLogEntry(leaf);
      NT_CHECK(entry.ok());
      const trail::v1::Hold& hold = entry->entry.hold();
      held |= entry->entry.has_hold() && hold.agents().empty() && hold.since_wall_ns() + hold.until_wall_ns() == 0;
      return true;
    };
    NT_CHECK((*reader)->ForEach(0, take).ok());
    return held;
  }

  // What each kind of read is answered.
  grpc::Status Search() {
    grpc::ClientContext context;
    const auto rows = stub_->Search(&context, {});
    query::v1::EventRow row;
    while (rows->Read(&row)) {
    }
    return rows->Finish();
  }
  grpc::Status Get() {
    grpc::ClientContext context;
    query::v1::GetRequest request;
    request.set_event_id("web-1:1:1");
    query::v1::GetResponse response;
    return stub_->Get(&context, request, &response);
  }
  // Up to the first byte of the answer.
  grpc::Status Tail() {
    grpc::ClientContext context;
    const auto rows = stub_->Tail(&context, {});
    rows->WaitForInitialMetadata();
    context.TryCancel();
    return rows->Finish();
  }
  // Of the reads that the log has.
  [[nodiscard]] std::multiset<std::string> Entered() const {
    std::multiset<std::string> methods;
    const auto reader = trail::TrailReader::Open(config_.trail_dir());
    NT_CHECK(reader.ok());
    NT_CHECK((*reader)
                 ->ForEach(0,
                           [&](const trail::LeafLocation&, std::string_view leaf) {
                             const auto entry = trail::ParseLogEntry(leaf);
                             NT_CHECK(entry.ok());
                             methods.insert(entry->entry.access().method());
                             return true;
                           })
                 .ok());
    return methods;
  }

 private:
  void Start() {
    collector::Failure failure;
    collector_ = collector::Collector::Start(config_, &clock_, &failure);
    NT_CHECK(collector_ != nullptr);
  }

  SystemClock clock_;
  testing::TestPki pki_;
  testing::TempDir dir_;
  config::v1::CollectorConfig config_;
  std::unique_ptr<collector::Collector> collector_;
  std::unique_ptr<query::v1::Query::Stub> stub_;
};

TEST_F(Attack, T30_EarlyDeletion) {
  Ground ground;
  ground.Take(6);
  ground.Write();
  ASSERT_EQ(ground.Exit(), 0);
  const SealedBatch& victim = ground.batches[3];
  fs::remove(ground.BodyFile(victim));
  VerifyReport report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, VerifyReportText(report));

  // With a statement that the agent gave it up: it is about another batch.
  const auto identity = ground.ca.IssueAgent("acme", "web-1");
  const auto certificate = trail::Certificate::FromPem(identity.cert_pem);
  const auto key = trail::EcdsaKey::FromPem(identity.key_pem);
  ASSERT_TRUE(certificate.ok() && key.ok());
  const std::string path =
      ground.trail() + "/" + trail::EvictionPath(*trail::HashFromBytes(victim.header.body_sha256()));
  const SealedBatch& other = ground.batches[2];
  Spill(path,
        *trail::SignEviction(trail::EvictionStatement(other.header, other.batch_hash, 1), *key, *certificate, {}));
  report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, VerifyReportText(report));

  // Or signed by a key that is not the certificate's.
  Spill(path, *trail::SignEviction(trail::EvictionStatement(victim.header, victim.batch_hash, 1),
                                   trail::EcdsaKey::Generate(), *certificate, {}));
  report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, VerifyReportText(report));

  // Rightly, it is no attack.
  ASSERT_EQ(static_cast<int>(Deleted({}, nullptr).verdict), 0);

  // With the collector's own word for it, as it may not give it.
  const auto found_with = [&](const std::vector<LogEntry>& before, const std::function<void(LogEntry*)>& edit) {
    report = Deleted(before, edit);
    Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, VerifyReportText(report));
  };
  found_with({}, [](auto* entry) { entry->set_wall_ns(entry->wall_ns() - 1); });
  found_with({}, [](auto* entry) { entry->mutable_retire()->set_max_age_ns(2 * kDay); });
  found_with({}, [](auto* entry) { entry->mutable_retire()->set_body_sha256(std::string(32, 'x')); });
  found_with({HoldOf("case-7")}, nullptr);
  // One person alone lifts the hold.
  LogEntry release = EntryAt(kStart);
  release.mutable_release()->set_id("case-7");
  release.mutable_release()->set_requested_by("mallory");
  release.mutable_release()->set_confirmed_by("mallory");
  found_with({HoldOf("case-7"), release}, nullptr);

  // With a shorter rule that one person writes into the configuration: a hold on all, which two release.
  ReadSite site(0);
  ASSERT_TRUE(site.Search().ok());  // the log is not empty
  site.RestartWithRule(1);
  Found("collector: holds everything until two persons agree", site.HoldsAll());
}

TEST_F(Attack, T31_SilentRead) {
  ReadSite site(0);
  EXPECT_TRUE(site.Search().ok());
  EXPECT_EQ(site.Get().error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(site.Tail().error_code(), grpc::StatusCode::CANCELLED);
  const std::multiset<std::string> entered = site.Entered();
  Found("log: an entry of each read", entered == std::multiset<std::string>{"Get", "Search", "Tail"});

  // With a log that takes nothing.
  ReadSite full(UINT64_MAX);
  const grpc::Status answer = full.Search();
  Found("collector: answers no read that it can't enter", answer.error_code() == grpc::StatusCode::UNAVAILABLE,
        answer.error_message());
}

}  // namespace
}  // namespace nodetrail::attacks
