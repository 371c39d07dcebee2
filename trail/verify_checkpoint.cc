// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {
namespace {

constexpr std::string_view kCheckpointFile = "log/checkpoint";
constexpr std::string_view kReceiptHead = "c2sp.org/tlog-proof@v1\n";

// How many hashes lead from entry `index` to the root over `size`: up to where
// its path and the last entry's meet each level has a sibling; above that only
// where it stands on the right.
size_t PathLength(uint64_t index, uint64_t size) {
  const auto below = static_cast<unsigned>(std::bit_width(index ^ (size - 1)));
  return below + (below < 64 ? static_cast<unsigned>(std::popcount(index >> below)) : 0);
}

}  // namespace

std::optional<uint64_t> CheckpointCheck::size() const {
  if (!checkpoint_) return std::nullopt;
  return checkpoint_->size;
}

void CheckpointCheck::Broken(std::string_view reason, std::string text) {
  findings_->Add(FindingKind::kTamper, reason, std::move(text), {}, nullptr, std::string(kCheckpointFile));
}

Status CheckpointCheck::Read(VerifyReport* report) {
  NT_RETURN_IF_ERROR(MakePolicy());
  ReadOwn(report);
  return ReadKept();
}

Status CheckpointCheck::MakePolicy() {
  log_policy_ = policy_.log_policy;
  if (!policy_.log_key) return OkStatus();
  if (!log_policy_) {
    log_policy_ = LogPolicy::OneLog(*policy_.log_key);
    return OkStatus();
  }
  auto with = log_policy_->WithLog(*policy_.log_key);
  if (!with.ok()) return with.status().code() == Code::kAlreadyExists ? OkStatus() : with.status();
  log_policy_ = *std::move(with);
  return OkStatus();
}

void CheckpointCheck::ReadOwn(VerifyReport* report) {
  auto note = reader_->Checkpoint();
  if (!note.ok()) {
    if (note.status().code() != Code::kNotFound) Broken(reason::kCheckpoint, std::string(note.status().message()));
    return;
  }
  report->checkpoint_present = true;
  if (log_policy_) {
    auto verdict = log_policy_->Examine(*note);
    if (!verdict.ok()) return Broken(reason::kCheckpoint, std::string(verdict.status().message()));
    if (!verdict->quorum) {
      Broken(reason::kQuorum,
             fmt::format("the checkpoint lacks the policy's quorum of witnesses: {}", verdict->shortfall));
    }
    valid_ = report->quorum = verdict->quorum;
    report->witnesses = std::move(verdict->cosigned);
    report->witnesses_missing = std::move(verdict->missing);
    checkpoint_ = std::move(verdict->checkpoint);
  } else {
    findings_->Note("no log key was given: the checkpoint's signature was not checked", {}, nullptr,
                    std::string(kCheckpointFile));
    auto parsed = ParseNote(*note);
    auto checkpoint = parsed.ok() ? ParseCheckpointBody(parsed->text) : Result<Checkpoint>(parsed.status());
    if (!checkpoint.ok()) return Broken(reason::kCheckpoint, std::string(checkpoint.status().message()));
    checkpoint_ = *std::move(checkpoint);
  }
  report->checkpoint_size = checkpoint_->size;
  report->checkpoint_root = Hex(checkpoint_->root);
  report->checkpoint_origin = checkpoint_->origin;
  if (checkpoint_->size == 0 && checkpoint_->root != EmptyRoot())
    Broken(reason::kRoot, "checkpoint: wrong root of the empty log");
}

Status CheckpointCheck::ReadKept() {
  if (policy_.kept.empty()) return OkStatus();
  if (!log_policy_) {
    return InvalidArgument("verify: a checkpoint that you kept needs the log key, or a policy that has it");
  }
  for (const KeptNote& note : policy_.kept) NT_RETURN_IF_ERROR(KeepNote(note));
  return OkStatus();
}

Status CheckpointCheck::KeepNote(const KeptNote& note) {
  const std::string context = fmt::format("verify: {}", note.name);
  std::optional<Receipt> receipt;
  if (note.bytes.starts_with(kReceiptHead)) {
    auto parsed = ParseReceipt(note.bytes);
    if (!parsed.ok()) return Annotate(parsed.status(), context);
    receipt = *std::move(parsed);
  }
  // What was enough when it was kept is enough: the quorum is not asked.
  auto verdict = log_policy_->Examine(receipt ? receipt->checkpoint : note.bytes);
  if (!verdict.ok()) return Annotate(verdict.status(), context);
  Checkpoint checkpoint = std::move(verdict->checkpoint);
  if (checkpoint_ && checkpoint.origin != checkpoint_->origin) {
    return InvalidArgument(fmt::format("{}: of log {}, not of {}", context, checkpoint.origin, checkpoint_->origin));
  }
  if (receipt) {
    if (receipt->index >= checkpoint.size) return InvalidArgument(context + ": of a leaf beyond its checkpoint");
    const uint64_t index = receipt->index;
    if (receipt->path.size() != PathLength(index, checkpoint.size)) {
      return InvalidArgument(
          fmt::format("{}: its path does not have the length for leaf {} of {}", context, index, checkpoint.size));
    }
    receipts_.emplace(index, HeldReceipt{note.name, {}, *std::move(receipt), checkpoint, false});
  }
  Keep({note.name, std::move(checkpoint), false});
  return OkStatus();
}

void CheckpointCheck::AddReceipt(const std::string& file, std::string_view text) {
  auto receipt = ParseReceipt(text);
  if (!receipt.ok()) {
    findings_->Add(FindingKind::kTamper, reason::kReceipt, std::string(receipt.status().message()), {}, nullptr, file);
    return;
  }
  HeldReceipt held{file, {}, *std::move(receipt), {}, true};
  if (log_policy_) {
    auto verdict = log_policy_->Examine(held.receipt.checkpoint);
    if (!verdict.ok()) {
      held.wrong = std::string(verdict.status().message());
    } else if (!verdict->quorum) {
      held.wrong =
          fmt::format("the receipt's checkpoint lacks the policy's quorum of witnesses: {}", verdict->shortfall);
    } else {
      held.checkpoint = std::move(verdict->checkpoint);
    }
  } else {
    const auto note = ParseNote(held.receipt.checkpoint);
    auto checkpoint = note.ok() ? ParseCheckpointBody(note->text) : Result<Checkpoint>(note.status());
    if (checkpoint.ok()) {
      held.checkpoint = *std::move(checkpoint);
    } else {
      held.wrong = std::string(checkpoint.status().message());
    }
  }
  if (held.wrong.empty() && checkpoint_ && held.checkpoint.origin != checkpoint_->origin) {
    held.wrong = fmt::format("the receipt is of log {}, not of {}", held.checkpoint.origin, checkpoint_->origin);
  }
  if (held.wrong.empty()) Keep({file, held.checkpoint, true});
  const uint64_t index = held.receipt.index;
  receipts_.emplace(index, std::move(held));
}

void CheckpointCheck::CheckReceipts(const LeafLocation& where, const Hash& leaf_hash, const std::string& batch) {
  const auto [begin, end] = receipts_.equal_range(where.index);
  for (auto it = begin; it != end; ++it) {
    HeldReceipt& held = it->second;
    if (held.wrong.empty()) {
      const Status holds =
          VerifyInclusion(leaf_hash, where.index, held.checkpoint.size, held.receipt.path, held.checkpoint.root);
      if (!holds.ok()) held.wrong = fmt::format("the receipt is not of this leaf: {}", holds.message());
    }
    if (held.wrong.empty()) continue;
    WrongReceipt(held, fmt::format("leaf {}{}: ", where.index, batch.empty() ? "" : ", batch " + batch));
  }
  receipts_.erase(begin, end);
}

// It names no batch: what is wrong is between the receipt and the log.
void CheckpointCheck::WrongReceipt(const HeldReceipt& held, const std::string& context) {
  findings_->Add(FindingKind::kTamper, reason::kReceipt,
                 context + held.wrong + (held.of_bundle ? "" : fmt::format(" ({}, which you hold)", held.file)), {},
                 nullptr, held.of_bundle ? held.file : std::string());
}

void CheckpointCheck::Contradicted(const Kept& kept, const std::string& what) {
  findings_->Add(FindingKind::kTamper, kept.of_bundle ? reason::kReceipt : reason::kPrior,
                 what + (kept.of_bundle ? " of the receipt's checkpoint" : fmt::format(" you hold ({})", kept.name)),
                 {}, nullptr, kept.of_bundle ? kept.name : std::string());
}

void CheckpointCheck::Keep(Kept kept) {
  const uint64_t size = kept.checkpoint.size;
  if (NT_GUARD(verify_prior_size, !checkpoint_ || checkpoint_->size < size)) {
    Contradicted(kept, fmt::format("the log's checkpoint is older, of size {}, than the checkpoint of size {}",
                                   checkpoint_ ? checkpoint_->size : 0, size));
  }
  if (size == 0 && kept.checkpoint.root != EmptyRoot()) {
    Contradicted(kept, "wrong root of the empty log in the checkpoint");
  }
  // By size; of one size in the order they came.
  const auto after = std::upper_bound(kept_.begin(), kept_.end(), size,
                                      [](uint64_t one, const Kept& other) { return one < other.checkpoint.size; });
  kept_.insert(after, std::move(kept));
}

void CheckpointCheck::Append(const Hash& leaf_hash) {
  tree_.Append(leaf_hash);
  if (checkpoint_ && tree_.size() == checkpoint_->size) root_agrees_ = tree_.Root() == checkpoint_->root;
  for (; next_kept_ < kept_.size() && kept_[next_kept_].checkpoint.size <= tree_.size(); ++next_kept_) {
    const Kept& kept = kept_[next_kept_];
    if (kept.checkpoint.size == tree_.size() && NT_GUARD(verify_prior_root, tree_.Root() != kept.checkpoint.root)) {
      Contradicted(kept, fmt::format("the first {} leaves are not those of the checkpoint", kept.checkpoint.size));
    }
  }
}

void CheckpointCheck::Finish(VerifyReport* report) {
  const uint64_t leaves = report->leaves;
  for (const auto& [index, held] : receipts_) {
    WrongReceipt(held,
                 held.wrong.empty() ? fmt::format("the receipt is of leaf {}, the log holds {}", index, leaves) : "");
  }
  for (; next_kept_ < kept_.size(); ++next_kept_) {
    if (!NT_GUARD(verify_prior_size, kept_[next_kept_].checkpoint.size > leaves)) continue;
    const Kept& kept = kept_[next_kept_];
    Contradicted(kept, fmt::format("the log holds {} leaves, fewer than the {} of the checkpoint", leaves,
                                   kept.checkpoint.size));
  }
  if (!checkpoint_) {
    const bool wanted = log_policy_.has_value() && leaves > 0;
    if (!report->checkpoint_present) {
      findings_->Add(
          wanted ? FindingKind::kTamper : FindingKind::kNote, wanted ? reason::kCheckpoint : reason::kNote,
          wanted ? "there is no checkpoint, but leaves: the signed root is missing" : "there is no checkpoint", {},
          nullptr, std::string(kCheckpointFile));
    }
    report->not_under_checkpoint = leaves;
    return;
  }
  if (checkpoint_->size == 0) root_agrees_ = checkpoint_->root == EmptyRoot();
  report->not_under_checkpoint = leaves > checkpoint_->size ? leaves - checkpoint_->size : 0;
  if (NT_GUARD(verify_size, leaves < checkpoint_->size)) {
    root_broken_ = true;
    Broken(reason::kRoot, fmt::format("the log holds {} leaves, its checkpoint says {}", leaves, checkpoint_->size));
  } else if (NT_GUARD(verify_root, !root_agrees_)) {
    root_broken_ = true;
    Broken(reason::kRoot, fmt::format("the root over the first {} leaves is not the checkpoint's", checkpoint_->size));
  }
  report->checkpoint_trusted = valid_ && root_agrees_ && !root_broken_;
}

}  // namespace nodetrail::trail
