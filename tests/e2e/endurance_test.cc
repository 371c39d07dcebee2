// SPDX-License-Identifier: Apache-2.0
//
// Cuts, kills, floods and idleness: nothing lost in silence, nothing double.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "tests/e2e/harness.h"

namespace nodetrail::e2e {
namespace {

namespace fs = std::filesystem;

// NODETRAIL_FULL=1 runs the long form of the timed tests.
bool Full() { return std::getenv("NODETRAIL_FULL") != nullptr; }

struct Truth {
  uint64_t created = 0, deleted = 0, cred_changes = 0, failed = 0;
  pid_t pid = 0;
};

// The load program in the background; Stop() gives its own count.
class Load {
 public:
  Load(const Node& node, const std::vector<std::string>& args) : out_(node.dir() + "/load.json") {
    work_ = node.dir() + "/work";
    fs::create_directories(work_);
    std::vector<std::string> argv = {Binary("nt_e2e_load"), work_};
    argv.insert(argv.end(), args.begin(), args.end());
    fs::remove(out_);
    process_ = Process(argv, out_);
  }
  bool running() { return process_.running(); }
  Truth Stop() {
    process_.Signal(SIGTERM);
    return Finish();
  }
  Truth Finish() {
    EXPECT_EQ(process_.Wait(seconds(120)).value_or(-1), 0);
    const Json truth = Json::parse(ReadAll(out_));
    EXPECT_EQ(truth.at("failed"), 0);
    return {truth.at("created"), truth.at("deleted"), truth.at("cred_changes"), truth.at("failed"), truth.at("pid")};
  }
  [[nodiscard]] std::string PathGlob() const { return work_ + "/load-*"; }

 private:
  std::string out_, work_;
  Process process_;
};

// Each path exactly once.
void ExpectEachOnce(const std::vector<Json>& events, uint64_t expected, const char* what) {
  std::map<std::string, int> seen;
  for (const Json& e : events) ++seen[e.at("resource").at("path").get<std::string>()];
  EXPECT_EQ(seen.size(), expected) << what;
  for (const auto& [path, times] : seen) EXPECT_EQ(times, 1) << what << " " << path;
}

uint64_t LossOf(const std::vector<Json>& losses, const std::string& kind) {
  uint64_t sum = 0;
  for (const Json& e : losses) {
    if (e.at("resource").at("kind") == kind) sum += e.at("resource").at("count").get<uint64_t>();
  }
  return sum;
}

TEST(Outage, ACollectorThatWasAwayGetsEverythingOnce) {
  Node node("outage");
  node.StartCollector();
  node.StartAgent();
  Load load(node, {"--rate", "200"});
  ASSERT_TRUE(Eventually(
      [&] {
        return !node.Query({"--kind", "file.create", "--path", load.PathGlob()}).empty();
      },
      seconds(10)));
  EXPECT_EQ(node.StopCollector(), 0);
  const auto away_until = std::chrono::steady_clock::now() + seconds(60);
  ASSERT_TRUE(Eventually([&] { return std::chrono::steady_clock::now() >= away_until; }, seconds(70)));
  EXPECT_TRUE(load.running());
  EXPECT_FALSE(node.AgentStatus().at("connected").get<bool>());
  EXPECT_GT(node.AgentStatus().at("spool_batches").get<uint64_t>(), 0U);
  node.StartCollector();
  const Truth truth = load.Stop();
  EXPECT_GT(truth.created, 5'000U);
  ASSERT_TRUE(node.Settled(seconds(60)));
  ExpectEachOnce(node.Query({"--since", "1h", "--kind", "file.create", "--path", load.PathGlob()}), truth.created,
                 "file.create");
  ExpectEachOnce(node.Query({"--since", "1h", "--kind", "file.delete", "--path", load.PathGlob()}), truth.deleted,
                 "file.delete");
  EXPECT_EQ(node.Query({"--since", "1h", "--kind", "cred.change", "pid:" + std::to_string(truth.pid)}).size(),
            truth.cred_changes);
  EXPECT_TRUE(node.Query({"--since", "1h", "--kind", "agent.loss"}).empty());
  EXPECT_EQ(node.Verify().first, 0);
}

// All certificates are replaced while events pour in, and the old ones revoked:
// that cuts the connections which still stand on them, on either side.
TEST(Rotation, CertificatesReplacedAndRevokedUnderLoadLoseAndDoubleNothing) {
  Node node("rotation");
  const std::string tool = std::string(NT_SOURCE_DIR) + "/packaging/dev-pki";
  const std::string authorities = node.pki() + "/tls-ca/ca.pem", lists = node.dir() + "/crl.pem";
  const auto pki = [&](const std::vector<std::string>& args) {
    std::vector<std::string> argv = {tool};
    argv.insert(argv.end(), args.begin(), args.end());
    const Output made = RunCommand(argv);
    ASSERT_EQ(made.exit_code, 0) << made.err;
  };
  const auto put = [](const std::string& path, const std::string& text) {
    WriteFile(path + ".new", text);
    fs::rename(path + ".new", path);
  };
  const auto publish_lists = [&] {
    put(lists, ReadAll(node.pki() + "/tls-ca/crl.pem") + ReadAll(node.pki() + "/tls-ca2/crl.pem"));
  };
  pki({"crl", node.pki()});
  publish_lists();
  WriteFile(node.collector_config(), ReadAll(node.collector_config()) + "crl_file: " + lists + "\n");
  AgentOptions options;
  options.extra_yaml = "  crl_file: " + lists + "\n";
  node.StartCollector();
  node.StartAgent(options);
  Load load(node, {"--rate", "300"});
  const auto acked = [&] {
    const Json status = node.AgentStatus();
    return status.is_null() ? uint64_t{0} : status.at("acked_batches").get<uint64_t>();
  };
  ASSERT_TRUE(Eventually([&] { return acked() > 5; }, seconds(30)));

  // A new authority beside the old one, then new certificates of it, then the
  // old ones revoked. Both renewed pairs are made aside and moved into place,
  // as a tool does that renews them.
  const std::string next = node.dir() + "/next";
  const auto renew = [&](const std::string& authority) {
    fs::remove_all(next);
    fs::copy(node.pki(), next, fs::copy_options::recursive);
    pki({"--ca", authority, "--force", "agent", next, "rotation"});
    pki({"--ca", authority, "--force", "collector", next, "localhost", "127.0.0.1"});
    for (const char* what : {"agents/rotation/tls", "collector/tls"}) {
      const std::string at = node.pki() + "/" + what;
      fs::copy_file(at + ".pem", node.dir() + "/" + (what[0] == 'a' ? "old-agent.pem" : "old-collector.pem"),
                    fs::copy_options::overwrite_existing);
      for (const char* part : {".key", ".pem"}) fs::rename(next + "/" + what + part, at + part);
    }
  };
  // Both have taken the list that names the old certificate, and batches go on.
  // `cuts`: the connection is older than the renewal, so it ends.
  const auto goes_on = [&](const std::string& which, bool cuts) {
    const size_t said = ReadAll(node.log("collector")).size(), agent_said = ReadAll(node.log("agent")).size();
    pki({"crl", node.pki(), node.dir() + "/old-" + which + ".pem"});
    publish_lists();
    ASSERT_TRUE(Eventually(
        [&] {
          const std::string collector = ReadAll(node.log("collector")), agent = ReadAll(node.log("agent"));
          if (cuts && collector.find("rotation: connected", said) == std::string::npos) return false;
          return collector.find("certificates are revoked", said) != std::string::npos &&
                 agent.find("certificates are revoked", agent_said) != std::string::npos;
        },
        seconds(60)))
        << node.AgentStatus().dump();
    const uint64_t before = acked();
    ASSERT_TRUE(Eventually([&] { return acked() > before + 5; }, seconds(60))) << node.AgentStatus().dump();
  };
  renew("tls-ca");
  goes_on("agent", true);
  goes_on("collector", false);
  // The authority rolls, too.
  pki({"--ca", "tls-ca2", "init", node.pki()});
  pki({"--ca", "tls-ca2", "crl", node.pki()});
  publish_lists();
  put(authorities, ReadAll(authorities) + ReadAll(node.pki() + "/tls-ca2/ca.pem"));
  renew("tls-ca2");
  goes_on("collector", true);
  goes_on("agent", false);

  const Truth truth = load.Stop();
  EXPECT_GT(truth.created, 500U);
  ASSERT_TRUE(node.Settled(seconds(60)));
  ExpectEachOnce(node.Query({"--since", "1h", "--kind", "file.create", "--path", load.PathGlob()}), truth.created,
                 "file.create");
  ExpectEachOnce(node.Query({"--since", "1h", "--kind", "file.delete", "--path", load.PathGlob()}), truth.deleted,
                 "file.delete");
  EXPECT_TRUE(node.Query({"--since", "1h", "--kind", "agent.loss"}).empty());
  EXPECT_NE(ReadAll(node.log("collector")).find("is revoked by its authority"), std::string::npos);
  EXPECT_NE(ReadAll(node.log("agent")).find("is revoked by its authority"), std::string::npos);
  EXPECT_EQ(node.Verify().first, 0);
}

TEST(Kill, AKilledAgentLeavesADeclaredGapAndWhatWasDurable) {
  Node node("kill");
  node.StartCollector();
  node.StartAgent();
  Load load(node, {"--rate", "500"});
  ASSERT_TRUE(Eventually([&] { return node.AgentStatus().value("events_durable", 0U) > 2'000U; }, seconds(30)));
  const Json before = node.AgentStatus();
  node.agent.Signal(SIGKILL);
  // The kernel detaches its probes, one grace period after the other, before it lets go of it.
  ASSERT_EQ(node.agent.Wait(seconds(60)).value_or(-1), 128 + SIGKILL);
  node.StartAgent();
  load.Stop();
  ASSERT_TRUE(node.Settled(seconds(60)));

  const auto [code, report] = node.Verify();
  EXPECT_EQ(code, 1) << report.dump(1);
  // What the first agent said was durable is there.
  const std::string first_epoch = "epoch:" + before.at("epoch").dump();
  std::set<uint64_t> seqs;
  std::string last_time;
  for (const Json& e : node.Query({"--since", "1h", first_epoch})) {
    seqs.insert(e.at("seq").get<uint64_t>());
    last_time = e.at("time").get<std::string>();
  }
  EXPECT_GE(seqs.size(), before.at("events_durable").get<uint64_t>());
  EXPECT_EQ(*seqs.rbegin(), seqs.size()) << "a hole in the durable events";

  const auto gaps = node.Query({"--since", "1h", "--kind", "agent.gap"});
  ASSERT_EQ(gaps.size(), 1U);
  const Json& gap = gaps[0].at("resource");
  EXPECT_FALSE(gap.at("clean").get<bool>());
  EXPECT_EQ(gap.at("last_epoch"), before.at("epoch"));
  // From the last durable batch to the new start.
  EXPECT_GE(gap.at("from").get<std::string>(), last_time);
  const auto starts = node.Query({"--since", "1h", "--kind", "agent.start"});
  ASSERT_EQ(starts.size(), 2U);
  EXPECT_LE(gap.at("from").get<std::string>(), gap.at("to").get<std::string>());
  EXPECT_LE(gap.at("to").get<std::string>(), starts[1].at("time").get<std::string>());
}

// Under a service manager the chain's key survives the crash in its descriptor
// store: the same epoch goes on, and the interruption is declared all the same.
TEST(Kill, UnderAServiceManagerTheEpochGoesOn) {
  Node node("fdstore");
  node.StartCollector();
  node.WriteAgentConfig({});
  const std::string said = node.dir() + "/holder.out";
  Process holder(
      {Binary("notify_holder"), "--restart", "--", Binary("nodetrail-agent"), "--config", node.agent_config()}, said);
  ASSERT_TRUE(Eventually([&] { return ReadAll(said).find("READY") != std::string::npos; }, seconds(120)))
      << ReadAll(said);
  ASSERT_TRUE(
      Eventually([&] { return ReadAll(said).find("FDSTORE nodetrail-ratchet") != std::string::npos; }, seconds(10)));
  RunCommand({"touch", node.dir() + "/before"});
  ASSERT_TRUE(node.Settled());
  const Json before = node.AgentStatus();
  ASSERT_EQ(::kill(before.at("pid").get<pid_t>(), SIGKILL), 0);
  Json after;
  ASSERT_TRUE(Eventually(
      [&] {
        after = node.AgentStatus();
        return !after.is_null() && after.at("pid") != before.at("pid") &&
               after.at("batch_seq") > before.at("batch_seq");
      },
      seconds(120)));
  EXPECT_EQ(after.at("epoch"), before.at("epoch"));
  RunCommand({"touch", node.dir() + "/after"});
  ASSERT_TRUE(node.Settled());
  EXPECT_EQ(node.Query({"--since", "1h", "--kind", "agent.gap"}).size(), 1U);
  EXPECT_EQ(node.Query({"--since", "1h", "--kind", "file.create", "--path", node.dir() + "/after"}).size(), 1U);
  EXPECT_EQ(node.Verify().first, 1);
  holder.Signal(SIGTERM);
  EXPECT_EQ(holder.Wait(seconds(20)).value_or(-1), 0);
}

TEST(Idle, ASilentNodeSendsLittleMoreThanHeartbeats) {
  const int minutes = Full() ? 5 : 1;
  Node node("idle");
  // Observe a process that does nothing, so that the polling below isn't activity.
  const pid_t idle = ::fork();
  if (idle == 0) {
    ::pause();
    ::_exit(0);
  }
  node.StartCollector();
  AgentOptions options;
  options.scope_root = idle;
  options.heartbeat_s = 10;
  node.StartAgent(options);
  const auto batches = [&](const Json& status) { return status.at("batch_seq").get<int64_t>(); };
  ASSERT_TRUE(node.Settled());
  const auto heartbeats = [&] {
    return static_cast<int64_t>(node.Query({"--since", "1h", "--kind", "agent.heartbeat"}).size());
  };
  const int64_t b0 = batches(node.AgentStatus());
  const int64_t h0 = heartbeats();
  const auto until = std::chrono::steady_clock::now() + std::chrono::minutes(minutes);
  ASSERT_TRUE(Eventually([&] { return std::chrono::steady_clock::now() >= until; }, std::chrono::minutes(minutes + 1)));
  ASSERT_TRUE(node.Settled());
  const int64_t b1 = batches(node.AgentStatus());
  const int64_t h1 = heartbeats();
  EXPECT_GE(h1 - h0, minutes * 5);
  EXPECT_LE((b1 - b0) - (h1 - h0), 2 * minutes);
  ::kill(idle, SIGKILL);
  ::waitpid(idle, nullptr, 0);
}

// Agent and collector in the observed tree, the collector working: its file and
// network acts are counted in agent.filtered and never recorded.
TEST(Feedback, TheCollectorsOwnActsAreCountedNotRecorded) {
  Node node("feedback");
  node.StartCollector();
  AgentOptions options;
  options.heartbeat_s = 1;
  node.StartAgent(options);
  Load load(node, {"--rate", "200", "--count", "600"});
  load.Finish();
  uint64_t counted = 0;
  ASSERT_TRUE(Eventually(
      [&] {
        counted = 0;
        for (const Json& e : node.Query({"--since", "1h", "--kind", "agent.filtered"})) {
          for (const Json& f : e.at("resource").at("filtered")) {
            if (f.at("rule") == "self.companion") counted += f.at("count").get<uint64_t>();
          }
        }
        return counted > 0;
      },
      seconds(10)));
  const std::string collector = "pid:" + std::to_string(node.collector.pid());
  const std::string agent = "pid:" + std::to_string(node.agent.pid());
  for (const std::string& who : {collector, agent}) {
    for (const Json& e : node.Query({"--since", "1h", "kind:file.* or kind:net.*", who})) {
      // What the collector did before the agent knew of it does not exist here: it was seeded.
      ADD_FAILURE() << e.dump();
    }
  }
}

TEST(Ring, ATinyRingLosesExactlyWhatItSays) {
  Node node("ring");
  node.StartCollector();
  AgentOptions options;
  options.ring_bytes_per_cpu = 8192;
  options.drain_interval_ms = 200;
  node.StartAgent(options);
  Load load(node, {"--count", "5000", "--threads", "2"});
  const Truth truth = load.Finish();
  ASSERT_TRUE(node.Settled(seconds(60)));
  const std::string pid = "pid:" + std::to_string(truth.pid);
  // The losses aren't attributable, so the oracle is the whole tree's: count the
  // load's own kinds, which nobody else in the tree does meanwhile.
  const auto got = [&](const std::string& kind, const std::string& term) {
    return node.Query({"--since", "1h", "--kind", kind, term}).size();
  };
  const auto losses = node.Query({"--since", "1h", "--kind", "agent.loss"});
  ASSERT_FALSE(losses.empty());
  const uint64_t deleted = got("file.delete", pid), lost_deleted = LossOf(losses, "file.delete");
  EXPECT_GT(lost_deleted, 0U);
  EXPECT_EQ(deleted + lost_deleted, truth.deleted);
  const uint64_t changed = got("cred.change", pid), lost_changed = LossOf(losses, "cred.change");
  EXPECT_EQ(changed + lost_changed, truth.cred_changes);
  for (const Json& e : losses) {
    const Json& loss = e.at("resource");
    EXPECT_LE(loss.at("seq_from").get<uint64_t>(), loss.at("seq_to").get<uint64_t>());
    EXPECT_LE(loss.at("from").get<std::string>(), loss.at("to").get<std::string>());
  }
  EXPECT_EQ(node.Verify().first, 1);
}

TEST(Shutdown, SigtermWhileDisconnectedKeepsTheSpoolAndIsQuick) {
  Node node("shutdown");
  node.StartAgent();  // no collector
  Load load(node, {"--rate", "200", "--count", "400"});
  const Truth truth = load.Finish();
  const auto asked = std::chrono::steady_clock::now();
  EXPECT_EQ(node.StopAgent(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - asked, seconds(10));
  node.StartCollector();
  node.StartAgent();
  ASSERT_TRUE(node.Settled(seconds(60)));
  ExpectEachOnce(node.Query({"--since", "1h", "--kind", "file.create", "--path", load.PathGlob()}), truth.created,
                 "file.create");
  const auto stops = node.Query({"--since", "1h", "--kind", "agent.stop"});
  ASSERT_EQ(stops.size(), 1U);
}

}  // namespace
}  // namespace nodetrail::e2e
