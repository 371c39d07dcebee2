// SPDX-License-Identifier: Apache-2.0
//
// What batch hands to seal: a body, still raw, and what the header says of it.
#ifndef NODETRAIL_AGENT_BATCH_BATCH_CONTENT_H_
#define NODETRAIL_AGENT_BATCH_BATCH_CONTENT_H_

#include <array>
#include <cstdint>
#include <string>

#include "agent/batch/evidence_class.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::agent {

struct BatchContent {
  trail::v1::BatchType type = trail::v1::BATCH_TYPE_EVENTS;
  std::string raw_body;                   // serialised event.v1.EventBatch, <= 8 MiB
  std::array<uint8_t, 32> events_root{};  // RFC 6962 over the records, see EventBatch
  uint64_t event_count = 0;
  uint64_t first_event_seq = 1;
  uint64_t last_event_seq = 0;  // first-1 if none
  uint64_t first_boot_ns = 0, last_boot_ns = 0;
  uint64_t first_wall_ns = 0, last_wall_ns = 0;
  bool critical_flush = false;
  EvidenceClass evidence_class = EvidenceClass::kNormal;  // of its most valuable event
  trail::v1::LossCounters losses;                         // cumulative, this epoch
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_BATCH_BATCH_CONTENT_H_
