// SPDX-License-Identifier: Apache-2.0
//
// `nodetrail-collector token …`, `revoke` and `hold …`: they ask the running
// collector over its admin socket.
#ifndef NODETRAIL_COLLECTOR_ADMIN_ADMIN_COMMANDS_H_
#define NODETRAIL_COLLECTOR_ADMIN_ADMIN_COMMANDS_H_

#include <functional>
#include <string>

#include "nodetrail/base/status.h"
#include "nodetrail/config/v1/config.pb.h"

namespace CLI {
class App;
}

namespace nodetrail::collector {

// Where the socket is: admin_socket, or admin.sock beside trail_dir.
std::string AdminSocketPath(const config::v1::CollectorConfig& config);

// "nodetrail-collector: MESSAGE" on standard error; the exit code for it.
int FailAdmin(const Status& status);

// What the user chose; null: to serve.
using AdminCommand = std::function<int(const config::v1::CollectorConfig& config)>;
void AddAdminCommands(CLI::App& app, AdminCommand* chosen);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_ADMIN_ADMIN_COMMANDS_H_
