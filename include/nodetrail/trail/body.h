// SPDX-License-Identifier: Apache-2.0
//
// Bodies: compression with hard limits, and the records that events_root is
// made of. Thread-safe.
#ifndef NODETRAIL_TRAIL_BODY_H_
#define NODETRAIL_TRAIL_BODY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/leaf.h"

namespace nodetrail::trail {

// One zstd frame with its content size. OutOfRange above kMaxBodyBytes.
Result<std::string> CompressBody(std::string_view raw, int level = 3);

// `stored` must be one whole zstd frame that says it holds exactly `raw_len`
// bytes, and holds them. `raw_len` is checked against kMaxBodyBytes before
// anything is allocated; nothing larger is ever written.
Result<std::string> DecompressBody(std::string_view stored, uint64_t raw_len);

// The stored bytes against the header: length and SHA-256. Before any of them
// is decompressed.
Status CheckStoredBody(std::string_view stored, const v1::BatchHeader& header);

// Views into `batch` of the records in the order of events_root: host (if
// present), processes, events, absent.
std::vector<std::string_view> Records(const event::v1::EventBatch& batch);
std::vector<Hash> RecordHashes(const event::v1::EventBatch& batch);
Hash EventsRoot(const event::v1::EventBatch& batch);
// Index of events[i] among the records.
uint64_t EventRecordIndex(const event::v1::EventBatch& batch, uint64_t event);

// Number and kind of a serialised Event without parsing the rest of it.
// Nothing if the bytes are not an Event.
struct EventBrief {
  uint64_t seq = 0;
  event::v1::Kind kind = event::v1::KIND_UNSPECIFIED;
};
std::optional<EventBrief> PeekEvent(std::string_view event);

// One record disclosed alone: shows that `record` is number `index` of the
// records under header.events_root.
struct RecordProof {
  uint64_t index = 0;
  uint64_t size = 0;
  std::vector<Hash> path;
};
Result<RecordProof> ProveRecord(const event::v1::EventBatch& batch, uint64_t index);
Status VerifyRecord(std::string_view record, const RecordProof& proof, const Hash& events_root);

// Hash, length, decompression, parse, events_root, event count, and that
// events and absent ranges together cover first_event_seq..last_event_seq
// without gap or overlap. Returns the batch.
Result<event::v1::EventBatch> OpenBody(std::string_view stored, const v1::BatchHeader& header);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_BODY_H_
