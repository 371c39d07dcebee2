// SPDX-License-Identifier: Apache-2.0
#include "agent/pipeline/loss_ledger.h"

#include <algorithm>
#include <iterator>
#include <numeric>

namespace nodetrail::agent {
namespace {

// More CPUs than any kernel has: a record that says more is not believed.
constexpr uint32_t kMaxCpus = 8192;

uint64_t Delta(uint64_t before, uint64_t now) { return now >= before ? now - before : now; }

uint64_t Sum(const nt_u64 (&counts)[NT_TYPE_MAX]) {
  return std::accumulate(std::begin(counts), std::end(counts), uint64_t{0});
}

}  // namespace

bool LossLedger::See(uint32_t cpu, uint64_t cpu_seq, uint64_t boot_ns) {
  if (cpu >= kMaxCpus) return false;
  if (cpu >= cpus_.size()) cpus_.resize(size_t{cpu} + 1);
  Cpu& state = cpus_[cpu];
  const bool hole = cpu_seq > state.last_seq + 1;
  if (hole) {
    if (state.hole_from == 0) {
      state.hole_from = state.last_seq + 1;
      state.hole_from_boot_ns = state.last_boot_ns;
    }
    state.holes += cpu_seq - state.last_seq - 1;
    state.hole_to = cpu_seq - 1;
    state.hole_to_boot_ns = boot_ns;
  }
  if (cpu_seq > state.last_seq) {
    state.last_seq = cpu_seq;
    state.last_boot_ns = boot_ns;
  }
  return hole;
}

void LossLedger::SettleCpu(size_t index, const nt_cpu_stats& before, const nt_cpu_stats& now, uint64_t read_boot_ns,
                           std::vector<Loss>* out) {
  Cpu& cpu = cpus_[index];
  const uint64_t lost = Sum(now.lost_ring);
  // Where the lost ones can be: after what was settled before, up to now. Once
  // every loss there ever was is a hole between two records: exactly there. Else
  // some of the counted are after the newest record seen, or of the holes seen
  // some were counted before.
  uint64_t seq_from = before.cpu_seq + 1;
  uint64_t seq_to = now.cpu_seq;
  uint64_t from_boot = last_boot_ns_;
  uint64_t to_boot = read_boot_ns;
  if (cpu.hole_from != 0 && cpu.holes == lost) {
    seq_from = cpu.hole_from;
    seq_to = cpu.hole_to;
    if (cpu.hole_from_boot_ns != 0) from_boot = cpu.hole_from_boot_ns;
    to_boot = cpu.hole_to_boot_ns;
  } else {
    // The counters are read without a lock: a position may have been given before
    // the last settlement, and its outcome counted after it. Below the number of
    // outcomes there is none such.
    seq_from = std::min(seq_from, Sum(before.submitted) + Sum(before.lost_ring) + 1);
    if (cpu.hole_from != 0) seq_from = std::min(seq_from, cpu.hole_from);
    if (cpu.hole_from_boot_ns != 0) from_boot = std::min(from_boot, cpu.hole_from_boot_ns);
  }
  for (size_t type = 0; type < NT_TYPE_MAX; ++type) {
    Loss loss;
    loss.type = static_cast<uint16_t>(type);
    loss.cpu = static_cast<uint32_t>(index);
    loss.count = Delta(before.lost_ring[type], now.lost_ring[type]);
    if (loss.count != 0) {
      loss.stage = "ring";
      loss.seq_from = seq_from;
      loss.seq_to = seq_to;
      loss.from_boot_ns = from_boot;
      loss.to_boot_ns = to_boot;
      out->push_back(loss);
    }
    loss.count = Delta(before.lost_map[type], now.lost_map[type]);
    if (loss.count != 0) {
      loss.stage = "map";
      loss.seq_from = loss.seq_to = 0;
      loss.from_boot_ns = last_boot_ns_;
      loss.to_boot_ns = read_boot_ns;
      out->push_back(loss);
    }
  }
  // A hole whose loss isn't counted yet stays.
  if (cpu.holes <= lost) {
    cpu.hole_from = cpu.hole_to = 0;
    cpu.hole_from_boot_ns = cpu.hole_to_boot_ns = 0;
  }
}

void LossLedger::Settle(const SourceCounters& counters, uint64_t asked_boot_ns, uint64_t read_boot_ns,
                        std::vector<Loss>* out) {
  if (cpus_.size() < counters.cpus.size()) cpus_.resize(counters.cpus.size());
  last_.cpus.resize(counters.cpus.size());
  for (size_t i = 0; i < counters.cpus.size(); ++i) {
    SettleCpu(i, last_.cpus[i], counters.cpus[i], read_boot_ns, out);
  }
  if (const uint64_t skipped = Delta(last_.skipped_probes, counters.skipped_probes); skipped != 0) {
    Loss loss;
    loss.stage = "probe";
    loss.count = skipped;
    loss.from_boot_ns = last_boot_ns_;
    loss.to_boot_ns = read_boot_ns;
    out->push_back(loss);
  }
  last_ = counters;
  last_boot_ns_ = asked_boot_ns;
}

}  // namespace nodetrail::agent
