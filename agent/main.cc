// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <string>

#include "agent/agent.h"
#include "agent/config/check.h"
#include "nodetrail/base/config_loader.h"
#include "nodetrail/base/log.h"
#include "nodetrail/base/notify.h"
#include "nodetrail/base/version.h"

namespace {

using nodetrail::ExitCode;

int Exit(ExitCode code) { return static_cast<int>(code); }

// Keys and unredacted events are in this memory: no core dump, no ptrace by
// the same user, nothing swapped where it can be helped.
void HardenProcess() {
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  ::setrlimit(RLIMIT_CORE, &none);
}

// Before the first thread, so that every thread inherits the mask.
int SignalFd() {
  sigset_t set;
  sigemptyset(&set);
  for (const int sig : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, sig);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // EFBIG instead, which the spool handles
  return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

int Fail(ExitCode code, const nodetrail::Status& status) {
  std::fprintf(stderr, "nodetrail-agent: %s\n", std::string(status.message()).c_str());
  return Exit(code);
}

}  // namespace

int main(int argc, char** argv) {
  HardenProcess();
  CLI::App app{
      "Observes what happens on this node, signs it and ships it to a collector.\n"
      "Needs root, or CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, and a kernel with BTF "
      "(`nodetrail doctor` tells).",
      "nodetrail-agent"};
  std::string config_path = "/etc/nodetrail/agent.yaml";
  bool check_only = false;
  app.add_option("--config", config_path, "configuration, YAML")->capture_default_str();
  app.add_flag("--check-config", check_only, "say whether the configuration is good, and exit");
  app.set_version_flag("--version", std::string("nodetrail-agent ") + nodetrail::kVersion);
  app.footer(
      "Signals: SIGTERM and SIGINT drain, seal and stop within 10 s.\n"
      "Exit status: 0 stopped in order, 2 configuration, 3 kernel or privileges, 4 keys or certificates, 5 storage.\n"
      "Example: nodetrail-agent --config /etc/nodetrail/agent.yaml");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : Exit(ExitCode::kConfig);
  }

  auto config = nodetrail::LoadConfig<nodetrail::config::v1::AgentConfig>(config_path, nodetrail::agent::CheckConfig);
  if (!config.ok()) return Fail(ExitCode::kConfig, config.status());
  if (check_only) {
    std::printf("%s: good\n", config_path.c_str());
    return Exit(ExitCode::kOk);
  }
  nodetrail::log::Level level = nodetrail::log::Level::kInfo;
  nodetrail::log::ParseLevel(config->log().level(), &level);
  nodetrail::log::Init("nodetrail-agent", level, config->log().format() == "json");

  const int signal_fd = SignalFd();
  if (signal_fd < 0) return Fail(ExitCode::kInternal, nodetrail::ErrnoStatus(errno, "signalfd"));
  nodetrail::agent::AgentOptions options;
  auto inherited = nodetrail::TakeInheritedFds();
  if (!inherited.ok()) return Fail(ExitCode::kInternal, inherited.status());
  options.inherited = *std::move(inherited);
  options.config = *config;
  const auto config_hash = nodetrail::trail::HexDecode(nodetrail::EffectiveConfigSha256(*config));
  if (!config_hash.ok()) return Fail(ExitCode::kInternal, config_hash.status());
  options.config_sha256 = nodetrail::trail::HashFromBytes(*config_hash).value();

  nodetrail::agent::Failure failure;
  const auto agent = nodetrail::agent::Agent::Create(std::move(options), &failure);
  if (agent == nullptr) return Fail(failure.code, failure.status);
  failure = agent->Run(signal_fd);
  if (!failure.status.ok()) return Fail(failure.code, failure.status);
  return Exit(ExitCode::kOk);
}
