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
  NT_RETURN_IF_ERROR(now_.Take(parsed->entry, log_index));
  if (const Status taken = retention_.Take(parsed->entry, log_index); !taken.ok()) {
    return DataLoss(std::string(taken.message()));
  }
  return OkStatus();
}

void Roster::set_required(bool required) {
  now_.set_required(required);
  const std::lock_guard lock(mutex_);
  snapshot_ = std::make_shared<trail::Enrolments>(now_);
  retained_ = std::make_shared<trail::Retention>(retention_);
}

Result<std::string> Roster::Enter(const trail::v1::LogEntry& entry, uint64_t log_index) {
  NT_ASSIGN_OR_RETURN(std::string leaf, sign_(entry));
  // A read changes nothing here; a copy for each would be dear.
  if (entry.has_access()) return leaf;
  if (entry.has_enrol() || entry.has_revoke()) {
    Save();
    NT_RETURN_IF_ERROR(now_.Take(entry, log_index));
    return leaf;
  }
  if (!saved_retention_) saved_retention_ = retention_;
  NT_RETURN_IF_ERROR(retention_.Take(entry, log_index));
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
  auto snapshot = saved_ ? std::make_shared<trail::Enrolments>(now_) : nullptr;
  auto retained = saved_retention_ ? std::make_shared<trail::Retention>(retention_) : nullptr;
  saved_.reset();
  saved_retention_.reset();
  if (snapshot == nullptr && retained == nullptr) return;
  const std::lock_guard lock(mutex_);
  if (snapshot != nullptr) snapshot_ = std::move(snapshot);
  if (retained != nullptr) retained_ = std::move(retained);
}

void Roster::Rollback() {
  if (saved_) now_ = *std::move(saved_);
  if (saved_retention_) retention_ = *std::move(saved_retention_);
  saved_.reset();
  saved_retention_.reset();
}

std::shared_ptr<const trail::Retention> Roster::Retained() const {
  const std::lock_guard lock(mutex_);
  return retained_;
}

std::shared_ptr<const trail::Enrolments> Roster::Snapshot() const {
  const std::lock_guard lock(mutex_);
  return snapshot_;
}

}  // namespace nodetrail::collector
