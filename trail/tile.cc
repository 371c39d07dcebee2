// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/tile.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>
#include <utility>

#include "nodetrail/trail/merkle.h"

namespace nodetrail::trail {
namespace {

constexpr unsigned kLevels = 64 / kTileHeight;

// Number of hashes at `level` that a tree of `size` leaves has in tiles.
uint64_t HashesAt(unsigned level, uint64_t size) { return level < kLevels ? size >> (level * kTileHeight) : 0; }

// "x001/x234/067".
std::string IndexPath(uint64_t index) {
  std::string out = fmt::format("{:03}", index % 1000);
  for (index /= 1000; index != 0; index /= 1000) out = fmt::format("x{:03}/{}", index % 1000, out);
  return out;
}

std::string FullPath(const TileId& id) {
  return fmt::format("tile/{}/{}", id.entries ? "entries" : fmt::format("{}", id.level), IndexPath(id.index));
}

// Hashes of a tree of one size out of tiles, each of which is read once.
class Tree {
 public:
  Tree(uint64_t size, const TileReader& read) : size_(size), read_(read) {}

  // MTH(D[begin : end]), where [begin, end) is a range that the recursions of
  // RFC 6962 visit: begin is a multiple of the range's size rounded up to a
  // power of two.
  Result<Hash> Range(uint64_t begin, uint64_t end) {
    const uint64_t n = end - begin;
    if (std::has_single_bit(n)) return Node(static_cast<unsigned>(std::countr_zero(n)), begin);
    const uint64_t k = std::bit_floor(n - 1);
    NT_ASSIGN_OR_RETURN(const Hash left, Range(begin, begin + k));
    NT_ASSIGN_OR_RETURN(const Hash right, Range(begin + k, end));
    return NodeHash(left, right);
  }

  Status Inclusion(uint64_t begin, uint64_t end, uint64_t index, std::vector<Hash>* proof) {
    if (end - begin == 1) return OkStatus();
    const uint64_t middle = begin + std::bit_floor(end - begin - 1);
    const bool left = index < middle;
    NT_RETURN_IF_ERROR(left ? Inclusion(begin, middle, index, proof) : Inclusion(middle, end, index, proof));
    NT_ASSIGN_OR_RETURN(const Hash sibling, left ? Range(middle, end) : Range(begin, middle));
    proof->push_back(sibling);
    return OkStatus();
  }

  // SUBPROOF(old - begin, D[begin : end], whole).
  Status Consistency(uint64_t begin, uint64_t end, uint64_t old, bool whole, std::vector<Hash>* proof) {
    if (old == end) {
      if (whole) return OkStatus();
      NT_ASSIGN_OR_RETURN(const Hash root, Range(begin, end));
      proof->push_back(root);
      return OkStatus();
    }
    const uint64_t middle = begin + std::bit_floor(end - begin - 1);
    const bool left = old <= middle;
    NT_RETURN_IF_ERROR(left ? Consistency(begin, middle, old, whole, proof)
                            : Consistency(middle, end, old, false, proof));
    NT_ASSIGN_OR_RETURN(const Hash other, left ? Range(middle, end) : Range(begin, middle));
    proof->push_back(other);
    return OkStatus();
  }

 private:
  // Root of the 2^height leaves from `begin` on.
  Result<Hash> Node(unsigned height, uint64_t begin) {
    const unsigned level = height / kTileHeight;
    const uint64_t first = begin >> (level * kTileHeight);
    NT_ASSIGN_OR_RETURN(const std::vector<Hash>* tile, Hashes(level, first / kTileWidth));
    const uint64_t count = uint64_t{1} << (height % kTileHeight);
    NT_CHECK(first % kTileWidth + count <= tile->size());
    return MerkleRoot(std::span(*tile).subspan(first % kTileWidth, count));
  }

  Result<const std::vector<Hash>*> Hashes(unsigned level, uint64_t index) {
    const auto key = std::pair(level, index);
    auto it = tiles_.find(key);
    if (it == tiles_.end()) {
      const TileId id{false, level, index, TileWidthAt(level, index, size_)};
      NT_CHECK(id.width > 0);
      NT_ASSIGN_OR_RETURN(const std::string bytes, read_(id));
      auto hashes = ParseTile(bytes, id.width);
      if (!hashes.ok()) return Annotate(hashes.status(), TilePath(id));
      it = tiles_.emplace(key, std::move(*hashes)).first;
    }
    return &it->second;
  }

  const uint64_t size_;
  const TileReader& read_;
  std::map<std::pair<unsigned, uint64_t>, std::vector<Hash>> tiles_;
};

}  // namespace

std::string TilePath(const TileId& id) {
  return id.width == kTileWidth ? FullPath(id) : fmt::format("{}.p/{}", FullPath(id), id.width);
}

std::string PartialTileDir(const TileId& id) { return FullPath(id) + ".p"; }

unsigned TileWidthAt(unsigned level, uint64_t index, uint64_t size) {
  const uint64_t hashes = HashesAt(level, size);
  if (index > hashes / kTileWidth) return 0;
  return static_cast<unsigned>(std::min(kTileWidth, hashes - index * kTileWidth));
}

std::string TileBytes(std::span<const Hash> hashes) {
  std::string out;
  out.reserve(hashes.size() * sizeof(Hash));
  for (const Hash& hash : hashes) out += View(hash);
  return out;
}

Result<std::vector<Hash>> ParseTile(std::string_view bytes, unsigned width) {
  if (width == 0 || width > kTileWidth || bytes.size() != width * sizeof(Hash)) {
    return DataLoss(fmt::format("tile: {} bytes are not {} hashes", bytes.size(), width));
  }
  std::vector<Hash> out(width);
  for (unsigned i = 0; i < width; ++i) std::memcpy(out[i].data(), bytes.data() + i * sizeof(Hash), sizeof(Hash));
  return out;
}

void AppendBundleEntry(std::string_view entry, std::string* bundle) {
  NT_CHECK(entry.size() <= 0xffff);
  bundle->push_back(static_cast<char>(entry.size() >> 8U));
  bundle->push_back(static_cast<char>(entry.size() & 0xffU));
  *bundle += entry;
}

Result<std::vector<std::string_view>> ParseEntryBundle(std::string_view bytes, unsigned width) {
  std::vector<std::string_view> out;
  if (width == 0 || width > kTileWidth) return DataLoss(fmt::format("entry bundle: {} is no width", width));
  while (!bytes.empty()) {
    if (out.size() == width) return DataLoss(fmt::format("entry bundle: bytes after entry {}", width));
    if (bytes.size() < 2) return DataLoss(fmt::format("entry bundle: entry {} is cut off", out.size()));
    const size_t length = static_cast<size_t>(static_cast<uint8_t>(bytes[0])) << 8U | static_cast<uint8_t>(bytes[1]);
    bytes.remove_prefix(2);
    if (bytes.size() < length) return DataLoss(fmt::format("entry bundle: entry {} is cut off", out.size()));
    out.push_back(bytes.substr(0, length));
    bytes.remove_prefix(length);
  }
  if (out.size() != width) return DataLoss(fmt::format("entry bundle: {} entries, not {}", out.size(), width));
  return out;
}

void TileBuilder::Append(std::string_view leaf, const Hash& leaf_hash, std::vector<Tile>* full) {
  AppendBundleEntry(leaf, &bundle_);
  ++size_;
  if (size_ % kTileWidth == 0) {
    full->push_back({{true, 0, size_ / kTileWidth - 1, kTileWidth}, std::exchange(bundle_, {})});
  }
  Hash hash = leaf_hash;
  for (unsigned level = 0; level < kLevels; ++level) {
    if (level == edge_.size()) edge_.emplace_back();
    std::vector<Hash>& edge = edge_[level];
    edge.push_back(hash);
    if (edge.size() < kTileWidth) return;
    full->push_back({{false, level, HashesAt(level, size_) / kTileWidth - 1, kTileWidth}, TileBytes(edge)});
    hash = MerkleRoot(edge);
    edge.clear();
  }
}

std::vector<Tile> TileBuilder::Edge() const {
  std::vector<Tile> out;
  const auto width = [this](unsigned level) { return static_cast<unsigned>(HashesAt(level, size_) % kTileWidth); };
  if (width(0) != 0) out.push_back({{true, 0, size_ / kTileWidth, width(0)}, bundle_});
  for (unsigned level = 0; level < edge_.size(); ++level) {
    if (edge_[level].empty()) continue;
    out.push_back({{false, level, HashesAt(level, size_) / kTileWidth, width(level)}, TileBytes(edge_[level])});
  }
  return out;
}

Result<Hash> TileRoot(uint64_t size, const TileReader& read) {
  if (size == 0) return EmptyRoot();
  return Tree(size, read).Range(0, size);
}

Result<TileInclusion> TileInclusionProof(uint64_t index, uint64_t size, const Hash& root, const TileReader& read) {
  if (index >= size) return OutOfRange(fmt::format("inclusion proof: no entry {} in a tree of {}", index, size));
  Tree tree(size, read);
  TileInclusion out;
  NT_RETURN_IF_ERROR(tree.Inclusion(0, size, index, &out.proof));
  NT_ASSIGN_OR_RETURN(out.leaf_hash, tree.Range(index, index + 1));
  NT_RETURN_IF_ERROR(Annotate(VerifyInclusion(out.leaf_hash, index, size, out.proof, root), "tiles"));
  return out;
}

Result<std::vector<Hash>> TileConsistencyProof(uint64_t old_size, const Hash& old_root, uint64_t new_size,
                                               const Hash& new_root, const TileReader& read) {
  if (old_size > new_size) {
    return OutOfRange(fmt::format("consistency proof: old size {} above {}", old_size, new_size));
  }
  std::vector<Hash> proof;
  if (old_size != 0 && old_size != new_size) {
    NT_RETURN_IF_ERROR(Tree(new_size, read).Consistency(0, new_size, old_size, true, &proof));
  }
  NT_RETURN_IF_ERROR(Annotate(VerifyConsistency(old_size, old_root, new_size, new_root, proof), "tiles"));
  return proof;
}

}  // namespace nodetrail::trail
