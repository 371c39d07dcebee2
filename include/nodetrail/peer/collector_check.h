// SPDX-License-Identifier: Apache-2.0
//
// Who the collector must be, beyond the holder of a certificate of an
// authority that we accept. For all who ask it something: agents, enrolment,
// the CLI.
#ifndef NODETRAIL_PEER_COLLECTOR_CHECK_H_
#define NODETRAIL_PEER_COLLECTOR_CHECK_H_

#include <string>
#include <string_view>

#include "nodetrail/base/status.h"

namespace nodetrail {

struct CollectorRule {
  std::string endpoint;     // host:port
  std::string server_name;  // instead of its host; may be empty
  // A SPIFFE ID; "none"; or empty: any collector of `tenant`, in the trust
  // domain of our own certificate.
  std::string collector_id;
  std::string tenant;                         // empty: that of our own certificate
  std::string setting = "ship.collector_id";  // what the user may set instead
  std::string cert_setting = "ship.tls.cert_file";
};

// `collector_pem`: its certificate; `own_pem`: ours, empty if we have none yet:
// then any collector of any domain and tenant will do, if no other is named.
// kFailedPrecondition with endpoint, cause and fix in one line: it is for
// another host, another id, or names none. Any thread.
[[nodiscard]] Status CheckCollector(const CollectorRule& rule, std::string_view collector_pem,
                                    std::string_view own_pem);

}  // namespace nodetrail

#endif  // NODETRAIL_PEER_COLLECTOR_CHECK_H_
