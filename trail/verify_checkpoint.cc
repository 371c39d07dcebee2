// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_checkpoint.h"

#include <fmt/format.h>

#include <utility>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {
namespace {

constexpr std::string_view kCheckpointFile = "log/checkpoint";

}  // namespace

std::optional<uint64_t> CheckpointCheck::size() const {
  if (!checkpoint_) return std::nullopt;
  return checkpoint_->size;
}

void CheckpointCheck::Broken(std::string text) {
  findings_->Add(FindingKind::kTamper, std::move(text), {}, nullptr, std::string(kCheckpointFile));
}

Status CheckpointCheck::Read(VerifyReport* report) {
  ReadOwn(report);
  return ReadPrior();
}

void CheckpointCheck::ReadOwn(VerifyReport* report) {
  auto note = reader_->Checkpoint();
  if (!note.ok()) {
    if (note.status().code() != Code::kNotFound) Broken(std::string(note.status().message()));
    return;
  }
  report->checkpoint_present = true;
  Result<Checkpoint> checkpoint = InvalidArgument("");
  if (policy_.log_key) {
    checkpoint = VerifyCheckpoint(*note, *policy_.log_key);
  } else {
    auto parsed = ParseNote(*note);
    checkpoint = parsed.ok() ? ParseCheckpointBody(parsed->text) : Result<Checkpoint>(parsed.status());
    findings_->Add(FindingKind::kNote, "no log key was given: the checkpoint's signature was not checked", {}, nullptr,
                   std::string(kCheckpointFile));
  }
  if (!checkpoint.ok()) return Broken(std::string(checkpoint.status().message()));
  checkpoint_ = std::move(*checkpoint);
  report->checkpoint_size = checkpoint_->size;
  report->checkpoint_root = Hex(checkpoint_->root);
  if (checkpoint_->size == 0 && checkpoint_->root != EmptyRoot()) Broken("checkpoint: wrong root of the empty log");
}

Status CheckpointCheck::ReadPrior() {
  if (policy_.prior_checkpoint.empty()) return OkStatus();
  if (!policy_.log_key) return InvalidArgument("verify: a prior checkpoint needs the log key");
  auto prior = VerifyCheckpoint(policy_.prior_checkpoint, *policy_.log_key);
  if (!prior.ok()) return Annotate(prior.status(), "verify: prior checkpoint");
  prior_ = std::move(*prior);
  if (NT_GUARD(verify_prior_size, !checkpoint_ || checkpoint_->size < prior_->size)) {
    findings_->Add(FindingKind::kTamper,
                   fmt::format("the log's checkpoint is older than the one you hold: size {}, yours {}",
                               checkpoint_ ? checkpoint_->size : 0, prior_->size));
  }
  return OkStatus();
}

void CheckpointCheck::Append(const Hash& leaf_hash) {
  tree_.Append(leaf_hash);
  if (checkpoint_ && tree_.size() == checkpoint_->size) root_agrees_ = tree_.Root() == checkpoint_->root;
  if (prior_ && tree_.size() == prior_->size && NT_GUARD(verify_prior_root, tree_.Root() != prior_->root)) {
    findings_->Add(FindingKind::kTamper,
                   fmt::format("the first {} leaves are not those of the checkpoint you hold", prior_->size));
  }
}

void CheckpointCheck::Finish(VerifyReport* report) {
  const uint64_t leaves = report->leaves;
  if (!checkpoint_) {
    const bool wanted = policy_.log_key.has_value() && leaves > 0;
    if (!report->checkpoint_present) {
      findings_->Add(
          wanted ? FindingKind::kTamper : FindingKind::kNote,
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
    Broken(fmt::format("the log holds {} leaves, its checkpoint says {}", leaves, checkpoint_->size));
  } else if (NT_GUARD(verify_root, !root_agrees_)) {
    root_broken_ = true;
    Broken(fmt::format("the root over the first {} leaves is not the checkpoint's", checkpoint_->size));
  }
  if (prior_ && NT_GUARD(verify_prior_size, leaves < prior_->size)) {
    findings_->Add(FindingKind::kTamper,
                   fmt::format("the log holds {} leaves, the checkpoint you hold says {}", leaves, prior_->size));
  }
  report->checkpoint_trusted = policy_.log_key.has_value() && root_agrees_ && !root_broken_;
}

}  // namespace nodetrail::trail
