// SPDX-License-Identifier: Apache-2.0
#include "agent/spool/record_format.h"

#include <fmt/format.h>

#include <charconv>

#include "nodetrail/trail/chain.h"

namespace nodetrail::agent {
namespace {

constexpr std::string_view kSegmentMagic = "NTSPOOL1";
constexpr uint32_t kSegmentVersion = 1;
constexpr uint32_t kRecordMagic = 0x5253544eU;  // "NTSR"
constexpr uint8_t kRecordVersion = 1;
constexpr std::string_view kNameSuffix = ".seg";
constexpr size_t kAckBytes = 56;
constexpr size_t kCrcCovered = 20;  // of the record header

void PutLe(std::string* out, uint64_t value, unsigned bytes) {
  for (unsigned i = 0; i < bytes; ++i) *out += static_cast<char>((value >> (8 * i)) & 0xffU);
}
uint64_t GetLe(std::string_view data, size_t offset, unsigned bytes) {
  uint64_t value = 0;
  for (unsigned i = 0; i < bytes; ++i) {
    value |= static_cast<uint64_t>(static_cast<unsigned char>(data[offset + i])) << (8 * i);
  }
  return value;
}

}  // namespace

std::string EncodeSegmentHeader(const SpoolSegmentHeader& header) {
  std::string out(kSegmentMagic);
  PutLe(&out, kSegmentVersion, 4);
  PutLe(&out, kSpoolHeaderBytes, 4);
  PutLe(&out, header.first_lsn, 8);
  out += trail::View(header.salt);
  out.resize(kSpoolHeaderBytes - 4, '\0');
  PutLe(&out, trail::Crc32c(out), 4);
  return out;
}

std::optional<SpoolSegmentHeader> DecodeSegmentHeader(std::string_view bytes) {
  if (bytes.size() != kSpoolHeaderBytes || !bytes.starts_with(kSegmentMagic)) return std::nullopt;
  if (GetLe(bytes, 8, 4) != kSegmentVersion || GetLe(bytes, 12, 4) != kSpoolHeaderBytes) return std::nullopt;
  if (GetLe(bytes, 60, 4) != trail::Crc32c(bytes.substr(0, 60))) return std::nullopt;
  SpoolSegmentHeader out;
  out.first_lsn = GetLe(bytes, 16, 8);
  out.salt = *trail::FixedBytes<16>(bytes.substr(24, 16));
  return out;
}

std::string SegmentName(uint64_t first_lsn) { return fmt::format("{:016x}{}", first_lsn, kNameSuffix); }

std::optional<uint64_t> ParseSegmentName(std::string_view name) {
  if (!name.ends_with(kNameSuffix)) return std::nullopt;
  uint64_t lsn = 0;
  const std::string_view digits = name.substr(0, name.size() - kNameSuffix.size());
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), lsn, 16);
  if (error != std::errc() || end != digits.data() + digits.size() || SegmentName(lsn) != name) return std::nullopt;
  return lsn;
}

uint32_t RecordCrc(std::string_view header20, const SpoolSalt& salt, std::string_view payload) {
  return trail::Crc32c(payload, trail::Crc32c(trail::View(salt), trail::Crc32c(header20)));
}

std::string EncodeRecord(SpoolRecordType type, uint64_t lsn, std::string_view payload, const SpoolSalt& salt,
                         EvidenceClass cls) {
  std::string out;
  out.reserve(RecordBytes(payload.size()));
  PutLe(&out, kRecordMagic, 4);
  PutLe(&out, kRecordVersion, 1);
  PutLe(&out, static_cast<uint8_t>(type), 1);
  PutLe(&out, static_cast<uint8_t>(cls), 2);  // flags
  PutLe(&out, payload.size(), 4);
  PutLe(&out, lsn, 8);
  PutLe(&out, RecordCrc(out, salt, payload), 4);
  out += payload;
  out.resize(RecordBytes(payload.size()), '\0');
  return out;
}

std::optional<SpoolRecordHeader> DecodeRecordHeader(std::string_view bytes) {
  if (bytes.size() != kSpoolRecordHeaderBytes) return std::nullopt;
  if (GetLe(bytes, 0, 4) != kRecordMagic || GetLe(bytes, 4, 1) != kRecordVersion) return std::nullopt;
  const uint64_t type = GetLe(bytes, 5, 1);
  const uint64_t flags = GetLe(bytes, 6, 2);
  if (type < 1 || type > 4) return std::nullopt;
  SpoolRecordHeader out;
  out.type = static_cast<SpoolRecordType>(type);
  const bool has_class = out.type == SpoolRecordType::kBatch || out.type == SpoolRecordType::kEvicted;
  if (flags >= (has_class ? kEvidenceClasses : 1U)) return std::nullopt;
  out.cls = static_cast<EvidenceClass>(flags);
  out.length = static_cast<uint32_t>(GetLe(bytes, 8, 4));
  out.lsn = GetLe(bytes, 12, 8);
  out.crc = static_cast<uint32_t>(GetLe(bytes, kCrcCovered, 4));
  if (out.length > kMaxSpoolPayload) return std::nullopt;
  return out;
}

std::string EncodeBatchPayload(std::string_view leaf, std::string_view body) {
  std::string out;
  out.reserve(8 + leaf.size() + body.size());
  PutLe(&out, leaf.size(), 4);
  PutLe(&out, body.size(), 4);
  out += leaf;
  out += body;
  return out;
}

std::optional<BatchPayload> DecodeBatchPayload(std::string_view payload) {
  if (payload.size() < 8) return std::nullopt;
  const uint64_t leaf = GetLe(payload, 0, 4);
  const uint64_t body = GetLe(payload, 4, 4);
  if (leaf > trail::kMaxLeafBytes || body > trail::kMaxBodyBytes || payload.size() != 8 + leaf + body)
    return std::nullopt;
  return BatchPayload{payload.substr(8, leaf), payload.substr(8 + leaf)};
}

std::string EncodeEvictedPayload(uint64_t at_lsn, std::string_view leaf, std::string_view eviction) {
  std::string out;
  out.reserve(16 + leaf.size() + eviction.size());
  PutLe(&out, leaf.size(), 4);
  PutLe(&out, eviction.size(), 4);
  PutLe(&out, at_lsn, 8);
  out += leaf;
  out += eviction;
  return out;
}

std::optional<EvictedPayload> DecodeEvictedPayload(std::string_view payload) {
  if (payload.size() < 16) return std::nullopt;
  const uint64_t leaf = GetLe(payload, 0, 4);
  const uint64_t eviction = GetLe(payload, 4, 4);
  if (leaf > trail::kMaxLeafBytes || eviction > trail::kMaxEvictionBytes || payload.size() != 16 + leaf + eviction)
    return std::nullopt;
  return EvictedPayload{GetLe(payload, 8, 8), payload.substr(16, leaf), payload.substr(16 + leaf)};
}

std::string EncodeAckPayload(const SpoolAck& ack) {
  std::string out;
  PutLe(&out, ack.known ? 1 : 0, 8);
  PutLe(&out, ack.epoch, 8);
  PutLe(&out, ack.seq, 8);
  out += trail::View(ack.batch_hash);
  return out;
}

std::optional<SpoolAck> DecodeAckPayload(std::string_view payload) {
  if (payload.size() != kAckBytes || GetLe(payload, 0, 8) > 1) return std::nullopt;
  SpoolAck out;
  out.known = GetLe(payload, 0, 8) == 1;
  out.epoch = GetLe(payload, 8, 8);
  out.seq = GetLe(payload, 16, 8);
  out.batch_hash = *trail::HashFromBytes(payload.substr(24));
  return out;
}

std::string EncodeHeadPayload(const SpoolHead& head) {
  trail::ChainState state;
  state.head = head.head;
  return EncodeAckPayload(head.ack) + trail::SerializeChainState(state);
}

std::optional<SpoolHead> DecodeHeadPayload(std::string_view payload) {
  if (payload.size() < kAckBytes) return std::nullopt;
  const auto ack = DecodeAckPayload(payload.substr(0, kAckBytes));
  auto state = trail::ParseChainState(payload.substr(kAckBytes));
  if (!ack || !state.ok()) return std::nullopt;
  return SpoolHead{*ack, std::move(state->head)};
}

}  // namespace nodetrail::agent
