// SPDX-License-Identifier: Apache-2.0
//
// quarantine/ of a trail against its log: a batch there that the key of a batch
// in the log signed too, for the same position, shows that this key was copied.
#ifndef NODETRAIL_TRAIL_VERIFY_QUARANTINE_H_
#define NODETRAIL_TRAIL_VERIFY_QUARANTINE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>

#include "nodetrail/trail/leaf.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/verify_findings.h"

namespace nodetrail::trail {

// Owner: one verification; what it is given must outlive it.
class QuarantineCheck {
 public:
  static constexpr size_t kMaxFiles = 10'000;  // the first by name; a collector keeps fewer

  // Reads what lies there. It proves nothing by itself: what is no leaf, or
  // wrongly signed, is passed over.
  QuarantineCheck(const TrailReader& reader, Findings* findings);

  // A batch of the log that holds.
  void Take(const v1::BatchHeader& header, const Hash& batch_hash, const LeafLocation& where);

 private:
  using Position = std::tuple<std::string, std::string, uint64_t, uint64_t>;  // tenant, agent, epoch, seq
  struct Rival {
    std::string file;
    std::string signer_key;
    Hash batch_hash{};
  };

  Findings* const findings_;
  std::multimap<Position, Rival> rivals_;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_QUARANTINE_H_
