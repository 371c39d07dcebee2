/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause OR Apache-2.0 */
/*
 * Which records find room in the reserve of their CPU when its bulk ring has
 * none, so that a storm of file or network events evicts no others: those whose
 * kind is `critical` in event.proto, those the process table is kept by (fork,
 * exit, cgroup), and the rest of the domains privilege and kernel. Left in bulk:
 * what any process can do at full speed as long as it likes, and each act of
 * which matters little alone (docs/adr/0003-per-cpu-rings.md).
 *
 * C. Read by the probes and by the agent.
 */
#ifndef NODETRAIL_ABI_RESERVED_H_
#define NODETRAIL_ABI_RESERVED_H_

#include "nodetrail/abi/record.h"

#define NT_TYPE_BIT(type) (1ull << (type))

/* A bit per enum nt_type. */
#define NT_RESERVED_TYPES                                                                          \
	(NT_TYPE_BIT(NT_EXEC) | NT_TYPE_BIT(NT_FORK) | NT_TYPE_BIT(NT_EXIT) | NT_TYPE_BIT(NT_CRED) |   \
	 NT_TYPE_BIT(NT_CGROUP) | NT_TYPE_BIT(NT_FILE_BY_HANDLE) | NT_TYPE_BIT(NT_FS_MOUNT) |          \
	 NT_TYPE_BIT(NT_FS_UMOUNT) | NT_TYPE_BIT(NT_FS_MOVE_MOUNT) | NT_TYPE_BIT(NT_FS_PIVOT_ROOT) |   \
	 NT_TYPE_BIT(NT_FS_CHROOT) | NT_TYPE_BIT(NT_NS_SETNS) | NT_TYPE_BIT(NT_NS_UNSHARE) |           \
	 NT_TYPE_BIT(NT_PRCTL) | NT_TYPE_BIT(NT_SECCOMP) | NT_TYPE_BIT(NT_KEYCTL) |                    \
	 NT_TYPE_BIT(NT_PTRACE) | NT_TYPE_BIT(NT_PROC_MEM_WRITE) | NT_TYPE_BIT(NT_KMOD_LOAD) |         \
	 NT_TYPE_BIT(NT_KMOD_UNLOAD) | NT_TYPE_BIT(NT_BPF_LOAD) | NT_TYPE_BIT(NT_BPF_ATTACH) |         \
	 NT_TYPE_BIT(NT_BPF_DETACH) | NT_TYPE_BIT(NT_PERF_OPEN) | NT_TYPE_BIT(NT_KEXEC) |              \
	 NT_TYPE_BIT(NT_REBOOT) | NT_TYPE_BIT(NT_TIME_CHANGE) | NT_TYPE_BIT(NT_HOSTNAME) |             \
	 NT_TYPE_BIT(NT_MEMFD_CREATE) | NT_TYPE_BIT(NT_USERFAULTFD) | NT_TYPE_BIT(NT_IO_URING_SETUP) | \
	 NT_TYPE_BIT(NT_NET_RAW_SOCKET) | NT_TYPE_BIT(NT_NET_PACKET_SOCKET) | NT_TYPE_BIT(NT_SIGNAL) | \
	 NT_TYPE_BIT(NT_BPF_OWN))

#define NT_IS_RESERVED(type) ((NT_RESERVED_TYPES >> (type) & 1) != 0)

NT_STATIC_ASSERT(NT_TYPE_MAX <= 64, "a bit per type");

#endif /* NODETRAIL_ABI_RESERVED_H_ */
