// SPDX-License-Identifier: Apache-2.0
#include "collector/log/tile_publisher.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "nodetrail/base/fd.h"

namespace nodetrail::collector {
namespace {

// Everything in a tile is for everybody whom the trail's directory lets in.
constexpr unsigned kDirMode = 0755;
constexpr unsigned kFileMode = 0644;
constexpr char kTempSuffix[] = ".tmp";

std::string Parent(const std::string& path) { return path.substr(0, path.rfind('/')); }

// True if `path` holds `bytes`, false if there is no such file.
Result<bool> IsThere(const std::string& path, std::string_view bytes) {
  const auto known = ReadFile(path, trail::kMaxTileBytes);
  if (known.ok() && *known == bytes) return true;
  if (!known.ok() && known.status().code() == Code::kNotFound) return false;
  if (!known.ok()) return known.status();
  return DataLoss(
      fmt::format("{}: the tile is not that of the leaves: it was altered, or they were; run nodetrail "
                  "verify",
                  path));
}

void RemoveTemps(const std::string& dir) {
  std::error_code error;  // what stays is in nobody's way
  for (std::filesystem::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->path().extension() == kTempSuffix) std::filesystem::remove(it->path(), ignored);
  }
}

}  // namespace

void TilePublisher::Append(std::string_view leaf, const trail::Hash& leaf_hash) {
  const size_t before = waiting_.size();
  builder_.Append(leaf, leaf_hash, &waiting_);
  for (size_t i = before; i < waiting_.size(); ++i) waiting_bytes_ += waiting_[i].bytes.size();
}

Status TilePublisher::PublishFull() {
  NT_RETURN_IF_ERROR(Write(waiting_));
  for (const trail::Tile& tile : waiting_) obsolete_.push_back(log_dir_ + "/" + trail::PartialTileDir(tile.id));
  waiting_.clear();
  waiting_bytes_ = 0;
  return OkStatus();
}

Status TilePublisher::Publish() {
  NT_RETURN_IF_ERROR(PublishFull());
  if (published_size_ == builder_.size()) return OkStatus();
  NT_RETURN_IF_ERROR(Write(builder_.Edge()));
  published_size_ = builder_.size();
  return OkStatus();
}

void TilePublisher::Prune() {
  for (const std::string& dir : obsolete_) {
    std::error_code error;
    std::filesystem::remove_all(dir, error);
    dirs_.erase(dir);
  }
  obsolete_.clear();
}

// Whole files under their names only, and each name durable: temp file, fsync,
// rename, and at the end one fsync of every folder in which a name is new.
Status TilePublisher::Write(const std::vector<trail::Tile>& tiles) {
  for (const trail::Tile& tile : tiles) {
    const std::string path = log_dir_ + "/" + trail::TilePath(tile.id);
    NT_RETURN_IF_ERROR(EnsureDir(Parent(path)));
    NT_ASSIGN_OR_RETURN(const bool there, IsThere(path, tile.bytes));
    if (there) continue;
    const std::string temp = path + kTempSuffix;
    {
      NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFd(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, kFileMode));
      NT_RETURN_IF_ERROR(WriteAll(fd.get(), tile.bytes, temp));
      if (::fsync(fd.get()) != 0) return ErrnoStatus(errno, fmt::format("fsync {}", temp));
    }
    if (::rename(temp.c_str(), path.c_str()) != 0) return ErrnoStatus(errno, fmt::format("rename {}", temp));
    unsynced_.insert(Parent(path));
  }
  while (!unsynced_.empty()) {
    NT_RETURN_IF_ERROR(FsyncDirectory(*unsynced_.begin()));
    unsynced_.erase(unsynced_.begin());
  }
  return OkStatus();
}

// A folder may be there and yet not durable: made by a process that died
// before its fsync. So each is synced once by us. What that process was about
// to rename goes: a partial tile of that size may never be written again.
Status TilePublisher::EnsureDir(const std::string& dir) {
  if (dir == log_dir_ || dirs_.contains(dir)) return OkStatus();
  NT_RETURN_IF_ERROR(EnsureDir(Parent(dir)));
  if (::mkdir(dir.c_str(), kDirMode) != 0) {
    if (errno != EEXIST) return ErrnoStatus(errno, fmt::format("mkdir {}", dir));
    RemoveTemps(dir);
  }
  dirs_.insert(dir);
  unsynced_.insert(Parent(dir));
  return OkStatus();
}

}  // namespace nodetrail::collector
