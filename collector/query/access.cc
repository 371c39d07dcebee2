// SPDX-License-Identifier: Apache-2.0
#include "collector/query/access.h"

#include <fmt/format.h>

#include "nodetrail/schema/text.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::collector {

Result<std::string> AuthorizeReader(const std::vector<std::string>& uris, std::string_view tenant) {
  const std::string want = fmt::format("spiffe://<domain>/t/{}/r/<reader>", tenant);
  if (uris.size() != 1) {
    return Status(Code::kUnauthenticated,
                  fmt::format("the certificate has {} URI names, one is needed: {}", uris.size(), want));
  }
  const auto id = trail::ParseSpiffeId(uris.front());
  if (!id.ok()) {
    return Status(Code::kUnauthenticated, fmt::format("the certificate's URI name '{}' is not {}: {}",
                                                      schema::TerminalSafe(uris.front()), want, id.status().message()));
  }
  if (id->role != 'r') {
    return PermissionDenied(fmt::format(
        "{} is an agent; it writes the trail and may not read it. Use a reader's certificate, {}", uris.front(), want));
  }
  if (id->tenant != tenant) {
    return PermissionDenied(
        fmt::format("{} reads tenant '{}'; this trail is of tenant '{}'", uris.front(), id->tenant, tenant));
  }
  return id->name;
}

}  // namespace nodetrail::collector
