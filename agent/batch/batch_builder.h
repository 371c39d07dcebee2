// SPDX-License-Identifier: Apache-2.0
//
// One event.v1.EventBatch under construction: events, the dictionary of the
// processes they refer to, and the Merkle root over all of it.
#ifndef NODETRAIL_AGENT_BATCH_BATCH_BUILDER_H_
#define NODETRAIL_AGENT_BATCH_BATCH_BUILDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "agent/attribute/process.h"
#include "agent/batch/batch_content.h"
#include "agent/batch/event_encoder.h"
#include "agent/batch/wire_writer.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::agent {

// The format's limit for a raw body.
inline constexpr uint64_t kMaxRawBody = uint64_t{8} << 20U;

// Thread: pipeline. Buffers are reused from batch to batch.
class BatchBuilder {
 public:
  // Serialised event.v1.Host: whole in the next batch, by hash in the others.
  void SetHost(std::string host);

  // Where to write the next event; End() takes it in. Nothing else of the
  // builder may be called between the two.
  WireWriter* BeginEvent();
  void EndEvent(uint64_t seq, uint64_t t_boot_ns, uint64_t t_wall_ns, EvidenceClass cls);

  // Puts the process into the dictionary, unless it is there. False: another
  // state of the same image is there, so the batch must be closed first.
  bool AddProcess(Process* process, EventEncoder* encoder);

  // Sequence numbers that are absent on purpose.
  void AddAbsent(uint64_t first_seq, uint64_t last_seq, std::string_view rule);

  [[nodiscard]] bool empty() const { return event_count_ == 0 && absent_.size() == 0; }
  [[nodiscard]] uint64_t event_count() const { return event_count_; }
  // Bytes of the body if it were closed now.
  [[nodiscard]] uint64_t raw_size() const;
  [[nodiscard]] bool has_critical() const { return critical_boot_ns_ != 0; }
  // Time of the first event; of the first critical one. 0: none.
  [[nodiscard]] uint64_t first_boot_ns() const { return first_boot_ns_; }
  [[nodiscard]] uint64_t critical_boot_ns() const { return critical_boot_ns_; }

  // Closes the batch and begins the next. `next_seq`: the sequence number that
  // the next event will have; now_*: the times of a batch without events.
  BatchContent Take(trail::v1::BatchType type, uint64_t next_seq, uint64_t now_boot_ns, uint64_t now_wall_ns);

 private:
  uint64_t number_ = 1;  // Process::dictionary.batch refers to it
  std::string host_;
  trail::Hash host_sha256_{};
  bool host_due_ = false;
  WireWriter processes_, events_, absent_;
  std::vector<trail::Hash> process_leaves_, event_leaves_, absent_leaves_;
  size_t event_at_ = 0;
  uint64_t event_count_ = 0;
  uint64_t first_seq_ = 0, last_seq_ = 0;
  uint64_t first_boot_ns_ = 0, last_boot_ns_ = 0;
  uint64_t first_wall_ns_ = 0, last_wall_ns_ = 0;
  uint64_t critical_boot_ns_ = 0;
  EvidenceClass class_ = EvidenceClass::kUnstated;  // highest so far
  uint64_t closed_boot_ns_ = 0;                     // last_boot_ns of the batch before
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_BATCH_BATCH_BUILDER_H_
