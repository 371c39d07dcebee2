// SPDX-License-Identifier: Apache-2.0
#include "agent/pipeline/tamper.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <system_error>

#include "agent/decode/acts.h"
#include "nodetrail/schema/labels.h"

namespace nodetrail::agent {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kRepeatNs = 10 * kSecond;
constexpr uint64_t kScanNs = 5 * kSecond;
// A hand on the agent this long ago explains no more what is found missing now.
constexpr uint64_t kSuspectNs = 60 * kSecond;
constexpr size_t kMaxTold = 4096;
constexpr size_t kMaxFiles = 65536;
constexpr uint32_t kProcMagic = 0x9fa0;
constexpr uint32_t kInitPidNs = 0xeffffffc;  // PROC_PID_INIT_INO
constexpr uint32_t kGetFdById = 14;          // BPF_MAP_GET_FD_BY_ID

event::v1::Tamper Say(std::string_view object, std::string_view what, std::string_view target) {
  event::v1::Tamper tamper;
  tamper.set_object(std::string(object));
  tamper.set_what(std::string(what));
  tamper.set_target(std::string(target));
  return tamper;
}

// These ask, and the agent answers: with agent.stop, or by going on.
bool IsRequest(uint64_t signal) {
  return signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGCONT;
}

// Of a file by its name, after a last link was followed.
bool Follows(uint16_t type) {
  return type == NT_FILE_CHMOD || type == NT_FILE_CHOWN || type == NT_FILE_SETXATTR || type == NT_FILE_REMOVEXATTR ||
         type == NT_FILE_UTIMES || type == NT_FILE_TRUNCATE;
}

bool ChangesFiles(uint16_t type) {
  switch (type) {
    case NT_FILE_DELETE:
    case NT_FILE_RENAME:
    case NT_FILE_LINK:
    case NT_FILE_SYMLINK:
    case NT_FILE_MKDIR:
    case NT_FILE_MKNOD:
    case NT_FS_MOUNT:
    case NT_FS_UMOUNT:
    case NT_FS_MOVE_MOUNT: return true;
    default: return Follows(type);
  }
}

std::pair<std::string, std::string_view> Split(std::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {};
  return {std::string(slash == 0 ? std::string_view("/") : path.substr(0, slash)), path.substr(slash + 1)};
}

const nt_file* FileOf(const RawEvent& raw) {
  const nt_file* file = nullptr;
  if (IsAct(raw.header.type)) {
    const nt_act& act = raw.body.act;
    file = (act.after.flags & NT_FILE_VALID) != 0 ? &act.after : &act.before;
  } else {
    file = &raw.body.open.file;
  }
  return (file->flags & NT_FILE_VALID) != 0 ? file : nullptr;
}

}  // namespace

TamperWatch::TamperWatch(OwnThings own, FileProbe probe) : own_(std::move(own)), probe_(std::move(probe)) {
  // The most special first: the spool is in the state's folder.
  std::stable_sort(own_.paths.begin(), own_.paths.end(),
                   [](const OwnPath& a, const OwnPath& b) { return a.path.size() > b.path.size(); });
}

void TamperWatch::Learn(const OwnPath& own, const std::string& path) {
  names_.emplace(Split(path).second);
  if (const auto file = probe_(path); file && files_.size() < kMaxFiles)
    files_.emplace(FileId(file->dev, file->ino), &own);
}

void TamperWatch::Poll(uint64_t now_boot_ns) {
  if (own_.tgid == 0 || now_boot_ns < next_scan_ns_) return;
  next_scan_ns_ = now_boot_ns + kScanNs;
  files_.clear();
  names_.clear();
  for (const OwnPath& own : own_.paths) {
    Learn(own, own.path);
    if (!own.tree) continue;
    std::error_code error;
    std::filesystem::recursive_directory_iterator it(own.path, error);
    for (; !error && it != std::filesystem::recursive_directory_iterator() && names_.size() < kMaxFiles;
         it.increment(error)) {
      Learn(own, it->path().string());
    }
  }
  std::erase_if(told_, [&](const auto& entry) { return entry.second + kRepeatNs < now_boot_ns; });
}

bool TamperWatch::OurTask(const EventFacts& facts) const {
  // A pid is the caller's word; only in the host's pid namespace it is ours.
  if (facts.target_pid == 0 || facts.raw->task.pid_ns != kInitPidNs) return false;
  return facts.target_pid == own_.tgid || (own_.thread && own_.thread(facts.target_pid));
}

const OwnPath* TamperWatch::FindByName(std::string_view path) const {
  for (const OwnPath& own : own_.paths) {
    if (!path.starts_with(own.path)) continue;
    if (path.size() == own.path.size() || (own.tree && path[own.path.size()] == '/')) return &own;
  }
  return nullptr;
}

const OwnPath* TamperWatch::FindFile(const PathFacts& path, const nt_file* file, bool followed) const {
  if (!path.present) return nullptr;
  if (const OwnPath* own = FindByName(path.path)) return own;
  if (file != nullptr) {
    const auto found = files_.find({file->dev, file->ino});
    return found == files_.end() ? nullptr : found->second;
  }
  // Named only: a folder on the way may be a link, or mounted a second time.
  const auto id = [&](const std::string& name) -> const OwnPath* {
    const auto there = probe_(name);
    if (!there) return nullptr;
    const auto found = files_.find({there->dev, there->ino});
    return found == files_.end() ? nullptr : found->second;
  };
  if (followed) {
    if (const OwnPath* own = id(std::string(path.path))) return own;
  }
  const auto [folder, name] = Split(path.path);
  if (names_.find(name) == names_.end() && !name.ends_with(".seg")) return nullptr;
  const OwnPath* const in = folder.empty() ? nullptr : id(folder);
  return in != nullptr && in->tree ? in : nullptr;
}

std::optional<event::v1::Tamper> TamperWatch::JudgeFile(const EventFacts& facts) const {
  const RawEvent& raw = *facts.raw;
  const uint16_t type = raw.header.type;
  const std::string_view label = schema::KindLabel(facts.kind);
  if (type == NT_FILE_OPEN || type == NT_FILE_DENIED) {
    // What only looks is no touch, whether it was let or not.
    const nt_file_open& open = raw.body.open;
    if ((open.open_flags & (O_ACCMODE | O_TRUNC | O_CREAT)) == 0) return {};
    if (open.file.fs_magic == kProcMagic && (open.file.flags & NT_FILE_VALID) != 0) {
      const std::string ours = fmt::format("/{}/", own_.tgid);
      if (facts.path.path.find(ours) != std::string_view::npos) return Say("process", label, facts.path.path);
    }
  } else if (!ChangesFiles(type)) {
    return {};
  }
  const nt_file* const file = FileOf(raw);
  if (const OwnPath* own = FindFile(facts.path, file, Follows(type))) return Say(own->object, label, facts.path.path);
  // Where something of ours went, or what was put over it. A mount's source is
  // only looked at.
  if (type == NT_FS_MOUNT) return {};
  if (const OwnPath* own = FindFile(facts.new_path, nullptr, false)) {
    return Say(own->object, label, facts.new_path.path);
  }
  return {};
}

std::optional<event::v1::Tamper> TamperWatch::JudgePast(const RawEvent& raw) {
  if (raw.header.type != NT_SIGNAL) return {};
  const nt_act& act = raw.body.act;
  const uint64_t signal = act.args[NT_SIGNAL_NUMBER];
  constexpr uint64_t kIgnored = 1;
  if (IsRequest(signal) || act.args[NT_SIGNAL_RESULT] == kIgnored) return {};
  const char* const name = signal < 32 ? ::sigabbrev_np(static_cast<int>(signal)) : nullptr;
  event::v1::Tamper tamper =
      Say("process", name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal),
          fmt::format("pid {}", act.args[NT_SIGNAL_TGID]));
  if ((act.has & NT_ACT_BY_KERNEL) != 0) tamper.set_actor_is("the kernel sent it while this process ran");
  return tamper;
}

std::optional<event::v1::Tamper> TamperWatch::JudgeOwnObject(const EventFacts& facts) {
  const nt_act& act = facts.raw->body.act;
  static constexpr std::array<std::string_view, 4> kObjects = {"", "map", "program", "link"};
  const uint64_t object = std::min<uint64_t>(act.args[NT_OWN_OBJECT], NT_OWN_LINK);
  const uint64_t id = act.args[NT_OWN_ID];
  // Every tool that lists maps does this. But whoever has written through mmap
  // did it too, and nothing else of him is seen.
  if (act.args[NT_OWN_COMMAND] == kGetFdById) {
    if (act.ret >= 0) Remember(&mapper_, *facts.raw, "the last who took a descriptor of one of our maps");
    return {};
  }
  // A link goes by its program.
  const uint64_t named_by = object == NT_OWN_LINK ? uint64_t{NT_OWN_PROGRAM} : object;
  const auto found = std::find_if(own_.objects.begin(), own_.objects.end(),
                                  [&](const OwnObject& own) { return own.object == named_by && own.id == id; });
  return Say(kObjects[object], facts.operation,
             found == own_.objects.end() ? fmt::format("id {}", id) : fmt::format("{} id {}", found->name, id));
}

std::optional<event::v1::Tamper> TamperWatch::Judge(const EventFacts& facts) {
  if (own_.tgid == 0) return {};
  const RawEvent& raw = *facts.raw;
  switch (raw.header.type) {
    case NT_SIGNAL: return raw.body.act.args[NT_SIGNAL_TGID] == own_.tgid ? JudgePast(raw) : std::nullopt;
    case NT_BPF_OWN: return JudgeOwnObject(facts);
    case NT_PTRACE:
    case NT_PROC_MEM_WRITE: {
      constexpr uint64_t kTraceMe = 0;
      if (!OurTask(facts)) return {};
      if (raw.header.type == NT_PTRACE && raw.body.act.args[0] == kTraceMe) return {};
      if (raw.body.act.ret >= 0) Remember(&tracer_, raw, "the last who traced the agent");
      return Say("process", raw.header.type == NT_PTRACE ? std::string_view(facts.operation) : facts.syscall,
                 fmt::format("pid {}", facts.target_pid));
    }
    default: return JudgeFile(facts);
  }
}

void TamperWatch::Remember(std::optional<Suspect>* slot, const RawEvent& raw, std::string_view is) {
  slot->emplace(Suspect{raw, is});
  (*slot)->raw.tails.fill({});
  (*slot)->raw.present = 0;
}

const TamperWatch::Suspect* TamperWatch::SuspectOf(std::string_view object, uint64_t now_boot_ns) const {
  const std::optional<Suspect>& slot = object == "map" ? mapper_ : tracer_;
  return slot && now_boot_ns < slot->raw.header.ktime_boot_ns + kSuspectNs ? &*slot : nullptr;
}

bool TamperWatch::Repeated(const EventFacts& facts, const event::v1::Tamper& tamper) {
  const uint64_t now = facts.raw->header.ktime_boot_ns;
  const auto& uid = facts.actor->uid;
  const auto key = std::tuple(std::string(reinterpret_cast<const char*>(uid.data()), uid.size()),
                              facts.actor->exec_count, tamper.object(), tamper.what(), tamper.target());
  const auto found = told_.find(key);
  if (found != told_.end() && now < found->second + kRepeatNs) return true;
  if (told_.size() >= kMaxTold) told_.clear();  // then some are told twice
  told_[key] = now;
  return false;
}

}  // namespace nodetrail::agent
