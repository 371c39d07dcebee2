// SPDX-License-Identifier: Apache-2.0
#ifndef NODETRAIL_COLLECTOR_ENROL_TRUST_DOMAIN_H_
#define NODETRAIL_COLLECTOR_ENROL_TRUST_DOMAIN_H_

#include "nodetrail/base/status.h"
#include "nodetrail/config/v1/config.pb.h"

namespace nodetrail::collector {

// Will the agents that this collector enrols take it for theirs? They ask for
// the trust domain of their own certificates, which is enrol.trust_domain, and
// its tenant. kFailedPrecondition with setting, cause and fix in one line: they
// will not, unless they are told otherwise. OK as well if it does not enrol, or
// if tls.cert_file can't be read: then it does not start.
[[nodiscard]] Status CheckTrustDomain(const config::v1::CollectorConfig& config);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_ENROL_TRUST_DOMAIN_H_
