// SPDX-License-Identifier: Apache-2.0
//
// Turns the kernel's loss counters into statements: so many events of this
// kind were lost on this CPU, between these positions, in this interval. The
// counts add up exactly to the counters.
#ifndef NODETRAIL_AGENT_PIPELINE_LOSS_LEDGER_H_
#define NODETRAIL_AGENT_PIPELINE_LOSS_LEDGER_H_

#include <cstdint>
#include <string_view>
#include <vector>

#include "agent/capture/record_source.h"

namespace nodetrail::agent {

struct Loss {
  std::string_view stage;  // ring, map, probe
  uint16_t type = 0;       // nt_type; 0 for the stage probe: unknown
  uint32_t cpu = 0;
  uint64_t count = 0;
  // Positions on that CPU, inclusive, among which the lost ones are; records
  // that found room in the reserve may lie between them. 0, 0: unknown (a loss
  // that took no position, or the stage probe).
  uint64_t seq_from = 0, seq_to = 0;
  uint64_t from_boot_ns = 0, to_boot_ns = 0;
};

// Thread: pipeline.
class LossLedger {
 public:
  // A record arrived. True if positions before it are missing on its CPU.
  bool See(uint32_t cpu, uint64_t cpu_seq, uint64_t boot_ns);

  // Counters, read between these two times. Appends what was lost since the last
  // call; the first call counts from zero.
  void Settle(const SourceCounters& counters, uint64_t asked_boot_ns, uint64_t read_boot_ns, std::vector<Loss>* out);

  [[nodiscard]] const SourceCounters& last() const { return last_; }

 private:
  struct Cpu {
    uint64_t last_seq = 0;      // of the newest record seen
    uint64_t last_boot_ns = 0;  // and its time
    uint64_t holes = 0;         // positions missing between records, ever
    // The first and the last of them since the last settlement; 0: none.
    uint64_t hole_from = 0, hole_to = 0;
    uint64_t hole_from_boot_ns = 0, hole_to_boot_ns = 0;
  };
  void SettleCpu(size_t index, const nt_cpu_stats& before, const nt_cpu_stats& now, uint64_t read_boot_ns,
                 std::vector<Loss>* out);

  std::vector<Cpu> cpus_;
  SourceCounters last_;
  uint64_t last_boot_ns_ = 0;  // what was counted since was lost after this
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_PIPELINE_LOSS_LEDGER_H_
