// SPDX-License-Identifier: Apache-2.0
//
// Where ring records come from. Real implementation: agent/capture/capture.h
// (the only code that includes libbpf). Fake: tests/fakes/replay_source.h.
#ifndef NODETRAIL_AGENT_CAPTURE_RECORD_SOURCE_H_
#define NODETRAIL_AGENT_CAPTURE_RECORD_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "nodetrail/abi/record.h"
#include "nodetrail/base/status.h"

namespace nodetrail::agent {

// One record's bytes. Valid during the call only. Returns false to stop the
// drain: the record was consumed, what follows stays in the rings.
using RecordSink = std::function<bool(std::span<const std::byte> record)>;

enum class HookState { kAttached, kFallback, kAbsent, kOff };

struct HookCoverage {
  std::string hook;    // "tp_btf/sched_process_exec"
  std::string family;  // "tracepoint"
  std::string domain;  // process, privilege, file, network
  HookState state = HookState::kAbsent;
  std::string why;                 // "attached", or the cause and the errno name
  std::vector<std::string> kinds;  // labels of event.v1.Kind it feeds
};

// The bulk rings, or the reserves (nodetrail/abi/reserved.h), of all CPUs.
struct RingUse {
  uint64_t size_bytes = 0;  // of one; 0: there are none
  uint64_t used_bytes = 0;  // of the fullest, now
  uint64_t peak_bytes = 0;  // the most that one held when it was drained, since the source was opened
  uint64_t records = 0;     // handed over, of all, since then
};

// Cumulative since the source was opened. Indexed by CPU.
struct SourceCounters {
  // cpu_seq is read last: no loss counted here has a position beyond it.
  std::vector<nt_cpu_stats> cpus;
  RingUse bulk, reserve;
  // Times the kernel itself skipped a probe (it ran already on that CPU, or
  // the bpf system call held it off): acts seen by nobody, of unknown kind.
  uint64_t skipped_probes = 0;
};

// A BPF map or program that the agent loaded.
struct OwnObject {
  nt_own_object object = NT_OWN_NONE;
  uint32_t id = 0;  // the kernel's
  std::string name;
};

// Of the source itself, something that was taken away or altered from outside.
struct Damage {
  std::string object;                // link, map
  std::string what;                  // closed, deaf, altered
  std::vector<std::string> targets;  // hooks, or the map's name
  bool restored = false;             // all of them
};

// Owner: the composition root. Thread: pipeline only.
class RecordSource {
 public:
  virtual ~RecordSource() = default;

  // Hands every record whose time is safely past to `sink`, in order of
  // ktime_boot_ns over all CPUs (ties by CPU, then cpu_seq). Within one CPU the
  // order is cpu_seq: a probe interrupted by another between taking its number
  // and reading the clock may be a few ns out of time order. A record younger
  // than a small slack waits for the next call, so that a later record of
  // another CPU can't overtake it; `everything` (at shutdown) hands those over
  // too. Returns the number handed over. Never blocks.
  virtual Result<size_t> Drain(const RecordSink& sink, bool everything) = 0;

  virtual Result<SourceCounters> ReadCounters() = 0;

  // Records by which the process table is kept (fork, exec) that this CPU had no
  // room for, as ReadCounters counts them, but without a system call: asked at
  // each hole in cpu_seq. 0 where there is no such CPU.
  [[nodiscard]] virtual uint64_t LostImages(uint32_t cpu) const = 0;

  [[nodiscard]] virtual const std::vector<HookCoverage>& Coverage() const = 0;

  // Marks a process as the product's own: its file and network acts are
  // counted in nt_cpu_stats.self[cls] instead of recorded. Until it exits. One of
  // NT_SELF_CANARY is recorded, also where it is out of scope.
  virtual Status MarkSelf(uint32_t tgid, nt_self_class cls) = 0;

  // Looks whether everything is still as it was set up, and puts back what is
  // not. `deaf`: domains whose hooks are there and tell nothing; they are attached
  // anew. Coverage() says afterwards what is.
  virtual std::vector<Damage> Inspect(const std::vector<std::string>& /*deaf*/) { return {}; }
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_CAPTURE_RECORD_SOURCE_H_
