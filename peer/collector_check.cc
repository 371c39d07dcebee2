// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/peer/collector_check.h"

#include <fmt/format.h>

#include <vector>

#include "nodetrail/base/tls_files.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail {
namespace {

constexpr std::string_view kNoId = "none";

Result<trail::SpiffeId> OnlyId(const trail::Certificate& cert) {
  const std::vector<std::string> uris = cert.UriSans();
  if (uris.size() != 1) return InvalidArgument("not one URI name");
  return trail::ParseSpiffeId(uris[0]);
}

}  // namespace

Status CheckCollector(const CollectorRule& rule, std::string_view collector_pem, std::string_view own_pem) {
  NT_RETURN_IF_ERROR(CheckServerName(collector_pem, rule.endpoint, rule.server_name));
  if (rule.collector_id == kNoId) return OkStatus();
  const auto refuse = [&rule](std::string_view cause) {
    return FailedPrecondition(
        fmt::format("{}: the collector's certificate {}; reissue it, or set {}", rule.endpoint, cause, rule.setting));
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
  const auto id = trail::ParseSpiffeId(uris[0]);
  const bool collector = id.ok() && id->role == 'c';
  if (own_pem.empty()) {
    return collector ? OkStatus() : refuse("is not of a collector spiffe://<domain>/t/<tenant>/c/<name>");
  }
  auto own = trail::Certificate::FromPem(own_pem);
  const auto own_id = own.ok() ? OnlyId(*own) : Result<trail::SpiffeId>(own.status());
  if (!own_id.ok()) {
    return FailedPrecondition(fmt::format(
        "{}: our certificate has no URI spiffe://<domain>/t/<tenant>/<role>/<name>; reissue it", rule.cert_setting));
  }
  const std::string& tenant = rule.tenant.empty() ? own_id->tenant : rule.tenant;
  if (!collector || id->tenant != tenant || id->domain != own_id->domain) {
    return refuse(fmt::format("is not of a collector spiffe://{}/t/{}/c/<name>", own_id->domain, tenant));
  }
  return OkStatus();
}

}  // namespace nodetrail
