// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/world.h"

#include <fmt/format.h>

#include <cstdio>
#include <functional>
#include <memory>

#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "tests/sim/agent_host.h"
#include "tests/sim/collector_host.h"
#include "tests/sim/rng.h"

namespace nodetrail::sim {
namespace {

constexpr size_t kAgents = 2;
constexpr uint64_t kDrainRounds = 400;

class World {
 public:
  explicit World(const WorldOptions& options)
      : options_(options),
        rng_(options.seed),
        ca_(Seeded(options.seed)),
        collector_(Dir("collector"), options.bug, &ca_, &rng_, &counts_) {
    for (size_t i = 0; i < kAgents; ++i) {
      const std::string id = fmt::format("node-{}", i + 1);
      agents_.push_back(
          std::make_unique<AgentHost>(AgentHost::Options{id, Dir(id), options.bug, &ca_}, &rng_, &counts_));
      agents_.back()->disk.trace = options.trace;
    }
    collector_.disk.trace = options.trace;
  }

  WorldResult Run() {
    WorldResult result;
    for (step_ = 0; step_ < options_.steps && violation_.empty(); ++step_) Step();
    result.step = step_;
    if (violation_.empty()) {
      Heal();
      result.step = options_.steps;
    }
    result.violation = violation_;
    for (const auto& agent : agents_) AddDisk(agent->disk);
    AddDisk(collector_.disk);
    result.counts = counts_;
    return result;
  }

  std::string digest;
  int verdict = -1;

 private:
  static std::string Seeded(uint64_t seed) {
    SeedLibraries(seed);
    return "simulated authority";
  }
  std::string Dir(const std::string& name) const { return options_.dir + "/" + name; }
  void AddDisk(const Disk& disk) {
    const Disk::Counts& c = disk.counts();
    counts_["write lost"] += c.lost_writes;
    counts_["write torn"] += c.torn_writes;
    counts_["name lost"] += c.lost_names;
    counts_["sync failed"] += c.failed_syncs;
    counts_["disk full"] += c.failed_writes;
  }
  void Trace(const std::string& what) const {
    if (options_.trace) fmt::print("{:5} {}\n", step_, what);
  }
  void Found(const std::string& violation) {
    if (violation_.empty()) violation_ = violation;
  }

  void Step() {
    AgentHost& agent = *agents_[rng_.Below(agents_.size())];
    agent.clock.Advance(rng_.Below(500'000'000));
    const uint64_t dice = rng_.Below(1000);
    if (!agent.up()) {
      if (dice < 40 && !agent.disk.dead()) return;
      if (dice < 60 && agent.Rot()) {
        ++counts_["spool rotted"];
        Trace(agent.id() + " rots");
      }
      Trace(agent.id() + " starts");
      Arm(&agent.disk, 8);
      Found(agent.Start());
      if (agent.disk.dead()) agent.Kill();
      return;
    }
    if (!collector_.up()) {
      if (dice < 300) {
        Trace("the collector starts");
        Arm(&collector_.disk, 8);
        Found(collector_.Start());
        if (collector_.disk.dead()) collector_.Kill();
        else Found(CheckAcked());
      }
    }
    if (dice < 250) {
      Arm(&agent.disk, 3);
      Trace(agent.id() + " seals");
      Found(agent.Seal(rng_.Between(1, 4)));
    } else if (dice < 520) {
      if (agent.wire && !agent.wire->open) agent.Disconnect();
      if (collector_.up() || agent.wire) Found(agent.Ship());
    } else if (dice < 640) {
      if (collector_.up() && agent.wire && agent.wire->open && !agent.wire->up.empty()) {
        collector_.Receive(agent.id(), agent.wire);
      }
    } else if (dice < 760) {
      if (collector_.up()) {
        Arm(&collector_.disk, 3);
        Trace("the collector commits");
        collector_.Commit();
      }
    } else if (dice < 820) {
      if (collector_.up()) {
        Arm(&collector_.disk, 3);
        Trace("the sequencer goes round");
        Found(collector_.Sequence());
      }
    } else if (dice < 940) {
      if (agent.wire && agent.wire->open && !agent.wire->down.empty()) {
        const ingest::v1::ServerMessage message = std::move(agent.wire->down.front());
        agent.wire->down.pop_front();
        Arm(&agent.disk, 3);
        Trace(agent.id() + " hears " + message.ShortDebugString().substr(0, 60));
        Found(agent.Deliver(message));
      }
    } else {
      Fault(&agent, dice);
    }
    AfterStep(&agent);
  }

  // The party dies within the next changes of its disk.
  void Arm(Disk* disk, unsigned percent) {
    if (disk->dead() || !rng_.Chance(percent)) return;
    disk->KillAt(rng_.Between(1, 12), rng_.Chance(50));
  }

  void Fault(AgentHost* agent, uint64_t dice) {
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
    } else if (dice < 968) {
      if (!collector_.up()) return;
      Trace("the collector is killed");
      ++counts_["collector killed"];
      collector_.Kill();
    } else if (dice < 974) {
      Trace("the collector loses power");
      ++counts_["collector lost power"];
      collector_.PowerCut();
    } else if (dice < 980) {
      Trace(agent->id() + ": the clock jumps");
      ++counts_["clock jumped"];
      const uint64_t jump = rng_.Below(7'200'000'000'000);
      agent->clock.wall_ns += rng_.Chance(50) ? jump : -jump;
    } else if (dice < 986) {
      Trace(agent->id() + " stops in order");
      Found(agent->CleanStop());
      if (!agent->up()) ++counts_["agent stopped"];
    } else if (dice < 993) {
      Disk& disk = rng_.Chance(50) || !collector_.up() ? agent->disk : collector_.disk;
      Trace(disk.root() + ": the next sync fails");
      disk.FailNextSync();
    } else {
      Disk& disk = rng_.Chance(50) || !collector_.up() ? agent->disk : collector_.disk;
      Trace(disk.root() + ": the disk is full for a moment");
      disk.FailWrite(rng_.Between(1, 4));
    }
  }

  void AfterStep(AgentHost* agent) {
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
    Found(agent->Check());
  }

  std::string CheckAcked() const {
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

  // No faults any more: everything must come to rest.
  void Heal() {
    step_ = options_.steps;
    for (auto& agent : agents_) {
      if (agent->up()) agent->Kill();
    }
    if (collector_.up()) collector_.Kill();
    Found(collector_.Start());
    if (violation_.empty()) Found(CheckAcked());
    for (auto& agent : agents_) {
      Found(agent->Start());
      if (violation_.empty() && !agent->up()) Found("I5: " + agent->id() + " does not start");
      if (violation_.empty()) Found(agent->Seal(1));
      if (violation_.empty()) Found(agent->Seal(1));
    }
    bool drained = false;
    for (uint64_t round = 0; round < kDrainRounds && !drained && violation_.empty(); ++round) {
      drained = true;
      for (auto& agent : agents_) {
        if (agent->wire && !agent->wire->open) agent->Disconnect();
        Found(agent->Ship());
        while (agent->wire && !agent->wire->up.empty()) collector_.Receive(agent->id(), agent->wire);
        collector_.Commit();
        while (violation_.empty() && agent->wire && !agent->wire->down.empty()) {
          const ingest::v1::ServerMessage message = std::move(agent->wire->down.front());
          agent->wire->down.pop_front();
          Found(agent->Deliver(message));
        }
        drained = drained && agent->drained();
      }
    }
    if (!violation_.empty()) return;
    if (!drained) return Found("I8: after the faults a spool does not drain");
    Found(collector_.Sequence());
    Found(collector_.Sequence());
    if (violation_.empty()) CheckTrail();
  }

  void CheckTrail() {
    auto reader = trail::TrailReader::Open(collector_.trail_dir());
    if (!reader.ok()) return Found(fmt::format("I1: the trail does not open: {}", reader.status().message()));
    std::map<std::string, std::map<Position, trail::Hash>> log;
    trail::CompactRange range;
    size_t next_checkpoint = 0;
    const auto& published = collector_.published();
    trail::Sha256 sum;
    Found(std::string(
        (*reader)
            ->ForEach(0,
                      [&](const trail::LeafLocation&, std::string_view leaf) {
                        range.Append(trail::LeafHash(leaf));
                        sum.Update(trail::View(trail::LeafHash(leaf)));
                        for (; next_checkpoint < published.size() && published[next_checkpoint].first == range.size();
                             ++next_checkpoint) {
                          if (published[next_checkpoint].second != range.Root()) {
                            Found(fmt::format("I3: the root at size {} is not the one that was signed", range.size()));
                          }
                        }
                        const auto parsed = trail::ParseLeaf(leaf);
                        NT_CHECK(parsed.ok());
                        const Position at{parsed->header.epoch(), parsed->header.seq()};
                        if (!log[parsed->header.agent_id()].emplace(at, parsed->batch_hash).second) {
                          Found(fmt::format("I2: {}:{}:{} is in the log twice", parsed->header.agent_id(), at.first,
                                            at.second));
                        }
                        return true;
                      })
            .message()));
    digest = trail::Hex(sum.Finish());
    if (violation_.empty() && next_checkpoint < published.size() && published[next_checkpoint].first != 0) {
      Found(fmt::format("I3: a checkpoint of {} leaves was signed, the log has {}", published.back().first,
                        range.size()));
    }
    bool unclean = false, forgot = false;
    for (const auto& agent : agents_) {
      forgot = forgot || agent->forgot;
      unclean = unclean || agent->unclean_ends > 0 || agent->rotted;
      const auto& in_log = log[agent->id()];
      for (const auto& [at, hash] : agent->durable) {
        const auto found = in_log.find(at);
        if (found != in_log.end() && found->second == hash) continue;
        if (found == in_log.end() && agent->rotted) continue;  // the verifier must find it declared
        return Found(
            fmt::format("I4: {}:{}:{} was durable in the spool and did not arrive", agent->id(), at.first, at.second));
      }
    }
    trail::VerifyPolicy policy;
    policy.identity_ca_pem = ca_.CertPem();
    policy.log_key = *trail::NoteVerifier::Parse(collector_.log_key());
    const auto report = trail::VerifyTrail(collector_.trail_dir(), policy);
    if (!report.ok()) return Found(fmt::format("I8: verify: {}", report.status().message()));
    verdict = static_cast<int>(report->verdict);
    NT_CHECK(WriteFileAtomically(Dir("ca.pem"), ca_.CertPem()).ok());
    NT_CHECK(WriteFileAtomically(Dir("log.vkey"), collector_.log_key()).ok());
    if (verdict > (forgot ? 2 : unclean ? 1 : 0))
      Found(fmt::format("I8: verify says {}: {}", verdict, report->summary));
    ++counts_[fmt::format("verdict {}", verdict)];
  }

  const WorldOptions options_;
  Rng rng_;
  std::map<std::string, uint64_t> counts_;
  const trail::TestCa ca_;
  CollectorHost collector_;
  std::vector<std::unique_ptr<AgentHost>> agents_;
  uint64_t step_ = 0;
  std::string violation_;
};

}  // namespace

WorldResult RunWorld(const WorldOptions& options) {
  World world(options);
  WorldResult result = world.Run();
  result.digest = world.digest;
  result.verdict = world.verdict;
  return result;
}

std::vector<Bug> PlantedBugs() {
  return {{"spool-not-synced", "the spool forgets fdatasync of its segments"},
          {"spool-name-not-synced", "the spool forgets fsync of its folder"},
          {"leaf-not-synced", "the log forgets fdatasync of its segments"},
          {"segment-name-not-synced", "the log forgets fsync of its folder"},
          {"body-not-synced", "bodies are renamed without fdatasync"},
          {"body-name-not-synced", "the folders of bodies are not synced"},
          {"checkpoint-not-synced", "the checkpoint is renamed without fsync"},
          {"failed-sync-ignored", "a failed fsync counts as one that succeeded"},
          {"trimmed-too-far", "the spool gives up one batch more than was acknowledged"},
          {"key-kept", "the key of a durable batch stays in memory"},
          {"machine-cloned", "spool and key go back to an earlier state, and the agent goes on"},
          {"gap-not-declared", "an unclean end is not declared"},
          {"rot-not-declared", "batches that rotted in the spool are not declared"}};
}

std::vector<std::string_view> FaultKinds() {
  return {"line broken",
          "agent killed",
          "agent lost power",
          "collector killed",
          "collector lost power",
          "clock jumped",
          "agent stopped",
          "agent died in a change",
          "collector died in a change",
          "sync failed",
          "disk full",
          "spool rotted",
          "write lost",
          "write torn",
          "name lost",
          "batch refused",
          "refused",
          "hole declared",
          "epoch continued",
          "epoch opened"};
}

}  // namespace nodetrail::sim
