// SPDX-License-Identifier: Apache-2.0
//
// Receipts, C2SP tlog-proof (https://c2sp.org/tlog-proof): a checkpoint and the
// path that leads from one leaf to its root. Whoever has the leaf hash and a
// policy checks it without the log. Pure; thread-safe.
#ifndef NODETRAIL_TRAIL_RECEIPT_H_
#define NODETRAIL_TRAIL_RECEIPT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/policy.h"

namespace nodetrail::trail {

inline constexpr size_t kMaxReceiptBytes = 1 << 20;
inline constexpr size_t kMaxReceiptPath = 64;  // a tree of 2^64 leaves has no longer one

struct Receipt {
  uint64_t index = 0;      // of the leaf in the log
  std::vector<Hash> path;  // PATH(index, D[size]) of RFC 6962, the sibling of the leaf first
  std::string checkpoint;  // the note, verbatim
};

// `path` has at most kMaxReceiptPath hashes, `checkpoint` is a note.
std::string FormatReceipt(uint64_t index, std::span<const Hash> path, std::string_view checkpoint);

// Structure only: what is not exactly as FormatReceipt writes it is refused,
// an extra line too. InvalidArgument says what is wrong.
Result<Receipt> ParseReceipt(std::string_view text);

// DataLoss unless a log of the policy signed the checkpoint and the path leads
// from `leaf_hash` to its root. Whether witnesses suffice is in the verdict.
Result<PolicyVerdict> ExamineReceipt(const Hash& leaf_hash, const Receipt& receipt, const LogPolicy& policy);
// As ExamineReceipt, and FailedPrecondition if the policy's quorum is not reached.
Result<Checkpoint> VerifyReceipt(const Hash& leaf_hash, const Receipt& receipt, const LogPolicy& policy);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_RECEIPT_H_
