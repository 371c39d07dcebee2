// SPDX-License-Identifier: Apache-2.0
//
// nodetrail verify: a trail directory or a bundle, offline.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>

#include "cli/context.h"
#include "cli/proof.h"
#include "collector/query/expr/expr.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/trail/verify.h"

namespace nodetrail::cli {
namespace {

struct VerifyOptions {
  std::string dir, identity_ca, policy, log_key, until, tenant;
  std::vector<std::string> prior;
  double heartbeat_s = 30;
  bool no_bodies = false;
  bool require_enrolment = false;
};

// Which logs and witnesses: --policy, or the log key alone. The key of the
// configuration counts if the command line says nothing of a log.
Status TakeLogPolicy(const VerifyOptions& options, const Context& context, trail::VerifyPolicy* policy) {
  if (!options.policy.empty()) {
    NT_ASSIGN_OR_RETURN(const std::string text, ReadFile(options.policy, trail::kMaxPolicyBytes));
    auto parsed = trail::LogPolicy::Parse(text);
    if (!parsed.ok()) return Annotate(parsed.status(), options.policy);
    policy->log_policy = *std::move(parsed);
  }
  const bool named = policy->log_policy && !policy->log_policy->logs().empty();
  if (named && options.log_key.empty()) return OkStatus();
  auto key =
      LoadLogKey(options.log_key.empty() ? context.config().log_public_key() : options.log_key, context.config_path());
  if (!key.ok()) return std::move(key).status();
  policy->log_key = *key;
  if (policy->log_policy && !named && !*key) {
    return InvalidArgument(fmt::format("{}: names no log; add a line \"log VKEY\", or give --log-key", options.policy));
  }
  return OkStatus();
}

Status TakeCoverage(const VerifyOptions& options, trail::VerifyPolicy* policy) {
  if (options.heartbeat_s < 0.001 || options.heartbeat_s > 1e6) {
    return InvalidArgument("--heartbeat: seconds, 0.001 to 1000000");
  }
  policy->heartbeat_ns = static_cast<uint64_t>(options.heartbeat_s * 1e9);
  if (options.until.empty()) return OkStatus();
  auto until = expr::ParseTime(options.until, SystemClock().WallNs());
  if (!until.ok()) return Annotate(until.status(), "--until");
  policy->coverage_until_ns = *until;
  return OkStatus();
}

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
  if (const Status status = TakeLogPolicy(options, context, &policy); !status.ok()) {
    return Fail(kExitConfig, status.message());
  }
  if (const Status status = TakeCoverage(options, &policy); !status.ok()) return Fail(status);
  policy.tenant = options.tenant;
  policy.check_bodies = !options.no_bodies;
  policy.require_enrolment = options.require_enrolment;
  for (const std::string& file : options.prior) {
    auto prior = ReadFile(file, trail::kMaxNoteBytes);
    if (!prior.ok()) return Fail(prior.status());
    policy.kept.push_back({file, *std::move(prior)});
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
    if (!policy.log_key && !policy.log_policy) {
      Note("no log key was given: the checkpoint's signature was not judged. Set log_public_key, or give --policy.");
    }
  }
  return static_cast<int>(report->verdict);
}

}  // namespace

void AddVerify(CLI::App& app, const SetAction& set) {
  auto* command = app.add_subcommand("verify", "verify a trail or a bundle: signatures, chains, tree, bodies");
  const auto options = std::make_shared<VerifyOptions>();
  command->add_option("dir", options->dir, "trail or bundle (default: trail_dir of the configuration)")
      ->type_name("DIR");
  command->add_option("--identity-ca", options->identity_ca, "PEM: authorities that enrol agents")->type_name("FILE");
  command->add_option("--policy", options->policy, "logs, witnesses and quorum that you trust (tlog-policy)")
      ->type_name("FILE");
  command->add_option("--log-key", options->log_key, "verifier key of the log, or a file: a policy without witnesses")
      ->type_name("VKEY");
  command->add_option("--prior", options->prior, "checkpoint or receipt you kept: the log must extend it; may repeat")
      ->allow_extra_args(false)
      ->type_name("FILE");
  command->add_option("--heartbeat", options->heartbeat_s, "of the agents: two without a batch are a silence (30)")
      ->type_name("SECONDS");
  command->add_option("--until", options->until, "tell of silence up to then (default: the newest batch)")
      ->type_name("TIME");
  command->add_option("--tenant", options->tenant, "every batch must be of this tenant");
  command->add_flag("--require-enrolment", options->require_enrolment,
                    "an agent that the log never enrolled is tampering");
  command->add_flag("--no-bodies", options->no_bodies, "headers and tree only");
  command->footer(R"(It needs no network and no collector, and trusts neither. Exit status:
  0 intact   1 intact, with loss that the agents declared   2 a sequence never arrived, unexplained
  3 tamper evidence   64 and above: the verification itself could not be done

Examples:
  nodetrail verify /var/lib/nodetrail/trail
  nodetrail verify bundle --identity-ca ca.pem --policy policy.txt
  nodetrail verify --json --prior january.checkpoint --prior mine.tlog-proof trail/ | jq .first_bad)");
  command->callback(
      [set, options] { set(Configured([options](Context& context) { return RunVerify(*options, context); })); });
}

}  // namespace nodetrail::cli
