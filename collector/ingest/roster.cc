// SPDX-License-Identifier: Apache-2.0
#include "collector/ingest/roster.h"

#include <fmt/format.h>

#include <utility>

namespace nodetrail::collector {

Status Roster::Replay(std::string_view leaf, uint64_t log_index, const trail::PublicKey& log_key) {
  auto parsed = trail::ParseLogEntry(leaf);
  if (!parsed.ok()) return DataLoss(std::string(parsed.status().message()));
  if (!trail::VerifyLogEntrySignature(*parsed, log_key)) return DataLoss("log entry: not signed by this log's key");
  if (parsed->entry.tenant() != tenant_) {
    return FailedPrecondition(
        fmt::format("log entry: of tenant {}, the configuration of {}", parsed->entry.tenant(), tenant_));
  }
  return now_.Take(parsed->entry, log_index);
}

void Roster::set_required(bool required) {
  now_.set_required(required);
  const std::lock_guard lock(mutex_);
  snapshot_ = std::make_shared<trail::Enrolments>(now_);
}

Result<std::string> Roster::Enter(const trail::v1::LogEntry& entry, uint64_t log_index) {
  NT_ASSIGN_OR_RETURN(std::string leaf, sign_(entry));
  Save();
  NT_RETURN_IF_ERROR(now_.Take(entry, log_index));
  return leaf;
}

void Roster::Accept(const trail::v1::BatchHeader& header) {
  const trail::Enrolment* agent = now_.Find(header.tenant(), header.agent_id());
  // Most batches change nothing here; a copy for each would be dear.
  if (agent == nullptr || (agent->reported && !agent->Covers(header.epoch(), header.seq()))) return;
  Save();
  now_.Accept(header);
}

void Roster::Save() {
  if (!saved_) saved_ = now_;
}

void Roster::Commit() {
  if (!saved_) return;
  saved_.reset();
  auto snapshot = std::make_shared<trail::Enrolments>(now_);
  const std::lock_guard lock(mutex_);
  snapshot_ = std::move(snapshot);
}

void Roster::Rollback() {
  if (!saved_) return;
  now_ = *std::move(saved_);
  saved_.reset();
}

std::shared_ptr<const trail::Enrolments> Roster::Snapshot() const {
  const std::lock_guard lock(mutex_);
  return snapshot_;
}

}  // namespace nodetrail::collector
