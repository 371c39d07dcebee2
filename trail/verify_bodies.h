// SPDX-License-Identifier: Apache-2.0
//
// The body of each batch against its header, and what the agent declares in it.
#ifndef NODETRAIL_TRAIL_VERIFY_BODIES_H_
#define NODETRAIL_TRAIL_VERIFY_BODIES_H_

#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "trail/verify_chains.h"
#include "trail/verify_findings.h"
#include "trail/verify_retired.h"

namespace nodetrail::trail {

// Owner: one verification; what it is given must outlive it.
class BodiesCheck {
 public:
  // `scope`: what a bundle is about; null for a trail, which has all.
  BodiesCheck(const TrailReader* reader, const CaSet& cas, const BundleScope* scope, ChainsCheck* chains,
              RetiredCheck* retired, Findings* findings)
      : reader_(reader), cas_(cas), scope_(scope), chains_(chains), retired_(retired), findings_(findings) {}

  // The body of a batch that the chain of `agent` accepted. An error is
  // operational: the file can't be read.
  Status Take(AgentState* agent, const v1::BatchHeader& header, const LeafLocation& where);

  [[nodiscard]] uint64_t checked() const { return checked_; }
  // Batches with a body: in the scope, and outside it with the body absent.
  [[nodiscard]] uint64_t in_scope() const { return in_scope_; }
  [[nodiscard]] uint64_t evicted() const { return evicted_; }  // with a statement that holds
  [[nodiscard]] uint64_t absent_outside() const { return absent_outside_; }

 private:
  // The body is missing: the agent may have signed that it gave it up.
  Status TakeEvicted(AgentState* agent, const v1::BatchHeader& header, const LeafLocation& where);

  const TrailReader* reader_;
  const CaSet& cas_;
  const BundleScope* scope_;
  ChainsCheck* chains_;
  RetiredCheck* retired_;
  Findings* findings_;
  uint64_t checked_ = 0;  // that are right
  uint64_t in_scope_ = 0;
  uint64_t absent_outside_ = 0;
  uint64_t evicted_ = 0;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_BODIES_H_
