// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/collector_host.h"

#include <fmt/format.h>

#include <utility>

#include "nodetrail/trail/leaf.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::sim {
namespace {

constexpr const char* kOrigin = "log.example.org/acme";

// Into the wire, unless the process that answers has died by then.
class WireSink final : public collector::AnswerSink {
 public:
  WireSink(std::shared_ptr<Wire> wire, const Disk* disk) : wire_(std::move(wire)), disk_(disk) {}
  void Answer(ingest::v1::ServerMessage message, uint64_t /*freed_bytes*/) override {
    if (!wire_->open || disk_->dead()) return;
    wire_->down.push_back(std::move(message));
  }

 private:
  const std::shared_ptr<Wire> wire_;
  const Disk* const disk_;
};

}  // namespace

CollectorHost::CollectorHost(const std::string& dir, const std::string& bug, const trail::TestCa* ca, Rng* rng,
                             std::map<std::string, uint64_t>* counts)
    : disk(dir, rng), dir_(dir), bug_(bug), cas_(*trail::CaSet::FromPem(ca->CertPem())), rng_(rng), counts_(*counts) {
  for (int i = 0; i < 32; ++i) seed_ += static_cast<char>(rng_->Below(256));
  if (bug == "leaf-not-synced") disk.forget_sync_of = "*.leaves";
  if (bug == "body-not-synced") disk.forget_sync_of = "*.zst*";
  if (bug == "body-name-not-synced") disk.forget_sync_of = "*/bodies/??";
  if (bug == "segment-name-not-synced") disk.forget_sync_of = "*/log";
  if (bug == "checkpoint-not-synced") disk.forget_sync_of = "*/checkpoint*";
  if (bug == "failed-sync-ignored") disk.hide_failed_syncs = true;
}

CollectorHost::~CollectorHost() {
  disk.Kill();
  Drop();
}

std::string CollectorHost::log_key() const {
  return trail::NoteVerifier::Make(kOrigin, trail::Ed25519Key::FromSeed(seed_)->public_key())->ToString();
}

void CollectorHost::Drop() {
  for (const auto& wire : wires_) wire->open = false;
  wires_.clear();
  committer_.reset();
  sequencer_.reset();
}

void CollectorHost::Kill() {
  disk.Kill();
  Drop();
}

void CollectorHost::PowerCut() {
  disk.Kill();
  Drop();
  disk.PowerCut();
}

std::string CollectorHost::Start() {
  disk.Revive();
  collector::Committer::Options options;
  options.trail_dir = trail_dir();
  options.tenant = "acme";
  options.clock = &clock_;
  options.group_batches = 3;
  std::vector<trail::Hash> replayed;
  auto committer = collector::Committer::Open(
      options, cas_,
      [&]() -> Status {
        auto key = trail::Ed25519Key::FromSeed(seed_);
        auto verifier = trail::NoteVerifier::Make(kOrigin, key->public_key());
        NT_ASSIGN_OR_RETURN(sequencer_, collector::Sequencer::Open({.trail_dir = trail_dir()},
                                                                   {kOrigin, std::move(*key), std::move(*verifier)}));
        return OkStatus();
      },
      [&](std::string_view leaf) {
        replayed.push_back(trail::BatchHash(leaf));
        return sequencer_->Replay(leaf);
      });
  Status opened = committer.ok() ? OkStatus() : committer.status();
  if (opened.ok()) opened = sequencer_->ReplayDone();
  if (!opened.ok()) {
    const bool died = disk.dead();
    committer = Result<std::unique_ptr<collector::Committer>>(Status(Code::kInternal, "not open"));
    Kill();
    if (died) return "";
    return fmt::format("I1: the collector does not start: {}", opened.message());
  }
  committer_ = std::move(*committer);
  replayed_ = std::move(replayed);
  committer_->StartStepping(
      [this](uint64_t first, std::span<const trail::Hash> hashes) { sequencer_->Appended(first, hashes); });
  sequencer_->StartStepping();
  return "";
}

void CollectorHost::Receive(const std::string& agent_id, const std::shared_ptr<Wire>& wire) {
  ingest::v1::ClientMessage message = std::move(wire->up.front());
  wire->up.pop_front();
  wires_.push_back(wire);
  auto sink = std::make_shared<WireSink>(wire, &disk);
  if (message.has_hello()) {
    committer_->Hello(std::move(sink), agent_id);
  } else {
    committer_->Submit(std::move(sink), agent_id, std::move(*message.mutable_frame()));
  }
}

void CollectorHost::Commit() {
  if (committer_->Step()) ++counts_["group committed"];
}

std::string CollectorHost::Sequence() {
  const bool goes_on = sequencer_->Step();
  if (disk.dead()) return "";
  if (!goes_on) return fmt::format("I3: the sequencer refuses: {}", sequencer_->GetHead().problem);
  const collector::Sequencer::Head head = sequencer_->GetHead();
  if (!head.problem.empty()) return "";  // nothing was signed: it tries again
  if (published_.empty() || published_.back().first != head.size) {
    if (!published_.empty() && published_.back().first > head.size) {
      return fmt::format("I3: a checkpoint of {} leaves after one of {}", head.size, published_.back().first);
    }
    published_.emplace_back(head.size, head.root);
    ++counts_["checkpoint"];
  } else if (published_.back().second != head.root) {
    return fmt::format("I3: two roots at size {}", head.size);
  }
  return "";
}

}  // namespace nodetrail::sim
