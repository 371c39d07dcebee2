// SPDX-License-Identifier: Apache-2.0
//
// A sealed batch: a leaf (the signed header, an entry of the log) and a body
// (compressed events beside the log). Bytes are kept verbatim; nothing is
// ever serialised again before it is hashed. docs/trail-format.md specifies it.
#ifndef NODETRAIL_TRAIL_LEAF_H_
#define NODETRAIL_TRAIL_LEAF_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/ratchet_key.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::trail {

inline constexpr size_t kMaxLeafBytes = 65'534;
inline constexpr uint64_t kMaxBodyBytes = 8U << 20;  // raw, and stored
inline constexpr std::string_view kHeaderPayloadType = "application/vnd.nodetrail.batch-header.v1";
inline constexpr std::string_view kEpochPayloadType = "application/vnd.nodetrail.epoch-open.v1";

struct SealedBatch {
  std::string leaf;  // SignedHeader, verbatim
  std::string body;  // stored bytes; empty for BODY_CODEC_NONE
  v1::BatchHeader header;
  Hash batch_hash{};
};

// A leaf taken apart. `header_bytes` and `signature` are copies of the leaf's.
struct ParsedLeaf {
  std::string header_bytes;
  std::string signature;
  v1::BatchHeader header;
  Hash batch_hash{};
  // The header has fields this version does not know. They are signed; a
  // verifier says so, since it can't judge them.
  bool unknown_fields = false;
};

// SHA-256("nodetrail-batch\n" || leaf).
Hash BatchHash(std::string_view leaf);

// Signs `header_bytes` and frames them. OutOfRange if the leaf would pass kMaxLeafBytes.
Result<std::string> MakeLeaf(std::string_view header_bytes, const Ed25519Key& key);
Result<std::string> MakeLeaf(std::string_view header_bytes, const RatchetKey& key);

// Strict. InvalidArgument names what is wrong: size; anything but exactly
// fields 1 and 2 of SignedHeader with minimal lengths; a header whose fields
// repeat, are out of order or use long varints; a wrong format_version; an
// unknown sig_alg; keys of another length than it has (next_key may be empty
// only in CLEAN_SHUTDOWN); hashes of another length than 32; ids outside ValidId; lengths above kMaxBodyBytes. The
// signature is not checked here.
Result<ParsedLeaf> ParseLeaf(std::string_view leaf);

// By header.signer_key and header.sig_alg over PAE(kHeaderPayloadType, header_bytes).
bool VerifyLeafSignature(const ParsedLeaf& leaf);

// Where an agent's chain ends, as the spool, the collector and the verifier
// each know it.
struct ChainHead {
  bool known = false;  // false: no batch at all; the rest is zero
  uint64_t epoch = 0;
  uint64_t seq = 0;
  Hash batch_hash{};
  std::string next_key;  // its length tells its algorithm; empty after CLEAN_SHUTDOWN
  bool clean = false;    // the last batch is CLEAN_SHUTDOWN
  std::string boot_id;
  uint64_t last_event_seq = 0;
  uint64_t last_boot_ns = 0;
  uint64_t last_wall_ns = 0;
  uint64_t clock_error_ns = 0;
  v1::LossCounters losses;
};

// The head after a batch.
ChainHead HeadOf(const v1::BatchHeader& header, const Hash& batch_hash);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_LEAF_H_
