// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace nodetrail::trail {
namespace {

// Findings are told by their place in the log; those without one come last, in
// this order, so that every reader names the same one first.
size_t RankOf(std::string_view name) {
  constexpr std::array kOrder = {reason::kCheckpoint, reason::kQuorum, reason::kPrior,   reason::kSegment,
                                 reason::kRoot,       reason::kTile,   reason::kReceipt, reason::kBundle};
  const auto* at = std::find(kOrder.begin(), kOrder.end(), name);
  return at == kOrder.end() ? 0 : static_cast<size_t>(at - kOrder.begin()) + 1;
}

}  // namespace

std::string BatchName(std::string_view agent, uint64_t epoch, uint64_t seq) {
  return fmt::format("{}:{}:{}", agent, epoch, seq);
}

std::string BatchName(const v1::BatchHeader& header) {
  return BatchName(header.agent_id(), header.epoch(), header.seq());
}

void Findings::Add(FindingKind kind, std::string_view reason, std::string text, std::string batch,
                   const LeafLocation* where, std::string file) {
  Finding finding{kind, std::string(reason), std::move(text), std::move(batch), std::nullopt, std::move(file)};
  if (where != nullptr) {
    finding.log_index = where->index;
    if (finding.file.empty()) finding.file = where->file;
  }
  Add(std::move(finding));
}

void Findings::Add(Finding finding) {
  // A flood of notes must not hide a tamper.
  if (worst_ < finding.kind || findings_.size() < max_kept_) {
    worst_ = std::max(worst_, finding.kind);
    findings_.push_back(std::move(finding));
    return;
  }
  ++dropped_;
}

void Findings::AddBadLeaf(const LeafLocation& where, std::string text, std::string claimed) {
  bad_leaves_.push_back({where, std::move(text), std::move(claimed), {}});
}

void Findings::NameBadLeaves(std::string_view agent_id, ChainHole* hole) {
  while (named_bad_ < bad_leaves_.size() && hole->from_seq <= hole->to_seq) {
    bad_leaves_[named_bad_++].batch = BatchName(agent_id, hole->epoch, hole->from_seq++);
  }
}

void Findings::NameRest(std::string_view agent_id, ChainPosition next) {
  for (; next.epoch != 0 && named_bad_ < bad_leaves_.size(); ++named_bad_, ++next.seq) {
    bad_leaves_[named_bad_].batch = BatchName(agent_id, next.epoch, next.seq);
  }
}

void Findings::Conclude(VerifyReport* report) {
  for (BadLeaf& bad : bad_leaves_) {
    Add(FindingKind::kTamper, reason::kDamagedLeaf, std::move(bad.text), bad.batch.empty() ? bad.claimed : bad.batch,
        &bad.where);
  }
  bad_leaves_.clear();
  std::stable_sort(findings_.begin(), findings_.end(), [](const Finding& a, const Finding& b) {
    if (a.log_index || b.log_index) return a.log_index.value_or(UINT64_MAX) < b.log_index.value_or(UINT64_MAX);
    return RankOf(a.reason) < RankOf(b.reason);
  });
  report->findings = std::move(findings_);
  report->findings_dropped = dropped_;
  report->verdict = static_cast<TrailVerdict>(static_cast<int>(worst_));
  if (worst_ < FindingKind::kGap) return;
  // One that names a batch, if there is one of that weight.
  const auto of = [&](bool named) {
    return std::find_if(report->findings.begin(), report->findings.end(),
                        [&](const Finding& f) { return f.kind == worst_ && (!named || !f.batch.empty()); });
  };
  auto first = of(true);
  if (first == report->findings.end()) first = of(false);
  report->first_bad = *first;
}

}  // namespace nodetrail::trail
