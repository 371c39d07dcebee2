// SPDX-License-Identifier: Apache-2.0
//
// A log of a test: leaves in memory, checkpoints of any size of it, proofs. A
// fork has other leaves from some index on, under the same key.
#ifndef NODETRAIL_WITNESS_TESTING_TEST_LOG_H_
#define NODETRAIL_WITNESS_TESTING_TEST_LOG_H_

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::witness {

class TestLog {
 public:
  explicit TestLog(std::string origin = "trail.example.com/default", char seed = 'l', uint64_t size = 600)
      : origin_(std::move(origin)), seed_(seed) {
    for (uint64_t i = 0; i < size; ++i) hashes_.push_back(trail::LeafHash(fmt::format("leaf {}", i)));
  }
  // The same up to `index`, other leaves from there on.
  [[nodiscard]] TestLog ForkAt(uint64_t index) const {
    TestLog out = *this;
    for (uint64_t i = index; i < hashes_.size(); ++i) out.hashes_[i] = trail::LeafHash(fmt::format("other {}", i));
    return out;
  }

  [[nodiscard]] trail::Ed25519Key Key() const { return *trail::Ed25519Key::FromSeed(std::string(32, seed_)); }
  [[nodiscard]] trail::NoteVerifier Verifier() const { return *trail::NoteVerifier::Make(origin_, Key().public_key()); }
  [[nodiscard]] trail::Hash Root(uint64_t size) const { return trail::MerkleRoot(First(size)); }
  [[nodiscard]] std::string Text(uint64_t size) const {
    return *trail::CheckpointBody({origin_, size, Root(size), {}});
  }
  [[nodiscard]] std::string Checkpoint(uint64_t size) const {
    return *trail::SignCheckpoint({origin_, size, Root(size), {}}, Key());
  }
  [[nodiscard]] std::string Proof(uint64_t old_size, uint64_t size) const {
    std::string out;
    const auto proof = trail::ConsistencyProof(First(size), old_size);
    for (const trail::Hash& hash : *proof) {
      out += trail::Base64Encode(trail::View(hash)) + "\n";
    }
    return out;
  }
  // The body of add-checkpoint.
  [[nodiscard]] std::string Request(uint64_t old_size, uint64_t size) const {
    return fmt::format("old {}\n{}\n{}", old_size, old_size <= size ? Proof(old_size, size) : "", Checkpoint(size));
  }

 private:
  [[nodiscard]] std::span<const trail::Hash> First(uint64_t size) const {
    return std::span<const trail::Hash>(hashes_).first(size);
  }
  std::string origin_;
  char seed_;
  std::vector<trail::Hash> hashes_;
};

}  // namespace nodetrail::witness

#endif  // NODETRAIL_WITNESS_TESTING_TEST_LOG_H_
