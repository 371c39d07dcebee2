// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/* Credentials changed by system call. By exec: process.bpf.c. */
#include "call.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define EPERM 1

/* Credentials between enter and exit, by tid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct nt_cred);
} nt_cred_calls SEC(".maps");

/*
 * Hook    tracepoint/syscalls/sys_enter_{setuid,setgid,setreuid,setregid,
 *         setresuid,setresgid,setfsuid,setfsgid,setgroups,capset}, fallback
 *         tp_btf/sys_enter
 * Kernels 5.15 (bpf_task_pt_regs), 5.5
 * Why     commit_creds replaces the credentials in place: "before" is only here
 * Misses  nothing of these calls
 */
static __noinline int cred__enter(void)
{
	struct nt_cred cred;
	u32 tid = nt_tid();

	if (!nt_in_scope(nt_tgid()))
		return 0;
	nt_fill_cred(&cred, bpf_get_current_task_btf()->cred);
	return bpf_map_update_elem(&nt_cred_calls, &tid, &cred, BPF_ANY);
}

/*
 * Hook    tracepoint/syscalls/sys_exit_{setuid,…,capset}, fallback tp_btf/sys_exit
 * Kernels 5.15, 5.5
 * Why     outcome, and the credentials as committed: of this thread only, as the
 *         kernel means it (libc's set*id calls once per thread)
 * Misses  changes without these calls: keyctl, unshare and setns of a user
 *         namespace, prctl of securebits and ambient capabilities. A call that
 *         succeeds and changes nothing is no record
 */
static __noinline int cred__exit(struct nt_call *c, u32 cause, u32 nargs)
{
	struct nt_scratch *s;
	struct nt_cred_change *body;
	struct nt_cred *old, now;
	u32 tid = nt_tid();
	s64 ret;

	if (!c)
		return 0;
	old = bpf_map_lookup_elem(&nt_cred_calls, &tid);
	if (!old) {
		if (nt_admit_process())
			nt_lost_map(NT_CRED);
		return 0;
	}
	ret = nt_visible_ret(c->ret);
	nt_fill_cred(&now, bpf_get_current_task_btf()->cred);
	/* These two return the id from before, refused or not. */
	if (cause == NT_CAUSE_SETFSUID && now.fsuid == old->fsuid && (u32)c->a[0] != (u32)-1 &&
	    (u32)c->a[0] != (u32)ret)
		ret = -EPERM;
	if (cause == NT_CAUSE_SETFSGID && now.fsgid == old->fsgid && (u32)c->a[0] != (u32)-1 &&
	    (u32)c->a[0] != (u32)ret)
		ret = -EPERM;
	if (ret >= 0 && cause != NT_CAUSE_SETGROUPS && !nt_cred_differs(&now, old))
		goto out;
	if (!nt_admit_process())
		goto out;
	s = nt_begin(NT_CRED, sizeof(*body));
	if (!s)
		goto out;
	s->flags |= nt_call_flags(c);
	body = nt_body_of(s);
	body->old_cred = *old;
	body->ret = ret;
	body->cause = cause;
	body->nargs = nargs;
	if (nargs > 0)
		body->args[0] = c->a[0];
	if (nargs > 1)
		body->args[1] = c->a[1];
	if (nargs > 2)
		body->args[2] = c->a[2];
	nt_submit(s, NT_CRED);
out:
	bpf_map_delete_elem(&nt_cred_calls, &tid);
	return 0;
}

#define NT_CRED_CALL(name, number, cause, nargs)                    \
	NT_SYSCALL_ENTER(name, number, cred__enter())               \
	NT_SYSCALL_EXIT(name, number, cred__exit(&c, cause, nargs))

NT_CRED_CALL(setuid, 105, NT_CAUSE_SETUID, 1)
NT_CRED_CALL(setgid, 106, NT_CAUSE_SETGID, 1)
NT_CRED_CALL(setreuid, 113, NT_CAUSE_SETREUID, 2)
NT_CRED_CALL(setregid, 114, NT_CAUSE_SETREGID, 2)
NT_CRED_CALL(setgroups, 116, NT_CAUSE_SETGROUPS, 1)
NT_CRED_CALL(setresuid, 117, NT_CAUSE_SETRESUID, 3)
NT_CRED_CALL(setresgid, 119, NT_CAUSE_SETRESGID, 3)
NT_CRED_CALL(setfsuid, 122, NT_CAUSE_SETFSUID, 1)
NT_CRED_CALL(setfsgid, 123, NT_CAUSE_SETFSGID, 1)
NT_CRED_CALL(capset, 126, NT_CAUSE_CAPSET, 0)

/* ---- the sys_exit mechanism ---- */

#define NT_IDS16 0x100 /* i386's first generation: 16-bit ids, 0xffff is -1 */

/* cause | nargs << 4 (| NT_IDS16), 0: not ours */
static __always_inline u32 nt_cred_call(u32 nr, bool compat)
{
	if (compat) {
		switch (nr) {
		case 23: return NT_IDS16 | NT_CAUSE_SETUID | 1 << 4;
		case 46: return NT_IDS16 | NT_CAUSE_SETGID | 1 << 4;
		case 70: return NT_IDS16 | NT_CAUSE_SETREUID | 2 << 4;
		case 71: return NT_IDS16 | NT_CAUSE_SETREGID | 2 << 4;
		case 138: return NT_IDS16 | NT_CAUSE_SETFSUID | 1 << 4;
		case 139: return NT_IDS16 | NT_CAUSE_SETFSGID | 1 << 4;
		case 164: return NT_IDS16 | NT_CAUSE_SETRESUID | 3 << 4;
		case 170: return NT_IDS16 | NT_CAUSE_SETRESGID | 3 << 4;
		case 81:
		case 206: return NT_CAUSE_SETGROUPS | 1 << 4;
		case 185: return NT_CAUSE_CAPSET;
		case 203: return NT_CAUSE_SETREUID | 2 << 4;
		case 204: return NT_CAUSE_SETREGID | 2 << 4;
		case 208: return NT_CAUSE_SETRESUID | 3 << 4;
		case 210: return NT_CAUSE_SETRESGID | 3 << 4;
		case 213: return NT_CAUSE_SETUID | 1 << 4;
		case 214: return NT_CAUSE_SETGID | 1 << 4;
		case 215: return NT_CAUSE_SETFSUID | 1 << 4;
		case 216: return NT_CAUSE_SETFSGID | 1 << 4;
		default: return 0;
		}
	}
	switch (nr & ~NT_X32_BIT) {
	case 105: return NT_CAUSE_SETUID | 1 << 4;
	case 106: return NT_CAUSE_SETGID | 1 << 4;
	case 113: return NT_CAUSE_SETREUID | 2 << 4;
	case 114: return NT_CAUSE_SETREGID | 2 << 4;
	case 116: return NT_CAUSE_SETGROUPS | 1 << 4;
	case 117: return NT_CAUSE_SETRESUID | 3 << 4;
	case 119: return NT_CAUSE_SETRESGID | 3 << 4;
	case 122: return NT_CAUSE_SETFSUID | 1 << 4;
	case 123: return NT_CAUSE_SETFSGID | 1 << 4;
	case 126: return NT_CAUSE_CAPSET;
	default: return 0;
	}
}

int nt_privilege__enter(struct nt_call *c)
{
	return c ? cred__enter() : 0;
}

static __always_inline u64 nt_id16(u64 id)
{
	return (id & 0xffff) == 0xffff ? (u32)-1 : id & 0xffff;
}

int nt_privilege__exit(struct nt_call *c)
{
	u32 call;

	if (!c)
		return 0;
	call = nt_cred_call(c->nr, c->compat);
	if (call & NT_IDS16) {
		c->a[0] = nt_id16(c->a[0]);
		c->a[1] = nt_id16(c->a[1]);
		c->a[2] = nt_id16(c->a[2]);
	}
	return cred__exit(c, call & 0xf, call >> 4 & 0xf);
}
