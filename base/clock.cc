// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/base/clock.h"

#include <ctime>

namespace nodetrail {
namespace {

uint64_t Read(clockid_t id) {
  timespec ts{};
  clock_gettime(id, &ts);
  return static_cast<uint64_t>(ts.tv_sec) * 1'000'000'000U + static_cast<uint64_t>(ts.tv_nsec);
}

}  // namespace

uint64_t SystemClock::BootNs() const { return Read(CLOCK_BOOTTIME); }
uint64_t SystemClock::WallNs() const { return Read(CLOCK_REALTIME); }

}  // namespace nodetrail
