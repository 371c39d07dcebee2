// SPDX-License-Identifier: Apache-2.0
//
// One event's proof, checked here and not believed: the record is under the
// signed header, the header is in the log, the log is signed.
#ifndef NODETRAIL_CLI_PROOF_H_
#define NODETRAIL_CLI_PROOF_H_

#include <optional>
#include <string>
#include <vector>

#include "nodetrail/base/status.h"
#include "nodetrail/query/v1/query.pb.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::cli {

struct ProofStep {
  enum class State { kOk, kPending, kUnknown, kBad };
  std::string name;  // "record", "header", "log", "checkpoint"
  State state = State::kUnknown;
  std::string detail;  // one line
};

struct Proof {
  std::vector<ProofStep> steps;
  // "verified": all hold. "pending": all do that can yet, the next checkpoint
  // covers it. "unverified": something could not be judged. "broken": something
  // does not hold.
  [[nodiscard]] std::string Status() const;
};
std::string_view StateName(ProofStep::State state);

// `log_key` absent: the checkpoint can't be judged.
Proof CheckProof(const query::v1::GetResponse& response, const std::optional<trail::NoteVerifier>& log_key);

// `value`: a verifier key, or a file that holds one, relative to the folder of
// `config_path`. Nothing if it is empty.
Result<std::optional<trail::NoteVerifier>> LoadLogKey(const std::string& value, const std::string& config_path);

}  // namespace nodetrail::cli

#endif  // NODETRAIL_CLI_PROOF_H_
