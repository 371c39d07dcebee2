// SPDX-License-Identifier: Apache-2.0
#include "agent/capture/tracefs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace nodetrail::agent {
namespace {

constexpr char kMountPoint[] = "/sys/kernel/tracing";

}  // namespace

Result<Tracefs> Tracefs::Open() {
  // glibc 2.36 has wrappers, older ones don't: by number.
  if (UniqueFd mounted(::open(kMountPoint, O_PATH | O_DIRECTORY | O_CLOEXEC)); mounted.valid()) {
    if (::faccessat(mounted.get(), "events/syscalls", F_OK, 0) == 0) return Tracefs(std::move(mounted));
  }
  const UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC)));
  if (!context.valid()) return ErrnoStatus(errno, "capture: tracefs: fsopen");
  if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return ErrnoStatus(errno, "capture: tracefs: fsconfig");
  }
  UniqueFd mount(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
  if (!mount.valid()) return ErrnoStatus(errno, "capture: tracefs: fsmount");
  return Tracefs(std::move(mount));
}

Result<uint64_t> Tracefs::SyscallEventId(const std::string& event) const {
  const std::string path = fmt::format("events/syscalls/{}/id", event);
  const UniqueFd file(::openat(root_.get(), path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, fmt::format("capture: tracefs: {}", path));
  char text[32];
  const ssize_t n = ::read(file.get(), text, sizeof text);
  if (n < 0) return ErrnoStatus(errno, fmt::format("capture: tracefs: read {}", path));
  uint64_t id = 0;
  if (std::from_chars(text, text + n, id).ec != std::errc()) {
    return Internal(fmt::format("capture: tracefs: {} holds no number", path));
  }
  return id;
}

}  // namespace nodetrail::agent
