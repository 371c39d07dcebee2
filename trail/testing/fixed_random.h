// SPDX-License-Identifier: Apache-2.0
//
// For programs that make test data: every key, nonce and serial number that
// OpenSSL and libsodium draw comes from a seed, so that the data are the same
// bytes each time. Never in anything that protects something.
#ifndef NODETRAIL_TRAIL_TESTING_FIXED_RANDOM_H_
#define NODETRAIL_TRAIL_TESTING_FIXED_RANDOM_H_

#include <cstdint>

namespace nodetrail::trail {

// Before anything is drawn; for the whole process, one thread.
void UseFixedRandom(uint64_t seed);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_TESTING_FIXED_RANDOM_H_
