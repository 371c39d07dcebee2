// SPDX-License-Identifier: Apache-2.0
//
// How a process came to act as somebody else: one link for each tool that was
// passed (sudo, su, doas, pkexec, a set-user-ID file …), first one first. Pure;
// the process table keeps a chain with each process, a fork shares it.
//
// A link is made of what the kernel showed, never of a tool's name: an exec
// that raised credentials, or a process whose real user had changed when it
// forked or execed. A real user alone decides the latter: tools switch their
// effective user back and forth.
#ifndef NODETRAIL_AGENT_ATTRIBUTE_ELEVATION_H_
#define NODETRAIL_AGENT_ATTRIBUTE_ELEVATION_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "agent/attribute/proc_uid.h"
#include "nodetrail/abi/record.h"

namespace nodetrail::agent {

struct Image;

enum class ElevationCause : uint8_t {
  kUnknown = 0,       // concluded from /proc, or the tool was not seen
  kSetuidFile = 1,    // exec of a set-user-ID file changed the effective user
  kCapabilities = 2,  // exec of a file with capabilities added permitted ones
  kCall = 3,          // setuid(2) and its kind changed the real user
};

struct Elevation {
  ProcUid process{};  // that ran the tool
  ElevationCause cause = ElevationCause::kCall;
  std::string tool;                  // path of its executable; empty: not seen
  uint32_t from_uid = 0;             // real user before
  uint32_t to_uid = 0;               // real user of what it started; effective user where that stayed the caller's
  uint64_t added_caps = 0;           // kCapabilities
  std::vector<std::string> command;  // arguments after the tool's own name, redacted
  bool command_truncated = false;
  uint64_t boot_ns = 0;    // of the tool's exec; 0: not seen
  bool from_proc = false;  // concluded from /proc, not seen by a probe
  uint64_t image_id = 0;   // Image::id of the tool
};

// Immutable, shared. Null: nobody was passed.
using ElevationChain = std::shared_ptr<const std::vector<Elevation>>;

// A chain keeps its first link and the newest of the others.
inline constexpr size_t kMaxElevations = 16;
// Of one command in the chain, in bytes and arguments: the whole is with the
// tool's own process.exec.
inline constexpr size_t kMaxElevationCommand = 1024;
inline constexpr size_t kMaxElevationArgs = 32;

// Who acts when: what the rules need to know of a process.
struct ElevationActor {
  ProcUid process{};
  const Image* image = nullptr;  // null: unknown
  uint32_t loginuid = 0xffffffffU;
  bool from_proc = false;
  bool may_setuid = false;  // has CAP_SETUID
};

// The file has the set-user-ID bit. False for null.
[[nodiscard]] bool IsSetuidFile(const Image* image);

// A process of this image turned its real user `from` into `to` and now forks
// or execs. Links where the image is a set-user-ID file or somebody has logged
// in; not for the login itself (nobody passed yet, and `to` is the login user),
// nor for a service that leaves root by itself. A tool that already is the last
// link moves that link's `to_uid`.
[[nodiscard]] ElevationChain AfterSwitch(const ElevationChain& chain, const ElevationActor& actor, uint32_t from,
                                         uint32_t to);

// `actor.image` was just executed, with these credentials before and after.
// Ends the last link where the exec runs as the user it came from.
[[nodiscard]] ElevationChain AfterExec(const ElevationChain& chain, const ElevationActor& actor, const nt_cred& before,
                                       const nt_cred& after);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ATTRIBUTE_ELEVATION_H_
