// SPDX-License-Identifier: Apache-2.0
//
// The attack table: each row is a test that attacks real parts and says what
// found it. main.cc runs it twice, the second time without the row's guards
// (include/nodetrail/base/guard.h), and then the attack must go through.
#ifndef NODETRAIL_TESTS_ATTACKS_ATTACK_H_
#define NODETRAIL_TESTS_ATTACKS_ATTACK_H_

#include <gtest/gtest.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nodetrail::attacks {

struct Row {
  std::string id;      // "T1"
  std::string test;    // "T01_FlipByteInBody", of suite Attack
  std::string attack;  // what is done, in words
  // Who says so and what he says, in the order in which the test meets them.
  std::vector<std::string> found;
  // Each makes a difference: without it, or with it alone, fewer attacks of
  // the row go through. Empty: nothing finds it, and `limit` says why.
  std::vector<std::string> guards;
  std::string limit;  // what is not found, or not there; may be empty
  // Needs the programs, root and BTF.
  [[nodiscard]] bool programs() const { return id == "T17" || id == "T18"; }
};
// In the order of their numbers.
std::span<const Row> Rows();

// A row's test. What was found must be what the table says.
class Attack : public ::testing::Test {
 protected:
  void TearDown() override;

  // The attack was made; `by` ("verifier: exit 3") did or did not find it.
  // Not found fails the test as only an attack that goes through does.
  void Found(const std::string& by, bool found, const std::string& detail = "");

 private:
  std::vector<std::string> found_;
};

// Before every message of an attack that was not found.
inline constexpr std::string_view kWentThrough = "WENT THROUGH: ";

}  // namespace nodetrail::attacks

#endif  // NODETRAIL_TESTS_ATTACKS_ATTACK_H_
