// SPDX-License-Identifier: Apache-2.0
//
// Does the agent hear? An attached hook may be deaf: a tracepoint that was
// disabled from outside, a program that never fires. So at start and at each
// interval a child does one act of each domain (agent/selftest/canary.h), and
// the record of each must come out of the rings.
//
// What a canary does is withheld from the trail and counted (agent.filtered,
// rule self.canary), but never more of it than a canary does: a process that
// hides in one is recorded.
#ifndef NODETRAIL_AGENT_SELFTEST_SELFTEST_H_
#define NODETRAIL_AGENT_SELFTEST_SELFTEST_H_

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/capture/record_source.h"
#include "agent/decode/decode.h"
#include "agent/selftest/canary.h"
#include "nodetrail/event/v1/event.pb.h"

namespace nodetrail::agent {

enum class Hearing : uint8_t {
  kUntried,  // no test yet, or the act could not be done
  kHeard,
  kDeaf,    // done, and no record came
  kUnsure,  // no record came, but records of that kind were lost meanwhile
  kAbsent,  // no hook of the domain is attached: agent.coverage says why
};
// "untried", "heard", "deaf", "unsure", "absent".
std::string_view HearingName(Hearing hearing);

struct DomainHearing {
  std::string domain;  // process, privilege, file, network, kernel
  Hearing hearing = Hearing::kUntried;
  std::vector<std::string> missing;  // kinds that were done and not heard
  std::string why;                   // of untried: what failed
  bool operator==(const DomainHearing&) const = default;
};

// Owner: the composition root. Thread: pipeline, save View().
class Selftest {
 public:
  // Borrowed: both outlive it. `interval_ns` > 0.
  Selftest(Canary* canary, RecordSource* source, uint64_t interval_ns);
  ~Selftest();
  Selftest(const Selftest&) = delete;
  Selftest& operator=(const Selftest&) = delete;

  // True: an act of the canary that runs, heard now, not to be recorded.
  bool Take(const RawEvent& raw);

  // After a drain that left nothing behind. Starts, waits, judges; what is to be
  // said (agent.selftest), at the first verdict and at each change.
  std::optional<event::v1::AgentEvent> Poll(uint64_t now_boot_ns, const SourceCounters& counters);

  // From any thread. Empty before the first verdict.
  [[nodiscard]] std::vector<DomainHearing> View() const;

 private:
  using Counts = std::array<uint64_t, NT_TYPE_MAX>;
  void Begin(uint64_t now_boot_ns, const SourceCounters& counters);
  [[nodiscard]] bool AllHeard() const;
  [[nodiscard]] std::vector<DomainHearing> Judge(const SourceCounters& counters) const;
  std::optional<event::v1::AgentEvent> Conclude(std::vector<DomainHearing> verdict);
  [[nodiscard]] std::vector<DomainHearing> Untried(std::string_view why) const;

  Canary* canary_;
  RecordSource* source_;
  uint64_t interval_ns_;
  uint64_t next_ns_ = 0;
  uint32_t pid_ = 0;  // 0: none runs
  uint64_t deadline_ns_ = 0;
  uint64_t ended_ns_ = 0;  // 0: still acting
  CanaryReport report_;
  Counts budget_{}, heard_{}, lost_before_{};
  uint64_t skipped_before_ = 0;
  std::string failure_;  // of Begin

  mutable std::mutex mutex_;
  std::vector<DomainHearing> view_;  // guarded by mutex_
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SELFTEST_SELFTEST_H_
