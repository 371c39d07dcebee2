// SPDX-License-Identifier: Apache-2.0
//
// nodetrail tree: a process, where it came from, and what it and everything it
// started did.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <set>
#include <tuple>
#include <utility>

#include "cli/client.h"
#include "cli/context.h"
#include "cli/process_tree.h"
#include "collector/query/expr/expr.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::cli {
namespace {

constexpr uint64_t kMaxEvents = 100'000;
// An agent names 16 ancestors of a process; deeper trees take one more round for each 16.
constexpr int kMaxRounds = 16;
constexpr size_t kFrontierBatch = 64;

struct TreeOptions {
  std::string what;
  std::string node;
  std::string since;
  size_t events = 12;  // shown of each process; 0: all
};

bool IsDecimal(std::string_view text) {
  return !text.empty() && text.size() <= 7 && text.find_first_not_of("0123456789") == std::string_view::npos;
}

bool IsHexId(std::string_view text) {
  return text.size() >= 4 && text.size() <= 32 &&
         text.find_first_not_of("0123456789abcdefABCDEF") == std::string_view::npos;
}

// The process that is meant: its whole identity, in hex.
Result<std::string> Resolve(Client* client, const TreeOptions& options, uint64_t since) {
  if (schema::ParseEventId(options.what)) {
    NT_ASSIGN_OR_RETURN(const auto response, client->Get(options.what));
    NT_ASSIGN_OR_RETURN(const auto row, Row::Parse(response.row()));
    if (row->event.proc_uid().empty())
      return NotFound(fmt::format("tree: event {} was not caused by a process", options.what));
    return schema::Hex(row->event.proc_uid());
  }
  const bool pid = IsDecimal(options.what);
  if (!pid && !IsHexId(options.what)) {
    return InvalidArgument(
        fmt::format("tree: '{}' is no process id, no proc_uid (hex) and no event id (AGENT:EPOCH:SEQ)",
                    schema::TerminalSafe(options.what)));
  }
  if (options.what.size() == 32) return options.what;
  query::v1::SearchRequest request;
  request.set_expr((pid ? "pid:" : "proc:") + options.what);
  if (!options.node.empty()) request.set_expr(request.expr() + " and node:" + expr::Quote(options.node));
  request.set_since_wall_ns(since);
  std::vector<std::pair<std::string, std::string>> found;  // identity, node; newest first
  // /proc tells starts in ticks of 10 ms, the kernel in ns: a process that ran
  // before the agent has two identities, and the newer is the right one.
  std::set<std::tuple<std::string, uint32_t, uint64_t>> starts;
  bool more = false;
  NT_RETURN_IF_ERROR(client->Search(
      request, 2000,
      [&](const Row& row) {
        std::pair<std::string, std::string> one{schema::Hex(row.event.proc_uid()),
                                                schema::TerminalSafe(row.view().Node())};
        const bool known = std::find(found.begin(), found.end(), one) != found.end();
        if (!known &&
            starts.insert({row.facts.agent_id, row.process.pid(), row.process.start_boot_ns() / 10'000'000}).second) {
          found.push_back(std::move(one));
        }
        return found.size() < 6;
      },
      &more));
  if (found.empty()) {
    return NotFound(fmt::format("tree: the trail has no event of {} {}{}", pid ? "pid" : "process", options.what,
                                options.since.empty() ? "" : " in that time"));
  }
  if (found.size() > 1) {
    Note(fmt::format("{} processes match; showing the last one seen, {} on {}. Others:",
                     found.size() > 5 ? "more than 5" : fmt::format("{}", found.size()), found.front().first,
                     found.front().second));
    for (size_t i = 1; i < found.size(); ++i)
      Note(fmt::format("  nodetrail tree {}   (on {})", found[i].first, found[i].second));
  }
  return found.front().first;
}

Status Fetch(Client* client, const std::string& uid, uint64_t since, ProcessTree* tree, bool* cut) {
  std::vector<std::string> frontier = {uid};
  uint64_t events = 0;
  for (int round = 0; round < kMaxRounds && !frontier.empty(); ++round) {
    std::string expression;
    for (const auto& id : frontier) {
      expression += fmt::format("{}ancestor:{}", expression.empty() ? "" : " or ", id);
    }
    if (round == 0) expression = fmt::format("proc:{} or {}", uid, expression);
    query::v1::SearchRequest request;
    request.set_expr(expression);
    request.set_oldest_first(true);
    request.set_since_wall_ns(since);
    bool more = false;
    NT_RETURN_IF_ERROR(client->Search(
        request, kMaxEvents - events,
        [&](const Row& row) {
          tree->Add(row.view());
          return ++events < kMaxEvents;
        },
        &more));
    if (more || events >= kMaxEvents) {
      *cut = true;
      return OkStatus();
    }
    frontier = tree->TakeFrontier(kFrontierBatch);
  }
  return OkStatus();
}

int RunTree(const TreeOptions& options, Context& context) {
  uint64_t since = 0;
  if (!options.since.empty()) {
    const auto parsed = expr::ParseTime(options.since, SystemClock().WallNs());
    if (!parsed.ok()) return Fail(Annotate(parsed.status(), "--since"));
    since = *parsed;
  }
  auto client = Client::Connect(context);
  if (!client.ok()) return Fail(client.status());
  const auto uid = Resolve(client->get(), options, since);
  if (!uid.ok()) return Fail(uid.status());
  ProcessTree tree(*uid);
  bool cut = false;
  const Status status = Fetch(client->get(), *uid, since, &tree, &cut);
  if (!status.ok()) return Fail(status);
  if (tree.empty()) return Fail(kExitNotFound, fmt::format("tree: the trail has no event of process {}", *uid));
  if (context.json()) Print(schema::DumpSafe(tree.ToJson(), 2) + "\n");
  else Print(tree.Draw(context, options.events));
  std::fflush(stdout);
  if (cut) Note(fmt::format("only the first {} events were read; --since narrows", kMaxEvents));
  return kExitOk;
}

}  // namespace

void AddTree(CLI::App& app, const SetAction& set) {
  auto* command = app.add_subcommand("tree", "a process: its ancestors, descendants, and what each did");
  const auto options = std::make_shared<TreeOptions>();
  command->add_option("process", options->what, "process id, proc_uid (hex), or the id of an event it caused")
      ->type_name("PROCESS")
      ->required();
  command->add_option("--node", options->node, "which node, when a process id is on several")->type_name("NODE");
  command->add_option("--since", options->since, "only what happened from this time on")->type_name("TIME");
  command->add_option("--events", options->events, "show so many events of each process (default 12, 0: all)")
      ->type_name("N");
  command->footer(R"(Examples:
  nodetrail tree 4711                 the last process that had this id
  nodetrail tree web-1:3:1057         the process behind an event
  nodetrail tree 3f9a77c2 --events 0  by identity, with everything it did)");
  command->callback(
      [set, options] { set(Configured([options](Context& context) { return RunTree(*options, context); })); });
}

}  // namespace nodetrail::cli
