// SPDX-License-Identifier: Apache-2.0
//
// Facts about this node.
#ifndef NODETRAIL_AGENT_ENRICH_HOST_H_
#define NODETRAIL_AGENT_ENRICH_HOST_H_

#include <map>
#include <string>
#include <string_view>

#include "agent/enrich/nss_name_resolver.h"
#include "nodetrail/event/v1/event.pb.h"

namespace nodetrail::agent {

// Never fails: a fact that can't be read is empty. `root` is prefixed to every
// file that is read ("" on a node; a directory in tests); uname and the number
// of CPUs come from the kernel.
[[nodiscard]] event::v1::Host ReadHost(const std::map<std::string, std::string>& labels, std::string_view agent_version,
                                       const std::string& root = "");

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ENRICH_HOST_H_
