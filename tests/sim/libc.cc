// SPDX-License-Identifier: Apache-2.0
//
// The functions of libc that change files, as the program under test calls
// them. What is not on a simulated disk goes to the kernel unchanged.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <string>

#include "nodetrail/base/status.h"
#include "tests/sim/disk.h"

using nodetrail::sim::Disk;

namespace {

std::string At(int dir, const char* path) {
  if (path[0] == '/' || dir == AT_FDCWD) return path;
  return Disk::Of(dir) == nullptr ? path : Disk::PathOf(dir) + "/" + path;
}

int OpenAt(int dir, const char* path, int flags, mode_t mode) {
  const std::string full = At(dir, path);
  if (Disk* disk = Disk::Of(full)) return disk->Open(full, flags, mode);
  return static_cast<int>(::syscall(SYS_openat, dir, path, flags, mode));
}

ssize_t PwriteTo(int fd, const void* data, size_t size, off_t offset) {
  if (Disk* disk = Disk::Of(fd)) return disk->Write(fd, data, size, offset);
  return ::syscall(SYS_pwrite64, fd, data, size, offset);
}

}  // namespace

#define NT_MODE(flags)                                      \
  mode_t mode = 0;                                          \
  if (((flags) & (O_CREAT | __O_TMPFILE)) != 0) {           \
    va_list args;                                           \
    va_start(args, flags);                                  \
    mode = static_cast<mode_t>(va_arg(args, unsigned int)); \
    va_end(args);                                           \
  }

extern "C" {

int open(const char* path, int flags, ...) {
  NT_MODE(flags)
  return OpenAt(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  NT_MODE(flags)
  return OpenAt(AT_FDCWD, path, flags, mode);
}
int openat(int dir, const char* path, int flags, ...) {
  NT_MODE(flags)
  return OpenAt(dir, path, flags, mode);
}
int openat64(int dir, const char* path, int flags, ...) {
  NT_MODE(flags)
  return OpenAt(dir, path, flags, mode);
}
int close(int fd) {
  if (Disk* disk = Disk::Of(fd)) disk->Closed(fd);
  const auto result = static_cast<int>(::syscall(SYS_close, fd));
  // Closing twice closes somebody else's file.
  NT_CHECK(result == 0 || errno != EBADF);
  return result;
}
// It closes the descriptor by a call that can't be stood in front of.
int closedir(DIR* dir) {
  static const auto real = reinterpret_cast<int (*)(DIR*)>(::dlsym(RTLD_NEXT, "closedir"));
  const int fd = ::dirfd(dir);
  if (Disk* disk = Disk::Of(fd)) disk->Closed(fd);
  return real(dir);
}
ssize_t write(int fd, const void* data, size_t size) {
  if (Disk* disk = Disk::Of(fd)) return disk->Write(fd, data, size, -1);
  return ::syscall(SYS_write, fd, data, size);
}
ssize_t pwrite(int fd, const void* data, size_t size, off_t offset) { return PwriteTo(fd, data, size, offset); }
ssize_t pwrite64(int fd, const void* data, size_t size, off64_t offset) { return PwriteTo(fd, data, size, offset); }
int ftruncate(int fd, off_t size) noexcept {
  if (Disk* disk = Disk::Of(fd)) return disk->Truncate(fd, size);
  return static_cast<int>(::syscall(SYS_ftruncate, fd, size));
}
int ftruncate64(int fd, off64_t size) noexcept { return ftruncate(fd, size); }
int fallocate(int fd, int mode, off_t offset, off_t size) {
  if (Disk* disk = Disk::Of(fd)) return disk->Allocate(fd, mode, offset, size);
  return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, size));
}
int fallocate64(int fd, int mode, off64_t offset, off64_t size) { return fallocate(fd, mode, offset, size); }
// For the validity of certificates: their bytes decide lengths of signatures.
time_t time(time_t* out) noexcept {
  constexpr time_t kNow = 1'700'000'000;
  if (out != nullptr) *out = kNow;
  return kNow;
}
int fsync(int fd) {
  if (Disk* disk = Disk::Of(fd)) return disk->Sync(fd);
  return static_cast<int>(::syscall(SYS_fsync, fd));
}
int fdatasync(int fd) {
  if (Disk* disk = Disk::Of(fd)) return disk->Sync(fd);
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}
int rename(const char* from, const char* to) noexcept {
  if (Disk* disk = Disk::Of(to)) return disk->Rename(from, to);
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0));
}
int unlinkat(int dir, const char* path, int flags) noexcept {
  const std::string full = At(dir, path);
  if (Disk* disk = Disk::Of(full)) return (flags & AT_REMOVEDIR) != 0 ? disk->RemoveDir(full) : disk->Unlink(full);
  return static_cast<int>(::syscall(SYS_unlinkat, dir, path, flags));
}
int unlink(const char* path) noexcept { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char* path) noexcept { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char* path) noexcept {
  struct stat st {};
  if (::lstat(path, &st) != 0) return -1;
  return unlinkat(AT_FDCWD, path, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
}
int mkdir(const char* path, mode_t mode) noexcept {
  if (Disk* disk = Disk::Of(std::string(path))) return disk->MakeDir(path, mode);
  return static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path, mode));
}

}  // extern "C"
