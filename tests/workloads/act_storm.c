// SPDX-License-Identifier: Apache-2.0
//
// Many acts at once, counted.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
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

const struct act storm_acts[] = {
	{"storm", act_storm},
	{"fork_storm", act_fork_storm},
	{NULL, NULL},
};
