// SPDX-License-Identifier: Apache-2.0
//
// Cosignatures, https://c2sp.org/tlog-cosignature, Ed25519.
#ifndef NODETRAIL_WITNESS_COSIGN_H_
#define NODETRAIL_WITNESS_COSIGN_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "nodetrail/trail/crypto.h"

namespace nodetrail::witness {

// "<name>+<8 hex digits>+<base64 of 0x04 || key>".
std::string CosignerVkey(std::string_view name, const trail::PublicKey& key);

// The note signature line, with its newline, that states: as of `unix_time`
// (s), this is the largest tree of the log that was seen. `text` is a
// checkpoint's, `name` a legal key name.
std::string CosignatureLine(std::string_view text, std::string_view name, const trail::Ed25519Key& key,
                            uint64_t unix_time);

// True if `signature` (time and signature, as in a NoteSignature) is `key`'s over `text`.
bool VerifyCosignature(std::string_view text, std::string_view signature, const trail::PublicKey& key);
// As in the note: the first four bytes of SHA-256(name || "\n" || 0x04 || key), big-endian.
uint32_t CosignerKeyId(std::string_view name, const trail::PublicKey& key);

}  // namespace nodetrail::witness

#endif  // NODETRAIL_WITNESS_COSIGN_H_
