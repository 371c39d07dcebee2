// SPDX-License-Identifier: Apache-2.0
//
// Tiles on hostile bytes. The first byte chooses: 0 a hash tile; 1 an entry
// bundle, the second byte says how wide; 2 and 3 proofs of a tree whose tiles
// are cut out of the bytes, after three numbers of two bytes.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/tile.h"

namespace nodetrail::trail {
namespace {

uint64_t Number(std::string_view* bytes) {
  if (bytes->size() < 2) return 0;
  const uint64_t out =
      static_cast<uint64_t>(static_cast<uint8_t>((*bytes)[0])) << 8U | static_cast<uint8_t>((*bytes)[1]);
  bytes->remove_prefix(2);
  return out;
}

// Of a tree: mostly a few leaves, and one in 32 about the edges of one and two
// full tiles. Thousands of leaves are hashed for ever and show nothing else.
uint64_t TreeSize(uint64_t number) { return number % 32 == 31 ? 250 + number / 32 % 270 : number / 32 % 24; }

// A tree over entries that the bytes give, and proofs from its own tiles.
void HonestTree(uint64_t size, uint64_t index, std::string_view seed) {
  std::vector<Tile> tiles;
  std::vector<Hash> hashes;
  TileBuilder builder;
  for (uint64_t i = 0; i < size; ++i) {
    const std::string_view entry = seed.substr(0, seed.empty() ? 0 : i % seed.size());
    hashes.push_back(LeafHash(entry));
    builder.Append(entry, hashes.back(), &tiles);
  }
  for (Tile& tile : builder.Edge()) tiles.push_back(std::move(tile));
  const TileReader read = [&](const TileId& id) -> Result<std::string> {
    for (const Tile& tile : tiles) {
      if (tile.id == id) return tile.bytes;
    }
    return NotFound(TilePath(id));
  };
  const Hash root = MerkleRoot(hashes);
  NT_CHECK(*TileRoot(size, read) == root);
  const auto inclusion = TileInclusionProof(index, size, root, read);
  NT_CHECK(inclusion.ok() == (index < size));
  if (index <= size) {
    const Hash old_root = MerkleRoot(std::span(hashes).first(index));
    NT_CHECK(TileConsistencyProof(index, old_root, size, root, read).ok());
  }
  for (const Tile& tile : tiles) {
    NT_CHECK(TilePath(tile.id).starts_with("tile/"));
    NT_CHECK(PartialTileDir(tile.id).ends_with(".p"));
  }
}

void HostileTree(uint64_t old_size, uint64_t size, uint64_t index, std::string_view bytes) {
  const TileReader read = [&](const TileId& id) -> Result<std::string> {
    NT_CHECK(id.width == TileWidthAt(id.level, id.index, size));
    // The bytes over and over; at times one too few.
    std::string out;
    while (!bytes.empty() && out.size() < id.width * sizeof(Hash)) out += bytes;
    out.resize(std::min<size_t>(out.size(), id.width * sizeof(Hash) - (bytes.size() % 7 == 3 ? 1 : 0)));
    return out;
  };
  const auto root = TileRoot(size, read);
  if (!root.ok()) return;
  const auto inclusion = TileInclusionProof(index, size, *root, read);
  if (inclusion.ok()) {
    NT_CHECK(VerifyInclusion(inclusion->leaf_hash, index, size, inclusion->proof, *root).ok());
  }
  (void)TileConsistencyProof(old_size, LeafHash(bytes), size, *root, read).ok();
}

void Run(unsigned mode, std::string_view bytes) {
  switch (mode % 4) {
    case 0: {
      const auto width = static_cast<unsigned>(bytes.size() / sizeof(Hash));
      const auto hashes = ParseTile(bytes, width);
      if (hashes.ok()) NT_CHECK(TileBytes(*hashes) == bytes);
      break;
    }
    case 1: {
      if (bytes.empty()) break;
      const auto width = static_cast<unsigned>(static_cast<uint8_t>(bytes[0])) + 1;
      bytes.remove_prefix(1);
      const auto entries = ParseEntryBundle(bytes, width);
      if (!entries.ok()) break;
      NT_CHECK(entries->size() == width);
      std::string again;
      for (const std::string_view entry : *entries) AppendBundleEntry(entry, &again);
      NT_CHECK(again == bytes);
      break;
    }
    default: {
      const uint64_t old_size = Number(&bytes);
      const uint64_t size = TreeSize(Number(&bytes));
      const uint64_t index = Number(&bytes);
      // At times beyond its end.
      if (mode % 4 == 2) HostileTree(old_size % (size + 2), size, index % (size + 2), bytes);
      else HonestTree(size, index % (size + 2), bytes);
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
