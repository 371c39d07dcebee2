// SPDX-License-Identifier: Apache-2.0
//
// Bad input: one line that names the thing, the cause and the fix, the exit
// code of docs/operations.md, and nothing lost.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/e2e/harness.h"

namespace nodetrail::e2e {
namespace {

namespace fs = std::filesystem;

class BadInput : public testing::Test {
 protected:
  BadInput() : node_("bad-input") { node_.WriteAgentConfig({}); }

  [[nodiscard]] Output Agent(const std::vector<std::string>& extra = {}) const {
    std::vector<std::string> argv = {Binary("nodetrail-agent"), "--config", node_.agent_config()};
    argv.insert(argv.end(), extra.begin(), extra.end());
    return RunCommand(argv, {}, seconds(30));
  }
  [[nodiscard]] Output Collector() const {
    return RunCommand({Binary("nodetrail-collector"), "--config", node_.collector_config()}, {}, seconds(30));
  }
  static void Append(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::app) << text; }

  Node node_;
};

TEST_F(BadInput, AllConfigurationErrorsAtOnce) {
  Append(node_.agent_config(), "captrue: {}\ntenant: [1]\n");
  const Output agent = Agent();
  EXPECT_EQ(agent.exit_code, 2) << agent.err;
  EXPECT_NE(agent.err.find("captrue"), std::string::npos) << agent.err;
  EXPECT_NE(agent.err.find("capture"), std::string::npos) << "no suggestion: " << agent.err;
  EXPECT_NE(agent.err.find("tenant"), std::string::npos) << agent.err;
}

TEST_F(BadInput, AMissingConfigurationFile) {
  const Output agent = RunCommand({Binary("nodetrail-agent"), "--config", "/nonexistent.yaml"});
  EXPECT_EQ(agent.exit_code, 2);
  EXPECT_NE(agent.err.find("/nonexistent.yaml"), std::string::npos) << agent.err;
}

TEST_F(BadInput, ACertificateThatIsNone) {
  WriteFile(node_.pki() + "/agents/bad-input/identity.pem",
            "-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n");
  const Output agent = Agent();
  EXPECT_EQ(agent.exit_code, 4) << agent.err;
  EXPECT_NE(agent.err.find("identity.pem"), std::string::npos) << agent.err;
}

TEST_F(BadInput, AKeyThatOthersCanRead) {
  ::chmod((node_.pki() + "/agents/bad-input/identity.key").c_str(), 0644);
  const Output agent = Agent();
  EXPECT_EQ(agent.exit_code, 4) << agent.err;
  EXPECT_NE(agent.err.find("identity.key"), std::string::npos) << agent.err;
  EXPECT_NE(agent.err.find("chmod"), std::string::npos) << agent.err;
}

TEST_F(BadInput, AnIdentityOfAnotherAgent) {
  const std::string text = ReadAll(node_.agent_config());
  std::string other = text;
  other.replace(other.find("agent_id: bad-input"), 19, "agent_id: somebody");
  WriteFile(node_.agent_config(), other);
  const Output agent = Agent();
  EXPECT_EQ(agent.exit_code, 4) << agent.err;
  EXPECT_NE(agent.err.find("somebody"), std::string::npos) << agent.err;
}

TEST_F(BadInput, NoPrivileges) {
  fs::create_directories(node_.dir() + "/agent");
  for (const auto& entry : fs::recursive_directory_iterator(node_.dir())) {
    ASSERT_EQ(::chown(entry.path().c_str(), 65534, 65534), 0);
  }
  ASSERT_EQ(::chown(node_.dir().c_str(), 65534, 65534), 0);
  const Output agent = RunCommand({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                   Binary("nodetrail-agent"), "--config", node_.agent_config()},
                                  {}, seconds(30));
  EXPECT_EQ(agent.exit_code, 3) << agent.err;
  EXPECT_NE(agent.err.find("CAP_BPF"), std::string::npos) << agent.err;
}

TEST_F(BadInput, ACorruptSpoolNeverStopsTheAgent) {
  node_.StartCollector();
  node_.StartAgent();
  RunCommand({"touch", node_.dir() + "/before"});
  ASSERT_TRUE(node_.Settled());
  EXPECT_EQ(node_.StopAgent(), 0);
  // Garbage, an empty file, a FIFO and a link beside a spoiled real segment.
  for (const auto& entry : fs::directory_iterator(node_.spool_dir())) {
    if (!entry.is_regular_file() || entry.file_size() < 4096) continue;
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(300);
    file << std::string(64, '\xff');
  }
  WriteFile(node_.spool_dir() + "/99999999999999999999.seg", "garbage");
  WriteFile(node_.spool_dir() + "/empty", "");
  ASSERT_EQ(::mkfifo((node_.spool_dir() + "/00000000000000000001.fifo").c_str(), 0600), 0);
  fs::create_symlink("/etc/passwd", node_.spool_dir() + "/link.seg");
  node_.StartAgent();
  RunCommand({"touch", node_.dir() + "/after"});
  ASSERT_TRUE(node_.Settled());
  EXPECT_EQ(node_.Query({"--since", "1h", "--kind", "file.create", "--path", node_.dir() + "/after"}).size(), 1U);
  EXPECT_EQ(ReadAll("/etc/passwd").substr(0, 4), "root");
}

TEST_F(BadInput, ASecondCollectorOnTheSameTrail) {
  node_.StartCollector();
  const Output second = Collector();
  EXPECT_EQ(second.exit_code, 5) << second.err;
  EXPECT_NE(second.err.find(node_.trail_dir()), std::string::npos) << second.err;
}

TEST_F(BadInput, ACollectorWithoutItsLogKey) {
  fs::remove(node_.pki() + "/log/log.key");
  const Output collector = Collector();
  EXPECT_EQ(collector.exit_code, 2) << collector.err;
  EXPECT_NE(collector.err.find("log.key"), std::string::npos) << collector.err;
}

TEST_F(BadInput, TheCliNamesWhatItCannotReach) {
  const Output status = node_.Cli({"query"});
  EXPECT_EQ(status.exit_code, 69) << status.err;
  EXPECT_NE(status.err.find("127.0.0.1:" + std::to_string(node_.port())), std::string::npos) << status.err;
  const Output query = node_.Cli({"query", "kind:file.create and ("});
  EXPECT_EQ(query.exit_code, 64) << query.err;
}

// The spool on a full file system: the agent stays, stops draining, the kernel
// counts, and once there is room again the trail says how much was lost.
TEST_F(BadInput, AFullDiskIsCountedAndSurvived) {
  fs::create_directories(node_.dir() + "/agent");
  // A file system of its own, small, gone with the test.
  ASSERT_EQ(::mount("tmpfs", (node_.dir() + "/agent").c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=40m"), 0);
  struct Unmount {
    std::string dir;
    ~Unmount() { ::umount2(dir.c_str(), MNT_DETACH); }
  } unmount{node_.dir() + "/agent"};
  AgentOptions options;
  options.extra_yaml = "spool: {segment_bytes: 1048576}\n";
  options.ring_bytes_per_cpu = 65536;
  node_.StartAgent(options);  // nobody to ship to
  // Fill it, beside the spool.
  const std::string filler = node_.dir() + "/agent/filler";
  RunCommand({"sh", "-c", "head -c 100m /dev/zero > " + filler + " 2>/dev/null; true"});
  const std::string work = node_.dir() + "/work";
  fs::create_directories(work);
  Json truth = Json::parse(RunCommand({Binary("nt_e2e_load"), work, "--count", "150000"}).out);
  ASSERT_EQ(truth.at("failed"), 0);
  EXPECT_TRUE(node_.agent.running());
  ASSERT_TRUE(Eventually(
      [&] {
        const Json status = node_.AgentStatus();
        return status.at("health") == "degraded" && status.at("problems").dump().find("no room") != std::string::npos;
      },
      seconds(20)))
      << node_.AgentStatus().dump();
  fs::remove(filler);
  ASSERT_TRUE(Eventually([&] { return node_.AgentStatus().value("health", "") == "ok"; }, seconds(30)))
      << node_.AgentStatus().dump();
  // Only now: while the rings were full, its own start would have been lost with the rest.
  node_.StartCollector();
  ASSERT_TRUE(node_.Settled(seconds(60)));
  uint64_t lost = 0;
  for (const Json& e : node_.Query({"--since", "1h", "--kind", "agent.loss"})) {
    if (e.at("resource").at("kind") == "file.delete") lost += e.at("resource").at("count").get<uint64_t>();
  }
  EXPECT_GT(lost, 0U);
  // The filler went while the rings were full: it counts, recorded or lost.
  const uint64_t deleted = truth.at("deleted").get<uint64_t>() + 1;
  const std::string names = "path:" + work + "/load-* or path:" + filler;
  const uint64_t present = node_.Query({"--since", "1h", "--kind", "file.delete", names}).size();
  // Bodies went for their headers: those tell how many events, not of which kind.
  const uint64_t given_up = node_.AgentStatus().at("evicted_events").get<uint64_t>();
  EXPECT_GT(given_up, 0U);
  EXPECT_EQ(node_.StopAgent(), 0);  // else it goes on reporting between two counts
  const auto [exit_code, verified] = node_.Verify();
  EXPECT_EQ(exit_code, 1);
  EXPECT_LE(present + lost, deleted);
  EXPECT_GE(present + lost + given_up, deleted);
  const uint64_t events = verified.at("events").get<uint64_t>();
  EXPECT_TRUE(Eventually(
      [&] {
        return node_.Query({"--since", "1h"}).size() + given_up == events;
      },
      seconds(60)))
      << node_.Query({"--since", "1h"}).size() << " present, " << given_up << " given up, " << events << " sealed";
  EXPECT_EQ(ReadAll(node_.log("collector")).find("not searchable"), std::string::npos);
}

}  // namespace
}  // namespace nodetrail::e2e
