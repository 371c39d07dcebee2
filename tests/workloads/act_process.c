// SPDX-License-Identifier: Apache-2.0
//
// Processes begun, replaced, ended.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

extern char **environ;

static struct truth truth, child_truth;

static void say_cwd(struct truth *t)
{
	char cwd[8192];
	ssize_t n = readlink("/proc/self/cwd", cwd, sizeof(cwd));

	if (n >= 0)
		truth_bytes(t, "cwd", cwd, (size_t)n);
}

/* report [ANYTHING...]: what is there after an exec. */
static int act_report(int argc, char **argv)
{
	size_t len = 0;
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	for (int i = 0; i < argc; i++)
		len += strlen(argv[i]) + 1;
	truth_begin(&truth, "report", "main");
	truth_task(&truth);
	say_cwd(&truth);
	truth_int(&truth, "act_argc", argc);
	truth_uint(&truth, "act_argv_len", len);
	if (fd >= 0) {
		truth_file_fd(&truth, "exe", fd);
		close(fd);
	}
	truth_time(&truth, "after_ns");
	truth_end(&truth);
	return 0;
}

static void say_before_exec(struct truth *t, const char *act, const char *file, char **argv)
{
	truth_begin(t, act, "before");
	truth_str(t, "file", file);
	if (argv)
		truth_str(t, "argv0", argv[0] ? argv[0] : "");
	truth_task(t);
	truth_time(t, "before_ns");
	truth_end(t);
}

static void say_failed(struct truth *t, const char *act, int64_t ret)
{
	truth_begin(t, act, "failed");
	truth_ret(t, ret);
	truth_task(t);
	truth_end(t);
}

/* exec FILE ARGV0... */
static int act_exec(int argc, char **argv)
{
	if (argc < 3)
		die("exec FILE ARGV0...");
	say_before_exec(&truth, "exec", argv[1], argv + 2);
	say_failed(&truth, "exec", CALL(SYS_execve, argv[1], argv + 2, environ));
	return 0;
}

/* exec_fd FILE ARGV0...: execveat(fd, "", AT_EMPTY_PATH) of a memfd with FILE's
 * contents. */
static int act_exec_memfd(int argc, char **argv)
{
	static char buf[65536];
	ssize_t n;
	int in, fd;

	if (argc < 3)
		die("exec_memfd FILE ARGV0...");
	in = open(argv[1], O_RDONLY | O_CLOEXEC);
	fd = memfd_create("nt-truth", MFD_CLOEXEC);
	if (in < 0 || fd < 0)
		die("memfd");
	while ((n = read(in, buf, sizeof(buf))) > 0)
		if (write(fd, buf, (size_t)n) != n)
			die("write memfd");
	close(in);
	say_before_exec(&truth, "exec_memfd", argv[1], argv + 2);
	say_failed(&truth, "exec_memfd", CALL(SYS_execveat, fd, "", argv + 2, environ, AT_EMPTY_PATH));
	return 0;
}

/* exec_big STRINGS BYTES FILE: FILE report and STRINGS arguments of BYTES bytes
 * each, NUL included: 'a'…, 'b'…, round the alphabet. */
static int act_exec_big(int argc, char **argv)
{
	struct rlimit stack;
	char **big;
	size_t count, bytes;

	if (argc != 4)
		die("exec_big STRINGS BYTES FILE");
	count = strtoul(argv[1], NULL, 10);
	bytes = strtoul(argv[2], NULL, 10);
	if (getrlimit(RLIMIT_STACK, &stack))
		die("getrlimit");
	stack.rlim_cur = stack.rlim_max < (64u << 20) ? stack.rlim_max : (64u << 20);
	if (setrlimit(RLIMIT_STACK, &stack))
		die("setrlimit");
	big = calloc(count + 3, sizeof(*big));
	if (!big || !bytes)
		die("calloc");
	big[0] = argv[3];
	big[1] = (char *)"report";
	for (size_t i = 0; i < count; i++) {
		big[i + 2] = malloc(bytes);
		if (!big[i + 2])
			die("malloc");
		memset(big[i + 2], 'a' + (int)(i % 26), bytes - 1);
		big[i + 2][bytes - 1] = 0;
	}
	say_before_exec(&truth, "exec_big", argv[3], big);
	say_failed(&truth, "exec_big", CALL(SYS_execve, argv[3], big, environ));
	return 0;
}

static char **thread_argv;

static void *exec_in_thread(void *unused)
{
	(void)unused;
	say_before_exec(&child_truth, "exec_thread", thread_argv[1], thread_argv + 2);
	say_failed(&child_truth, "exec_thread", CALL(SYS_execve, thread_argv[1], thread_argv + 2, environ));
	_exit(99);
}

/* exec_thread FILE ARGV0...: execve by a thread that isn't the leader. */
static int act_exec_thread(int argc, char **argv)
{
	pthread_t thread;

	if (argc < 3)
		die("exec_thread FILE ARGV0...");
	thread_argv = argv;
	if (pthread_create(&thread, NULL, exec_in_thread, NULL))
		die("pthread_create");
	pthread_join(thread, NULL);
	return 99;
}

/* exec_vfork FILE ARGV0... */
static int act_exec_vfork(int argc, char **argv)
{
	int status;
	pid_t child;

	if (argc < 3)
		die("exec_vfork FILE ARGV0...");
	truth_begin(&truth, "exec_vfork", "parent");
	truth_task(&truth);
	truth_time(&truth, "before_ns");
	child = vfork();
	if (!child) {
		say_before_exec(&child_truth, "exec_vfork", argv[1], argv + 2);
		CALL(SYS_execve, argv[1], argv + 2, environ);
		_exit(99);
	}
	truth_time(&truth, "after_ns");
	truth_int(&truth, "child", child);
	truth_end(&truth);
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

static void child_speaks(const char *kind)
{
	truth_begin(&child_truth, kind, "child");
	truth_task(&child_truth);
	truth_end(&child_truth);
	_exit(0);
}

static void *thread_speaks(void *kind)
{
	truth_begin(&child_truth, kind, "thread");
	truth_task(&child_truth);
	truth_end(&child_truth);
	return NULL;
}

/* fork fork|vfork|clone3|clone_parent|thread */
static int act_fork(int argc, char **argv)
{
	struct clone_args args = {.exit_signal = SIGCHLD};
	int64_t child = -1;
	int status;

	if (argc != 2)
		die("fork KIND");
	truth_begin(&truth, argv[1], "parent");
	truth_task(&truth);
	truth_time(&truth, "before_ns");
	if (!strcmp(argv[1], "fork")) {
		child = CALL(SYS_fork, 0);
	} else if (!strcmp(argv[1], "vfork")) {
		child = vfork();
	} else if (!strcmp(argv[1], "clone3")) {
		child = CALL(SYS_clone3, &args, sizeof(args));
	} else if (!strcmp(argv[1], "clone_parent")) {
		/* A sibling: our parent reaps it. */
		child = CALL(SYS_clone, CLONE_PARENT | SIGCHLD, 0);
	} else if (!strcmp(argv[1], "thread")) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, thread_speaks, argv[1]))
			die("pthread_create");
		pthread_join(thread, NULL);
		child = 0;
		goto tell;
	} else {
		die(argv[1]);
	}
	if (!child)
		child_speaks(argv[1]);
	if (child < 0)
		die("fork");
tell:
	truth_time(&truth, "after_ns");
	truth_int(&truth, "child", child);
	truth_end(&truth);
	if (child && strcmp(argv[1], "clone_parent"))
		waitpid((pid_t)child, &status, 0);
	return 0;
}

/* exit CODE */
static int act_exit(int argc, char **argv)
{
	int code = argc > 1 ? atoi(argv[1]) : 0;

	truth_begin(&truth, "exit", "main");
	truth_task(&truth);
	truth_time(&truth, "before_ns");
	truth_end(&truth);
	_exit(code);
}

/* burn MS: that much time in user mode and in the kernel, then exit 0. */
static int act_burn(int argc, char **argv)
{
	struct timespec now;
	uint64_t goal = argc > 1 ? strtoul(argv[1], NULL, 10) * 1000000u : 0, used;
	char *memory = malloc(24u << 20);

	if (!memory)
		die("malloc");
	memset(memory, 1, 24u << 20);
	do {
		for (int i = 0; i < 200000; i++)
			__asm__ volatile("" : : "r"(i));
		for (int i = 0; i < 400; i++)
			CALL(SYS_getppid, 0);
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
		used = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	} while (used < goal);
	free(memory);
	return act_exit(1, argv);
}

/* signal N: kills itself. */
static int act_signal(int argc, char **argv)
{
	struct rlimit no_core = {0, 0};
	int sig = argc > 1 ? atoi(argv[1]) : SIGKILL;

	setrlimit(RLIMIT_CORE, &no_core);
	truth_begin(&truth, "signal", "main");
	truth_task(&truth);
	truth_time(&truth, "before_ns");
	truth_end(&truth);
	if (sig == SIGABRT)
		abort();
	kill(getpid(), sig);
	die("survived");
}

static int last_code;
static int last_by_group;

static void *outlive_leader(void *unused)
{
	char stat[512];

	(void)unused;
	/* Until the leader is a zombie. */
	for (;;) {
		int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, stat, sizeof(stat) - 1);
		char *p;

		close(fd);
		stat[n > 0 ? n : 0] = 0;
		p = strrchr(stat, ')');
		if (p && p[2] == 'Z')
			break;
	}
	truth_begin(&child_truth, "exit_leader_first", "thread");
	truth_task(&child_truth);
	truth_time(&child_truth, "before_ns");
	truth_end(&child_truth);
	CALL(last_by_group ? SYS_exit_group : SYS_exit, last_code);
	return NULL;
}

/* exit_leader_first LEADER_CODE LAST_CODE thread|group */
static int act_exit_leader_first(int argc, char **argv)
{
	pthread_t thread;

	if (argc != 4)
		die("exit_leader_first LEADER_CODE LAST_CODE thread|group");
	last_code = atoi(argv[2]);
	last_by_group = !strcmp(argv[3], "group");
	if (pthread_create(&thread, NULL, outlive_leader, NULL))
		die("pthread_create");
	CALL(SYS_exit, atoi(argv[1]));
	return 99;
}

/* daemon DIR: two forks away from its parent; says where it is, waits for the
 * end of standard input, then creates and removes DIR/daemon. */
static int act_daemon(int argc, char **argv)
{
	char path[4096], byte;
	pid_t middle = fork();

	if (argc != 2 || middle < 0)
		die("daemon DIR");
	if (middle) {
		waitpid(middle, NULL, 0);
		return 0;
	}
	setsid();
	if (fork())
		_exit(0);
	while (getppid() == middle || CALL(SYS_getppid, 0) == middle)
		sched_yield();
	truth_begin(&truth, "daemon", "ready");
	truth_task(&truth);
	truth_end(&truth);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	snprintf(path, sizeof(path), "%s/daemon", argv[1]);
	close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	unlink(path);
	truth_begin(&truth, "daemon", "done");
	truth_end(&truth);
	return 0;
}

const struct act process_acts[] = {
	{"report", act_report},
	{"exec", act_exec},
	{"exec_memfd", act_exec_memfd},
	{"exec_big", act_exec_big},
	{"exec_thread", act_exec_thread},
	{"exec_vfork", act_exec_vfork},
	{"fork", act_fork},
	{"exit", act_exit},
	{"burn", act_burn},
	{"signal", act_signal},
	{"exit_leader_first", act_exit_leader_first},
	{"daemon", act_daemon},
	{NULL, NULL},
};
