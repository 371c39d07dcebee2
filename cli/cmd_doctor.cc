// SPDX-License-Identifier: Apache-2.0
//
// nodetrail doctor: what this kernel grants, what is attached, what is wrong
// and what to do about it.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/client.h"
#include "cli/context.h"
#include "cli/doctor_checks.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/config_loader.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::cli {
namespace {

using Json = nlohmann::ordered_json;
using State = Check::State;

std::string_view StateText(State state) { return state == State::kOk ? "ok" : state == State::kWarn ? "warn" : "fail"; }

// One line for each error of a configuration.
void AddConfigErrors(const std::string& what, const Status& status, Checks* out) {
  std::string_view rest = status.message();
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    if (end > 0)
      out->push_back({"config", State::kFail, fmt::format("{}: {}", what, schema::TerminalSafe(rest.substr(0, end))),
                      "correct it"});
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

void CheckAgentConfig(const std::string& path, uint64_t now, Checks* out) {
  if (::access(path.c_str(), F_OK) != 0) {
    out->push_back({"config", State::kWarn, fmt::format("agent: {}: not there", path),
                    "is this node meant to have an agent? set agent_config otherwise"});
    return;
  }
  const auto config = LoadConfig<config::v1::AgentConfig>(path);
  if (!config.ok()) {
    AddConfigErrors("agent", config.status(), out);
    return;
  }
  out->push_back({"config", State::kOk, fmt::format("agent: {}", path), {}});
  CheckCertificate("agent's identity", config->identity().cert_file(), config->identity().key_file(), now, out);
  CheckCertificate("agent's TLS", config->ship().tls().cert_file(), config->ship().tls().key_file(), now, out);
  CheckDisk("spool", config->state_dir(), config->spool().max_bytes(), out);
}

void CheckReader(Context& context, const Status& loaded, uint64_t now, Checks* out) {
  if (!loaded.ok()) {
    AddConfigErrors("cli", loaded, out);
    return;
  }
  const auto& config = context.config();
  out->push_back(
      {"config",
       State::kOk,
       context.config_path().empty() ? std::string("cli: no file, defaults") : "cli: " + context.config_path(),
       {}});
  CheckCertificate("reader's TLS", config.tls().cert_file(), config.tls().key_file(), now, out);
  auto client = Client::Connect(context);
  if (!client.ok()) {
    out->push_back({"collector", State::kFail, schema::TerminalSafe(client.status().message()),
                    "start it, or correct collector and tls of the CLI's configuration"});
    return;
  }
  const auto status = (*client)->GetStatus();
  if (!status.ok()) {
    out->push_back({"collector", State::kFail, schema::TerminalSafe(status.status().message()),
                    "use a reader's certificate of the collector's tenant"});
    return;
  }
  out->push_back({"collector",
                  State::kOk,
                  fmt::format("{} answers, {} leaves, index {:.1f} s behind", config.collector(), status->log_size(),
                              status->index_lag_seconds()),
                  {}});
  if (status->quarantined() > 0) {
    out->push_back({"collector", State::kFail, fmt::format("{} batches did not verify", status->quarantined()),
                    "look into quarantine/ of the trail, and at the collector's log"});
  }
}

int RunDoctor(Context& context) {
  const Status loaded = context.Load();
  const uint64_t now = SystemClock().WallNs();
  Checks checks;
  CheckKernelReport(agent::ProbeKernel(), ::geteuid() == 0, &checks);
  const auto& config = context.config();
  if (loaded.ok()) {
    const auto document = AskAgent(config.agent_socket());
    CheckAgentStatus(document.ok() ? *document : nlohmann::json(), document.status(), &checks);
  }
  CheckClock(&checks);
  if (loaded.ok()) CheckAgentConfig(config.agent_config(), now, &checks);
  CheckReader(context, loaded, now, &checks);
  if (loaded.ok() && !config.trail_dir().empty() && ::access(config.trail_dir().c_str(), F_OK) == 0) {
    CheckDisk("trail", config.trail_dir(), 1U << 30, &checks);
  }

  const auto count = [&checks](State state) {
    return std::count_if(checks.begin(), checks.end(), [state](const Check& c) { return c.state == state; });
  };
  const auto failed = count(State::kFail);
  if (context.json()) {
    Json list = Json::array();
    for (const auto& c : checks) {
      list.push_back({{"area", c.area},
                      {"state", StateText(c.state)},
                      {"what", c.what},
                      {"fix", c.fix.empty() ? Json(nullptr) : Json(c.fix)}});
    }
    Print(schema::DumpSafe(Json{{"healthy", failed == 0},
                                {"failed", failed},
                                {"warned", count(State::kWarn)},
                                {"checks", std::move(list)}},
                           2) +
          "\n");
  } else {
    for (const auto& c : checks) {
      Print(fmt::format("{}  {:<12} {}\n",
                        context.Paint(c.state == State::kOk     ? "32"
                                      : c.state == State::kWarn ? "33"
                                                                : "1;31",
                                      fmt::format("{:<4}", StateText(c.state))),
                        c.area, c.what));
      if (!c.fix.empty()) Print(fmt::format("      {:<12} {}\n", "", context.Paint("2", "fix: " + c.fix)));
    }
    Print(fmt::format("\n{}: {} failed, {} warnings, {} good\n", failed == 0 ? "healthy" : "not healthy", failed,
                      count(State::kWarn), count(State::kOk)));
  }
  return failed == 0 ? kExitOk : kExitUnavailable;
}

}  // namespace

void AddDoctor(CLI::App& app, const SetAction& set) {
  auto* command = app.add_subcommand("doctor", "what this kernel grants, what is attached, what is wrong");
  command->footer(R"(Best run as root: only then can it try what the agent may do, and read the agent's files.
It loads empty test programs into the kernel for a moment, and leaves nothing behind.

Exit status: 0 healthy (warnings included), 69 when something failed.)");
  command->callback([set] { set(RunDoctor); });
}

}  // namespace nodetrail::cli
