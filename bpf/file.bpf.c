// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Files: opened for write, created, refused. What is done to their names: act.bpf.c. */
#include "call.bpf.h"
#include "open.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum nt_open_kind {
	NT_OPEN,    /* path, flags, mode */
	NT_CREAT,   /* path, mode */
	NT_OPENAT,  /* dfd, path, flags, mode */
	NT_OPENAT2, /* dfd, path, how, size */
};

static __noinline int open__failed(struct nt_call *c, u32 type, u64 path, struct nt_open_how *how, s32 dfd)
{
	struct nt_scratch *s = nt_begin(type, sizeof(struct nt_file_open));
	struct nt_file_open *body;

	if (!s || !c || !how) {
		if (s)
			nt_release(s);
		return 0;
	}
	s->flags |= nt_call_flags(c);
	body = nt_body_of(s);
	body->ret = nt_visible_ret(c->ret);
	body->open_flags = how->flags;
	body->open_mode = how->mode;
	body->dfd = dfd;
	body->syscall_nr = c->nr;
	if (!nt_tail_user_str(s->index, NT_TAIL_USER_PATH, path)) {
		if (!nt_last_name_absolute(s) || how->resolve & RESOLVE_IN_ROOT)
			nt_tail_base(s, NT_TAIL_BASE, dfd);
	}
	nt_submit(s, type);
	return 0;
}

static __noinline int open__done(struct nt_call *c, struct nt_open_file *file, struct nt_open_how *how, s32 dfd, u32 created)
{
	struct nt_scratch *s = nt_begin(NT_FILE_OPEN, sizeof(struct nt_file_open));
	struct nt_file_open *body;

	if (!s || !c || !how || !file) {
		if (s)
			nt_release(s);
		return 0;
	}
	s->flags |= nt_call_flags(c);
	body = nt_body_of(s);
	body->ret = c->ret;
	body->open_flags = how->flags;
	body->open_mode = how->mode;
	body->dfd = dfd;
	body->created = created;
	body->syscall_nr = c->nr;
	nt_fill_file(&body->file, file->inode);
	nt_tail_file(s, NT_TAIL_PATH, &body->file, file);
	nt_submit(s, NT_FILE_OPEN);
	return 0;
}

/*
 * Hook    tracepoint/syscalls/sys_exit_{open,creat,openat,openat2}, fallback
 *         tp_btf/sys_exit
 * Kernels 5.15 (bpf_task_pt_regs), 5.5
 * Why     the outcome is known and, on success, the descriptor leads to the
 *         file the kernel opened: its path and inode, not the caller's string.
 *         No enter side: opens are the most frequent of all, and on failure the
 *         kernel has just read the name (it is in memory, cwd is unchanged)
 * Misses  opens by the kernel itself; io_uring (io_uring.bpf.c has it). A thread that rewrites
 *         the name of a failed open, or closes or replaces the new descriptor,
 *         before the call returns in its sibling
 */
static __always_inline void open__exit(struct nt_call *c, enum nt_open_kind kind)
{
	struct nt_open_how how = {};
	s32 dfd = AT_FDCWD;
	u64 path;

	switch (kind) {
	case NT_OPEN:
		path = c->a[0];
		how.flags = (u32)c->a[1];
		how.mode = (u32)c->a[2];
		break;
	case NT_CREAT:
		path = c->a[0];
		how.flags = O_CREAT | O_TRUNC | 1; /* O_WRONLY */
		how.mode = (u32)c->a[1];
		break;
	case NT_OPENAT:
		dfd = (s32)c->a[0];
		path = c->a[1];
		how.flags = (u32)c->a[2];
		how.mode = (u32)c->a[3];
		break;
	default:
		dfd = (s32)c->a[0];
		path = c->a[1];
		bpf_probe_read_user(&how, sizeof(how), (const void *)c->a[2]);
		break;
	}
	if (!(how.flags & (O_CREAT | O_TMPFILE_BIT)))
		how.mode = 0; /* not an argument then */

	if (c->ret < 0) {
		u32 type = nt_failed_open(c->ret, how.flags);

		if (!type || !nt_admit_act(type))
			return;
		open__failed(c, type, path, &how, dfd);
	} else {
		struct nt_open_file f;
		u32 created;
		u64 file;

		if (!nt_write_intent(how.flags))
			return;
		file = nt_file_of_fd(c->ret);
		if (!file || nt_read_file(&f, file)) { /* closed by a sibling already: what was opened can't be told */
			if (nt_admit_act(NT_FILE_OPEN))
				open__failed(c, NT_FILE_OPEN, path, &how, dfd);
			return;
		}
		created = nt_created(&f, how.flags);
		if (!nt_opened_to_change(&f, how.flags, created))
			return;
		if (!nt_admit_act(NT_FILE_OPEN))
			return;
		open__done(c, &f, &how, dfd, created);
	}
}

NT_SYSCALL_EXIT(open, 2, open__exit(&c, NT_OPEN))
NT_SYSCALL_EXIT(creat, 85, open__exit(&c, NT_CREAT))
NT_SYSCALL_EXIT(openat, 257, open__exit(&c, NT_OPENAT))
NT_SYSCALL_EXIT(openat2, 437, open__exit(&c, NT_OPENAT2))

/* ---- the sys_exit mechanism ---- */

/* enum nt_open_kind + 1, 0: not ours */
static __always_inline u32 nt_file_call(u32 nr, bool compat)
{
	if (compat) {
		switch (nr) {
		case 5: return NT_OPEN + 1;
		case 8: return NT_CREAT + 1;
		case 295: return NT_OPENAT + 1;
		case 437: return NT_OPENAT2 + 1;
		default: return 0;
		}
	}
	switch (nr & ~NT_X32_BIT) {
	case 2: return NT_OPEN + 1;
	case 85: return NT_CREAT + 1;
	case 257: return NT_OPENAT + 1;
	case 437: return NT_OPENAT2 + 1;
	default: return 0;
	}
}

int nt_file__exit(struct nt_call *c)
{
	if (!c)
		return 0;
	switch (nt_file_call(c->nr, c->compat)) {
	case NT_OPEN + 1: open__exit(c, NT_OPEN); break;
	case NT_CREAT + 1: open__exit(c, NT_CREAT); break;
	case NT_OPENAT + 1: open__exit(c, NT_OPENAT); break;
	case NT_OPENAT2 + 1: open__exit(c, NT_OPENAT2); break;
	}
	return 0;
}
