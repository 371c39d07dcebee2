// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Files: opened for write, created, refused, deleted, renamed. */
#include "call.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define EPERM 1
#define EACCES 13
#define AT_FDCWD (-100)
#define AT_REMOVEDIR 0x200
#define S_IFMT 0170000
#define S_IFDIR 0040000
#define O_ACCMODE 3
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_DIRECTORY 0200000
#define O_PATH 010000000
#define O_TMPFILE_BIT 020000000
#define RESOLVE_IN_ROOT 0x10
#define FMODE_WRITE 0x2
#define FMODE_CREATED 0x100000

enum nt_open_kind {
	NT_OPEN,    /* path, flags, mode */
	NT_CREAT,   /* path, mode */
	NT_OPENAT,  /* dfd, path, flags, mode */
	NT_OPENAT2, /* dfd, path, how, size */
};

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
 * Misses  opens by io_uring; opens by the kernel itself. A thread that rewrites
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
		bool denied = c->ret == -EACCES || c->ret == -EPERM;
		u32 type = denied ? NT_FILE_DENIED : NT_FILE_OPEN;

		if (!denied && !nt_write_intent(how.flags))
			return;
		if (!nt_admit_act(type))
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
		created = !!(f.f_mode & FMODE_CREATED) || (how.flags & O_TMPFILE_BIT);
		/* O_CREAT on what exists, for reading: a plain read */
		if (!(f.f_mode & FMODE_WRITE) && !created && !(how.flags & O_TRUNC))
			return;
		if (!nt_admit_act(NT_FILE_OPEN))
			return;
		open__done(c, &f, &how, dfd, created);
	}
}

/* ---- names given up at enter, told at exit ---- */

struct nt_names_head {
	s32 dfd, dfd2;
	u32 at_flags;
	u32 is_dir;
	u32 hflags;
	u32 tails_len;
	u32 unread;  /* bit 0: first name, bit 1: second */
	u32 has2;
	u64 name, name2;
};

#define NT_NAMES_SMALL 256u
#define NT_NAMES_LARGE (4u * (NT_PATH_MAX + 4))

struct nt_names_small {
	struct nt_names_head head;
	u8 tails[NT_NAMES_SMALL];
};

struct nt_names_large {
	struct nt_names_head head;
	u8 tails[NT_NAMES_LARGE];
};

/* Calls between enter and exit, by tid: nearly all fit the small one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, u32);
	__type(value, struct nt_names_small);
} nt_names_small SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, u32);
	__type(value, struct nt_names_large);
} nt_names_large SEC(".maps");

struct nt_names_args {
	u64 name, name2;
	s32 dfd, dfd2;
	u32 at_flags;
	u32 is_dir;
	u32 has2;
	u32 type;
};

/* One name and the directory it starts from. The name is read first: whether
 * it is absolute decides about the directory. */
static __noinline int nt_tail_name(struct nt_scratch *s, u64 name, s32 dfd, u32 second)
{
	if (!s)
		return 0;
	if (nt_tail_user_str(s->index, second ? NT_TAIL_USER_PATH2 : NT_TAIL_USER_PATH, name)) {
		/* it will be read at exit; the directory can't wait */
		nt_tail_base(s, second ? NT_TAIL_BASE2 : NT_TAIL_BASE, dfd);
		return 1;
	}
	if (!nt_last_name_absolute(s))
		nt_tail_base(s, second ? NT_TAIL_BASE2 : NT_TAIL_BASE, dfd);
	return 0;
}

/*
 * Hook    tracepoint/syscalls/sys_enter_{unlink,unlinkat,rmdir,rename,renameat,
 *         renameat2}, fallback tp_btf/sys_enter
 * Kernels 5.15 (bpf_task_pt_regs), 5.5
 * Why     afterwards the name leads nowhere, and a renamed ancestor of cwd has
 *         its new name already: names and their directories are read before
 * Misses  a name another thread rewrites between this read and the kernel's
 */
static __noinline int names__enter(struct nt_names_args *a)
{
	struct nt_names_head *head;
	struct nt_scratch *s;
	u32 tid = nt_tid();
	long err;

	if (!a || !nt_would_admit_act())
		return 0;
	s = nt_claim();
	if (!s)
		return 0; /* exit finds nothing and counts it */
	head = (struct nt_names_head *)s->rec;
	s->len = sizeof(*head);
	head->dfd = a->dfd;
	head->dfd2 = a->dfd2;
	head->at_flags = a->at_flags;
	head->is_dir = a->is_dir;
	head->has2 = a->has2;
	head->name = a->name;
	head->name2 = a->name2;
	head->unread = nt_tail_name(s, a->name, a->dfd, 0);
	if (a->has2)
		head->unread |= nt_tail_name(s, a->name2, a->dfd2, 1) << 1;
	head->hflags = s->flags;
	head->tails_len = s->len - sizeof(*head);
	if (head->tails_len <= NT_NAMES_SMALL)
		err = bpf_map_update_elem(&nt_names_small, &tid, s->rec, BPF_ANY);
	else
		err = bpf_map_update_elem(&nt_names_large, &tid, s->rec, BPF_ANY);
	nt_release(s);
	return err;
}

static __always_inline void nt_names_tails(struct nt_scratch *s, const u8 *from, u32 len, u32 max)
{
	if (len > max)
		return;
	bpf_probe_read_kernel(&s->rec[NT_FIXED_LEN + sizeof(struct nt_file_names)], len, from);
	s->len += len;
}

/*
 * Hook    tracepoint/syscalls/sys_exit_{unlink,…,renameat2}, fallback
 *         tp_btf/sys_exit
 * Kernels 5.15, 5.5
 * Why     the outcome; and a name whose page wasn't in memory at enter is now
 * Misses  the deleted inode (the object is gone; its name and place are told);
 *         io_uring
 */
static __noinline int names__exit(struct nt_call *c, u32 type)
{
	struct nt_names_small *small;
	struct nt_names_large *large = NULL;
	struct nt_names_head *head;
	struct nt_file_names *body;
	struct nt_scratch *s;
	u32 tid = nt_tid();

	if (!c)
		return 0;
	small = bpf_map_lookup_elem(&nt_names_small, &tid);
	if (!small) {
		large = bpf_map_lookup_elem(&nt_names_large, &tid);
		if (!large) {
			if (nt_admit_act(type))
				nt_lost_map(type);
			return 0;
		}
	}
	if (!nt_admit_act(type))
		goto out;
	s = nt_begin(type, sizeof(*body));
	if (!s)
		goto out;
	head = small ? &small->head : &large->head;
	s->flags |= nt_call_flags(c) | head->hflags;
	body = nt_body_of(s);
	body->ret = nt_visible_ret(c->ret);
	body->dfd = head->dfd;
	body->dfd2 = head->dfd2;
	body->at_flags = head->at_flags;
	body->is_dir = head->is_dir;
	body->syscall_nr = c->nr;
	if (small)
		nt_names_tails(s, small->tails, small->head.tails_len, NT_NAMES_SMALL);
	else if (large)
		nt_names_tails(s, large->tails, large->head.tails_len, NT_NAMES_LARGE);
	if (head->unread & 1) {
		body->user_read_late = 1;
		nt_tail_user_str(s->index, NT_TAIL_USER_PATH, head->name);
	}
	if (head->unread & 2) {
		body->user_read_late = 1;
		nt_tail_user_str(s->index, NT_TAIL_USER_PATH2, head->name2);
	}
	nt_submit(s, type);
out:
	if (large)
		bpf_map_delete_elem(&nt_names_large, &tid);
	else
		bpf_map_delete_elem(&nt_names_small, &tid);
	return 0;
}

enum nt_names_kind {
	NT_UNLINK,    /* path */
	NT_UNLINKAT,  /* dfd, path, flags */
	NT_RMDIR,     /* path */
	NT_RENAME,    /* old, new */
	NT_RENAMEAT,  /* olddfd, old, newdfd, new */
	NT_RENAMEAT2, /* olddfd, old, newdfd, new, flags */
};

static __always_inline void names__enter_kind(struct nt_call *c, enum nt_names_kind kind)
{
	struct nt_names_args a = { .dfd = AT_FDCWD, .dfd2 = AT_FDCWD };

	switch (kind) {
	case NT_UNLINK:
	case NT_RMDIR:
		a.name = c->a[0];
		a.is_dir = kind == NT_RMDIR;
		break;
	case NT_UNLINKAT:
		a.dfd = (s32)c->a[0];
		a.name = c->a[1];
		a.at_flags = (u32)c->a[2];
		a.is_dir = !!(a.at_flags & AT_REMOVEDIR);
		break;
	case NT_RENAME:
		a.name = c->a[0];
		a.name2 = c->a[1];
		a.has2 = 1;
		break;
	default:
		a.dfd = (s32)c->a[0];
		a.name = c->a[1];
		a.dfd2 = (s32)c->a[2];
		a.name2 = c->a[3];
		a.has2 = 1;
		if (kind == NT_RENAMEAT2)
			a.at_flags = (u32)c->a[4];
		break;
	}
	names__enter(&a);
}

NT_SYSCALL_EXIT(open, 2, open__exit(&c, NT_OPEN))
NT_SYSCALL_EXIT(creat, 85, open__exit(&c, NT_CREAT))
NT_SYSCALL_EXIT(openat, 257, open__exit(&c, NT_OPENAT))
NT_SYSCALL_EXIT(openat2, 437, open__exit(&c, NT_OPENAT2))
NT_SYSCALL_ENTER(unlink, 87, names__enter_kind(&c, NT_UNLINK))
NT_SYSCALL_EXIT(unlink, 87, names__exit(&c, NT_FILE_DELETE))
NT_SYSCALL_ENTER(unlinkat, 263, names__enter_kind(&c, NT_UNLINKAT))
NT_SYSCALL_EXIT(unlinkat, 263, names__exit(&c, NT_FILE_DELETE))
NT_SYSCALL_ENTER(rmdir, 84, names__enter_kind(&c, NT_RMDIR))
NT_SYSCALL_EXIT(rmdir, 84, names__exit(&c, NT_FILE_DELETE))
NT_SYSCALL_ENTER(rename, 82, names__enter_kind(&c, NT_RENAME))
NT_SYSCALL_EXIT(rename, 82, names__exit(&c, NT_FILE_RENAME))
NT_SYSCALL_ENTER(renameat, 264, names__enter_kind(&c, NT_RENAMEAT))
NT_SYSCALL_EXIT(renameat, 264, names__exit(&c, NT_FILE_RENAME))
NT_SYSCALL_ENTER(renameat2, 316, names__enter_kind(&c, NT_RENAMEAT2))
NT_SYSCALL_EXIT(renameat2, 316, names__exit(&c, NT_FILE_RENAME))

/* ---- the sys_exit mechanism ---- */

enum {
	NT_FILE_CALL_NONE = 0,
	NT_FILE_CALL_OPEN = 0x10, /* + enum nt_open_kind */
	NT_FILE_CALL_NAMES = 0x20, /* + enum nt_names_kind */
};

static __always_inline u32 nt_file_call(u32 nr, bool compat)
{
	if (compat) {
		switch (nr) {
		case 5: return NT_FILE_CALL_OPEN + NT_OPEN;
		case 8: return NT_FILE_CALL_OPEN + NT_CREAT;
		case 295: return NT_FILE_CALL_OPEN + NT_OPENAT;
		case 437: return NT_FILE_CALL_OPEN + NT_OPENAT2;
		case 10: return NT_FILE_CALL_NAMES + NT_UNLINK;
		case 301: return NT_FILE_CALL_NAMES + NT_UNLINKAT;
		case 40: return NT_FILE_CALL_NAMES + NT_RMDIR;
		case 38: return NT_FILE_CALL_NAMES + NT_RENAME;
		case 302: return NT_FILE_CALL_NAMES + NT_RENAMEAT;
		case 353: return NT_FILE_CALL_NAMES + NT_RENAMEAT2;
		default: return NT_FILE_CALL_NONE;
		}
	}
	switch (nr & ~NT_X32_BIT) {
	case 2: return NT_FILE_CALL_OPEN + NT_OPEN;
	case 85: return NT_FILE_CALL_OPEN + NT_CREAT;
	case 257: return NT_FILE_CALL_OPEN + NT_OPENAT;
	case 437: return NT_FILE_CALL_OPEN + NT_OPENAT2;
	case 87: return NT_FILE_CALL_NAMES + NT_UNLINK;
	case 263: return NT_FILE_CALL_NAMES + NT_UNLINKAT;
	case 84: return NT_FILE_CALL_NAMES + NT_RMDIR;
	case 82: return NT_FILE_CALL_NAMES + NT_RENAME;
	case 264: return NT_FILE_CALL_NAMES + NT_RENAMEAT;
	case 316: return NT_FILE_CALL_NAMES + NT_RENAMEAT2;
	default: return NT_FILE_CALL_NONE;
	}
}

int nt_file__enter(struct nt_call *c)
{
	if (!c)
		return 0;
	switch (nt_file_call(c->nr, c->compat)) {
	case NT_FILE_CALL_NAMES + NT_UNLINK: names__enter_kind(c, NT_UNLINK); break;
	case NT_FILE_CALL_NAMES + NT_UNLINKAT: names__enter_kind(c, NT_UNLINKAT); break;
	case NT_FILE_CALL_NAMES + NT_RMDIR: names__enter_kind(c, NT_RMDIR); break;
	case NT_FILE_CALL_NAMES + NT_RENAME: names__enter_kind(c, NT_RENAME); break;
	case NT_FILE_CALL_NAMES + NT_RENAMEAT: names__enter_kind(c, NT_RENAMEAT); break;
	case NT_FILE_CALL_NAMES + NT_RENAMEAT2: names__enter_kind(c, NT_RENAMEAT2); break;
	}
	return 0;
}

int nt_file__exit(struct nt_call *c)
{
	if (!c)
		return 0;
	switch (nt_file_call(c->nr, c->compat)) {
	case NT_FILE_CALL_NONE: break;
	case NT_FILE_CALL_OPEN + NT_OPEN: open__exit(c, NT_OPEN); break;
	case NT_FILE_CALL_OPEN + NT_CREAT: open__exit(c, NT_CREAT); break;
	case NT_FILE_CALL_OPEN + NT_OPENAT: open__exit(c, NT_OPENAT); break;
	case NT_FILE_CALL_OPEN + NT_OPENAT2: open__exit(c, NT_OPENAT2); break;
	case NT_FILE_CALL_NAMES + NT_UNLINK:
	case NT_FILE_CALL_NAMES + NT_UNLINKAT:
	case NT_FILE_CALL_NAMES + NT_RMDIR:
		names__exit(c, NT_FILE_DELETE);
		break;
	default:
		names__exit(c, NT_FILE_RENAME);
		break;
	}
	return 0;
}
