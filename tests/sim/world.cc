// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

#include <cstdio>

#include "tests/sim/world_impl.h"

namespace nodetrail::sim {
namespace {

constexpr size_t kAgents = 2;

std::string Seeded(uint64_t seed) {
  SeedLibraries(seed);
  ForgetSignatures();
  return "simulated authority";
}

}  // namespace

Plan MakePlan(Rng* rng) {
  Plan plan;
  plan.witnesses = rng->Below(3);
  plan.quorum = plan.witnesses == 2 ? rng->Between(1, 2) : plan.witnesses;
  const uint64_t release = rng->Below(plan.witnesses > 0 ? 5 : 3);
  plan.release = release == 0 ? Release::kDurable : release < 3 ? Release::kLogged : Release::kWitnessed;
  plan.tight = rng->Chance(20);
  const uint64_t back = rng->Below(10);
  plan.collector_goes_back = back < 5;
  plan.witness_goes_back = back > 6;
  return plan;
}

World::World(const WorldOptions& options)
    : options_(options),
      rng_(options.seed),
      ca_(Seeded(options.seed)),
      plan_(MakePlan(&rng_)),
      collector_({Dir("collector"), options.bug, &ca_, plan_.witnesses, plan_.quorum}, &rng_, &counts_) {
  std::vector<WitnessHost*> witnesses;
  for (size_t i = 0; i < plan_.witnesses; ++i) {
    const std::string name = fmt::format("w{}", i + 1);
    witnesses_.push_back(std::make_unique<WitnessHost>(
        WitnessHost::Options{name, Dir(name), options.bug, collector_.log_key()}, &rng_, &counts_));
    witnesses_.back()->disk.trace = options.trace;
    witnesses.push_back(witnesses_.back().get());
  }
  collector_.SetWitnesses(std::move(witnesses));
  for (size_t i = 0; i < kAgents; ++i) {
    const std::string id = fmt::format("node-{}", i + 1);
    AgentHost::Options agent{id, Dir(id), options.bug, &ca_, plan_.release, collector_.policy(), plan_.tight};
    agents_.push_back(std::make_unique<AgentHost>(std::move(agent), &rng_, &counts_));
    agents_.back()->disk.trace = options.trace;
  }
  collector_.disk.trace = options.trace;
}

WorldResult World::Run() {
  WorldResult result;
  for (step_ = 0; step_ < options_.steps && violation_.empty(); ++step_) Step();
  result.step = step_;
  if (violation_.empty()) {
    Heal();
    result.step = options_.steps;
  }
  result.violation = violation_;
  for (const auto& agent : agents_) AddDisk(agent->disk);
  for (const auto& witness : witnesses_) AddDisk(witness->disk);
  AddDisk(collector_.disk);
  result.counts = counts_;
  result.digest = digest_;
  result.verdict = verdict_;
  return result;
}

void World::AddDisk(const Disk& disk) {
  const Disk::Counts& c = disk.counts();
  counts_["write lost"] += c.lost_writes;
  counts_["write torn"] += c.torn_writes;
  counts_["name lost"] += c.lost_names;
  counts_["sync failed"] += c.failed_syncs;
  counts_["disk full"] += c.failed_writes;
  counts_["disk filled by others"] += c.refused_growths;
}

LogTruth World::Truth() const {
  LogTruth out;
  out.old_copy = collector_.rolled_back();
  out.ever_rolled_back = rolled_back_;
  out.published = collector_.published_size();
  for (const auto& witness : witnesses_) {
    out.witnessed.push_back(witness->cosigned().empty() ? 0 : witness->cosigned().rbegin()->first);
  }
  out.quorum = plan_.quorum;
  return out;
}

void World::Step() {
  AgentHost& agent = *agents_[rng_.Below(agents_.size())];
  agent.clock.Advance(rng_.Below(500'000'000));
  const uint64_t dice = rng_.Below(1000);
  StepWitness();
  if (plan_.collector_goes_back && rng_.Below(1000) < 60) RollCollectorBack();
  if (!agent.up()) return StartAgent(&agent, dice);
  if (!collector_.up() && dice < 300) StartCollector();
  if (dice < 150) {
    Arm(&agent.disk, 3);
    Trace(agent.id() + " seals");
    Found(agent.Seal(rng_.Between(1, 4)));
  } else if (dice < 400) {
    if (agent.wire && !agent.wire->open) agent.Disconnect();
    if (collector_.up() || agent.wire) Found(agent.Ship());
  } else if (dice < 520) {
    if (collector_.up() && agent.wire && agent.wire->open && !agent.wire->up.empty()) {
      collector_.Receive(agent.id(), agent.wire);
    }
  } else if (dice < 640) {
    if (collector_.up()) {
      Arm(&collector_.disk, 3);
      Trace("the collector commits");
      collector_.Commit();
    }
  } else if (dice < 740) {
    if (collector_.up()) {
      Arm(&collector_.disk, 3);
      Trace("the sequencer goes round");
      Found(collector_.Sequence());
    }
  } else if (dice < 780) {
    if (collector_.up()) collector_.GiveReceipts();
  } else if (dice < 940) {
    Deliver(&agent);
  } else {
    Fault(&agent, dice);
  }
  AfterStep(&agent);
}

void World::StartAgent(AgentHost* agent, uint64_t dice) {
  if (dice < 40 && !agent->disk.dead()) return;
  if (dice < 60 && agent->Rot()) {
    ++counts_["spool rotted"];
    Trace(agent->id() + " rots");
  }
  Trace(agent->id() + " starts");
  Arm(&agent->disk, 8);
  Found(agent->Start());
  if (agent->disk.dead()) agent->Kill();
}

void World::StartCollector() {
  Trace("the collector starts");
  Arm(&collector_.disk, 8);
  Found(collector_.Start());
  if (collector_.disk.dead()) collector_.Kill();
  else if (violation_.empty()) Found(CheckAcked());
}

void World::StepWitness() {
  if (witnesses_.empty()) return;
  WitnessHost& witness = *witnesses_[rng_.Below(witnesses_.size())];
  const uint64_t dice = rng_.Below(1000);
  if (!witness.up()) {
    if (dice >= 40) return;
    if (plan_.witness_goes_back && dice < 20 && witness.RollBack()) {
      ++counts_["witness rolled back"];
      Trace(witness.name() + " goes back to a backup");
    }
    Trace(witness.name() + " starts");
    Arm(&witness.disk, 8);
    Found(witness.Start());
    if (witness.disk.dead()) witness.Kill();
    else witness.disk.Disarm();
  } else if (dice < 6) {
    Trace(witness.name() + " is killed");
    ++counts_["witness killed"];
    witness.Kill();
  } else if (dice < 12) {
    Trace(witness.name() + " loses power");
    ++counts_["witness lost power"];
    witness.PowerCut();
  } else if (dice < 16) {
    witness.disk.FailNextSync();
  } else if (dice < 20) {
    witness.disk.FailWrite(rng_.Between(1, 4));
  } else if (dice < 26) {
    witness.Backup();
  }
}

void World::Deliver(AgentHost* agent) {
  if (!agent->wire || !agent->wire->open || agent->wire->down.empty()) return;
  const ingest::v1::ServerMessage message = std::move(agent->wire->down.front());
  agent->wire->down.pop_front();
  if (step_ < options_.steps) Arm(&agent->disk, 3);
  Trace(agent->id() + " hears " + message.ShortDebugString().substr(0, 60));
  Found(agent->Deliver(message, Truth()));
}

// The party dies within the next changes of its disk.
void World::Arm(Disk* disk, unsigned percent) {
  if (disk->dead() || !rng_.Chance(percent)) return;
  disk->KillAt(rng_.Between(1, 12), rng_.Chance(50));
}

void World::Fault(AgentHost* agent, uint64_t dice) {
  if (dice < 950) {
    Trace(agent->id() + ": the line breaks");
    ++counts_["line broken"];
    agent->Disconnect();
  } else if (dice < 956) {
    Trace(agent->id() + " is killed");
    ++counts_["agent killed"];
    agent->Kill();
  } else if (dice < 962) {
    Trace(agent->id() + " loses power");
    ++counts_["agent lost power"];
    agent->PowerCut();
  } else if (dice < 967) {
    if (!collector_.up()) return;
    Trace("the collector is killed");
    ++counts_["collector killed"];
    collector_.Kill();
  } else if (dice < 972) {
    Trace("the collector loses power");
    ++counts_["collector lost power"];
    collector_.PowerCut();
  } else if (dice < 976) {
    Trace(agent->id() + ": the clock jumps");
    ++counts_["clock jumped"];
    const uint64_t jump = rng_.Below(7'200'000'000'000);
    agent->clock.wall_ns += rng_.Chance(50) ? jump : -jump;
  } else if (dice < 981) {
    Trace(agent->id() + " stops in order");
    Found(agent->CleanStop());
    if (!agent->up()) ++counts_["agent stopped"];
  } else if (dice < 994) {
    DiskFault(agent, dice);
  } else if (collector_.up() && collector_.ForgeReceipt()) {
    Trace("the collector forges a receipt");
    ++counts_["receipt forged"];
  }
}

void World::DiskFault(AgentHost* agent, uint64_t dice) {
  const bool of_agent = rng_.Chance(50) || !collector_.up();
  Disk& disk = of_agent ? agent->disk : collector_.disk;
  if (dice < 986) {
    Trace(disk.root() + ": the next sync fails");
    disk.FailNextSync();
  } else if (dice < 991) {
    Trace(disk.root() + ": the disk is full for a moment");
    disk.FailWrite(rng_.Between(1, 4));
  } else {
    Trace(disk.root() + ": others fill the disk");
    disk.FillUp(rng_.Between(2, 30));
  }
}

void World::RollCollectorBack() {
  if (rolled_back_) return;
  collector_.Backup();
  // Somebody puts the copy in place; for that it must be down.
  if (!collector_.CanRollBack()) return;
  collector_.Kill();
  // Whoever knows better may be out of reach for a while.
  const bool alone = rng_.Chance(50);
  for (auto& witness : witnesses_) {
    if (alone && witness->up()) witness->Kill();
  }
  NT_CHECK(collector_.RollBack());
  rolled_back_ = true;
  ++counts_["collector rolled back"];
  Trace("the collector's folder goes back to a copy");
  for (auto& agent : agents_) {
    acked_by_newest_.push_back(agent->acked);
    std::erase_if(agent->acked, [&](const auto& one) { return one.second.second >= collector_.copied_leaves(); });
  }
}

// Whoever runs the collector learned that it is an old copy.
void World::PutNewestBack() {
  collector_.Kill();
  NT_CHECK(collector_.PutNewestBack());
  ++counts_["newest put back"];
  Trace("the newest folder is put back");
  for (size_t i = 0; i < agents_.size(); ++i) agents_[i]->acked = acked_by_newest_[i];
}

void World::AfterStep(AgentHost* agent) {
  if (agent->up() && agent->disk.dead()) {
    Trace(agent->id() + " died in the middle");
    ++counts_["agent died in a change"];
    if (rng_.Chance(50)) {
      agent->PowerCut();
      ++counts_["agent lost power"];
    } else {
      agent->Kill();
    }
  }
  if (collector_.up() && collector_.disk.dead()) {
    Trace("the collector died in the middle");
    ++counts_["collector died in a change"];
    if (rng_.Chance(50)) {
      collector_.PowerCut();
      ++counts_["collector lost power"];
    } else {
      collector_.Kill();
    }
  }
  for (auto& witness : witnesses_) {
    Found(witness->violation());
    if (!witness->up() || !witness->disk.dead()) continue;
    Trace(witness->name() + " died in the middle");
    ++counts_["witness died in a change"];
    if (rng_.Chance(50)) witness->PowerCut();
    else witness->Kill();
  }
  const bool alarmed = std::any_of(agents_.begin(), agents_.end(), [](const auto& a) { return a->alarmed; });
  if (violation_.empty() && collector_.rolled_back() && (collector_.refused() || alarmed) && rng_.Chance(5)) {
    PutNewestBack();
  }
  Found(agent->Check());
}

std::string World::CheckAcked() const {
  for (const auto& agent : agents_) {
    for (const auto& [at, where] : agent->acked) {
      const auto& [hash, index] = where;
      if (index >= collector_.replayed().size() || collector_.replayed()[index] != hash) {
        return fmt::format("I1: {}:{}:{} was acknowledged as leaf {} and is not there", agent->id(), at.first,
                           at.second, index);
      }
    }
  }
  return "";
}

WorldResult RunWorld(const WorldOptions& options) { return World(options).Run(); }

}  // namespace nodetrail::sim
