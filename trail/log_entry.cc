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

// Field numbers of LogEntry and of its kinds.
constexpr uint32_t kTenant = 2;
constexpr uint32_t kEnrol = 4;
constexpr uint32_t kRevoke = 5;
constexpr uint32_t kAccess = 6;
constexpr uint32_t kHold = 7;
constexpr uint32_t kRelease = 8;
constexpr uint32_t kRetire = 9;
constexpr uint32_t kRetired = 10;
constexpr uint32_t kLastKnownField = kRetired;
constexpr uint32_t kAgentId = 1;
constexpr uint32_t kTokenId = 3;
constexpr uint32_t kSigAlgs = 4;
constexpr uint32_t kReason = 4;
constexpr uint32_t kHoldAgents = 2;
constexpr uint32_t kRetireLeaves = 5;
// A reader may hold an index in a double.
constexpr uint64_t kMaxIndex = (1ULL << 53U) - 1;

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
Status CheckMessage(std::string_view bytes, std::initializer_list<uint32_t> texts,
                    std::initializer_list<uint32_t> repeated = {}) {
  NT_RETURN_IF_ERROR(CheckCanonical(bytes, repeated));
  WireReader reader(bytes);
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) return OkStatus();
    if (field->type == 2 && IsOneOf(field->number, texts)) NT_RETURN_IF_ERROR(CheckText(*field));
  }
}

// `packed`: field `number` is one packed field; protobuf would also take it unpacked.
Status CheckPacked(std::string_view bytes, uint32_t number, std::initializer_list<uint32_t> texts, bool* packed) {
  NT_RETURN_IF_ERROR(CheckMessage(bytes, texts));
  WireReader reader(bytes);
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) return OkStatus();
    if (field->number != number || field->type != 2) continue;
    *packed = true;
    NT_RETURN_IF_ERROR(CheckVarints(field->bytes));
  }
}

struct WireFacts {
  bool unknown_fields = false;
  bool packed = false;  // sig_algs or leaves
};

Status CheckKindWire(const WireField& kind, WireFacts* facts) {
  switch (kind.number) {
    case kEnrol: return CheckPacked(kind.bytes, kSigAlgs, {kAgentId, kTokenId}, &facts->packed);
    case kRevoke: return CheckMessage(kind.bytes, {kAgentId, kReason});
    case kAccess: return CheckMessage(kind.bytes, {1, 3, 4});                          // reader, method, shape
    case kHold: return CheckMessage(kind.bytes, {1, 2, 5, 6}, {kHoldAgents});          // id, agents, reason, by
    case kRelease: return CheckMessage(kind.bytes, {1, 2, 3, 4});                      // all of it
    case kRetire: return CheckPacked(kind.bytes, kRetireLeaves, {1}, &facts->packed);  // policy
    default: return CheckMessage(kind.bytes, {});
  }
}

Status CheckEntryWire(std::string_view bytes, WireFacts* facts) {
  NT_RETURN_IF_ERROR(CheckMessage(bytes, {kTenant}));
  WireReader reader(bytes);
  int kinds = 0;
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::optional<WireField> field, reader.Next());
    if (!field) break;
    if (field->number > kLastKnownField) facts->unknown_fields = true;
    if (field->type != 2 || field->number < kEnrol || field->number > kLastKnownField) continue;
    ++kinds;
    NT_RETURN_IF_ERROR(CheckKindWire(*field, facts));
  }
  if (kinds != 1) return InvalidArgument("log entry: not exactly one kind");
  return OkStatus();
}

Status CheckAccess(const v1::Access& access) {
  if (access.reader().empty() || access.method().empty()) return InvalidArgument("log entry: a read by nobody");
  if (access.certificate_sha256().size() != 32 || access.question_hmac().size() != 32) {
    return InvalidArgument("log entry: certificate_sha256 or question_hmac is not 32 bytes");
  }
  return OkStatus();
}

Status CheckHold(const v1::Hold& hold) {
  if (!ValidId(hold.id())) return InvalidArgument("log entry: the hold's id is not legal");
  for (const std::string& agent : hold.agents()) {
    if (!ValidId(agent)) return InvalidArgument("log entry: an agent of the hold is not a legal id");
  }
  if (hold.until_wall_ns() != 0 && hold.until_wall_ns() < hold.since_wall_ns()) {
    return InvalidArgument("log entry: the hold ends before it begins");
  }
  if (hold.reason().empty() || hold.by().empty()) return InvalidArgument("log entry: a hold by nobody, or for nothing");
  return OkStatus();
}

Status CheckRelease(const v1::Release& release) {
  if (!ValidId(release.id())) return InvalidArgument("log entry: the hold's id is not legal");
  if (release.requested_by().empty() || release.confirmed_by().empty()) {
    return InvalidArgument("log entry: a release names two persons");
  }
  return OkStatus();
}

Status CheckRetire(const v1::Retire& retire) {
  if (!ValidId(retire.policy())) return InvalidArgument("log entry: retires by no policy");
  if (retire.leaves().empty() || retire.body_sha256().size() != 32 * static_cast<size_t>(retire.leaves_size())) {
    return InvalidArgument("log entry: retires no leaf, or not one hash for each");
  }
  uint64_t index = 0;
  for (int i = 0; i < retire.leaves_size(); ++i) {
    const uint64_t step = retire.leaves(i);
    if ((i > 0 && step == 0) || step > kMaxIndex - index) {
      return InvalidArgument("log entry: the leaves to retire do not ascend, or are beyond 2^53");
    }
    index += step;
  }
  return OkStatus();
}

Status CheckAgentEntry(const v1::LogEntry& entry) {
  if (!ValidId(AgentOf(entry))) return InvalidArgument("log entry: the agent is not a legal id");
  if (entry.has_enrol() && entry.enrol().identity_spki_sha256().size() != 32) {
    return InvalidArgument("log entry: identity_spki_sha256 is not 32 bytes");
  }
  if (entry.has_revoke() && entry.revoke().epoch() == 0) return InvalidArgument("log entry: revokes epoch 0");
  return OkStatus();
}

Status CheckEntry(const v1::LogEntry& entry) {
  if (entry.format_version() != kFormatVersion) {
    return InvalidArgument(
        fmt::format("log entry: format version {}, this reader knows {}", entry.format_version(), kFormatVersion));
  }
  if (!ValidId(entry.tenant())) return InvalidArgument("log entry: the tenant is not a legal id");
  switch (entry.entry_case()) {
    case v1::LogEntry::kAccess: return CheckAccess(entry.access());
    case v1::LogEntry::kHold: return CheckHold(entry.hold());
    case v1::LogEntry::kRelease: return CheckRelease(entry.release());
    case v1::LogEntry::kRetire: return CheckRetire(entry.retire());
    case v1::LogEntry::kRetired: return OkStatus();
    default: return CheckAgentEntry(entry);
  }
}

}  // namespace

bool IsLogEntry(std::string_view leaf) { return leaf.starts_with(kLogEntryLeafTag); }

const std::string& AgentOf(const v1::LogEntry& entry) {
  if (entry.has_enrol()) return entry.enrol().agent_id();
  return entry.revoke().agent_id();  // of the default instance if it has none
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
  if (out.entry.has_enrol() && !facts.packed) out.entry.mutable_enrol()->clear_sig_algs();
  if (out.entry.has_retire() && !facts.packed) out.entry.mutable_retire()->clear_leaves();
  NT_RETURN_IF_ERROR(CheckEntry(out.entry));
  out.unknown_fields = facts.unknown_fields;
  return out;
}

bool VerifyLogEntrySignature(const ParsedLogEntry& entry, const PublicKey& log_key) {
  return Ed25519Verify(log_key, Pae(kLogEntryPayloadType, entry.entry_bytes), entry.signature);
}

}  // namespace nodetrail::trail
