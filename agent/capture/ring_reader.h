// SPDX-License-Identifier: Apache-2.0
//
// Reads BPF ring buffers (Documentation/bpf/ringbuf.rst) in place, puts the two
// of a CPU in order by cpu_seq, and merges the CPUs by time. Pure memory: no
// system call, no libbpf, so it is tested without a kernel. libbpf's own reader
// can't look at a record without consuming it, which a merge needs.
#ifndef NODETRAIL_AGENT_CAPTURE_RING_READER_H_
#define NODETRAIL_AGENT_CAPTURE_RING_READER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "agent/capture/record_source.h"

namespace nodetrail::agent {

// One ring as mapped: data twice in a row, so that a record never wraps for
// the reader. `size` is a power of two. Not owned.
struct RingView {
  uint64_t* consumer_pos = nullptr;        // ours, read by the kernel
  const uint64_t* producer_pos = nullptr;  // the kernel's
  const std::byte* data = nullptr;         // 2 * size bytes
  uint64_t size = 0;                       // 0: there is no such ring
};

// Owner and thread: Capture, pipeline. The kernel writes concurrently.
class RingMerge {
 public:
  // In CPU order: the position is the CPU of ties. `reserve` may be none.
  void Add(const RingView& bulk, const RingView& reserve = {});

  // Hands over every committed record whose time is <= cutoff_ns and which was
  // in its ring when the call began, as RecordSource::Drain says. A record that
  // isn't committed yet, and what follows it on its CPU, waits for the next call.
  size_t Drain(const RecordSink& sink, uint64_t cutoff_ns);

  [[nodiscard]] RingUse BulkUse() const;
  [[nodiscard]] RingUse ReserveUse() const;

 private:
  // How far a probe can be overtaken in its own ring: nested probes on one
  // CPU finish before the one they interrupted.
  static constexpr size_t kWindow = 8;

  struct Entry {
    uint64_t end = 0;  // ring position after it
    uint64_t time = 0;
    uint64_t seq = 0;
    const std::byte* bytes = nullptr;
    uint32_t len = 0;
    bool done = false;
  };

  struct Ring {
    RingView view;
    uint64_t produced = 0;  // the kernel's position when this drain began
    uint64_t scanned = 0;   // position after the last entry of the window
    uint64_t consumed = 0;  // position of the first entry of the window
    uint64_t released = 0;  // what the kernel was told
    std::array<Entry, kWindow> window;
    size_t first = 0, count = 0;  // of the window, circular
    uint64_t last_time = 0, last_seq = 0;
    bool uncommitted = false;  // the record after the window isn't committed yet
    Entry* head = nullptr;     // the lowest number of the window
    uint64_t peak = 0;         // bytes, since it was added
    uint64_t records = 0;      // handed over
  };

  struct Cpu {
    Ring bulk, reserve;
    Ring* next = nullptr;    // whose head is to be handed over next
    uint64_t head_time = 0;  // of that, never before what was handed over from this CPU
  };

  static void Snapshot(Cpu& cpu);
  static void Fill(Ring& ring);
  static void PickHead(Ring& ring);
  static void PickNext(Cpu& cpu);
  static void Pop(Cpu& cpu);
  static void Release(Ring& ring);
  [[nodiscard]] RingUse Use(Ring Cpu::*which) const;

  std::vector<Cpu> cpus_;
  std::vector<uint32_t> heap_;  // scratch of Drain: CPUs with a record that is due
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_CAPTURE_RING_READER_H_
