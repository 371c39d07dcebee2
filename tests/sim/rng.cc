// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/rng.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/rand.h>
#include <sodium.h>

#include <cstring>

#include "nodetrail/base/status.h"

namespace nodetrail::sim {
namespace {

std::mt19937_64& Engine() {
  static std::mt19937_64 engine;
  return engine;
}

void Fill(void* out, size_t size) {
  auto* at = static_cast<unsigned char*>(out);
  while (size > 0) {
    const uint64_t word = Engine()();
    const size_t n = size < sizeof(word) ? size : sizeof(word);
    std::memcpy(at, &word, n);
    at += n;
    size -= n;
  }
}

const char* SodiumName() { return "simulation"; }
uint32_t SodiumRandom() { return static_cast<uint32_t>(Engine()()); }
void SodiumBuf(void* const out, const size_t size) { Fill(out, size); }

int OpensslBytes(unsigned char* out, int size) {
  Fill(out, static_cast<size_t>(size));
  return 1;
}
int OpensslStatus() { return 1; }

}  // namespace

void SeedLibraries(uint64_t seed) {
  static randombytes_implementation sodium = {SodiumName, SodiumRandom, nullptr, nullptr, SodiumBuf, nullptr};
  static RAND_METHOD openssl = {nullptr, OpensslBytes, nullptr, nullptr, OpensslBytes, OpensslStatus};
  static const bool installed =
      randombytes_set_implementation(&sodium) == 0 && RAND_set_rand_method(&openssl) == 1 && sodium_init() >= 0;
  NT_CHECK(installed);
  Engine().seed(seed);
}

}  // namespace nodetrail::sim
