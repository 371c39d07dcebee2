// SPDX-License-Identifier: Apache-2.0
#include "tests/attacks/attack.h"

#include <algorithm>

namespace nodetrail::attacks {

void Attack::Found(const std::string& by, bool found, const std::string& detail) {
  if (!found) {
    ADD_FAILURE() << kWentThrough << by << "\n" << detail;
    return;
  }
  if (std::find(found_.begin(), found_.end(), by) == found_.end()) found_.push_back(by);
}

void Attack::TearDown() {
  if (HasFailure()) return;
  const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
  const auto rows = Rows();
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.test == name; });
  ASSERT_NE(row, rows.end()) << "no row of the table is proven by " << name;
  EXPECT_EQ(found_, row->found) << "what the table says of " << row->id << " is not what happened";
}

}  // namespace nodetrail::attacks
