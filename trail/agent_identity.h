// SPDX-License-Identifier: Apache-2.0
//
// Does a certificate speak for this very agent? Shared by the opening of an
// epoch and the statement about an evicted body.
#ifndef NODETRAIL_TRAIL_AGENT_IDENTITY_H_
#define NODETRAIL_TRAIL_AGENT_IDENTITY_H_

#include <google/protobuf/repeated_ptr_field.h>

#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::trail {

// The certificate in `der`, if it chains to an authority over at most 8
// `intermediates` (DER) and its one URI names tenant and agent.
Result<Certificate> CheckAgentIdentity(std::string_view der,
                                       const google::protobuf::RepeatedPtrField<std::string>& intermediates,
                                       std::string_view tenant, std::string_view agent_id, const CaSet& authorities);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_AGENT_IDENTITY_H_
