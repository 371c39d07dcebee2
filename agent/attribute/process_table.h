// SPDX-License-Identifier: Apache-2.0
//
// Every process the agent knows: seeded from /proc, kept by the fork, exec and
// exit records, repaired from /proc where a record was lost.
//
// Bounded and exact. A live process stays until `max_processes` push out the
// one seen longest ago; an exited one stays for the records that come late (a
// socket's close), up to `max_exited`. Identity is (tgid, start_boottime): a
// pid that is used again is another process, whatever was lost in between.
// Nothing is guessed: a fact that no record brought and /proc could not give
// any more is a gap.
#ifndef NODETRAIL_AGENT_ATTRIBUTE_PROCESS_TABLE_H_
#define NODETRAIL_AGENT_ATTRIBUTE_PROCESS_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "agent/attribute/cgroup_map.h"
#include "agent/attribute/proc_reader.h"
#include "agent/attribute/process.h"
#include "agent/attribute/scrubber.h"
#include "agent/decode/decode.h"

namespace nodetrail::agent {

struct TableLimits {
  size_t max_processes = 65536;  // exited ones included
  size_t max_exited = 8192;
};

struct TableStats {
  uint64_t repairs = 0;  // processes read from /proc because a record was missing
  uint64_t adopted = 0;  // identities from /proc made exact by a record
  uint64_t evicted = 0;  // live processes pushed out by max_processes
};

// Thread: pipeline. A Process* is valid until the next call that is not const.
class ProcessTable {
 public:
  // Pointers are borrowed.
  ProcessTable(std::string_view boot_id, ProcReader* proc, Scrubber* scrubber, TableLimits limits);
  ~ProcessTable();
  ProcessTable(const ProcessTable&) = delete;
  ProcessTable& operator=(const ProcessTable&) = delete;

  // Every process, parents first.
  Status SeedHost();
  // `root`, its descendants, and of its ancestors what an ancestor shows.
  Status SeedTree(uint32_t root);
  // The seeded ones in scope, kernel threads left out, in the order of their start.
  [[nodiscard]] std::vector<Process*> Seeded();

  // The same, one by one: null if it has gone. An identity that became exact
  // meanwhile is found by the seeded start.
  Process* FindSeeded(uint32_t tgid, uint64_t start_boot_ns);

  // The process that acted, as of this record. Never null. For NT_EXEC it is
  // the process before the exec: pass it to Exec().
  Process* Actor(const RawEvent& event);

  // NT_FORK, after Actor(): the child.
  Process* Fork(const RawEvent& event, Process* parent);
  // NT_EXEC, after Actor(): the new image.
  void Exec(const RawEvent& event, Process* process);
  // NT_EXIT, after the event was encoded.
  void Exit(Process* process);
  // NT_CGROUP.
  void Cgroup(const RawEvent& event);

  // Records may be missing from here on: images are confirmed against /proc
  // when their process is next seen.
  void NoteLoss() { ++doubt_; }
  // Exit records may be missing: what /proc does not list any more has exited.
  Status Reap();

  [[nodiscard]] size_t size() const { return by_key_.size(); }
  [[nodiscard]] size_t exited() const { return exited_.count; }
  [[nodiscard]] const TableStats& stats() const { return stats_; }
  [[nodiscard]] const Process* Find(uint32_t tgid, uint64_t start_boot_ns) const;
  // The process that has this pid now, or had it last; null if none is known.
  [[nodiscard]] const Process* Newest(uint32_t tgid) const;
  // The process of this exact start, which makes an identity from /proc exact;
  // null if it isn't known. What was returned before stays valid.
  const Process* Identify(uint32_t tgid, uint64_t start_boot_ns) { return Lookup(tgid, start_boot_ns); }

 private:
  struct Key {
    uint64_t start;
    uint32_t tgid;
    friend bool operator==(const Key&, const Key&) = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const {
      return static_cast<size_t>((key.start ^ (uint64_t{key.tgid} << 32U)) * 0x9e3779b97f4a7c15U);
    }
  };
  // Oldest at the head.
  struct List {
    Process* head = nullptr;
    Process* tail = nullptr;
    size_t count = 0;
    void PushBack(Process* p);
    void Remove(Process* p);
  };

  Process* Lookup(uint32_t tgid, uint64_t start_boot_ns);
  Process* Insert(uint32_t tgid, uint64_t start_boot_ns, bool exact);
  Process* InsertFromProc(const ProcInfo& info, uint64_t exact_start, std::string_view why);
  void Adopt(Process* process, uint64_t start_boot_ns);
  Process* Repair(const RawEvent& event);
  void Confirm(Process* process);
  // The parent's entry, read from /proc if need be; null if it can't be known.
  Process* Parent(uint32_t ppid, uint64_t start_boot_ns, unsigned depth);
  void SetAncestry(Process* process, Process* parent, bool expected);
  void FillFromTask(const nt_task& task, Process* process);
  void FillFromProc(const ProcInfo& info, std::string_view why, Process* process);
  void Place(const nt_task& task, Process* process);
  const std::shared_ptr<AncestorNode>& Node(Process* process);
  void MarkExited(Process* process);
  void Trim();
  void Erase(Process* process);

  ProcUidMaker uids_;
  ProcReader* proc_;
  Scrubber* scrubber_;
  TableLimits limits_;
  TableStats stats_;
  uint64_t tick_ns_;
  uint64_t doubt_ = 0;
  uint64_t images_ = 0;  // made so far
  CgroupMap cgroups_;
  std::unordered_map<Key, std::unique_ptr<Process>, KeyHash> by_key_;
  std::unordered_map<uint32_t, Process*> newest_;  // by tgid; exited ones too
  List live_, exited_;
  std::vector<std::pair<uint32_t, uint64_t>> seeded_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ATTRIBUTE_PROCESS_TABLE_H_
