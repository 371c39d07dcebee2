// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/bundle.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "nodetrail/trail/note.h"
#include "trail/rfc3339.h"

namespace nodetrail::trail {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kFormat = "nodetrail-bundle 1";
// What every JSON reader keeps exactly.
constexpr uint64_t kMaxNumber = (uint64_t{1} << 53U) - 1;

Json TimeJson(const std::optional<uint64_t>& time) { return time ? Json(FormatRfc3339(*time)) : Json(nullptr); }

Status Wrong(std::string_view key, std::string_view what) {
  return InvalidArgument(fmt::format("manifest.json: \"{}\" {}", key, what));
}

Status TakeText(const Json& json, const char* key, std::string* out) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_string()) return Wrong(key, "is not a string");
  *out = it->get<std::string>();
  return OkStatus();
}

Status TakeNumber(const Json& json, const char* key, uint64_t* out) {
  const auto it = json.find(key);
  if (it == json.end() || !it->is_number_unsigned() || it->get<uint64_t>() > kMaxNumber) {
    return Wrong(key, "is not a number from 0 to 2^53-1");
  }
  *out = it->get<uint64_t>();
  return OkStatus();
}

Status TakeTime(const Json& json, const char* key, std::optional<uint64_t>* out) {
  const auto it = json.find(key);
  if (it != json.end() && it->is_null()) return OkStatus();
  if (it != json.end() && it->is_string()) *out = ParseRfc3339(it->get<std::string>());
  return *out ? OkStatus() : Wrong(key, "is neither null nor a time like 2026-01-31T00:00:00.000000000Z");
}

Status TakeAgents(const Json& json, std::optional<std::vector<std::string>>* out) {
  const auto it = json.find("agents");
  if (it != json.end() && it->is_null()) return OkStatus();
  if (it == json.end() || !it->is_array() || it->empty() || it->size() > kMaxBundleAgents) {
    return Wrong("agents", "is neither null nor 1 to 10,000 names");
  }
  std::vector<std::string> agents;
  for (const Json& agent : *it) {
    if (!agent.is_string() || !ValidId(agent.get<std::string>())) return Wrong("agents", "holds what is no agent id");
    agents.push_back(agent.get<std::string>());
    if (agents.size() > 1 && agents[agents.size() - 2] >= agents.back()) return Wrong("agents", "is not ascending");
  }
  *out = std::move(agents);
  return OkStatus();
}

}  // namespace

TimeSpan TimeOf(const v1::BatchHeader& header) {
  if (header.event_count() == 0) return {header.sealed_wall_ns(), header.sealed_wall_ns()};
  return {std::min(header.first_wall_ns(), header.last_wall_ns()),
          std::max(header.first_wall_ns(), header.last_wall_ns())};
}

bool BundleScope::HasAgent(std::string_view agent_id) const {
  return !agents || std::binary_search(agents->begin(), agents->end(), agent_id);
}

bool BundleScope::Meets(TimeSpan span) const {
  return (!since_ns || span.to_ns >= *since_ns) && (!until_ns || span.from_ns <= *until_ns);
}

std::string BundleScope::ToString() const {
  std::string out = fmt::format("{} to {}, ", since_ns ? FormatRfc3339(*since_ns) : "the beginning",
                                until_ns ? FormatRfc3339(*until_ns) : "the end");
  if (!agents) return out + "all agents";
  out += agents->size() == 1 ? "agent " : "agents ";
  constexpr size_t kShown = 10;
  for (size_t i = 0; i < agents->size() && i < kShown; ++i) out += (i > 0 ? ", " : "") + (*agents)[i];
  if (agents->size() > kShown) out += fmt::format(" and {} more", agents->size() - kShown);
  return out;
}

std::string FormatManifest(const BundleManifest& manifest) {
  Json out;
  out["format"] = kFormat;
  out["origin"] = manifest.origin;
  out["tenant"] = manifest.tenant;
  out["checkpoint_size"] = manifest.checkpoint_size;
  out["since"] = TimeJson(manifest.scope.since_ns);
  out["until"] = TimeJson(manifest.scope.until_ns);
  out["agents"] = manifest.scope.agents ? Json(*manifest.scope.agents) : Json(nullptr);
  out["bodies"] = manifest.bodies;
  out["receipts"] = manifest.receipts;
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<BundleManifest> ParseManifest(std::string_view text) {
  if (text.size() > kMaxManifestBytes) return InvalidArgument("manifest.json: longer than 1 MiB");
  // A flat object: nesting is refused before it is built.
  bool deep = false;
  const auto depth = [&deep](int level, Json::parse_event_t event, Json&) {
    deep = deep || (level > 2 && event != Json::parse_event_t::value);
    return !deep;
  };
  const Json json = Json::parse(text, depth, /*allow_exceptions=*/false);
  if (json.is_discarded() || deep || !json.is_object()) return InvalidArgument("manifest.json: not a flat JSON object");
  BundleManifest out;
  std::string format;
  NT_RETURN_IF_ERROR(TakeText(json, "format", &format));
  if (format != kFormat) return Wrong("format", "is not \"nodetrail-bundle 1\"");
  NT_RETURN_IF_ERROR(TakeText(json, "origin", &out.origin));
  if (!ValidNoteName(out.origin)) return Wrong("origin", "is not the name of a log");
  NT_RETURN_IF_ERROR(TakeText(json, "tenant", &out.tenant));
  if (!ValidId(out.tenant)) return Wrong("tenant", "is no tenant id");
  NT_RETURN_IF_ERROR(TakeNumber(json, "checkpoint_size", &out.checkpoint_size));
  NT_RETURN_IF_ERROR(TakeTime(json, "since", &out.scope.since_ns));
  NT_RETURN_IF_ERROR(TakeTime(json, "until", &out.scope.until_ns));
  if (out.scope.since_ns && out.scope.until_ns && *out.scope.since_ns > *out.scope.until_ns) {
    return Wrong("since", "is after \"until\"");
  }
  NT_RETURN_IF_ERROR(TakeAgents(json, &out.scope.agents));
  NT_RETURN_IF_ERROR(TakeNumber(json, "bodies", &out.bodies));
  NT_RETURN_IF_ERROR(TakeNumber(json, "receipts", &out.receipts));
  if (out.receipts > kMaxBundleReceipts) return Wrong("receipts", "is above 10,000");
  // Repeated and unknown keys, other numbers and escapes for the same content.
  if (FormatManifest(out) != text) return InvalidArgument("manifest.json: not in the one form that the format allows");
  return out;
}

std::string ManifestSum(std::string_view manifest) {
  return fmt::format("{}  manifest.json\n", Hex(Sha256Of({manifest})));
}

bool ValidReceiptFile(std::string_view name) {
  if (!name.ends_with(kReceiptSuffix)) return false;
  name.remove_suffix(kReceiptSuffix.size());
  if (name.empty() || name.size() > 100 || name[0] == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  });
}

}  // namespace nodetrail::trail
