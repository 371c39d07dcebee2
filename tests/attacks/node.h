// SPDX-License-Identifier: Apache-2.0
//
// A node with the real sealer and spool, a collector with the real committer
// and sequencer, and what root can do to the one and a thief to the other.
#ifndef NODETRAIL_TESTS_ATTACKS_NODE_H_
#define NODETRAIL_TESTS_ATTACKS_NODE_H_

#include <memory>
#include <string>
#include <vector>

#include "agent/seal/sealer.h"
#include "agent/spool/spool.h"
#include "collector/ingest/committer.h"
#include "collector/log/sequencer.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/verify.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_pki.h"

namespace nodetrail::attacks {

class Node {
 public:
  explicit Node(const trail::TestCa& ca, const std::string& agent_id = "web-1");

  // Starts the agent, or starts it again, with what lies in the spool. `key`:
  // what the service manager kept; -1: nothing.
  void Start(int key = -1);
  void Stop();
  // A batch: sealed, durable, key erased. As the pipeline does it.
  trail::SealedBatch Batch(int events = 2);
  // Whatever the agent's key memory holds that could sign, as root reads it.
  [[nodiscard]] std::vector<trail::Ed25519Key> StealKeys() const;
  // The key memory, copied: a cloned machine.
  [[nodiscard]] int CloneKeys() const;
  [[nodiscard]] std::string spool_dir() const { return dir / "spool"; }

  trail::TempDir dir;
  FakeClock clock;
  std::unique_ptr<agent::Spool> spool;
  std::unique_ptr<agent::Sealer> sealer;
  std::vector<trail::SealedBatch> batches;

 private:
  const std::string agent_id_;
};

class Site {
 public:
  // Started; no witnesses.
  explicit Site(const trail::TestCa& ca);
  // As the collector starts, with what lies in the trail.
  Status Start(collector::Cosigner* witnesses = nullptr);
  void Stop();

  // What a stream with the certificate of `agent_id` gets for an answer.
  ingest::v1::ServerMessage Send(const std::string& agent_id, const std::string& leaf, const std::string& body,
                                 bool after_hole = false);
  ingest::v1::ServerMessage Send(const trail::SealedBatch& batch, bool after_hole = false) {
    return Send(batch.header.agent_id(), batch.leaf, batch.body, after_hole);
  }
  // Sends, and fails the test unless it is acknowledged.
  void Take(const trail::SealedBatch& batch);
  // An entry of the log's own; fails the test unless it is taken.
  void Enter(trail::v1::LogEntry entry);
  // The sequencer's round: reads back and signs. Its problem, or empty.
  std::string Sign();
  [[nodiscard]] int Exit();
  trail::VerifyReport Verify();
  [[nodiscard]] std::string trail() const { return dir / "trail"; }

  trail::TempDir dir;
  FakeClock clock;
  trail::VerifyPolicy policy;
  std::unique_ptr<collector::Sequencer> sequencer;
  std::unique_ptr<collector::Committer> committer;

 private:
  const trail::Ed25519Key key_;
};

bool Acked(const ingest::v1::ServerMessage& message);
bool Refused(const ingest::v1::ServerMessage& message);

}  // namespace nodetrail::attacks

#endif  // NODETRAIL_TESTS_ATTACKS_NODE_H_
