// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "nodetrail/trail/trail_store.h"
#include "trail/verify_tiles.h"

namespace nodetrail::trail {
namespace {

// Duplicates and equivocations are told apart this far back in an epoch.
constexpr size_t kRememberHashes = 1 << 16;
constexpr uint64_t kProgressEvery = 4096;
constexpr std::string_view kCheckpointFile = "log/checkpoint";

std::string BatchName(std::string_view agent, uint64_t epoch, uint64_t seq) {
  return fmt::format("{}:{}:{}", agent, epoch, seq);
}

struct AgentState {
  explicit AgentState(ChainPolicy policy) : chain(std::move(policy)) {}
  ChainVerifier chain;
  AgentCoverage coverage;

  // Said by agent.loss of stage "spool": batches that its spool lost.
  struct SpoolLoss {
    uint64_t declared_in = 0;  // epoch
    ChainHole batches;
  };
  std::vector<SpoolLoss> spool_losses;
  struct OpenHole {
    ChainHole hole;
    LeafLocation found_at;
  };
  std::vector<OpenHole> holes;
  // An unclean restart that no agent.gap has explained yet.
  std::optional<Finding> unexplained_restart;
  bool epoch_has_loss_event = false;
  v1::LossCounters last_losses;
};

class TrailVerification {
 public:
  TrailVerification(TrailReader* reader, const VerifyPolicy& policy, const CaSet& cas)
      : reader_(reader), policy_(policy), cas_(cas) {}

  Result<VerifyReport> Run(const std::function<void(uint64_t)>& progress) {
    // The checkpoint first: a log that grows meanwhile is never shorter than it.
    NT_RETURN_IF_ERROR(ReadCheckpoint());
    NT_RETURN_IF_ERROR(ReadPrior());
    Status failed;
    NT_RETURN_IF_ERROR(reader_->Inspect([&](const LeafLocation& where, std::string_view leaf, bool whole) {
      failed = TakeLeaf(where, leaf, whole);
      if (progress && report_.leaves % kProgressEvery == 0) progress(report_.leaves);
      return failed.ok();
    }));
    NT_RETURN_IF_ERROR(failed);
    for (const std::string& damage : reader_->damage()) Add(FindingKind::kTamper, damage);
    FinishRoot();
    FinishTiles();
    for (auto& [key, agent] : agents_) FinishAgent(agent.get());
    Conclude();
    return std::move(report_);
  }

 private:
  Finding* Add(FindingKind kind, std::string text, std::string batch = {}, const LeafLocation* where = nullptr,
               std::string file = {}) {
    Finding finding{kind, std::move(text), std::move(batch), std::nullopt, std::move(file)};
    if (where != nullptr) {
      finding.log_index = where->index;
      if (finding.file.empty()) finding.file = where->file;
    }
    // The worst come first in memory: a flood of notes must not hide a tamper.
    if (worst_ < kind || report_.findings.size() < policy_.max_findings) {
      worst_ = std::max(worst_, kind);
      report_.findings.push_back(std::move(finding));
      return &report_.findings.back();
    }
    ++report_.findings_dropped;
    return nullptr;
  }

  Status ReadCheckpoint() {
    auto note = reader_->Checkpoint();
    if (!note.ok()) {
      if (note.status().code() != Code::kNotFound) {
        Add(FindingKind::kTamper, std::string(note.status().message()), {}, nullptr, std::string(kCheckpointFile));
      }
      return OkStatus();
    }
    report_.checkpoint_present = true;
    Result<Checkpoint> checkpoint = InvalidArgument("");
    if (policy_.log_key) {
      checkpoint = VerifyCheckpoint(*note, *policy_.log_key);
    } else {
      auto parsed = ParseNote(*note);
      checkpoint = parsed.ok() ? ParseCheckpointBody(parsed->text) : Result<Checkpoint>(parsed.status());
      Add(FindingKind::kNote, "no log key was given: the checkpoint's signature was not checked", {}, nullptr,
          std::string(kCheckpointFile));
    }
    if (!checkpoint.ok()) {
      Add(FindingKind::kTamper, std::string(checkpoint.status().message()), {}, nullptr, std::string(kCheckpointFile));
      return OkStatus();
    }
    checkpoint_ = std::move(*checkpoint);
    tile_check_.emplace(reader_, checkpoint_->size);
    report_.checkpoint_size = checkpoint_->size;
    report_.checkpoint_root = Hex(checkpoint_->root);
    if (checkpoint_->size == 0 && checkpoint_->root != EmptyRoot()) {
      Add(FindingKind::kTamper, "checkpoint: wrong root of the empty log", {}, nullptr, std::string(kCheckpointFile));
    }
    return OkStatus();
  }

  Status ReadPrior() {
    if (policy_.prior_checkpoint.empty()) return OkStatus();
    if (!policy_.log_key) return InvalidArgument("verify: a prior checkpoint needs the log key");
    auto prior = VerifyCheckpoint(policy_.prior_checkpoint, *policy_.log_key);
    if (!prior.ok()) return Annotate(prior.status(), "verify: prior checkpoint");
    prior_ = std::move(*prior);
    if (!checkpoint_ || checkpoint_->size < prior_->size) {
      Add(FindingKind::kTamper, fmt::format("the log's checkpoint is older than the one you hold: size {}, yours {}",
                                            checkpoint_ ? checkpoint_->size : 0, prior_->size));
    }
    return OkStatus();
  }

  Status TakeLeaf(const LeafLocation& where, std::string_view leaf, bool whole) {
    if (leaf.empty()) {
      const bool covered = checkpoint_ && where.index < checkpoint_->size;
      if (!covered && reader_->torn_bytes() > 0) {
        Add(FindingKind::kNote,
            fmt::format("an unfinished write of {} bytes at the end of the log", reader_->torn_bytes()), {}, &where);
      } else {
        AddBadLeaf(where, fmt::format("leaf {} at offset {} can't be read", where.index, where.offset), {});
      }
      return OkStatus();
    }
    ++report_.leaves;
    const Hash leaf_hash = LeafHash(leaf);
    tree_.Append(leaf_hash);
    if (tile_check_) NT_RETURN_IF_ERROR(tile_check_->Append(leaf, leaf_hash));
    if (checkpoint_ && tree_.size() == checkpoint_->size) root_agrees_ = tree_.Root() == checkpoint_->root;
    if (prior_ && tree_.size() == prior_->size && tree_.Root() != prior_->root) {
      Add(FindingKind::kTamper,
          fmt::format("the first {} leaves are not those of the checkpoint you hold", prior_->size));
    }
    auto parsed = ParseLeaf(leaf);
    if (!parsed.ok()) {
      AddBadLeaf(where, std::string(parsed.status().message()), {});
      return OkStatus();
    }
    const v1::BatchHeader& h = parsed->header;
    const std::string claimed = BatchName(h.agent_id(), h.epoch(), h.seq());
    if (!whole) {
      AddBadLeaf(where, "the record's checksum is wrong", claimed);
      return OkStatus();
    }
    if (!policy_.tenant.empty() && h.tenant() != policy_.tenant) {
      Add(FindingKind::kTamper, fmt::format("a batch of tenant {}", h.tenant()), claimed, &where);
      return OkStatus();
    }
    // A leaf that is not what it says must not open an account for an agent.
    const auto key = std::pair(h.tenant(), h.agent_id());
    auto it = agents_.find(key);
    std::unique_ptr<AgentState> fresh;
    if (it == agents_.end()) {
      ChainPolicy chain_policy{h.tenant(), h.agent_id(), &cas_, kRememberHashes};
      fresh = std::make_unique<AgentState>(std::move(chain_policy));
    }
    AgentState* agent = fresh ? fresh.get() : it->second.get();
    CheckOptions options;
    options.allow_hole = true;
    const ChainHead before = agent->chain.state().head;
    const ChainResult result = agent->chain.Check(leaf, std::nullopt, options);
    if (!result.accepted()) {
      // Rightly signed, it is the batch that it says it is.
      if (VerifyLeafSignature(*parsed)) {
        Add(FindingKind::kTamper, result.reason, claimed, &where);
      } else {
        AddBadLeaf(where, result.reason, claimed);
      }
      return OkStatus();
    }
    if (fresh) {
      agent->coverage.tenant = h.tenant();
      agent->coverage.agent_id = h.agent_id();
      agents_.emplace(key, std::move(fresh));
    }
    TakeNotes(agent, h, result.notes, before, where);
    CountBatch(agent, h);
    return policy_.check_bodies ? TakeBody(agent, h, where) : OkStatus();
  }

  // A leaf that does not hold. Which batch it was is known for sure only when
  // the agent's chain turns out to lack one.
  void AddBadLeaf(const LeafLocation& where, std::string text, std::string claimed) {
    bad_leaves_.push_back({where, std::move(text), std::move(claimed), {}});
  }

  void TakeNotes(AgentState* agent, const v1::BatchHeader& h, const ChainNotes& notes, const ChainHead& before,
                 const LeafLocation& where) {
    const std::string name = BatchName(h.agent_id(), h.epoch(), h.seq());
    for (ChainHole hole : notes.holes) {
      // Leaves that did not hold stand in the place of the first missing batches.
      while (named_bad_ < bad_leaves_.size() && hole.from_seq <= hole.to_seq) {
        bad_leaves_[named_bad_++].batch = BatchName(h.agent_id(), hole.epoch, hole.from_seq++);
      }
      if (hole.from_seq <= hole.to_seq) agent->holes.push_back({hole, where});
    }
    if (notes.epoch_opened) FinishEpoch(agent, h);
    if (notes.epoch_opened && before.known) {
      if (notes.history_unknown) {
        Add(FindingKind::kGap,
            fmt::format("epoch {} begins without knowledge of epoch {}: the spool was lost, with what was not yet sent",
                        h.epoch(), before.epoch),
            name, &where);
      } else if (notes.spool_rolled_back) {
        Add(FindingKind::kGap,
            fmt::format("epoch {} begins from an older state of the spool than the log has", h.epoch()), name, &where);
      }
      if (notes.unclean_restart) {
        agent->unexplained_restart =
            Finding{FindingKind::kGap,
                    fmt::format("epoch {} follows {} without clean shutdown{}, and no agent.gap tells what was missed",
                                h.epoch(), BatchName(h.agent_id(), before.epoch, before.seq),
                                notes.same_boot_restart ? " in the same boot" : ""),
                    name, where.index, where.file};
      }
    }
    if (notes.wall_clock_back) Add(FindingKind::kNote, "the wall clock went back", name, &where);
    if (notes.boot_clock_back) Add(FindingKind::kNote, "the boot clock went back", name, &where);
    if (notes.unknown_fields) Add(FindingKind::kNote, "signed fields that this version does not know", name, &where);
  }

  // The epoch before is over: what its counters say without an event saying it.
  void FinishEpoch(AgentState* agent, const v1::BatchHeader& h) {
    ReportRestart(agent);
    ReportCounters(agent, BatchName(h.agent_id(), h.epoch(), h.seq()));
    agent->epoch_has_loss_event = false;
    agent->last_losses.Clear();
  }

  void ReportRestart(AgentState* agent) {
    if (!agent->unexplained_restart) return;
    const Finding finding = std::move(*agent->unexplained_restart);
    agent->unexplained_restart.reset();
    if (Finding* added = Add(finding.kind, finding.text, finding.batch)) {
      added->log_index = finding.log_index;
      added->file = finding.file;
    }
  }

  void ReportCounters(AgentState* agent, const std::string& batch) {
    const v1::LossCounters& c = agent->last_losses;
    const uint64_t events = c.ring() + c.map() + c.decode() + c.probe() + c.evicted_events();
    if (agent->epoch_has_loss_event || (events == 0 && c.evicted_batches() == 0)) return;
    Add(FindingKind::kDeclaredLoss, fmt::format("the epoch's counters tell of {} lost events", events), batch);
    agent->coverage.losses.push_back({batch, "counters", "", events, 0, 0});
  }

  void CountBatch(AgentState* agent, const v1::BatchHeader& h) {
    AgentCoverage& coverage = agent->coverage;
    if (coverage.epochs.empty() || coverage.epochs.back().epoch != h.epoch()) {
      EpochCoverage epoch;
      epoch.epoch = h.epoch();
      epoch.first_seq = h.seq();
      epoch.from_wall_ns = h.first_wall_ns();
      coverage.epochs.push_back(epoch);
    }
    EpochCoverage& epoch = coverage.epochs.back();
    epoch.last_seq = h.seq();
    ++epoch.batches;
    epoch.events += h.event_count();
    epoch.to_wall_ns = std::max(epoch.to_wall_ns, h.last_wall_ns());
    epoch.clean_shutdown = h.type() == v1::BATCH_TYPE_CLEAN_SHUTDOWN;
    ++coverage.batches;
    coverage.events += h.event_count();
    coverage.body_bytes += h.stored_body_len();
    report_.events += h.event_count();
    agent->last_losses = h.losses();
  }

  Status TakeBody(AgentState* agent, const v1::BatchHeader& h, const LeafLocation& where) {
    const std::string name = BatchName(h.agent_id(), h.epoch(), h.seq());
    if (h.body_codec() == v1::BODY_CODEC_NONE) return OkStatus();
    const Hash hash = *HashFromBytes(h.body_sha256());
    const std::string file = BodyPath(hash);
    auto stored = reader_->Body(hash);
    if (!stored.ok()) {
      const Code code = stored.status().code();
      if (code == Code::kNotFound) {
        Add(FindingKind::kTamper, "the body is missing", name, &where, file);
        return OkStatus();
      }
      if (code == Code::kDataLoss || code == Code::kResourceExhausted) {
        Add(FindingKind::kTamper, std::string(stored.status().message()), name, &where, file);
        return OkStatus();
      }
      return std::move(stored).status();
    }
    const auto batch = OpenBody(*stored, h);
    if (!batch.ok()) {
      Add(FindingKind::kTamper, std::string(batch.status().message()), name, &where, file);
      return OkStatus();
    }
    ++report_.bodies;
    for (const std::string& record : batch->events()) {
      const auto brief = PeekEvent(record);
      if (!brief || (brief->kind != event::v1::KIND_AGENT_LOSS && brief->kind != event::v1::KIND_AGENT_GAP)) continue;
      event::v1::Event event;
      if (event.ParseFromString(record)) TakeDeclaration(agent, h, name, event, where);
    }
    return OkStatus();
  }

  void TakeDeclaration(AgentState* agent, const v1::BatchHeader& h, const std::string& name,
                       const event::v1::Event& event, const LeafLocation& where) {
    const event::v1::AgentEvent& a = event.agent();
    EventLoss loss{name, a.stage(), a.kind(), a.count(), a.from_wall_ns(), a.to_wall_ns()};
    if (event.kind() == event::v1::KIND_AGENT_GAP) {
      agent->unexplained_restart.reset();
      // After an orderly stop nobody is surprised that nothing was seen.
      if (a.clean()) {
        Add(FindingKind::kNote, "the agent was stopped in order, and started again", name, &where);
        return;
      }
      loss.stage = "restart";
      Add(FindingKind::kDeclaredLoss,
          fmt::format("the agent declares that it did not observe the node after {}",
                      BatchName(h.agent_id(), a.last_epoch(), a.last_batch_seq())),
          name, &where);
    } else {
      agent->epoch_has_loss_event = true;
      if (a.stage() == "spool") {
        agent->spool_losses.push_back({h.epoch(), {a.last_epoch(), a.seq_from(), a.seq_to()}});
      }
      Add(FindingKind::kDeclaredLoss, fmt::format("the agent declares {} lost events (stage {})", a.count(), a.stage()),
          name, &where);
    }
    if (agent->coverage.losses.size() < policy_.max_findings) agent->coverage.losses.push_back(std::move(loss));
  }

  void FinishRoot() {
    if (!checkpoint_) {
      const bool wanted = policy_.log_key.has_value() && report_.leaves > 0;
      if (!report_.checkpoint_present) {
        Add(wanted ? FindingKind::kTamper : FindingKind::kNote,
            wanted ? "there is no checkpoint, but leaves: the signed root is missing" : "there is no checkpoint", {},
            nullptr, std::string(kCheckpointFile));
      }
      report_.not_under_checkpoint = report_.leaves;
      return;
    }
    if (checkpoint_->size == 0) root_agrees_ = checkpoint_->root == EmptyRoot();
    report_.not_under_checkpoint = report_.leaves > checkpoint_->size ? report_.leaves - checkpoint_->size : 0;
    if (report_.leaves < checkpoint_->size) {
      root_broken_ = true;
      Add(FindingKind::kTamper,
          fmt::format("the log holds {} leaves, its checkpoint says {}", report_.leaves, checkpoint_->size), {},
          nullptr, std::string(kCheckpointFile));
    } else if (!root_agrees_) {
      root_broken_ = true;
      Add(FindingKind::kTamper,
          fmt::format("the root over the first {} leaves is not the checkpoint's", checkpoint_->size), {}, nullptr,
          std::string(kCheckpointFile));
    }
    if (prior_ && report_.leaves < prior_->size) {
      Add(FindingKind::kTamper,
          fmt::format("the log holds {} leaves, the checkpoint you hold says {}", report_.leaves, prior_->size));
    }
    report_.checkpoint_trusted = policy_.log_key.has_value() && root_agrees_ && !root_broken_;
  }

  // A tile proves nothing, and with other bytes than the leaves under a signed
  // root it is what somebody put there.
  void FinishTiles() {
    if (!tile_check_) return;
    if (root_broken_) {
      Add(FindingKind::kNote, "the tiles were not judged: the leaves themselves do not have the checkpoint's root");
      return;
    }
    report_.tiles = tile_check_->checked();
    report_.tiles_missing = tile_check_->missing();
    for (const TileCheck::Wrong& wrong : tile_check_->wrong()) {
      Add(FindingKind::kTamper, wrong.text, {}, nullptr, wrong.file);
    }
    if (report_.tiles_missing > 0) {
      Add(FindingKind::kNote,
          fmt::format("{} tiles are missing, this is the first: the log can't be served from files; no tampering, the "
                      "collector makes them anew from the leaves when it starts",
                      report_.tiles_missing),
          {}, nullptr, tile_check_->first_missing());
    }
  }

  void FinishAgent(AgentState* agent) {
    ReportRestart(agent);
    const ChainHead& head = agent->chain.state().head;
    ReportCounters(agent, BatchName(agent->coverage.agent_id, head.epoch, head.seq));
    for (const AgentState::OpenHole& open : agent->holes) {
      const ChainHole& hole = open.hole;
      agent->coverage.holes.push_back(hole);
      const std::string name = BatchName(agent->coverage.agent_id, hole.epoch, hole.from_seq);
      const std::string range =
          hole.from_seq == hole.to_seq
              ? fmt::format("batch {}", name)
              : fmt::format("batches {} to {}", name, BatchName(agent->coverage.agent_id, hole.epoch, hole.to_seq));
      // Only a later epoch may say so: its opening is signed by the identity
      // key, and so vouches for the batches after the hole.
      const bool declared = std::any_of(agent->spool_losses.begin(), agent->spool_losses.end(), [&](const auto& loss) {
        return loss.declared_in > hole.epoch && loss.batches.epoch == hole.epoch &&
               loss.batches.from_seq <= hole.from_seq && loss.batches.to_seq >= hole.to_seq;
      });
      if (root_broken_) {
        Add(FindingKind::kTamper, fmt::format("{} missing, and the root does not agree: removed from the log", range),
            name, &open.found_at);
      } else if (declared) {
        Add(FindingKind::kDeclaredLoss,
            fmt::format("{} never arrived; the agent declares that its spool lost them", range), name, &open.found_at);
      } else {
        Add(FindingKind::kGap, fmt::format("{} never arrived, and nobody says why", range), name, &open.found_at);
      }
    }
  }

  void Conclude() {
    // Bad leaves after which nothing came: with one agent they can only be its next.
    if (agents_.size() == 1) {
      const AgentState& only = *agents_.begin()->second;
      ChainPosition next = only.chain.expected();
      for (; next.epoch != 0 && named_bad_ < bad_leaves_.size(); ++named_bad_, ++next.seq) {
        bad_leaves_[named_bad_].batch = BatchName(only.coverage.agent_id, next.epoch, next.seq);
      }
    }
    for (BadLeaf& bad : bad_leaves_) {
      Add(FindingKind::kTamper, std::move(bad.text), bad.batch.empty() ? bad.claimed : bad.batch, &bad.where);
    }
    // By place in the log; what has none comes last.
    std::stable_sort(report_.findings.begin(), report_.findings.end(), [](const Finding& a, const Finding& b) {
      return a.log_index.value_or(UINT64_MAX) < b.log_index.value_or(UINT64_MAX);
    });
    FindingKind worst = FindingKind::kNote;
    for (const Finding& finding : report_.findings) worst = std::max(worst, finding.kind);
    report_.verdict = static_cast<TrailVerdict>(static_cast<int>(worst));
    for (auto& [key, agent] : agents_) report_.agents.push_back(std::move(agent->coverage));
    if (worst >= FindingKind::kGap) {
      // One that names a batch, if there is one of that weight.
      const auto of = [&](bool named) {
        return std::find_if(report_.findings.begin(), report_.findings.end(),
                            [&](const Finding& f) { return f.kind == worst && (!named || !f.batch.empty()); });
      };
      auto first = of(true);
      if (first == report_.findings.end()) first = of(false);
      report_.first_bad = *first;
    }
    report_.summary = Summary();
  }

  std::string Summary() const {
    if (report_.first_bad) {
      const Finding& bad = *report_.first_bad;
      return fmt::format("{}: {}{}{}", TrailVerdictName(report_.verdict), bad.batch.empty() ? "" : bad.batch + ": ",
                         bad.text,
                         bad.log_index ? fmt::format(" (leaf {}, {})", *bad.log_index, bad.file)
                                       : (bad.file.empty() ? "" : fmt::format(" ({})", bad.file)));
    }
    return fmt::format("{}: {} batches, {} events of {} agents; {}", TrailVerdictName(report_.verdict), report_.leaves,
                       report_.events, report_.agents.size(),
                       report_.checkpoint_trusted ? fmt::format("the signed root covers {}", report_.checkpoint_size)
                                                  : std::string("no signed root covers them"));
  }

  struct BadLeaf {
    LeafLocation where;
    std::string text;
    std::string claimed;  // what the leaf says it is; it may lie
    std::string batch;    // what the chain lacks
  };

  TrailReader* reader_;
  const VerifyPolicy& policy_;
  const CaSet& cas_;
  VerifyReport report_;
  FindingKind worst_ = FindingKind::kNote;
  std::optional<Checkpoint> checkpoint_;
  std::optional<Checkpoint> prior_;
  CompactRange tree_;
  std::optional<TileCheck> tile_check_;  // if there is a checkpoint
  bool root_agrees_ = false;
  bool root_broken_ = false;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<AgentState>> agents_;
  std::vector<BadLeaf> bad_leaves_;
  size_t named_bad_ = 0;
};

}  // namespace

std::string_view TrailVerdictName(TrailVerdict verdict) {
  switch (verdict) {
    case TrailVerdict::kIntact: return "intact";
    case TrailVerdict::kDeclaredLoss: return "declared_loss";
    case TrailVerdict::kUnexplainedGap: return "unexplained_gap";
    case TrailVerdict::kTamper: return "tamper";
  }
  return "unknown";
}

Result<VerifyReport> VerifyTrail(const std::string& dir, const VerifyPolicy& policy,
                                 const std::function<void(uint64_t)>& progress) {
  const auto cas = CaSet::FromPem(policy.identity_ca_pem);
  if (!cas.ok()) return Annotate(cas.status(), "verify: enrolment authorities");
  NT_ASSIGN_OR_RETURN(const std::unique_ptr<TrailReader> reader, TrailReader::Open(dir));
  return TrailVerification(reader.get(), policy, *cas).Run(progress);
}

}  // namespace nodetrail::trail
