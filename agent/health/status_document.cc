// SPDX-License-Identifier: Apache-2.0
#include "agent/health/status_document.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "nodetrail/base/version.h"

namespace nodetrail::agent {
namespace {

using Json = nlohmann::json;

// A collector may restart without anybody being called.
constexpr uint64_t kPatienceNs = 60'000'000'000;

const char* StateName(HookState state) {
  switch (state) {
    case HookState::kAttached: return "attached";
    case HookState::kFallback: return "fallback";
    case HookState::kAbsent: return "absent";
    case HookState::kOff: return "off";
  }
  return "absent";
}

uint64_t UnackedAgeNs(const StatusFacts& f) {
  const uint64_t oldest = f.spool.oldest_wall_ns;
  return oldest == 0 || oldest > f.now_wall_ns ? 0 : f.now_wall_ns - oldest;
}

// Every kind that `absent` would feed is fed by an attached hook too: a way to
// act passes unseen, which the coverage record says, but no kind is missing.
bool SeenOtherwise(const HookCoverage& absent, const std::vector<HookCoverage>& coverage) {
  return std::all_of(absent.kinds.begin(), absent.kinds.end(), [&](const std::string& kind) {
    return std::any_of(coverage.begin(), coverage.end(), [&](const HookCoverage& hook) {
      return (hook.state == HookState::kAttached || hook.state == HookState::kFallback) &&
             std::find(hook.kinds.begin(), hook.kinds.end(), kind) != hook.kinds.end();
    });
  });
}

std::vector<std::string> BlindSpots(const StatusFacts& f) {
  std::vector<std::string> out;
  for (const HookCoverage& hook : *f.coverage) {
    if (hook.state == HookState::kAbsent && SeenOtherwise(hook, *f.coverage)) {
      out.push_back(fmt::format("{}: {}", hook.hook, hook.why));
    }
  }
  return out;
}

bool IsDeaf(const StatusFacts& f) {
  return std::any_of(f.selftest.begin(), f.selftest.end(),
                     [](const DomainHearing& domain) { return domain.hearing == Hearing::kDeaf; });
}

std::vector<std::string> Problems(const StatusFacts& f) {
  std::vector<std::string> problems;
  for (const DomainHearing& domain : f.selftest) {
    if (domain.hearing == Hearing::kDeaf) {
      problems.push_back(
          fmt::format("the {} probes are DEAF: the self-test did {} and no record came; what others do passes unseen",
                      domain.domain, fmt::join(domain.missing, ", ")));
    } else if (domain.hearing == Hearing::kUntried) {
      problems.push_back(fmt::format("the {} probes could not be tested: {}", domain.domain, domain.why));
    }
  }
  if (f.refusing || f.pipeline.backpressure) {
    problems.push_back(
        "the spool has no room: the rings are not emptied, and what they can't hold is lost and counted");
  }
  if (f.spool.level >= SpoolLevel::kEvict) {
    problems.push_back(fmt::format("{} ({}): {} bodies with {} events were given up, their headers are kept",
                                   SpoolFullness(f.spool.level, f.spool.used_percent), SpoolLevelName(f.spool.level),
                                   f.spool.evicted_batches, f.spool.evicted_events));
  } else if (f.spool.level == SpoolLevel::kWarn) {
    problems.push_back(fmt::format("the spool is {} % full: from 85 % on bodies are given up", f.spool.used_percent));
  }
  // A disk that does not give back what it took will do so again.
  if (f.ship.unread_batches > 0) {
    problems.push_back(
        fmt::format("{} batches could not be read from the spool and are missing in the log: look at the "
                    "disk, {}/spool/quarantine has the segments",
                    f.ship.unread_batches, f.config->state_dir()));
  }
  // Also one that is over: somebody must look at it.
  if (!f.ship.alarm.empty()) {
    problems.push_back(
        fmt::format("ALARM: {}{}", f.ship.alarm, f.ship.state == ShipState::kAlarm ? "; nothing is deleted" : ""));
  }
  if (f.ship.state == ShipState::kHalted) {
    problems.push_back(fmt::format("the collector refuses a batch: {}", f.ship.last_error));
  } else if (!f.ship.connected && UnackedAgeNs(f) > kPatienceNs) {
    problems.push_back(fmt::format("no collector for {} s: {}", UnackedAgeNs(f) / 1'000'000'000, f.ship.last_error));
  }
  for (const HookCoverage& hook : *f.coverage) {
    if (hook.state == HookState::kAbsent && !SeenOtherwise(hook, *f.coverage)) {
      problems.push_back(fmt::format("hook {} is absent: {}", hook.hook, hook.why));
    }
  }
  return problems;
}

Json RingJson(const RingUse& use, uint64_t lost) {
  return {{"bytes_per_cpu", use.size_bytes},
          {"used_bytes", use.used_bytes},
          {"peak_bytes", use.peak_bytes},
          {"records", use.records},
          {"lost", lost}};
}

}  // namespace

std::string RenderStatus(const StatusFacts& f) {
  Json hooks = Json::array();
  for (const HookCoverage& hook : *f.coverage) {
    hooks.push_back({{"hook", hook.hook},
                     {"family", hook.family},
                     {"domain", hook.domain},
                     {"state", StateName(hook.state)},
                     {"why", hook.why},
                     {"kinds", hook.kinds}});
  }
  Json selftest = Json::object();
  for (const DomainHearing& domain : f.selftest) selftest[domain.domain] = HearingName(domain.hearing);
  const auto& scope = f.config->capture().scope();
  const std::vector<std::string> problems = Problems(f);
  const Json document = {
      {"agent_id", f.config->agent_id()},
      {"tenant", f.config->tenant()},
      {"version", kVersion},
      {"pid", ::getpid()},
      {"state_dir", f.config->state_dir()},
      {"spool_dir", f.config->state_dir() + "/spool"},
      {"scope", scope.mode() == "process_tree" ? fmt::format("process_tree:{}", scope.root_pid()) : scope.mode()},
      {"uptime_seconds", static_cast<double>(f.uptime_ns) / 1e9},
      {"epoch", f.durable.epoch},
      {"batch_seq", f.durable.batch_seq},
      {"batches_total", f.pipeline.batches_total},
      {"heartbeats_total", f.pipeline.heartbeats_total},
      {"events_total", f.pipeline.events_total},
      {"events_durable", f.durable.event_seq},
      {"drained_to_boot_ns", f.drained_to_boot_ns},
      {"lost_total", f.pipeline.lost_total},
      {"lost", {{"ring", f.pipeline.lost_ring}, {"map", f.pipeline.lost_map}, {"decode", f.pipeline.lost_decode}}},
      {"rings",
       {{"bulk", RingJson(f.pipeline.bulk, f.pipeline.lost_ring - f.pipeline.lost_reserved)},
        {"reserve", RingJson(f.pipeline.reserve, f.pipeline.lost_reserved)}}},
      {"filtered_total", f.pipeline.filtered_total},
      {"redactions_total", f.pipeline.redactions_total},
      {"processes", f.pipeline.processes},
      {"spool_bytes", f.spool.bytes},
      {"spool_batches", f.spool.batches_pending},
      {"spool_level", SpoolLevelName(f.spool.level)},
      {"spool_used_percent", f.spool.used_percent},
      {"evicted_batches", f.spool.evicted_batches},
      {"evicted_events", f.spool.evicted_events},
      {"header_only_batches", f.spool.header_only},
      {"unread_batches", f.ship.unread_batches},
      {"unread_segments", f.spool.unread_kept},
      {"unread_segments_dropped", f.spool.unread_dropped},
      {"oldest_unacked_wall_ns", f.spool.oldest_wall_ns},
      {"lag_seconds", static_cast<double>(UnackedAgeNs(f)) / 1e9},
      {"connected", f.ship.connected},
      {"ship_endpoint", f.ship.endpoint},
      {"ship_error", f.ship.last_error},
      {"acked_batches", f.ship.acked_batches},
      {"rejected_batches", f.ship.rejected},
      {"late_batches", f.ship.late_batches},
      {"ship_state", ShipStateName(f.ship.state)},
      {"receipts", f.ship.receipts},
      {"awaiting_receipts", f.ship.awaiting_receipts},
      {"bad_receipts", f.ship.bad_receipts},
      {"unwitnessed_receipts", f.ship.unwitnessed_receipts},
      {"log_alarms", f.ship.log_alarms},
      {"log_alarm", f.ship.alarm},
      {"log_size", f.ship.log_size},
      {"hooks", hooks},
      {"selftest", selftest},
      {"health", IsDeaf(f)          ? "failed"
                 : problems.empty() ? "ok"
                                    : "degraded"},
      {"problems", problems},
      {"blind_spots", BlindSpots(f)},
  };
  // Error texts may quote bytes of a peer: never let them break the document.
  return document.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace nodetrail::agent
