// SPDX-License-Identifier: Apache-2.0
//
// nodetrail query and nodetrail tail.
#include <fmt/format.h>
#include <sys/types.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <memory>

#include "cli/client.h"
#include "cli/context.h"
#include "cli/filter.h"
#include "cli/render.h"
#include "collector/query/expr/expr.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::cli {
namespace {

constexpr uint64_t kDefaultRows = 200;

struct QueryOptions {
  Filter filter;
  std::string since, until;
  uint64_t limit = kDefaultRows;
  bool all = false;
  bool oldest_first = false;
};

Result<query::v1::SearchRequest> MakeRequest(const QueryOptions& options) {
  const uint64_t now = SystemClock().WallNs();
  query::v1::SearchRequest request;
  NT_ASSIGN_OR_RETURN(*request.mutable_expr(), options.filter.Expression(now));
  if (!options.since.empty()) {
    auto since = expr::ParseTime(options.since, now);
    if (!since.ok()) return Annotate(since.status(), "--since");
    request.set_since_wall_ns(*since);
  }
  if (!options.until.empty()) {
    auto until = expr::ParseTime(options.until, now);
    if (!until.ok()) return Annotate(until.status(), "--until");
    request.set_until_wall_ns(*until);
    if (*until <= request.since_wall_ns())
      return InvalidArgument("--until is not after --since: no time is left between them");
  }
  request.set_oldest_first(options.oldest_first);
  return request;
}

int RunQuery(const QueryOptions& options, Context& context) {
  const auto request = MakeRequest(options);
  if (!request.ok()) return Fail(request.status());
  auto client = Client::Connect(context);
  if (!client.ok()) return Fail(client.status());
  const Table table(context);
  uint64_t rows = 0;
  bool more = false;
  const Status status = (*client)->Search(
      *request, options.all ? 0 : options.limit,
      [&](const Row& row) {
        if (context.json()) return Print(schema::EventJsonLine(row.view()) + "\n") && ++rows > 0;
        if (rows++ == 0 && !Print(table.Header())) return false;
        return Print(table.Line(row.view()));
      },
      &more);
  std::fflush(stdout);
  if (!status.ok()) return Fail(status);
  if (const uint64_t gone = (*client)->retired_events(); gone > 0) {
    Note(fmt::format("{} events of this time were deleted by rule; whether they match can't be told any more", gone));
  }
  if (context.json()) return kExitOk;
  if (rows == 0) {
    Note(options.since.empty()
             ? "no events match"
             : fmt::format("no events match since {}", schema::FormatTimeUtc(request->since_wall_ns())));
  } else if (more) {
    Note(fmt::format("{} of more rows; --all or --limit N shows more, --since and terms narrow", rows));
  }
  if (context.terminal() && rows > context.height() && context.height() > 0) {
    Note(fmt::format("{} rows; to page: nodetrail --color always query ... | less -RS", rows));
  }
  return kExitOk;
}

struct TailOptions {
  Filter filter;
  uint32_t backlog = 10;
};

int RunTail(const TailOptions& options, Context& context) {
  const auto expression = options.filter.Expression(SystemClock().WallNs());
  if (!expression.ok()) return Fail(expression.status());
  auto client = Client::Connect(context);
  if (!client.ok()) return Fail(client.status());
  query::v1::TailRequest request;
  request.set_expr(*expression);
  request.set_backlog(options.backlog);
  const Table table(context);
  if (!context.json() && context.terminal()) Print(table.Header());
  const Status status = (*client)->Tail(
      request,
      [&](const Row& row) {
        const bool open = Print(context.json() ? schema::EventJsonLine(row.view()) + "\n" : table.Line(row.view()));
        return std::fflush(stdout) == 0 && open;
      },
      [](uint64_t events, uint64_t batches) {
        Note(fmt::format(
            "... {} events in {} batches passed by: this reader is too slow. They are in the trail: nodetrail query",
            events, batches));
      });
  return status.ok() ? kExitOk : Fail(status);
}

}  // namespace

void AddQuery(CLI::App& app, const SetAction& set) {
  auto* command = app.add_subcommand("query", "find events in the trail");
  const auto options = std::make_shared<QueryOptions>();
  command->add_option("--since", options->since, "from this time on: 10m, 2h, 7d (ago), a date, or RFC 3339")
      ->type_name("TIME");
  command->add_option("--until", options->until, "before this time")->type_name("TIME");
  options->filter.AddTo(command);
  command->add_option("--limit", options->limit, "at most so many rows (default 200)")
      ->type_name("N")
      ->check(CLI::Range(1U, 1'000'000'000U));
  command->add_flag("--all", options->all, "every row, however many");
  command->add_flag("--oldest-first", options->oldest_first, "in the order it happened; newest first otherwise");
  command->footer(R"(Examples:
  nodetrail query --since 10m                          what happened in the last ten minutes
  nodetrail query --user alice --kind process.exec     what alice ran, also as root
  nodetrail query --path /etc/shadow outcome:failure   who was refused /etc/shadow
  nodetrail query --since 2026-01-31 --path '/etc/*' 'kind:file.delete or kind:file.rename'
  nodetrail query --kind net.connect --addr 10.0.0.0/8 'rport:>1024' --json | jq .
  nodetrail query session:42 --oldest-first --all      one login, from its start
  nodetrail query under:sshd not user:root             below any sshd, by others than root

A value may hold * and ?; quote it for the shell. Ranges: pid:[100..200], duration:>1h.
Fields, types and JSON: docs/query.md, or `nodetrail query --fields`.)");
  const auto fields = std::make_shared<bool>(false);
  command->add_flag("--fields", *fields, "list the fields that terms can name");
  command->callback([set, options, fields] {
    if (*fields) {
      set([](Context&) {
        for (const auto& field : schema::Fields()) {
          Print(fmt::format("{:<14} {:<11} {:<62} {}\n", field.name, schema::TypeName(field.type), field.help,
                            field.example));
        }
        return 0;
      });
      return;
    }
    set(Configured([options](Context& context) { return RunQuery(*options, context); }));
  });
}

void AddTail(CLI::App& app, const SetAction& set) {
  auto* command = app.add_subcommand("tail", "follow events as they arrive");
  const auto options = std::make_shared<TailOptions>();
  options->filter.AddTo(command);
  command->add_option("-n,--backlog", options->backlog, "begin with the newest N (default 10)")
      ->type_name("N")
      ->check(CLI::Range(0U, 10'000U));
  command->footer(R"(Examples:
  nodetrail tail                              everything, live
  nodetrail tail outcome:failure              what fails
  nodetrail tail --kind 'cred.*' --node web-1 privilege changes on web-1
  nodetrail tail --json -n 0 | jq .

A reader that can't keep up is told how much passed by; nothing is lost, it is in the trail.)");
  command->callback(
      [set, options] { set(Configured([options](Context& context) { return RunTail(*options, context); })); });
}

}  // namespace nodetrail::cli
