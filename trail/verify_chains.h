// SPDX-License-Identifier: Apache-2.0
//
// The chains of all agents, while verification streams by: is each leaf the
// next of its agent's, what is missing, and who says why.
#ifndef NODETRAIL_TRAIL_VERIFY_CHAINS_H_
#define NODETRAIL_TRAIL_VERIFY_CHAINS_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "trail/verify_coverage.h"
#include "trail/verify_entries.h"
#include "trail/verify_findings.h"

namespace nodetrail::trail {

// What one verification knows of one agent.
struct AgentState {
  AgentState(ChainPolicy policy, const CoverageTimeline& empty) : chain(std::move(policy)), timeline(empty) {}
  ChainVerifier chain;
  AgentCoverage coverage;
  CoverageTimeline timeline;
  uint64_t sealed_ns = 0;  // of its last batch

  // Said by agent.loss of stage "spool": batches that its spool lost.
  struct SpoolLoss {
    uint64_t declared_in = 0;  // epoch
    ChainHole batches;
  };
  std::vector<SpoolLoss> spool_losses;
  struct OpenHole {
    ChainHole hole;
    LeafLocation found_at;
    bool in_scope = true;
    CoverageTimeline::Stretch stretch = CoverageTimeline::kNone;
  };
  std::vector<OpenHole> holes;
  // An unclean restart that no agent.gap has explained yet.
  std::optional<Finding> unexplained_restart;
  bool restart_in_scope = true;
  CoverageTimeline::Stretch restart_stretch = CoverageTimeline::kNone;
  bool epoch_has_loss_event = false;
  uint64_t epoch_opened_ns = 0;  // its first batch
  v1::LossCounters last_losses;
};

// Owner: one verification; what it is given must outlive it.
class ChainsCheck {
 public:
  // `scope`: what a bundle is about; all else is not judged by what is missing.
  ChainsCheck(const VerifyPolicy& policy, const CaSet& cas, BundleScope scope, EntriesCheck* entries,
              Findings* findings)
      : policy_(policy), cas_(cas), scope_(std::move(scope)), entries_(entries), findings_(findings) {}

  // A leaf that parsed. The agent, if it is its next batch; null if it is not,
  // which is then a finding.
  AgentState* Take(const LeafLocation& where, std::string_view leaf, const ParsedLeaf& parsed);
  // An agent.loss or agent.gap out of the body of a batch that Take accepted.
  void Declare(AgentState* agent, const v1::BatchHeader& header, const event::v1::Event& event,
               const LeafLocation& where);
  // After the last leaf. `root_broken`: the leaves do not have the signed root.
  void Finish(bool root_broken, VerifyReport* report);

 private:
  void TakeNotes(AgentState* agent, const v1::BatchHeader& header, const ChainNotes& notes, const ChainHead& before,
                 const LeafLocation& where);
  // How many holes are left that no damaged leaf fills: the last of agent->holes.
  size_t TakeHoles(AgentState* agent, const v1::BatchHeader& header, const ChainNotes& notes,
                   const LeafLocation& where);
  void TakeTime(AgentState* agent, const v1::BatchHeader& header, const ChainNotes& notes, const ChainHead& before,
                size_t holes);
  // Whether what is missing between the agent's last batch and this one counts.
  [[nodiscard]] bool InScope(const AgentState& agent, const v1::BatchHeader& next) const;
  void AddGap(bool in_scope, Finding finding);
  // The epoch before is over: what its counters say without an event saying it.
  void FinishEpoch(AgentState* agent, const v1::BatchHeader& next);
  void ReportRestart(AgentState* agent);
  void ReportCounters(AgentState* agent, const std::string& batch);
  [[nodiscard]] CoverageTimeline EmptyTimeline() const;
  static bool IsDeclared(const ChainHole& hole, const std::vector<AgentState::SpoolLoss>& losses);
  void FinishAgent(AgentState* agent, bool root_broken);

  const VerifyPolicy& policy_;
  const CaSet& cas_;
  const BundleScope scope_;
  EntriesCheck* entries_;
  Findings* findings_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<AgentState>> agents_;  // by tenant, agent id
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_CHAINS_H_
