// SPDX-License-Identifier: Apache-2.0
//
// What a verification found, and what follows from it: the worst decides, the
// first of the worst is named.
#ifndef NODETRAIL_TRAIL_VERIFY_FINDINGS_H_
#define NODETRAIL_TRAIL_VERIFY_FINDINGS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"

namespace nodetrail::trail {

// "agent:epoch:seq".
std::string BatchName(std::string_view agent, uint64_t epoch, uint64_t seq);
std::string BatchName(const v1::BatchHeader& header);

// Owner: one verification. Keeps `max_kept` findings and counts the rest; the
// first of each weight is always kept.
class Findings {
 public:
  explicit Findings(size_t max_kept) : max_kept_(max_kept) {}

  // `where` gives the index, and the file unless `file` does.
  void Add(FindingKind kind, std::string text, std::string batch = {}, const LeafLocation* where = nullptr,
           std::string file = {});
  void Add(Finding finding);

  // A leaf that does not hold. Which batch it was is known for sure only when
  // the agent's chain turns out to lack one. `claimed`: what it says it is.
  void AddBadLeaf(const LeafLocation& where, std::string text, std::string claimed);
  // Leaves that did not hold, not named yet, stand in the place of the first
  // missing batches: they take them off `hole`, which may end up empty
  // (from_seq above to_seq).
  void NameBadLeaves(std::string_view agent_id, ChainHole* hole);
  // Those that are left at the end are the next batches of the only agent.
  void NameRest(std::string_view agent_id, ChainPosition next);

  // Into the report: findings in the order of the log, verdict, first_bad.
  void Conclude(VerifyReport* report);

 private:
  struct BadLeaf {
    LeafLocation where;
    std::string text;
    std::string claimed;  // it may lie
    std::string batch;    // what the chain lacks
  };

  const size_t max_kept_;
  FindingKind worst_ = FindingKind::kNote;
  std::vector<Finding> findings_;
  uint64_t dropped_ = 0;
  std::vector<BadLeaf> bad_leaves_;
  size_t named_bad_ = 0;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_FINDINGS_H_
