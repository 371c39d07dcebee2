// SPDX-License-Identifier: Apache-2.0
//
// The probes in the kernel, opened: loaded, attached as far as this kernel
// grants, their rings mapped. The only library that includes libbpf.
#ifndef NODETRAIL_AGENT_CAPTURE_CAPTURE_H_
#define NODETRAIL_AGENT_CAPTURE_CAPTURE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/capture/record_source.h"
#include "nodetrail/base/status.h"

namespace nodetrail::agent {

enum class CaptureScope {
  kHost,         // every process
  kProcessTree,  // root_pid, its descendants, and what they start
};

enum class SyscallHooks {
  kAuto,        // kPerSyscall where the kernel grants it, else kSysExit
  kPerSyscall,  // one classic tracepoint per audited system call; blind to 32-bit calls
  kSysExit,     // tp_btf/sys_enter and sys_exit: taxes every system call, sees 32-bit calls
};

struct CaptureOptions {
  // Per CPU; rounded up to a power of two and a page. 4 KiB to 256 MiB.
  uint64_t ring_bytes_per_cpu = uint64_t{4} << 20;
  // The same of the reserve (nodetrail/abi/reserved.h); 0: none.
  uint64_t reserve_bytes_per_cpu = uint64_t{2} << 20;
  CaptureScope scope = CaptureScope::kHost;
  uint32_t root_pid = 0;  // kProcessTree: a live process, initial pid namespace
  SyscallHooks syscall_hooks = SyscallHooks::kAuto;
  // How long a record waits for an older one of another CPU. 0 to 1 s.
  uint64_t slack_ns = 2'000'000;
  // TCP sockets followed at once. Beyond: nt_cpu_stats.lost_map.
  uint32_t max_sockets = 65536;
  // Signals to processes of another user are recorded, not only those to ours.
  bool signals_cross_uid = false;
};

// "auto", "per_syscall", "sys_exit"; false if unknown.
bool ParseSyscallHooks(const std::string& text, SyscallHooks* hooks);

// A program of the BPF object, and what the kernel's verifier did for it.
struct ProgramCost {
  std::string program;  // "file__sys_exit"
  bool loaded = false;  // one of two mechanisms is, and what the kernel takes
  // Instructions that the verifier walked, on all paths: it refuses at a
  // million. 0: not loaded, or a kernel that does not say (before 5.16).
  uint32_t verified_insns = 0;
};

// Owner: the composition root. Thread: pipeline only. Destruction detaches
// every probe. What the kernel refuses hook by hook is in Coverage(), not an
// error; Open fails only where nothing useful would be seen.
class Capture : public RecordSource {
 public:
  // Errors are one line with the cause and the fix. kPermissionDenied: lacks
  // CAP_BPF and CAP_PERFMON. kFailedPrecondition: no BTF, kernel too old, no
  // process or system call hook granted. kInvalidArgument: options out of
  // range, root_pid not alive.
  static Result<std::unique_ptr<Capture>> Open(const CaptureOptions& options);

  // Maps and programs that are ours, by the kernel's ids.
  [[nodiscard]] virtual std::vector<OwnObject> OwnObjects() const = 0;

  // A map with the last signals to this process. Whoever keeps the descriptor can
  // read them when this process is gone: ReadLastSignals.
  [[nodiscard]] virtual int LastSignalsFd() const = 0;

  // Coverage(), from any thread.
  [[nodiscard]] virtual std::vector<HookCoverage> CoverageCopy() const = 0;

  // In the order of the object. Fails with what the kernel answers.
  [[nodiscard]] virtual Result<std::vector<ProgramCost>> Costs() const = 0;
};

// The records in the map behind `fd`, oldest first: each to be decoded and
// doubted. Fails where it is no such map, of another version of the agent say.
Result<std::vector<std::vector<std::byte>>> ReadLastSignals(int fd);

// SHA-256 of the BPF object in this binary, 64 hex digits: what was loaded
// into the kernel, stated in the trail.
std::string BpfObjectSha256();

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_CAPTURE_CAPTURE_H_
