// SPDX-License-Identifier: Apache-2.0
//
// Who is revoked is out, on both sides, without a restart; and who the
// collector is, as the agent sees it.
#include "nodetrail/base/revocation.h"

#include <filesystem>

#include "collector/test_fixture.h"
#include "nodetrail/peer/collector_check.h"
#include "nodetrail/query/v1/query.grpc.pb.h"

namespace nodetrail::collector {
namespace {

namespace fs = std::filesystem;
using agent::Shipper;
using std::chrono::milliseconds;

constexpr uint64_t kDayNs = 86'400ULL * 1'000'000'000;

class RevocationTest : public CollectorTest {
 protected:
  RevocationTest() {
    own_.Run("agent", "web-1");
    own_.Run("agent", "web-2");
    own_.Run("reader", "alice");
    own_.Run("crl", "");
    crl_ = own_.File("tls-ca/crl.pem");
    ca_ = own_.File("tls-ca/ca.pem");
    config_.mutable_tls()->set_ca_file(ca_);
    config_.mutable_tls()->set_cert_file(own_.File("collector/tls.pem"));
    config_.mutable_tls()->set_key_file(own_.File("collector/tls.key"));
    config_.set_identity_ca_file(own_.File("identity-ca/ca.pem"));
    config_.set_crl_file(crl_);
  }
  [[nodiscard]] std::string Pem(const std::string& name) const { return ReadFile(own_.File(name), 1 << 20).value(); }
  void Revoke(const std::string& name) { own_.Run("crl", own_.File(name)); }
  static void Replace(const std::string& path, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomically(path, text, 0644).ok());
  }
  agent::ShipOptions ShipOwn(int port) {
    agent::ShipOptions options = ShipTo(port);
    const TlsPaths tls = own_.Agent("web-1");
    options.config.mutable_tls()->set_ca_file(tls.ca_file);
    options.config.mutable_tls()->set_cert_file(tls.cert_file);
    options.config.mutable_tls()->set_key_file(tls.key_file);
    return options;
  }

  TestPki own_;
  std::string crl_, ca_;
};

TEST_F(RevocationTest, TheListsDecide) {
  RevocationFile lists(crl_, ca_);
  const uint64_t now = clock_.WallNs();
  const std::string web1 = Pem("agents/web-1/tls.pem");
  const std::string web2 = Pem("agents/web-2/tls.pem");
  EXPECT_TRUE(lists.Check(web1, "", now).ok());
  EXPECT_TRUE(lists.Check(web1, web1 + web2, now).ok());
  const uint64_t before = lists.Generation();
  Revoke("agents/web-1/tls.pem");
  EXPECT_GT(lists.Generation(), before);
  const Status revoked = lists.Check(web1, "", now);
  EXPECT_EQ(revoked.code(), Code::kPermissionDenied);
  EXPECT_NE(std::string(revoked.message()).find("revoked"), std::string::npos) << revoked.message();
  EXPECT_TRUE(lists.Check(web2, web1, now).ok());
  // Once more, with another: both are revoked.
  own_.Run("crl", own_.File("agents/web-1/tls.pem") + " " + own_.File("readers/alice/tls.pem"));
  EXPECT_EQ(lists.Check(web1, "", now).code(), Code::kPermissionDenied);
  EXPECT_EQ(lists.Check(Pem("readers/alice/tls.pem"), "", now).code(), Code::kPermissionDenied);
  EXPECT_TRUE(lists.Check(web2, "", now).ok());
  EXPECT_EQ(lists.Check("no PEM", "", now).code(), Code::kFailedPrecondition);
  // Of nobody we trust.
  const TestPki other;
  EXPECT_EQ(lists.Check(ReadFile(other.File("collector/tls.pem"), 1 << 20).value(), "", now).code(),
            Code::kFailedPrecondition);
  // Nobody is ever revoked without a file.
  EXPECT_TRUE(RevocationFile("", ca_).Check(web1, "", now).ok());
}

TEST_F(RevocationTest, AListThatIsOldOrMissingLetsNobodyIn) {
  const std::string web1 = Pem("agents/web-1/tls.pem");
  const auto now = [&] { return clock_.WallNs(); };
  RevocationFile lists(crl_, ca_);
  EXPECT_EQ(lists.Check(web1, "", now() + 100 * kDayNs).code(), Code::kFailedPrecondition);
  own_.Run("crl", "", "--expired");
  Status s = lists.Check(web1, "", now());
  EXPECT_NE(std::string(s.message()).find("out of date"), std::string::npos) << s.message();
  own_.Run("crl", "", "--not-yet-valid");
  s = lists.Check(web1, "", now());
  EXPECT_NE(std::string(s.message()).find("not valid yet"), std::string::npos) << s.message();
  own_.Run("crl", "");
  EXPECT_TRUE(lists.Check(web1, "", now()).ok());
  // A second authority needs its own.
  own_.Run("agent", "web-3", "--ca tls-ca2");
  Replace(ca_, Pem("tls-ca/ca.pem") + Pem("tls-ca2/ca.pem"));
  s = lists.Check(Pem("agents/web-3/tls.pem"), "", now());
  EXPECT_NE(std::string(s.message()).find("no list of"), std::string::npos) << s.message();
  own_.Run("crl", "", "--ca tls-ca2");
  Replace(crl_, Pem("tls-ca/crl.pem") + Pem("tls-ca2/crl.pem"));
  EXPECT_TRUE(lists.Check(Pem("agents/web-3/tls.pem"), "", now()).ok());
  EXPECT_TRUE(lists.Check(web1, "", now()).ok());
}

TEST_F(RevocationTest, ABadFileIsAnErrorAtFirstAndIgnoredLater) {
  const std::string web1 = Pem("agents/web-1/tls.pem");
  const std::string good = Pem("tls-ca/crl.pem");
  const uint64_t now = clock_.WallNs();
  // A list that says it is of our authority, and is not.
  const TestPki other;
  other.Run("crl", "");
  const std::string forged = ReadFile(other.File("tls-ca/crl.pem"), 1 << 20).value();
  for (const std::string& bad : {std::string(), std::string("x"), good.substr(0, good.size() / 2), forged,
                                 good + good.substr(0, good.size() / 2)}) {
    Replace(crl_, bad);
    RevocationFile fresh(crl_, ca_);
    const Status s = fresh.Refresh();
    EXPECT_FALSE(s.ok());
    EXPECT_NE(std::string(s.message()).find(crl_), std::string::npos) << s.message();
    EXPECT_FALSE(fresh.Check(web1, "", now).ok());
  }
  fs::remove(crl_);
  EXPECT_FALSE(RevocationFile(crl_, ca_).Refresh().ok());

  Replace(crl_, good);
  Revoke("agents/web-1/tls.pem");
  RevocationFile lists(crl_, ca_);
  EXPECT_EQ(lists.Check(web1, "", now).code(), Code::kPermissionDenied);
  for (const std::string& bad : {std::string("x"), forged}) {
    Replace(crl_, bad);
    EXPECT_TRUE(lists.Refresh().ok());
    EXPECT_EQ(lists.Check(web1, "", now).code(), Code::kPermissionDenied);
  }
  fs::remove(crl_);
  EXPECT_EQ(lists.Check(web1, "", now).code(), Code::kPermissionDenied);
}

// A stream that is open when its certificate is revoked has no further batch
// taken, and none is lost.
TEST_F(RevocationTest, ARevokedAgentIsOutAtItsNextBatch) {
  StartCollector();
  BatchMaker maker(own_, "web-1");
  BatchMaker other_maker(own_, "web-2");
  RawAgent raw(collector_->port(), own_.Agent("web-1"));
  RawAgent other(collector_->port(), own_.Agent("web-2"));
  raw.Hello("web-1");
  other.Hello("web-2");
  ASSERT_TRUE(raw.Read().has_welcome());
  ASSERT_TRUE(other.Read().has_welcome());
  ASSERT_TRUE(raw.Exchange(maker.Next()).has_ack());
  Revoke("agents/web-1/tls.pem");
  EXPECT_TRUE(other.Exchange(other_maker.Next()).has_ack());
  EXPECT_FALSE(raw.Exchange(maker.Next()).has_ack());
  const grpc::Status end = raw.Finish();
  EXPECT_EQ(end.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_NE(end.error_message().find("revoked"), std::string::npos) << end.error_message();
  RawAgent again(collector_->port(), own_.Agent("web-1"));
  again.Hello("web-1");
  EXPECT_FALSE(again.Read().has_welcome());
  EXPECT_EQ(again.Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(LogLeaves().size(), 2U);
}

TEST_F(RevocationTest, ARevokedReaderIsNotAnswered) {
  StartCollector();
  const TlsPaths tls = own_.Reader("alice");
  grpc::SslCredentialsOptions options{Pem("tls-ca/ca.pem"), ReadFile(tls.key_file, 1 << 20).value(),
                                      ReadFile(tls.cert_file, 1 << 20).value()};
  const auto stub = query::v1::Query::NewStub(
      grpc::CreateChannel(fmt::format("127.0.0.1:{}", collector_->port()), grpc::SslCredentials(options)));
  const auto status = [&] {
    grpc::ClientContext context;
    query::v1::StatusResponse response;
    return stub->Status(&context, {}, &response);
  };
  EXPECT_TRUE(status().ok());
  Revoke("readers/alice/tls.pem");
  EXPECT_EQ(status().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(RevocationTest, ACollectorWithoutItsListsDoesNotStart) {
  config_.set_crl_file(dir_.path() + "/nothing.pem");
  const Failure failure = StartFails();
  EXPECT_EQ(failure.code, ExitCode::kKeys);
  EXPECT_NE(std::string(failure.status.message()).find("nothing.pem"), std::string::npos);
}

// The agent's side: a connection that is open, and one that is tried.
TEST_F(RevocationTest, ARevokedCollectorGetsNothingMore) {
  config_.clear_crl_file();
  StartCollector();
  BatchMaker maker(own_, "web-1");
  MemorySource source;
  agent::ShipOptions options = ShipOwn(collector_->port());
  options.config.set_crl_file(crl_);
  Shipper shipper(options, &source, &clock_);
  shipper.Start();
  source.Add(maker.Next());
  shipper.Notify();
  ASSERT_TRUE(WaitUntil([&] { return source.size() == 0; })) << shipper.Stats().last_error;
  const std::string old_cert = Pem("collector/tls.pem");
  Revoke("collector/tls.pem");
  source.Add(maker.Next());
  shipper.Notify();
  ASSERT_TRUE(WaitUntil([&] { return shipper.Stats().last_error.find("revoked") != std::string::npos; }))
      << shipper.Stats().last_error;
  const uint64_t attempts = shipper.Stats().attempts;
  ASSERT_TRUE(WaitUntil([&] { return shipper.Stats().attempts > attempts + 2; }));
  EXPECT_EQ(shipper.Stats().connects, 1U);
  EXPECT_EQ(source.size(), 1U);
  EXPECT_EQ(LogLeaves().size(), 1U);
  // A new certificate is taken, by both without a restart.
  own_.Run("collector", "localhost 127.0.0.1", "--force");
  EXPECT_TRUE(WaitUntil([&] { return source.size() == 0; }, milliseconds(30'000))) << shipper.Stats().last_error;
}

TEST_F(RevocationTest, TheAgentAsksWhoTheCollectorIs) {
  const auto check = [&](const std::string& options, const std::string& id, const std::string& tenant = "default") {
    own_.Run("collector", "localhost 127.0.0.1", "--force " + options);
    return CheckCollector({.endpoint = "127.0.0.1:1", .server_name = "", .collector_id = id, .tenant = tenant},
                          Pem("collector/tls.pem"), Pem("agents/web-1/tls.pem"));
  };
  EXPECT_TRUE(check("", "").ok());
  EXPECT_TRUE(check("", "spiffe://nodetrail.dev/t/default/c/collector").ok());
  EXPECT_FALSE(check("", "spiffe://nodetrail.dev/t/default/c/other").ok());
  EXPECT_FALSE(check("", "", "acme").ok());
  EXPECT_FALSE(check("--domain example.com", "").ok());
  EXPECT_TRUE(check("--domain example.com", "spiffe://example.com/t/default/c/collector").ok());
  EXPECT_FALSE(check("--tenant acme", "").ok());
  const std::string host = "IP:127.0.0.1";
  for (const std::string& san :
       {host, host + ",URI:spiffe://nodetrail.dev/t/default/a/web-1", host + ",URI:https://nodetrail.dev/",
        host + ",URI:spiffe://nodetrail.dev/t/default/c/a,URI:spiffe://nodetrail.dev/t/default/c/b"}) {
    const Status refused = check("--san " + san, "");
    EXPECT_EQ(refused.code(), Code::kFailedPrecondition) << san;
    EXPECT_NE(std::string(refused.message()).find("ship.collector_id"), std::string::npos) << refused.message();
    EXPECT_TRUE(check("--san " + san, "none").ok());
  }
  // Its host is asked in any case.
  EXPECT_FALSE(check("--san DNS:elsewhere,URI:spiffe://nodetrail.dev/t/default/c/collector", "").ok());
  EXPECT_FALSE(check("--san DNS:elsewhere", "none").ok());
}

// An agent's certificate that may serve TLS is still no collector's.
TEST_F(RevocationTest, NothingIsSentToWhoIsNoCollector) {
  config_.clear_crl_file();
  own_.Run("collector", "localhost 127.0.0.1",
           "--force --san IP:127.0.0.1,URI:spiffe://nodetrail.dev/t/default/a/web-2");
  StartCollector();
  BatchMaker maker(own_, "web-1");
  MemorySource source;
  source.Add(maker.Next());
  Shipper shipper(ShipOwn(collector_->port()), &source, &clock_);
  shipper.Start();
  ASSERT_TRUE(WaitUntil([&] { return shipper.Stats().last_error.find("is not of a collector") != std::string::npos; }))
      << shipper.Stats().last_error;
  EXPECT_EQ(source.size(), 1U);
  EXPECT_EQ(collector_->ingest().Totals().streams, 0U);
  EXPECT_EQ(LogLeaves().size(), 0U);
}

}  // namespace
}  // namespace nodetrail::collector
