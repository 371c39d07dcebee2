// SPDX-License-Identifier: Apache-2.0
//
// Is there room for more? Asked before each commit: agents keep their batches
// better than a full disk does.
#ifndef NODETRAIL_COLLECTOR_STORE_DISK_GUARD_H_
#define NODETRAIL_COLLECTOR_STORE_DISK_GUARD_H_

#include <cstdint>
#include <string>

#include "nodetrail/base/status.h"

namespace nodetrail::collector {

// Thread-safe.
class DiskGuard {
 public:
  DiskGuard(std::string dir, uint64_t min_free_bytes) : dir_(std::move(dir)), min_free_(min_free_bytes) {}

  // Bytes that we may still write, statvfs(3) f_bavail.
  [[nodiscard]] Result<uint64_t> FreeBytes() const;
  // ResourceExhausted, naming both numbers, if `bytes` more would leave less
  // than min_free_bytes.
  [[nodiscard]] Status Check(uint64_t bytes) const;

 private:
  const std::string dir_;
  const uint64_t min_free_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_STORE_DISK_GUARD_H_
