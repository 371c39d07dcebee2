/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Which opens are told, and as what: the same by system call and by io_uring. */
#ifndef NODETRAIL_BPF_OPEN_H_
#define NODETRAIL_BPF_OPEN_H_

#include "task.bpf.h"

#define EPERM 1
#define EACCES 13
#define AT_FDCWD (-100)
#define O_ACCMODE 3
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_PATH 010000000
#define O_TMPFILE_BIT 020000000
#define RESOLVE_IN_ROOT 0x10
#define FMODE_WRITE 0x2
#define FMODE_CREATED 0x100000

struct nt_open_how {
	u64 flags, mode, resolve;
};

/* Does the caller mean to change something? */
static __always_inline bool nt_write_intent(u32 flags)
{
	if (flags & O_PATH)
		return false;
	return (flags & O_ACCMODE) || (flags & (O_CREAT | O_TRUNC | O_TMPFILE_BIT));
}

/* The type of an open that failed; 0: a look that failed. */
static __always_inline u32 nt_failed_open(s64 ret, u32 flags)
{
	if (ret == -EACCES || ret == -EPERM)
		return NT_FILE_DENIED;
	return nt_write_intent(flags) ? NT_FILE_OPEN : NT_NONE;
}

static __always_inline u32 nt_created(const struct nt_open_file *f, u32 flags)
{
	return !!(f->f_mode & FMODE_CREATED) || (flags & O_TMPFILE_BIT);
}

/* Was the file opened to be changed? O_CREAT on what exists, for reading, is a
 * plain read. */
static __always_inline bool nt_opened_to_change(const struct nt_open_file *f, u32 flags, u32 created)
{
	return (f->f_mode & FMODE_WRITE) || created || (flags & O_TRUNC);
}

#endif /* NODETRAIL_BPF_OPEN_H_ */
