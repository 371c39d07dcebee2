// SPDX-License-Identifier: Apache-2.0
//
// nodetrail show: one event whole, and its proof, checked here.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/client.h"
#include "cli/context.h"
#include "cli/proof.h"
#include "cli/render.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::cli {
namespace {

using Json = nlohmann::ordered_json;

Json HostJson(const std::string& bytes) {
  event::v1::Host host;
  if (bytes.empty() || !host.ParseFromString(bytes)) return nullptr;
  Json labels = Json::object();
  for (const auto& [key, value] : host.labels())
    labels[schema::EscapeInvalidUtf8(key)] = schema::EscapeInvalidUtf8(value);
  const auto text = schema::EscapeInvalidUtf8;
  return {{"hostname", text(host.hostname())},
          {"machine_id_hash", text(host.machine_id_hash())},
          {"os", text(host.os_name())},
          {"os_id", text(host.os_id())},
          {"os_version", text(host.os_version())},
          {"kernel", text(host.kernel_release())},
          {"kernel_version", text(host.kernel_version())},
          {"arch", text(host.arch())},
          {"boot_id", text(host.boot_id())},
          {"lsm", text(host.lsm())},
          {"lockdown", text(host.lockdown())},
          {"agent_version", text(host.agent_version())},
          {"clock_source", text(host.clock_source())},
          {"cpus", host.cpus()},
          {"labels", std::move(labels)}};
}

Json ProofJson(const Proof& proof, const query::v1::GetResponse& response) {
  Json steps = Json::array();
  for (const auto& step : proof.steps) {
    steps.push_back(
        {{"name", step.name}, {"state", StateName(step.state)}, {"detail", schema::EscapeInvalidUtf8(step.detail)}});
  }
  return {{"status", proof.Status()},
          {"steps", std::move(steps)},
          {"log_index", response.row().log_index()},
          {"tree_size", response.tree_size()},
          {"checkpoint", schema::EscapeInvalidUtf8(response.checkpoint())}};
}

// What is null, empty or false says nothing; a list of plain values takes one line.
void PrintTree(const Context& context, const Json& json, size_t indent) {
  for (const auto& [key, value] : json.items()) {
    if (value.is_null() || (value.is_structured() && value.empty()) || value == "" || value == false) continue;
    const std::string name = std::string(indent, ' ') + schema::TerminalSafe(key);
    const bool plain =
        value.is_array() && std::none_of(value.begin(), value.end(), [](const Json& v) { return v.is_structured(); });
    if (value.is_object()) {
      Print(context.Paint("1", name) + "\n");
      PrintTree(context, value, indent + 2);
    } else if (value.is_array() && !plain) {
      size_t i = 0;
      for (const auto& item : value) {
        Print(context.Paint("1", fmt::format("{}[{}]", name, i++)) + "\n");
        PrintTree(context, item, indent + 2);
      }
    } else {
      const std::string text =
          value.is_string() ? schema::TerminalSafe(value.get<std::string>()) : schema::DumpSafe(value);
      Print(fmt::format("{:<{}} {}\n", name, 22, text));
    }
  }
}

int RunShow(const std::string& id, Context& context) {
  if (!schema::ParseEventId(id)) {
    return Fail(
        kExitUsage,
        fmt::format(
            "show: '{}' is not an event id; it is AGENT:EPOCH:SEQ, e.g. web-1:3:1057, the event_id of query --json",
            schema::TerminalSafe(id)));
  }
  const auto log_key = LoadLogKey(context.config().log_public_key(), context.config_path());
  auto client = Client::Connect(context);
  if (!client.ok()) return Fail(client.status());
  const auto response = (*client)->Get(id);
  if (!response.ok()) return Fail(response.status());
  const auto row = Row::Parse(response->row());
  if (!row.ok()) return Fail(row.status());
  const Proof proof = CheckProof(*response, log_key.ok() ? *log_key : std::nullopt);
  const Json event = schema::EventJson((*row)->view());
  const Json host = HostJson(response->host());
  if (context.json()) {
    Print(schema::DumpSafe(Json{{"event", event}, {"host", host}, {"proof", ProofJson(proof, *response)}}, 2) + "\n");
  } else {
    const bool u = context.unicode();
    Print(context.Paint("1", fmt::format("{}  {}  {}", Who((*row)->view(), u), std::string(event["kind"]),
                                         Describe((*row)->view(), u))) +
          "\n");
    if ((*row)->view().process != nullptr) {
      const std::string person = Person(*(*row)->view().process, u);
      if (!person.empty()) Print(context.Paint("33", "by: " + person) + "\n");
    }
    Print("\n");
    PrintTree(context, event, 0);
    if (!host.is_null()) PrintTree(context, Json{{"host", host}}, 0);
    const std::string status = proof.Status();
    Print("\n" +
          context.Paint(status == "verified" ? "1;32"
                        : status == "broken" ? "1;31"
                                             : "1;33",
                        "proof: " + status) +
          "\n");
    for (const auto& step : proof.steps) {
      Print(fmt::format("  {:<8} {:<11} {}\n", StateName(step.state), step.name, schema::TerminalSafe(step.detail)));
    }
  }
  if (!log_key.ok()) Note(fmt::format("nodetrail: {}", log_key.status().message()));
  return proof.Status() == "broken" ? kExitData : kExitOk;
}

}  // namespace

void AddShow(CLI::App& app, const SetAction& set) {
  auto* command = app.add_subcommand("show", "one event: everything known, and its proof");
  const auto id = std::make_shared<std::string>();
  command->add_option("event", *id, "AGENT:EPOCH:SEQ")->type_name("EVENT")->required();
  command->footer(
      R"(The proof is checked here, not believed: the record lies under the signed batch header, the header's
signature holds, the batch is in the log, the log's checkpoint is signed by log_public_key.

Examples:
  nodetrail show web-1:3:1057
  nodetrail show web-1:3:1057 --json | jq .proof.status

Exit status: 0, or 65 when the proof does not hold.)");
  command->callback([set, id] { set(Configured([id](Context& context) { return RunShow(*id, context); })); });
}

}  // namespace nodetrail::cli
