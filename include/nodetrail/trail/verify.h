// SPDX-License-Identifier: Apache-2.0
//
// Offline verification of a trail directory: no network, no collector, no
// trust in either. Streams; memory grows with the number of agents only.
#ifndef NODETRAIL_TRAIL_VERIFY_H_
#define NODETRAIL_TRAIL_VERIFY_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/note.h"

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

struct VerifyPolicy {
  std::string identity_ca_pem;          // authorities that enrol agents; required
  std::optional<NoteVerifier> log_key;  // without it checkpoints are not trusted, and the report says so
  std::string tenant;                   // if set, every batch must be of it
  std::string prior_checkpoint;         // a note the auditor kept: the log must extend it
  bool check_bodies = true;
  size_t max_findings = 1000;  // more are counted only
};

enum class FindingKind { kNote, kDeclaredLoss, kGap, kTamper };

struct Finding {
  FindingKind kind = FindingKind::kNote;
  std::string text;   // one line
  std::string batch;  // "agent:epoch:seq", if one is concerned
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

struct AgentCoverage {
  std::string tenant;
  std::string agent_id;
  uint64_t batches = 0;
  uint64_t events = 0;
  uint64_t body_bytes = 0;  // stored
  std::vector<EpochCoverage> epochs;
  std::vector<EventLoss> losses;
  std::vector<ChainHole> holes;
};

struct VerifyReport {
  TrailVerdict verdict = TrailVerdict::kTamper;
  // The worst finding in one line: what was found, where.
  std::string summary;
  // First batch that is wrong ("agent:epoch:seq"), for kTamper and kUnexplainedGap.
  std::optional<Finding> first_bad;

  uint64_t leaves = 0;  // in the log
  bool checkpoint_present = false;
  bool checkpoint_trusted = false;  // signed by policy.log_key and the root agrees
  uint64_t checkpoint_size = 0;
  std::string checkpoint_root;        // hex
  uint64_t not_under_checkpoint = 0;  // leaves after it
  uint64_t tiles = 0;                 // files below log/tile that are those of the leaves
  uint64_t tiles_missing = 0;         // the log can't be served from files; no tamper
  uint64_t bodies = 0;
  uint64_t events = 0;

  std::vector<AgentCoverage> agents;  // by tenant, then agent id
  std::vector<Finding> findings;      // in order of the log
  uint64_t findings_dropped = 0;      // beyond max_findings
};

// Verifies `dir`. An error Status is operational (unreadable directory, bad
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
