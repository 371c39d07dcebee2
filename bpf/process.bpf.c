// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Processes: begun, replaced, ended. */
#include "call.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SIGNAL_GROUP_EXIT 0x00000004
#define NT_PAGE_SHIFT 12

/* Credentials at execve's enter, by tid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct nt_cred);
} nt_exec_calls SEC(".maps");

/* Group deaths told, below 6.16 only (compat.bpf.h). tgid → start_boottime. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, u64);
} nt_exited SEC(".maps");

/*
 * Hook    tp_btf/sched_process_fork
 * Kernels 5.5 (tp_btf)
 * Why     one place for fork, vfork, clone and clone3, in the parent, with the
 *         child complete and not yet running: no act of the child comes first
 * Misses  nothing; threads are left out (they are not processes)
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(tp_btf__sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct nt_scratch *s;
	struct nt_fork *body;
	u32 tgid = child->tgid;

	if (child->pid != child->tgid)
		return 0;
	if (!nt_admit_process())
		return 0;
	if (nt_scope_mode == NT_SCOPE_TREE) {
		u8 one = 1;

		if (bpf_map_update_elem(&nt_scope, &tgid, &one, BPF_ANY))
			nt_lost_map(NT_FORK); /* its acts go unseen; the count says so */
	}
	s = nt_begin(NT_FORK, sizeof(*body));
	if (!s)
		return 0;
	body = nt_body_of(s);
	body->child_start_boottime_ns = child->start_boottime;
	body->child_tgid = tgid;
	body->child_ns_tgid = nt_pid_in_own_ns(child->thread_pid, NULL);
	body->child_ppid = child->real_parent->tgid;
	body->child_parent_start_boottime_ns = child->real_parent->group_leader->start_boottime;
	nt_submit(s, NT_FORK);
	return 0;
}

/*
 * Hook    tracepoint/syscalls/sys_enter_execve(at), fallback tp_btf/sys_enter
 * Kernels 5.15 (bpf_task_pt_regs), 5.5
 * Why     sched_process_exec comes after commit_creds: what the process was
 *         before is only here
 * Misses  execs started by the kernel itself (has_old_cred 0 there)
 */
static __always_inline void execve__enter(struct nt_call *c)
{
	struct nt_cred cred;
	u32 tid = nt_tid();

	if (!nt_in_scope(nt_tgid()))
		return;
	nt_fill_cred(&cred, bpf_get_current_task_btf()->cred);
	/* Full: the exec is recorded without the credentials before it. */
	bpf_map_update_elem(&nt_exec_calls, &tid, &cred, BPF_ANY);
}

/* A failed exec leaves its entry; a successful one has lost it already. */
static __always_inline void execve__exit(struct nt_call *c)
{
	u32 tid = nt_tid();

	bpf_map_delete_elem(&nt_exec_calls, &tid);
	if (c->ret < 0)
		nt_exec_failed(c);
}

NT_SYSCALL_ENTER(execve, 59, execve__enter(&c))
NT_SYSCALL_ENTER(execveat, 322, execve__enter(&c))
NT_SYSCALL_EXIT(execve, 59, execve__exit(&c))
NT_SYSCALL_EXIT(execveat, 322, execve__exit(&c))

/* ---- the sys_exit mechanism ---- */

int nt_process__enter(struct nt_call *c)
{
	if (c)
		execve__enter(c);
	return 0;
}

int nt_process__exit(struct nt_call *c)
{
	if (c)
		execve__exit(c);
	return 0;
}

/* argv as the kernel laid it out: the strings at mm->arg_start. */
static __noinline int nt_tail_argv(struct nt_scratch *s, struct nt_exec *body, u64 start, u64 len)
{
	u64 want = len;
	u32 o;

	if (!s || !body)
		return -1;
	body->argv_len = len;
	if (want > NT_ARGV_MAX)
		want = NT_ARGV_MAX;
	barrier_var(want); /* the verifier has to see the check below on the register that is used */
	if (len > NT_ARGV_MAX)
		s->flags |= NT_F_TRUNCATED;
	nt_tail_begin(s);
	o = s->len;
	if (o > NT_RECORD_MAX || want > NT_ARGV_MAX) {
		nt_tail_drop(s);
		return -1;
	}
	/* The kernel has just written these pages; should one be swapped out
	 * already, page by page up to it. */
	if (!bpf_probe_read_user(&s->rec[o], want, (const void *)start)) {
		s->len = o + want;
	} else {
		u64 got = 0;

		for (int i = 0; i < NT_ARGV_MAX / 4096 + 1; i++) {
			u64 n = 4096 - ((start + got) & 4095);

			if (got >= want || got > NT_ARGV_MAX - 4096)
				break;
			if (n > want - got)
				n = want - got;
			nt_at_most(n, 4096);
			if (bpf_probe_read_user(&s->rec[o + got], n, (const void *)(start + got)))
				break;
			got += n;
		}
		if (got < want)
			s->flags |= NT_F_TRUNCATED;
		s->len = o + got;
	}
	nt_tail_end(s, NT_TAIL_ARGV);
	return 0;
}

/*
 * Hook    tp_btf/sched_process_exec
 * Kernels 5.5
 * Why     past the point of no return: the exec happened, `current` is the new
 *         program, argv is where the kernel put it (a caller can't change it
 *         any more), the executable is bprm->file and not a name
 * Misses  execs that fail (nt_exec_failed tells them); argv beyond 16 KiB (its true length is told)
 */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(tp_btf__sched_process_exec, struct task_struct *p, int old_pid, struct linux_binprm *bprm)
{
	struct nt_cred *old;
	struct nt_scratch *s;
	struct nt_exec *body;
	struct mm_struct *mm = p->mm;
	struct nt_open_file file = {};
	u64 filename = nt_read_ptr(&bprm->filename);
	u32 tid = old_pid;

	if (!nt_admit_process()) {
		bpf_map_delete_elem(&nt_exec_calls, &tid);
		return 0;
	}
	s = nt_begin(NT_EXEC, sizeof(*body));
	if (!s)
		return 0;
	body = nt_body_of(s);
	nt_read_file(&file, (u64)bprm->file);
	nt_fill_file(&body->exe, file.inode);
	body->argc = bprm->argc;
	body->secureexec = BPF_CORE_READ_BITFIELD(bprm, secureexec);
	body->old_pid = tid;
	old = bpf_map_lookup_elem(&nt_exec_calls, &tid);
	if (old) {
		body->old_cred = *old;
		body->has_old_cred = 1;
	}
	nt_tail_file(s, NT_TAIL_PATH, &body->exe, &file);
	nt_tail_cwd(s, NT_TAIL_CWD);
	nt_tail_argv(s, body, mm->arg_start, mm->arg_end - mm->arg_start);
	if (nt_read_ptr(&bprm->interp) != filename)
		nt_tail_kernel_str(s->index, NT_TAIL_SCRIPT, filename);
	nt_emit(s, NT_EXEC);
	/* Asked here, not kept in a variable across the calls above: the verifier of
	 * 6.1 takes such a variable for a constant and removes what depends on it. */
	if (old && nt_cred_differs(old, &nt_task_of(s)->cred)) {
		/* Same time and task; its own record, since it is its own fact. */
		struct nt_cred_change *cc = nt_body_of(s);

		__builtin_memset(cc, 0, sizeof(*cc));
		cc->old_cred = *old;
		cc->cause = NT_CAUSE_EXEC;
		s->flags = 0;
		s->len = NT_FIXED_LEN + sizeof(*cc);
		nt_emit(s, NT_CRED);
	}
	nt_release(s);
	bpf_map_delete_elem(&nt_exec_calls, &tid);
	return 0;
}

/* As wait4(2) gives it: the ticks' split scaled to the scheduler's exact sum
 * (cputime_adjust). */
static __always_inline void nt_scale_times(struct nt_exit *body, u64 user, u64 system, u64 exact)
{
	u64 ticks = user + system;

	if (!system) {
		body->user_ns = exact;
	} else if (!user) {
		body->system_ns = exact;
	} else {
		/* shifted so that the product stays in 64 bits, up to nine CPU years */
		u32 shift = ticks < (1ull << 32) ? 2 : ticks < (1ull << 46) ? 16 : 26;
		u64 share = (system >> shift) * (exact >> shift) / (ticks >> shift) << shift;

		if (share > exact)
			share = exact;
		body->system_ns = share;
		body->user_ns = exact - share;
	}
}

/*
 * Hook    tp_btf/sched_process_exit
 * Kernels 5.5
 * Why     every death comes by here, by signal or by call; files and the
 *         terminal are not let go yet
 * Misses  nothing; threads before the last are left out. The connections of
 *         the dying are closed a little later (net.close follows the exit)
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(tp_btf__sched_process_exit, struct task_struct *p)
{
	struct signal_struct *sig = p->signal;
	struct task_struct *leader = p->group_leader;
	struct nt_scratch *s;
	struct nt_exit *body;
	u64 user, system, exact;
	u32 tgid = p->tgid, zero = 0;
	struct nt_self_table *self;

	if (nt_exit_tells_group_dead) {
		if (!(bool)ctx[1])
			return 0;
	} else {
		u64 start = leader->start_boottime;
		u64 *told;

		if (sig->live.counter)
			return 0;
		told = bpf_map_lookup_elem(&nt_exited, &tgid);
		if (told && *told == start)
			return 0;
		if (!told) {
			if (bpf_map_update_elem(&nt_exited, &tgid, &start, BPF_NOEXIST))
				return 0;
		} else {
			bpf_map_update_elem(&nt_exited, &tgid, &start, BPF_ANY);
		}
	}

	self = bpf_map_lookup_elem(&nt_self, &zero);
	if (self) {
#pragma clang loop unroll(full)
		for (int i = 0; i < NT_SELF_SLOTS; i++) {
			if (self->slot[i].tgid == tgid) {
				self->slot[i].tgid = 0;
				self->slot[i].cls = 0;
			}
		}
	}
	if (!nt_admit_process())
		return 0;
	if (nt_scope_mode == NT_SCOPE_TREE)
		bpf_map_delete_elem(&nt_scope, &tgid);

	s = nt_begin(NT_EXIT, sizeof(*body));
	if (!s)
		return 0;
	body = nt_body_of(s);
	body->code = sig->flags & SIGNAL_GROUP_EXIT ? sig->group_exit_code : leader->exit_code;
	user = sig->utime + p->utime;
	system = sig->stime + p->stime;
	exact = sig->sum_sched_runtime + p->se.sum_exec_runtime;
	if (leader->pid != p->pid) { /* not reaped yet, so not in the sums */
		user += leader->utime;
		system += leader->stime;
		exact += leader->se.sum_exec_runtime;
	}
	nt_scale_times(body, user, system, exact);
	body->max_rss_bytes = (u64)sig->maxrss << NT_PAGE_SHIFT;
	nt_submit(s, NT_EXIT);
	return 0;
}
