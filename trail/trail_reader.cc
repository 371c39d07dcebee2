// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <optional>
#include <system_error>

#include "nodetrail/trail/eviction.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/tile.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/segment_format.h"

namespace nodetrail::trail {
namespace {

constexpr size_t kReadAheadBytes = 1U << 20;

// "000042.leaves" -> 42.
std::optional<uint64_t> SegmentNumber(std::string_view name) {
  constexpr std::string_view kSuffix = ".leaves";
  if (name.size() < 6 + kSuffix.size() || !name.ends_with(kSuffix)) return std::nullopt;
  name.remove_suffix(kSuffix.size());
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size() || fmt::format("{:06}", number) != name) {
    return std::nullopt;
  }
  return number;
}

// Only a regular file: a FIFO must not block, a link must not lead away.
Result<UniqueFd> OpenRegular(const std::string& path) {
  auto opened = OpenFd(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  struct stat st {};
  if (!opened.ok()) {
    const bool link = ::lstat(path.c_str(), &st) == 0 && S_ISLNK(st.st_mode);
    return link ? DataLoss(fmt::format("{}: not a regular file", path)) : std::move(opened).status();
  }
  UniqueFd fd = *std::move(opened);
  if (::fstat(fd.get(), &st) != 0) return ErrnoStatus(errno, fmt::format("stat {}", path));
  if (!S_ISREG(st.st_mode)) return DataLoss(fmt::format("{}: not a regular file", path));
  return fd;
}

// The whole of a regular file.
Result<std::string> ReadRegular(const std::string& path, uint64_t max_bytes) {
  NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenRegular(path));
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return ErrnoStatus(errno, fmt::format("stat {}", path));
  if (st.st_size < 0 || static_cast<uint64_t>(st.st_size) > max_bytes) {
    return ResourceExhausted(fmt::format("{}: longer than {} bytes", path, max_bytes));
  }
  std::string out(static_cast<size_t>(st.st_size), '\0');
  size_t have = 0;
  while (have < out.size()) {
    const ssize_t n = ::pread(fd.get(), out.data() + have, out.size() - have, static_cast<off_t>(have));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus(errno, fmt::format("read {}", path));
    if (n == 0) break;
    have += static_cast<size_t>(n);
  }
  out.resize(have);
  return out;
}

// Sequential reading with look-ahead; `size` bytes or fewer at the end.
class Buffered {
 public:
  Buffered(int fd, std::string name, uint64_t offset) : fd_(fd), name_(std::move(name)), base_(offset) {}

  // A view of the next `size` bytes (fewer at the end of the file); valid
  // until the next call.
  Result<std::string_view> Peek(size_t size) {
    if (buffer_.size() - at_ < size) {
      buffer_.erase(0, at_);
      base_ += at_;
      at_ = 0;
      const size_t want = std::max(size, kReadAheadBytes);
      while (buffer_.size() < want) {
        const size_t have = buffer_.size();
        buffer_.resize(want);
        const ssize_t n = ::pread(fd_, buffer_.data() + have, want - have, static_cast<off_t>(base_ + have));
        if (n < 0) {
          buffer_.resize(have);
          if (errno == EINTR) continue;
          return ErrnoStatus(errno, fmt::format("read {}", name_));
        }
        buffer_.resize(have + static_cast<size_t>(n));
        if (n == 0) break;
      }
    }
    return std::string_view(buffer_).substr(at_, size);
  }
  void Skip(size_t size) { at_ += size; }
  [[nodiscard]] uint64_t offset() const { return base_ + at_; }

 private:
  int fd_;
  std::string name_;
  std::string buffer_;
  size_t at_ = 0;
  uint64_t base_;
};

// What stands at the reader's place.
enum class RecordState { kWhole, kEnd, kTorn, kDamaged };
struct RecordRead {
  RecordState state = RecordState::kEnd;
  std::string_view leaf;  // also of a damaged record, if its length may be right
};
Result<RecordRead> ReadRecord(Buffered* in) {
  NT_ASSIGN_OR_RETURN(const std::string_view header, in->Peek(kRecordHeaderBytes));
  if (header.empty()) return RecordRead{RecordState::kEnd, {}};
  if (header.size() < kRecordHeaderBytes) return RecordRead{RecordState::kTorn, {}};
  const uint64_t length = GetLe(header, 0, 4);
  const auto crc = static_cast<uint32_t>(GetLe(header, 4, 4));
  if (length == 0 || length > kMaxLeafBytes) return RecordRead{RecordState::kDamaged, {}};
  NT_ASSIGN_OR_RETURN(const std::string_view record, in->Peek(kRecordHeaderBytes + length));
  if (record.size() < kRecordHeaderBytes + length) return RecordRead{RecordState::kTorn, {}};
  const std::string_view leaf = record.substr(kRecordHeaderBytes);
  if (Crc32c(leaf) != crc) return RecordRead{RecordState::kDamaged, leaf};
  return RecordRead{RecordState::kWhole, leaf};
}

// Where the next whole record after `offset` begins. If there is none, damage
// at `offset` is the torn tail of an append that never finished.
Result<std::optional<uint64_t>> WholeRecordAfter(int fd, const std::string& name, uint64_t offset) {
  Buffered in(fd, name, offset + 1);
  while (true) {
    NT_ASSIGN_OR_RETURN(const std::string_view bytes, in.Peek(kRecordHeaderBytes + 1));
    if (bytes.size() <= kRecordHeaderBytes) return std::optional<uint64_t>();
    const char tag = bytes[kRecordHeaderBytes];
    if (tag == kBatchLeafTag || tag == kLogEntryLeafTag) {
      NT_ASSIGN_OR_RETURN(const RecordRead record, ReadRecord(&in));
      if (record.state == RecordState::kWhole) return std::optional<uint64_t>(in.offset());
    }
    in.Skip(1);
  }
}

}  // namespace

std::string BodyPath(const Hash& body_sha256) {
  const std::string hex = Hex(body_sha256);
  return fmt::format("bodies/{}/{}.zst", hex.substr(0, 2), hex);
}

std::string EvictionPath(const Hash& body_sha256) {
  const std::string hex = Hex(body_sha256);
  return fmt::format("bodies/{}/{}.evicted", hex.substr(0, 2), hex);
}

Result<std::unique_ptr<TrailReader>> TrailReader::Open(const std::string& dir) {
  NT_ASSIGN_OR_RETURN(std::unique_ptr<TrailReader> reader, OpenTrailOrBundle(dir));
  if (reader->is_bundle()) {
    return FailedPrecondition(fmt::format("{}: a bundle, not the trail itself; it can be verified only", dir));
  }
  return reader;
}

Result<std::unique_ptr<TrailReader>> TrailReader::OpenTrailOrBundle(const std::string& dir) {
  auto format = ReadFile(dir + "/FORMAT", 4096);
  if (!format.ok()) {
    if (format.status().code() == Code::kNotFound) return NotFound(fmt::format("{}: no trail here (no FORMAT)", dir));
    return std::move(format).status();
  }
  const bool bundle = *format == kBundleFormatFile;
  if (!bundle && *format != kFormatFile) {
    return FailedPrecondition(fmt::format("{}/FORMAT: not \"nodetrail-trail 1\"", dir));
  }
  std::unique_ptr<TrailReader> reader(new TrailReader());
  reader->dir_ = dir;
  reader->is_bundle_ = bundle;
  return reader;
}

Result<std::vector<TrailReader::Segment>> TrailReader::Segments(std::vector<std::string>* damage) const {
  std::vector<Segment> out;
  std::error_code error;
  const std::filesystem::path log = std::filesystem::path(dir_) / "log";
  for (std::filesystem::directory_iterator it(log, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (const auto number = SegmentNumber(name)) out.push_back({*number, 0, it->path().string(), "log/" + name});
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return ErrnoStatus(error.value(), fmt::format("list {}", log.string()));
  }
  std::sort(out.begin(), out.end(), [](const Segment& a, const Segment& b) { return a.number < b.number; });
  // Damage is an error, or noted and passed over.
  const auto damaged = [damage](std::string text) {
    if (damage == nullptr) return DataLoss(std::move(text));
    damage->push_back(std::move(text));
    return OkStatus();
  };
  std::vector<Segment> good;
  uint64_t next_number = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    Segment& segment = out[i];
    if (next_number < segment.number) {
      NT_RETURN_IF_ERROR(damaged(fmt::format("log/{:06}.leaves: the segment is missing", next_number)));
    }
    next_number = segment.number + 1;
    auto fd = OpenRegular(segment.path);
    if (!fd.ok() && fd.status().code() != Code::kDataLoss) return std::move(fd).status();
    std::string header;
    if (fd.ok()) {
      Buffered in(fd->get(), segment.name, 0);
      NT_ASSIGN_OR_RETURN(const std::string_view bytes, in.Peek(kSegmentHeaderBytes));
      header = std::string(bytes);
    }
    const auto first = ParseSegmentHeader(header);
    if (!first) {
      // A crash right after the file was made: it holds nothing yet.
      if (fd.ok() && i + 1 == out.size() && header.size() < kSegmentHeaderBytes) break;
      NT_RETURN_IF_ERROR(damaged(fmt::format("{}: the segment header is damaged", segment.name)));
      continue;
    }
    segment.first_index = *first;
    if (good.empty() ? *first != 0 : *first < good.back().first_index) {
      NT_RETURN_IF_ERROR(damaged(fmt::format("{}: begins at leaf {}", segment.name, *first)));
    }
    good.push_back(std::move(segment));
  }
  return good;
}

Status TrailReader::ForEach(uint64_t from, const LeafFn& fn) {
  torn_bytes_ = 0;
  NT_ASSIGN_OR_RETURN(const std::vector<Segment> segments, Segments());
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    const bool last = i + 1 == segments.size();
    // After a failed write the next segment repeats the index; it counts.
    const uint64_t end = last ? UINT64_MAX : segments[i + 1].first_index;
    if (end <= from) continue;
    NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenRegular(segment.path));
    Buffered in(fd.get(), segment.name, kSegmentHeaderBytes);
    for (uint64_t index = segment.first_index; index < end; ++index) {
      const LeafLocation where{index, segment.name, in.offset()};
      NT_ASSIGN_OR_RETURN(const RecordRead record, ReadRecord(&in));
      if (record.state != RecordState::kWhole) {
        if (!last) {
          return DataLoss(
              fmt::format("{} at offset {}: leaf {} is damaged or missing", segment.name, where.offset, index));
        }
        if (record.state == RecordState::kEnd) return OkStatus();
        NT_ASSIGN_OR_RETURN(const auto more, WholeRecordAfter(fd.get(), segment.name, where.offset));
        if (more) {
          return DataLoss(fmt::format("{} at offset {}: leaf {} is damaged", segment.name, where.offset, index));
        }
        struct stat st {};
        if (::fstat(fd.get(), &st) == 0) torn_bytes_ = static_cast<uint64_t>(st.st_size) - where.offset;
        return OkStatus();
      }
      if (index >= from && !fn(where, record.leaf)) return OkStatus();
      in.Skip(kRecordHeaderBytes + record.leaf.size());
    }
  }
  return OkStatus();
}

Status TrailReader::Inspect(const InspectFn& fn) {
  torn_bytes_ = 0;
  damage_.clear();
  NT_ASSIGN_OR_RETURN(const std::vector<Segment> segments, Segments(&damage_));
  for (size_t i = 0; i < segments.size(); ++i) {
    const Segment& segment = segments[i];
    const bool last = i + 1 == segments.size();
    const uint64_t end = last ? UINT64_MAX : segments[i + 1].first_index;
    NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenRegular(segment.path));
    Buffered in(fd.get(), segment.name, kSegmentHeaderBytes);
    for (uint64_t index = segment.first_index; index < end; ++index) {
      const LeafLocation where{index, segment.name, in.offset()};
      NT_ASSIGN_OR_RETURN(const RecordRead record, ReadRecord(&in));
      if (record.state == RecordState::kEnd && last) break;
      const bool whole = record.state == RecordState::kWhole;
      if (whole) {
        const size_t size = record.leaf.size();
        if (!fn(where, record.leaf, true)) return OkStatus();
        in.Skip(kRecordHeaderBytes + size);
        continue;
      }
      // The length may be what is wrong: what stands before the next whole
      // record is the damaged one.
      NT_ASSIGN_OR_RETURN(const auto next, WholeRecordAfter(fd.get(), segment.name, where.offset));
      if (!next) {
        if (last) {
          struct stat st {};
          if (::fstat(fd.get(), &st) == 0) torn_bytes_ = static_cast<uint64_t>(st.st_size) - where.offset;
        }
        if (!fn(where, record.leaf, false)) return OkStatus();
        break;
      }
      const uint64_t size = std::min<uint64_t>(*next - where.offset, kRecordHeaderBytes + kMaxLeafBytes);
      NT_ASSIGN_OR_RETURN(const std::string_view bytes, in.Peek(size));
      if (!fn(where, bytes.substr(std::min(kRecordHeaderBytes, bytes.size())), false)) return OkStatus();
      in.Skip(*next - where.offset);
    }
  }
  return OkStatus();
}

Status TrailReader::Scan() {
  NT_ASSIGN_OR_RETURN(const std::vector<Segment> segments, Segments());
  for (size_t i = 0; i < segments.size(); ++i) {
    if (i == index_.size()) index_.push_back({segments[i], {}, kSegmentHeaderBytes});
    Offsets& known = index_[i];
    known.segment = segments[i];
    const bool last = i + 1 == segments.size();
    const uint64_t limit = last ? UINT64_MAX : segments[i + 1].first_index - segments[i].first_index;
    if (known.offsets.size() >= limit) {
      known.offsets.resize(limit);
      continue;
    }
    NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenRegular(segments[i].path));
    Buffered in(fd.get(), segments[i].name, known.end);
    while (known.offsets.size() < limit) {
      NT_ASSIGN_OR_RETURN(const RecordRead record, ReadRecord(&in));
      if (record.state != RecordState::kWhole) {
        if (last && record.state == RecordState::kEnd) break;
        if (last) {
          NT_ASSIGN_OR_RETURN(const auto more, WholeRecordAfter(fd.get(), segments[i].name, known.end));
          if (!more) break;
        }
        return DataLoss(fmt::format("{} at offset {}: a leaf is damaged or missing", segments[i].name, known.end));
      }
      known.offsets.push_back(known.end);
      in.Skip(kRecordHeaderBytes + record.leaf.size());
      known.end = in.offset();
    }
  }
  return OkStatus();
}

Result<uint64_t> TrailReader::Size() {
  NT_RETURN_IF_ERROR(Scan());
  return index_.empty() ? uint64_t{0} : index_.back().segment.first_index + index_.back().offsets.size();
}

Result<std::string> TrailReader::Leaf(uint64_t index) {
  const auto find = [this, index]() -> const Offsets* {
    for (auto it = index_.rbegin(); it != index_.rend(); ++it) {
      if (index >= it->segment.first_index) {
        return index - it->segment.first_index < it->offsets.size() ? &*it : nullptr;
      }
    }
    return nullptr;
  };
  const Offsets* found = find();
  if (found == nullptr) {
    NT_RETURN_IF_ERROR(Scan());
    found = find();
    if (found == nullptr) return NotFound(fmt::format("leaf {}: not in the log", index));
  }
  NT_ASSIGN_OR_RETURN(const UniqueFd fd, OpenRegular(found->segment.path));
  const uint64_t offset = found->offsets[index - found->segment.first_index];
  std::string bytes(kRecordHeaderBytes + kMaxLeafBytes, '\0');
  ssize_t n = 0;
  do {
    n = ::pread(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoStatus(errno, fmt::format("read {}", found->segment.name));
  bytes.resize(static_cast<size_t>(n));
  if (bytes.size() < kRecordHeaderBytes) return DataLoss(fmt::format("leaf {}: cut off", index));
  const uint64_t length = GetLe(bytes, 0, 4);
  if (length == 0 || length > bytes.size() - kRecordHeaderBytes)
    return DataLoss(fmt::format("leaf {}: cut off", index));
  std::string leaf = bytes.substr(kRecordHeaderBytes, length);
  if (Crc32c(leaf) != GetLe(bytes, 4, 4)) return DataLoss(fmt::format("leaf {}: damaged", index));
  return leaf;
}

Result<std::string> TrailReader::Body(const Hash& sha256) const {
  return ReadRegular(dir_ + "/" + BodyPath(sha256), kMaxBodyBytes);
}

Result<std::string> TrailReader::Eviction(const Hash& body_sha256) const {
  return ReadRegular(dir_ + "/" + EvictionPath(body_sha256), kMaxEvictionBytes);
}

Result<std::string> TrailReader::Tile(std::string_view path) const {
  return ReadRegular(fmt::format("{}/log/{}", dir_, path), kMaxTileBytes);
}

Result<std::string> TrailReader::BundleFile(std::string_view path, uint64_t max_bytes) const {
  return ReadRegular(fmt::format("{}/{}", dir_, path), max_bytes);
}

Result<std::string> TrailReader::Checkpoint() const { return ReadFile(dir_ + "/log/checkpoint", 1U << 20); }

}  // namespace nodetrail::trail
