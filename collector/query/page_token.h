// SPDX-License-Identifier: Apache-2.0
//
// Where a page of results ended. Opaque to readers, and untrusted when it comes
// back: it names a place in an order, and is bound to the query it came from.
#ifndef NODETRAIL_COLLECTOR_QUERY_PAGE_TOKEN_H_
#define NODETRAIL_COLLECTOR_QUERY_PAGE_TOKEN_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "collector/index/search.h"
#include "nodetrail/base/status.h"
#include "nodetrail/query/v1/query.pb.h"

namespace nodetrail::collector {

struct PageToken {
  RowKey last;          // of the page before
  uint64_t now_ns = 0;  // what relative times of the query count from, on every page
};

[[nodiscard]] std::string FormatPageToken(const PageToken& token, const query::v1::SearchRequest& request);
// InvalidArgument if it is malformed or of another query.
Result<PageToken> ParsePageToken(std::string_view text, const query::v1::SearchRequest& request);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_QUERY_PAGE_TOKEN_H_
