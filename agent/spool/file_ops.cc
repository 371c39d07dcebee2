// SPDX-License-Identifier: Apache-2.0
#include "agent/spool/file_ops.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

namespace nodetrail::agent {
namespace {

template <typename Call>
auto Retry(Call call) -> decltype(call()) {
  while (true) {
    const auto result = call();
    if (result >= 0) return result;
    if (errno != EINTR) return -errno;
  }
}

class RealFileOps final : public FileOps {
 public:
  int Open(const std::string& path, int flags, unsigned mode) override {
    return Retry([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); });
  }
  void Close(int fd) override { ::close(fd); }
  int64_t RegularSize(int fd) override {
    struct stat st {};
    if (::fstat(fd, &st) != 0) return -errno;
    return S_ISREG(st.st_mode) ? st.st_size : -EINVAL;
  }
  ssize_t Pread(int fd, void* data, size_t size, uint64_t offset) override {
    return Retry([&] { return ::pread(fd, data, size, static_cast<off_t>(offset)); });
  }
  ssize_t Pwrite(int fd, const void* data, size_t size, uint64_t offset) override {
    return Retry([&] { return ::pwrite(fd, data, size, static_cast<off_t>(offset)); });
  }
  int Fallocate(int fd, uint64_t size) override {
    return Retry([&] { return ::fallocate(fd, 0, 0, static_cast<off_t>(size)); });
  }
  int Ftruncate(int fd, uint64_t size) override {
    return Retry([&] { return ::ftruncate(fd, static_cast<off_t>(size)); });
  }
  // EINTR included: a failed sync is never repeated on the same file.
  int Fdatasync(int fd) override { return ::fdatasync(fd) == 0 ? 0 : -errno; }
  int Rename(const std::string& from, const std::string& to) override {
    return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : -errno;
  }
  int Unlink(const std::string& path) override { return ::unlink(path.c_str()) == 0 ? 0 : -errno; }
  int SyncDir(const std::string& dir) override {
    const int fd = Open(dir, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) return fd;
    const int result = ::fsync(fd) == 0 ? 0 : -errno;
    ::close(fd);
    return result;
  }
};

}  // namespace

FileOps& SystemFileOps() {
  static RealFileOps ops;
  return ops;
}

}  // namespace nodetrail::agent
