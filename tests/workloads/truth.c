// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE
#include "truth.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

void die(const char *what)
{
	fprintf(stderr, "nt_workload: %s: %s\n", what, strerror(errno));
	_exit(99);
}

uint64_t boot_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int64_t call6(long nr, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f)
{
	int64_t ret;
	register int64_t r10 __asm__("r10") = d;
	register int64_t r8 __asm__("r8") = e;
	register int64_t r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}

int64_t call_compat(long nr, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e)
{
	int32_t ret;

	/* int 0x80 of a 64-bit program clobbers r8 to r11 on old kernels. */
	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"((uint32_t)nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "r8", "r9", "r10", "r11", "memory");
	return ret;
}

static void put(struct truth *t, const char *s, size_t n)
{
	if (t->len + n + 4 > sizeof(t->buf)) {
		errno = E2BIG;
		die("truth too long");
	}
	memcpy(t->buf + t->len, s, n);
	t->len += n;
}

static void put_quoted(struct truth *t, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;

	put(t, "\"", 1);
	for (size_t i = 0; i < n; i++) {
		char esc[8];

		if (p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\') {
			put(t, (const char *)&p[i], 1);
		} else {
			snprintf(esc, sizeof(esc), "\\u%04x", p[i]);
			put(t, esc, 6);
		}
	}
	put(t, "\"", 1);
}

static void put_key(struct truth *t, const char *key)
{
	if (t->buf[t->len - 1] != '{')
		put(t, ",", 1);
	put_quoted(t, key, strlen(key));
	put(t, ":", 1);
}

void truth_begin(struct truth *t, const char *act, const char *role)
{
	t->len = 0;
	put(t, "{", 1);
	truth_str(t, "act", act);
	truth_str(t, "role", role);
}

void truth_int(struct truth *t, const char *key, int64_t value)
{
	char text[32];

	put_key(t, key);
	put(t, text, (size_t)snprintf(text, sizeof(text), "%" PRId64, value));
}

void truth_uint(struct truth *t, const char *key, uint64_t value)
{
	char text[32];

	put_key(t, key);
	put(t, text, (size_t)snprintf(text, sizeof(text), "%" PRIu64, value));
}

void truth_bytes(struct truth *t, const char *key, const void *bytes, size_t len)
{
	put_key(t, key);
	put_quoted(t, bytes, len);
}

void truth_str(struct truth *t, const char *key, const char *s)
{
	truth_bytes(t, key, s, strlen(s));
}

void truth_ret(struct truth *t, int64_t ret)
{
	truth_int(t, "ret", ret);
}

void truth_time(struct truth *t, const char *key)
{
	truth_uint(t, key, boot_ns());
}

static ssize_t read_fd_whole(int fd, char *buf, size_t size)
{
	ssize_t n, got = 0;

	while ((n = pread(fd, buf + got, size - 1 - (size_t)got, got)) > 0)
		got += n;
	buf[got] = 0;
	return n < 0 ? -1 : got;
}

static ssize_t read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	buf[0] = 0;
	if (fd < 0)
		return -1;
	n = read_fd_whole(fd, buf, size);
	close(fd);
	return n;
}

static void put_proc_file(struct truth *t, const char *name)
{
	char path[64], text[8192];

	snprintf(path, sizeof(path), "/proc/thread-self/%s", name);
	if (read_file(path, text, sizeof(text)) >= 0)
		truth_str(t, name, text);
}

static void put_parent_start(struct truth *t, const char *stat_text)
{
	const char *p = strrchr(stat_text, ')');
	char path[64], text[2048];
	int ppid = 0;

	if (!p || sscanf(p, ") %*c %d", &ppid) != 1)
		return;
	snprintf(path, sizeof(path), "/proc/%d/stat", ppid);
	if (read_file(path, text, sizeof(text)) >= 0)
		truth_str(t, "parent_stat", text);
}

void truth_task_status_fd(struct truth *t, int status_fd)
{
	static const char *const kinds[] = {"pid", "mnt", "net", "ipc", "uts", "cgroup", "user"};
	char path[64], text[8192], comm[17] = "";

	put_key(t, "task");
	put(t, "{", 1);
	if (status_fd >= 0) {
		if (read_fd_whole(status_fd, text, sizeof(text)) >= 0)
			truth_str(t, "status", text);
	} else {
		put_proc_file(t, "status");
	}
	put_proc_file(t, "cgroup");
	put_proc_file(t, "loginuid");
	put_proc_file(t, "sessionid");
	/* The process's, not the thread's: start and times are the leader's. */
	if (read_file("/proc/self/stat", text, sizeof(text)) >= 0) {
		truth_str(t, "stat", text);
		put_parent_start(t, text);
	}
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct stat st;

		snprintf(path, sizeof(path), "/proc/thread-self/ns/%s", kinds[i]);
		if (stat(path, &st))
			continue;
		snprintf(text, sizeof(text), "%s_ns", kinds[i]);
		truth_uint(t, text, st.st_ino);
	}
	prctl(PR_GET_NAME, comm);
	truth_str(t, "comm", comm);
	truth_int(t, "securebits", prctl(PR_GET_SECUREBITS));
	truth_int(t, "tid_in_ns", CALL(SYS_gettid, 0));
	truth_int(t, "pid_in_ns", getpid());
	put(t, "}", 1);
}

void truth_task(struct truth *t)
{
	truth_task_status_fd(t, prepared_status_fd);
}

/* The device of the super block, as mountinfo tells it: stat's differs on some
 * file systems. */
static void mount_dev(int fd, unsigned *major_nr, unsigned *minor_nr)
{
	char path[64], text[4096], *line;
	static char mounts[262144];
	int mnt_id = -1;

	snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", fd);
	if (read_file(path, text, sizeof(text)) < 0)
		return;
	line = strstr(text, "mnt_id:");
	if (!line || sscanf(line, "mnt_id: %d", &mnt_id) != 1)
		return;
	if (read_file("/proc/thread-self/mountinfo", mounts, sizeof(mounts)) < 0)
		return;
	for (line = mounts; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		unsigned major_found, minor_found;
		int id, parent;

		if (sscanf(line, "%d %d %u:%u", &id, &parent, &major_found, &minor_found) == 4 && id == mnt_id) {
			*major_nr = major_found;
			*minor_nr = minor_found;
			return;
		}
	}
}

void truth_file_fd(struct truth *t, const char *key, int fd)
{
	char link[64], path[8192];
	unsigned dev_major, dev_minor;
	struct statfs fs;
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) || fstatfs(fd, &fs))
		die("fstat");
	dev_major = major(st.st_dev);
	dev_minor = minor(st.st_dev);
	mount_dev(fd, &dev_major, &dev_minor);
	put_key(t, key);
	put(t, "{", 1);
	truth_uint(t, "dev_major", dev_major);
	truth_uint(t, "dev_minor", dev_minor);
	truth_uint(t, "ino", st.st_ino);
	truth_uint(t, "mode", st.st_mode);
	truth_uint(t, "uid", st.st_uid);
	truth_uint(t, "gid", st.st_gid);
	truth_uint(t, "nlink", st.st_nlink);
	truth_uint(t, "size", (uint64_t)st.st_size);
	truth_uint(t, "fs_magic", (uint32_t)fs.f_type);
	snprintf(link, sizeof(link), "/proc/thread-self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	if (n >= 0)
		truth_bytes(t, "path", path, (size_t)n);
	put(t, "}", 1);
}

void truth_sockaddr(struct truth *t, const char *end, const struct sockaddr *sa)
{
	char key[32];

	snprintf(key, sizeof(key), "%s_addr", end);
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		truth_bytes(t, key, &in->sin_addr, 4);
		snprintf(key, sizeof(key), "%s_port", end);
		truth_uint(t, key, ntohs(in->sin_port));
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		truth_bytes(t, key, &in6->sin6_addr, 16);
		snprintf(key, sizeof(key), "%s_port", end);
		truth_uint(t, key, ntohs(in6->sin6_port));
	}
}

void truth_socket(struct truth *t, int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	uint64_t cookie = 0;

	if (!getsockname(fd, (struct sockaddr *)&ss, &len)) {
		truth_uint(t, "family", ss.ss_family);
		truth_sockaddr(t, "local", (struct sockaddr *)&ss);
	}
	len = sizeof(ss);
	if (!getpeername(fd, (struct sockaddr *)&ss, &len))
		truth_sockaddr(t, "remote", (struct sockaddr *)&ss);
	len = sizeof(cookie);
	if (!getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len))
		truth_uint(t, "cookie", cookie);
}

void truth_end(struct truth *t)
{
	size_t done = 0;

	put(t, "}\n", 2);
	while (done < t->len) {
		ssize_t n = write(STDOUT_FILENO, t->buf + done, t->len - done);

		if (n < 0)
			die("write the truth");
		done += (size_t)n;
	}
}
