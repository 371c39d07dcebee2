// SPDX-License-Identifier: Apache-2.0
//
// By who has a certificate or a token that is not his: against a collector in
// this process, over its ports, and against what it writes.
#include <memory>

#include "agent/enrol/enrol.h"
#include "collector/admin/admin_commands.h"
#include "collector/admin/admin_socket.h"
#include "collector/test_fixture.h"
#include "tests/attacks/attack.h"
#include "tests/attacks/ground.h"
#include "tests/attacks/node.h"
#include "trail/verify_findings.h"

namespace nodetrail::attacks {
namespace {

using collector::RawAgent;
using nodetrail::testing::BatchMaker;
using nodetrail::testing::TestPki;
using trail::SealedBatch;
using trail::TestAgent;

constexpr const char* kRefused = "collector: refused, quarantined";
constexpr uint64_t kMinuteNs = 60'000'000'000;

// A collector with its ports open; its clock stands still.
class Door {
 public:
  Door() : config(collector::TestConfig(pki, dir.path())) { clock.wall_ns = SystemClock().WallNs(); }
  void Start() {
    collector::Failure failure;
    running.reset();
    running = collector::Collector::Start(config, &clock, &failure);
    ASSERT_NE(running, nullptr) << failure.status.ToString();
  }
  [[nodiscard]] bool Welcomes(const std::string& agent_id) const {
    RawAgent agent(running->port(), pki.Agent(agent_id));
    agent.Hello(agent_id);
    return agent.Read().has_welcome();
  }

  const TestPki pki;
  const nodetrail::testing::TempDir dir;
  FakeClock clock;
  config::v1::CollectorConfig config;
  std::unique_ptr<collector::Collector> running;
};

// Is it, over the stream of web-1, that reports already?
bool RefusesOverStreamOfWeb1(const trail::TestCa& ca, const SealedBatch& batch, bool enrolled = false) {
  TestAgent honest(ca, "acme", "web-1");
  Site site(ca);
  if (enrolled) site.Enter(EnrolEntry(honest));
  site.Take(honest.Batch());
  const auto answer = site.Send("web-1", batch.leaf, batch.body);
  return Refused(answer) && site.committer->Totals().quarantined == 1;
}

// Of the agent that is stolen, after two batches: revoked from the third on.
struct Revoked {
  explicit Revoked(TestAgent* agent) {
    for (int i = 0; i < 2; ++i) before.push_back(agent->Batch());
    after = agent->Batch();
  }
  std::vector<SealedBatch> before;
  SealedBatch after;
};

// It opens the stream as web-1. A batch needs the ratchet's key or the
// identity's: the thief brings an identity of his own, or has stolen those too.
TEST_F(Attack, T26_StolenTlsCertificate) {
  const trail::TestCa ca;
  const trail::TestCa stranger("stranger");
  TestAgent thief(stranger, "acme", "web-1");
  for (int i = 0; i < 9; ++i) thief.Restart(false);
  Found(kRefused, RefusesOverStreamOfWeb1(ca, thief.Batch()), "an identity of another authority");
  // Enrolled himself, as another agent.
  TestAgent other(ca, "acme", "web-2");
  for (int i = 0; i < 9; ++i) other.Restart(false);
  other.edit_statement = [](auto* s) { s->set_agent_id("web-1"); };
  Found(kRefused, RefusesOverStreamOfWeb1(ca, other.Batch(3, [](auto* h) { h->set_agent_id("web-1"); })),
        "the identity of web-2");
  // And with his own identity, as himself, over the stolen certificate's stream.
  TestAgent self(ca, "acme", "web-3");
  Found(kRefused, RefusesOverStreamOfWeb1(ca, self.Batch()), "as web-3");
  // An identity of that very name that the right authority signed, and nobody enrolled.
  TestAgent namesake(ca, "acme", "web-1");
  for (int i = 0; i < 9; ++i) namesake.Restart(false);
  Found(kRefused, RefusesOverStreamOfWeb1(ca, namesake.Batch(), true), "a key that was not enrolled");

  // Revoked by its authority's list: no stream, and none that is open goes on.
  {
    Door door;
    door.pki.Run("agent", "web-1");
    door.pki.Run("crl", "");
    door.config.set_crl_file(door.pki.File("tls-ca/crl.pem"));
    door.Start();
    BatchMaker maker(door.pki, "web-1");
    RawAgent open(door.running->port(), door.pki.Agent("web-1"));
    open.Hello("web-1");
    ASSERT_TRUE(open.Read().has_welcome());
    ASSERT_TRUE(open.Exchange(maker.Next()).has_ack());
    door.pki.Run("crl", door.pki.File("agents/web-1/tls.pem"));
    Found("collector: lets no revoked certificate in", !open.Exchange(maker.Next()).has_ack(), "an open stream");
    Found("collector: lets no revoked certificate in", !door.Welcomes("web-1"), "a new stream");
  }

  // Revoked by an entry of the log, though the keys be right: from there on.
  TestAgent stolen(ca, "acme", "web-1");
  const Revoked batches(&stolen);
  Site site(ca);
  site.Enter(EnrolEntry(stolen));
  for (const SealedBatch& batch : batches.before) site.Take(batch);
  site.Enter(RevokeEntry(batches.after));
  Found("collector: no stream for who was revoked", !site.committer->Admit("web-1").ok());
  Found(kRefused, Refused(site.Send(batches.after)) && site.committer->Totals().revoked == 1, "a revoked batch");
  // A collector that takes them all the same.
  Ground ground;
  ground.policy.identity_ca_pem = ca.CertPem();
  ground.Enter(EnrolEntry(stolen));
  for (const SealedBatch& batch : batches.before) ground.Take(batch);
  ground.Enter(RevokeEntry(batches.after));
  ground.Take(batches.after);
  ground.Write();
  Found("verifier: exit 3, names the batch", ground.Exit() == 3 && ground.Names(batches.after, trail::reason::kRevoked),
        VerifyReportText(ground.Verify()));
}

// The agent's own program, with a token in a file.
Status EnrolWith(const Door& door, const std::string& token, const std::string& agent_id, const std::string& out) {
  const std::string file = door.dir.path() + "/token";
  NT_RETURN_IF_ERROR(WriteFileAtomically(file, token + "\n", 0600));
  agent::EnrolOptions options;
  options.collector = fmt::format("127.0.0.1:{}", door.running->enrol_port());
  options.token_file = file;
  options.ca_file = door.pki.File("tls-ca/ca.pem");
  options.out_dir = door.dir.path() + "/" + out;
  options.agent_id = agent_id;
  return agent::Enrol(options).status();
}

enrol::v1::CreateTokenResponse TokenFor(const Door& door, const std::string& pattern) {
  enrol::v1::AdminRequest request;
  request.mutable_create_token()->set_agent_pattern(pattern);
  request.mutable_create_token()->set_ttl_seconds(60);
  auto answer = collector::AskCollector(collector::AdminSocketPath(door.config), request);
  EXPECT_TRUE(answer.ok()) << answer.status().ToString();
  return answer.ok() ? answer->create_token() : enrol::v1::CreateTokenResponse();
}

TEST_F(Attack, T27_TokenReuse) {
  Door door;
  collector::TestEnrolment(door.pki, &door.config);
  door.Start();
  int tries = 0;
  const auto refuses = [&](const std::string& token, const std::string& agent_id, const std::string& what) {
    const Status got = EnrolWith(door, token, agent_id, "thief-" + std::to_string(++tries));
    Found("collector: gives no certificate", got.code() == Code::kPermissionDenied, what + ": " + got.ToString());
  };
  const auto used = TokenFor(door, "web-*");
  const Status first = EnrolWith(door, used.token(), "web-1", "honest");
  ASSERT_TRUE(first.ok()) << first.ToString();
  refuses(used.token(), "web-2", "used before, as another");
  refuses(used.token(), "web-1", "used before, with another key");

  const auto fresh = TokenFor(door, "web-*");
  refuses(fresh.token(), "db-1", "for another host");
  // Whoever read the list of tokens knows its id.
  std::string guessed = fresh.token();
  guessed.back() = guessed.back() == '0' ? '1' : '0';
  refuses(guessed, "web-3", "a guessed secret");
  const Status instead = EnrolWith(door, fresh.token(), "web-1", "instead");
  Found("collector: replaces no agent by a token for many", instead.code() == Code::kFailedPrecondition,
        instead.ToString());

  const auto revoked = TokenFor(door, "web-*");
  enrol::v1::AdminRequest request;
  request.mutable_revoke_token()->set_id(revoked.info().id());
  ASSERT_TRUE(collector::AskCollector(collector::AdminSocketPath(door.config), request).ok());
  refuses(revoked.token(), "web-4", "revoked");
  // Across a restart, too.
  const auto old = TokenFor(door, "web-*");
  door.running.reset();
  door.clock.Advance(kMinuteNs);
  door.Start();
  refuses(old.token(), "web-5", "after its time");
}

}  // namespace
}  // namespace nodetrail::attacks
