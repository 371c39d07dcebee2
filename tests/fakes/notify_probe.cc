// SPDX-License-Identifier: Apache-2.0
//
// A tiny daemon for the tests of ServiceNotifier and notify_holder.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/notify.h"

namespace {

using nodetrail::ServiceNotifier;

// First start: store a descriptor and crash. Second: it must be back.
int CrashThenCheck() {
  auto fds = nodetrail::TakeInheritedFds();
  if (!fds.ok()) return 10;
  if (fds->empty()) {
    const nodetrail::UniqueFd fd(::memfd_create("state", MFD_CLOEXEC));
    if (!fd.valid() || !nodetrail::WriteAll(fd.get(), "kept across the crash", "memfd").ok()) return 11;
    if (!ServiceNotifier::StoreFd("state", fd.get()).ok()) return 12;
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    std::abort();
  }
  if (fds->size() != 1 || fds->front().name != "state") return 13;
  const int fd = fds->front().fd.get();
  if ((::fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) return 14;
  char text[64];
  const ssize_t n = ::pread(fd, text, sizeof(text), 0);
  if (n < 0) return 15;
  if (!ServiceNotifier::SetStatus("found: " + std::string(text, static_cast<size_t>(n))).ok()) return 16;
  if (!ServiceNotifier::Ready("ready").ok()) return 17;
  const auto again = nodetrail::TakeInheritedFds();
  return again.ok() && again->empty() ? 0 : 18;
}

int WaitForTerm() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  if (!ServiceNotifier::Ready("waiting").ok()) return 20;
  int signal = 0;
  sigwait(&set, &signal);
  return ServiceNotifier::Stopping("bye").ok() ? 0 : 21;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  if (mode == "crash-then-check") return CrashThenCheck();
  if (mode == "exit-3") return 3;
  if (mode == "wait") return WaitForTerm();
  if (mode == "hang") {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    while (true) ::pause();
  }
  std::fputs("usage: notify_probe crash-then-check|exit-3|wait|hang\n", stderr);
  return 64;
}
