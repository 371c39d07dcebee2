// SPDX-License-Identifier: Apache-2.0
//
// The flags that say which events: shared by query and tail. They make one
// expression of the query language.
#ifndef NODETRAIL_CLI_FILTER_H_
#define NODETRAIL_CLI_FILTER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "nodetrail/base/status.h"

namespace CLI {
class App;
}

namespace nodetrail::cli {

struct Filter {
  std::vector<std::string> nodes, users, kinds, paths, addresses;
  std::vector<std::string> terms;

  void AddTo(CLI::App* command);
  // Values of one flag are alternatives; flags and terms are joined by and.
  // InvalidArgument, with a caret under the place, if a term is wrong.
  [[nodiscard]] Result<std::string> Expression(uint64_t now_ns) const;
};

}  // namespace nodetrail::cli

#endif  // NODETRAIL_CLI_FILTER_H_
