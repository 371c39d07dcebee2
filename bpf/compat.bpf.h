/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Where kernels differ. Each entry names the change it bridges. */
#ifndef NODETRAIL_BPF_COMPAT_H_
#define NODETRAIL_BPF_COMPAT_H_

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/*
 * kernfs_node.parent became __parent in 6.15 (741c10b096bc, "kernfs: Use RCU to
 * access kernfs_node::parent").
 */
struct kernfs_node___old {
	struct kernfs_node *parent;
} __attribute__((preserve_access_index));

static __always_inline u64 nt_kernfs_parent(u64 kn)
{
	u64 parent = 0;

	if (bpf_core_field_exists(struct kernfs_node, __parent))
		bpf_probe_read_kernel(&parent, sizeof(parent), &((struct kernfs_node *)kn)->__parent);
	else
		bpf_probe_read_kernel(&parent, sizeof(parent), &((struct kernfs_node___old *)kn)->parent);
	return parent;
}

/*
 * kernel_cap_t was { u32 cap[2] } until 6.3 (f122a08b197d, "capability: just
 * use a 'u64' instead of a 'u32[2]' array"); both are the same eight bytes on
 * a little-endian machine, so capability sets are copied as bytes.
 */

/*
 * sched_process_exit tells whether the group is dead since 6.16 (2fa2f4b2e4ee4,
 * "exit: move and extend sched_process_exit() tracepoint"). Before, two threads
 * that leave together can both find signal->live at 0: nt_exited tells them
 * apart. User space looks the prototype up in BTF and sets this.
 */
const volatile bool nt_exit_tells_group_dead __weak = false;

/*
 * Clamps an unsigned VAR to MAX, a constant, in the register that goes on. A
 * plain `if` may be compiled into a check of one copy and a use of another that
 * was spilled before it, and verifiers up to 6.1 at least don't connect the two.
 */
#define nt_at_most(VAR, MAX) \
	asm volatile("if %0 <= %[max] goto +1\n%0 = %[max]" : "+r"(VAR) : [max] "i"(MAX))

#endif /* NODETRAIL_BPF_COMPAT_H_ */
