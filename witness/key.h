// SPDX-License-Identifier: Apache-2.0
#ifndef NODETRAIL_WITNESS_KEY_H_
#define NODETRAIL_WITNESS_KEY_H_

#include <string>
#include <vector>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::witness {

// PEM (PKCS#8) file, Ed25519, not readable by group or others. Errors name
// file, cause, fix.
Result<trail::Ed25519Key> LoadKey(const std::string& path);

// Makes a key and writes it as such a file, mode 0600. AlreadyExists if there
// is a file: a key is never overwritten.
Result<trail::Ed25519Key> MakeKeyFile(const std::string& path);

// Verifier keys of a log: the text itself, or the lines of the file that it
// names; a relative path counts from `base_dir`.
Result<std::vector<trail::NoteVerifier>> LoadLogKeys(const std::string& vkey_or_file, const std::string& base_dir);

}  // namespace nodetrail::witness

#endif  // NODETRAIL_WITNESS_KEY_H_
