// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_seen.h"

#include <fmt/format.h>

#include <memory>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {

SeenCheck::SeenCheck(std::string trail_dir, Findings* findings, size_t kept_roots, size_t max_waiting)
    : dir_(std::move(trail_dir)), findings_(findings), kept_roots_(kept_roots), max_waiting_(max_waiting) {}

void SeenCheck::Append(const Hash& leaf_hash) {
  tree_.Append(leaf_hash);
  roots_.push_back(tree_.Root());
  if (roots_.size() > kept_roots_) roots_.pop_front();
}

Status SeenCheck::Take(const v1::BatchHeader& header, const LeafLocation& where) {
  if (header.seen_size() == 0) return OkStatus();
  Claim claim(header.seen_size(), header.seen_root());
  if (claim == right_) return OkStatus();
  Holder holder{BatchName(header), where};
  if (NT_GUARD(verify_seen_size, claim.first > where.index)) {
    Report(claim, holder,
           fmt::format("the agent had seen a checkpoint of {} leaves with root {}, but the batch is leaf {}: the log "
                       "was longer once",
                       claim.first, HexEncode(claim.second), where.index));
    return OkStatus();
  }
  // Leaves are missing below this one: that is said elsewhere, and there is no root to compare.
  if (claim.first >= tree_.size()) return OkStatus();
  const uint64_t back = tree_.size() - claim.first;
  if (back < roots_.size()) {
    Judge(claim, holder, roots_[roots_.size() - 1 - back]);
    return OkStatus();
  }
  waiting_.emplace(std::move(claim), std::move(holder));
  return waiting_.size() < max_waiting_ ? OkStatus() : AskAgain();
}

Status SeenCheck::Finish() {
  NT_RETURN_IF_ERROR(AskAgain());
  if (repeated_ > 0) {
    findings_->Note(
        fmt::format("{} further batches tell of a checkpoint that the log never had, "
                    "with a size and root that others named before",
                    repeated_));
  }
  return OkStatus();
}

// With a reader of its own: the first pass may be under way. The damage that
// this one meets is reported by that one.
Status SeenCheck::AskAgain() {
  if (waiting_.empty()) return OkStatus();
  NT_ASSIGN_OR_RETURN(const std::unique_ptr<TrailReader> reader, TrailReader::OpenTrailOrBundle(dir_));
  CompactRange tree;
  auto next = waiting_.begin();
  NT_RETURN_IF_ERROR(reader->Inspect([&](const LeafLocation&, std::string_view leaf, bool) {
    if (leaf.empty()) return true;
    tree.Append(LeafHash(leaf));
    if (next->first.first > tree.size()) return true;
    const Hash root = tree.Root();
    for (; next != waiting_.end() && next->first.first == tree.size(); ++next) {
      Judge(next->first, next->second, root);
    }
    return next != waiting_.end();
  }));
  waiting_.clear();
  return OkStatus();
}

void SeenCheck::Judge(const Claim& claim, const Holder& holder, const Hash& root) {
  if (NT_GUARD(verify_seen_root, claim.second != View(root))) {
    Report(claim, holder,
           fmt::format("the agent had seen root {} for the first {} leaves, here they have root {}: the log showed it "
                       "another tree, or was changed",
                       HexEncode(claim.second), claim.first, Hex(root)));
    return;
  }
  right_ = claim;
}

void SeenCheck::Report(const Claim& claim, const Holder& holder, std::string text) {
  if (wrong_.contains(claim)) {
    ++repeated_;
    return;
  }
  if (wrong_.size() < kMaxWaiting) wrong_.insert(claim);
  findings_->Add(FindingKind::kTamper, reason::kSeen, std::move(text), holder.batch, &holder.where);
}

}  // namespace nodetrail::trail
