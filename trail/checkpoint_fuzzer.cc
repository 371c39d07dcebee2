// SPDX-License-Identifier: Apache-2.0
//
// Checkpoints under a policy, on hostile bytes. First byte: 0 the bytes are a
// note; 1 a text, which the harness signs as log and witness; 2 a checkpoint's
// signature lines, under a text that is right; 3 a cosignature's 72 bytes,
// whose time may be any and whose signature is made right; 4 a witness's key.
#include <cstdint>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/policy.h"

namespace nodetrail::trail {
namespace {

struct Fixture {
  Ed25519Key log = *Ed25519Key::FromSeed(std::string(32, 'l'));
  Ed25519Key witness = *Ed25519Key::FromSeed(std::string(32, 'w'));
  NoteVerifier log_key = *NoteVerifier::Make("log.example.org", log.public_key());
  CosignerVerifier cosigner = *CosignerVerifier::Make("witness.example.org", witness.public_key());
  LogPolicy policy =
      *LogPolicy::Parse("log " + log_key.ToString() + "\nwitness w " + cosigner.ToString() + "\nquorum w\n");
  std::string text = *CheckpointBody({log_key.name, 5, Sha256Of("root"), {}});
};

void Examine(const Fixture& f, std::string_view note) {
  const auto verdict = f.policy.Examine(note);
  if (!verdict.ok()) return;
  NT_CHECK(verdict->log == f.log_key.name && verdict->checkpoint.origin == f.log_key.name);
  NT_CHECK(verdict->quorum == !verdict->cosigned.empty());
  NT_CHECK(VerifyNote(note, {&f.log_key, 1}).ok());
  // What was cosigned can be read again, and cosigned again only as a repetition.
  const auto again = CosignCheckpoint(note, f.cosigner.name, f.witness, 9);
  NT_CHECK(again.ok());
  NT_CHECK(!verdict->quorum || !f.policy.Examine(std::string(note) + *again).ok());
}

void Run(unsigned mode, std::string_view bytes) {
  static const Fixture f;
  switch (mode % 5) {
    case 0: Examine(f, bytes); break;
    case 1: {
      const auto note = SignNote(bytes, f.log_key.name, f.log);
      if (!note.ok()) break;
      const auto line = CosignCheckpoint(*note, f.cosigner.name, f.witness, 7);
      NT_CHECK(line.ok() == (ParseCheckpointBody(bytes).ok() && ParseNote(*note).ok()));
      if (line.ok()) Examine(f, *note + *line);
      break;
    }
    case 2: {
      Examine(f, f.text + "\n" + std::string(bytes));
      const auto lines = ParseNoteSignatures(bytes);
      if (lines.ok()) NT_CHECK(!lines->empty() && lines->size() <= kMaxNoteSignatures);
      break;
    }
    case 3: {
      if (bytes.size() < 8) break;
      uint64_t time = 0;
      for (size_t i = 0; i < 8; ++i) time = time << 8U | static_cast<unsigned char>(bytes[i]);
      NoteSignature line{f.cosigner.name, f.cosigner.key_id, std::string(bytes)};
      const bool forged = VerifyCosignature(f.text, line, f.cosigner).ok();
      line.signature = std::string(bytes.substr(0, 8)) +
                       Bytes(f.witness.Sign("cosignature/v1\ntime " + std::to_string(time) + "\n" + f.text));
      NT_CHECK(!forged || line.signature == bytes);
      const auto verified = VerifyCosignature(f.text, line, f.cosigner);
      NT_CHECK(verified.ok() == (time <= kMaxCosignatureTime));
      if (verified.ok()) NT_CHECK(*verified == time);
      break;
    }
    default: {
      const auto key = CosignerVerifier::Parse(bytes);
      if (key.ok()) NT_CHECK(key->ToString() == bytes && !NoteVerifier::Parse(bytes).ok());
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
