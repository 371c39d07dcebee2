// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/base/notify.h"

#include <fmt/format.h>
#include <systemd/sd-daemon.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <utility>

namespace nodetrail {
namespace {

// A newline would begin another assignment of the protocol.
std::string OneLine(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return line;
}

Status Send(const std::string& state, std::string_view what) {
  const int r = sd_notify(/*unset_environment=*/0, state.c_str());
  if (r < 0) return ErrnoStatus(-r, fmt::format("notify the service manager: {}", what));
  return OkStatus();
}

Status CheckName(const std::string& name) {
  bool good = !name.empty() && name.size() <= 255;
  for (const char c : name) good = good && c > 0x20 && c < 0x7f && c != ':';
  if (!good) {
    return InvalidArgument(
        fmt::format("descriptor name of {} bytes: 1 to 255 printable characters without ':' are allowed", name.size()));
  }
  return OkStatus();
}

}  // namespace

bool ServiceNotifier::Present() {
  const char* socket = std::getenv("NOTIFY_SOCKET");
  return socket != nullptr && *socket != '\0';
}

Status ServiceNotifier::Ready(std::string_view status) {
  return Send(fmt::format("READY=1\nSTATUS={}", OneLine(status)), "ready");
}

Status ServiceNotifier::SetStatus(std::string_view status) {
  return Send(fmt::format("STATUS={}", OneLine(status)), "status");
}

Status ServiceNotifier::Stopping(std::string_view status) {
  return Send(fmt::format("STOPPING=1\nSTATUS={}", OneLine(status)), "stopping");
}

std::optional<std::chrono::microseconds> ServiceNotifier::WatchdogInterval() {
  uint64_t usec = 0;
  if (sd_watchdog_enabled(/*unset_environment=*/0, &usec) <= 0 || usec == 0) return std::nullopt;
  return std::chrono::microseconds(usec);
}

Status ServiceNotifier::Watchdog() { return Send("WATCHDOG=1", "watchdog"); }

Status ServiceNotifier::StoreFd(const std::string& name, int fd) {
  NT_RETURN_IF_ERROR(CheckName(name));
  // FDPOLL=0: a stored ring-buffer map polls readable or hung up as it likes;
  // the manager must not drop it for that.
  const std::string state = fmt::format("FDSTORE=1\nFDNAME={}\nFDPOLL=0", name);
  const int r = sd_pid_notify_with_fds(0, /*unset_environment=*/0, state.c_str(), &fd, 1);
  if (r < 0) return ErrnoStatus(-r, fmt::format("notify the service manager: store descriptor {}", name));
  return OkStatus();
}

Status ServiceNotifier::RemoveFds(const std::string& name) {
  NT_RETURN_IF_ERROR(CheckName(name));
  return Send(fmt::format("FDSTOREREMOVE=1\nFDNAME={}", name), "remove descriptor");
}

Result<std::vector<InheritedFd>> TakeInheritedFds() {
  char** names = nullptr;
  const int count = sd_listen_fds_with_names(/*unset_environment=*/1, &names);
  if (count < 0) return ErrnoStatus(-count, "take the descriptors of the service manager");
  std::vector<InheritedFd> fds;
  fds.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) {
    InheritedFd inherited;
    inherited.fd.Reset(SD_LISTEN_FDS_START + i);
    if (names != nullptr && names[i] != nullptr) {
      inherited.name = names[i];
      std::free(names[i]);
    }
    fds.push_back(std::move(inherited));
  }
  std::free(names);
  return fds;
}

}  // namespace nodetrail
