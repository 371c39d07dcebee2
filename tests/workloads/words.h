/* SPDX-License-Identifier: Apache-2.0 */
/* The words that stand for a call's arguments. act_calls.c has the list. */
#ifndef NODETRAIL_TESTS_WORKLOADS_WORDS_H_
#define NODETRAIL_TESTS_WORKLOADS_WORDS_H_

#include <stdint.h>
#include <sys/types.h>

struct words {
	uint64_t value[6];
	int file;     /* the descriptor among them, -1: none */
	pid_t child;  /* the process among them, 0: none */
};

void take_word(struct words *w, int i, const char *word);

#endif /* NODETRAIL_TESTS_WORKLOADS_WORDS_H_ */
