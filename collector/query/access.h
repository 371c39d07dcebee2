// SPDX-License-Identifier: Apache-2.0
//
// Who may read: the holder of a reader's certificate of this tenant.
#ifndef NODETRAIL_COLLECTOR_QUERY_ACCESS_H_
#define NODETRAIL_COLLECTOR_QUERY_ACCESS_H_

#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/base/status.h"

namespace nodetrail::collector {

// `uris`: every URI SAN of the client's verified certificate. Returns the
// reader's name; kUnauthenticated if the certificate names nobody,
// kPermissionDenied, with the reason, if it names somebody else.
Result<std::string> AuthorizeReader(const std::vector<std::string>& uris, std::string_view tenant);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_QUERY_ACCESS_H_
