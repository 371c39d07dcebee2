// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/process_table.h"

#include <algorithm>
#include <cstring>
#include <unordered_set>
#include <utility>

#include "agent/attribute/person.h"
#include "agent/decode/paths.h"

namespace nodetrail::agent {
namespace {

constexpr std::string_view kNoRecord = "no fork or exec record at hand; read from /proc after the event";
constexpr std::string_view kGone = "no fork or exec record at hand, and the process had ended";
constexpr std::string_view kSeeded = "not readable in /proc";
constexpr std::string_view kLostExec = "an exec record may be lost, and the process had ended";
constexpr std::string_view kNoParent = "the parent was not seen and had ended";
constexpr std::string_view kNoRoom = "did not fit in the record";
constexpr std::string_view kUnreadable = "the kernel could not read it";

std::string_view Comm(const char (&comm)[NT_COMM_LEN]) { return {comm, ::strnlen(comm, NT_COMM_LEN)}; }

}  // namespace

void ProcessTable::List::PushBack(Process* p) {
  p->list_prev = tail;
  p->list_next = nullptr;
  (tail != nullptr ? tail->list_next : head) = p;
  tail = p;
  ++count;
}

void ProcessTable::List::Remove(Process* p) {
  (p->list_prev != nullptr ? p->list_prev->list_next : head) = p->list_next;
  (p->list_next != nullptr ? p->list_next->list_prev : tail) = p->list_prev;
  p->list_prev = p->list_next = nullptr;
  --count;
}

ProcessTable::ProcessTable(std::string_view boot_id, ProcReader* proc, Scrubber* scrubber, TableLimits limits)
    : uids_(boot_id),
      proc_(proc),
      scrubber_(scrubber),
      limits_(limits),
      tick_ns_(std::max<uint64_t>(proc->TickNs(), 1)) {}

ProcessTable::~ProcessTable() = default;

const Process* ProcessTable::Find(uint32_t tgid, uint64_t start_boot_ns) const {
  const auto it = by_key_.find({start_boot_ns, tgid});
  return it == by_key_.end() ? nullptr : it->second.get();
}

const Process* ProcessTable::Newest(uint32_t tgid) const {
  const auto it = newest_.find(tgid);
  return it == newest_.end() ? nullptr : it->second;
}

// By exact identity; an entry that /proc gave is taken, and made exact, if the
// start falls into its tick. A pid that has another start meanwhile is another
// process: the one before has ended, and its exit record was lost.
Process* ProcessTable::Lookup(uint32_t tgid, uint64_t start_boot_ns) {
  const auto newest = newest_.find(tgid);
  if (newest == newest_.end()) return nullptr;
  Process* process = newest->second;
  if (process->start_boot_ns == start_boot_ns && process->exact) return process;
  if (const auto it = by_key_.find({start_boot_ns, tgid}); it != by_key_.end()) {
    it->second->exact = true;
    return it->second.get();
  }
  if (process->exact || start_boot_ns / tick_ns_ != process->start_boot_ns / tick_ns_) return nullptr;
  Adopt(process, start_boot_ns);
  return process;
}

Process* ProcessTable::Insert(uint32_t tgid, uint64_t start_boot_ns, bool exact) {
  if (const auto it = by_key_.find({start_boot_ns, tgid}); it != by_key_.end()) return it->second.get();
  auto owned = std::make_unique<Process>();
  Process* process = owned.get();
  process->tgid = tgid;
  process->start_boot_ns = start_boot_ns;
  process->exact = exact;
  process->uid = uids_.Make(tgid, start_boot_ns);
  process->doubt = doubt_;
  // A record may come later than one of a process that has the pid since then.
  if (const auto newest = newest_.find(tgid); newest == newest_.end()) {
    newest_.emplace(tgid, process);
  } else if (newest->second->start_boot_ns <= start_boot_ns) {
    MarkExited(newest->second);
    newest->second = process;
  } else {
    process->exited = true;
  }
  (process->exited ? exited_ : live_).PushBack(process);
  by_key_.emplace(Key{start_boot_ns, tgid}, std::move(owned));
  return process;
}

void ProcessTable::Adopt(Process* process, uint64_t start_boot_ns) {
  auto node = by_key_.extract({process->start_boot_ns, process->tgid});
  NT_CHECK(!node.empty());
  node.key() = {start_boot_ns, process->tgid};
  NT_CHECK(by_key_.insert(std::move(node)).inserted);
  process->start_boot_ns = start_boot_ns;
  process->exact = true;
  process->uid = uids_.Make(process->tgid, start_boot_ns);
  ++process->revision;
  // Descendants share the node, so their ancestry is right from here on.
  if (process->node != nullptr) process->node->uid = process->uid;
  ++stats_.adopted;
}

void ProcessTable::MarkExited(Process* process) {
  if (process->exited) return;
  live_.Remove(process);
  process->exited = true;
  exited_.PushBack(process);
}

void ProcessTable::Erase(Process* process) {
  (process->exited ? exited_ : live_).Remove(process);
  if (const auto it = newest_.find(process->tgid); it != newest_.end() && it->second == process) newest_.erase(it);
  by_key_.erase({process->start_boot_ns, process->tgid});
}

void ProcessTable::Trim() {
  // The newest of a list is the one in use.
  while (exited_.count > limits_.max_exited && exited_.head != exited_.tail) Erase(exited_.head);
  while (by_key_.size() > limits_.max_processes) {
    if (exited_.head != nullptr && exited_.head != exited_.tail) {
      Erase(exited_.head);
    } else if (live_.head != nullptr && live_.head != live_.tail) {
      Erase(live_.head);
      ++stats_.evicted;
    } else {
      return;
    }
  }
}

const std::shared_ptr<AncestorNode>& ProcessTable::Node(Process* process) {
  if (process->node == nullptr) {
    auto node = std::make_shared<AncestorNode>();
    node->uid = process->uid;
    node->pid = process->tgid;
    if (process->image != nullptr) {
      node->exe = process->image->exe;
      if (!process->image->argv.empty()) node->argv0 = process->image->argv.front();
    }
    node->user_id = process->user_id;
    process->node = std::move(node);
  }
  return process->node;
}

// `expected`: there is a parent, so that not knowing it is a gap.
void ProcessTable::SetAncestry(Process* process, Process* parent, bool expected) {
  if (parent == nullptr) {
    if (expected) process->gaps.push_back({"actor.ancestors", kNoParent});
    return;
  }
  process->ancestors.clear();
  process->ancestors.reserve(std::min(parent->ancestors.size() + 1, kMaxAncestors));
  process->ancestors.push_back(Node(parent));
  for (const auto& node : parent->ancestors) {
    if (process->ancestors.size() == kMaxAncestors) break;
    process->ancestors.push_back(node);
  }
  process->ancestors_truncated =
      parent->ancestors_truncated || parent->ancestors.size() + 1 > process->ancestors.size();
  // What the parent's ancestry lacks, the child's lacks.
  for (const GapNote& gap : parent->gaps) {
    if (gap.what == "actor.ancestors") process->gaps.push_back(gap);
  }
}

Process* ProcessTable::Parent(uint32_t ppid, uint64_t start_boot_ns, unsigned depth) {
  if (ppid == 0 || depth > kMaxAncestors) return nullptr;
  if (start_boot_ns != 0) {
    if (Process* known = Lookup(ppid, start_boot_ns)) return known;
  } else if (const auto it = newest_.find(ppid); it != newest_.end() && !it->second->exited) {
    return it->second;
  }
  const Result<ProcInfo> info = proc_->Read(ppid, ProcDetail::kMinimal);
  if (!info.ok()) return nullptr;
  const uint64_t start = start_boot_ns != 0 ? start_boot_ns : info->start_boot_ns;
  if (start / tick_ns_ != info->start_boot_ns / tick_ns_) return nullptr;
  if (const auto it = newest_.find(ppid);
      it != newest_.end() && it->second->start_boot_ns / tick_ns_ == info->start_boot_ns / tick_ns_) {
    return it->second;
  }
  Process* grandparent = Parent(info->ppid, 0, depth + 1);
  Process* process = InsertFromProc(*info, start_boot_ns, kSeeded);
  process->minimal = true;
  SetAncestry(process, grandparent, info->ppid != 0 && depth < kMaxAncestors);
  ConcludePerson(process, grandparent);
  return process;
}

void ProcessTable::Place(const nt_task& task, Process* process) {
  if (process->place != nullptr && process->cgroup_v2_id == task.cgroup_v2_id &&
      process->cgroup_v1_id == task.cgroup_v1_id && process->cgroup_v1_hierarchy == task.cgroup_v1_hierarchy) {
    return;
  }
  std::shared_ptr<const CgroupPlace> place =
      cgroups_.Find(task.cgroup_v2_id, task.cgroup_v1_hierarchy, task.cgroup_v1_id);
  // A place that /proc gave has no ids: it stands until a record knows better.
  if (place == nullptr && process->cgroup_v2_id == 0 && process->cgroup_v1_id == 0) return;
  if (place != process->place) ++process->revision;
  process->place = std::move(place);
  process->cgroup_v2_id = task.cgroup_v2_id;
  process->cgroup_v1_id = task.cgroup_v1_id;
  process->cgroup_v1_hierarchy = task.cgroup_v1_hierarchy;
}

void ProcessTable::FillFromTask(const nt_task& task, Process* process) {
  process->ppid = task.ppid;
  process->ns_tgid = task.ns_tgid;
  process->pgid = task.pgid;
  process->sid = task.sid;
  process->tty_nr = task.tty_nr;
  process->loginuid = task.loginuid;
  process->sessionid = task.sessionid;
  process->task_flags = task.flags;
  process->seccomp_mode = task.seccomp_mode;
  process->has_cred = true;
  process->cred = task.cred;
  process->user_id = task.cred.uid;
  process->pid_ns = task.pid_ns;
  process->mnt_ns = task.mnt_ns;
  process->net_ns = task.net_ns;
  process->ipc_ns = task.ipc_ns;
  process->uts_ns = task.uts_ns;
  process->cgroup_ns = task.cgroup_ns;
  process->minimal = false;
  process->node.reset();
  Place(task, process);
}

void ProcessTable::FillFromProc(const ProcInfo& info, std::string_view why, Process* process) {
  process->ppid = info.ppid;
  process->ns_tgid = info.ns_tgid;
  process->pgid = info.pgid;
  process->sid = info.sid;
  process->tty_nr = info.tty_nr;
  process->task_flags = (info.kthread ? NT_T_KTHREAD : 0U) | (info.no_new_privs ? NT_T_NO_NEW_PRIVS : 0U);
  process->seccomp_mode = info.seccomp_mode;
  process->has_cred = info.has_cred;
  process->cred = info.cred;
  process->user_id = info.cred.uid;
  process->loginuid = info.loginuid;
  process->sessionid = info.sessionid;
  process->pid_ns = info.pid_ns;
  process->mnt_ns = info.mnt_ns;
  process->net_ns = info.net_ns;
  process->ipc_ns = info.ipc_ns;
  process->uts_ns = info.uts_ns;
  process->cgroup_ns = info.cgroup_ns;
  process->place = CgroupMap::FromProc(info.cgroups);
  process->minimal = false;
  process->node.reset();

  auto image = std::make_shared<Image>();
  image->from_proc = true;
  image->comm = info.comm;
  image->exe = info.exe;
  image->has_file = info.has_file;
  image->file = info.file;
  image->cwd = info.cwd;
  image->id = ++images_;
  if (info.has_argv) {
    scrubber_->ScrubArgv(info.exe, info.argv, info.argv_truncated, &image->argv, &image->redactions);
    image->argv_bytes = info.argv.size();
    image->argc = static_cast<uint32_t>(image->argv.size());
    image->argv_truncated = info.argv_truncated;
  }
  scrubber_->ScrubPath("actor.exe", &image->exe, &image->redactions);
  scrubber_->ScrubPath("actor.cwd", &image->cwd, &image->redactions);
  if (!info.kthread) {
    if (why != kSeeded) {
      // /proc tells of now, the event was earlier: an exec may lie between.
      image->gaps.push_back({"actor.exe", why});
      image->gaps.push_back({"actor.argv", why});
    } else {
      if (!info.has_exe) image->gaps.push_back({"actor.exe", why});
      if (!info.has_argv) image->gaps.push_back({"actor.argv", why});
    }
  }
  process->image = std::move(image);
}

Process* ProcessTable::InsertFromProc(const ProcInfo& info, uint64_t exact_start, std::string_view why) {
  Process* process = Insert(info.tgid, exact_start != 0 ? exact_start : info.start_boot_ns, exact_start != 0);
  FillFromProc(info, why, process);
  return process;
}

Status ProcessTable::SeedHost() {
  NT_ASSIGN_OR_RETURN(const std::vector<uint32_t> pids, proc_->List());
  std::vector<ProcInfo> infos;
  infos.reserve(pids.size());
  for (const uint32_t pid : pids) {
    // One that ends meanwhile is simply not there.
    if (Result<ProcInfo> info = proc_->Read(pid, ProcDetail::kFull); info.ok()) infos.push_back(*std::move(info));
  }
  std::stable_sort(infos.begin(), infos.end(),
                   [](const ProcInfo& a, const ProcInfo& b) { return a.start_boot_ns < b.start_boot_ns; });
  for (const ProcInfo& info : infos) {
    Process* parent = nullptr;
    if (const auto it = newest_.find(info.ppid); info.ppid != 0 && it != newest_.end()) parent = it->second;
    Process* process = InsertFromProc(info, 0, kSeeded);
    SetAncestry(process, parent, info.ppid != 0);
    ConcludePerson(process, parent);
    seeded_.emplace_back(info.tgid, info.start_boot_ns);
  }
  Trim();
  return OkStatus();
}

Status ProcessTable::SeedTree(uint32_t root) {
  NT_ASSIGN_OR_RETURN(const std::vector<uint32_t> pids, proc_->List());
  std::vector<ProcInfo> all;
  all.reserve(pids.size());
  for (const uint32_t pid : pids) {
    if (Result<ProcInfo> info = proc_->Read(pid, ProcDetail::kIdentity); info.ok()) all.push_back(*std::move(info));
  }
  // A child starts no earlier than its parent; within one tick the pid decides,
  // and since pids wrap, the closure is taken until nothing is added.
  std::stable_sort(all.begin(), all.end(),
                   [](const ProcInfo& a, const ProcInfo& b) { return a.start_boot_ns < b.start_boot_ns; });
  std::unordered_set<uint32_t> in_scope{root};
  for (bool grown = true; grown;) {
    grown = false;
    for (const ProcInfo& info : all) {
      if (in_scope.contains(info.ppid) && in_scope.insert(info.tgid).second) grown = true;
    }
  }
  std::vector<ProcInfo> scope;
  for (const ProcInfo& info : all) {
    if (!in_scope.contains(info.tgid)) continue;
    if (Result<ProcInfo> full = proc_->Read(info.tgid, ProcDetail::kFull); full.ok()) scope.push_back(*std::move(full));
  }
  for (const ProcInfo& info : scope) {
    Process* parent = Parent(info.ppid, 0, 1);
    // Insert() gives the entry there is, if it was read as a parent before.
    Process* process = InsertFromProc(info, 0, kSeeded);
    process->gaps.clear();
    SetAncestry(process, parent, info.ppid != 0);
    ConcludePerson(process, parent);
    seeded_.emplace_back(info.tgid, info.start_boot_ns);
  }
  Trim();
  return OkStatus();
}

std::vector<Process*> ProcessTable::Seeded() {
  std::vector<Process*> out;
  for (const auto& [tgid, start] : seeded_) {
    const auto it = by_key_.find({start, tgid});
    if (it != by_key_.end() && (it->second->task_flags & NT_T_KTHREAD) == 0) out.push_back(it->second.get());
  }
  seeded_.clear();
  seeded_.shrink_to_fit();
  return out;
}

Process* ProcessTable::FindSeeded(uint32_t tgid, uint64_t start_boot_ns) {
  const auto it = newest_.find(tgid);
  if (it == newest_.end() || it->second->start_boot_ns / tick_ns_ != start_boot_ns / tick_ns_) return nullptr;
  return it->second;
}

Process* ProcessTable::Repair(const RawEvent& event) {
  const nt_task& task = event.task;
  const bool exec = event.header.type == NT_EXEC;
  Process* parent = Parent(task.ppid, task.parent_start_boottime_ns, 1);
  const bool expected = task.ppid != 0;
  if (exec) {
    // The record has all but the ancestry.
    Process* process = Insert(task.tgid, task.start_boottime_ns, true);
    FillFromTask(task, process);
    SetAncestry(process, parent, expected);
    ConcludePerson(process, parent);
    return process;
  }
  ++stats_.repairs;
  const Result<ProcInfo> info = proc_->Read(task.tgid, ProcDetail::kFull);
  if (info.ok() && info->start_boot_ns / tick_ns_ == task.start_boottime_ns / tick_ns_) {
    Process* process = InsertFromProc(*info, task.start_boottime_ns, kNoRecord);
    FillFromTask(task, process);
    SetAncestry(process, parent, expected);
    ConcludePerson(process, parent);
    return process;
  }
  Process* process = Insert(task.tgid, task.start_boottime_ns, true);
  FillFromTask(task, process);
  auto image = std::make_shared<Image>();
  image->comm = Comm(task.comm);
  if ((task.flags & NT_T_KTHREAD) == 0) {
    image->gaps = {{"actor.exe", kGone}, {"actor.argv", kGone}, {"actor.cwd", kGone}};
  }
  process->image = std::move(image);
  SetAncestry(process, parent, expected);
  ConcludePerson(process, parent);
  return process;
}

// After a loss: is the image still the one we know? Asked once per process and
// loss, of /proc.
void ProcessTable::Confirm(Process* process) {
  process->doubt = doubt_;
  if (process->exited || (process->task_flags & NT_T_KTHREAD) != 0) return;
  const Result<ProcInfo> info = proc_->Read(process->tgid, ProcDetail::kMinimal);
  const Image& known = *process->image;
  if (info.ok() && info->start_boot_ns / tick_ns_ == process->start_boot_ns / tick_ns_) {
    const bool same_file =
        !known.has_file || !info->has_file || (known.file.dev == info->file.dev && known.file.ino == info->file.ino);
    std::string exe = info->exe;
    std::vector<RedactionNote> notes;
    scrubber_->ScrubPath("actor.exe", &exe, &notes);
    if (same_file && (exe == known.exe || !info->has_exe)) return;
    const Result<ProcInfo> full = proc_->Read(process->tgid, ProcDetail::kFull);
    if (full.ok() && full->start_boot_ns == info->start_boot_ns) {
      ++stats_.repairs;
      const uint64_t v2 = process->cgroup_v2_id;
      const uint64_t v1 = process->cgroup_v1_id;
      const uint32_t user = process->switch_uid;
      std::shared_ptr<const CgroupPlace> place = process->place;
      FillFromProc(*full, kNoRecord, process);
      PersonAfterLoss(user, process);
      if (v2 != 0 || v1 != 0) process->place = std::move(place);
      ++process->exec_count;
      ++process->revision;
      return;
    }
  }
  auto image = std::make_shared<Image>(known);
  for (const GapNote& gap : image->gaps) {
    if (gap.what == "actor.exe") return;
  }
  image->gaps.push_back({"actor.exe", kLostExec});
  image->gaps.push_back({"actor.argv", kLostExec});
  process->image = std::move(image);
  ++process->revision;
}

Process* ProcessTable::Actor(const RawEvent& event) {
  const nt_task& task = event.task;
  // Here and not where entries are made: no pointer is out.
  Trim();
  Process* process = Lookup(task.tgid, task.start_boottime_ns);
  if (process == nullptr) return Repair(event);
  if (!process->exited && process != live_.tail) {
    live_.Remove(process);
    live_.PushBack(process);
  }
  if (process->minimal && event.header.type != NT_EXEC) {
    // Known as an ancestor only so far.
    const Result<ProcInfo> info = proc_->Read(task.tgid, ProcDetail::kFull);
    if (info.ok() && info->start_boot_ns / tick_ns_ == task.start_boottime_ns / tick_ns_) {
      FillFromProc(*info, kSeeded, process);
    } else {
      process->gaps.push_back({"actor.cwd", kGone});
    }
    process->minimal = false;
    ++process->revision;
  }
  if (!process->ancestors.empty() && task.parent_start_boottime_ns != 0 &&
      process->ancestors.front()->pid == task.ppid) {
    // Makes a parent known from /proc exact.
    if (const auto it = newest_.find(task.ppid); it != newest_.end() && !it->second->exact) {
      if (Lookup(task.ppid, task.parent_start_boottime_ns) != nullptr) ++process->revision;
    }
  }
  if ((task.flags & NT_T_SNAPSHOT) == 0) {
    if (process->doubt != doubt_ && event.header.type != NT_EXEC && process->image != nullptr) Confirm(process);
    Place(task, process);
    // A changed user shows in the ancestry of what it starts from now on.
    if (process->user_id != task.cred.uid) process->node.reset();
    process->user_id = task.cred.uid;
  }
  return process;
}

Process* ProcessTable::Fork(const RawEvent& event, Process* parent) {
  const nt_fork& fork = event.body.fork;
  if (Process* known = Lookup(fork.child_tgid, fork.child_start_boottime_ns)) return known;
  // CLONE_PARENT makes a sibling.
  Process* real_parent = parent;
  if (fork.child_ppid != parent->tgid || fork.child_parent_start_boottime_ns != parent->start_boot_ns) {
    real_parent = Parent(fork.child_ppid, fork.child_parent_start_boottime_ns, 1);
  }
  Process* child = Insert(fork.child_tgid, fork.child_start_boottime_ns, true);
  FillFromTask(event.task, child);
  child->ppid = fork.child_ppid;
  child->ns_tgid = fork.child_ns_tgid;
  child->image = parent->image;
  child->doubt = parent->doubt;
  child->minimal = false;
  for (const GapNote& gap : parent->gaps) {
    if (gap.what != "actor.ancestors") child->gaps.push_back(gap);
  }
  SetAncestry(child, real_parent, fork.child_ppid != 0);
  InheritPerson(event.task, parent, child);
  return child;
}

void ProcessTable::Exec(const RawEvent& event, Process* process) {
  const nt_exec& exec = event.body.exec;
  const bool cut = (event.header.flags & NT_F_TRUNCATED) != 0;
  const PersonAtExec person(event, process);
  FillFromTask(event.task, process);
  auto image = std::make_shared<Image>();
  image->id = ++images_;
  image->exec_boot_ns = event.header.ktime_boot_ns;
  image->comm = Comm(event.task.comm);
  image->argc = exec.argc;
  image->argv_bytes = exec.argv_len;
  image->has_file = (exec.exe.flags & NT_FILE_VALID) != 0;
  image->file = exec.exe;
  const std::string_view missing = cut ? kNoRoom : kUnreadable;
  if (event.Has(NT_TAIL_PATH)) {
    ReversePath(event.Tail(NT_TAIL_PATH), &image->exe);
  } else {
    image->gaps.push_back({"actor.exe", missing});
  }
  if (event.Has(NT_TAIL_CWD)) {
    ReversePath(event.Tail(NT_TAIL_CWD), &image->cwd);
  } else {
    image->gaps.push_back({"actor.cwd", missing});
  }
  image->script = event.Tail(NT_TAIL_SCRIPT);
  const std::string_view argv = event.Tail(NT_TAIL_ARGV);
  image->argv_truncated = argv.size() < exec.argv_len;
  if (event.Has(NT_TAIL_ARGV) && (!argv.empty() || exec.argv_len == 0)) {
    scrubber_->ScrubArgv(image->exe, argv, image->argv_truncated, &image->argv, &image->redactions);
  } else {
    image->gaps.push_back({"actor.argv", missing});
  }
  scrubber_->ScrubPath("actor.exe", &image->exe, &image->redactions);
  scrubber_->ScrubPath("actor.cwd", &image->cwd, &image->redactions);
  scrubber_->ScrubPath("actor.script", &image->script, &image->redactions);
  process->image = std::move(image);
  person.Settle(event, process);
  process->doubt = doubt_;
  ++process->exec_count;
  ++process->revision;
  // What was missing of the image before is no longer missing.
  std::erase_if(process->gaps, [](const GapNote& gap) { return gap.what != "actor.ancestors"; });
}

void ProcessTable::Exit(Process* process) { MarkExited(process); }

void ProcessTable::Cgroup(const RawEvent& event) {
  std::string path;
  ReversePath(event.Tail(NT_TAIL_CGROUP), &path);
  cgroups_.Put(event.body.cgroup.hierarchy, event.body.cgroup.id, std::move(path));
}

Status ProcessTable::Reap() {
  NT_ASSIGN_OR_RETURN(const std::vector<uint32_t> pids, proc_->List());
  for (Process* p = live_.head; p != nullptr;) {
    Process* next = p->list_next;
    if (!std::binary_search(pids.begin(), pids.end(), p->tgid)) MarkExited(p);
    p = next;
  }
  Trim();
  return OkStatus();
}

}  // namespace nodetrail::agent
