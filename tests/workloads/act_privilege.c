// SPDX-License-Identifier: Apache-2.0
//
// Credentials changed by system call, not by libc's wrappers, which would call
// once per thread.
#define _GNU_SOURCE
#include <linux/capability.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "truth.h"

static struct truth main_truth, thread_truth;

struct cred_call {
	const char *name;
	long nr;
	int nargs;
	int compat;
};

static const struct cred_call cred_calls[] = {
	{"setuid", SYS_setuid, 1, 0},       {"setgid", SYS_setgid, 1, 0},
	{"setreuid", SYS_setreuid, 2, 0},   {"setregid", SYS_setregid, 2, 0},
	{"setresuid", SYS_setresuid, 3, 0}, {"setresgid", SYS_setresgid, 3, 0},
	{"setfsuid", SYS_setfsuid, 1, 0},   {"setfsgid", SYS_setfsgid, 1, 0},
	{"setuid32", 213, 1, 1},            {"setresuid32", 208, 3, 1},
	{"setuid16", 23, 1, 1},             {"setgid32", 214, 1, 1},
};

static int64_t set_groups(int argc, char **argv)
{
	gid_t groups[64];
	int count = 0;

	for (int i = 0; i < argc && i < 64; i++)
		groups[count++] = (gid_t)strtoul(argv[i], NULL, 10);
	return CALL(SYS_setgroups, count, groups);
}

/* EFFECTIVE PERMITTED INHERITABLE as 64-bit numbers; "keep" leaves one. */
static int64_t set_capabilities(int argc, char **argv)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	uint64_t sets[3];

	if (argc != 3 || CALL(SYS_capget, &header, data))
		die("capset EFFECTIVE PERMITTED INHERITABLE");
	sets[0] = data[0].effective | (uint64_t)data[1].effective << 32;
	sets[1] = data[0].permitted | (uint64_t)data[1].permitted << 32;
	sets[2] = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
	for (int i = 0; i < 3; i++)
		if (strcmp(argv[i], "keep"))
			sets[i] = strtoull(argv[i], NULL, 0);
	for (int i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(sets[0] >> (32 * i));
		data[i].permitted = (uint32_t)(sets[1] >> (32 * i));
		data[i].inheritable = (uint32_t)(sets[2] >> (32 * i));
	}
	return CALL(SYS_capset, &header, data);
}

static int64_t cred_call(int argc, char **argv)
{
	uint32_t args[3] = {0, 0, 0};

	if (!strcmp(argv[0], "setgroups"))
		return set_groups(argc - 1, argv + 1);
	if (!strcmp(argv[0], "capset"))
		return set_capabilities(argc - 1, argv + 1);
	for (size_t i = 0; i < sizeof(cred_calls) / sizeof(cred_calls[0]); i++) {
		const struct cred_call *c = &cred_calls[i];

		if (strcmp(argv[0], c->name))
			continue;
		for (int a = 0; a < c->nargs && a + 1 < argc; a++)
			args[a] = (uint32_t)strtol(argv[a + 1], NULL, 10);
		if (c->compat)
			return call_compat(c->nr, args[0], args[1], args[2], 0, 0);
		return CALL(c->nr, args[0], args[1], args[2]);
	}
	die(argv[0]);
}

static void do_cred(struct truth *t, int argc, char **argv)
{
	uint64_t before, after;
	int64_t ret;

	truth_begin(t, argv[0], "before");
	truth_task(t);
	truth_end(t);
	before = boot_ns();
	ret = cred_call(argc, argv);
	after = boot_ns();
	truth_begin(t, argv[0], "after");
	truth_ret(t, ret);
	truth_uint(t, "before_ns", before);
	truth_uint(t, "after_ns", after);
	truth_task(t);
	truth_end(t);
}

/* cred CALL ARGS... */
static int act_cred(int argc, char **argv)
{
	if (argc < 2)
		die("cred CALL ARGS...");
	do_cred(&main_truth, argc - 1, argv + 1);
	return 0;
}

struct thread_args {
	int argc;
	char **argv;
};

static void *cred_in_thread(void *p)
{
	struct thread_args *a = p;

	do_cred(&thread_truth, a->argc, a->argv);
	return NULL;
}

/* cred_thread CALL ARGS...: by one thread only; the leader tells its own after. */
static int act_cred_thread(int argc, char **argv)
{
	struct thread_args a = {argc - 1, argv + 1};
	pthread_t thread;

	if (argc < 2 || pthread_create(&thread, NULL, cred_in_thread, &a))
		die("cred_thread CALL ARGS...");
	pthread_join(thread, NULL);
	truth_begin(&main_truth, argv[1], "leader");
	truth_task(&main_truth);
	truth_end(&main_truth);
	return 0;
}

const struct act privilege_acts[] = {
	{"cred", act_cred},
	{"cred_thread", act_cred_thread},
	{NULL, NULL},
};
