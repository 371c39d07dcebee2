/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * io_uring's requests: the kernel's types where its versions differ, and what is
 * kept of a request from its submission to its completion.
 */
#ifndef NODETRAIL_BPF_URING_H_
#define NODETRAIL_BPF_URING_H_

#include "task.bpf.h"

/* Set before load, from the kernel's BTF (agent/capture/uring.cc). */
const volatile bool nt_uring_has_cqe __weak = false;     /* io_uring_complete(ctx, req, cqe), of newer kernels */
const volatile unsigned int nt_uring_creds_bit __weak = 64; /* of io_kiocb.flags; 64: not known */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct filename {
	const char *name;
};

struct io_cqe {
	u64 user_data;
	s32 res;
	int fd; /* of sqe, until the request completes */
};
struct io_rsrc_node {
	unsigned long file_ptr;
};
struct io_rsrc_data {
	unsigned int nr;
	struct io_rsrc_node **nodes;
};
struct io_file_table {
	struct io_rsrc_data data;
};
struct io_ring_ctx {
	struct io_file_table file_table;
};
struct io_kiocb {
	u8 opcode;
	u64 flags;
	struct io_cqe cqe;
	struct io_ring_ctx *ctx;
	const struct cred *creds;
};

/* A request begins with what its operation needs: these lie at its address. */
struct io_open {
	int dfd;
	u32 file_slot;
	struct filename *filename;
	struct {
		u64 flags, mode, resolve;
	} how;
};
struct io_unlink {
	int dfd;
	int flags;
	struct filename *filename;
};
struct io_mkdir {
	int dfd;
	unsigned short mode;
	struct filename *filename;
};
struct io_rename {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};
struct io_link { /* symlinkat, too */
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};
struct xattr_name {
	char name[256];
};
struct io_xattr {
	struct {
		u64 size;
		struct xattr_name *kname;
		unsigned int flags;
	} ctx;
	struct filename *filename;
};
struct io_ftrunc {
	s64 len;
};
struct io_connect {
	void *addr;
	int addr_len;
};
struct io_accept {
	int flags;
	u32 file_slot;
};

/* Until 6.12 registered files were no nodes (661768085e99, "io_uring/rsrc: get
 * rid of the empty node and dummy_ubuf", and its neighbours). */
struct io_fixed_file {
	unsigned long file_ptr;
};
struct io_file_table___old {
	struct io_fixed_file *files;
};
struct io_ring_ctx___old {
	struct io_file_table___old file_table;
	unsigned int nr_user_files;
};

/* A struct delayed_filename, which is a pointer to a filename, since 7.0. */
struct delayed_filename {
	struct filename *__incomplete_filename;
};
struct io_open___delayed {
	struct delayed_filename filename;
};
struct io_unlink___delayed {
	struct delayed_filename filename;
};
struct io_mkdir___delayed {
	struct delayed_filename filename;
};
struct io_rename___delayed {
	struct delayed_filename oldpath, newpath;
};
struct io_link___delayed {
	struct delayed_filename oldpath, newpath;
};
struct io_xattr___delayed {
	struct delayed_filename filename;
};

#pragma clang attribute pop

/* The kernel's copy of a name, from a request. */
#define nt_uring_name(req, type, field)                                                         \
	({                                                                                      \
		u64 name_;                                                                      \
		if (bpf_core_field_exists(((struct type *)0)->field))                           \
			name_ = nt_read_ptr(&((struct type *)(req))->field);                    \
		else                                                                            \
			name_ = nt_read_ptr(&((struct type##___delayed *)(req))->field);        \
		nt_read_ptr(&((struct filename *)name_)->name);                                 \
	})

/* Submission entries are the interface to programs: they don't change. */
struct nt_uring_sqe {
	u8 opcode, flags;
	u16 ioprio;
	s32 fd;
	u64 off; /* or addr2 */
	u64 addr;
	u32 len;
	u32 op_flags;
	u64 user_data;
	u16 buf_index, personality;
	u32 file_index; /* of a registered file to be made, from 1 */
	u64 addr3;
	u64 pad;
};

#define NT_URING_FIXED_FILE 1u         /* IOSQE_FIXED_FILE, in io_kiocb.flags too */
#define NT_URING_QUIET (1u << 6)       /* IOSQE_CQE_SKIP_SUCCESS, likewise */
#define NT_URING_ALLOC_SLOT 0xffffffffu /* IORING_FILE_INDEX_ALLOC */

enum {
	NT_URING_ACCEPT = 13,
	NT_URING_CONNECT = 16,
	NT_URING_OPENAT = 18,
	NT_URING_OPENAT2 = 28,
	NT_URING_RENAMEAT = 35,
	NT_URING_UNLINKAT = 36,
	NT_URING_MKDIRAT = 37,
	NT_URING_SYMLINKAT = 38,
	NT_URING_LINKAT = 39,
	NT_URING_FSETXATTR = 41,
	NT_URING_SETXATTR = 42,
	NT_URING_FTRUNCATE = 55,
};

/*
 * A request under way is kept as the record it will be: header, task, body,
 * tails. This lies where its header will be.
 */
struct nt_uring_head {
	u16 op;   /* NT_URING_* */
	u16 type; /* enum nt_type */
	u32 len;  /* of the record, so far */
	u64 user_data;
	u32 slot; /* of the registered file it makes, from 1; 0: it makes a descriptor */
	u32 flags; /* nt_header.flags */
	u64 ctx;
};
_Static_assert(sizeof(struct nt_uring_head) == sizeof(struct nt_header), "a request's head is a header's size");

#define NT_URING_SMALL (NT_FIXED_LEN + sizeof(struct nt_act) + 256)
#define NT_URING_LARGE (NT_FIXED_LEN + sizeof(struct nt_act) + 4 * (NT_PATH_MAX + 4) + 512)

struct nt_uring_small {
	struct nt_uring_head head;
	u8 rest[NT_URING_SMALL - sizeof(struct nt_uring_head)];
};

struct nt_uring_large {
	struct nt_uring_head head;
	u8 rest[NT_URING_LARGE - sizeof(struct nt_uring_head)];
};

/* Requests under way, by address: nearly all fit the small one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384); /* set at load */
	__type(key, u64);
	__type(value, struct nt_uring_small);
} nt_uring_small __weak SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512); /* set at load */
	__type(key, u64);
	__type(value, struct nt_uring_large);
} nt_uring_large __weak SEC(".maps");

/* connect()s under way, by socket: the state machine finds who asked. */
struct nt_uring_connect {
	u64 req;
	u64 syn_sent; /* the state machine tells the outcome */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384); /* set at load */
	__type(key, u64);
	__type(value, struct nt_uring_connect);
} nt_uring_connects __weak SEC(".maps");

/* accept()s under way: one that goes on completes by its ring and the caller's
 * word alone. */
struct nt_uring_word {
	u64 ctx, user_data;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384); /* set at load */
	__type(key, struct nt_uring_word);
	__type(value, u64); /* the request */
} nt_uring_accepts __weak SEC(".maps");

/*
 * network.bpf.c, for io_uring.bpf.c. `index`: a scratch with the request's
 * record. Global functions take numbers.
 */
/* Fills the body of a connect. 0: it isn't TCP, or asks about one under way. */
extern int nt_uring__connect(u32 index, u64 req, u64 file, u64 addr, u32 addr_len);
extern int nt_uring__connected(u32 index, u64 req, s64 ret);
extern int nt_uring__accepted(u32 index, u64 file);

#endif /* NODETRAIL_BPF_URING_H_ */
