// SPDX-License-Identifier: Apache-2.0
//
// What /proc says of a process, behind an interface: the process table is
// tested without /proc.
#ifndef NODETRAIL_AGENT_ATTRIBUTE_PROC_READER_H_
#define NODETRAIL_AGENT_ATTRIBUTE_PROC_READER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "nodetrail/abi/record.h"
#include "nodetrail/base/status.h"

namespace nodetrail::agent {

enum class ProcDetail {
  kIdentity,  // pid, parent, start, comm: one small file, no argv
  kMinimal,   // identity, parent, exe, argv, uid: what an ancestor shows
  kFull,
};

struct CgroupLine {
  uint32_t hierarchy = 0;   // 0: the unified one
  std::string controllers;  // "pids", "name=systemd"; empty for the unified one
  std::string path;
};

// Facts as of the moment they were read. A fact that could not be read is
// absent (empty, false), never guessed.
struct ProcInfo {
  uint32_t tgid = 0;
  uint32_t ppid = 0;
  uint32_t ns_tgid = 0;
  uint32_t pgid = 0, sid = 0, tty_nr = 0;
  uint64_t start_boot_ns = 0;  // floor to a clock tick
  std::string comm;
  std::string exe;  // as readlink says, without " (deleted)"
  bool has_exe = false;
  bool has_file = false;  // `file` was read: stat of the running image
  nt_file file{};         // exe; dev, ino, size, mode, uid, gid, nlink, flags
  std::string argv;       // NUL-separated, at most NT_ARGV_MAX bytes
  bool has_argv = false;
  bool argv_truncated = false;
  std::string cwd;
  bool has_cwd = false;
  bool has_cred = false;
  nt_cred cred{};  // userns_level is unknown: 0
  bool no_new_privs = false;
  uint32_t seccomp_mode = 0;
  bool has_login = false;
  uint32_t loginuid = 0xffffffffU, sessionid = 0xffffffffU;
  bool kthread = false;
  uint32_t pid_ns = 0, mnt_ns = 0, net_ns = 0, ipc_ns = 0, uts_ns = 0, cgroup_ns = 0;
  std::vector<CgroupLine> cgroups;
};

// Owner: the composition root. Thread: pipeline.
class ProcReader {
 public:
  virtual ~ProcReader() = default;

  // Every process of the pid namespace this reader sees, ascending.
  virtual Result<std::vector<uint32_t>> List() = 0;

  // kNotFound if there is no such process (any more). What comes back belongs
  // to one process even if its pid is reused meanwhile.
  virtual Result<ProcInfo> Read(uint32_t tgid, ProcDetail detail) = 0;

  // Length of the tick that start_boot_ns is floored to.
  [[nodiscard]] virtual uint64_t TickNs() const = 0;
};

// Of `root` ("/proc"). Fails if it is no procfs of ours to read.
[[nodiscard]] Result<std::unique_ptr<ProcReader>> OpenProcReader(const std::string& root);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ATTRIBUTE_PROC_READER_H_
