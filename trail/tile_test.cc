// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/tile.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "nodetrail/trail/merkle.h"

namespace nodetrail::trail {
namespace {

std::string Entry(uint64_t i) { return fmt::format("entry {}", i); }

// The tiles of one log at every size it had, as a server would keep them.
class Store {
 public:
  void Grow(uint64_t size) {
    std::vector<Tile> full;
    while (builder_.size() < size) {
      const std::string entry = Entry(builder_.size());
      hashes_.push_back(LeafHash(entry));
      builder_.Append(entry, hashes_.back(), &full);
    }
    for (Tile& tile : full) Put(std::move(tile));
    for (Tile& tile : builder_.Edge()) Put(std::move(tile));
  }
  TileReader Reader() {
    return [this](const TileId& id) -> Result<std::string> {
      ++reads;
      const auto it = files.find(TilePath(id));
      if (it == files.end()) return NotFound(TilePath(id));
      return it->second;
    };
  }
  Hash Root(uint64_t size) const { return MerkleRoot(std::span(hashes_).first(size)); }
  const std::vector<Hash>& hashes() const { return hashes_; }

  std::map<std::string, std::string> files;
  int reads = 0;

 private:
  void Put(Tile tile) {
    const auto [it, fresh] = files.emplace(TilePath(tile.id), tile.bytes);
    EXPECT_TRUE(fresh || it->second == tile.bytes) << it->first;
  }
  TileBuilder builder_;
  std::vector<Hash> hashes_;
};

TEST(TileTest, PathsAreThoseOfTheStandard) {
  EXPECT_EQ(TilePath({false, 0, 0, 256}), "tile/0/000");
  EXPECT_EQ(TilePath({false, 3, 1234067, 256}), "tile/3/x001/x234/067");
  EXPECT_EQ(TilePath({false, 0, 273, 112}), "tile/0/273.p/112");
  EXPECT_EQ(TilePath({true, 0, 1000, 256}), "tile/entries/x001/000");
  EXPECT_EQ(TilePath({true, 0, 999, 255}), "tile/entries/999.p/255");
  EXPECT_EQ(PartialTileDir({true, 0, 1000, 256}), "tile/entries/x001/000.p");
}

TEST(TileTest, WidthsAreThoseOfTheTree) {
  EXPECT_EQ(TileWidthAt(0, 0, 0), 0U);
  EXPECT_EQ(TileWidthAt(0, 0, 1), 1U);
  EXPECT_EQ(TileWidthAt(0, 0, 256), 256U);
  EXPECT_EQ(TileWidthAt(0, 1, 256), 0U);
  EXPECT_EQ(TileWidthAt(1, 0, 255), 0U);
  EXPECT_EQ(TileWidthAt(1, 0, 256), 1U);
  EXPECT_EQ(TileWidthAt(0, 273, 70000), 112U);
  EXPECT_EQ(TileWidthAt(1, 1, 70000), 17U);
  EXPECT_EQ(TileWidthAt(2, 0, 70000), 1U);
  EXPECT_EQ(TileWidthAt(7, 0, UINT64_MAX), 255U);
  EXPECT_EQ(TileWidthAt(8, 0, UINT64_MAX), 0U);
  EXPECT_EQ(TileWidthAt(0, UINT64_MAX, UINT64_MAX), 0U);
}

// Which files a log of a size has: the standard's own example is 70,000.
TEST(TileTest, ALogIsCutIntoTheTilesOfItsSize) {
  const auto count = [](uint64_t size) {
    Store store;
    store.Grow(size);
    return store;
  };
  EXPECT_TRUE(count(0).files.empty());
  const Store one = count(1);
  EXPECT_EQ(one.files.size(), 2U);
  EXPECT_EQ(one.files.at("tile/0/000.p/1"), TileBytes(one.hashes()));
  EXPECT_EQ(one.files.at("tile/entries/000.p/1"), std::string("\0\7entry 0", 9));
  EXPECT_TRUE(count(255).files.contains("tile/0/000.p/255"));
  const Store full = count(256);
  EXPECT_EQ(full.files.size(), 3U);
  EXPECT_EQ(full.files.at("tile/0/000").size(), 8192U);
  EXPECT_EQ(full.files.at("tile/1/000.p/1"), View(full.Root(256)));
  EXPECT_TRUE(full.files.contains("tile/entries/000"));
  const Store more = count(257);
  EXPECT_TRUE(more.files.contains("tile/0/001.p/1"));
  EXPECT_TRUE(more.files.contains("tile/1/000.p/1"));
  const Store large = count(70000);
  EXPECT_EQ(large.files.size(), 2U * 274 + 2 + 1);
  EXPECT_EQ(large.files.at("tile/1/000").size(), 8192U);
  EXPECT_EQ(large.files.at("tile/1/001.p/17").size(), 17U * 32);
  EXPECT_EQ(large.files.at("tile/2/000.p/1"), View(large.Root(65536)));
  EXPECT_EQ(large.files.at("tile/0/273.p/112").size(), 112U * 32);
  const auto entries = ParseEntryBundle(large.files.at("tile/entries/273.p/112"), 112);
  ASSERT_TRUE(entries.ok());
  EXPECT_EQ(entries->back(), Entry(69999));
}

TEST(TileTest, RootsAndProofsAreThoseOfTheTree) {
  Store store;
  std::vector<uint64_t> sizes;
  for (uint64_t n = 1; n <= 40; ++n) sizes.push_back(n);
  for (const uint64_t n : {255U, 256U, 257U, 300U, 511U, 512U, 513U, 767U, 1000U, 1279U}) sizes.push_back(n);
  for (const uint64_t n : sizes) store.Grow(n);
  const TileReader read = store.Reader();
  EXPECT_EQ(*TileRoot(0, read), EmptyRoot());
  for (const uint64_t n : sizes) {
    const Hash root = store.Root(n);
    EXPECT_EQ(*TileRoot(n, read), root) << n;
    const auto leaves = std::span(store.hashes()).first(n);
    for (uint64_t i = 0; i < n; i += n < 50 ? 1 : 37) {
      const auto got = TileInclusionProof(i, n, root, read);
      ASSERT_TRUE(got.ok()) << n << " " << i << " " << got.status().ToString();
      EXPECT_EQ(got->proof, *InclusionProof(leaves, i)) << n << " " << i;
      EXPECT_EQ(got->leaf_hash, leaves[i]);
    }
    for (uint64_t m = 0; m <= n; m += n < 50 ? 1 : 37) {
      const auto got = TileConsistencyProof(m, store.Root(m), n, root, read);
      ASSERT_TRUE(got.ok()) << n << " " << m << " " << got.status().ToString();
      EXPECT_EQ(*got, *ConsistencyProof(leaves, m)) << n << " " << m;
    }
  }
}

TEST(TileTest, ProofsOfAHighTreeNeedFewTiles) {
  Store store;
  store.Grow(65535);
  store.Grow(65536);
  store.Grow(70001);
  const Hash root = store.Root(70001);
  const TileReader read = store.Reader();
  for (const uint64_t i : {0U, 255U, 256U, 65535U, 65536U, 69999U, 70000U}) {
    store.reads = 0;
    const auto got = TileInclusionProof(i, 70001, root, read);
    ASSERT_TRUE(got.ok()) << i << got.status().ToString();
    EXPECT_EQ(got->proof, *InclusionProof(store.hashes(), i)) << i;
    EXPECT_LE(store.reads, 6) << i;
  }
  for (const uint64_t m : {1U, 65535U, 65536U, 65537U, 70000U}) {
    const auto got = TileConsistencyProof(m, store.Root(m), 70001, root, read);
    ASSERT_TRUE(got.ok()) << m << got.status().ToString();
    EXPECT_EQ(*got, *ConsistencyProof(store.hashes(), m)) << m;
  }
}

// Every byte of every hash tile that a proof is made of.
TEST(TileTest, AFlippedByteInATileIsFound) {
  Store store;
  store.Grow(300);
  const Hash root = store.Root(300);
  const TileReader read = store.Reader();
  for (const char* name : {"tile/0/000", "tile/0/001.p/44"}) {
    std::string& tile = store.files.at(name);
    for (size_t at = 0; at < tile.size(); at += 7) {
      tile[at] = static_cast<char>(tile[at] ^ 1);
      const uint64_t index = name[7] == '0' && name[9] == '0' ? 3 : 270;
      EXPECT_EQ(TileInclusionProof(index, 300, root, read).status().code(), Code::kDataLoss) << name << " " << at;
      tile[at] = static_cast<char>(tile[at] ^ 1);
    }
    tile.pop_back();
    EXPECT_EQ(TileInclusionProof(name[9] == '0' ? 3 : 270, 300, root, read).status().code(), Code::kDataLoss);
    tile.push_back('x');
  }
}

TEST(TileTest, OtherTreesAreRefused) {
  Store store;
  store.Grow(10);
  store.Grow(20);
  const TileReader read = store.Reader();
  EXPECT_EQ(TileInclusionProof(20, 20, store.Root(20), read).status().code(), Code::kOutOfRange);
  EXPECT_EQ(TileInclusionProof(1, 20, store.Root(19), read).status().code(), Code::kDataLoss);
  EXPECT_EQ(TileConsistencyProof(21, store.Root(20), 20, store.Root(20), read).status().code(), Code::kOutOfRange);
  EXPECT_EQ(TileConsistencyProof(10, store.Root(9), 20, store.Root(20), read).status().code(), Code::kDataLoss);
  EXPECT_EQ(TileConsistencyProof(20, store.Root(19), 20, store.Root(20), read).status().code(), Code::kDataLoss);
  EXPECT_EQ(TileRoot(15, read).status().code(), Code::kNotFound);
}

TEST(TileTest, TilesAndBundlesAreReadStrictly) {
  EXPECT_FALSE(ParseTile("", 0).ok());
  EXPECT_FALSE(ParseTile(std::string(31, 'x'), 1).ok());
  EXPECT_FALSE(ParseTile(std::string(64, 'x'), 1).ok());
  EXPECT_FALSE(ParseTile(std::string(257 * 32, 'x'), 257).ok());
  EXPECT_TRUE(ParseTile(std::string(256 * 32, 'x'), 256).ok());

  std::string bundle;
  AppendBundleEntry("a", &bundle);
  AppendBundleEntry("", &bundle);
  AppendBundleEntry(std::string(0xffff, 'z'), &bundle);
  const auto entries = ParseEntryBundle(bundle, 3);
  ASSERT_TRUE(entries.ok());
  EXPECT_EQ((*entries)[0], "a");
  EXPECT_EQ((*entries)[1], "");
  EXPECT_EQ((*entries)[2].size(), 0xffffU);
  EXPECT_FALSE(ParseEntryBundle(bundle, 2).ok());
  EXPECT_FALSE(ParseEntryBundle(bundle, 4).ok());
  EXPECT_FALSE(ParseEntryBundle(bundle, 0).ok());
  EXPECT_FALSE(ParseEntryBundle(bundle, 257).ok());
  EXPECT_FALSE(ParseEntryBundle(bundle + "\1", 4).ok());
  EXPECT_FALSE(ParseEntryBundle(std::string_view(bundle).substr(0, bundle.size() - 1), 3).ok());
  EXPECT_FALSE(ParseEntryBundle("", 1).ok());
}

}  // namespace
}  // namespace nodetrail::trail
