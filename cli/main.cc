// SPDX-License-Identifier: Apache-2.0
//
// nodetrail: asks the trail, follows it, proves it, and looks after the node.
#include <fmt/format.h>
#include <grpc/support/log.h>
#include <sys/prctl.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <utility>

#include "cli/context.h"
#include "nodetrail/base/version.h"

namespace {

constexpr const char* kExamples = R"(Examples:
  nodetrail status                                 are agent and collector well, is anything lost
  nodetrail agents                                 who should report, and who does
  nodetrail tail                                   what happens now
  nodetrail query --since 1h --user alice          what alice did, also as root
  nodetrail query --path /etc/shadow               who touched it, or tried to
  nodetrail show web-1:3:1057                      one event whole, and its proof
  nodetrail tree 4711                              a process, where it came from and what it did
  nodetrail verify /var/lib/nodetrail/trail        has anybody changed history
  nodetrail access list --since 7d                 who read the trail
  nodetrail export --since 24h --out bundle        evidence for somebody elsewhere
  nodetrail doctor                                 what this node's kernel grants, what is wrong

Configuration: --config, else $NODETRAIL_CONFIG, else /etc/nodetrail/cli.yaml.
Exit status: 0 good; verify 0 to 3 (its verdict); 64 and above when something went wrong.)";

}  // namespace

int main(int argc, char** argv) {
  using nodetrail::cli::Action;
  // A reader that closes the pipe ends us by a failed write, not by a signal.
  std::signal(SIGPIPE, SIG_IGN);
  // gRPC's own log is for its developers.
  gpr_set_log_function([](gpr_log_func_args*) {});

  CLI::App app("nodetrail: the tamper-evident audit trail of your nodes", "nodetrail");
  nodetrail::cli::Globals globals;
  app.set_version_flag("--version", fmt::format("nodetrail {}", nodetrail::kVersion));
  app.add_option("--config", globals.config_path, "configuration file")->type_name("FILE");
  app.add_option("--collector", globals.collector, "the collector to ask")->type_name("HOST:PORT");
  app.add_option("--ca", globals.ca, "PEM: authority of the collector's certificate")->type_name("FILE");
  app.add_option("--cert", globals.cert, "PEM: our reader's certificate")->type_name("FILE");
  app.add_option("--key", globals.key, "PEM: its key")->type_name("FILE");
  app.add_option("--server-name", globals.server_name, "name expected in the collector's certificate")
      ->type_name("NAME");
  app.add_option("--color", globals.color, "auto, always or never")->check(CLI::IsMember({"auto", "always", "never"}));
  app.add_flag("--json", globals.json, "JSON instead of text");
  app.footer(kExamples);
  app.require_subcommand(1);
  // Global options are understood after the command as well.
  app.fallthrough();

  Action action;
  const auto set = [&action](Action chosen) { action = std::move(chosen); };
  nodetrail::cli::AddStatus(app, set);
  nodetrail::cli::AddAgents(app, set);
  nodetrail::cli::AddQuery(app, set);
  nodetrail::cli::AddTail(app, set);
  nodetrail::cli::AddShow(app, set);
  nodetrail::cli::AddTree(app, set);
  nodetrail::cli::AddAccess(app, set);
  nodetrail::cli::AddVerify(app, set);
  nodetrail::cli::AddExport(app, set);
  nodetrail::cli::AddDoctor(app, set);
  nodetrail::cli::AddCompletion(app, set);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);
    return code == 0 ? 0 : nodetrail::cli::kExitUsage;
  }
  nodetrail::cli::Context context(std::move(globals));
  return action(context);
}
