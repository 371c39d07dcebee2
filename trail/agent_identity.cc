// SPDX-License-Identifier: Apache-2.0
#include "trail/agent_identity.h"

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {
namespace {

constexpr int kMaxIntermediates = 8;

}  // namespace

Result<Certificate> CheckAgentIdentity(std::string_view der,
                                       const google::protobuf::RepeatedPtrField<std::string>& intermediates,
                                       std::string_view tenant, std::string_view agent_id, const CaSet& authorities) {
  NT_ASSIGN_OR_RETURN(Certificate identity, Certificate::FromDer(der));
  if (intermediates.size() > kMaxIntermediates) return InvalidArgument("too many intermediate certificates");
  std::vector<Certificate> between;
  for (const std::string& one : intermediates) {
    NT_ASSIGN_OR_RETURN(Certificate intermediate, Certificate::FromDer(one));
    between.push_back(std::move(intermediate));
  }
  if (Status chained = authorities.Verify(identity, between); NT_GUARD(identity_authority, !chained.ok())) {
    return chained;
  }
  const std::vector<std::string> uris = identity.UriSans();
  if (uris.size() != 1)
    return InvalidArgument(fmt::format("identity certificate: {} URIs, exactly one allowed", uris.size()));
  NT_ASSIGN_OR_RETURN(const SpiffeId id, ParseSpiffeId(uris[0]));
  if (NT_GUARD(identity_ids, id.role != 'a' || id.tenant != tenant || id.name != agent_id)) {
    return InvalidArgument(
        fmt::format("identity certificate: of {}/{}, not of {}/{}", id.tenant, id.name, tenant, agent_id));
  }
  return identity;
}

}  // namespace nodetrail::trail
