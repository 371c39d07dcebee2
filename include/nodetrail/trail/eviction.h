// SPDX-License-Identifier: Apache-2.0
//
// An agent that must make room gives up the body of a batch and keeps the
// leaf. What it gave up it signs with its identity key; the statement stands
// in the body's place, in the spool, on the wire and in the trail.
// docs/trail-format.md specifies it.
#ifndef NODETRAIL_TRAIL_EVICTION_H_
#define NODETRAIL_TRAIL_EVICTION_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::trail {

inline constexpr std::string_view kEvictionPayloadType = "application/vnd.nodetrail.body-evicted.v1";
inline constexpr size_t kMaxEvictionBytes = 65'536;

// What the agent says of a batch's body. `header` has one (BODY_CODEC_ZSTD).
v1::BodyEvicted EvictionStatement(const v1::BatchHeader& header, const Hash& batch_hash, uint64_t evicted_wall_ns);

// SignedEviction bytes. Internal if the key can't sign; OutOfRange if the
// certificates make it larger than kMaxEvictionBytes.
Result<std::string> SignEviction(const v1::BodyEvicted& statement, const EcdsaKey& key, const Certificate& identity,
                                 std::span<const Certificate> intermediates);

// Strict. InvalidArgument: more than kMaxEvictionBytes; fields that repeat
// (intermediates may), are out of order, unknown or absent; long varints;
// text that is not printable ASCII; hashes that are not 32 bytes.
// The signature is not checked here.
struct ParsedEviction {
  v1::SignedEviction envelope;
  v1::BodyEvicted statement;
};
Result<ParsedEviction> ParseEviction(std::string_view bytes);

// OK if `bytes` is the statement of the batch's own agent, rightly signed,
// about this very batch. The error says in one line what does not hold.
Status CheckEviction(std::string_view bytes, const v1::BatchHeader& header, const Hash& batch_hash,
                     const CaSet& authorities);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_EVICTION_H_
