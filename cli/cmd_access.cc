// SPDX-License-Identifier: Apache-2.0
//
// nodetrail access: who read the trail. The log itself says so.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/context.h"
#include "collector/query/expr/expr.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/schema/text.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/trail_store.h"

namespace nodetrail::cli {
namespace {

using Json = nlohmann::ordered_json;
using schema::TerminalSafe;

struct AccessFlags {
  std::string trail, since, until, reader;
};

struct Span {
  uint64_t since_ns = 0;
  uint64_t until_ns = UINT64_MAX;
};

Result<Span> SpanOf(const AccessFlags& flags) {
  const uint64_t now = SystemClock().WallNs();
  Span span;
  if (!flags.since.empty()) {
    auto since = expr::ParseTime(flags.since, now);
    if (!since.ok()) return Annotate(since.status(), "--since");
    span.since_ns = *since;
  }
  if (!flags.until.empty()) {
    auto until = expr::ParseTime(flags.until, now);
    if (!until.ok()) return Annotate(until.status(), "--until");
    span.until_ns = *until;
  }
  return span;
}

Json ToJson(uint64_t log_index, const trail::v1::LogEntry& entry) {
  const trail::v1::Access& access = entry.access();
  return {{"log_index", log_index},
          {"time", schema::FormatTimeUtc(entry.wall_ns())},
          {"reader", access.reader()},
          {"certificate_sha256", trail::HexEncode(access.certificate_sha256())},
          {"method", access.method()},
          {"shape", access.shape()},
          {"question_hmac", trail::HexEncode(access.question_hmac())}};
}

int RunAccess(const AccessFlags& flags, Context& context) {
  const std::string dir = flags.trail.empty() ? context.config().trail_dir() : flags.trail;
  if (dir.empty()) {
    return Fail(kExitUsage, "access: which trail? give --trail DIR, or set trail_dir in the configuration");
  }
  const auto span = SpanOf(flags);
  if (!span.ok()) return Fail(span.status());
  auto reader = trail::TrailReader::OpenTrailOrBundle(dir);
  if (!reader.ok()) return Fail(reader.status());
  Json found = Json::array();
  Status wrong;
  const Status read = (*reader)->ForEach(0, [&](const trail::LeafLocation& where, std::string_view leaf) {
    if (!trail::IsLogEntry(leaf)) return true;
    const auto parsed = trail::ParseLogEntry(leaf);
    if (!parsed.ok()) {
      wrong = DataLoss(fmt::format("leaf {}: {}; run nodetrail verify", where.index, parsed.status().message()));
      return false;
    }
    const trail::v1::LogEntry& entry = parsed->entry;
    if (!entry.has_access() || entry.wall_ns() < span->since_ns || entry.wall_ns() > span->until_ns) return true;
    if (entry.access().reader().find(flags.reader) == std::string::npos) return true;
    if (context.json()) {
      found.push_back(ToJson(where.index, entry));
      return true;
    }
    return Print(fmt::format("{}  leaf {:<8} {}  {:<6}  {}\n", schema::FormatTimeUtc(entry.wall_ns()), where.index,
                             TerminalSafe(entry.access().reader()), TerminalSafe(entry.access().method()),
                             TerminalSafe(entry.access().shape())));
  });
  if (!wrong.ok()) return Fail(wrong);
  if (!read.ok()) return Fail(read);
  if (context.json()) Print(schema::DumpSafe(found, 2) + "\n");
  return kExitOk;
}

}  // namespace

void AddAccess(CLI::App& app, const SetAction& set) {
  auto* access = app.add_subcommand("access", "who read the trail");
  access->require_subcommand(1);
  auto* command = access->add_subcommand("list", "each read, as the log has it, oldest first");
  const auto flags = std::make_shared<AccessFlags>();
  command->add_option("--trail", flags->trail, "a trail or a bundle (default: trail_dir of the configuration)")
      ->type_name("DIR");
  command->add_option("--since", flags->since, "2h, 3d, or 2026-03-01T09:00:00Z")->type_name("TIME");
  command->add_option("--until", flags->until, "the same; included")->type_name("TIME");
  command->add_option("--reader", flags->reader, "part of the reader's name")->type_name("TEXT");
  command->footer(R"(Every query, live tail and shown event over the collector's API is an entry of the log before it is
answered. '?' stands for each value that was asked for; nodetrail verify proves that no entry is
missing.

Examples:
  nodetrail access list --since 7d
  nodetrail access list --trail bundle --reader /r/ann --json | jq -r '.[].shape')");
  command->callback(
      [set, flags] { set(Configured([flags](Context& context) { return RunAccess(*flags, context); })); });
}

}  // namespace nodetrail::cli
