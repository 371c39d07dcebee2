// SPDX-License-Identifier: Apache-2.0
//
// Preparations: where and as whom the act is done. In the order given.
//
//   login=N       writes N to /proc/self/loginuid
//   uid=N         groups dropped, then gid and uid N by setresgid, setresuid
//   nnp           no_new_privs
//   comm=NAME     the thread's name
//   setsid        a session of its own
//   chdir=DIR
//   mntns         a mount namespace of its own, nothing propagates
//   netns         a network namespace of its own, loopback up
//   ns            uts, ipc and cgroup namespaces of its own
//   userns        a user namespace of its own, without a mapping
//   pidns         the rest runs in a child, pid 1 of a new pid namespace
//   bind=SRC:DST  bind mount (after mntns)
//   tmpfs=DIR     (after mntns)
//   rotmpfs=DIR   read-only, after creating DIR/present (after mntns)
//   pty           the controlling terminal is a new pseudo terminal
//   rmcwd         removes the current directory
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"

int prepared_status_fd = -1;

static void set_login(const char *value)
{
	int fd = open("/proc/self/loginuid", O_WRONLY | O_CLOEXEC);
	size_t n = strlen(value);

	if (fd < 0 || write(fd, value, n) != (ssize_t)n)
		die("loginuid");
	close(fd);
}

static void set_ids(unsigned id)
{
	if (CALL(SYS_setgroups, 0, 0) || CALL(SYS_setresgid, id, id, id) || CALL(SYS_setresuid, id, id, id))
		die("setresuid");
}

static void net_namespace(void)
{
	struct ifreq ifr = {.ifr_flags = IFF_UP};
	int fd;

	if (unshare(CLONE_NEWNET))
		die("unshare net");
	strcpy(ifr.ifr_name, "lo");
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr))
		die("loopback up");
	close(fd);
}

static void pid_namespace(void)
{
	pid_t child;
	int status;

	if (unshare(CLONE_NEWPID))
		die("unshare pid");
	child = fork();
	if (child < 0)
		die("fork");
	if (!child)
		return;
	if (waitpid(child, &status, 0) != child)
		die("waitpid");
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

static void bind_mount(const char *spec)
{
	char src[4096];
	const char *colon = strchr(spec, ':');

	if (!colon || (size_t)(colon - spec) >= sizeof(src))
		die("bind=SRC:DST");
	memcpy(src, spec, (size_t)(colon - spec));
	src[colon - spec] = 0;
	if (mount(src, colon + 1, NULL, MS_BIND, NULL))
		die("bind mount");
}

static void read_only_tmpfs(const char *dir)
{
	char path[4096];
	int fd;

	if (mount("none", dir, "tmpfs", 0, "size=64k"))
		die("mount tmpfs");
	snprintf(path, sizeof(path), "%s/present", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0)
		die(path);
	close(fd);
	if (mount("none", dir, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL))
		die("remount read-only");
}

static void new_terminal(void)
{
	int unlock = 0, number, master, slave;
	char path[64];

	setsid();
	master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) || ioctl(master, TIOCGPTN, &number))
		die("ptmx");
	snprintf(path, sizeof(path), "/dev/pts/%d", number);
	slave = (int)CALL(SYS_ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	if (slave < 0 || ioctl(slave, TIOCSCTTY, 0))
		die(path);
}

int prepare(const char *word)
{
	const char *value = strchr(word, '=');
	size_t key = value ? (size_t)(value - word) : strlen(word);

	if (value)
		value++;
#define IS(name) (key == strlen(name) && !strncmp(word, name, key))
	if (IS("login") && value) {
		set_login(value);
	} else if (IS("uid") && value) {
		set_ids((unsigned)strtoul(value, NULL, 10));
	} else if (IS("nnp")) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
			die("no_new_privs");
	} else if (IS("comm") && value) {
		prctl(PR_SET_NAME, value);
	} else if (IS("setsid")) {
		setsid();
	} else if (IS("chdir") && value) {
		if (chdir(value))
			die(value);
	} else if (IS("mntns")) {
		if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
			die("unshare mnt");
	} else if (IS("netns")) {
		net_namespace();
	} else if (IS("ns")) {
		if (unshare(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP))
			die("unshare uts, ipc, cgroup");
	} else if (IS("userns")) {
		prepared_status_fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
		if (prepared_status_fd < 0 || unshare(CLONE_NEWUSER))
			die("unshare user");
	} else if (IS("pidns")) {
		pid_namespace();
	} else if (IS("bind") && value) {
		bind_mount(value);
	} else if (IS("tmpfs") && value) {
		if (mount("none", value, "tmpfs", 0, "size=64k"))
			die("mount tmpfs");
	} else if (IS("rotmpfs") && value) {
		read_only_tmpfs(value);
	} else if (IS("pty")) {
		new_terminal();
	} else if (IS("rmcwd")) {
		char cwd[4096];

		if (!getcwd(cwd, sizeof(cwd)) || rmdir(cwd))
			die("rmcwd");
	} else {
		return 0;
	}
	return 1;
#undef IS
}
