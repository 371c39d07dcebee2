/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause OR Apache-2.0 */
/*
 * Kernel to agent: the bytes of one ring record.
 *
 *   struct nt_header   32 bytes at offset 0
 *   struct nt_task     at offset 32, the same in every record
 *   body               struct nt_<type>, right after
 *   tails              { u16 kind, u16 len, len bytes } one after the other,
 *                      unaligned, to the end of the record
 *
 * C, included by the probes and by the decoder. Natural alignment, explicit
 * padding, nothing packed. Layout is asserted in C, in C++ and against the
 * probes' BTF (tests/abi). Host byte order. A change of layout bumps
 * NT_ABI_VERSION: agent and probes are built together and must agree exactly.
 */
#ifndef NODETRAIL_ABI_RECORD_H_
#define NODETRAIL_ABI_RECORD_H_

#ifndef __VMLINUX_H__
#ifdef __cplusplus
#include <cstdint>
#else
#include <stdint.h>
#endif
typedef uint8_t nt_u8;
typedef uint16_t nt_u16;
typedef uint32_t nt_u32;
typedef uint64_t nt_u64;
typedef int32_t nt_s32;
typedef int64_t nt_s64;
#else
typedef __u8 nt_u8;
typedef __u16 nt_u16;
typedef __u32 nt_u32;
typedef __u64 nt_u64;
typedef __s32 nt_s32;
typedef __s64 nt_s64;
#endif

#ifdef __cplusplus
#define NT_STATIC_ASSERT(cond, msg) static_assert(cond, msg)
#else
#define NT_STATIC_ASSERT(cond, msg) _Static_assert(cond, msg)
#endif

#define NT_ABI_VERSION 2

/* Bounds. Who needs them: the per-CPU scratch in bpf/, the decoder's checks. */
#define NT_RECORD_MAX 32768u   /* whole record */
#define NT_PATH_MAX 4096u      /* one path tail, PATH_MAX of the kernel */
#define NT_ARGV_MAX 16384u     /* argv bytes carried; the true length is in the body */
#define NT_SUN_PATH_MAX 108u   /* sizeof(sockaddr_un.sun_path): a name may fill it without a NUL */
#define NT_COMM_LEN 16u        /* TASK_COMM_LEN */

/* Dense, so that counters are arrays. Never renumbered. */
enum nt_type {
	NT_NONE = 0,
	NT_EXEC = 1,
	NT_FORK = 2,
	NT_EXIT = 3,
	NT_CRED = 4,
	NT_FILE_OPEN = 5,    /* for write, created or not */
	NT_FILE_DENIED = 6,  /* EACCES, EPERM */
	NT_FILE_DELETE = 7,
	NT_FILE_RENAME = 8,
	NT_NET_CONNECT = 9,
	NT_NET_ACCEPT = 10,
	NT_NET_CLOSE = 11,
	NT_CGROUP = 12,      /* first sight of a cgroup: its path; no event of its own */
	/* struct nt_act from here on, and FILE_DELETE, FILE_RENAME: abi/acts.h */
	NT_FILE_LINK = 13,
	NT_FILE_SYMLINK = 14,
	NT_FILE_MKDIR = 15,
	NT_FILE_MKNOD = 16,
	NT_FILE_CHMOD = 17,
	NT_FILE_CHOWN = 18,
	NT_FILE_SETXATTR = 19,
	NT_FILE_REMOVEXATTR = 20,
	NT_FILE_UTIMES = 21,
	NT_FILE_TRUNCATE = 22,
	NT_FILE_BY_HANDLE = 23,
	NT_FS_MOUNT = 24,
	NT_FS_UMOUNT = 25,
	NT_FS_MOVE_MOUNT = 26,
	NT_FS_PIVOT_ROOT = 27,
	NT_FS_CHROOT = 28,
	NT_NS_SETNS = 29,
	NT_NS_UNSHARE = 30,
	NT_PRCTL = 31,
	NT_SECCOMP = 32,
	NT_KEYCTL = 33,
	NT_PTRACE = 34,
	NT_PROC_MEM_WRITE = 35,
	NT_KMOD_LOAD = 36,
	NT_KMOD_UNLOAD = 37,
	NT_BPF_LOAD = 38,
	NT_BPF_ATTACH = 39,
	NT_BPF_DETACH = 40,
	NT_PERF_OPEN = 41,
	NT_KEXEC = 42,
	NT_REBOOT = 43,
	NT_TIME_CHANGE = 44,
	NT_HOSTNAME = 45,
	NT_MEMFD_CREATE = 46,
	NT_USERFAULTFD = 47,
	NT_IO_URING_SETUP = 48,
	NT_EXEC_FAILED = 49,
	/* struct nt_socket */
	NT_NET_BIND = 50,
	NT_NET_LISTEN = 51,
	NT_NET_UNIX_CONNECT = 52,
	NT_NET_RAW_SOCKET = 53,
	NT_NET_PACKET_SOCKET = 54,
	/* struct nt_act again */
	NT_SIGNAL = 55,
	NT_BPF_OWN = 56,
	NT_TYPE_LAST = NT_BPF_OWN,
	NT_TYPE_MAX = 64,    /* size of the counter arrays, a power of two */
};

/* nt_header.flags */
#define NT_F_TRUNCATED (1u << 0)  /* a tail was cut or left out for room */
#define NT_F_COMPAT32 (1u << 1)   /* 32-bit system call */
#define NT_F_IO_URING (1u << 2)    /* a request of io_uring; the task is its submitter */
#define NT_F_URING_ENTRY (1u << 3) /* refused before it was submitted: told from the caller's entry in the ring */

struct nt_header {
	nt_u16 abi_version;
	nt_u16 type;          /* enum nt_type */
	nt_u32 total_len;     /* bytes, header included */
	nt_u64 ktime_boot_ns; /* CLOCK_BOOTTIME, read once */
	nt_u32 cpu;
	nt_u32 flags;
	nt_u64 cpu_seq;       /* 1,2,3… per CPU, taken before the ring is asked for room */
};

struct nt_cred {
	nt_u32 uid, gid, suid, sgid, euid, egid, fsuid, fsgid; /* kuid/kgid */
	nt_u64 cap_inheritable, cap_permitted, cap_effective, cap_bset, cap_ambient;
	nt_u32 securebits;
	nt_u32 userns_inum;
	nt_u32 userns_level; /* 0: initial user namespace */
	nt_u32 pad;
};

/* nt_task.flags */
#define NT_T_NO_NEW_PRIVS (1u << 0)
#define NT_T_KTHREAD (1u << 1)
#define NT_T_EXITING (1u << 2)    /* PF_EXITING */
#define NT_T_SNAPSHOT (1u << 3)   /* taken earlier than the record: the socket owner at connect() */

/* The task that acted, read from the kernel when it acted. */
struct nt_task {
	nt_u64 start_boottime_ns;        /* group leader's start_boottime: identity with tgid */
	nt_u64 parent_start_boottime_ns; /* of real_parent's group leader */
	nt_u32 tgid, pid;                /* initial pid namespace */
	nt_u32 ppid;                     /* tgid of real_parent */
	nt_u32 ns_tgid, ns_pid;          /* in the task's own pid namespace */
	nt_u32 pgid, sid, tty_nr;        /* tty_nr: new_encode_dev of the controlling tty, 0 none */
	nt_u32 loginuid, sessionid;      /* 4294967295: not set */
	nt_u32 flags, seccomp_mode;
	struct nt_cred cred;
	nt_u64 cgroup_v2_id;             /* kernfs id in the default hierarchy */
	nt_u64 cgroup_v1_id;             /* of the v1 hierarchy that says more, 0 none */
	nt_u32 cgroup_v1_hierarchy;      /* hierarchy id of cgroup_v1_id */
	nt_u32 pid_ns, mnt_ns, net_ns, ipc_ns, uts_ns, cgroup_ns; /* inode numbers; all but pid_ns 0: not known, the task left them dying */
	nt_u32 pad;
	char comm[NT_COMM_LEN];
};

struct nt_file {
	nt_u64 dev;   /* new_encode_dev(s_dev) */
	nt_u64 ino;
	nt_u64 size;
	nt_u32 mode, uid, gid, nlink;
	nt_u32 fs_magic;
	nt_u32 flags; /* NT_FILE_* */
};
#define NT_FILE_VALID (1u << 0)    /* the fields above were read */
#define NT_FILE_DELETED (1u << 1)  /* unhashed and nlink 0 */
#define NT_FILE_MEMFD (1u << 2)
#define NT_FILE_DETACHED (1u << 3) /* path walk ended below the root: lazily unmounted or outside the root */

/* Path tails are LEAF FIRST, each component NUL-terminated ("probe\0tmp\0"),
 * empty for "/". User strings are as read, without their NUL. A zero-length
 * NT_TAIL_CGROUP is the root of its hierarchy. */
enum nt_tail {
	NT_TAIL_PATH = 1,        /* kernel walk: opened file, executable */
	NT_TAIL_CWD = 2,         /* kernel walk */
	NT_TAIL_USER_PATH = 3,   /* the caller's string */
	NT_TAIL_BASE = 4,        /* kernel walk of the directory USER_PATH is relative to (cwd or dirfd); absent when it is absolute, unless openat2 was given RESOLVE_IN_ROOT: then the name is taken below it */
	NT_TAIL_USER_PATH2 = 5,  /* rename: new name */
	NT_TAIL_BASE2 = 6,
	NT_TAIL_ARGV = 7,        /* NUL-separated, from mm->arg_start */
	NT_TAIL_SCRIPT = 8,      /* bprm->filename when the interpreter differs from it */
	NT_TAIL_CGROUP = 9,      /* kernfs names, leaf first */
	NT_TAIL_PREV_EXE = 10,
	NT_TAIL_TEXT = 11,       /* a string that is no path: the caller's, or the kernel's where nt_act.has says so */
	NT_TAIL_SOCKET_NAME = 12, /* abstract name of a unix socket, its first NUL included; any bytes */
	NT_TAIL_MAX,
};

struct nt_tail_header {
	nt_u16 kind;
	nt_u16 len;
};

struct nt_exec {
	struct nt_file exe;
	struct nt_cred old_cred; /* before the exec */
	nt_u32 has_old_cred;     /* 0: the exec's start was not seen */
	nt_u32 argc;             /* NUL-terminated strings in the whole of argv */
	nt_u64 argv_len;         /* true bytes of argv */
	nt_u32 secureexec;
	nt_u32 old_pid;          /* tid that called execve */
};

struct nt_fork {
	nt_u64 child_start_boottime_ns;
	nt_u32 child_tgid;
	nt_u32 child_ns_tgid;
	nt_u32 child_ppid;       /* differs from the task's tgid with CLONE_PARENT */
	nt_u32 pad;
	nt_u64 child_parent_start_boottime_ns;
};

struct nt_exit {
	nt_u32 code;             /* as wait(2) gives it */
	nt_u32 pad;
	nt_u64 user_ns, system_ns; /* whole process */
	nt_u64 max_rss_bytes;
};

enum nt_cred_cause {
	NT_CAUSE_NONE = 0,
	NT_CAUSE_SETUID = 1,
	NT_CAUSE_SETGID = 2,
	NT_CAUSE_SETREUID = 3,
	NT_CAUSE_SETREGID = 4,
	NT_CAUSE_SETRESUID = 5,
	NT_CAUSE_SETRESGID = 6,
	NT_CAUSE_SETFSUID = 7,
	NT_CAUSE_SETFSGID = 8,
	NT_CAUSE_SETGROUPS = 9,
	NT_CAUSE_CAPSET = 10,
	NT_CAUSE_EXEC = 11,
};

/* Emitted when credentials differ from before, or when the call failed. */
struct nt_cred_change {
	struct nt_cred old_cred; /* nt_task.cred is "after" */
	nt_s64 ret;              /* setfsuid, setfsgid report no failure: -EPERM when the id asked for wasn't taken */
	nt_u32 cause;
	nt_u32 nargs;            /* setgroups: 1, the number of groups; capset, exec: 0 */
	nt_u32 args[3];
	nt_u32 pad;
};

struct nt_file_open {      /* NT_FILE_OPEN, NT_FILE_DENIED */
	struct nt_file file;   /* valid on success */
	nt_s64 ret;
	nt_u32 open_flags;     /* O_* as asked; the kernel adds O_LARGEFILE to those of io_uring */
	nt_u32 open_mode;
	nt_s32 dfd;
	nt_u32 created;        /* FMODE_CREATED */
	nt_u32 syscall_nr;     /* x86-64 number, or i386 with NT_F_COMPAT32 */
	nt_u32 pad;
};

/* A system call of abi/acts.h: what its arguments mean stands there. */
struct nt_act {
	struct nt_file before; /* what its descriptor led to when the call entered */
	struct nt_file after;  /* the same when it left; of NT_S_RETFD, what was made */
	nt_s64 ret;
	nt_u64 args[6];        /* as the caller gave them; 32 bits each with NT_F_COMPAT32; with NT_F_IO_URING of the call that does the same, pointers 0 */
	nt_u32 syscall_nr;     /* x86-64 number, or i386 with NT_F_COMPAT32 */
	nt_u32 has;            /* NT_ACT_* */
};
#define NT_ACT_READ_LATE (1u << 0)   /* a string could be read only at exit */
#define NT_ACT_KERNEL_TEXT (1u << 1) /* NT_TAIL_TEXT is the kernel's own */
#define NT_ACT_BY_KERNEL (1u << 2)   /* NT_SIGNAL: the kernel sent it, in the task's context */

/* NT_SIGNAL is no call: args are these, syscall_nr is 0. */
enum nt_signal_arg {
	NT_SIGNAL_NUMBER = 0,
	NT_SIGNAL_CODE = 1,    /* si_code, sign extended */
	NT_SIGNAL_TGID = 2,    /* of whom it is for, initial pid namespace */
	NT_SIGNAL_TID = 3,
	NT_SIGNAL_START = 4,   /* its group leader's start_boottime */
	NT_SIGNAL_RESULT = 5,  /* 0 delivered, 1 ignored, 2 pending already, 3 and 4 no memory */
};

/* NT_BPF_OWN: of bpf(2)'s three arguments the first is kept, then come these. */
enum nt_own_arg {
	NT_OWN_COMMAND = 0,    /* enum bpf_cmd */
	NT_OWN_OBJECT = 1,     /* enum nt_own_object */
	NT_OWN_ID = 2,         /* the kernel's id; of a link that of its program */
};

enum nt_own_object {
	NT_OWN_NONE = 0,
	NT_OWN_MAP = 1,
	NT_OWN_PROGRAM = 2,
	NT_OWN_LINK = 3,
};

/* Signals to the agent that end or stop it, the last ones: what the next run
 * reads when this one was killed. Records as in the ring, without tails. */
#define NT_LAST_SIGNALS 8u

struct nt_net {            /* NT_NET_* ; the task is the owner, not whoever ran the softirq */
	nt_u64 cookie;         /* socket cookie */
	nt_u64 bytes_sent, bytes_received; /* close */
	nt_u64 opened_boot_ns; /* connect() or establishment, for the duration */
	nt_u32 netns;
	nt_u16 family;         /* AF_INET, AF_INET6 */
	nt_u16 protocol;       /* IPPROTO_TCP */
	nt_u8 local_addr[16];  /* the first 4 for AF_INET, network order */
	nt_u8 remote_addr[16];
	nt_u16 local_port, remote_port; /* host order */
	nt_s32 err;            /* connect: 0 or positive errno */
	nt_u32 inbound;        /* accepted socket */
	nt_u32 nonblocking;
	nt_u32 reset;          /* close: sk_err ECONNRESET */
	nt_u32 addr_from_user; /* connect that failed before the first SYN: remote_* is the caller's sockaddr */
};

/* A socket and what was asked of it. Names of unix sockets are tails: PATH (the
 * kernel's walk to the bound socket), USER_PATH (as it was given to bind, or of
 * a connect as its caller gave it), SOCKET_NAME. */
struct nt_socket {
	nt_u64 cookie;          /* socket cookie, 0: none made yet */
	nt_u64 inode;           /* as in "socket:[…]" of /proc/PID/fd; 0: the descriptor is no socket, or none was made */
	nt_s64 ret;             /* socket(2): not the descriptor but 0 */
	nt_u64 peer_start_boottime_ns; /* of peer_pid, 0: gone by now */
	nt_u32 netns;           /* of the socket; of the task where there is none */
	nt_u32 protocol;        /* IPPROTO_*; of AF_PACKET ETH_P_*, host order; 0 of AF_UNIX */
	nt_u16 family;          /* AF_* of the socket; where there is none, as asked */
	nt_u16 sock_type;       /* SOCK_* without flags */
	nt_u16 addr_family;     /* of local_addr: AF_INET, AF_INET6; 0: there is none */
	nt_u16 local_port;      /* host order */
	nt_u8 local_addr[16];   /* the first 4 for AF_INET, network order */
	nt_u32 flags;           /* NT_SK_* */
	nt_s32 backlog;         /* listen, as asked */
	nt_u32 ifindex;         /* bind of AF_PACKET; 0: every interface */
	nt_u32 peer_pid;        /* unix connect: who listened (SO_PEERCRED), initial pid namespace */
	nt_u32 peer_uid, peer_gid; /* its effective ids when it called listen */
};
#define NT_SK_USER_ADDR (1u << 0)  /* the address is the caller's: the call failed, or the kernel keeps none */
#define NT_SK_UNREAD (1u << 1)     /* it could not be read */
#define NT_SK_NONBLOCKING (1u << 2)
#define NT_SK_PEER (1u << 3)       /* peer_uid and peer_gid are there */
#define NT_SK_DETACHED (1u << 4)   /* the path ends outside the task's root: in that of who bound it */

/* NT_CGROUP: the path (NT_TAIL_CGROUP) of one (hierarchy, id) of the task. */
struct nt_cgroup {
	nt_u64 id;             /* kernfs id: nt_task.cgroup_v2_id or cgroup_v1_id */
	nt_u32 hierarchy;      /* 0: the default (v2) hierarchy */
	nt_u32 pad;
};

/* One per CPU, in an array indexed by CPU that user space maps: reading it is
 * no system call. The kernel only adds. */
enum nt_self_class {
	NT_SELF_NONE = 0,
	NT_SELF_AGENT = 1,
	NT_SELF_COMPANION = 2,
	NT_SELF_CANARY = 3, /* recorded; user space withholds what it expects */
	NT_SELF_MAX = 4,
};

struct nt_cpu_stats {
	nt_u64 cpu_seq;                 /* last given */
	nt_u64 submitted[NT_TYPE_MAX];
	nt_u64 lost_ring[NT_TYPE_MAX];  /* no room in the ring */
	nt_u64 lost_map[NT_TYPE_MAX];   /* no room in a map: the act was seen, its record impossible */
	nt_u64 self[NT_SELF_MAX][NT_TYPE_MAX]; /* the product's own acts, withheld */
	nt_u64 out_of_scope;
	nt_u64 pad[6];                  /* to whole cache lines */
};

NT_STATIC_ASSERT(sizeof(struct nt_header) == 32, "nt_header is 32 bytes");
NT_STATIC_ASSERT(sizeof(struct nt_cred) == 88, "nt_cred");
NT_STATIC_ASSERT(sizeof(struct nt_task) % 8 == 0, "nt_task is 8-aligned");
NT_STATIC_ASSERT(sizeof(struct nt_file) == 48, "nt_file");
NT_STATIC_ASSERT(sizeof(struct nt_tail_header) == 4, "nt_tail_header");
NT_STATIC_ASSERT(sizeof(struct nt_socket) % 8 == 0, "nt_socket has no hidden padding");
NT_STATIC_ASSERT(sizeof(struct nt_cpu_stats) % 64 == 0, "nt_cpu_stats fills cache lines");

#endif /* NODETRAIL_ABI_RECORD_H_ */
