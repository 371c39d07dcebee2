// SPDX-License-Identifier: Apache-2.0
//
// The signed roots against the leaves, while verification streams by: the
// log's own checkpoint, and those that the auditor kept.
#ifndef NODETRAIL_TRAIL_VERIFY_CHECKPOINT_H_
#define NODETRAIL_TRAIL_VERIFY_CHECKPOINT_H_

#include <optional>

#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "trail/verify_findings.h"

namespace nodetrail::trail {

// Owner: one verification; what it is given must outlive it.
class CheckpointCheck {
 public:
  CheckpointCheck(const TrailReader* reader, const VerifyPolicy& policy, Findings* findings)
      : reader_(reader), policy_(policy), findings_(findings) {}

  // First of all, before any leaf: a log that grows meanwhile is never shorter
  // than it. An error is operational.
  Status Read(VerifyReport* report);
  // The next leaf of the log, damaged or not.
  void Append(const Hash& leaf_hash);
  // After the last leaf.
  void Finish(VerifyReport* report);

  // Leaves under the log's checkpoint; nothing if there is none that parses.
  [[nodiscard]] std::optional<uint64_t> size() const;
  [[nodiscard]] bool covers(uint64_t index) const { return checkpoint_ && index < checkpoint_->size; }
  // After Finish: the leaves do not have the checkpoint's root.
  [[nodiscard]] bool root_broken() const { return root_broken_; }

 private:
  void ReadOwn(VerifyReport* report);
  Status ReadPrior();
  void Broken(std::string text);

  const TrailReader* reader_;
  const VerifyPolicy& policy_;
  Findings* findings_;
  std::optional<Checkpoint> checkpoint_;
  std::optional<Checkpoint> prior_;
  CompactRange tree_;
  bool root_agrees_ = false;
  bool root_broken_ = false;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_CHECKPOINT_H_
