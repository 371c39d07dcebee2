// SPDX-License-Identifier: Apache-2.0
//
// Role: the trail as readers see it: leaves by number, and bodies, opened.
// Reads a stored body, checks it against what its leaf
// says, decompresses and parses it; keeps the last ones. What readers get are
// these records, verbatim, never a copy that an index made.
#ifndef NODETRAIL_COLLECTOR_INDEX_BATCH_STORE_H_
#define NODETRAIL_COLLECTOR_INDEX_BATCH_STORE_H_

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/base/status.h"
#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/schema/event_view.h"
#include "nodetrail/trail/trail_store.h"

namespace nodetrail::collector {

// What is needed of a leaf to open its body and to say where its events are.
struct LeafInfo {
  uint64_t log_index = 0;
  std::string tenant;
  std::string agent_id;
  uint64_t epoch = 0;
  uint64_t batch_seq = 0;
  uint64_t first_event_seq = 1;
  uint64_t last_event_seq = 0;
  uint64_t event_count = 0;
  bool has_body = false;
  trail::Hash body_sha256{};
  uint64_t raw_len = 0;
  uint64_t stored_len = 0;
  uint64_t received_wall_ns = 0;  // 0: not known
  uint64_t sealed_wall_ns = 0;
  std::string hostname;  // 0 bytes: not known

  static LeafInfo Of(uint64_t log_index, const trail::v1::BatchHeader& header);
  [[nodiscard]] schema::RowFacts Facts() const;
};

// Immutable.
class OpenBatch {
 public:
  [[nodiscard]] const event::v1::EventBatch& batch() const { return batch_; }
  // Record bytes of event `ordinal` parsed into *out. False: there is none, or
  // it does not parse.
  bool Event(size_t ordinal, event::v1::Event* out) const;
  // The dictionary entry of an event's actor: nothing if it is not there, or
  // does not parse. Lives as long as this.
  struct ActorEntry {
    const event::v1::Process* process = nullptr;
    std::string_view bytes;  // verbatim
  };
  [[nodiscard]] ActorEntry Actor(const event::v1::Event& event) const;
  [[nodiscard]] size_t bytes() const { return bytes_; }

 private:
  friend class BatchStore;
  using Key = std::pair<std::string, uint32_t>;  // proc_uid, exec_count
  event::v1::EventBatch batch_;
  std::map<Key, size_t> actors_;  // place among processes
  std::vector<event::v1::Process> processes_;
  size_t bytes_ = 0;
};

// Thread-safe.
class BatchStore {
 public:
  BatchStore(std::string trail_dir, size_t cache_bytes);

  // NotFound if the body is not there (retired, or lost); DataLoss if it is not
  // what the leaf says.
  Result<std::shared_ptr<const OpenBatch>> Open(const LeafInfo& leaf);
  // Whether the agent's statement that it gave this body up is there instead.
  // What it says is for the verifiers to judge.
  [[nodiscard]] bool GivenUp(const trail::Hash& body_sha256) const;
  // Drops the copy of a body that is being deleted.
  void Forget(const trail::Hash& body_sha256);
  // Whether the body is there.
  [[nodiscard]] bool Has(const trail::Hash& body_sha256) const;
  // One leaf, verbatim. The first call reads through the log once.
  Result<std::string> Leaf(uint64_t log_index);
  // When the collector stored the body, ns since the Unix epoch; 0 if unknown.
  [[nodiscard]] uint64_t ReceivedWallNs(const trail::Hash& body_sha256) const;

 private:
  Result<std::shared_ptr<const OpenBatch>> Load(const LeafInfo& leaf);

  const std::string trail_dir_;
  const size_t cache_bytes_;
  std::mutex reader_mutex_;
  std::unique_ptr<trail::TrailReader> reader_;
  std::mutex mutex_;  // of all below
  struct Entry {
    std::shared_ptr<const OpenBatch> batch;
    std::list<trail::Hash>::iterator age;
  };
  std::map<trail::Hash, Entry> cache_;
  std::list<trail::Hash> ages_;  // newest first
  size_t cached_bytes_ = 0;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INDEX_BATCH_STORE_H_
