// SPDX-License-Identifier: Apache-2.0
//
// The collector of the simulated world: ingest and sequencer are the real
// ones, stepped by hand, on a disk that can fail.
#ifndef NODETRAIL_TESTS_SIM_COLLECTOR_HOST_H_
#define NODETRAIL_TESTS_SIM_COLLECTOR_HOST_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "collector/ingest/committer.h"
#include "collector/log/sequencer.h"
#include "tests/sim/agent_host.h"
#include "tests/sim/disk.h"
#include "tests/sim/rng.h"
#include "trail/testing/test_pki.h"

namespace nodetrail::sim {

class CollectorHost {
 public:
  CollectorHost(const std::string& dir, const std::string& bug, const trail::TestCa* ca, Rng* rng,
                std::map<std::string, uint64_t>* counts);
  ~CollectorHost();

  // "" or what is violated.
  std::string Start();
  void Kill();
  void PowerCut();
  [[nodiscard]] bool up() const { return committer_ != nullptr; }

  // The oldest message of a wire reaches the ingest's queue.
  void Receive(const std::string& agent_id, const std::shared_ptr<Wire>& wire);
  // Ingest commits a group.
  void Commit();
  // The sequencer goes its round.
  std::string Sequence();

  [[nodiscard]] std::string trail_dir() const { return dir_ + "/trail"; }
  [[nodiscard]] std::string log_key() const;
  // Hash of each batch in the log as it was read at the last start.
  [[nodiscard]] const std::vector<trail::Hash>& replayed() const { return replayed_; }
  // Every (size, root) that was ever on the disk as a checkpoint.
  [[nodiscard]] const std::vector<std::pair<uint64_t, trail::Hash>>& published() const { return published_; }

  Disk disk;

 private:
  void Drop();

  const std::string dir_;
  const std::string bug_;
  const trail::CaSet cas_;
  Rng* const rng_;
  std::map<std::string, uint64_t>& counts_;
  std::string seed_;  // of the log key
  FakeClock clock_;
  std::unique_ptr<collector::Sequencer> sequencer_;
  std::unique_ptr<collector::Committer> committer_;
  std::vector<std::shared_ptr<Wire>> wires_;
  std::vector<trail::Hash> replayed_;
  std::vector<std::pair<uint64_t, trail::Hash>> published_;
};

}  // namespace nodetrail::sim

#endif  // NODETRAIL_TESTS_SIM_COLLECTOR_HOST_H_
