// SPDX-License-Identifier: Apache-2.0
//
// The agent's status: a unix stream socket that answers each connection with
// one JSON document and closes. Local and read-only: mode 0600, nothing is read
// from the peer, a peer that does not read is cut off.
#ifndef NODETRAIL_AGENT_HEALTH_STATUS_SOCKET_H_
#define NODETRAIL_AGENT_HEALTH_STATUS_SOCKET_H_

#include <memory>
#include <string>
#include <string_view>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/status.h"

namespace nodetrail::agent {

// Owner and thread: main.
class StatusSocket {
 public:
  // Replaces a socket that a dead agent left at `path`; a live one is
  // kAlreadyExists, any other kind of file kFailedPrecondition.
  static Result<std::unique_ptr<StatusSocket>> Open(const std::string& path);
  ~StatusSocket();
  StatusSocket(const StatusSocket&) = delete;
  StatusSocket& operator=(const StatusSocket&) = delete;

  // Readable when a connection waits.
  [[nodiscard]] int fd() const { return fd_.get(); }

  // Accepts what waits and answers each with `document`. Never blocks for long:
  // a peer gets as much as its socket buffer takes within 100 ms.
  void Answer(std::string_view document);

 private:
  StatusSocket(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  UniqueFd fd_;
  std::string path_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_HEALTH_STATUS_SOCKET_H_
