// SPDX-License-Identifier: Apache-2.0
//
// nodetrail-canary DIR: started by the agent, for a moment, to do what its
// probes must see (agent/selftest/canary.h). Waits for a byte on standard input,
// acts, says "DOMAIN ERRNO" for each act on standard output, and ends by an exec
// of itself. Does nothing else, and needs no privilege.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace {

int FileActs(const char* dir) {
  char path[4096];
  const int length = std::snprintf(path, sizeof path, "%s/canary", dir);
  if (length < 0 || static_cast<size_t>(length) >= sizeof path) return ENAMETOOLONG;
  // Not O_EXCL: a canary that was killed may have left it.
  const int fd = ::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  ::close(fd);
  return ::unlink(path) == 0 ? 0 : errno;
}

// Granted or refused, it is an act: nothing else follows that needs the group.
int PrivilegeActs() {
  constexpr gid_t kNobody = 65534;
  constexpr gid_t kKeep = static_cast<gid_t>(-1);
  return ::setresgid(kKeep, kNobody, kKeep) == 0 || errno == EPERM ? 0 : errno;
}

int NetworkActs() {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0) return errno;
  if (::bind(listener, generic, length) != 0 || ::listen(listener, 1) != 0 ||
      ::getsockname(listener, generic, &length) != 0) {
    return errno;
  }
  const int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (client < 0 || ::connect(client, generic, length) != 0) return errno;
  const int server = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (server < 0) return errno;
  ::close(client);
  ::close(server);
  ::close(listener);
  return 0;
}

int KernelActs() {
  const int fd = ::memfd_create("nodetrail-canary", MFD_CLOEXEC);
  if (fd < 0) return errno;
  ::close(fd);
  return 0;
}

bool Tell(const char* domain, int error) {
  char line[64];
  const int length = std::snprintf(line, sizeof line, "%s %d\n", domain, error);
  return ::write(STDOUT_FILENO, line, static_cast<size_t>(length)) == length;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--end") == 0) return 0;
  if (argc != 2 || argv[1][0] != '/') {
    std::fputs("usage: nodetrail-canary DIR\nThe agent starts it, to test whether its probes hear.\n", stderr);
    return 64;
  }
  char go = 0;
  if (::read(STDIN_FILENO, &go, 1) != 1) return 1;  // the agent is gone
  if (!Tell("file", FileActs(argv[1])) || !Tell("privilege", PrivilegeActs()) || !Tell("network", NetworkActs()) ||
      !Tell("kernel", KernelActs())) {
    return 1;
  }
  // Said before it is done: afterwards it can't be.
  if (!Tell("process", 0)) return 1;
  char end[] = "--end";
  char* again[] = {argv[0], end, nullptr};
  ::execv(argv[0], again);
  return 1;
}
