// SPDX-License-Identifier: Apache-2.0
//
// The files that the agent consists of and lives by: whoever changes one is
// told in agent.tamper.
#ifndef NODETRAIL_AGENT_OWN_PATHS_H_
#define NODETRAIL_AGENT_OWN_PATHS_H_

#include <string>
#include <vector>

#include "agent/pipeline/tamper.h"
#include "nodetrail/config/v1/config.pb.h"

namespace nodetrail::agent {

// Links resolved as they are now. `config_file` may be empty.
[[nodiscard]] std::vector<OwnPath> OwnPathsOf(const config::v1::AgentConfig& config, const std::string& config_file,
                                              const std::string& canary_program);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_OWN_PATHS_H_
