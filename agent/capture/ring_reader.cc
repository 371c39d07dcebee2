// SPDX-License-Identifier: Apache-2.0
#include "agent/capture/ring_reader.h"

#include <algorithm>
#include <cstring>

namespace nodetrail::agent {
namespace {

// uapi/linux/bpf.h: BPF_RINGBUF_BUSY_BIT, _DISCARD_BIT, _HDR_SZ.
constexpr uint32_t kBusy = 1U << 31;
constexpr uint32_t kDiscard = 1U << 30;
constexpr uint64_t kHeader = 8;
// Space is given back to the kernel in steps: the position's cache line is
// shared with the producer. In smaller ones where the ring itself is small.
constexpr uint64_t kReleaseStep = 64 * 1024;
constexpr uint64_t kReleaseParts = 8;
// Of reading two positions as they were at one moment. Between two records of a
// CPU there are microseconds, between two reads nanoseconds.
constexpr int kSnapshotTries = 100;

uint64_t Produced(const RingView& view) {
  return view.size == 0 ? 0 : __atomic_load_n(view.producer_pos, __ATOMIC_ACQUIRE);
}

}  // namespace

void RingMerge::Add(const RingView& bulk, const RingView& reserve) {
  Cpu& cpu = cpus_.emplace_back();
  cpu.bulk.view = bulk;
  cpu.reserve.view = reserve;
  for (Ring* ring : {&cpu.bulk, &cpu.reserve}) {
    if (ring->view.size == 0) continue;
    ring->scanned = ring->consumed = ring->released = __atomic_load_n(ring->view.consumer_pos, __ATOMIC_ACQUIRE);
  }
  heap_.reserve(cpus_.size());
}

// How far the kernel is in both rings at one moment. With positions of two
// moments a record of the one ring could be seen and an earlier one of the other
// not, and they would be handed over in the wrong order.
void RingMerge::Snapshot(Cpu& cpu) {
  cpu.reserve.produced = Produced(cpu.reserve.view);
  for (int i = 0; i < kSnapshotTries; ++i) {
    cpu.bulk.produced = Produced(cpu.bulk.view);
    const uint64_t again = Produced(cpu.reserve.view);
    if (again == cpu.reserve.produced) break;
    cpu.reserve.produced = again;
  }
  for (Ring* ring : {&cpu.bulk, &cpu.reserve}) ring->peak = std::max(ring->peak, ring->produced - ring->released);
}

void RingMerge::Fill(Ring& ring) {
  ring.uncommitted = false;
  while (ring.count < kWindow && ring.scanned < ring.produced) {
    const std::byte* at = ring.view.data + (ring.scanned & (ring.view.size - 1));
    const uint32_t head = __atomic_load_n(reinterpret_cast<const uint32_t*>(at), __ATOMIC_ACQUIRE);
    if ((head & kBusy) != 0) {
      ring.uncommitted = true;
      return;
    }
    const uint32_t len = head & ~kDiscard;
    Entry& entry = ring.window[(ring.first + ring.count) % kWindow];
    entry.end = ring.scanned + ((len + kHeader + 7) & ~uint64_t{7});
    entry.bytes = at + kHeader;
    entry.len = len;
    entry.done = (head & kDiscard) != 0;
    if (len >= sizeof(nt_header)) {
      nt_header header;
      std::memcpy(&header, entry.bytes, sizeof header);
      entry.time = header.ktime_boot_ns;
      entry.seq = header.cpu_seq;
    } else {  // no record of ours: the decoder says so, in its place
      entry.time = ring.last_time;
      entry.seq = ring.last_seq;
    }
    ring.last_time = entry.time;
    ring.last_seq = entry.seq;
    ring.scanned = entry.end;
    ++ring.count;
  }
}

void RingMerge::PickHead(Ring& ring) {
  while (ring.count > 0 && ring.window[ring.first].done) {
    ring.consumed = ring.window[ring.first].end;
    ring.first = (ring.first + 1) % kWindow;
    --ring.count;
  }
  Fill(ring);
  ring.head = nullptr;
  for (size_t i = 0; i < ring.count; ++i) {
    Entry& entry = ring.window[(ring.first + i) % kWindow];
    if (!entry.done && (ring.head == nullptr || entry.seq < ring.head->seq)) ring.head = &entry;
  }
}

// One number runs through both rings, so the lower head comes first. While one
// of them has nothing but a record under way, nobody knows which that is.
void RingMerge::PickNext(Cpu& cpu) {
  cpu.next = nullptr;
  for (Ring* ring : {&cpu.bulk, &cpu.reserve}) {
    if (ring->head == nullptr) {
      if (!ring->uncommitted) continue;
      cpu.next = nullptr;
      return;
    }
    if (cpu.next == nullptr || ring->head->seq < cpu.next->head->seq) cpu.next = ring;
  }
  if (cpu.next != nullptr) cpu.head_time = std::max(cpu.head_time, cpu.next->head->time);
}

void RingMerge::Pop(Cpu& cpu) {
  Ring& ring = *cpu.next;
  ring.head->done = true;
  ++ring.records;
  PickHead(ring);
  if (ring.consumed - ring.released >= std::min(kReleaseStep, ring.view.size / kReleaseParts)) Release(ring);
  PickNext(cpu);
}

void RingMerge::Release(Ring& ring) {
  if (ring.consumed == ring.released) return;
  ring.released = ring.consumed;
  __atomic_store_n(ring.view.consumer_pos, ring.consumed, __ATOMIC_RELEASE);
}

size_t RingMerge::Drain(const RecordSink& sink, uint64_t cutoff_ns) {
  // A min-heap of CPUs by (time of their next record, CPU).
  const auto later = [this](uint32_t a, uint32_t b) {
    if (cpus_[a].head_time != cpus_[b].head_time) return cpus_[a].head_time > cpus_[b].head_time;
    return a > b;
  };
  const auto due = [cutoff_ns](const Cpu& cpu) { return cpu.next != nullptr && cpu.head_time <= cutoff_ns; };

  heap_.clear();
  for (uint32_t i = 0; i < cpus_.size(); ++i) {
    Snapshot(cpus_[i]);
    PickHead(cpus_[i].bulk);
    PickHead(cpus_[i].reserve);
    PickNext(cpus_[i]);
    if (due(cpus_[i])) heap_.push_back(i);
  }
  std::make_heap(heap_.begin(), heap_.end(), later);

  size_t handed = 0;
  bool go_on = true;
  while (go_on && !heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const uint32_t i = heap_.back();
    heap_.pop_back();
    Cpu& cpu = cpus_[i];
    // Runs of one CPU are the rule: stay while it is still the first.
    do {
      ++handed;
      go_on = sink(std::span(cpu.next->head->bytes, cpu.next->head->len));
      Pop(cpu);
    } while (go_on && due(cpu) && (heap_.empty() || later(heap_.front(), i)));
    if (due(cpu)) {
      heap_.push_back(i);
      std::push_heap(heap_.begin(), heap_.end(), later);
    }
  }
  for (Cpu& cpu : cpus_) {
    Release(cpu.bulk);
    Release(cpu.reserve);
  }
  return handed;
}

RingUse RingMerge::Use(Ring Cpu::*which) const {
  RingUse use;
  for (const Cpu& cpu : cpus_) {
    const Ring& ring = cpu.*which;
    use.size_bytes = std::max(use.size_bytes, ring.view.size);
    use.used_bytes = std::max(use.used_bytes, Produced(ring.view) - ring.released);
    use.peak_bytes = std::max(use.peak_bytes, ring.peak);
    use.records += ring.records;
  }
  return use;
}

RingUse RingMerge::BulkUse() const { return Use(&Cpu::bulk); }
RingUse RingMerge::ReserveUse() const { return Use(&Cpu::reserve); }

}  // namespace nodetrail::agent
