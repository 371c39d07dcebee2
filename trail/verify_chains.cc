// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_chains.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {
namespace {

// Duplicates and equivocations are told apart this far back in an epoch.
constexpr size_t kRememberHashes = 1 << 16;

// Of a leaf that is rightly signed.
std::string_view ReasonOf(ChainVerdict verdict, const v1::BatchHeader& header) {
  switch (verdict) {
    case ChainVerdict::kBadAlgorithm: return reason::kAlgorithm;
    case ChainVerdict::kDuplicate: return reason::kDuplicate;
    case ChainVerdict::kEquivocation: return reason::kEquivocation;
    case ChainVerdict::kOld: return reason::kPast;
    case ChainVerdict::kBrokenChain: return header.seq() == 0 ? reason::kOpening : reason::kLink;
    case ChainVerdict::kClosed:
    case ChainVerdict::kWrongKey: return reason::kLink;
    case ChainVerdict::kBadEpochOpen: return reason::kOpening;
    case ChainVerdict::kBadCounters: return reason::kCounters;
    case ChainVerdict::kWrongIdentity: return reason::kTenant;
    case ChainVerdict::kNotEnrolled: return reason::kEnrolment;
    case ChainVerdict::kRevoked: return reason::kRevoked;
    default: return reason::kDamagedLeaf;
  }
}

}  // namespace

AgentState* ChainsCheck::Take(const LeafLocation& where, std::string_view leaf, const ParsedLeaf& parsed) {
  const v1::BatchHeader& h = parsed.header;
  // A leaf that is not what it says must not open an account for an agent.
  const auto key = std::pair(h.tenant(), h.agent_id());
  auto it = agents_.find(key);
  std::unique_ptr<AgentState> fresh;
  if (it == agents_.end()) {
    ChainPolicy chain_policy{h.tenant(), h.agent_id(), &cas_, kRememberHashes};
    chain_policy.judge = [this](const v1::BatchHeader& header) { return entries_->Judge(header); };
    fresh = std::make_unique<AgentState>(std::move(chain_policy), EmptyTimeline());
  }
  AgentState* agent = fresh ? fresh.get() : it->second.get();
  CheckOptions options;
  options.allow_hole = true;
  const ChainHead before = agent->chain.state().head;
  const ChainResult result = agent->chain.Check(leaf, std::nullopt, options);
  if (!result.accepted()) {
    // Rightly signed, it is the batch that it says it is.
    if (VerifyLeafSignature(parsed)) {
      findings_->Add(FindingKind::kTamper, ReasonOf(result.verdict, h), result.reason, BatchName(h), &where);
    } else {
      findings_->AddBadLeaf(where, result.reason, BatchName(h));
    }
    return nullptr;
  }
  if (fresh) {
    agent->coverage.tenant = h.tenant();
    agent->coverage.agent_id = h.agent_id();
    agents_.emplace(key, std::move(fresh));
  }
  entries_->Accept(h, where);
  TakeNotes(agent, h, result.notes, before, where);
  CountBatch(h, &agent->coverage);
  agent->last_losses = h.losses();
  agent->sealed_ns = h.sealed_wall_ns();
  return agent;
}

void ChainsCheck::TakeNotes(AgentState* agent, const v1::BatchHeader& h, const ChainNotes& notes,
                            const ChainHead& before, const LeafLocation& where) {
  const std::string name = BatchName(h);
  const size_t holes = TakeHoles(agent, h, notes, where);
  // Also without its opening, which is a hole then: what an epoch says is of that epoch.
  const bool entered = notes.epoch_opened || (before.known && before.epoch != h.epoch());
  if (entered) FinishEpoch(agent, h);
  if (agent->coverage.batches == 0 || entered) agent->epoch_opened_ns = h.sealed_wall_ns();
  TakeTime(agent, h, notes, before, holes);
  if (notes.epoch_opened && before.known) {
    const bool in_scope = InScope(*agent, h);
    if (notes.history_unknown) {
      AddGap(in_scope, {FindingKind::kGap, std::string(reason::kRestart),
                        fmt::format("epoch {} begins without knowledge of epoch {}: the spool was lost, with what was "
                                    "not yet sent",
                                    h.epoch(), before.epoch),
                        name, where.index, where.file});
    } else if (notes.spool_rolled_back) {
      AddGap(in_scope, {FindingKind::kGap, std::string(reason::kRestart),
                        fmt::format("epoch {} begins from an older state of the spool than the log has", h.epoch()),
                        name, where.index, where.file});
    }
    if (NT_GUARD(verify_restart, notes.unclean_restart)) {
      agent->restart_in_scope = in_scope;
      agent->unexplained_restart =
          Finding{FindingKind::kGap,
                  std::string(reason::kRestart),
                  fmt::format("epoch {} follows {} without clean shutdown{}, and no agent.gap tells what was missed",
                              h.epoch(), BatchName(h.agent_id(), before.epoch, before.seq),
                              notes.same_boot_restart ? " in the same boot" : ""),
                  name,
                  where.index,
                  where.file};
    }
  }
  if (notes.wall_clock_back) findings_->Note("the wall clock went back", name, &where);
  if (notes.boot_clock_back) findings_->Note("the boot clock went back", name, &where);
  if (notes.unknown_fields) {
    findings_->Note("signed fields that this version does not know", name, &where);
  }
}

size_t ChainsCheck::TakeHoles(AgentState* agent, const v1::BatchHeader& h, const ChainNotes& notes,
                              const LeafLocation& where) {
  const size_t before = agent->holes.size();
  for (ChainHole hole : notes.holes) {
    findings_->NameBadLeaves(h.agent_id(), &hole);
    if (hole.from_seq <= hole.to_seq) agent->holes.push_back({hole, where, InScope(*agent, h)});
  }
  return agent->holes.size() - before;
}

void ChainsCheck::TakeTime(AgentState* agent, const v1::BatchHeader& h, const ChainNotes& notes,
                           const ChainHead& before, size_t holes) {
  using Join = CoverageTimeline::Join;
  if (notes.holes.empty() && !(notes.epoch_opened && before.known && notes.unclean_restart)) {
    agent->timeline.Batch(h.sealed_wall_ns(), notes.epoch_opened ? Join::kStopped : Join::kNext);
    return;
  }
  // A hole that damaged leaves fill is no loss that an agent could declare; nor
  // is a spool that was lost or went back.
  auto causes = static_cast<unsigned>(notes.holes.size());
  if (notes.epoch_opened && notes.unclean_restart) ++causes;
  if (notes.history_unknown || notes.spool_rolled_back) ++causes;
  const auto stretch = agent->timeline.Batch(h.sealed_wall_ns(), Join::kBroken, causes);
  if (notes.epoch_opened && notes.unclean_restart) agent->restart_stretch = stretch;
  for (size_t i = agent->holes.size() - holes; i < agent->holes.size(); ++i) agent->holes[i].stretch = stretch;
}

bool ChainsCheck::InScope(const AgentState& agent, const v1::BatchHeader& next) const {
  return scope_.Has(next.agent_id(), {std::min(agent.sealed_ns, next.sealed_wall_ns()),
                                      std::max(agent.sealed_ns, next.sealed_wall_ns())});
}

void ChainsCheck::AddGap(bool in_scope, Finding finding) {
  if (!in_scope) {
    finding.kind = FindingKind::kNote;
    finding.text += " (outside the scope)";
  }
  findings_->Add(std::move(finding));
}

CoverageTimeline ChainsCheck::EmptyTimeline() const {
  const uint64_t silence = policy_.heartbeat_ns > UINT64_MAX / 2 ? UINT64_MAX : 2 * policy_.heartbeat_ns;
  return {silence, scope_.since_ns.value_or(0), scope_.until_ns.value_or(UINT64_MAX)};
}

void ChainsCheck::FinishEpoch(AgentState* agent, const v1::BatchHeader& next) {
  ReportRestart(agent);
  ReportCounters(agent, BatchName(next));
  agent->restart_stretch = CoverageTimeline::kNone;
  agent->epoch_has_loss_event = false;
  agent->last_losses.Clear();
}

void ChainsCheck::ReportRestart(AgentState* agent) {
  if (!agent->unexplained_restart) return;
  AddGap(agent->restart_in_scope, std::move(*agent->unexplained_restart));
  agent->unexplained_restart.reset();
}

void ChainsCheck::ReportCounters(AgentState* agent, const std::string& batch) {
  const v1::LossCounters& c = agent->last_losses;
  const uint64_t events = c.ring() + c.map() + c.decode() + c.probe() + c.evicted_events();
  if (agent->epoch_has_loss_event || !NT_GUARD(verify_counters, events != 0 || c.evicted_batches() != 0)) return;
  const bool in_scope = scope_.Has(agent->coverage.agent_id, {std::min(agent->epoch_opened_ns, agent->sealed_ns),
                                                              std::max(agent->epoch_opened_ns, agent->sealed_ns)});
  AddGap(in_scope, {FindingKind::kDeclaredLoss,
                    std::string(reason::kLoss),
                    fmt::format("the epoch's counters tell of {} lost events", events),
                    batch,
                    std::nullopt,
                    {}});
  agent->coverage.losses.push_back({batch, "counters", "", events, 0, 0});
}

void ChainsCheck::Declare(AgentState* agent, const v1::BatchHeader& h, const event::v1::Event& event,
                          const LeafLocation& where) {
  const event::v1::AgentEvent& a = event.agent();
  const std::string name = BatchName(h);
  EventLoss loss{name, a.stage(), a.kind(), a.count(), a.from_wall_ns(), a.to_wall_ns()};
  if (event.kind() == event::v1::KIND_AGENT_GAP) {
    agent->unexplained_restart.reset();
    agent->timeline.Explain(std::exchange(agent->restart_stretch, CoverageTimeline::kNone));
    // After an orderly stop nobody is surprised that nothing was seen.
    if (a.clean()) {
      findings_->Note("the agent was stopped in order, and started again", name, &where);
      return;
    }
    loss.stage = "restart";
    findings_->Add(FindingKind::kDeclaredLoss, reason::kLoss,
                   fmt::format("the agent declares that it did not observe the node after {}",
                               BatchName(h.agent_id(), a.last_epoch(), a.last_batch_seq())),
                   name, &where);
  } else {
    agent->epoch_has_loss_event = true;
    agent->timeline.Declare(a.from_wall_ns(), a.to_wall_ns());
    // A body that was given up excuses no batch that is missing.
    if (a.stage() == "spool" && !a.body_only()) {
      agent->spool_losses.push_back({h.epoch(), {a.last_epoch(), a.seq_from(), a.seq_to()}});
    }
    findings_->Add(FindingKind::kDeclaredLoss, reason::kLoss,
                   fmt::format("the agent declares {} lost events (stage {}{})", a.count(), a.stage(),
                               a.body_only() ? ", bodies only" : ""),
                   name, &where);
  }
  if (agent->coverage.losses.size() < policy_.max_findings) agent->coverage.losses.push_back(std::move(loss));
}

// Whether each batch of the hole is in a range that a later epoch says its spool
// lost: one statement need not cover it all, a spool may lose one batch today and
// its neighbour tomorrow. Only a later epoch may say so: its opening is signed by
// the identity key, and so vouches for the batches after the hole. `losses` in the
// order of their first batch.
bool ChainsCheck::IsDeclared(const ChainHole& hole, const std::vector<AgentState::SpoolLoss>& losses) {
  uint64_t next = hole.from_seq;
  for (const AgentState::SpoolLoss& loss : losses) {
    if (loss.declared_in <= hole.epoch || loss.batches.epoch != hole.epoch || loss.batches.to_seq < next) continue;
    if (loss.batches.from_seq > next) return false;
    if (loss.batches.to_seq >= hole.to_seq) return true;
    next = loss.batches.to_seq + 1;
  }
  return false;
}

void ChainsCheck::FinishAgent(AgentState* agent, bool root_broken) {
  ReportRestart(agent);
  const ChainHead& head = agent->chain.state().head;
  const std::string& id = agent->coverage.agent_id;
  ReportCounters(agent, BatchName(id, head.epoch, head.seq));
  std::stable_sort(agent->spool_losses.begin(), agent->spool_losses.end(),
                   [](const auto& a, const auto& b) { return a.batches.from_seq < b.batches.from_seq; });
  for (const AgentState::OpenHole& open : agent->holes) {
    const ChainHole& hole = open.hole;
    agent->coverage.holes.push_back(hole);
    const std::string name = BatchName(id, hole.epoch, hole.from_seq);
    const std::string range = hole.from_seq == hole.to_seq
                                  ? fmt::format("batch {}", name)
                                  : fmt::format("batches {} to {}", name, BatchName(id, hole.epoch, hole.to_seq));
    const bool declared = IsDeclared(hole, agent->spool_losses);
    if (root_broken) {
      findings_->Add(FindingKind::kTamper, reason::kHole,
                     fmt::format("{} missing, and the root does not agree: removed from the log", range), name,
                     &open.found_at);
    } else if (declared) {
      agent->timeline.Explain(open.stretch);
      AddGap(open.in_scope, {FindingKind::kDeclaredLoss, std::string(reason::kHole),
                             fmt::format("{} never arrived; the agent declares that its spool lost them", range), name,
                             open.found_at.index, open.found_at.file});
    } else {
      if (NT_GUARD(verify_hole, true))
        AddGap(open.in_scope, {FindingKind::kGap, std::string(reason::kHole),
                               fmt::format("{} never arrived, and nobody says why", range), name, open.found_at.index,
                               open.found_at.file});
    }
  }
}

void ChainsCheck::Finish(bool root_broken, VerifyReport* report) {
  uint64_t end = 0;
  for (const auto& [key, agent] : agents_) end = std::max(end, agent->timeline.newest_ns());
  end = policy_.coverage_until_ns.value_or(scope_.until_ns.value_or(end));
  for (auto& [key, agent] : agents_) {
    FinishAgent(agent.get(), root_broken);
    if (scope_.HasAgent(agent->coverage.agent_id)) {
      agent->timeline.Finish(end, agent->chain.state().head.clean, &agent->coverage);
    }
  }
  // Bad leaves after which nothing came: with one agent they can only be its next.
  if (agents_.size() == 1) {
    const AgentState& only = *agents_.begin()->second;
    findings_->NameRest(only.coverage.agent_id, only.chain.expected());
  }
  for (auto& [key, agent] : agents_) report->agents.push_back(std::move(agent->coverage));
}

}  // namespace nodetrail::trail
