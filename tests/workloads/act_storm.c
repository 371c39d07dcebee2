// SPDX-License-Identifier: Apache-2.0
//
// Many acts at once, counted.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
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

static struct truth truth;

struct storm {
	const char *dir;
	int rounds;
	int thread;
	uint64_t creates, deletes, renames, creds;
};

static void *storm_thread(void *p)
{
	struct storm *s = p;
	char path[4096], other[4096];

	for (int i = 0; i < s->rounds; i++) {
		int64_t fd;

		snprintf(path, sizeof(path), "%s/storm-%d-%d", s->dir, s->thread, i);
		snprintf(other, sizeof(other), "%s/moved-%d-%d", s->dir, s->thread, i);
		fd = CALL(SYS_open, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0)
			die(path);
		s->creates++;
		close((int)fd);
		if (!CALL(SYS_rename, path, other))
			s->renames++;
		if (!CALL(SYS_unlink, other))
			s->deletes++;
		CALL(SYS_setfsuid, 1 + i % 2);
		CALL(SYS_setfsuid, 0);
		s->creds += 2;
	}
	return NULL;
}

/* storm DIR ROUNDS THREADS: creates, renames, deletes, and two changes of fsuid
 * per round. Waits for the end of standard input first if THREADS is followed
 * by "wait". */
static int act_storm(int argc, char **argv)
{
	struct storm storms[16] = {0};
	struct storm sum = {0};
	pthread_t threads[16];
	int count;
	char byte;

	if (argc < 4)
		die("storm DIR ROUNDS THREADS [wait]");
	if (argc > 4)
		while (read(STDIN_FILENO, &byte, 1) > 0)
			;
	count = atoi(argv[3]);
	if (count < 1 || count > 16)
		die("1 to 16 threads");
	for (int i = 0; i < count; i++) {
		storms[i].dir = argv[1];
		storms[i].rounds = atoi(argv[2]);
		storms[i].thread = i;
		if (pthread_create(&threads[i], NULL, storm_thread, &storms[i]))
			die("pthread_create");
	}
	for (int i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		sum.creates += storms[i].creates;
		sum.deletes += storms[i].deletes;
		sum.renames += storms[i].renames;
		sum.creds += storms[i].creds;
	}
	truth_begin(&truth, "storm", "main");
	truth_uint(&truth, "creates", sum.creates);
	truth_uint(&truth, "deletes", sum.deletes);
	truth_uint(&truth, "renames", sum.renames);
	truth_uint(&truth, "creds", sum.creds);
	truth_end(&truth);
	return 0;
}

/* fork_storm N: N children, each opens /dev/null for writing at once and goes;
 * up to 32 at a time. */
static int act_fork_storm(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 0, alive = 0;

	for (int i = 0; i < n; i++) {
		int64_t child = CALL(SYS_fork, 0);

		if (child < 0)
			die("fork");
		if (!child) {
			CALL(SYS_open, "/dev/null", O_WRONLY, 0);
			CALL(SYS_exit_group, 0);
		}
		if (++alive == 32) {
			waitpid(-1, NULL, 0);
			alive--;
		}
	}
	while (waitpid(-1, NULL, 0) > 0)
		;
	truth_begin(&truth, "fork_storm", "main");
	truth_int(&truth, "children", n);
	truth_end(&truth);
	return 0;
}

/* What a worker of `rage` did, in memory that outlives it. */
struct done {
	uint64_t forks, execs, exits, opens, binds, listens, connects, accepts, closes, creds;
};

struct worker {
	const char *self; /* this program */
	char file[4096];
	int listener;
	struct sockaddr_in addr;
	uint64_t until_ns;
	struct done *done;
};

/* A child that runs this program, which does nothing, and is reaped. */
static void rage_exec(struct worker *w)
{
	char nothing[] = "nothing";
	char *argv[] = {(char *)w->self, nothing, NULL};
	int64_t child = CALL(SYS_fork, 0);
	int status;

	if (child < 0)
		die("fork");
	if (!child) {
		CALL(SYS_execve, w->self, argv, NULL);
		_exit(98);
	}
	w->done->forks++;
	if (waitpid((pid_t)child, &status, 0) != child || status)
		die("the child did not run");
	w->done->execs++;
	w->done->exits++;
}

static void rage_open(struct worker *w)
{
	int64_t fd = CALL(SYS_open, w->file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		die(w->file);
	w->done->opens++;
	close((int)fd);
}

static void rage_listen(struct worker *w)
{
	socklen_t len = sizeof(w->addr);

	w->addr.sin_family = AF_INET;
	w->addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	w->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(w->listener, (struct sockaddr *)&w->addr, len))
		die("bind");
	w->done->binds++;
	if (listen(w->listener, 16))
		die("listen");
	w->done->listens++;
	if (getsockname(w->listener, (struct sockaddr *)&w->addr, &len))
		die("getsockname");
}

/* Ends with a reset: nothing is left that would use up the ports. */
static void rage_connect(struct worker *w)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), server;

	if (connect(client, (struct sockaddr *)&w->addr, sizeof(w->addr)))
		die("connect");
	w->done->connects++;
	server = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC);
	if (server < 0)
		die("accept4");
	w->done->accepts++;
	if (setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)))
		die("SO_LINGER");
	close(client);
	close(server);
	w->done->closes += 2;
}

/* The effective user there and back. */
static void rage_cred(struct worker *w)
{
	if (CALL(SYS_setresuid, -1, 1, -1) || CALL(SYS_setresuid, -1, 0, -1))
		die("setresuid");
	w->done->creds += 2;
}

static void rage_all(struct worker *w)
{
	rage_listen(w);
	while (boot_ns() < w->until_ns) {
		rage_exec(w);
		for (int i = 0; i < 32; i++)
			rage_open(w);
		for (int i = 0; i < 8; i++)
			rage_connect(w);
		for (int i = 0; i < 16; i++)
			rage_cred(w);
	}
}

static void rage_files(struct worker *w)
{
	while (boot_ns() < w->until_ns)
		for (int i = 0; i < 64; i++)
			rage_open(w);
}

/* At most so many records per second that nothing may evict: five of an exec
 * and a change of credentials, then changes alone. Time lost is not made up for. */
static void rage_critical(struct worker *w, uint64_t per_second)
{
	const uint64_t tick_ns = 5000000, quota = per_second * tick_ns / 1000000000;
	uint64_t next_ns = boot_ns();

	while (next_ns < w->until_ns) {
		struct timespec until;

		rage_exec(w);
		for (uint64_t n = 3; n + 2 <= quota; n += 2)
			rage_cred(w);
		next_ns += tick_ns;
		if (next_ns < boot_ns())
			next_ns = boot_ns() + tick_ns;
		until.tv_sec = (time_t)(next_ns / 1000000000);
		until.tv_nsec = (long)(next_ns % 1000000000);
		clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, NULL);
	}
}

/* rage DIR MILLISECONDS WORKER...: workers side by side, each "all" (exec, open,
 * connect, setresuid at full speed), "files" (open at full speed) or
 * "critical=N" (exec and setresuid, at most N records per second). */
static int act_rage(int argc, char **argv)
{
	static char self[4096];
	struct done *done, sum = {0};
	int workers = argc - 3, status;
	uint64_t begun_ns, until_ns;

	if (workers < 1 || workers > 16)
		die("rage DIR MILLISECONDS WORKER...");
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		die("/proc/self/exe");
	done = mmap(NULL, sizeof(*done) * (size_t)workers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (done == MAP_FAILED)
		die("mmap");
	begun_ns = boot_ns();
	until_ns = begun_ns + strtoull(argv[2], NULL, 10) * 1000000;
	for (int i = 0; i < workers; i++) {
		const char *what = argv[3 + i];
		struct worker w = {.self = self, .until_ns = until_ns, .done = &done[i]};
		int64_t child;

		snprintf(w.file, sizeof(w.file), "%s/rage-%d", argv[1], i);
		child = CALL(SYS_fork, 0);
		if (child < 0)
			die("fork");
		sum.forks += child != 0;
		if (child)
			continue;
		if (!strcmp(what, "all"))
			rage_all(&w);
		else if (!strcmp(what, "files"))
			rage_files(&w);
		else if (!strncmp(what, "critical=", 9))
			rage_critical(&w, strtoull(what + 9, NULL, 10));
		else
			die(what);
		_exit(0);
	}
	for (int i = 0; i < workers; i++) {
		if (wait(&status) < 0 || status)
			die("a worker failed");
		sum.exits++;
	}
	for (int i = 0; i < workers; i++) {
		const uint64_t *from = (const uint64_t *)&done[i];
		uint64_t *to = (uint64_t *)&sum;

		for (size_t n = 0; n < sizeof(sum) / sizeof(*to); n++)
			to[n] += from[n];
	}
	truth_begin(&truth, "rage", "main");
	truth_uint(&truth, "elapsed_ns", boot_ns() - begun_ns);
	truth_uint(&truth, "forks", sum.forks);
	truth_uint(&truth, "execs", sum.execs);
	truth_uint(&truth, "exits", sum.exits);
	truth_uint(&truth, "opens", sum.opens);
	truth_uint(&truth, "binds", sum.binds);
	truth_uint(&truth, "listens", sum.listens);
	truth_uint(&truth, "connects", sum.connects);
	truth_uint(&truth, "accepts", sum.accepts);
	truth_uint(&truth, "closes", sum.closes);
	truth_uint(&truth, "creds", sum.creds);
	truth_end(&truth);
	return 0;
}

static int act_nothing(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

const struct act storm_acts[] = {
	{"nothing", act_nothing},
	{"rage", act_rage},
	{"storm", act_storm},
	{"fork_storm", act_fork_storm},
	{NULL, NULL},
};
