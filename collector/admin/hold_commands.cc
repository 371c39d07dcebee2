// SPDX-License-Identifier: Apache-2.0
#include "collector/admin/hold_commands.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "collector/admin/admin_socket.h"
#include "collector/query/expr/expr.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::collector {
namespace {

using Json = nlohmann::ordered_json;
using schema::TerminalSafe;

struct Args {
  std::string id, reason, since, until;
  std::vector<std::string> agents;
  bool json = false;
};

Json TimeOrNull(uint64_t ns) { return ns == 0 ? Json(nullptr) : Json(schema::FormatTimeUtc(ns)); }

std::string WhoText(const enrol::v1::HoldRecord& hold) {
  std::string out;
  for (const std::string& agent : hold.agents()) out += (out.empty() ? "" : ",") + agent;
  return out.empty() ? "all" : TerminalSafe(out);
}

std::string SpanText(const enrol::v1::HoldRecord& hold) {
  const auto time = [](uint64_t ns, const char* open) {
    return ns == 0 ? std::string(open) : schema::FormatTimeUtc(ns);
  };
  return fmt::format("{} to {}", time(hold.since_wall_ns(), "the beginning"), time(hold.until_wall_ns(), "the end"));
}

// What was deleted by rule before the hold came is gone: who places it must know.
std::string AddedText(const enrol::v1::AddHoldResponse& made, bool json) {
  const bool unknown = !made.gone_unknown().empty();
  if (json) {
    Json gone = {{"bodies", made.gone_bodies()},
                 {"since", TimeOrNull(made.gone_since_wall_ns())},
                 {"until", TimeOrNull(made.gone_until_wall_ns())},
                 {"incomplete", unknown ? Json(made.gone_unknown()) : Json(nullptr)}};
    return Json{{"id", made.id()}, {"by", made.by()}, {"log_index", made.log_index()}, {"retired_before", gone}}.dump(
               2) +
           "\n";
  }
  std::string text =
      fmt::format("hold {} is placed: what it covers and is not deleted yet stays; entry {} of the log says so\n",
                  made.id(), made.log_index());
  if (made.gone_bodies() > 0) {
    text +=
        fmt::format("{}{} bodies that it covers were retired before and are gone, from {} to {}\n",
                    unknown ? "at least " : "", made.gone_bodies(), schema::FormatTimeUtc(made.gone_since_wall_ns()),
                    schema::FormatTimeUtc(made.gone_until_wall_ns()));
  } else if (!unknown) {
    text += "nothing that it covers was retired before\n";
  }
  if (unknown) text += fmt::format("what was retired before was not counted to the end: {}\n", made.gone_unknown());
  return text;
}

int AddHold(const config::v1::CollectorConfig& config, const Args& args) {
  const uint64_t now = SystemClock().WallNs();
  enrol::v1::AdminRequest request;
  enrol::v1::AddHoldRequest* add = request.mutable_add_hold();
  add->set_id(args.id);
  for (const std::string& agent : args.agents) add->add_agents(agent);
  add->set_reason(args.reason);
  if (!args.since.empty()) {
    const auto since = expr::ParseTime(args.since, now);
    if (!since.ok()) return FailAdmin(Annotate(since.status(), "--since"));
    add->set_since_wall_ns(*since);
  }
  if (!args.until.empty()) {
    const auto until = expr::ParseTime(args.until, now);
    if (!until.ok()) return FailAdmin(Annotate(until.status(), "--until"));
    add->set_until_wall_ns(*until);
  }
  const auto answer = AskCollector(AdminSocketPath(config), request);
  if (!answer.ok()) return FailAdmin(answer.status());
  const auto& made = answer->add_hold();
  std::fputs(AddedText(made, args.json).c_str(), stdout);
  return 0;
}

int ListHolds(const config::v1::CollectorConfig& config, const Args& args) {
  enrol::v1::AdminRequest request;
  request.mutable_list_holds();
  const auto answer = AskCollector(AdminSocketPath(config), request);
  if (!answer.ok()) return FailAdmin(answer.status());
  Json all = Json::array();
  std::string table =
      fmt::format("{:<16}  {:<20}  {:<20}  {:<62}  {}\n", "HOLD", "BY", "AGENTS", "TIME", "REASON; RELEASE ASKED BY");
  for (const auto& hold : answer->list_holds().holds()) {
    const bool asked = !hold.release_requested_by().empty();
    all.push_back(
        {{"id", hold.id()},
         {"by", hold.by()},
         {"agents", hold.agents().empty() ? Json(nullptr)
                                          : Json(std::vector<std::string>(hold.agents().begin(), hold.agents().end()))},
         {"since", TimeOrNull(hold.since_wall_ns())},
         {"until", TimeOrNull(hold.until_wall_ns())},
         {"reason", hold.reason()},
         {"release_requested_by", asked ? Json(hold.release_requested_by()) : Json(nullptr)}});
    table += fmt::format("{:<16}  {:<20}  {:<20}  {:<62}  {}{}\n", hold.id(), TerminalSafe(hold.by()), WhoText(hold),
                         SpanText(hold), TerminalSafe(hold.reason()),
                         asked ? "; " + TerminalSafe(hold.release_requested_by()) : std::string());
  }
  std::fputs((args.json ? all.dump(2) + "\n" : table).c_str(), stdout);
  return 0;
}

int ReleaseHold(const config::v1::CollectorConfig& config, const Args& args) {
  enrol::v1::AdminRequest request;
  request.mutable_release_hold()->set_id(args.id);
  request.mutable_release_hold()->set_reason(args.reason);
  const auto answer = AskCollector(AdminSocketPath(config), request);
  if (!answer.ok()) return FailAdmin(answer.status());
  const auto& done = answer->release_hold();
  std::string text;
  if (args.json) {
    text = Json{{"id", args.id},
                {"released", done.released()},
                {"requested_by", done.requested_by()},
                {"log_index", done.released() ? Json(done.log_index()) : Json(nullptr)}}
               .dump(2) +
           "\n";
  } else if (done.released()) {
    text = fmt::format("hold {} is released; entry {} of the log says so\n", args.id, done.log_index());
  } else {
    text = fmt::format("asked for by {}; another person must confirm within a day, with the same command\n",
                       done.requested_by());
  }
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace

void AddHoldCommands(CLI::App& app, AdminCommand* chosen) {
  const auto args = std::make_shared<Args>();
  const auto run = [chosen, args](int (*command)(const config::v1::CollectorConfig&, const Args&)) {
    return [chosen, args, command] {
      *chosen = [args, command](const config::v1::CollectorConfig& config) { return command(config, *args); };
    };
  };
  CLI::App* hold = app.add_subcommand("hold", "bodies that no rule may delete");
  hold->require_subcommand(1);
  CLI::App* add = hold->add_subcommand("add", "keep what it covers, whatever its age, until two persons release it");
  add->add_option("--id", args->id, "its name; default: one is made");
  add->add_option("--agent", args->agents, "only of this agent; may repeat")->allow_extra_args(false);
  add->add_option("--since", args->since, "only batches from this time on: 2h, 3d, or 2026-03-01T09:00:00Z");
  add->add_option("--until", args->until, "only batches up to this time");
  add->add_option("--reason", args->reason, "one line, ASCII; it is in the log for ever")->required();
  add->callback(run(AddHold));
  CLI::App* list = hold->add_subcommand("list", "holds that are open");
  list->callback(run(ListHolds));
  CLI::App* release = hold->add_subcommand("release", "ask for a release, or confirm what another person asked for");
  release->add_option("ID", args->id, "as hold list shows it")->required();
  release->add_option("--reason", args->reason, "one line, ASCII");
  release->callback(run(ReleaseHold));
  for (CLI::App* command : {add, list, release}) command->add_flag("--json", args->json, "print JSON");
}

}  // namespace nodetrail::collector
