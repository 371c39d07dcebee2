// SPDX-License-Identifier: Apache-2.0
//
// tracefs, for the ids of the per-syscall tracepoints. Where it is mounted
// nowhere it is opened without a mount point (fsopen, fsmount): nothing
// appears in anybody's file tree.
#ifndef NODETRAIL_AGENT_CAPTURE_TRACEFS_H_
#define NODETRAIL_AGENT_CAPTURE_TRACEFS_H_

#include <cstdint>
#include <string>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"

namespace nodetrail::agent {

class Tracefs {
 public:
  static Result<Tracefs> Open();

  // events/syscalls/<event>/id, "sys_exit_openat". kNotFound: the kernel has
  // no such call, or was built without CONFIG_FTRACE_SYSCALLS.
  [[nodiscard]] Result<uint64_t> SyscallEventId(const std::string& event) const;

 private:
  explicit Tracefs(UniqueFd root) : root_(std::move(root)) {}
  UniqueFd root_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_CAPTURE_TRACEFS_H_
