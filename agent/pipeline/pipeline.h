// SPDX-License-Identifier: Apache-2.0
//
// The stages from ring to batch, on one thread: decode, attribute, enrich,
// redact, policy, batch. The composition root calls Start(), then Tick() at
// each drain interval, then Stop().
#ifndef NODETRAIL_AGENT_PIPELINE_PIPELINE_H_
#define NODETRAIL_AGENT_PIPELINE_PIPELINE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/attribute/proc_reader.h"
#include "agent/attribute/scrubber.h"
#include "agent/capture/record_source.h"
#include "agent/enrich/name_resolver.h"
#include "agent/pipeline/batch_sink.h"
#include "agent/pipeline/tamper.h"
#include "agent/selftest/selftest.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"
#include "nodetrail/config/v1/config.pb.h"
#include "nodetrail/event/v1/event.pb.h"

namespace nodetrail::agent {

// Pointers are borrowed and outlive the pipeline.
struct Dependencies {
  RecordSource* source = nullptr;
  const Clock* clock = nullptr;
  ProcReader* proc = nullptr;
  NameResolver* names = nullptr;
  BatchSink* sink = nullptr;
  Selftest* selftest = nullptr;  // null: none
  OwnThings own;                 // what agent.tamper tells of
  // Takes secrets out. Null: the built-in rules and those of `redact`.
  Scrubber* scrubber = nullptr;

  // Sub-messages with defaults filled in, as the config loader leaves them.
  config::v1::AgentConfig::Capture capture;
  config::v1::AgentConfig::Batch batch;
  config::v1::AgentConfig::Redact redact;

  std::string boot_id;   // 36 characters
  event::v1::Host host;  // see agent/enrich/host.h; goes into the first batch
  // Sequence number of the first event: 1 in a new epoch, more where an epoch
  // goes on after a restart (Sealer::next_event_seq).
  uint64_t first_event_seq = 1;
  std::function<uint64_t()> spool_bytes;  // for the heartbeat; may be empty
  // Bodies that the spool gave up and the events in them, since the process
  // started, for the counters of each header; may be empty.
  std::function<std::pair<uint64_t, uint64_t>()> evicted;
};

struct StartInfo {
  std::string reason;          // of agent.start: "started", "restarted after a crash"…
  bool previous_clean = true;  // the previous run ended in order, or there was none
  std::string version;         // of the agent
  // Becomes an agent.gap event: an interval nobody observed, up to this start.
  std::optional<event::v1::AgentEvent> gap;
  // Records of signals that the run before received, as its probes kept them.
  std::vector<std::vector<std::byte>> last_signals;
};

// Cumulative since Start().
struct PipelineStats {
  uint64_t events_total = 0;  // sequence numbers given
  uint64_t lost_total = 0;    // the four below
  // lost_probe: times the kernel skipped a probe, of unknown consequence.
  uint64_t lost_ring = 0, lost_map = 0, lost_probe = 0, lost_decode = 0;
  uint64_t lost_reserved = 0;     // of lost_ring: kinds that the reserve is for (nodetrail/abi/reserved.h)
  uint64_t filtered_total = 0;    // withheld by a rule: the product's own acts, out of scope
  uint64_t batches_total = 0;     // taken by the sink
  uint64_t heartbeats_total = 0;  // of these
  uint64_t processes = 0;         // entries of the process table
  uint64_t redactions_total = 0;
  uint64_t redact_errors_total = 0;  // fields dropped because a rule failed
  uint64_t proc_repairs_total = 0;   // processes read from /proc because their record was lost
  uint64_t last_event_boot_ns = 0;
  uint64_t last_batch_boot_ns = 0;
  bool backpressure = false;  // the sink refuses; the rings are not drained
  RingUse bulk, reserve;      // when losses were counted last
};

// Thread: one, save Stats(). A failed Tick() leaves everything consistent:
// nothing that was drained is dropped.
class Pipeline {
 public:
  // kInvalidArgument names a redaction rule that does not compile.
  static Result<std::unique_ptr<Pipeline>> Create(Dependencies deps);
  virtual ~Pipeline() = default;

  // Seeds the process table, puts agent.start, agent.coverage, agent.gap and
  // process.snapshot events into the first batches. Hooks are attached already:
  // what happens during the seeding waits in the rings.
  virtual Status Start(const StartInfo& info) = 0;

  // Drains, accounts for losses, closes due batches. Never blocks but in the sink.
  virtual Status Tick() = 0;

  // Puts an event of the agent itself into the trail: a spool eviction, say.
  // t_boot_ns is now. Such words have batches of their own; while the sink
  // refuses they wait.
  virtual Status Report(event::v1::Kind kind, const event::v1::AgentEvent& body) = 0;

  // Drains everything, then agent.stop, then one last batch of type
  // CLEAN_SHUTDOWN. After an error it can be called again and goes on.
  virtual Status Stop(std::string_view reason) = 0;

  // From any thread.
  [[nodiscard]] virtual PipelineStats Stats() const = 0;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_PIPELINE_PIPELINE_H_
