// SPDX-License-Identifier: Apache-2.0
//
// What is kept, and the account of what is not. The default policy keeps
// everything; what the kernel side withholds by rule (the product's own acts,
// what is out of scope) is counted here and goes into agent.filtered.
#ifndef NODETRAIL_AGENT_POLICY_POLICY_H_
#define NODETRAIL_AGENT_POLICY_POLICY_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/abi/record.h"
#include "nodetrail/event/v1/event.pb.h"

namespace nodetrail::agent {

// The event kind that records of this type become. NT_FILE_OPEN is file.open;
// one that created its file is file.create, which the pipeline tells apart.
[[nodiscard]] event::v1::Kind KindOfType(uint16_t type);

enum class Decision : uint8_t { kKeep };

// Thread: pipeline.
class Policy {
 public:
  explicit Policy(uint64_t first_seq) : next_seq_(first_seq), first_seq_(first_seq) {}

  // The next sequence number: gapless, given before anything is decided.
  [[nodiscard]] uint64_t TakeSeq() { return next_seq_++; }
  [[nodiscard]] uint64_t next_seq() const { return next_seq_; }
  [[nodiscard]] uint64_t events_total() const { return next_seq_ - first_seq_; }

  [[nodiscard]] static Decision Decide(event::v1::Kind /*kind*/) { return Decision::kKeep; }

  // One CPU's counters as they were and as they are now.
  void CountWithheld(const nt_cpu_stats& before, const nt_cpu_stats& now);
  // One record that came and is no event: a canary's.
  void Withhold(nt_self_class cls, uint16_t type);
  // Since the start.
  [[nodiscard]] uint64_t withheld_total() const { return withheld_total_; }
  // What was withheld since the last call, by rule and kind; empty if nothing.
  // Rules: self.agent, self.companion, self.canary, scope.process_tree (kind unknown).
  [[nodiscard]] std::vector<event::v1::CountByRule> TakeWithheld();

 private:
  uint64_t next_seq_;
  uint64_t first_seq_;
  uint64_t self_[NT_SELF_MAX][NT_TYPE_MAX] = {};
  uint64_t out_of_scope_ = 0;
  uint64_t withheld_total_ = 0;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_POLICY_POLICY_H_
