// SPDX-License-Identifier: Apache-2.0
//
// A real nodetrail-witness on loopback, in a directory of its own.
#ifndef NODETRAIL_WITNESS_TESTING_WITNESS_PROCESS_H_
#define NODETRAIL_WITNESS_TESTING_WITNESS_PROCESS_H_

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/note.h"
#include "tests/fakes/temp_dir.h"
#include "witness/key.h"

extern char** environ;

namespace nodetrail::witness {

class WitnessProcess {
 public:
  // Makes key and configuration; starts nothing. `log_vkey`: of the log.
  WitnessProcess(std::string dir, std::string name, const std::string& log_vkey, std::string extra_yaml = "")
      : dir_(std::move(dir)), name_(std::move(name)), extra_(std::move(extra_yaml)), logs_("'" + log_vkey + "'") {
    NT_CHECK(MakeDirectories(dir_, 0700).ok());
    const auto key = MakeKeyFile(dir_ + "/witness.key");
    NT_CHECK(key.ok());
    vkey_ = trail::CosignerVerifier::Make(name_, key->public_key())->ToString();
    WriteConfig();
  }
  ~WitnessProcess() { Kill(); }
  WitnessProcess(const WitnessProcess&) = delete;
  WitnessProcess& operator=(const WitnessProcess&) = delete;

  // At the next Start.
  void SetLogs(std::string logs) {
    logs_ = std::move(logs);
    WriteConfig();
  }
  // False: it ended instead of serving; log() says why.
  bool Start(const std::vector<std::string>& env = {}) {
    std::filesystem::remove(log_path());
    Spawn({"--config", config_path()}, env);
    const bool serving = testing::WaitUntil([&] {
      if (Ended()) return true;
      const std::string text = log();
      const size_t at = text.find("(port ");
      if (at == std::string::npos || text.find(')', at) == std::string::npos) return false;
      port_ = std::atoi(text.c_str() + at + 6);
      return true;
    });
    if (!serving || pid_ < 0) return false;
    WriteConfig();  // the port stays, so that its URL does
    return true;
  }
  // SIGTERM; the exit status, or -signal.
  int Stop() {
    NT_CHECK(pid_ > 0);
    ::kill(pid_, SIGTERM);
    return Wait();
  }
  void Kill() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    Wait();
  }
  // Runs `nodetrail-witness ARGS` to its end.
  int Run(const std::vector<std::string>& args) {
    Spawn(args, {});
    return Wait();
  }
  // Reaps it if it has ended.
  bool Ended() {
    if (pid_ < 0) return true;
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return false;
    exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    pid_ = -1;
    return true;
  }

  [[nodiscard]] int exit_status() const { return exit_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::string url() const { return fmt::format("http://127.0.0.1:{}", port_); }
  [[nodiscard]] const std::string& vkey() const { return vkey_; }
  [[nodiscard]] const std::string& dir() const { return dir_; }
  [[nodiscard]] std::string state_dir() const { return dir_ + "/state"; }
  [[nodiscard]] std::string config_path() const { return dir_ + "/witness.yaml"; }
  [[nodiscard]] std::string log_path() const { return dir_ + "/output"; }
  [[nodiscard]] std::string log() const { return ReadFile(log_path(), 1 << 20).value_or(std::string()); }

 private:
  void WriteConfig() const {
    std::ofstream(config_path()) << fmt::format(
        "name: {}\nkey_file: witness.key\nstate_dir: state\nlisten: 127.0.0.1:{}\nlogs: [{}]\nmax_connections: 8\n{}",
        name_, port_, logs_, extra_);
  }
  void Spawn(const std::vector<std::string>& args, const std::vector<std::string>& env) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    const std::string path = log_path();
    posix_spawn_file_actions_addopen(&actions, 1, path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    std::vector<std::string> words{std::string(NT_BINARY_DIR) + "/bin/nodetrail-witness"};
    words.insert(words.end(), args.begin(), args.end());
    std::vector<std::string> variables = env;
    for (char** e = environ; *e != nullptr; ++e) variables.emplace_back(*e);
    const auto pointers = [](std::vector<std::string>* from) {
      std::vector<char*> out;
      for (std::string& s : *from) out.push_back(s.data());
      out.push_back(nullptr);
      return out;
    };
    NT_CHECK(posix_spawn(&pid_, words[0].c_str(), &actions, nullptr, pointers(&words).data(),
                         pointers(&variables).data()) == 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  int Wait() {
    int status = 0;
    NT_CHECK(::waitpid(pid_, &status, 0) == pid_);
    pid_ = -1;
    exit_ = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return exit_;
  }

  const std::string dir_, name_, extra_;
  std::string logs_;  // a YAML list without its brackets
  std::string vkey_;
  int port_ = 0;
  pid_t pid_ = -1;
  int exit_ = 0;
};

}  // namespace nodetrail::witness

#endif  // NODETRAIL_WITNESS_TESTING_WITNESS_PROCESS_H_
