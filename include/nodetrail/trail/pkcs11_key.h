// SPDX-License-Identifier: Apache-2.0
//
// A P-256 key that stays in a token (HSM, TPM behind PKCS#11), through
// OpenSSL's engine "pkcs11" (Debian: libengine-pkcs11-openssl).
#ifndef NODETRAIL_TRAIL_PKCS11_KEY_H_
#define NODETRAIL_TRAIL_PKCS11_KEY_H_

#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::trail {

// "pkcs11:token=…;object=…?module-path=/…/libsofthsm2.so&pin-source=file:/…",
// RFC 7512. The PIN comes from a file: a pin-value in the URI would stand in
// configurations and process lists.
struct Pkcs11Uri {
  std::string object;       // the URI without its query: which key
  std::string module_path;  // absolute
  std::string pin_file;     // absolute; empty: the token asks for none
};
// InvalidArgument names what is wrong; it quotes no value.
Result<Pkcs11Uri> ParsePkcs11Uri(std::string_view uri);

// The key, usable while the process lives. FailedPrecondition: the engine or
// the token's module is not there. InvalidArgument: the PIN file can be read by
// others, or the token has no such P-256 key, or refuses the PIN. Nobody is
// asked for a PIN on a terminal. Any thread, one at a time.
Result<EcdsaKey> LoadPkcs11Key(const Pkcs11Uri& uri);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_PKCS11_KEY_H_
