/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloaded into a program under test: counts its calls that change files
 * below given folders, and kills it before or after one of them. What the dead
 * program did is in a page that it shares with its parent.
 *
 *   NT_KILL_PAGE  file of struct kill_page, made by the parent
 *   NT_KILL_DIRS  folders, absolute, separated by colons
 *
 * Point 2n-1 is just before call n, point 2n just after it, of all calls or of
 * those that match. The entries name the calls, so that a point has a name that
 * a person can read. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kill_page.h"

static struct kill_page* page;
static char dirs[4096];

__attribute__((constructor)) static void open_page(void) {
  const char* path = getenv("NT_KILL_PAGE");
  const char* list = getenv("NT_KILL_DIRS");
  if (path == NULL || list == NULL || strlen(list) >= sizeof(dirs)) return;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  void* at = mmap(NULL, sizeof(struct kill_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (at == MAP_FAILED) return;
  strcpy(dirs, list);
  page = at;
  __atomic_store_n(&page->loaded, 1, __ATOMIC_SEQ_CST);
  unsetenv("LD_PRELOAD"); /* not its children */
}

/* Said with each call from here on. */
void nt_fault_mark(int mark);
void nt_fault_mark(int mark) {
  if (page != NULL) __atomic_store_n(&page->mark, (uint64_t)mark, __ATOMIC_SEQ_CST);
}

/* What follows the folder if `path` is below one of ours, else NULL. */
static const char* below(const char* path) {
  for (const char* dir = dirs; *dir != '\0';) {
    const size_t length = strcspn(dir, ":");
    if (strncmp(path, dir, length) == 0 && (path[length] == '/' || path[length] == '\0')) {
      return path[length] == '\0' ? "." : path + length + 1;
    }
    dir += length;
    if (*dir == ':') ++dir;
  }
  return NULL;
}

static int fd_path(int fd, char* out, size_t size) {
  char link[64];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(link, out, size - 1);
  if (n <= 0) return 0;
  out[n] = '\0';
  return 1;
}

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

/* The number of this call among those that count; 0: not one of them. */
static uint64_t enter(const char* call, const char* path) {
  char entry[KILL_ENTRY_BYTES];
  if (page == NULL) return 0;
  const char* name = below(path);
  if (name == NULL) return 0;
  const int saved = errno;
  snprintf(entry, sizeof(entry), "%s %s", call, name);
  const uint64_t mark = __atomic_load_n(&page->mark, __ATOMIC_SEQ_CST);
  const uint64_t all = __atomic_add_fetch(&page->calls, 1, __ATOMIC_SEQ_CST);
  if (all <= KILL_ENTRIES) {
    page->marks[all - 1] = (uint8_t)mark;
    memcpy(page->entries[all - 1], entry, sizeof(entry));
  }
  uint64_t n = 0;
  if ((page->match_mark == 0 || page->match_mark == mark) && strstr(entry, page->match) != NULL) {
    n = __atomic_add_fetch(&page->matched, 1, __ATOMIC_SEQ_CST);
    if ((page->kill_at + 1) / 2 == n) memcpy(page->killed_at, entry, sizeof(entry));
    if (page->kill_at == 2 * n - 1) die();
  }
  errno = saved;
  return n;
}

static uint64_t enter_fd(const char* call, int fd) {
  char path[4096];
  if (page == NULL) return 0;
  const int saved = errno;
  const int known = fd_path(fd, path, sizeof(path));
  errno = saved;
  return known ? enter(call, path) : 0;
}

static uint64_t enter_at(const char* call, int dirfd, const char* path) {
  char whole[8192];
  if (page == NULL || path == NULL) return 0;
  if (path[0] == '/') return enter(call, path);
  const int saved = errno;
  const int known = dirfd == AT_FDCWD ? getcwd(whole, 4096) != NULL : fd_path(dirfd, whole, 4096);
  errno = saved;
  if (!known || strlen(path) >= 4096) return 0;
  strcat(whole, "/");
  strcat(whole, path);
  return enter(call, whole);
}

static void leave(uint64_t n) {
  if (n != 0 && page->kill_at == 2 * n) die();
}

/* Looked up once; which thread does it does not matter. */
#define REAL(name)                                               \
  static __typeof__(name)* real;                                 \
  if (real == NULL) {                                            \
    *(void**)&real = dlsym(RTLD_NEXT, #name);                    \
    if (real == NULL) abort();                                   \
  }
#define WRAP(type, name, enter_expr, params, ...)                \
  type name params {                                             \
    REAL(name)                                                   \
    const uint64_t n = enter_expr;                               \
    const type result = real(__VA_ARGS__);                       \
    leave(n);                                                    \
    return result;                                               \
  }

WRAP(ssize_t, write, enter_fd("write", fd), (int fd, const void* data, size_t size), fd, data, size)
WRAP(ssize_t, writev, enter_fd("writev", fd), (int fd, const struct iovec* io, int count), fd, io, count)
WRAP(ssize_t, pwrite, enter_fd("pwrite", fd), (int fd, const void* data, size_t size, off_t at), fd, data, size, at)
WRAP(ssize_t, pwrite64, enter_fd("pwrite", fd), (int fd, const void* data, size_t size, off64_t at), fd, data, size, at)
WRAP(int, fsync, enter_fd("fsync", fd), (int fd), fd)
WRAP(int, fdatasync, enter_fd("fdatasync", fd), (int fd), fd)
WRAP(int, ftruncate, enter_fd("ftruncate", fd), (int fd, off_t size), fd, size)
WRAP(int, ftruncate64, enter_fd("ftruncate", fd), (int fd, off64_t size), fd, size)
WRAP(int, fallocate, enter_fd("fallocate", fd), (int fd, int mode, off_t at, off_t size), fd, mode, at, size)
WRAP(int, fallocate64, enter_fd("fallocate", fd), (int fd, int mode, off64_t at, off64_t size), fd, mode, at, size)
WRAP(int, posix_fallocate, enter_fd("fallocate", fd), (int fd, off_t at, off_t size), fd, at, size)
WRAP(int, rename, enter_at("rename", AT_FDCWD, to), (const char* from, const char* to), from, to)
WRAP(int, renameat, enter_at("rename", to_fd, to), (int from_fd, const char* from, int to_fd, const char* to), from_fd,
     from, to_fd, to)
WRAP(int, unlink, enter_at("unlink", AT_FDCWD, path), (const char* path), path)
WRAP(int, unlinkat, enter_at("unlink", dirfd, path), (int dirfd, const char* path, int flags), dirfd, path, flags)
WRAP(int, rmdir, enter_at("rmdir", AT_FDCWD, path), (const char* path), path)
WRAP(int, mkdir, enter_at("mkdir", AT_FDCWD, path), (const char* path, mode_t mode), path, mode)
