// SPDX-License-Identifier: Apache-2.0
//
// The program itself: exit codes, one-line errors, signals, SIGKILL.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "collector/test_fixture.h"

extern char** environ;

namespace nodetrail::collector {
namespace {

using std::chrono::milliseconds;

class ProgramTest : public CollectorTest {
 protected:
  ProgramTest() {
    config_path_ = dir_.path() + "/collector.yaml";
    WriteConfig("");
  }
  ~ProgramTest() override {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      Wait();
    }
  }

  void WriteConfig(const std::string& extra, int port = 0) {
    std::ofstream(config_path_) << fmt::format(
        "trail_dir: trail\nlisten: 127.0.0.1:{}\ntls:\n  ca_file: {}\n  cert_file: {}\n  key_file: {}\n"
        "identity_ca_file: {}\nlog_key_file: {}\nlog_origin: trail.example.com/default\ncheckpoint_interval_ms: 20\n"
        "min_free_bytes: 0\n{}",
        port, pki().File("tls-ca/ca.pem"), pki().File("collector/tls.pem"), pki().File("collector/tls.key"),
        pki().File("identity-ca/ca.pem"), pki().File("log/log.key"), extra);
  }

  void Spawn(const std::vector<std::string>& args) {
    output_path_ = dir_.path() + "/output";
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, output_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    std::vector<std::string> words{std::string(NT_BINARY_DIR) + "/bin/nodetrail-collector"};
    words.insert(words.end(), args.begin(), args.end());
    std::vector<char*> argv;
    for (std::string& w : words) argv.push_back(w.data());
    argv.push_back(nullptr);
    ASSERT_EQ(posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  // Exit status, or -signal.
  int Wait() {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  int Run(const std::vector<std::string>& args) {
    Spawn(args);
    return Wait();
  }
  std::string Output() const { return ReadFile(output_path_, 1 << 20).value_or(std::string()); }
  size_t Lines() const {
    const std::string text = Output();
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }
  // Started and serving; the port from its log.
  int StartProgram() {
    Spawn({"--config", config_path_});
    int port = 0;
    EXPECT_TRUE(WaitUntil([&] {
      const std::string text = Output();
      const size_t at = text.find("(port ");
      if (at == std::string::npos || text.find(')', at) == std::string::npos) return false;
      port = std::atoi(text.c_str() + at + 6);
      return true;
    })) << Output();
    return port;
  }

  std::string config_path_, output_path_;
  pid_t pid_ = -1;
};

TEST_F(ProgramTest, HelpVersionAndCheck) {
  EXPECT_EQ(Run({"--help"}), 0);
  EXPECT_NE(Output().find("Exit status"), std::string::npos);
  EXPECT_EQ(Run({"--version"}), 0);
  EXPECT_NE(Output().find("nodetrail-collector "), std::string::npos);
  EXPECT_EQ(Run({"--no-such-flag"}), 2);
  EXPECT_EQ(Run({"--config", config_path_, "--check-config"}), 0);
  EXPECT_FALSE(std::filesystem::exists(dir_.path() + "/trail"));
}

TEST_F(ProgramTest, WarnsOfATrustDomainThatItsAgentsWouldNotFindInItsCertificate) {
  const std::string warning = "agents enrolled here refuse this collector";
  const auto write = [&](const std::string& domain, const std::string& tenant = "default") {
    WriteConfig(
        fmt::format("tenant: {}\nenrol:\n  listen: 127.0.0.1:0\n  trust_domain: {}\n  identity_ca_cert_file: {}\n"
                    "  identity_ca_key_file: {}\n  tls_ca_cert_file: {}\n  tls_ca_key_file: {}\n",
                    tenant, domain, pki().File("identity-ca/ca.pem"), pki().File("identity-ca/ca.key"),
                    pki().File("tls-ca/ca.pem"), pki().File("tls-ca/ca.key")));
  };
  write("nodetrail.dev");
  EXPECT_EQ(Run({"--config", config_path_, "--check-config"}), 0);
  EXPECT_EQ(Output().find(warning), std::string::npos) << Output();
  write("nodetrail.dev", "acme");
  EXPECT_EQ(Run({"--config", config_path_, "--check-config"}), 0);
  EXPECT_NE(Output().find(warning), std::string::npos) << Output();
  write("example.org");
  EXPECT_EQ(Run({"--config", config_path_, "--check-config"}), 0);
  EXPECT_NE(Output().find(warning), std::string::npos) << Output();
  StartProgram();
  EXPECT_NE(Output().find("enrol.trust_domain: example.org: the " + warning), std::string::npos) << Output();
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(Wait(), 0);
}

TEST_F(ProgramTest, EveryConfigurationErrorAtOnce) {
  WriteConfig("log_orgin: x\ncheckpoint_interval_ms: 0\ntenant: 'a b'\n");
  EXPECT_EQ(Run({"--config", config_path_}), 2);
  EXPECT_NE(Output().find("log_orgin"), std::string::npos) << Output();
  EXPECT_NE(Output().find("checkpoint_interval_ms"), std::string::npos) << Output();
  EXPECT_NE(Output().find("tenant"), std::string::npos) << Output();
  EXPECT_EQ(Run({"--config", dir_.path() + "/missing.yaml"}), 2);
  EXPECT_NE(Output().find("missing.yaml"), std::string::npos);
}

TEST_F(ProgramTest, ErrorsAreOneLineWithTheirExitCode) {
  const int port = StartProgram();
  const pid_t first = std::exchange(pid_, -1);
  EXPECT_EQ(Run({"--config", config_path_}), 5);
  EXPECT_EQ(Lines(), 1U) << Output();
  WriteConfig("admin_socket: second.sock\n", port);
  std::filesystem::rename(config_path_, dir_.path() + "/second.yaml");
  std::ofstream(dir_.path() + "/second.yaml", std::ios::app) << "";
  std::string text = ReadFile(dir_.path() + "/second.yaml", 65536).value();
  text.replace(text.find("trail_dir: trail"), 16, "trail_dir: other");
  std::ofstream(dir_.path() + "/second.yaml") << text;
  EXPECT_EQ(Run({"--config", dir_.path() + "/second.yaml"}), 2);
  EXPECT_EQ(Lines(), 1U) << Output();
  EXPECT_NE(Output().find("EADDRINUSE"), std::string::npos);
  pid_ = first;
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(Wait(), 0);
}

TEST_F(ProgramTest, SigtermSignsAndStopsInTime) {
  WriteConfig(fmt::format("pid_file: {}/pid\n", dir_.path()));
  const int port = StartProgram();
  EXPECT_EQ(ReadFile(dir_.path() + "/pid", 64).value(), fmt::format("{}\n", pid_));
  BatchMaker maker(pki(), "web-1");
  RawAgent raw(port, pki().Agent("web-1"));
  raw.Hello("web-1");
  ASSERT_TRUE(raw.Read().has_welcome());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(raw.Exchange(maker.Next()).has_ack());
  ::kill(pid_, SIGHUP);
  const auto start = std::chrono::steady_clock::now();
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(Wait(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_FALSE(std::filesystem::exists(dir_.path() + "/pid"));
  const std::string note = ReadFile(dir_.path() + "/trail/log/checkpoint", 65536).value();
  EXPECT_NE(note.find("trail.example.com/default\n5\n"), std::string::npos) << note;
}

// Whatever was acknowledged is there after SIGKILL, in the middle of load.
TEST_F(ProgramTest, SigkillLosesNothingThatWasAcknowledged) {
  BatchMaker maker(pki(), "web-1");
  std::vector<trail::SealedBatch> batches;
  size_t acked = 0;
  for (int round = 0; round < 4; ++round) {
    const int port = StartProgram();
    RawAgent raw(port, pki().Agent("web-1"));
    raw.Hello("web-1");
    const ingest::v1::ServerMessage hello = raw.Read();
    ASSERT_TRUE(hello.has_welcome()) << Output();
    const size_t held = hello.welcome().known() ? hello.welcome().seq() + 1 : 0;
    ASSERT_GE(held, acked);
    while (batches.size() < held + 60) batches.push_back(maker.Next());
    std::jthread killer([&, pid = pid_, want = acked + 20] {
      const std::string log = dir_.path() + "/trail/log/000000.leaves";
      WaitUntil([&] {
        std::error_code ec;
        return std::filesystem::file_size(log, ec) > want * 300 && !ec;
      });
      ::kill(pid, SIGKILL);
    });
    for (size_t i = held; i < batches.size() && raw.Send(batches[i]); ++i) {
    }
    acked = std::max(acked, held);
    for (;;) {
      const ingest::v1::ServerMessage m = raw.Read();
      if (!m.has_ack()) break;
      ASSERT_EQ(m.ack().log_index(), m.ack().seq());
      acked = std::max<size_t>(acked, m.ack().seq() + 1);
      if (acked == batches.size()) break;
    }
    killer.join();
    EXPECT_EQ(Wait(), -SIGKILL);
  }
  const int port = StartProgram();
  RawAgent raw(port, pki().Agent("web-1"));
  raw.Hello("web-1");
  const ingest::v1::ServerMessage hello = raw.Read();
  ASSERT_TRUE(hello.has_welcome());
  EXPECT_GE(hello.welcome().seq() + 1, acked);
  const std::vector<std::string> leaves = LogLeaves();
  ASSERT_GE(leaves.size(), acked);
  for (size_t i = 0; i < leaves.size(); ++i) EXPECT_EQ(leaves[i], batches[i].leaf) << i;
  ::kill(pid_, SIGTERM);
  EXPECT_EQ(Wait(), 0);
}

}  // namespace
}  // namespace nodetrail::collector
