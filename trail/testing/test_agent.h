// SPDX-License-Identifier: Apache-2.0
//
// An agent for tests: makes sealed batches with full control over every field,
// so that a test can also make the wrong ones.
#ifndef NODETRAIL_TRAIL_TESTING_TEST_AGENT_H_
#define NODETRAIL_TRAIL_TESTING_TEST_AGENT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/leaf.h"
#include "trail/testing/test_pki.h"

namespace nodetrail::trail {

class TestAgent {
 public:
  TestAgent(const TestCa& ca, std::string tenant, std::string agent_id);

  // Ends nothing: the next batch opens a new epoch. `remember` false: as if
  // the spool had been wiped.
  void Restart(bool remember = true);

  // The next batch, with this many file events. `edit` may change the header
  // before it is signed. The first of an epoch is an EPOCH_OPEN.
  using Edit = std::function<void(v1::BatchHeader*)>;
  SealedBatch Batch(int events = 3, const Edit& edit = nullptr);
  // With these events (their numbers and times are set here).
  SealedBatch BatchOf(std::vector<event::v1::Event> events, const Edit& edit = nullptr);
  // With these records as they are; the numbers in their events are not looked at.
  SealedBatch BatchOfRecords(const event::v1::EventBatch& batch);
  SealedBatch CleanShutdown();

  // agent.gap that tells of the end of the previous epoch.
  [[nodiscard]] event::v1::Event GapEvent() const;
  // agent.loss of stage ring.
  [[nodiscard]] static event::v1::Event LossEvent(uint64_t count);
  // agent.loss of stage spool: batches [from, to] of an epoch.
  [[nodiscard]] static event::v1::Event SpoolLossEvent(uint64_t epoch, uint64_t from, uint64_t to);

  // A leaf with another header under the key of the batch that was made last:
  // what the owner of a copied key can do.
  [[nodiscard]] std::string Forge(const v1::BatchHeader& header) const {
    return ForgeBytes(header.SerializeAsString());
  }
  [[nodiscard]] std::string ForgeBytes(const std::string& header) const;

  // What the agent signs when it gives up the body of `batch`; `edit` may
  // change the statement before it is signed.
  [[nodiscard]] std::string Eviction(const SealedBatch& batch,
                                     const std::function<void(v1::BodyEvicted*)>& edit = nullptr) const;

  // Another identity key, with a certificate of `ca`, from the next epoch on.
  void Identify(const TestCa& ca) { identity_ = ca.IssueAgent(tenant_, agent_id_); }
  [[nodiscard]] Certificate identity() const { return *Certificate::FromPem(identity_.cert_pem); }
  [[nodiscard]] const std::string& identity_key_pem() const { return identity_.key_pem; }
  [[nodiscard]] const std::string& agent_id() const { return agent_id_; }

  // … and from these bytes of a statement.
  [[nodiscard]] std::string EvictionOf(const std::string& statement) const;

  [[nodiscard]] const ChainHead& head() const { return head_; }
  [[nodiscard]] uint64_t epoch() const { return epoch_; }
  std::string boot_id = "11111111-2222-3333-4444-555555555555";
  uint64_t now_ns = 1'700'000'000'000'000'000;
  // Of the epochs that begin from now on.
  v1::SigAlg sig_alg = v1::SIG_ALG_ED25519;
  std::function<void(v1::EpochStatement*)> edit_statement;
  std::function<void(v1::EpochOpen*)> edit_open;

 private:
  SealedBatch Seal(const event::v1::EventBatch& batch, uint64_t first, const Edit& edit);

  std::string tenant_;
  std::string agent_id_;
  TestCa::Identity identity_;
  uint64_t epoch_ = 1;
  ChainHead head_;      // of this epoch
  ChainHead previous_;  // of the epoch before
  uint64_t next_event_ = 1;
  std::optional<RatchetKey> key_;
  std::optional<RatchetKey> last_key_;
};

}  // namespace nodetrail::trail

#endif  // NODETRAIL_TRAIL_TESTING_TEST_AGENT_H_
