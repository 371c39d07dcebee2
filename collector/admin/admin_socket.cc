// SPDX-License-Identifier: Apache-2.0
#include "collector/admin/admin_socket.h"

#include <fmt/format.h>
#include <poll.h>
#include <pwd.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "nodetrail/base/log.h"

namespace nodetrail::collector {
namespace {

constexpr int kBacklog = 8;
constexpr timeval kPeerTimeout{.tv_sec = 5, .tv_usec = 0};
// An entry waits for the disk.
constexpr timeval kAnswerTimeout{.tv_sec = 60, .tv_usec = 0};

Result<sockaddr_un> Address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return InvalidArgument(
        fmt::format("admin_socket {}: the path must have 1 to {} bytes", path, sizeof(address.sun_path) - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

int Connect(int fd, const sockaddr_un& address) {
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
}

// A socket file outlives its process; only connect(2) tells whether anybody listens.
Status RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return errno == ENOENT ? OkStatus() : ErrnoStatus(errno, "stat " + path);
  if (!S_ISSOCK(st.st_mode)) {
    return FailedPrecondition(fmt::format("admin_socket {}: a file that is not a socket is there; move it away", path));
  }
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (Connect(probe.get(), address) == 0) {
    return AlreadyExists(fmt::format("admin_socket {}: another collector answers there; stop it first", path));
  }
  if (::unlink(path.c_str()) != 0) return ErrnoStatus(errno, "unlink " + path);
  return OkStatus();
}

Status ReceiveAll(int fd, char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::recv(fd, data, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Unavailable("cut off, or no answer in time");
    data += n;
    size -= static_cast<size_t>(n);
  }
  return OkStatus();
}

Status SendAll(int fd, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::send(fd, data, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Unavailable("cut off, or not taken in time");
    data += n;
    size -= static_cast<size_t>(n);
  }
  return OkStatus();
}

std::optional<uid_t> PeerUser(int peer) {
  ucred who{};
  socklen_t size = sizeof(who);
  if (::getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return std::nullopt;
  return who.uid;
}

bool IsOperator(uid_t uid) { return uid == 0 || uid == ::geteuid(); }

bool IsAboutHolds(const enrol::v1::AdminRequest& request) {
  return request.has_add_hold() || request.has_list_holds() || request.has_release_hold();
}

void SetTimeouts(int fd, const timeval& receive) {
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kPeerTimeout, sizeof(kPeerTimeout));
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof(receive));
}

}  // namespace

Status SendFramed(int fd, const std::string& bytes) {
  if (bytes.size() > kMaxAdminBytes) return InvalidArgument("admin: a message above 1 MiB");
  std::array<char, 4> length{};
  for (size_t i = 0; i < length.size(); ++i) length[i] = static_cast<char>((bytes.size() >> (8 * i)) & 0xffU);
  NT_RETURN_IF_ERROR(SendAll(fd, length.data(), length.size()));
  return SendAll(fd, bytes.data(), bytes.size());
}

Result<std::string> ReceiveFramed(int fd) {
  std::array<char, 4> length{};
  NT_RETURN_IF_ERROR(ReceiveAll(fd, length.data(), length.size()));
  size_t size = 0;
  for (size_t i = 0; i < length.size(); ++i) size |= size_t{static_cast<unsigned char>(length[i])} << (8 * i);
  if (size > kMaxAdminBytes) return InvalidArgument("admin: a message above 1 MiB");
  std::string bytes(size, '\0');
  NT_RETURN_IF_ERROR(ReceiveAll(fd, bytes.data(), size));
  return bytes;
}

Result<std::unique_ptr<AdminSocket>> AdminSocket::Open(const std::string& path, std::set<uid_t> officers,
                                                       Handler handler) {
  NT_ASSIGN_OR_RETURN(const sockaddr_un address, Address(path));
  NT_RETURN_IF_ERROR(MakeDirectories(std::filesystem::path(path).parent_path().string(), 0750));
  NT_RETURN_IF_ERROR(RemoveStale(path, address));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket " + path);
  // bind(2) gives the file the mode of the socket: it holds from the first instant.
  if (::fchmod(fd.get(), 0600) != 0) return ErrnoStatus(errno, "fchmod " + path);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, "bind " + path);
  }
  // That mode shuts them out.
  if (!officers.empty() && ::chmod(path.c_str(), 0666) != 0) return ErrnoStatus(errno, "chmod " + path);
  if (::listen(fd.get(), kBacklog) != 0) return ErrnoStatus(errno, "listen " + path);
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop.valid()) return ErrnoStatus(errno, "eventfd");
  return std::unique_ptr<AdminSocket>(
      new AdminSocket(std::move(fd), std::move(stop), path, std::move(officers), std::move(handler)));
}

AdminSocket::AdminSocket(UniqueFd fd, UniqueFd stop, std::string path, std::set<uid_t> officers, Handler handler)
    : fd_(std::move(fd)),
      stop_(std::move(stop)),
      path_(std::move(path)),
      officers_(std::move(officers)),
      handler_(std::move(handler)),
      thread_([this] { Run(); }) {}

AdminSocket::~AdminSocket() {
  const uint64_t one = 1;
  if (::write(stop_.get(), &one, sizeof(one)) != sizeof(one)) log::Warn("admin: eventfd: the thread is not woken");
  thread_.join();
  ::unlink(path_.c_str());
}

void AdminSocket::Run() {
  std::array<pollfd, 2> fds{pollfd{fd_.get(), POLLIN, 0}, pollfd{stop_.get(), POLLIN, 0}};
  for (;;) {
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    if (fds[1].revents != 0) return;
    if (fds[0].revents == 0) continue;
    const UniqueFd peer(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (peer.valid()) Serve(peer.get());
  }
}

Result<enrol::v1::AdminResponse> AdminSocket::Answer(const enrol::v1::AdminRequest& request, uid_t uid) const {
  if (!IsOperator(uid) && !IsAboutHolds(request)) {
    return PermissionDenied("only root and the collector's user may ask that; hold_officers may ask about holds");
  }
  return handler_(request, uid);
}

void AdminSocket::Serve(int peer) {
  const std::optional<uid_t> uid = PeerUser(peer);
  if (!uid || (!IsOperator(*uid) && !officers_.contains(*uid))) return;
  SetTimeouts(peer, kPeerTimeout);
  const auto bytes = ReceiveFramed(peer);
  if (!bytes.ok()) return;
  enrol::v1::AdminRequest request;
  Result<enrol::v1::AdminResponse> response = InvalidArgument("admin: not a request; do the versions fit?");
  if (request.ParseFromString(*bytes)) response = Answer(request, *uid);
  enrol::v1::AdminResponse out;
  if (response.ok()) {
    out = *std::move(response);
  } else {
    out.set_code(static_cast<int>(response.status().code()));
    out.set_message(std::string(response.status().message()));
  }
  SendFramed(peer, out.SerializeAsString()).Ignore();  // who went away before the answer doesn't want it
}

std::string PersonOf(uid_t uid) {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  std::string name;
  if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) name = found->pw_name;
  for (char& c : name) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return name.empty() ? fmt::format("user {}", uid) : fmt::format("{} ({})", name, uid);
}

Result<uid_t> UserOf(const std::string& name) {
  uid_t uid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), uid);
  if (!name.empty() && error == std::errc() && end == name.data() + name.size()) return uid;
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
    return found->pw_uid;
  }
  return NotFound(fmt::format("this node knows no user {}", name));
}

Result<enrol::v1::AdminResponse> AskCollector(const std::string& path, const enrol::v1::AdminRequest& request) {
  NT_ASSIGN_OR_RETURN(const sockaddr_un address, Address(path));
  const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "socket");
  SetTimeouts(fd.get(), kAnswerTimeout);
  if (Connect(fd.get(), address) != 0) {
    if (errno == EACCES || errno == EPERM)
      return PermissionDenied(fmt::format("{}: only root and the collector's user may ask; use sudo", path));
    return NotFound(
        fmt::format("{}: no collector answers there ({}); start it, or name its configuration with --config", path,
                    ErrnoName(errno)));
  }
  NT_RETURN_IF_ERROR(SendFramed(fd.get(), request.SerializeAsString()));
  auto bytes = ReceiveFramed(fd.get());
  if (!bytes.ok()) return Annotate(bytes.status(), path);
  enrol::v1::AdminResponse response;
  if (!response.ParseFromString(*bytes)) return DataLoss(fmt::format("{}: not an answer; do the versions fit?", path));
  if (response.code() != 0) {
    const int code = response.code();
    return Status(code > 0 && code <= 16 ? static_cast<Code>(code) : Code::kUnknown, response.message());
  }
  return response;
}

}  // namespace nodetrail::collector
