// SPDX-License-Identifier: Apache-2.0
//
// The tiles below log/ against the leaves, while verification streams by.
#ifndef NODETRAIL_TRAIL_VERIFY_TILES_H_
#define NODETRAIL_TRAIL_VERIFY_TILES_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/trail/tile.h"
#include "nodetrail/trail/trail_store.h"

namespace nodetrail::trail {

// Compares with the files what the first `size` leaves make of them: full
// tiles, the partial tiles of that size, and those of earlier sizes that are
// still there. Files of a larger tree are under no checkpoint yet: not looked at.
class TileCheck {
 public:
  TileCheck(const TrailReader* reader, uint64_t size) : reader_(reader), size_(size) {}

  // The next leaf. An error is operational; what is found is kept.
  Status Append(std::string_view leaf, const Hash& leaf_hash);

  struct Wrong {
    std::string file;  // relative to the trail directory
    std::string text;
  };
  [[nodiscard]] const std::vector<Wrong>& wrong() const { return wrong_; }
  [[nodiscard]] uint64_t checked() const { return checked_; }  // files that are right
  [[nodiscard]] uint64_t missing() const { return missing_; }
  [[nodiscard]] const std::string& first_missing() const { return first_missing_; }

 private:
  Status Check(const Tile& tile);
  Status CheckEarlier(const Tile& tile);
  Status Missing(const Tile& tile);
  // False: there is no such file.
  Result<bool> Compare(const std::string& path, std::string_view expected, bool longer = false);

  const TrailReader* reader_;
  const uint64_t size_;
  TileBuilder builder_;
  std::vector<Wrong> wrong_;
  uint64_t checked_ = 0;
  uint64_t missing_ = 0;
  std::string first_missing_;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_TILES_H_
