/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Paths from the kernel's own objects, written leaf first.
 *
 * The walk's state lives in the scratch and one step is a global function: the
 * verifier checks it once, instead of once per component (a walk of 2,100
 * steps costs it 15,000 instructions; inlined with state on the stack, 32
 * steps cost a million).
 */
#ifndef NODETRAIL_BPF_PATH_H_
#define NODETRAIL_BPF_PATH_H_

#include "varlen.bpf.h"

enum nt_walk_end {
	NT_WALK_ON = 0,
	NT_WALK_ROOT,      /* reached the task's root */
	NT_WALK_OUTSIDE,   /* reached a mount without parent that isn't the task's root */
	NT_WALK_PSEUDO,    /* a dentry without parent in no mount's tree: pipe, memfd */
	NT_WALK_CUT,       /* no room, or a read failed */
};

/* PATH_MAX is 2,048 one-letter components; the rest is for mounts. */
#define NT_WALK_STEPS 2100
#define NT_NAME_MAX 256 /* NAME_MAX and the NUL */

static __always_inline u64 nt_read_ptr(const void *at)
{
	u64 v = 0;

	bpf_probe_read_kernel(&v, sizeof(v), at);
	return v;
}

/*
 * The beginning of a dentry from d_parent on: parent, d_name, d_inode and, of
 * short names, the name itself (d_iname, d_shortname since 6.14) in one read.
 * Whether the name is in it is not assumed but seen: d_name.name points there.
 */
#define NT_INLINE_NAME 40

struct nt_dentry_head {
	u64 parent;
	u64 hash_len; /* length in the upper half */
	u64 name;
	u64 inode;
	u64 inline_name[NT_INLINE_NAME / 8];
};

/* Global: verified once. Returns 1 when the walk is over. */
__weak __noinline int nt_walk_step(u32 index)
{
	struct nt_scratch *s = bpf_map_lookup_elem(&nt_scratches, &index);
	struct nt_dentry_head head;
	struct dentry *d;
	u32 o, len;

	if (!s)
		return 1;
	if (s->w_dentry == s->w_root_dentry && s->w_mnt == s->w_root_mnt) {
		s->w_end = NT_WALK_ROOT;
		return 1;
	}
	d = (struct dentry *)s->w_dentry;
	/* d_parent and d_name are neighbours in every kernel so far. */
	if (bpf_core_field_offset(struct dentry, d_name) ==
	    bpf_core_field_offset(struct dentry, d_parent) + sizeof(u64)) {
		if (bpf_probe_read_kernel(&head, sizeof(head), &d->d_parent)) {
			s->w_end = NT_WALK_CUT;
			return 1;
		}
	} else {
		__builtin_memset(&head, 0, sizeof(head));
		head.parent = nt_read_ptr(&d->d_parent);
		head.hash_len = nt_read_ptr(&d->d_name.hash_len);
		head.name = nt_read_ptr(&d->d_name.name);
	}
	if (s->w_dentry == s->w_mnt_root || head.parent == s->w_dentry) {
		struct mount *m, *parent;

		if (s->w_dentry != s->w_mnt_root) {
			s->w_end = NT_WALK_PSEUDO;
			return 1;
		}
		m = (struct mount *)(s->w_mnt - bpf_core_field_offset(struct mount, mnt));
		parent = (struct mount *)nt_read_ptr(&m->mnt_parent);
		if (parent == m || !parent) {
			s->w_end = NT_WALK_OUTSIDE;
			return 1;
		}
		s->w_dentry = nt_read_ptr(&m->mnt_mountpoint);
		s->w_mnt = (u64)parent + bpf_core_field_offset(struct mount, mnt);
		s->w_mnt_root = nt_read_ptr(&((struct vfsmount *)s->w_mnt)->mnt_root);
		return 0;
	}
	o = s->len;
	len = head.hash_len >> 32;
	if (o > NT_RECORD_MAX || len >= NT_NAME_MAX || o + len + 1 > s->w_limit) {
		s->w_end = NT_WALK_CUT;
		return 1;
	}
	if (len < NT_INLINE_NAME &&
	    head.name == s->w_dentry + bpf_core_field_offset(struct dentry, d_parent) +
				 __builtin_offsetof(struct nt_dentry_head, inline_name)) {
		u64 *to = (u64 *)&s->rec[o]; /* the rest is overwritten by what follows */

#pragma clang loop unroll(full)
		for (int i = 0; i < NT_INLINE_NAME / 8; i++)
			to[i] = head.inline_name[i];
	} else if (bpf_probe_read_kernel(&s->rec[o], len & (NT_NAME_MAX - 1), (const void *)head.name)) {
		s->w_end = NT_WALK_CUT;
		return 1;
	}
	o += len & (NT_NAME_MAX - 1);
	if (o > NT_RECORD_MAX + NT_NAME_MAX)
		return 1;
	s->rec[o] = 0;
	s->len = o + 1;
	s->w_dentry = head.parent;
	return 0;
}

/*
 * Appends a tail with the path of (w_dentry, w_mnt) as the current task sees
 * it: relative to its root. They come in the scratch, since a global function
 * takes numbers and no BTF pointers. Returns enum nt_walk_end.
 */
__weak __noinline int nt_tail_path(u32 index, u32 kind)
{
	struct nt_scratch *s = bpf_map_lookup_elem(&nt_scratches, &index);
	struct task_struct *task = bpf_get_current_task_btf();
	struct fs_struct *fs = task->fs;

	if (!s)
		return NT_WALK_CUT;
	nt_tail_begin(s);
	s->w_limit = s->len + NT_PATH_MAX;
	s->w_mnt_root = nt_read_ptr(&((struct vfsmount *)s->w_mnt)->mnt_root);
	s->w_root_dentry = (u64)fs->root.dentry;
	s->w_root_mnt = (u64)fs->root.mnt;
	s->w_end = NT_WALK_ON;
	for (int i = 0; i < NT_WALK_STEPS; i++)
		if (nt_walk_step(index))
			break;
	if (s->w_end == NT_WALK_PSEUDO) {
		u64 name = nt_read_ptr(&((struct dentry *)s->w_dentry)->d_name.name);
		u32 o = s->len;

		if (o <= NT_RECORD_MAX) {
			long n = bpf_probe_read_kernel_str(&s->rec[o], NT_NAME_MAX, (const void *)name);

			/* "/" names the root of a mount that was torn apart */
			if (n > 0 && !(n == 2 && s->rec[o] == '/'))
				s->len = o + n;
		}
	}
	if (s->w_end == NT_WALK_CUT || s->w_end == NT_WALK_ON)
		s->flags |= NT_F_TRUNCATED;
	nt_tail_end(s, kind);
	return s->w_end;
}

static __always_inline int nt_tail_cwd(struct nt_scratch *s, u32 kind)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fs_struct *fs = task->fs;

	s->w_dentry = (u64)fs->pwd.dentry;
	s->w_mnt = (u64)fs->pwd.mnt;
	return nt_tail_path(s->index, kind);
}

/* struct file of a descriptor of the current task, 0 if there is none. */
static __always_inline u64 nt_file_of_fd(s32 fd)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fdtable *fdt;
	u64 slots;

	if (fd < 0 || !task->files)
		return 0;
	fdt = task->files->fdt;
	if ((u32)fd >= fdt->max_fds)
		return 0;
	slots = (u64)fdt->fd;
	return nt_read_ptr((void *)(slots + 8 * (u64)(u32)fd));
}

/* The directory a relative name starts from: cwd, or what dfd stands for. */
static __always_inline int nt_tail_base(struct nt_scratch *s, u32 kind, s32 dfd)
{
	struct file *f;

	if (dfd == -100) /* AT_FDCWD */
		return nt_tail_cwd(s, kind);
	f = (struct file *)nt_file_of_fd(dfd);
	if (!f)
		return NT_WALK_CUT; /* EBADF: no base, no tail */
	s->w_dentry = nt_read_ptr(&f->f_path.dentry);
	s->w_mnt = nt_read_ptr(&f->f_path.mnt);
	return nt_tail_path(s->index, kind);
}

/* Does the name just appended (the tail that is last) start at the root? */
static __always_inline bool nt_last_name_absolute(struct nt_scratch *s)
{
	u32 at = s->tail_at;

	if (at > NT_RECORD_MAX)
		return false;
	return s->len > at + sizeof(struct nt_tail_header) && s->rec[at + sizeof(struct nt_tail_header)] == '/';
}

#define NT_TMPFS_MAGIC 0x01021994

/*
 * Reading many members of one object: its first bytes at once into a window,
 * the members out of it at their relocated offsets. Whether they are there is
 * known at load, and the branch not taken is pruned.
 */
#define nt_from_window(window, type, field, as) (*(as *)((window) + bpf_core_field_offset(type, field)))
#define nt_in_window(size, type, field) (bpf_core_field_offset(type, field) <= (size) - 8)
#define nt_field(window, size, ptr, type, field, as)                                        \
	({                                                                                  \
		as v_ = 0;                                                                  \
		if (nt_in_window(size, type, field))                                        \
			v_ = nt_from_window(window, type, field, as);                       \
		else                                                                        \
			bpf_probe_read_kernel(&v_, sizeof(v_), &((type *)(ptr))->field);    \
		v_;                                                                         \
	})

#define NT_FILE_WINDOW 112
#define NT_INODE_WINDOW 96
#define NT_SB_WINDOW 104

/* Of a struct file, what several probes need. */
struct nt_open_file {
	u64 file, inode, dentry, mnt;
	u32 f_mode, f_flags;
};

static __noinline int nt_read_file(struct nt_open_file *out, u64 file)
{
	u8 w[NT_FILE_WINDOW];

	if (!out || bpf_probe_read_kernel(w, sizeof(w), (const void *)file))
		return -1;
	out->file = file;
	out->inode = nt_field(w, sizeof(w), file, struct file, f_inode, u64);
	out->f_mode = nt_field(w, sizeof(w), file, struct file, f_mode, u32);
	out->f_flags = nt_field(w, sizeof(w), file, struct file, f_flags, u32);
	out->mnt = nt_field(w, sizeof(w), file, struct file, f_path.mnt, u64);
	out->dentry = nt_field(w, sizeof(w), file, struct file, f_path.dentry, u64);
	return 0;
}

/* What the kernel opened or runs: nt_file from an inode. */
static __noinline int nt_fill_file(struct nt_file *out, u64 inode)
{
	u8 w[NT_SB_WINDOW];
	u64 sb;
	u32 dev;

	if (!out || !inode || bpf_probe_read_kernel(w, NT_INODE_WINDOW, (const void *)inode))
		return -1;
	out->mode = nt_field(w, NT_INODE_WINDOW, inode, struct inode, i_mode, u16);
	out->uid = nt_field(w, NT_INODE_WINDOW, inode, struct inode, i_uid, u32);
	out->gid = nt_field(w, NT_INODE_WINDOW, inode, struct inode, i_gid, u32);
	out->ino = nt_field(w, NT_INODE_WINDOW, inode, struct inode, i_ino, u64);
	out->nlink = nt_field(w, NT_INODE_WINDOW, inode, struct inode, i_nlink, u32);
	out->size = nt_field(w, NT_INODE_WINDOW, inode, struct inode, i_size, u64);
	sb = nt_field(w, NT_INODE_WINDOW, inode, struct inode, i_sb, u64);
	if (bpf_probe_read_kernel(w, NT_SB_WINDOW, (const void *)sb))
		return -1;
	dev = nt_field(w, NT_SB_WINDOW, sb, struct super_block, s_dev, u32);
	out->fs_magic = nt_field(w, NT_SB_WINDOW, sb, struct super_block, s_magic, u64);
	/* MKDEV's 12:20 bits to new_encode_dev, as stat(2) gives it */
	out->dev = (dev & 0xff) | ((dev >> 20) << 8) | ((dev & 0xfff00) << 12);
	out->flags = NT_FILE_VALID;
	return 0;
}

/* Appends the path tail of an open file and completes nt_file.flags. */
static __noinline int nt_tail_file(struct nt_scratch *s, u32 kind, struct nt_file *out, struct nt_open_file *f)
{
	struct dentry *d;
	int end;

	if (!s || !out || !f)
		return -1;
	d = (struct dentry *)f->dentry;
	s->w_dentry = f->dentry;
	s->w_mnt = f->mnt;
	end = nt_tail_path(s->index, kind);
	if (end == NT_WALK_OUTSIDE)
		out->flags |= NT_FILE_DETACHED;
	if (end == NT_WALK_PSEUDO) {
		if (out->fs_magic == NT_TMPFS_MAGIC)
			out->flags |= NT_FILE_MEMFD;
		else
			out->flags |= NT_FILE_DETACHED;
	}
	/* Unhashed alone doesn't tell: roots of mounts always are. */
	if ((out->flags & NT_FILE_VALID) && !out->nlink && !(out->flags & NT_FILE_MEMFD) && !nt_read_ptr(&d->d_hash.pprev))
		out->flags |= NT_FILE_DELETED;
	return 0;
}

#endif /* NODETRAIL_BPF_PATH_H_ */
