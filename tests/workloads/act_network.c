// SPDX-License-Identifier: Apache-2.0
//
// TCP connections begun, accepted, ended; loopback only.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

static struct truth truth;

struct end {
	struct sockaddr_storage addr;
	socklen_t len;
};

/* FAMILY is 4, 6 or mapped: an IPv4 peer through an IPv6 socket. */
static void make_addr(struct end *e, const char *family, const char *host, uint16_t port)
{
	memset(e, 0, sizeof(*e));
	if (!strcmp(family, "4")) {
		struct sockaddr_in *in = (void *)&e->addr;

		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		if (inet_pton(AF_INET, host ? host : "127.0.0.1", &in->sin_addr) != 1)
			die(host);
		e->len = sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (void *)&e->addr;
		const char *loopback = !strcmp(family, "6") ? "::1" : "::ffff:127.0.0.1";

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		if (inet_pton(AF_INET6, host ? host : loopback, &in6->sin6_addr) != 1)
			die(host);
		e->len = sizeof(*in6);
	}
}

static int tcp_socket(const char *family, int flags)
{
	int fd = socket(strcmp(family, "4") ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd < 0)
		die("socket");
	return fd;
}

/* Bound to a port of the kernel's choice; `backlog` < 0: not listening, so
 * that connecting to it is refused while the port stays ours. */
static int bound(const char *family, int backlog, struct end *e)
{
	int fd = tcp_socket(family, 0);

	make_addr(e, family, NULL, 0);
	if (bind(fd, (struct sockaddr *)&e->addr, e->len) || (backlog >= 0 && listen(fd, backlog)) ||
	    getsockname(fd, (struct sockaddr *)&e->addr, &e->len))
		die("bind");
	return fd;
}

static void do_connect(const char *act, int fd, const struct end *to, int nonblock)
{
	uint64_t before, after;
	int64_t ret;

	truth_begin(&truth, act, "client");
	truth_task(&truth);
	before = boot_ns();
	ret = CALL(SYS_connect, fd, &to->addr, to->len);
	after = boot_ns();
	truth_ret(&truth, ret);
	truth_int(&truth, "nonblocking", nonblock);
	if (ret == -EINPROGRESS) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		socklen_t len = sizeof(int);
		int err = -1;

		if (poll(&p, 1, 5000) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
			die("poll");
		after = boot_ns();
		truth_int(&truth, "outcome", err);
	} else {
		truth_int(&truth, "outcome", -ret);
	}
	truth_uint(&truth, "before_ns", before);
	truth_uint(&truth, "after_ns", after);
	truth_sockaddr(&truth, "asked", (const struct sockaddr *)&to->addr);
	truth_socket(&truth, fd);
	truth_end(&truth);
}

/* connect FAMILY ok|refused [nonblock] */
static int act_connect(int argc, char **argv)
{
	int nonblock = argc > 3 && !strcmp(argv[3], "nonblock");
	struct end to;

	if (argc < 3)
		die("connect FAMILY ok|refused [nonblock]");
	bound(argv[1], strcmp(argv[2], "ok") ? -1 : 8, &to);
	do_connect("connect", tcp_socket(argv[1], nonblock ? SOCK_NONBLOCK : 0), &to, nonblock);
	return 0;
}

/* connect_to FAMILY HOST PORT: where nothing leads. */
static int act_connect_to(int argc, char **argv)
{
	struct end to;

	if (argc != 4)
		die("connect_to FAMILY HOST PORT");
	make_addr(&to, argv[1], argv[2], (uint16_t)atoi(argv[3]));
	do_connect("connect_to", tcp_socket(argv[1], 0), &to, 0);
	return 0;
}

/* connect_again FAMILY: a second connect(2) on a socket whose attempt is over:
 * it only asks. */
static int act_connect_again(int argc, char **argv)
{
	struct end to;
	int fd;

	if (argc != 2)
		die("connect_again FAMILY");
	bound(argv[1], 8, &to);
	fd = tcp_socket(argv[1], SOCK_NONBLOCK);
	do_connect("connect_again", fd, &to, 1);
	CALL(SYS_connect, fd, &to.addr, to.len);
	CALL(SYS_connect, fd, &to.addr, to.len);
	return 0;
}

/* connect_no_port: the one local port it may use is taken for that peer:
 * EADDRNOTAVAIL, after the state machine moved already. */
static int act_connect_no_port(int argc, char **argv)
{
	uint32_t range;
	struct end to, probe;
	int first, second, reserve;
	uint16_t port;

	(void)argc;
	(void)argv;
	bound("4", 8, &to);
	reserve = bound("4", -1, &probe);
	port = ntohs(((struct sockaddr_in *)&probe.addr)->sin_port);
	close(reserve);
	range = port | (uint32_t)port << 16;
	first = tcp_socket("4", 0);
	second = tcp_socket("4", 0);
	if (setsockopt(first, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range)) ||
	    setsockopt(second, IPPROTO_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range))) {
		truth_begin(&truth, "connect_no_port", "unsupported");
		truth_end(&truth);
		return 0;
	}
	if (CALL(SYS_connect, first, &to.addr, to.len))
		die("first connect");
	do_connect("connect_no_port", second, &to, 0);
	return 0;
}

/* connect_other unix|datagram: neither is TCP. */
static int act_connect_other(int argc, char **argv)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	struct end to;
	int64_t ret;
	int fd;

	if (argc != 2)
		die("connect_other unix|datagram");
	if (!strcmp(argv[1], "unix")) {
		int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		socklen_t len = sizeof(sa_family_t);

		/* autobind: an abstract name of the kernel's choice */
		if (bind(listener, (struct sockaddr *)&un, len) || listen(listener, 1))
			die("bind unix");
		len = sizeof(un);
		if (getsockname(listener, (struct sockaddr *)&un, &len))
			die("getsockname");
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ret = CALL(SYS_connect, fd, &un, len);
	} else {
		make_addr(&to, "4", NULL, 9);
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		ret = CALL(SYS_connect, fd, &to.addr, to.len);
	}
	truth_begin(&truth, "connect_other", "client");
	truth_ret(&truth, ret);
	truth_end(&truth);
	return 0;
}

static void send_bytes(int fd, size_t n)
{
	static char buf[4096];

	while (n) {
		ssize_t done = write(fd, buf, n < sizeof(buf) ? n : sizeof(buf));

		if (done < 0)
			die("send");
		n -= (size_t)done;
	}
}

static void receive_bytes(int fd, size_t n)
{
	static char buf[4096];

	while (n) {
		ssize_t done = read(fd, buf, n < sizeof(buf) ? n : sizeof(buf));

		if (done <= 0)
			die("receive");
		n -= (size_t)done;
	}
}

/* Until the peer has closed; 1 if it did so by reset. */
static int await_end(int fd)
{
	char byte;
	ssize_t n;

	do {
		n = read(fd, &byte, 1);
	} while (n > 0);
	return n < 0;
}

static void say_end(const char *role, int fd, size_t sent, size_t received, uint64_t before)
{
	truth_begin(&truth, "tcp", role);
	truth_task(&truth);
	truth_uint(&truth, "before_ns", before);
	truth_time(&truth, "after_ns");
	truth_uint(&truth, "bytes_sent", sent);
	truth_uint(&truth, "bytes_received", received);
	truth_socket(&truth, fd);
	truth_end(&truth);
}

static void hang_up(int fd, const char *how, int server)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	if (!strcmp(how, "rst"))
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	if (!strcmp(how, "exit"))
		_exit(0); /* the kernel closes */
	if (server && !strcmp(how, "rst"))
		_exit(0);
	close(fd);
}

/*
 * tcp FAMILY ACCEPT ENDER HOW UP DOWN: a child connects; UP bytes go from it to
 * us, DOWN bytes back; then ENDER (client|server) ends it HOW (close, exit,
 * rst), the other sees that and closes. The server that ends it by exit or rst
 * leaves the client an orphan. ACCEPT is accept, accept4 or
 * accept4_nonblock.
 */
static int act_tcp(int argc, char **argv)
{
	struct end to;
	size_t up, down;
	int listener, fd, client_ends, status;
	uint64_t before;
	pid_t parent = getpid(), child;

	if (argc != 7)
		die("tcp FAMILY ACCEPT ENDER HOW UP DOWN");
	client_ends = !strcmp(argv[3], "client");
	up = strtoul(argv[5], NULL, 10);
	down = strtoul(argv[6], NULL, 10);
	listener = bound(argv[1], 8, &to);
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		close(listener);
		before = boot_ns();
		fd = tcp_socket(argv[1], 0);
		if (CALL(SYS_connect, fd, &to.addr, to.len))
			die("connect");
		/* Now: after the bytes have gone a reset may have taken the peer's name. */
		say_end("client", fd, up, down, before);
		send_bytes(fd, up);
		receive_bytes(fd, down);
		if (!client_ends) {
			await_end(fd);
			if (strcmp(argv[4], "close")) {
				while (getppid() == parent)
					sched_yield();
				truth_begin(&truth, "tcp", "orphan");
				truth_task(&truth);
				truth_end(&truth);
			}
			close(fd);
		} else {
			hang_up(fd, argv[4], 0);
		}
		_exit(0);
	}
	before = boot_ns();
	if (!strcmp(argv[2], "accept"))
		fd = (int)CALL(SYS_accept, listener, NULL, NULL);
	else
		fd = (int)CALL(SYS_accept4, listener, NULL, NULL,
			       strcmp(argv[2], "accept4") ? SOCK_NONBLOCK | SOCK_CLOEXEC : SOCK_CLOEXEC);
	if (fd < 0)
		die("accept");
	truth_begin(&truth, "tcp", "accepted");
	truth_task(&truth);
	truth_uint(&truth, "before_ns", before);
	truth_time(&truth, "after_ns");
	truth_int(&truth, "nonblocking", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	truth_socket(&truth, fd);
	truth_end(&truth);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	say_end("server", fd, down, up, before);
	receive_bytes(fd, up);
	send_bytes(fd, down);
	if (client_ends) {
		await_end(fd);
		close(fd);
	} else {
		hang_up(fd, argv[4], 1);
	}
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

/* self_tcp FAMILY: one process at both ends; bounded to one byte. */
static int act_self_tcp(int argc, char **argv)
{
	struct end to;
	int listener, client, server;

	if (argc != 2)
		die("self_tcp FAMILY");
	listener = bound(argv[1], 8, &to);
	client = tcp_socket(argv[1], 0);
	if (CALL(SYS_connect, client, &to.addr, to.len))
		die("connect");
	server = (int)CALL(SYS_accept, listener, NULL, NULL);
	if (server < 0)
		die("accept");
	send_bytes(client, 1);
	receive_bytes(server, 1);
	close(client);
	await_end(server);
	close(server);
	truth_begin(&truth, "self_tcp", "main");
	truth_end(&truth);
	return 0;
}

const struct act network_acts[] = {
	{"connect", act_connect},
	{"connect_to", act_connect_to},
	{"connect_again", act_connect_again},
	{"connect_no_port", act_connect_no_port},
	{"connect_other", act_connect_other},
	{"tcp", act_tcp},
	{"self_tcp", act_self_tcp},
	{NULL, NULL},
};
