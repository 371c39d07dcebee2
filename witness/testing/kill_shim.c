// SPDX-License-Identifier: Apache-2.0
//
// Preloaded into a program under test: kills it at the N-th point of what it
// does to the files of one directory. Points are: before a write, after half of
// it, after it; before and after fsync, fdatasync and rename.
//
//   NT_KILL_DIR   the directory; files elsewhere don't count
//   NT_KILL_AT    N, from 1; 0 or none: never
//   NT_KILL_LOG   file to which every operation is appended, and "answer" for
//                 the beginning of each HTTP answer that is sent
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#define MAX_FD 1024

static char ours[MAX_FD];
static atomic_long points;

static int in_dir(const char* path) {
  const char* dir = getenv("NT_KILL_DIR");
  return dir != NULL && strncmp(path, dir, strlen(dir)) == 0;
}

static int counts(int fd) { return fd >= 0 && fd < MAX_FD && ours[fd]; }

static void tell(const char* what) {
  const char* path = getenv("NT_KILL_LOG");
  static int (*real_open)(const char*, int, ...);
  static ssize_t (*real_write)(int, const void*, size_t);
  if (path == NULL) return;
  if (real_open == NULL) real_open = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, "open");
  if (real_write == NULL) real_write = (ssize_t(*)(int, const void*, size_t))dlsym(RTLD_NEXT, "write");
  int fd = real_open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return;
  char line[64];
  int n = snprintf(line, sizeof(line), "%s\n", what);
  if (real_write(fd, line, (size_t)n) != n) abort();
  close(fd);
}

// True at the point where it is to end.
static int now(void) {
  const char* at = getenv("NT_KILL_AT");
  return atomic_fetch_add(&points, 1) + 1 == (at == NULL ? 0 : atol(at));
}

static void end(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static void point(void) {
  if (now()) end();
}

static int remember(int fd, const char* path) {
  if (fd >= 0 && fd < MAX_FD) ours[fd] = (char)in_dir(path);
  return fd;
}

int open(const char* path, int flags, ...) {
  static int (*real)(const char*, int, ...);
  if (real == NULL) real = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, "open");
  mode_t mode = 0;
  if (flags & O_CREAT) {
    va_list args;
    va_start(args, flags);
    mode = va_arg(args, mode_t);
    va_end(args);
  }
  return remember(real(path, flags, mode), path);
}

ssize_t write(int fd, const void* data, size_t size) {
  static ssize_t (*real)(int, const void*, size_t);
  if (real == NULL) real = (ssize_t(*)(int, const void*, size_t))dlsym(RTLD_NEXT, "write");
  if (!counts(fd)) return real(fd, data, size);
  tell("write");
  point();
  if (now()) {
    if (real(fd, data, size / 2) < 0) abort();
    end();
  }
  ssize_t n = real(fd, data, size);
  point();
  return n;
}

static int sync_with(const char* name, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  if (!counts(fd)) return real(fd);
  tell(name);
  point();
  int rc = real(fd);
  point();
  return rc;
}

int fsync(int fd) { return sync_with("fsync", fd); }
int fdatasync(int fd) { return sync_with("fdatasync", fd); }

int rename(const char* from, const char* to) {
  static int (*real)(const char*, const char*);
  if (real == NULL) real = (int (*)(const char*, const char*))dlsym(RTLD_NEXT, "rename");
  if (!in_dir(to)) return real(from, to);
  tell("rename");
  point();
  int rc = real(from, to);
  point();
  return rc;
}

ssize_t send(int fd, const void* data, size_t size, int flags) {
  static ssize_t (*real)(int, const void*, size_t, int);
  if (real == NULL) real = (ssize_t(*)(int, const void*, size_t, int))dlsym(RTLD_NEXT, "send");
  if (size > 9 && memcmp(data, "HTTP/1.1 ", 9) == 0) tell("answer");
  return real(fd, data, size, flags);
}
