// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_retired.h"

#include <fmt/format.h>

#include <utility>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {
namespace {

std::string_view ReasonOf(const v1::LogEntry& entry) {
  if (entry.has_hold()) return reason::kHold;
  return entry.has_release() ? reason::kRelease : reason::kRetire;
}

}  // namespace

void RetiredCheck::Missing(AgentState* agent, const v1::BatchHeader& header, const LeafLocation& where) {
  Body body;
  body.agent = agent;
  body.agent_id = header.agent_id();
  body.batch = BatchName(header);
  body.where = where;
  body.sha256 = *HashFromBytes(header.body_sha256());
  body.time = TimeOf(header);
  body.sealed_ns = header.sealed_wall_ns();
  body.stretch = agent->timeline.newest();
  missing_.emplace(where.index, std::move(body));
}

std::string RetiredCheck::Fault(const v1::Retire& retire, const Body& body, std::string_view sha256,
                                std::string_view* reason) const {
  *reason = reason::kRetire;
  if (NT_GUARD(retention_hash, sha256 != View(body.sha256))) return "another body than the leaf's";
  if (NT_GUARD(retention_age, retire.not_before_ns() < retire.max_age_ns() ||
                                  body.sealed_ns > retire.not_before_ns() - retire.max_age_ns())) {
    return fmt::format("sealed at {} ns, younger than {} ns at {} ns", body.sealed_ns, retire.max_age_ns(),
                       retire.not_before_ns());
  }
  const v1::Hold* hold = retention_.Covering(body.agent_id, body.time);
  if (NT_GUARD(retention_hold, hold != nullptr)) {
    *reason = reason::kHold;
    return fmt::format("under hold {}", hold->id());
  }
  return {};
}

void RetiredCheck::Take(const v1::LogEntry& entry, const LeafLocation& where, bool covered) {
  const Status taken = retention_.Take(entry, where.index);
  if (!taken.ok()) findings_->Add(FindingKind::kTamper, ReasonOf(entry), std::string(taken.message()), {}, &where);
  if (!entry.has_retire()) return;
  const v1::Retire& retire = entry.retire();
  uint64_t index = 0;
  for (int i = 0; i < retire.leaves_size(); ++i) {
    index += retire.leaves(i);
    const auto it = missing_.find(index);
    if (it == missing_.end()) continue;
    Body& body = it->second;
    std::string_view reason = reason::kRetire;
    std::string fault;
    if (!taken.ok()) fault = taken.message();
    else if (!covered) fault = "no checkpoint covers that entry";
    else
      fault =
          Fault(retire, body, std::string_view(retire.body_sha256()).substr(32 * static_cast<size_t>(i), 32), &reason);
    if (fault.empty()) {
      ++retired_;
      body.agent->timeline.Retire(body.stretch.from_ns, body.stretch.to_ns);
      missing_.erase(it);
    } else if (body.fault.empty()) {
      body.fault_reason = reason;
      body.fault =
          fmt::format("the body is missing, and entry {} that retires it does not hold: {}", where.index, fault);
    }
  }
}

void RetiredCheck::Finish() {
  for (auto& [index, body] : missing_) {
    if (!NT_GUARD(verify_body_missing, true)) continue;
    const bool named = !body.fault.empty();
    findings_->Add(FindingKind::kTamper, named ? body.fault_reason : reason::kBodyMissing,
                   named ? std::move(body.fault) : std::string("the body is missing"), body.batch, &body.where,
                   BodyPath(body.sha256));
  }
  missing_.clear();
}

}  // namespace nodetrail::trail
