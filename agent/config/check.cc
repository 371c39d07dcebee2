// SPDX-License-Identifier: Apache-2.0
#include "agent/config/check.h"

#include <fmt/format.h>
#include <re2/re2.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <set>
#include <string>
#include <string_view>

#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/pkcs11_key.h"

namespace nodetrail::agent {
namespace {

constexpr size_t kMaxIdLength = 64;
constexpr uint64_t kMinRing = 4096;

// What fits into a SPIFFE path segment and an event id.
bool ValidId(std::string_view id) {
  return !id.empty() && id.size() <= kMaxIdLength && std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  });
}

constexpr std::string_view kIdRule = "1 to 64 letters, digits, '.', '_' or '-'";

void CheckRing(const std::string& key, uint64_t bytes, ConfigReport& report) {
  if (bytes < kMinRing) {
    report.Add(key, fmt::format("{} is less than a page; give at least {}", bytes, kMinRing));
  } else if (!std::has_single_bit(bytes)) {
    report.Add(key, fmt::format("{} is not a power of two; {} is the next one", bytes, std::bit_ceil(bytes)));
  }
}

void CheckRedactRules(const config::v1::AgentConfig::Redact& redact, ConfigReport& report) {
  std::set<std::string> seen;
  for (int i = 0; i < redact.rules_size(); ++i) {
    const auto& rule = redact.rules(i);
    const std::string key = fmt::format("redact.rules[{}]", i);
    if (!ValidId(rule.id())) report.Add(key + ".id", fmt::format("'{}' is no rule id; use {}", rule.id(), kIdRule));
    if (!seen.insert(rule.id()).second) report.Add(key + ".id", fmt::format("'{}' is there twice", rule.id()));
    const re2::RE2 pattern(rule.pattern(), re2::RE2::Quiet);
    if (!pattern.ok()) {
      report.Add(key + ".pattern", fmt::format("does not compile: {}; see the RE2 syntax", pattern.error()));
    } else if (re2::RE2::FullMatch("", pattern)) {
      report.Add(key + ".pattern", "matches the empty text, so it would redact everywhere; make it need a character");
    }
  }
}

}  // namespace

void CheckConfig(const config::v1::AgentConfig& config, ConfigReport& report) {
  if (!config.agent_id().empty() && !ValidId(config.agent_id())) {
    report.Add("agent_id", fmt::format("'{}' is no agent id; use {}", config.agent_id(), kIdRule));
  }
  if (!ValidId(config.tenant()))
    report.Add("tenant", fmt::format("'{}' is no tenant; use {}", config.tenant(), kIdRule));

  const auto& capture = config.capture();
  CheckRing("capture.ring_bytes_per_cpu", capture.ring_bytes_per_cpu(), report);
  if (const uint64_t reserve = capture.reserve_bytes_per_cpu(); reserve != 0) {
    CheckRing("capture.reserve_bytes_per_cpu", reserve, report);
  }
  if (capture.scope().mode() == "process_tree" && capture.scope().root_pid() == 0) {
    report.Add("capture.scope.root_pid", "mode process_tree needs the pid of a live process");
  }
  if (capture.scope().mode() == "host" && capture.scope().root_pid() != 0) {
    report.Add("capture.scope.root_pid", "is for mode process_tree; leave it out");
  }

  const auto& identity = config.identity();
  if (identity.key_file().empty() == identity.key_uri().empty()) {
    report.Add("identity.key_file", identity.key_uri().empty()
                                        ? "is missing; give the identity's key, here or as key_uri"
                                        : "and key_uri are both there; leave one out");
  }
  if (!identity.key_uri().empty()) {
    const auto uri = trail::ParsePkcs11Uri(identity.key_uri());
    if (!uri.ok()) report.Add("identity.key_uri", std::string(uri.status().message()));
  }

  if (config.batch().critical_max_age_ms() > config.batch().max_age_ms()) {
    report.Add("batch.critical_max_age_ms",
               fmt::format("{} is more than max_age_ms, {}", config.batch().critical_max_age_ms(),
                           config.batch().max_age_ms()));
  }
  // Two segments at least: the one that is written and the one that waits.
  if (config.spool().max_bytes() < 2 * config.spool().segment_bytes()) {
    report.Add("spool.max_bytes", fmt::format("{} holds fewer than two segments of {} bytes",
                                              config.spool().max_bytes(), config.spool().segment_bytes()));
  }
  const auto& ship = config.ship();
  if (ship.endpoint().empty() && ship.endpoints().empty()) {
    report.Add("ship.endpoint", "missing; add it (host:port of the collector), or a list: endpoints");
  }
  for (int i = 0; i < ship.endpoints_size(); ++i) {
    if (ship.endpoints(i).empty()) report.Add(fmt::format("ship.endpoints[{}]", i), "is empty; use host:port");
  }
  if (const std::string& id = ship.collector_id(); !id.empty() && id != "none") {
    const auto parsed = trail::ParseSpiffeId(id);
    if (!parsed.ok() || parsed->role != 'c') {
      report.Add("ship.collector_id",
                 fmt::format("'{}' is neither none nor of the form spiffe://<domain>/t/<tenant>/c/<collector>", id));
    }
  }
  if (ship.release() != "durable" && ship.log_policy_file().empty()) {
    report.Add(
        "ship.log_policy_file",
        fmt::format("release: {} needs the log's key to verify receipts; add a file with the lines \"log <verifier "
                    "key>\" (the collector's log/log.vkey) and \"quorum none\", or set release: durable",
                    ship.release()));
  }
  CheckRedactRules(config.redact(), report);
}

}  // namespace nodetrail::agent
