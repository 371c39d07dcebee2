// SPDX-License-Identifier: Apache-2.0
#include "collector/query/page_token.h"

#include <fmt/format.h>

#include <charconv>
#include <vector>

#include "nodetrail/trail/crypto.h"

namespace nodetrail::collector {
namespace {

std::string Binding(const query::v1::SearchRequest& request) {
  const auto hash = trail::Sha256Of(fmt::format("{}\n{}\n{}\n{}", request.since_wall_ns(), request.until_wall_ns(),
                                                request.oldest_first(), request.expr()));
  return trail::Hex(hash).substr(0, 16);
}

}  // namespace

std::string FormatPageToken(const PageToken& token, const query::v1::SearchRequest& request) {
  return fmt::format("1.{}.{}.{}.{}", token.last.time, token.last.position, token.now_ns, Binding(request));
}

Result<PageToken> ParsePageToken(std::string_view text, const query::v1::SearchRequest& request) {
  std::vector<std::string_view> parts;
  std::string_view rest = text;
  while (true) {
    const size_t dot = rest.find('.');
    parts.push_back(rest.substr(0, dot));
    if (dot == std::string_view::npos || parts.size() > 5) break;
    rest.remove_prefix(dot + 1);
  }
  PageToken out;
  const auto number = [](std::string_view part, auto* value) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), *value);
    return error == std::errc() && end == part.data() + part.size() && !part.empty();
  };
  if (parts.size() != 5 || parts[0] != "1" || !number(parts[1], &out.last.time) ||
      !number(parts[2], &out.last.position) || !number(parts[3], &out.now_ns)) {
    return InvalidArgument("page_token: not a token of this collector; ask for the first page");
  }
  if (parts[4] != Binding(request)) {
    return InvalidArgument("page_token: of another query; a further page needs the same expression, times and order");
  }
  return out;
}

}  // namespace nodetrail::collector
