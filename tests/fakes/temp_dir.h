// SPDX-License-Identifier: Apache-2.0
//
// A directory of a test, removed with everything in it; and waiting.
#ifndef NODETRAIL_TESTS_FAKES_TEMP_DIR_H_
#define NODETRAIL_TESTS_FAKES_TEMP_DIR_H_

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <system_error>
#include <thread>

#include "nodetrail/base/status.h"

namespace nodetrail::testing {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "nodetrail-test.XXXXXX").string();
    NT_CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Waits for a condition that nothing signals. False: not within the deadline.
inline bool WaitUntil(const std::function<bool()>& condition,
                      std::chrono::milliseconds deadline = std::chrono::milliseconds(20'000)) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace nodetrail::testing

#endif  // NODETRAIL_TESTS_FAKES_TEMP_DIR_H_
