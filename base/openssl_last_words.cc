// SPDX-License-Identifier: Apache-2.0
#include <openssl/crypto.h>

#include <cstdlib>

#include "nodetrail/base/last_words.h"

namespace nodetrail {
namespace {

void* Allocate(size_t size, const char* /*file*/, int /*line*/) {
  if (size == 0) return nullptr;
  void* out = std::malloc(size);
  if (out == nullptr) EndWithoutMemory();
  return out;
}

void Free(void* old, const char* /*file*/, int /*line*/) { std::free(old); }

// As OpenSSL's own: no bytes are none at all.
void* Reallocate(void* old, size_t size, const char* file, int line) {
  if (old == nullptr) return Allocate(size, file, line);
  if (size == 0) {
    std::free(old);
    return nullptr;
  }
  void* out = std::realloc(old, size);
  if (out == nullptr) EndWithoutMemory();
  return out;
}

}  // namespace

bool InstallOpenSslLastWords() { return CRYPTO_set_mem_functions(Allocate, Reallocate, Free) == 1; }

}  // namespace nodetrail
