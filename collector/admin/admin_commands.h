// SPDX-License-Identifier: Apache-2.0
//
// `nodetrail-collector token …` and `nodetrail-collector revoke`: they ask the
// running collector over its admin socket.
#ifndef NODETRAIL_COLLECTOR_ADMIN_ADMIN_COMMANDS_H_
#define NODETRAIL_COLLECTOR_ADMIN_ADMIN_COMMANDS_H_

#include <functional>
#include <string>

#include "nodetrail/config/v1/config.pb.h"

namespace CLI {
class App;
}

namespace nodetrail::collector {

// Where the socket is: admin_socket, or admin.sock beside trail_dir.
std::string AdminSocketPath(const config::v1::CollectorConfig& config);

// What the user chose; null: to serve.
using AdminCommand = std::function<int(const config::v1::CollectorConfig& config)>;
void AddAdminCommands(CLI::App& app, AdminCommand* chosen);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_ADMIN_ADMIN_COMMANDS_H_
