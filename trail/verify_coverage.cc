// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_coverage.h"

#include <algorithm>
#include <utility>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {
namespace {

// Stretches kept of one agent: an agent that makes more is not worth the memory.
constexpr size_t kMaxPieces = 10'000;

size_t IndexOf(CoverageKind kind) { return static_cast<size_t>(kind); }

// Joins what touches and is of one kind.
void Append(const CoverageInterval& next, AgentCoverage* coverage) {
  if (next.from_ns >= next.to_ns) return;
  coverage->covered_ns[IndexOf(next.kind)] += next.to_ns - next.from_ns;
  auto& all = coverage->intervals;
  if (!all.empty() && all.back().kind == next.kind && all.back().to_ns == next.from_ns) {
    all.back().to_ns = next.to_ns;
  } else {
    all.push_back(next);
  }
}

// In order, without overlap.
std::vector<CoverageInterval> Merged(std::vector<CoverageInterval> sorted) {
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.from_ns < b.from_ns; });
  std::vector<CoverageInterval> out;
  for (const CoverageInterval& next : sorted) {
    if (!out.empty() && next.from_ns <= out.back().to_ns) {
      out.back().to_ns = std::max(out.back().to_ns, next.to_ns);
    } else {
      out.push_back(next);
    }
  }
  return out;
}

// What of `pieces` is covered and in `marks` (merged) becomes of their kind.
std::vector<CoverageInterval> Mark(const std::vector<CoverageInterval>& pieces,
                                   const std::vector<CoverageInterval>& marks) {
  std::vector<CoverageInterval> out;
  auto next = marks.begin();
  for (CoverageInterval rest : pieces) {
    if (rest.kind == CoverageKind::kCovered) {
      while (next != marks.end() && next->to_ns <= rest.from_ns) ++next;
      for (auto it = next; it != marks.end() && it->from_ns < rest.to_ns; ++it) {
        const uint64_t from = std::max(it->from_ns, rest.from_ns);
        const uint64_t to = std::min(it->to_ns, rest.to_ns);
        out.push_back({CoverageKind::kCovered, rest.from_ns, from});
        out.push_back({it->kind, from, to});
        rest.from_ns = to;
      }
    }
    out.push_back(rest);
  }
  return out;
}

}  // namespace

std::string_view CoverageKindName(CoverageKind kind) {
  switch (kind) {
    case CoverageKind::kCovered: return "covered";
    case CoverageKind::kDeclared: return "declared_lost";
    case CoverageKind::kStopped: return "stopped";
    case CoverageKind::kSilent: return "silent";
    case CoverageKind::kUnexplained: return "unexplained";
    case CoverageKind::kRetired: return "retired";
  }
  return "unknown";
}

void CountBatch(const v1::BatchHeader& header, AgentCoverage* coverage) {
  if (coverage->epochs.empty() || coverage->epochs.back().epoch != header.epoch()) {
    EpochCoverage epoch;
    epoch.epoch = header.epoch();
    epoch.first_seq = header.seq();
    epoch.from_wall_ns = header.first_wall_ns();
    coverage->epochs.push_back(epoch);
  }
  EpochCoverage& epoch = coverage->epochs.back();
  epoch.last_seq = header.seq();
  ++epoch.batches;
  epoch.events += header.event_count();
  epoch.to_wall_ns = std::max(epoch.to_wall_ns, header.last_wall_ns());
  epoch.clean_shutdown = header.type() == v1::BATCH_TYPE_CLEAN_SHUTDOWN;
  ++coverage->batches;
  coverage->events += header.event_count();
  coverage->body_bytes += header.stored_body_len();
}

CoverageTimeline::Stretch CoverageTimeline::Push(CoverageKind kind, uint64_t from_ns, uint64_t to_ns, unsigned causes) {
  from_ns = std::max(from_ns, since_ns_);
  to_ns = std::min(to_ns, until_ns_);
  if (from_ns >= to_ns) return kNone;
  const bool joins = causes == 0 && !pieces_.empty() && pieces_.back().interval.kind == kind &&
                     pieces_.back().interval.to_ns == from_ns;
  if (joins) {
    pieces_.back().interval.to_ns = to_ns;
    return kNone;
  }
  if (pieces_.size() == kMaxPieces) {
    ++dropped_;
    dropped_ns_[IndexOf(kind)] += to_ns - from_ns;
    return kNone;
  }
  pieces_.push_back({{kind, from_ns, to_ns}, causes});
  return pieces_.size() - 1;
}

CoverageTimeline::Stretch CoverageTimeline::Batch(uint64_t sealed_ns, Join join, unsigned causes) {
  if (!std::exchange(begun_, true)) {
    before_ns_ = at_ns_ = sealed_ns;
    return kNone;
  }
  before_ns_ = at_ns_;
  // The clock may go back; no time is counted twice.
  if (sealed_ns <= at_ns_) return kNone;
  const uint64_t from = std::exchange(at_ns_, sealed_ns);
  switch (join) {
    case Join::kStopped: return Push(CoverageKind::kStopped, from, sealed_ns, 0);
    case Join::kBroken: return Push(CoverageKind::kUnexplained, from, sealed_ns, causes);
    case Join::kNext: break;
  }
  const bool silent = NT_GUARD(verify_silence, sealed_ns - from > silence_ns_);
  return Push(silent ? CoverageKind::kSilent : CoverageKind::kCovered, from, sealed_ns, 0);
}

void CoverageTimeline::Explain(Stretch stretch) {
  if (stretch >= pieces_.size() || pieces_[stretch].causes == 0) return;
  if (--pieces_[stretch].causes == 0) pieces_[stretch].interval.kind = CoverageKind::kDeclared;
}

void CoverageTimeline::AddTo(std::vector<CoverageInterval>* all, CoverageKind kind, uint64_t from_ns, uint64_t to_ns) {
  from_ns = std::max(from_ns, since_ns_);
  to_ns = std::min(to_ns, until_ns_);
  if (from_ns >= to_ns) return;
  if (!all->empty()) {
    CoverageInterval& last = all->back();
    if (from_ns <= last.to_ns && to_ns >= last.from_ns) {
      last.from_ns = std::min(last.from_ns, from_ns);
      last.to_ns = std::max(last.to_ns, to_ns);
      return;
    }
  }
  if (all->size() == kMaxPieces) {
    ++dropped_;
    return;
  }
  all->push_back({kind, from_ns, to_ns});
}

void CoverageTimeline::Declare(uint64_t from_ns, uint64_t to_ns) {
  AddTo(&declarations_, CoverageKind::kDeclared, from_ns, to_ns);
}

void CoverageTimeline::Retire(uint64_t from_ns, uint64_t to_ns) {
  AddTo(&retired_, CoverageKind::kRetired, from_ns, to_ns);
}

void CoverageTimeline::Finish(uint64_t end_ns, bool stopped, AgentCoverage* coverage) {
  if (begun_ && end_ns > at_ns_) {
    if (stopped) {
      Push(CoverageKind::kStopped, at_ns_, end_ns, 0);
    } else if (NT_GUARD(verify_silence, end_ns - at_ns_ > silence_ns_)) {
      Push(CoverageKind::kSilent, at_ns_, end_ns, 0);
    }
  }
  std::vector<CoverageInterval> all;
  all.reserve(pieces_.size());
  for (const Piece& piece : pieces_) all.push_back(piece.interval);
  for (const CoverageInterval& next : Mark(Mark(all, Merged(declarations_)), Merged(retired_))) Append(next, coverage);
  for (size_t i = 0; i < kCoverageKinds; ++i) coverage->covered_ns[i] += dropped_ns_[i];
  coverage->intervals_dropped = dropped_;
}

}  // namespace nodetrail::trail
