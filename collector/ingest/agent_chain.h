// SPDX-License-Identifier: Apache-2.0
//
// What the collector knows of one agent: its chain, and where its batches lie
// in the log. Rebuilt from the log at start; kept nowhere else.
#ifndef NODETRAIL_COLLECTOR_INGEST_AGENT_CHAIN_H_
#define NODETRAIL_COLLECTOR_INGEST_AGENT_CHAIN_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/trail_store.h"

namespace nodetrail::collector {

// Owner: the ingest thread (or the opener before it starts).
class AgentChain {
 public:
  // All of it outlives it: `enrolments` is what the log says up to where the
  // chain is.
  AgentChain(const std::string& tenant, const std::string& agent_id, const trail::CaSet* identity_cas,
             const trail::Enrolments* enrolments, trail::TrailReader* reader);
  AgentChain(const AgentChain&) = delete;
  AgentChain& operator=(const AgentChain&) = delete;

  trail::ChainResult Check(std::string_view leaf, std::optional<std::string_view> body,
                           const trail::CheckOptions& options);

  // An accepted batch has become, or becomes, leaf `log_index`.
  void Place(const trail::ParsedLeaf& leaf, uint64_t log_index);
  // Where a batch lies that is in the log; nothing: not found, or too many
  // old ones were looked for since Save: each search holds up all agents.
  [[nodiscard]] std::optional<uint64_t> LogIndex(uint64_t epoch, uint64_t seq);

  // What the log lacks of the agent, in order: the positions strictly between
  // two that it has. Epoch 0: it has nothing before.
  struct Gap {
    trail::ChainPosition before;
    trail::ChainPosition after;
  };
  [[nodiscard]] const std::vector<Gap>& gaps() const { return gaps_; }
  [[nodiscard]] bool Lacks(uint64_t epoch, uint64_t seq) const;

  // Around a commit that may fail: Save before the first batch of the group,
  // then Restore, or Forget once it is durable.
  void Save();
  void Restore();
  void Forget() { saved_.reset(); }
  [[nodiscard]] bool saved() const { return saved_.has_value(); }

  [[nodiscard]] const trail::ChainHead& head() const { return verifier_.state().head; }
  [[nodiscard]] uint64_t batches() const { return batches_; }

 private:
  struct Entry {
    uint64_t epoch = 0;
    uint64_t seq = 0;
    trail::Hash hash{};
    uint64_t log_index = 0;
  };
  struct Mark {
    uint64_t epoch = 0;
    uint64_t seq = 0;
    uint64_t log_index = 0;
  };
  struct Saved {
    trail::ChainState state;
    std::deque<Entry> recent;
    size_t marks = 0;
    uint64_t batches = 0;
    std::vector<Gap> gaps;
  };

  const Entry* Find(uint64_t epoch, uint64_t seq);

  const std::string tenant_;
  const std::string agent_id_;
  trail::TrailReader* const reader_;
  trail::ChainVerifier verifier_;
  std::deque<Entry> recent_;  // newest last
  // Every kMarkEvery-th batch; between two marks the log is read to find one.
  std::vector<Mark> marks_;
  std::vector<Gap> gaps_;
  std::vector<Entry> found_;  // what the last search met of this agent
  uint64_t batches_ = 0;
  unsigned searches_ = 0;  // since Save
  std::optional<Saved> saved_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INGEST_AGENT_CHAIN_H_
