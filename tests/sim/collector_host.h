// SPDX-License-Identifier: Apache-2.0
//
// The collector of the simulated world: ingest, sequencer, receipts and the
// log's side of the witnesses are the real ones, stepped by hand, on a disk
// that can fail, or that somebody restores from a copy.
#ifndef NODETRAIL_TESTS_SIM_COLLECTOR_HOST_H_
#define NODETRAIL_TESTS_SIM_COLLECTOR_HOST_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "collector/ingest/committer.h"
#include "collector/ingest/receipt_issuer.h"
#include "collector/log/sequencer.h"
#include "collector/witness/witness_set.h"
#include "nodetrail/trail/merkle.h"
#include "tests/sim/agent_host.h"
#include "tests/sim/disk.h"
#include "tests/sim/rng.h"
#include "tests/sim/witness_host.h"
#include "trail/testing/test_pki.h"

namespace nodetrail::sim {

class CollectorHost {
 public:
  struct Options {
    std::string dir;
    std::string bug;
    const trail::TestCa* ca = nullptr;
    // Of the policy, as many of them as it asks for must cosign.
    size_t witnesses = 0;
    size_t quorum = 0;
  };
  CollectorHost(Options options, Rng* rng, std::map<std::string, uint64_t>* counts);
  ~CollectorHost();

  // Once, before Start; they outlive it.
  void SetWitnesses(std::vector<WitnessHost*> witnesses);

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
  // Receipts go out.
  void GiveReceipts() { receipts_->Step(); }
  // It lies: a receipt for what is durable only.
  bool ForgeReceipt();

  // Somebody keeps a copy of its folder; later puts it in the place of the
  // newest, only while it is down. False: there is none, or nothing was signed
  // since it was made.
  void Backup();
  [[nodiscard]] bool CanRollBack() const { return copied_ && !rolled_back_ && published_size() > copied_size_ + lead_; }
  bool RollBack();
  // Its mistake is noticed. False: the newest is there.
  bool PutNewestBack();
  [[nodiscard]] bool rolled_back() const { return rolled_back_; }
  // It refused to go on with an old copy; until the next Start.
  [[nodiscard]] bool refused() const { return refused_; }
  // Leaves that the copy had.
  [[nodiscard]] uint64_t copied_leaves() const { return copied_leaves_; }

  [[nodiscard]] std::string trail_dir() const { return options_.dir + "/trail"; }
  [[nodiscard]] std::string log_key() const;
  // The policy of log and witnesses, for whoever verifies.
  [[nodiscard]] std::string policy() const;
  // Hash of each batch in the log as it was read at the last start.
  [[nodiscard]] const std::vector<trail::Hash>& replayed() const { return replayed_; }
  // Every (size, root) that was ever on the disk as a checkpoint.
  [[nodiscard]] const std::vector<std::pair<uint64_t, trail::Hash>>& published() const { return published_; }
  [[nodiscard]] uint64_t published_size() const { return published_.empty() ? 0 : published_.back().first; }
  // Why its checkpoint is not under the whole policy; empty: it is.
  [[nodiscard]] std::string Shortfall() const;
  [[nodiscard]] uint64_t witness_rollbacks() const;
  // No answer is lost any more.
  void Heal() { healed_ = true; }
  void Advance(uint64_t ns) { clock_.Advance(ns); }

  Disk disk;

 private:
  class Link;
  void Drop();
  Status Open();
  Status OpenSequencer();
  std::string Contradicted();
  void Grown(const trail::Hash& leaf_hash);

  const Options options_;
  const trail::CaSet cas_;
  Rng* const rng_;
  std::map<std::string, uint64_t>& counts_;
  std::string seed_;  // of the log key
  FakeClock clock_;
  std::vector<WitnessHost*> witnesses_;
  bool healed_ = false;

  std::unique_ptr<collector::WitnessSet> witness_set_;
  WitnessWire* wire_to_witnesses_ = nullptr;  // witness_set_'s
  std::unique_ptr<collector::ReceiptIssuer> receipts_;
  std::unique_ptr<collector::Sequencer> sequencer_;
  std::unique_ptr<collector::Committer> committer_;
  std::map<std::string, std::shared_ptr<Link>> links_;  // by agent: the newest stream
  std::vector<trail::Hash> replayed_;
  std::vector<std::pair<uint64_t, trail::Hash>> published_;
  // The log as it is: the root at each size.
  trail::CompactRange range_;
  std::vector<trail::Hash> roots_;

  uint64_t copied_leaves_ = 0;
  uint64_t copied_size_ = 0;  // that the copy's checkpoint has
  uint64_t lead_ = 0;         // leaves that were signed since, at least
  bool copied_ = false;
  bool rolled_back_ = false;
  bool went_back_ = false;  // once
  bool refused_ = false;
  std::vector<std::pair<uint64_t, trail::Hash>> published_by_newest_;
};

}  // namespace nodetrail::sim

#endif  // NODETRAIL_TESTS_SIM_COLLECTOR_HOST_H_
