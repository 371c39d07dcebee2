// SPDX-License-Identifier: Apache-2.0
//
// C2SP tlog-policy (https://c2sp.org/tlog-policy): which logs somebody trusts,
// which witnesses he knows, and how many of those must have cosigned a
// checkpoint. Immutable once made; thread-safe.
#ifndef NODETRAIL_TRAIL_POLICY_H_
#define NODETRAIL_TRAIL_POLICY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/trail/note.h"

namespace nodetrail::trail {

inline constexpr size_t kMaxPolicyBytes = 1 << 20;
// Each of logs, witnesses, groups.
inline constexpr size_t kMaxPolicyItems = 64;

// A checkpoint under a policy.
struct PolicyVerdict {
  Checkpoint checkpoint;
  std::string log;  // the log that signed: the origin
  struct Cosigned {
    std::string witness;  // its name in the policy
    uint64_t unix_time = 0;
  };
  std::vector<Cosigned> cosigned;    // in the order of the policy
  std::vector<std::string> missing;  // witnesses of the policy that did not cosign
  bool quorum = false;               // the policy's quorum is reached
  // Unless `quorum`, why: "group X: 1 of 2 (missing X2, X3)".
  std::string shortfall;
};

class LogPolicy {
 public:
  struct Log {
    NoteVerifier key;
    std::string url;  // empty: none given
  };
  struct Witness {
    std::string name;  // within the policy; any bytes without white space
    CosignerVerifier key;
    std::string url;
  };

  // Strict. InvalidArgument is "policy line N: what is wrong". A policy may name
  // no log: no checkpoint is valid under it then until WithLog.
  static Result<LogPolicy> Parse(std::string_view text);
  // One log, quorum none: what a log key alone asks for.
  static LogPolicy OneLog(NoteVerifier log);
  // The policy with one more log. AlreadyExists if it has that key, FailedPrecondition
  // if it is full.
  [[nodiscard]] Result<LogPolicy> WithLog(NoteVerifier log) const;

  [[nodiscard]] const std::vector<Log>& logs() const { return logs_; }
  [[nodiscard]] const std::vector<Witness>& witnesses() const { return witnesses_; }
  // False for "quorum none".
  [[nodiscard]] bool wants_witnesses() const { return quorum_ != kNone; }

  // Whether a log of the policy signed the note, whose origin is its name, and
  // which witnesses did. DataLoss if none of the logs signed, if any line of a
  // known key is wrong, or if a key comes twice; lines of unknown keys are
  // ignored. A quorum that is not reached is no error here.
  [[nodiscard]] Result<PolicyVerdict> Examine(std::string_view note) const;
  // As Examine, and FailedPrecondition naming what is missing if the quorum is
  // not reached.
  [[nodiscard]] Result<Checkpoint> Check(std::string_view note) const;

 private:
  friend class PolicyParser;
  // Index of a member: witnesses first, then groups.
  struct Member {
    bool group = false;
    size_t index = 0;
    friend bool operator==(const Member&, const Member&) = default;
  };
  struct Group {
    std::string name;
    size_t threshold = 1;  // 1 to members.size()
    std::vector<Member> members;
  };
  static constexpr Member kNone{true, SIZE_MAX};

  LogPolicy() = default;
  [[nodiscard]] bool Reached(Member member, const std::vector<bool>& signed_by) const;
  [[nodiscard]] std::string Shortfall(Member member, const std::vector<bool>& signed_by) const;
  [[nodiscard]] const std::string& NameOf(Member member) const;

  std::vector<Log> logs_;
  std::vector<Witness> witnesses_;
  std::vector<Group> groups_;  // refer to earlier ones only
  Member quorum_ = kNone;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_POLICY_H_
