// SPDX-License-Identifier: Apache-2.0
//
// What the sequencer asks of the witnesses. One implementation speaks HTTP
// (collector/witness), others are a test's or a simulation's.
#ifndef NODETRAIL_COLLECTOR_LOG_COSIGNER_H_
#define NODETRAIL_COLLECTOR_LOG_COSIGNER_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::collector {

// Called on the sequencer's thread alone.
class Cosigner {
 public:
  struct Request {
    trail::Checkpoint checkpoint;
    std::string note;     // it, signed by the log, without cosignatures
    std::string lines;    // cosignatures of it that are here already
    uint64_t leaves = 0;  // that the log has; at least checkpoint.size
    // PROOF(old_size, checkpoint.size), checked against both roots.
    std::function<Result<std::vector<trail::Hash>>(uint64_t old_size)> proof;
  };
  struct Outcome {
    // Signature lines, each with its newline, of all that have cosigned this
    // checkpoint, now or in an earlier call.
    std::string lines;
    // Not OK: a witness knows more of this log than the log, or another
    // history. Nothing may be signed any more. Names the witness and the fix.
    Status conflict;
    bool complete = false;  // nobody is missing
  };
  virtual ~Cosigner() = default;
  // Blocks for at most the time that the implementation was given. Whoever was
  // not heard since start is asked even if his cosignature is here already: he
  // says where he is.
  virtual Outcome Cosign(const Request& request) = 0;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_LOG_COSIGNER_H_
