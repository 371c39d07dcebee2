// SPDX-License-Identifier: Apache-2.0
//
// Enrolment, renewal and revocation against a collector in this process, over
// its real ports and its admin socket.
#include "agent/enrol/enrol.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "agent/enrol/key_request.h"
#include "collector/admin/admin_commands.h"
#include "collector/admin/admin_socket.h"
#include "collector/enrol/certificates.h"
#include "collector/enrol/token_store.h"
#include "collector/test_fixture.h"
#include "nodetrail/enrol/v1/enrol.grpc.pb.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/verify.h"

namespace nodetrail::collector {
namespace {

constexpr const char* kUri = "spiffe://nodetrail.dev/t/default/a/web-9";

// A request with whatever names, signed by its key or (`forged`) by another.
std::string CsrWith(const std::string& key_pem, const char* san, bool forged = false, const char* also = nullptr) {
  BIO* bio = BIO_new_mem_buf(key_pem.data(), static_cast<int>(key_pem.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  X509_REQ* request = X509_REQ_new();
  X509_REQ_set_pubkey(request, key);
  STACK_OF(X509_EXTENSION)* extensions = sk_X509_EXTENSION_new_null();
  if (san != nullptr)
    sk_X509_EXTENSION_push(extensions, X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, san));
  if (also != nullptr)
    sk_X509_EXTENSION_push(extensions, X509V3_EXT_conf_nid(nullptr, nullptr, NID_basic_constraints, also));
  if (sk_X509_EXTENSION_num(extensions) > 0) X509_REQ_add_extensions(request, extensions);
  EVP_PKEY* other = EVP_EC_gen("P-256");
  X509_REQ_sign(request, forged ? other : key, EVP_sha256());
  unsigned char* der = nullptr;
  const int size = i2d_X509_REQ(request, &der);
  std::string out(reinterpret_cast<const char*>(der), static_cast<size_t>(size));
  OPENSSL_free(der);
  sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
  X509_REQ_free(request);
  EVP_PKEY_free(key);
  EVP_PKEY_free(other);
  return out;
}

std::string KeyOf(EVP_PKEY* key) {
  BIO* bio = BIO_new(BIO_s_mem());
  PEM_write_bio_PrivateKey(bio, key, nullptr, nullptr, 0, nullptr, nullptr);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string out(data, static_cast<size_t>(size));
  BIO_free(bio);
  EVP_PKEY_free(key);
  return out;
}

TEST(CertRequest, TakesOneKeyThatItsOwnerHas) {
  const std::string key = agent::NewKeyPem().value();
  const std::string good = agent::MakeCertRequest(key, "web-9").value();
  ASSERT_TRUE(CertRequest::Parse(good, kUri).ok());
  EXPECT_TRUE(CertRequest::Parse(CsrWith(key, (std::string("URI:") + kUri).c_str()), kUri).ok());
  const auto refused = [](const std::string& der) {
    return CertRequest::Parse(der, kUri).status().code() == Code::kInvalidArgument;
  };
  EXPECT_TRUE(refused(CsrWith(key, "URI:spiffe://nodetrail.dev/t/default/a/web-1")));
  EXPECT_TRUE(refused(CsrWith(key, (std::string("URI:") + kUri + ",DNS:web-9").c_str())));
  EXPECT_TRUE(refused(CsrWith(key, (std::string("URI:") + kUri + ",URI:" + kUri).c_str())));
  EXPECT_TRUE(refused(CsrWith(key, "DNS:web-9")));
  EXPECT_TRUE(refused(CsrWith(key, (std::string("URI:") + kUri).c_str(), false, "CA:TRUE")));
  EXPECT_TRUE(refused(CsrWith(key, nullptr, false, "CA:TRUE")));
  EXPECT_TRUE(refused(CsrWith(key, nullptr, true)));  // possession is not proved
  EXPECT_TRUE(refused(CsrWith(KeyOf(EVP_EC_gen("P-384")), nullptr)));
  EXPECT_TRUE(refused(CsrWith(KeyOf(EVP_RSA_gen(2048)), nullptr)));
  EXPECT_TRUE(refused(""));
  EXPECT_TRUE(refused("garbage"));
  EXPECT_TRUE(refused(good + "x"));
  EXPECT_TRUE(refused(good.substr(0, good.size() - 1)));
  EXPECT_TRUE(refused(std::string(kMaxCsrBytes + 1, '0')));
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    EXPECT_TRUE(refused(bad)) << i;
  }
}

class EnrolTest : public CollectorTest {
 protected:
  void SetUp() override {
    TestEnrolment(pki(), &config_);
    StartCollector();
  }
  std::string Token(const std::string& pattern = "web-*") {
    enrol::v1::AdminRequest request;
    request.mutable_create_token()->set_agent_pattern(pattern);
    request.mutable_create_token()->set_ttl_seconds(600);
    return Admin(request).create_token().token();
  }
  enrol::v1::AdminResponse Admin(const enrol::v1::AdminRequest& request) {
    const auto answer = AskCollector(AdminSocketPath(config_), request);
    EXPECT_TRUE(answer.ok()) << answer.status().ToString();
    return answer.ok() ? *answer : enrol::v1::AdminResponse();
  }
  enrol::v1::RevokeAgentResponse Revoke(const std::string& agent) {
    enrol::v1::AdminRequest request;
    request.mutable_revoke_agent()->set_agent_id(agent);
    request.mutable_revoke_agent()->set_reason("stolen");
    return Admin(request).revoke_agent();
  }
  agent::EnrolOptions Options(const std::string& token, const std::string& agent_id, const std::string& out = "") {
    const std::string token_file = dir_.path() + "/token-" + std::to_string(++files_);
    EXPECT_TRUE(WriteFileAtomically(token_file, token + "\n", 0600).ok());
    agent::EnrolOptions options;
    options.collector = fmt::format("127.0.0.1:{}", collector_->enrol_port());
    options.token_file = token_file;
    options.ca_file = pki().File("tls-ca/ca.pem");
    options.out_dir = dir_.path() + "/" + (out.empty() ? agent_id : out);
    options.agent_id = agent_id;
    options.endpoint = fmt::format("127.0.0.1:{}", collector_->port());
    return options;
  }
  // A request without the agent's program.
  grpc::Status Ask(const enrol::v1::EnrolRequest& request, enrol::v1::EnrolResponse* response = nullptr) {
    grpc::SslCredentialsOptions tls;
    tls.pem_root_certs = ReadFile(pki().File("tls-ca/ca.pem"), 1 << 20).value();
    grpc::ChannelArguments args;
    args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub = enrol::v1::Enrolment::NewStub(grpc::CreateCustomChannel(
        fmt::format("127.0.0.1:{}", collector_->enrol_port()), grpc::SslCredentials(tls), args));
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    enrol::v1::EnrolResponse ignored;
    return stub->Enrol(&context, request, response != nullptr ? response : &ignored);
  }
  static enrol::v1::EnrolRequest RequestOf(const std::string& token, const std::string& agent_id) {
    enrol::v1::EnrolRequest request;
    request.set_token(token);
    request.set_agent_id(agent_id);
    request.set_identity_csr(agent::MakeCertRequest(agent::NewKeyPem().value(), agent_id).value());
    request.set_tls_csr(agent::MakeCertRequest(agent::NewKeyPem().value(), agent_id).value());
    return request;
  }
  TlsPaths TlsIn(const std::string& name) const {
    const std::string dir = dir_.path() + "/" + name;
    return {dir + "/ca.pem", dir + "/tls.pem", dir + "/tls.key"};
  }
  // Sends one epoch's opening with the identity in DIR/NAME; the answer.
  ingest::v1::ServerMessage SendAs(const std::string& tls_name, BatchMaker* maker, const std::string& agent_id) {
    RawAgent agent(collector_->port(), TlsIn(tls_name));
    agent.Hello(agent_id);
    EXPECT_TRUE(agent.Read().has_welcome());
    return agent.Exchange(maker->Next());
  }
  // The maker reads agents/<id>/identity.* below a PKI folder.
  void Adopt(const std::string& name, const std::string& agent_id) {
    const std::string to = pki().File("agents/" + agent_id);
    std::filesystem::create_directories(to);
    for (const char* file : {"/identity.pem", "/identity.key"}) {
      std::filesystem::copy_file(dir_.path() + "/" + name + file, to + file,
                                 std::filesystem::copy_options::overwrite_existing);
    }
  }
  // (Enrol entries, Revoke entries) of the log.
  std::pair<int, int> Entries() const {
    std::pair<int, int> out;
    for (const std::string& leaf : LogLeaves()) {
      if (!trail::IsLogEntry(leaf)) continue;
      ++(trail::ParseLogEntry(leaf).value().entry.has_enrol() ? out.first : out.second);
    }
    return out;
  }
  void Restart() {
    collector_.reset();
    StartCollector();
  }

 private:
  int files_ = 0;
};

TEST_F(EnrolTest, TokenToCertificateToBatch) {
  const auto enrolled = agent::Enrol(Options(Token(), "web-9"));
  ASSERT_TRUE(enrolled.ok()) << enrolled.status().ToString();
  EXPECT_EQ(enrolled->tenant, "default");
  EXPECT_EQ(Entries(), std::pair(1, 0));
  const auto entry = trail::ParseLogEntry(LogLeaves().at(enrolled->log_index)).value();
  const std::string pem = ReadFile(dir_.path() + "/web-9/identity.pem", 1 << 16).value();
  const auto identity = trail::Certificate::FromPem(pem).value();
  EXPECT_EQ(entry.entry.enrol().identity_spki_sha256(), trail::View(identity.SpkiSha256()));
  EXPECT_EQ(identity.UriSans(), std::vector<std::string>{kUri});
  const std::string tls_pem = ReadFile(dir_.path() + "/web-9/tls.pem", 1 << 16).value();
  EXPECT_EQ(trail::Certificate::FromPem(tls_pem).value().UriSans(), std::vector<std::string>{kUri});
  EXPECT_FALSE(agent::PastHalfLife(tls_pem, clock_.WallNs()).value());
  EXPECT_TRUE(agent::PastHalfLife(tls_pem, clock_.WallNs() + 13ULL * 3600 * 1'000'000'000).value());
  Adopt("web-9", "web-9");
  BatchMaker maker(pki(), "web-9");
  EXPECT_TRUE(SendAs("web-9", &maker, "web-9").has_ack());
  // Not over what is there.
  EXPECT_EQ(agent::Enrol(Options(Token(), "web-9")).status().code(), Code::kAlreadyExists);
}

// T27: the second use fails, across a restart too.
TEST_F(EnrolTest, T27_ATokenIsGoodOnce) {
  const std::string token = Token();
  ASSERT_TRUE(agent::Enrol(Options(token, "web-9")).ok());
  EXPECT_EQ(Ask(RequestOf(token, "web-9")).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Ask(RequestOf(token, "web-8")).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  Restart();
  EXPECT_EQ(Ask(RequestOf(token, "web-8")).error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(Entries(), std::pair(1, 0));
}

TEST_F(EnrolTest, T27_OfEightThatRaceOneIsEnrolled) {
  const std::string token = Token();
  std::atomic<int> won = 0;
  std::vector<std::thread> racers;
  for (int i = 0; i < 8; ++i) {
    racers.emplace_back([&, i] {
      if (Ask(RequestOf(token, "web-" + std::to_string(100 + i))).ok()) ++won;
    });
  }
  for (std::thread& racer : racers) racer.join();
  EXPECT_EQ(won, 1);
  EXPECT_EQ(Entries(), std::pair(1, 0));
}

TEST_F(EnrolTest, AnAnswerThatWasLostIsAskedForAgain) {
  const enrol::v1::EnrolRequest request = RequestOf(Token(), "web-9");
  enrol::v1::EnrolResponse first;
  enrol::v1::EnrolResponse second;
  ASSERT_TRUE(Ask(request, &first).ok());
  Restart();
  const grpc::Status again = Ask(request, &second);
  ASSERT_TRUE(again.ok()) << again.error_message();
  EXPECT_EQ(first.log_index(), second.log_index());
  EXPECT_EQ(Entries(), std::pair(1, 0));
}

// Killed after the token was spent, before the entry: the same key gets in, once.
TEST_F(EnrolTest, ATokenThatWasSpentWithoutAnEntryIsNotLost) {
  const std::string token = Token();
  const enrol::v1::EnrolRequest request = RequestOf(token, "web-9");
  collector_.reset();
  {
    const auto key = CertRequest::Parse(request.identity_csr(), kUri).value();
    const auto store = TokenStore::Open(config_.trail_dir() + "/enrol", &clock_).value();
    ASSERT_TRUE(store->Spend(token, "web-9", key.spki_sha256()).ok());
  }
  StartCollector();
  EXPECT_EQ(Entries(), std::pair(0, 0));
  EXPECT_EQ(Ask(RequestOf(token, "web-9")).error_code(), grpc::StatusCode::PERMISSION_DENIED);  // another key
  EXPECT_TRUE(Ask(request).ok());
  EXPECT_TRUE(Ask(request).ok());
  EXPECT_EQ(Entries(), std::pair(1, 0));
}

TEST_F(EnrolTest, RefusesWhatIsWrongWithoutSpendingTheToken) {
  const std::string token = Token();
  enrol::v1::EnrolRequest request = RequestOf(token, "db-1");
  EXPECT_EQ(Ask(request).error_code(), grpc::StatusCode::PERMISSION_DENIED);  // not web-*
  request = RequestOf(token, "web-9");
  const std::string key = agent::NewKeyPem().value();
  request.set_identity_csr(CsrWith(key, "URI:spiffe://nodetrail.dev/t/default/a/web-1"));
  EXPECT_EQ(Ask(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_identity_csr(std::string(kMaxCsrBytes + 1, 'x'));
  EXPECT_EQ(Ask(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_identity_csr("garbage");
  EXPECT_EQ(Ask(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request = RequestOf(token, "web-9");
  request.set_tls_csr(request.identity_csr());
  EXPECT_EQ(Ask(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request = RequestOf(token, "../web-9");
  EXPECT_EQ(Ask(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request = RequestOf(std::string(20'000, 'x'), "web-9");
  EXPECT_FALSE(Ask(request).ok());
  EXPECT_EQ(Entries(), std::pair(0, 0));
  EXPECT_TRUE(Ask(RequestOf(token, "web-9")).ok());
}

TEST_F(EnrolTest, WhoFailsOftenWaits) {
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(Ask(RequestOf("nt1-no", "web-9")).ok());
  EXPECT_EQ(Ask(RequestOf(Token(), "web-9")).error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(EnrolTest, OnlyATokenForThisVeryAgentReplacesIt) {
  ASSERT_TRUE(Ask(RequestOf(Token(), "web-9")).ok());
  EXPECT_EQ(Ask(RequestOf(Token("web-*"), "web-9")).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_TRUE(Ask(RequestOf(Token("web-9"), "web-9")).ok());
  EXPECT_EQ(Entries(), std::pair(2, 0));
}

// T26: who stole the TLS key alone opens no epoch, renews nothing, and is out
// once the agent is revoked.
TEST_F(EnrolTest, T26_AStolenTlsCertificateIsNotTheAgent) {
  ASSERT_TRUE(agent::Enrol(Options(Token(), "web-9")).ok());
  Adopt("web-9", "web-9");
  BatchMaker honest(pki(), "web-9");
  ASSERT_TRUE(SendAs("web-9", &honest, "web-9").has_ack());

  // A rightly signed identity of the same name, with another key.
  pki().Run("agent", "web-9", "--force --domain nodetrail.dev");
  BatchMaker thief(pki(), "web-9", 7);
  const auto answer = SendAs("web-9", &thief, "web-9");
  ASSERT_TRUE(answer.has_nack());
  EXPECT_EQ(answer.nack().reason(), ingest::v1::NACK_REASON_REJECTED);
  EXPECT_NE(answer.nack().detail().find("not_enrolled"), std::string::npos) << answer.nack().detail();
  EXPECT_EQ(collector_->ingest().Totals().quarantined, 1U);

  config::v1::AgentConfig config;
  config.set_agent_id("web-9");
  config.mutable_identity()->set_cert_file(pki().File("agents/web-9/identity.pem"));
  config.mutable_identity()->set_key_file(pki().File("agents/web-9/identity.key"));
  config.mutable_ship()->set_endpoint(fmt::format("127.0.0.1:{}", collector_->port()));
  const TlsPaths tls = TlsIn("web-9");
  config.mutable_ship()->mutable_tls()->set_ca_file(tls.ca_file);
  config.mutable_ship()->mutable_tls()->set_cert_file(tls.cert_file);
  config.mutable_ship()->mutable_tls()->set_key_file(tls.key_file);
  EXPECT_EQ(agent::Renew(config, clock_, true).status().code(), Code::kPermissionDenied);

  const auto revoked = Revoke("web-9");
  EXPECT_EQ(revoked.epoch(), 1U);
  EXPECT_EQ(revoked.effective_seq(), 1U);
  RawAgent refused(collector_->port(), TlsIn("web-9"));
  refused.Hello("web-9");
  EXPECT_FALSE(refused.Read().has_welcome());
  const grpc::Status why = refused.Finish();
  EXPECT_EQ(why.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_NE(why.error_message().find("revoked"), std::string::npos) << why.error_message();
  EXPECT_EQ(collector_->ingest().Totals().refused, 1U);
}

// Whoever has a certificate of the authority could listen there, and take tokens.
TEST_F(EnrolTest, TheTokenGoesToACollectorOnly) {
  const std::string token = Token();
  const auto asks = [&](const std::string& id, const std::string& crl = "") {
    agent::EnrolOptions options = Options(token, "web-9", "tried");
    options.collector_id = id;
    options.crl_file = crl;
    return agent::Enrol(options).status();
  };
  Status refused = asks("spiffe://nodetrail.dev/t/default/c/other");
  EXPECT_EQ(refused.code(), Code::kFailedPrecondition) << refused.ToString();
  EXPECT_NE(std::string(refused.message()).find("set --collector-id"), std::string::npos) << refused.message();
  EXPECT_EQ(asks("", dir_.path() + "/no.pem").code(), Code::kNotFound);

  // One of the authority that is an agent's, and one that is revoked.
  const TestPki own;
  own.Run("crl", "");
  config_.mutable_tls()->set_ca_file(own.File("tls-ca/ca.pem"));
  config_.mutable_tls()->set_cert_file(own.File("collector/tls.pem"));
  config_.mutable_tls()->set_key_file(own.File("collector/tls.key"));
  const auto again = [&](const std::string& crl = "") {
    Restart();
    agent::EnrolOptions options = Options(token, "web-9", "tried");
    options.ca_file = own.File("tls-ca/ca.pem");
    options.crl_file = crl;
    return agent::Enrol(options).status();
  };
  own.Run("collector", "localhost 127.0.0.1",
          "--force --san IP:127.0.0.1,URI:spiffe://nodetrail.dev/t/default/a/web-2");
  refused = again();
  EXPECT_NE(std::string(refused.message()).find("is not of a collector"), std::string::npos) << refused.ToString();
  own.Run("collector", "localhost 127.0.0.1", "--force");
  own.Run("crl", own.File("collector/tls.pem"));
  refused = again(own.File("tls-ca/crl.pem"));
  EXPECT_NE(std::string(refused.message()).find("is revoked"), std::string::npos) << refused.ToString();
  EXPECT_EQ(Entries(), std::pair(0, 0));
  own.Run("collector", "localhost 127.0.0.1", "--force");
  EXPECT_TRUE(again(own.File("tls-ca/crl.pem")).ok());
  EXPECT_EQ(Entries(), std::pair(1, 0));
}

// Its agents would refuse it: said before the operator finds out.
TEST_F(EnrolTest, ACollectorOfAnotherTrustDomainIsNotTaken) {
  config_.mutable_enrol()->set_trust_domain("example.org");
  Restart();
  const std::string token = Token();
  agent::EnrolOptions options = Options(token, "web-9");
  const Status refused = agent::Enrol(options).status();
  EXPECT_NE(std::string(refused.message()).find("is not of a collector spiffe://example.org/t/default/c/<name>"),
            std::string::npos)
      << refused.ToString();
  options = Options(token, "web-9");
  options.collector_id = "spiffe://nodetrail.dev/t/default/c/collector";
  ASSERT_TRUE(agent::Enrol(options).ok());
  EXPECT_NE(ReadFile(dir_.path() + "/web-9/agent.yaml", 1 << 16).value().find("collector_id: " + options.collector_id),
            std::string::npos);
}

TEST_F(EnrolTest, RenewsWithTheIdentityKey) {
  ASSERT_TRUE(agent::Enrol(Options(Token(), "web-9")).ok());
  const std::string dir = dir_.path() + "/web-9/";
  auto config = LoadConfig<config::v1::AgentConfig>(dir + "agent.yaml");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  const std::string before = ReadFile(dir + "tls.pem", 1 << 16).value();
  const auto early = agent::Renew(*config, clock_, false);
  ASSERT_TRUE(early.ok()) << early.status().ToString();
  EXPECT_FALSE(*early);
  EXPECT_EQ(ReadFile(dir + "tls.pem", 1 << 16).value(), before);
  const auto renewed = agent::Renew(*config, clock_, true);
  ASSERT_TRUE(renewed.ok()) << renewed.status().ToString();
  EXPECT_TRUE(*renewed);
  // Not from whoever it is.
  config->mutable_ship()->set_collector_id("spiffe://nodetrail.dev/t/default/c/other");
  EXPECT_EQ(agent::Renew(*config, clock_, true).status().code(), Code::kFailedPrecondition);
  config->mutable_ship()->clear_collector_id();
  EXPECT_NE(ReadFile(dir + "tls.pem", 1 << 16).value(), before);
  Adopt("web-9", "web-9");
  BatchMaker maker(pki(), "web-9");
  EXPECT_TRUE(SendAs("web-9", &maker, "web-9").has_ack());
  (void)Revoke("web-9");
  EXPECT_EQ(agent::Renew(*config, clock_, true).status().code(), Code::kPermissionDenied);
}

// Revoked in the middle of a stream: quarantined; enrolled anew it reports again.
TEST_F(EnrolTest, RevokedAndEnrolledAnewTheTrailVerifies) {
  ASSERT_TRUE(agent::Enrol(Options(Token(), "web-9")).ok());
  Adopt("web-9", "web-9");
  BatchMaker maker(pki(), "web-9");
  RawAgent stream(collector_->port(), TlsIn("web-9"));
  stream.Hello("web-9");
  ASSERT_TRUE(stream.Read().has_welcome());
  ASSERT_TRUE(stream.Exchange(maker.Next()).has_ack());
  (void)Revoke("web-9");
  const auto answer = stream.Exchange(maker.Next());
  ASSERT_TRUE(answer.has_nack());
  EXPECT_NE(answer.nack().detail().find("revoked"), std::string::npos) << answer.nack().detail();
  EXPECT_EQ(collector_->ingest().Totals().revoked, 1U);
  EXPECT_EQ(collector_->ingest().Totals().quarantined, 1U);

  Restart();
  ASSERT_TRUE(agent::Enrol(Options(Token(), "web-9", "anew")).ok());
  Adopt("anew", "web-9");
  BatchMaker anew(pki(), "web-9", 9);
  EXPECT_TRUE(SendAs("anew", &anew, "web-9").has_ack());
  EXPECT_EQ(Entries(), std::pair(2, 1));
  collector_->Stop(std::chrono::milliseconds(2000));
  trail::VerifyPolicy policy;
  policy.identity_ca_pem = ReadFile(pki().File("identity-ca/ca.pem"), 1 << 20).value();
  const std::string vkey = ReadFile(config_.trail_dir() + "/log/log.vkey", 4096).value();
  policy.log_key = trail::NoteVerifier::Parse(std::string_view(vkey).substr(0, vkey.size() - 1)).value();
  policy.require_enrolment = true;
  const auto report = trail::VerifyTrail(config_.trail_dir(), policy);
  ASSERT_TRUE(report.ok()) << report.status().ToString();
  // The new installation knows nothing of the old one's end: a gap, no tampering.
  EXPECT_EQ(report->verdict, trail::TrailVerdict::kUnexplainedGap) << report->summary;
  EXPECT_EQ(report->entries, 3U);
}

TEST_F(EnrolTest, TheAdminSocketIsForItsOwner) {
  struct stat st {};
  ASSERT_EQ(::stat(AdminSocketPath(config_).c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777U, 0600U);
  enrol::v1::AdminRequest request;
  EXPECT_EQ(AskCollector(AdminSocketPath(config_), request).status().code(), Code::kInvalidArgument);
  request.mutable_revoke_agent()->set_agent_id("nobody");
  EXPECT_EQ(AskCollector(AdminSocketPath(config_), request).status().code(), Code::kNotFound);
  request.mutable_create_token()->set_agent_pattern("a b");
  EXPECT_EQ(AskCollector(AdminSocketPath(config_), request).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace nodetrail::collector
