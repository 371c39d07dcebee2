// SPDX-License-Identifier: Apache-2.0
//
// What a daemon tells its service manager (sd_notify(3)), and the descriptors
// that the manager keeps for it across a restart. Without a manager, that is
// without NOTIFY_SOCKET, every call does nothing and succeeds.
#ifndef NODETRAIL_BASE_NOTIFY_H_
#define NODETRAIL_BASE_NOTIFY_H_

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"

namespace nodetrail {

// Stateless; any thread may call it. A failure means that the manager did not
// hear us: worth a warning, never a reason to stop.
class ServiceNotifier {
 public:
  // True when a manager listens.
  [[nodiscard]] static bool Present();

  // "READY=1": start-up is over. `status` is shown by `systemctl status`.
  static Status Ready(std::string_view status);
  // One line about what the daemon does now. Never event fields.
  static Status SetStatus(std::string_view status);
  // "STOPPING=1": an orderly stop began.
  static Status Stopping(std::string_view status);

  // How long the manager waits for a Watchdog() before it ends the daemon; call
  // at half of it. Empty: nobody waits.
  [[nodiscard]] static std::optional<std::chrono::microseconds> WatchdogInterval();
  static Status Watchdog();

  // Gives the manager a duplicate of `fd` under `name`: 1 to 255 printable
  // ASCII characters, no ':'. The same name may be given more than once. After
  // a crash or a restart TakeInheritedFds() returns it.
  static Status StoreFd(const std::string& name, int fd);
  // Drops all that are stored under `name`.
  static Status RemoveFds(const std::string& name);
};

struct InheritedFd {
  std::string name;  // as given to StoreFd, or the socket unit's FileDescriptorName
  UniqueFd fd;       // close-on-exec is set
};

// The descriptors that the manager passed to this process (LISTEN_FDS). The
// first call takes them and clears the environment; a second returns none.
// Call from main, before the first thread.
Result<std::vector<InheritedFd>> TakeInheritedFds();

}  // namespace nodetrail

#endif  // NODETRAIL_BASE_NOTIFY_H_
