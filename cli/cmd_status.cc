// SPDX-License-Identifier: Apache-2.0
//
// nodetrail status: the agent of this node, and the collector.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "cli/client.h"
#include "cli/context.h"
#include "cli/render.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/schema/text.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::cli {
namespace {

using Json = nlohmann::ordered_json;
using schema::TerminalSafe;

// When a witness says that it cosigned, by its clock; it may say anything.
uint64_t CosignedNs(const query::v1::WitnessStatus& witness) {
  constexpr uint64_t kNsPerSecond = 1'000'000'000;
  return std::min(witness.cosigned_wall_s(), UINT64_MAX / kNsPerSecond) * kNsPerSecond;
}

struct Answers {
  std::optional<query::v1::StatusResponse> collector;
  Status collector_error;
  nlohmann::json agent;  // null if it did not answer
  Status agent_error;
};

Answers Ask(const Context& context) {
  Answers out;
  auto agent = AskAgent(context.config().agent_socket());
  if (agent.ok()) out.agent = *std::move(agent);
  else out.agent_error = agent.status();
  auto client = Client::Connect(context);
  if (!client.ok()) {
    out.collector_error = client.status();
    return out;
  }
  auto status = (*client)->GetStatus();
  if (status.ok()) out.collector = *std::move(status);
  else out.collector_error = status.status();
  return out;
}

Json TimeOrNull(uint64_t wall_ns) { return wall_ns == 0 ? Json(nullptr) : Json(schema::FormatTimeUtc(wall_ns)); }

Json WitnessesJson(const query::v1::StatusResponse& status) {
  Json out = Json::array();
  for (const auto& w : status.witnesses()) {
    out.push_back({{"name", schema::EscapeInvalidUtf8(w.name())},
                   {"url", schema::EscapeInvalidUtf8(w.url())},
                   {"current", w.current()},
                   {"size", w.size()},
                   {"cosigned", TimeOrNull(CosignedNs(w))},
                   {"failures", w.failures()},
                   {"rollbacks", w.rollbacks()},
                   {"problem", w.problem().empty() ? Json(nullptr) : Json(schema::EscapeInvalidUtf8(w.problem()))}});
  }
  return out;
}

Json AgentsJson(const query::v1::StatusResponse& status) {
  Json out = Json::array();
  for (const auto& a : status.agents()) {
    out.push_back({{"agent_id", schema::EscapeInvalidUtf8(a.agent_id())},
                   {"tenant", schema::EscapeInvalidUtf8(a.tenant())},
                   {"hostname", schema::EscapeInvalidUtf8(a.hostname())},
                   {"epoch", a.epoch()},
                   {"last_seq", a.last_seq()},
                   {"events", a.events()},
                   {"batches", a.batches()},
                   {"lost", a.lost()},
                   {"rejected", a.rejected()},
                   {"connected", a.connected()},
                   {"last_received", TimeOrNull(a.last_received_wall_ns())},
                   {"last_event", TimeOrNull(a.last_event_wall_ns())}});
  }
  return out;
}

// The contract: trail_dir, spool_dir, events_total, lost_total, lag_seconds and
// agents are always there. Totals are the collector's, over all agents, or
// else those of this node's agent.
Json ToJson(const Answers& answers) {
  Json out;
  const bool collector = answers.collector.has_value();
  const bool agent = answers.agent.is_object();
  const auto from_agent = [&](const char* key) -> Json {
    const auto it = agent ? answers.agent.find(key) : answers.agent.end();
    return agent && it != answers.agent.end() ? Json(*it) : Json(nullptr);
  };
  out["trail_dir"] = collector ? Json(answers.collector->trail_dir()) : Json(nullptr);
  out["spool_dir"] = from_agent("spool_dir");
  out["events_total"] = collector ? Json(answers.collector->events_total()) : from_agent("events_total");
  out["lost_total"] = collector ? Json(answers.collector->lost_total()) : from_agent("lost_total");
  out["lag_seconds"] = agent       ? from_agent("lag_seconds")
                       : collector ? Json(answers.collector->index_lag_seconds())
                                   : Json(nullptr);
  out["agents"] = collector ? AgentsJson(*answers.collector) : Json::array();
  if (collector) {
    const auto& c = *answers.collector;
    out["version"] = c.version();
    out["log_size"] = c.log_size();
    out["root"] = c.root().empty() ? Json(nullptr) : Json(trail::HexEncode(c.root()));
    out["checkpoint_size"] = c.checkpoint_size();
    out["index_leaves"] = c.index_leaves();
    out["index_lag_seconds"] = c.index_lag_seconds();
    out["disk_free_bytes"] = c.disk_free_bytes();
    out["quarantined"] = c.quarantined();
    out["late_batches"] = c.late_batches();
    out["checkpoint_problem"] =
        c.checkpoint_problem().empty() ? Json(nullptr) : Json(schema::EscapeInvalidUtf8(c.checkpoint_problem()));
    out["witnesses"] = WitnessesJson(c);
    // Null: there are no witnesses to ask for.
    out["quorum"] = c.witnesses().empty() ? Json(nullptr) : Json(c.quorum());
    out["uncosigned_checkpoints"] = c.uncosigned_checkpoints();
  }
  out["agent"] = agent ? Json(answers.agent) : Json(nullptr);
  out["collector_error"] =
      collector ? Json(nullptr) : Json(schema::EscapeInvalidUtf8(answers.collector_error.message()));
  out["agent_error"] = agent ? Json(nullptr) : Json(schema::EscapeInvalidUtf8(answers.agent_error.message()));
  return out;
}

std::string Ago(uint64_t wall_ns, uint64_t now) {
  if (wall_ns == 0) return "never";
  return wall_ns > now ? "now" : schema::FormatDuration(now - wall_ns) + " ago";
}

void PrintWitnesses(const Context& context, const query::v1::StatusResponse& c, uint64_t now) {
  if (c.witnesses().empty()) {
    Print("  witnesses  none: nobody else confirms what the log shows (docs/operations.md)\n");
    return;
  }
  int current = 0;
  uint64_t newest = 0;
  for (const auto& w : c.witnesses()) {
    current += w.current() ? 1 : 0;
    newest = std::max(newest, CosignedNs(w));
  }
  const std::string quorum = c.quorum() ? std::string("quorum reached")
                                        : context.Paint("31", "no quorum: " + TerminalSafe(c.quorum_shortfall()));
  Print(fmt::format("  witnesses  {} of {} cosigned the newest checkpoint, last {}, {}\n", current, c.witnesses_size(),
                    Ago(newest, now), quorum));
  for (const auto& w : c.witnesses()) {
    const std::string rollbacks = w.rollbacks() == 0 ? "" : fmt::format(", rolled back {} times", w.rollbacks());
    if (w.problem().empty() && rollbacks.empty()) continue;
    Print("  " +
          context.Paint("31", fmt::format("{:<10} size {}, cosigned {}{}{}{}", TerminalSafe(w.name()), w.size(),
                                          Ago(CosignedNs(w), now), rollbacks, w.problem().empty() ? "" : ": ",
                                          TerminalSafe(w.problem()))) +
          "\n");
  }
}

void PrintCollector(const Context& context, const Answers& answers) {
  if (!answers.collector) {
    Print(fmt::format("{}  {}\n", context.Paint("1;31", "collector"), TerminalSafe(answers.collector_error.message())));
    return;
  }
  const auto& c = *answers.collector;
  const uint64_t now = SystemClock().WallNs();
  Print(fmt::format("{}  {} (version {})\n", context.Paint("1;32", "collector"), context.config().collector(),
                    TerminalSafe(c.version())));
  Print(fmt::format("  trail      {}, {} leaves, {} under the signed checkpoint\n", TerminalSafe(c.trail_dir()),
                    c.log_size(), c.checkpoint_size()));
  if (!c.checkpoint_problem().empty()) {
    Print("  " + context.Paint("1;31", "NOT SIGNED " + TerminalSafe(c.checkpoint_problem())) + "\n");
  }
  PrintWitnesses(context, c, now);
  Print(fmt::format("  index      {} leaves, {:.1f} s behind\n", c.index_leaves(), c.index_lag_seconds()));
  Print(fmt::format(
      "  events     {} in all, {}\n", c.events_total(),
      c.lost_total() == 0 ? std::string("none lost") : context.Paint("31", fmt::format("{} lost", c.lost_total()))));
  Print(fmt::format("  disk       {} free\n", schema::FormatBytes(c.disk_free_bytes())));
  if (c.quarantined() > 0)
    Print("  " + context.Paint("31", fmt::format("quarantine {} batches did not verify", c.quarantined())) + "\n");
  if (c.late_batches() > 0) {
    const std::string late = fmt::format(
        "late       {} batches came after the log had gone on without them: quarantine/late", c.late_batches());
    Print("  " + context.Paint("33", late) + "\n");
  }
  if (c.agents().empty()) {
    Print("  no agent has sent anything yet\n");
    return;
  }
  Print(context.Paint("1", fmt::format("  {:<20} {:<20} {:>12} {:>8} {:>8} {:>14}  {}\n", "AGENT", "HOST", "EVENTS",
                                       "LOST", "BATCHES", "LAST BATCH", "")));
  for (const auto& a : c.agents()) {
    const std::string lost = fmt::format("{:>8}", a.lost());
    Print(fmt::format(
        "  {:<20} {:<20} {:>12} {} {:>8} {:>14}  {}{}\n",
        schema::FitWidth(TerminalSafe(a.agent_id()), 20, context.unicode()),
        schema::FitWidth(TerminalSafe(a.hostname()), 20, context.unicode()), a.events(),
        a.lost() == 0 ? lost : context.Paint("31", lost), a.batches(), Ago(a.last_received_wall_ns(), now),
        a.connected() ? context.Paint("32", "connected") : context.Paint("33", "not connected"),
        a.rejected() == 0 ? std::string() : context.Paint("31", fmt::format(", {} rejected", a.rejected()))));
  }
}

void PrintAgent(const Context& context, const Answers& answers) {
  if (!answers.agent.is_object()) {
    Print(fmt::format("{}      {}\n", context.Paint("1;33", "agent"), TerminalSafe(answers.agent_error.message())));
    return;
  }
  const auto& a = answers.agent;
  const auto text = [&a](const char* key) {
    const auto it = a.find(key);
    return it == a.end() || it->is_null() ? std::string("?")
                                          : TerminalSafe(it->is_string() ? it->get<std::string>() : it->dump());
  };
  const auto number = [&a](const char* key) {
    const auto it = a.find(key);
    return it != a.end() && it->is_number() ? it->get<double>() : 0.0;
  };
  const bool well = text("health") == "ok";
  Print(fmt::format("{}      {} (version {}, pid {}, up {})\n", context.Paint(well ? "1;32" : "1;33", "agent"),
                    text("agent_id"), text("version"), text("pid"),
                    schema::FormatDuration(static_cast<uint64_t>(std::max(0.0, number("uptime_seconds")) * 1e9))));
  const double lost = number("lost_total");
  Print(fmt::format("  events     {} seen, {}, {} withheld by rules\n", text("events_total"),
                    lost == 0 ? std::string("none lost")
                              : context.Paint("31", fmt::format("{} lost {}", text("lost_total"), text("lost"))),
                    text("filtered_total")));
  Print(fmt::format("  batches    epoch {}, batch {}\n", text("epoch"), text("batch_seq")));
  Print(fmt::format("  spool      {}, {} in {} batches\n", text("spool_dir"),
                    schema::FormatBytes(static_cast<uint64_t>(std::max(0.0, number("spool_bytes")))),
                    text("spool_batches")));
  const bool connected = a.value("connected", false);
  const std::string error = text("ship_error");
  Print(fmt::format("  shipping   {}, {} s behind{}\n",
                    connected ? context.Paint("32", "connected") : context.Paint("33", "not connected"),
                    text("lag_seconds"), error.empty() || error == "?" ? std::string() : ": " + error));
  if (number("bad_receipts") + number("log_alarms") > 0) {
    Print(
        fmt::format("  log        {}\n",
                    context.Paint("31", fmt::format("ALARM: {} bad receipts, {} contradictions of the log; see problem",
                                                    text("bad_receipts"), text("log_alarms")))));
  } else if (number("log_size") > 0) {
    Print(fmt::format("  log        {} leaves verified, {} batches wait for a receipt\n", text("log_size"),
                      text("awaiting_receipts")));
  }
  size_t attached = 0;
  size_t hooks = 0;
  if (const auto it = a.find("hooks"); it != a.end() && it->is_array()) {
    hooks = it->size();
    attached = static_cast<size_t>(std::count_if(it->begin(), it->end(), [](const auto& hook) {
      const std::string state = hook.is_object() ? hook.value("state", "") : "";
      return state == "attached" || state == "fallback";
    }));
  }
  Print(fmt::format("  hooks      {} of {} attached, scope {} (nodetrail doctor says more)\n", attached, hooks,
                    text("scope")));
  if (const auto it = a.find("problems"); it != a.end() && it->is_array()) {
    for (const auto& problem : *it) {
      Print("  " +
            context.Paint(
                "33", fmt::format("problem    {}",
                                  TerminalSafe(problem.is_string() ? problem.get<std::string>() : problem.dump()))) +
            "\n");
    }
  }
}

int RunStatus(Context& context) {
  const Answers answers = Ask(context);
  if (context.json()) {
    Print(schema::DumpSafe(ToJson(answers), 2) + "\n");
  } else {
    PrintCollector(context, answers);
    PrintAgent(context, answers);
  }
  // A reader's machine has no agent; without the collector there is no trail to speak of.
  if (answers.collector) return kExitOk;
  if (context.json() || answers.agent.is_object()) Fail(answers.collector_error);
  return ExitFor(answers.collector_error);
}

}  // namespace

void AddStatus(CLI::App& app, const SetAction& set) {
  auto* command = app.add_subcommand("status", "the agent of this node and the collector: totals, lag, loss");
  command->footer(R"(Examples:
  nodetrail status
  nodetrail status --json | jq '.agents[] | select(.connected | not)'

Exit status: 0 when the collector answers, 69 or 77 otherwise.)");
  command->callback([set] { set(Configured(RunStatus)); });
}

}  // namespace nodetrail::cli
