/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a workload says about itself: JSON lines on standard output, one per
 * act. Sources are the kernel's other windows (/proc, stat, getsockname), never
 * the probes. A byte outside printable ASCII is written \u00XX, so that any
 * bytes come back whole.
 *
 *   {"act":"open","role":"main","before_ns":…,"after_ns":…,"task":{…},…}
 */
#ifndef NODETRAIL_TESTS_WORKLOADS_TRUTH_H_
#define NODETRAIL_TESTS_WORKLOADS_TRUTH_H_

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sockaddr;

/* One line under construction. One per thread that speaks. */
struct truth {
	char buf[49152];
	size_t len;
};

void truth_begin(struct truth *t, const char *act, const char *role);
void truth_int(struct truth *t, const char *key, int64_t value);
void truth_uint(struct truth *t, const char *key, uint64_t value);
void truth_bytes(struct truth *t, const char *key, const void *bytes, size_t len);
void truth_str(struct truth *t, const char *key, const char *s);
/* "ret" as the kernel returned it: negative errno on failure. */
void truth_ret(struct truth *t, int64_t ret);
/* CLOCK_BOOTTIME in ns. */
void truth_time(struct truth *t, const char *key);

/* "task": status, stat, cgroup, loginuid, sessionid of /proc/thread-self (or of
 * /proc/self), the inode numbers of its namespaces, securebits, comm, and
 * the start of the parent in ticks. */
void truth_task(struct truth *t);
/* The same of the parent's own kind, through a status file opened before
 * entering a user namespace: ids as the first namespace sees them. */
void truth_task_status_fd(struct truth *t, int status_fd);

/* "file": st_dev as the kernel has it, inode, mode, owner, links, size, fs
 * magic, and the path /proc/self/fd tells. */
void truth_file_fd(struct truth *t, const char *key, int fd);
/* "local_addr", "local_port", "remote_addr", "remote_port", "family",
 * "cookie" of a connected socket; what isn't known is left out. */
void truth_socket(struct truth *t, int fd);
/* The same names of one end; `end` is "local" or "remote". */
void truth_sockaddr(struct truth *t, const char *end, const struct sockaddr *sa);

/* One write to standard output. */
void truth_end(struct truth *t);

uint64_t boot_ns(void);

/* A system call by number: the kernel's answer, negative errno on failure. */
int64_t call6(long nr, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f);
#define CALL(nr, ...) CALL_(nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(nr, a, b, c, d, e, f, ...) \
	call6(nr, (int64_t)(a), (int64_t)(b), (int64_t)(c), (int64_t)(d), (int64_t)(e), (int64_t)(f))
/* int 0x80: i386's numbers, arguments below 4 GiB. */
int64_t call_compat(long nr, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t e);

/* Says why on standard error and exits 99: the workload could not do its act,
 * which is not the act failing. */
void die(const char *what) __attribute__((noreturn));

/* One act: argv[0] is its name. The exit code of the process. */
typedef int (*act_fn)(int argc, char **argv);
struct act {
	const char *name;
	act_fn fn;
};
extern const struct act process_acts[], privilege_acts[], file_acts[], names_acts[], network_acts[], socket_acts[],
	storm_acts[], call_acts[], uring_acts[];

/* Words before the act, "login=4242": done before it. Returns 0 if `word` is
 * none. May fork; the parent then waits and passes the exit code on. */
int prepare(const char *word);
/* The status file opened by "userns", -1 if there is none. */
extern int prepared_status_fd;

#endif /* NODETRAIL_TESTS_WORKLOADS_TRUTH_H_ */
