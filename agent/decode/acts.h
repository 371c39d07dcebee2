// SPDX-License-Identifier: Apache-2.0
//
// What abi/acts.h lists, for lookups: the audited system calls whose facts are
// their arguments, and the record types that tell of them.
#ifndef NODETRAIL_AGENT_DECODE_ACTS_H_
#define NODETRAIL_AGENT_DECODE_ACTS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "nodetrail/abi/acts.h"
#include "nodetrail/abi/record.h"

namespace nodetrail::agent {

struct ActCall {
  std::string_view name;  // "fchmodat"
  uint32_t nr = 0;        // x86-64; 0: only i386 has it
  uint32_t nr32 = 0;      // i386; 0: only x86-64 has it
  uint16_t type = NT_NONE;
  uint32_t shape = 0;  // NT_S_*
  bool named = false;  // its arguments are read when it enters, too
};

struct ActType {
  uint16_t type = NT_NONE;
  std::string_view domain;  // "file"
  std::string_view kind;    // label of the event's kind
};

// All of them, execve and execveat (NT_EXEC_FAILED) included.
[[nodiscard]] std::span<const ActCall> ActCalls();
[[nodiscard]] std::span<const ActType> ActTypes();

// nullptr: no such call is listed. x32 calls are found by their x86-64 number.
[[nodiscard]] const ActCall* FindActCall(uint32_t nr, bool compat32);

// Has a record of this type an nt_act as its body?
[[nodiscard]] bool IsAct(uint16_t type);

// The argument that `at` (NT_S_AT_*) names; nullopt if the call has none such.
[[nodiscard]] std::optional<uint64_t> ActArgument(const nt_act& act, const ActCall& call, uint32_t at);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_DECODE_ACTS_H_
