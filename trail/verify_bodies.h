// SPDX-License-Identifier: Apache-2.0
//
// The body of each batch against its header, and what the agent declares in it.
#ifndef NODETRAIL_TRAIL_VERIFY_BODIES_H_
#define NODETRAIL_TRAIL_VERIFY_BODIES_H_

#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "trail/verify_chains.h"
#include "trail/verify_findings.h"

namespace nodetrail::trail {

// Owner: one verification; what it is given must outlive it.
class BodiesCheck {
 public:
  BodiesCheck(const TrailReader* reader, const CaSet& cas, ChainsCheck* chains, Findings* findings)
      : reader_(reader), cas_(cas), chains_(chains), findings_(findings) {}

  // The body of a batch that the chain of `agent` accepted. An error is
  // operational: the file can't be read.
  Status Take(AgentState* agent, const v1::BatchHeader& header, const LeafLocation& where);

  [[nodiscard]] uint64_t checked() const { return checked_; }

 private:
  const TrailReader* reader_;
  const CaSet& cas_;
  ChainsCheck* chains_;
  Findings* findings_;
  uint64_t checked_ = 0;  // that are right
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_BODIES_H_
