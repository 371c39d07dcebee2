// SPDX-License-Identifier: Apache-2.0
//
// Names removed and changed.
#define _GNU_SOURCE
#include <fcntl.h>
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

static void begin(const char *call)
{
	char cwd[8192];
	ssize_t n;

	truth_begin(&truth, call, "main");
	truth_task(&truth);
	n = readlink("/proc/self/cwd", cwd, sizeof(cwd));
	if (n >= 0)
		truth_bytes(&truth, "cwd", cwd, (size_t)n);
}

static void end(uint64_t before, int64_t ret)
{
	truth_time(&truth, "after_ns");
	truth_uint(&truth, "before_ns", before);
	truth_ret(&truth, ret);
	truth_end(&truth);
}

/* unlink PATH | rmdir PATH */
static int act_unlink(int argc, char **argv)
{
	uint64_t before;

	if (argc != 2)
		die("unlink|rmdir PATH");
	begin(argv[0]);
	before = boot_ns();
	end(before, CALL(strcmp(argv[0], "rmdir") ? SYS_unlink : SYS_rmdir, argv[1]));
	return 0;
}

/* unlinkat DIR PATH FLAGS */
static int act_unlinkat(int argc, char **argv)
{
	uint64_t before;
	int dfd;

	if (argc != 4)
		die("unlinkat DIR PATH FLAGS");
	dfd = dir_fd(argv[1]);
	begin(argv[0]);
	truth_int(&truth, "dfd", dfd);
	before = boot_ns();
	end(before, CALL(SYS_unlinkat, dfd, argv[2], strtoul(argv[3], NULL, 0)));
	return 0;
}

/* unlink_cold PATH SCRATCH: the name lies in a page of the file SCRATCH that
 * isn't in this process's memory yet. */
static int act_unlink_cold(int argc, char **argv)
{
	uint64_t before;
	char *cold;
	int fd;

	if (argc != 3)
		die("unlink_cold PATH SCRATCH");
	fd = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, argv[1], strlen(argv[1]) + 1) < 0)
		die(argv[2]);
	cold = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	if (cold == MAP_FAILED)
		die("mmap");
	begin(argv[0]);
	before = boot_ns();
	end(before, CALL(SYS_unlink, cold));
	return 0;
}

/* rename OLD NEW */
static int act_rename(int argc, char **argv)
{
	uint64_t before;

	if (argc != 3)
		die("rename OLD NEW");
	begin(argv[0]);
	before = boot_ns();
	end(before, CALL(SYS_rename, argv[1], argv[2]));
	return 0;
}

/* renameat DIR OLD DIR NEW | renameat2 DIR OLD DIR NEW FLAGS */
static int act_renameat(int argc, char **argv)
{
	uint64_t before;
	int64_t ret;
	int from, to;

	if (argc < 5)
		die("renameat[2] DIR OLD DIR NEW [FLAGS]");
	from = dir_fd(argv[1]);
	to = dir_fd(argv[3]);
	begin(argv[0]);
	truth_int(&truth, "dfd", from);
	truth_int(&truth, "dfd2", to);
	before = boot_ns();
	if (!strcmp(argv[0], "renameat"))
		ret = CALL(SYS_renameat, from, argv[2], to, argv[4]);
	else
		ret = CALL(SYS_renameat2, from, argv[2], to, argv[4], argc > 5 ? strtoul(argv[5], NULL, 0) : 0);
	end(before, ret);
	return 0;
}

const struct act names_acts[] = {
	{"unlink", act_unlink},
	{"rmdir", act_unlink},
	{"unlinkat", act_unlinkat},
	{"unlink_cold", act_unlink_cold},
	{"rename", act_rename},
	{"renameat", act_renameat},
	{"renameat2", act_renameat},
	{NULL, NULL},
};
