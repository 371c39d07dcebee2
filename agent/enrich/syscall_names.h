// SPDX-License-Identifier: Apache-2.0
#ifndef NODETRAIL_AGENT_ENRICH_SYSCALL_NAMES_H_
#define NODETRAIL_AGENT_ENRICH_SYSCALL_NAMES_H_

#include <cstdint>
#include <string_view>

namespace nodetrail::agent {

// The audited system calls by number: x86-64's, or i386's with `compat32`.
// Empty for any other.
[[nodiscard]] std::string_view SyscallName(uint32_t nr, bool compat32);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ENRICH_SYSCALL_NAMES_H_
