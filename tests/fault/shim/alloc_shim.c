/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloaded into a program under test: counts its allocations from the moment
 * at which it is armed, and refuses one of them.
 *
 *   NT_ALLOC_PAGE  file of struct alloc_page, made by the parent
 *
 * The program arms it with nt_fault_mark, the parent by the page. operator new
 * asks malloc, so that it is here, too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc_page.h"

/* glibc's own names for them: looking up the next malloc allocates. */
extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void* __libc_memalign(size_t, size_t);

static struct alloc_page* page;

__attribute__((constructor)) static void open_page(void) {
  const char* path = getenv("NT_ALLOC_PAGE");
  if (path == NULL) return;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* at = mmap(NULL, sizeof(struct alloc_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at == MAP_FAILED) return;
  page = at;
  __atomic_store_n(&page->loaded, 1, __ATOMIC_SEQ_CST);
  unsetenv("LD_PRELOAD"); /* not its children */
}

/* The program runs: from here on its allocations count. */
void nt_fault_mark(int mark);
void nt_fault_mark(int mark) {
  (void)mark;
  if (page != NULL) __atomic_store_n(&page->armed, 1, __ATOMIC_SEQ_CST);
}

static void note(const void* caller) {
  Dl_info info;
  if (dladdr(caller, &info) == 0 || info.dli_fname == NULL) return;
  const char* slash = strrchr(info.dli_fname, '/');
  snprintf(page->caller, sizeof(page->caller), "%s %s", slash == NULL ? info.dli_fname : slash + 1,
           info.dli_sname == NULL ? "?" : info.dli_sname);
}

/* Not 0: this allocation is the one. */
static int refuse(const void* caller) {
  if (page == NULL || __atomic_load_n(&page->armed, __ATOMIC_RELAXED) == 0) return 0;
  if (__atomic_add_fetch(&page->calls, 1, __ATOMIC_SEQ_CST) != page->fail_at) return 0;
  note(caller);
  __atomic_store_n(&page->failed, 1, __ATOMIC_SEQ_CST);
  errno = ENOMEM;
  return 1;
}

#define CALLER __builtin_return_address(0)

void* malloc(size_t size) { return refuse(CALLER) ? NULL : __libc_malloc(size); }
void* calloc(size_t count, size_t size) { return refuse(CALLER) ? NULL : __libc_calloc(count, size); }
void* realloc(void* old, size_t size) { return refuse(CALLER) ? NULL : __libc_realloc(old, size); }
void* memalign(size_t align, size_t size) { return refuse(CALLER) ? NULL : __libc_memalign(align, size); }
void* aligned_alloc(size_t align, size_t size) { return refuse(CALLER) ? NULL : __libc_memalign(align, size); }
int posix_memalign(void** out, size_t align, size_t size) {
  if (refuse(CALLER)) return ENOMEM;
  *out = __libc_memalign(align, size);
  return *out == NULL ? ENOMEM : 0;
}
