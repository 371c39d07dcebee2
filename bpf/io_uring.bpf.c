// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * What is done through io_uring: the acts that system calls do, told as the
 * same kinds, with NT_F_IO_URING.
 *
 * A request is submitted by the thread that enters the ring, or by the polling
 * thread that the kernel runs in its process; it is carried out there or by a
 * worker, and completed by whoever comes by. Who asks for what is certain at its
 * submission: the record is made there, and kept until the completion tells the
 * outcome.
 */
#include "call.bpf.h"
#include "open.bpf.h"
#include "uring.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define EEXIST 17

/* One request: the arguments of the system call that does the same. Pointers
 * are none of them: the kernel keeps its copies only. */
struct nt_uring_op {
	u64 path, path2, text; /* names in the kernel; with `user`, the caller's */
	s32 dir, dir2, fd;
	u32 op, type, user, slot;
	u32 nr; /* of the system call, x86-64 */
	u64 args[5];
	struct nt_open_how how;
};

/* What is told of an operation; 0: nothing. A table, not a switch: the verifier
 * would walk what follows once for each. */
static const volatile u8 uring__types[64] = {
	[NT_URING_OPENAT] = NT_FILE_OPEN,
	[NT_URING_OPENAT2] = NT_FILE_OPEN,
	[NT_URING_UNLINKAT] = NT_FILE_DELETE,
	[NT_URING_RENAMEAT] = NT_FILE_RENAME,
	[NT_URING_LINKAT] = NT_FILE_LINK,
	[NT_URING_SYMLINKAT] = NT_FILE_SYMLINK,
	[NT_URING_MKDIRAT] = NT_FILE_MKDIR,
	[NT_URING_SETXATTR] = NT_FILE_SETXATTR,
	[NT_URING_FSETXATTR] = NT_FILE_SETXATTR,
	[NT_URING_FTRUNCATE] = NT_FILE_TRUNCATE,
	[NT_URING_CONNECT] = NT_NET_CONNECT,
	[NT_URING_ACCEPT] = NT_NET_ACCEPT,
};

static __always_inline u32 uring__type(u32 op)
{
	return op < 64 ? uring__types[op] : NT_NONE;
}

/*
 * Where a scratch's request is described: behind what a record can reach. Not on
 * the stack: verifiers before 6.8 lose track of what is read there by pointer,
 * take branches for dead that aren't, and remove them.
 */
static __always_inline struct nt_uring_op *uring__op(struct nt_scratch *s, u32 op, u32 type)
{
	struct nt_uring_op *o = (void *)&s->rec[sizeof(s->rec) - sizeof(*o)];

	__builtin_memset(o, 0, sizeof(*o));
	o->op = op;
	o->type = type;
	o->dir = o->dir2 = AT_FDCWD;
	o->fd = -1;
	return o;
}

/* A file that the ring's owner registered, by its number. */
static __noinline u64 uring__registered(u64 ring, u32 number)
{
	u64 table;
	u32 size = 0;

	if (bpf_core_field_exists(((struct io_file_table *)0)->data)) {
		bpf_probe_read_kernel(&size, sizeof(size), &((struct io_ring_ctx *)ring)->file_table.data.nr);
		if (number >= size)
			return 0;
		table = nt_read_ptr(&((struct io_ring_ctx *)ring)->file_table.data.nodes);
		table = nt_read_ptr((void *)(table + 8 * (u64)number)); /* the node */
		return table ? nt_read_ptr(&((struct io_rsrc_node *)table)->file_ptr) & ~7ull : 0;
	}
	bpf_probe_read_kernel(&size, sizeof(size), &((struct io_ring_ctx___old *)ring)->nr_user_files);
	if (number >= size)
		return 0;
	table = nt_read_ptr(&((struct io_ring_ctx___old *)ring)->file_table.files);
	return nt_read_ptr((void *)(table + 8 * (u64)number)) & ~7ull; /* its low bits are flags */
}

/* What the operation acts on, of those that are given a file. */
static __always_inline u64 uring__file(u64 req, s32 fd)
{
	u64 flags = 0;

	bpf_probe_read_kernel(&flags, 4, &((struct io_kiocb *)req)->flags);
	if (flags & NT_URING_FIXED_FILE)
		return uring__registered(nt_read_ptr(&((struct io_kiocb *)req)->ctx), fd);
	return nt_file_of_fd(fd);
}

/* The request's own copy of its arguments: nobody rewrites it. */
static __noinline int uring__take(struct nt_uring_op *o, u64 req)
{
	if (!o)
		return 0;
	switch (o->op) {
	case NT_URING_OPENAT:
	case NT_URING_OPENAT2:
		o->dir = BPF_CORE_READ((struct io_open *)req, dfd);
		o->slot = BPF_CORE_READ((struct io_open *)req, file_slot);
		o->path = nt_uring_name(req, io_open, filename);
		o->how.flags = BPF_CORE_READ((struct io_open *)req, how.flags);
		o->how.mode = BPF_CORE_READ((struct io_open *)req, how.mode);
		o->how.resolve = BPF_CORE_READ((struct io_open *)req, how.resolve);
		break;
	case NT_URING_UNLINKAT:
		o->dir = BPF_CORE_READ((struct io_unlink *)req, dfd);
		o->path = nt_uring_name(req, io_unlink, filename);
		o->args[2] = (u32)BPF_CORE_READ((struct io_unlink *)req, flags);
		break;
	case NT_URING_MKDIRAT:
		o->dir = BPF_CORE_READ((struct io_mkdir *)req, dfd);
		o->path = nt_uring_name(req, io_mkdir, filename);
		o->args[2] = BPF_CORE_READ((struct io_mkdir *)req, mode);
		break;
	case NT_URING_RENAMEAT:
		o->dir = BPF_CORE_READ((struct io_rename *)req, old_dfd);
		o->dir2 = BPF_CORE_READ((struct io_rename *)req, new_dfd);
		o->path = nt_uring_name(req, io_rename, oldpath);
		o->path2 = nt_uring_name(req, io_rename, newpath);
		o->args[4] = (u32)BPF_CORE_READ((struct io_rename *)req, flags);
		break;
	case NT_URING_LINKAT:
		o->dir = BPF_CORE_READ((struct io_link *)req, old_dfd);
		o->dir2 = BPF_CORE_READ((struct io_link *)req, new_dfd);
		o->path = nt_uring_name(req, io_link, oldpath);
		o->path2 = nt_uring_name(req, io_link, newpath);
		o->args[4] = (u32)BPF_CORE_READ((struct io_link *)req, flags);
		break;
	case NT_URING_SYMLINKAT:
		o->dir = BPF_CORE_READ((struct io_link *)req, new_dfd);
		o->path = nt_uring_name(req, io_link, newpath);
		o->text = nt_uring_name(req, io_link, oldpath);
		break;
	case NT_URING_SETXATTR:
	case NT_URING_FSETXATTR:
		if (!bpf_core_type_exists(struct io_xattr))
			break;
		o->text = nt_read_ptr(&((struct io_xattr *)req)->ctx.kname); /* begins with the name */
		o->args[3] = BPF_CORE_READ((struct io_xattr *)req, ctx.size);
		o->args[4] = BPF_CORE_READ((struct io_xattr *)req, ctx.flags);
		if (o->op == NT_URING_SETXATTR)
			o->path = nt_uring_name(req, io_xattr, filename);
		else
			o->fd = BPF_CORE_READ((struct io_kiocb *)req, cqe.fd);
		break;
	case NT_URING_FTRUNCATE:
		if (!bpf_core_type_exists(struct io_ftrunc))
			break;
		o->fd = BPF_CORE_READ((struct io_kiocb *)req, cqe.fd);
		o->args[1] = BPF_CORE_READ((struct io_ftrunc *)req, len);
		break;
	case NT_URING_CONNECT:
		o->fd = BPF_CORE_READ((struct io_kiocb *)req, cqe.fd);
		o->path = nt_read_ptr(&((struct io_connect *)req)->addr);
		o->slot = BPF_CORE_READ((struct io_connect *)req, addr_len);
		break;
	case NT_URING_ACCEPT:
		o->fd = BPF_CORE_READ((struct io_kiocb *)req, cqe.fd);
		o->slot = BPF_CORE_READ((struct io_accept *)req, file_slot);
		break;
	}
	return 0;
}

/* The same from the caller's submission entry, of a request that got no copy. */
static __noinline int uring__take_entry(struct nt_uring_op *o, u64 entry)
{
	struct nt_uring_sqe e;

	if (!o || bpf_probe_read_kernel(&e, sizeof(e), (const void *)entry))
		return -1;
	o->user = 1;
	o->dir = e.fd;
	o->path = e.addr;
	switch (o->op) {
	case NT_URING_OPENAT:
		o->how.flags = e.op_flags;
		o->how.mode = e.len;
		break;
	case NT_URING_OPENAT2:
		bpf_probe_read_user(&o->how, sizeof(o->how), (const void *)e.off);
		break;
	case NT_URING_UNLINKAT:
		o->args[2] = e.op_flags;
		break;
	case NT_URING_MKDIRAT:
		o->args[2] = e.len;
		break;
	case NT_URING_RENAMEAT:
	case NT_URING_LINKAT:
		o->dir2 = e.len;
		o->path2 = e.off;
		o->args[4] = e.op_flags;
		break;
	case NT_URING_SYMLINKAT:
		o->path = e.off;
		o->text = e.addr;
		break;
	case NT_URING_SETXATTR:
	case NT_URING_FSETXATTR:
		o->dir = AT_FDCWD;
		o->path = o->op == NT_URING_SETXATTR ? e.addr3 : 0;
		o->fd = o->op == NT_URING_SETXATTR ? -1 : e.fd;
		o->text = e.addr;
		o->args[3] = e.len;
		o->args[4] = e.op_flags;
		break;
	case NT_URING_FTRUNCATE:
		o->path = 0;
		o->fd = e.fd;
		o->args[1] = e.off;
		break;
	case NT_URING_CONNECT:
		o->fd = e.fd;
		o->slot = e.off;
		break;
	}
	return 0;
}

/* What stands where among the call's arguments, after acts.h. */
static __always_inline void uring__arguments(struct nt_uring_op *o)
{
	switch (o->op) {
	case NT_URING_OPENAT: o->nr = 257; break;
	case NT_URING_OPENAT2: o->nr = 437; break;
	case NT_URING_UNLINKAT: o->nr = 263; break;
	case NT_URING_MKDIRAT: o->nr = 258; break;
	case NT_URING_RENAMEAT: o->nr = 316; break;
	case NT_URING_LINKAT: o->nr = 265; break;
	case NT_URING_SYMLINKAT: o->nr = 266; break;
	case NT_URING_SETXATTR: o->nr = 188; break;
	case NT_URING_FSETXATTR: o->nr = 190; break;
	case NT_URING_FTRUNCATE: o->nr = 77; break;
	}
	if (o->fd >= 0)
		o->args[0] = (u32)o->fd;
	else if (o->op == NT_URING_SYMLINKAT)
		o->args[1] = (u32)o->dir;
	else if (o->op != NT_URING_SETXATTR)
		o->args[0] = (u32)o->dir;
	if (o->path2)
		o->args[2] = (u32)o->dir2;
}

static __always_inline int uring__string(struct nt_scratch *s, const struct nt_uring_op *o, u32 kind, u64 string)
{
	return o->user ? nt_tail_user_str(s->index, kind, string) : nt_tail_kernel_str(s->index, kind, string);
}

static __noinline int uring__name(struct nt_scratch *s, struct nt_uring_op *o, u32 second)
{
	if (!s || !o || uring__string(s, o, second ? NT_TAIL_USER_PATH2 : NT_TAIL_USER_PATH, second ? o->path2 : o->path))
		return 0;
	if (!nt_last_name_absolute(s) || o->how.resolve & RESOLVE_IN_ROOT)
		nt_tail_base(s, second ? NT_TAIL_BASE2 : NT_TAIL_BASE, second ? o->dir2 : o->dir);
	return 0;
}

/* The file given, as it is before. */
static __noinline int uring__given(struct nt_scratch *s, u64 file)
{
	struct nt_open_file f = {};
	struct nt_act *body;

	if (!s || !file || nt_read_file(&f, file))
		return 0;
	body = nt_body_of(s);
	nt_fill_file(&body->before, f.inode);
	nt_tail_file(s, NT_TAIL_PATH, &body->before, &f);
	body->after.ino = f.inode; /* until it completes */
	return 0;
}

/* Body and tails of the record. 0: the request is none to be told. */
static __noinline int uring__fill(struct nt_scratch *s, struct nt_uring_op *o, u64 req)
{
	if (!s || !o)
		return 0;
	s->flags |= NT_F_IO_URING;
	if (o->type == NT_NET_ACCEPT) {
		s->len = NT_FIXED_LEN + sizeof(struct nt_net);
		return 1;
	}
	if (o->type == NT_NET_CONNECT)
		return nt_uring__connect(s->index, req, uring__file(req, o->fd), o->path, o->slot);
	uring__arguments(o);
	if (o->type == NT_FILE_OPEN) {
		struct nt_file_open *open = nt_body_of(s);

		s->len = NT_FIXED_LEN + sizeof(*open);
		open->open_flags = o->how.flags;
		open->open_mode = o->how.flags & (O_CREAT | O_TMPFILE_BIT) ? o->how.mode : 0;
		open->dfd = o->dir;
		open->syscall_nr = o->nr;
	} else {
		struct nt_act *act = nt_body_of(s);

		act->syscall_nr = o->nr;
		act->args[0] = o->args[0];
		act->args[1] = o->args[1];
		act->args[2] = o->args[2];
		act->args[3] = o->args[3];
		act->args[4] = o->args[4];
	}
	if (o->path)
		uring__name(s, o, 0);
	if (o->path2)
		uring__name(s, o, 1);
	if (o->text)
		uring__string(s, o, NT_TAIL_TEXT, o->text);
	if (o->fd >= 0)
		uring__given(s, uring__file(req, o->fd));
	return 1;
}

/* Starts the record of a request, in its submitter's context. */
static __noinline struct nt_scratch *uring__begin(struct io_kiocb *req, u32 type)
{
	struct nt_scratch *s = nt_begin(type, sizeof(struct nt_act));

	/* A personality: credentials that the ring keeps for requests to name. */
	if (s && nt_uring_creds_bit < 64 && req->flags >> nt_uring_creds_bit & 1)
		nt_fill_cred(&nt_task_of(s)->cred, req->creds);
	return s;
}

/* Keeps the record until the request completes. */
static __noinline int uring__keep(struct nt_scratch *s, struct nt_uring_op *o, u64 req)
{
	struct nt_uring_head *head;
	long err;

	if (!s || !o)
		return 0;
	head = (struct nt_uring_head *)s->rec;
	head->op = o->op;
	head->type = o->type;
	head->len = s->len;
	head->slot = o->slot;
	head->flags = s->flags;
	head->user_data = BPF_CORE_READ((struct io_kiocb *)req, cqe.user_data);
	head->ctx = nt_read_ptr(&((struct io_kiocb *)req)->ctx);
	if (s->len <= NT_URING_SMALL)
		err = bpf_map_update_elem(&nt_uring_small, &req, s->rec, BPF_NOEXIST);
	else
		err = bpf_map_update_elem(&nt_uring_large, &req, s->rec, BPF_NOEXIST);
	if (o->type == NT_NET_ACCEPT && !err) {
		struct nt_uring_word word = { .ctx = head->ctx, .user_data = head->user_data };

		err = bpf_map_update_elem(&nt_uring_accepts, &word, &req, BPF_ANY);
	}
	if (!err)
		return 0;
	/* No room; or one that was here before went without completing. Either is lost. */
	nt_lost_map(o->type);
	if (err == -EEXIST) {
		if (s->len <= NT_URING_SMALL)
			bpf_map_update_elem(&nt_uring_small, &req, s->rec, BPF_ANY);
		else
			bpf_map_update_elem(&nt_uring_large, &req, s->rec, BPF_ANY);
	}
	return 0;
}

static __always_inline int uring__submit(struct io_kiocb *request, const u64 *args)
{
	u32 op = request->opcode, type = uring__type(op);
	struct nt_uring_op *o;
	struct nt_scratch *s;
	u64 req = 0;

	if (!type || !nt_admit_act(type))
		return 0;
	/* Success is not told, and nothing is kept that would never end: the act is counted. A connect's own state tells. */
	if (request->flags & NT_URING_QUIET) {
		if (type != NT_NET_CONNECT)
			nt_lost_map(type);
		return 0;
	}
	bpf_probe_read_kernel(&req, sizeof(req), args); /* a number, not a typed pointer */
	s = uring__begin(request, type);
	if (!s)
		return 0;
	o = uring__op(s, op, type);
	uring__take(o, req);
	if (uring__fill(s, o, req))
		uring__keep(s, o, req);
	nt_release(s);
	return 0;
}

/* ---- completion ---- */

static __noinline int uring__opened(struct nt_scratch *s, s64 ret, u64 ring, u32 slot)
{
	struct nt_file_open *body;
	struct nt_open_file f;
	u32 type = NT_FILE_OPEN;
	u64 file = 0;

	if (!s)
		return 0;
	body = nt_body_of(s);
	body->ret = ret;
	if (ret < 0) {
		type = nt_failed_open(ret, body->open_flags);
		if (type)
			nt_emit(s, type);
		return 0;
	}
	if (!nt_write_intent(body->open_flags))
		return 0;
	/* the owner's descriptors: a worker has them, too */
	if (slot)
		file = uring__registered(ring, slot == NT_URING_ALLOC_SLOT ? (u32)ret : slot - 1);
	else if (nt_tgid() == nt_task_of(s)->tgid)
		file = nt_file_of_fd(ret);
	if (file && !nt_read_file(&f, file)) {
		body->created = nt_created(&f, body->open_flags);
		if (!nt_opened_to_change(&f, body->open_flags, body->created))
			return 0;
		s->len = NT_FIXED_LEN + sizeof(*body);
		nt_fill_file(&body->file, f.inode);
		nt_tail_file(s, NT_TAIL_PATH, &body->file, &f);
	}
	nt_emit(s, type);
	return 0;
}

static __noinline int uring__acted(struct nt_scratch *s, u32 type, s64 ret)
{
	struct nt_act *body;
	u64 inode;

	if (!s)
		return 0;
	body = nt_body_of(s);
	body->ret = ret;
	inode = body->after.ino;
	if (inode) {
		nt_fill_file(&body->after, inode);
		body->after.flags = body->before.flags;
	}
	nt_emit(s, type);
	return 0;
}

/* The kept record with its outcome. `req` NULL: not the last completion. */
static __noinline int uring__tell(struct nt_scratch *s, u64 req, s64 ret)
{
	struct nt_uring_head head;

	if (!s)
		return 0;
	head = *(struct nt_uring_head *)s->rec;
	nt_header_of(s)->ktime_boot_ns = bpf_ktime_get_boot_ns();
	s->len = head.len;
	s->flags = head.flags;
	ret = nt_visible_ret(ret);
	switch (head.type) {
	case NT_FILE_OPEN:
		uring__opened(s, ret, head.ctx, head.slot);
		break;
	case NT_NET_CONNECT:
		nt_uring__connected(s->index, req, ret);
		break;
	case NT_NET_ACCEPT:
		if (ret < 0)
			break;
		if (head.slot)
			nt_uring__accepted(s->index, uring__registered(head.ctx, head.slot == NT_URING_ALLOC_SLOT ?
									     (u32)ret : head.slot - 1));
		else if (nt_tgid() == nt_task_of(s)->tgid)
			nt_uring__accepted(s->index, nt_file_of_fd(ret));
		break;
	default:
		uring__acted(s, head.type, ret);
		break;
	}
	return 0;
}

/* One connection of an accept that goes on. */
static __noinline int uring__accepts(u64 ring, u64 user_data, s64 ret)
{
	struct nt_uring_word word = { .ctx = ring, .user_data = user_data };
	u64 *found = bpf_map_lookup_elem(&nt_uring_accepts, &word);
	struct nt_uring_small *kept;
	struct nt_scratch *s;
	u64 req;

	if (!found)
		return 0;
	req = *found;
	kept = bpf_map_lookup_elem(&nt_uring_small, &req);
	if (!kept)
		return 0;
	s = nt_claim();
	if (!s) {
		nt_lost_map(NT_NET_ACCEPT);
		return 0;
	}
	bpf_probe_read_kernel(s->rec, sizeof(*kept), kept);
	uring__tell(s, req, ret);
	nt_release(s);
	return 0;
}

static __noinline int uring__forget(struct nt_scratch *s, u64 req)
{
	struct nt_uring_word word;
	struct nt_uring_head *head;
	u64 *found;

	if (!s)
		return 0;
	head = (struct nt_uring_head *)s->rec;
	if (head->type != NT_NET_ACCEPT)
		return 0;
	word.ctx = head->ctx;
	word.user_data = head->user_data;
	found = bpf_map_lookup_elem(&nt_uring_accepts, &word);
	if (found && *found == req)
		bpf_map_delete_elem(&nt_uring_accepts, &word);
	return 0;
}

static __noinline int uring__complete(u64 req, s64 ret)
{
	struct nt_uring_small *small = bpf_map_lookup_elem(&nt_uring_small, &req);
	struct nt_uring_large *large = NULL;
	struct nt_scratch *s;

	if (!small) {
		large = bpf_map_lookup_elem(&nt_uring_large, &req);
		if (!large)
			return 0;
	}
	s = nt_claim();
	if (s) {
		if (small)
			bpf_probe_read_kernel(s->rec, sizeof(*small), small);
		else
			bpf_probe_read_kernel(s->rec, sizeof(*large), large);
	} else {
		nt_lost_map(small ? small->head.type : large->head.type);
	}
	if (small)
		bpf_map_delete_elem(&nt_uring_small, &req);
	else
		bpf_map_delete_elem(&nt_uring_large, &req);
	if (!s)
		return 0;
	uring__forget(s, req);
	uring__tell(s, req, ret);
	nt_release(s);
	return 0;
}

/*
 * Hook    tp_btf/io_uring_complete
 * Kernels 6.0 (before, it does not say which request completes)
 * Why     the outcome, wherever the request was carried out. Its arguments are
 *         taken as numbers: newer kernels have others
 * Misses  requests that were under way when the probes came
 */
SEC("tp_btf/io_uring_complete")
int tp_btf__io_uring_complete(u64 *ctx)
{
	/* ring, request, user_data, result; in newer kernels the third is the completion entry: user_data, result */
	u64 a[4] = {};

	if (nt_uring_has_cqe) {
		bpf_probe_read_kernel(a, 24, ctx);
		bpf_probe_read_kernel(&a[2], 16, (const void *)a[2]);
	} else {
		bpf_probe_read_kernel(a, 32, ctx);
	}
	if (a[1])
		return uring__complete(a[1], (s32)a[3]);
	return uring__accepts(a[0], a[2], (s32)a[3]);
}

/*
 * Hook    tp_btf/io_uring_req_failed
 * Kernels 5.18
 * Why     a request that is refused before it is one (a name that can't be
 *         read, flags that don't exist) is never submitted: its entry is all
 *         there is of it
 * Misses  the entry may be rewritten by the caller between the kernel's look and
 *         this one
 */
SEC("tp_btf/io_uring_req_failed")
int BPF_PROG(tp_btf__io_uring_req_failed, const void *entry, struct io_kiocb *request, int error)
{
	u32 op = request->opcode, type = uring__type(op);
	struct nt_uring_op *o;
	struct nt_scratch *s;
	u64 args[2] = {};

	if (!type || type == NT_NET_ACCEPT || !nt_admit_act(type))
		return 0;
	bpf_probe_read_kernel(args, sizeof(args), ctx);
	s = uring__begin(request, type);
	if (!s)
		return 0;
	s->flags |= NT_F_URING_ENTRY;
	o = uring__op(s, op, type);
	uring__take_entry(o, args[0]);
	if (uring__fill(s, o, args[1])) {
		if (type == NT_NET_CONNECT)
			nt_uring__connected(s->index, args[1], error);
		else if (type == NT_FILE_OPEN)
			uring__opened(s, error, 0, 0);
		else
			uring__acted(s, type, error);
	}
	nt_release(s);
	return 0;
}

/*
 * Hook    tp_btf/io_uring_submit_req; io_uring_submit_sqe in its first versions
 * Kernels 6.0 (before, it does not give the request)
 * Why     the request has the kernel's copies of all names by now, current is of
 *         the submitting process, and nothing has been done yet
 * Misses  what a name leads to when the request is carried out: it may wait.
 *         Requests that ask for no completion unless they fail: they are counted
 *         as lost
 */
SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(tp_btf__io_uring_submit_req, struct io_kiocb *request)
{
	return uring__submit(request, ctx);
}

SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(tp_btf__io_uring_submit_sqe, struct io_kiocb *request)
{
	return uring__submit(request, ctx);
}
