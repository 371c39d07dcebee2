// SPDX-License-Identifier: Apache-2.0
//
// In front of libsodium: each signature is verified once in a world. A batch
// is verified by the collector and by the verifier, a checkpoint with each of
// its receipts; what is true of the same bytes stays true. A sixth of the time of
// a world went there.
#include <dlfcn.h>
#include <sodium.h>

#include <string>
#include <unordered_set>

#include "nodetrail/base/status.h"
#include "tests/sim/rng.h"

namespace nodetrail::sim {
namespace {

// Key, signature and message of those that hold; whole, so that nothing rests
// on a hash.
std::unordered_set<std::string>& Good() {
  static std::unordered_set<std::string> good;
  return good;
}

}  // namespace

void ForgetSignatures() { Good().clear(); }

}  // namespace nodetrail::sim

extern "C" int crypto_sign_ed25519_verify_detached(const unsigned char* signature, const unsigned char* message,
                                                   unsigned long long size, const unsigned char* key) {
  static const auto real = reinterpret_cast<decltype(&crypto_sign_ed25519_verify_detached)>(
      ::dlsym(RTLD_NEXT, "crypto_sign_ed25519_verify_detached"));
  NT_CHECK(real != nullptr);
  std::string all;
  all.reserve(crypto_sign_ed25519_PUBLICKEYBYTES + crypto_sign_ed25519_BYTES + size);
  all.append(reinterpret_cast<const char*>(key), crypto_sign_ed25519_PUBLICKEYBYTES);
  all.append(reinterpret_cast<const char*>(signature), crypto_sign_ed25519_BYTES);
  all.append(reinterpret_cast<const char*>(message), size);
  if (nodetrail::sim::Good().contains(all)) return 0;
  const int result = real(signature, message, size, key);
  if (result == 0) nodetrail::sim::Good().insert(std::move(all));
  return result;
}
