// SPDX-License-Identifier: Apache-2.0
//
// What an attacker with a debugger does to the agent.
#ifndef NODETRAIL_TESTS_E2E_DEBUGGER_H_
#define NODETRAIL_TESTS_E2E_DEBUGGER_H_

#include <sys/types.h>

#include <vector>

namespace nodetrail::e2e {

// Links of `pid` to per-syscall tracepoints; those to what the kernel does are others.
std::vector<int> SyscallLinks(pid_t pid);

// Has the process close its own descriptors.
void CloseFrom(pid_t pid, const std::vector<int>& fds);

}  // namespace nodetrail::e2e

#endif  // NODETRAIL_TESTS_E2E_DEBUGGER_H_
