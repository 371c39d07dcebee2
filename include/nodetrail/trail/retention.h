// SPDX-License-Identifier: Apache-2.0
//
// What the entries of a log say of keeping and deleting bodies, up to where the
// log was read: which holds are open, and which deletions were announced. One
// implementation for the collector and for the verifier. docs/trail-format.md,
// section 3.
#ifndef NODETRAIL_TRAIL_RETENTION_H_
#define NODETRAIL_TRAIL_RETENTION_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/bundle.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::trail {

// Whether a hold covers what happened on this agent at this time.
[[nodiscard]] bool Covers(const v1::Hold& hold, std::string_view agent_id, const TimeSpan& time);

// Owner: whoever reads the log in order. One thread at a time.
class Retention {
 public:
  // Well-formed and, where the log key is known, rightly signed. InvalidArgument,
  // with one line, and the entry counts for nothing: a Hold whose id was used
  // before; a Release of a hold that is not open, or by one person alone; a
  // Retire before its time, of leaves not before it, or that did not heed all
  // holds before it; a Retired without its Retire. Other kinds say nothing here.
  Status Take(const v1::LogEntry& entry, uint64_t log_index);

  // True if a Retire so far names the leaf at this index.
  [[nodiscard]] bool Names(uint64_t index) const;
  // All of them, as runs: first, last.
  [[nodiscard]] const std::map<uint64_t, uint64_t>& named() const { return named_; }
  // An open hold that covers this; null: none does.
  [[nodiscard]] const v1::Hold* Covering(std::string_view agent_id, const TimeSpan& time) const;
  // Open holds by id; who released them is gone from here.
  [[nodiscard]] const std::map<std::string, v1::Hold>& holds() const { return holds_; }
  // How many there were: with each more may be deleted than before.
  [[nodiscard]] size_t releases() const { return ids_.size() - holds_.size(); }
  // Index of each Retire that no Retired follows yet, and how many bodies it names.
  [[nodiscard]] const std::map<uint64_t, uint64_t>& unfinished() const { return unfinished_; }

 private:
  Status TakeHold(const v1::Hold& hold);
  Status TakeRelease(const v1::Release& release);
  Status TakeRetire(const v1::LogEntry& entry, uint64_t log_index);
  void Name(uint64_t index);
  Status TakeRetired(const v1::Retired& retired);

  std::map<std::string, v1::Hold> holds_;
  std::set<std::string> ids_;             // of every hold there ever was
  std::map<uint64_t, uint64_t> retires_;  // all that held
  std::map<uint64_t, uint64_t> unfinished_;
  std::map<uint64_t, uint64_t> named_;  // runs of leaves: first, last
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_RETENTION_H_
