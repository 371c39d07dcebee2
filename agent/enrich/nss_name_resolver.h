// SPDX-License-Identifier: Apache-2.0
//
// Names from the host's user database. /etc/passwd and /etc/group are read
// here, at once, and read anew when they change; whatever they don't hold is
// asked of NSS (LDAP, SSSD, systemd) on a thread of its own, and is pending
// until it answers.
#ifndef NODETRAIL_AGENT_ENRICH_NSS_NAME_RESOLVER_H_
#define NODETRAIL_AGENT_ENRICH_NSS_NAME_RESOLVER_H_

#include <memory>
#include <string>

#include "agent/enrich/name_resolver.h"
#include "nodetrail/base/status.h"

namespace nodetrail::agent {

struct NssOptions {
  std::string passwd_file = "/etc/passwd";
  std::string group_file = "/etc/group";
  // How long an answer of NSS stands, found or not.
  uint32_t ttl_s = 300;
};

// Starts its look-up thread; the destructor joins it, which takes as long as
// the look-up that is under way.
class NssNameResolver : public NameResolver {
 public:
  static Result<std::unique_ptr<NssNameResolver>> Create(const NssOptions& options = {});
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ENRICH_NSS_NAME_RESOLVER_H_
