/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Working memory, counters, and the one place where a record enters a ring.
 *
 * Probes can nest on one CPU: a socket's state changes in softirq on top of a
 * system call's probe, and from 7.0 tracepoint programs can be preempted. So a
 * scratch is claimed with an atomic exchange, sequence numbers are taken with
 * an atomic fetch-and-add, and every counter is added to atomically.
 */
#ifndef NODETRAIL_BPF_EMIT_H_
#define NODETRAIL_BPF_EMIT_H_

#include "maps.bpf.h"

#include "nodetrail/abi/reserved.h"

static __always_inline struct nt_cpu_stats *nt_stats_of(u32 cpu)
{
	return bpf_map_lookup_elem(&nt_stats, &cpu);
}

#define nt_count(member)                                                        \
	do {                                                                    \
		struct nt_cpu_stats *st_ = nt_stats_of(bpf_get_smp_processor_id()); \
		if (st_)                                                        \
			__sync_fetch_and_add(&st_->member, 1);                  \
	} while (0)

/* The act was seen, its record is impossible: no room in a map or no scratch. */
static __always_inline void nt_lost_map(u32 type)
{
	nt_count(lost_map[type & (NT_TYPE_MAX - 1)]);
}

/* A free scratch of this CPU, or NULL. Give it back with nt_release. */
static __always_inline struct nt_scratch *nt_claim(void)
{
	u32 cpu = bpf_get_smp_processor_id();

	for (u32 i = 0; i < NT_SCRATCH_PER_CPU; i++) {
		u32 index = cpu * NT_SCRATCH_PER_CPU + i;
		struct nt_scratch *s = bpf_map_lookup_elem(&nt_scratches, &index);

		if (!s)
			return NULL;
		if (__sync_lock_test_and_set(&s->busy, 1))
			continue;
		s->index = index;
		s->cpu = cpu;
		s->flags = 0;
		s->len = 0;
		return s;
	}
	return NULL;
}

static __always_inline void nt_release(struct nt_scratch *s)
{
	barrier();
	*(volatile u32 *)&s->busy = 0;
}

static __always_inline struct nt_header *nt_header_of(struct nt_scratch *s)
{
	return (struct nt_header *)s->rec;
}

static __always_inline struct nt_task *nt_task_of(struct nt_scratch *s)
{
	return (struct nt_task *)(s->rec + sizeof(struct nt_header));
}

static __always_inline void *nt_body_of(struct nt_scratch *s)
{
	return s->rec + NT_FIXED_LEN;
}

/* Fails where there is no such ring, or no room in it. */
static __always_inline long nt_put(struct nt_scratch *s, u32 len, u32 index)
{
	void *ring = bpf_map_lookup_elem(&nt_rings, &index);

	return ring ? bpf_ringbuf_output(ring, s->rec, len, BPF_RB_NO_WAKEUP) : -1;
}

/*
 * Numbers the record in s->rec (its time and task are filled, s->len is its
 * length) and puts it into this CPU's bulk ring; where that has no room, into
 * the reserve if it is of a kind that has one. The number is taken before room
 * is asked for, so that a loss leaves a hole where it happened, and one number
 * runs through both rings, so that user space can put them in order. No wakeup:
 * user space drains on a timer; waking costs more than everything else together.
 */
static __noinline int nt_emit(struct nt_scratch *s, u32 type)
{
	struct nt_cpu_stats *st;
	struct nt_header *h;
	u32 cpu, len;

	if (!s)
		return -1;
	cpu = s->cpu;
	st = nt_stats_of(cpu);
	if (!st)
		return -1;
	type &= NT_TYPE_MAX - 1;
	h = nt_header_of(s);
	len = s->len;
	h->abi_version = NT_ABI_VERSION;
	h->type = type;
	h->total_len = len;
	h->cpu = cpu;
	h->flags = s->flags;
	h->cpu_seq = __sync_fetch_and_add(&st->cpu_seq, 1) + 1;
	if (len > NT_RECORD_MAX ||
	    (nt_put(s, len, NT_BULK_RING(cpu)) && (!NT_IS_RESERVED(type) || nt_put(s, len, NT_RESERVE_RING(cpu))))) {
		__sync_fetch_and_add(&st->lost_ring[type], 1);
		return -1;
	}
	__sync_fetch_and_add(&st->submitted[type], 1);
	return 0;
}

#endif /* NODETRAIL_BPF_EMIT_H_ */
