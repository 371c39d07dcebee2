// SPDX-License-Identifier: Apache-2.0
//
// C2SP tlog-tiles (https://c2sp.org/tlog-tiles): a log as static files. A hash
// tile holds 256 consecutive hashes of one height of the Merkle tree, an entry
// bundle 256 leaves. Everybody computes roots and proofs from them alone.
// Pure; thread-safe, except that one TileBuilder is used by one thread at a time.
#ifndef NODETRAIL_TRAIL_TILE_H_
#define NODETRAIL_TRAIL_TILE_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/trail/crypto.h"

namespace nodetrail::trail {

inline constexpr unsigned kTileHeight = 8;  // levels of the tree in a tile
inline constexpr uint64_t kTileWidth = 256;
// No entry bundle is longer: 256 entries with their lengths.
inline constexpr size_t kMaxTileBytes = kTileWidth * (2 + 0xffff);

struct TileId {
  bool entries = false;         // an entry bundle; level is 0 then
  unsigned level = 0;           // 0 to 7: a tree of 2^64 leaves has no higher one
  uint64_t index = 0;           // within the level
  unsigned width = kTileWidth;  // 1 to 256; below 256 it is a partial tile

  friend bool operator==(const TileId&, const TileId&) = default;
  friend auto operator<=>(const TileId&, const TileId&) = default;
};

// Relative to the log: "tile/0/x001/x234/067", "tile/entries/000.p/12".
std::string TilePath(const TileId& id);
// The folder of its partial tiles: "tile/0/000.p".
std::string PartialTileDir(const TileId& id);

// Width of tile `index` of `level` in a tree of `size` leaves; 0: there is none.
unsigned TileWidthAt(unsigned level, uint64_t index, uint64_t size);

std::string TileBytes(std::span<const Hash> hashes);
// DataLoss unless `bytes` are exactly `width` hashes.
Result<std::vector<Hash>> ParseTile(std::string_view bytes, unsigned width);

// One more entry (at most 65,535 bytes) with its length, big-endian, before it.
void AppendBundleEntry(std::string_view entry, std::string* bundle);
// The entries, as views into `bytes`. DataLoss unless they are exactly `width`
// and fill `bytes`.
Result<std::vector<std::string_view>> ParseEntryBundle(std::string_view bytes, unsigned width);

struct Tile {
  TileId id;
  std::string bytes;
};

// Cuts a growing log into tiles. Memory: one tile per level, one entry bundle.
class TileBuilder {
 public:
  // The next leaf, at most 65,535 bytes, and its leaf hash. Tiles that it
  // completes are added to `full`, the entry bundle first, then by level.
  void Append(std::string_view leaf, const Hash& leaf_hash, std::vector<Tile>* full);
  // The partial tiles of the tree as it is now. None when it is empty.
  [[nodiscard]] std::vector<Tile> Edge() const;
  [[nodiscard]] uint64_t size() const { return size_; }

 private:
  uint64_t size_ = 0;
  std::string bundle_;
  std::vector<std::vector<Hash>> edge_;  // by level
};

// The bytes of a tile, from wherever they are kept. They are not trusted.
using TileReader = std::function<Result<std::string>(const TileId& id)>;

// Root of the first `size` leaves, as the tiles have it; not authenticated.
// DataLoss for a tile of wrong length, errors of `read` as they are.
Result<Hash> TileRoot(uint64_t size, const TileReader& read);

// PATH(index, D[size]) of RFC 6962 with the leaf hash of the tile. DataLoss if
// the tiles do not lead to `root`: no proof is handed out that does not hold.
// OutOfRange if index is not below size.
struct TileInclusion {
  Hash leaf_hash{};
  std::vector<Hash> proof;
};
Result<TileInclusion> TileInclusionProof(uint64_t index, uint64_t size, const Hash& root, const TileReader& read);

// PROOF(old_size, D[new_size]); likewise checked against both roots. DataLoss
// if the new tree does not extend the old one. OutOfRange if old_size > new_size.
Result<std::vector<Hash>> TileConsistencyProof(uint64_t old_size, const Hash& old_root, uint64_t new_size,
                                               const Hash& new_root, const TileReader& read);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_TILE_H_
