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
// shared with the producer.
constexpr uint64_t kReleaseStep = 64 * 1024;

}  // namespace

void RingMerge::Add(const RingView& view) {
  Ring ring;
  ring.view = view;
  ring.scanned = ring.consumed = ring.released = __atomic_load_n(view.consumer_pos, __ATOMIC_ACQUIRE);
  rings_.push_back(ring);
  heap_.reserve(rings_.size());
}

void RingMerge::Fill(Ring& ring) {
  if (ring.count == kWindow) return;
  const uint64_t produced = __atomic_load_n(ring.view.producer_pos, __ATOMIC_ACQUIRE);
  while (ring.count < kWindow && ring.scanned < produced) {
    const std::byte* at = ring.view.data + (ring.scanned & (ring.view.size - 1));
    const uint32_t head = __atomic_load_n(reinterpret_cast<const uint32_t*>(at), __ATOMIC_ACQUIRE);
    if ((head & kBusy) != 0) return;
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
  if (ring.head != nullptr) ring.head_time = std::max(ring.head_time, ring.head->time);
}

void RingMerge::PopHead(Ring& ring) {
  ring.head->done = true;
  PickHead(ring);
  if (ring.consumed - ring.released >= kReleaseStep) Release(ring);
}

void RingMerge::Release(Ring& ring) {
  if (ring.consumed == ring.released) return;
  ring.released = ring.consumed;
  __atomic_store_n(ring.view.consumer_pos, ring.consumed, __ATOMIC_RELEASE);
}

size_t RingMerge::Drain(const RecordSink& sink, uint64_t cutoff_ns) {
  // A min-heap of rings by (time of head, CPU).
  const auto later = [this](uint32_t a, uint32_t b) {
    if (rings_[a].head_time != rings_[b].head_time) return rings_[a].head_time > rings_[b].head_time;
    return a > b;
  };
  const auto due = [cutoff_ns](const Ring& ring) { return ring.head != nullptr && ring.head_time <= cutoff_ns; };

  heap_.clear();
  for (uint32_t cpu = 0; cpu < rings_.size(); ++cpu) {
    PickHead(rings_[cpu]);
    if (due(rings_[cpu])) heap_.push_back(cpu);
  }
  std::make_heap(heap_.begin(), heap_.end(), later);

  size_t handed = 0;
  bool go_on = true;
  while (go_on && !heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const uint32_t cpu = heap_.back();
    heap_.pop_back();
    Ring& ring = rings_[cpu];
    // Runs of one CPU are the rule: stay while it is still the first.
    do {
      ++handed;
      go_on = sink(std::span(ring.head->bytes, ring.head->len));
      PopHead(ring);
    } while (go_on && due(ring) && (heap_.empty() || later(heap_.front(), cpu)));
    if (due(ring)) {
      heap_.push_back(cpu);
      std::push_heap(heap_.begin(), heap_.end(), later);
    }
  }
  for (Ring& ring : rings_) Release(ring);
  return handed;
}

}  // namespace nodetrail::agent
