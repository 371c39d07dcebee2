// SPDX-License-Identifier: Apache-2.0
//
// The checkpoints that agents say in their batches they have seen, against the
// log that is verified: it must have been that tree once. Finds a log that
// showed another tree to an agent, and one that was cut since.
#ifndef NODETRAIL_TRAIL_VERIFY_SEEN_H_
#define NODETRAIL_TRAIL_VERIFY_SEEN_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>

#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/verify_findings.h"

namespace nodetrail::trail {

// Owner: one verification; what it is given must outlive it. Constant memory:
// the roots of the newest sizes are kept, claims about older ones are gathered
// and answered by reading the leaves once more.
class SeenCheck {
 public:
  // Kept roots, and claims gathered before the leaves are read again.
  static constexpr size_t kKeptRoots = size_t{1} << 17;
  static constexpr size_t kMaxWaiting = size_t{1} << 17;

  SeenCheck(std::string trail_dir, Findings* findings, size_t kept_roots = kKeptRoots,
            size_t max_waiting = kMaxWaiting);

  // The next leaf of the log, damaged or not.
  void Append(const Hash& leaf_hash);
  // A batch that holds; its leaf was the last one appended.
  Status Take(const v1::BatchHeader& header, const LeafLocation& where);
  // After the last leaf.
  Status Finish();

 private:
  // What a batch says; the root's bytes.
  using Claim = std::pair<uint64_t, std::string>;
  struct Holder {
    std::string batch;  // the first that says so
    LeafLocation where;
  };

  Status AskAgain();
  void Judge(const Claim& claim, const Holder& holder, const Hash& root);
  void Report(const Claim& claim, const Holder& holder, std::string text);

  const std::string dir_;
  Findings* const findings_;
  const size_t kept_roots_;
  const size_t max_waiting_;
  CompactRange tree_;
  std::deque<Hash> roots_;  // of the sizes up to tree_.size(), newest last
  std::map<Claim, Holder> waiting_;
  Claim right_;            // the last one that was: batches of an agent say the same often
  std::set<Claim> wrong_;  // reported, at most kMaxWaiting
  uint64_t repeated_ = 0;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_SEEN_H_
