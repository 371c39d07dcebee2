// SPDX-License-Identifier: Apache-2.0
//
// What this kernel grants, for `nodetrail doctor` and start-up errors. Plain
// data. Probing leaves nothing behind: empty test programs are loaded and, for
// trampolines, attached for a moment; tracefs is opened without a mount point.
#ifndef NODETRAIL_AGENT_CAPTURE_KERNEL_REPORT_H_
#define NODETRAIL_AGENT_CAPTURE_KERNEL_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "nodetrail/base/status.h"

namespace nodetrail::agent {

// granted, or why not: `err` is a positive errno (0 when granted), `detail`
// one line without a newline.
struct Grant {
  bool granted = false;
  int err = 0;
  std::string detail;
};

struct KernelReport {
  std::string release;          // uname -r
  std::string machine;          // uname -m
  Grant btf;                    // /sys/kernel/btf/vmlinux readable
  Grant bpf;                    // the bpf system call grants a tracing program
  Grant ring_buffer;            // BPF_MAP_TYPE_RINGBUF
  Grant atomics;                // fetching atomic instructions (5.12)
  Grant task_pt_regs;           // bpf_task_pt_regs (5.15)
  Grant tp_btf;                 // BTF raw tracepoints: sched, sock, sys_enter/sys_exit
  Grant tracefs;                // ids of the per-syscall tracepoints
  Grant syscall_tracepoint;     // a program on one classic syscall tracepoint
  Grant fentry;                 // trampoline on a kernel function
  Grant lsm;                    // BPF LSM program, and "bpf" in the lsm list
  Grant io_uring;               // io_uring tracepoints in BTF
  bool ia32_emulation = false;  // 32-bit system calls can run here
  bool cap_bpf = false, cap_perfmon = false, cap_sys_admin = false, cap_sys_resource = false;
  uint64_t memlock_bytes = 0;  // RLIMIT_MEMLOCK, UINT64_MAX unlimited (matters below 5.11)
  // Kernel audit: once it ran, every system call takes its slow path.
  Grant audit;  // granted: the audit subsystem answers
  bool audit_enabled = false;
  uint32_t audit_pid = 0;              // its daemon, 0 none
  std::vector<std::string> lsms;       // /sys/kernel/security/lsm
  std::string lockdown;                // none, integrity, confidentiality, "" unknown
  int unprivileged_bpf_disabled = -1;  // sysctl, -1 unknown
  int perf_event_paranoid = -2;        // sysctl, -2 unknown
  bool bpf_jit = false;

  // What Capture::Open would choose: "per_syscall", "sys_exit" or "" (nothing).
  std::string syscall_hooks;
};

// Never fails: what can't be found out is a Grant that says so. ~20 ms.
// Any thread.
KernelReport ProbeKernel();

// OK, or why nothing can be captured here: one line with the cause and the
// fix, kPermissionDenied or kFailedPrecondition.
Status CheckKernel(const KernelReport& report);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_CAPTURE_KERNEL_REPORT_H_
