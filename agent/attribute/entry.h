// SPDX-License-Identifier: Apache-2.0
//
// By which door a process came in: the first program that a broker (sshd, login,
// cron, a container runtime, init …) started, and where a remote user came from.
#ifndef NODETRAIL_AGENT_ATTRIBUTE_ENTRY_H_
#define NODETRAIL_AGENT_ATTRIBUTE_ENTRY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "agent/attribute/proc_uid.h"
#include "nodetrail/abi/record.h"

namespace nodetrail::agent {

struct Image;

enum class EntryKind : uint8_t {
  kNone = 0,  // no broker
  kInit,      // init or systemd: a service
  kSsh,
  kConsole,  // login, getty, a display manager
  kCron,
  kAt,
  kContainer,  // the first program of a container, or of an exec into one
};

[[nodiscard]] std::string_view EntryName(EntryKind kind);  // "ssh"

// What kind of broker runs this image. By the file's name, and only if the file
// is root's: a user's own "cron" is none. `tgid` in the initial pid namespace.
[[nodiscard]] EntryKind BrokerOf(const Image* image, uint32_t tgid);

// Shared by all that came in by it.
struct Entry {
  EntryKind kind = EntryKind::kNone;
  ProcUid leader{};  // first process that was none of the broker's
  uint32_t pid = 0;
  std::string exe;         // of the leader, then
  bool from_proc = false;  // concluded from /proc
};

// The connection that sshd accepted for a login, as the kernel had it.
struct Login {
  uint16_t family = 0;
  nt_u8 address[16] = {};
  uint16_t port = 0;
  uint64_t boot_ns = 0;  // when it was accepted
};

using EntryRef = std::shared_ptr<const Entry>;
using LoginRef = std::shared_ptr<const Login>;

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ATTRIBUTE_ENTRY_H_
