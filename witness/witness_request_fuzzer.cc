// SPDX-License-Identifier: Apache-2.0
//
// What a stranger can send a witness. The first byte chooses: 0 the bytes are
// a connection's, head and body; 1 the body of add-checkpoint; 2 an old size
// and proof lines, before a checkpoint that the harness signs; 3 the text of a
// checkpoint, which the harness signs and puts into a request. Bit 2: the
// witness knows the log; bits 3 to 7, all of them: its disk is full. Whatever comes,
// the witness cosigns no size twice with different roots, and never goes back.
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/merkle.h"
#include "witness/core.h"
#include "witness/http.h"

namespace nodetrail::witness {
namespace {

constexpr char kOrigin[] = "trail.example.com/default";

struct MemoryStore final : Store {
  Result<Record> Load(const std::string&) override { return record; }
  Status Save(const std::string&, const Record& next) override {
    NT_CHECK(next.size >= record.size);
    if (next.size == record.size) NT_CHECK(next.root == record.root);
    if (full) return Status(Code::kResourceExhausted, "no space");
    record = next;
    return OkStatus();
  }
  void KeepFork(const std::string&, const Record& known, const Record& other) override {
    NT_CHECK(known.size == other.size && known.root != other.root);
  }
  Record record;
  bool full = false;
};

Record At(uint64_t size, const trail::Ed25519Key& log_key) {
  trail::CompactRange range;
  for (char leaf = 'a'; range.size() < size; ++leaf) range.Append(trail::LeafHash(std::string(1, leaf)));
  Record record;
  record.size = size;
  record.root = range.Root();
  record.note = *trail::SignCheckpoint({kOrigin, size, range.Root(), {}}, log_key);
  return record;
}

void Run(unsigned mode, std::string_view bytes) {
  static const trail::Ed25519Key log_key = *trail::Ed25519Key::FromSeed(std::string(32, 'l'));
  static const trail::NoteVerifier verifier = *trail::NoteVerifier::Make(kOrigin, log_key.public_key());
  static const FakeClock clock;
  // Trees of the first leaves of one log; signed once, since that takes longer
  // than all the rest.
  static const Record three = At(3, log_key);
  static const Record five = At(5, log_key);
  MemoryStore store;
  // The witness is at size 3 of a log of three leaves, or at the beginning.
  if ((mode & 4U) != 0) store.record = three;
  // Seldom: each such failure is a line in the log.
  store.full = mode >> 3U == 0x1f;
  auto witness = *Witness::Create("w.example.com", *trail::Ed25519Key::FromSeed(std::string(32, 'w')),
                                  *LogsOf({&verifier, 1}), &store, &clock);
  std::string body;
  switch (mode % 4) {
    case 0: {
      const HttpHead head = ParseHttpHead(bytes);
      if (head.state == HttpHead::State::kRefused) NT_CHECK(head.refusal >= 400 && head.refusal < 600);
      if (head.state != HttpHead::State::kComplete) return;
      NT_CHECK(head.size <= bytes.size() && head.size <= kMaxHeadBytes && !head.path.empty());
      body = std::string(bytes.substr(head.size, head.body_bytes));
      break;
    }
    case 1: body = std::string(bytes); break;
    case 2: body = std::string(bytes) + "\n\n" + five.note; break;
    default: {
      const auto note = trail::SignNote(bytes, kOrigin, log_key);
      if (!note.ok()) return;
      body = (mode & 4U) != 0 ? "old 3\n\n" + *note : "old 0\n\n" + *note;
    }
  }
  const Record before = store.record;
  const Answer answer = witness->AddCheckpoint(body);
  NT_CHECK(answer.is_size == (answer.status == 409));
  NT_CHECK(witness->Logs().size() == 1 && witness->Logs()[0].size == store.record.size);
  (void)witness->OtherAnswers();
  const std::string text = FormatAnswer({answer.status, "text/plain", answer.body, ""}, true, false);
  NT_CHECK(text.starts_with("HTTP/1.1 " + std::to_string(answer.status) + " ") && text.ends_with(answer.body));
  switch (answer.status) {
    case 200: {
      const auto signatures = trail::ParseNoteSignatures(answer.body);
      NT_CHECK(signatures.ok() && signatures->size() == 1 && !store.record.note.empty());
      break;
    }
    case 409: NT_CHECK(answer.body == std::to_string(before.size) + "\n"); [[fallthrough]];
    case 400:
    case 403:
    case 404:
    case 422: NT_CHECK(store.record.note == before.note); break;
    case 500: NT_CHECK(store.full && store.record.note == before.note); break;
    default: NT_CHECK(false);
  }
}

}  // namespace
}  // namespace nodetrail::witness

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  nodetrail::witness::Run(data[0], {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
