// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/eviction.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "nodetrail/base/guard.h"
#include "trail/agent_identity.h"
#include "trail/wire.h"

namespace nodetrail::trail {
namespace {

// Field numbers of SignedEviction and BodyEvicted.
constexpr uint32_t kStatement = 1;
constexpr uint32_t kIdentityCert = 3;
constexpr uint32_t kIntermediates = 4;
constexpr uint32_t kTenant = 1;
constexpr uint32_t kAgentId = 2;
constexpr uint32_t kBatchHash = 5;
constexpr uint32_t kBodySha256 = 6;
constexpr uint32_t kEvictedWallNs = 10;

Status CheckEnvelopeWire(std::string_view bytes) {
  NT_RETURN_IF_ERROR(CheckCanonical(bytes, {kIntermediates}));
  WireReader reader(bytes);
  uint32_t expected = kStatement;
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) break;
    // 1, 2, 3 once each, then any number of 4.
    if (field->type != 2 || field->number != expected || field->bytes.empty()) {
      return InvalidArgument(fmt::format("eviction: field {} where {} belongs", field->number, expected));
    }
    if (expected < kIntermediates) ++expected;
  }
  if (expected <= kIdentityCert) return InvalidArgument(fmt::format("eviction: field {} is absent", expected));
  return OkStatus();
}

Status CheckStatementWire(std::string_view bytes) {
  NT_RETURN_IF_ERROR(CheckCanonical(bytes));
  WireReader reader(bytes);
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) return OkStatus();
    if (field->number > kEvictedWallNs) {
      return InvalidArgument(fmt::format("eviction: unknown field {} in the statement", field->number));
    }
    const bool text = field->number == kTenant || field->number == kAgentId;
    const bool bytes_field = text || field->number == kBatchHash || field->number == kBodySha256;
    if (field->type != (bytes_field ? 2U : 0U)) {
      return InvalidArgument(fmt::format("eviction: field {} of the wrong type", field->number));
    }
    if (!text) continue;
    for (const char c : field->bytes) {
      if (c < 0x20 || c > 0x7e) return InvalidArgument("eviction: text that is not printable ASCII");
    }
  }
}

}  // namespace

v1::BodyEvicted EvictionStatement(const v1::BatchHeader& header, const Hash& batch_hash, uint64_t evicted_wall_ns) {
  v1::BodyEvicted out;
  out.set_tenant(header.tenant());
  out.set_agent_id(header.agent_id());
  out.set_epoch(header.epoch());
  out.set_seq(header.seq());
  out.set_batch_hash(Bytes(batch_hash));
  out.set_body_sha256(header.body_sha256());
  out.set_event_count(header.event_count());
  out.set_first_wall_ns(header.first_wall_ns());
  out.set_last_wall_ns(header.last_wall_ns());
  out.set_evicted_wall_ns(evicted_wall_ns);
  return out;
}

Result<std::string> SignEviction(const v1::BodyEvicted& statement, const EcdsaKey& key, const Certificate& identity,
                                 std::span<const Certificate> intermediates) {
  v1::SignedEviction envelope;
  envelope.set_statement(statement.SerializeAsString());
  NT_ASSIGN_OR_RETURN(*envelope.mutable_signature(), key.Sign(Pae(kEvictionPayloadType, envelope.statement())));
  envelope.set_identity_cert(identity.Der());
  for (const Certificate& intermediate : intermediates) envelope.add_intermediates(intermediate.Der());
  std::string out = envelope.SerializeAsString();
  if (out.size() > kMaxEvictionBytes) {
    return OutOfRange(
        fmt::format("eviction: {} bytes with its certificates, at most {} allowed", out.size(), kMaxEvictionBytes));
  }
  return out;
}

Result<ParsedEviction> ParseEviction(std::string_view bytes) {
  if (bytes.size() > kMaxEvictionBytes) {
    return InvalidArgument(fmt::format("eviction: {} bytes, at most {} allowed", bytes.size(), kMaxEvictionBytes));
  }
  NT_RETURN_IF_ERROR(CheckEnvelopeWire(bytes));
  ParsedEviction out;
  if (!out.envelope.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return InvalidArgument("eviction: not a SignedEviction");
  }
  NT_RETURN_IF_ERROR(CheckStatementWire(out.envelope.statement()));
  if (!out.statement.ParseFromString(out.envelope.statement())) {
    return InvalidArgument("eviction: not a BodyEvicted");
  }
  if (out.statement.batch_hash().size() != 32 || out.statement.body_sha256().size() != 32) {
    return InvalidArgument("eviction: a hash that is not 32 bytes");
  }
  return out;
}

Status CheckEviction(std::string_view bytes, const v1::BatchHeader& header, const Hash& batch_hash,
                     const CaSet& authorities) {
  NT_ASSIGN_OR_RETURN(const ParsedEviction parsed, ParseEviction(bytes));
  if (header.body_codec() == v1::BODY_CODEC_NONE) return InvalidArgument("eviction: the batch has no body");
  // Word for word what this leaf makes; only the time is the statement's own.
  const v1::BodyEvicted expected = EvictionStatement(header, batch_hash, parsed.statement.evicted_wall_ns());
  const v1::BodyEvicted& s = parsed.statement;
  const bool same = s.tenant() == expected.tenant() && s.agent_id() == expected.agent_id() &&
                    s.epoch() == expected.epoch() && s.seq() == expected.seq() &&
                    s.batch_hash() == expected.batch_hash() && s.body_sha256() == expected.body_sha256() &&
                    s.event_count() == expected.event_count() && s.first_wall_ns() == expected.first_wall_ns() &&
                    s.last_wall_ns() == expected.last_wall_ns();
  if (NT_GUARD(eviction_batch, !same)) {
    return InvalidArgument("eviction: tells of another batch");
  }
  auto identity = CheckAgentIdentity(parsed.envelope.identity_cert(), parsed.envelope.intermediates(), header.tenant(),
                                     header.agent_id(), authorities);
  if (!identity.ok()) return Annotate(identity.status(), "eviction");
  const std::string signed_bytes = Pae(kEvictionPayloadType, parsed.envelope.statement());
  if (NT_GUARD(eviction_signature, !identity->VerifyEcdsa(signed_bytes, parsed.envelope.signature()))) {
    return InvalidArgument("eviction: wrong signature");
  }
  return OkStatus();
}

}  // namespace nodetrail::trail
