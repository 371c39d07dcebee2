// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/disk.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <optional>

#include "nodetrail/base/status.h"

namespace nodetrail::sim {
namespace {

// The system calls themselves: what libc.cc stands in front of.
int RawOpen(const std::string& path, int flags, mode_t mode) {
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path.c_str(), flags, mode));
}
int RawRename(const std::string& from, const std::string& to) {
  return static_cast<int>(::syscall(SYS_renameat2, AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0));
}
int RawUnlink(const std::string& path, int flags = 0) {
  return static_cast<int>(::syscall(SYS_unlinkat, AT_FDCWD, path.c_str(), flags));
}
ssize_t RawPwrite(int fd, const void* data, size_t size, int64_t offset) {
  return ::syscall(SYS_pwrite64, fd, data, size, offset);
}
int RawTruncate(int fd, int64_t size) { return static_cast<int>(::syscall(SYS_ftruncate, fd, size)); }
bool Exists(const std::string& path) {
  struct stat st {};
  return ::lstat(path.c_str(), &st) == 0;
}
uint64_t InodeOf(int fd) {
  struct stat st {};
  NT_CHECK(::fstat(fd, &st) == 0);
  return st.st_ino;
}
int64_t SizeOf(int fd) {
  struct stat st {};
  NT_CHECK(::fstat(fd, &st) == 0);
  return st.st_size;
}
std::string ReadAll(int fd) {
  std::string out(static_cast<size_t>(SizeOf(fd)), '\0');
  size_t have = 0;
  while (have < out.size()) {
    const ssize_t n = ::pread(fd, out.data() + have, out.size() - have, static_cast<off_t>(have));
    NT_CHECK(n > 0);
    have += static_cast<size_t>(n);
  }
  return out;
}
void WriteAllAt(int fd, const std::string& bytes, int64_t offset) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = RawPwrite(fd, bytes.data() + done, bytes.size() - done, offset + static_cast<int64_t>(done));
    NT_CHECK(n > 0);
    done += static_cast<size_t>(n);
  }
}
std::string ParentOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

std::map<std::string, Disk*>& Disks() {
  static std::map<std::string, Disk*> disks;
  return disks;
}
struct OpenFile {
  Disk* disk = nullptr;
  std::string path;
  uint64_t ino = 0;
};
std::map<int, OpenFile>& OpenFiles() {
  static std::map<int, OpenFile> files;
  return files;
}

constexpr const char* kGraves = "/.graves";

}  // namespace

Disk::Disk(std::string root, Rng* rng) : root_(std::move(root)), rng_(rng) {
  NT_CHECK(::syscall(SYS_mkdirat, AT_FDCWD, root_.c_str(), 0750) == 0 || errno == EEXIST);
  const std::string graves = root_ + kGraves;
  NT_CHECK(::syscall(SYS_mkdirat, AT_FDCWD, graves.c_str(), 0700) == 0 || errno == EEXIST);
  Disks()[root_ + "/"] = this;
}

Disk::~Disk() {
  Disks().erase(root_ + "/");
  for (auto& [ino, file] : files_) ::syscall(SYS_close, file.fd);
  std::erase_if(OpenFiles(), [this](const auto& entry) { return entry.second.disk == this; });
}

Disk* Disk::Of(const std::string& path) {
  for (const auto& [root, disk] : Disks()) {
    if (path.starts_with(root) || path + "/" == root) return disk;
  }
  return nullptr;
}
Disk* Disk::Of(int fd) {
  const auto at = OpenFiles().find(fd);
  return at == OpenFiles().end() ? nullptr : at->second.disk;
}
void Disk::Move(const std::string& from, const std::string& to) { NT_CHECK(RawRename(from, to) == 0); }
const std::string& Disk::PathOf(int fd) { return OpenFiles().at(fd).path; }

void Disk::KillAt(uint64_t n, bool after) {
  NT_CHECK(n > 0 && !dead_);
  kill_in_ = n;
  kill_after_ = after;
}

void Disk::Kill() {
  if (dead_) return;
  dead_ = true;
  kill_in_ = 0;
  on_death();
}

void Disk::Revive() {
  dead_ = false;
  kill_in_ = 0;
  fail_sync_ = false;
  fail_write_in_ = 0;
  rest_fails_ = false;
  refusals_ = 0;
}

bool Disk::MayGrow(int fd, int64_t size) {
  if (refusals_ == 0 || size <= SizeOf(fd)) return true;
  --refusals_;
  ++counts_.refused_growths;
  ChangeDone();
  errno = ENOSPC;
  return false;
}

void Disk::Settle() {
  NT_CHECK(dead_);
  for (auto& [ino, file] : files_) ::syscall(SYS_close, file.fd);
  files_.clear();
  for (const NameChange& change : names_) {
    if (!change.grave.empty()) RawUnlink(change.grave);
  }
  names_.clear();
}

bool Disk::Change1() {
  if (!dead_ && kill_in_ != 0 && --kill_in_ == 0) {
    if (!kill_after_) {
      Kill();
    } else {
      kill_in_ = UINT64_MAX;  // this one is done first
    }
  }
  if (dead_) {
    errno = EIO;
    return false;
  }
  ++changes_;
  return true;
}
void Disk::ChangeDone() {
  if (kill_in_ == UINT64_MAX) Kill();
}

void Disk::Tell(const char* what, const std::string& path, int64_t offset, size_t size) const {
  std::printf("        %s %s %lld +%zu\n", what, path.c_str() + root_.size(), static_cast<long long>(offset), size);
}

Disk::File& Disk::Tracked(int fd) {
  File& file = files_[OpenFiles().at(fd).ino];
  if (file.fd < 0) {
    file.fd = RawOpen("/proc/self/fd/" + std::to_string(fd), O_RDWR | O_CLOEXEC, 0);
    NT_CHECK(file.fd >= 0);
    file.durable = ReadAll(file.fd);
  }
  return file;
}

void Disk::Forget(uint64_t ino) {
  const auto at = files_.find(ino);
  if (at == files_.end()) return;
  ::syscall(SYS_close, at->second.fd);
  files_.erase(at);
}

int Disk::Open(const std::string& path, int flags, mode_t mode) {
  const bool create = (flags & O_CREAT) != 0 && !Exists(path);
  const bool truncate = (flags & O_TRUNC) != 0 && !create;
  const bool changes = create || truncate;
  if (changes && !Change1()) return -1;
  const int fd = RawOpen(path, flags & ~O_TRUNC, mode);
  if (fd < 0) return fd;
  OpenFiles()[fd] = {this, path, InodeOf(fd)};
  if (create) {
    Forget(OpenFiles()[fd].ino);
    // Nothing in it is to be read. Not a copy of `fd`, which may hold a lock.
    File& file = files_[OpenFiles()[fd].ino];
    file.fd = RawOpen(path, O_RDWR | O_CLOEXEC, 0);
    NT_CHECK(file.fd >= 0);
    names_.push_back({NameChange::Kind::kCreate, ParentOf(path), path, "", ""});
  } else if (truncate && SizeOf(fd) > 0) {
    Tracked(fd).changes.push_back({0, "", Change::Kind::kSize});
    NT_CHECK(RawTruncate(fd, 0) == 0);
  }
  if (changes) ChangeDone();
  return fd;
}

void Disk::Closed(int fd) { OpenFiles().erase(fd); }

ssize_t Disk::Write(int fd, const void* data, size_t size, int64_t offset) {
  if (!Change1()) return -1;
  if (rest_fails_ || (fail_write_in_ != 0 && --fail_write_in_ == 0)) {
    ++counts_.failed_writes;
    if (rest_fails_ || size < 2) {
      rest_fails_ = false;
      ChangeDone();
      errno = ENOSPC;
      return -1;
    }
    size /= 2;
    rest_fails_ = true;
  }
  const bool at_position = offset < 0;
  if (at_position) {
    offset = ::lseek(fd, 0, SEEK_CUR);
    NT_CHECK(offset >= 0);
  }
  if (!MayGrow(fd, offset + static_cast<int64_t>(size))) return -1;
  if (trace) Tell("write", PathOf(fd), offset, size);
  File& file = Tracked(fd);
  Change change;
  change.offset = offset;
  change.bytes.assign(static_cast<const char*>(data), size);
  WriteAllAt(fd, change.bytes, offset);
  if (at_position) NT_CHECK(::lseek(fd, offset + static_cast<int64_t>(size), SEEK_SET) >= 0);
  file.changes.push_back(std::move(change));
  ChangeDone();
  return static_cast<ssize_t>(size);
}

int Disk::Truncate(int fd, int64_t size) {
  if (!Change1()) return -1;
  if (trace) Tell("truncate", PathOf(fd), size, 0);
  Tracked(fd).changes.push_back({size, "", Change::Kind::kSize});
  NT_CHECK(RawTruncate(fd, size) == 0);
  ChangeDone();
  return 0;
}

int Disk::Allocate(int fd, int mode, int64_t offset, int64_t size) {
  if (!Change1()) return -1;
  if ((mode & FALLOC_FL_PUNCH_HOLE) == 0 && !MayGrow(fd, offset + size)) return -1;
  File& file = Tracked(fd);
  if (::syscall(SYS_fallocate, fd, mode, offset, size) != 0) return -1;
  if ((mode & FALLOC_FL_PUNCH_HOLE) != 0) {
    file.changes.push_back({offset, "", Change::Kind::kPunch, size});
  } else {
    file.changes.push_back({SizeOf(fd), "", Change::Kind::kSize});
  }
  ChangeDone();
  return 0;
}

int Disk::Sync(int fd) {
  if (!Change1()) return -1;
  const std::string& path = PathOf(fd);
  if (trace) Tell("sync", path, 0, 0);
  struct stat st {};
  NT_CHECK(::fstat(fd, &st) == 0);
  const bool forget = !forget_sync_of.empty() && ::fnmatch(forget_sync_of.c_str(), path.c_str(), 0) == 0;
  if (S_ISDIR(st.st_mode)) {
    if (!forget) {
      for (const NameChange& change : names_) {
        if (change.dir == path && !change.grave.empty()) RawUnlink(change.grave);
      }
      std::erase_if(names_, [&](const NameChange& change) { return change.dir == path; });
    }
  } else if (const auto at = files_.find(st.st_ino); at != files_.end()) {
    if (fail_sync_) {
      fail_sync_ = false;
      ++counts_.failed_syncs;
      for (Change& change : at->second.changes) change.lost = !change.safe;
      ChangeDone();
      if (hide_failed_syncs) return 0;
      errno = EIO;
      return -1;
    }
    if (!forget) {
      const bool lost = std::any_of(at->second.changes.begin(), at->second.changes.end(),
                                    [](const Change& change) { return change.lost; });
      if (!lost) Forget(st.st_ino);
      else
        for (Change& change : at->second.changes) change.safe = !change.lost;
    }
  }
  ChangeDone();
  return 0;
}

std::string Disk::Bury(const std::string& path) {
  std::string grave = root_ + kGraves + "/" + std::to_string(graves_++);
  NT_CHECK(::syscall(SYS_linkat, AT_FDCWD, path.c_str(), AT_FDCWD, grave.c_str(), 0) == 0);
  return grave;
}

int Disk::Rename(const std::string& from, const std::string& to) {
  if (!Change1()) return -1;
  struct stat st {};
  if (::lstat(from.c_str(), &st) != 0) return -1;
  std::string grave;
  if (S_ISREG(st.st_mode) && Exists(to)) grave = Bury(to);
  if (RawRename(from, to) != 0) return -1;
  if (trace) Tell("rename to", to, 0, 0);
  names_.push_back({NameChange::Kind::kRename, ParentOf(to), to, from, grave});
  ChangeDone();
  return 0;
}

int Disk::Unlink(const std::string& path) {
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return -1;
  if (!S_ISREG(st.st_mode)) {
    errno = S_ISDIR(st.st_mode) ? EISDIR : EPERM;
    return -1;
  }
  if (!Change1()) return -1;
  names_.push_back({NameChange::Kind::kUnlink, ParentOf(path), path, "", Bury(path)});
  NT_CHECK(RawUnlink(path) == 0);
  ChangeDone();
  return 0;
}

// Only of folders that hold nothing that is needed: gone at once.
int Disk::RemoveDir(const std::string& path) {
  if (!Change1()) return -1;
  const int result = RawUnlink(path, AT_REMOVEDIR);
  if (result == 0) std::erase_if(names_, [&](const NameChange& change) { return change.dir == path; });
  ChangeDone();
  return result;
}

int Disk::MakeDir(const std::string& path, mode_t mode) {
  if (Exists(path)) {
    errno = EEXIST;
    return -1;
  }
  if (!Change1()) return -1;
  const int result = static_cast<int>(::syscall(SYS_mkdirat, AT_FDCWD, path.c_str(), mode));
  if (result == 0) names_.push_back({NameChange::Kind::kMakeDir, ParentOf(path), path, "", ""});
  ChangeDone();
  return result;
}

void Disk::Undo(const NameChange& change) {
  switch (change.kind) {
    case NameChange::Kind::kCreate: RawUnlink(change.path); break;
    case NameChange::Kind::kUnlink: RawRename(change.grave, change.path); break;
    case NameChange::Kind::kRename:
      RawRename(change.path, change.from);
      if (!change.grave.empty()) RawRename(change.grave, change.path);
      break;
    case NameChange::Kind::kMakeDir: {
      // What was made in it went with it; undone first, as it came later,
      // unless its own names were synced: a folder without a name has none.
      const std::string command = "rm -rf -- '" + change.path + "'";
      if (RawUnlink(change.path, AT_REMOVEDIR) != 0 && errno == ENOTEMPTY) NT_CHECK(std::system(command.c_str()) == 0);
      break;
    }
  }
}

void Disk::PowerCut() {
  Kill();
  // Contents first: the files are held by descriptor, whatever their names.
  for (auto& [ino, file] : files_) {
    std::string content = file.durable;
    // Nothing, everything, or each by chance: the extremes are where bugs are.
    const uint64_t mood = rng_->Below(4);
    for (const Change& change : file.changes) {
      const bool keep = change.safe || (!change.lost && (mood == 0 ? false : mood == 1 ? true : rng_->Chance(50)));
      if (!keep) {
        ++counts_.lost_writes;
        if (trace)
          std::printf("      lost change at %lld +%zu of inode %llu\n", static_cast<long long>(change.offset),
                      change.bytes.size(), static_cast<unsigned long long>(ino));
        continue;
      }
      if (change.kind == Change::Kind::kSize) {
        content.resize(static_cast<size_t>(change.offset), '\0');
        continue;
      }
      std::string bytes = change.bytes;
      if (change.kind == Change::Kind::kPunch) {
        const auto end = std::min<int64_t>(change.offset + change.size, static_cast<int64_t>(content.size()));
        if (end <= change.offset) continue;
        bytes.assign(static_cast<size_t>(end - change.offset), '\0');
      } else if (mood == 3 && !change.safe && rng_->Chance(30)) {
        bytes.resize(static_cast<size_t>(rng_->Below(bytes.size() + 1)));
        ++counts_.torn_writes;
      }
      ++counts_.kept_writes;
      const auto end = static_cast<size_t>(change.offset) + bytes.size();
      if (end > content.size()) content.resize(end, '\0');
      content.replace(static_cast<size_t>(change.offset), bytes.size(), bytes);
    }
    NT_CHECK(RawTruncate(file.fd, 0) == 0);
    WriteAllAt(file.fd, content, 0);
    ::syscall(SYS_close, file.fd);
  }
  files_.clear();

  std::map<std::string, uint64_t> keep;  // how many of each folder's changes
  for (const NameChange& change : names_) ++keep[change.dir];
  for (auto& [dir, count] : keep) {
    const uint64_t mood = rng_->Below(3);
    count = mood == 0 ? 0 : mood == 1 ? count : rng_->Below(count + 1);
  }
  std::vector<NameChange> undo;
  for (const NameChange& change : names_) {
    if (keep[change.dir] > 0) {
      --keep[change.dir];
      ++counts_.kept_names;
      if (!change.grave.empty()) RawUnlink(change.grave);
      continue;
    }
    ++counts_.lost_names;
    if (trace) std::printf("      lost name %s\n", change.path.c_str());
    undo.push_back(change);
  }
  for (auto at = undo.rbegin(); at != undo.rend(); ++at) Undo(*at);
  names_.clear();
}

}  // namespace nodetrail::sim
