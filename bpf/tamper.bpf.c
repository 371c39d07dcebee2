// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Acts on the product itself: signals to its processes, and its own BPF objects
 * in the hands of others. They are told whoever does them, in scope or not; and
 * who the agent is stands in read-only data, where nobody can write himself in,
 * as he could into nt_self.
 */
#include "call.bpf.h"
#include "nodetrail/abi/acts.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Set before load. */
const volatile unsigned int nt_agent_tgid = 0;
const volatile bool nt_signals_cross_uid = false;

/* ---- signals ---- */

/* Slot 0 counts for all: the next is written to count % NT_LAST_SIGNALS. */
struct nt_last_signal {
	u64 count;
	u8 record[NT_FIXED_LEN + sizeof(struct nt_act)];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NT_LAST_SIGNALS);
	__type(key, u32);
	__type(value, struct nt_last_signal);
} nt_last_signals SEC(".maps");

/* The next run of the agent reads it: this one may be dead before it can. */
static __always_inline void nt_keep_signal(struct nt_scratch *s)
{
	struct nt_last_signal *slot;
	u32 index = 0;

	slot = bpf_map_lookup_elem(&nt_last_signals, &index);
	if (!slot)
		return;
	index = __sync_fetch_and_add(&slot->count, 1) & (NT_LAST_SIGNALS - 1);
	slot = bpf_map_lookup_elem(&nt_last_signals, &index);
	if (slot)
		bpf_probe_read_kernel(slot->record, sizeof(slot->record), s->rec);
}

#define SI_USER 0
#define SI_QUEUE (-1)
#define SI_TKILL (-6)
#define SI_KERNEL 0x80
#define SIGCHLD 17
#define SIGURG 23
#define SIGWINCH 28
#define SIGIO 29

static __always_inline bool nt_is_product(u32 tgid)
{
	u32 cls = nt_self_class(tgid);

	return tgid == nt_agent_tgid || cls == NT_SELF_AGENT || cls == NT_SELF_COMPANION;
}

static __always_inline bool nt_signal_wanted(u32 sig, s32 code, struct task_struct *target)
{
	const struct cred *mine = bpf_get_current_task_btf()->cred, *theirs = target->cred;

	/* What the kernel sends in the course of things: a child ended, data came. */
	if (nt_is_product(target->tgid))
		return code <= 0 || (sig != SIGCHLD && sig != SIGURG && sig != SIGWINCH && sig != SIGIO);
	if (!nt_signals_cross_uid || (code != SI_USER && code != SI_QUEUE && code != SI_TKILL))
		return false;
	if (mine->euid.val == theirs->uid.val)
		return false;
	return nt_admit_process();
}

/*
 * Hook    tp_btf/signal_generate
 * Kernels 5.5
 * Why     in the sender's own context, before the signal is delivered: whoever
 *         asks for it by whatever call (kill, tgkill, pidfd_send_signal,
 *         rt_sigqueueinfo, cgroup.kill), SIGKILL and SIGSTOP included
 * Misses  what a process sends to itself; which call it was. A process whose
 *         cgroup is frozen gets no signal
 */
SEC("tp_btf/signal_generate")
int BPF_PROG(tp_btf__signal_generate, int sig, struct kernel_siginfo *info, struct task_struct *task, int group,
	     int result)
{
	s32 code = SI_USER;
	struct nt_scratch *s;
	struct nt_act *body;
	u64 at = 0;

	if (task->tgid == nt_tgid())
		return 0;
	/* 0 and 1 are no pointers: SEND_SIG_NOINFO, SEND_SIG_PRIV. Some
	 * verifiers know it and let nobody follow the argument: it is copied as a number. */
	bpf_probe_read_kernel(&at, sizeof(at), &ctx[1]);
	if (at == 1)
		code = SI_KERNEL;
	else if (at)
		bpf_probe_read_kernel(&code, sizeof(code), (void *)(at + bpf_core_field_offset(struct kernel_siginfo, si_code)));
	if (!nt_signal_wanted(sig, code, task))
		return 0;
	s = nt_begin(NT_SIGNAL, sizeof(*body));
	if (!s)
		return 0;
	body = nt_body_of(s);
	body->args[NT_SIGNAL_NUMBER] = sig;
	body->args[NT_SIGNAL_CODE] = (s64)code;
	body->args[NT_SIGNAL_TGID] = task->tgid;
	body->args[NT_SIGNAL_TID] = task->pid;
	body->args[NT_SIGNAL_START] = task->group_leader->start_boottime;
	body->args[NT_SIGNAL_RESULT] = result;
	if (code > 0)
		body->has |= NT_ACT_BY_KERNEL;
	nt_emit(s, NT_SIGNAL);
	if (task->tgid == nt_agent_tgid)
		nt_keep_signal(s);
	nt_release(s);
	return 0;
}

/* ---- our own maps, programs and links in others' hands ---- */

/* Ids of what the agent loaded: object << 32 | id. Filled before the first hook
 * is attached and frozen then: no bpf(2) changes it any more. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u64);
	__type(value, u8);
} nt_own SEC(".maps");

#define NT_ANON_INODE_MAGIC 0x09041934
/* What the kernel calls their files, as numbers. */
#define NT_NAME_MAP 0x0070616d2d667062ull       /* bpf-map */
#define NT_NAME_PROGRAM 0x676f72702d667062ull   /* bpf-prog */
#define NT_NAME_LINK 0x6b6e696c5f667062ull      /* bpf_link */
#define NT_NAME_LINK_DASH 0x6b6e696c2d667062ull /* bpf-link */

static __always_inline u32 nt_program_id(u64 program)
{
	u64 aux = nt_read_ptr(&((struct bpf_prog *)program)->aux);
	u32 id = 0;

	bpf_probe_read_kernel(&id, sizeof(id), &((struct bpf_prog_aux *)aux)->id);
	return id;
}

/* object << 32 | id of what the descriptor leads to, 0: nothing of ours. A link
 * goes by its program: links are made anew when they were taken away. */
static __noinline u64 nt_own_of_fd(s32 fd)
{
	struct file *f = (struct file *)nt_file_of_fd(fd);
	u64 object, kind, name = 0, sb, magic = 0, key;
	u32 id = 0;

	if (!f)
		return 0;
	sb = nt_read_ptr(&((struct inode *)nt_read_ptr(&f->f_inode))->i_sb);
	magic = nt_read_ptr(&((struct super_block *)sb)->s_magic);
	if (magic != NT_ANON_INODE_MAGIC)
		return 0;
	object = nt_read_ptr(&f->f_path.dentry);
	object = nt_read_ptr(&((struct dentry *)object)->d_name.name);
	bpf_probe_read_kernel(&name, sizeof(name), (const void *)object);
	object = nt_read_ptr(&f->private_data);
	if (name == NT_NAME_MAP) {
		kind = NT_OWN_MAP;
		bpf_probe_read_kernel(&id, sizeof(id), &((struct bpf_map *)object)->id);
	} else if (name == NT_NAME_PROGRAM) {
		kind = NT_OWN_PROGRAM;
		id = nt_program_id(object);
	} else if (name == NT_NAME_LINK || name == NT_NAME_LINK_DASH) {
		kind = NT_OWN_LINK;
		id = nt_program_id(nt_read_ptr(&((struct bpf_link *)object)->prog));
	} else {
		return 0;
	}
	key = (u64)(kind == NT_OWN_LINK ? NT_OWN_PROGRAM : kind) << 32 | id;
	if (!bpf_map_lookup_elem(&nt_own, &key))
		return 0;
	return kind << 32 | id;
}

/* Where in its attributes a command has the descriptor of what it acts on; the
 * result is one where `returned`. -1: a command that only looks. */
static __always_inline s32 nt_own_place(u32 command, bool *returned)
{
	switch (command) {
	case 2:  /* MAP_UPDATE_ELEM */
	case 3:  /* MAP_DELETE_ELEM */
	case 10: /* PROG_TEST_RUN */
	case 21: /* MAP_LOOKUP_AND_DELETE_ELEM */
	case 22: /* MAP_FREEZE */
	case 28: /* LINK_CREATE */
	case 29: /* LINK_UPDATE */
	case 34: /* LINK_DETACH */
	case 35: /* PROG_BIND_MAP */
		return 0;
	case 8: /* PROG_ATTACH */
	case 9: /* PROG_DETACH */
		return 4;
	case 6:  /* OBJ_PIN */
	case 17: /* RAW_TRACEPOINT_OPEN */
		return 8;
	case 25: /* MAP_LOOKUP_AND_DELETE_BATCH */
	case 26: /* MAP_UPDATE_BATCH */
	case 27: /* MAP_DELETE_BATCH */
		return 36;
	case 14: /* MAP_GET_FD_BY_ID: two of our maps can be written by mmap then */
		*returned = true;
		return 0;
	}
	return -1;
}

/*
 * Hook    tracepoint/syscalls/sys_exit_bpf, fallback tp_btf/sys_exit; the
 *         programs are act.bpf.c's
 * Kernels 5.15, 5.5
 * Why     the outcome; and what the descriptor leads to says which object it was
 * Misses  attributes that another thread rewrites, or a descriptor that it
 *         closes, during the call; maps written through mmap (the agent compares
 *         what they hold)
 */
__noinline int nt_bpf_own(struct nt_call *c)
{
	struct nt_scratch *s;
	struct nt_act *body;
	bool returned = false;
	s32 place, fd = -1;
	u64 own;

	if (!c || nt_tgid() == nt_agent_tgid)
		return 0;
	place = nt_own_place(c->a[0], &returned);
	if (place < 0)
		return 0;
	if (returned)
		fd = c->ret;
	else if (bpf_probe_read_user(&fd, sizeof(fd), (const void *)(c->a[1] + place)))
		return 0;
	own = nt_own_of_fd(fd);
	if (!own)
		return 0;
	s = nt_begin(NT_BPF_OWN, sizeof(*body));
	if (!s)
		return 0;
	s->flags |= nt_call_flags(c);
	body = nt_body_of(s);
	body->ret = c->ret;
	body->syscall_nr = c->nr;
	body->args[NT_OWN_COMMAND] = (u32)c->a[0];
	body->args[NT_OWN_OBJECT] = own >> 32;
	body->args[NT_OWN_ID] = (u32)own;
	nt_submit(s, NT_BPF_OWN);
	return 0;
}
