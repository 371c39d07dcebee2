// SPDX-License-Identifier: Apache-2.0
//
// C2SP signed-note, tlog-checkpoint and tlog-cosignature
// (https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint,
// https://c2sp.org/tlog-cosignature): how a log states its size and root, and
// how witnesses say that they saw it.
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

  static Result<NoteVerifier> Make(const std::string& name, const PublicKey& key);
  // "<name>+<8 hex digits>+<base64 of 0x01 || key>". InvalidArgument for
  // another key type, a wrong key id or any deviation.
  static Result<NoteVerifier> Parse(std::string_view vkey);
  [[nodiscard]] std::string ToString() const;
};

// A witness's public key: a vkey of the type of Ed25519 cosignatures.
struct CosignerVerifier {
  std::string name;
  uint32_t key_id = 0;  // first four bytes of SHA-256(name || "\n" || 0x04 || key), big-endian
  PublicKey key{};

  static Result<CosignerVerifier> Make(const std::string& name, const PublicKey& key);
  // "<name>+<8 hex digits>+<base64 of 0x04 || key>"; errors as NoteVerifier::Parse.
  static Result<CosignerVerifier> Parse(std::string_view vkey);
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

// The signature lines alone, as they stand after the blank line of a note or
// as a witness answers with them: at least one, at most kMaxNoteSignatures,
// each ending in a newline. No signature is checked.
Result<std::vector<NoteSignature>> ParseNoteSignatures(std::string_view lines);

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

// cosignature/v1 (Ed25519): a witness saw, at `unix_time` (seconds, at most
// kMaxCosignatureTime), that the log grew to this checkpoint and only grew.
inline constexpr uint64_t kMaxCosignatureTime = INT64_MAX;

// The signature line, with its newline, to append to `note`, whose text must be
// a checkpoint. Whether the log signed it is the caller's to check before.
Result<std::string> CosignCheckpoint(std::string_view note, std::string_view name, const Ed25519Key& key,
                                     uint64_t unix_time);
// The time in `signature`, a line that names `cosigner` (name and key id), if
// it is right over `text`, the text of the note; DataLoss if not.
Result<uint64_t> VerifyCosignature(std::string_view text, const NoteSignature& signature,
                                   const CosignerVerifier& cosigner);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_NOTE_H_
