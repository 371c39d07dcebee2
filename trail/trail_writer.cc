// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <set>

#include "nodetrail/trail/note.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/segment_format.h"

namespace nodetrail::trail {
namespace {

constexpr std::string_view kDirs[] = {"log", "bodies", "quarantine"};

Status Lock(const std::string& path, UniqueFd* lock) {
  NT_ASSIGN_OR_RETURN(*lock, OpenFd(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0640));
  if (::flock(lock->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return FailedPrecondition(fmt::format("{}: another process writes this trail; stop it first", path));
    }
    return ErrnoStatus(errno, fmt::format("lock {}", path));
  }
  return OkStatus();
}

// Keeps what is cut off: it is never needed, but nobody should have to trust that.
Status Quarantine(const std::string& dir, const std::string& segment, uint64_t from, uint64_t size) {
  NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenFd(segment, O_RDONLY | O_NOFOLLOW));
  std::string bytes(size, '\0');
  const ssize_t n = ::pread(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(from));
  if (n < 0) return ErrnoStatus(errno, fmt::format("read {}", segment));
  bytes.resize(static_cast<size_t>(n));
  const std::string name = std::filesystem::path(segment).filename().string();
  return WriteFileAtomically(
      fmt::format("{}/quarantine/{}-{}-{}.torn", dir, name, from, Hex(Sha256Of(bytes)).substr(0, 8)), bytes);
}

// Leaves under a checkpoint were durable before it was signed. Only decides how
// much is written again, so the signature is not looked at; 0 if in doubt.
uint64_t CheckpointSize(const TrailReader& reader) {
  const auto bytes = reader.Checkpoint();
  if (!bytes.ok()) return 0;
  const auto note = ParseNote(*bytes);
  if (!note.ok()) return 0;
  const auto checkpoint = ParseCheckpointBody(note->text);
  return checkpoint.ok() ? checkpoint->size : 0;
}

// From here on [from, end) counts. Its writer may have been killed before its
// fdatasync, or after one that failed: the kernel then holds the pages as if
// they were written, and no fdatasync would ever write them. So they are
// written again.
Status MakeTailDurable(int fd, const std::string& path, uint64_t from, uint64_t end) {
  std::string chunk(1U << 20, '\0');
  while (from < end) {
    const size_t want = std::min<uint64_t>(chunk.size(), end - from);
    const ssize_t n = ::pread(fd, chunk.data(), want, static_cast<off_t>(from));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ErrnoStatus(n < 0 ? errno : EIO, fmt::format("read {}", path));
    if (::lseek(fd, static_cast<off_t>(from), SEEK_SET) < 0) return ErrnoStatus(errno, fmt::format("seek {}", path));
    NT_RETURN_IF_ERROR(WriteAll(fd, std::string_view(chunk).substr(0, static_cast<size_t>(n)), path));
    from += static_cast<uint64_t>(n);
  }
  if (::fdatasync(fd) != 0) return ErrnoStatus(errno, fmt::format("fdatasync {}", path));
  return OkStatus();
}

}  // namespace

TrailWriter::~TrailWriter() = default;

Result<std::unique_ptr<TrailWriter>> TrailWriter::Open(const std::string& dir, const Options& options) {
  NT_RETURN_IF_ERROR(MakeDirectories(dir));
  std::unique_ptr<TrailWriter> writer(new TrailWriter());
  writer->dir_ = dir;
  writer->options_ = options;
  // The lock is on a file of its own: FORMAT is replaced by rename.
  NT_RETURN_IF_ERROR(Lock(dir + "/LOCK", &writer->lock_));
  for (const std::string_view sub : kDirs) NT_RETURN_IF_ERROR(MakeDirectories(fmt::format("{}/{}", dir, sub)));
  const std::string format_path = dir + "/FORMAT";
  auto format = ReadFile(format_path, 4096);
  if (!format.ok()) {
    if (format.status().code() != Code::kNotFound) return std::move(format).status();
    // A process that died after it made the folder may have left a name that is
    // not durable: it would take everything in it along.
    const std::string parent = std::filesystem::absolute(dir).lexically_normal().parent_path().string();
    NT_RETURN_IF_ERROR(FsyncDirectory(parent));
    NT_RETURN_IF_ERROR(WriteFileAtomically(format_path, kFormatFile));
  } else if (*format != kFormatFile) {
    return FailedPrecondition(fmt::format("{}: not \"nodetrail-trail 1\"", format_path));
  }

  NT_RETURN_IF_ERROR(FsyncDirectory(dir + "/bodies"));
  NT_RETURN_IF_ERROR(FsyncDirectory(dir));

  NT_ASSIGN_OR_RETURN(const std::unique_ptr<TrailReader> reader, TrailReader::Open(dir));
  std::string last_file;
  uint64_t last_end = kSegmentHeaderBytes;
  uint64_t durable_end = kSegmentHeaderBytes;  // of that file; what follows may be in memory only
  const uint64_t covered = CheckpointSize(*reader);
  NT_RETURN_IF_ERROR(reader->ForEach(0, [&](const LeafLocation& where, std::string_view leaf) {
    writer->next_index_ = where.index + 1;
    if (where.file != last_file) durable_end = kSegmentHeaderBytes;
    last_file = where.file;
    last_end = where.offset + kRecordHeaderBytes + leaf.size();
    if (where.index < covered) durable_end = last_end;
    return true;
  }));
  uint64_t count = 0;
  while (std::filesystem::exists(fmt::format("{}/log/{:06}.leaves", dir, count))) ++count;
  writer->segment_number_ = count;
  if (count == 0) return writer;

  // Go on in the last segment, cut to its last whole record.
  const std::string name = fmt::format("log/{:06}.leaves", count - 1);
  const std::string path = dir + "/" + name;
  NT_ASSIGN_OR_RETURN(UniqueFd fd, OpenFd(path, O_RDWR | O_NOFOLLOW));
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return ErrnoStatus(errno, fmt::format("stat {}", path));
  const auto size = static_cast<uint64_t>(st.st_size);
  if (size < kSegmentHeaderBytes) {
    // Its header never became whole, so it holds nothing: made anew.
    if (::unlink(path.c_str()) != 0) return ErrnoStatus(errno, fmt::format("unlink {}", path));
    writer->segment_number_ = count - 1;
    return writer;
  }
  const uint64_t end = name == last_file ? last_end : kSegmentHeaderBytes;
  if (size > end) {
    NT_RETURN_IF_ERROR(Quarantine(dir, path, end, size - end));
    if (::ftruncate(fd.get(), static_cast<off_t>(end)) != 0)
      return ErrnoStatus(errno, fmt::format("truncate {}", path));
  }
  // The segment's header and name, too, if nothing in it is known to be durable.
  const uint64_t from = durable_end > kSegmentHeaderBytes ? std::min(durable_end, end) : 0;
  NT_RETURN_IF_ERROR(MakeTailDurable(fd.get(), path, from, end));
  NT_RETURN_IF_ERROR(FsyncDirectory(dir + "/log"));
  writer->segment_ = std::move(fd);
  writer->segment_path_ = path;
  writer->segment_size_ = end;
  return writer;
}

Status TrailWriter::StartSegment() {
  segment_.Reset();
  const std::string path = fmt::format("{}/log/{:06}.leaves", dir_, segment_number_);
  NT_ASSIGN_OR_RETURN(UniqueFd fd, OpenFd(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0640));
  const auto fail = [&path](Status status) {
    ::unlink(path.c_str());  // nothing in it counts; the number is used again
    return status;
  };
  if (Status status = WriteAll(fd.get(), SegmentHeader(next_index_), path); !status.ok()) return fail(status);
  if (::fdatasync(fd.get()) != 0) return fail(ErrnoStatus(errno, fmt::format("fdatasync {}", path)));
  if (Status status = FsyncDirectory(dir_ + "/log"); !status.ok()) return fail(status);
  segment_ = std::move(fd);
  segment_path_ = path;
  segment_size_ = kSegmentHeaderBytes;
  ++segment_number_;
  return OkStatus();
}

Status TrailWriter::AppendLeaves(std::span<const std::string_view> leaves) {
  if (leaves.empty()) return OkStatus();
  std::string bytes;
  for (const std::string_view leaf : leaves) {
    if (leaf.empty() || leaf.size() > kMaxLeafBytes) {
      return InvalidArgument(fmt::format("log: a leaf of {} bytes, 1 to {} allowed", leaf.size(), kMaxLeafBytes));
    }
    PutLe(&bytes, leaf.size(), 4);
    PutLe(&bytes, Crc32c(leaf), 4);
    bytes += leaf;
  }
  if (!segment_.valid() || segment_size_ + bytes.size() > options_.segment_bytes) {
    // A group is never split: it is one segment's, even if that grows past its size.
    if (!segment_.valid() || segment_size_ > kSegmentHeaderBytes) NT_RETURN_IF_ERROR(StartSegment());
  }
  if (::lseek(segment_.get(), static_cast<off_t>(segment_size_), SEEK_SET) < 0) {
    return ErrnoStatus(errno, fmt::format("seek {}", segment_path_));
  }
  if (Status status = WriteAll(segment_.get(), bytes, segment_path_); !status.ok()) {
    segment_.Reset();
    return status;
  }
  if (::fdatasync(segment_.get()) != 0) {
    // The kernel may have dropped the pages and will report success next time.
    const Status status = ErrnoStatus(errno, fmt::format("fdatasync {}", segment_path_));
    segment_.Reset();
    return status;
  }
  segment_size_ += bytes.size();
  next_index_ += leaves.size();
  return OkStatus();
}

Status TrailWriter::PutBody(const Hash& sha256, std::string_view body) {
  const std::pair<Hash, std::string_view> one(sha256, body);
  return PutBodies({&one, 1});
}

Status TrailWriter::PutBodies(std::span<const std::pair<Hash, std::string_view>> bodies) {
  return PutFiles(bodies, &BodyPath);
}

Status TrailWriter::PutEvictions(std::span<const std::pair<Hash, std::string_view>> evictions) {
  return PutFiles(evictions, &EvictionPath);
}

// All of a group is written before the first of it is synced: the file
// system then commits them together, and the later syncs find it done. One by
// one each costs a commit of its own.
Status TrailWriter::PutFiles(std::span<const std::pair<Hash, std::string_view>> files, PathOf path_of) {
  // Descriptors held at once.
  constexpr size_t kAtOnce = 64;
  std::set<std::string> dirs;
  while (!files.empty()) {
    const size_t count = std::min(files.size(), kAtOnce);
    NT_RETURN_IF_ERROR(PutFileGroup(files.first(count), path_of, &dirs));
    files = files.subspan(count);
  }
  for (const std::string& dir : dirs) NT_RETURN_IF_ERROR(FsyncDirectory(dir));
  // Only now are the names of the folders themselves durable, too: after a
  // failure before this, the next group syncs them again.
  for (const std::string& dir : dirs) named_dirs_.insert(dir);
  return OkStatus();
}

Status TrailWriter::PutFileGroup(std::span<const std::pair<Hash, std::string_view>> files, PathOf path_of,
                                 std::set<std::string>* dirs) {
  struct Temp {
    UniqueFd fd;
    std::string temp;
    std::string path;
    bool renamed = false;
  };
  struct Temps {
    ~Temps() {
      for (const Temp& t : files) {
        if (!t.renamed) ::unlink(t.temp.c_str());
      }
    }
    std::vector<Temp> files;
  } temps;
  std::set<std::string> here;
  for (const auto& [sha256, bytes] : files) {
    const std::string path = dir_ + "/" + path_of(sha256);
    if (!here.insert(path).second) continue;  // twice in this group
    struct stat st {};
    const std::string parent = std::filesystem::path(path).parent_path().string();
    if (!named_dirs_.contains(parent)) dirs->insert(dir_ + "/bodies");
    const bool there = ::lstat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode);
    // The name is the hash of a body, not of a statement: the first one stays,
    // so that no agent can replace what another one said.
    if (there && (path_of == &EvictionPath || static_cast<uint64_t>(st.st_size) == bytes.size())) {
      dirs->insert(parent);  // renamed before a crash, maybe, and not synced
      continue;
    }
    if (::mkdir(parent.c_str(), 0750) != 0 && errno != EEXIST) {
      return ErrnoStatus(errno, fmt::format("mkdir {}", parent));
    }
    dirs->insert(parent);
    const std::string temp = path + ".tmp";
    NT_ASSIGN_OR_RETURN(UniqueFd fd, OpenFd(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0640));
    temps.files.push_back({std::move(fd), temp, path, false});
    NT_RETURN_IF_ERROR(WriteAll(temps.files.back().fd.get(), bytes, temp));
  }
  for (const Temp& t : temps.files) {
    if (::fdatasync(t.fd.get()) != 0) return ErrnoStatus(errno, fmt::format("fdatasync {}", t.temp));
  }
  for (Temp& t : temps.files) {
    if (::rename(t.temp.c_str(), t.path.c_str()) != 0) return ErrnoStatus(errno, fmt::format("rename {}", t.temp));
    t.renamed = true;
  }
  return OkStatus();
}

Status TrailWriter::WriteCheckpoint(std::string_view note) {
  return WriteFileAtomically(dir_ + "/log/checkpoint", note);
}

}  // namespace nodetrail::trail
