// SPDX-License-Identifier: Apache-2.0
//
// How a world comes to rest once no faults happen any more, and what its trail
// is judged by then.
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/trail_store.h"
#include "tests/sim/world_impl.h"

namespace nodetrail::sim {
namespace {

constexpr uint64_t kDrainRounds = 200;
constexpr uint64_t kMinute = 60'000'000'000;

}  // namespace

// No faults any more: everything must come to rest.
void World::Heal() {
  step_ = options_.steps;
  for (auto& agent : agents_) {
    if (agent->up()) agent->Kill();
    agent->alarmed = false;
  }
  if (collector_.up()) collector_.Kill();
  HealWitnesses();
  if (!violation_.empty() || !HealCollector()) return;
  for (auto& agent : agents_) {
    if (violation_.empty()) Found(agent->Start());
    if (violation_.empty() && !agent->up()) Found("I5: " + agent->id() + " does not start");
  }
  // The second round counts what the first gave up.
  for (int round = 0; round < 2 && violation_.empty() && !split_; ++round) {
    for (auto& agent : agents_) {
      agent->clock.Advance(kMinute);
      for (int i = 0; i < 2 && violation_.empty(); ++i) Found(agent->Seal(1));
    }
    if (!Drain()) return;
  }
  collector_.Advance(kMinute);
  for (int i = 0; i < 2 && violation_.empty(); ++i) Found(collector_.Sequence());
  if (!violation_.empty()) return;
  if (const std::string shortfall = collector_.Shortfall(); !shortfall.empty()) {
    return Found("I8: the last checkpoint: " + shortfall);
  }
  if (collector_.witness_rollbacks() > 0) ++counts_["witness rollback noticed"];
  CheckTrail();
}

void World::HealWitnesses() {
  for (auto& witness : witnesses_) {
    if (witness->up()) witness->Kill();
    if (violation_.empty()) Found(witness->Start());
    if (violation_.empty() && !witness->up()) Found("I5: witness " + witness->name() + " does not start");
  }
}

// False: it did not start, or no folder of it is one that all can go on with.
bool World::HealCollector() {
  collector_.Heal();
  Found(collector_.Start());
  if (violation_.empty() && collector_.refused() && collector_.rolled_back()) {
    PutNewestBack();
    Found(collector_.Start());
  }
  if (!violation_.empty()) return false;
  if (collector_.refused()) {
    split_ = true;
    ++counts_["split history found"];
    return false;
  }
  Found(CheckAcked());
  return violation_.empty();
}

// False: a violation, or the two histories are found.
bool World::Drain() {
  for (uint64_t round = 0; round < kDrainRounds && violation_.empty(); ++round) {
    bool drained = true;
    collector_.Advance(kMinute);
    const uint64_t before = counts_["frame sent"];
    for (auto& agent : agents_) {
      if (agent->wire && !agent->wire->open) agent->Disconnect();
      for (int i = 0; i < 6 && violation_.empty(); ++i) Found(agent->Ship());
      while (agent->wire && !agent->wire->up.empty()) collector_.Receive(agent->id(), agent->wire);
    }
    for (int i = 0; i < 6; ++i) collector_.Commit();
    // A checkpoint once all that may come has come.
    if (violation_.empty() && counts_["frame sent"] == before) Found(collector_.Sequence());
    collector_.GiveReceipts();
    for (auto& agent : agents_) {
      while (violation_.empty() && agent->wire && agent->wire->open && !agent->wire->down.empty()) Deliver(agent.get());
      drained = drained && agent->drained();
    }
    const bool alarmed = std::any_of(agents_.begin(), agents_.end(), [](const auto& a) { return a->alarmed; });
    if (violation_.empty() && (alarmed || collector_.refused())) {
      if (!collector_.rolled_back()) {
        split_ = true;
        ++counts_["split history found"];
        return false;
      }
      PutNewestBack();
      for (auto& agent : agents_) agent->alarmed = false;
      if (!HealCollector()) return false;
      drained = false;
    }
    if (drained) return violation_.empty();
  }
  Found("I8: after the faults a spool does not drain");
  return false;
}

void World::CheckTrail() {
  auto reader = trail::TrailReader::Open(collector_.trail_dir());
  if (!reader.ok()) return Found(fmt::format("I1: the trail does not open: {}", reader.status().message()));
  std::map<std::string, std::map<Position, trail::Hash>> log;
  trail::CompactRange range;
  std::vector<trail::Hash> roots{trail::EmptyRoot()};
  trail::Sha256 sum;
  const Status read = (*reader)->ForEach(0, [&](const trail::LeafLocation&, std::string_view leaf) {
    range.Append(trail::LeafHash(leaf));
    roots.push_back(range.Root());
    sum.Update(trail::View(trail::LeafHash(leaf)));
    const auto parsed = trail::ParseLeaf(leaf);
    NT_CHECK(parsed.ok());
    const trail::v1::BatchHeader& h = parsed->header;
    if (!log[h.agent_id()].emplace(Position{h.epoch(), h.seq()}, parsed->batch_hash).second) {
      Found(fmt::format("I2: {}:{}:{} is in the log twice", h.agent_id(), h.epoch(), h.seq()));
    }
    uint64_t& counted = counted_[h.agent_id()][h.epoch()];
    counted = std::max(counted, h.losses().evicted_batches());
    if (plan_.tight && h.stored_body_len() > 0) {
      const auto body = trail::HashFromBytes(h.body_sha256());
      if ((*reader)->Body(*body).status().code() == Code::kNotFound) ++evicted_in_log_[h.agent_id()];
    }
    return true;
  });
  if (!read.ok()) return Found(std::string(read.message()));
  digest_ = trail::Hex(sum.Finish());
  CheckChain(roots);
  Missing missing;
  for (const auto& agent : agents_) {
    Found(CheckArrived(*agent, log[agent->id()], &missing));
    CheckEvictions(*agent);
  }
  if (violation_.empty()) CheckVerdict(missing);
}

// Whatever was signed, or cosigned, is the log at that size.
void World::CheckChain(const std::vector<trail::Hash>& roots) {
  const auto check = [&](const std::string& whose, uint64_t size, const trail::Hash& root) {
    if (size >= roots.size()) {
      Found(fmt::format("I3: {} signed a checkpoint of {} leaves, the log has {}", whose, size, roots.size() - 1));
    } else if (roots[size] != root) {
      Found(fmt::format("I3: the root at size {} is not the one that {} signed", size, whose));
    }
  };
  for (const auto& [size, root] : collector_.published()) check("the log", size, root);
  for (const auto& witness : witnesses_) {
    for (const auto& [size, root] : witness->cosigned()) check(witness->name(), size, root);
  }
}

std::string World::CheckArrived(const AgentHost& agent, const std::map<Position, trail::Hash>& in_log,
                                Missing* missing) {
  for (const auto& [at, hash] : agent.durable) {
    const auto found = in_log.find(at);
    if (found != in_log.end() && found->second == hash) continue;
    if (found == in_log.end() && agent.rotted) continue;  // the verifier must find it declared
    if (!rolled_back_ || found != in_log.end()) {
      return fmt::format("I4: {}:{}:{} was durable in the spool and did not arrive", agent.id(), at.first, at.second);
    }
    // The log went back to an old copy, and nobody was there who knew better.
    const auto trimmed = agent.trimmed.find(at);
    const bool receipt = plan_.release != Release::kDurable && trimmed != agent.trimmed.end();
    if (plan_.release != Release::kDurable && !receipt) {
      return fmt::format("I4: {}:{}:{} was given up without a receipt", agent.id(), at.first, at.second);
    }
    if (plan_.release == Release::kWitnessed) {
      return fmt::format("I1: {}:{}:{} was given up on the word of the witnesses, and is gone", agent.id(), at.first,
                         at.second);
    }
    (receipt && trimmed->second.quorum ? missing->proven : missing->durable) = true;
  }
  return "";
}

void World::CheckEvictions(const AgentHost& agent) {
  if (!plan_.tight || agent.rotted || rolled_back_) return;
  uint64_t counted = 0;
  for (const auto& [epoch, batches] : counted_[agent.id()]) counted += batches;
  const uint64_t in_log = evicted_in_log_[agent.id()];
  counts_["evicted body in the log"] += in_log;
  if (counted < in_log) {
    Found(fmt::format("I4: {}: {} bodies were given up, its headers count {}", agent.id(), in_log, counted));
  }
  // A power cut may bring a body back, and one is not seen that a Welcome let go.
  if (agent.lost_changes || plan_.release == Release::kDurable) return;
  ++counts_["evictions compared"];
  if (counted != agent.evicted.size()) {
    Found(fmt::format("I4: {}: {} bodies were given up, its headers count {}", agent.id(), agent.evicted.size(),
                      counted));
  }
}

void World::CheckVerdict(const Missing& missing) {
  bool unclean = plan_.tight, forgot = false;
  for (const auto& agent : agents_) {
    forgot = forgot || agent->forgot;
    unclean = unclean || agent->unclean_ends > 0 || agent->rotted;
  }
  trail::VerifyPolicy policy;
  policy.identity_ca_pem = ca_.CertPem();
  policy.log_policy = *trail::LogPolicy::Parse(collector_.policy());
  const auto report = trail::VerifyTrail(collector_.trail_dir(), policy);
  if (!report.ok()) return Found(fmt::format("I8: verify: {}", report.status().message()));
  verdict_ = static_cast<int>(report->verdict);
  NT_CHECK(WriteFileAtomically(Dir("ca.pem"), ca_.CertPem()).ok());
  NT_CHECK(WriteFileAtomically(Dir("policy.txt"), collector_.policy()).ok());
  ++counts_[fmt::format("verdict {}", verdict_)];
  const int most = rolled_back_ ? 3 : forgot ? 2 : unclean ? 1 : 0;
  if (verdict_ > most) Found(fmt::format("I8: verify says {}: {}", verdict_, report->summary));
  // What an old copy lost must show.
  const int least = missing.proven ? 3 : missing.durable ? 2 : 0;
  if (verdict_ < least) {
    Found(fmt::format("I1: an old copy of the log lost batches, and verify says {}: {}", verdict_, report->summary));
  }
  if (least > 0) ++counts_["loss by an old copy shown"];
}

}  // namespace nodetrail::sim
