// SPDX-License-Identifier: Apache-2.0
#include "collector/retention/rule_gate.h"

#include <fmt/format.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/guard.h"
#include "nodetrail/base/log.h"

namespace nodetrail::collector {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxRuleBytes = 4096;
constexpr uint64_t kForEver = std::numeric_limits<uint64_t>::max();

// Days; kForEver in memory is 0 in the file and in the configuration.
struct Rule {
  uint64_t in_force = kForEver;
  uint64_t pending = kForEver;
  std::string pending_hold;  // empty: nothing is pending
};

std::string Path(const std::string& trail_dir) { return trail_dir + "/retention/rule.json"; }
uint64_t FromDays(uint64_t days) { return days == 0 ? kForEver : days; }
uint64_t ToDays(uint64_t days) { return days == kForEver ? 0 : days; }
std::string Text(uint64_t days) { return days == kForEver ? "for ever" : fmt::format("{} days", days); }

// Nothing: there is no file, or none that can be understood.
std::optional<Rule> Load(const std::string& trail_dir) {
  const auto bytes = ReadFile(Path(trail_dir), kMaxRuleBytes);
  if (bytes.status().code() == Code::kNotFound) return std::nullopt;
  const Json json = bytes.ok() ? Json::parse(*bytes, nullptr, false) : Json();
  const auto number = [&](const char* key) { return json.is_object() && json.value(key, Json()).is_number_unsigned(); };
  if (!number("in_force_days") || !number("pending_days") || !json.value("pending_hold", Json()).is_string()) {
    log::Error(fmt::format("retention: {}: {}; taken for a trail that is kept for ever", Path(trail_dir),
                           bytes.ok() ? "is damaged" : bytes.status().message()));
    return std::nullopt;
  }
  return Rule{FromDays(json["in_force_days"].get<uint64_t>()), FromDays(json["pending_days"].get<uint64_t>()),
              json["pending_hold"].get<std::string>()};
}

Status Save(const std::string& trail_dir, const Rule& rule) {
  NT_RETURN_IF_ERROR(MakeDirectories(trail_dir + "/retention", 0750));
  const Json json = {{"in_force_days", ToDays(rule.in_force)},
                     {"pending_days", ToDays(rule.pending)},
                     {"pending_hold", rule.pending_hold}};
  return WriteFileAtomically(Path(trail_dir), json.dump(2) + "\n", 0640);
}

// The id of the hold, which is in the log when this returns.
Result<std::string> HoldEverything(const Rule& rule, uint64_t days, Committer* committer) {
  trail::v1::LogEntry entry;
  trail::v1::Hold* hold = entry.mutable_hold();
  hold->set_by("collector");
  hold->set_reason(
      fmt::format("retention shortened from {} to {} by configuration; two persons agree by releasing "
                  "this hold",
                  Text(rule.in_force), Text(days)));
  std::string id;
  const auto name = [&id, days](const Committer::Before& before, trail::v1::LogEntry* to) -> Status {
    id = fmt::format("retention-{}d-{}", days, before.log_index);
    to->mutable_hold()->set_id(id);
    return OkStatus();
  };
  NT_RETURN_IF_ERROR(committer->EnterAndWait(std::move(entry), name).status());
  return id;
}

}  // namespace

Status AdmitRule(const std::string& trail_dir, uint32_t max_age_d, Committer* committer) {
  const uint64_t days = FromDays(max_age_d);
  std::optional<Rule> kept = Load(trail_dir);
  if (!kept && days == kForEver) return OkStatus();  // as it always was
  const bool fresh = !kept && committer->Totals().log_size == 0;
  Rule rule = kept.value_or(Rule{});
  // Placed, and no longer open: two persons released it.
  if (!rule.pending_hold.empty() && !committer->Retained()->holds().contains(rule.pending_hold)) {
    rule.in_force = rule.pending;
    rule.pending_hold.clear();
  }
  if (NT_GUARD(retention_shortened, !fresh && days < rule.in_force)) {
    if (rule.pending_hold.empty() || rule.pending != days) {
      // The hold first: a file that knows of a hold that is not in the log would take it for released.
      NT_ASSIGN_OR_RETURN(rule.pending_hold, HoldEverything(rule, days, committer));
      rule.pending = days;
    }
    log::Warn(
        fmt::format("retention: {} is shorter than {}, which is in force: nothing is deleted until two persons "
                    "have released the hold {} (nodetrail-collector hold release)",
                    Text(days), Text(rule.in_force), rule.pending_hold));
  } else {
    rule = Rule{days, days, ""};
  }
  return Annotate(Save(trail_dir, rule), "retention");
}

}  // namespace nodetrail::collector
