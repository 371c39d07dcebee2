// SPDX-License-Identifier: Apache-2.0
//
// Acts through io_uring. The ring is driven by its system calls alone, so that
// nothing else is done.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "truth.h"
#include "words.h"

#define ENTRIES 8

static struct truth truth;

/* How requests are carried out: MODE is words joined by '+'.
 *
 *   inline    by the submitting thread, as far as the kernel can
 *   async     by a worker
 *   sqpoll    submitted by the kernel's polling thread
 *   fixed     the descriptor is registered, and named by its number
 *   direct    what is opened or accepted is a registered file
 *   person    with credentials registered earlier, those of uid 65534
 *   quiet     no completion unless it fails
 */
enum {
	ASYNC = 1,
	SQPOLL = 2,
	FIXED = 4,
	DIRECT = 8,
	PERSON = 16,
	QUIET = 32,
};

struct ring {
	int fd, mode;
	uint32_t held; /* entries written and not submitted */
	struct io_uring_params p;
	char *sq, *cq;
	struct io_uring_sqe *sqes;
	uint16_t person;
};

static int mode_of(const char *text)
{
	static const char *const names[] = {"async", "sqpoll", "fixed", "direct", "person", "quiet"};
	int mode = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strstr(text, names[i]))
			mode |= 1 << i;
	return mode;
}

static uint32_t *at(char *base, uint32_t offset)
{
	return (uint32_t *)(void *)(base + offset);
}

static void *map(int fd, size_t size, int64_t offset)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, offset);

	if (p == MAP_FAILED)
		die("mmap of the ring");
	return p;
}

static int64_t ring_register(const struct ring *r, unsigned what, void *arg, unsigned n)
{
	return CALL(SYS_io_uring_register, r->fd, what, arg, n);
}

/* Credentials of nobody, kept by the ring; this thread has its own back. */
static void add_person(struct ring *r)
{
	int64_t id;

	if (CALL(SYS_setresgid, -1, 65534, -1) || CALL(SYS_setresuid, -1, 65534, -1))
		die("setresuid");
	id = ring_register(r, IORING_REGISTER_PERSONALITY, NULL, 0);
	if (CALL(SYS_setresuid, -1, 0, -1) || CALL(SYS_setresgid, -1, 0, -1) || id < 0)
		die("a personality");
	r->person = (uint16_t)id;
}

static void ring_open(struct ring *r, int mode)
{
	int files[ENTRIES];

	memset(r, 0, sizeof(*r));
	r->mode = mode;
	r->p.flags = mode & SQPOLL ? IORING_SETUP_SQPOLL : 0;
	r->p.sq_thread_idle = 10000;
	r->fd = (int)CALL(SYS_io_uring_setup, ENTRIES, &r->p);
	if (r->fd < 0) {
		errno = -r->fd;
		die("io_uring_setup");
	}
	r->sq = map(r->fd, r->p.sq_off.array + r->p.sq_entries * sizeof(uint32_t), IORING_OFF_SQ_RING);
	r->cq = map(r->fd, r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	r->sqes = map(r->fd, r->p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	for (int i = 0; i < ENTRIES; i++)
		files[i] = -1;
	if (mode & (FIXED | DIRECT) && ring_register(r, IORING_REGISTER_FILES, files, ENTRIES))
		die("register files");
	if (mode & PERSON)
		add_person(r);
}

/* Has the kernel the operation? */
static int offered(const struct ring *r, int op)
{
	static uint64_t buf[(sizeof(struct io_uring_probe) + 256 * sizeof(struct io_uring_probe_op)) / 8];
	struct io_uring_probe *probe = (void *)buf;

	memset(buf, 0, sizeof(buf)); /* or it is refused */
	if (ring_register(r, IORING_REGISTER_PROBE, probe, 256))
		die("IORING_REGISTER_PROBE");
	return op <= probe->last_op && (probe->ops[op].flags & IO_URING_OP_SUPPORTED);
}

static void submit(struct ring *r, const struct io_uring_sqe *entry)
{
	uint32_t *tail = at(r->sq, r->p.sq_off.tail), mask = *at(r->sq, r->p.sq_off.ring_mask);
	uint32_t i = (*tail + r->held) & mask, n = r->held + 1;

	r->sqes[i] = *entry;
	if (r->mode & ASYNC)
		r->sqes[i].flags |= IOSQE_ASYNC;
	r->sqes[i].personality = r->person;
	at(r->sq, r->p.sq_off.array)[i] = i;
	if (r->mode & QUIET) { /* goes with the next, whose completion then tells that this one is done */
		r->sqes[i].flags |= 1 << 6 | IOSQE_IO_LINK; /* IOSQE_CQE_SKIP_SUCCESS */
		r->held++;
		return;
	}
	r->held = 0;
	__atomic_store_n(tail, *tail + n, __ATOMIC_RELEASE);
	if (r->mode & SQPOLL) {
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (*(volatile uint32_t *)at(r->sq, r->p.sq_off.flags) & IORING_SQ_NEED_WAKEUP)
			CALL(SYS_io_uring_enter, r->fd, 0, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
	} else if (CALL(SYS_io_uring_enter, r->fd, n, 0, 0, NULL, 0) != n) {
		die("io_uring_enter");
	}
}

/* The result of the next completion, within 10 s. */
static int await(struct ring *r)
{
	uint32_t *head = at(r->cq, r->p.cq_off.head), *tail = at(r->cq, r->p.cq_off.tail);
	struct io_uring_cqe *cqes = (void *)(r->cq + r->p.cq_off.cqes);
	int res;

	for (int i = 0; __atomic_load_n(tail, __ATOMIC_ACQUIRE) == *head; i++) {
		const struct timespec wait = {.tv_nsec = 1000000};

		if (i > 10000)
			die("no completion within 10 s");
		/* lets task work run, too */
		if (!(r->mode & SQPOLL))
			CALL(SYS_io_uring_enter, r->fd, 0, 0, IORING_ENTER_GETEVENTS, NULL, 0);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL);
	}
	res = cqes[*head & *at(r->cq, r->p.cq_off.ring_mask)].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return res;
}

/* The thread that polls the ring, if there is one. It names itself when it runs
 * first: asked after a request. */
static void truth_poller(struct truth *t)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *e;
	char path[300], comm[32];

	if (!dir)
		die("/proc/self/task");
	while ((e = readdir(dir))) {
		ssize_t n;
		int fd;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		n = fd < 0 ? 0 : read(fd, comm, sizeof(comm) - 1);
		if (fd >= 0)
			close(fd);
		if (n <= 0 || strncmp(comm, "iou-sqp-", 8))
			continue;
		truth_bytes(t, "poller_comm", comm, (size_t)n - 1);
		truth_int(t, "poller_tid", atoi(e->d_name));
	}
	closedir(dir);
}

/* The index of a registered copy. */
static int32_t registered(const struct ring *r, int fd)
{
	struct io_uring_files_update update = {.offset = 3, .fds = (uint64_t)(uintptr_t)&fd};

	if (ring_register(r, IORING_REGISTER_FILES_UPDATE, &update, 1) != 1)
		die("IORING_REGISTER_FILES_UPDATE");
	return 3;
}

/* What a registered file is, by a descriptor made of it (6.8). */
static int installed(struct ring *r, uint32_t index)
{
	struct io_uring_sqe e = {.opcode = 54, .flags = IOSQE_FIXED_FILE, .fd = (int32_t)index};
	int mode = r->mode, fd;

	if (!offered(r, 54))
		return -1;
	r->mode = 0;
	submit(r, &e);
	fd = await(r);
	r->mode = mode;
	return fd;
}

static void fill(struct io_uring_sqe *e, struct words *w, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		const char *word = strchr(argv[i], '=');
		uint64_t v;

		if (!word)
			die("KEY=WORD");
		take_word(w, 0, word + 1);
		v = w->value[0];
		switch (argv[i][0]) {
		case 'f': e->fd = (int32_t)v; break;
		case 'a': e->addr = v; break;
		case 'l': e->len = (uint32_t)v; break;
		case 'o': e->off = v; break;
		case 'g': e->open_flags = (uint32_t)v; break;
		case 'x': *(uint64_t *)(void *)((char *)e + 48) = v; break; /* addr3 */
		case 'b': e->ioprio = (uint16_t)v; break;
		default: die(argv[i]);
		}
	}
}

/*
 * ring MODE OPERATION [KEY=WORD…]: one request. Keys are members of the entry:
 * fd, addr, len, off (addr2), g (the operation's flags), x (addr3), b (ioprio).
 */
static int act_ring(int argc, char **argv)
{
	struct words w = {.file = -1};
	struct io_uring_sqe e = {0};
	int res;
	uint64_t before, after;
	struct ring r;
	int made = -1;
	char cwd[8192];
	ssize_t n;

	if (argc < 3)
		die("ring MODE OPERATION [KEY=WORD...]");
	ring_open(&r, mode_of(argv[1]));
	e.opcode = (uint8_t)atoi(argv[2]);
	fill(&e, &w, argc - 3, argv + 3);
	if (r.mode & FIXED) {
		e.fd = registered(&r, w.file);
		e.flags |= IOSQE_FIXED_FILE;
	}
	if (r.mode & DIRECT)
		e.file_index = 5;
	truth_begin(&truth, "ring", "main");
	truth_task(&truth);
	n = readlink("/proc/self/cwd", cwd, sizeof(cwd));
	if (n >= 0)
		truth_bytes(&truth, "cwd", cwd, (size_t)n);
	truth_int(&truth, "offered", offered(&r, e.opcode));
	if (w.file >= 0)
		truth_file_fd(&truth, "file_before", w.file);
	before = boot_ns();
	submit(&r, &e);
	if (r.mode & QUIET) {
		struct io_uring_sqe nop = {.opcode = IORING_OP_NOP};

		r.mode &= ~(QUIET | ASYNC);
		submit(&r, &nop);
	}
	res = await(&r);
	after = boot_ns();
	truth_poller(&truth);
	truth_uint(&truth, "before_ns", before);
	truth_uint(&truth, "after_ns", after);
	truth_ret(&truth, res);
	truth_int(&truth, "fd", e.fd);
	truth_uint(&truth, "len", e.len);
	truth_uint(&truth, "off", e.off);
	truth_uint(&truth, "flags", e.open_flags);
	if (w.file >= 0)
		truth_file_fd(&truth, "file_after", w.file);
	if ((e.opcode == IORING_OP_OPENAT || e.opcode == IORING_OP_OPENAT2) && res >= 0)
		made = r.mode & DIRECT ? installed(&r, 4) : res;
	if (made >= 0)
		truth_file_fd(&truth, "made", made);
	truth_end(&truth);
	return 0;
}

/* ---- TCP on loopback ---- */

struct end {
	struct sockaddr_storage addr;
	socklen_t len;
};

static int loopback(const char *family, int listens, struct end *e)
{
	int v6 = !strcmp(family, "6"), fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in6 *in6 = (void *)&e->addr;
	struct sockaddr_in *in = (void *)&e->addr;

	memset(e, 0, sizeof(*e));
	if (v6) {
		in6->sin6_family = AF_INET6;
		in6->sin6_addr = in6addr_loopback;
	} else {
		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	e->len = v6 ? sizeof(*in6) : sizeof(*in);
	if (fd < 0 || bind(fd, (struct sockaddr *)&e->addr, e->len) || (listens && listen(fd, 8)) ||
	    getsockname(fd, (struct sockaddr *)&e->addr, &e->len))
		die("bind");
	return fd;
}

static void say_connect(struct ring *r, int fd, const struct end *to)
{
	struct io_uring_sqe e = {.opcode = IORING_OP_CONNECT, .fd = fd, .off = to->len};
	uint64_t before, after;
	int res;

	e.addr = (uint64_t)(uintptr_t)&to->addr;
	truth_begin(&truth, "ring", "client");
	truth_task(&truth);
	before = boot_ns();
	submit(r, &e);
	res = await(r);
	after = boot_ns();
	truth_poller(&truth);
	truth_uint(&truth, "before_ns", before);
	truth_uint(&truth, "after_ns", after);
	truth_ret(&truth, res);
	truth_int(&truth, "outcome", -res);
	truth_int(&truth, "nonblocking", 0);
	truth_sockaddr(&truth, "asked", (const struct sockaddr *)&to->addr);
	truth_socket(&truth, fd);
	truth_end(&truth);
}

/* ring_connect MODE FAMILY ok|refused: to a port of ours.
 * ring_connect MODE away PORT: to an address of documentation, by a bound socket
 * that can't reach it. */
static int act_ring_connect(int argc, char **argv)
{
	struct sockaddr_in *in;
	struct end to;
	struct ring r;
	int fd;

	if (argc != 4)
		die("ring_connect MODE FAMILY ok|refused, or MODE away PORT");
	ring_open(&r, mode_of(argv[1]));
	fd = loopback(argv[2], !strcmp(argv[3], "ok"), &to);
	if (!strcmp(argv[2], "away")) {
		in = (void *)&to.addr;
		in->sin_addr.s_addr = inet_addr("192.0.2.1");
		in->sin_port = htons((uint16_t)atoi(argv[3]));
	} else {
		fd = socket(to.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	}
	if (fd < 0)
		die("socket");
	say_connect(&r, fd, &to);
	return 0;
}

static void say_accepted(int fd, uint64_t before)
{
	truth_begin(&truth, "ring", "accepted");
	truth_task(&truth);
	truth_uint(&truth, "before_ns", before);
	truth_time(&truth, "after_ns");
	truth_poller(&truth);
	truth_int(&truth, "nonblocking", 0);
	truth_socket(&truth, fd);
	truth_end(&truth);
}

/* ring_accept MODE FAMILY N: accepts N connections that a child begins; with
 * N > 1 by one request that goes on. */
static int act_ring_accept(int argc, char **argv)
{
	struct io_uring_sqe e = {.opcode = IORING_OP_ACCEPT};
	int clients[ENTRIES], n = argc == 4 ? atoi(argv[3]) : 0;
	struct end to;
	struct ring r;

	if (n < 1 || n > ENTRIES)
		die("ring_accept MODE FAMILY 1-8");
	ring_open(&r, mode_of(argv[1]));
	e.fd = loopback(argv[2], 1, &to);
	e.user_data = 77;
	if (n > 1)
		e.ioprio = 1; /* IORING_ACCEPT_MULTISHOT */
	if (r.mode & DIRECT)
		e.file_index = 5;
	uint64_t before = boot_ns();
	submit(&r, &e);
	for (int i = 0; i < n; i++) {
		int fd;

		clients[i] = socket(to.addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (clients[i] < 0 || connect(clients[i], (struct sockaddr *)&to.addr, to.len))
			die("connect");
		fd = await(&r);
		if (fd < 0)
			die("accept by io_uring");
		if (r.mode & DIRECT)
			fd = installed(&r, 4);
		if (fd < 0) { /* it can't be asked here what the socket is */
			truth_begin(&truth, "ring", "hidden");
			truth_end(&truth);
			continue;
		}
		say_accepted(fd, before);
		before = boot_ns();
	}
	return 0;
}

const struct act uring_acts[] = {
	{"ring", act_ring},
	{"ring_connect", act_ring_connect},
	{"ring_accept", act_ring_accept},
	{NULL, NULL},
};
