/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * The task block: who acts, read from `current` at the moment of the act.
 * Members are read straight through BTF pointers (a faulting load gives 0);
 * only arrays of unknown length go through bpf_probe_read_kernel.
 */
#ifndef NODETRAIL_BPF_TASK_H_
#define NODETRAIL_BPF_TASK_H_

#include "filter.bpf.h"
#include "path.bpf.h"

#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000
#define PFA_NO_NEW_PRIVS 0
#define TS_COMPAT 0x0002
#define NT_PIDTYPE_PGID 2
#define NT_PIDTYPE_SID 3

static __always_inline void nt_fill_cred(struct nt_cred *out, const struct cred *c)
{
	out->uid = c->uid.val;
	out->gid = c->gid.val;
	out->suid = c->suid.val;
	out->sgid = c->sgid.val;
	out->euid = c->euid.val;
	out->egid = c->egid.val;
	out->fsuid = c->fsuid.val;
	out->fsgid = c->fsgid.val;
	out->securebits = c->securebits;
	out->userns_inum = c->user_ns->ns.inum;
	out->userns_level = c->user_ns->level;
	out->pad = 0;
	/* Five sets side by side, in this order, since 4.3. */
	if (bpf_core_field_offset(struct cred, cap_ambient) ==
	    bpf_core_field_offset(struct cred, cap_inheritable) + 32) {
		bpf_probe_read_kernel(&out->cap_inheritable, 40, &c->cap_inheritable);
	} else {
		bpf_probe_read_kernel(&out->cap_inheritable, 8, &c->cap_inheritable);
		bpf_probe_read_kernel(&out->cap_permitted, 8, &c->cap_permitted);
		bpf_probe_read_kernel(&out->cap_effective, 8, &c->cap_effective);
		bpf_probe_read_kernel(&out->cap_bset, 8, &c->cap_bset);
		bpf_probe_read_kernel(&out->cap_ambient, 8, &c->cap_ambient);
	}
}

static __always_inline bool nt_cred_differs(const struct nt_cred *a, const struct nt_cred *b)
{
	const u64 *x = (const u64 *)a, *y = (const u64 *)b;
	u64 diff = 0;

#pragma clang loop unroll(full)
	for (u32 i = 0; i < sizeof(*a) / sizeof(u64); i++)
		diff |= x[i] ^ y[i];
	return diff != 0;
}

/* In a nested pid namespace: numbers[level], an array the verifier lets nobody
 * index by a variable. The verifier of 6.1 knows a product's bounds only if the
 * right operand is a constant, hence the assembly. */
static __noinline u32 nt_pid_nested(const struct pid *pid, u32 level, u32 *ns_inum)
{
	u64 offset = level & 63, size = bpf_core_type_size(struct upid);

	asm volatile("%0 *= %1" : "+r"(offset) : "r"(size));
	struct upid *up = (void *)pid + bpf_core_field_offset(struct pid, numbers) + offset;
	struct pid_namespace *ns;
	u32 nr = 0;

	bpf_probe_read_kernel(&nr, sizeof(nr), &up->nr);
	if (ns_inum) {
		ns = (struct pid_namespace *)nt_read_ptr(&up->ns);
		bpf_probe_read_kernel(ns_inum, sizeof(*ns_inum), &ns->ns.inum);
	}
	return nr;
}

/* Number of a pid in the namespace it lives in, and that namespace. */
static __always_inline u32 nt_pid_in_own_ns(const struct pid *pid, u32 *ns_inum)
{
	u32 level = pid->level;

	if (level && level <= 32) /* MAX_PID_NS_LEVEL */
		return nt_pid_nested(pid, level, ns_inum);
	/* the initial namespace, nearly always: plain loads */
	if (ns_inum)
		*ns_inum = pid->numbers[0].ns->ns.inum;
	return pid->numbers[0].nr;
}

static __always_inline u32 nt_tty_nr(struct task_struct *task)
{
	struct tty_struct *tty = task->signal->tty;
	u32 major, minor;

	if (!tty)
		return 0;
	major = tty->driver->major;
	minor = tty->driver->minor_start + tty->index;
	return (minor & 0xff) | (major << 8) | ((minor & ~0xffu) << 12);
}

/*
 * A controller's cgroup. subsys[] moves with the configuration: its index is
 * known at load only, so the element's address is computed and the verifier
 * finds its type.
 */
static __always_inline struct cgroup *nt_subsys_cgroup(struct css_set *set, u32 subsys)
{
	void *element = (void *)set + bpf_core_field_offset(struct css_set, subsys) + 8 * subsys;
	struct cgroup_subsys_state *css = *(struct cgroup_subsys_state **)element;

	return css->cgroup;
}

/* A v1 controller's cgroup that isn't its root says more than "/". */
static __always_inline bool nt_take_v1(struct nt_task *t, struct css_set *set, u32 subsys)
{
	struct cgroup *cg = nt_subsys_cgroup(set, subsys);
	u32 hierarchy = cg->root->hierarchy_id;

	if (!hierarchy || !cg->level) /* 0: the controller is on v2 */
		return false;
	t->cgroup_v1_hierarchy = hierarchy;
	t->cgroup_v1_id = cg->kn->id;
	return true;
}

/* pids and memory: container runtimes and systemd put processes there; cpu for
 * kernels without the two. The order is the same in nt_announce_cgroups. */
#define NT_FOR_V1(call)                                                                 \
	do {                                                                            \
		if (bpf_core_enum_value_exists(enum cgroup_subsys_id, pids_cgrp_id))    \
			call(bpf_core_enum_value(enum cgroup_subsys_id, pids_cgrp_id)); \
		if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id))  \
			call(bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id)); \
		if (bpf_core_enum_value_exists(enum cgroup_subsys_id, cpu_cgrp_id))     \
			call(bpf_core_enum_value(enum cgroup_subsys_id, cpu_cgrp_id));  \
	} while (0)

static __always_inline void nt_fill_cgroups(struct nt_task *t, struct task_struct *task)
{
	struct css_set *set = task->cgroups;
	struct cgroup *v2 = set->dfl_cgrp;

	t->cgroup_v2_id = v2->kn->id;
	t->cgroup_v1_id = 0;
	t->cgroup_v1_hierarchy = 0;
	if (v2->level)
		return;
#define NT_TRY(subsys)                             \
	do {                                       \
		if (nt_take_v1(t, set, subsys))    \
			return;                    \
	} while (0)
	NT_FOR_V1(NT_TRY);
#undef NT_TRY
}

/* `t` may be map memory; every byte is written. */
static __noinline int nt_fill_task(struct nt_task *t)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct task_struct *leader = task->group_leader, *parent = task->real_parent;
	struct nsproxy *ns = task->nsproxy;
	u64 pid_tgid = bpf_get_current_pid_tgid();
	u32 task_flags = task->flags, flags = 0;

	if (!t)
		return -1;
	t->start_boottime_ns = leader->start_boottime;
	t->parent_start_boottime_ns = parent->group_leader->start_boottime;
	t->tgid = pid_tgid >> 32;
	t->pid = (u32)pid_tgid;
	t->ppid = parent->tgid;
	t->ns_pid = nt_pid_in_own_ns(task->thread_pid, &t->pid_ns);
	t->ns_tgid = t->tgid == t->pid ? t->ns_pid : nt_pid_in_own_ns(leader->thread_pid, NULL);
	t->pgid = task->signal->pids[NT_PIDTYPE_PGID]->numbers[0].nr;
	t->sid = task->signal->pids[NT_PIDTYPE_SID]->numbers[0].nr;
	t->tty_nr = nt_tty_nr(task);
	if (bpf_core_field_exists(task->loginuid)) { /* CONFIG_AUDIT */
		t->loginuid = task->loginuid.val;
		t->sessionid = task->sessionid;
	} else {
		t->loginuid = t->sessionid = (u32)-1;
	}
	if (task->atomic_flags & (1ul << PFA_NO_NEW_PRIVS))
		flags |= NT_T_NO_NEW_PRIVS;
	if (task_flags & PF_KTHREAD)
		flags |= NT_T_KTHREAD;
	if (task_flags & PF_EXITING)
		flags |= NT_T_EXITING;
	t->flags = flags;
	t->seccomp_mode = bpf_core_field_exists(task->seccomp.mode) ? task->seccomp.mode : 0;
	nt_fill_cred(&t->cred, task->cred);
	nt_fill_cgroups(t, task);
	t->mnt_ns = ns->mnt_ns->ns.inum;
	t->net_ns = ns->net_ns->ns.inum;
	t->ipc_ns = ns->ipc_ns->ns.inum;
	t->uts_ns = ns->uts_ns->ns.inum;
	t->cgroup_ns = ns->cgroup_ns->ns.inum;
	t->pad = 0;
	((u64 *)t->comm)[0] = ((u64 *)task->comm)[0];
	((u64 *)t->comm)[1] = ((u64 *)task->comm)[1];
	return 0;
}

/* ---- the path of a cgroup, told once ---- */

#define NT_CGROUP_STEPS 64

__weak __noinline int nt_cgroup_step(u32 index)
{
	struct nt_scratch *s = bpf_map_lookup_elem(&nt_scratches, &index);
	u64 parent, name;
	long n;
	u32 o;

	if (!s)
		return 1;
	parent = nt_kernfs_parent(s->w_dentry);
	if (!parent) {
		s->w_end = NT_WALK_ROOT;
		return 1;
	}
	name = nt_read_ptr(&((struct kernfs_node *)s->w_dentry)->name);
	o = s->len;
	if (o > NT_RECORD_MAX)
		n = -1;
	else
		n = bpf_probe_read_kernel_str(&s->rec[o], NT_NAME_MAX, (const void *)name);
	if (n <= 0 || o + n > s->w_limit) {
		s->w_end = NT_WALK_CUT;
		return 1;
	}
	s->len = o + n;
	s->w_dentry = parent;
	return 0;
}

/* w_dentry of the scratch: the kernfs node. */
__weak __noinline int nt_announce(u32 index, u64 id, u32 hierarchy)
{
	struct nt_scratch *s = bpf_map_lookup_elem(&nt_scratches, &index);
	struct nt_cgroup_key key = { .id = id, .hierarchy = hierarchy };
	struct nt_cgroup *body;
	u8 one = 1;

	if (!s)
		return -1;
	if (bpf_map_update_elem(&nt_cgroups, &key, &one, BPF_NOEXIST))
		return 0; /* told already */
	body = nt_body_of(s);
	body->id = id;
	body->hierarchy = hierarchy;
	body->pad = 0;
	s->len = NT_FIXED_LEN + sizeof(*body);
	nt_tail_begin(s);
	s->w_limit = s->len + NT_PATH_MAX;
	s->w_end = NT_WALK_ON;
	for (int i = 0; i < NT_CGROUP_STEPS; i++)
		if (nt_cgroup_step(index))
			break;
	if (s->w_end != NT_WALK_ROOT)
		s->flags |= NT_F_TRUNCATED;
	nt_tail_end(s, NT_TAIL_CGROUP);
	if (nt_emit(s, NT_CGROUP)) {
		bpf_map_delete_elem(&nt_cgroups, &key); /* the next record tells it */
		s->flags = 0;
		return -1;
	}
	s->flags = 0;
	return 0;
}

/* Tells the paths of the task's cgroups if this agent hasn't seen them yet.
 * Header time and task block of `s` are filled; body and tails are used. */
static __noinline int nt_announce_cgroups(struct nt_scratch *s)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct css_set *set = task->cgroups;
	struct nt_cgroup_key key = {};
	struct nt_task *t;

	if (!s)
		return -1;
	t = nt_task_of(s);
	if (t->cgroup_v2_id != s->seen_v2.id) {
		s->w_dentry = (u64)set->dfl_cgrp->kn;
		if (!nt_announce(s->index, t->cgroup_v2_id, 0))
			s->seen_v2.id = t->cgroup_v2_id;
	}
	if (t->cgroup_v1_id && (t->cgroup_v1_id != s->seen_v1.id || t->cgroup_v1_hierarchy != s->seen_v1.hierarchy)) {
		struct cgroup *cg;

		key.id = t->cgroup_v1_id;
		key.hierarchy = t->cgroup_v1_hierarchy;
		s->w_dentry = 0;
#define NT_TRY(subsys)                                                      \
	do {                                                                \
		cg = nt_subsys_cgroup(set, subsys);                         \
		if (!s->w_dentry && cg->root->hierarchy_id == key.hierarchy) \
			s->w_dentry = (u64)cg->kn;                          \
	} while (0)
		NT_FOR_V1(NT_TRY);
#undef NT_TRY
		if (s->w_dentry && !nt_announce(s->index, key.id, key.hierarchy))
			s->seen_v1 = key;
	}
	return 0;
}

/*
 * Starts a record: time (read once), task, cgroups. Returns its scratch with
 * the fixed part filled and s->len after a body of `body_len` zeroed bytes.
 * NULL: counted as lost.
 */
static __always_inline struct nt_scratch *nt_begin(u32 type, u32 body_len)
{
	struct nt_scratch *s = nt_claim();

	if (!s) {
		nt_lost_map(type);
		return NULL;
	}
	nt_header_of(s)->ktime_boot_ns = bpf_ktime_get_boot_ns();
	nt_fill_task(nt_task_of(s));
	nt_announce_cgroups(s);
	__builtin_memset(nt_body_of(s), 0, body_len);
	s->len = NT_FIXED_LEN + body_len;
	return s;
}

static __always_inline void nt_submit(struct nt_scratch *s, u32 type)
{
	nt_emit(s, type);
	nt_release(s);
}

#endif /* NODETRAIL_BPF_TASK_H_ */
