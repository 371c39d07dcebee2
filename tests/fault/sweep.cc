// SPDX-License-Identifier: Apache-2.0
#include "tests/fault/sweep.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

extern char** environ;

namespace nodetrail::fault {

using std::chrono::milliseconds;

Child::Child(const std::vector<std::string>& argv, const std::string& log,
             const std::map<std::string, std::string>& env, const std::vector<int>& passed) {
  // The descriptors below 3 + n may be in use for something else here: they go up first.
  std::vector<UniqueFd> high;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  for (size_t i = 0; i < passed.size(); ++i) {
    high.emplace_back(::fcntl(passed[i], F_DUPFD_CLOEXEC, 100));
    posix_spawn_file_actions_adddup2(&actions, high.back().get(), static_cast<int>(3 + i));
  }
  std::vector<std::string> words = argv;
  std::vector<char*> args;
  for (std::string& word : words) args.push_back(word.data());
  args.push_back(nullptr);
  std::vector<std::string> variables;
  std::vector<char*> environment;
  for (char** e = environ; *e != nullptr; ++e) environment.push_back(*e);
  for (const auto& [name, value] : env) variables.push_back(fmt::format("{}={}", name, value));
  for (std::string& variable : variables) environment.push_back(variable.data());
  environment.push_back(nullptr);
  NT_CHECK(posix_spawn(&pid_, args[0], &actions, nullptr, args.data(), environment.data()) == 0);
  posix_spawn_file_actions_destroy(&actions);
}

Child::~Child() {
  if (status_) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

std::optional<int> Child::Wait(milliseconds limit) {
  testing::WaitUntil(
      [this] {
        int status = 0;
        if (!status_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
          status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        }
        return status_.has_value();
      },
      limit);
  return status_;
}

void Child::Signal(int sig) const {
  if (!status_) ::kill(pid_, sig);
}

std::string Binary(const std::string& name) { return std::string(NT_BINARY_DIR) + "/bin/" + name; }

std::string Tail(const std::string& path, size_t bytes) {
  const std::string text = ReadFile(path, 16U << 20).value_or(std::string());
  return text.substr(text.size() > bytes ? text.size() - bytes : 0);
}

void WriteCollectorConfig(const testing::TestPki& pki, const std::string& dir, const std::string& more) {
  std::ofstream(dir + "/collector.yaml") << fmt::format(
      R"(trail_dir: {0}/trail
listen: 127.0.0.1:0
tls: {{ca_file: {1}/tls-ca/ca.pem, cert_file: {1}/collector/tls.pem, key_file: {1}/collector/tls.key}}
identity_ca_file: {1}/identity-ca/ca.pem
log_key_file: {1}/log/log.key
log_origin: trail.example.com/default
checkpoint_interval_ms: 10
min_free_bytes: 0
{2})",
      dir, pki.dir(), more);
}

namespace {

std::vector<std::string> Joined(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

}  // namespace

CollectorProcess::CollectorProcess(const std::string& dir, const std::map<std::string, std::string>& env,
                                   std::vector<std::string> through)
    : log_(dir + "/collector.log"),
      begins_at_(ReadFile(log_, 16U << 20).value_or(std::string()).size()),
      child_(Joined(std::move(through), {Binary("nodetrail-collector"), "--config", dir + "/collector.yaml"}), log_,
             env) {}

int CollectorProcess::Port() {
  int port = 0;
  testing::WaitUntil(
      [&] {
        port = ServedPort();
        return port != 0 || child_.Wait(milliseconds(0)).has_value();
      },
      milliseconds(60'000));
  return port;
}

int CollectorProcess::ServedPort() const {
  const std::string all = ReadFile(log_, 16U << 20).value_or(std::string());
  const std::string_view text = std::string_view(all).substr(std::min<size_t>(begins_at_, all.size()));
  const size_t at = text.find("(port ");
  if (at == std::string_view::npos || text.find(')', at) == std::string_view::npos) return 0;
  int port = 0;
  std::from_chars(text.data() + at + 6, text.data() + text.size(), port);
  return port;
}

Bench::Bench(bool keep) : keep_(keep) {
  // A SIGKILL leaves the page cache, so a file system in memory shows the same
  // as a disk would, sooner.
  std::string base = "/dev/shm";
  if (::access(base.c_str(), W_OK) != 0) base = std::filesystem::temp_directory_path().string();
  std::string name = base + "/nodetrail-fault.XXXXXX";
  NT_CHECK(::mkdtemp(name.data()) != nullptr);
  dir_ = name;
  pki_ = std::make_unique<testing::TestPki>();
  pki_->Run("agent", "web-1");
  pki_->Run("agent", "web-2");
  for (const char* extension : {"pem", "key"}) {
    std::filesystem::copy_file(pki_->File(fmt::format("agents/web-1/tls.{}", extension)),
                               fmt::format("{}/first.{}", dir_, extension));
  }
  // A second certificate for the same agent, for those that renew theirs.
  std::filesystem::remove(pki_->File("agents/web-1/tls.pem"));
  pki_->Run("agent", "web-1");
  pki_->Run("agent", "web-4");
  for (const bool one : {false, true}) {
    pki_->Run("crl", one ? pki_->File("agents/web-4/tls.pem") : "");
    std::filesystem::copy_file(pki_->File("tls-ca/crl.pem"), RevocationList(one));
  }
}

Bench::~Bench() {
  std::error_code ignored;
  if (!keep_) std::filesystem::remove_all(dir_, ignored);
}

std::string Bench::Begin(const std::string& name) const {
  std::string dir = dir_ + "/" + name;
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  return dir;
}

void Bench::Done(const std::string& dir, bool good) const {
  std::error_code ignored;
  if (good || !keep_) std::filesystem::remove_all(dir, ignored);
}

std::string VerifyTrailDir(const Bench& bench, const std::string& trail_dir, const std::string& work,
                           const std::string& prior, int* exit_code) {
  std::vector<std::string> argv = {Binary("nodetrail"), "verify",
                                   "--identity-ca",     bench.pki().File("identity-ca/ca.pem"),
                                   "--log-key",         trail_dir + "/log/log.vkey"};
  if (!prior.empty()) {
    argv.emplace_back("--prior");
    argv.push_back(prior);
  }
  argv.push_back(trail_dir);
  const std::string log = work + "/verify.log";
  std::filesystem::remove(log);
  Child verify(argv, log);
  const std::optional<int> code = verify.Wait(milliseconds(60'000));
  *exit_code = code.value_or(-1);
  if (code && (*code == 0 || *code == 1)) return "";
  return fmt::format("nodetrail verify exits with {}: {}", code.value_or(-1), Tail(log));
}

}  // namespace nodetrail::fault
