// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * System calls whose facts are their arguments: names changed, attributes,
 * mounts, namespaces, modules, other processes. abi/acts.h lists them.
 */
#include "call.bpf.h"
#include "nodetrail/abi/acts.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define AT_FDCWD (-100)

/* ---- what is read at enter ---- */

#define NT_UNREAD_PATH (1u << 0)
#define NT_UNREAD_PATH2 (1u << 1)
#define NT_UNREAD_TEXT (1u << 2)

struct nt_act_head {
	u64 inode; /* of the descriptor, 0: none */
	u32 hflags;
	u32 unread; /* NT_UNREAD_* */
	u32 tails_len;
	u32 pad;
	struct nt_file before;
};

#define NT_ACT_SMALL 256u
#define NT_ACT_LARGE (5u * (NT_PATH_MAX + 4))

struct nt_act_small {
	struct nt_act_head head;
	u8 tails[NT_ACT_SMALL];
};

struct nt_act_large {
	struct nt_act_head head;
	u8 tails[NT_ACT_LARGE];
};

/* Calls between enter and exit, by tid: nearly all fit the small one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, u32);
	__type(value, struct nt_act_small);
} nt_acts_small SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, u32);
	__type(value, struct nt_act_large);
} nt_acts_large SEC(".maps");

/* Argument `slot`, counted from 1; 0 for slot 0. */
static __always_inline u64 nt_arg(const struct nt_call *c, u32 slot)
{
	switch (slot) {
	case 1: return c->a[0];
	case 2: return c->a[1];
	case 3: return c->a[2];
	case 4: return c->a[3];
	default: return 0;
	}
}

static __always_inline s32 nt_dir_arg(const struct nt_call *c, u32 slot)
{
	return slot ? (s32)nt_arg(c, slot) : AT_FDCWD;
}

/* The shape's arguments, taken out where the shape is a constant. */
struct nt_act_args {
	u64 path, path2, text;
	s32 dir, dir2, fd;
	u32 type, shape;
};

static __always_inline void nt_take_args(struct nt_act_args *a, const struct nt_call *c, u32 type, u32 shape)
{
	a->path = nt_arg(c, NT_S_OF(shape, NT_S_AT_PATH));
	a->path2 = nt_arg(c, NT_S_OF(shape, NT_S_AT_PATH2));
	a->text = nt_arg(c, NT_S_OF(shape, NT_S_AT_TEXT));
	a->dir = nt_dir_arg(c, NT_S_OF(shape, NT_S_AT_DIR));
	a->dir2 = nt_dir_arg(c, NT_S_OF(shape, NT_S_AT_DIR2));
	a->fd = NT_S_OF(shape, NT_S_AT_FD) ? (s32)nt_arg(c, NT_S_OF(shape, NT_S_AT_FD)) : -1;
	/* utimensat without a name, and its kind: the directory is what is meant */
	if (NT_S_OF(shape, NT_S_AT_DIR) && !a->path)
		a->fd = a->dir;
	a->type = type;
	a->shape = shape;
}

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

/* The descriptor's file, its path as a tail. Returns its inode. */
static __noinline u64 nt_tail_fd(struct nt_scratch *s, struct nt_file *out, s32 fd)
{
	struct nt_open_file f = {};
	u64 file = nt_file_of_fd(fd);

	if (!s || !out || !file || nt_read_file(&f, file))
		return 0;
	nt_fill_file(out, f.inode);
	nt_tail_file(s, NT_TAIL_PATH, out, &f);
	return f.inode;
}

/*
 * Hook    tracepoint/syscalls/sys_enter_X of NT_ACTS_NAMED, fallback
 *         tp_btf/sys_enter
 * Kernels 5.15 (bpf_task_pt_regs), 5.5
 * Why     afterwards a name may lead nowhere, a renamed ancestor of cwd has its
 *         new name, and the attributes of a file are the new ones
 * Misses  a name that another thread rewrites between this read and the
 *         kernel's; the attributes before, of a file that is named and not open
 */
static __noinline int act__enter(struct nt_act_args *a)
{
	struct nt_act_head *head;
	struct nt_scratch *s;
	u32 tid = nt_tid();
	long err;

	if (!a || !nt_would_admit_act())
		return 0;
	s = nt_claim();
	if (!s)
		return 0; /* exit finds nothing and counts it */
	head = (struct nt_act_head *)s->rec;
	__builtin_memset(head, 0, sizeof(*head));
	s->len = sizeof(*head);
	if (a->path && nt_tail_name(s, a->path, a->dir, 0))
		head->unread |= NT_UNREAD_PATH;
	if (a->path2 && nt_tail_name(s, a->path2, a->dir2, 1))
		head->unread |= NT_UNREAD_PATH2;
	if (a->text && nt_tail_user_str(s->index, NT_TAIL_TEXT, a->text))
		head->unread |= NT_UNREAD_TEXT;
	if (a->fd >= 0)
		head->inode = nt_tail_fd(s, &head->before, a->fd);
	head->hflags = s->flags;
	head->tails_len = s->len - sizeof(*head);
	if (head->tails_len <= NT_ACT_SMALL)
		err = bpf_map_update_elem(&nt_acts_small, &tid, s->rec, BPF_ANY);
	else
		err = bpf_map_update_elem(&nt_acts_large, &tid, s->rec, BPF_ANY);
	nt_release(s);
	return err;
}

/* ---- what is told at exit ---- */

static __always_inline void nt_act_tails(struct nt_scratch *s, const u8 *from, u32 len, u32 max)
{
	if (len > max)
		return;
	bpf_probe_read_kernel(&s->rec[NT_FIXED_LEN + sizeof(struct nt_act)], len, from);
	s->len += len;
}

static __noinline int nt_act_late(struct nt_scratch *s, struct nt_act_args *a, u32 unread)
{
	struct nt_act *body;

	if (!s || !a || !unread)
		return 0;
	body = nt_body_of(s);
	body->has |= NT_ACT_READ_LATE;
	if (unread & NT_UNREAD_PATH)
		nt_tail_user_str(s->index, NT_TAIL_USER_PATH, a->path);
	if (unread & NT_UNREAD_PATH2)
		nt_tail_user_str(s->index, NT_TAIL_USER_PATH2, a->path2);
	if (unread & NT_UNREAD_TEXT)
		nt_tail_user_str(s->index, NT_TAIL_TEXT, a->text);
	return 0;
}

/* Fixed part and arguments of a record. NULL: counted as lost. */
static __noinline struct nt_scratch *nt_act_begin(struct nt_call *c, u32 type)
{
	struct nt_scratch *s;
	struct nt_act *body;

	if (!c)
		return NULL;
	s = nt_begin(type, sizeof(*body));
	if (!s)
		return NULL;
	s->flags |= nt_call_flags(c);
	body = nt_body_of(s);
	body->ret = nt_visible_ret(c->ret);
	body->syscall_nr = c->nr;
	body->args[0] = c->a[0];
	body->args[1] = c->a[1];
	body->args[2] = c->a[2];
	body->args[3] = c->a[3];
	body->args[4] = c->a[4];
	body->args[5] = c->a[5];
	return s;
}

/*
 * Hook    tracepoint/syscalls/sys_exit_X of NT_ACTS_NAMED, fallback
 *         tp_btf/sys_exit
 * Kernels 5.15, 5.5
 * Why     the outcome; and a name whose page wasn't in memory at enter is now
 * Misses  the inode of what was named (a descriptor's is told); io_uring
 */
static __noinline int act__exit(struct nt_call *c, struct nt_act_args *a)
{
	struct nt_act_small *small;
	struct nt_act_large *large = NULL;
	struct nt_act_head *head;
	struct nt_act *body;
	struct nt_scratch *s;
	u32 tid = nt_tid(), type;

	if (!c || !a)
		return 0;
	type = a->type;
	small = bpf_map_lookup_elem(&nt_acts_small, &tid);
	if (!small) {
		large = bpf_map_lookup_elem(&nt_acts_large, &tid);
		if (!large) {
			if (nt_admit_act(type))
				nt_lost_map(type);
			return 0;
		}
	}
	if (!nt_admit_act(type))
		goto out;
	s = nt_act_begin(c, type);
	if (!s)
		goto out;
	head = small ? &small->head : &large->head;
	s->flags |= head->hflags;
	body = nt_body_of(s);
	body->before = head->before;
	if (small)
		nt_act_tails(s, small->tails, small->head.tails_len, NT_ACT_SMALL);
	else if (large)
		nt_act_tails(s, large->tails, large->head.tails_len, NT_ACT_LARGE);
	nt_act_late(s, a, head->unread);
	/* By the inode of then: the descriptor may be another file's by now. */
	if (head->inode) {
		nt_fill_file(&body->after, head->inode);
		body->after.flags = body->after.ino == head->before.ino && body->after.dev == head->before.dev ?
					    head->before.flags : 0;
	}
	nt_submit(s, type);
out:
	if (large)
		bpf_map_delete_elem(&nt_acts_large, &tid);
	else
		bpf_map_delete_elem(&nt_acts_small, &tid);
	return 0;
}

/* ---- calls told by their exit alone ---- */

/* Which uses of a call are recorded at all. The record's type; 0: none. */
static __always_inline u32 nt_act_wanted(const struct nt_call *c, u32 type)
{
	u32 op = c->a[0];

	switch (type) {
	case NT_PTRACE:
		switch (op) {
		case 0:      /* TRACEME */
		case 4:      /* POKETEXT, POKEDATA, POKEUSR */
		case 5:
		case 6:
		case 13:     /* SETREGS, SETFPREGS */
		case 15:
		case 16:     /* ATTACH */
		case 0x4205: /* SETREGSET */
		case 0x4206: /* SEIZE */
			return type;
		}
		return 0;
	case NT_PRCTL:
		switch (op) {
		case 4:          /* SET_DUMPABLE */
		case 8:          /* SET_KEEPCAPS */
		case 22:         /* SET_SECCOMP */
		case 24:         /* CAPBSET_DROP */
		case 28:         /* SET_SECUREBITS */
		case 35:         /* SET_MM */
		case 38:         /* SET_NO_NEW_PRIVS */
		case 47:         /* CAP_AMBIENT */
		case 0x59616d61: /* SET_PTRACER */
			return type;
		}
		return 0;
	case NT_KEYCTL:
		/* not those that only look: GET_KEYRING_ID, DESCRIBE, SEARCH, READ, GET_SECURITY, GET_PERSISTENT */
		return op == 0 || op == 6 || op == 10 || op == 11 || op == 17 || op == 22 ? 0 : type;
	case NT_BPF_LOAD:
		switch (op) {
		case 5: /* PROG_LOAD */
			return NT_BPF_LOAD;
		case 8:  /* PROG_ATTACH */
		case 17: /* RAW_TRACEPOINT_OPEN */
		case 28: /* LINK_CREATE */
		case 29: /* LINK_UPDATE */
			return NT_BPF_ATTACH;
		case 9:  /* PROG_DETACH */
		case 34: /* LINK_DETACH */
			return NT_BPF_DETACH;
		}
		return 0;
	case NT_TIME_CHANGE: {
		bool native = !c->compat;
		u64 timex = 0;
		u32 modes = 0;

		if (native ? c->nr == 159 : c->nr == 124)
			timex = c->a[0];
		else if (native ? c->nr == 305 : c->nr == 343 || c->nr == 405)
			timex = c->a[1];
		if (!timex)
			return type;
		/* adjtimex without modes only asks. Its first member says; not readable: it failed */
		bpf_probe_read_user(&modes, sizeof(modes), (const void *)timex);
		return modes ? type : 0;
	}
	}
	return type;
}

/* The host's name as it is now, not as the caller spelt it. */
static __always_inline void nt_tail_hostname(struct nt_scratch *s, const struct nt_call *c)
{
	/* a number, not a typed pointer: a global function takes it */
	struct uts_namespace *uts = (void *)nt_read_ptr(&bpf_get_current_task_btf()->nsproxy->uts_ns);
	struct nt_act *body = nt_body_of(s);
	bool domain = c->nr == (c->compat ? 121 : 171);

	if (c->ret < 0)
		return;
	body->has |= NT_ACT_KERNEL_TEXT;
	nt_tail_kernel_str(s->index, NT_TAIL_TEXT, domain ? (u64)&uts->name.domainname : (u64)&uts->name.nodename);
}

/*
 * Hook    tracepoint/syscalls/sys_exit_X of NT_ACTS_PLAIN, fallback
 *         tp_btf/sys_exit
 * Kernels 5.15, 5.5
 * Why     numbers are still in the registers; names the kernel has just read, and
 *         they lead where they led
 * Misses  a reboot or kexec that happens: the call doesn't return. A name that
 *         another thread rewrites meanwhile
 */
static __noinline int act__plain(struct nt_call *c, struct nt_act_args *a)
{
	struct nt_scratch *s;
	struct nt_act *body;

	if (!c || !a)
		return 0;
	if (!nt_admit_act(a->type))
		return 0;
	s = nt_act_begin(c, a->type);
	if (!s)
		return 0;
	body = nt_body_of(s);
	if (a->path)
		nt_tail_name(s, a->path, a->dir, 0);
	if (a->path2)
		nt_tail_name(s, a->path2, a->dir2, 1);
	if (a->text)
		nt_tail_user_str(s->index, NT_TAIL_TEXT, a->text);
	if (a->type == NT_HOSTNAME)
		nt_tail_hostname(s, c);
	if (a->shape & NT_S_RETFD && c->ret >= 0)
		nt_tail_fd(s, &body->after, c->ret);
	nt_submit(s, a->type);
	return 0;
}

static __always_inline void act__enter_shape(struct nt_call *c, u32 type, u32 shape)
{
	struct nt_act_args a;

	nt_take_args(&a, c, type, shape);
	act__enter(&a);
}

static __always_inline void act__exit_shape(struct nt_call *c, u32 type, u32 shape)
{
	struct nt_act_args a;

	nt_take_args(&a, c, type, shape);
	act__exit(c, &a);
}

static __always_inline void act__plain_shape(struct nt_call *c, u32 type, u32 shape)
{
	u32 wanted = nt_act_wanted(c, type);
	struct nt_act_args a;

	if (type == NT_BPF_LOAD)
		nt_bpf_own(c);
	if (!wanted)
		return;
	nt_take_args(&a, c, wanted, shape);
	act__plain(c, &a);
}

/*
 * Hook    tracepoint/syscalls/sys_exit_execve(at), fallback tp_btf/sys_exit;
 *         the programs are process.bpf.c's
 * Kernels 5.15, 5.5
 * Why     a failed exec leaves the caller as it was, and the name the kernel has
 *         just read is in memory
 * Misses  which of several causes within the file: the errno is all there is
 */
__noinline int nt_exec_failed(struct nt_call *c)
{
	struct nt_scratch *s;
	u64 name;
	s32 dfd = AT_FDCWD;

	if (!c || c->ret >= 0 || !nt_admit_process())
		return 0;
	/* execveat, of x86-64, i386 and x32 */
	name = c->a[0];
	if (c->compat ? c->nr == 358 : c->nr == 322 || (c->nr & ~NT_X32_BIT) == 545) {
		dfd = c->a[0];
		name = c->a[1];
	}
	s = nt_act_begin(c, NT_EXEC_FAILED);
	if (!s)
		return 0;
	nt_tail_name(s, name, dfd, 0);
	nt_submit(s, NT_EXEC_FAILED);
	return 0;
}

/* ---- which call it is ---- */

struct nt_act_entry {
	u32 shape;
	u16 type;
	u16 named;
};

#define NT_ACT_CALLS 512

#define NT_NATIVE_NAMED(name, nr, nr32, type, shape) [nr] = {shape, type, 1},
#define NT_NATIVE_PLAIN(name, nr, nr32, type, shape) [nr] = {shape, type, 0},
#define NT_I386_NAMED(name, nr, nr32, type, shape) [nr32] = {shape, nr32 ? type : NT_NONE, 1},
#define NT_I386_PLAIN(name, nr, nr32, type, shape) [nr32] = {shape, nr32 ? type : NT_NONE, 0},
#define NT_I386_MORE(name, nr, nr32, type, shape) [nr32] = {shape, type, !!((shape) & NT_S_FD(0xfu))},

static const volatile struct nt_act_entry nt_native_acts[NT_ACT_CALLS] = {
	NT_ACTS_NAMED(NT_NATIVE_NAMED) NT_ACTS_PLAIN(NT_NATIVE_PLAIN)
};
static const volatile struct nt_act_entry nt_compat_acts[NT_ACT_CALLS] = {
	NT_ACTS_NAMED(NT_I386_NAMED) NT_ACTS_PLAIN(NT_I386_PLAIN) NT_ACTS_I386(NT_I386_MORE)
};

static __always_inline struct nt_act_entry nt_act_of(const struct nt_call *c)
{
	struct nt_act_entry e = {};
	u32 nr = c->compat ? c->nr : c->nr & ~NT_X32_BIT;

	if (nr >= NT_ACT_CALLS)
		return e;
	if (c->compat) {
		e.shape = nt_compat_acts[nr].shape;
		e.type = nt_compat_acts[nr].type;
		e.named = nt_compat_acts[nr].named;
	} else {
		e.shape = nt_native_acts[nr].shape;
		e.type = nt_native_acts[nr].type;
		e.named = nt_native_acts[nr].named;
	}
	return e;
}

int nt_act__enter(struct nt_call *c)
{
	struct nt_act_entry e;

	if (!c)
		return 0;
	e = nt_act_of(c);
	if (e.type && e.named)
		act__enter_shape(c, e.type, e.shape);
	return 0;
}

int nt_act__exit(struct nt_call *c)
{
	struct nt_act_entry e;

	if (!c)
		return 0;
	e = nt_act_of(c);
	if (!e.type)
		return 0;
	if (e.named)
		act__exit_shape(c, e.type, e.shape);
	else
		act__plain_shape(c, e.type, e.shape);
	return 0;
}

/*
 * One program each side for all per-syscall tracepoints: the event says which
 * call it is, and loading a hundred programs would take seconds. The agent
 * attaches them to sys_{enter,exit}_X of every X in NT_ACTS.
 */
SEC("tracepoint/syscalls/sys_enter_acts")
int tp__sys_enter_acts(struct nt_tp_exit *ctx)
{
	struct nt_call c;

	nt_call_native(&c, (void *)bpf_task_pt_regs(bpf_get_current_task_btf()), (u32)ctx->nr_and_pad, 0);
	return nt_act__enter(&c);
}

SEC("tracepoint/syscalls/sys_exit_acts")
int tp__sys_exit_acts(struct nt_tp_exit *ctx)
{
	struct nt_call c;

	nt_call_native(&c, (void *)bpf_task_pt_regs(bpf_get_current_task_btf()), (u32)ctx->nr_and_pad, ctx->ret);
	return nt_act__exit(&c);
}
