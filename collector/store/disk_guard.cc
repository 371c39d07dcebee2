// SPDX-License-Identifier: Apache-2.0
#include "collector/store/disk_guard.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <cerrno>

namespace nodetrail::collector {

Result<uint64_t> DiskGuard::FreeBytes() const {
  struct statvfs st {};
  if (statvfs(dir_.c_str(), &st) != 0) return ErrnoStatus(errno, fmt::format("statvfs {}", dir_));
  return uint64_t{st.f_bavail} * st.f_frsize;
}

Status DiskGuard::Check(uint64_t bytes) const {
  NT_ASSIGN_OR_RETURN(const uint64_t free, FreeBytes());
  if (free >= bytes && free - bytes >= min_free_) return OkStatus();
  return ResourceExhausted(fmt::format("{}: {} bytes free, min_free_bytes is {}; make room", dir_, free, min_free_));
}

}  // namespace nodetrail::collector
