// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/log_entry.h"

#include <fmt/format.h>

#include <initializer_list>

#include "nodetrail/trail/leaf.h"
#include "trail/wire.h"

namespace nodetrail::trail {
namespace {

constexpr uint32_t kFormatVersion = 1;
constexpr size_t kSignatureBytes = 64;

// Field numbers of LogEntry, Enrol and Revoke.
constexpr uint32_t kTenant = 2;
constexpr uint32_t kEnrol = 4;
constexpr uint32_t kRevoke = 5;
constexpr uint32_t kLastKnownField = 5;
constexpr uint32_t kAgentId = 1;
constexpr uint32_t kTokenId = 3;
constexpr uint32_t kSigAlgs = 4;
constexpr uint32_t kReason = 4;

Status CheckText(const WireField& field) {
  for (const char c : field.bytes) {
    if (c < 0x20 || c > 0x7e)
      return InvalidArgument(fmt::format("log entry: field {} is not printable ASCII", field.number));
  }
  return OkStatus();
}

bool IsOneOf(uint32_t number, std::initializer_list<uint32_t> texts) {
  for (const uint32_t text : texts) {
    if (number == text) return true;
  }
  return false;
}

// Canonical, and these fields printable; nothing else of it is read here.
Status CheckMessage(std::string_view bytes, std::initializer_list<uint32_t> texts) {
  NT_RETURN_IF_ERROR(CheckCanonical(bytes));
  WireReader reader(bytes);
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) return OkStatus();
    if (field->type == 2 && IsOneOf(field->number, texts)) NT_RETURN_IF_ERROR(CheckText(*field));
  }
}

// `packed`: sig_algs is one packed field; protobuf would also take it unpacked.
Status CheckEnrolWire(std::string_view bytes, bool* packed) {
  NT_RETURN_IF_ERROR(CheckMessage(bytes, {kAgentId, kTokenId}));
  WireReader reader(bytes);
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) return OkStatus();
    if (field->number != kSigAlgs || field->type != 2) continue;
    *packed = true;
    NT_RETURN_IF_ERROR(CheckVarints(field->bytes));
  }
}

struct WireFacts {
  bool unknown_fields = false;
  bool packed_algs = false;
};

Status CheckEntryWire(std::string_view bytes, WireFacts* facts) {
  NT_RETURN_IF_ERROR(CheckMessage(bytes, {kTenant}));
  WireReader reader(bytes);
  bool enrol = false;
  bool revoke = false;
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) break;
    if (field->number > kLastKnownField) facts->unknown_fields = true;
    if (field->type != 2) continue;
    if (field->number == kEnrol) {
      enrol = true;
      NT_RETURN_IF_ERROR(CheckEnrolWire(field->bytes, &facts->packed_algs));
    } else if (field->number == kRevoke) {
      revoke = true;
      NT_RETURN_IF_ERROR(CheckMessage(field->bytes, {kAgentId, kReason}));
    }
  }
  if (enrol == revoke) return InvalidArgument("log entry: not exactly one of enrol and revoke");
  return OkStatus();
}

Status CheckEntry(const v1::LogEntry& entry) {
  if (entry.format_version() != kFormatVersion) {
    return InvalidArgument(
        fmt::format("log entry: format version {}, this reader knows {}", entry.format_version(), kFormatVersion));
  }
  if (!ValidId(entry.tenant())) return InvalidArgument("log entry: the tenant is not a legal id");
  if (!ValidId(AgentOf(entry))) return InvalidArgument("log entry: the agent is not a legal id");
  if (entry.has_enrol() && entry.enrol().identity_spki_sha256().size() != 32) {
    return InvalidArgument("log entry: identity_spki_sha256 is not 32 bytes");
  }
  if (entry.has_revoke() && entry.revoke().epoch() == 0) return InvalidArgument("log entry: revokes epoch 0");
  return OkStatus();
}

}  // namespace

bool IsLogEntry(std::string_view leaf) { return leaf.starts_with(kLogEntryLeafTag); }

const std::string& AgentOf(const v1::LogEntry& entry) {
  return entry.has_enrol() ? entry.enrol().agent_id() : entry.revoke().agent_id();
}

Result<std::string> MakeLogEntry(const v1::LogEntry& entry, const Ed25519Key& log_key) {
  std::string bytes;
  if (!entry.SerializeToString(&bytes)) return InvalidArgument("log entry: not serialisable");
  const Signature signature = log_key.Sign(Pae(kLogEntryPayloadType, bytes));
  std::string leaf;
  AppendBytesField(&leaf, 3, bytes);
  AppendBytesField(&leaf, 4, View(signature));
  if (leaf.size() > kMaxLeafBytes) {
    return OutOfRange(fmt::format("log entry: {} bytes, at most {} allowed", leaf.size(), kMaxLeafBytes));
  }
  NT_RETURN_IF_ERROR(ParseLogEntry(leaf).status());
  return leaf;
}

Result<ParsedLogEntry> ParseLogEntry(std::string_view leaf) {
  if (leaf.empty() || leaf.size() > kMaxLeafBytes) {
    return InvalidArgument(fmt::format("log entry: {} bytes, 1 to {} allowed", leaf.size(), kMaxLeafBytes));
  }
  ParsedLogEntry out;
  WireReader reader(leaf);
  for (const uint32_t number : {3U, 4U}) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field || field->number != number || field->type != 2) {
      return InvalidArgument("log entry: not exactly an entry and a signature");
    }
    (number == 3 ? out.entry_bytes : out.signature) = std::string(field->bytes);
  }
  NT_ASSIGN_OR_RETURN(const std::optional<WireField> rest, reader.Next());
  if (rest) return InvalidArgument("log entry: bytes after the signature");
  if (out.signature.size() != kSignatureBytes) return InvalidArgument("log entry: the signature is not 64 bytes");
  WireFacts facts;
  NT_RETURN_IF_ERROR(CheckEntryWire(out.entry_bytes, &facts));
  if (!out.entry.ParseFromString(out.entry_bytes)) return InvalidArgument("log entry: not a LogEntry");
  if (out.entry.has_enrol() && !facts.packed_algs) out.entry.mutable_enrol()->clear_sig_algs();
  NT_RETURN_IF_ERROR(CheckEntry(out.entry));
  out.unknown_fields = facts.unknown_fields;
  return out;
}

bool VerifyLogEntrySignature(const ParsedLogEntry& entry, const PublicKey& log_key) {
  return Ed25519Verify(log_key, Pae(kLogEntryPayloadType, entry.entry_bytes), entry.signature);
}

}  // namespace nodetrail::trail
