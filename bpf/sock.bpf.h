/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Sockets as both network chapters see them. */
#ifndef NODETRAIL_BPF_SOCK_H_
#define NODETRAIL_BPF_SOCK_H_

#include "path.bpf.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define AF_PACKET 17
#define SOCK_STREAM 1
#define SOCK_RAW 3
#define SOCK_PACKET 10
#define SOCK_TYPE_MASK 0xf
#define IPPROTO_TCP 6
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define O_NONBLOCK 04000

static __always_inline u32 nt_netns_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

/* struct sock behind a struct file, 0 if it is anything else or there is none. */
static __noinline u64 nt_sock_of_file(u64 file)
{
	struct file *f = (struct file *)file;
	struct socket *socket;
	u16 mode;

	if (!f)
		return 0;
	mode = BPF_CORE_READ(f, f_inode, i_mode);
	if ((mode & S_IFMT) != S_IFSOCK)
		return 0;
	socket = (struct socket *)nt_read_ptr(&f->private_data);
	return (u64)BPF_CORE_READ(socket, sk);
}

#endif /* NODETRAIL_BPF_SOCK_H_ */
