// SPDX-License-Identifier: Apache-2.0
//
// The log's own entries, while verification streams by: who may report, and
// what a batch therefore must be.
#ifndef NODETRAIL_TRAIL_VERIFY_ENTRIES_H_
#define NODETRAIL_TRAIL_VERIFY_ENTRIES_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "nodetrail/trail/enrolment.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/policy.h"
#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "trail/verify_findings.h"

namespace nodetrail::trail {

// Owner: one verification; what it is given must outlive it.
class EntriesCheck {
 public:
  EntriesCheck(const VerifyPolicy& policy, Findings* findings)
      : policy_(policy), findings_(findings), enrolments_(policy.require_enrolment) {}

  // Before the first leaf. Whose logs may have written entries; nothing: nobody's
  // signature is judged. `tenant`: of a bundle, if it is one.
  void Begin(const std::optional<LogPolicy>& logs, const std::optional<std::string>& tenant);

  // A leaf that begins as an entry does. `whole`: its record's checksum is right.
  // The entry, if it holds.
  std::optional<v1::LogEntry> Take(const LeafLocation& where, std::string_view leaf, bool whole);

  // What the entries so far say of a batch that holds in every other way.
  [[nodiscard]] EnrolmentRuling Judge(const v1::BatchHeader& header) const { return enrolments_.Judge(header); }
  // The batch holds.
  void Accept(const v1::BatchHeader& header, const LeafLocation& where);

  // After the last leaf.
  void Finish(VerifyReport* report);

 private:
  [[nodiscard]] bool Signed(const ParsedLogEntry& entry) const;

  const VerifyPolicy& policy_;
  Findings* findings_;
  std::optional<LogPolicy> logs_;
  std::optional<std::string> tenant_;
  Enrolments enrolments_;
  uint64_t count_ = 0;
  uint64_t unjudged_ = 0;
  std::set<Enrolments::Key> unenrolled_;  // noted
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_ENTRIES_H_
