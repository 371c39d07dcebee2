// SPDX-License-Identifier: Apache-2.0
//
// Keys of an agent, and the certificate requests that prove it has them.
#ifndef NODETRAIL_AGENT_ENROL_KEY_REQUEST_H_
#define NODETRAIL_AGENT_ENROL_KEY_REQUEST_H_

#include <string>
#include <string_view>

#include "nodetrail/base/status.h"

namespace nodetrail::agent {

// A new P-256 key, PKCS#8 PEM, unencrypted. The caller wipes it.
Result<std::string> NewKeyPem();

// PKCS#10 in DER form with the key's public half, signed by the key. It names
// `common_name` and asks for nothing: what the certificate says is up to the
// collector. InvalidArgument if the PEM is not a P-256 key.
Result<std::string> MakeCertRequest(std::string_view key_pem, const std::string& common_name);

// Half of the time between notBefore and notAfter of the first certificate of
// the PEM text is over at `wall_ns`, or it is not valid yet.
Result<bool> PastHalfLife(std::string_view cert_pem, uint64_t wall_ns);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ENROL_KEY_REQUEST_H_
