/* SPDX-License-Identifier: Apache-2.0
 *
 * What kill_shim.c and the sweep share. C and C++. */
#ifndef NODETRAIL_TESTS_FAULT_KILL_PAGE_H_
#define NODETRAIL_TESTS_FAULT_KILL_PAGE_H_

#include <stdint.h>

#define KILL_ENTRIES 16384
#define KILL_ENTRY_BYTES 96

/* What a program under test, or its parent, says that it does now. */
enum fault_mark {
  MARK_RUNNING = 1,  /* it is up; nothing else */
  MARK_EPOCH = 2,    /* an epoch is opened */
  MARK_RELOADED = 3, /* what it read at its start was exchanged, and it has taken that */
  MARK_ENROL = 4     /* an agent is enrolled */
};

struct kill_page {
  uint64_t kill_at;    /* point, from 1; 0: count only. Set by the parent before the start, as are the next two: */
  char match[64];      /* points are counted among calls that have this in their entry, if it is not empty */
  uint64_t match_mark; /* and that were made at this mark, if it is not 0 */
  uint64_t matched;    /* such calls so far */
  uint64_t calls;      /* all, so far */
  uint64_t loaded;     /* the shim is in the program */
  uint64_t mark;       /* by either */
  char killed_at[KILL_ENTRY_BYTES]; /* the entry at the point */
  uint8_t marks[KILL_ENTRIES];
  char entries[KILL_ENTRIES][KILL_ENTRY_BYTES];
};

#endif /* NODETRAIL_TESTS_FAULT_KILL_PAGE_H_ */
