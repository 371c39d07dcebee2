// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/proc_reader.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "nodetrail/base/fd.h"

namespace nodetrail::agent {
namespace {

constexpr uint32_t kPfKthread = 0x00200000;
constexpr std::string_view kDeleted = " (deleted)";

template <typename T>
bool ParseNumber(std::string_view text, T* out, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out, base);
  return error == std::errc() && end == text.data() + text.size();
}

// Space- or tab-separated; empties *rest at the end.
std::string_view NextWord(std::string_view* rest) {
  const size_t begin = rest->find_first_not_of(" \t");
  if (begin == std::string_view::npos) {
    *rest = {};
    return {};
  }
  rest->remove_prefix(begin);
  const size_t end = rest->find_first_of(" \t");
  const std::string_view word = rest->substr(0, end);
  rest->remove_prefix(end == std::string_view::npos ? rest->size() : end);
  return word;
}

// Everything is read below one open directory of /proc/PID: the kernel binds
// it to the process, not to the number, and gives ESRCH once it has ended.
class ProcessDir {
 public:
  explicit ProcessDir(UniqueFd fd) : fd_(std::move(fd)) {}

  // Up to `max` bytes; *more if there is more. False if unreadable.
  bool Read(const char* name, size_t max, std::string* out, bool* more) const {
    out->clear();
    const UniqueFd fd(::openat(fd_.get(), name, O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return false;
    std::array<char, 4096> buffer;
    while (out->size() <= max) {
      const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return false;
      if (n == 0) break;
      out->append(buffer.data(), static_cast<size_t>(n));
    }
    *more = out->size() > max;
    if (*more) out->resize(max);
    return true;
  }
  bool Read(const char* name, std::string* out) const {
    bool more = false;
    return Read(name, size_t{64} << 10U, out, &more);
  }
  bool ReadLink(const char* name, std::string* out) const {
    std::array<char, 4096> buffer;
    const ssize_t n = ::readlinkat(fd_.get(), name, buffer.data(), buffer.size());
    if (n <= 0) return false;
    out->assign(buffer.data(), static_cast<size_t>(n));
    return true;
  }
  // "pid:[4026531836]" -> 4026531836.
  [[nodiscard]] uint32_t Namespace(const char* name) const {
    std::string link;
    uint32_t inum = 0;
    if (!ReadLink(name, &link)) return 0;
    const size_t open = link.find('[');
    if (open == std::string::npos || link.back() != ']') return 0;
    return ParseNumber(std::string_view(link).substr(open + 1, link.size() - open - 2), &inum) ? inum : 0;
  }
  [[nodiscard]] std::optional<struct stat> Stat(const char* name) const {
    struct stat st {};
    if (::fstatat(fd_.get(), name, &st, 0) != 0) return std::nullopt;
    return st;
  }

 private:
  UniqueFd fd_;
};

// pid (comm) state ppid pgrp session tty tpgid flags … starttime is field 22.
bool ParseStat(std::string_view text, uint64_t tick_ns, ProcInfo* out) {
  const size_t open = text.find('(');
  const size_t close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return false;
  out->comm = text.substr(open + 1, close - open - 1);
  std::string_view rest = text.substr(close + 1);
  std::array<std::string_view, 20> field;  // field[0] is the state, the third of the file
  for (std::string_view& f : field) f = NextWord(&rest);
  int32_t tty = 0;
  uint32_t flags = 0;
  uint64_t ticks = 0;
  if (!ParseNumber(field[1], &out->ppid) || !ParseNumber(field[2], &out->pgid) || !ParseNumber(field[3], &out->sid) ||
      !ParseNumber(field[4], &tty) || !ParseNumber(field[6], &flags) || !ParseNumber(field[19], &ticks)) {
    return false;
  }
  out->tty_nr = static_cast<uint32_t>(tty);
  out->kthread = (flags & kPfKthread) != 0;
  out->start_boot_ns = ticks * tick_ns;
  return true;
}

void ParseStatusLine(std::string_view key, std::string_view value, ProcInfo* out) {
  nt_cred& cred = out->cred;
  const auto ids = [&](uint32_t* real, uint32_t* effective, uint32_t* saved, uint32_t* fs) {
    return ParseNumber(NextWord(&value), real) && ParseNumber(NextWord(&value), effective) &&
           ParseNumber(NextWord(&value), saved) && ParseNumber(NextWord(&value), fs);
  };
  const auto caps = [&](nt_u64* set) {
    const std::string_view word = NextWord(&value);
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), *set, 16);
    if (error != std::errc() || end != word.data() + word.size()) *set = 0;
  };
  if (key == "Uid") {
    out->has_cred = ids(&cred.uid, &cred.euid, &cred.suid, &cred.fsuid);
  } else if (key == "Gid") {
    out->has_cred = out->has_cred && ids(&cred.gid, &cred.egid, &cred.sgid, &cred.fsgid);
  } else if (key == "NStgid") {
    std::string_view last;
    for (std::string_view word = NextWord(&value); !word.empty(); word = NextWord(&value)) last = word;
    if (!ParseNumber(last, &out->ns_tgid)) out->ns_tgid = 0;
  } else if (key == "CapInh") {
    caps(&cred.cap_inheritable);
  } else if (key == "CapPrm") {
    caps(&cred.cap_permitted);
  } else if (key == "CapEff") {
    caps(&cred.cap_effective);
  } else if (key == "CapBnd") {
    caps(&cred.cap_bset);
  } else if (key == "CapAmb") {
    caps(&cred.cap_ambient);
  } else if (key == "NoNewPrivs") {
    out->no_new_privs = NextWord(&value) == "1";
  } else if (key == "Seccomp") {
    if (!ParseNumber(NextWord(&value), &out->seccomp_mode)) out->seccomp_mode = 0;
  }
}

void ParseStatus(std::string_view text, ProcInfo* out) {
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos) ParseStatusLine(line.substr(0, colon), line.substr(colon + 1), out);
  }
}

// hierarchy:controllers:path, the path maybe with colons.
void ParseCgroups(std::string_view text, std::vector<CgroupLine>* out) {
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    const std::string_view line = text.substr(0, newline);
    text.remove_prefix(newline == std::string_view::npos ? text.size() : newline + 1);
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    CgroupLine parsed;
    if (second == std::string_view::npos || !ParseNumber(line.substr(0, first), &parsed.hierarchy)) continue;
    parsed.controllers = line.substr(first + 1, second - first - 1);
    parsed.path = line.substr(second + 1);
    if (parsed.path.ends_with(kDeleted)) parsed.path.resize(parsed.path.size() - kDeleted.size());
    out->push_back(std::move(parsed));
  }
}

bool ReadId(const ProcessDir& dir, const char* name, uint32_t* out) {
  std::string text;
  if (!dir.Read(name, &text)) return false;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return ParseNumber(text, out);
}

void ReadExe(const ProcessDir& dir, ProcInfo* out) {
  out->has_exe = dir.ReadLink("exe", &out->exe);
  if (out->has_exe && out->exe.ends_with(kDeleted)) {
    out->exe.resize(out->exe.size() - kDeleted.size());
    out->file.flags |= NT_FILE_DELETED;
  }
  if (const auto st = dir.Stat("exe")) {
    out->has_file = true;
    out->file.flags |= NT_FILE_VALID;
    out->file.dev = st->st_dev;
    out->file.ino = st->st_ino;
    out->file.size = static_cast<uint64_t>(st->st_size);
    out->file.mode = st->st_mode;
    out->file.uid = st->st_uid;
    out->file.gid = st->st_gid;
    out->file.nlink = static_cast<uint32_t>(st->st_nlink);
  }
}

void ReadPlaces(const ProcessDir& dir, ProcInfo* out) {
  out->has_cwd = dir.ReadLink("cwd", &out->cwd);
  if (out->has_cwd && out->cwd.ends_with(kDeleted)) out->cwd.resize(out->cwd.size() - kDeleted.size());
  out->has_login = ReadId(dir, "loginuid", &out->loginuid) && ReadId(dir, "sessionid", &out->sessionid);
  if (!out->has_login) out->loginuid = out->sessionid = 0xffffffffU;
  out->pid_ns = dir.Namespace("ns/pid");
  out->mnt_ns = dir.Namespace("ns/mnt");
  out->net_ns = dir.Namespace("ns/net");
  out->ipc_ns = dir.Namespace("ns/ipc");
  out->uts_ns = dir.Namespace("ns/uts");
  out->cgroup_ns = dir.Namespace("ns/cgroup");
  out->cred.userns_inum = dir.Namespace("ns/user");
  if (std::string text; dir.Read("cgroup", &text)) ParseCgroups(text, &out->cgroups);
}

class ProcFs final : public ProcReader {
 public:
  ProcFs(std::string root, uint64_t tick_ns) : root_(std::move(root)), tick_ns_(tick_ns) {}

  Result<std::vector<uint32_t>> List() override {
    DIR* dir = ::opendir(root_.c_str());
    if (dir == nullptr) return ErrnoStatus(errno, "open " + root_);
    std::vector<uint32_t> pids;
    while (const dirent* entry = ::readdir(dir)) {
      uint32_t pid = 0;
      if (ParseNumber(std::string_view(entry->d_name), &pid)) pids.push_back(pid);
    }
    ::closedir(dir);
    std::sort(pids.begin(), pids.end());
    return pids;
  }

  Result<ProcInfo> Read(uint32_t tgid, ProcDetail detail) override {
    const std::string path = fmt::format("{}/{}", root_, tgid);
    UniqueFd fd(::open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return ErrnoStatus(errno, "open " + path);
    const ProcessDir dir(std::move(fd));
    ProcInfo info;
    info.tgid = info.ns_tgid = tgid;
    std::string text;
    if (!dir.Read("stat", &text)) return NotFound(path + ": the process has ended");
    if (!ParseStat(text, tick_ns_, &info)) return DataLoss(path + "/stat: not in the form of proc(5)");
    if (detail == ProcDetail::kIdentity) return info;
    ReadExe(dir, &info);
    info.has_argv = dir.Read("cmdline", NT_ARGV_MAX, &info.argv, &info.argv_truncated);
    if (dir.Read("status", &text)) ParseStatus(text, &info);
    if (detail == ProcDetail::kFull) ReadPlaces(dir, &info);
    // A process that ended half-way has lost its memory: its facts are holes.
    if (!dir.Read("stat", &text)) return NotFound(path + ": the process has ended");
    return info;
  }

  [[nodiscard]] uint64_t TickNs() const override { return tick_ns_; }

 private:
  std::string root_;
  uint64_t tick_ns_;
};

}  // namespace

Result<std::unique_ptr<ProcReader>> OpenProcReader(const std::string& root) {
  const long hertz = ::sysconf(_SC_CLK_TCK);
  if (hertz <= 0) return Internal("sysconf(_SC_CLK_TCK) has no answer");
  const std::string probe = root + "/self/stat";
  if (::access(probe.c_str(), R_OK) != 0) return ErrnoStatus(errno, "read " + probe + " (is proc mounted?)");
  return std::unique_ptr<ProcReader>(std::make_unique<ProcFs>(root, 1'000'000'000U / static_cast<uint64_t>(hertz)));
}

}  // namespace nodetrail::agent
