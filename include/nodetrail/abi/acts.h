/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause OR Apache-2.0 */
/*
 * The audited system calls whose facts are their arguments: names, descriptors
 * and numbers. One line each, read by both sides: the probes make a program of
 * it, the agent knows from it what a record's arguments mean.
 *
 * C. No includes: an expansion takes of a line what it needs.
 */
#ifndef NODETRAIL_ABI_ACTS_H_
#define NODETRAIL_ABI_ACTS_H_

/*
 * Which argument is what: four bits each, the argument's number counted from 1,
 * 0 for none.
 */
#define NT_S_PATH(n) ((n) << 0)   /* a name, relative to … */
#define NT_S_DIR(n) ((n) << 4)    /* … this directory; none: the working directory */
#define NT_S_PATH2(n) ((n) << 8)
#define NT_S_DIR2(n) ((n) << 12)
#define NT_S_FD(n) ((n) << 16)    /* descriptor of what is acted on */
#define NT_S_TEXT(n) ((n) << 20)  /* a string that is no path */
#define NT_S_PID(n) ((n) << 24)   /* process id, in the caller's pid namespace */
#define NT_S_RETFD (1u << 28)     /* success is a descriptor of what was made */

#define NT_S_OF(shape, what) ((shape) >> (what) & 0xf)
enum {
	NT_S_AT_PATH = 0,
	NT_S_AT_DIR = 4,
	NT_S_AT_PATH2 = 8,
	NT_S_AT_DIR2 = 12,
	NT_S_AT_FD = 16,
	NT_S_AT_TEXT = 20,
	NT_S_AT_PID = 24,
};

#define NT_S_DIR_PATH (NT_S_DIR(1) | NT_S_PATH(2))
#define NT_S_TWO (NT_S_PATH(1) | NT_S_PATH2(2))
#define NT_S_TWO_AT (NT_S_DIR(1) | NT_S_PATH(2) | NT_S_DIR2(3) | NT_S_PATH2(4))

/*
 * X(name as tracefs has it, x86-64 number, i386 number or 0, record type, shape)
 *
 * NT_ACTS_NAMED are read when they enter, too: afterwards the name leads nowhere,
 * or the attributes are the new ones. NT_ACTS_PLAIN are told by their exit alone:
 * the kernel has just read the names, and they lead where they led. Each hook
 * costs every call a little, and 60 to 100 ms when it is detached.
 */
#define NT_ACTS_NAMED(X)                                                                            \
	X(unlink, 87, 10, NT_FILE_DELETE, NT_S_PATH(1))                                             \
	X(unlinkat, 263, 301, NT_FILE_DELETE, NT_S_DIR_PATH)                                        \
	X(rmdir, 84, 40, NT_FILE_DELETE, NT_S_PATH(1))                                              \
	X(rename, 82, 38, NT_FILE_RENAME, NT_S_TWO)                                                 \
	X(renameat, 264, 302, NT_FILE_RENAME, NT_S_TWO_AT)                                          \
	X(renameat2, 316, 353, NT_FILE_RENAME, NT_S_TWO_AT)                                         \
	X(fchmod, 91, 94, NT_FILE_CHMOD, NT_S_FD(1))                                                \
	X(fchown, 93, 207, NT_FILE_CHOWN, NT_S_FD(1))                                               \
	X(fsetxattr, 190, 228, NT_FILE_SETXATTR, NT_S_FD(1) | NT_S_TEXT(2))                         \
	X(fremovexattr, 199, 237, NT_FILE_REMOVEXATTR, NT_S_FD(1) | NT_S_TEXT(2))                   \
	X(utimensat, 280, 320, NT_FILE_UTIMES, NT_S_DIR_PATH)                                       \
	X(ftruncate, 77, 93, NT_FILE_TRUNCATE, NT_S_FD(1))                                          \
	X(move_mount, 429, 429, NT_FS_MOVE_MOUNT, NT_S_DIR2(1) | NT_S_PATH2(2) | NT_S_DIR(3) | NT_S_PATH(4))\
	X(pivot_root, 155, 217, NT_FS_PIVOT_ROOT, NT_S_TWO)                                         \
	X(chroot, 161, 61, NT_FS_CHROOT, NT_S_PATH(1))                                              \
	X(setns, 308, 346, NT_NS_SETNS, NT_S_FD(1))                                                 \
	X(finit_module, 313, 350, NT_KMOD_LOAD, NT_S_FD(1) | NT_S_TEXT(2))                          \
	X(kexec_file_load, 320, 0, NT_KEXEC, NT_S_FD(1))

#define NT_ACTS_PLAIN(X)                                                                            \
	X(link, 86, 9, NT_FILE_LINK, NT_S_TWO)                                                      \
	X(linkat, 265, 303, NT_FILE_LINK, NT_S_TWO_AT)                                              \
	X(symlink, 88, 83, NT_FILE_SYMLINK, NT_S_TEXT(1) | NT_S_PATH(2))                            \
	X(symlinkat, 266, 304, NT_FILE_SYMLINK, NT_S_TEXT(1) | NT_S_DIR(2) | NT_S_PATH(3))          \
	X(mkdir, 83, 39, NT_FILE_MKDIR, NT_S_PATH(1))                                               \
	X(mkdirat, 258, 296, NT_FILE_MKDIR, NT_S_DIR_PATH)                                          \
	X(mknod, 133, 14, NT_FILE_MKNOD, NT_S_PATH(1))                                              \
	X(mknodat, 259, 297, NT_FILE_MKNOD, NT_S_DIR_PATH)                                          \
	X(chmod, 90, 15, NT_FILE_CHMOD, NT_S_PATH(1))                                               \
	X(fchmodat, 268, 306, NT_FILE_CHMOD, NT_S_DIR_PATH)                                         \
	X(fchmodat2, 452, 452, NT_FILE_CHMOD, NT_S_DIR_PATH)                                        \
	X(chown, 92, 212, NT_FILE_CHOWN, NT_S_PATH(1))                                              \
	X(lchown, 94, 198, NT_FILE_CHOWN, NT_S_PATH(1))                                             \
	X(fchownat, 260, 298, NT_FILE_CHOWN, NT_S_DIR_PATH)                                         \
	X(setxattr, 188, 226, NT_FILE_SETXATTR, NT_S_PATH(1) | NT_S_TEXT(2))                        \
	X(lsetxattr, 189, 227, NT_FILE_SETXATTR, NT_S_PATH(1) | NT_S_TEXT(2))                       \
	X(setxattrat, 463, 463, NT_FILE_SETXATTR, NT_S_DIR_PATH | NT_S_TEXT(4))                     \
	X(removexattr, 197, 235, NT_FILE_REMOVEXATTR, NT_S_PATH(1) | NT_S_TEXT(2))                  \
	X(lremovexattr, 198, 236, NT_FILE_REMOVEXATTR, NT_S_PATH(1) | NT_S_TEXT(2))                 \
	X(removexattrat, 466, 466, NT_FILE_REMOVEXATTR, NT_S_DIR_PATH | NT_S_TEXT(4))               \
	X(utime, 132, 30, NT_FILE_UTIMES, NT_S_PATH(1))                                             \
	X(utimes, 235, 271, NT_FILE_UTIMES, NT_S_PATH(1))                                           \
	X(futimesat, 261, 299, NT_FILE_UTIMES, NT_S_DIR_PATH)                                       \
	X(truncate, 76, 92, NT_FILE_TRUNCATE, NT_S_PATH(1))                                         \
	X(mount, 165, 21, NT_FS_MOUNT, NT_S_PATH2(1) | NT_S_PATH(2) | NT_S_TEXT(3))                 \
	X(umount, 166, 52, NT_FS_UMOUNT, NT_S_PATH(1))                                              \
	X(init_module, 175, 128, NT_KMOD_LOAD, NT_S_TEXT(3))                                        \
	X(delete_module, 176, 129, NT_KMOD_UNLOAD, NT_S_TEXT(1))                                    \
	X(memfd_create, 319, 356, NT_MEMFD_CREATE, NT_S_TEXT(1) | NT_S_RETFD)                       \
	X(open_by_handle_at, 304, 342, NT_FILE_BY_HANDLE, NT_S_RETFD)                               \
	X(unshare, 272, 310, NT_NS_UNSHARE, 0)                                                      \
	X(prctl, 157, 172, NT_PRCTL, 0)                                                             \
	X(seccomp, 317, 354, NT_SECCOMP, 0)                                                         \
	X(keyctl, 250, 288, NT_KEYCTL, 0)                                                           \
	X(ptrace, 101, 26, NT_PTRACE, NT_S_PID(2))                                                  \
	X(process_vm_writev, 311, 348, NT_PROC_MEM_WRITE, NT_S_PID(1))                              \
	X(bpf, 321, 357, NT_BPF_LOAD, 0)                                                            \
	X(perf_event_open, 298, 336, NT_PERF_OPEN, NT_S_PID(2))                                     \
	X(kexec_load, 246, 283, NT_KEXEC, 0)                                                        \
	X(reboot, 169, 88, NT_REBOOT, 0)                                                            \
	X(settimeofday, 164, 79, NT_TIME_CHANGE, 0)                                                 \
	X(clock_settime, 227, 264, NT_TIME_CHANGE, 0)                                               \
	X(adjtimex, 159, 124, NT_TIME_CHANGE, 0)                                                    \
	X(clock_adjtime, 305, 343, NT_TIME_CHANGE, 0)                                               \
	X(sethostname, 170, 74, NT_HOSTNAME, 0)                                                     \
	X(setdomainname, 171, 121, NT_HOSTNAME, 0)                                                  \
	X(userfaultfd, 323, 374, NT_USERFAULTFD, 0)                                                 \
	X(io_uring_setup, 425, 425, NT_IO_URING_SETUP, 0)

#define NT_ACTS(X) NT_ACTS_NAMED(X) NT_ACTS_PLAIN(X)

/* i386 has several generations of some of them. Those with a descriptor are read at enter, too. */
#define NT_ACTS_I386(X)                                                    \
	X(chown, 0, 182, NT_FILE_CHOWN, NT_S_PATH(1))                      \
	X(fchown, 0, 95, NT_FILE_CHOWN, NT_S_FD(1))                        \
	X(lchown, 0, 16, NT_FILE_CHOWN, NT_S_PATH(1))                      \
	X(truncate64, 0, 193, NT_FILE_TRUNCATE, NT_S_PATH(1))              \
	X(ftruncate64, 0, 194, NT_FILE_TRUNCATE, NT_S_FD(1))               \
	X(umount, 0, 22, NT_FS_UMOUNT, NT_S_PATH(1))                       \
	X(utimensat_time64, 0, 412, NT_FILE_UTIMES, NT_S_DIR_PATH)         \
	X(stime, 0, 25, NT_TIME_CHANGE, 0)                                 \
	X(clock_settime64, 0, 404, NT_TIME_CHANGE, 0)                      \
	X(clock_adjtime64, 0, 405, NT_TIME_CHANGE, 0)

/* T(record type, domain, event kind) */
#define NT_ACT_TYPES(T)                                        \
	T(NT_FILE_DELETE, "file", "file.delete")               \
	T(NT_FILE_RENAME, "file", "file.rename")               \
	T(NT_FILE_LINK, "file", "file.link")                   \
	T(NT_FILE_SYMLINK, "file", "file.symlink")             \
	T(NT_FILE_MKDIR, "file", "file.mkdir")                 \
	T(NT_FILE_MKNOD, "file", "file.mknod")                 \
	T(NT_FILE_CHMOD, "file", "file.chmod")                 \
	T(NT_FILE_CHOWN, "file", "file.chown")                 \
	T(NT_FILE_SETXATTR, "file", "file.setxattr")           \
	T(NT_FILE_REMOVEXATTR, "file", "file.removexattr")     \
	T(NT_FILE_UTIMES, "file", "file.utimes")               \
	T(NT_FILE_TRUNCATE, "file", "file.truncate")           \
	T(NT_FILE_BY_HANDLE, "file", "file.open_by_handle")    \
	T(NT_FS_MOUNT, "file", "fs.mount")                     \
	T(NT_FS_UMOUNT, "file", "fs.umount")                   \
	T(NT_FS_MOVE_MOUNT, "file", "fs.move_mount")           \
	T(NT_FS_PIVOT_ROOT, "privilege", "fs.pivot_root")      \
	T(NT_FS_CHROOT, "privilege", "fs.chroot")              \
	T(NT_NS_SETNS, "privilege", "ns.setns")                \
	T(NT_NS_UNSHARE, "privilege", "ns.unshare")            \
	T(NT_PRCTL, "privilege", "prctl.sensitive")            \
	T(NT_SECCOMP, "privilege", "seccomp.install")          \
	T(NT_KEYCTL, "privilege", "keyctl.op")                 \
	T(NT_PTRACE, "kernel", "ptrace")                       \
	T(NT_PROC_MEM_WRITE, "kernel", "proc_mem.write")       \
	T(NT_KMOD_LOAD, "kernel", "kmod.load")                 \
	T(NT_KMOD_UNLOAD, "kernel", "kmod.unload")             \
	T(NT_BPF_LOAD, "kernel", "bpf.load")                   \
	T(NT_BPF_ATTACH, "kernel", "bpf.attach")               \
	T(NT_BPF_DETACH, "kernel", "bpf.detach")               \
	T(NT_PERF_OPEN, "kernel", "perf.open")                 \
	T(NT_KEXEC, "kernel", "kexec")                         \
	T(NT_REBOOT, "kernel", "reboot")                       \
	T(NT_TIME_CHANGE, "kernel", "time.change")             \
	T(NT_HOSTNAME, "kernel", "hostname.change")            \
	T(NT_MEMFD_CREATE, "kernel", "memfd.create")           \
	T(NT_USERFAULTFD, "kernel", "userfaultfd")             \
	T(NT_IO_URING_SETUP, "kernel", "io_uring.setup")       \
	T(NT_SIGNAL, "kernel", "signal.send")                  \
	T(NT_BPF_OWN, "kernel", "bpf.own")                     \
	T(NT_EXEC_FAILED, "process", "process.exec_failed")

#endif /* NODETRAIL_ABI_ACTS_H_ */
