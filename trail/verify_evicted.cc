// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_evicted.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "nodetrail/trail/eviction.h"

namespace nodetrail::trail {
namespace {

// Above this a flood of evictions is only counted.
constexpr size_t kMaxListed = 1000;

}  // namespace

Result<EvictedBody> CheckEvictedBody(const TrailReader& reader, const CaSet& cas, const v1::BatchHeader& header,
                                     const Hash& batch_hash, const LeafLocation& where, AgentCoverage* coverage,
                                     Findings* findings) {
  const Hash hash = *HashFromBytes(header.body_sha256());
  const std::string name = BatchName(header);
  const auto eviction = reader.Eviction(hash);
  if (!eviction.ok()) {
    const Code code = eviction.status().code();
    if (code == Code::kNotFound) return EvictedBody::kNotSaid;
    if (code != Code::kDataLoss && code != Code::kResourceExhausted) return eviction.status();
    findings->Add(FindingKind::kTamper, reason::kEviction, std::string(eviction.status().message()), name, &where,
                  EvictionPath(hash));
    return EvictedBody::kBad;
  }
  if (const Status status = CheckEviction(*eviction, header, batch_hash, cas); !status.ok()) {
    findings->Add(
        FindingKind::kTamper, reason::kEviction,
        fmt::format("the body is missing, and the statement in its place does not hold: {}", status.message()), name,
        &where, EvictionPath(hash));
    return EvictedBody::kBad;
  }
  findings->Add(FindingKind::kDeclaredLoss, reason::kLoss,
                fmt::format("the agent gave up the body to make room: {} events, wall clock {} to {} ns",
                            header.event_count(), header.first_wall_ns(), header.last_wall_ns()),
                name, &where, EvictionPath(hash));
  if (coverage->losses.size() < kMaxListed) {
    coverage->losses.push_back(
        {name, "evicted", "", header.event_count(), header.first_wall_ns(), header.last_wall_ns()});
  }
  return EvictedBody::kDeclared;
}

}  // namespace nodetrail::trail
