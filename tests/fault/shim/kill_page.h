/* SPDX-License-Identifier: Apache-2.0
 *
 * What kill_shim.c and the sweep share. C and C++. */
#ifndef NODETRAIL_TESTS_FAULT_KILL_PAGE_H_
#define NODETRAIL_TESTS_FAULT_KILL_PAGE_H_

#include <stdint.h>

#define KILL_ENTRIES 16384
#define KILL_ENTRY_BYTES 96

struct kill_page {
  uint64_t kill_at; /* point, from 1; 0: count only. Set by the parent before the start. */
  uint64_t calls;   /* so far */
  uint64_t loaded;  /* the shim is in the program */
  char entries[KILL_ENTRIES][KILL_ENTRY_BYTES];
};

#endif /* NODETRAIL_TESTS_FAULT_KILL_PAGE_H_ */
