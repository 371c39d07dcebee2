// SPDX-License-Identifier: Apache-2.0
//
// The signed roots against the leaves, while verification streams by: the
// log's own checkpoint, and those that the auditor kept.
#ifndef NODETRAIL_TRAIL_VERIFY_CHECKPOINT_H_
#define NODETRAIL_TRAIL_VERIFY_CHECKPOINT_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/receipt.h"
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
  // A receipt out of a bundle; `file` is its name in it. After Read, before any leaf.
  void AddReceipt(const std::string& file, std::string_view text);
  // The receipts of the leaf that was appended last; `batch` is its name, if it
  // has one.
  void CheckReceipts(const LeafLocation& where, const Hash& leaf_hash, const std::string& batch);
  // After the last leaf.
  void Finish(VerifyReport* report);

  // After Read: that of the log; nothing if there is none that parses.
  [[nodiscard]] const std::optional<Checkpoint>& checkpoint() const { return checkpoint_; }
  // After Read: whose signatures count; nothing: no log key was given.
  [[nodiscard]] const std::optional<LogPolicy>& logs() const { return log_policy_; }
  // Leaves under it.
  [[nodiscard]] std::optional<uint64_t> size() const;
  [[nodiscard]] bool covers(uint64_t index) const { return checkpoint_ && index < checkpoint_->size; }
  // After Finish: the leaves do not have the checkpoint's root.
  [[nodiscard]] bool root_broken() const { return root_broken_; }

 private:
  struct Kept {
    std::string name;
    Checkpoint checkpoint;
    bool of_bundle = false;  // of a receipt in it
  };

  // A receipt, until its leaf comes by.
  struct HeldReceipt {
    std::string file;
    std::string wrong;  // if it does not hold whatever the leaf is
    Receipt receipt;
    Checkpoint checkpoint;
    bool of_bundle = false;
  };

  Status MakePolicy();
  Status KeepNote(const KeptNote& note);
  void ReadOwn(VerifyReport* report);
  Status ReadKept();
  // A checkpoint whose root the log must have at its size.
  void Keep(Kept kept);
  // The log is not that of a checkpoint that is held.
  void Contradicted(const Kept& kept, const std::string& what);
  void WrongReceipt(const HeldReceipt& held, const std::string& context);
  void Broken(std::string_view reason, std::string text);

  const TrailReader* reader_;
  const VerifyPolicy& policy_;
  Findings* findings_;
  std::optional<Checkpoint> checkpoint_;
  std::optional<LogPolicy> log_policy_;
  std::vector<Kept> kept_;                         // by size
  std::multimap<uint64_t, HeldReceipt> receipts_;  // by index
  size_t next_kept_ = 0;                           // the first that is larger than the tree
  CompactRange tree_;
  bool valid_ = false;  // under the policy, its quorum included
  bool root_agrees_ = false;
  bool root_broken_ = false;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_CHECKPOINT_H_
