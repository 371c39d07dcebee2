// SPDX-License-Identifier: Apache-2.0
//
// The real programs, started as a user would: collector, agent and CLI with
// generated certificates in a folder of their own, over real mTLS on loopback.
// The agent observes this test process and what it starts, nobody else.
#ifndef NODETRAIL_TESTS_E2E_HARNESS_H_
#define NODETRAIL_TESTS_E2E_HARNESS_H_

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace nodetrail::e2e {

using Json = nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;

struct Output {
  int exit_code = -1;  // 128 + signal if killed
  std::string out, err;
};

// Runs to the end; stdin is /dev/null. `env` is added to ours. Kills it at `limit`.
Output RunCommand(const std::vector<std::string>& argv, const std::map<std::string, std::string>& env = {},
                  seconds limit = seconds(120));

// A child in the background, its stderr in a file. Killed and reaped when it goes.
class Process {
 public:
  Process() = default;
  Process(const std::vector<std::string>& argv, const std::string& log_path,
          const std::map<std::string, std::string>& env = {});
  ~Process();
  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] bool running();
  void Signal(int sig) const;
  // The exit code (128 + signal), or nothing if it still runs at the deadline.
  std::optional<int> Wait(milliseconds limit);

 private:
  pid_t pid_ = -1;
  std::optional<int> exit_code_;
};

// Polls `condition` until it holds; false at the deadline.
bool Eventually(const std::function<bool()>& condition, milliseconds limit);

int FreePort();

struct AgentOptions {
  uint64_t ring_bytes_per_cpu = 4U << 20;
  uint32_t drain_interval_ms = 5;
  uint32_t heartbeat_s = 30;
  uint32_t test_hold_ms = 0;
  uint32_t selftest_interval_s = 30;
  pid_t scope_root = 0;    // 0: this process
  std::string extra_yaml;  // appended
  int collector_port = 0;  // 0: the node's collector
};

class Node {
 public:
  // Makes certificates; starts nothing. Fails the test on trouble.
  explicit Node(std::string name);
  ~Node();

  void StartCollector();
  void StartAgent(const AgentOptions& options = {});
  void WriteAgentConfig(const AgentOptions& options);
  // SIGTERM and wait; the exit code.
  int StopAgent();
  int StopCollector();

  Output Cli(const std::vector<std::string>& args, seconds limit = seconds(60)) const;
  // `nodetrail query --json ARGS`: one object per event, oldest first.
  [[nodiscard]] std::vector<Json> Query(const std::vector<std::string>& args) const;
  [[nodiscard]] Json Status() const;
  // The agent's own document, from its socket; null if it does not answer.
  [[nodiscard]] Json AgentStatus() const;
  // Until the collector has indexed all that the agent spooled up to now.
  bool Settled(milliseconds limit = seconds(20));
  // `nodetrail verify --json`: exit code and report.
  [[nodiscard]] std::pair<int, Json> Verify(const std::string& trail_dir = "") const;

  [[nodiscard]] std::string dir() const { return dir_; }
  [[nodiscard]] std::string trail_dir() const { return dir_ + "/trail"; }
  [[nodiscard]] std::string spool_dir() const { return dir_ + "/agent/spool"; }
  [[nodiscard]] std::string log(const std::string& program) const { return dir_ + "/" + program + ".log"; }
  [[nodiscard]] std::string agent_config() const { return dir_ + "/agent.yaml"; }
  [[nodiscard]] std::string collector_config() const { return dir_ + "/collector.yaml"; }
  [[nodiscard]] std::string cli_config() const { return dir_ + "/cli.yaml"; }
  [[nodiscard]] std::string pki() const { return dir_ + "/pki"; }
  [[nodiscard]] int port() const { return port_; }

  Process agent, collector;

 private:
  std::string name_, dir_;
  int port_;
};

std::string Binary(const std::string& name);
std::string ReadAll(const std::string& path);
void WriteFile(const std::string& path, const std::string& text);

}  // namespace nodetrail::e2e

#endif  // NODETRAIL_TESTS_E2E_HARNESS_H_
