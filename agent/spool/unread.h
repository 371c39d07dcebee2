// SPDX-License-Identifier: Apache-2.0
//
// Batches that were durable and could not be read back when their turn came: a
// disk that answers EIO, bytes that rotted under a running agent.
#ifndef NODETRAIL_AGENT_SPOOL_UNREAD_H_
#define NODETRAIL_AGENT_SPOOL_UNREAD_H_

#include <cstdint>
#include <string>

namespace nodetrail::agent {

// The batches seq_from..seq_to of an epoch, both included.
struct SpoolUnread {
  uint64_t epoch = 0;
  uint64_t seq_from = 0;
  uint64_t seq_to = 0;
  uint64_t events = 0;        // sequence numbers in them; 0: not known
  uint64_t from_wall_ns = 0;  // last event before them, first event after them;
  uint64_t to_wall_ns = 0;    // 0: not known
  std::string place;          // "0000000000000001.seg at 4096: EIO", the first one passed over
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SPOOL_UNREAD_H_
