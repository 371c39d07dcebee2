// SPDX-License-Identifier: Apache-2.0
//
// Which hook a record came by: from its type and system call, among the hooks
// that are attached.
#ifndef NODETRAIL_AGENT_PIPELINE_HOOK_TABLE_H_
#define NODETRAIL_AGENT_PIPELINE_HOOK_TABLE_H_

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/capture/record_source.h"
#include "nodetrail/event/v1/event.pb.h"

namespace nodetrail::agent {

// The system call behind a cred.change; "" for an exec.
[[nodiscard]] std::string_view CredCauseSyscall(uint32_t cause);

// Thread: pipeline.
class HookTable {
 public:
  explicit HookTable(const std::vector<HookCoverage>& coverage);

  // "tp_btf/sched_process_exec". `syscall`: static string, may be empty; of a
  // request of io_uring the tracepoint that told it ("io_uring_complete"). A
  // family with several candidates that can't be told apart gives the part
  // they share and a star; empty if nothing that is attached fits.
  std::string_view Find(event::v1::Kind kind, std::string_view syscall);

 private:
  struct Known {
    event::v1::Kind kind;
    const char* syscall;
    std::string hook;
  };
  [[nodiscard]] std::string Choose(event::v1::Kind kind, std::string_view syscall) const;

  std::vector<HookCoverage> attached_;
  std::vector<Known> known_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_PIPELINE_HOOK_TABLE_H_
