// SPDX-License-Identifier: Apache-2.0
#include "tests/e2e/harness.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <utility>

namespace nodetrail::e2e {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (const std::string& s : strings) out.push_back(const_cast<char*>(s.c_str()));
  out.push_back(nullptr);
  return out;
}

// In the child, between fork and exec.
[[noreturn]] void Exec(const std::vector<std::string>& argv, const std::map<std::string, std::string>& env, int out,
                       int err) {
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  for (const auto& [name, value] : env) ::setenv(name.c_str(), value.c_str(), 1);
  ::execvp(argv[0].c_str(), Pointers(argv).data());
  ::dprintf(2, "exec %s: %s\n", argv[0].c_str(), std::strerror(errno));
  ::_exit(127);
}

int ExitCode(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

Output RunCommand(const std::vector<std::string>& argv, const std::map<std::string, std::string>& env, seconds limit) {
  int out[2], err[2];
  EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
  EXPECT_EQ(::pipe2(err, O_CLOEXEC), 0);
  const pid_t pid = ::fork();
  if (pid == 0) Exec(argv, env, out[1], err[1]);
  ::close(out[1]);
  ::close(err[1]);
  Output output;
  pollfd fds[2] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}};
  std::string* sinks[2] = {&output.out, &output.err};
  const auto deadline = Clock::now() + limit;
  int open = 2;
  while (open > 0) {
    if (Clock::now() >= deadline) {
      output.err += fmt::format("\n[killed after {} s: {}]\n", limit.count(), fmt::join(argv, " "));
      ::kill(pid, SIGKILL);
      break;
    }
    ::poll(fds, 2, 100);
    for (int i = 0; i < 2; ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      char chunk[65536];
      const ssize_t n = ::read(fds[i].fd, chunk, sizeof(chunk));
      if (n > 0) {
        sinks[i]->append(chunk, static_cast<size_t>(n));
      } else {
        fds[i].fd = -1;
        --open;
      }
    }
  }
  ::close(out[0]);
  ::close(err[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  output.exit_code = ExitCode(status);
  return output;
}

Process::Process(const std::vector<std::string>& argv, const std::string& log_path,
                 const std::map<std::string, std::string>& env) {
  const int log = ::open(log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  pid_ = ::fork();
  if (pid_ == 0) Exec(argv, env, log, log);
  ::close(log);
}

Process::~Process() {
  if (pid_ > 0 && !exit_code_) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
}

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), exit_code_(std::exchange(other.exit_code_, std::nullopt)) {}

Process& Process::operator=(Process&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(exit_code_, other.exit_code_);
  return *this;
}

bool Process::running() {
  if (pid_ <= 0 || exit_code_) return false;
  return !Wait(milliseconds(0)).has_value();
}

void Process::Signal(int sig) const {
  if (pid_ > 0 && !exit_code_) ::kill(pid_, sig);
}

std::optional<int> Process::Wait(milliseconds limit) {
  if (pid_ <= 0) return std::nullopt;
  Eventually(
      [this] {
        int status = 0;
        if (!exit_code_ && ::waitpid(pid_, &status, WNOHANG) == pid_) exit_code_ = ExitCode(status);
        return exit_code_.has_value();
      },
      limit);
  return exit_code_;
}

bool Eventually(const std::function<bool()>& condition, milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(milliseconds(20));  // the poll interval, not a guess at how long it takes
  }
  return true;
}

int FreePort() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  socklen_t length = sizeof(address);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length), 0);
  ::close(fd);
  return ntohs(address.sin_port);
}

std::string Binary(const std::string& name) { return std::string(NT_BINARY_DIR) + "/bin/" + name; }

std::string ReadAll(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void WriteFile(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

Node::Node(std::string name) : name_(std::move(name)), port_(FreePort()) {
  EXPECT_EQ(::geteuid(), 0U) << "the e2e tier observes the kernel: run it as root";
  std::string dir = testing::TempDir() + "nt-e2e-XXXXXX";
  EXPECT_NE(::mkdtemp(dir.data()), nullptr);
  ::chmod(dir.c_str(), 0755);
  dir_ = dir;
  const std::string tool = std::string(NT_SOURCE_DIR) + "/packaging/dev-pki";
  for (const std::vector<std::string>& step :
       std::vector<std::vector<std::string>>{{"init", pki()},
                                             {"agent", pki(), name_},
                                             {"reader", pki(), "tester"},
                                             {"collector", pki(), "localhost", "127.0.0.1"},
                                             {"log-key", pki(), "nodetrail.test/default"}}) {
    std::vector<std::string> argv = {tool};
    argv.insert(argv.end(), step.begin(), step.end());
    const Output made = RunCommand(argv);
    EXPECT_EQ(made.exit_code, 0) << tool << " " << step[0] << ": " << made.err;
  }
  WriteFile(collector_config(), fmt::format(R"(trail_dir: {0}/trail
listen: 127.0.0.1:{1}
tls: {{ca_file: {0}/pki/tls-ca/ca.pem, cert_file: {0}/pki/collector/tls.pem, key_file: {0}/pki/collector/tls.key}}
identity_ca_file: {0}/pki/identity-ca/ca.pem
log_key_file: {0}/pki/log/log.key
log_origin: nodetrail.test/default
)",
                                            dir_, port_));
  WriteFile(cli_config(), fmt::format(R"(collector: 127.0.0.1:{1}
tls: {{ca_file: {0}/pki/tls-ca/ca.pem, cert_file: {0}/pki/readers/tester/tls.pem, key_file: {0}/pki/readers/tester/tls.key}}
agent_socket: {0}/agent.sock
agent_config: {0}/agent.yaml
trail_dir: {0}/trail
identity_ca_file: {0}/pki/identity-ca/ca.pem
log_public_key: {0}/trail/log/log.vkey
)",
                                      dir_, port_));
}

Node::~Node() {
  agent = Process();
  collector = Process();
  if (testing::Test::HasFailure()) {
    for (const char* program : {"agent", "collector"}) {
      const std::string text = ReadAll(log(program));
      std::printf("--- %s.log (last 4 KiB)\n%s\n", program,
                  text.substr(text.size() > 4096 ? text.size() - 4096 : 0).c_str());
    }
    if (std::getenv("NODETRAIL_KEEP") != nullptr) return;
  }
  std::filesystem::remove_all(dir_);
}

void Node::WriteAgentConfig(const AgentOptions& options) {
  WriteFile(agent_config(),
            fmt::format(R"(agent_id: {2}
state_dir: {0}/agent
status_socket: {0}/agent.sock
labels: {{env: test}}
capture:
  ring_bytes_per_cpu: {3}
  drain_interval_ms: {4}
  test_hold_ms: {5}
  selftest_interval_s: {10}
  scope: {{mode: process_tree, root_pid: {6}}}
  companions: [{{name: collector, exe: {7}}}]
batch: {{heartbeat_s: {8}}}
identity: {{cert_file: {0}/pki/agents/{2}/identity.pem, key_file: {0}/pki/agents/{2}/identity.key}}
ship:
  endpoint: 127.0.0.1:{1}
  max_backoff_s: 2
  log_policy_file: {0}/pki/log/policy
  tls: {{ca_file: {0}/pki/tls-ca/ca.pem, cert_file: {0}/pki/agents/{2}/tls.pem, key_file: {0}/pki/agents/{2}/tls.key}}
{9})",
                        dir_, options.collector_port != 0 ? options.collector_port : port_, name_,
                        options.ring_bytes_per_cpu, options.drain_interval_ms, options.test_hold_ms,
                        options.scope_root != 0 ? options.scope_root : ::getpid(), Binary("nodetrail-collector"),
                        options.heartbeat_s, options.extra_yaml, options.selftest_interval_s));
}

void Node::StartCollector() {
  collector = Process({Binary("nodetrail-collector"), "--config", collector_config()}, log("collector"));
  ASSERT_TRUE(Eventually(
      [&] {
        // Null until the collector itself has answered.
        const Json status = Status();
        return !collector.running() || (status.is_object() && status.value("trail_dir", Json()).is_string());
      },
      seconds(60)));
  ASSERT_TRUE(collector.running()) << ReadAll(log("collector"));
}

void Node::StartAgent(const AgentOptions& options) {
  WriteAgentConfig(options);
  agent = Process({Binary("nodetrail-agent"), "--config", agent_config()}, log("agent"));
  ASSERT_TRUE(Eventually([&] { return !agent.running() || !AgentStatus().is_null(); }, seconds(120)));
  ASSERT_TRUE(agent.running()) << ReadAll(log("agent"));
}

int Node::StopAgent() {
  agent.Signal(SIGTERM);
  return agent.Wait(seconds(30)).value_or(-1);
}

int Node::StopCollector() {
  collector.Signal(SIGTERM);
  return collector.Wait(seconds(30)).value_or(-1);
}

Output Node::Cli(const std::vector<std::string>& args, seconds limit) const {
  std::vector<std::string> argv = {Binary("nodetrail"), "--config", cli_config()};
  argv.insert(argv.end(), args.begin(), args.end());
  return RunCommand(argv, {}, limit);
}

std::vector<Json> Node::Query(const std::vector<std::string>& args) const {
  std::vector<std::string> argv = {"query", "--json", "--oldest-first", "--all"};
  argv.insert(argv.end(), args.begin(), args.end());
  const Output output = Cli(argv, seconds(300));
  EXPECT_EQ(output.exit_code, 0) << output.err;
  std::vector<Json> events;
  std::istringstream lines(output.out);
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) events.push_back(Json::parse(line));
  }
  return events;
}

Json Node::Status() const {
  const Output output = Cli({"status", "--json"});
  return Json::parse(output.out, nullptr, false);
}

Json Node::AgentStatus() const {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = dir_ + "/agent.sock";
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size(), sizeof(address.sun_path) - 1));
  std::string text;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    char chunk[4096];
    for (ssize_t n = 0; (n = ::read(fd, chunk, sizeof(chunk))) > 0;) text.append(chunk, static_cast<size_t>(n));
  }
  ::close(fd);
  Json document = Json::parse(text, nullptr, false);
  return document.is_discarded() ? Json() : document;
}

bool Node::Settled(milliseconds limit) {
  timespec ts{};
  ::clock_gettime(CLOCK_BOOTTIME, &ts);
  const uint64_t now = static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(ts.tv_nsec);
  const auto deadline = std::chrono::steady_clock::now() + limit;
  const auto left = [&] {
    return std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
  };
  // Everything up to now is out of the rings; then that much is durable; then it is indexed.
  Json document;
  const auto agent_says = [&](const std::function<bool(const Json&)>& holds) {
    return Eventually([&] { return !(document = AgentStatus()).is_null() && holds(document); }, left());
  };
  if (!agent_says([&](const Json& d) { return d.at("drained_to_boot_ns").get<uint64_t>() > now; })) return false;
  const auto seen = document.at("events_total").get<uint64_t>();
  if (!agent_says([&](const Json& d) { return d.at("events_durable").get<uint64_t>() >= seen; })) return false;
  const auto epoch = document.at("epoch").get<uint64_t>(), seq = document.at("batch_seq").get<uint64_t>();
  return Eventually(
      [&] {
        const Json status = Status();
        if (status.is_discarded()) return false;
        for (const Json& known : status.at("agents")) {
          if (known.at("agent_id") != name_) continue;
          const auto e = known.at("epoch").get<uint64_t>(), s = known.at("last_seq").get<uint64_t>();
          return (e > epoch || (e == epoch && s >= seq)) && status.at("index_lag_seconds").get<double>() == 0.0;
        }
        return false;
      },
      left());
}

std::pair<int, Json> Node::Verify(const std::string& trail) const {
  std::vector<std::string> args = {"verify", "--json"};
  if (!trail.empty()) args.push_back(trail);
  const Output output = Cli(args, seconds(300));
  return {output.exit_code, Json::parse(output.out, nullptr, false)};
}

}  // namespace nodetrail::e2e
