// SPDX-License-Identifier: Apache-2.0
//
// What the log itself writes between the batches: who may report (Enrol) and
// until when (Revoke), who read (Access), which bodies must stay (Hold, Release)
// and which went by rule (Retire, Retired). Such a leaf is a SignedLogEntry, signed by the log key,
// and begins with 0x1a where a batch begins with 0x0a. docs/trail-format.md,
// sections 2 and 4.
#ifndef NODETRAIL_TRAIL_LOG_ENTRY_H_
#define NODETRAIL_TRAIL_LOG_ENTRY_H_

#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::trail {

inline constexpr std::string_view kLogEntryPayloadType = "application/vnd.nodetrail.log-entry.v1";
// First byte of every leaf of that kind.
inline constexpr char kBatchLeafTag = 0x0a;
inline constexpr char kLogEntryLeafTag = 0x1a;

// Meant as an entry of the log's own; it may be malformed all the same.
bool IsLogEntry(std::string_view leaf);

// A leaf taken apart. `entry_bytes` and `signature` are copies of the leaf's.
struct ParsedLogEntry {
  std::string entry_bytes;
  std::string signature;  // 64 bytes
  v1::LogEntry entry;     // exactly one of its kinds is set
  bool unknown_fields = false;
};

// Serialises, signs with the log key and frames. InvalidArgument if ParseLogEntry
// would refuse it, OutOfRange if the leaf would pass kMaxLeafBytes.
Result<std::string> MakeLogEntry(const v1::LogEntry& entry, const Ed25519Key& log_key);

// Strict, as ParseLeaf. InvalidArgument names what is wrong: size; anything but
// exactly fields 3 and 4 of SignedLogEntry with minimal lengths; a signature of
// another length than 64; fields of the messages that repeat, are out of order
// or use long varints; a wrong format_version; ids outside ValidId; not exactly
// one kind; a hash of another length than 32; text other than 0x20-0x7e, or none
// where there must be; epoch 0. The signature is not checked here.
Result<ParsedLogEntry> ParseLogEntry(std::string_view leaf);

// Ed25519 over PAE(kLogEntryPayloadType, entry_bytes).
bool VerifyLogEntrySignature(const ParsedLogEntry& entry, const PublicKey& log_key);

// The agent that the entry enrols or revokes; empty for the other kinds.
const std::string& AgentOf(const v1::LogEntry& entry);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_LOG_ENTRY_H_
