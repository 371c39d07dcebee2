// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <climits>
#include <csignal>
#include <cstdio>
#include <string>

#include "agent/agent.h"
#include "agent/config/check.h"
#include "agent/enrol/enrol.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/config_loader.h"
#include "nodetrail/base/last_words.h"
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

// The host's name up to its first dot: what most call a node.
std::string DefaultAgentId() {
  char name[HOST_NAME_MAX + 1] = {};
  if (::gethostname(name, sizeof(name) - 1) != 0) return {};
  const std::string whole = name;
  return whole.substr(0, whole.find('.'));
}

struct EnrolCommand {
  nodetrail::agent::EnrolOptions options;
  CLI::App* app = nullptr;
};

void AddEnrol(CLI::App& app, EnrolCommand* command) {
  CLI::App* enrol =
      app.add_subcommand("enrol", "get this node's certificates from the collector, for a one-time token");
  nodetrail::agent::EnrolOptions& o = command->options;
  o.agent_id = DefaultAgentId();
  o.out_dir = "/etc/nodetrail/agent";
  enrol->add_option("--collector", o.collector, "host:port of its enrolment port")->required();
  enrol->add_option("--token-file", o.token_file, "holds the token; mode 0600")->required();
  enrol->add_option("--ca", o.ca_file, "PEM: the authority of the collector's certificate")->required();
  enrol->add_option("--out", o.out_dir, "folder for keys, certificates and agent.yaml")->capture_default_str();
  enrol->add_option("--agent-id", o.agent_id, "who this node is")->capture_default_str();
  enrol->add_option("--endpoint", o.endpoint, "host:port for agents; default: port 7443 of the same host");
  enrol->add_option("--server-name", o.server_name, "expected in the collector's certificate; default: the host");
  enrol->add_option("--collector-id", o.collector_id,
                    "SPIFFE ID that it must have; none: its host name suffices; default: a collector of our tenant");
  enrol->add_option("--crl", o.crl_file, "PEM: revocation lists of the authority");
  command->app = enrol;
}

int RunEnrol(const nodetrail::agent::EnrolOptions& options) {
  const auto enrolled = nodetrail::agent::Enrol(options);
  if (!enrolled.ok()) return Fail(ExitCode::kKeys, enrolled.status());
  std::printf("%s is enrolled for tenant %s, by entry %llu of the log; keys and certificates are in %s\n",
              options.agent_id.c_str(), enrolled->tenant.c_str(), static_cast<unsigned long long>(enrolled->log_index),
              options.out_dir.c_str());
  std::printf("start with: nodetrail-agent --config %s\n", enrolled->config_file.c_str());
  return Exit(ExitCode::kOk);
}

int RunRenew(const nodetrail::config::v1::AgentConfig& config, bool force) {
  const auto renewed = nodetrail::agent::Renew(config, nodetrail::SystemClock(), force);
  if (!renewed.ok()) return Fail(ExitCode::kKeys, renewed.status());
  std::printf(*renewed ? "renewed; the agent takes it at its next connection\n"
                       : "not due: half of its life is not over (--force renews all the same)\n");
  return Exit(ExitCode::kOk);
}

}  // namespace

int main(int argc, char** argv) {
  nodetrail::InstallLastWords("nodetrail-agent");
  NT_CHECK(nodetrail::InstallOpenSslLastWords());
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
  app.fallthrough();  // --config is understood after a command as well
  EnrolCommand enrol;
  AddEnrol(app, &enrol);
  bool force_renewal = false;
  CLI::App* renew = app.add_subcommand("renew", "renew the TLS certificate once half of its life is over");
  renew->add_flag("--force", force_renewal, "renew it now");
  app.set_version_flag("--version", std::string("nodetrail-agent ") + nodetrail::kVersion);
  app.footer(
      "Signals: SIGTERM and SIGINT drain, seal and stop within 10 s.\n"
      "Exit status: 0 stopped in order, 2 configuration, 3 kernel or privileges, 4 keys or certificates, 5 storage,\n"
      "71 no memory.\n"
      "Example: nodetrail-agent --config /etc/nodetrail/agent.yaml");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : Exit(ExitCode::kConfig);
  }

  if (enrol.app->parsed()) return RunEnrol(enrol.options);
  auto config = nodetrail::LoadConfig<nodetrail::config::v1::AgentConfig>(config_path, nodetrail::agent::CheckConfig);
  if (!config.ok()) return Fail(ExitCode::kConfig, config.status());
  if (renew->parsed()) return RunRenew(*config, force_renewal);
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
  options.config_file = config_path;
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
