// SPDX-License-Identifier: Apache-2.0
//
// The agent's way to the collector: the shipper's protocol without gRPC and
// threads. What a receipt is worth the agent's own LogWatch judges.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "nodetrail/trail/merkle.h"
#include "tests/sim/agent_host.h"

namespace nodetrail::sim {
namespace {

constexpr size_t kWindow = 4;
constexpr size_t kReceiptWindow = 24;

}  // namespace

void AgentHost::Disconnect() {
  if (wire) wire->open = false;
  wire.reset();
  welcomed_ = false;
  next_.reset();
  in_flight_.clear();
  awaited_.clear();
  held_.reset();
  gaps_.clear();
  short_ = false;
}

std::string AgentHost::Ship() {
  if (!wire) {
    wire = std::make_shared<Wire>();
    source_->Rewind();
    ingest::v1::ClientMessage hello;
    hello.mutable_hello()->set_protocol_version(1);
    hello.mutable_hello()->set_tenant("acme");
    hello.mutable_hello()->set_agent_id(id());
    hello.mutable_hello()->set_receipts(log_watch_ != nullptr);
    wire->up.push_back(std::move(hello));
    ++counts_["connect"];
    return "";
  }
  // Another receipt, under a checkpoint that more witnesses may have cosigned.
  if (short_ && rng_->Chance(20)) {
    Disconnect();
    return "";
  }
  if (!welcomed_ || in_flight_.size() >= kWindow) return "";
  if (log_watch_ && awaited_.size() + in_flight_.size() >= kReceiptWindow) return "";
  if (!next_) {
    next_ = source_->Next();
    if (next_ && !next_->eviction.empty()) evicted.insert({next_->position.epoch, next_->position.seq});
  }
  if (!next_) return "";
  const Position waits_at{next_->position.epoch, next_->position.seq};
  if (!in_flight_.empty() && (next_->after_hole || declared_hole_ == waits_at)) return "";
  agent::ShipBatch batch = *std::exchange(next_, std::nullopt);
  const Position at{batch.position.epoch, batch.position.seq};
  const auto [known, fresh] = sent.emplace(at, batch.batch_hash);
  if (!fresh && known->second != batch.batch_hash) {
    return fmt::format("I2: {}: sends another batch {}:{} than before", id(), at.first, at.second);
  }
  if (held_ && at == held_->position && batch.batch_hash != held_->hash) {
    return fmt::format("I2: {}: the collector holds another {}:{} than the spool", id(), at.first, at.second);
  }
  // The collector has the body: its leaf alone asks for the receipt.
  if (held_ && at <= held_->position && !Lacks(at)) {
    batch.body.clear();
    batch.eviction.clear();
  }
  if (!batch.eviction.empty()) ++counts_["evicted body sent"];
  ingest::v1::ClientMessage message;
  message.mutable_frame()->set_leaf(batch.leaf);
  message.mutable_frame()->set_body(batch.body);
  if (options_.bug != "eviction-not-sent") message.mutable_frame()->set_eviction(batch.eviction);
  const bool after_hole = batch.after_hole || declared_hole_ == at;
  message.mutable_frame()->set_after_hole(after_hole);
  wire->up.push_back(std::move(message));
  in_flight_.push_back({at, batch.batch_hash, trail::LeafHash(batch.leaf)});
  ++counts_["frame sent"];
  if (disk.trace) {
    fmt::print("      {} sends {}:{}{}\n", id(), at.first, at.second, after_hole ? " after a hole" : "");
  }
  return "";
}

std::string AgentHost::Deliver(const ingest::v1::ServerMessage& message, const LogTruth& log) {
  if (disk.trace) fmt::print("      {} hears {}\n", id(), message.ShortDebugString().substr(0, 150));
  if (message.has_welcome() && !welcomed_) return Welcomed(message.welcome(), log);
  if (message.has_ack() && welcomed_) {
    return message.ack().level() == ingest::v1::ACK_LEVEL_LOGGED ? Logged(message.ack(), log)
                                                                 : Acked(message.ack(), log);
  }
  if (message.has_nack() && welcomed_) return Nacked(message.nack());
  return fmt::format("{}: the collector broke the protocol", id());
}

std::string AgentHost::Welcomed(const ingest::v1::Welcome& welcome, const LogTruth& log) {
  welcomed_ = true;
  const Position at{welcome.epoch(), welcome.seq()};
  if (welcome.known()) {
    const auto hash = trail::HashFromBytes(welcome.batch_hash());
    NT_CHECK(hash.has_value());
    gaps_.assign(welcome.gaps().begin(), welcome.gaps().end());
    const auto oldest = source_->Oldest();
    const bool wanted = oldest && std::any_of(gaps_.begin(), gaps_.end(), [&](const ingest::v1::Gap& gap) {
                          return *oldest < agent::BatchPosition{gap.after_epoch(), gap.after_seq()};
                        });
    if (log_watch_ || wanted) {
      held_ = Held{at, *hash};
    } else {
      const Status resumed = source_->ResumeAfter({at.first, at.second}, *hash);
      if (resumed.code() == Code::kFailedPrecondition) {
        return fmt::format("I2: {}: the collector holds another {}:{} than the spool", id(), at.first, at.second);
      }
    }
  }
  if (released_ && (!welcome.known() || at < *released_)) {
    if (!log.ever_rolled_back) {
      return fmt::format("I1: {}: a receipt let {}:{} go, the collector holds only {}:{}", id(), released_->first,
                         released_->second, at.first, at.second);
    }
    ++counts_["agent raised an alarm"];
    alarmed = lost_receipted_ = true;
  }
  source_->Rewind();
  next_.reset();
  return "";
}

bool AgentHost::Lacks(const Position& at) const {
  return std::any_of(gaps_.begin(), gaps_.end(), [&](const ingest::v1::Gap& gap) {
    return (gap.before_epoch() == 0 || Position{gap.before_epoch(), gap.before_seq()} < at) &&
           at < Position{gap.after_epoch(), gap.after_seq()};
  });
}

std::string AgentHost::Acked(const ingest::v1::Ack& ack, const LogTruth& log) {
  const Position at{ack.epoch(), ack.seq()};
  if (in_flight_.empty() || in_flight_.front().position != at ||
      ack.batch_hash() != trail::View(in_flight_.front().hash)) {
    return fmt::format("I1: {}: {}:{} is acknowledged, which was not sent", id(), at.first, at.second);
  }
  InFlight batch = in_flight_.front();
  in_flight_.pop_front();
  batch.log_index = ack.log_index();
  if (ack.level() == ingest::v1::ACK_LEVEL_KEPT) {
    if (!Lacks(at)) return fmt::format("I1: {}: {}:{} is kept beside the log, which has it", id(), at.first, at.second);
    ++counts_["kept beside the log"];
    batch.kept = true;
    if (log_watch_) awaited_.push_back(batch);
    // Without receipts, what is acknowledged next lets it go.
    return "";
  }
  acked[at] = {batch.hash, batch.log_index};
  ++counts_["acknowledged"];
  if (log_watch_) {
    awaited_.push_back(batch);
    return "";
  }
  if (options_.bug == "trimmed-too-far" && !in_flight_.empty()) batch = in_flight_.front();
  return LetGo(batch, log);
}

std::string AgentHost::Logged(const ingest::v1::Ack& ack, const LogTruth& log) {
  const Position at{ack.epoch(), ack.seq()};
  const auto batch = std::find_if(awaited_.begin(), awaited_.end(),
                                  [&](const InFlight& b) { return b.position == at && !b.released; });
  if (batch == awaited_.end() || ack.batch_hash() != trail::View(batch->hash) || ack.log_index() != batch->log_index) {
    return fmt::format("I1: {}: a receipt for {}:{}, which does not wait for one", id(), at.first, at.second);
  }
  using Kind = agent::LogWatch::Outcome::Kind;
  agent::LogWatch::Outcome outcome{Kind::kHolds, "", true, ""};
  if (options_.bug != "receipt-not-verified") {
    outcome = log_watch_->Take(batch->leaf_hash, ack.log_index(), ack.proof());
  }
  if (options_.bug == "quorum-not-awaited") outcome.quorum = true;
  if (outcome.kind == Kind::kAlarm) {
    if (!log.ever_rolled_back) return fmt::format("I3: {}: {}", id(), outcome.text);
    ++counts_["agent raised an alarm"];
    alarmed = true;
  }
  if (outcome.kind == Kind::kBad) {
    if (!wire->forged.contains(at)) return fmt::format("I1: {}: {}", id(), outcome.text);
    ++counts_["forged receipt refused"];
  }
  if (outcome.kind != Kind::kHolds || disk.dead()) {
    if (disk.trace) fmt::print("      {}: {}\n", id(), disk.dead() ? "dies" : outcome.text);
    Disconnect();
    return "";
  }
  ++counts_[outcome.quorum ? "receipt" : "receipt without quorum"];
  if (options_.release == Release::kWitnessed && !outcome.quorum) {
    short_ = true;
    return "";
  }
  batch->released = true;
  batch->quorum = outcome.quorum;
  std::optional<InFlight> last;
  const auto released = [](const InFlight& b) { return b.released; };
  while (!awaited_.empty() && (awaited_.front().released ||
                               (awaited_.front().kept && std::any_of(awaited_.begin(), awaited_.end(), released)))) {
    if (awaited_.front().released) last = awaited_.front();
    awaited_.pop_front();
    short_ = false;
  }
  if (!last || lost_receipted_) return "";
  released_ = last->position;
  return LetGo(*last, log);
}

// Judges, before the spool deletes it, whether the log has what the policy
// waits for; then all up to there may go.
std::string AgentHost::LetGo(const InFlight& batch, const LogTruth& log) {
  if (log_watch_ && log.published <= batch.log_index) {
    return fmt::format("I1: {}: {}:{} is given up as leaf {}, the log's checkpoint has {}", id(), batch.position.first,
                       batch.position.second, batch.log_index, log.published);
  }
  const auto knows = [&](uint64_t size) { return size > batch.log_index; };
  if (options_.release == Release::kWitnessed &&
      static_cast<size_t>(std::count_if(log.witnessed.begin(), log.witnessed.end(), knows)) < log.quorum) {
    return fmt::format("I1: {}: {}:{} is given up as leaf {}, which too few witnesses know of", id(),
                       batch.position.first, batch.position.second, batch.log_index);
  }
  for (auto at = acked.begin(); at != acked.end() && at->first <= batch.position; ++at) {
    trimmed.try_emplace(at->first, Trimmed{at->second.first, at->second.second, log.old_copy, batch.quorum});
  }
  const Status status = source_->Ack({batch.position.first, batch.position.second});
  if (disk.trace && !status.ok()) fmt::print("      {}: {}\n", id(), status.message());
  if (!status.ok() || disk.dead()) Disconnect();
  return "";
}

std::string AgentHost::Nacked(const ingest::v1::Nack& nack) {
  ++counts_["refused"];
  if (nack.reason() == ingest::v1::NACK_REASON_REJECTED || nack.reason() == ingest::v1::NACK_REASON_EQUIVOCATION) {
    const bool legal = rotted && nack.reason() == ingest::v1::NACK_REASON_REJECTED;
    if (!legal) return fmt::format("I2: {}: {}:{} is refused: {}", id(), nack.epoch(), nack.seq(), nack.detail());
  }
  if (nack.reason() == ingest::v1::NACK_REASON_EXPECTED) {
    const auto oldest = source_->Oldest();
    if (oldest && agent::BatchPosition{nack.expected_epoch(), nack.expected_seq()} < *oldest) {
      declared_hole_ = Position{oldest->epoch, oldest->seq};
      ++counts_["hole declared"];
    }
  }
  Disconnect();
  return "";
}

}  // namespace nodetrail::sim
