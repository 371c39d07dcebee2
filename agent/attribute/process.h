// SPDX-License-Identifier: Apache-2.0
//
// One process as the agent knows it: identity, current image, ancestry, place.
// Plain data; the process table owns and changes it (process_table.h).
#ifndef NODETRAIL_AGENT_ATTRIBUTE_PROCESS_H_
#define NODETRAIL_AGENT_ATTRIBUTE_PROCESS_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/attribute/container.h"
#include "agent/attribute/elevation.h"
#include "agent/attribute/entry.h"
#include "agent/attribute/proc_uid.h"
#include "nodetrail/abi/record.h"

namespace nodetrail::agent {

// A fact that is missing, and why. Static strings.
struct GapNote {
  std::string_view what;  // "actor.exe"
  std::string_view why;   // "fork record lost"
};

struct RedactionNote {
  std::string field;  // "actor.argv[3]"
  std::string rule;
};

// What an exec brought, or /proc said. Immutable once made: a fork shares it.
// Everything in it has passed the scrubber.
struct Image {
  std::string exe;
  bool has_file = false;
  nt_file file{};
  std::vector<std::string> argv;
  uint32_t argc = 0;        // true number
  uint64_t argv_bytes = 0;  // true length
  bool argv_truncated = false;
  std::string cwd;
  std::string script;
  std::string comm;
  uint64_t exec_boot_ns = 0;  // 0: the exec was not seen
  bool from_proc = false;
  uint64_t id = 0;  // of this image alone, in this table
  std::vector<RedactionNote> redactions;
  std::vector<GapNote> gaps;
};

// What a descendant shows of this process. Shared by all of them, so that an
// identity corrected later is right in each.
struct AncestorNode {
  ProcUid uid{};
  uint32_t pid = 0;
  std::string exe;
  std::string argv0;
  uint32_t user_id = 0;
};

inline constexpr size_t kMaxAncestors = 16;

struct Process {
  // Identity.
  ProcUid uid{};
  uint32_t tgid = 0;
  uint64_t start_boot_ns = 0;
  bool exact = true;  // false: start_boot_ns is floored to a tick, from /proc
  uint32_t exec_count = 0;

  // As of the record or the read that made or last changed the entry.
  uint32_t ppid = 0, ns_tgid = 0, pgid = 0, sid = 0, tty_nr = 0;
  uint32_t loginuid = 0xffffffffU, sessionid = 0xffffffffU;
  uint32_t task_flags = 0, seccomp_mode = 0;
  bool has_cred = false;
  nt_cred cred{};
  uint32_t user_id = 0;  // real uid as last seen, for descendants
  uint32_t pid_ns = 0, mnt_ns = 0, net_ns = 0, ipc_ns = 0, uts_ns = 0, cgroup_ns = 0;

  std::shared_ptr<const Image> image;
  std::vector<std::shared_ptr<AncestorNode>> ancestors;  // parent first; by birth, where that was seen
  bool ancestors_truncated = false;
  std::shared_ptr<AncestorNode> node;  // this process, for its descendants

  // The person. As of the exec or fork that made this state.
  ElevationChain elevation;
  uint32_t switch_uid = 0;  // real user that `elevation` accounts for
  EntryRef entry;
  LoginRef login;
  LoginRef accepted;  // of a broker: the connection that its next child is for

  // Place. The ids are those the path was looked up by.
  uint64_t cgroup_v2_id = 0, cgroup_v1_id = 0;
  uint32_t cgroup_v1_hierarchy = 0;
  std::shared_ptr<const CgroupPlace> place;  // null: unknown

  bool minimal = false;  // only what an ancestor shows was read
  bool exited = false;
  bool companion = false;     // marked as the product's own
  std::vector<GapNote> gaps;  // of the process; those of the image are in the image
  uint64_t doubt = 0;         // loss episode up to which the image was confirmed

  // Slots of the batch stage: what was encoded of this state. A change of
  // state moves `revision`, and the slots are stale.
  uint64_t revision = 1;
  struct {
    uint64_t revision = 0;
    uint64_t names_generation = 0;
    uint64_t batch = 0;       // the batch that has the entry
    uint32_t exec_count = 0;  // and what names the entry there
    ProcUid uid{};
    std::string bytes;
    bool leaf_valid = false;  // leaf is the Merkle leaf of bytes
    std::array<uint8_t, 32> leaf{};
  } dictionary;
  struct {
    bool valid = false;
    bool pending = false;  // a name was pending
    uint64_t names_generation = 0;
    nt_cred cred{};
    uint32_t flags = 0, seccomp = 0, loginuid = 0, sessionid = 0;
    std::string bytes;
  } event_cred;

  // Hooks of the table's lists.
  Process* list_prev = nullptr;
  Process* list_next = nullptr;

  [[nodiscard]] bool complete() const { return gaps.empty() && image != nullptr && image->gaps.empty(); }
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ATTRIBUTE_PROCESS_H_
