// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/agent_host.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/body.h"

namespace nodetrail::sim {
namespace {

constexpr size_t kKeyPage = 4096;

std::string ReadKeys(int fd) {
  std::string out(kKeyPage, '\0');
  NT_CHECK(::pread(fd, out.data(), out.size(), 0) == static_cast<ssize_t>(out.size()));
  return out;
}

// Does not read the key's file anew for each statement: that is most of its time.
class KeepingSigner final : public agent::EvictionSigner {
 public:
  KeepingSigner(agent::IdentityOptions identity, const Clock* clock) : signer_(std::move(identity), clock) {}
  Result<std::string> Sign(const trail::v1::BatchHeader& header, const trail::Hash& batch_hash) override {
    return signer_.Sign(header, batch_hash);
  }

 private:
  agent::IdentityEvictionSigner signer_;
};

std::string AgentEvent(event::v1::Kind kind, const event::v1::AgentEvent& agent) {
  event::v1::Event event;
  event.set_kind(kind);
  *event.mutable_agent() = agent;
  return event.SerializeAsString();
}

}  // namespace

AgentHost::AgentHost(Options options, Rng* rng, std::map<std::string, uint64_t>* counts)
    : disk(options.dir, rng), options_(std::move(options)), rng_(rng), counts_(*counts) {
  // Its certificate lies elsewhere: losing that is no fault of ours.
  cert_file_ = options_.dir + ".crt";
  key_file_ = options_.dir + ".key";
  const trail::TestCa::Identity identity = options_.ca->IssueAgent("acme", options_.id);
  NT_CHECK(WriteFileAtomically(cert_file_, identity.cert_pem).ok());
  NT_CHECK(WriteFileAtomically(key_file_, identity.key_pem, 0600).ok());
  disk.on_death = [this] { SaveKeys(); };
  if (options_.bug == "spool-not-synced") disk.forget_sync_of = "*.seg";
  if (options_.bug == "spool-name-not-synced") disk.forget_sync_of = "*/spool";
  disk.hide_failed_syncs = options_.bug == "failed-sync-ignored";
  clock.Advance(rng_->Below(1'000'000'000'000));
}

AgentHost::~AgentHost() {
  disk.Kill();
  Drop();
}

void AgentHost::SaveKeys() {
  if (sealer_ == nullptr || sealer_->KeyFd() < 0) {
    if (sealer_ != nullptr) kept_key_.Reset();
    return;
  }
  kept_key_.Reset(::dup(sealer_->KeyFd()));
  key_at_death_ = ReadKeys(kept_key_.get());
}

void AgentHost::Drop() {
  Disconnect();
  sealed_ = lost_receipted_ = false;
  next_seed_.clear();
  released_.reset();
  source_.reset();
  sink_.reset();
  sealer_.reset();
  log_watch_.reset();
  spool_.reset();
  signer_.reset();
  waiting_.reset();
  // What the dead process did after its death did not happen.
  if (kept_key_.valid() && !key_at_death_.empty()) {
    NT_CHECK(::pwrite(kept_key_.get(), key_at_death_.data(), key_at_death_.size(), 0) ==
             static_cast<ssize_t>(key_at_death_.size()));
  }
  key_at_death_.clear();
}

void AgentHost::Kill() {
  disk.Kill();
  Drop();
  ++unclean_ends;
  if (options_.bug == "machine-cloned") {
    GoBackToClone();
    return;
  }
  // Without a service manager, or with one that was restarted too.
  if (rng_->Chance(30)) kept_key_.Reset();
}

// What a snapshot of a virtual machine brings back: spool and memory of then.
void AgentHost::GoBackToClone() {
  const std::string spool = options_.dir + "/spool", clone = options_.dir + ".clone";
  const auto copy = [](const std::string& from, const std::string& to) {
    NT_CHECK(std::system(fmt::format("rm -rf '{0}' && cp -a '{1}' '{0}'", to, from).c_str()) == 0);
  };
  if (!clone_key_.empty() && kept_key_.valid()) {
    copy(clone, spool);
    NT_CHECK(::pwrite(kept_key_.get(), clone_key_.data(), clone_key_.size(), 0) == static_cast<ssize_t>(kKeyPage));
  } else if (kept_key_.valid()) {
    copy(spool, clone);
    clone_key_ = ReadKeys(kept_key_.get());
  }
}

void AgentHost::PowerCut() {
  disk.Kill();
  Drop();
  ++unclean_ends;
  kept_key_.Reset();
  boot_id_.clear();
  const auto lost = [this] { return disk.counts().lost_writes + disk.counts().torn_writes + disk.counts().lost_names; };
  const uint64_t before = lost();
  disk.PowerCut();
  lost_changes = lost_changes || lost() > before;
}

bool AgentHost::Rot() {
  std::vector<std::string> files;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(options_.dir + "/spool", error)) {
    if (entry.path().extension() == ".seg" && entry.file_size(error) > 0) files.push_back(entry.path().string());
  }
  if (files.empty()) return false;
  disk.Settle();  // else a power cut would mend it
  std::sort(files.begin(), files.end());
  const std::string path = files[rng_->Below(files.size())];
  auto bytes = ReadFile(path, 16U << 20);
  NT_CHECK(bytes.ok());
  (*bytes)[rng_->Below(bytes->size())] ^= static_cast<char>(1U << rng_->Below(8));
  std::FILE* f = std::fopen(path.c_str(), "r+b");  // libc's own descriptor: not a change by the agent
  NT_CHECK(f != nullptr);
  NT_CHECK(std::fwrite(bytes->data(), 1, bytes->size(), f) == bytes->size());
  NT_CHECK(std::fclose(f) == 0);
  rotted = true;
  return true;
}

agent::IdentityOptions AgentHost::Identity() const {
  agent::IdentityOptions identity;
  identity.cert_file = cert_file_;
  identity.key_file = key_file_;
  identity.tenant = "acme";
  identity.agent_id = id();
  return identity;
}

std::string AgentHost::Start() {
  disk.Revive();
  if (boot_id_.empty()) {
    boot_id_ = fmt::format("00000000-0000-4000-8000-{:012}", ++boots_);
    clock.boot_ns = 1'000'000'000;
  }
  std::string violation = OpenSpool();
  if (violation.empty() && up()) violation = OpenSealer();
  if (!violation.empty() || sealer_ == nullptr) return violation;
  sink_ = std::make_unique<agent::SealingSink>(sealer_.get(), spool_.get(), &clock, [] {});
  source_ = std::make_unique<agent::SpoolSource>(spool_.get());
  ++counts_[sealer_->continued() ? "epoch continued" : "epoch opened"];
  const std::vector<std::string> declarations = Declarations();
  return declarations.empty() ? "" : Report(declarations, agent::EvidenceClass::kVital);
}

std::string AgentHost::OpenSpool() {
  agent::SpoolOptions options;
  options.dir = options_.dir + "/spool";
  options.max_bytes = MaxSpoolBytes();
  options.segment_bytes = options_.tight ? 16U << 10 : 32U << 10;
  if (options_.tight) {
    signer_ = std::make_unique<KeepingSigner>(Identity(), &clock);
    options.signer = signer_.get();
  }
  auto spool = agent::Spool::Open(options);
  if (!spool.ok()) {
    if (disk.dead() || disk.counts().failed_writes + disk.counts().failed_syncs > 0) {
      disk.Kill();
      return "";
    }
    return fmt::format("I5: {}: the spool does not open: {}", id(), spool.status().message());
  }
  spool_ = std::move(*spool);
  const agent::SpoolRecovery& recovery = spool_->recovery();
  for (const auto& missing : recovery.missing) {
    for (uint64_t seq = missing.from_seq; seq <= missing.to_seq; ++seq) declared_lost[{missing.epoch, seq}] = true;
  }
  // With all its records gone it does not know that there were any.
  if (rotted && !recovery.head.known && !durable.empty()) forgot = true;
  if (!rotted && !recovery.missing.empty())
    return fmt::format("I4: {}: batches are missing in an undamaged spool", id());
  if (options_.release == Release::kDurable) return "";
  auto watch = agent::LogWatch::Open(options_.policy, options_.dir + "/checkpoint");
  if (!watch.ok()) return fmt::format("I5: {}: {}", id(), watch.status().message());
  log_watch_ = std::move(*watch);
  return "";
}

std::string AgentHost::OpenSealer() {
  const agent::SpoolRecovery& recovery = spool_->recovery();
  agent::SealerOptions seal;
  seal.tenant = "acme";
  seal.agent_id = id();
  seal.identity_cert_file = cert_file_;
  seal.identity_key_file = key_file_;
  seal.boot_id = boot_id_;
  seal.spool_head = recovery.head;
  seal.force_new_epoch = !recovery.missing.empty();
  if (kept_key_.valid()) seal.inherited_key.Reset(::dup(kept_key_.get()));
  seal.clock = &clock;
  seal.clock_quality = [] { return agent::ClockQuality{1'000'000, false}; };
  if (log_watch_) {
    seal.seen = [this] {
      const agent::SeenCheckpoint seen = log_watch_->seen();
      return agent::SealedSeen{seen.size, seen.root};
    };
  }
  auto sealer = agent::Sealer::Open(std::move(seal));
  if (!sealer.ok()) {
    if (disk.dead()) return "";
    return fmt::format("I5: {}: the sealer does not open: {}", id(), sealer.status().message());
  }
  sealer_ = std::move(*sealer);
  kept_key_.Reset();
  declared_hole_.reset();
  return "";
}

// What is not there any more since the last time.
std::vector<std::string> AgentHost::Declarations() const {
  std::vector<std::string> events;
  const agent::SpoolRecovery& recovery = spool_->recovery();
  const trail::ChainHead& before = recovery.head;
  if (before.known && options_.bug != "gap-not-declared") {
    event::v1::AgentEvent gap;
    gap.set_clean(before.clean);
    gap.set_last_epoch(before.epoch);
    gap.set_last_batch_seq(before.seq);
    gap.set_last_batch_hash(trail::Bytes(before.batch_hash));
    events.push_back(AgentEvent(event::v1::KIND_AGENT_GAP, gap));
  }
  for (const auto& missing : recovery.missing) {
    if (options_.bug == "rot-not-declared") break;
    event::v1::AgentEvent loss;
    loss.set_stage("spool");
    loss.set_last_epoch(missing.epoch);
    loss.set_seq_from(missing.from_seq);
    loss.set_seq_to(missing.to_seq);
    events.push_back(AgentEvent(event::v1::KIND_AGENT_LOSS, loss));
  }
  return events;
}

std::string AgentHost::Seal(uint64_t events) {
  std::vector<std::string> made;
  for (uint64_t i = 0; i < events; ++i) {
    event::v1::Event event;
    event.set_kind(event::v1::KIND_FILE_CREATE);
    std::string path = fmt::format("/tmp/{:x}", rng_->Next());
    // Large ones compress badly, so that a spool can fill in a few hundred steps.
    while (options_.tight && path.size() < 1500) path += fmt::format("{:x}", rng_->Next());
    event.mutable_file()->mutable_path()->set_path(path);
    made.push_back(event.SerializeAsString());
  }
  const auto cls = options_.tight && rng_->Chance(70) ? agent::EvidenceClass::kBulk : agent::EvidenceClass::kCritical;
  return Report(made, cls);
}

std::string AgentHost::CleanStop() {
  if (waiting_) return "";  // the pipeline would not stop either
  if (sealer_->next_seq() == 0) return "";
  std::string violation = Report({}, agent::EvidenceClass::kVital, true);
  if (!violation.empty() || disk.dead()) return violation;
  if (waiting_) {
    waiting_.reset();
    return "";
  }
  disk.Kill();
  Drop();
  return "";
}

std::string AgentHost::Report(const std::vector<std::string>& events, agent::EvidenceClass cls, bool clean_shutdown) {
  if (!waiting_) {
    event::v1::EventBatch batch;
    batch.set_schema_version(1);
    agent::BatchContent content;
    content.type = clean_shutdown ? trail::v1::BATCH_TYPE_CLEAN_SHUTDOWN : trail::v1::BATCH_TYPE_EVENTS;
    content.first_event_seq = sealer_->next_event_seq();
    uint64_t seq = content.first_event_seq;
    for (const std::string& bytes : events) {
      event::v1::Event event;
      NT_CHECK(event.ParseFromString(bytes));
      event.set_schema_version(1);
      event.set_seq(seq++);
      event.set_t_wall_ns(clock.WallNs());
      batch.add_events(event.SerializeAsString());
    }
    content.evidence_class = cls;
    const agent::SpoolStats stats = spool_->stats();
    if (options_.bug != "eviction-not-counted") {
      content.losses.set_evicted_batches(stats.evicted_batches);
      content.losses.set_evicted_events(stats.evicted_events);
    }
    content.last_event_seq = seq - 1;
    content.event_count = events.size();
    if (!events.empty()) {
      content.raw_body = batch.SerializeAsString();
      content.events_root = trail::EventsRoot(batch);
    }
    content.first_wall_ns = content.last_wall_ns = clock.WallNs();
    content.first_boot_ns = content.last_boot_ns = clock.BootNs();
    waiting_ = std::move(content);
  }
  const trail::ChainHead head_before = spool_->head();
  const std::string key_before = options_.bug == "key-kept" ? ReadKeys(sealer_->KeyFd()) : "";
  const Status status = sink_->OnBatch(*waiting_);
  if (disk.dead()) {
    // Did it become durable before the death? The next start will tell; nothing was promised.
    return "";
  }
  if (status.ok()) {
    waiting_.reset();
    const trail::ChainHead head = spool_->head();
    sealed_ = true;
    // Of the first batch of an epoch it is not known.
    used_seed_ = head.seq > 0 && head_before.epoch == head.epoch ? next_seed_ : "";
    durable[{head.epoch, head.seq}] = head.batch_hash;
    ++counts_["batch sealed"];
    if (!key_before.empty() && sealer_->KeyFd() >= 0) {
      const std::string kept = key_before.substr(0, 2048);
      NT_CHECK(::pwrite(sealer_->KeyFd(), kept.data(), kept.size(), 2048) == static_cast<ssize_t>(kept.size()));
    }
    return "";
  }
  ++counts_["batch refused"];
  if (status.code() != Code::kResourceExhausted && status.code() != Code::kUnavailable) Kill();  // fatal by design
  return "";
}

std::string AgentHost::Check() {
  if (!up() || disk.dead()) return "";
  // An acknowledgement may take what was kept for it.
  if (spool_->stats().bytes > MaxSpoolBytes() + (64U << 10))
    return fmt::format("I6: {}: the spool takes {} bytes", id(), spool_->stats().bytes);
  return CheckKeys();
}

// No 32 bytes of the key page may be the private half of the durable batch's
// key. Which those would be is known from when they were the next one's.
std::string AgentHost::CheckKeys() {
  if (sealer_->KeyFd() < 0 || !std::exchange(sealed_, false)) return "";
  const std::string keys = ReadKeys(sealer_->KeyFd());
  if (!used_seed_.empty() && keys.find(used_seed_) != std::string::npos) {
    return fmt::format("ratchet: {}: the key of a durable batch is still in memory", id());
  }
  const trail::ChainHead head = spool_->head();
  const auto is_next = [&](size_t at) {
    if (keys.compare(at, 8, std::string(8, '\0')) == 0) return false;
    const auto key = trail::Ed25519Key::FromSeed(std::string_view(keys).substr(at, 32));
    return key.ok() && trail::View(key->public_key()) == head.next_key;
  };
  // Mostly where that of the batch before last was.
  size_t& at = seed_at_[head.seq % 2];
  if (!is_next(at)) {
    for (at = 0; at + 32 < keys.size() && !is_next(at);) at += 8;
  }
  next_seed_ = at + 32 < keys.size() ? keys.substr(at, 32) : "";
  if (next_seed_.empty()) return fmt::format("ratchet: {}: the key that was promised is not in memory", id());
  return "";
}

}  // namespace nodetrail::sim
