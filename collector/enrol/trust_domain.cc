// SPDX-License-Identifier: Apache-2.0
#include "collector/enrol/trust_domain.h"

#include <fmt/format.h>

#include <string>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::collector {
namespace {

constexpr size_t kMaxCertBytes = 1U << 20;

}  // namespace

Status CheckTrustDomain(const config::v1::CollectorConfig& config) {
  if (!config.has_enrol()) return OkStatus();
  const auto pem = ReadFile(config.tls().cert_file(), kMaxCertBytes);
  const auto cert = pem.ok() ? trail::Certificate::FromPem(*pem) : Result<trail::Certificate>(pem.status());
  if (!cert.ok()) return OkStatus();
  const std::string& domain = config.enrol().trust_domain();
  const std::vector<std::string> uris = cert->UriSans();
  const auto id = uris.size() == 1 ? trail::ParseSpiffeId(uris[0]) : Result<trail::SpiffeId>(InvalidArgument(""));
  if (id.ok() && id->role == 'c' && id->domain == domain && id->tenant == config.tenant()) return OkStatus();
  return FailedPrecondition(fmt::format(
      "enrol.trust_domain: {}: the agents enrolled here refuse this collector, whose certificate {} {}; they "
      "want spiffe://{}/t/{}/c/<name>: reissue it, or set ship.collector_id on the agents",
      domain, config.tls().cert_file(),
      uris.size() == 1 ? "is of " + uris[0] : fmt::format("has {} URI names, one is needed", uris.size()), domain,
      config.tenant()));
}

}  // namespace nodetrail::collector
