// SPDX-License-Identifier: Apache-2.0
//
// Where attacks on a stored trail happen: an honest log on the disk, and what
// those can do to it who have the disk, or the log key as well.
#ifndef NODETRAIL_TESTS_ATTACKS_GROUND_H_
#define NODETRAIL_TESTS_ATTACKS_GROUND_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/ship/log_watch.h"
#include "nodetrail/trail/note.h"
#include "nodetrail/trail/verify.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::attacks {

inline constexpr const char* kOrigin = "trail.example.org/acme";

class Ground {
 public:
  Ground();

  // Batches that the collector took, not yet on the disk.
  void Take(int batches);
  void Take(trail::SealedBatch batch) { batches.push_back(std::move(batch)); }
  // An entry of the log's own, signed with its key.
  void Enter(trail::v1::LogEntry entry);
  // The honest collector's trail: bodies, leaves, a checkpoint over all.
  void Write();

  [[nodiscard]] std::vector<std::string> Leaves() const;
  // Whoever has the disk: these leaves instead, segments and checksums made
  // anew; the checkpoint as it was.
  void Rewrite(const std::vector<std::string>& leaves);
  // … and with the stolen log key: a root over them, rightly signed.
  void RewriteSigned(const std::vector<std::string>& leaves);
  [[nodiscard]] std::string Sign(const std::vector<std::string>& leaves) const;
  // The receipt that the log gives for one of `leaves`, under a checkpoint of them all.
  [[nodiscard]] std::string Receipt(const std::vector<std::string>& leaves, uint64_t index) const;
  // An agent's batch that says it has seen the log of `leaves`.
  static trail::SealedBatch BatchThatSaw(trail::TestAgent* agent, const std::vector<std::string>& leaves);
  void PutCheckpoint(const std::string& note) const;
  [[nodiscard]] std::string ReadCheckpoint() const;

  // What an agent of this log has open, with its own state.
  [[nodiscard]] std::unique_ptr<agent::LogWatch> Watch(const std::string& name) const;

  [[nodiscard]] std::string trail() const { return dir / "trail"; }
  [[nodiscard]] std::string BodyFile(const trail::SealedBatch& batch) const;

  // What the auditor's `nodetrail verify` says.
  [[nodiscard]] trail::VerifyReport Verify() const;
  // … and that it calls this batch tampering, for this reason (nodetrail/trail/verify.h).
  [[nodiscard]] bool Names(const trail::SealedBatch& batch, std::string_view reason) const;
  [[nodiscard]] int Exit() const { return static_cast<int>(Verify().verdict); }

  trail::TempDir dir;
  trail::TestCa ca;
  trail::Ed25519Key log_key;
  trail::TestAgent agent;  // web-1 of acme
  trail::VerifyPolicy policy;
  std::vector<trail::SealedBatch> batches;
};

// The leaf with another header and the signature of before: an edit on the disk.
std::string EditHeader(const std::string& leaf, const std::function<void(trail::v1::BatchHeader*)>& edit);

// Entries that say who may report, and who no more.
trail::v1::LogEntry EnrolEntry(const trail::TestAgent& agent);
trail::v1::LogEntry RevokeEntry(const trail::SealedBatch& from);

std::string Slurp(const std::string& file);
void Spill(const std::string& file, const std::string& bytes);

}  // namespace nodetrail::attacks

#endif  // NODETRAIL_TESTS_ATTACKS_GROUND_H_
