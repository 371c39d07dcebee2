// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/merkle.h"

#include <fmt/format.h>

#include <bit>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {
namespace {

constexpr std::string_view kLeafPrefix("\x00", 1);
constexpr std::string_view kNodePrefix("\x01", 1);

// Largest power of two below n; n > 1.
uint64_t SplitPoint(uint64_t n) { return std::bit_floor(n - 1); }

void Inclusion(std::span<const Hash> leaves, uint64_t index, std::vector<Hash>* proof) {
  if (leaves.size() <= 1) return;
  const uint64_t k = SplitPoint(leaves.size());
  if (index < k) {
    Inclusion(leaves.first(k), index, proof);
    proof->push_back(MerkleRoot(leaves.subspan(k)));
  } else {
    Inclusion(leaves.subspan(k), index - k, proof);
    proof->push_back(MerkleRoot(leaves.first(k)));
  }
}

// SUBPROOF(m, D[n], whole) of RFC 6962.
void Consistency(std::span<const Hash> leaves, uint64_t m, bool whole, std::vector<Hash>* proof) {
  if (m == leaves.size()) {
    if (!whole) proof->push_back(MerkleRoot(leaves));
    return;
  }
  const uint64_t k = SplitPoint(leaves.size());
  if (m <= k) {
    Consistency(leaves.first(k), m, whole, proof);
    proof->push_back(MerkleRoot(leaves.subspan(k)));
  } else {
    Consistency(leaves.subspan(k), m - k, false, proof);
    proof->push_back(MerkleRoot(leaves.first(k)));
  }
}

}  // namespace

Hash LeafHash(std::string_view entry) {
  return Sha256Of({NT_GUARD(leaf_prefix, true) ? kLeafPrefix : kNodePrefix, entry});
}
Hash NodeHash(const Hash& left, const Hash& right) { return Sha256Of({kNodePrefix, View(left), View(right)}); }
Hash EmptyRoot() { return Sha256Of(std::string_view()); }

void CompactRange::Append(const Hash& leaf_hash) {
  Hash node = leaf_hash;
  // One merge per trailing one bit of the size: as in a binary counter.
  for (uint64_t rest = size_; (rest & 1U) != 0; rest >>= 1U) {
    node = NodeHash(peaks_.back(), node);
    peaks_.pop_back();
  }
  peaks_.push_back(node);
  ++size_;
}

Hash CompactRange::Root() const {
  if (peaks_.empty()) return EmptyRoot();
  Hash root = peaks_.back();
  for (size_t i = peaks_.size() - 1; i-- > 0;) root = NodeHash(peaks_[i], root);
  return root;
}

Hash MerkleRoot(std::span<const Hash> leaf_hashes) {
  CompactRange range;
  for (const Hash& hash : leaf_hashes) range.Append(hash);
  return range.Root();
}

Result<std::vector<Hash>> InclusionProof(std::span<const Hash> leaf_hashes, uint64_t index) {
  if (index >= leaf_hashes.size()) {
    return OutOfRange(fmt::format("inclusion proof: no entry {} in a tree of {}", index, leaf_hashes.size()));
  }
  std::vector<Hash> proof;
  Inclusion(leaf_hashes, index, &proof);
  return proof;
}

Status VerifyInclusion(const Hash& leaf_hash, uint64_t index, uint64_t size, std::span<const Hash> proof,
                       const Hash& root) {
  if (index >= size) return DataLoss(fmt::format("inclusion: no entry {} in a tree of {}", index, size));
  // RFC 9162 section 2.1.3.2.
  uint64_t fn = index;
  uint64_t sn = size - 1;
  Hash hash = leaf_hash;
  for (const Hash& sibling : proof) {
    if (sn == 0) return DataLoss("inclusion: the proof is too long");
    if ((fn & 1U) != 0 || fn == sn) {
      hash = NodeHash(sibling, hash);
      while ((fn & 1U) == 0 && fn != 0) {
        fn >>= 1U;
        sn >>= 1U;
      }
    } else {
      hash = NodeHash(hash, sibling);
    }
    fn >>= 1U;
    sn >>= 1U;
  }
  if (sn != 0) return DataLoss("inclusion: the proof is too short");
  if (hash != root) return DataLoss("inclusion: the proof leads to another root");
  return OkStatus();
}

Result<std::vector<Hash>> ConsistencyProof(std::span<const Hash> leaf_hashes, uint64_t old_size) {
  if (old_size > leaf_hashes.size()) {
    return OutOfRange(fmt::format("consistency proof: old size {} above {}", old_size, leaf_hashes.size()));
  }
  std::vector<Hash> proof;
  if (old_size != 0 && old_size != leaf_hashes.size()) Consistency(leaf_hashes, old_size, true, &proof);
  return proof;
}

Status VerifyConsistency(uint64_t old_size, const Hash& old_root, uint64_t new_size, const Hash& new_root,
                         std::span<const Hash> proof) {
  if (old_size > new_size) {
    return DataLoss(fmt::format("consistency: the log shrank from {} to {} entries", old_size, new_size));
  }
  if (old_size == new_size || old_size == 0) {
    if (!proof.empty()) return DataLoss("consistency: the proof is too long");
    if (old_size == 0 && old_root != EmptyRoot()) return DataLoss("consistency: wrong root of the empty tree");
    if (old_size == new_size && old_root != new_root) return DataLoss("consistency: two roots for one size");
    return OkStatus();
  }
  // RFC 9162 section 2.1.4.2.
  size_t next = 0;
  Hash fr;
  if (std::has_single_bit(old_size)) {
    fr = old_root;
  } else {
    if (proof.empty()) return DataLoss("consistency: the proof is too short");
    fr = proof[next++];
  }
  Hash sr = fr;
  uint64_t fn = old_size - 1;
  uint64_t sn = new_size - 1;
  while ((fn & 1U) != 0) {
    fn >>= 1U;
    sn >>= 1U;
  }
  for (; next < proof.size(); ++next) {
    const Hash& node = proof[next];
    if (sn == 0) return DataLoss("consistency: the proof is too long");
    if ((fn & 1U) != 0 || fn == sn) {
      fr = NodeHash(node, fr);
      sr = NodeHash(node, sr);
      while ((fn & 1U) == 0 && fn != 0) {
        fn >>= 1U;
        sn >>= 1U;
      }
    } else {
      sr = NodeHash(sr, node);
    }
    fn >>= 1U;
    sn >>= 1U;
  }
  if (sn != 0) return DataLoss("consistency: the proof is too short");
  if (fr != old_root) return DataLoss("consistency: the proof leads to another old root");
  if (sr != new_root) return DataLoss("consistency: the proof leads to another new root");
  return OkStatus();
}

}  // namespace nodetrail::trail
