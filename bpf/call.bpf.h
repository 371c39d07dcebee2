/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * One system call as its probe body sees it, whichever mechanism caught it:
 *
 *   per-syscall  tracepoint/syscalls/sys_{enter,exit}_X, arguments from the
 *                task's saved registers; other calls pay next to nothing, but
 *                32-bit calls (int 0x80) don't come by
 *   sys_exit     tp_btf/sys_enter and sys_exit, a switch on the number
 */
#ifndef NODETRAIL_BPF_CALL_H_
#define NODETRAIL_BPF_CALL_H_

#include "task.bpf.h"

struct nt_call {
	u64 a[6];
	s64 ret;
	u32 nr;
	u32 compat; /* 1: arguments and pointers are 32 bit, nr is i386's */
};

/* Stable layout of the per-syscall tracepoints; nr is an int and 4 bytes of
 * anything. */
struct nt_tp_exit {
	u64 common;
	u64 nr_and_pad;
	s64 ret;
};

static __always_inline void nt_call_native(struct nt_call *c, const struct pt_regs *r, u32 nr, s64 ret)
{
	c->a[0] = r->di;
	c->a[1] = r->si;
	c->a[2] = r->dx;
	c->a[3] = r->r10;
	c->a[4] = r->r8;
	c->a[5] = r->r9;
	c->ret = ret;
	c->nr = nr;
	c->compat = 0;
}

static __always_inline void nt_call_compat(struct nt_call *c, const struct pt_regs *r, u32 nr, s64 ret)
{
	c->a[0] = (u32)r->bx;
	c->a[1] = (u32)r->cx;
	c->a[2] = (u32)r->dx;
	c->a[3] = (u32)r->si;
	c->a[4] = (u32)r->di;
	c->a[5] = (u32)r->bp;
	c->ret = ret;
	c->nr = nr;
	c->compat = 1;
}

/* A call that is going to be restarted looks like -512…-516 from here; what
 * the program sees, if it sees anything, is EINTR. */
static __always_inline s64 nt_visible_ret(s64 ret)
{
	return ret <= -512 && ret >= -516 ? -4 : ret;
}

static __always_inline u32 nt_call_flags(const struct nt_call *c)
{
	return c->compat ? NT_F_COMPAT32 : 0;
}

/* A per-syscall program, both sides: SYSCALL_ENTER(unlink, 87, body) */
#define NT_SYSCALL_ENTER(name, number, body)                                              \
	SEC("tracepoint/syscalls/sys_enter_" #name)                                       \
	int tp__sys_enter_##name(void *ctx)                                               \
	{                                                                                 \
		struct nt_call c;                                                         \
		nt_call_native(&c, (void *)bpf_task_pt_regs(bpf_get_current_task_btf()), number, 0); \
		body;                                                                     \
		return 0;                                                                 \
	}

#define NT_SYSCALL_EXIT(name, number, body)                                               \
	SEC("tracepoint/syscalls/sys_exit_" #name)                                        \
	int tp__sys_exit_##name(struct nt_tp_exit *ctx)                                   \
	{                                                                                 \
		struct nt_call c;                                                         \
		nt_call_native(&c, (void *)bpf_task_pt_regs(bpf_get_current_task_btf()), number, ctx->ret); \
		body;                                                                     \
		return 0;                                                                 \
	}

#define NT_X32_BIT 0x40000000u

static __always_inline bool nt_is_compat(void)
{
	return bpf_get_current_task_btf()->thread_info.status & TS_COMPAT;
}

/* Bodies of the sys_exit mechanism, one pair per domain; switch.bpf.c calls. */
extern int nt_process__enter(struct nt_call *c);
extern int nt_process__exit(struct nt_call *c);
extern int nt_file__exit(struct nt_call *c);
extern int nt_privilege__enter(struct nt_call *c);
extern int nt_privilege__exit(struct nt_call *c);
extern int nt_network__enter(struct nt_call *c);
extern int nt_network__exit(struct nt_call *c);
extern int nt_act__enter(struct nt_call *c);
extern int nt_act__exit(struct nt_call *c);
/* An exec that did not happen; act.bpf.c. */
extern int nt_exec_failed(struct nt_call *c);
/* A bpf(2) on what is ours; tamper.bpf.c. */
extern int nt_bpf_own(struct nt_call *c);
/* socket.bpf.c; network.bpf.c calls. */
extern int nt_socket__exit(struct nt_call *c);
extern int nt_bind__exit(struct nt_call *c);
extern int nt_listen__exit(struct nt_call *c);
extern int nt_unix_connect__exit(struct nt_call *c);

#endif /* NODETRAIL_BPF_CALL_H_ */
