// SPDX-License-Identifier: Apache-2.0
//
// nodetrail export: an excerpt of the trail, for an auditor elsewhere.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/context.h"
#include "collector/query/expr/expr.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/schema/text.h"
#include "nodetrail/trail/bundle.h"

namespace nodetrail::cli {
namespace {

using Json = nlohmann::ordered_json;

volatile sig_atomic_t interrupted = 0;

// What was written must be removed before we go.
void OnInterrupt(int) { interrupted = 1; }

void CatchInterrupts() {
  struct sigaction action {};
  action.sa_handler = OnInterrupt;
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(number, &action, nullptr);
  // A file that may not grow is an error of write(2).
  ::signal(SIGXFSZ, SIG_IGN);
}

struct ExportFlags {
  std::string trail, out, since, until;
  std::vector<std::string> agents, receipts;
};

Result<trail::ExportOptions> MakeOptions(const ExportFlags& flags) {
  const uint64_t now = SystemClock().WallNs();
  trail::ExportOptions options;
  if (!flags.since.empty()) {
    auto since = expr::ParseTime(flags.since, now);
    if (!since.ok()) return Annotate(since.status(), "--since");
    options.scope.since_ns = *since;
  }
  if (!flags.until.empty()) {
    auto until = expr::ParseTime(flags.until, now);
    if (!until.ok()) return Annotate(until.status(), "--until");
    options.scope.until_ns = *until;
  }
  if (options.scope.since_ns && options.scope.until_ns && *options.scope.since_ns > *options.scope.until_ns) {
    return InvalidArgument("--until is before --since: no time is left between them");
  }
  if (!flags.agents.empty()) {
    std::vector<std::string> agents = flags.agents;
    std::sort(agents.begin(), agents.end());
    agents.erase(std::unique(agents.begin(), agents.end()), agents.end());
    for (const std::string& agent : agents) {
      if (!trail::ValidId(agent)) return InvalidArgument(fmt::format("--agent: \"{}\" is no agent's id", agent));
    }
    options.scope.agents = std::move(agents);
  }
  options.receipts = flags.receipts;
  return options;
}

Json ReportJson(const trail::ExportReport& report, const std::string& out) {
  const trail::BundleScope& scope = report.manifest.scope;
  const auto time = [](const std::optional<uint64_t>& ns) {
    return ns ? Json(schema::FormatTimeUtc(*ns)) : Json(nullptr);
  };
  return {{"out", out},
          {"origin", report.manifest.origin},
          {"tenant", report.manifest.tenant},
          {"since", time(scope.since_ns)},
          {"until", time(scope.until_ns)},
          {"agents", scope.agents ? Json(*scope.agents) : Json(nullptr)},
          {"leaves", report.leaves},
          {"leaves_not_under_checkpoint", report.beyond_checkpoint},
          {"bodies", report.manifest.bodies},
          {"bodies_evicted", report.evicted},
          {"bodies_retired", report.retired},
          {"bodies_outside", report.bodies_outside},
          {"body_bytes", report.body_bytes},
          {"receipts", report.manifest.receipts}};
}

std::string ReportText(const trail::ExportReport& report, const std::string& out) {
  std::string text = fmt::format("scope: {}\n", report.manifest.scope.ToString());
  text += fmt::format("{}: {} leaves of {}, {} bodies ({:.1f} MiB)", out, report.leaves, report.manifest.origin,
                      report.manifest.bodies, static_cast<double>(report.body_bytes) / (1 << 20));
  if (report.bodies_outside > 0) text += fmt::format(", {} more that explain gaps of the scope", report.bodies_outside);
  if (report.evicted > 0) text += fmt::format(", {} given up by their agents", report.evicted);
  if (report.retired > 0) text += fmt::format(", {} deleted by rule", report.retired);
  if (report.manifest.receipts > 0) text += fmt::format(", {} receipts", report.manifest.receipts);
  text += "\n";
  if (report.beyond_checkpoint > 0) {
    text += fmt::format("{} newer leaves are under no checkpoint yet: not in the bundle\n", report.beyond_checkpoint);
  }
  return text;
}

int RunExport(const ExportFlags& flags, Context& context) {
  const std::string dir = flags.trail.empty() ? context.config().trail_dir() : flags.trail;
  if (dir.empty()) {
    return Fail(kExitUsage, "export: which trail? give --trail DIR, or set trail_dir in the configuration");
  }
  const auto options = MakeOptions(flags);
  if (!options.ok()) return Fail(options.status());
  CatchInterrupts();
  using Clock = std::chrono::steady_clock;
  const bool show = ::isatty(STDERR_FILENO) == 1;
  auto last = Clock::now();
  const auto report = trail::ExportBundle(dir, flags.out, *options, [&](uint64_t done, uint64_t of) {
    if (show && Clock::now() - last >= std::chrono::milliseconds(200)) {
      last = Clock::now();
      fmt::print(stderr, "\r{} of {} leaves\x1b[K", done, of);
    }
    return interrupted == 0;
  });
  if (show) fmt::print(stderr, "\r\x1b[K");
  if (!report.ok()) return Fail(report.status());
  if (context.json()) {
    Print(schema::DumpSafe(ReportJson(*report, flags.out), 2) + "\n");
  } else {
    Print(ReportText(*report, flags.out));
    Note(fmt::format("check it: nodetrail verify {} --identity-ca CA.pem --policy POLICY", flags.out));
  }
  return kExitOk;
}

}  // namespace

void AddExport(CLI::App& app, const SetAction& set) {
  auto* command = app.add_subcommand("export", "a bundle for an auditor: the log, and the bodies of a time");
  const auto flags = std::make_shared<ExportFlags>();
  command->add_option("--out", flags->out, "the bundle to make; must not exist")->type_name("DIR")->required();
  command->add_option("--trail", flags->trail, "the trail (default: trail_dir of the configuration)")->type_name("DIR");
  command->add_option("--since", flags->since, "2h, 3d, or 2026-03-01T09:00:00Z")->type_name("TIME");
  command->add_option("--until", flags->until, "the same; included")->type_name("TIME");
  command->add_option("--agent", flags->agents, "only bodies of this agent; may repeat")
      ->allow_extra_args(false)
      ->type_name("ID");
  command->add_option("--receipt", flags->receipts, "a receipt (NAME.tlog-proof) to put in; may repeat")
      ->allow_extra_args(false)
      ->type_name("FILE");
  command->footer(R"(It reads the collector's directory, while the collector runs or not, and needs no key. All
leaves up to the checkpoint are in a bundle, bodies only of its scope. DIR appears when all
of it is written.

Examples:
  nodetrail export --since 24h --out bundle
  nodetrail export --trail /var/lib/nodetrail/trail --since 2026-03-01T00:00:00Z \
      --until 2026-04-01T00:00:00Z --agent web-1 --out march-web-1
  nodetrail verify march-web-1 --identity-ca ca.pem --policy policy.txt)");
  command->callback(
      [set, flags] { set(Configured([flags](Context& context) { return RunExport(*flags, context); })); });
}

}  // namespace nodetrail::cli
