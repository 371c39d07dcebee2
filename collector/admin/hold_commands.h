// SPDX-License-Identifier: Apache-2.0
//
// `nodetrail-collector hold …`, over the admin socket.
#ifndef NODETRAIL_COLLECTOR_ADMIN_HOLD_COMMANDS_H_
#define NODETRAIL_COLLECTOR_ADMIN_HOLD_COMMANDS_H_

#include "collector/admin/admin_commands.h"

namespace nodetrail::collector {

void AddHoldCommands(CLI::App& app, AdminCommand* chosen);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_ADMIN_HOLD_COMMANDS_H_
