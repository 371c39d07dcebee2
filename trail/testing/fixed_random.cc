// SPDX-License-Identifier: Apache-2.0
#include "trail/testing/fixed_random.h"

#include <openssl/rand.h>
#include <sodium.h>

#include <random>

#include "nodetrail/base/status.h"

namespace nodetrail::trail {
namespace {

std::mt19937_64& Stream() {
  static std::mt19937_64 stream;  // NOLINT(cert-msc51-cpp,cert-msc32-c): the same each time is what it is for
  return stream;
}

void Fill(void* buffer, size_t size) {
  auto* bytes = static_cast<unsigned char*>(buffer);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<unsigned char>(Stream()());
}

int OpenSslBytes(unsigned char* buffer, int size) {
  Fill(buffer, static_cast<size_t>(size));
  return 1;
}
int OpenSslStatus() { return 1; }

}  // namespace

void UseFixedRandom(uint64_t seed) {
  Stream().seed(seed);
  static const RAND_METHOD method = {nullptr, OpenSslBytes, nullptr, nullptr, OpenSslBytes, OpenSslStatus};
  // OpenSSL 3.0 has no other way that needs no provider of one's own.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  NT_CHECK(RAND_set_rand_method(&method) == 1);
#pragma GCC diagnostic pop
  static randombytes_implementation sodium = {
      [] { return "fixed"; }, [] { return static_cast<uint32_t>(Stream()()); }, nullptr, nullptr, Fill, nullptr,
  };
  NT_CHECK(randombytes_set_implementation(&sodium) == 0);
}

}  // namespace nodetrail::trail
