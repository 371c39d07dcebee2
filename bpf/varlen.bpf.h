/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Typed tails at the end of a record under construction.
 *
 * What reads a string or walks a path is a global function taking a scratch by
 * its index: the verifier checks a global function once per program, a static
 * one anew at every call, and there are dozens of calls.
 */
#ifndef NODETRAIL_BPF_VARLEN_H_
#define NODETRAIL_BPF_VARLEN_H_

#include "emit.bpf.h"

/* Opens a tail. A record never grows past NT_RECORD_MAX: rec has NT_ARGV_MAX
 * bytes beyond it, so any single read that starts below the limit fits. */
static __always_inline void nt_tail_begin(struct nt_scratch *s)
{
	s->tail_at = s->len;
	s->len += sizeof(struct nt_tail_header);
}

static __always_inline void nt_tail_end(struct nt_scratch *s, u32 kind)
{
	u32 at = s->tail_at;
	struct nt_tail_header *h;

	if (at > NT_RECORD_MAX)
		return;
	h = (struct nt_tail_header *)&s->rec[at];
	h->kind = kind;
	h->len = s->len - at - sizeof(*h);
}

static __always_inline void nt_tail_drop(struct nt_scratch *s)
{
	s->len = s->tail_at;
}

/*
 * A NUL-terminated user string of up to NT_PATH_MAX - 1 bytes, as a tail
 * without its NUL. Negative errno when it can't be read: a page that isn't in
 * memory can't be faulted in from here.
 */
__weak __noinline int nt_tail_user_str(u32 index, u32 kind, u64 user)
{
	struct nt_scratch *s = bpf_map_lookup_elem(&nt_scratches, &index);
	long n;
	u32 o;

	if (!s)
		return -1;
	nt_tail_begin(s);
	o = s->len;
	if (o > NT_RECORD_MAX) {
		nt_tail_drop(s);
		s->flags |= NT_F_TRUNCATED;
		return 0;
	}
	n = bpf_probe_read_user_str(&s->rec[o], NT_PATH_MAX, (const void *)user);
	if (n < 0) {
		nt_tail_drop(s);
		return -14; /* EFAULT */
	}
	if (!n) /* "": kernels up to 6.12 at least don't count its NUL */
		n = 1;
	if (n == NT_PATH_MAX)
		s->flags |= NT_F_TRUNCATED; /* longer strings fail with ENAMETOOLONG */
	s->len = o + (n - 1);
	nt_tail_end(s, kind);
	return 0;
}

/* The same for a kernel string. */
__weak __noinline int nt_tail_kernel_str(u32 index, u32 kind, u64 kernel)
{
	struct nt_scratch *s = bpf_map_lookup_elem(&nt_scratches, &index);
	long n;
	u32 o;

	if (!s)
		return -1;
	nt_tail_begin(s);
	o = s->len;
	if (o > NT_RECORD_MAX) {
		nt_tail_drop(s);
		s->flags |= NT_F_TRUNCATED;
		return 0;
	}
	n = bpf_probe_read_kernel_str(&s->rec[o], NT_PATH_MAX, (const void *)kernel);
	if (n <= 0) {
		nt_tail_drop(s);
		return -14;
	}
	if (n == NT_PATH_MAX)
		s->flags |= NT_F_TRUNCATED;
	s->len = o + (n - 1);
	nt_tail_end(s, kind);
	return 0;
}

#endif /* NODETRAIL_BPF_VARLEN_H_ */
