// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * TCP connections: begun, accepted, ended.
 *
 * The state machine runs in whatever context a packet arrives in, so the owner
 * is remembered where it is certain: at the first SYN (connect's caller), at
 * accept, and again where a local close begins.
 */
#include "call.bpf.h"
#include "sock.bpf.h"
#include "uring.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define SOCK_DONE 1
#define ECONNRESET 104
#define ECONNABORTED 103
#define EINPROGRESS 115

enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
};

enum nt_sock_phase {
	NT_SOCK_CONNECTING = 1,
	NT_SOCK_OPEN = 2,
};

/* Sockets followed, by address; from the first SYN or accept to TCP_CLOSE. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536); /* set at load */
	__type(key, u64);
	__type(value, struct nt_sock);
} nt_socks SEC(".maps");

/* connect() between enter and exit, by tid. */
struct nt_connect_call {
	u64 sk;
	u32 continues; /* the socket was connecting already: this call only asks */
	u32 syn_sent;  /* the state machine tells the outcome */
	u8 addr[28];   /* the caller's sockaddr, as far as sockaddr_in6 */
	u32 addr_len;  /* bytes of it, 0: not readable yet */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, u32);
	__type(value, struct nt_connect_call);
} nt_connect_calls SEC(".maps");

struct nt_net_record {
	struct nt_header header;
	struct nt_task task;
	struct nt_net net;
};

/* A record of fixed size, straight into the bulk ring: softirq needs no scratch. */
NT_STATIC_ASSERT(!NT_IS_RESERVED(NT_NET_CONNECT) && !NT_IS_RESERVED(NT_NET_ACCEPT) && !NT_IS_RESERVED(NT_NET_CLOSE),
		 "nt_emit_sock asks for no room in the reserve");
static __noinline int nt_emit_sock(struct nt_sock *e, u32 type, u32 snapshot)
{
	u32 cpu = bpf_get_smp_processor_id(), index = NT_BULK_RING(cpu);
	struct nt_cpu_stats *st = nt_stats_of(cpu);
	struct nt_net_record *r;
	void *ring;
	u64 seq;

	if (!e || !st)
		return 0;
	type &= NT_TYPE_MAX - 1;
	if (e->cls) {
		__sync_fetch_and_add(&st->self[e->cls & (NT_SELF_MAX - 1)][type], 1);
		return 0;
	}
	seq = __sync_fetch_and_add(&st->cpu_seq, 1) + 1;
	ring = bpf_map_lookup_elem(&nt_rings, &index);
	r = ring ? bpf_ringbuf_reserve(ring, sizeof(*r), 0) : NULL;
	if (!r) {
		__sync_fetch_and_add(&st->lost_ring[type], 1);
		return 0;
	}
	r->header.abi_version = NT_ABI_VERSION;
	r->header.type = type;
	r->header.total_len = sizeof(*r);
	r->header.ktime_boot_ns = bpf_ktime_get_boot_ns();
	r->header.cpu = cpu;
	r->header.flags = type == NT_NET_CONNECT ? e->flags : 0;
	r->header.cpu_seq = seq;
	r->task = e->owner;
	if (snapshot)
		r->task.flags |= NT_T_SNAPSHOT;
	r->net = e->net;
	bpf_ringbuf_submit(r, BPF_RB_NO_WAKEUP);
	__sync_fetch_and_add(&st->submitted[type], 1);
	return 0;
}

/* Both ends as they are now. inet_sport outlives skc_num, which TCP_CLOSE has
 * cleared already on sockets that bound themselves. */
static __noinline int nt_fill_tuple(struct nt_net *n, u64 sk_addr)
{
	struct sock *sk = (struct sock *)sk_addr;
	u16 family = 0;
	__be16 port = 0;

	if (!n)
		return 0;
	bpf_probe_read_kernel(&family, sizeof(family), &sk->__sk_common.skc_family);
	n->family = family;
	n->protocol = IPPROTO_TCP;
	if (family == AF_INET) {
		bpf_probe_read_kernel(n->local_addr, 4, &sk->__sk_common.skc_rcv_saddr);
		bpf_probe_read_kernel(n->remote_addr, 4, &sk->__sk_common.skc_daddr);
	} else {
		bpf_probe_read_kernel(n->local_addr, 16, &sk->__sk_common.skc_v6_rcv_saddr);
		bpf_probe_read_kernel(n->remote_addr, 16, &sk->__sk_common.skc_v6_daddr);
	}
	bpf_probe_read_kernel(&port, sizeof(port), &((struct inet_sock *)sk)->inet_sport);
	n->local_port = __builtin_bswap16(port);
	bpf_probe_read_kernel(&port, sizeof(port), &sk->__sk_common.skc_dport);
	n->remote_port = __builtin_bswap16(port);
	return 0;
}

/* struct sock of a TCP socket's file, 0 if it is anything else. */
static __noinline u64 nt_tcp_of_file(u64 file)
{
	struct sock *sk = (struct sock *)nt_sock_of_file(file);
	u16 family, type, protocol;

	if (!sk)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	type = BPF_CORE_READ(sk, sk_type);
	protocol = BPF_CORE_READ(sk, sk_protocol);
	if ((family != AF_INET && family != AF_INET6) || type != SOCK_STREAM || protocol != IPPROTO_TCP)
		return 0;
	return (u64)sk;
}

static __always_inline u64 nt_tcp_of_fd(s32 fd)
{
	return nt_tcp_of_file(nt_file_of_fd(fd));
}

static __always_inline void nt_read_sockaddr(struct nt_connect_call *call, u64 user, u32 len)
{
	if (len > sizeof(call->addr))
		len = sizeof(call->addr);
	call->addr_len = 0;
	if (len >= 16 && !bpf_probe_read_user(call->addr, len, (const void *)user))
		call->addr_len = len;
}

/*
 * Hook    tracepoint/syscalls/sys_enter_connect, fallback tp_btf/sys_enter
 * Kernels 5.15 (bpf_task_pt_regs), 5.5
 * Why     at exit one can't tell a new attempt from asking again about the one
 *         under way, whose outcome is told already: here the socket's state says
 * Misses  connects that aren't TCP; MPTCP sockets
 */
static __noinline int connect__enter(struct nt_call *c)
{
	struct nt_connect_call call = {};
	struct sock *sk;
	u32 tid = nt_tid();

	/* the product's own too: exit counts them */
	if (!c || (!nt_self_class(nt_tgid()) && !nt_in_scope(nt_tgid())))
		return 0;
	sk = (struct sock *)nt_tcp_of_fd(c->a[0]);
	if (!sk)
		return 0;
	call.sk = (u64)sk;
	call.continues = BPF_CORE_READ(sk, sk_socket, state) == SS_CONNECTING;
	nt_read_sockaddr(&call, c->a[1], c->a[2]);
	return bpf_map_update_elem(&nt_connect_calls, &tid, &call, BPF_ANY);
}

/* The body of an attempt that failed before the first SYN. */
static __noinline int nt_connect_failed(struct nt_scratch *s, struct nt_connect_call *call, s32 err)
{
	struct nt_net *n;
	struct sock *sk;

	if (!s || !call)
		return 0;
	n = nt_body_of(s);
	sk = (struct sock *)call->sk;
	nt_fill_tuple(n, call->sk);
	__builtin_memset(n->remote_addr, 0, sizeof(n->remote_addr));
	n->remote_port = 0;
	n->addr_from_user = 1;
	if (call->addr_len) {
		n->remote_port = call->addr[2] << 8 | call->addr[3];
		if (call->addr[0] == AF_INET) {
			n->family = AF_INET;
			__builtin_memcpy(n->remote_addr, call->addr + 4, 4);
		} else if (call->addr_len >= 24) {
			__builtin_memcpy(n->remote_addr, call->addr + 8, 16);
		}
	}
	n->netns = nt_netns_of(sk);
	n->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	n->opened_boot_ns = nt_header_of(s)->ktime_boot_ns;
	n->nonblocking = !!(BPF_CORE_READ(sk, sk_socket, file, f_flags) & O_NONBLOCK);
	n->err = err;
	return 0;
}

/*
 * Hook    tracepoint/syscalls/sys_exit_connect, fallback tp_btf/sys_exit
 * Kernels 5.15, 5.5
 * Why     an attempt that fails before the first SYN (no route, no permission,
 *         no port) never reaches the state machine
 * Misses  the peer, if the caller's sockaddr is rewritten meanwhile
 */
static __noinline int connect__exit(struct nt_call *c)
{
	u32 tid = nt_tid();
	struct nt_connect_call *call, copy;
	struct nt_scratch *s;
	s64 ret;

	if (!c)
		return 0;
	call = bpf_map_lookup_elem(&nt_connect_calls, &tid);
	if (!call)
		return nt_unix_connect__exit(c);
	copy = *call;
	bpf_map_delete_elem(&nt_connect_calls, &tid);
	ret = nt_visible_ret(c->ret);
	if (ret >= 0 || ret == -EINPROGRESS || copy.syn_sent || copy.continues)
		return 0;
	if (!nt_admit_act(NT_NET_CONNECT))
		return 0;
	s = nt_begin(NT_NET_CONNECT, sizeof(struct nt_net));
	if (!s)
		return 0;
	s->flags |= nt_call_flags(c);
	if (!copy.addr_len)
		nt_read_sockaddr(&copy, c->a[1], c->a[2]);
	nt_connect_failed(s, &copy, -ret);
	nt_submit(s, NT_NET_CONNECT);
	return 0;
}

/* Tells of an accepted socket, unless it is the product's own, and follows it.
 * Task and time of `s` are filled, its body is zero. */
static __noinline int nt_accepted(struct nt_scratch *s, u64 key, u32 cls)
{
	struct sock *sk = (struct sock *)key;
	struct nt_sock *e;
	struct nt_net *n;

	if (!s)
		return 0;
	n = nt_body_of(s);
	nt_fill_tuple(n, key);
	n->netns = nt_netns_of(sk);
	n->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	n->opened_boot_ns = nt_header_of(s)->ktime_boot_ns;
	n->nonblocking = !!(BPF_CORE_READ(sk, sk_socket, file, f_flags) & O_NONBLOCK);
	n->inbound = 1;
	if (!cls)
		nt_emit(s, NT_NET_ACCEPT);
	s->sock.owner = *nt_task_of(s);
	s->sock.net = *n;
	s->sock.cls = cls;
	s->sock.phase = NT_SOCK_OPEN;
	s->sock.flags = 0;
	e = &s->sock;
	if (bpf_map_update_elem(&nt_socks, &key, e, BPF_ANY)) {
		nt_lost_map(NT_NET_CLOSE);
	} else if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_CLOSE &&
		   !bpf_map_delete_elem(&nt_socks, &key)) {
		/* reset while it waited in the queue: there is no close to come */
		e->net.reset = BPF_CORE_READ(sk, sk_err) == ECONNRESET;
		nt_emit_sock(e, NT_NET_CLOSE, 0);
	}
	return 0;
}

/*
 * Hook    tracepoint/syscalls/sys_exit_{accept,accept4}, fallback tp_btf/sys_exit
 * Kernels 5.15, 5.5
 * Why     only here a process takes the connection; the handshake was over
 *         before, in softirq
 * Misses  accepts that fail; a descriptor a sibling closes before the call
 *         returns; MPTCP sockets
 */
static __noinline int accept__exit(struct nt_call *c)
{
	struct nt_scratch *s;
	u64 key;
	u32 cls;

	if (!c || c->ret < 0)
		return 0;
	key = nt_tcp_of_fd(c->ret);
	if (!key)
		return 0;
	cls = nt_self_class(nt_tgid());
	if (!nt_admit_act(NT_NET_ACCEPT) && !cls)
		return 0;
	if (cls) { /* followed, so that its close is counted too */
		s = nt_claim();
		if (!s)
			return 0;
		nt_fill_task(nt_task_of(s));
		__builtin_memset(nt_body_of(s), 0, sizeof(struct nt_net));
	} else {
		s = nt_begin(NT_NET_ACCEPT, sizeof(struct nt_net));
		if (!s)
			return 0;
		s->flags |= nt_call_flags(c);
	}
	nt_accepted(s, key, cls);
	nt_release(s);
	return 0;
}

/* Does a request of io_uring connect this socket? Then its submitter is the
 * owner, and not the worker that runs it. Returns the record's flags. */
static __noinline u32 nt_uring_asked(u64 key, struct nt_task *owner)
{
	struct nt_uring_connect *connect = bpf_map_lookup_elem(&nt_uring_connects, &key);
	struct nt_uring_small *kept;
	u64 req;

	if (!connect || !owner)
		return 0;
	connect->syn_sent = 1;
	req = connect->req;
	kept = bpf_map_lookup_elem(&nt_uring_small, &req);
	if (kept)
		bpf_probe_read_kernel(owner, sizeof(*owner), kept->rest);
	return NT_F_IO_URING;
}

/* connect's caller sends the first SYN. */
static __noinline int nt_syn_sent(u64 key, u64 cookie)
{
	struct sock *sk = (struct sock *)key;
	struct nt_connect_call *call;
	struct nt_scratch *s;
	u32 cls = nt_self_class(nt_tgid()), tid = nt_tid();
	struct nt_net *n;

	if (!cls && !nt_in_scope(nt_tgid())) {
		nt_count(out_of_scope);
		return 0;
	}
	s = nt_claim();
	if (!s) {
		nt_lost_map(NT_NET_CONNECT);
		return 0;
	}
	nt_header_of(s)->ktime_boot_ns = bpf_ktime_get_boot_ns();
	nt_fill_task(nt_task_of(s));
	if (!cls)
		nt_announce_cgroups(s);
	s->sock.owner = *nt_task_of(s);
	s->sock.flags = nt_uring_asked(key, &s->sock.owner);
	n = &s->sock.net;
	__builtin_memset(n, 0, sizeof(*n));
	nt_fill_tuple(n, key);
	n->cookie = cookie;
	n->netns = nt_netns_of(sk);
	n->opened_boot_ns = nt_header_of(s)->ktime_boot_ns;
	n->nonblocking = !!(BPF_CORE_READ(sk, sk_socket, file, f_flags) & O_NONBLOCK);
	s->sock.cls = cls;
	s->sock.phase = NT_SOCK_CONNECTING;
	if (bpf_map_update_elem(&nt_socks, &key, &s->sock, BPF_ANY))
		nt_lost_map(NT_NET_CONNECT);
	call = bpf_map_lookup_elem(&nt_connect_calls, &tid);
	if (call && call->sk == key)
		call->syn_sent = 1;
	nt_release(s);
	return 0;
}

/* A local close begins, in the closer's context: it, not whoever opened the
 * connection, is the actor; with its credentials of now. */
static __noinline int nt_closing(struct nt_sock *e)
{
	struct nt_scratch *s;
	struct nt_task *t;

	if (!e || e->cls || bpf_get_current_task_btf()->flags & PF_KTHREAD)
		return 0; /* a kernel thread putting a file off for someone */
	s = nt_claim();
	if (!s)
		return 0; /* the opener stays the actor */
	nt_header_of(s)->ktime_boot_ns = bpf_ktime_get_boot_ns();
	nt_fill_task(nt_task_of(s));
	nt_announce_cgroups(s);
	t = nt_task_of(s);
	/* Files of a dying task are put after it left its namespaces. A process
	 * doesn't change them on the way out: what it had before is still true. */
	if (!bpf_get_current_task_btf()->nsproxy && t->tgid == e->owner.tgid &&
	    t->start_boottime_ns == e->owner.start_boottime_ns) {
		t->mnt_ns = e->owner.mnt_ns;
		t->net_ns = e->owner.net_ns;
		t->ipc_ns = e->owner.ipc_ns;
		t->uts_ns = e->owner.uts_ns;
		t->cgroup_ns = e->owner.cgroup_ns;
	}
	e->owner = *t;
	nt_release(s);
	return 0;
}

/*
 * Hook    tp_btf/inet_sock_set_state
 * Kernels 5.5
 * Why     the real outcome of a connect, blocking or not, is the step out of
 *         SYN_SENT; the end of a connection is the step to CLOSE, whoever
 *         causes it. Costs system calls nothing
 * Misses  closes of connections from before the probes; subflows of MPTCP. A
 *         connection in TIME_WAIT is told as closed when it enters it
 */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tp_btf__inet_sock_set_state, const struct sock *sk, const int oldstate, const int newstate)
{
	u64 key = (u64)sk;
	struct nt_sock *e;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == TCP_SYN_SENT && oldstate == TCP_CLOSE) {
		nt_syn_sent(key, bpf_get_socket_cookie((void *)sk));
		return 0;
	}
	if (newstate == TCP_LISTEN) {
		bpf_get_socket_cookie((void *)sk); /* listen's exit reads it */
		return 0;
	}
	if (newstate == TCP_ESTABLISHED) {
		e = bpf_map_lookup_elem(&nt_socks, &key);
		if (e && e->phase == NT_SOCK_CONNECTING) {
			nt_fill_tuple(&e->net, key);
			e->phase = NT_SOCK_OPEN;
			nt_emit_sock(e, NT_NET_CONNECT, 1);
		} else if (!e) {
			/* a child of a listener: makes the cookie accept will read */
			bpf_get_socket_cookie((void *)sk);
		}
		return 0;
	}
	if ((newstate == TCP_FIN_WAIT1 && oldstate == TCP_ESTABLISHED) ||
	    (newstate == TCP_LAST_ACK && oldstate == TCP_CLOSE_WAIT)) {
		e = bpf_map_lookup_elem(&nt_socks, &key);
		if (e && e->phase == NT_SOCK_OPEN)
			nt_closing(e);
		return 0;
	}
	if (newstate != TCP_CLOSE)
		return 0;
	e = bpf_map_lookup_elem(&nt_socks, &key);
	if (!e)
		return 0;
	if (e->phase == NT_SOCK_CONNECTING) {
		s32 err = sk->sk_err;

		if (!err) {
			/* Failed on the way out, inside connect(): its exit knows the errno. */
			u32 tid = nt_tid();
			struct nt_connect_call *call = bpf_map_lookup_elem(&nt_connect_calls, &tid);

			struct nt_uring_connect *connect = bpf_map_lookup_elem(&nt_uring_connects, &key);

			if (call && call->sk == key) {
				call->syn_sent = 0;
				bpf_map_delete_elem(&nt_socks, &key);
				return 0;
			}
			if (connect) {
				connect->syn_sent = 0;
				bpf_map_delete_elem(&nt_socks, &key);
				return 0;
			}
			err = ECONNABORTED; /* given up by its owner */
		}
		nt_fill_tuple(&e->net, key);
		e->net.err = err;
		nt_emit_sock(e, NT_NET_CONNECT, 1);
	} else {
		struct tcp_sock *tp = bpf_skc_to_tcp_sock((void *)sk);

		if (tp) {
			u64 received = tp->bytes_received;

			/* the peer's FIN counts as a byte there */
			if (received && sk->__sk_common.skc_flags & (1ul << SOCK_DONE))
				received--;
			e->net.bytes_received = received;
			e->net.bytes_sent = tp->bytes_sent - tp->bytes_retrans;
		}
		e->net.reset = sk->sk_err == ECONNRESET;
		nt_emit_sock(e, NT_NET_CLOSE, 1);
	}
	bpf_map_delete_elem(&nt_socks, &key);
	return 0;
}

NT_SYSCALL_ENTER(connect, 42, connect__enter(&c))
NT_SYSCALL_EXIT(connect, 42, connect__exit(&c))
NT_SYSCALL_EXIT(accept, 43, accept__exit(&c))
NT_SYSCALL_EXIT(accept4, 288, accept__exit(&c))
NT_SYSCALL_EXIT(socket, 41, nt_socket__exit(&c))
NT_SYSCALL_EXIT(bind, 49, nt_bind__exit(&c))
NT_SYSCALL_EXIT(listen, 50, nt_listen__exit(&c))

/* ---- io_uring: io_uring.bpf.c calls ---- */

/* After the body, until the request completes. */
static __always_inline struct nt_connect_call *nt_uring_call(struct nt_scratch *s)
{
	return (struct nt_connect_call *)&s->rec[NT_FIXED_LEN + sizeof(struct nt_net)];
}

int nt_uring__connect(u32 index, u64 req, u64 file, u64 addr, u32 addr_len)
{
	struct nt_scratch *s = bpf_map_lookup_elem(&nt_scratches, &index);
	struct nt_uring_connect connect = { .req = req };
	struct nt_connect_call *call;
	u64 key = file ? nt_tcp_of_file(file) : 0;

	if (!s || !key)
		return 0;
	call = nt_uring_call(s);
	call->sk = key;
	call->continues = BPF_CORE_READ((struct sock *)key, sk_socket, state) == SS_CONNECTING;
	call->syn_sent = 0;
	nt_read_sockaddr(call, addr, addr_len);
	s->len = NT_FIXED_LEN + sizeof(struct nt_net);
	/* no room: the outcome is told by the state machine, and it has no flag */
	if (!call->continues)
		bpf_map_update_elem(&nt_uring_connects, &key, &connect, BPF_ANY);
	return !call->continues;
}

int nt_uring__connected(u32 index, u64 req, s64 ret)
{
	struct nt_scratch *s = bpf_map_lookup_elem(&nt_scratches, &index);
	struct nt_uring_connect *connect;
	struct nt_connect_call call;
	u64 key, syn_sent = 0;

	if (!s)
		return 0;
	call = *nt_uring_call(s);
	key = call.sk;
	connect = bpf_map_lookup_elem(&nt_uring_connects, &key);
	if (connect && connect->req == req) {
		syn_sent = connect->syn_sent;
		bpf_map_delete_elem(&nt_uring_connects, &key);
	}
	if (ret >= 0 || ret == -EINPROGRESS || syn_sent)
		return 0;
	nt_connect_failed(s, &call, -ret);
	nt_emit(s, NT_NET_CONNECT);
	return 0;
}

int nt_uring__accepted(u32 index, u64 file)
{
	struct nt_scratch *s = bpf_map_lookup_elem(&nt_scratches, &index);
	u64 key = file ? nt_tcp_of_file(file) : 0;

	if (s && key)
		nt_accepted(s, key, NT_SELF_NONE);
	return 0;
}

/* ---- the sys_exit mechanism ---- */

enum nt_net_call {
	NT_NET_CALL_NONE,
	NT_NET_CALL_SOCKET, /* numbered as i386's socketcall from here to LISTEN */
	NT_NET_CALL_BIND,
	NT_NET_CALL_CONNECT,
	NT_NET_CALL_LISTEN,
	NT_NET_CALL_ACCEPT,
};

/* i386's socketcall hides the call and its arguments behind a pointer. */
static __always_inline u32 nt_socketcall(struct nt_call *c)
{
	u32 args[3] = {}, which = c->a[0];

	if (which == 18) /* accept4 */
		which = NT_NET_CALL_ACCEPT;
	if (!which || which > NT_NET_CALL_ACCEPT)
		return NT_NET_CALL_NONE;
	/* listen has two: a third might lie behind the end of the caller's memory */
	if (which == NT_NET_CALL_LISTEN)
		bpf_probe_read_user(args, 8, (const void *)c->a[1]);
	else
		bpf_probe_read_user(args, sizeof(args), (const void *)c->a[1]);
	c->a[0] = args[0];
	c->a[1] = args[1];
	c->a[2] = args[2];
	return which;
}

static __always_inline u32 nt_net_call(struct nt_call *c)
{
	if (c->compat) {
		switch (c->nr) {
		case 102: return nt_socketcall(c);
		case 359: return NT_NET_CALL_SOCKET;
		case 361: return NT_NET_CALL_BIND;
		case 362: return NT_NET_CALL_CONNECT;
		case 363: return NT_NET_CALL_LISTEN;
		case 364: return NT_NET_CALL_ACCEPT;
		default: return NT_NET_CALL_NONE;
		}
	}
	switch (c->nr & ~NT_X32_BIT) {
	case 41: return NT_NET_CALL_SOCKET;
	case 42: return NT_NET_CALL_CONNECT;
	case 43:
	case 288: return NT_NET_CALL_ACCEPT;
	case 49: return NT_NET_CALL_BIND;
	case 50: return NT_NET_CALL_LISTEN;
	default: return NT_NET_CALL_NONE;
	}
}

int nt_network__enter(struct nt_call *c)
{
	if (c && nt_net_call(c) == NT_NET_CALL_CONNECT)
		connect__enter(c);
	return 0;
}

int nt_network__exit(struct nt_call *c)
{
	if (!c)
		return 0;
	switch (nt_net_call(c)) {
	case NT_NET_CALL_SOCKET: return nt_socket__exit(c);
	case NT_NET_CALL_BIND: return nt_bind__exit(c);
	case NT_NET_CALL_CONNECT: return connect__exit(c);
	case NT_NET_CALL_LISTEN: return nt_listen__exit(c);
	case NT_NET_CALL_ACCEPT: return accept__exit(c);
	}
	return 0;
}
