// SPDX-License-Identifier: Apache-2.0
//
// What the entries of a log say about each agent, up to where the log was
// read: may this batch stand here? One implementation for the collector and
// for the verifier. docs/trail-format.md, section 4.
#ifndef NODETRAIL_TRAIL_ENROLMENT_H_
#define NODETRAIL_TRAIL_ENROLMENT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::trail {

enum class EnrolmentVerdict {
  kAllowed,
  kNotEnrolled,  // opened with another key or algorithm than enrolled, or never enrolled and that is required
  kRevoked,
};

struct EnrolmentRuling {
  EnrolmentVerdict verdict = EnrolmentVerdict::kAllowed;
  std::string reason;  // one line; empty if allowed
};

// One agent, as the entries have it.
struct Enrolment {
  bool enrolled = false;  // the next five: of its newest Enrol
  Hash spki_sha256{};
  std::string token_id;
  std::vector<int> sig_algs;  // values of v1::SigAlg; never empty
  uint64_t enrolled_wall_ns = 0;
  uint64_t enrolled_index = 0;  // in the log

  bool revoked = false;     // the rest: of its revocation, the earliest position of several
  uint64_t from_epoch = 0;  // batches from here on
  uint64_t from_seq = 0;
  std::string reason;
  uint64_t revoked_wall_ns = 0;
  uint64_t revoked_index = 0;  // of the newest Revoke
  // The key enrolled at the newest Revoke; nothing: none was. An opening with
  // another one ends the revocation.
  std::optional<Hash> revoked_key;

  bool reported = false;  // a batch of it held, or was revoked

  // At or after the position that was revoked.
  [[nodiscard]] bool Covers(uint64_t epoch, uint64_t seq) const {
    return revoked && (epoch > from_epoch || (epoch == from_epoch && seq >= from_seq));
  }
  // Enrolled with another key since it was revoked: its next opening ends that.
  [[nodiscard]] bool Readmitted() const {
    return revoked && enrolled && enrolled_index > revoked_index && revoked_key != spki_sha256;
  }
};

// Owner: whoever reads the log in order. One thread at a time.
class Enrolments {
 public:
  // `required`: an agent that was never enrolled may open no epoch.
  explicit Enrolments(bool required = false) : required_(required) {}

  // Well-formed and, where the log key is known, rightly signed.
  // InvalidArgument, and nothing changes: it is of another tenant than the
  // first one was. Entries of other kinds say nothing here.
  Status Take(const v1::LogEntry& entry, uint64_t log_index);

  // A batch that holds in every other way. Changes nothing.
  [[nodiscard]] EnrolmentRuling Judge(const v1::BatchHeader& header) const;
  // It was allowed, and holds: the opening with a new key ends a revocation.
  void Accept(const v1::BatchHeader& header);

  // Nothing if no entry names it.
  [[nodiscard]] const Enrolment* Find(const std::string& tenant, const std::string& agent_id) const;
  using Key = std::pair<std::string, std::string>;  // tenant, agent id
  [[nodiscard]] const std::map<Key, Enrolment>& agents() const { return agents_; }
  // For a log that was begun before all had to be enrolled: what is in it stays.
  void set_required(bool required) { required_ = required; }
  [[nodiscard]] bool required() const { return required_; }

 private:
  bool required_;
  std::string tenant_;  // of the first entry
  std::map<Key, Enrolment> agents_;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_ENROLMENT_H_
