// SPDX-License-Identifier: Apache-2.0
//
// C2SP signed-note and tlog-checkpoint (https://c2sp.org/signed-note,
// https://c2sp.org/tlog-checkpoint): how a log states its size and root.
// Parsing is strict: what another implementation could read another way is
// refused. Thread-safe.
#ifndef NODETRAIL_TRAIL_NOTE_H_
#define NODETRAIL_TRAIL_NOTE_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/trail/crypto.h"

namespace nodetrail::trail {

inline constexpr size_t kMaxNoteBytes = 1 << 20;
inline constexpr size_t kMaxNoteSignatures = 100;

// True for a legal key name or checkpoint origin: UTF-8, not empty, without
// white space, control characters and '+'.
bool ValidNoteName(std::string_view name);

// A public key that notes are verified with ("vkey").
struct NoteVerifier {
  std::string name;
  uint32_t key_id = 0;  // first four bytes of SHA-256(name || "\n" || 0x01 || key), big-endian
  PublicKey key{};

  static Result<NoteVerifier> Make(std::string name, const PublicKey& key);
  // "<name>+<8 hex digits>+<base64 of 0x01 || key>". InvalidArgument for
  // another key type, a wrong key id or any deviation.
  static Result<NoteVerifier> Parse(std::string_view vkey);
  [[nodiscard]] std::string ToString() const;
};

struct NoteSignature {
  std::string name;
  uint32_t key_id = 0;
  std::string signature;  // without the key id
};

struct Note {
  std::string text;  // ends in a newline
  std::vector<NoteSignature> signatures;
};

// `text` must end in a newline and hold no control characters besides newline.
// Returns the note with one signature line "— <name> <base64>".
Result<std::string> SignNote(std::string_view text, std::string_view key_name, const Ed25519Key& key);
// The note with a further signature line.
Result<std::string> CosignNote(std::string_view note, std::string_view key_name, const Ed25519Key& key);

// Structure only; no signature is checked.
Result<Note> ParseNote(std::string_view note);

// Parses and checks. OK only if at least one of `verifiers` signed, and every
// signature line that names one of them (name and key id) is right. Lines of
// unknown keys are ignored, as the standard says. Returns the note; DataLoss
// if it is not signed as asked.
Result<Note> VerifyNote(std::string_view note, std::span<const NoteVerifier> verifiers);

struct Checkpoint {
  std::string origin;
  uint64_t size = 0;
  Hash root{};
  std::vector<std::string> extensions;  // further lines, normally none
};

// The text of the note. InvalidArgument for an origin that is not a legal name.
Result<std::string> CheckpointBody(const Checkpoint& checkpoint);
Result<Checkpoint> ParseCheckpointBody(std::string_view text);

Result<std::string> SignCheckpoint(const Checkpoint& checkpoint, const Ed25519Key& key);
// Signature by `verifier`, whose name must be the origin.
Result<Checkpoint> VerifyCheckpoint(std::string_view note, const NoteVerifier& verifier);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_NOTE_H_
