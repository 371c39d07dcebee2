// SPDX-License-Identifier: Apache-2.0
#include "collector/query/access.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "collector/query/page_token.h"

namespace nodetrail::collector {
namespace {

using testing::HasSubstr;

TEST(Access, OnlyAReaderOfThisTenant) {
  const auto reader = AuthorizeReader({"spiffe://nodetrail.dev/t/default/r/ann"}, "default");
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ(*reader, "ann");
  const auto code = [](const std::vector<std::string>& uris) {
    return AuthorizeReader(uris, "default").status().code();
  };
  EXPECT_EQ(code({"spiffe://nodetrail.dev/t/default/a/web-1"}), Code::kPermissionDenied);
  EXPECT_EQ(code({"spiffe://nodetrail.dev/t/other/r/ann"}), Code::kPermissionDenied);
  EXPECT_EQ(code({}), Code::kUnauthenticated);
  EXPECT_EQ(code({"spiffe://a/t/default/r/x", "spiffe://a/t/default/r/y"}), Code::kUnauthenticated);
  EXPECT_EQ(code({"https://nodetrail.dev/t/default/r/ann"}), Code::kUnauthenticated);
  EXPECT_THAT(std::string(AuthorizeReader({"spiffe://nodetrail.dev/t/default/a/web-1"}, "default").status().message()),
              HasSubstr("is an agent"));
}

TEST(PageToken, IsBoundToItsQuery) {
  query::v1::SearchRequest request;
  request.set_expr("user:alice");
  const PageToken token{{17, 1U << 20 | 3}, 99};
  const std::string text = FormatPageToken(token, request);
  const auto back = ParsePageToken(text, request);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->last, token.last);
  EXPECT_EQ(back->now_ns, 99U);
  request.set_oldest_first(true);
  EXPECT_FALSE(ParsePageToken(text, request).ok());
  request.set_oldest_first(false);
  for (const std::string& bad : std::vector<std::string>{"", "1", "1.2.3.4", "2" + text.substr(1), text + ".",
                                                         text.substr(1), "1.x.3.4.5", std::string(10'000, '.')}) {
    EXPECT_EQ(ParsePageToken(bad, request).status().code(), Code::kInvalidArgument) << bad.substr(0, 40);
  }
}

}  // namespace
}  // namespace nodetrail::collector
