// SPDX-License-Identifier: Apache-2.0
//
// A small world of agents, a collector and its witnesses, all real but their
// clocks, disks, network and chance: sealer, spool, log watch, ingest,
// sequencer, receipts, witness set, the witness's core and store, and the
// verifier are the programs' own. Between agent and collector stands a courier
// that speaks the shipper's protocol without gRPC and threads; between
// collector and witness a wire without HTTP. One step is one move of one
// party; which, the seed decides. It decides, too, what lets a batch go from
// the spools, how many witnesses there are, and whether somebody puts an old
// copy of the collector's folder or of a witness's records in place.
//
// What is checked, all the time and once more after all faults have stopped:
//   I1 what was given up is in the log, where it was said to be, and under what
//      the agents' policy waits for; what an old copy of the log lost shows
//   I2 nobody sends two batches with one number
//   I3 checkpoints form one chain, over restarts too; a witness never forgets
//      what it cosigned, and nothing is signed against what one says
//   I4 what was durable in a spool arrives, or its loss is declared; bodies
//      that a spool gave up are counted
//   I5 an agent, and a witness, starts on whatever a crash left
//   I6 a spool stays within its limit
//   I8 once faults stop, everything drains, and the trail verifies, cosigned
//   I9 a batch is only ever taken for the agent whose stream it came on
// I7 (holds) needs retention, which is not built. The promise of the ratchet
// is checked beside: no key of a durable batch is left in memory.
#ifndef NODETRAIL_TESTS_SIM_WORLD_H_
#define NODETRAIL_TESTS_SIM_WORLD_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nodetrail::sim {

struct WorldOptions {
  uint64_t seed = 0;
  uint64_t steps = 500;
  std::string dir;  // empty directory, on tmpfs
  std::string bug;  // a planted one; empty: none
  bool trace = false;
  // Files that an auditor needs are left there, too: ca.pem, policy.txt; the
  // trail is in dir/collector/trail.
};

struct WorldResult {
  std::string violation;                   // empty: none
  uint64_t step = 0;                       // at which it was found; `steps`: after the end
  std::map<std::string, uint64_t> counts;  // what happened how often
  std::string digest;                      // of the log: equal for equal seeds
  int verdict = -1;                        // of the verifier; -1: it was not reached
};

WorldResult RunWorld(const WorldOptions& options);

struct Bug {
  std::string_view name;
  std::string_view what;
};
// Those that must be found.
std::vector<Bug> PlantedBugs();
// A name in WorldResult::counts that a run of so many worlds must have reached.
struct Kind {
  std::string_view name;
  uint64_t in_worlds;
};
std::vector<Kind> Kinds();

}  // namespace nodetrail::sim

#endif  // NODETRAIL_TESTS_SIM_WORLD_H_
