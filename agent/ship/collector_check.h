// SPDX-License-Identifier: Apache-2.0
//
// Who the collector must be, beyond the holder of a certificate of an
// authority that we accept. Checked in the handshake, before anything is sent.
#ifndef NODETRAIL_AGENT_SHIP_COLLECTOR_CHECK_H_
#define NODETRAIL_AGENT_SHIP_COLLECTOR_CHECK_H_

#include <string>
#include <string_view>

#include "nodetrail/base/status.h"

namespace nodetrail::agent {

struct CollectorRule {
  std::string endpoint;     // host:port
  std::string server_name;  // instead of its host; may be empty
  // ship.collector_id: a SPIFFE ID; "none"; or empty: any collector of our
  // tenant, in the trust domain of our own certificate.
  std::string collector_id;
  std::string tenant;
};

// `collector_pem`: its certificate; `own_pem`: ours. kFailedPrecondition with
// endpoint, cause and fix in one line: it is for another host, another id, or
// names none. Any thread.
[[nodiscard]] Status CheckCollector(const CollectorRule& rule, std::string_view collector_pem,
                                    std::string_view own_pem);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SHIP_COLLECTOR_CHECK_H_
