// SPDX-License-Identifier: Apache-2.0
//
// A RecordSource fed by a test: records in, counters as the kernel would keep
// them, losses and the product's own acts on demand.
#ifndef NODETRAIL_TESTS_FAKES_REPLAY_SOURCE_H_
#define NODETRAIL_TESTS_FAKES_REPLAY_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "agent/capture/record_source.h"
#include "tests/fakes/record_builder.h"

namespace nodetrail::agent {

class ReplaySource final : public RecordSource {
 public:
  explicit ReplaySource(uint32_t cpus = 2) { counters_.cpus.resize(cpus); }

  // Stamps the record with the CPU and its next cpu_seq, and queues it.
  void Push(RecordBuilder builder, uint32_t cpu = 0) {
    nt_cpu_stats& stats = counters_.cpus.at(cpu);
    builder.Cpu(cpu, ++stats.cpu_seq);
    PushBytes(builder.Build());
  }

  // Any bytes; counted as submitted if they have a header that says so.
  void PushBytes(std::vector<std::byte> bytes) {
    if (bytes.size() >= sizeof(nt_header)) {
      nt_header header;
      std::memcpy(&header, bytes.data(), sizeof header);
      if (header.type < NT_TYPE_MAX && header.cpu < counters_.cpus.size()) {
        ++counters_.cpus[header.cpu].submitted[header.type];
      }
    }
    queue_.push_back(std::move(bytes));
  }

  // `count` records of `type` that found no room: in the rings, each with a
  // number that is missing; in a map, before it was given one.
  void Lose(nt_type type, uint64_t count = 1, uint32_t cpu = 0, bool map = false) {
    nt_cpu_stats& stats = counters_.cpus.at(cpu);
    if (!map) stats.cpu_seq += count;
    (map ? stats.lost_map : stats.lost_ring)[type] += count;
  }

  void CountSelf(nt_self_class cls, nt_type type, uint64_t count = 1, uint32_t cpu = 0) {
    counters_.cpus.at(cpu).self[cls][type] += count;
  }
  void CountOutOfScope(uint64_t count, uint32_t cpu = 0) { counters_.cpus.at(cpu).out_of_scope += count; }

  void SetRingUse(const RingUse& bulk, const RingUse& reserve) {
    counters_.bulk = bulk;
    counters_.reserve = reserve;
  }

  void AddHook(HookCoverage hook) { coverage_.push_back(std::move(hook)); }

  Result<size_t> Drain(const RecordSink& sink, bool /*everything*/) override {
    ++drains;
    if (!drain_status.ok()) return drain_status;
    size_t n = 0;
    while (!queue_.empty()) {
      const std::vector<std::byte> record = std::move(queue_.front());
      queue_.pop_front();
      ++n;
      if (!sink(record)) break;
    }
    return n;
  }

  Result<SourceCounters> ReadCounters() override {
    if (!counters_status.ok()) return counters_status;
    return counters_;
  }

  [[nodiscard]] uint64_t LostImages(uint32_t cpu) const override {
    if (cpu >= counters_.cpus.size()) return 0;
    const nt_cpu_stats& stats = counters_.cpus[cpu];
    return stats.lost_ring[NT_FORK] + stats.lost_ring[NT_EXEC];
  }

  [[nodiscard]] const std::vector<HookCoverage>& Coverage() const override { return coverage_; }

  Status MarkSelf(uint32_t tgid, nt_self_class cls) override {
    marked[tgid] = cls;
    return OkStatus();
  }

  std::vector<Damage> Inspect(const std::vector<std::string>& deaf) override {
    inspections.push_back(deaf);
    return std::exchange(damage, {});
  }

  [[nodiscard]] size_t queued() const { return queue_.size(); }

  std::map<uint32_t, nt_self_class> marked;
  std::vector<std::vector<std::string>> inspections;
  std::vector<Damage> damage;  // what the next Inspect finds
  uint64_t drains = 0;
  Status drain_status;     // what Drain answers when not OK
  Status counters_status;  // what ReadCounters answers when not OK

 private:
  std::deque<std::vector<std::byte>> queue_;
  SourceCounters counters_;
  std::vector<HookCoverage> coverage_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_TESTS_FAKES_REPLAY_SOURCE_H_
