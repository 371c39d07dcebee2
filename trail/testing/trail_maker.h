// SPDX-License-Identifier: Apache-2.0
//
// A trail directory for tests, with its keys: two agents, a log, two witnesses.
#ifndef NODETRAIL_TRAIL_TESTING_TRAIL_MAKER_H_
#define NODETRAIL_TRAIL_TESTING_TRAIL_MAKER_H_

#include <fmt/format.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/note.h"
#include "nodetrail/trail/receipt.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::trail {

// A failure aborts: it is the test's own.
class TrailMaker {
 public:
  static constexpr const char* kOrigin = "trail.example.org/acme";
  static constexpr uint64_t kSecond = 1'000'000'000;

  TrailMaker() : writer_(*TrailWriter::Open(dir())) {
    one.now_ns = two.now_ns = kStart;
    Must(WriteFileAtomically(root_ / "ca.pem", ca.CertPem()));
    Must(WriteFileAtomically(root_ / "log.vkey", LogKey().ToString()));
  }

  [[nodiscard]] std::string dir() const { return root_ / "trail"; }
  [[nodiscard]] std::string path(const std::string& name) const { return root_ / name; }

  // Times count from here.
  static constexpr uint64_t kStart = 1'700'000'000 * kSecond;
  static uint64_t At(double seconds) { return kStart + static_cast<uint64_t>(seconds * 1e9); }

  // The batch, sealed so many seconds after the start.
  SealedBatch Batch(TestAgent* agent, double at, std::vector<event::v1::Event> events = {}, bool body = true) {
    agent->now_ns = At(at);
    const TestAgent::Edit sealed = [at](v1::BatchHeader* header) { header->set_sealed_wall_ns(At(at)); };
    SealedBatch batch = events.empty() ? agent->Batch(2, sealed) : agent->BatchOf(std::move(events), sealed);
    Append(batch, body);
    return batch;
  }
  void Append(const SealedBatch& batch, bool body = true) {
    if (body) Must(writer_->PutBody(*HashFromBytes(batch.header.body_sha256()), batch.body));
    const std::string_view leaf = batch.leaf;
    Must(writer_->AppendLeaves({&leaf, 1}));
    tree_.Append(LeafHash(leaf));
    hashes_.push_back(LeafHash(leaf));
  }
  // With cosignatures of these witnesses: "a", "b", "ab".
  std::string Checkpoint(std::string_view witnesses = "") {
    std::string note = *SignCheckpoint({kOrigin, tree_.size(), tree_.Root(), {}}, log_key_);
    for (const char witness : witnesses) {
      note += *CosignCheckpoint(note, WitnessName(witness), WitnessKey(witness), 1'700'000'500);
    }
    Must(writer_->WriteCheckpoint(note));
    return note;
  }
  // Under the log as it is.
  std::string Receipt(uint64_t index, std::string_view witnesses = "") {
    return FormatReceipt(index, *InclusionProof(hashes_, index), Checkpoint(witnesses));
  }

  [[nodiscard]] NoteVerifier LogKey() const { return *NoteVerifier::Make(kOrigin, log_key_.public_key()); }
  // An entry that the log signed, as the next leaf.
  void Enter(const v1::LogEntry& entry) {
    SealedBatch leaf;
    leaf.leaf = *MakeLogEntry(entry, log_key_);
    Append(leaf, false);
  }
  // The log, witnesses a and b, and this quorum line: "any a b", "all a b", "none".
  [[nodiscard]] std::string Policy(const std::string& quorum) const {
    std::string out = fmt::format("log {}\n", LogKey().ToString());
    for (const char witness : {'a', 'b'}) {
      out += fmt::format("witness {} {}\n", witness,
                         CosignerVerifier::Make(WitnessName(witness), WitnessKey(witness).public_key())->ToString());
    }
    return quorum == "none" ? out + "quorum none\n" : fmt::format("{}group g {}\nquorum g\n", out, quorum);
  }

  TestCa ca;
  TestAgent one{ca, "acme", "web-1"};
  TestAgent two{ca, "acme", "web-2"};

 private:
  static void Must(const Status& status) { NT_CHECK(status.ok()); }
  static std::string WitnessName(char witness) { return fmt::format("witness.example.org/{}", witness); }
  static Ed25519Key WitnessKey(char witness) { return *Ed25519Key::FromSeed(std::string(32, witness)); }

  TempDir root_;
  Ed25519Key log_key_ = Ed25519Key::Generate();
  std::unique_ptr<TrailWriter> writer_;
  CompactRange tree_;
  std::vector<Hash> hashes_;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_TESTING_TRAIL_MAKER_H_
