// SPDX-License-Identifier: Apache-2.0
//
// The program as a user runs it, against the query service over mutual TLS on
// loopback, with a trail of made-up events.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "cli/doctor_checks.h"
#include "collector/index/test_trail.h"
#include "collector/query/query_service.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::cli {
namespace {

using collector::EventMaker;
using collector::Indexer;
using collector::kTestTime;
using collector::QueryService;
using collector::TestBatch;
using collector::TestEvent;
using collector::TestProcess;
using collector::TestTrail;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

struct Output {
  int exit_code = -1;
  std::string out, err;
};

std::string Slurp(const std::string& path) {
  std::ifstream in(path);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

class CliTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = fmt::format("{}cli_test.{}", testing::TempDir(), ::getpid());
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
    const std::string pki = fmt::format("{}/packaging/dev-pki", NT_SOURCE_DIR);
    for (const char* what : {"collector {} 127.0.0.1", "agent {} web-1", "reader {} ann", "reader {} eve other"}) {
      const std::string command = fmt::format("{} {}", pki, fmt::format(fmt::runtime(what), dir_ + "/pki"));
      ASSERT_EQ(std::system(command.c_str()), 0) << command;
    }
    MakeTrail();
    Indexer::Options index;
    index.trail_dir = dir_ + "/trail";
    index.clock = &clock_;
    indexer_ = Indexer::Open(index).value().release();
    indexer_->Start();
    indexer_->Notify(trail_->size());
    ASSERT_TRUE(indexer_->WaitIndexed(trail_->size(), std::chrono::seconds(30)).ok());
    Serve();
  }

  static void TearDownTestSuite() {
    service_->Shutdown();
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
    delete server_;
    delete service_;
    delete indexer_;
    delete trail_;
    std::filesystem::remove_all(dir_);
  }

  // sshd → bash (alice) → sudo (root) → rm, and noise.
  static void MakeTrail() {
    trail_ = new TestTrail(dir_ + "/trail");
    TestBatch batch;
    const auto sshd = TestProcess(700, "/usr/sbin/sshd", {"sshd: alice"});
    const auto bash = TestProcess(701, "/usr/bin/bash", {"-bash"}, &sshd);
    const auto sudo = TestProcess(702, "/usr/bin/sudo", {"sudo", "rm", "/etc/motd"}, &bash);
    const auto rm = TestProcess(703, "/usr/bin/rm", {"rm", "/etc/motd"}, &sudo);
    batch.processes = {sshd, bash, sudo, rm};
    uint64_t t = kTestTime;
    using namespace event::v1;
    auto fork = TestEvent(KIND_PROCESS_FORK, bash, t, 1000, 1000);
    fork.mutable_fork()->set_child_uid(sudo.proc_uid());
    fork.mutable_fork()->set_child_pid(702);
    auto exec = TestEvent(KIND_PROCESS_EXEC, sudo, t + 1, 1000, 1000);
    exec.mutable_exec()->set_prev_exe("/usr/bin/bash");
    auto cred = TestEvent(KIND_CRED_CHANGE, sudo, t + 2, 0, 1000);
    cred.mutable_cred_change()->set_cause(CRED_CAUSE_SETUID);
    cred.mutable_cred_change()->mutable_before()->set_uid(1000);
    auto gone = TestEvent(KIND_FILE_DELETE, rm, t + 3, 0, 1000);
    gone.mutable_file()->mutable_path()->set_path("/etc/motd");
    auto denied = TestEvent(KIND_FILE_DENIED, bash, t + 4, 1000, 1000);
    denied.mutable_outcome()->set_success(false);
    denied.mutable_outcome()->set_error(EACCES);
    denied.mutable_file()->mutable_path()->set_path("/etc/shadow\x1b[2J\n\xff");
    auto connect = TestEvent(KIND_NET_CONNECT, bash, t + 5, 1000, 1000);
    connect.mutable_net()->set_protocol("tcp");
    connect.mutable_net()->set_direction("outbound");
    connect.mutable_net()->mutable_remote()->set_ip(*schema::ParseIp("192.0.2.7"));
    connect.mutable_net()->mutable_remote()->set_port(443);
    auto docker = TestEvent(KIND_NET_UNIX_CONNECT, bash, t + 6, 1000, 1000);
    docker.mutable_net()->set_family("unix");
    docker.mutable_net()->set_socket_type("stream");
    docker.mutable_net()->mutable_path()->set_path("/run/docker.sock");
    docker.mutable_net()->mutable_peer()->set_pid(612);
    docker.mutable_net()->mutable_peer()->set_exe("/usr/bin/dockerd");
    auto listens = TestEvent(KIND_NET_LISTEN, bash, t + 7, 1000, 1000);
    listens.mutable_net()->set_family("inet6");
    listens.mutable_net()->set_protocol("tcp");
    listens.mutable_net()->set_socket_type("stream");
    listens.mutable_net()->mutable_local()->set_ip(std::string(16, '\0'));
    listens.mutable_net()->mutable_local()->set_port(8443);
    listens.mutable_net()->set_backlog(128);
    auto abstract = TestEvent(KIND_NET_BIND, bash, t + 8, 1000, 1000);
    abstract.mutable_net()->set_family("unix");
    abstract.mutable_net()->set_socket_type("dgram");
    abstract.mutable_net()->set_abstract_name(std::string("\0a\x1b\0", 4));
    batch.events = {fork, exec, cred, gone, denied, connect, docker, listens, abstract};
    batch.lost = 3;
    trail_->Append(batch);
    EventMaker maker(3, 20);
    maker.wall_ns = kTestTime + 60'000'000'000;
    for (int i = 0; i < 8; ++i) {
      auto noise = maker.Batch(100);
      noise.agent_id = "db-1";
      trail_->Append(noise);
    }
    trail_->Checkpoint();
  }

  static void Serve() {
    QueryService::Options options;
    options.indexer = indexer_;
    options.clock = &clock_;
    options.trail_dir = dir_ + "/trail";
    options.version = "test";
    options.max_tails = 1;
    options.enter_access = [](const trail::v1::Access& access) {
      const std::lock_guard lock(reads_mutex_);
      if (refuse_reads_) return Unavailable("no room");
      reads_.push_back(access);
      return OkStatus();
    };
    service_ = QueryService::Create(options).release();
    grpc::SslServerCredentialsOptions tls(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
    tls.pem_root_certs = Slurp(dir_ + "/pki/tls-ca/ca.pem");
    tls.pem_key_cert_pairs.push_back({Slurp(dir_ + "/pki/collector/tls.key"), Slurp(dir_ + "/pki/collector/tls.pem")});
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::SslServerCredentials(tls), &port);
    builder.RegisterService(service_);
    server_ = builder.BuildAndStart().release();
    ASSERT_NE(server_, nullptr);
    port_ = port;
    WriteConfig("cli.yaml", "readers/ann", port);
    WriteConfig("agent.yaml", "agents/web-1", port);
    // Of another tenant than the collector: its own check is asked.
    WriteConfig("other.yaml", "readers/eve", port, "collector_id: none\n");
    WriteConfig("down.yaml", "readers/ann", 1);
  }

  static void WriteConfig(const std::string& name, const std::string& who, int port, const std::string& more = "") {
    std::ofstream(dir_ + "/" + name)
        << more
        << fmt::format(
               "collector: 127.0.0.1:{}\ntls: {{ca_file: pki/tls-ca/ca.pem, cert_file: pki/{}/tls.pem, key_file: "
               "pki/{}/tls.key}}\n"
               "agent_socket: {}/none.sock\nlog_public_key: {}\ntrail_dir: {}/trail\nidentity_ca_file: "
               "pki/identity-ca/ca.pem\n",
               port, who, who, dir_, trail_->log_key().ToString(), dir_);
  }

  // `nodetrail --config DIR/config args`, at most 60 s.
  static Output Run(std::vector<std::string> args, const std::string& config = "cli.yaml") {
    args.insert(args.begin(), {fmt::format("{}/bin/nodetrail", NT_BINARY_DIR), "--config", dir_ + "/" + config});
    const std::string base = fmt::format("{}/run{}", dir_, ++runs_);
    const pid_t pid = ::fork();
    if (pid == 0) {
      std::vector<char*> argv;
      for (auto& arg : args) argv.push_back(arg.data());
      argv.push_back(nullptr);
      ::dup2(::open((base + ".out").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600), 1);
      ::dup2(::open((base + ".err").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600), 2);
      ::alarm(60);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), Slurp(base + ".out"),
            Slurp(base + ".err")};
  }

  static std::vector<json> Query(std::vector<std::string> args) {
    args.insert(args.begin(), {"query", "--json", "--oldest-first", "--all"});
    const Output output = Run(args);
    EXPECT_EQ(output.exit_code, 0) << output.err;
    std::vector<json> out;
    std::istringstream lines(output.out);
    for (std::string line; std::getline(lines, line);) out.push_back(json::parse(line));
    return out;
  }

  static inline std::mutex reads_mutex_;
  static inline std::vector<trail::v1::Access> reads_;
  static inline bool refuse_reads_ = false;
  static std::string dir_;
  static SystemClock clock_;
  static TestTrail* trail_;
  static Indexer* indexer_;
  static QueryService* service_;
  static grpc::Server* server_;
  static int port_;
  static int runs_;
};

std::string CliTest::dir_;
SystemClock CliTest::clock_;
TestTrail* CliTest::trail_ = nullptr;
Indexer* CliTest::indexer_ = nullptr;
QueryService* CliTest::service_ = nullptr;
grpc::Server* CliTest::server_ = nullptr;
int CliTest::port_ = 0;
int CliTest::runs_ = 0;

TEST_F(CliTest, EveryReadIsEnteredBeforeItIsAnswered) {
  const auto reads = [] {
    const std::lock_guard lock(reads_mutex_);
    return std::exchange(reads_, {});
  };
  reads();
  ASSERT_FALSE(Query({"--user", "alice", "--path", "/etc/motd"}).empty());
  auto entered = reads();
  ASSERT_FALSE(entered.empty());
  EXPECT_EQ(entered[0].method(), "Search");
  EXPECT_TRUE(entered[0].reader().ends_with("/r/ann")) << entered[0].reader();
  EXPECT_EQ(entered[0].certificate_sha256().size(), 32U);
  // Which fields, never which values.
  EXPECT_NE(entered[0].shape().find("path:?"), std::string::npos) << entered[0].shape();
  EXPECT_EQ(entered[0].ShortDebugString().find("alice"), std::string::npos);
  EXPECT_EQ(entered[0].ShortDebugString().find("motd"), std::string::npos);
  // The same question has the same hash, another one another.
  Query({"--user", "alice", "--path", "/etc/motd"});
  Query({"--user", "alice", "--path", "/etc/mote"});
  const auto more = reads();
  ASSERT_GE(more.size(), 2U);
  EXPECT_EQ(more.front().question_hmac(), entered[0].question_hmac());
  EXPECT_NE(more.back().question_hmac(), entered[0].question_hmac());
  EXPECT_EQ(Run({"show", "web-1:1:4"}).exit_code, 0);
  const auto shown = reads();
  ASSERT_FALSE(shown.empty());
  EXPECT_EQ(shown[0].method(), "Get");
  EXPECT_EQ(shown[0].shape(), "event web-1:1:4");
  // Who may not read is refused before, and enters nothing.
  EXPECT_NE(Run({"query"}, "agent.yaml").exit_code, 0);
  EXPECT_TRUE(reads().empty());
}

TEST_F(CliTest, AReadThatCantBeEnteredIsNotAnswered) {
  const auto refuse = [](bool yes) {
    const std::lock_guard lock(reads_mutex_);
    refuse_reads_ = yes;
  };
  refuse(true);
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {"query", "--json", "--user", "alice"}, {"show", "web-1:1:4"}, {"tail", "--backlog", "5"}}) {
    const Output output = Run(args);
    EXPECT_EQ(output.exit_code, 69) << args[0] << output.err;
    EXPECT_EQ(output.out, "") << args[0];
    EXPECT_NE(output.err.find("every read is entered in the log before it is answered"), std::string::npos)
        << output.err;
  }
  refuse(false);
  EXPECT_FALSE(Query({"--user", "alice"}).empty());
}

TEST_F(CliTest, QueryFindsAliceAlsoAsRoot) {
  const auto events = Query({"--user", "alice", "--node", "web-1"});
  ASSERT_EQ(events.size(), 9U);
  EXPECT_EQ(events[0].at("kind"), "process.fork");
  const auto deleted = Query({"--user", "alice", "--path", "/etc/motd", "--kind", "file.delete"});
  ASSERT_EQ(deleted.size(), 1U);
  const json& e = deleted.front();
  EXPECT_EQ(e.at("event_id"), "web-1:1:4");
  EXPECT_EQ(e.at("actor").at("uid"), 0);
  EXPECT_EQ(e.at("actor").at("login_user"), "alice");
  EXPECT_EQ(e.at("actor").at("argv"), json({"rm", "/etc/motd"}));
  EXPECT_EQ(e.at("actor").at("ancestors").size(), 3U);
  EXPECT_EQ(e.at("resource").at("path"), "/etc/motd");
  EXPECT_EQ(e.at("node"), "web-1.example.com");
  EXPECT_EQ(e.at("trail").at("log_index"), 0);
}

// Whoever has a certificate of the authority could listen there.
TEST_F(CliTest, AsksWhoTheCollectorIs) {
  const auto ask = [&](const std::string& more, const std::string& who = "readers/ann") {
    WriteConfig("asks.yaml", who, port_, more);
    return Run({"query", "--limit", "1"}, "asks.yaml");
  };
  EXPECT_EQ(ask("collector_id: spiffe://nodetrail.dev/t/default/c/collector\n").exit_code, 0);
  Output refused = ask("collector_id: spiffe://nodetrail.dev/t/default/c/other\n");
  EXPECT_EQ(refused.exit_code, 69);
  EXPECT_THAT(refused.err, HasSubstr("is of another collector than spiffe://nodetrail.dev/t/default/c/other"));
  EXPECT_THAT(refused.err, HasSubstr("set collector_id"));
  refused = ask("", "readers/eve");
  EXPECT_EQ(refused.exit_code, 69);
  EXPECT_THAT(refused.err, HasSubstr("is not of a collector spiffe://nodetrail.dev/t/other/c/<name>"));
  refused = ask("server_name: elsewhere\n");
  EXPECT_EQ(refused.exit_code, 69);
  EXPECT_THAT(refused.err, HasSubstr("elsewhere"));

  const std::string pki = fmt::format("{}/packaging/dev-pki crl {}/pki", NT_SOURCE_DIR, dir_);
  ASSERT_EQ(std::system(pki.c_str()), 0);
  EXPECT_EQ(ask("crl_file: pki/tls-ca/crl.pem\n").exit_code, 0);
  ASSERT_EQ(std::system(fmt::format("{} {}/pki/collector/tls.pem", pki, dir_).c_str()), 0);
  refused = ask("crl_file: pki/tls-ca/crl.pem\n");
  EXPECT_EQ(refused.exit_code, 69);
  EXPECT_THAT(refused.err, HasSubstr("is revoked"));
}

TEST_F(CliTest, PagesAreFollowed) {
  EXPECT_EQ(Query({}).size(), 809U);
  EXPECT_EQ(Query({"--node", "db-1"}).size(), 800U);
  const Output limited = Run({"query", "--limit", "5"});
  EXPECT_EQ(limited.exit_code, 0);
  EXPECT_EQ(std::count(limited.out.begin(), limited.out.end(), '\n'), 6) << limited.out;
  EXPECT_THAT(limited.err, HasSubstr("--all"));
}

TEST_F(CliTest, TermsOfTheShellJoinAndGroup) {
  EXPECT_EQ(Query({"--node", "web-1", "kind:file.delete", "or", "kind:net.connect"}).size(), 2U);
  EXPECT_EQ(Query({"--node", "web-1", "kind:file.* or kind:net.*", "outcome:failure"}).size(), 1U);
  EXPECT_EQ(Query({"--kind", "file.delete", "--kind", "net.connect", "--node", "web-1"}).size(), 2U);
  EXPECT_EQ(Query({"--addr", "192.0.2.0/24"}).size(), 1U);
}

TEST_F(CliTest, TablesAreForPeopleAndSafeForTerminals) {
  const Output output = Run({"query", "--node", "web-1", "--color", "always"});
  EXPECT_THAT(output.out, HasSubstr("alice→root"));
  EXPECT_THAT(output.out, HasSubstr("EACCES"));
  EXPECT_THAT(output.out, HasSubstr("192.0.2.7:443"));
  EXPECT_THAT(output.out, HasSubstr("bash: → unix stream /run/docker.sock, dockerd (pid 612, uid 0)"));
  EXPECT_THAT(output.out, HasSubstr("bash: inet6 tcp stream [::]:8443, backlog 128"));
  EXPECT_THAT(output.out, HasSubstr("bash: unix dgram @a\\x1b\\x00"));
  EXPECT_THAT(output.out, HasSubstr("\\x1b[2J\\n\\xff"));
  EXPECT_THAT(output.out, Not(HasSubstr("\x1b[2J")));
  EXPECT_THAT(Run({"query", "--node", "web-1"}).out, Not(HasSubstr("\x1b")));
  const Output raw = Run({"query", "--node", "web-1", "--json", "outcome:failure"});
  EXPECT_THAT(raw.out, Not(HasSubstr("\x1b")));
  EXPECT_EQ(json::parse(raw.out).at("resource").at("path_b64"), "L2V0Yy9zaGFkb3cbWzJKCv8=");
}

TEST_F(CliTest, WrongUseIs64WithThePlace) {
  const Output output = Run({"query", "kind:file.create and ("});
  EXPECT_EQ(output.exit_code, 64);
  EXPECT_THAT(output.err, HasSubstr("^"));
  EXPECT_EQ(Run({"query", "--since", "yesterday-ish"}).exit_code, 64);
  EXPECT_EQ(Run({"query", "--limit", "0"}).exit_code, 64);
  EXPECT_EQ(Run({"frobnicate"}).exit_code, 64);
  EXPECT_EQ(Run({"show", "nonsense"}).exit_code, 64);
  EXPECT_EQ(Run({"query"}, "absent.yaml").exit_code, 78);
}

TEST_F(CliTest, WhatCannotBeReachedIs69AndNamed) {
  const Output output = Run({"query"}, "down.yaml");
  EXPECT_EQ(output.exit_code, 69) << output.err;
  EXPECT_THAT(output.err, HasSubstr("127.0.0.1:1"));
}

TEST_F(CliTest, AnAgentMayNotReadNorAnotherTenant) {
  const Output agent = Run({"query"}, "agent.yaml");
  EXPECT_EQ(agent.exit_code, 77) << agent.err;
  EXPECT_THAT(agent.err, HasSubstr("is an agent"));
  const Output other = Run({"status"}, "other.yaml");
  EXPECT_EQ(other.exit_code, 77) << other.err;
  EXPECT_THAT(other.out + other.err, HasSubstr("tenant 'other'"));
}

TEST_F(CliTest, ShowVerifiesTheProofItself) {
  const Output output = Run({"show", "web-1:1:4", "--json"});
  ASSERT_EQ(output.exit_code, 0) << output.err;
  const json shown = json::parse(output.out);
  EXPECT_EQ(shown.at("proof").at("status"), "verified") << shown.at("proof").dump(1);
  EXPECT_EQ(shown.at("proof").at("steps").size(), 4U);
  EXPECT_EQ(shown.at("event").at("kind"), "file.delete");
  EXPECT_EQ(shown.at("host").at("hostname"), "web-1.example.com");
  EXPECT_THAT(Run({"show", "web-1:1:4"}).out, HasSubstr("proof: verified"));
  EXPECT_EQ(Run({"show", "web-1:1:4000"}).exit_code, 66);
}

TEST_F(CliTest, TreeShowsAncestorsDescendantsAndActs) {
  for (const char* what : {"701", "web-1:1:5"}) {
    const Output output = Run({"tree", what, "--node", "web-1"});
    ASSERT_EQ(output.exit_code, 0) << output.err;
    EXPECT_THAT(output.out, HasSubstr("/usr/sbin/sshd [700]")) << output.out;
    EXPECT_THAT(output.out, HasSubstr("-bash [701]"));
    EXPECT_THAT(output.out, HasSubstr("sudo rm /etc/motd [702]"));
    EXPECT_THAT(output.out, HasSubstr("rm /etc/motd [703] alice→root"));
    EXPECT_THAT(output.out, HasSubstr("file.delete"));
    EXPECT_LT(output.out.find("[702]"), output.out.find("[703]"));
  }
  const json tree = json::parse(Run({"tree", "701", "--node", "web-1", "--json"}).out);
  EXPECT_EQ(tree.at("ancestors").size(), 1U);
  EXPECT_EQ(tree.at("process").at("children").at(0).at("children").at(0).at("pid"), 703);
  EXPECT_EQ(Run({"tree", "999999"}).exit_code, 66);
}

TEST_F(CliTest, StatusHasTheContractedFields) {
  const Output output = Run({"status", "--json"});
  ASSERT_EQ(output.exit_code, 0) << output.err;
  const json status = json::parse(output.out);
  EXPECT_EQ(status.at("trail_dir"), dir_ + "/trail");
  EXPECT_TRUE(status.at("spool_dir").is_null());
  EXPECT_EQ(status.at("events_total"), 809);
  EXPECT_EQ(status.at("lost_total"), 3);
  EXPECT_TRUE(status.contains("lag_seconds"));
  EXPECT_EQ(status.at("index_lag_seconds"), 0.0);
  ASSERT_EQ(status.at("agents").size(), 2U);
  EXPECT_EQ(status.at("agents").at(1).at("agent_id"), "web-1");
  EXPECT_EQ(status.at("agents").at(1).at("last_seq"), 1);
  EXPECT_THAT(Run({"status"}).out, HasSubstr("3 lost"));
}

// A tail in a thread of its own, by the wire.
TEST_F(CliTest, TailFollowsAndIsBounded) {
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = Slurp(dir_ + "/pki/tls-ca/ca.pem");
  tls.pem_cert_chain = Slurp(dir_ + "/pki/readers/ann/tls.pem");
  tls.pem_private_key = Slurp(dir_ + "/pki/readers/ann/tls.key");
  const auto stub =
      query::v1::Query::NewStub(grpc::CreateChannel(fmt::format("127.0.0.1:{}", port_), grpc::SslCredentials(tls)));
  grpc::ClientContext call;
  call.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  query::v1::TailRequest request;
  request.set_expr("path:/tail/*");
  request.set_backlog(5);
  const auto stream = stub->Tail(&call, request);
  stream->WaitForInitialMetadata();
  // A second one is one too many here.
  grpc::ClientContext more;
  more.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  EXPECT_EQ(stub->Tail(&more, request)->Finish().error_code(), grpc::RESOURCE_EXHAUSTED);

  TestBatch batch;
  batch.agent_id = "tail-1";
  const auto process = TestProcess(900, "/usr/bin/touch", {"touch"});
  batch.processes = {process};
  for (int i = 0; i < 3; ++i) {
    auto e = TestEvent(event::v1::KIND_FILE_CREATE, process, kTestTime + 1);
    e.mutable_file()->mutable_path()->set_path(fmt::format("/{}/{}", i == 1 ? "other" : "tail", i));
    batch.events.push_back(e);
  }
  indexer_->Notify(trail_->Append(batch));
  query::v1::EventRow row;
  std::vector<std::string> paths;
  while (paths.size() < 2 && stream->Read(&row)) {
    event::v1::Event e;
    ASSERT_TRUE(e.ParseFromString(row.event()));
    EXPECT_EQ(row.hostname(), "web-1.example.com");
    paths.push_back(e.file().path().path());
  }
  EXPECT_THAT(paths, testing::ElementsAre("/tail/0", "/tail/2"));
  call.TryCancel();
  while (stream->Read(&row)) continue;
  EXPECT_EQ(stream->Finish().error_code(), grpc::CANCELLED);
}

TEST_F(CliTest, CompletionsAreForTheirShells) {
  const std::string script = dir_ + "/completion.bash";
  std::ofstream(script) << Run({"completion", "bash"}).out;
  EXPECT_EQ(std::system(fmt::format("bash -n {0} && bash -c 'source {0}; COMP_WORDS=(nodetrail qu); COMP_CWORD=1; "
                                    "_nodetrail; test \"${{COMPREPLY[0]}}\" = query'",
                                    script)
                            .c_str()),
            0);
  EXPECT_THAT(Run({"completion", "zsh"}).out, HasSubstr("#compdef nodetrail"));
  EXPECT_THAT(Run({"completion", "fish"}).out, HasSubstr("process.exec"));
  EXPECT_EQ(Run({"completion", "tcsh"}).exit_code, 64);
}

TEST_F(CliTest, DoctorNamesProblemsAndFixes) {
  const Output output = Run({"doctor", "--json"});
  const json report = json::parse(output.out, nullptr, false);
  ASSERT_TRUE(report.is_object()) << output.out << output.err;
  EXPECT_EQ(output.exit_code, report.at("failed") == 0 ? 0 : 69);
  bool agent = false;
  for (const json& check : report.at("checks")) {
    EXPECT_EQ(check.at("state") == "ok", check.at("fix").is_null()) << check.dump();
    agent = agent || (check.at("area") == "agent" && check.at("state") == "fail");
  }
  EXPECT_TRUE(agent) << "no agent listens here, and doctor does not say so";
}

TEST(Doctor, NamesTheRingThatWasTooSmall) {
  nlohmann::json document = {{"health", "ok"}, {"lost_total", 5}, {"rings", {{"reserve", {{"lost", 0}}}}}};
  const auto fix = [&] {
    Checks checks;
    CheckAgentStatus(document, OkStatus(), &checks);
    std::string found;
    for (const Check& check : checks) {
      if (check.what.find("lost since") != std::string::npos) found = check.fix;
    }
    return found;
  };
  EXPECT_THAT(fix(), HasSubstr("raise capture.ring_bytes_per_cpu"));
  document["rings"]["reserve"]["lost"] = 2;
  EXPECT_THAT(fix(), HasSubstr("raise capture.reserve_bytes_per_cpu"));
  document.erase("rings");  // an agent of before
  EXPECT_THAT(fix(), HasSubstr("raise capture.ring_bytes_per_cpu"));
}

}  // namespace
}  // namespace nodetrail::cli
