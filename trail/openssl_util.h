// SPDX-License-Identifier: Apache-2.0
//
// Ownership and errors of OpenSSL, for the .cc files of this folder.
#ifndef NODETRAIL_TRAIL_OPENSSL_UTIL_H_
#define NODETRAIL_TRAIL_OPENSSL_UTIL_H_

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::trail {

struct OpenSslFree {
  void operator()(EVP_MD_CTX* p) const { EVP_MD_CTX_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(BIO* p) const { BIO_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(X509_STORE* p) const { X509_STORE_free(p); }
  void operator()(X509_STORE_CTX* p) const { X509_STORE_CTX_free(p); }
};
using EvpKey = std::unique_ptr<EVP_PKEY, OpenSslFree>;
using X509Ptr = std::unique_ptr<X509, OpenSslFree>;
using BioPtr = std::unique_ptr<BIO, OpenSslFree>;

// "what: <the oldest error of this thread's queue>"; empties the queue.
std::string OpenSslError(std::string_view what);

// A read-only BIO over `bytes`, which must outlive it.
Result<BioPtr> MemoryBio(std::string_view bytes);

// InvalidArgument if the key is not P-256.
Result<EcdsaKey> WrapEcdsaKey(EvpKey key);

// First private key of the PEM text, unencrypted.
Result<EvpKey> ParsePrivatePem(std::string_view pem);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_OPENSSL_UTIL_H_
