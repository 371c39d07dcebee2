// SPDX-License-Identifier: Apache-2.0
//
// What the spool does as it fills, and what it tells of that.
// agent/spool/record_format.md describes the steps.
#ifndef NODETRAIL_AGENT_SPOOL_LADDER_H_
#define NODETRAIL_AGENT_SPOOL_LADDER_H_

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nodetrail::agent {

struct EvictedBody;

enum class SpoolLevel : uint8_t {
  kOk,
  kWarn,          // 75 %: said, nothing else
  kEvict,         // 85 %: bodies of low classes go, oldest segment first
  kCriticalOnly,  // 95 %: new batches of low classes are stored without their body
  kHeadersOnly,   // no room: every new batch is stored without its body
  kFull,          // the reserve for that is full too: appends are refused
};
// "ok", "warn", "evict", "critical_only", "headers_only", "full".
std::string_view SpoolLevelName(SpoolLevel level);

// For people: "the spool is 87 % full", or that there is no room for it, which
// says nothing of its own share when others filled the disk.
std::string SpoolFullness(SpoolLevel level, uint64_t used_percent);

// By how much is used; kHeadersOnly and kFull are found by trying.
SpoolLevel LevelOf(uint64_t used, uint64_t usable);

// Bodies given up among the batches seq_from..seq_to of an epoch.
struct SpoolEviction {
  uint64_t epoch = 0;
  uint64_t seq_from = 0;
  uint64_t seq_to = 0;
  uint64_t batches = 0;
  uint64_t events = 0;
  uint64_t first_wall_ns = 0;
  uint64_t last_wall_ns = 0;
};

// Thread: whoever holds the spool's lock.
class EvictionLedger {
 public:
  void Add(const EvictedBody& body);
  // Since the last call, one entry an epoch.
  std::vector<SpoolEviction> Take();

 private:
  std::map<uint64_t, SpoolEviction> by_epoch_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SPOOL_LADDER_H_
