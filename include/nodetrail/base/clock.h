// SPDX-License-Identifier: Apache-2.0
//
// Time as an interface, so that tests own it.
#ifndef NODETRAIL_BASE_CLOCK_H_
#define NODETRAIL_BASE_CLOCK_H_

#include <cstdint>

namespace nodetrail {

class Clock {
 public:
  virtual ~Clock() = default;
  // CLOCK_BOOTTIME, ns since boot, suspend included: the clock of the probes.
  [[nodiscard]] virtual uint64_t BootNs() const = 0;
  // CLOCK_REALTIME, ns since the Unix epoch.
  [[nodiscard]] virtual uint64_t WallNs() const = 0;
};

// Thread-safe.
class SystemClock final : public Clock {
 public:
  [[nodiscard]] uint64_t BootNs() const override;
  [[nodiscard]] uint64_t WallNs() const override;
};

class FakeClock final : public Clock {
 public:
  [[nodiscard]] uint64_t BootNs() const override { return boot_ns; }
  [[nodiscard]] uint64_t WallNs() const override { return wall_ns; }
  void Advance(uint64_t ns) {
    boot_ns += ns;
    wall_ns += ns;
  }
  uint64_t boot_ns = 1'000'000'000;
  uint64_t wall_ns = 1'700'000'000'000'000'000;
};

}  // namespace nodetrail

#endif  // NODETRAIL_BASE_CLOCK_H_
