// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>

#include "nodetrail/base/clock.h"
#include "nodetrail/base/config_loader.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/last_words.h"
#include "nodetrail/base/log.h"
#include "nodetrail/base/notify.h"
#include "nodetrail/base/version.h"
#include "nodetrail/config/v1/config.pb.h"
#include "witness/core.h"
#include "witness/dir_store.h"
#include "witness/key.h"
#include "witness/restore.h"
#include "witness/server.h"

namespace nodetrail::witness {
namespace {

using config::v1::WitnessConfig;
using std::chrono::milliseconds;

constexpr milliseconds kStatusInterval{5000};

int Exit(ExitCode code) { return static_cast<int>(code); }

int Fail(ExitCode code, const Status& status) {
  std::fprintf(stderr, "nodetrail-witness: %s\n", std::string(status.message()).c_str());
  return Exit(code);
}

// The key is in this memory: no core dump, no ptrace by the same user.
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

struct Settings {
  WitnessConfig config;
  std::vector<WitnessedLog> logs;
};

// The configuration, and the logs that it names.
Result<Settings> LoadSettings(const std::string& path) {
  Settings out;
  std::string dir = std::filesystem::path(path).parent_path().string();
  if (dir.empty()) dir = ".";
  const auto check = [&](const WitnessConfig& config, ConfigReport& report) {
    if (!config.name().empty() && !trail::ValidNoteName(config.name())) {
      report.Add("name", "a name without spaces, control characters and '+', e.g. witness.example.com/w1");
    }
    std::string host;
    std::string port;
    if (!SplitHostPort(config.listen(), &host, &port)) {
      report.Add("listen", "must be host:port, e.g. 127.0.0.1:7445 or [::1]:7445");
    }
    std::vector<trail::NoteVerifier> keys;
    bool good = true;
    for (int i = 0; i < config.logs_size(); ++i) {
      const auto loaded = LoadLogKeys(config.logs(i), dir);
      if (loaded.ok()) keys.insert(keys.end(), loaded->begin(), loaded->end());
      else report.Add(fmt::format("logs[{}]", i), loaded.status().message());
      good = good && loaded.ok();
    }
    auto logs = LogsOf(keys);
    if (logs.ok()) out.logs = *std::move(logs);
    else if (good) report.Add("logs", fmt::format("{}; give the verifier key of each log", logs.status().message()));
  };
  NT_ASSIGN_OR_RETURN(out.config, LoadConfig<WitnessConfig>(path, check));
  return out;
}

int PrintVkey(const std::string& name, const trail::Ed25519Key& key) {
  const auto verifier = trail::CosignerVerifier::Make(name, key.public_key());
  if (!verifier.ok()) return Fail(ExitCode::kConfig, verifier.status());
  std::printf("%s\n", verifier->ToString().c_str());
  return Exit(ExitCode::kOk);
}

int RunKeygen(const std::string& name, const std::string& path) {
  if (!trail::ValidNoteName(name)) {
    return Fail(ExitCode::kConfig, InvalidArgument("--name: a name without spaces, control characters and '+'"));
  }
  const auto key = MakeKeyFile(path);
  if (!key.ok()) {
    return Fail(ExitCode::kKeys, key.status().code() == Code::kAlreadyExists
                                     ? AlreadyExists(fmt::format("{}: there is a file already; keys are never "
                                                                 "overwritten, choose another path",
                                                                 path))
                                     : key.status());
  }
  return PrintVkey(name, *key);
}

int RunVkey(const std::string& config_path) {
  const auto settings = LoadSettings(config_path);
  if (!settings.ok()) return Fail(ExitCode::kConfig, settings.status());
  const auto key = LoadKey(settings->config.key_file());
  if (!key.ok()) return Fail(ExitCode::kKeys, key.status());
  return PrintVkey(settings->config.name(), *key);
}

int RunRestore(const std::string& config_path, const std::string& checkpoint_path) {
  const auto settings = LoadSettings(config_path);
  if (!settings.ok()) return Fail(ExitCode::kConfig, settings.status());
  const auto key = LoadKey(settings->config.key_file());
  if (!key.ok()) return Fail(ExitCode::kKeys, key.status());
  const auto note = ReadFile(checkpoint_path, kMaxRequestBytes);
  if (!note.ok()) return Fail(ExitCode::kConfig, note.status());
  auto store = DirStore::Open(settings->config.state_dir());
  if (!store.ok()) return Fail(ExitCode::kStorage, store.status());
  const auto self = trail::CosignerVerifier::Make(settings->config.name(), key->public_key());
  if (!self.ok()) return Fail(ExitCode::kConfig, self.status());
  const auto record = Restore(*note, settings->logs, *self, store->get());
  if (!record.ok()) return Fail(ExitCode::kStorage, Annotate(record.status(), checkpoint_path));
  std::printf("restored: size %llu, root %s\n", static_cast<unsigned long long>(record->size),
              trail::Base64Encode(trail::View(record->root)).c_str());
  return Exit(ExitCode::kOk);
}

std::string StatusLine(const Witness& witness) {
  std::string out;
  for (const auto& log : witness.Logs()) {
    out += fmt::format("{}{}: size {}, {} cosigned", out.empty() ? "" : "; ", log.origin, log.size, log.cosigned);
    if (log.forks > 0) out += fmt::format(", FORKED ({} requests)", log.forks);
  }
  return out;
}

// Until a signal asks to stop. Watchdog and status meanwhile.
void ServeUntilSignal(const Witness& witness, Server* server, int signal_fd) {
  const auto watchdog = ServiceNotifier::WatchdogInterval();
  milliseconds interval = kStatusInterval;
  if (watchdog) interval = std::min(interval, std::chrono::duration_cast<milliseconds>(*watchdog / 2));
  interval = std::max(interval, milliseconds(1));
  for (;;) {
    pollfd p{signal_fd, POLLIN, 0};
    if (::poll(&p, 1, static_cast<int>(interval.count())) > 0) {
      signalfd_siginfo info{};
      if (::read(signal_fd, &info, sizeof(info)) != sizeof(info)) continue;
      if (info.ssi_signo != SIGHUP) return;
      const Status reloaded = server->ReloadTls();
      if (reloaded.ok()) log::Info("SIGHUP: certificate taken anew; the configuration is fixed at start");
      else log::Error(fmt::format("SIGHUP: {}; the certificate from before stays", reloaded.message()));
      continue;
    }
    if (watchdog) ServiceNotifier::Watchdog().Ignore();
    ServiceNotifier::SetStatus(StatusLine(witness)).Ignore();
  }
}

int RunDaemon(const std::string& config_path, bool check_only) {
  auto settings = LoadSettings(config_path);
  if (!settings.ok()) return Fail(ExitCode::kConfig, settings.status());
  const WitnessConfig& config = settings->config;
  if (check_only) {
    std::printf("%s: good\n", config_path.c_str());
    return Exit(ExitCode::kOk);
  }
  log::Level level = log::Level::kInfo;
  log::ParseLevel(config.log().level(), &level);
  log::Init("nodetrail-witness", level, config.log().format() == "json");
  const int signal_fd = SignalFd();
  if (signal_fd < 0) return Fail(ExitCode::kInternal, ErrnoStatus(errno, "signalfd"));

  auto key = LoadKey(config.key_file());
  if (!key.ok()) return Fail(ExitCode::kKeys, key.status());
  auto store = DirStore::Open(config.state_dir());
  if (!store.ok()) return Fail(ExitCode::kStorage, store.status());
  const SystemClock clock;
  auto witness = Witness::Create(config.name(), *std::move(key), std::move(settings->logs), store->get(), &clock);
  if (!witness.ok()) return Fail(ExitCode::kStorage, witness.status());

  Server::Options options;
  SplitHostPort(config.listen(), &options.host, &options.port);
  options.cert_file = config.tls().cert_file();
  options.key_file = config.tls().key_file();
  options.connections = config.max_connections();
  auto server = Server::Start(std::move(options), witness->get());
  if (!server.ok()) {
    const bool keys = server.status().message().starts_with("tls.");
    return Fail(keys ? ExitCode::kKeys : ExitCode::kConfig, server.status());
  }
  if (!config.pid_file().empty()) {
    const Status s = WriteFileAtomically(config.pid_file(), fmt::format("{}\n", getpid()), 0644);
    if (!s.ok()) return Fail(ExitCode::kConfig, Annotate(s, "pid_file"));
  }
  log::Info(fmt::format("serving on {} (port {}) as {}", config.listen(), (*server)->port(), (*witness)->vkey()));
  for (const auto& log : (*witness)->Logs()) {
    if (log.size == 0)
      log::Warn(fmt::format("{}: nothing cosigned yet; the first checkpoint is taken as it comes", log.origin));
    else log::Info(fmt::format("{}: at size {}", log.origin, log.size));
  }
  ServiceNotifier::Ready(StatusLine(**witness)).Ignore();
  ServeUntilSignal(**witness, server->get(), signal_fd);
  ServiceNotifier::Stopping("stopping").Ignore();
  log::Info("stopping");
  (*server)->Stop();
  if (!config.pid_file().empty()) ::unlink(config.pid_file().c_str());
  return Exit(ExitCode::kOk);
}

int Main(int argc, char** argv) {
  InstallLastWords("nodetrail-witness");
  NT_CHECK(InstallOpenSslLastWords());
  HardenProcess();
  CLI::App app{"Cosigns the checkpoints of transparency logs that only ever grow (https://c2sp.org/tlog-witness).",
               "nodetrail-witness"};
  std::string config_path = "/etc/nodetrail/witness.yaml";
  bool check_only = false;
  app.add_option("--config", config_path, "configuration, YAML")->capture_default_str();
  app.add_flag("--check-config", check_only, "say whether the configuration is good, and exit");
  app.set_version_flag("--version", std::string("nodetrail-witness ") + kVersion);
  app.footer(
      "Without a command it serves until SIGTERM or SIGINT; SIGHUP takes the TLS certificate anew.\n"
      "Exit status: 0 stopped in order, 2 configuration or port, 4 keys or certificates, 5 storage,\n"
      "71 no memory.\n"
      "Example: nodetrail-witness keygen --name witness.example.com/w1 --out /etc/nodetrail/pki/witness.key");
  std::function<int()> action = [&] { return RunDaemon(config_path, check_only); };

  std::string name;
  std::string key_path;
  auto* keygen = app.add_subcommand("keygen", "make a key file and print its verifier key, for the log's policy");
  keygen->add_option("--name", name, "of the key: a URL without scheme, e.g. witness.example.com/w1")->required();
  keygen->add_option("--out", key_path, "file to write, PEM; must not be there yet")->required();
  keygen->callback([&] { action = [&] { return RunKeygen(name, key_path); }; });

  auto* vkey = app.add_subcommand("vkey", "print the verifier key of the configured key");
  vkey->fallthrough();
  vkey->callback([&] { action = [&] { return RunVkey(config_path); }; });

  std::string checkpoint_path;
  auto* restore =
      app.add_subcommand("restore", "give a witness its lost record back from a checkpoint that it cosigned");
  restore->add_option("checkpoint", checkpoint_path, "the newest one with its cosignature that can be had")->required();
  restore->fallthrough();
  restore->callback([&] { action = [&] { return RunRestore(config_path, checkpoint_path); }; });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : Exit(ExitCode::kConfig);
  }
  return action();
}

}  // namespace
}  // namespace nodetrail::witness

int main(int argc, char** argv) { return nodetrail::witness::Main(argc, argv); }
