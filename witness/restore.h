// SPDX-License-Identifier: Apache-2.0
#ifndef NODETRAIL_WITNESS_RESTORE_H_
#define NODETRAIL_WITNESS_RESTORE_H_

#include <span>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/note.h"
#include "witness/core.h"

namespace nodetrail::witness {

// Gives a witness whose record was damaged or lost its memory back: `note` is a
// checkpoint that its log signed and that this witness (`self`) cosigned.
// Its own cosignature is the only thing it may believe. FailedPrecondition if
// the record that is there is good and later.
Result<Record> Restore(std::string_view note, std::span<const WitnessedLog> logs, const trail::CosignerVerifier& self,
                       Store* store);

}  // namespace nodetrail::witness

#endif  // NODETRAIL_WITNESS_RESTORE_H_
