// SPDX-License-Identifier: Apache-2.0
//
// The Merkle tree of RFC 6962 section 2.1 (SHA-256): roots, inclusion and
// consistency proofs. Pure functions; thread-safe.
#ifndef NODETRAIL_TRAIL_MERKLE_H_
#define NODETRAIL_TRAIL_MERKLE_H_

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "nodetrail/trail/crypto.h"

namespace nodetrail::trail {

// SHA-256(0x00 || entry).
Hash LeafHash(std::string_view entry);
// SHA-256(0x01 || left || right).
Hash NodeHash(const Hash& left, const Hash& right);
// SHA-256 of nothing: the root of the empty tree.
Hash EmptyRoot();

// A growing tree of which only the right edge is kept: at most 64 hashes.
class CompactRange {
 public:
  void Append(const Hash& leaf_hash);
  [[nodiscard]] uint64_t size() const { return size_; }
  [[nodiscard]] Hash Root() const;

 private:
  std::vector<Hash> peaks_;  // roots of the perfect subtrees, largest first
  uint64_t size_ = 0;
};

// Root over leaf hashes.
Hash MerkleRoot(std::span<const Hash> leaf_hashes);

// PATH(index, D[n]) of RFC 6962, n = leaf_hashes.size(). OutOfRange if index
// is not below n.
Result<std::vector<Hash>> InclusionProof(std::span<const Hash> leaf_hashes, uint64_t index);

// OK if `proof` shows that `leaf_hash` is entry `index` of the tree of `size`
// entries with `root`; otherwise DataLoss with the reason. Strict: a proof
// that is too long or too short is refused.
Status VerifyInclusion(const Hash& leaf_hash, uint64_t index, uint64_t size, std::span<const Hash> proof,
                       const Hash& root);

// PROOF(old_size, D[n]). Empty when old_size is 0 or n.
Result<std::vector<Hash>> ConsistencyProof(std::span<const Hash> leaf_hashes, uint64_t old_size);

// OK if `proof` shows that the tree (new_size, new_root) extends (old_size, old_root).
Status VerifyConsistency(uint64_t old_size, const Hash& old_root, uint64_t new_size, const Hash& new_root,
                         std::span<const Hash> proof);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_MERKLE_H_
