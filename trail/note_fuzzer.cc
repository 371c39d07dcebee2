// SPDX-License-Identifier: Apache-2.0
//
// Notes, checkpoints and verifier keys on hostile bytes. The first byte
// chooses: 0 the bytes are a note; 1 a text, which the harness signs; 2 a
// checkpoint's text; 3 a verifier key.
#include <cstdint>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::trail {
namespace {

void Run(unsigned mode, std::string_view bytes) {
  static const Ed25519Key key = *Ed25519Key::FromSeed(std::string(32, 'n'));
  static const NoteVerifier verifier = *NoteVerifier::Make("trail.example.org/acme", key.public_key());
  switch (mode % 4) {
    case 0: {
      (void)ParseNote(bytes).ok();
      const auto checkpoint = VerifyCheckpoint(bytes, verifier);
      if (checkpoint.ok()) NT_CHECK(checkpoint->origin == verifier.name);
      break;
    }
    case 1: {
      const auto note = SignNote(bytes, verifier.name, key);
      if (!note.ok()) break;
      const auto verified = VerifyNote(*note, {&verifier, 1});
      NT_CHECK(verified.ok() || note->size() > kMaxNoteBytes);
      if (verified.ok()) NT_CHECK(verified->text == bytes);
      (void)VerifyCheckpoint(*note, verifier).ok();
      const auto twice = CosignNote(*note, "witness.example.org", key);
      if (twice.ok()) NT_CHECK(VerifyNote(*twice, {&verifier, 1}).ok());
      break;
    }
    case 2: {
      const auto checkpoint = ParseCheckpointBody(bytes);
      // One text per checkpoint.
      if (checkpoint.ok()) NT_CHECK(*CheckpointBody(*checkpoint) == bytes);
      break;
    }
    default: {
      const auto parsed = NoteVerifier::Parse(bytes);
      if (parsed.ok()) NT_CHECK(parsed->ToString() == bytes);
    }
  }
}

}  // namespace
}  // namespace nodetrail::trail

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  nodetrail::trail::Run(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
