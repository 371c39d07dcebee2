// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/base/fd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>

namespace nodetrail {

void UniqueFd::Reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Result<UniqueFd> OpenFd(const std::string& path, int flags, unsigned mode) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ErrnoStatus(errno, fmt::format("open {}", path));
  return UniqueFd(fd);
}

Status WriteAll(int fd, std::string_view data, std::string_view what) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, fmt::format("write {}", what));
    }
    data.remove_prefix(static_cast<size_t>(n));
  }
  return OkStatus();
}

Result<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFd(path, O_RDONLY));
  std::string data;
  while (true) {
    char chunk[16384];
    const ssize_t n = ::read(fd.get(), chunk, sizeof(chunk));
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, fmt::format("read {}", path));
    }
    if (n == 0) return data;
    if (data.size() + static_cast<size_t>(n) > max_bytes) {
      return ResourceExhausted(fmt::format("read {}: longer than {} bytes", path, max_bytes));
    }
    data.append(chunk, static_cast<size_t>(n));
  }
}

Status FsyncDirectory(const std::string& dir) {
  NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFd(dir, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, fmt::format("fsync {}", dir));
  return OkStatus();
}

Status WriteFileAtomically(const std::string& path, std::string_view data, unsigned mode) {
  const std::string temp = path + ".tmp";
  {
    NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFd(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode));
    NT_RETURN_IF_ERROR(WriteAll(fd.get(), data, temp));
    if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, fmt::format("fsync {}", temp));
  }
  if (::rename(temp.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, fmt::format("rename {}", temp));
  const std::string dir = std::filesystem::path(path).parent_path().string();
  return FsyncDirectory(dir.empty() ? "." : dir);
}

Status MakeDirectories(const std::string& dir, unsigned mode) {
  std::string prefix;
  for (const auto& part : std::filesystem::path(dir)) {
    prefix = prefix.empty() ? part.string() : (std::filesystem::path(prefix) / part).string();
    if (prefix.empty() || prefix == "/") continue;
    if (::mkdir(prefix.c_str(), mode) == 0) {
      const std::string parent = std::filesystem::path(prefix).parent_path().string();
      NT_RETURN_IF_ERROR(FsyncDirectory(parent.empty() ? "." : parent));
    } else if (errno != EEXIST) {
      return ErrnoStatus(errno, fmt::format("mkdir {}", prefix));
    }
  }
  struct stat st {};
  if (::stat(dir.c_str(), &st) != 0) return ErrnoStatus(errno, fmt::format("stat {}", dir));
  if (!S_ISDIR(st.st_mode)) return FailedPrecondition(fmt::format("{} is not a directory", dir));
  return OkStatus();
}

}  // namespace nodetrail
