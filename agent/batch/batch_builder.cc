// SPDX-License-Identifier: Apache-2.0
#include "agent/batch/batch_builder.h"

#include <algorithm>
#include <utility>

#include "nodetrail/trail/merkle.h"

namespace nodetrail::agent {
namespace {

// Fields of event.v1.EventBatch.
constexpr uint32_t kSchemaField = 1, kHostHashField = 2, kHostField = 3, kProcessesField = 4, kEventsField = 5,
                   kAbsentField = 6;
constexpr size_t kFrame = 64;  // of the fields that are no lists

}  // namespace

void BatchBuilder::SetHost(std::string host) {
  host_ = std::move(host);
  host_sha256_ = trail::Sha256Of(host_);
  host_due_ = !host_.empty();
}

WireWriter* BatchBuilder::BeginEvent() {
  event_at_ = events_.Begin(kEventsField);
  return &events_;
}

void BatchBuilder::EndEvent(uint64_t seq, uint64_t t_boot_ns, uint64_t t_wall_ns, EvidenceClass cls) {
  const size_t length = events_.size() - event_at_;
  events_.End(event_at_);  // may move the bytes
  event_leaves_.push_back(trail::LeafHash(events_.view(events_.size() - length)));
  if (event_count_++ == 0) {
    first_seq_ = seq;
    first_boot_ns_ = last_boot_ns_ = t_boot_ns;
    first_wall_ns_ = last_wall_ns_ = t_wall_ns;
  }
  last_seq_ = seq;
  // Records of different CPUs may be a little out of order: the span holds all.
  first_boot_ns_ = std::min(first_boot_ns_, t_boot_ns);
  last_boot_ns_ = std::max(last_boot_ns_, t_boot_ns);
  first_wall_ns_ = std::min(first_wall_ns_, t_wall_ns);
  last_wall_ns_ = std::max(last_wall_ns_, t_wall_ns);
  class_ = std::max(class_, cls);
  if (cls >= EvidenceClass::kCritical && critical_boot_ns_ == 0) critical_boot_ns_ = t_boot_ns;
}

bool BatchBuilder::AddProcess(Process* process, EventEncoder* encoder) {
  auto& slot = process->dictionary;
  if (slot.batch == number_) {
    // A name that came meanwhile waits for the next batch; a changed fact can't.
    if (slot.revision == process->revision) return true;
    if (slot.exec_count == process->exec_count && slot.uid == process->uid) return false;
  }
  encoder->RefreshDictionary(process);
  if (!slot.leaf_valid) {
    slot.leaf = trail::LeafHash(slot.bytes);
    slot.leaf_valid = true;
  }
  processes_.AlwaysBytes(kProcessesField, slot.bytes);
  process_leaves_.push_back(slot.leaf);
  slot.batch = number_;
  slot.exec_count = process->exec_count;
  slot.uid = process->uid;
  return true;
}

void BatchBuilder::AddAbsent(uint64_t first_seq, uint64_t last_seq, std::string_view rule) {
  const size_t at = absent_.Begin(kAbsentField);
  absent_.Varint(1, first_seq);
  absent_.Varint(2, last_seq);
  absent_.Bytes(3, rule);
  const size_t length = absent_.size() - at;
  absent_.End(at);
  absent_leaves_.push_back(trail::LeafHash(absent_.view(absent_.size() - length)));
}

uint64_t BatchBuilder::raw_size() const {
  return kFrame + (host_due_ ? host_.size() : 0) + processes_.size() + events_.size() + absent_.size();
}

BatchContent BatchBuilder::Take(trail::v1::BatchType type, uint64_t next_seq, uint64_t now_boot_ns,
                                uint64_t now_wall_ns) {
  BatchContent out;
  out.type = type;
  WireWriter frame;
  frame.Varint(kSchemaField, kSchemaVersion);
  if (!host_.empty()) frame.Bytes(kHostHashField, trail::View(host_sha256_));
  trail::CompactRange tree;
  if (host_due_) {
    frame.Bytes(kHostField, host_);
    tree.Append(trail::LeafHash(host_));
    host_due_ = false;
  }
  for (const auto* leaves : {&process_leaves_, &event_leaves_, &absent_leaves_}) {
    for (const trail::Hash& leaf : *leaves) tree.Append(leaf);
  }
  out.events_root = tree.Root();
  out.raw_body.reserve(frame.size() + processes_.size() + events_.size() + absent_.size());
  out.raw_body.append(frame.view());
  out.raw_body.append(processes_.view());
  out.raw_body.append(events_.view());
  out.raw_body.append(absent_.view());
  out.evidence_class = class_ == EvidenceClass::kUnstated ? EvidenceClass::kNormal : class_;
  out.event_count = event_count_;
  out.first_event_seq = event_count_ != 0 ? first_seq_ : next_seq;
  out.last_event_seq = event_count_ != 0 ? last_seq_ : next_seq - 1;
  out.first_boot_ns = event_count_ != 0 ? first_boot_ns_ : now_boot_ns;
  out.last_boot_ns = event_count_ != 0 ? last_boot_ns_ : now_boot_ns;
  out.first_wall_ns = event_count_ != 0 ? first_wall_ns_ : now_wall_ns;
  out.last_wall_ns = event_count_ != 0 ? last_wall_ns_ : now_wall_ns;
  // A record may be a little older than an event of the agent's that came
  // before it. The end of a batch is not: to a verifier that would be a clock
  // that was set back.
  if (out.last_boot_ns < closed_boot_ns_) {
    out.last_wall_ns += closed_boot_ns_ - out.last_boot_ns;
    out.last_boot_ns = closed_boot_ns_;
  }
  closed_boot_ns_ = out.last_boot_ns;

  processes_.Clear();
  events_.Clear();
  absent_.Clear();
  process_leaves_.clear();
  event_leaves_.clear();
  absent_leaves_.clear();
  event_count_ = 0;
  critical_boot_ns_ = 0;
  class_ = EvidenceClass::kUnstated;
  first_boot_ns_ = last_boot_ns_ = 0;
  ++number_;
  return out;
}

}  // namespace nodetrail::agent
