// SPDX-License-Identifier: Apache-2.0
//
// Writes the log's tiles below log/ (include/nodetrail/trail/tile.h,
// docs/trail-format.md), so that any web server can serve the log. Tiles are
// made from leaves and are never read back as truth. One thread at a time.
#ifndef NODETRAIL_COLLECTOR_LOG_TILE_PUBLISHER_H_
#define NODETRAIL_COLLECTOR_LOG_TILE_PUBLISHER_H_

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/tile.h"

namespace nodetrail::collector {

class TilePublisher {
 public:
  // `log_dir` exists; "tile" below it is made.
  explicit TilePublisher(std::string log_dir) : log_dir_(std::move(log_dir)) {}

  // The next leaf, from 0 on. Memory only.
  void Append(std::string_view leaf, const trail::Hash& leaf_hash);
  [[nodiscard]] uint64_t size() const { return builder_.size(); }
  // Bytes of full tiles that wait to be published.
  [[nodiscard]] size_t waiting_bytes() const { return waiting_bytes_; }

  // Makes durable the full tiles of what was appended. A tile that is there
  // already is left alone; DataLoss, naming it, if it has other bytes: it was
  // altered, or the leaves were. Errors may be tried again.
  Status PublishFull();
  // And the partial tiles of size(): after it, a checkpoint of size() may be published.
  Status Publish();
  // After that checkpoint was published: removes partial tiles whose full tile
  // is there. A failure leaves files that do no harm.
  void Prune();

 private:
  Status Write(const std::vector<trail::Tile>& tiles);
  Status EnsureDir(const std::string& dir);

  const std::string log_dir_;
  trail::TileBuilder builder_;
  std::vector<trail::Tile> waiting_;  // full tiles
  size_t waiting_bytes_ = 0;
  std::set<std::string> dirs_;         // there, and durable or in unsynced_
  std::set<std::string> unsynced_;     // folders with new names in them
  std::vector<std::string> obsolete_;  // folders of partial tiles
  uint64_t published_size_ = 0;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_LOG_TILE_PUBLISHER_H_
