// SPDX-License-Identifier: Apache-2.0
#include "collector/admin/admin_commands.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "collector/admin/admin_socket.h"
#include "collector/admin/hold_commands.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::collector {
namespace {

using Json = nlohmann::ordered_json;
using schema::TerminalSafe;

// sysexits.h, as `nodetrail` has them.
constexpr int kExitUsage = 64;
constexpr int kExitData = 65;
constexpr int kExitNotFound = 66;
constexpr int kExitUnavailable = 69;
constexpr int kExitNoPermission = 77;

int ExitFor(const Status& status) {
  switch (status.code()) {
    case Code::kOk: return 0;
    case Code::kInvalidArgument: return kExitUsage;
    case Code::kNotFound: return kExitNotFound;
    case Code::kPermissionDenied: return kExitNoPermission;
    case Code::kUnavailable: return kExitUnavailable;
    default: return kExitData;
  }
}

int Fail(const Status& status) { return FailAdmin(status); }

void Print(const std::string& text) { std::fputs(text.c_str(), stdout); }

// "30m", "1h", "90s".
std::optional<uint32_t> ParseTtl(std::string_view text) {
  if (text.size() < 2) return std::nullopt;
  const char unit = text.back();
  const uint32_t factor = unit == 's' ? 1 : unit == 'm' ? 60 : unit == 'h' ? 3600 : 0;
  uint32_t value = 0;
  const char* end = text.data() + text.size() - 1;
  const auto [at, ec] = std::from_chars(text.data(), end, value);
  if (factor == 0 || ec != std::errc() || at != end || value > 3600) return std::nullopt;
  return value * factor;
}

std::string StateOf(const enrol::v1::Token& token, uint64_t now) {
  if (token.revoked()) return "revoked";
  if (!token.used_by().empty()) return "used";
  return now >= token.expires_wall_ns() ? "expired" : "open";
}

Json TokenJson(const enrol::v1::Token& token, uint64_t now) {
  const bool used = !token.used_by().empty();
  return {{"id", token.id()},
          {"agent", token.agent_pattern()},
          {"state", StateOf(token, now)},
          {"created", schema::FormatTimeUtc(token.created_wall_ns())},
          {"expires", schema::FormatTimeUtc(token.expires_wall_ns())},
          {"used_by", used ? Json(token.used_by()) : Json(nullptr)},
          {"used", used ? Json(schema::FormatTimeUtc(token.used_wall_ns())) : Json(nullptr)}};
}

struct Args {
  std::string agent;
  std::string ttl = "30m";
  std::string token_id;
  std::string reason;
  uint64_t epoch = 0;
  uint64_t seq = 0;
  bool json = false;
};

Result<enrol::v1::AdminResponse> Ask(const config::v1::CollectorConfig& config,
                                     const enrol::v1::AdminRequest& request) {
  return AskCollector(AdminSocketPath(config), request);
}

int CreateToken(const config::v1::CollectorConfig& config, const Args& args) {
  const auto ttl = ParseTtl(args.ttl);
  if (!ttl) return Fail(InvalidArgument(fmt::format("--ttl {}: a time such as 30m, 90s or 1h", args.ttl)));
  enrol::v1::AdminRequest request;
  request.mutable_create_token()->set_agent_pattern(args.agent);
  request.mutable_create_token()->set_ttl_seconds(*ttl);
  const auto answer = Ask(config, request);
  if (!answer.ok()) return Fail(answer.status());
  const auto& made = answer->create_token();
  if (args.json) {
    Json out = TokenJson(made.info(), SystemClock().WallNs());
    out["token"] = made.token();
    Print(out.dump(2) + "\n");
    return 0;
  }
  // The token alone on standard output: it goes into a file, or a pipe.
  Print(made.token() + "\n");
  std::fprintf(stderr, "token %s for agent %s, good once until %s; it is not shown again\n", made.info().id().c_str(),
               TerminalSafe(made.info().agent_pattern()).c_str(),
               schema::FormatTimeUtc(made.info().expires_wall_ns()).c_str());
  return 0;
}

int ListTokens(const config::v1::CollectorConfig& config, const Args& args) {
  enrol::v1::AdminRequest request;
  request.mutable_list_tokens();
  const auto answer = Ask(config, request);
  if (!answer.ok()) return Fail(answer.status());
  const uint64_t now = SystemClock().WallNs();
  if (args.json) {
    Json out = Json::array();
    for (const auto& token : answer->list_tokens().tokens()) out.push_back(TokenJson(token, now));
    Print(out.dump(2) + "\n");
    return 0;
  }
  Print(fmt::format("{:<16}  {:<24}  {:<8}  {:<30}  {}\n", "TOKEN", "AGENT", "STATE", "EXPIRES", "USED BY"));
  for (const auto& token : answer->list_tokens().tokens()) {
    Print(fmt::format("{:<16}  {:<24}  {:<8}  {:<30}  {}\n", token.id(), TerminalSafe(token.agent_pattern()),
                      StateOf(token, now), schema::FormatTimeUtc(token.expires_wall_ns()),
                      TerminalSafe(token.used_by())));
  }
  return 0;
}

int RevokeToken(const config::v1::CollectorConfig& config, const Args& args) {
  enrol::v1::AdminRequest request;
  request.mutable_revoke_token()->set_id(args.token_id);
  const auto answer = Ask(config, request);
  if (!answer.ok()) return Fail(answer.status());
  if (args.json) Print(Json{{"id", args.token_id}, {"state", "revoked"}}.dump(2) + "\n");
  else Print(fmt::format("token {} is good for nothing any more\n", args.token_id));
  return 0;
}

int RevokeAgent(const config::v1::CollectorConfig& config, const Args& args) {
  enrol::v1::AdminRequest request;
  enrol::v1::RevokeAgentRequest* revoke = request.mutable_revoke_agent();
  revoke->set_agent_id(args.agent);
  revoke->set_epoch(args.epoch);
  revoke->set_effective_seq(args.seq);
  revoke->set_reason(args.reason);
  const auto answer = Ask(config, request);
  if (!answer.ok()) return Fail(answer.status());
  const auto& done = answer->revoke_agent();
  if (args.json) {
    Print(Json{{"agent", args.agent},
               {"epoch", done.epoch()},
               {"effective_seq", done.effective_seq()},
               {"log_index", done.log_index()}}
              .dump(2) +
          "\n");
  } else {
    Print(fmt::format("{} is revoked: its batches from {}:{} on are quarantined; entry {} of the log says so\n",
                      args.agent, done.epoch(), done.effective_seq(), done.log_index()));
  }
  return 0;
}

}  // namespace

int FailAdmin(const Status& status) {
  std::fprintf(stderr, "nodetrail-collector: %s\n", TerminalSafe(status.message()).c_str());
  return ExitFor(status);
}

std::string AdminSocketPath(const config::v1::CollectorConfig& config) {
  if (!config.admin_socket().empty()) return config.admin_socket();
  return (std::filesystem::path(config.trail_dir()).parent_path() / "admin.sock").string();
}

void AddAdminCommands(CLI::App& app, AdminCommand* chosen) {
  const auto args = std::make_shared<Args>();
  const auto run = [chosen, args](int (*command)(const config::v1::CollectorConfig&, const Args&)) {
    return [chosen, args, command] {
      *chosen = [args, command](const config::v1::CollectorConfig& config) { return command(config, *args); };
    };
  };
  CLI::App* token = app.add_subcommand("token", "one-time tokens with which agents enrol");
  token->require_subcommand(1);
  CLI::App* create = token->add_subcommand("create", "make a token; it is printed once");
  create->add_option("--agent", args->agent, "agent id, or a pattern such as 'web-*'")->required();
  create->add_option("--ttl", args->ttl, "how long it is good, at most 1h")->capture_default_str();
  create->callback(run(CreateToken));
  CLI::App* list = token->add_subcommand("list", "tokens of the last week, without their secrets");
  list->callback(run(ListTokens));
  CLI::App* drop = token->add_subcommand("revoke", "make a token useless");
  drop->add_option("ID", args->token_id, "as token list shows it")->required();
  drop->callback(run(RevokeToken));
  CLI::App* revoke = app.add_subcommand("revoke", "take no batches of an agent any more, and say so in the log");
  revoke->add_option("AGENT", args->agent, "agent id")->required();
  CLI::Option* epoch = revoke->add_option("--epoch", args->epoch, "first epoch that is not the agent's; default: now");
  revoke->add_option("--seq", args->seq, "first batch of that epoch")->needs(epoch);
  revoke->add_option("--reason", args->reason, "one line, ASCII; it is in the log for ever");
  revoke->callback(run(RevokeAgent));
  AddHoldCommands(app, chosen);
  for (CLI::App* command : {create, list, drop, revoke}) command->add_flag("--json", args->json, "print JSON");
}

}  // namespace nodetrail::collector
