// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/note.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {
namespace {

constexpr std::string_view kEd25519Type("\x01", 1);
constexpr std::string_view kCosignatureType("\x04", 1);
constexpr std::string_view kSignaturePrefix = "\xe2\x80\x94 ";  // EM DASH, space
constexpr size_t kTimeBytes = 8;

// Decodes one code point at the front of `text`; nothing if it is not valid UTF-8.
std::optional<uint32_t> TakeCodePoint(std::string_view* text) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>((*text)[i])); };
  const uint32_t first = byte(0);
  size_t size = 1;
  uint32_t value = first;
  uint32_t least = 0;
  if (first >= 0xf0 && first <= 0xf4) {
    size = 4, value = first & 0x07U, least = 0x10000;
  } else if (first >= 0xe0 && first < 0xf0) {
    size = 3, value = first & 0x0fU, least = 0x800;
  } else if (first >= 0xc2 && first < 0xe0) {
    size = 2, value = first & 0x1fU, least = 0x80;
  } else if (first >= 0x80) {
    return std::nullopt;
  }
  if (text->size() < size) return std::nullopt;
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return std::nullopt;
    value = (value << 6U) | (byte(i) & 0x3fU);
  }
  if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return std::nullopt;
  text->remove_prefix(size);
  return value;
}

bool IsSpace(uint32_t c) {
  return c == ' ' || (c >= 0x09 && c <= 0x0d) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

// Valid UTF-8 without control characters besides newline.
bool CleanText(std::string_view text) {
  while (!text.empty()) {
    const auto c = TakeCodePoint(&text);
    if (!c || (*c < 0x20 && *c != '\n') || *c == 0x7f) return false;
  }
  return true;
}

uint32_t KeyId(std::string_view name, std::string_view type, const PublicKey& key) {
  const Hash hash = Sha256Of({name, "\n", type, View(key)});
  return (uint32_t{hash[0]} << 24U) | (uint32_t{hash[1]} << 16U) | (uint32_t{hash[2]} << 8U) | uint32_t{hash[3]};
}

std::string BigEndian(uint64_t value, size_t bytes) {
  std::string out;
  for (size_t shift = 8 * bytes; shift > 0; shift -= 8) out += static_cast<char>((value >> (shift - 8)) & 0xffU);
  return out;
}

std::string FormatLine(std::string_view name, uint32_t key_id, std::string_view signature) {
  return fmt::format("{}{} {}\n", kSignaturePrefix, name, Base64Encode(BigEndian(key_id, 4) + std::string(signature)));
}

std::string SignatureLine(std::string_view text, std::string_view name, const Ed25519Key& key) {
  return FormatLine(name, KeyId(name, kEd25519Type, key.public_key()), View(key.Sign(text)));
}

std::string CosignedMessage(std::string_view text, uint64_t unix_time) {
  return fmt::format("cosignature/v1\ntime {}\n{}", unix_time, text);
}

std::string FormatVkey(std::string_view name, uint32_t key_id, std::string_view type, const PublicKey& key) {
  return fmt::format("{}+{:08x}+{}", name, key_id, Base64Encode(std::string(type) + Bytes(key)));
}

// NoteVerifier or CosignerVerifier: they differ in the type byte only.
template <typename Verifier>
Result<Verifier> MakeVerifier(const std::string& name, std::string_view type, const PublicKey& key) {
  if (!ValidNoteName(name)) return InvalidArgument(fmt::format("note key: illegal name of {} bytes", name.size()));
  Verifier out;
  out.key_id = KeyId(name, type, key);
  out.name = name;
  out.key = key;
  return out;
}

template <typename Verifier>
Result<Verifier> ParseVkey(std::string_view vkey, std::string_view type, std::string_view what) {
  const size_t first = vkey.find('+');
  const size_t second = first == std::string_view::npos ? first : vkey.find('+', first + 1);
  if (second == std::string_view::npos) return InvalidArgument("verifier key: not <name>+<id>+<key>");
  const std::string_view id = vkey.substr(first + 1, second - first - 1);
  NT_ASSIGN_OR_RETURN(const std::string id_bytes, HexDecode(id));
  NT_ASSIGN_OR_RETURN(const std::string blob, Base64Decode(vkey.substr(second + 1)));
  if (blob.size() != 33 || !blob.starts_with(type)) {
    return InvalidArgument(fmt::format("verifier key: not {} (type {}, 32 bytes)", what, int{type[0]}));
  }
  NT_ASSIGN_OR_RETURN(Verifier out, MakeVerifier<Verifier>(std::string(vkey.substr(0, first)), type,
                                                           *FixedBytes<32>(std::string_view(blob).substr(1))));
  if (id_bytes != BigEndian(out.key_id, 4)) {
    return InvalidArgument("verifier key: the id does not belong to the key");
  }
  return out;
}

// The text of a note with its newline, and the signature lines after the blank line.
struct Split {
  std::string_view text;
  std::string_view lines;
};
std::optional<Split> SplitNote(std::string_view note) {
  const size_t at = note.rfind("\n\n");
  if (at == std::string_view::npos) return std::nullopt;
  return Split{note.substr(0, at + 1), note.substr(at + 2)};
}

Result<NoteSignature> ParseSignatureLine(std::string_view line) {
  if (!line.starts_with(kSignaturePrefix)) return InvalidArgument("note: a signature line does not begin with a dash");
  line.remove_prefix(kSignaturePrefix.size());
  const size_t space = line.find(' ');
  if (space == std::string_view::npos) return InvalidArgument("note: a signature line has no signature");
  NoteSignature out;
  out.name = std::string(line.substr(0, space));
  if (!ValidNoteName(out.name)) return InvalidArgument("note: a signature line has no legal key name");
  NT_ASSIGN_OR_RETURN(const std::string blob, Base64Decode(line.substr(space + 1)));
  if (blob.size() < 5) return InvalidArgument("note: a signature is too short");
  for (size_t i = 0; i < 4; ++i) out.key_id = (out.key_id << 8U) | static_cast<unsigned char>(blob[i]);
  out.signature = blob.substr(4);
  return out;
}

}  // namespace

bool ValidNoteName(std::string_view name) {
  if (name.empty() || name.size() > 255) return false;
  while (!name.empty()) {
    const auto c = TakeCodePoint(&name);
    if (!c || *c < 0x20 || *c == 0x7f || *c == '+' || IsSpace(*c)) return false;
  }
  return true;
}

Result<NoteVerifier> NoteVerifier::Make(const std::string& name, const PublicKey& key) {
  return MakeVerifier<NoteVerifier>(name, kEd25519Type, key);
}

Result<NoteVerifier> NoteVerifier::Parse(std::string_view vkey) {
  return ParseVkey<NoteVerifier>(vkey, kEd25519Type, "an Ed25519 key");
}

std::string NoteVerifier::ToString() const { return FormatVkey(name, key_id, kEd25519Type, key); }

Result<CosignerVerifier> CosignerVerifier::Make(const std::string& name, const PublicKey& key) {
  return MakeVerifier<CosignerVerifier>(name, kCosignatureType, key);
}

Result<CosignerVerifier> CosignerVerifier::Parse(std::string_view vkey) {
  return ParseVkey<CosignerVerifier>(vkey, kCosignatureType, "a key for Ed25519 cosignatures");
}

std::string CosignerVerifier::ToString() const { return FormatVkey(name, key_id, kCosignatureType, key); }

Result<std::string> SignNote(std::string_view text, std::string_view key_name, const Ed25519Key& key) {
  if (text.empty() || text.back() != '\n' || !CleanText(text)) {
    return InvalidArgument("note: the text must be UTF-8 without control characters and end in a newline");
  }
  if (!ValidNoteName(key_name)) return InvalidArgument("note: illegal key name");
  return fmt::format("{}\n{}", text, SignatureLine(text, key_name, key));
}

Result<std::string> CosignNote(std::string_view note, std::string_view key_name, const Ed25519Key& key) {
  NT_ASSIGN_OR_RETURN(const Note parsed, ParseNote(note));
  if (!ValidNoteName(key_name)) return InvalidArgument("note: illegal key name");
  return std::string(note) + SignatureLine(parsed.text, key_name, key);
}

Result<std::vector<NoteSignature>> ParseNoteSignatures(std::string_view lines) {
  if (lines.size() > kMaxNoteBytes) return InvalidArgument("note: longer than 1 MiB");
  if (lines.empty() || lines.back() != '\n') {
    return InvalidArgument("note: no signature line, or the last one has no newline");
  }
  std::vector<NoteSignature> out;
  while (!lines.empty()) {
    if (out.size() == kMaxNoteSignatures) return InvalidArgument("note: more than 100 signatures");
    const size_t end = lines.find('\n');
    NT_ASSIGN_OR_RETURN(NoteSignature signature, ParseSignatureLine(lines.substr(0, end)));
    out.push_back(std::move(signature));
    lines.remove_prefix(end + 1);
  }
  return out;
}

Result<Note> ParseNote(std::string_view note) {
  if (note.size() > kMaxNoteBytes) return InvalidArgument("note: longer than 1 MiB");
  if (!CleanText(note)) return InvalidArgument("note: not UTF-8, or control characters");
  const auto split = SplitNote(note);
  if (!split) return InvalidArgument("note: no blank line before the signatures");
  Note out;
  out.text = std::string(split->text);
  NT_ASSIGN_OR_RETURN(out.signatures, ParseNoteSignatures(split->lines));
  return out;
}

Result<Note> VerifyNote(std::string_view note, std::span<const NoteVerifier> verifiers) {
  NT_ASSIGN_OR_RETURN(Note parsed, ParseNote(note));
  std::set<std::pair<std::string_view, uint32_t>> seen;
  for (const NoteSignature& signature : parsed.signatures) {
    const auto verifier = std::find_if(verifiers.begin(), verifiers.end(), [&](const NoteVerifier& v) {
      return v.name == signature.name && v.key_id == signature.key_id;
    });
    if (verifier == verifiers.end()) continue;
    if (NT_GUARD(note_signed_twice, !seen.emplace(verifier->name, verifier->key_id).second)) {
      return DataLoss(fmt::format("note: two signatures by key {}", verifier->name));
    }
    if (NT_GUARD(note_signature, !Ed25519Verify(verifier->key, parsed.text, signature.signature))) {
      return DataLoss(fmt::format("note: the signature of {} is wrong", verifier->name));
    }
  }
  if (seen.empty()) return DataLoss("note: not signed by a trusted key");
  return parsed;
}

Result<std::string> CheckpointBody(const Checkpoint& checkpoint) {
  if (!ValidNoteName(checkpoint.origin)) return InvalidArgument("checkpoint: the origin is not a legal name");
  std::string out =
      fmt::format("{}\n{}\n{}\n", checkpoint.origin, checkpoint.size, Base64Encode(View(checkpoint.root)));
  for (const std::string& line : checkpoint.extensions) {
    if (line.empty() || line.find('\n') != std::string::npos || !CleanText(line)) {
      return InvalidArgument("checkpoint: an extension line is empty or not clean text");
    }
    out += line;
    out += '\n';
  }
  return out;
}

Result<Checkpoint> ParseCheckpointBody(std::string_view text) {
  if (!CleanText(text)) return InvalidArgument("checkpoint: not clean UTF-8 text");
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return InvalidArgument("checkpoint: the last line has no newline");
    if (end == 0) return InvalidArgument("checkpoint: an empty line");
    lines.push_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  if (lines.size() < 3) return InvalidArgument("checkpoint: fewer than three lines");
  Checkpoint out;
  if (!ValidNoteName(lines[0])) return InvalidArgument("checkpoint: the origin is not a legal name");
  out.origin = std::string(lines[0]);
  const std::string_view size = lines[1];
  const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), out.size);
  if (error != std::errc() || end != size.data() + size.size() || (size.size() > 1 && size[0] == '0')) {
    return InvalidArgument("checkpoint: the size is not a plain decimal number");
  }
  NT_ASSIGN_OR_RETURN(const std::string root, Base64Decode(lines[2]));
  const auto hash = HashFromBytes(root);
  if (!hash) return InvalidArgument("checkpoint: the root is not 32 bytes");
  out.root = *hash;
  for (size_t i = 3; i < lines.size(); ++i) out.extensions.emplace_back(lines[i]);
  return out;
}

Result<std::string> SignCheckpoint(const Checkpoint& checkpoint, const Ed25519Key& key) {
  NT_ASSIGN_OR_RETURN(const std::string body, CheckpointBody(checkpoint));
  return SignNote(body, checkpoint.origin, key);
}

Result<Checkpoint> VerifyCheckpoint(std::string_view note, const NoteVerifier& verifier) {
  NT_ASSIGN_OR_RETURN(const Note parsed, VerifyNote(note, {&verifier, 1}));
  NT_ASSIGN_OR_RETURN(Checkpoint checkpoint, ParseCheckpointBody(parsed.text));
  if (checkpoint.origin != verifier.name) {
    return DataLoss(fmt::format("checkpoint: of log {}, not of {}", checkpoint.origin, verifier.name));
  }
  return checkpoint;
}

Result<std::string> CosignCheckpoint(std::string_view note, std::string_view name, const Ed25519Key& key,
                                     uint64_t unix_time) {
  if (unix_time > kMaxCosignatureTime) return OutOfRange("cosignature: the time is above 2^63-1");
  NT_ASSIGN_OR_RETURN(const CosignerVerifier cosigner, CosignerVerifier::Make(std::string(name), key.public_key()));
  NT_ASSIGN_OR_RETURN(const Note parsed, ParseNote(note));
  NT_RETURN_IF_ERROR(ParseCheckpointBody(parsed.text).status());
  return FormatLine(name, cosigner.key_id,
                    BigEndian(unix_time, kTimeBytes) + Bytes(key.Sign(CosignedMessage(parsed.text, unix_time))));
}

Result<uint64_t> VerifyCosignature(std::string_view text, const NoteSignature& signature,
                                   const CosignerVerifier& cosigner) {
  const std::string_view blob = signature.signature;
  if (signature.name != cosigner.name || signature.key_id != cosigner.key_id) {
    return DataLoss(fmt::format("cosignature: by {}, not by {}", signature.name, cosigner.name));
  }
  if (blob.size() != kTimeBytes + sizeof(Signature)) {
    return DataLoss(fmt::format("cosignature: that of {} is not 8 + 64 bytes", cosigner.name));
  }
  uint64_t time = 0;
  for (size_t i = 0; i < kTimeBytes; ++i) time = (time << 8U) | static_cast<unsigned char>(blob[i]);
  if (time > kMaxCosignatureTime) {
    return DataLoss(fmt::format("cosignature: the time of {} is above 2^63-1", cosigner.name));
  }
  if (!Ed25519Verify(cosigner.key, CosignedMessage(text, time), blob.substr(kTimeBytes))) {
    return DataLoss(fmt::format("cosignature: the signature of {} is wrong", cosigner.name));
  }
  return time;
}

}  // namespace nodetrail::trail
