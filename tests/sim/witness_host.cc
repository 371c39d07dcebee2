// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/witness_host.h"

#include <fmt/format.h>

#include <cstdio>
#include <utility>

#include "collector/witness/protocol.h"
#include "nodetrail/base/fd.h"

namespace nodetrail::sim {
namespace {

constexpr size_t kMaxStateBytes = 64 * 1024;

}  // namespace

// Answers first and saves at the next request: what it must never do.
class WitnessHost::LateStore final : public witness::Store {
 public:
  explicit LateStore(witness::Store* store) : store_(store) {}
  Result<witness::Record> Load(const std::string& origin) override { return store_->Load(origin); }
  Status Save(const std::string& origin, const witness::Record& record) override {
    const auto before = std::exchange(late_, std::pair(origin, record));
    return before ? store_->Save(before->first, before->second) : OkStatus();
  }
  void KeepFork(const std::string& origin, const witness::Record& known, const witness::Record& other) override {
    store_->KeepFork(origin, known, other);
  }

 private:
  witness::Store* const store_;
  std::optional<std::pair<std::string, witness::Record>> late_;
};

WitnessHost::WitnessHost(Options options, Rng* rng, std::map<std::string, uint64_t>* counts)
    : disk(options.dir, rng), options_(std::move(options)), rng_(rng), counts_(*counts) {
  for (int i = 0; i < 32; ++i) seed_ += static_cast<char>(rng_->Below(256));
  vkey_ = trail::CosignerVerifier::Make("witness.example.org/" + options_.name, Key().public_key())->ToString();
  if (options_.bug == "witness-not-synced") disk.forget_sync_of = "*.state.tmp";
}

WitnessHost::~WitnessHost() {
  disk.Kill();
  Drop();
}

void WitnessHost::Drop() {
  core_.reset();
  late_.reset();
  store_.reset();
}

void WitnessHost::Kill() {
  disk.Kill();
  Drop();
}

void WitnessHost::PowerCut() {
  disk.Kill();
  Drop();
  disk.PowerCut();
}

std::string WitnessHost::Start() {
  disk.Revive();
  const auto opened = [&]() -> Status {
    NT_ASSIGN_OR_RETURN(store_, witness::DirStore::Open(options_.dir + "/state"));
    witness::Store* store = store_.get();
    if (options_.bug == "witness-answers-first") {
      late_ = std::make_unique<LateStore>(store);
      store = late_.get();
    }
    NT_ASSIGN_OR_RETURN(const trail::NoteVerifier log, trail::NoteVerifier::Parse(options_.log_key));
    NT_ASSIGN_OR_RETURN(const auto logs, witness::LogsOf({&log, 1}));
    NT_ASSIGN_OR_RETURN(core_,
                        witness::Witness::Create("witness.example.org/" + options_.name, Key(), logs, store, &clock));
    return OkStatus();
  }();
  if (!opened.ok()) {
    const bool died = disk.dead();
    Kill();
    return died ? "" : fmt::format("I3: witness {} does not start: {}", options_.name, opened.message());
  }
  const uint64_t size = core_->Logs()[0].size;
  if (!rolled_back_ && !cosigned_.empty() && size < cosigned_.rbegin()->first) {
    return fmt::format("I3: witness {} cosigned size {}, and knows {} after a restart", options_.name,
                       cosigned_.rbegin()->first, size);
  }
  return "";
}

void WitnessHost::Backup() {
  if (!up()) return;
  const auto bytes = ReadFile(store_->StatePath(core_->Logs()[0].origin), kMaxStateBytes);
  if (!bytes.ok()) return;
  backup_ = *bytes;
  backup_size_ = core_->Logs()[0].size;
}

bool WitnessHost::RollBack() {
  if (up() || backup_.empty() || cosigned_.empty() || backup_size_ >= cosigned_.rbegin()->first) return false;
  disk.Settle();
  disk.Revive();
  auto store = witness::DirStore::Open(options_.dir + "/state");
  NT_CHECK(store.ok());
  const std::string path = (*store)->StatePath(trail::NoteVerifier::Parse(options_.log_key)->name);
  NT_CHECK(WriteFileAtomically(path, backup_, 0600).ok());
  disk.Kill();
  disk.Settle();
  rolled_back_ = true;
  return true;
}

std::optional<witness::Answer> WitnessHost::Ask(const std::string& body) {
  if (!up() || disk.dead()) return std::nullopt;
  clock.Advance(rng_->Below(2'000'000'000));
  witness::Answer answer = core_->AddCheckpoint(body);
  if (disk.dead()) return std::nullopt;
  ++counts_[fmt::format("witness said {}", answer.status)];
  if (answer.status == 200) Cosigned(body);
  return answer;
}

void WitnessHost::Cosigned(const std::string& body) {
  const auto request = witness::ParseRequest(body);
  const auto note = trail::ParseNote(request->note);
  const auto checkpoint = trail::ParseCheckpointBody(note->text);
  NT_CHECK(checkpoint.ok());
  const auto [at, fresh] = cosigned_.emplace(checkpoint->size, checkpoint->root);
  if (!fresh && at->second != checkpoint->root && !rolled_back_) {
    violation_ = fmt::format("I3: witness {} cosigned two roots at size {}", options_.name, checkpoint->size);
  }
}

void WitnessWire::Start(size_t id, const std::string& /*url*/, std::string body) {
  collector::HttpReply reply;
  reply.id = id;
  WitnessHost& witness = *witnesses_[id];
  const auto request = witness::ParseRequest(body);
  const uint64_t asked = request.ok() ? request->old_size : 0;
  const bool quiet = collector_disk_.dead() || (faults && rng_.Chance(8));
  if (!quiet && faults && witness.up() && rng_.Chance(4)) {
    witness.disk.KillAt(rng_.Between(1, 6), rng_.Chance(50));
  }
  const auto answer = quiet ? std::nullopt : witness.Ask(body);
  if (witness.up() && !witness.disk.dead()) witness.disk.Disarm();
  if (!answer) {
    reply.transport = Unavailable("connection reset");
    replies_.push_back(std::move(reply));
    return;
  }
  if (faults && rng_.Chance(8)) {
    ++counts_["witness answer lost"];
    return;
  }
  reply.status = answer->status;
  reply.body = answer->body;
  // It knows more than the log, or another root where it was asked about one.
  const auto known = reply.status == 409 ? collector::ParseSizeBody(reply.body) : std::nullopt;
  const bool contradicts = reply.status == 422 || (known && (*known > leaves() || asked == *known));
  if (contradicts) heard_.push_back(id);
  // The planted bug: a contradiction is an answer like any other failure.
  if (bug_ == "rollback-signed" && contradicts) reply.status = 500;
  replies_.push_back(std::move(reply));
}

std::optional<collector::HttpReply> WitnessWire::Next(TimePoint /*deadline*/) {
  if (replies_.empty()) return std::nullopt;
  collector::HttpReply reply = std::move(replies_.front());
  replies_.pop_front();
  return reply;
}

}  // namespace nodetrail::sim
