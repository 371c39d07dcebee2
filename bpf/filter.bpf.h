/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Who is recorded. Decided before anything else is read; nothing is dropped
 * without a counter. */
#ifndef NODETRAIL_BPF_FILTER_H_
#define NODETRAIL_BPF_FILTER_H_

#include "emit.bpf.h"

static __always_inline u32 nt_tgid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline u32 nt_tid(void)
{
	return (u32)bpf_get_current_pid_tgid();
}

static __always_inline bool nt_in_scope(u32 tgid)
{
	if (nt_scope_mode == NT_SCOPE_HOST)
		return true;
	return bpf_map_lookup_elem(&nt_scope, &tgid) != NULL;
}

/* enum nt_self_class of a process. */
static __always_inline u32 nt_self_class(u32 tgid)
{
	u32 zero = 0, cls = NT_SELF_NONE;
	struct nt_self_table *t = bpf_map_lookup_elem(&nt_self, &zero);

	if (!t)
		return NT_SELF_NONE;
#pragma clang loop unroll(full)
	for (int i = 0; i < NT_SELF_SLOTS; i++)
		if (t->slot[i].tgid == tgid)
			cls = t->slot[i].cls;
	return cls & (NT_SELF_MAX - 1);
}

/* Process and credential records: the product's own are recorded too. */
static __always_inline bool nt_admit_process(void)
{
	if (nt_in_scope(nt_tgid()))
		return true;
	nt_count(out_of_scope);
	return false;
}

/* File and network records: the product's own are counted instead. */
static __always_inline bool nt_admit_act(u32 type)
{
	u32 tgid = nt_tgid();
	u32 cls = nt_self_class(tgid);

	if (cls) {
		nt_count(self[cls & (NT_SELF_MAX - 1)][type & (NT_TYPE_MAX - 1)]);
		return false;
	}
	if (nt_in_scope(tgid))
		return true;
	nt_count(out_of_scope);
	return false;
}

/* The same answer without counting: at a call's enter, whose exit counts. */
static __always_inline bool nt_would_admit_act(void)
{
	u32 tgid = nt_tgid();

	return !nt_self_class(tgid) && nt_in_scope(tgid);
}

#endif /* NODETRAIL_BPF_FILTER_H_ */
