// SPDX-License-Identifier: Apache-2.0
#include <sys/timex.h>

#include "agent/seal/sealer.h"

namespace nodetrail::agent {

ClockQuality ReadClockQuality() {
  struct timex tx {};
  const int state = ::adjtimex(&tx);  // modes 0: reads only
  ClockQuality quality;
  if (state < 0) return quality;
  quality.unsynced = state == TIME_ERROR || (tx.status & STA_UNSYNC) != 0;
  quality.max_error_ns = tx.maxerror > 0 ? static_cast<uint64_t>(tx.maxerror) * 1000 : 0;
  return quality;
}

}  // namespace nodetrail::agent
