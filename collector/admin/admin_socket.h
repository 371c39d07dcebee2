// SPDX-License-Identifier: Apache-2.0
//
// The operator's way to a running collector, which alone writes its trail: a
// unix socket, mode 0600, that takes one request a connection. With officers it
// takes connections of everybody, and answers those users about holds alone.
#ifndef NODETRAIL_COLLECTOR_ADMIN_ADMIN_SOCKET_H_
#define NODETRAIL_COLLECTOR_ADMIN_ADMIN_SOCKET_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"
#include "nodetrail/enrol/v1/enrol.pb.h"

namespace nodetrail::collector {

inline constexpr size_t kMaxAdminBytes = 1U << 20;

// Owner: main; a thread of its own. Only root and the collector's own user are
// answered, whatever the mode of the file has become.
class AdminSocket {
 public:
  // `uid`: of the process at the other end when it connected (SO_PEERCRED).
  using Handler = std::function<Result<enrol::v1::AdminResponse>(const enrol::v1::AdminRequest&, uid_t uid)>;
  // Replaces a socket that a dead collector left at `path`; a live one is
  // kAlreadyExists, any other kind of file kFailedPrecondition. `handler` is
  // called on the socket's thread.
  static Result<std::unique_ptr<AdminSocket>> Open(const std::string& path, std::set<uid_t> officers, Handler handler);
  ~AdminSocket();
  AdminSocket(const AdminSocket&) = delete;
  AdminSocket& operator=(const AdminSocket&) = delete;

 private:
  AdminSocket(UniqueFd fd, UniqueFd stop, std::string path, std::set<uid_t> officers, Handler handler);
  void Run();
  void Serve(int peer);
  Result<enrol::v1::AdminResponse> Answer(const enrol::v1::AdminRequest& request, uid_t uid) const;

  const UniqueFd fd_;
  const UniqueFd stop_;  // eventfd
  const std::string path_;
  const std::set<uid_t> officers_;
  const Handler handler_;
  std::jthread thread_;
};

// One message after its length, over a stream socket with timeouts set.
// Unavailable: cut off or timed out; InvalidArgument: too long.
Status SendFramed(int fd, const std::string& bytes);
Result<std::string> ReceiveFramed(int fd);

// "ann (1000)": how the log names who asked; printable ASCII.
std::string PersonOf(uid_t uid);
// By name or number. NotFound if this node knows no such user.
Result<uid_t> UserOf(const std::string& name);

// The client's side: asks the collector whose socket it is. NotFound if there is
// none, PermissionDenied if we may not; else what the collector answered.
Result<enrol::v1::AdminResponse> AskCollector(const std::string& path, const enrol::v1::AdminRequest& request);

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_ADMIN_ADMIN_SOCKET_H_
