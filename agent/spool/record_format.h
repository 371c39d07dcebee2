// SPDX-License-Identifier: Apache-2.0
//
// Bytes of a spool segment; record_format.md specifies them. Pure functions.
#ifndef NODETRAIL_AGENT_SPOOL_RECORD_FORMAT_H_
#define NODETRAIL_AGENT_SPOOL_RECORD_FORMAT_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "agent/batch/evidence_class.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/eviction.h"
#include "nodetrail/trail/leaf.h"

namespace nodetrail::agent {

inline constexpr size_t kSpoolHeaderBytes = 64;
inline constexpr size_t kSpoolRecordHeaderBytes = 24;
inline constexpr size_t kSpoolAlign = 8;
// leaf + body + their two lengths.
inline constexpr uint64_t kMaxSpoolPayload = trail::kMaxLeafBytes + trail::kMaxBodyBytes + 8;
// Nothing of ours is larger; what is, is not read.
inline constexpr uint64_t kMaxSpoolSegment = (1ULL << 30) + kMaxSpoolPayload + 4096;

using SpoolSalt = std::array<uint8_t, 16>;

struct SpoolSegmentHeader {
  uint64_t first_lsn = 0;
  SpoolSalt salt{};
};
std::string EncodeSegmentHeader(const SpoolSegmentHeader& header);
std::optional<SpoolSegmentHeader> DecodeSegmentHeader(std::string_view bytes);

// "0000000000000001.seg" for LSN 1.
std::string SegmentName(uint64_t first_lsn);
std::optional<uint64_t> ParseSegmentName(std::string_view name);

enum class SpoolRecordType : uint8_t {
  kBatch = 1,
  kAck = 2,
  kHead = 3,
  kEvicted = 4,  // a batch whose body was given up
};

struct SpoolRecordHeader {
  SpoolRecordType type = SpoolRecordType::kBatch;
  EvidenceClass cls = EvidenceClass::kUnstated;  // of a batch
  uint32_t length = 0;                           // of the payload
  uint64_t lsn = 0;
  uint32_t crc = 0;
};
// Header, payload and padding to kSpoolAlign.
std::string EncodeRecord(SpoolRecordType type, uint64_t lsn, std::string_view payload, const SpoolSalt& salt,
                         EvidenceClass cls = EvidenceClass::kUnstated);
// `bytes` holds kSpoolRecordHeaderBytes. Nothing if it can't be a record.
std::optional<SpoolRecordHeader> DecodeRecordHeader(std::string_view bytes);
// Of the first 20 bytes of the record header, the salt and the payload.
uint32_t RecordCrc(std::string_view header20, const SpoolSalt& salt, std::string_view payload);
// Bytes that a record with this payload takes.
inline uint64_t RecordBytes(uint64_t payload) {
  return (kSpoolRecordHeaderBytes + payload + kSpoolAlign - 1) / kSpoolAlign * kSpoolAlign;
}

// Batch payload: u32 leaf length, u32 body length, leaf, body.
std::string EncodeBatchPayload(std::string_view leaf, std::string_view body);
struct BatchPayload {
  std::string_view leaf;
  std::string_view body;
};
std::optional<BatchPayload> DecodeBatchPayload(std::string_view payload);

// Payload of an evicted batch: u32 leaf length, u32 eviction length, u64 LSN of
// the record that was next when the body was given up, leaf, SignedEviction.
std::string EncodeEvictedPayload(uint64_t at_lsn, std::string_view leaf, std::string_view eviction);
struct EvictedPayload {
  uint64_t at_lsn = 0;
  std::string_view leaf;
  std::string_view eviction;
};
std::optional<EvictedPayload> DecodeEvictedPayload(std::string_view payload);

struct SpoolAck {
  bool known = false;  // false: nothing was ever acknowledged
  uint64_t epoch = 0;
  uint64_t seq = 0;
  trail::Hash batch_hash{};
};
std::string EncodeAckPayload(const SpoolAck& ack);
std::optional<SpoolAck> DecodeAckPayload(std::string_view payload);

// What a new segment repeats of those before it, which may be deleted.
struct SpoolHead {
  SpoolAck ack;
  trail::ChainHead head;
};
std::string EncodeHeadPayload(const SpoolHead& head);
std::optional<SpoolHead> DecodeHeadPayload(std::string_view payload);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SPOOL_RECORD_FORMAT_H_
