// SPDX-License-Identifier: Apache-2.0
//
// The one source of chance of a simulated world: the same seed, the same world.
#ifndef NODETRAIL_TESTS_SIM_RNG_H_
#define NODETRAIL_TESTS_SIM_RNG_H_

#include <cstddef>
#include <cstdint>
#include <random>

namespace nodetrail::sim {

class Rng {
 public:
  explicit Rng(uint64_t seed) : engine_(seed) {}

  uint64_t Next() { return engine_(); }
  // In [0, n); n > 0. The bias of the remainder is far below what matters here.
  uint64_t Below(uint64_t n) { return engine_() % n; }
  // In [from, to].
  uint64_t Between(uint64_t from, uint64_t to) { return from + Below(to - from + 1); }
  // True in `percent` of 100.
  bool Chance(unsigned percent) { return Below(100) < percent; }

 private:
  std::mt19937_64 engine_;
};

// From now on libsodium's and OpenSSL's randomness comes from `seed`: key
// material decides names of files, and these decide which operation is the
// n-th. Never linked into a program.
void SeedLibraries(uint64_t seed);

// The signatures that were verified in the world before (memo.cc).
void ForgetSignatures();

}  // namespace nodetrail::sim

#endif  // NODETRAIL_TESTS_SIM_RNG_H_
