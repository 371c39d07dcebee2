// SPDX-License-Identifier: Apache-2.0
#include "agent/health/status_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

namespace nodetrail::agent {
namespace {

constexpr int kMaxAnswersPerCall = 16;
constexpr timeval kSendTimeout{.tv_sec = 0, .tv_usec = 100'000};

Result<sockaddr_un> Address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return InvalidArgument(
        fmt::format("status_socket {}: the path must have 1 to {} bytes", path, sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// A socket file outlives its process; only connect(2) tells whether anybody listens.
Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return errno == ENOENT ? OkStatus() : ErrnoStatus(errno, "stat " + path);
  if (!S_ISSOCK(st.st_mode)) {
    return FailedPrecondition(
        fmt::format("status_socket {}: a file that is not a socket is there; move it away", path));
  }
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    return AlreadyExists(fmt::format("status_socket {}: another agent answers there; stop it first", path));
  }
  if (::unlink(path.c_str()) != 0) return ErrnoStatus(errno, "unlink " + path);
  return OkStatus();
}

}  // namespace

Result<std::unique_ptr<StatusSocket>> StatusSocket::Open(const std::string& path) {
  NT_ASSIGN_OR_RETURN(const sockaddr_un address, Address(path));
  NT_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(path).parent_path().string(), 0755));
  NT_RETURN_IF_ERROR(RemoveStale(path, address));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket " + path);
  // The mode must hold from the first instant, so it comes from the umask.
  const mode_t before = ::umask(0177);
  const int bound = ::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  const int bind_errno = errno;
  ::umask(before);
  if (bound != 0) return ErrnoStatus(bind_errno, "bind " + path);
  if (::listen(fd.get(), kMaxAnswersPerCall) != 0) return ErrnoStatus(errno, "listen " + path);
  return std::unique_ptr<StatusSocket>(new StatusSocket(std::move(fd), path));
}

StatusSocket::~StatusSocket() { ::unlink(path_.c_str()); }

void StatusSocket::Answer(std::string_view document) {
  for (int i = 0; i < kMaxAnswersPerCall; ++i) {
    const UniqueFd peer(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer.valid()) return;
    ::setsockopt(peer.get(), SOL_SOCKET, SO_SNDTIMEO, &kSendTimeout, sizeof(kSendTimeout));
    std::string_view rest = document;
    while (!rest.empty()) {
      const ssize_t n = ::send(peer.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
      if (n <= 0) break;
      rest.remove_prefix(static_cast<size_t>(n));
    }
  }
}

}  // namespace nodetrail::agent
