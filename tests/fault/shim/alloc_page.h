/* SPDX-License-Identifier: Apache-2.0
 *
 * What alloc_shim.c and the sweep share. C and C++. */
#ifndef NODETRAIL_TESTS_FAULT_ALLOC_PAGE_H_
#define NODETRAIL_TESTS_FAULT_ALLOC_PAGE_H_

#include <stdint.h>

struct alloc_page {
  uint64_t fail_at; /* the allocation that fails, from 1; 0: count only. Set by the parent before the start. */
  uint64_t armed;   /* counts while not 0. By either. */
  uint64_t calls;   /* so far */
  uint64_t failed;  /* that one was asked for, and refused */
  uint64_t loaded;  /* the shim is in the program */
  char caller[96];  /* the library and function that asked */
};

#endif /* NODETRAIL_TESTS_FAULT_ALLOC_PAGE_H_ */
