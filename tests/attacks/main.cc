// SPDX-License-Identifier: Apache-2.0
//
// nt_attack_test [--gtest_…]           the rows as tests
//                --prove [ROW…]        each intact and without its guards
//                --check               the table against source, tests and document
//                --markdown            the document
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/attacks/prove.h"

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  const std::string verb = args.empty() ? std::string() : args[0];
  if (verb == "--prove") return nodetrail::attacks::Prove({args.begin() + 1, args.end()});
  if (verb == "--markdown") {
    fmt::print("{}", nodetrail::attacks::Markdown());
    return 0;
  }
  ::testing::InitGoogleTest(&argc, argv);
  if (verb == "--check") return nodetrail::attacks::CheckTable();
  return RUN_ALL_TESTS();
}
