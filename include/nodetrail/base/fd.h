// SPDX-License-Identifier: Apache-2.0
//
// An owned file descriptor, and the few file operations that must be exact:
// whole reads and writes, atomic replacement.
#ifndef NODETRAIL_BASE_FD_H_
#define NODETRAIL_BASE_FD_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "nodetrail/base/status.h"

namespace nodetrail {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  ~UniqueFd() { Reset(); }
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// open(2) with O_CLOEXEC; the error names the path.
[[nodiscard]] Result<UniqueFd> OpenFd(const std::string& path, int flags, unsigned mode = 0);

// All of `data`, over EINTR and short writes. `what` names the file in errors.
[[nodiscard]] Status WriteAll(int fd, std::string_view data, std::string_view what);

// Up to `max_bytes` of a regular file or of /proc; longer is ResourceExhausted.
[[nodiscard]] Result<std::string> ReadFile(const std::string& path, size_t max_bytes);

// Temp file beside `path`, fsync, rename, fsync of the directory: after it
// returns OK the new content survives a power cut; before, the old one does.
[[nodiscard]] Status WriteFileAtomically(const std::string& path, std::string_view data, unsigned mode = 0640);

[[nodiscard]] Status FsyncDirectory(const std::string& dir);

// mkdir -p with `mode` for what is created; the names of that are durable.
[[nodiscard]] Status MakeDirectories(const std::string& dir, unsigned mode = 0750);

}  // namespace nodetrail

#endif  // NODETRAIL_BASE_FD_H_
