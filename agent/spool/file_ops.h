// SPDX-License-Identifier: Apache-2.0
//
// The file operations of the spool, as an interface: tests inject EIO, ENOSPC,
// short writes, crashes and lost unsynced writes.
#ifndef NODETRAIL_AGENT_SPOOL_FILE_OPS_H_
#define NODETRAIL_AGENT_SPOOL_FILE_OPS_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace nodetrail::agent {

// Each returns what the system call returns, or -errno. Thread-safe.
class FileOps {
 public:
  virtual ~FileOps() = default;
  virtual int Open(const std::string& path, int flags, unsigned mode) = 0;
  virtual void Close(int fd) = 0;
  // Size of a regular file; -EINVAL for anything else.
  virtual int64_t RegularSize(int fd) = 0;
  virtual ssize_t Pread(int fd, void* data, size_t size, uint64_t offset) = 0;
  virtual ssize_t Pwrite(int fd, const void* data, size_t size, uint64_t offset) = 0;
  virtual int Fallocate(int fd, uint64_t size) = 0;
  virtual int Ftruncate(int fd, uint64_t size) = 0;
  virtual int Fdatasync(int fd) = 0;
  virtual int Rename(const std::string& from, const std::string& to) = 0;
  virtual int Unlink(const std::string& path) = 0;
  virtual int SyncDir(const std::string& dir) = 0;
};

// The real ones. EINTR is retried inside.
FileOps& SystemFileOps();

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SPOOL_FILE_OPS_H_
