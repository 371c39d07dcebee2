// SPDX-License-Identifier: Apache-2.0
//
// The log's side of https://c2sp.org/tlog-witness as pure functions. What a
// witness answers is untrusted input.
#ifndef NODETRAIL_COLLECTOR_WITNESS_PROTOCOL_H_
#define NODETRAIL_COLLECTOR_WITNESS_PROTOCOL_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::collector {

// The body of add-checkpoint.
std::string FormatAddCheckpoint(uint64_t old_size, std::span<const trail::Hash> proof, std::string_view note);

// The tree size in the body of a 409; nothing if it is not exactly that.
std::optional<uint64_t> ParseSizeBody(std::string_view body);

// A cosignature that holds, as its note line, and when it was made (s, Unix).
struct Cosignature {
  std::string line;  // with its newline
  uint64_t time = 0;
};
// The one by `key` over `text` among the signature lines of `lines`. NotFound:
// none by this key. DataLoss: one, and it is wrong, or the lines are not lines.
Result<Cosignature> FindCosignature(std::string_view lines, std::string_view text, const trail::CosignerVerifier& key);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_WITNESS_PROTOCOL_H_
