// SPDX-License-Identifier: Apache-2.0
#include "agent/pipeline/pipeline.h"

#include <fmt/format.h>

#include <array>
#include <atomic>
#include <limits>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "agent/attribute/person.h"
#include "agent/attribute/process_table.h"
#include "agent/batch/batch_builder.h"
#include "agent/decode/decode.h"
#include "agent/pipeline/companions.h"
#include "agent/pipeline/hook_table.h"
#include "agent/pipeline/loss_ledger.h"
#include "agent/pipeline/resource.h"
#include "agent/policy/policy.h"
#include "agent/redact/rule_scrubber.h"
#include "nodetrail/abi/reserved.h"
#include "nodetrail/base/log.h"
#include "nodetrail/schema/labels.h"

namespace nodetrail::agent {
namespace {

constexpr uint64_t kMs = 1'000'000;
// Loss counters are read this often; what they say costs a batch of its own.
constexpr uint64_t kCounterIntervalNs = 100 * kMs;
// Of the agent's own words in one batch: compressed they stay below what the
// spool keeps whole (agent/spool/record_format.md).
constexpr uint64_t kMaxWords = 12 * 1024;
// A file-system walk: not more often, however much is lost.
constexpr uint64_t kReapIntervalNs = 1000 * kMs;
// Whether all hooks are still there is looked at this often, and while somebody
// has his hands on the agent.
constexpr uint64_t kInspectIntervalNs = 30'000 * kMs, kAlertIntervalNs = 500 * kMs, kAlertNs = 10'000 * kMs;
// A batch for one word about a process costs a sync: others wait for the tick.
constexpr uint64_t kTamperIntervalNs = 50 * kMs;
// PROC_PID_INIT_INO of linux/proc_ns.h: pids there are the host's.
constexpr uint32_t kInitPidNs = 0xeffffffc;
constexpr auto kRelaxed = std::memory_order_relaxed;

std::string_view StateName(HookState state) {
  switch (state) {
    case HookState::kAttached: return "attached";
    case HookState::kFallback: return "fallback";
    case HookState::kAbsent: return "absent";
    case HookState::kOff: return "off";
  }
  return "absent";
}

bool NotNow(const Status& status) {
  return status.code() == Code::kResourceExhausted || status.code() == Code::kUnavailable;
}

// What an event is worth when the spool can't keep all.
EvidenceClass ClassOfKind(event::v1::Kind kind) {
  const std::string_view label = schema::KindLabel(kind);
  if (schema::KindIsCritical(kind)) {
    return label.starts_with("agent.") ? EvidenceClass::kVital : EvidenceClass::kCritical;
  }
  return label.starts_with("file.") ? EvidenceClass::kBulk : EvidenceClass::kNormal;
}

struct AtomicRingUse {
  std::atomic<uint64_t> size_bytes{0}, used_bytes{0}, peak_bytes{0}, records{0};

  void Store(const RingUse& use) {
    size_bytes.store(use.size_bytes, kRelaxed);
    used_bytes.store(use.used_bytes, kRelaxed);
    peak_bytes.store(use.peak_bytes, kRelaxed);
    records.store(use.records, kRelaxed);
  }
  [[nodiscard]] RingUse Load() const {
    return {size_bytes.load(kRelaxed), used_bytes.load(kRelaxed), peak_bytes.load(kRelaxed), records.load(kRelaxed)};
  }
};

struct AtomicStats {
  std::atomic<uint64_t> events_total{0}, lost_ring{0}, lost_map{0}, lost_probe{0}, lost_decode{0}, filtered_total{0};
  std::atomic<uint64_t> batches_total{0}, heartbeats_total{0}, processes{0}, redactions{0}, redact_errors{0};
  std::atomic<uint64_t> lost_reserved{0}, repairs{0}, last_event_boot_ns{0}, last_batch_boot_ns{0};
  std::atomic<bool> backpressure{false};
  AtomicRingUse bulk, reserve;
};

// Rejected records of one CPU, type and reason since the last statement.
struct RejectCount {
  uint64_t count = 0, seq_from = 0, seq_to = 0, from_boot_ns = 0, to_boot_ns = 0;
};

class PipelineImpl final : public Pipeline {
 public:
  PipelineImpl(Dependencies deps, std::unique_ptr<RuleScrubber> redactor)
      : deps_(std::move(deps)),
        redactor_(std::move(redactor)),
        scrubber_(deps_.scrubber != nullptr ? deps_.scrubber : redactor_.get()),
        table_(deps_.boot_id, deps_.proc, scrubber_, TableLimits{}),
        encoder_(deps_.names),
        policy_(deps_.first_event_seq),
        hooks_(deps_.source->Coverage()),
        companions_(deps_.capture, deps_.proc, deps_.names, &ProbeFile),
        tamper_(deps_.own, &ProbeFile),
        resource_(scrubber_),
        sink_fn_([this](std::span<const std::byte> record) { return OnRecord(record); }) {
    builder_.SetHost(deps_.host.SerializeAsString());
    // A batch that waits for the next tick to be closed would be late by it.
    const uint64_t early = uint64_t{deps_.capture.drain_interval_ms()} * kMs;
    const uint64_t critical = uint64_t{deps_.batch.critical_max_age_ms()} * kMs;
    const uint64_t age = uint64_t{deps_.batch.max_age_ms()} * kMs;
    critical_age_ns_ = critical > early ? critical - early : 0;
    max_age_ns_ = age > early ? age - early : 0;
    heartbeat_ns_ = uint64_t{deps_.batch.heartbeat_s()} * 1000 * kMs;
    for (size_t kind = 0; kind < classes_.size(); ++kind) {
      classes_[kind] = ClassOfKind(static_cast<event::v1::Kind>(kind));
    }
  }

  Status Start(const StartInfo& info) override;
  Status Tick() override;
  Status Report(event::v1::Kind kind, const event::v1::AgentEvent& body) override;
  Status Stop(std::string_view reason) override;
  [[nodiscard]] PipelineStats Stats() const override;

 private:
  void Now();
  [[nodiscard]] uint64_t Wall(uint64_t boot_ns) const { return boot_ns + wall_offset_ns_; }
  [[nodiscard]] bool Blocked() const { return pending_.has_value(); }
  [[nodiscard]] EvidenceClass Class(event::v1::Kind kind) const {
    const auto index = static_cast<size_t>(kind);
    return index < classes_.size() ? classes_[index] : EvidenceClass::kNormal;
  }

  // Said by the agent, not in a batch yet.
  struct Word {
    event::v1::Kind kind;
    event::v1::AgentEvent body;
    uint64_t t_boot_ns;
    std::optional<RawEvent> by;  // agent.tamper: the record of whoever it was, without tails
  };

  bool OnRecord(std::span<const std::byte> record);
  void NoteHole(uint32_t cpu);
  void OnReject(Reject reason, std::span<const std::byte> record, const nt_header& header);
  void OnEvent(RawEvent& raw);
  void MarkIfCompanion(Process* process);
  void AddToDictionary(Process* actor, Process* child);
  void EmitAgent(event::v1::Kind kind, const event::v1::AgentEvent& body, uint64_t t_boot_ns);
  void Say(event::v1::Kind kind, event::v1::AgentEvent body);
  void CloseOthers();
  void EmitWords();
  void EmitBy(const Word& word, const RawEvent& by, Process* actor);
  void TellTamper(const RawEvent& raw, Process* actor);
  void TellPast(const std::vector<std::vector<std::byte>>& records, uint64_t after_boot_ns);
  void Inspect(const std::vector<std::string>& deaf);
  void EmitSnapshots();
  [[nodiscard]] event::v1::AgentEvent DescribeCoverage() const;
  void EmitRejects();
  void EmitFiltered();
  Status SettleLosses();
  void EmitLoss(const Loss& loss);
  Status Heartbeat();
  void CloseIfFull();
  void Close(trail::v1::BatchType type);
  Status Offer();
  void Publish();

  Dependencies deps_;
  std::unique_ptr<RuleScrubber> redactor_;  // null where deps_.scrubber is given
  Scrubber* scrubber_;
  ProcessTable table_;
  EventEncoder encoder_;
  Policy policy_;
  HookTable hooks_;
  Companions companions_;
  TamperWatch tamper_;
  ResourceReader resource_;
  BatchBuilder builder_;
  LossLedger ledger_;
  std::vector<uint64_t> lost_images_;  // by CPU, as the last hole there found them
  RecordSink sink_fn_;

  RawEvent raw_;
  EventFacts facts_;
  std::map<std::tuple<uint32_t, uint16_t, Reject>, RejectCount> rejects_;
  std::vector<std::pair<uint32_t, uint64_t>> snapshots_;  // still to be told
  size_t next_snapshot_ = 0;

  std::vector<Word> words_;

  std::optional<BatchContent> pending_;  // closed, not taken by the sink yet
  Status fatal_;
  uint64_t now_boot_ns_ = 0;
  uint64_t wall_offset_ns_ = 0;  // modulo 2^64: a wall clock before the epoch works too
  uint64_t critical_age_ns_ = 0, max_age_ns_ = 0, heartbeat_ns_ = 0;
  uint64_t next_inspect_ns_ = 0, inspected_ns_ = 0, alert_until_ns_ = 0, last_tamper_batch_ns_ = 0;
  uint64_t next_heartbeat_ns_ = 0, last_counters_ns_ = 0, last_reap_ns_ = 0;
  bool reap_due_ = false;
  bool drained_ = false, settled_ = false, stop_told_ = false, stopped_ = false;
  std::array<EvidenceClass, 1024> classes_{};
  trail::v1::LossCounters losses_;
  AtomicStats stats_;
};

void PipelineImpl::Now() {
  // The wall clock between two readings of the boot clock: the nearer it is to
  // both, the better the offset.
  const uint64_t before = deps_.clock->BootNs();
  const uint64_t wall = deps_.clock->WallNs();
  now_boot_ns_ = deps_.clock->BootNs();
  wall_offset_ns_ = wall - (before + (now_boot_ns_ - before) / 2);
  deps_.names->Poll();
}

void PipelineImpl::EmitAgent(event::v1::Kind kind, const event::v1::AgentEvent& body, uint64_t t_boot_ns) {
  const uint64_t seq = policy_.TakeSeq();
  EventEncoder::EncodeAgent(kind, seq, t_boot_ns, Wall(t_boot_ns), body, builder_.BeginEvent());
  builder_.EndEvent(seq, t_boot_ns, Wall(t_boot_ns), Class(kind));
}

void PipelineImpl::Say(event::v1::Kind kind, event::v1::AgentEvent body) {
  words_.push_back({kind, std::move(body), now_boot_ns_, {}});
}

void PipelineImpl::CloseOthers() {
  if (!builder_.empty()) Close(trail::v1::BATCH_TYPE_EVENTS);
}

// What the agent says of itself goes into batches of its own, small ones: the
// spool keeps those whole when it gives up the bodies of others, and a loss that
// is said beside a thousand file events would be given up with them.
void PipelineImpl::EmitWords() {
  if (words_.empty()) return;
  CloseOthers();
  size_t said = 0;
  while (said < words_.size() && !Blocked() && fatal_.ok()) {
    const Word& word = words_[said++];
    if (word.by) {
      raw_ = *word.by;
      EmitBy(word, raw_, table_.Actor(raw_));
    } else {
      EmitAgent(word.kind, word.body, word.t_boot_ns);
    }
    if (builder_.raw_size() >= kMaxWords) Close(trail::v1::BATCH_TYPE_EVENTS);
  }
  words_.erase(words_.begin(), words_.begin() + static_cast<std::ptrdiff_t>(said));
  if (!Blocked() && fatal_.ok()) CloseOthers();
}

// A word about what a process did: the event has that process as its actor.
void PipelineImpl::EmitBy(const Word& word, const RawEvent& by, Process* actor) {
  EventFacts facts;
  facts.raw = &by;
  facts.kind = word.kind;
  facts.actor = actor;
  facts.said = &word.body;
  facts.t_wall_ns = Wall(by.header.ktime_boot_ns);
  AddToDictionary(actor, nullptr);
  facts.seq = policy_.TakeSeq();
  encoder_.Encode(facts, builder_.BeginEvent());
  builder_.EndEvent(facts.seq, by.header.ktime_boot_ns, facts.t_wall_ns, Class(word.kind));
}

// After the event itself: facts_ are its.
void PipelineImpl::TellTamper(const RawEvent& raw, Process* actor) {
  std::optional<event::v1::Tamper> tamper = tamper_.Judge(facts_);
  if (!tamper) return;
  alert_until_ns_ = now_boot_ns_ + kAlertNs;
  next_inspect_ns_ = std::min(next_inspect_ns_, now_boot_ns_ + kAlertIntervalNs);
  if (tamper_.Repeated(facts_, *tamper)) return;
  tamper->set_event_seq(facts_.seq);
  // This thread runs again: so long did it stand still, and no longer.
  const uint64_t now = deps_.clock->BootNs();
  if ((tamper->what() == "SIGSTOP" || tamper->what() == "SIGTSTP") && now > raw.header.ktime_boot_ns) {
    tamper->set_stopped_ns(now - raw.header.ktime_boot_ns);
  }
  Word word{event::v1::KIND_AGENT_TAMPER, {}, raw.header.ktime_boot_ns, raw};
  *word.body.mutable_tamper() = *std::move(tamper);
  if (now_boot_ns_ >= last_tamper_batch_ns_ + kTamperIntervalNs) {
    last_tamper_batch_ns_ = now_boot_ns_;
    CloseOthers();
    if (!Blocked() && fatal_.ok()) {
      EmitBy(word, raw, actor);
      CloseOthers();
      return;
    }
  }
  word.by->tails.fill({});
  word.by->present = 0;
  words_.push_back(std::move(word));
}

// What the run before could no longer tell: who killed it, say.
void PipelineImpl::TellPast(const std::vector<std::vector<std::byte>>& records, uint64_t after_boot_ns) {
  RawEvent raw;
  for (const std::vector<std::byte>& record : records) {
    if (Decode(record, &raw) != Reject::kNone) continue;
    // What was before its last batch, that run has told itself.
    if (raw.header.ktime_boot_ns > now_boot_ns_ || raw.header.ktime_boot_ns <= after_boot_ns) continue;
    std::optional<event::v1::Tamper> tamper = TamperWatch::JudgePast(raw);
    if (!tamper) continue;
    if (tamper->actor_is().empty()) tamper->set_actor_is("the probes of the run before kept it");
    Word word{event::v1::KIND_AGENT_TAMPER, {}, raw.header.ktime_boot_ns, raw};
    *word.body.mutable_tamper() = *std::move(tamper);
    words_.push_back(std::move(word));
  }
}

// What was found and put back is told with the time in which it can have been so:
// what the hooks would have told meanwhile is lost, and nobody counted it.
void PipelineImpl::Inspect(const std::vector<std::string>& deaf) {
  const uint64_t last = inspected_ns_;
  inspected_ns_ = now_boot_ns_;
  next_inspect_ns_ = now_boot_ns_ + (now_boot_ns_ < alert_until_ns_ ? kAlertIntervalNs : kInspectIntervalNs);
  const std::vector<Damage> damage = deps_.source->Inspect(deaf);
  for (const Damage& found : damage) {
    event::v1::AgentEvent body;
    event::v1::Tamper* tamper = body.mutable_tamper();
    tamper->set_object(found.object);
    tamper->set_what(found.what);
    tamper->set_target(fmt::format("{}", fmt::join(found.targets, " ")));
    tamper->set_restored(found.restored);
    body.set_count(found.targets.size());
    body.set_from_boot_ns(last);
    body.set_to_boot_ns(deps_.clock->BootNs());
    body.set_from_wall_ns(Wall(body.from_boot_ns()));
    body.set_to_wall_ns(Wall(body.to_boot_ns()));
    Word word{event::v1::KIND_AGENT_TAMPER, std::move(body), now_boot_ns_, {}};
    if (const auto* suspect = tamper_.SuspectOf(found.object, now_boot_ns_)) {
      word.by = suspect->raw;
      word.by->header.ktime_boot_ns = now_boot_ns_;  // it is told now
      word.body.mutable_tamper()->set_actor_is(std::string(suspect->is));
    }
    log::Error(fmt::format("{} of ours {}: {}; {}", found.object, found.what, word.body.tamper().target(),
                           found.restored ? "put back" : "could not be put back"));
    words_.push_back(std::move(word));
  }
  if (!damage.empty()) Say(event::v1::KIND_AGENT_COVERAGE, DescribeCoverage());
}

event::v1::AgentEvent PipelineImpl::DescribeCoverage() const {
  event::v1::AgentEvent body;
  for (const HookCoverage& hook : deps_.source->Coverage()) {
    auto* out = body.add_hooks();
    out->set_hook(hook.hook);
    out->set_family(hook.family);
    out->set_domain(hook.domain);
    out->set_state(std::string(StateName(hook.state)));
    out->set_why(ToUtf8(hook.why));
    for (const std::string& kind : hook.kinds) out->add_kinds(kind);
  }
  const auto& scope = deps_.capture.scope();
  body.set_scope(scope.mode() == "process_tree" ? fmt::format("process_tree:{}", scope.root_pid()) : "host");
  return body;
}

Status PipelineImpl::Start(const StartInfo& info) {
  Now();
  const auto& scope = deps_.capture.scope();
  NT_RETURN_IF_ERROR(Annotate(scope.mode() == "process_tree" ? table_.SeedTree(scope.root_pid()) : table_.SeedHost(),
                              "process table"));
  event::v1::AgentEvent start;
  start.set_reason(ToUtf8(info.reason));
  start.set_clean(info.previous_clean);
  start.set_version(info.version);
  Say(event::v1::KIND_AGENT_START, std::move(start));
  Say(event::v1::KIND_AGENT_COVERAGE, DescribeCoverage());
  if (info.gap) Say(event::v1::KIND_AGENT_GAP, *info.gap);
  TellPast(info.last_signals, info.gap ? info.gap->from_boot_ns() : 0);
  EmitWords();
  for (Process* process : table_.Seeded()) {
    MarkIfCompanion(process);
    snapshots_.emplace_back(process->tgid, process->start_boot_ns);
  }
  EmitSnapshots();
  next_heartbeat_ns_ = now_boot_ns_ + heartbeat_ns_;
  last_counters_ns_ = inspected_ns_ = now_boot_ns_;
  next_inspect_ns_ = now_boot_ns_ + kInspectIntervalNs;
  tamper_.Poll(now_boot_ns_);
  Publish();
  return fatal_;
}

// As many as the sink takes; the rest at the next tick.
void PipelineImpl::EmitSnapshots() {
  while (next_snapshot_ < snapshots_.size() && !Blocked()) {
    const auto [tgid, start] = snapshots_[next_snapshot_++];
    Process* process = table_.FindSeeded(tgid, start);
    if (process == nullptr) continue;
    AddToDictionary(process, nullptr);
    const uint64_t seq = policy_.TakeSeq();
    encoder_.EncodeSnapshot(seq, now_boot_ns_, Wall(now_boot_ns_), process, builder_.BeginEvent());
    builder_.EndEvent(seq, now_boot_ns_, Wall(now_boot_ns_), EvidenceClass::kNormal);
    CloseIfFull();
  }
  if (next_snapshot_ == snapshots_.size()) {
    snapshots_.clear();
    next_snapshot_ = 0;
  }
}

void PipelineImpl::MarkIfCompanion(Process* process) {
  if (process->companion || !companions_.Is(*process)) return;
  const Status status = deps_.source->MarkSelf(process->tgid, NT_SELF_COMPANION);
  process->companion = status.ok();
  if (!status.ok()) log::Warn(fmt::format("companion {} can't be marked: {}", process->tgid, status.message()));
}

// One batch holds one state of an image: a second one closes the first batch.
void PipelineImpl::AddToDictionary(Process* actor, Process* child) {
  if (builder_.AddProcess(actor, &encoder_) && (child == nullptr || builder_.AddProcess(child, &encoder_))) return;
  Close(trail::v1::BATCH_TYPE_EVENTS);
  builder_.AddProcess(actor, &encoder_);
  if (child != nullptr) builder_.AddProcess(child, &encoder_);
}

bool PipelineImpl::OnRecord(std::span<const std::byte> record) {
  const Reject reject = Decode(record, &raw_);
  if (reject != Reject::kNone) {
    OnReject(reject, record, raw_.header);
    return true;
  }
  const nt_header& header = raw_.header;
  if (ledger_.See(header.cpu, header.cpu_seq, header.ktime_boot_ns)) NoteHole(header.cpu);
  if (header.type == NT_CGROUP) {
    table_.Cgroup(raw_);
    return true;
  }
  OnEvent(raw_);
  CloseIfFull();
  return !Blocked() && fatal_.ok();
}

// Most holes are file events that the storm itself evicted: only where a fork or
// an exec may be among the lost, images are asked for again, of /proc.
void PipelineImpl::NoteHole(uint32_t cpu) {
  const uint64_t lost = deps_.source->LostImages(cpu);
  if (cpu >= lost_images_.size()) lost_images_.resize(size_t{cpu} + 1);
  if (lost_images_[cpu] == lost) return;
  lost_images_[cpu] = lost;
  table_.NoteLoss();
}

void PipelineImpl::OnReject(Reject reason, std::span<const std::byte> record, const nt_header& header) {
  // What of the header can be believed.
  const bool legible = record.size() >= sizeof(nt_header) && header.abi_version == NT_ABI_VERSION;
  const size_t cpus = ledger_.last().cpus.size();
  const bool placed = legible && header.cpu < (cpus == 0 ? size_t{1024} : cpus);
  if (placed) ledger_.See(header.cpu, header.cpu_seq, header.ktime_boot_ns);
  table_.NoteLoss();
  const uint16_t type = legible && BodySize(header.type) >= 0 ? header.type : uint16_t{NT_NONE};
  RejectCount& entry = rejects_[{placed ? header.cpu : 0, type, reason}];
  ++entry.count;
  if (placed) {
    if (entry.seq_from == 0) entry.seq_from = header.cpu_seq;
    entry.seq_to = header.cpu_seq;
    if (entry.from_boot_ns == 0) entry.from_boot_ns = header.ktime_boot_ns;
    entry.to_boot_ns = header.ktime_boot_ns;
  }
  stats_.lost_decode.fetch_add(1, kRelaxed);
}

// What the hook table finds a record's hook by.
std::string_view CallBehind(const RawEvent& raw, std::string_view syscall) {
  if (raw.header.type == NT_CRED) return CredCauseSyscall(raw.body.cred.cause);
  if (syscall != kUringCall) return syscall;
  return (raw.header.flags & NT_F_URING_ENTRY) != 0 ? "io_uring_req_failed" : "io_uring_complete";
}

void PipelineImpl::OnEvent(RawEvent& raw) {
  const uint16_t type = raw.header.type;
  if (deps_.selftest != nullptr && deps_.selftest->Take(raw)) {
    policy_.Withhold(NT_SELF_CANARY, type);
    return;
  }
  facts_.Clear();
  facts_.raw = &raw;
  facts_.kind = KindOfType(type);
  if (type == NT_FILE_OPEN && raw.body.open.created != 0 && raw.body.open.ret >= 0) {
    facts_.kind = event::v1::KIND_FILE_CREATE;
  }
  Process* actor = table_.Actor(raw);
  Process* child = nullptr;
  std::shared_ptr<const Image> replaced;  // keeps prev_exe alive
  if (type == NT_EXEC) {
    replaced = actor->image;
    table_.Exec(raw, actor);
    MarkIfCompanion(actor);
  } else if (type == NT_FORK) {
    child = table_.Fork(raw, actor);
  } else if (type == NT_NET_ACCEPT) {
    NoteAccepted(raw, actor);
  }
  facts_.actor = actor;
  facts_.child = child;
  resource_.Read(raw, replaced.get(), &facts_);
  // A pid is the caller's word; only in the host's pid namespace it is ours.
  if (facts_.target_pid != 0 && (raw.task.pid_ns == kInitPidNs || type == NT_SIGNAL)) {
    facts_.target = table_.Newest(facts_.target_pid);
  }
  if (type == NT_NET_UNIX_CONNECT && raw.body.socket.peer_start_boottime_ns != 0) {
    facts_.target = table_.Identify(raw.body.socket.peer_pid, raw.body.socket.peer_start_boottime_ns);
  }
  facts_.hook = hooks_.Find(facts_.kind, CallBehind(raw, facts_.syscall));
  facts_.t_wall_ns = Wall(raw.header.ktime_boot_ns);
  facts_.seq = policy_.TakeSeq();
  AddToDictionary(actor, child);
  encoder_.Encode(facts_, builder_.BeginEvent());
  builder_.EndEvent(facts_.seq, raw.header.ktime_boot_ns, facts_.t_wall_ns, Class(facts_.kind));
  TellTamper(raw, actor);
  if (type == NT_EXIT) table_.Exit(actor);
  stats_.last_event_boot_ns.store(raw.header.ktime_boot_ns, kRelaxed);
}

void PipelineImpl::EmitRejects() {
  for (const auto& [key, entry] : rejects_) {
    const auto [cpu, type, reason] = key;
    event::v1::AgentEvent loss;
    loss.set_reason(fmt::format("rejected: {}", RejectName(reason)));
    loss.set_stage("decode");
    if (const auto kind = KindOfType(type); kind != event::v1::KIND_UNSPECIFIED) {
      loss.set_kind(std::string(schema::KindLabel(kind)));
    }
    loss.set_cpu(cpu);
    loss.set_seq_from(entry.seq_from);
    loss.set_seq_to(entry.seq_to);
    loss.set_count(entry.count);
    loss.set_from_boot_ns(entry.from_boot_ns);
    loss.set_to_boot_ns(entry.to_boot_ns);
    if (entry.from_boot_ns != 0) {
      loss.set_from_wall_ns(Wall(entry.from_boot_ns));
      loss.set_to_wall_ns(Wall(entry.to_boot_ns));
    }
    losses_.set_decode(losses_.decode() + entry.count);
    Say(event::v1::KIND_AGENT_LOSS, std::move(loss));
  }
  rejects_.clear();
}

void PipelineImpl::EmitLoss(const Loss& loss) {
  const event::v1::Kind kind = KindOfType(loss.type);
  // A lost cgroup record is no lost event: the next record tells the path again.
  if (loss.stage != "probe" && kind == event::v1::KIND_UNSPECIFIED) return;
  event::v1::AgentEvent body;
  body.set_stage(std::string(loss.stage));
  if (loss.stage != "probe") body.set_kind(std::string(schema::KindLabel(kind)));
  body.set_cpu(loss.cpu);
  body.set_seq_from(loss.seq_from);
  body.set_seq_to(loss.seq_to);
  body.set_count(loss.count);
  body.set_from_boot_ns(loss.from_boot_ns);
  body.set_to_boot_ns(loss.to_boot_ns);
  body.set_from_wall_ns(Wall(loss.from_boot_ns));
  body.set_to_wall_ns(Wall(loss.to_boot_ns));
  if (loss.stage == "ring") {
    const bool reserved = NT_IS_RESERVED(loss.type);
    body.set_reason(reserved ? "no room in the ring, nor in the reserve" : "no room in the ring");
    losses_.set_ring(losses_.ring() + loss.count);
    stats_.lost_ring.fetch_add(loss.count, kRelaxed);
    if (reserved) stats_.lost_reserved.fetch_add(loss.count, kRelaxed);
  } else if (loss.stage == "map") {
    body.set_reason("no room in a kernel map, or the kernel tells no outcome");
    losses_.set_map(losses_.map() + loss.count);
    stats_.lost_map.fetch_add(loss.count, kRelaxed);
  } else {
    body.set_reason("the kernel skipped a probe; what it would have seen is unknown");
    losses_.set_probe(losses_.probe() + loss.count);
    stats_.lost_probe.fetch_add(loss.count, kRelaxed);
  }
  // Records of these kinds keep the process table.
  if (loss.type == NT_FORK || loss.type == NT_EXEC || loss.stage == "probe") table_.NoteLoss();
  if (loss.type == NT_EXIT || loss.stage == "probe") reap_due_ = true;
  Say(event::v1::KIND_AGENT_LOSS, std::move(body));
}

Status PipelineImpl::SettleLosses() {
  last_counters_ns_ = now_boot_ns_;
  const uint64_t asked_boot_ns = deps_.clock->BootNs();
  NT_ASSIGN_OR_RETURN(const SourceCounters counters, deps_.source->ReadCounters());
  const uint64_t read_boot_ns = deps_.clock->BootNs();
  static const nt_cpu_stats kZero{};
  for (size_t i = 0; i < counters.cpus.size(); ++i) {
    const auto& before = ledger_.last().cpus;
    policy_.CountWithheld(i < before.size() ? before[i] : kZero, counters.cpus[i]);
  }
  losses_.set_limited(policy_.withheld_total());
  std::vector<Loss> lost;
  ledger_.Settle(counters, asked_boot_ns, read_boot_ns, &lost);
  for (const Loss& loss : lost) EmitLoss(loss);
  stats_.bulk.Store(counters.bulk);
  stats_.reserve.Store(counters.reserve);
  if (reap_due_ && now_boot_ns_ - last_reap_ns_ >= kReapIntervalNs) {
    reap_due_ = false;
    last_reap_ns_ = now_boot_ns_;
    if (const Status status = table_.Reap(); !status.ok())
      log::Warn(fmt::format("process table: {}", status.message()));
  }
  return OkStatus();
}

void PipelineImpl::EmitFiltered() {
  std::vector<event::v1::CountByRule> withheld = policy_.TakeWithheld();
  if (withheld.empty()) return;
  event::v1::AgentEvent body;
  for (auto& entry : withheld) *body.add_filtered() = std::move(entry);
  EmitAgent(event::v1::KIND_AGENT_FILTERED, body, now_boot_ns_);
}

// A batch of its own: what it holds are facts about the agent alone.
Status PipelineImpl::Heartbeat() {
  NT_RETURN_IF_ERROR(SettleLosses());
  EmitWords();
  CloseOthers();
  if (Blocked() || !fatal_.ok()) return fatal_;  // at the next tick, then
  event::v1::AgentEvent body;
  body.set_events_total(policy_.events_total());
  body.set_lost_total(Stats().lost_total);
  body.set_processes(table_.size() - table_.exited());
  if (deps_.spool_bytes) body.set_spool_bytes(deps_.spool_bytes());
  EmitAgent(event::v1::KIND_AGENT_HEARTBEAT, body, now_boot_ns_);
  EmitFiltered();
  Close(trail::v1::BATCH_TYPE_HEARTBEAT);
  next_heartbeat_ns_ = now_boot_ns_ + heartbeat_ns_;
  return fatal_;
}

void PipelineImpl::CloseIfFull() {
  if (builder_.raw_size() >= deps_.batch.max_bytes()) Close(trail::v1::BATCH_TYPE_EVENTS);
}

// Closes the batch and offers it. With one already waiting, this one stays open.
void PipelineImpl::Close(trail::v1::BatchType type) {
  if (Blocked()) return;
  const bool critical = builder_.has_critical();
  const bool full = builder_.raw_size() >= deps_.batch.max_bytes();
  pending_ = builder_.Take(type, policy_.next_seq(), now_boot_ns_, Wall(now_boot_ns_));
  pending_->critical_flush = critical && !full && type == trail::v1::BATCH_TYPE_EVENTS;
  if (deps_.evicted) {
    const auto [batches, events] = deps_.evicted();
    losses_.set_evicted_batches(batches);
    losses_.set_evicted_events(events);
  }
  pending_->losses = losses_;
  if (const Status status = Offer(); !status.ok() && !NotNow(status)) fatal_ = status;
}

Status PipelineImpl::Offer() {
  if (!pending_) return OkStatus();
  const Status status = deps_.sink->OnBatch(*pending_);
  stats_.backpressure.store(!status.ok(), kRelaxed);
  if (!status.ok()) return status;
  stats_.batches_total.fetch_add(1, kRelaxed);
  if (pending_->type == trail::v1::BATCH_TYPE_HEARTBEAT) stats_.heartbeats_total.fetch_add(1, kRelaxed);
  stats_.last_batch_boot_ns.store(deps_.clock->BootNs(), kRelaxed);
  pending_.reset();
  fatal_ = OkStatus();
  return status;
}

Status PipelineImpl::Tick() {
  Now();
  if (const Status status = Offer(); !status.ok()) {
    Publish();
    return NotNow(status) ? OkStatus() : status;
  }
  EmitSnapshots();
  if (!Blocked()) {
    const Result<size_t> drained = deps_.source->Drain(sink_fn_, false);
    if (!drained.ok()) return Annotate(drained.status(), "drain");
    EmitRejects();
  }
  // Not while the sink refuses: the kernel's counters keep it, and are told later.
  if (!Blocked() && now_boot_ns_ - last_counters_ns_ >= kCounterIntervalNs) NT_RETURN_IF_ERROR(SettleLosses());
  // The rings are empty and losses are counted: now a verdict is one.
  if (!Blocked() && deps_.selftest != nullptr) {
    if (auto said = deps_.selftest->Poll(now_boot_ns_, ledger_.last())) {
      std::vector<std::string> deaf;
      for (const auto& domain : said->domains()) {
        if (domain.state() == HearingName(Hearing::kDeaf)) deaf.push_back(domain.domain());
      }
      Say(event::v1::KIND_AGENT_SELFTEST, *std::move(said));
      if (!deaf.empty()) Inspect(deaf);
    }
  }
  tamper_.Poll(now_boot_ns_);
  if (!Blocked() && now_boot_ns_ >= next_inspect_ns_) Inspect({});
  if (!Blocked()) EmitWords();
  if (!Blocked() && fatal_.ok() && now_boot_ns_ >= next_heartbeat_ns_) NT_RETURN_IF_ERROR(Heartbeat());
  if (!Blocked() && !builder_.empty()) {
    const bool critical = builder_.has_critical() && now_boot_ns_ >= builder_.critical_boot_ns() + critical_age_ns_;
    if (critical || now_boot_ns_ >= builder_.first_boot_ns() + max_age_ns_) Close(trail::v1::BATCH_TYPE_EVENTS);
  }
  Publish();
  return fatal_;
}

Status PipelineImpl::Report(event::v1::Kind kind, const event::v1::AgentEvent& body) {
  Now();
  Say(kind, body);
  if (!Blocked()) EmitWords();
  Publish();
  return fatal_;
}

Status PipelineImpl::Stop(std::string_view reason) {
  if (stopped_ && !Blocked()) return OkStatus();
  Now();
  NT_RETURN_IF_ERROR(Offer());
  if (!drained_) {
    EmitSnapshots();
    if (!Blocked()) {
      const Result<size_t> drained = deps_.source->Drain(sink_fn_, true);
      if (!drained.ok()) return Annotate(drained.status(), "drain");
      EmitRejects();
    }
    if (!fatal_.ok()) return fatal_;
    if (Blocked()) return Unavailable("the spool takes no batch now; records are left in the rings");
    drained_ = true;
  }
  if (!settled_) {
    NT_RETURN_IF_ERROR(SettleLosses());
    settled_ = true;
  }
  EmitWords();
  if (!stop_told_) {
    CloseOthers();
    if (!fatal_.ok()) return fatal_;
    if (Blocked()) return Unavailable("the spool takes no batch now");
    EmitFiltered();
    event::v1::AgentEvent body;
    body.set_reason(ToUtf8(reason));
    body.set_clean(true);
    body.set_events_total(policy_.events_total() + 1);
    body.set_lost_total(Stats().lost_total);
    EmitAgent(event::v1::KIND_AGENT_STOP, body, now_boot_ns_);
    stop_told_ = true;
  }
  if (!stopped_) {
    stopped_ = true;
    Close(trail::v1::BATCH_TYPE_CLEAN_SHUTDOWN);
  }
  Publish();
  if (!fatal_.ok()) return fatal_;
  return Blocked() ? Unavailable("the spool takes no batch now") : OkStatus();
}

void PipelineImpl::Publish() {
  stats_.events_total.store(policy_.events_total(), kRelaxed);
  stats_.filtered_total.store(policy_.withheld_total(), kRelaxed);
  stats_.processes.store(table_.size() - table_.exited(), kRelaxed);
  if (redactor_ != nullptr) {
    stats_.redactions.store(redactor_->redactions_total(), kRelaxed);
    stats_.redact_errors.store(redactor_->errors_total(), kRelaxed);
  }
  stats_.repairs.store(table_.stats().repairs, kRelaxed);
}

PipelineStats PipelineImpl::Stats() const {
  PipelineStats out;
  out.events_total = stats_.events_total.load(kRelaxed);
  out.lost_ring = stats_.lost_ring.load(kRelaxed);
  out.lost_reserved = stats_.lost_reserved.load(kRelaxed);
  out.lost_map = stats_.lost_map.load(kRelaxed);
  out.lost_probe = stats_.lost_probe.load(kRelaxed);
  out.lost_decode = stats_.lost_decode.load(kRelaxed);
  out.lost_total = out.lost_ring + out.lost_map + out.lost_probe + out.lost_decode;
  out.filtered_total = stats_.filtered_total.load(kRelaxed);
  out.batches_total = stats_.batches_total.load(kRelaxed);
  out.heartbeats_total = stats_.heartbeats_total.load(kRelaxed);
  out.processes = stats_.processes.load(kRelaxed);
  out.redactions_total = stats_.redactions.load(kRelaxed);
  out.redact_errors_total = stats_.redact_errors.load(kRelaxed);
  out.proc_repairs_total = stats_.repairs.load(kRelaxed);
  out.last_event_boot_ns = stats_.last_event_boot_ns.load(kRelaxed);
  out.last_batch_boot_ns = stats_.last_batch_boot_ns.load(kRelaxed);
  out.backpressure = stats_.backpressure.load(kRelaxed);
  out.bulk = stats_.bulk.Load();
  out.reserve = stats_.reserve.Load();
  return out;
}

}  // namespace

Result<std::unique_ptr<Pipeline>> Pipeline::Create(Dependencies deps) {
  NT_CHECK(deps.source && deps.clock && deps.proc && deps.names && deps.sink);
  if (deps.boot_id.size() != 36) return InvalidArgument("boot_id: not 36 characters");
  std::unique_ptr<RuleScrubber> redactor;
  if (deps.scrubber == nullptr) {
    NT_ASSIGN_OR_RETURN(redactor, RuleScrubber::Create(deps.redact));
  }
  return std::unique_ptr<Pipeline>(std::make_unique<PipelineImpl>(std::move(deps), std::move(redactor)));
}

}  // namespace nodetrail::agent
