// SPDX-License-Identifier: Apache-2.0
#include "agent/ship/collector_check.h"

#include <fmt/format.h>

#include <vector>

#include "nodetrail/base/tls_files.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::agent {
namespace {

constexpr std::string_view kNoId = "none";

}  // namespace

Status CheckCollector(const CollectorRule& rule, std::string_view collector_pem, std::string_view own_pem) {
  NT_RETURN_IF_ERROR(CheckServerName(collector_pem, rule.endpoint, rule.server_name));
  if (rule.collector_id == kNoId) return OkStatus();
  const auto refuse = [&rule](std::string_view cause) {
    return FailedPrecondition(
        fmt::format("{}: the collector's certificate {}; reissue it, or set ship.collector_id", rule.endpoint, cause));
  };
  auto cert = trail::Certificate::FromPem(collector_pem);
  if (!cert.ok()) return refuse("can't be read");
  const std::vector<std::string> uris = cert->UriSans();
  if (uris.size() != 1) return refuse(fmt::format("has {} URI names, one is needed", uris.size()));
  if (!rule.collector_id.empty()) {
    if (uris[0] != rule.collector_id) {
      return refuse(fmt::format("is of another collector than {}", rule.collector_id));
    }
    return OkStatus();
  }
  auto own = trail::Certificate::FromPem(own_pem);
  const std::vector<std::string> own_uris = own.ok() ? own->UriSans() : std::vector<std::string>();
  const auto own_id =
      own_uris.size() == 1 ? trail::ParseSpiffeId(own_uris[0]) : Result<trail::SpiffeId>(InvalidArgument(""));
  if (!own_id.ok()) {
    return FailedPrecondition(
        "ship.tls.cert_file: our certificate has no URI spiffe://<domain>/t/<tenant>/a/<agent>; reissue it");
  }
  const auto id = trail::ParseSpiffeId(uris[0]);
  const bool fits = id.ok() && id->role == 'c' && id->tenant == rule.tenant && id->domain == own_id->domain;
  if (!fits) {
    return refuse(fmt::format("is not of a collector spiffe://{}/t/{}/c/<name>", own_id->domain, rule.tenant));
  }
  return OkStatus();
}

}  // namespace nodetrail::agent
