// SPDX-License-Identifier: Apache-2.0
#ifndef NODETRAIL_AGENT_CONFIG_CHECK_H_
#define NODETRAIL_AGENT_CONFIG_CHECK_H_

#include "nodetrail/base/config_loader.h"
#include "nodetrail/config/v1/config.pb.h"

namespace nodetrail::agent {

// Adds to the loader's errors what the schema can't say: ids are well formed,
// numbers fit each other, redaction rules compile, a scope has its process.
void CheckConfig(const config::v1::AgentConfig& config, ConfigReport& report);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_CONFIG_CHECK_H_
