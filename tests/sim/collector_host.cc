// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/collector_host.h"

#include <fmt/format.h>

#include <filesystem>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/leaf.h"
#include "nodetrail/trail/note.h"
#include "nodetrail/trail/policy.h"

namespace nodetrail::sim {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOrigin = "log.example.org/acme";

}  // namespace

// A stream's end here: answers go into the wire, unless the process that
// answers has died by then.
class CollectorHost::Link final : public collector::AnswerSink,
                                  public collector::ReceiptTaker,
                                  public std::enable_shared_from_this<Link> {
 public:
  Link(std::shared_ptr<Wire> wire, const Disk* disk, collector::ReceiptIssuer* receipts)
      : wire_(std::move(wire)), disk_(disk), receipts_(receipts) {}

  void Answer(ingest::v1::ServerMessage message, uint64_t /*freed_bytes*/) override {
    if (!wire_->open || disk_->dead()) return;
    wire_->down.push_back(std::move(message));
  }
  void Await(const collector::AwaitedBatch& batch) override {
    if (!wants_receipts || !wire_->open) return;
    awaited_.push_back(batch);
    if (!std::exchange(listed_, true)) receipts_->List(weak_from_this());
  }
  More TakeDue(uint64_t size, size_t max, std::vector<collector::AwaitedBatch>* due) override {
    std::vector<collector::AwaitedBatch> rest;
    for (const auto& batch : awaited_) (batch.log_index < size && due->size() < max ? *due : rest).push_back(batch);
    awaited_ = std::move(rest);
    listed_ = wire_->open && (!awaited_.empty() || !due->empty());
    return listed_ ? More::kLater : More::kNone;
  }
  void Deliver(std::vector<ingest::v1::ServerMessage> receipts) override {
    for (auto& receipt : receipts) Answer(std::move(receipt), 0);
  }
  void PutBack(std::vector<collector::AwaitedBatch> due) override {
    awaited_.insert(awaited_.begin(), due.begin(), due.end());
  }
  // A receipt for the oldest of what waits, if no checkpoint of `size` covers it.
  bool Forge(uint64_t size) {
    if (!wire_->open || awaited_.empty() || awaited_.front().log_index < size) return false;
    const collector::AwaitedBatch& batch = awaited_.front();
    ingest::v1::ServerMessage message;
    ingest::v1::Ack* ack = message.mutable_ack();
    ack->set_level(ingest::v1::ACK_LEVEL_LOGGED);
    ack->set_epoch(batch.epoch);
    ack->set_seq(batch.seq);
    ack->set_batch_hash(trail::Bytes(batch.batch_hash));
    ack->set_log_index(batch.log_index);
    ack->set_proof(fmt::format("c2sp.org/tlog-proof@v1\nindex {}\n\n", batch.log_index));
    wire_->forged.insert({ack->epoch(), ack->seq()});
    wire_->down.push_back(std::move(message));
    return true;
  }

  [[nodiscard]] const std::shared_ptr<Wire>& wire() const { return wire_; }
  bool wants_receipts = false;

 private:
  const std::shared_ptr<Wire> wire_;
  const Disk* const disk_;
  collector::ReceiptIssuer* const receipts_;
  std::vector<collector::AwaitedBatch> awaited_;
  bool listed_ = false;
};

CollectorHost::CollectorHost(Options options, Rng* rng, std::map<std::string, uint64_t>* counts)
    : disk(options.dir, rng),
      options_(std::move(options)),
      cas_(*trail::CaSet::FromPem(options_.ca->CertPem())),
      rng_(rng),
      counts_(*counts) {
  for (int i = 0; i < 32; ++i) seed_ += static_cast<char>(rng_->Below(256));
  const std::string& bug = options_.bug;
  if (bug == "leaf-not-synced") disk.forget_sync_of = "*.leaves";
  if (bug == "body-not-synced") disk.forget_sync_of = "*.zst*";
  if (bug == "body-name-not-synced") disk.forget_sync_of = "*/bodies/??";
  if (bug == "segment-name-not-synced") disk.forget_sync_of = "*/log";
  if (bug == "checkpoint-not-synced") disk.forget_sync_of = "*/checkpoint*";
  if (bug == "eviction-not-synced") disk.forget_sync_of = "*.evicted*";
  if (bug == "failed-sync-ignored") disk.hide_failed_syncs = true;
}

CollectorHost::~CollectorHost() {
  disk.Kill();
  Drop();
}

void CollectorHost::SetWitnesses(std::vector<WitnessHost*> witnesses) { witnesses_ = std::move(witnesses); }

std::string CollectorHost::log_key() const {
  return trail::NoteVerifier::Make(kOrigin, trail::Ed25519Key::FromSeed(seed_)->public_key())->ToString();
}

std::string CollectorHost::policy() const {
  std::string out = fmt::format("log {}\n", log_key());
  if (witnesses_.empty()) return out + "quorum none\n";
  std::string names;
  for (const WitnessHost* witness : witnesses_) {
    out += fmt::format("witness {} {} http://{}.example.org\n", witness->name(), witness->vkey(), witness->name());
    names += " " + witness->name();
  }
  return out + fmt::format("group all-of-them {}{}\nquorum all-of-them\n", options_.quorum, names);
}

std::string CollectorHost::Shortfall() const {
  const auto note = ReadFile(trail_dir() + "/log/checkpoint", trail::kMaxNoteBytes);
  if (!note.ok()) return std::string(note.status().message());
  const auto verdict = trail::LogPolicy::Parse(policy())->Examine(*note);
  if (!verdict.ok()) return std::string(verdict.status().message());
  return verdict->missing.empty() ? "" : fmt::format("{} did not cosign it", verdict->missing.front());
}

uint64_t CollectorHost::witness_rollbacks() const {
  uint64_t out = 0;
  if (witness_set_) {
    for (const auto& status : witness_set_->GetStatus()) out += status.rollbacks;
  }
  return out;
}

void CollectorHost::Drop() {
  for (const auto& [agent_id, link] : links_) link->wire()->open = false;
  links_.clear();
  committer_.reset();
  sequencer_.reset();
  receipts_.reset();
  witness_set_.reset();
  wire_to_witnesses_ = nullptr;
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

void CollectorHost::Grown(const trail::Hash& leaf_hash) {
  range_.Append(leaf_hash);
  roots_.push_back(range_.Root());
}

Status CollectorHost::OpenSequencer() {
  if (!witnesses_.empty()) {
    auto wire = std::make_unique<WitnessWire>(&witnesses_, &disk, options_.bug, rng_, &counts_);
    wire->faults = !healed_;
    wire->leaves = [this] { return roots_.size() - 1; };
    wire_to_witnesses_ = wire.get();
    NT_ASSIGN_OR_RETURN(const trail::LogPolicy policy, trail::LogPolicy::Parse(CollectorHost::policy()));
    std::vector<collector::WitnessPeer> peers;
    for (const auto& witness : policy.witnesses()) peers.push_back({witness.name, witness.url, witness.key});
    NT_ASSIGN_OR_RETURN(witness_set_, collector::WitnessSet::Open(
                                          {trail_dir() + "/log/witnesses", std::chrono::milliseconds(2000), &clock_},
                                          std::move(peers), std::move(wire)));
  }
  auto key = trail::Ed25519Key::FromSeed(seed_);
  auto verifier = trail::NoteVerifier::Make(kOrigin, key->public_key());
  collector::Sequencer::Options options;
  options.trail_dir = trail_dir();
  options.cosigner = witness_set_.get();
  options.on_published = [this](const trail::Checkpoint& checkpoint, const std::string& note) {
    receipts_->Published(checkpoint, note);
  };
  NT_ASSIGN_OR_RETURN(sequencer_,
                      collector::Sequencer::Open(std::move(options), {kOrigin, std::move(*key), std::move(*verifier)}));
  return OkStatus();
}

Status CollectorHost::Open() {
  collector::Committer::Options options;
  options.trail_dir = trail_dir();
  options.tenant = "acme";
  options.clock = &clock_;
  options.group_batches = 3;
  receipts_ = std::make_unique<collector::ReceiptIssuer>(trail_dir());
  std::vector<trail::Hash> replayed;
  range_ = {};
  roots_ = {trail::EmptyRoot()};
  NT_ASSIGN_OR_RETURN(committer_, collector::Committer::Open(
                                      options, cas_, [this] { return OpenSequencer(); },
                                      [&](std::string_view leaf) {
                                        replayed.push_back(trail::BatchHash(leaf));
                                        Grown(trail::LeafHash(leaf));
                                        return sequencer_->Replay(leaf);
                                      }));
  NT_RETURN_IF_ERROR(sequencer_->ReplayDone());
  NT_RETURN_IF_ERROR(sequencer_->AskWitnesses());
  replayed_ = std::move(replayed);
  return OkStatus();
}

std::string CollectorHost::Start() {
  disk.Revive();
  refused_ = false;
  const Status opened = Open();
  if (!opened.ok()) {
    const bool died = disk.dead();
    // The newest may be refused, too, if a witness took the old copy for it.
    const bool legal = rolled_back_ || (went_back_ && !Contradicted().empty());
    Kill();
    if (died) return "";
    if (!legal) return fmt::format("I1: the collector does not start: {}", opened.message());
    refused_ = true;
    ++counts_["old copy refused at start"];
    return "";
  }
  if (std::string wrong = Contradicted(); !wrong.empty()) return wrong;
  committer_->StartStepping([this](uint64_t first, std::span<const trail::Hash> hashes) {
    for (const trail::Hash& hash : hashes) Grown(hash);
    sequencer_->Appended(first, hashes);
  });
  sequencer_->StartStepping();
  return "";
}

// What a witness said of another history; if signing goes on, it was not heeded.
std::string CollectorHost::Contradicted() {
  if (wire_to_witnesses_ == nullptr) return "";
  for (const size_t id : wire_to_witnesses_->TakeHeard()) {
    const WitnessHost& witness = *witnesses_[id];
    if (witness.rolled_back() || witness.cosigned().empty()) continue;
    const auto& [size, root] = *witness.cosigned().rbegin();
    // What is here and not signed yet is compared when the next checkpoint is.
    const uint64_t signed_size = sequencer_ ? sequencer_->GetHead().size : 0;
    if (size >= roots_.size() || (size <= signed_size && roots_[size] != root)) {
      return fmt::format("I3: witness {} told that it cosigned size {} of another history, and signing goes on",
                         witness.name(), size);
    }
  }
  return "";
}

void CollectorHost::Receive(const std::string& agent_id, const std::shared_ptr<Wire>& wire) {
  ingest::v1::ClientMessage message = std::move(wire->up.front());
  wire->up.pop_front();
  auto& link = links_[agent_id];
  if (!link || link->wire() != wire) {
    if (link) link->wire()->open = false;
    link = std::make_shared<Link>(wire, &disk, receipts_.get());
  }
  if (message.has_hello()) {
    link->wants_receipts = message.hello().receipts();
    committer_->Hello(link, agent_id);
  } else {
    committer_->Submit(link, agent_id, std::move(*message.mutable_frame()));
  }
}

void CollectorHost::Commit() {
  if (committer_->Step()) ++counts_["group committed"];
  std::erase_if(links_, [](const auto& entry) { return !entry.second->wire()->open; });
}

bool CollectorHost::ForgeReceipt() {
  return std::any_of(links_.begin(), links_.end(),
                     [this](const auto& entry) { return entry.second->Forge(published_size()); });
}

std::string CollectorHost::Sequence() {
  clock_.Advance(rng_->Below(2'000'000'000));
  const bool goes_on = sequencer_->Step();
  if (disk.dead()) return "";
  if (!goes_on) {
    if (!refused_ && !rolled_back_ && !(went_back_ && !Contradicted().empty())) {
      return fmt::format("I3: the sequencer refuses: {}", sequencer_->GetHead().problem);
    }
    if (refused_) return "";
    refused_ = true;
    ++counts_["old copy refused later"];
    return "";
  }
  if (std::string wrong = Contradicted(); !wrong.empty()) return wrong;
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

void CollectorHost::Backup() {
  if (copied_ || published_size() == 0 || !up()) return;
  const std::string copy = options_.dir + ".copy";
  fs::copy(trail_dir(), copy, fs::copy_options::recursive);
  copied_ = true;
  copied_leaves_ = roots_.size() - 1;
  copied_size_ = published_size();
  lead_ = rng_->Below(10);
}

bool CollectorHost::RollBack() {
  if (up() || !CanRollBack()) return false;
  disk.Kill();
  disk.Settle();
  Disk::Move(trail_dir(), options_.dir + ".newest");
  Disk::Move(options_.dir + ".copy", trail_dir());
  published_by_newest_ = published_;
  std::erase_if(published_, [this](const auto& one) { return one.first > copied_size_; });
  rolled_back_ = went_back_ = true;
  return true;
}

bool CollectorHost::PutNewestBack() {
  if (!rolled_back_ || up()) return false;
  disk.Kill();
  disk.Settle();
  Disk::Move(trail_dir(), options_.dir + ".old");
  Disk::Move(options_.dir + ".newest", trail_dir());
  published_ = published_by_newest_;
  rolled_back_ = false;
  return true;
}

}  // namespace nodetrail::sim
