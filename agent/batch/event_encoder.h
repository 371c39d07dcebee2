// SPDX-License-Identifier: Apache-2.0
//
// The bytes of event.v1.Event and event.v1.Process, written once.
#ifndef NODETRAIL_AGENT_BATCH_EVENT_ENCODER_H_
#define NODETRAIL_AGENT_BATCH_EVENT_ENCODER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "agent/attribute/process.h"
#include "agent/batch/wire_writer.h"
#include "agent/decode/decode.h"
#include "agent/enrich/name_resolver.h"
#include "nodetrail/event/v1/event.pb.h"

namespace nodetrail::agent {

inline constexpr uint32_t kSchemaVersion = 1;

// One path of an event; views live as long as the record and the caller's buffers.
struct PathFacts {
  bool present = false;
  std::string_view path;
  event::v1::PathSource source = event::v1::PATH_SOURCE_UNSPECIFIED;
  std::string_view user_string;
  bool truncated = false;
};

// Everything an event says, gathered by the stages before. Reused from record
// to record.
struct EventFacts {
  const RawEvent* raw = nullptr;
  event::v1::Kind kind = event::v1::KIND_UNSPECIFIED;
  uint64_t seq = 0;
  uint64_t t_wall_ns = 0;
  Process* actor = nullptr;
  const Process* child = nullptr;  // fork
  std::string_view hook;
  std::string_view syscall;
  std::string_view prev_exe;  // exec
  std::string_view text;      // of a call: what is no path
  std::string operation;
  const Process* target = nullptr;  // of a call on another process, or who answers on a unix socket, where known
  uint32_t target_pid = 0;
  // The agent's own word about what this process did, instead of what it did.
  const event::v1::AgentEvent* said = nullptr;
  PathFacts path, new_path;
  std::vector<GapNote> gaps;
  std::vector<RedactionNote> redactions;

  void Clear() {
    actor = nullptr;
    child = nullptr;
    hook = syscall = prev_exe = text = {};
    operation.clear();
    target = nullptr;
    said = nullptr;
    target_pid = 0;
    path = new_path = PathFacts();
    gaps.clear();
    redactions.clear();
  }
};

// Thread: pipeline.
class EventEncoder {
 public:
  explicit EventEncoder(NameResolver* names) : names_(names) {}

  // Appends the Event's bytes to `out`.
  void Encode(const EventFacts& facts, WireWriter* out);

  // process.snapshot of a process known from /proc: no record, no CPU.
  void EncodeSnapshot(uint64_t seq, uint64_t t_boot_ns, uint64_t t_wall_ns, Process* process, WireWriter* out);

  // An event of the agent itself: no actor.
  static void EncodeAgent(event::v1::Kind kind, uint64_t seq, uint64_t t_boot_ns, uint64_t t_wall_ns,
                          const event::v1::AgentEvent& body, WireWriter* out);

  // Brings process->dictionary.bytes up to date: the serialised Process.
  void RefreshDictionary(Process* process);

 private:
  void CredFields(const nt_cred& cred, uint32_t flags, uint32_t seccomp, uint32_t loginuid, uint32_t sessionid,
                  Process* process);
  // Writes Names as `field`; true if one of them is pending.
  bool NamesField(uint32_t field, uint32_t uid, uint32_t euid, uint32_t gid, uint32_t loginuid, WireWriter* out);
  void WriteProcess(const Process& process, WireWriter* out);
  void WritePerson(const Process& process, WireWriter* out);

  NameResolver* names_;
  WireWriter scratch_;
};

// Valid UTF-8 as it is; every other byte becomes U+FFFD. For string fields.
[[nodiscard]] std::string ToUtf8(std::string_view bytes);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_BATCH_EVENT_ENCODER_H_
