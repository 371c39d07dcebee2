// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/note.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

namespace nodetrail::trail {
namespace {

constexpr uint8_t kEd25519Type = 0x01;
constexpr std::string_view kSignaturePrefix = "\xe2\x80\x94 ";  // EM DASH, space
constexpr std::string_view kTypeByte("\x01", 1);

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

uint32_t KeyId(std::string_view name, const PublicKey& key) {
  const Hash hash = Sha256Of({name, "\n", kTypeByte, View(key)});
  return (uint32_t{hash[0]} << 24U) | (uint32_t{hash[1]} << 16U) | (uint32_t{hash[2]} << 8U) | uint32_t{hash[3]};
}

std::string BigEndian32(uint32_t value) {
  std::string out;
  for (unsigned shift = 32; shift > 0; shift -= 8) out += static_cast<char>((value >> (shift - 8)) & 0xffU);
  return out;
}

std::string SignatureLine(std::string_view text, std::string_view name, const Ed25519Key& key) {
  const std::string blob = BigEndian32(KeyId(name, key.public_key())) + Bytes(key.Sign(text));
  return fmt::format("{}{} {}\n", kSignaturePrefix, name, Base64Encode(blob));
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

Result<NoteVerifier> NoteVerifier::Make(std::string name, const PublicKey& key) {
  if (!ValidNoteName(name)) return InvalidArgument(fmt::format("note key: illegal name of {} bytes", name.size()));
  NoteVerifier out;
  out.key_id = KeyId(name, key);
  out.name = std::move(name);
  out.key = key;
  return out;
}

Result<NoteVerifier> NoteVerifier::Parse(std::string_view vkey) {
  const size_t first = vkey.find('+');
  const size_t second = first == std::string_view::npos ? first : vkey.find('+', first + 1);
  if (second == std::string_view::npos) return InvalidArgument("verifier key: not <name>+<id>+<key>");
  const std::string_view id = vkey.substr(first + 1, second - first - 1);
  NT_ASSIGN_OR_RETURN(const std::string id_bytes, HexDecode(id));
  NT_ASSIGN_OR_RETURN(const std::string blob, Base64Decode(vkey.substr(second + 1)));
  if (blob.size() != 33 || static_cast<uint8_t>(blob[0]) != kEd25519Type) {
    return InvalidArgument("verifier key: not an Ed25519 key (type 1, 32 bytes)");
  }
  NT_ASSIGN_OR_RETURN(NoteVerifier out,
                      Make(std::string(vkey.substr(0, first)), *FixedBytes<32>(std::string_view(blob).substr(1))));
  if (id_bytes != BigEndian32(out.key_id)) return InvalidArgument("verifier key: the id does not belong to the key");
  return out;
}

std::string NoteVerifier::ToString() const {
  return fmt::format("{}+{:08x}+{}", name, key_id, Base64Encode(std::string(kTypeByte) + Bytes(key)));
}

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

Result<Note> ParseNote(std::string_view note) {
  if (note.size() > kMaxNoteBytes) return InvalidArgument("note: longer than 1 MiB");
  if (!CleanText(note)) return InvalidArgument("note: not UTF-8, or control characters");
  const auto split = SplitNote(note);
  if (!split) return InvalidArgument("note: no blank line before the signatures");
  if (split->lines.empty() || split->lines.back() != '\n') {
    return InvalidArgument("note: no signature line, or the last one has no newline");
  }
  Note out;
  out.text = std::string(split->text);
  std::string_view rest = split->lines;
  while (!rest.empty()) {
    if (out.signatures.size() == kMaxNoteSignatures) return InvalidArgument("note: more than 100 signatures");
    const size_t end = rest.find('\n');
    NT_ASSIGN_OR_RETURN(NoteSignature signature, ParseSignatureLine(rest.substr(0, end)));
    out.signatures.push_back(std::move(signature));
    rest.remove_prefix(end + 1);
  }
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
    if (!seen.emplace(verifier->name, verifier->key_id).second) {
      return DataLoss(fmt::format("note: two signatures by key {}", verifier->name));
    }
    if (!Ed25519Verify(verifier->key, parsed.text, signature.signature)) {
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

}  // namespace nodetrail::trail
