/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Maps, shared by all domains (weak: the linker merges them), and the layout
 * of per-CPU working memory. All are bounded. Sizes marked "set at load" are
 * placeholders: agent/capture knows the number of CPUs and the options.
 */
#ifndef NODETRAIL_BPF_MAPS_H_
#define NODETRAIL_BPF_MAPS_H_

#include "compat.bpf.h"

#include "nodetrail/abi/record.h"

/* Set before load, constant afterwards: the verifier prunes what is off. */
const volatile unsigned int nt_scope_mode __weak = 0; /* enum nt_scope_mode */

enum nt_scope_mode {
	NT_SCOPE_HOST = 0,
	NT_SCOPE_TREE = 1,
};

/*
 * Two rings per CPU, so that producers of different CPUs share no lock and no
 * line: the bulk ring, and the reserve for what must not be evicted by the rest
 * (abi/reserved.h). A CPU without one has no map in its place.
 */
#define NT_RINGS_PER_CPU 2
#define NT_BULK_RING(cpu) ((cpu) * NT_RINGS_PER_CPU)
#define NT_RESERVE_RING(cpu) ((cpu) * NT_RINGS_PER_CPU + 1)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, NT_RINGS_PER_CPU); /* times CPUs, set at load */
	__type(key, u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_RINGBUF);
		__uint(max_entries, 4096);
	});
} nt_rings __weak SEC(".maps");

/* Mapped by user space: reading counters is no bpf(2), which would hold classic
 * tracepoint programs off this CPU while it runs (bpf_prog_active). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1); /* set at load */
	__type(key, u32);
	__type(value, struct nt_cpu_stats);
} nt_stats __weak SEC(".maps");

#define NT_SELF_SLOTS 8

/* The product's own processes. User space fills a slot, sched_process_exit
 * clears it. Slots, not a hash: every event compares. */
struct nt_self_table {
	struct {
		u32 tgid;
		u32 cls;
	} slot[NT_SELF_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct nt_self_table);
} nt_self __weak SEC(".maps");

/* tgids in scope, mode TREE: seeded by user space, inherited at fork. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); /* 1 in mode HOST */
	__type(key, u32);
	__type(value, u8);
} nt_scope __weak SEC(".maps");

/* First sight of a cgroup. LRU: forgetting only means telling its path again. */
struct nt_cgroup_key {
	u64 id;
	u32 hierarchy;
	u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct nt_cgroup_key);
	__type(value, u8);
} nt_cgroups __weak SEC(".maps");

/* Working memory. Too large for a per-CPU map's 32 KiB and for the stack. */
#define NT_SCRATCH_PER_CPU 2
#define NT_FIXED_LEN (sizeof(struct nt_header) + sizeof(struct nt_task))

struct nt_sock {
	struct nt_task owner;
	struct nt_net net;
	u32 cls;   /* enum nt_self_class */
	u32 phase; /* enum nt_sock_phase */
	u32 flags; /* nt_header.flags of its connect */
	u32 pad;
};

struct nt_scratch {
	u32 busy;
	u32 index;
	u32 cpu;
	u32 len;        /* of rec, so far */
	u32 flags;      /* nt_header.flags, so far */
	u32 tail_at;    /* header of the open tail */
	/* path walk, see path.bpf.h */
	u64 w_dentry, w_mnt, w_mnt_root, w_root_dentry, w_root_mnt;
	u32 w_limit;
	u32 w_end;      /* enum nt_walk_end */
	/* cgroups announced last from this scratch: saves the lookup */
	struct nt_cgroup_key seen_v2, seen_v1;
	struct nt_sock sock;
	/* the largest single read at the largest offset stays inside */
	u8 rec[NT_RECORD_MAX + NT_ARGV_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NT_SCRATCH_PER_CPU); /* times CPUs, set at load */
	__type(key, u32);
	__type(value, struct nt_scratch);
} nt_scratches __weak SEC(".maps");

#endif /* NODETRAIL_BPF_MAPS_H_ */
