// SPDX-License-Identifier: Apache-2.0
#include "agent/spool/ladder.h"

#include <fmt/format.h>

#include <algorithm>

#include "agent/spool/compaction.h"

namespace nodetrail::agent {
namespace {

constexpr uint64_t kWarnPercent = 75;
constexpr uint64_t kEvictPercent = 85;
constexpr uint64_t kCriticalPercent = 95;

}  // namespace

std::string_view SpoolLevelName(SpoolLevel level) {
  switch (level) {
    case SpoolLevel::kOk: return "ok";
    case SpoolLevel::kWarn: return "warn";
    case SpoolLevel::kEvict: return "evict";
    case SpoolLevel::kCriticalOnly: return "critical_only";
    case SpoolLevel::kHeadersOnly: return "headers_only";
    case SpoolLevel::kFull: return "full";
  }
  return "unknown";
}

std::string SpoolFullness(SpoolLevel level, uint64_t used_percent) {
  if (level < SpoolLevel::kHeadersOnly) return fmt::format("the spool is {} % full", used_percent);
  return fmt::format("there is no room for the spool, its segments fill {} % of what they may", used_percent);
}

SpoolLevel LevelOf(uint64_t used, uint64_t usable) {
  const uint64_t percent = usable / 100 == 0 ? 100 : used / (usable / 100);
  if (percent >= kCriticalPercent) return SpoolLevel::kCriticalOnly;
  if (percent >= kEvictPercent) return SpoolLevel::kEvict;
  return percent >= kWarnPercent ? SpoolLevel::kWarn : SpoolLevel::kOk;
}

void EvictionLedger::Add(const EvictedBody& body) {
  const auto [it, fresh] = by_epoch_.try_emplace(body.epoch);
  SpoolEviction& sum = it->second;
  if (fresh) sum = {body.epoch, body.seq, body.seq, 0, 0, body.first_wall_ns, body.last_wall_ns};
  sum.seq_from = std::min(sum.seq_from, body.seq);
  sum.seq_to = std::max(sum.seq_to, body.seq);
  ++sum.batches;
  sum.events += body.events;
  sum.first_wall_ns = std::min(sum.first_wall_ns, body.first_wall_ns);
  sum.last_wall_ns = std::max(sum.last_wall_ns, body.last_wall_ns);
}

std::vector<SpoolEviction> EvictionLedger::Take() {
  std::vector<SpoolEviction> out;
  for (const auto& [epoch, sum] : by_epoch_) out.push_back(sum);
  by_epoch_.clear();
  return out;
}

}  // namespace nodetrail::agent
