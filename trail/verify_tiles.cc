// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_tiles.h"

#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <system_error>

namespace nodetrail::trail {
namespace {

// More are not kept: one is enough for the verdict.
constexpr size_t kMaxWrong = 100;

// "12" -> 12; 0 if it is not the name of a partial tile below `limit`.
unsigned PartialWidth(const std::string& name, unsigned limit) {
  unsigned width = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), width);
  if (error != std::errc() || end != name.data() + name.size() || fmt::format("{}", width) != name) return 0;
  return width < limit ? width : 0;
}

// The first `width` hashes or entries of a tile.
std::string_view Prefix(const Tile& tile, unsigned width) {
  const std::string_view bytes = tile.bytes;
  if (!tile.id.entries) return bytes.substr(0, width * sizeof(Hash));
  size_t at = 0;
  for (unsigned i = 0; i < width; ++i) {
    at += 2 + (static_cast<size_t>(static_cast<uint8_t>(bytes[at])) << 8U | static_cast<uint8_t>(bytes[at + 1]));
  }
  return bytes.substr(0, at);
}

}  // namespace

Status TileCheck::Append(std::string_view leaf, const Hash& leaf_hash) {
  if (builder_.size() == size_) return OkStatus();
  std::vector<Tile> tiles;
  builder_.Append(leaf, leaf_hash, &tiles);
  if (builder_.size() == size_) {
    for (Tile& tile : builder_.Edge()) tiles.push_back(std::move(tile));
  }
  for (const Tile& tile : tiles) NT_RETURN_IF_ERROR(Check(tile));
  return OkStatus();
}

Status TileCheck::Check(const Tile& tile) {
  NT_ASSIGN_OR_RETURN(const bool there, Compare(TilePath(tile.id), tile.bytes));
  if (!there) NT_RETURN_IF_ERROR(Missing(tile));
  return CheckEarlier(tile);
}

// A partial tile goes when its full tile is there, which may be while we look.
Status TileCheck::Missing(const Tile& tile) {
  if (tile.id.width < kTileWidth) {
    TileId full = tile.id;
    full.width = kTileWidth;
    NT_ASSIGN_OR_RETURN(const bool there, Compare(TilePath(full), tile.bytes, /*longer=*/true));
    if (there) return OkStatus();
  }
  if (missing_++ == 0) first_missing_ = "log/" + TilePath(tile.id);
  return OkStatus();
}

// Partial tiles of the sizes that the log had before: whoever holds a
// checkpoint of that size is served them.
Status TileCheck::CheckEarlier(const Tile& tile) {
  const std::string dir = PartialTileDir(tile.id);
  const std::filesystem::path path = std::filesystem::path(reader_->dir()) / "log" / dir;
  std::error_code error;
  for (std::filesystem::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    const unsigned width = PartialWidth(it->path().filename().string(), tile.id.width);
    if (width == 0) continue;
    NT_RETURN_IF_ERROR(Compare(fmt::format("{}/{}", dir, width), Prefix(tile, width)).status());
  }
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory) {
    return ErrnoStatus(error.value(), fmt::format("list {}", path.string()));
  }
  return OkStatus();
}

Result<bool> TileCheck::Compare(const std::string& path, std::string_view expected, bool longer) {
  std::string why = "the tile is not that of the leaves";
  const auto bytes = reader_->Tile(path);
  if (bytes.ok()) {
    if (*bytes == expected || (longer && bytes->starts_with(expected))) {
      ++checked_;
      return true;
    }
  } else {
    const Code code = bytes.status().code();
    if (code == Code::kNotFound) return false;
    if (code != Code::kDataLoss && code != Code::kResourceExhausted) return bytes.status();
    why = std::string(bytes.status().message());
  }
  if (wrong_.size() < kMaxWrong) wrong_.push_back({"log/" + path, std::move(why)});
  return true;
}

}  // namespace nodetrail::trail
