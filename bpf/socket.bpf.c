// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Sockets made, bound and listened on, and connects within the host (AF_UNIX).
 *
 * What is told is the kernel's own: the port it chose, the abstract name it made
 * up, the place of the socket that answered and who listened there. A call that
 * failed has left no such object: then it is the caller's address, and the record
 * says so (NT_SK_USER_ADDR).
 */
#include "call.bpf.h"
#include "sock.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define AF_UNSPEC 0
#define AT_FDCWD (-100)
#define NT_PIDTYPE_TGID 1
#define NT_SUN_HEAD 2 /* sa_family before sun_path */
#define NT_SOCKADDR_HEAD 28 /* sockaddr_in6: the largest taken apart here */

/* What doesn't depend on the call. Returns the struct sock, 0: no socket. */
static __noinline u64 nt_fill_socket(struct nt_socket *n, s32 fd)
{
	struct file *f = (struct file *)nt_file_of_fd(fd);
	struct sock *sk = (struct sock *)nt_sock_of_file((u64)f);

	if (!n || !sk)
		return 0;
	n->inode = BPF_CORE_READ(f, f_inode, i_ino);
	if (BPF_CORE_READ(f, f_flags) & O_NONBLOCK)
		n->flags |= NT_SK_NONBLOCKING;
	n->cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
	n->netns = nt_netns_of(sk);
	n->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	n->sock_type = BPF_CORE_READ(sk, sk_type);
	n->protocol = BPF_CORE_READ(sk, sk_protocol);
	return (u64)sk;
}

/* The end the kernel bound, of the internet families and of packet sockets. */
static __noinline int nt_fill_local(struct nt_socket *n, u64 sk_addr)
{
	struct sock *sk = (struct sock *)sk_addr;
	__be16 port = 0;

	if (!n)
		return 0;
	if (n->family == AF_INET) {
		bpf_probe_read_kernel(n->local_addr, 4, &sk->__sk_common.skc_rcv_saddr);
	} else if (n->family == AF_INET6) {
		bpf_probe_read_kernel(n->local_addr, 16, &sk->__sk_common.skc_v6_rcv_saddr);
	} else {
		/* no such type where packet sockets are a module: then the caller's */
		if (n->family == AF_PACKET && bpf_core_type_exists(struct packet_sock)) {
			bpf_probe_read_kernel(&n->ifindex, sizeof(n->ifindex), &((struct packet_sock *)sk)->ifindex);
			bpf_probe_read_kernel(&port, sizeof(port), &((struct packet_sock *)sk)->num);
			n->protocol = __builtin_bswap16(port);
		}
		return 0;
	}
	n->addr_family = n->family;
	if (n->sock_type == SOCK_RAW)
		return 0; /* its "port" is its protocol */
	bpf_probe_read_kernel(&port, sizeof(port), &((struct inet_sock *)sk)->inet_sport);
	n->local_port = __builtin_bswap16(port);
	return 0;
}

/*
 * `len` bytes of sun_path as a tail: an abstract name whole, a path up to its
 * NUL, which needn't be there. `user`: from the caller's memory. No byte more
 * than `len` is read: what follows may not be readable.
 */
static __noinline int nt_tail_sun_path(struct nt_scratch *s, u64 from, u32 len, u32 user)
{
	char path[NT_SUN_PATH_MAX + 4];
	long err, n;
	u32 o;

	if (!s || !len)
		return 0;
	nt_at_most(len, NT_SUN_PATH_MAX);
	nt_tail_begin(s);
	o = s->len;
	if (o > NT_RECORD_MAX) {
		nt_tail_drop(s);
		s->flags |= NT_F_TRUNCATED;
		return 0;
	}
	err = user ? bpf_probe_read_user(&s->rec[o], len, (const void *)from) :
		     bpf_probe_read_kernel(&s->rec[o], len, (const void *)from);
	if (err) {
		nt_tail_drop(s);
		return -14; /* EFAULT */
	}
	if (!s->rec[o]) {
		s->len = o + len;
		nt_tail_end(s, NT_TAIL_SOCKET_NAME);
		return 0;
	}
	s->rec[o + len] = 0;
	n = bpf_probe_read_kernel_str(path, NT_SUN_PATH_MAX + 1, &s->rec[o]);
	if (n < 2) {
		nt_tail_drop(s);
		return 0;
	}
	s->len = o + (n - 1);
	nt_tail_end(s, NT_TAIL_USER_PATH);
	return 0;
}

/* Where a unix socket is bound: its place in the file system, and its name as
 * bind was given it; of an abstract one just that. None of an unnamed one. */
static __noinline int nt_tail_unix_end(struct nt_scratch *s, u64 sk, u32 with_name)
{
	struct unix_sock *u = (struct unix_sock *)sk;
	struct unix_address *addr;
	u64 dentry, mnt;
	u32 len = 0;

	if (!s || !sk || !bpf_core_type_exists(struct unix_sock))
		return 0;
	addr = (struct unix_address *)nt_read_ptr(&u->addr);
	dentry = nt_read_ptr(&u->path.dentry);
	mnt = nt_read_ptr(&u->path.mnt);
	if (addr && (with_name || !dentry)) {
		bpf_probe_read_kernel(&len, sizeof(len), &addr->len);
		if (len > NT_SUN_HEAD)
			nt_tail_sun_path(s, (u64)&addr->name[0].sun_path, len - NT_SUN_HEAD, 0);
	}
	if (!dentry)
		return 0;
	s->w_dentry = dentry;
	s->w_mnt = mnt;
	if (nt_tail_path(s->index, NT_TAIL_PATH) == NT_WALK_OUTSIDE)
		((struct nt_socket *)nt_body_of(s))->flags |= NT_SK_DETACHED;
	return 0;
}

/* The sockaddr a failed call was given. */
static __noinline int nt_fill_asked(struct nt_scratch *s, u64 user, u32 len)
{
	u8 a[NT_SOCKADDR_HEAD + 4] = {};
	struct nt_socket *n;
	u32 head = len;
	u16 family;

	if (!s)
		return 0;
	n = nt_body_of(s);
	n->flags |= NT_SK_USER_ADDR;
	nt_at_most(head, NT_SOCKADDR_HEAD);
	if (bpf_probe_read_user(a, head, (const void *)user)) {
		n->flags |= NT_SK_UNREAD;
		return 0;
	}
	family = a[0] | a[1] << 8;
	if (!n->inode)
		n->family = family;
	if (family == AF_INET && head >= 8) {
		n->addr_family = family;
		__builtin_memcpy(n->local_addr, a + 4, 4);
	} else if (family == AF_INET6 && head >= 24) {
		n->addr_family = family;
		__builtin_memcpy(n->local_addr, a + 8, 16);
	} else if (family == AF_UNIX && len > NT_SUN_HEAD) {
		if (nt_tail_sun_path(s, user + NT_SUN_HEAD, len - NT_SUN_HEAD, 1))
			n->flags |= NT_SK_UNREAD;
		else if (a[2] && a[2] != '/')
			nt_tail_base(s, NT_TAIL_BASE, AT_FDCWD);
		return 0;
	} else if (family == AF_PACKET && head >= 8) {
		__builtin_memcpy(&n->ifindex, a + 4, 4);
		n->protocol = a[2] << 8 | a[3];
		return 0;
	} else {
		return 0;
	}
	n->local_port = a[2] << 8 | a[3];
	return 0;
}

/* A record about a descriptor's socket; of a call that has none its netns is
 * the caller's. NULL: counted as lost. */
static __noinline struct nt_scratch *nt_socket_begin(struct nt_call *c, u32 type, s32 fd)
{
	struct nt_scratch *s;
	struct nt_socket *n;

	if (!c)
		return NULL;
	s = nt_begin(type, sizeof(*n));
	if (!s)
		return NULL;
	s->flags |= nt_call_flags(c);
	n = nt_body_of(s);
	if (fd < 0 || !nt_fill_socket(n, fd))
		n->netns = nt_task_of(s)->net_ns;
	n->ret = nt_visible_ret(c->ret);
	return s;
}

/*
 * Hook    tracepoint/syscalls/sys_exit_bind, fallback tp_btf/sys_exit
 * Kernels 5.15 (bpf_task_pt_regs), 5.5
 * Why     only here the kernel has chosen: the port asked for as 0, the abstract
 *         name asked for by none, the place of a relative path
 * Misses  netlink: every look at a network interface binds one; a descriptor
 *         that a sibling closes before the call returns; io_uring. Ports taken
 *         without a bind (by connect, sendto) are in net.connect, or nowhere
 */
__noinline int nt_bind__exit(struct nt_call *c)
{
	struct nt_scratch *s;
	struct nt_socket *n;
	struct sock *sk;
	u16 family = 0;

	if (!c)
		return 0;
	sk = (struct sock *)nt_sock_of_file(nt_file_of_fd(c->a[0]));
	if (sk)
		family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if (family == AF_NETLINK || !nt_admit_act(NT_NET_BIND))
		return 0;
	s = nt_socket_begin(c, NT_NET_BIND, c->a[0]);
	if (!s)
		return 0;
	n = nt_body_of(s);
	if (n->ret < 0)
		nt_fill_asked(s, c->a[1], c->a[2]);
	else if (family == AF_UNIX)
		nt_tail_unix_end(s, (u64)sk, 1);
	else
		nt_fill_local(n, (u64)sk);
	if (n->ret >= 0 && family == AF_PACKET && !bpf_core_type_exists(struct packet_sock))
		nt_fill_asked(s, c->a[1], c->a[2]);
	nt_submit(s, NT_NET_BIND);
	return 0;
}

/*
 * Hook    tracepoint/syscalls/sys_exit_listen, fallback tp_btf/sys_exit
 * Kernels 5.15, 5.5
 * Why     an unbound socket gets its port here; from now on strangers come in
 * Misses  as bind; listening sockets from before the probes
 */
__noinline int nt_listen__exit(struct nt_call *c)
{
	struct nt_scratch *s;
	struct nt_socket *n;
	struct sock *sk;

	if (!c || !nt_admit_act(NT_NET_LISTEN))
		return 0;
	sk = (struct sock *)nt_sock_of_file(nt_file_of_fd(c->a[0]));
	s = nt_socket_begin(c, NT_NET_LISTEN, c->a[0]);
	if (!s)
		return 0;
	n = nt_body_of(s);
	n->backlog = c->a[1];
	if (sk && n->family == AF_UNIX)
		nt_tail_unix_end(s, (u64)sk, 1);
	else if (sk)
		nt_fill_local(n, (u64)sk);
	nt_submit(s, NT_NET_LISTEN);
	return 0;
}

/* Who listened, as SO_PEERCRED would say it; and whether that process lives. */
static __noinline int nt_fill_peer(struct nt_socket *n, u64 sk_addr)
{
	struct sock *sk = (struct sock *)sk_addr;
	const struct cred *cred = (const struct cred *)nt_read_ptr(&sk->sk_peer_cred);
	struct pid *pid = (struct pid *)nt_read_ptr(&sk->sk_peer_pid);
	u64 leader;

	if (!n || !pid || !cred)
		return 0;
	n->flags |= NT_SK_PEER;
	n->peer_pid = BPF_CORE_READ(pid, numbers[0].nr);
	n->peer_uid = BPF_CORE_READ(cred, euid.val);
	n->peer_gid = BPF_CORE_READ(cred, egid.val);
	leader = nt_read_ptr(&pid->tasks[NT_PIDTYPE_TGID].first);
	if (!leader)
		return 0; /* its number may be another's by now */
	leader -= bpf_core_field_offset(struct task_struct, pid_links[NT_PIDTYPE_TGID]);
	n->peer_start_boottime_ns = BPF_CORE_READ((struct task_struct *)leader, start_boottime);
	return 0;
}

/*
 * Hook    tracepoint/syscalls/sys_exit_connect, fallback tp_btf/sys_exit; the
 *         programs are network.bpf.c's
 * Kernels 5.15, 5.5
 * Why     the kernel has found the socket that answers and has put down who
 *         listened there: no name is resolved a second time
 * Misses  the peer's process of a datagram socket (the kernel keeps none);
 *         datagrams sent to an address without connect; the accepting side;
 *         taking back a connect (AF_UNSPEC); socketpair, which reaches nobody
 */
__noinline int nt_unix_connect__exit(struct nt_call *c)
{
	struct nt_scratch *s;
	struct nt_socket *n;
	struct sock *sk;
	u64 peer;

	if (!c || !bpf_core_type_exists(struct unix_sock))
		return 0;
	sk = (struct sock *)nt_sock_of_file(nt_file_of_fd(c->a[0]));
	if (!sk || BPF_CORE_READ(sk, __sk_common.skc_family) != AF_UNIX)
		return 0;
	peer = nt_read_ptr(&((struct unix_sock *)sk)->peer);
	if ((c->ret >= 0 && !peer) || !nt_admit_act(NT_NET_UNIX_CONNECT))
		return 0;
	s = nt_socket_begin(c, NT_NET_UNIX_CONNECT, c->a[0]);
	if (!s)
		return 0;
	n = nt_body_of(s);
	if (n->ret < 0) {
		nt_fill_asked(s, c->a[1], c->a[2]);
	} else {
		u32 len = c->a[2];

		nt_fill_peer(n, (u64)sk);
		nt_tail_unix_end(s, peer, 0);
		/* and the name that led there, unless it is the abstract one just told */
		if (nt_read_ptr(&((struct unix_sock *)peer)->path.dentry) && len > NT_SUN_HEAD &&
		    nt_tail_sun_path(s, c->a[1] + NT_SUN_HEAD, len - NT_SUN_HEAD, 1))
			n->flags |= NT_SK_UNREAD;
	}
	nt_submit(s, NT_NET_UNIX_CONNECT);
	return 0;
}

/*
 * Hook    tracepoint/syscalls/sys_exit_socket, fallback tp_btf/sys_exit
 * Kernels 5.15, 5.5
 * Why     whoever holds a raw or packet socket can forge and overhear; to make
 *         one is the act that needs the capability
 * Misses  other sockets (bind, listen and connect tell of them); one that came
 *         from elsewhere, by SCM_RIGHTS or inheritance; netlink, whose sockets
 *         are SOCK_RAW by custom; io_uring
 */
__noinline int nt_socket__exit(struct nt_call *c)
{
	struct nt_scratch *s;
	struct nt_socket *n;
	u32 family, kind, type;

	if (!c)
		return 0;
	family = c->a[0];
	kind = c->a[1] & SOCK_TYPE_MASK;
	if (family == AF_PACKET || (family == AF_INET && kind == SOCK_PACKET))
		type = NT_NET_PACKET_SOCKET;
	else if (kind == SOCK_RAW && (family == AF_INET || family == AF_INET6))
		type = NT_NET_RAW_SOCKET;
	else
		return 0;
	if (!nt_admit_act(type))
		return 0;
	s = nt_socket_begin(c, type, c->ret < 0 ? -1 : c->ret);
	if (!s)
		return 0;
	n = nt_body_of(s);
	if (n->ret >= 0)
		n->ret = 0;
	if (!n->inode) {
		n->family = family;
		n->sock_type = kind;
		n->protocol = c->a[2];
	}
	if (type == NT_NET_PACKET_SOCKET) /* the kernel's own member is another one */
		n->protocol = __builtin_bswap16((u16)c->a[2]);
	nt_submit(s, type);
	return 0;
}
