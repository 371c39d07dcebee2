// SPDX-License-Identifier: Apache-2.0
#include "collector/ingest/agent_chain.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace nodetrail::collector {
namespace {

// An agent resends at most a window; this covers a thousand reconnects' worth.
constexpr size_t kRecent = 1024;
constexpr uint64_t kMarkEvery = 64;
constexpr unsigned kMaxSearches = 4;
// An agent with more has a disk that rots, or is hostile.
constexpr size_t kMaxGaps = 1024;

template <typename A>
bool At(const A& a, uint64_t epoch, uint64_t seq) {
  return a.epoch == epoch && a.seq == seq;
}

}  // namespace

AgentChain::AgentChain(const std::string& tenant, const std::string& agent_id, const trail::CaSet* identity_cas,
                       const trail::Enrolments* enrolments, trail::TrailReader* reader)
    : tenant_(tenant),
      agent_id_(agent_id),
      reader_(reader),
      verifier_(trail::ChainPolicy{tenant,
                                   agent_id,
                                   identity_cas,
                                   kRecent,
                                   {},
                                   [enrolments](const trail::v1::BatchHeader& h) { return enrolments->Judge(h); }},
                [this](uint64_t epoch, uint64_t seq) -> std::optional<trail::Hash> {
                  const Entry* entry = Find(epoch, seq);
                  return entry != nullptr ? std::optional(entry->hash) : std::nullopt;
                }) {}

trail::ChainResult AgentChain::Check(std::string_view leaf, std::optional<std::string_view> body,
                                     const trail::CheckOptions& options) {
  const trail::ChainPosition before{head().epoch, head().seq};
  trail::ChainResult result = verifier_.Check(leaf, body, options);
  if (!result.accepted() || result.notes.holes.empty()) return result;
  gaps_.push_back({before, {head().epoch, head().seq}});
  // Two become one, with what the log has between: that is found before anybody asks for gaps.
  if (gaps_.size() > kMaxGaps) {
    gaps_[1].before = gaps_[0].before;
    gaps_.erase(gaps_.begin());
  }
  return result;
}

bool AgentChain::Lacks(uint64_t epoch, uint64_t seq) const {
  const auto position = std::tie(epoch, seq);
  return std::any_of(gaps_.begin(), gaps_.end(), [&](const Gap& gap) {
    return (gap.before.epoch == 0 || position > std::tie(gap.before.epoch, gap.before.seq)) &&
           position < std::tie(gap.after.epoch, gap.after.seq);
  });
}

void AgentChain::Place(const trail::ParsedLeaf& leaf, uint64_t log_index) {
  const Entry entry{leaf.header.epoch(), leaf.header.seq(), leaf.batch_hash, log_index};
  if (batches_ % kMarkEvery == 0) marks_.push_back({entry.epoch, entry.seq, log_index});
  ++batches_;
  recent_.push_back(entry);
  if (recent_.size() > kRecent) recent_.pop_front();
}

std::optional<uint64_t> AgentChain::LogIndex(uint64_t epoch, uint64_t seq) {
  const Entry* entry = Find(epoch, seq);
  return entry != nullptr ? std::optional(entry->log_index) : std::nullopt;
}

const AgentChain::Entry* AgentChain::Find(uint64_t epoch, uint64_t seq) {
  auto match = [&](const Entry& e) { return At(e, epoch, seq); };
  if (auto it = std::find_if(recent_.rbegin(), recent_.rend(), match); it != recent_.rend()) return &*it;
  if (auto it = std::find_if(found_.begin(), found_.end(), match); it != found_.end()) return &*it;

  const auto position = std::tie(epoch, seq);
  auto after = std::upper_bound(marks_.begin(), marks_.end(), position,
                                [](const auto& p, const Mark& m) { return p < std::tie(m.epoch, m.seq); });
  if (after == marks_.begin() || searches_ >= kMaxSearches) return nullptr;
  const Mark& mark = *std::prev(after);
  ++searches_;
  found_.clear();
  uint64_t left = kMarkEvery;
  // A leaf that does not parse is not this agent's; that the log is whole was
  // established at start.
  reader_
      ->ForEach(mark.log_index,
                [&](const trail::LeafLocation& where, std::string_view leaf) {
                  auto parsed = trail::ParseLeaf(leaf);
                  if (!parsed.ok()) return true;
                  const trail::v1::BatchHeader& header = parsed->header;
                  if (header.agent_id() != agent_id_ || header.tenant() != tenant_) return true;
                  found_.push_back({header.epoch(), header.seq(), parsed->batch_hash, where.index});
                  return --left > 0;
                })
      .Ignore();
  if (auto it = std::find_if(found_.begin(), found_.end(), match); it != found_.end()) return &*it;
  return nullptr;
}

void AgentChain::Save() {
  saved_ = Saved{verifier_.state(), recent_, marks_.size(), batches_, gaps_};
  searches_ = 0;
}

void AgentChain::Restore() {
  if (!saved_) return;
  verifier_.set_state(std::move(saved_->state));
  recent_ = std::move(saved_->recent);
  marks_.resize(saved_->marks);
  batches_ = saved_->batches;
  gaps_ = std::move(saved_->gaps);
  saved_.reset();
}

}  // namespace nodetrail::collector
