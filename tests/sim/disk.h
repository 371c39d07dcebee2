// SPDX-License-Identifier: Apache-2.0
//
// A disk that can be cut off. Everything below its root really lies in the
// directory (on tmpfs), so the code under test reads it back as ever; what it
// changes goes through the functions of libc.cc, and the disk remembers what
// of it was never synced. A power cut keeps an arbitrary part of that: each
// unsynced write kept, lost or torn, of the changes of a directory a prefix.
// That is what POSIX promises and no more: a synced file whose name was not
// synced may have no name.
#ifndef NODETRAIL_TESTS_SIM_DISK_H_
#define NODETRAIL_TESTS_SIM_DISK_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/rng.h"

namespace nodetrail::sim {

// One thread. While it lives, calls of libc on paths below `root` are its own.
class Disk {
 public:
  Disk(std::string root, Rng* rng);
  ~Disk();
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  [[nodiscard]] const std::string& root() const { return root_; }

  // The process that uses the disk dies around its n-th change from now
  // (n >= 1): before it has any effect, or right after. Every later change
  // fails with EIO and has no effect. `on_death` is called at that instant.
  void KillAt(uint64_t n, bool after);
  [[nodiscard]] bool armed() const { return kill_in_ != 0; }
  std::function<void()> on_death = [] {};
  [[nodiscard]] bool dead() const { return dead_; }
  void Disarm() { kill_in_ = 0; }
  // Dies now.
  void Kill();
  // A new process may use the disk.
  void Revive();
  // Power is gone: what was not synced is kept in part. Dead before and after.
  void PowerCut();

  // Everything that is there is durable. Dead before and after.
  void Settle();

  // The next fsync or fdatasync of a file fails with EIO, and what it should
  // have made durable never will be, though later calls succeed (as Linux
  // does since 4.13: the error is told once).
  void FailNextSync() { fail_sync_ = true; }
  // The n-th next write fails with ENOSPC, after half of it.
  void FailWrite(uint64_t n) { fail_write_in_ = n; }
  // Others fill the disk: until it was asked for room `n` times, no file grows.
  void FillUp(uint64_t n) { refusals_ = n; }

  // For planted bugs: syncs of paths that match this pattern, fnmatch(3), are
  // left out, and succeed. Empty: none.
  std::string forget_sync_of;
  // Another: a sync that fails says that it succeeded.
  bool hide_failed_syncs = false;
  bool trace = false;  // prints each change, and what a power cut took

  [[nodiscard]] uint64_t changes() const { return changes_; }
  // How often each thing happened.
  struct Counts {
    uint64_t lost_writes = 0, torn_writes = 0, kept_writes = 0, lost_names = 0, kept_names = 0;
    uint64_t failed_syncs = 0, failed_writes = 0, refused_growths = 0;
  };
  [[nodiscard]] const Counts& counts() const { return counts_; }

  // For libc.cc. Each is the call: result, or -1 with errno set. Paths are
  // absolute and below root().
  int Open(const std::string& path, int flags, mode_t mode);
  void Closed(int fd);
  ssize_t Write(int fd, const void* data, size_t size, int64_t offset);  // offset -1: at the file's position
  int Truncate(int fd, int64_t size);
  int Allocate(int fd, int mode, int64_t offset, int64_t size);
  int Sync(int fd);
  int Rename(const std::string& from, const std::string& to);
  int Unlink(const std::string& path);
  int RemoveDir(const std::string& path);
  int MakeDir(const std::string& path, mode_t mode);

  // The disk that holds the path or the descriptor; null: none does.
  static Disk* Of(const std::string& path);
  static Disk* Of(int fd);
  // Past every disk: what the world does to a folder of one that is settled.
  static void Move(const std::string& from, const std::string& to);
  // Path that `fd` was opened under; only of a disk's own.
  static const std::string& PathOf(int fd);

 private:
  struct Change {
    int64_t offset = 0;  // of a write; new size of a truncation
    std::string bytes;
    enum class Kind { kWrite, kSize, kPunch } kind = Kind::kWrite;
    int64_t size = 0;   // of a hole
    bool lost = false;  // a sync of it failed
    bool safe = false;  // a later sync succeeded, after another's loss
  };
  struct File {
    int fd = -1;  // ours, to read and to rewrite it
    std::string durable;
    std::vector<Change> changes;
  };
  struct NameChange {
    enum class Kind { kCreate, kUnlink, kRename, kMakeDir } kind = Kind::kCreate;
    std::string dir;
    std::string path;   // of kRename: the new one
    std::string from;   // kRename
    std::string grave;  // what kUnlink removed, or kRename replaced; empty: nothing
  };

  void Tell(const char* what, const std::string& path, int64_t offset, size_t size) const;
  // True: this change happens. False: errno is set.
  bool Change1();
  void ChangeDone();
  // True: the file may be that long.
  bool MayGrow(int fd, int64_t size);
  File& Tracked(int fd);
  void Forget(uint64_t ino);
  std::string Bury(const std::string& path);
  void Undo(const NameChange& change);

  const std::string root_;
  Rng* const rng_;
  std::map<uint64_t, File> files_;  // by inode: with changes that are not durable
  std::vector<NameChange> names_;   // in order
  uint64_t graves_ = 0;
  uint64_t kill_in_ = 0;
  bool kill_after_ = false;
  bool dead_ = false;
  bool fail_sync_ = false;
  uint64_t fail_write_in_ = 0;
  bool rest_fails_ = false;
  uint64_t refusals_ = 0;
  uint64_t changes_ = 0;
  Counts counts_;
};

}  // namespace nodetrail::sim

#endif  // NODETRAIL_TESTS_SIM_DISK_H_
