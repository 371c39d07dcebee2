// SPDX-License-Identifier: Apache-2.0
//
// What a verification found, and what follows from it: the worst decides, the
// first of the worst is named.
#ifndef NODETRAIL_TRAIL_VERIFY_FINDINGS_H_
#define NODETRAIL_TRAIL_VERIFY_FINDINGS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"

namespace nodetrail::trail {

// "agent:epoch:seq".
std::string BatchName(std::string_view agent, uint64_t epoch, uint64_t seq);
std::string BatchName(const v1::BatchHeader& header);

// Finding::reason, all that there are.
namespace reason {
inline constexpr std::string_view kDamagedLeaf = "damaged-leaf";
inline constexpr std::string_view kAlgorithm = "algorithm";
inline constexpr std::string_view kDuplicate = "duplicate";
inline constexpr std::string_view kEquivocation = "equivocation";
inline constexpr std::string_view kPast = "past";
inline constexpr std::string_view kLink = "link";
inline constexpr std::string_view kOpening = "opening";
inline constexpr std::string_view kCounters = "counters";
inline constexpr std::string_view kTenant = "tenant";
inline constexpr std::string_view kEnrolment = "enrolment";
inline constexpr std::string_view kRevoked = "revoked";
inline constexpr std::string_view kSeen = "seen";
inline constexpr std::string_view kBody = "body";
inline constexpr std::string_view kBodyMissing = "body-missing";
inline constexpr std::string_view kEviction = "eviction";
inline constexpr std::string_view kRetire = "retire";
inline constexpr std::string_view kHold = "hold";
inline constexpr std::string_view kRelease = "release";
inline constexpr std::string_view kHole = "hole";
inline constexpr std::string_view kRestart = "restart";
inline constexpr std::string_view kLoss = "loss";
// Of the log as a whole, without a place in it: in this order.
inline constexpr std::string_view kCheckpoint = "checkpoint";
inline constexpr std::string_view kQuorum = "quorum";
inline constexpr std::string_view kPrior = "prior";
inline constexpr std::string_view kSegment = "segment";
inline constexpr std::string_view kRoot = "root";
inline constexpr std::string_view kTile = "tile";
inline constexpr std::string_view kReceipt = "receipt";
inline constexpr std::string_view kBundle = "bundle";
inline constexpr std::string_view kNote = "note";  // only said
}  // namespace reason

// Owner: one verification. Keeps `max_kept` findings and counts the rest; the
// first of each weight is always kept.
class Findings {
 public:
  explicit Findings(size_t max_kept) : max_kept_(max_kept) {}

  // `where` gives the index, and the file unless `file` does.
  void Add(FindingKind kind, std::string_view reason, std::string text, std::string batch = {},
           const LeafLocation* where = nullptr, std::string file = {});
  void Note(std::string text, std::string batch = {}, const LeafLocation* where = nullptr, std::string file = {}) {
    Add(FindingKind::kNote, reason::kNote, std::move(text), std::move(batch), where, std::move(file));
  }
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
