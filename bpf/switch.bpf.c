// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * The sys_exit mechanism: one program on every system call's enter and one on
 * its exit, a table from number to domain, the same bodies as per-syscall.
 */
#include "call.bpf.h"
#include "nodetrail/abi/acts.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Keeps every ABI struct in the object's BTF, where tests/abi compares them
 * with the agent's: otherwise only what a map or a function names is there.
 * Never created (agent/capture turns it off). */
union nt_abi_pin {
	struct nt_header header;
	struct nt_tail_header tail;
	struct nt_exec exec;
	struct nt_fork fork;
	struct nt_exit exit;
	struct nt_cred_change cred_change;
	struct nt_file_open file_open;
	struct nt_act act;
	struct nt_net net;
	struct nt_socket socket;
	struct nt_cgroup cgroup;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, union nt_abi_pin);
} nt_abi_pins SEC(".maps");

enum {
	NT_DOMAIN_NONE = 0,
	NT_DOMAIN_PROCESS,
	NT_DOMAIN_FILE,
	NT_DOMAIN_PRIVILEGE,
	NT_DOMAIN_NETWORK,
	NT_DOMAIN_ACT,
};

#define NT_CALLS 1024

/* Number 0 is read (restart_syscall in i386): never one of ours. */
#define NT_NATIVE_ACT(name, nr, nr32, type, shape) [nr] = NT_DOMAIN_ACT,
#define NT_I386_ACT(name, nr, nr32, type, shape) [nr32] = nr32 ? NT_DOMAIN_ACT : NT_DOMAIN_NONE,

/* x86-64; x32 has the same numbers but for its own above 511. */
static const volatile u8 nt_native_calls[NT_CALLS] = {
	[59] = NT_DOMAIN_PROCESS, [322] = NT_DOMAIN_PROCESS, [520] = NT_DOMAIN_PROCESS,
	[545] = NT_DOMAIN_PROCESS,
	[2] = NT_DOMAIN_FILE, [85] = NT_DOMAIN_FILE, [257] = NT_DOMAIN_FILE, [437] = NT_DOMAIN_FILE,
	[105] = NT_DOMAIN_PRIVILEGE, [106] = NT_DOMAIN_PRIVILEGE, [113] = NT_DOMAIN_PRIVILEGE,
	[114] = NT_DOMAIN_PRIVILEGE, [116] = NT_DOMAIN_PRIVILEGE, [117] = NT_DOMAIN_PRIVILEGE,
	[119] = NT_DOMAIN_PRIVILEGE, [122] = NT_DOMAIN_PRIVILEGE, [123] = NT_DOMAIN_PRIVILEGE,
	[126] = NT_DOMAIN_PRIVILEGE,
	[41] = NT_DOMAIN_NETWORK, [42] = NT_DOMAIN_NETWORK, [43] = NT_DOMAIN_NETWORK, [49] = NT_DOMAIN_NETWORK,
	[50] = NT_DOMAIN_NETWORK, [288] = NT_DOMAIN_NETWORK,
	NT_ACTS(NT_NATIVE_ACT)
};

/* i386 */
static const volatile u8 nt_compat_calls[NT_CALLS] = {
	[11] = NT_DOMAIN_PROCESS, [358] = NT_DOMAIN_PROCESS,
	[5] = NT_DOMAIN_FILE, [8] = NT_DOMAIN_FILE, [295] = NT_DOMAIN_FILE, [437] = NT_DOMAIN_FILE,
	[23] = NT_DOMAIN_PRIVILEGE, [46] = NT_DOMAIN_PRIVILEGE, [70] = NT_DOMAIN_PRIVILEGE,
	[71] = NT_DOMAIN_PRIVILEGE, [81] = NT_DOMAIN_PRIVILEGE, [138] = NT_DOMAIN_PRIVILEGE,
	[139] = NT_DOMAIN_PRIVILEGE, [164] = NT_DOMAIN_PRIVILEGE, [170] = NT_DOMAIN_PRIVILEGE,
	[185] = NT_DOMAIN_PRIVILEGE, [203] = NT_DOMAIN_PRIVILEGE, [204] = NT_DOMAIN_PRIVILEGE,
	[206] = NT_DOMAIN_PRIVILEGE, [208] = NT_DOMAIN_PRIVILEGE, [210] = NT_DOMAIN_PRIVILEGE,
	[213] = NT_DOMAIN_PRIVILEGE, [214] = NT_DOMAIN_PRIVILEGE, [215] = NT_DOMAIN_PRIVILEGE,
	[216] = NT_DOMAIN_PRIVILEGE,
	[102] = NT_DOMAIN_NETWORK, [359] = NT_DOMAIN_NETWORK, [361] = NT_DOMAIN_NETWORK,
	[362] = NT_DOMAIN_NETWORK, [363] = NT_DOMAIN_NETWORK, [364] = NT_DOMAIN_NETWORK,
	NT_ACTS(NT_I386_ACT)
	NT_ACTS_I386(NT_I386_ACT)
};

static __always_inline u32 nt_domain(u32 nr, bool compat)
{
	if (!compat)
		nr &= ~NT_X32_BIT;
	if (nr >= NT_CALLS)
		return NT_DOMAIN_NONE;
	return compat ? nt_compat_calls[nr] : nt_native_calls[nr];
}

static __always_inline void nt_fill_call(struct nt_call *c, struct pt_regs *regs, u32 nr, s64 ret, bool compat)
{
	if (compat)
		nt_call_compat(c, regs, nr, ret);
	else
		nt_call_native(c, regs, nr, ret);
}

/*
 * Hook    tp_btf/sys_enter
 * Kernels 5.5
 * Why     where tracefs or bpf_task_pt_regs is missing, or 32-bit calls have to
 *         be seen (TS_COMPAT tells them): the arguments before the act
 * Misses  io_uring. Every call of every process pays for the look
 */
SEC("tp_btf/sys_enter")
int BPF_PROG(tp_btf__sys_enter, struct pt_regs *regs, long id)
{
	bool compat = nt_is_compat();
	u32 domain = nt_domain(id, compat);
	struct nt_call c;

	if (!domain)
		return 0;
	nt_fill_call(&c, regs, id, 0, compat);
	switch (domain) {
	case NT_DOMAIN_PROCESS: nt_process__enter(&c); break;
	case NT_DOMAIN_PRIVILEGE: nt_privilege__enter(&c); break;
	case NT_DOMAIN_NETWORK: nt_network__enter(&c); break;
	case NT_DOMAIN_ACT: nt_act__enter(&c); break;
	}
	return 0;
}

/*
 * Hook    tp_btf/sys_exit
 * Kernels 5.5
 * Why     as above: the outcome
 * Misses  io_uring; exit and exit_group, which don't return (sched_process_exit
 *         sees those)
 */
SEC("tp_btf/sys_exit")
int BPF_PROG(tp_btf__sys_exit, struct pt_regs *regs, long ret)
{
	bool compat = nt_is_compat();
	u32 nr = regs->orig_ax;
	u32 domain = nt_domain(nr, compat);
	struct nt_call c;

	if (!domain)
		return 0;
	nt_fill_call(&c, regs, nr, ret, compat);
	switch (domain) {
	case NT_DOMAIN_PROCESS: nt_process__exit(&c); break;
	case NT_DOMAIN_FILE: nt_file__exit(&c); break;
	case NT_DOMAIN_PRIVILEGE: nt_privilege__exit(&c); break;
	case NT_DOMAIN_NETWORK: nt_network__exit(&c); break;
	case NT_DOMAIN_ACT: nt_act__exit(&c); break;
	}
	return 0;
}
