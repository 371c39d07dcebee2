// SPDX-License-Identifier: Apache-2.0
//
// Files opened.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "truth.h"

static struct truth truth;

static int dir_fd(const char *dir)
{
	int fd;

	if (!strcmp(dir, "-"))
		return AT_FDCWD;
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		die(dir);
	return fd;
}

/* A copy of the string that a 32-bit pointer reaches. */
static uint32_t below_4g(const char *s)
{
	char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (p == MAP_FAILED || strlen(s) >= 8192)
		die("mmap below 4 GiB");
	strcpy(p, s);
	return (uint32_t)(uintptr_t)p;
}

static int64_t open_by(const char *call, int dfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};

	if (!strcmp(call, "open"))
		return CALL(SYS_open, path, flags, mode);
	if (!strcmp(call, "creat"))
		return CALL(SYS_creat, path, mode);
	if (!strcmp(call, "openat"))
		return CALL(SYS_openat, dfd, path, flags, mode);
	if (!strcmp(call, "openat2"))
		return CALL(SYS_openat2, dfd, path, &how, sizeof(how));
	if (!strcmp(call, "open32"))
		return call_compat(5, below_4g(path), (uint32_t)flags, (uint32_t)mode, 0, 0);
	if (!strcmp(call, "openat32"))
		return call_compat(295, (uint32_t)dfd, below_4g(path), (uint32_t)flags, (uint32_t)mode, 0);
	die(call);
}

/* "PREFIX*N" is PREFIX, then components of 200 bytes up to N bytes in all. */
static const char *long_path(const char *spec, char *out, size_t size)
{
	const char *star = strrchr(spec, '*');
	size_t goal, len;

	if (!star)
		return spec;
	goal = strtoul(star + 1, NULL, 10);
	len = (size_t)(star - spec);
	if (goal >= size || len > goal)
		die(spec);
	memcpy(out, spec, len);
	while (len < goal) {
		out[len] = (len - (size_t)(star - spec)) % 201 ? 'n' : '/';
		len++;
	}
	if (out[goal - 1] == '/')
		out[goal - 1] = 'n';
	out[goal] = 0;
	return out;
}

static void make_parents(char *path)
{
	for (char *p = path + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0755) && errno != EEXIST)
			die(path);
		*p = '/';
	}
}

static void do_open(const char *call, int dfd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
	uint64_t before, after;
	char cwd[8192];
	int64_t ret;
	ssize_t n;

	truth_begin(&truth, call, "main");
	truth_task(&truth);
	n = readlink("/proc/self/cwd", cwd, sizeof(cwd));
	if (n >= 0)
		truth_bytes(&truth, "cwd", cwd, (size_t)n);
	before = boot_ns();
	ret = open_by(call, dfd, path, flags, mode, resolve);
	after = boot_ns();
	truth_uint(&truth, "before_ns", before);
	truth_uint(&truth, "after_ns", after);
	truth_ret(&truth, ret);
	truth_int(&truth, "dfd", dfd);
	truth_str(&truth, "user_path", path);
	truth_uint(&truth, "flags", flags);
	truth_uint(&truth, "mode", mode);
	if (ret >= 0)
		truth_file_fd(&truth, "file", (int)ret);
	truth_end(&truth);
}

/* open CALL DIR PATH FLAGS MODE [RESOLVE]: DIR "-" is AT_FDCWD; numbers in C's
 * notations. PATH may be PREFIX*N (a path of N bytes, its folders are made). */
static int act_open(int argc, char **argv)
{
	static char longer[8192];
	const char *path;
	int dfd;

	if (argc < 6)
		die("open CALL DIR PATH FLAGS MODE [RESOLVE]");
	path = long_path(argv[3], longer, sizeof(longer));
	if (path == longer && strlen(path) < 4096)
		make_parents(longer);
	dfd = dir_fd(argv[2]);
	do_open(argv[1], dfd, path, strtoull(argv[4], NULL, 0), strtoull(argv[5], NULL, 0),
		argc > 6 ? strtoull(argv[6], NULL, 0) : 0);
	return 0;
}

/* reopen PATH FLAGS: read only first, then by /proc/self/fd/N. */
static int act_reopen(int argc, char **argv)
{
	char link[64];
	int fd;

	if (argc != 3)
		die("reopen PATH FLAGS");
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(argv[1]);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	do_open("openat", AT_FDCWD, link, strtoull(argv[2], NULL, 0), 0, 0);
	return 0;
}

/* memfd NAME reopen|only */
static int act_memfd(int argc, char **argv)
{
	char link[64];
	int fd;

	if (argc != 3)
		die("memfd NAME reopen|only");
	fd = (int)CALL(SYS_memfd_create, argv[1], MFD_CLOEXEC);
	if (fd < 0 || write(fd, "12345", 5) != 5)
		die("memfd_create");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	if (!strcmp(argv[2], "reopen"))
		do_open("openat", AT_FDCWD, link, O_RDWR, 0, 0);
	return 0;
}

/* open_deleted PATH: creates, unlinks, opens again by /proc/self/fd/N. */
static int act_open_deleted(int argc, char **argv)
{
	char link[64];
	int fd;

	if (argc != 2)
		die("open_deleted PATH");
	fd = open(argv[1], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || unlink(argv[1]))
		die(argv[1]);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	do_open("openat", AT_FDCWD, link, O_WRONLY, 0, 0);
	return 0;
}

const struct act file_acts[] = {
	{"open", act_open},
	{"reopen", act_reopen},
	{"memfd", act_memfd},
	{"open_deleted", act_open_deleted},
	{NULL, NULL},
};
