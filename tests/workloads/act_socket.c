// SPDX-License-Identifier: Apache-2.0
//
// Sockets made, bound, listened on; connects within the host. Loopback only.
//
// WAY is how the call is made: native, i386 (its own numbers), socketcall
// (i386's one call for all). Addresses end where the readable memory ends: who
// reads a byte more fails.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

static struct truth truth;

/* Below 4 GiB, the last byte before a page that can't be read. */
static void *edge(const void *from, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (p == MAP_FAILED || mprotect(p + page, page, PROT_NONE))
		die("mmap below 4 GiB");
	return memcpy(p + page - size, from, size);
}

enum { SOCKET = 1, BIND, CONNECT, LISTEN }; /* socketcall's numbers */

static int64_t call_by(const char *way, int which, uint64_t a, uint64_t b, uint64_t c)
{
	static const long native[] = {0, SYS_socket, SYS_bind, SYS_connect, SYS_listen};
	static const long i386[] = {0, 359, 361, 362, 363};
	uint32_t args[3] = {(uint32_t)a, (uint32_t)b, (uint32_t)c};

	if (!strcmp(way, "native"))
		return CALL(native[which], a, b, c);
	if (!strcmp(way, "i386"))
		return call_compat(i386[which], args[0], args[1], args[2], 0, 0);
	if (strcmp(way, "socketcall"))
		die(way);
	return call_compat(102, (uint32_t)which,
			   (uint32_t)(uintptr_t)edge(args, which == LISTEN ? 8 : 12), 0, 0, 0);
}

static int number(const char *word)
{
	static const struct {
		const char *word;
		int number;
	} known[] = {{"4", AF_INET}, {"6", AF_INET6}, {"unix", AF_UNIX}, {"packet", AF_PACKET}, {"netlink", AF_NETLINK},
		     {"stream", SOCK_STREAM}, {"dgram", SOCK_DGRAM}, {"raw", SOCK_RAW}, {"seqpacket", SOCK_SEQPACKET}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(known[i].word, word))
			return known[i].number;
	return (int)strtol(word, NULL, 0);
}

static int make(const char *family, const char *type, int protocol)
{
	int fd = socket(number(family), number(type) | SOCK_CLOEXEC, protocol);

	if (fd < 0)
		die("socket");
	return fd;
}

static void say_option(int fd, const char *key, int option)
{
	socklen_t len = sizeof(int);
	int value = -1;

	if (!getsockopt(fd, SOL_SOCKET, option, &value, &len))
		truth_int(&truth, key, value);
}

/* Asking makes it: before the act, so that the kernel has one to tell. */
static void say_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	if (!getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len))
		truth_uint(&truth, "cookie", cookie);
}

/* What the kernel says of the socket after the act. */
static void say_socket(int fd)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNSPEC};
	socklen_t len = sizeof(ss);
	struct stat st;

	say_option(fd, "family", SO_DOMAIN);
	say_option(fd, "sock_type", SO_TYPE);
	say_option(fd, "protocol", SO_PROTOCOL);
	truth_int(&truth, "nonblocking", (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
	if (!fstat(fd, &st) && S_ISSOCK(st.st_mode))
		truth_uint(&truth, "inode", st.st_ino);
	if (getsockname(fd, (struct sockaddr *)&ss, &len))
		return;
	truth_sockaddr(&truth, "local", (struct sockaddr *)&ss);
	if (ss.ss_family == AF_UNIX && len > sizeof(sa_family_t))
		truth_bytes(&truth, "name", ((struct sockaddr_un *)&ss)->sun_path, len - sizeof(sa_family_t));
	if (ss.ss_family == AF_PACKET)
		truth_int(&truth, "ifindex", ((struct sockaddr_ll *)&ss)->sll_ifindex);
}

static int64_t act_on(const char *way, const char *act, const char *role, int which, int fd, uint64_t b, uint64_t c)
{
	uint64_t before, after;
	int64_t ret;

	truth_begin(&truth, act, role);
	truth_task(&truth);
	say_cookie(fd);
	before = boot_ns();
	ret = call_by(way, which, (uint64_t)fd, b, c);
	after = boot_ns();
	truth_ret(&truth, ret);
	truth_uint(&truth, "before_ns", before);
	truth_uint(&truth, "after_ns", after);
	return ret;
}

/* sock_bind WAY 4|6 TYPE PROTOCOL HOST PORT */
static int act_bind(int argc, char **argv)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	int fd;

	if (argc != 7)
		die("sock_bind WAY 4|6 TYPE PROTOCOL HOST PORT");
	fd = make(argv[2], argv[3], number(argv[4]));
	in.sin_port = in6.sin6_port = htons((uint16_t)atoi(argv[6]));
	if (number(argv[2]) == AF_INET) {
		if (inet_pton(AF_INET, argv[5], &in.sin_addr) != 1)
			die(argv[5]);
		act_on(argv[1], "sock_bind", "bind", BIND, fd, (uintptr_t)edge(&in, sizeof(in)), sizeof(in));
		truth_sockaddr(&truth, "asked", (struct sockaddr *)&in);
	} else {
		if (inet_pton(AF_INET6, argv[5], &in6.sin6_addr) != 1)
			die(argv[5]);
		act_on(argv[1], "sock_bind", "bind", BIND, fd, (uintptr_t)edge(&in6, sizeof(in6)), sizeof(in6));
		truth_sockaddr(&truth, "asked", (struct sockaddr *)&in6);
	}
	say_socket(fd);
	truth_end(&truth);
	return 0;
}

/* sock_listen WAY 4|6 BACKLOG: nothing bound before, the kernel takes a port.
 * Then once more, with another backlog, as servers do to change it. */
static int act_listen(int argc, char **argv)
{
	int fd;

	if (argc != 4)
		die("sock_listen WAY 4|6 BACKLOG");
	fd = make(argv[2], "stream", 0);
	for (int i = 0; i < 2; i++) {
		fcntl(fd, F_SETFL, i ? O_NONBLOCK : 0);
		act_on(argv[1], "sock_listen", i ? "again" : "listen", LISTEN, fd, (uint64_t)(atoi(argv[3]) + i), 0);
		say_socket(fd);
		truth_end(&truth);
	}
	return 0;
}

/* sock_listen_new WAY 4|6: asked for its cookie by nobody before. */
static int act_listen_new(int argc, char **argv)
{
	uint64_t before;
	int64_t ret;
	int fd;

	if (argc != 3)
		die("sock_listen_new WAY 4|6");
	fd = make(argv[2], "stream", 0);
	truth_begin(&truth, "sock_listen_new", "listen");
	truth_task(&truth);
	before = boot_ns();
	ret = call_by(argv[1], LISTEN, (uint64_t)fd, 5, 0);
	truth_uint(&truth, "before_ns", before);
	truth_time(&truth, "after_ns");
	truth_ret(&truth, ret);
	say_cookie(fd);
	say_socket(fd);
	truth_end(&truth);
	return 0;
}

/*
 * A unix name as a word:
 *   auto        none: the kernel makes one up
 *   @NAME       abstract, '%' for a NUL
 *   whole:PATH  in all 110 bytes of a sockaddr_un, zeros after it
 *   PATH        without a NUL at its end
 */
static void *unix_name(const char *word, socklen_t *len)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int whole = !strncmp(word, "whole:", 6);
	size_t size;

	if (!strcmp(word, "auto"))
		word = "";
	if (whole)
		word += 6;
	size = strlen(word);
	if (size > sizeof(un.sun_path))
		die(word);
	memcpy(un.sun_path, word, size);
	if (word[0] == '@') {
		for (size_t i = 0; i < size; i++)
			if (un.sun_path[i] == '%')
				un.sun_path[i] = 0;
		un.sun_path[0] = 0;
	}
	*len = (socklen_t)(whole ? sizeof(un) : sizeof(un.sun_family) + size);
	return edge(&un, *len);
}

/* sock_bind_unix WAY TYPE NAME: and listens, where its type can. */
static int act_bind_unix(int argc, char **argv)
{
	socklen_t len;
	void *name;
	int fd;

	if (argc != 4)
		die("sock_bind_unix WAY TYPE NAME");
	fd = make("unix", argv[2], 0);
	name = unix_name(argv[3], &len);
	act_on(argv[1], "sock_bind_unix", "bind", BIND, fd, (uintptr_t)name, len);
	say_socket(fd);
	truth_end(&truth);
	act_on(argv[1], "sock_bind_unix", "listen", LISTEN, fd, 3, 0);
	say_socket(fd);
	truth_end(&truth);
	return 0;
}

/* A process that listens there as user and group `id`; it stays, or leaves the
 * socket behind in ours. */
static pid_t listener(int fd, int id, int stays)
{
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (child)
		return child;
	if (CALL(SYS_setresgid, id + 1, id + 1, id + 1) || CALL(SYS_setresuid, id, id, id))
		die("setresuid");
	if (listen(fd, 8) && errno != EOPNOTSUPP)
		die("listen");
	if (stays) {
		kill(getpid(), SIGSTOP);
		pause();
	}
	_exit(0);
}

/*
 * sock_connect_unix WAY TYPE NAME AS MODE: NAME is bound, AS is the name to connect to.
 *   MODE   ok       another process listens there, as user 1234, group 1235
 *          gone     it ended meanwhile
 *          refused  bound, nobody listens
 *          missing  not even bound
 */
static int act_connect_unix(int argc, char **argv)
{
	int missing, refused, gone, dgram, server, fd, status;
	socklen_t len, bound_len;
	pid_t child = 0;
	void *name;

	if (argc != 6)
		die("sock_connect_unix WAY TYPE NAME AS MODE");
	missing = !strcmp(argv[5], "missing");
	refused = !strcmp(argv[5], "refused");
	gone = !strcmp(argv[5], "gone");
	dgram = !strcmp(argv[2], "dgram");
	server = make("unix", argv[2], 0);
	if (!missing) {
		name = unix_name(argv[3], &bound_len);
		if (bind(server, name, bound_len))
			die("bind");
	}
	if (!missing && !refused && !dgram) {
		child = listener(server, 1234, !gone);
		if (waitpid(child, &status, WUNTRACED) != child || (gone ? !WIFEXITED(status) : !WIFSTOPPED(status)))
			die("listener");
	}
	fd = make("unix", argv[2], 0);
	name = unix_name(argv[4], &len);
	act_on(argv[1], "sock_connect_unix", "connect", CONNECT, fd, (uintptr_t)name, len);
	say_socket(fd);
	if (child) {
		struct ucred peer = {0};
		socklen_t size = sizeof(peer);

		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
			die("SO_PEERCRED");
		truth_int(&truth, "peer_pid", child);
		truth_uint(&truth, "peer_uid", peer.uid);
		truth_uint(&truth, "peer_gid", peer.gid);
	}
	truth_end(&truth);
	if (child && !gone) {
		truth_begin(&truth, "sock_connect_unix", "listener");
		truth_int(&truth, "pid", child);
		truth_end(&truth);
		kill(child, SIGKILL);
		waitpid(child, &status, 0);
	}
	return 0;
}

/* sock_socket WAY FAMILY TYPE PROTOCOL */
static int act_socket(int argc, char **argv)
{
	uint64_t before, after;
	int64_t fd;

	if (argc != 5)
		die("sock_socket WAY FAMILY TYPE PROTOCOL");
	truth_begin(&truth, "sock_socket", "socket");
	truth_task(&truth);
	before = boot_ns();
	fd = call_by(argv[1], SOCKET, (uint64_t)number(argv[2]), (uint64_t)(number(argv[3]) | SOCK_NONBLOCK | SOCK_CLOEXEC),
		     (uint64_t)number(argv[4]));
	after = boot_ns();
	truth_ret(&truth, fd < 0 ? fd : 0);
	truth_uint(&truth, "before_ns", before);
	truth_uint(&truth, "after_ns", after);
	if (fd >= 0)
		say_socket((int)fd);
	truth_end(&truth);
	return 0;
}

/* sock_bind_packet WAY: to the loopback interface, IP only. */
static int act_bind_packet(int argc, char **argv)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(0x0800)};
	int fd;

	if (argc != 2)
		die("sock_bind_packet WAY");
	fd = make("packet", "dgram", 0);
	ll.sll_ifindex = (int)if_nametoindex("lo");
	act_on(argv[1], "sock_bind_packet", "bind", BIND, fd, (uintptr_t)edge(&ll, sizeof(ll)), sizeof(ll));
	say_socket(fd);
	truth_end(&truth);
	return 0;
}

/* sock_bad bind|listen file|closed|fault: no socket, no descriptor, no address. */
static int act_bad(int argc, char **argv)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(80)};
	uint64_t address = (uintptr_t)edge(&in, sizeof(in));
	int fd = 999, bind_it;

	if (argc != 3)
		die("sock_bad bind|listen file|closed|fault");
	bind_it = !strcmp(argv[1], "bind");
	if (!strcmp(argv[2], "file"))
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (!strcmp(argv[2], "fault")) {
		fd = make("4", "stream", 0);
		address += sizeof(in); /* the page that can't be read */
	}
	act_on("native", "sock_bad", argv[1], bind_it ? BIND : LISTEN, fd, bind_it ? address : 1, sizeof(in));
	truth_end(&truth);
	return 0;
}

/* sock_quiet: what is none of these: a pair, a netlink socket that is bound, a
 * TCP and a UDP socket, a datagram socket's connect taken back. */
static int act_quiet(int argc, char **argv)
{
	struct sockaddr_nl nl = {.nl_family = AF_NETLINK};
	struct sockaddr_un none = {.sun_family = AF_UNSPEC};
	int pair[2], fd;

	(void)argc;
	(void)argv;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0 || bind(fd, (struct sockaddr *)&nl, sizeof(nl)))
		die("netlink");
	make("4", "stream", 0);
	make("6", "dgram", 0);
	fd = make("unix", "dgram", 0);
	CALL(SYS_connect, fd, &none, sizeof(sa_family_t));
	truth_begin(&truth, "sock_quiet", "main");
	truth_end(&truth);
	return 0;
}

const struct act socket_acts[] = {
	{"sock_bind", act_bind},
	{"sock_listen", act_listen},
	{"sock_listen_new", act_listen_new},
	{"sock_bind_unix", act_bind_unix},
	{"sock_connect_unix", act_connect_unix},
	{"sock_socket", act_socket},
	{"sock_bind_packet", act_bind_packet},
	{"sock_bad", act_bad},
	{"sock_quiet", act_quiet},
	{NULL, NULL},
};
