// SPDX-License-Identifier: Apache-2.0
//
// Bodies that are missing: legal only if a later entry of the log retired them
// by rule, under no hold.
#ifndef NODETRAIL_TRAIL_VERIFY_RETIRED_H_
#define NODETRAIL_TRAIL_VERIFY_RETIRED_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "nodetrail/trail/retention.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/verify_chains.h"
#include "trail/verify_findings.h"

namespace nodetrail::trail {

// Owner: one verification; what it is given must outlive it. Memory grows with
// the bodies that are missing and not retired yet.
class RetiredCheck {
 public:
  explicit RetiredCheck(Findings* findings) : findings_(findings) {}

  // The body of a batch that the chain of `agent` just accepted is missing, and
  // the agent did not give it up.
  void Missing(AgentState* agent, const v1::BatchHeader& header, const LeafLocation& where);
  // An entry that the log wrote. `covered`: the checkpoint covers it, or there is none.
  void Take(const v1::LogEntry& entry, const LeafLocation& where, bool covered);
  // After the last leaf, before the chains finish: what is missing still is tampering.
  void Finish();

  [[nodiscard]] uint64_t retired() const { return retired_; }

 private:
  struct Body {
    AgentState* agent = nullptr;
    std::string agent_id;
    std::string batch;
    LeafLocation where;
    Hash sha256{};
    TimeSpan time;
    uint64_t sealed_ns = 0;
    TimeSpan stretch;  // of the agent's timeline
    // Of the first entry that retired it and did not hold; empty: none named it.
    std::string_view fault_reason;
    std::string fault;
  };
  // Empty if this entry retires it rightly; else what is wrong, and its reason.
  [[nodiscard]] std::string Fault(const v1::Retire& retire, const Body& body, std::string_view sha256,
                                  std::string_view* reason) const;

  Findings* findings_;
  Retention retention_;
  std::map<uint64_t, Body> missing_;  // by index in the log
  uint64_t retired_ = 0;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_RETIRED_H_
