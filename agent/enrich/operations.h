// SPDX-License-Identifier: Apache-2.0
//
// Names of what a system call's first arguments ask for, as the kernel's
// headers spell them.
#ifndef NODETRAIL_AGENT_ENRICH_OPERATIONS_H_
#define NODETRAIL_AGENT_ENRICH_OPERATIONS_H_

#include <string>

#include "nodetrail/abi/record.h"

namespace nodetrail::agent {

// "PTRACE_ATTACH", "CLONE_NEWUSER|CLONE_NEWNS"; a number without a name in
// hexadecimal; "" for a type whose calls have no operation (one call, one act).
[[nodiscard]] std::string OperationName(uint16_t type, const nt_act& act, bool compat32);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ENRICH_OPERATIONS_H_
