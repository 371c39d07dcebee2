// SPDX-License-Identifier: Apache-2.0
//
// nodetrail agents: who should report, and who does.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/client.h"
#include "cli/context.h"
#include "nodetrail/schema/text.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::cli {
namespace {

using Json = nlohmann::ordered_json;
using query::v1::AgentRecord;
using query::v1::AgentState;
using schema::TerminalSafe;

struct AgentsOptions {
  uint32_t heartbeat_s = 30;
};

struct StateText {
  const char* name;
  const char* color;
};
StateText TextOf(AgentState state) {
  switch (state) {
    case query::v1::AGENT_STATE_REPORTING: return {"reporting", "32"};
    case query::v1::AGENT_STATE_SILENT: return {"silent", "31"};
    case query::v1::AGENT_STATE_NEVER_REPORTED: return {"never-reported", "33"};
    case query::v1::AGENT_STATE_REVOKED: return {"revoked", "31"};
    case query::v1::AGENT_STATE_STOPPED: return {"stopped", "33"};
    case query::v1::AGENT_STATE_GONE: return {"gone", "33"};
    default: return {"unknown", "31"};
  }
}

Json TimeOrNull(uint64_t wall_ns) { return wall_ns == 0 ? Json(nullptr) : Json(schema::FormatTimeUtc(wall_ns)); }

Json ToJson(const AgentRecord& a) {
  const bool enrolled = a.enrolled_wall_ns() != 0;
  Json out{{"agent_id", schema::EscapeInvalidUtf8(a.agent_id())},
           {"tenant", schema::EscapeInvalidUtf8(a.tenant())},
           {"hostname", schema::EscapeInvalidUtf8(a.hostname())},
           {"state", TextOf(a.state()).name},
           {"connected", a.connected()},
           {"enrolled", TimeOrNull(a.enrolled_wall_ns())},
           {"token_id", enrolled ? Json(schema::EscapeInvalidUtf8(a.token_id())) : Json(nullptr)},
           {"identity_key_sha256", enrolled ? Json(trail::HexEncode(a.identity_spki_sha256())) : Json(nullptr)},
           {"enrolled_log_index", enrolled ? Json(a.enrolled_log_index()) : Json(nullptr)},
           {"last_batch", TimeOrNull(a.last_batch_wall_ns())},
           {"epoch", a.epoch()},
           {"last_seq", a.last_seq()},
           {"batches", a.batches()},
           {"rejected", a.rejected()}};
  out["revoked"] = a.revoked_wall_ns() == 0 ? Json(nullptr)
                                            : Json{{"at", schema::FormatTimeUtc(a.revoked_wall_ns())},
                                                   {"from_epoch", a.revoked_epoch()},
                                                   {"from_seq", a.revoked_seq()},
                                                   {"reason", schema::EscapeInvalidUtf8(a.revoke_reason())}};
  return out;
}

std::string Ago(uint64_t wall_ns, uint64_t now) {
  if (wall_ns == 0) return "-";
  return wall_ns > now ? "now" : schema::FormatDuration(now - wall_ns) + " ago";
}

void PrintTable(const Context& context, const query::v1::AgentsResponse& response) {
  if (response.agents().empty()) {
    Print("no agent was enrolled, and none has sent anything yet\n");
    return;
  }
  Print(context.Paint("1", fmt::format("{:<20} {:<14} {:>14} {:>8} {:>14}  {:<16}  {}\n", "AGENT", "STATE",
                                       "LAST BATCH", "EPOCH", "ENROLLED", "TOKEN", "IDENTITY KEY")));
  for (const AgentRecord& a : response.agents()) {
    const StateText state = TextOf(a.state());
    const bool enrolled = a.enrolled_wall_ns() != 0;
    Print(fmt::format("{:<20} {} {:>14} {:>8} {:>14}  {:<16}  {}{}\n",
                      schema::FitWidth(TerminalSafe(a.agent_id()), 20, context.unicode()),
                      context.Paint(state.color, fmt::format("{:<14}", state.name)),
                      Ago(a.last_batch_wall_ns(), response.now_wall_ns()), a.epoch(),
                      enrolled ? Ago(a.enrolled_wall_ns(), response.now_wall_ns()) : "never",
                      enrolled ? TerminalSafe(a.token_id()) : "-",
                      enrolled ? trail::HexEncode(a.identity_spki_sha256()).substr(0, 16) : "-",
                      a.revoked_wall_ns() == 0
                          ? std::string()
                          : fmt::format("  revoked from {}:{}{}{}", a.revoked_epoch(), a.revoked_seq(),
                                        a.revoke_reason().empty() ? "" : ": ", TerminalSafe(a.revoke_reason()))));
  }
}

int RunAgents(const AgentsOptions& options, Context& context) {
  auto client = Client::Connect(context);
  if (!client.ok()) return Fail(client.status());
  query::v1::AgentsRequest request;
  request.set_heartbeat_s(options.heartbeat_s);
  const auto response = (*client)->GetAgents(request);
  if (!response.ok()) return Fail(response.status());
  if (!context.json()) {
    PrintTable(context, *response);
    return kExitOk;
  }
  Json out = Json::array();
  for (const AgentRecord& agent : response->agents()) out.push_back(ToJson(agent));
  Print(schema::DumpSafe(out, 2) + "\n");
  return kExitOk;
}

}  // namespace

void AddAgents(CLI::App& app, const SetAction& set) {
  auto* command = app.add_subcommand("agents", "who is enrolled, who reports, who is silent, revoked or gone");
  const auto options = std::make_shared<AgentsOptions>();
  command->add_option("--heartbeat", options->heartbeat_s, "seconds between heartbeats; twice that is silence")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  command->footer(
      R"(States: reporting · silent (no batch for two heartbeats) · never-reported (enrolled, no batch yet) ·
stopped (in order) · gone (stopped more than a day ago) · revoked.

Examples:
  nodetrail agents
  nodetrail agents --json | jq '.[] | select(.state == "silent") | .agent_id')");
  command->callback(
      [set, options] { set(Configured([options](Context& context) { return RunAgents(*options, context); })); });
}

}  // namespace nodetrail::cli
