// SPDX-License-Identifier: Apache-2.0
#include "agent/ship/log_watch.h"

#include <fmt/format.h>

#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/guard.h"
#include "nodetrail/trail/receipt.h"

namespace nodetrail::agent {

Result<std::unique_ptr<LogWatch>> LogWatch::Open(std::string_view policy_text, std::string checkpoint_file) {
  NT_ASSIGN_OR_RETURN(trail::LogPolicy policy, trail::LogPolicy::Parse(policy_text));
  if (policy.logs().empty()) {
    return InvalidArgument("the policy names no log; add a line: log, and the verifier key of the collector's log");
  }
  std::unique_ptr<LogWatch> out(new LogWatch(std::move(policy), std::move(checkpoint_file)));
  out->Load();
  return out;
}

void LogWatch::Load() {
  const auto note = ReadFile(file_, trail::kMaxNoteBytes);
  if (!note.ok()) {
    if (note.status().code() != Code::kNotFound) {
      unusable_ = fmt::format("the kept checkpoint can't be read: {}", note.status().message());
    }
    return;
  }
  auto verdict = policy_.Examine(*note);
  if (!verdict.ok()) {
    unusable_ = fmt::format(
        "{}: the kept checkpoint is not valid under ship.log_policy_file: {}; if the policy was "
        "changed on purpose, keep that file as evidence elsewhere and remove it here",
        file_, verdict.status().message());
    return;
  }
  newest_ = verdict->checkpoint;
  if (verdict->quorum) seen_ = {newest_->size, newest_->root};
}

LogWatch::Outcome LogWatch::Take(const trail::Hash& leaf_hash, uint64_t index, std::string_view receipt) {
  using Kind = Outcome::Kind;
  if (!unusable_.empty()) return {Kind::kAlarm, unusable_, false, ""};
  const auto parsed = trail::ParseReceipt(receipt);
  if (!parsed.ok()) {
    return {Kind::kBad, fmt::format("{}; do the versions fit?", parsed.status().message()), false, ""};
  }
  if (parsed->index != index) {
    return {Kind::kBad, fmt::format("receipt: for leaf {}, the acknowledgement says {}", parsed->index, index), false,
            ""};
  }
  auto verdict = trail::ExamineReceipt(leaf_hash, *parsed, policy_);
  if (NT_GUARD(ship_receipt, !verdict.ok())) {
    return {Kind::kBad,
            fmt::format("{}; is this the log of ship.log_policy_file, and the collector the right one?",
                        verdict.status().message()),
            false, ""};
  }
  if (!verdict.ok()) return {Kind::kHolds, "", true, ""};
  const trail::Checkpoint& checkpoint = verdict->checkpoint;
  if (newest_) {
    const char* const fix =
        "the log was cut, restored from a backup or is shown in two versions: stop the collector, keep its trail, and "
        "run nodetrail verify on it";
    if (checkpoint.origin != newest_->origin) {
      return {Kind::kAlarm,
              fmt::format("the log is {}, the kept checkpoint {} is of {}: all endpoints must serve one log",
                          checkpoint.origin, file_, newest_->origin),
              false, ""};
    }
    if (NT_GUARD(ship_rollback, checkpoint.size < newest_->size)) {
      return {Kind::kAlarm,
              fmt::format("the log has {} leaves now, and had {} before (kept in {}): {}", checkpoint.size,
                          newest_->size, file_, fix),
              false, ""};
    }
    if (NT_GUARD(ship_split, checkpoint.size == newest_->size && checkpoint.root != newest_->root)) {
      return {Kind::kAlarm,
              fmt::format("the log has two roots at {} leaves: {} now, {} before (kept in {}): {}", checkpoint.size,
                          trail::Hex(checkpoint.root), trail::Hex(newest_->root), file_, fix),
              false, ""};
    }
  }
  if (!newest_ || checkpoint.size > newest_->size) {
    if (const Status kept = WriteFileAtomically(file_, parsed->checkpoint, 0640); !kept.ok()) {
      return {Kind::kDisk, fmt::format("keep the log's checkpoint: {}; nothing is deleted", kept.message()), false, ""};
    }
    newest_ = checkpoint;
  }
  if (verdict->quorum) {
    const std::lock_guard lock(mutex_);
    if (checkpoint.size > seen_.size) seen_ = {checkpoint.size, checkpoint.root};
  }
  return {Kind::kHolds, "", verdict->quorum, verdict->shortfall};
}

SeenCheckpoint LogWatch::seen() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

}  // namespace nodetrail::agent
