// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <grpc/support/log.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>

#include "collector/admin/admin_commands.h"
#include "collector/collector.h"
#include "collector/enrol/trust_domain.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/config_loader.h"
#include "nodetrail/base/last_words.h"
#include "nodetrail/base/log.h"
#include "nodetrail/base/notify.h"
#include "nodetrail/base/version.h"

namespace {

using nodetrail::ExitCode;
using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

// A peer that is gone without a word holds its connection until then.
constexpr milliseconds kStopTimeout{4000};
constexpr milliseconds kStatusInterval{5000};

int Exit(ExitCode code) { return static_cast<int>(code); }

// The log key and the agents' events are in this memory: no core dump, no
// ptrace by the same user.
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
  ::signal(SIGXFSZ, SIG_IGN);  // EFBIG instead, which is handled
  return ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

// gRPC's own messages: an unauthenticated peer can cause them, so they are
// not errors of ours.
void GrpcLog(gpr_log_func_args* args) {
  const std::string text = fmt::format("grpc: {}", args->message);
  if (args->severity == GPR_LOG_SEVERITY_ERROR) nodetrail::log::Info(text);
  else nodetrail::log::Debug(text);
}

int Fail(ExitCode code, const nodetrail::Status& status) {
  std::fprintf(stderr, "nodetrail-collector: %s\n", std::string(status.message()).c_str());
  return Exit(code);
}

// Until a signal asks to stop. Watchdog and status meanwhile.
void Serve(const nodetrail::collector::Collector& collector, int signal_fd) {
  const auto watchdog = nodetrail::ServiceNotifier::WatchdogInterval();
  milliseconds interval = kStatusInterval;
  if (watchdog) interval = std::min(interval, std::chrono::duration_cast<milliseconds>(*watchdog / 2));
  interval = std::max(interval, milliseconds(1));
  for (;;) {
    pollfd p{signal_fd, POLLIN, 0};
    const int n = ::poll(&p, 1, static_cast<int>(interval.count()));
    if (n > 0) {
      signalfd_siginfo info{};
      if (::read(signal_fd, &info, sizeof(info)) != sizeof(info)) continue;
      if (info.ssi_signo != SIGHUP) return;
      // Certificates are watched and the configuration is fixed at start.
      nodetrail::log::Info("SIGHUP: nothing to reload; certificates are taken from their files as they change");
      continue;
    }
    if (watchdog) nodetrail::ServiceNotifier::Watchdog().Ignore();
    nodetrail::ServiceNotifier::SetStatus(collector.StatusLine()).Ignore();
  }
}

}  // namespace

int main(int argc, char** argv) {
  nodetrail::InstallLastWords("nodetrail-collector");
  NT_CHECK(nodetrail::InstallOpenSslLastWords());
  HardenProcess();
  CLI::App app{"Takes signed batches from agents, verifies them, keeps them in an append-only log and answers queries.",
               "nodetrail-collector"};
  std::string config_path = "/etc/nodetrail/collector.yaml";
  bool check_only = false;
  app.add_option("--config", config_path, "configuration, YAML")->capture_default_str();
  app.add_flag("--check-config", check_only, "say whether the configuration is good, and exit");
  bool print_vkey = false;
  app.add_flag("--log-vkey", print_vkey,
               "print the verifier key of the log, for witnesses, agents and auditors, and exit");
  app.fallthrough();  // --config is understood after a command as well
  nodetrail::collector::AdminCommand command;
  nodetrail::collector::AddAdminCommands(app, &command);
  app.set_version_flag("--version", std::string("nodetrail-collector ") + nodetrail::kVersion);
  app.footer(
      "Signals: SIGTERM and SIGINT commit what was received, sign a checkpoint and stop within 10 s; SIGHUP does\n"
      "nothing (renewed certificates are taken from their files by themselves).\n"
      "Exit status: 0 stopped in order, 2 configuration or port, 4 keys or certificates, 5 storage,\n"
      "71 no memory.\n"
      "Example: nodetrail-collector --config /etc/nodetrail/collector.yaml");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : Exit(ExitCode::kConfig);
  }

  auto config =
      nodetrail::LoadConfig<nodetrail::config::v1::CollectorConfig>(config_path, nodetrail::collector::CheckConfig);
  if (!config.ok()) return Fail(ExitCode::kConfig, config.status());
  if (command) return command(*config);
  if (check_only) {
    if (const nodetrail::Status s = nodetrail::collector::CheckTrustDomain(*config); !s.ok()) {
      std::fprintf(stderr, "nodetrail-collector: warning: %s\n", std::string(s.message()).c_str());
    }
    std::printf("%s: good\n", config_path.c_str());
    return Exit(ExitCode::kOk);
  }
  if (print_vkey) {
    const auto signer = nodetrail::collector::LogSigner::Load(config->log_key_file(), config->log_origin());
    if (!signer.ok()) return Fail(ExitCode::kKeys, signer.status());
    std::printf("%s\n", signer->verifier.ToString().c_str());
    return Exit(ExitCode::kOk);
  }
  nodetrail::log::Level level = nodetrail::log::Level::kInfo;
  nodetrail::log::ParseLevel(config->log().level(), &level);
  nodetrail::log::Init("nodetrail-collector", level, config->log().format() == "json");
  gpr_set_log_function(GrpcLog);

  const int signal_fd = SignalFd();
  if (signal_fd < 0) return Fail(ExitCode::kInternal, nodetrail::ErrnoStatus(errno, "signalfd"));
  const nodetrail::SystemClock clock;
  nodetrail::collector::Failure failure;
  const auto collector = nodetrail::collector::Collector::Start(*config, &clock, &failure);
  if (!collector) return Fail(failure.code, failure.status);
  nodetrail::ServiceNotifier::Ready(collector->StatusLine()).Ignore();
  Serve(*collector, signal_fd);
  nodetrail::ServiceNotifier::Stopping("stopping").Ignore();
  nodetrail::log::Info("stopping");
  collector->Stop(kStopTimeout);
  return Exit(ExitCode::kOk);
}
