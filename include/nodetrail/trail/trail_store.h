// SPDX-License-Identifier: Apache-2.0
//
// The trail directory, as it lies on the collector's disk:
//   FORMAT                 "nodetrail-trail 1\n"
//   log/NNNNNN.leaves      append-only segments of leaves, 000000 first
//   log/checkpoint         signed note
//   log/tile/              the log as C2SP tiles, for a web server; derived
//   bodies/ab/<64 hex>.zst stored bodies, named by their SHA-256
//   bodies/ab/<64 hex>.evicted  statements in the place of bodies given up
// docs/trail-format.md specifies the bytes.
#ifndef NODETRAIL_TRAIL_TRAIL_STORE_H_
#define NODETRAIL_TRAIL_TRAIL_STORE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/leaf.h"

namespace nodetrail::trail {

inline constexpr uint64_t kLeafSegmentBytes = 64U << 20;

// bodies/ab/<hex>.zst, relative to the trail directory.
std::string BodyPath(const Hash& body_sha256);
// bodies/ab/<hex>.evicted: the agent's statement in that body's place.
std::string EvictionPath(const Hash& body_sha256);

// The only writer of a trail directory (it holds a lock on LOCK). One
// thread at a time; readers may read meanwhile.
class TrailWriter {
 public:
  struct Options {
    uint64_t segment_bytes = kLeafSegmentBytes;
  };
  // Creates the directory if need be; cuts a torn tail off the last segment
  // (the cut bytes go to quarantine/). DataLoss if something before the tail
  // is damaged: that is never repaired. FailedPrecondition if another writer
  // holds the directory or FORMAT is another version.
  static Result<std::unique_ptr<TrailWriter>> Open(const std::string& dir, const Options& options);
  static Result<std::unique_ptr<TrailWriter>> Open(const std::string& dir) { return Open(dir, Options{}); }

  ~TrailWriter();
  TrailWriter(const TrailWriter&) = delete;
  TrailWriter& operator=(const TrailWriter&) = delete;

  // Index that the next leaf gets: the number of leaves.
  [[nodiscard]] uint64_t size() const { return next_index_; }

  // Makes bodies durable, each under its hash. Those that are there already
  // are left alone. Before the leaves that name them.
  Status PutBodies(std::span<const std::pair<Hash, std::string_view>> bodies);
  Status PutBody(const Hash& sha256, std::string_view body);
  // The same for statements about evicted bodies, each under its body's hash.
  Status PutEvictions(std::span<const std::pair<Hash, std::string_view>> evictions);

  // Group commit: all of `leaves`, in order, then one fdatasync. OK means all
  // are durable, from index size() (before the call) on. On error none counts:
  // the file is not written to again, and the next call starts a new segment
  // with the same index.
  Status AppendLeaves(std::span<const std::string_view> leaves);

  // Replaces log/checkpoint atomically and durably.
  Status WriteCheckpoint(std::string_view note);

 private:
  TrailWriter() = default;
  Status StartSegment();
  using PathOf = std::string (*)(const Hash&);
  Status PutFiles(std::span<const std::pair<Hash, std::string_view>> files, PathOf path_of);
  Status PutFileGroup(std::span<const std::pair<Hash, std::string_view>> files, PathOf path_of,
                      std::set<std::string>* dirs);

  std::string dir_;
  Options options_;
  UniqueFd lock_;
  std::set<std::string> named_dirs_;  // of bodies/, whose own name this writer has made durable
  UniqueFd segment_;
  std::string segment_path_;
  uint64_t segment_size_ = 0;
  uint64_t segment_number_ = 0;  // of the next segment to start
  uint64_t next_index_ = 0;
};

struct LeafLocation {
  uint64_t index = 0;
  std::string file;     // "log/000000.leaves"
  uint64_t offset = 0;  // of the record, bytes
};

// Reads a trail directory; the writer may be at work. One thread at a time.
class TrailReader {
 public:
  // NotFound if there is no trail, FailedPrecondition for another FORMAT.
  static Result<std::unique_ptr<TrailReader>> Open(const std::string& dir);
  // A trail, or a bundle (nodetrail/trail/bundle.h): the same files, but bodies
  // of its scope only.
  static Result<std::unique_ptr<TrailReader>> OpenTrailOrBundle(const std::string& dir);

  TrailReader(const TrailReader&) = delete;
  TrailReader& operator=(const TrailReader&) = delete;

  // Every leaf from `from` on, in order, as far as whole records reach. Stops
  // when `fn` returns false. DataLoss, naming file and offset, if a record is
  // damaged and it is not the torn tail of the last segment, or a segment is
  // missing. Constant memory.
  using LeafFn = std::function<bool(const LeafLocation& where, std::string_view leaf)>;
  Status ForEach(uint64_t from, const LeafFn& fn);

  // As ForEach from 0, but goes on over damage, for who must name it: what
  // stands between two whole records is handed to `fn` as one leaf with `whole`
  // false. It may be empty, and torn_bytes() is set, if nothing whole follows
  // in the last segment.
  using InspectFn = std::function<bool(const LeafLocation& where, std::string_view leaf, bool whole)>;
  Status Inspect(const InspectFn& fn);

  // One leaf. The first call scans the lengths of the segments (8 bytes of
  // memory per leaf); later calls read only what was appended since.
  Result<std::string> Leaf(uint64_t index);

  // Number of whole leaves now in the log (scans as Leaf does).
  Result<uint64_t> Size();

  // Stored bytes; NotFound if there is no such file, ResourceExhausted if it
  // is longer than kMaxBodyBytes. The caller checks the hash.
  Result<std::string> Body(const Hash& sha256) const;
  // The statement in the place of that body, as stored; errors as Body.
  Result<std::string> Eviction(const Hash& body_sha256) const;

  // The file log/<path> of a tile (TilePath); NotFound if there is no such file,
  // DataLoss if it is not a regular one, ResourceExhausted if it is longer than
  // any tile. Unverified.
  Result<std::string> Tile(std::string_view path) const;

  // A file of a bundle, by its path in it; errors as Tile. Unverified.
  Result<std::string> BundleFile(std::string_view path, uint64_t max_bytes) const;

  // log/checkpoint; NotFound if there is none.
  Result<std::string> Checkpoint() const;

  // Bytes after the last whole record that ForEach met: a torn or unfinished write.
  [[nodiscard]] uint64_t torn_bytes() const { return torn_bytes_; }
  // What Inspect met that is not a leaf: missing segments, damaged headers.
  [[nodiscard]] const std::vector<std::string>& damage() const { return damage_; }
  [[nodiscard]] const std::string& dir() const { return dir_; }
  [[nodiscard]] bool is_bundle() const { return is_bundle_; }

 private:
  struct Segment {
    uint64_t number = 0;
    uint64_t first_index = 0;
    std::string path;  // absolute
    std::string name;  // relative
  };
  TrailReader() = default;
  // `damage` null: the first damaged segment is an error.
  Result<std::vector<Segment>> Segments(std::vector<std::string>* damage = nullptr) const;
  Status Scan();

  std::string dir_;
  bool is_bundle_ = false;
  uint64_t torn_bytes_ = 0;
  std::vector<std::string> damage_;
  struct Offsets {
    Segment segment;
    std::vector<uint64_t> offsets;  // of each record
    uint64_t end = 0;               // scanned so far
  };
  std::vector<Offsets> index_;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_TRAIL_STORE_H_
