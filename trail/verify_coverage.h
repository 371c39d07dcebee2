// SPDX-License-Identifier: Apache-2.0
//
// What of an agent's time the log covers.
#ifndef NODETRAIL_TRAIL_VERIFY_COVERAGE_H_
#define NODETRAIL_TRAIL_VERIFY_COVERAGE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "nodetrail/trail/bundle.h"
#include "nodetrail/trail/v1/trail.pb.h"
#include "nodetrail/trail/verify.h"

namespace nodetrail::trail {

// A batch that the agent's chain accepted, into the sums and the epochs.
void CountBatch(const v1::BatchHeader& header, AgentCoverage* coverage);

// One agent's time, from batch to batch, told by when they were sealed. Owner:
// its AgentState. Keeps a bounded number of stretches; sums are always of all.
class CoverageTimeline {
 public:
  // How a batch follows the one before.
  enum class Join {
    kNext,     // it is the next of its epoch
    kStopped,  // it opens an epoch after an orderly end
    kBroken,   // batches are missing between, or the restart was not orderly
  };
  // Names the stretch before a batch; kNone if there is none that counts.
  using Stretch = size_t;
  static constexpr Stretch kNone = SIZE_MAX;

  // Only what lies in [since, until] is kept.
  CoverageTimeline(uint64_t silence_ns, uint64_t since_ns, uint64_t until_ns)
      : silence_ns_(silence_ns), since_ns_(since_ns), until_ns_(until_ns) {}

  // The next batch. `causes`, for kBroken: how many things must be explained
  // before the stretch is declared and no longer unexplained.
  Stretch Batch(uint64_t sealed_ns, Join join, unsigned causes = 1);
  // One cause of a stretch was declared by the agent.
  void Explain(Stretch stretch);
  // Events of this time were lost, and the agent said so.
  void Declare(uint64_t from_ns, uint64_t to_ns);
  // The bodies of this time were retired. Where something was lost as well, that
  // is told instead.
  void Retire(uint64_t from_ns, uint64_t to_ns);
  // The end of time: `stopped` if the last batch was an orderly end. Into
  // intervals and sums.
  void Finish(uint64_t end_ns, bool stopped, AgentCoverage* coverage);

  // Of the newest batch; 0 before the first.
  [[nodiscard]] uint64_t newest_ns() const { return at_ns_; }
  // What the newest batch added: from the one before it, if it is later.
  [[nodiscard]] TimeSpan newest() const { return {before_ns_, at_ns_}; }

 private:
  struct Piece {
    CoverageInterval interval;
    unsigned causes = 0;
  };
  Stretch Push(CoverageKind kind, uint64_t from_ns, uint64_t to_ns, unsigned causes);
  void AddTo(std::vector<CoverageInterval>* all, CoverageKind kind, uint64_t from_ns, uint64_t to_ns);

  const uint64_t silence_ns_;
  const uint64_t since_ns_;
  const uint64_t until_ns_;
  bool begun_ = false;
  uint64_t before_ns_ = 0;
  uint64_t at_ns_ = 0;
  std::vector<Piece> pieces_;                   // in order of time
  std::vector<CoverageInterval> declarations_;  // in no order
  std::vector<CoverageInterval> retired_;       // in no order
  std::array<uint64_t, kCoverageKinds> dropped_ns_{};
  uint64_t dropped_ = 0;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_COVERAGE_H_
