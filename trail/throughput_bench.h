// SPDX-License-Identifier: Apache-2.0
//
// Sealing and ingest over recorded events, beside a floor in the same run.
#ifndef NODETRAIL_TRAIL_THROUGHPUT_BENCH_H_
#define NODETRAIL_TRAIL_THROUGHPUT_BENCH_H_

#include <string>

#include "nodetrail/base/status.h"

namespace nodetrail::trail {

// Takes the events of a trail that the product wrote (of a build, say), and
// prints medians of five rounds. Errors are those of reading the trail.
Status BenchThroughput(const std::string& trail_dir);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_THROUGHPUT_BENCH_H_
