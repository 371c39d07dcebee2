// SPDX-License-Identifier: Apache-2.0
//
// Any system call, by number. What it acts on is described by its arguments'
// words, so that one act tells the truth about all of them.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "truth.h"
#include "words.h"

static struct truth truth;

/* Below 4 GiB, so that a 32-bit call reaches it. */
static void *low(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (p == MAP_FAILED)
		die("mmap below 4 GiB");
	return p;
}

static uint64_t string(const char *s)
{
	size_t size = strlen(s) + 1;

	return (uint64_t)(uintptr_t)memcpy(low(size), s, size);
}

static pid_t idle_child(void)
{
	pid_t child = fork();

	if (child < 0)
		die("fork");
	if (!child) {
		pause();
		_exit(0);
	}
	return child;
}

/*
 * N            a number, in C's notations
 * s:STRING     a pointer to it
 * b:N          a pointer to N zero bytes
 * w:N          a pointer to one 32-bit number, zero bytes after it
 * f:PATH       a descriptor of it, for reading
 * r:PATH       a descriptor of it, for reading and writing
 * d:PATH       a descriptor of it, O_PATH
 * child        the id of a process that waits
 */
void take_word(struct words *w, int i, const char *word)
{
	const char *rest = word + 2;
	int flags = word[0] == 'r' ? O_RDWR : word[0] == 'd' ? O_PATH : O_RDONLY;

	if (!strcmp(word, "child")) {
		w->child = idle_child();
		w->value[i] = (uint64_t)w->child;
	} else if (word[0] && word[1] == ':' && strchr("frd", word[0])) {
		w->file = open(rest, flags | O_CLOEXEC);
		if (w->file < 0)
			die(rest);
		w->value[i] = (uint64_t)w->file;
	} else if (word[0] == 's' && word[1] == ':') {
		w->value[i] = string(rest);
	} else if (word[0] == 'b' && word[1] == ':') {
		w->value[i] = (uint64_t)(uintptr_t)low(strtoul(rest, NULL, 0));
	} else if (word[0] == 'w' && word[1] == ':') {
		uint32_t *p = low(4096);

		*p = (uint32_t)strtoul(rest, NULL, 0);
		w->value[i] = (uint64_t)(uintptr_t)p;
	} else {
		w->value[i] = strtoull(word, NULL, 0);
	}
}

static int64_t call_words(const struct words *w, long nr, int compat)
{
	const uint64_t *v = w->value;

	if (!compat)
		return CALL(nr, v[0], v[1], v[2], v[3], v[4], v[5]);
	return call_compat(nr, (uint32_t)v[0], (uint32_t)v[1], (uint32_t)v[2], (uint32_t)v[3], (uint32_t)v[4]);
}

static void end_child(pid_t child)
{
	if (!child)
		return;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* call NUMBER [WORD…]; call32 with i386's numbers; make, make32: what it gives
 * is a descriptor, and the truth tells of which file. */
static int act_call(int argc, char **argv)
{
	struct words w = {.file = -1};
	int compat = strstr(argv[0], "32") != NULL, makes = !strncmp(argv[0], "make", 4);
	uint64_t before, after;
	char cwd[8192], key[8];
	int64_t ret;
	ssize_t n;

	if (argc < 2 || argc > 8)
		die("call NUMBER [WORD...]");
	for (int i = 2; i < argc; i++)
		take_word(&w, i - 2, argv[i]);
	truth_begin(&truth, argv[0], "main");
	truth_task(&truth);
	n = readlink("/proc/self/cwd", cwd, sizeof(cwd));
	if (n >= 0)
		truth_bytes(&truth, "cwd", cwd, (size_t)n);
	if (w.file >= 0)
		truth_file_fd(&truth, "file_before", w.file);
	before = boot_ns();
	ret = call_words(&w, strtol(argv[1], NULL, 0), compat);
	after = boot_ns();
	truth_uint(&truth, "before_ns", before);
	truth_uint(&truth, "after_ns", after);
	truth_ret(&truth, ret);
	for (int i = 0; i < 6; i++) {
		snprintf(key, sizeof(key), "a%d", i);
		truth_uint(&truth, key, w.value[i]);
	}
	if (w.file >= 0)
		truth_file_fd(&truth, "file_after", w.file);
	if (makes && ret >= 0)
		truth_file_fd(&truth, "made", (int)ret);
	truth_int(&truth, "child", w.child);
	truth_end(&truth);
	end_child(w.child);
	return 0;
}

const struct act call_acts[] = {
	{"call", act_call}, {"call32", act_call}, {"make", act_call}, {"make32", act_call}, {NULL, NULL},
};
