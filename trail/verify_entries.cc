// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_entries.h"

#include <fmt/format.h>

#include <algorithm>

namespace nodetrail::trail {

void EntriesCheck::Begin(const std::optional<LogPolicy>& logs, const std::optional<std::string>& tenant) {
  logs_ = logs;
  tenant_ = tenant;
}

bool EntriesCheck::Signed(const ParsedLogEntry& entry) const {
  return std::any_of(logs_->logs().begin(), logs_->logs().end(),
                     [&entry](const LogPolicy::Log& log) { return VerifyLogEntrySignature(entry, log.key.key); });
}

std::optional<v1::LogEntry> EntriesCheck::Take(const LeafLocation& where, std::string_view leaf, bool whole) {
  ++count_;
  // It is no batch: what is wrong with it must not take a missing batch's name.
  const auto tamper = [&](std::string_view reason, std::string text) {
    findings_->Add(FindingKind::kTamper, reason, std::move(text), {}, &where);
    return std::nullopt;
  };
  auto parsed = ParseLogEntry(leaf);
  if (!parsed.ok()) return tamper(reason::kDamagedLeaf, std::string(parsed.status().message()));
  if (!whole) return tamper(reason::kDamagedLeaf, "log entry: the record's checksum is wrong");
  if (!logs_) {
    ++unjudged_;
  } else if (!Signed(*parsed)) {
    return tamper(reason::kDamagedLeaf, "log entry: not signed by the log key");
  }
  const v1::LogEntry& entry = parsed->entry;
  const bool alien = tenant_ && entry.tenant() != *tenant_;
  if (alien || (!policy_.tenant.empty() && entry.tenant() != policy_.tenant)) {
    return tamper(alien ? reason::kBundle : reason::kTenant, fmt::format("a log entry of tenant {}", entry.tenant()));
  }
  if (const Status taken = enrolments_.Take(entry, where.index); !taken.ok()) {
    return tamper(reason::kTenant, std::string(taken.message()));
  }
  if (parsed->unknown_fields) {
    findings_->Note("a log entry with signed fields that this version does not know", {}, &where);
  }
  return std::move(parsed->entry);
}

void EntriesCheck::Accept(const v1::BatchHeader& header, const LeafLocation& where) {
  enrolments_.Accept(header);
  if (header.seq() != 0) return;
  const Enrolment* agent = enrolments_.Find(header.tenant(), header.agent_id());
  if (agent != nullptr && agent->enrolled) return;
  if (!unenrolled_.emplace(header.tenant(), header.agent_id()).second) return;
  findings_->Note(
      fmt::format("{} was never enrolled in this log; its identity certificate alone speaks for it", header.agent_id()),
      {}, &where);
}

void EntriesCheck::Finish(VerifyReport* report) {
  report->entries = count_;
  if (unjudged_ > 0) {
    findings_->Note(fmt::format("no log key was given: the signatures of {} log entries were not judged", unjudged_));
  }
  for (const auto& [key, agent] : enrolments_.agents()) {
    if (agent.enrolled && !agent.reported) report->never_reported.push_back(key.second);
  }
}

}  // namespace nodetrail::trail
