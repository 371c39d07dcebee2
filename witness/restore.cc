// SPDX-License-Identifier: Apache-2.0
#include "witness/restore.h"

#include <fmt/format.h>

#include <algorithm>

namespace nodetrail::witness {

Result<Record> Restore(std::string_view note, std::span<const WitnessedLog> logs, const trail::CosignerVerifier& self,
                       Store* store) {
  NT_ASSIGN_OR_RETURN(const trail::Note parsed, trail::ParseNote(note));
  NT_ASSIGN_OR_RETURN(const trail::Checkpoint checkpoint, trail::ParseCheckpointBody(parsed.text));
  const auto log =
      std::find_if(logs.begin(), logs.end(), [&](const WitnessedLog& l) { return l.origin == checkpoint.origin; });
  if (log == logs.end()) return NotFound(fmt::format("the log {} is not in the configuration", checkpoint.origin));
  NT_RETURN_IF_ERROR(trail::VerifyNote(note, log->keys).status());
  const bool ours =
      std::any_of(parsed.signatures.begin(), parsed.signatures.end(), [&](const trail::NoteSignature& signature) {
        return signature.name == self.name && signature.key_id == self.key_id &&
               trail::VerifyCosignature(parsed.text, signature, self).ok();
      });
  if (!ours) return DataLoss(fmt::format("the checkpoint carries no good cosignature of {}", self.name));
  if (const auto known = store->Load(checkpoint.origin); known.ok() && known->size > checkpoint.size) {
    return FailedPrecondition(fmt::format("the record that is there is good and later: size {}, the checkpoint's is {}",
                                          known->size, checkpoint.size));
  } else if (known.ok() && known->size == checkpoint.size && known->root != checkpoint.root) {
    return DataLoss(
        fmt::format("the record that is there has another root at size {}: the log has forked, and this "
                    "witness's key cosigned both",
                    known->size));
  }
  Record record{checkpoint.size, checkpoint.root, std::string(note)};
  NT_RETURN_IF_ERROR(store->Save(checkpoint.origin, record));
  return record;
}

}  // namespace nodetrail::witness
