// SPDX-License-Identifier: Apache-2.0
//
// Offline verification of a trail directory or a bundle: no network, no
// collector, no trust in either. Streams; memory grows with the number of
// agents, of their losses, and of what the auditor kept.
#ifndef NODETRAIL_TRAIL_VERIFY_H_
#define NODETRAIL_TRAIL_VERIFY_H_

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "nodetrail/trail/bundle.h"
#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/note.h"
#include "nodetrail/trail/policy.h"

namespace nodetrail::trail {

// The exit code of `nodetrail verify`; the worst finding decides.
enum class TrailVerdict : int {
  kIntact = 0,
  kDeclaredLoss = 1,    // something was lost, and the agent said and signed what
  kUnexplainedGap = 2,  // a sequence that never arrived, and nobody says why
  kTamper = 3,          // what the trail promises does not hold
};
// "intact", "declared_loss", "unexplained_gap", "tamper".
std::string_view TrailVerdictName(TrailVerdict verdict);

// A checkpoint (signed note) that the auditor kept.
struct KeptNote {
  std::string name;  // of its file, for findings
  std::string bytes;
};

inline constexpr uint64_t kDefaultHeartbeatNs = 30'000'000'000;

struct VerifyPolicy {
  std::string identity_ca_pem;  // authorities that enrol agents; required
  // Which logs and witnesses are trusted. With neither this nor log_key
  // checkpoints are not trusted, and the report says so.
  std::optional<LogPolicy> log_policy;
  std::optional<NoteVerifier> log_key;  // one log, no witness; besides log_policy: one more log of it
  std::string tenant;                   // if set, every batch must be of it
  std::vector<KeptNote> kept;           // the log must extend each
  bool check_bodies = true;
  // Every agent must have been enrolled by the log before it opened an epoch.
  bool require_enrolment = false;
  size_t max_findings = 1000;  // more are counted only
  // Two of them without a batch are a silence (coverage).
  uint64_t heartbeat_ns = kDefaultHeartbeatNs;
  // To which time coverage is told: a bundle's scope ends it otherwise, or the
  // newest batch of the log.
  std::optional<uint64_t> coverage_until_ns;
};

enum class FindingKind { kNote, kDeclaredLoss, kGap, kTamper };

struct Finding {
  FindingKind kind = FindingKind::kNote;
  std::string reason;  // a word that stays the same between versions: docs/trail-format.md, section 8
  std::string text;    // one line
  std::string batch;   // "agent:epoch:seq", if one is concerned
  std::optional<uint64_t> log_index;
  std::string file;  // relative to the trail directory
};

struct EventLoss {
  std::string batch;  // where it was declared
  std::string stage;  // ring, map, decode, spool; "restart" for agent.gap
  std::string kind;
  uint64_t count = 0;  // 0: not known
  uint64_t from_wall_ns = 0;
  uint64_t to_wall_ns = 0;
};

// One epoch of an agent, as the log has it.
struct EpochCoverage {
  uint64_t epoch = 0;
  uint64_t first_seq = 0;
  uint64_t last_seq = 0;
  uint64_t batches = 0;
  uint64_t events = 0;
  uint64_t from_wall_ns = 0;
  uint64_t to_wall_ns = 0;
  bool clean_shutdown = false;
};

// What the log says of a stretch of an agent's time.
enum class CoverageKind {
  kCovered,      // batches came, none is missing
  kDeclared,     // something was lost, and the agent signed what
  kStopped,      // it was stopped in order
  kSilent,       // it was not heard of for longer than two heartbeats
  kUnexplained,  // batches are missing, or it restarted, and nobody says why
  kRetired,      // batches came; their bodies were deleted by rule
};
inline constexpr size_t kCoverageKinds = 6;
// "covered", "declared_lost", "stopped", "silent", "unexplained", "retired".
std::string_view CoverageKindName(CoverageKind kind);

struct CoverageInterval {
  CoverageKind kind = CoverageKind::kCovered;
  uint64_t from_ns = 0;  // wall clock of the agent
  uint64_t to_ns = 0;
};

struct AgentCoverage {
  std::string tenant;
  std::string agent_id;
  uint64_t batches = 0;
  uint64_t events = 0;
  uint64_t body_bytes = 0;  // stored
  std::vector<EpochCoverage> epochs;
  std::vector<EventLoss> losses;
  std::vector<ChainHole> holes;
  // Its time, without gap or overlap, in order; neighbours are of other kinds.
  std::vector<CoverageInterval> intervals;
  uint64_t intervals_dropped = 0;                     // beyond what is kept; in the sums
  std::array<uint64_t, kCoverageKinds> covered_ns{};  // sums by kind
};

struct VerifyReport {
  TrailVerdict verdict = TrailVerdict::kTamper;
  // The worst finding in one line: what was found, where.
  std::string summary;
  // First batch that is wrong ("agent:epoch:seq"), for kTamper and kUnexplainedGap.
  std::optional<Finding> first_bad;

  uint64_t leaves = 0;   // in the log
  uint64_t entries = 0;  // of them, the log's own
  bool checkpoint_present = false;
  bool checkpoint_trusted = false;  // valid under the policy, and the root agrees
  uint64_t checkpoint_size = 0;
  std::string checkpoint_root;  // hex
  std::string checkpoint_origin;
  std::vector<PolicyVerdict::Cosigned> witnesses;  // of the policy, that cosigned
  std::vector<std::string> witnesses_missing;
  bool quorum = false;  // of the policy; true if it asks for none
  std::optional<BundleManifest> bundle;
  uint64_t bodies_evicted = 0;        // given up by the agent, which signed so
  uint64_t bodies_retired = 0;        // deleted by rule, as entries of the log say
  uint64_t bodies_outside = 0;        // of a bundle: absent, and outside its scope
  uint64_t not_under_checkpoint = 0;  // leaves after it
  uint64_t tiles = 0;                 // files below log/tile that are those of the leaves
  uint64_t tiles_missing = 0;         // the log can't be served from files; no tamper
  uint64_t bodies = 0;
  uint64_t events = 0;

  std::vector<AgentCoverage> agents;        // by tenant, then agent id
  std::vector<std::string> never_reported;  // agents that were enrolled, and no batch of them holds
  std::vector<Finding> findings;            // in order of the log
  uint64_t findings_dropped = 0;            // beyond max_findings
  uint64_t heartbeat_ns = 0;                // that coverage was told by
  uint64_t duration_ns = 0;                 // what the verification took
};

// Verifies `dir`, a trail or a bundle. An error Status is operational (unreadable directory, bad
// policy): nothing is said about the trail then. `progress` (optional) is
// called now and then with the number of leaves done.
Result<VerifyReport> VerifyTrail(const std::string& dir, const VerifyPolicy& policy,
                                 const std::function<void(uint64_t)>& progress = nullptr);

// One JSON object, stable field names, ends in a newline.
std::string VerifyReportJson(const VerifyReport& report);
// For a terminal; no colour.
std::string VerifyReportText(const VerifyReport& report);

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_VERIFY_H_
