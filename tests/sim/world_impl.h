// SPDX-License-Identifier: Apache-2.0
//
// The inside of a world. Steps and faults are in world.cc, how it comes to
// rest and what is checked then in world_end.cc.
#ifndef NODETRAIL_TESTS_SIM_WORLD_IMPL_H_
#define NODETRAIL_TESTS_SIM_WORLD_IMPL_H_

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "nodetrail/trail/verify.h"
#include "tests/sim/agent_host.h"
#include "tests/sim/collector_host.h"
#include "tests/sim/rng.h"
#include "tests/sim/witness_host.h"
#include "tests/sim/world.h"

namespace nodetrail::sim {

// What kind of world a seed is.
struct Plan {
  Release release = Release::kDurable;
  size_t witnesses = 0;
  size_t quorum = 0;  // of them
  bool tight = false;
  // At most one of these two: who goes back to an old copy.
  bool collector_goes_back = false;
  bool witness_goes_back = false;
};
Plan MakePlan(Rng* rng);

class World {
 public:
  explicit World(const WorldOptions& options);
  WorldResult Run();

 private:
  // What the agents gave up, and is not in the log at the end.
  struct Missing {
    bool durable = false;  // on the word of the collector alone
    bool proven = false;   // on a receipt with its quorum
  };

  std::string Dir(const std::string& name) const { return options_.dir + "/" + name; }
  void AddDisk(const Disk& disk);
  void Trace(const std::string& what) const {
    if (options_.trace) fmt::print("{:5} {}\n", step_, what);
  }
  void Found(const std::string& violation) {
    if (violation_.empty()) violation_ = violation;
  }
  [[nodiscard]] LogTruth Truth() const;

  // world.cc
  void Step();
  void StartAgent(AgentHost* agent, uint64_t dice);
  void StartCollector();
  void StepWitness();
  void Deliver(AgentHost* agent);
  void Arm(Disk* disk, unsigned percent);
  void Fault(AgentHost* agent, uint64_t dice);
  void DiskFault(AgentHost* agent, uint64_t dice);
  void AfterStep(AgentHost* agent);
  [[nodiscard]] std::string CheckAcked() const;
  void RollCollectorBack();
  void PutNewestBack();

  // world_end.cc
  void Heal();
  bool HealCollector();
  bool Drain();
  void HealWitnesses();
  void CheckTrail();
  void CheckChain(const std::vector<trail::Hash>& roots);
  std::string CheckArrived(const AgentHost& agent, const std::map<Position, trail::Hash>& in_log, Missing* missing);
  void CheckEvictions(const AgentHost& agent);
  void CheckVerdict(const Missing& missing);

  const WorldOptions options_;
  Rng rng_;
  std::map<std::string, uint64_t> counts_;
  const trail::TestCa ca_;
  const Plan plan_;
  CollectorHost collector_;
  std::vector<std::unique_ptr<WitnessHost>> witnesses_;
  std::vector<std::unique_ptr<AgentHost>> agents_;
  uint64_t step_ = 0;
  std::string violation_;
  bool rolled_back_ = false;  // once, the collector's folder was
  bool split_ = false;        // two histories, each with its evidence: found, and no way on
  std::vector<std::map<Position, std::pair<trail::Hash, uint64_t>>> acked_by_newest_;
  // Of the log at the end, by agent and epoch: losses.evicted_batches.
  std::map<std::string, std::map<uint64_t, uint64_t>> counted_;
  std::map<std::string, uint64_t> evicted_in_log_;
  std::string digest_;
  int verdict_ = -1;
};

}  // namespace nodetrail::sim

#endif  // NODETRAIL_TESTS_SIM_WORLD_IMPL_H_
