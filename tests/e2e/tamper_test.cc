// SPDX-License-Identifier: Apache-2.0
//
// Each thing that somebody may do to the agent itself, done to a real one: it is
// told with who did it within 5 s, and what was taken away is there again.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/e2e/debugger.h"
#include "tests/e2e/harness.h"

namespace nodetrail::e2e {
namespace {

class Tamper : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    node = new Node("tamper");
    node->StartCollector();
    node->StartAgent();
    ASSERT_TRUE(node->Settled());
  }
  static void TearDownTestSuite() {
    delete node;
    node = nullptr;
  }

  // The last agent.tamper of this kind, once the collector has it; in 5 s.
  static Json Told(const std::string& object, const std::string& what) {
    Json found;
    Eventually(
        [&] {
          for (Json& event : node->Query({"--since", "1h", "--kind", "agent.tamper"})) {
            const Json& tamper = event.at("resource").at("tamper");
            if (tamper.at("object") == object && tamper.at("what") == what) found = std::move(event);
          }
          return !found.is_null();
        },
        seconds(5));
    EXPECT_FALSE(found.is_null()) << object << " " << what;
    return found;
  }
  static void ExpectActor(const Json& event, const std::string& exe) {
    ASSERT_FALSE(event.is_null());
    ASSERT_FALSE(event.at("actor").is_null()) << event.dump(1);
    EXPECT_NE(event.at("actor").value("exe", "").find(exe), std::string::npos) << event.at("actor").dump(1);
    EXPECT_EQ(event.at("actor").at("uid"), ::geteuid()) << event.at("actor").dump(1);
  }
  static Json TamperOf(const Json& event) {
    return event.is_null() ? Json::object() : event.at("resource").at("tamper");
  }

  // The id of one of the agent's maps: other agents have such maps, too.
  static int MapId(const std::string& name) {
    std::string ours;
    const std::string proc = "/proc/" + std::to_string(node->agent.pid()) + "/fdinfo";
    for (const auto& entry : std::filesystem::directory_iterator(proc)) ours += ReadAll(entry.path().string());
    const Output listed = RunCommand({NT_BPFTOOL, "--json", "map", "show"});
    for (const Json& map : Json::parse(listed.out)) {
      if (map.value("name", "") != name) continue;
      const int id = map.at("id").get<int>();
      if (ours.find("map_id:\t" + std::to_string(id) + "\n") != std::string::npos) return id;
    }
    return 0;
  }
  static std::string Self() { return std::filesystem::read_symlink("/proc/self/exe").filename().string(); }

  static Node* node;
};
Node* Tamper::node = nullptr;

TEST_F(Tamper, FilesOfTheAgent) {
  RunCommand({"chmod", "0600", node->agent_config()});
  ExpectActor(Told("config", "file.chmod"), "chmod");
  RunCommand({"touch", node->spool_dir() + "/foreign"});
  const Json created = Told("spool", "file.create");
  ExpectActor(created, "touch");
  EXPECT_EQ(TamperOf(created).at("target"), node->spool_dir() + "/foreign");
  RunCommand({"rm", node->spool_dir() + "/foreign"});
  ExpectActor(Told("spool", "file.delete"), "rm");
}

TEST_F(Tamper, MapsOfTheAgent) {
  const int scope = MapId("nt_scope");
  ASSERT_NE(scope, 0);
  const std::string id = std::to_string(scope);
  // A process id that nobody has.
  const Output update =
      RunCommand({NT_BPFTOOL, "map", "update", "id", id, "key", "hex", "ff", "ff", "ff", "7f", "value", "hex", "01"});
  ASSERT_EQ(update.exit_code, 0) << update.err;
  ExpectActor(Told("map", "BPF_MAP_UPDATE_ELEM"), "bpftool");
  const Output gone = RunCommand({NT_BPFTOOL, "map", "delete", "id", id, "key", "hex", "ff", "ff", "ff", "7f"});
  ASSERT_EQ(gone.exit_code, 0) << gone.err;
  const Json deleted = Told("map", "BPF_MAP_DELETE_ELEM");
  ExpectActor(deleted, "bpftool");
  EXPECT_EQ(TamperOf(deleted).at("target"), "nt_scope id " + id);
  EXPECT_TRUE(deleted.at("outcome").at("success").get<bool>());

  // Who is ours is frozen.
  const int own = MapId("nt_own");
  ASSERT_NE(own, 0);
  const Output frozen = RunCommand({NT_BPFTOOL, "map", "delete", "id", std::to_string(own), "key", "hex", "00", "00",
                                    "00", "00", "00", "00", "00", "00"});
  EXPECT_NE(frozen.exit_code, 0);

  // A process written into the list of our own would be seen no more.
  const int self = MapId("nt_self");
  ASSERT_NE(self, 0);
  std::vector<std::string> hide = {NT_BPFTOOL, "map", "update", "id", std::to_string(self), "key", "hex", "00", "00",
                                   "00",       "00",  "value",  "hex"};
  for (int i = 0; i < 64; ++i) hide.emplace_back(i % 8 == 4 ? "01" : i == 0 ? "01" : "00");
  const Output hidden = RunCommand(hide);
  ASSERT_EQ(hidden.exit_code, 0) << hidden.err;
  const Json altered = Told("map", "altered");
  ExpectActor(altered, "bpftool");
  EXPECT_TRUE(TamperOf(altered).at("restored").get<bool>());
}

TEST_F(Tamper, StoppedAndContinued) {
  const auto began = std::chrono::steady_clock::now();
  node->agent.Signal(SIGSTOP);
  // So long it stands still.
  ASSERT_TRUE(Eventually(
      [&] {
        const std::string stat = ReadAll("/proc/" + std::to_string(node->agent.pid()) + "/stat");
        return stat.find(") T ") != std::string::npos && std::chrono::steady_clock::now() - began > seconds(1);
      },
      seconds(10)));
  node->agent.Signal(SIGCONT);
  const Json told = Told("process", "SIGSTOP");
  ExpectActor(told, Self());
  EXPECT_GT(TamperOf(told).at("stopped_ns").get<uint64_t>(), 900'000'000U);
  EXPECT_LT(TamperOf(told).at("stopped_ns").get<uint64_t>(), 60'000'000'000U);
}

TEST_F(Tamper, LinksClosedByADebugger) {
  const std::vector<int> links = SyscallLinks(node->agent.pid());
  if (links.empty()) GTEST_SKIP() << "this kernel has no tracefs: no per-syscall hooks that could be taken away";
  CloseFrom(node->agent.pid(), links);
  const auto since = std::chrono::steady_clock::now();
  ExpectActor(Told("process", "PTRACE_SEIZE"), Self());
  const Json closed = Told("link", "closed");
  EXPECT_LT(std::chrono::steady_clock::now() - since, seconds(5));
  ExpectActor(closed, Self());
  EXPECT_TRUE(TamperOf(closed).at("restored").get<bool>());
  EXPECT_EQ(TamperOf(closed).at("actor_is"), "the last who traced the agent");
  // The agent goes on while they are closed one after the other: it may be told in several parts.
  std::string hooks;
  for (const Json& event : node->Query({"--since", "1h", "--kind", "agent.tamper"})) {
    if (TamperOf(event).at("what") == "closed") hooks += TamperOf(event).at("target").get<std::string>() + " ";
  }
  EXPECT_NE(hooks.find("sys_exit_openat "), std::string::npos) << hooks;
  EXPECT_LT(closed.at("resource").at("from_boot_ns"), closed.at("resource").at("to_boot_ns"));

  const std::vector<Json> coverage = node->Query({"--since", "1h", "--kind", "agent.coverage"});
  ASSERT_GE(coverage.size(), 2U);
  size_t again = 0;
  for (const Json& hook : coverage.back().at("resource").at("hooks")) {
    EXPECT_EQ(hook.at("why").get<std::string>().find("could not"), std::string::npos) << hook.dump();
    if (hook.at("why") == "attached again: it was closed") ++again;
  }
  EXPECT_GT(again, 20U);
  // They tell.
  const std::string file = node->dir() + "/after";
  RunCommand({"touch", file});
  ASSERT_TRUE(node->Settled());
  EXPECT_EQ(node->Query({"--since", "1h", "--kind", "file.create", "--path", file}).size(), 1U);
}

// The last of these: the agent is gone afterwards.
TEST_F(Tamper, TheNextRunNamesWhoKilledTheLast) {
  ASSERT_EQ(node->StopAgent(), 0);
  const std::string said = node->dir() + "/holder.out";
  Process holder(
      {Binary("notify_holder"), "--restart", "--", Binary("nodetrail-agent"), "--config", node->agent_config()}, said);
  ASSERT_TRUE(Eventually([&] { return ReadAll(said).find("READY") != std::string::npos; }, seconds(120)))
      << ReadAll(said);
  const pid_t first = node->AgentStatus().at("pid").get<pid_t>();
  RunCommand({"sh", "-c", "kill -KILL " + std::to_string(first)});
  ASSERT_TRUE(Eventually(
      [&] {
        const Json now = node->AgentStatus();
        return !now.is_null() && now.at("pid") != first;
      },
      seconds(120)));
  const Json told = Told("process", "SIGKILL");
  ASSERT_FALSE(told.is_null());
  EXPECT_EQ(TamperOf(told).at("target"), "pid " + std::to_string(first));
  EXPECT_EQ(TamperOf(told).at("actor_is"), "the probes of the run before kept it");
  EXPECT_EQ(told.at("actor").at("comm"), "sh") << told.at("actor").dump(1);
  EXPECT_EQ(told.at("actor").at("uid"), ::geteuid());
  holder.Signal(SIGTERM);
  EXPECT_EQ(holder.Wait(seconds(20)).value_or(-1), 0);
}

}  // namespace
}  // namespace nodetrail::e2e
