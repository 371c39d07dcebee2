// SPDX-License-Identifier: Apache-2.0
//
// nodetrail verify: the whole trail directory, offline.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>

#include "cli/context.h"
#include "cli/proof.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/trail/verify.h"

namespace nodetrail::cli {
namespace {

struct VerifyOptions {
  std::string dir, identity_ca, log_key, prior, tenant;
  bool no_bodies = false;
};

int RunVerify(const VerifyOptions& options, Context& context) {
  const auto& config = context.config();
  const std::string dir = options.dir.empty() ? config.trail_dir() : options.dir;
  if (dir.empty())
    return Fail(kExitUsage, "verify: which trail? give its directory, or set trail_dir in the configuration");
  trail::VerifyPolicy policy;
  const std::string ca_file = options.identity_ca.empty() ? config.identity_ca_file() : options.identity_ca;
  if (ca_file.empty()) {
    return Fail(
        kExitUsage,
        "verify: who may sign? give --identity-ca FILE (the authority that enrols agents), or set identity_ca_file");
  }
  auto ca = ReadFile(ca_file, 1U << 20);
  if (!ca.ok())
    return Fail(ExitFor(ca.status()) == kExitNotFound ? kExitConfig : ExitFor(ca.status()), ca.status().message());
  policy.identity_ca_pem = *std::move(ca);
  auto key = LoadLogKey(options.log_key.empty() ? config.log_public_key() : options.log_key, context.config_path());
  if (!key.ok()) return Fail(kExitConfig, key.status().message());
  policy.log_key = *key;
  policy.tenant = options.tenant;
  policy.check_bodies = !options.no_bodies;
  if (!options.prior.empty()) {
    auto prior = ReadFile(options.prior, trail::kMaxNoteBytes);
    if (!prior.ok()) return Fail(prior.status());
    policy.kept.push_back({options.prior, *std::move(prior)});
  }
  using Clock = std::chrono::steady_clock;
  const bool show = ::isatty(STDERR_FILENO) == 1;
  auto last = Clock::now();
  const auto report = trail::VerifyTrail(dir, policy, [&](uint64_t leaves) {
    if (!show || Clock::now() - last < std::chrono::milliseconds(200)) return;
    last = Clock::now();
    fmt::print(stderr, "\r{} leaves verified\x1b[K", leaves);
  });
  if (show) fmt::print(stderr, "\r\x1b[K");
  if (!report.ok()) {
    const int code = ExitFor(report.status());
    return Fail(code >= kExitUsage ? code : static_cast<int>(kExitInternal), report.status().message());
  }
  if (context.json()) {
    Print(trail::VerifyReportJson(*report));
  } else {
    const bool good = report->verdict == trail::TrailVerdict::kIntact;
    const bool bad =
        report->verdict == trail::TrailVerdict::kTamper || report->verdict == trail::TrailVerdict::kUnexplainedGap;
    Print(context.Paint(good ? "32" : bad ? "31" : "33", trail::VerifyReportText(*report)));
    if (!policy.log_key) {
      Note("no log key was given: the checkpoint's signature was not judged. Set log_public_key, or give --log-key.");
    }
  }
  return static_cast<int>(report->verdict);
}

}  // namespace

void AddVerify(CLI::App& app, const SetAction& set) {
  auto* command = app.add_subcommand("verify", "verify a trail directory: signatures, chains, tree, bodies");
  const auto options = std::make_shared<VerifyOptions>();
  command->add_option("trail_dir", options->dir, "the trail (default: trail_dir of the configuration)")
      ->type_name("DIR");
  command->add_option("--identity-ca", options->identity_ca, "PEM: authorities that enrol agents")->type_name("FILE");
  command->add_option("--log-key", options->log_key, "verifier key of the log, or a file that holds it")
      ->type_name("VKEY");
  command->add_option("--prior", options->prior, "a checkpoint you kept: the log must extend it")->type_name("FILE");
  command->add_option("--tenant", options->tenant, "every batch must be of this tenant");
  command->add_flag("--no-bodies", options->no_bodies, "headers and tree only");
  command->footer(R"(It needs no network and no collector, and trusts neither. Exit status:
  0 intact   1 intact, with loss that the agents declared   2 a sequence never arrived, unexplained
  3 tamper evidence   64 and above: the verification itself could not be done

Examples:
  nodetrail verify /var/lib/nodetrail/trail
  nodetrail verify --json --prior checkpoint-of-january trail/ | jq .first_bad)");
  command->callback(
      [set, options] { set(Configured([options](Context& context) { return RunVerify(*options, context); })); });
}

}  // namespace nodetrail::cli
