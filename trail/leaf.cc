// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/leaf.h"

#include <fmt/format.h>

#include "nodetrail/base/guard.h"
#include "trail/wire.h"

namespace nodetrail::trail {
namespace {

constexpr uint32_t kFormatVersion = 1;

// Field numbers of BatchHeader and EpochOpen that hold messages or repeat.
constexpr uint32_t kLosses = 28;
constexpr uint32_t kEpochOpen = 31;
constexpr uint32_t kLastKnownField = 34;
constexpr uint32_t kStatement = 2;
constexpr uint32_t kIntermediates = 4;

// Text fields are ids; protobuf would log on other bytes, for a peer to fill
// our disk with.
Status CheckAscii(const WireField& field) {
  for (const char c : field.bytes) {
    if (c < 0x20 || c > 0x7e)
      return InvalidArgument(fmt::format("leaf: field {} is not printable ASCII", field.number));
  }
  return OkStatus();
}
bool IsHeaderText(uint32_t number) { return number >= 6 && number <= 8; }  // tenant, agent_id, boot_id
bool IsStatementText(uint32_t number) { return number == 1 || number == 2 || number == 5; }  // the same

Status CheckStatementWire(std::string_view bytes) {
  NT_RETURN_IF_ERROR(CheckCanonical(bytes));
  WireReader reader(bytes);
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) return OkStatus();
    if (IsStatementText(field->number)) NT_RETURN_IF_ERROR(CheckAscii(*field));
  }
}

Status CheckEpochOpenWire(std::string_view bytes) {
  NT_RETURN_IF_ERROR(CheckCanonical(bytes, {kIntermediates}));
  WireReader reader(bytes);
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) return OkStatus();
    if (field->number == kStatement) NT_RETURN_IF_ERROR(CheckStatementWire(field->bytes));
  }
}

// The header and the messages in it, one reading only.
Status CheckHeaderWire(std::string_view bytes, bool* unknown_fields) {
  NT_RETURN_IF_ERROR(CheckCanonical(bytes));
  WireReader reader(bytes);
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) return OkStatus();
    if (field->number > kLastKnownField) *unknown_fields = true;
    if (field->type != 2) continue;
    if (IsHeaderText(field->number)) NT_RETURN_IF_ERROR(CheckAscii(*field));
    if (field->number == kLosses) NT_RETURN_IF_ERROR(CheckCanonical(field->bytes));
    if (field->number == kEpochOpen) NT_RETURN_IF_ERROR(CheckEpochOpenWire(field->bytes));
  }
}

Status CheckHeader(const v1::BatchHeader& h) {
  if (h.format_version() != kFormatVersion) {
    return InvalidArgument(
        fmt::format("leaf: format version {}, this reader knows {}", h.format_version(), kFormatVersion));
  }
  if (!ValidId(h.tenant())) return InvalidArgument("leaf: the tenant is not a legal id");
  if (!ValidId(h.agent_id())) return InvalidArgument("leaf: the agent is not a legal id");
  if (h.epoch() == 0) return InvalidArgument("leaf: epoch 0");
  switch (h.type()) {
    case v1::BATCH_TYPE_EVENTS:
    case v1::BATCH_TYPE_HEARTBEAT:
    case v1::BATCH_TYPE_EPOCH_OPEN:
    case v1::BATCH_TYPE_CLEAN_SHUTDOWN: break;
    default: return InvalidArgument(fmt::format("leaf: unknown batch type {}", static_cast<int>(h.type())));
  }
  const auto is32 = [](const std::string& bytes) { return bytes.size() == 32; };
  if (!is32(h.prev_hash())) return InvalidArgument("leaf: prev_hash is not 32 bytes");
  const size_t key_bytes = RatchetKeyBytes(h.sig_alg());
  if (key_bytes == 0) {
    return InvalidArgument(fmt::format("leaf: unknown signature algorithm {}", static_cast<int>(h.sig_alg())));
  }
  if (h.signer_key().size() != key_bytes) {
    return InvalidArgument(fmt::format("leaf: signer_key is not {} bytes, as its algorithm's are", key_bytes));
  }
  const bool last = h.type() == v1::BATCH_TYPE_CLEAN_SHUTDOWN;
  if (last ? !h.next_key().empty() : h.next_key().size() != key_bytes) {
    return InvalidArgument(
        fmt::format("leaf: next_key must be {} bytes, or empty in the last batch of an epoch", key_bytes));
  }
  if ((h.type() == v1::BATCH_TYPE_EPOCH_OPEN) != (h.seq() == 0)) {
    return InvalidArgument("leaf: an epoch is opened by seq 0 and by nothing else");
  }
  if (h.has_epoch_open() != (h.seq() == 0)) return InvalidArgument("leaf: epoch_open belongs in seq 0");
  if (h.last_event_seq() + 1 < h.first_event_seq() || h.first_event_seq() == 0 || h.last_event_seq() == UINT64_MAX) {
    return InvalidArgument("leaf: event numbers out of range");
  }
  if (h.event_count() > h.last_event_seq() + 1 - h.first_event_seq()) {
    return InvalidArgument("leaf: more events than numbers");
  }
  if (NT_GUARD(leaf_body_limit, h.raw_body_len() > kMaxBodyBytes || h.stored_body_len() > kMaxBodyBytes)) {
    return InvalidArgument("leaf: a body above 8 MiB");
  }
  switch (h.body_codec()) {
    case v1::BODY_CODEC_NONE:
      if (h.raw_body_len() != 0 || h.stored_body_len() != 0 || !h.body_sha256().empty() || !h.events_root().empty() ||
          h.event_count() != 0) {
        return InvalidArgument("leaf: describes a body, and has none");
      }
      break;
    case v1::BODY_CODEC_ZSTD:
      if (!is32(h.body_sha256())) return InvalidArgument("leaf: body_sha256 is not 32 bytes");
      if (!is32(h.events_root())) return InvalidArgument("leaf: events_root is not 32 bytes");
      if (h.stored_body_len() == 0) return InvalidArgument("leaf: an empty stored body");
      break;
    default: return InvalidArgument(fmt::format("leaf: unknown body codec {}", static_cast<int>(h.body_codec())));
  }
  if (!h.config_sha256().empty() && !is32(h.config_sha256())) {
    return InvalidArgument("leaf: config_sha256 is not 32 bytes");
  }
  if (!h.program_sha256().empty() && !is32(h.program_sha256())) {
    return InvalidArgument("leaf: program_sha256 is not 32 bytes");
  }
  if (h.seen_size() == 0 ? !h.seen_root().empty() : !is32(h.seen_root())) {
    return InvalidArgument("leaf: seen_root must be 32 bytes with a seen_size, and empty without");
  }
  return OkStatus();
}

}  // namespace

Hash BatchHash(std::string_view leaf) { return Sha256Of({"nodetrail-batch\n", leaf}); }

namespace {

Result<std::string> FrameLeaf(std::string_view header_bytes, const Signature& signature) {
  std::string leaf;
  AppendBytesField(&leaf, 1, header_bytes);
  AppendBytesField(&leaf, 2, View(signature));
  if (leaf.size() > kMaxLeafBytes) {
    return OutOfRange(fmt::format("leaf: {} bytes, at most {} allowed", leaf.size(), kMaxLeafBytes));
  }
  return leaf;
}

}  // namespace

Result<std::string> MakeLeaf(std::string_view header_bytes, const Ed25519Key& key) {
  return FrameLeaf(header_bytes, key.Sign(Pae(kHeaderPayloadType, header_bytes)));
}

Result<std::string> MakeLeaf(std::string_view header_bytes, const RatchetKey& key) {
  return FrameLeaf(header_bytes, key.Sign(Pae(kHeaderPayloadType, header_bytes)));
}

Result<ParsedLeaf> ParseLeaf(std::string_view leaf) {
  if (leaf.empty() || leaf.size() > kMaxLeafBytes) {
    return InvalidArgument(fmt::format("leaf: {} bytes, 1 to {} allowed", leaf.size(), kMaxLeafBytes));
  }
  ParsedLeaf out;
  WireReader reader(leaf);
  for (const uint32_t number : {1U, 2U}) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field || field->number != number || field->type != 2) {
      return InvalidArgument("leaf: not exactly a header and a signature");
    }
    (number == 1 ? out.header_bytes : out.signature) = std::string(field->bytes);
  }
  NT_ASSIGN_OR_RETURN(const std::optional<WireField> rest, reader.Next());
  if (rest) return InvalidArgument("leaf: bytes after the signature");
  NT_RETURN_IF_ERROR(CheckHeaderWire(out.header_bytes, &out.unknown_fields));
  if (!out.header.ParseFromString(out.header_bytes)) return InvalidArgument("leaf: the header is not a BatchHeader");
  NT_RETURN_IF_ERROR(CheckHeader(out.header));
  out.batch_hash = BatchHash(leaf);
  return out;
}

bool VerifyLeafSignature(const ParsedLeaf& leaf) {
  return RatchetVerify(leaf.header.sig_alg(), leaf.header.signer_key(), Pae(kHeaderPayloadType, leaf.header_bytes),
                       leaf.signature);
}

ChainHead HeadOf(const v1::BatchHeader& header, const Hash& batch_hash) {
  ChainHead head;
  head.known = true;
  head.epoch = header.epoch();
  head.seq = header.seq();
  head.batch_hash = batch_hash;
  head.next_key = header.next_key();
  head.clean = header.type() == v1::BATCH_TYPE_CLEAN_SHUTDOWN;
  head.boot_id = header.boot_id();
  head.last_event_seq = header.last_event_seq();
  head.last_boot_ns = header.last_boot_ns();
  head.last_wall_ns = header.last_wall_ns();
  head.clock_error_ns = header.clock_error_ns();
  head.losses = header.losses();
  return head;
}

}  // namespace nodetrail::trail
