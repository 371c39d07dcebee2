// SPDX-License-Identifier: Apache-2.0
#ifndef NODETRAIL_WITNESS_METRICS_H_
#define NODETRAIL_WITNESS_METRICS_H_

#include <string>

#include "witness/core.h"

namespace nodetrail::witness {

// Prometheus text, version 0.0.4.
std::string FormatMetrics(const Witness& witness);

}  // namespace nodetrail::witness

#endif  // NODETRAIL_WITNESS_METRICS_H_
