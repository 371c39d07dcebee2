// SPDX-License-Identifier: Apache-2.0
#ifndef NODETRAIL_TRAIL_TESTING_TEMP_DIR_H_
#define NODETRAIL_TRAIL_TESTING_TEMP_DIR_H_

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "nodetrail/base/status.h"

namespace nodetrail::trail {

// A directory that goes with the object.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "nodetrail-test-XXXXXX").string();
    NT_CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_TESTING_TEMP_DIR_H_
