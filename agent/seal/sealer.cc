// SPDX-License-Identifier: Apache-2.0
#include "agent/seal/sealer.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "agent/seal/identity.h"
#include "agent/seal/key_store.h"
#include "nodetrail/base/guard.h"
#include "nodetrail/trail/body.h"

namespace nodetrail::agent {
namespace {

constexpr uint64_t kNsPerSecond = 1'000'000'000;

Result<std::string> ReadBootId() {
  NT_ASSIGN_OR_RETURN(std::string id, ReadFile("/proc/sys/kernel/random/boot_id", 128));
  while (!id.empty() && id.back() == '\n') id.pop_back();
  return id;
}

void AddLosses(const trail::v1::LossCounters& base, trail::v1::LossCounters* losses) {
  losses->set_ring(losses->ring() + base.ring());
  losses->set_map(losses->map() + base.map());
  losses->set_decode(losses->decode() + base.decode());
  losses->set_limited(losses->limited() + base.limited());
  losses->set_evicted_batches(losses->evicted_batches() + base.evicted_batches());
  losses->set_evicted_events(losses->evicted_events() + base.evicted_events());
  losses->set_probe(losses->probe() + base.probe());
}

}  // namespace

struct Sealer::Impl {
  SealerOptions options;
  std::unique_ptr<KeyStore> keys;
  std::optional<trail::RatchetKey> key;   // signs the next batch
  std::optional<trail::RatchetKey> next;  // of the batch being sealed
  trail::ChainHead head;                  // last committed batch of this epoch
  trail::ChainHead previous;              // last batch of the epoch before
  trail::v1::EpochOpen opening;
  trail::v1::LossCounters base_losses;      // of this epoch, before this process
  std::optional<trail::ChainHead> pending;  // sealed, neither committed nor abandoned
  uint64_t epoch = 0;
  bool continued = false;
  bool closed = false;

  [[nodiscard]] uint64_t seq() const { return head.known ? head.seq + 1 : 0; }

  // Same epoch: the key that the last durable batch promised is still here.
  bool Continue() {
    const trail::ChainHead& last = options.spool_head;
    if (!options.inherited_key.valid()) return false;
    auto adopted = KeyStore::Adopt(std::move(options.inherited_key));
    if (!adopted.ok()) return false;
    keys = std::move(*adopted);
    if (options.force_new_epoch || !last.known || last.clean || last.boot_id != options.boot_id) return false;
    if (last.next_key.size() != trail::RatchetKeyBytes(options.ratchet_alg)) return false;
    key = keys->Find({last.epoch, last.seq + 1}, last.next_key);
    if (!key) return false;
    // The key of the durable batch may still be there, if the crash came before its erasure.
    keys->Erase({last.epoch, last.seq});
    head = last;
    epoch = last.epoch;
    base_losses = last.losses;
    continued = true;
    return true;
  }

  Status NewEpoch(const trail::ChainHead& last) {
    previous = last;
    head = trail::ChainHead();
    base_losses.Clear();
    pending.reset();
    next.reset();
    continued = false;
    closed = false;
    epoch = std::max(last.known ? last.epoch + 1 : 1, options.clock->WallNs() / kNsPerSecond);
    if (keys == nullptr) {
      NT_ASSIGN_OR_RETURN(keys, KeyStore::Create());
    }
    keys->EraseAll();
    key = trail::RatchetKey::Generate(options.ratchet_alg);
    keys->Put({epoch, 0}, *key);
    return SignOpening();
  }

  // The identity key is read, used once and dropped.
  Status SignOpening() {
    IdentityOptions from;
    from.cert_file = options.identity_cert_file;
    from.key_file = options.identity_key_file;
    from.key_uri = options.identity_key_uri;
    from.tenant = options.tenant;
    from.agent_id = options.agent_id;
    NT_ASSIGN_OR_RETURN(const Identity identity, Identity::Load(from));

    trail::v1::EpochStatement statement;
    statement.set_tenant(options.tenant);
    statement.set_agent_id(options.agent_id);
    statement.set_epoch(epoch);
    statement.set_first_key(key->public_key());
    statement.set_boot_id(options.boot_id);
    if (previous.known) {
      statement.set_prev_known(true);
      statement.set_prev_epoch(previous.epoch);
      statement.set_prev_last_seq(previous.seq);
      statement.set_prev_last_hash(trail::Bytes(previous.batch_hash));
      statement.set_prev_clean(previous.clean);
    }
    opening.Clear();
    opening.set_identity_cert(identity.certificate().Der());
    opening.set_statement(statement.SerializeAsString());
    NT_ASSIGN_OR_RETURN(*opening.mutable_signature(),
                        identity.key().Sign(trail::Pae(trail::kEpochPayloadType, opening.statement())));
    for (const trail::Certificate& between : identity.intermediates()) opening.add_intermediates(between.Der());
    return OkStatus();
  }

  [[nodiscard]] trail::v1::BatchHeader Header(const BatchContent& content) const {
    trail::v1::BatchHeader h;
    h.set_format_version(1);
    h.set_type(head.known ? content.type : trail::v1::BATCH_TYPE_EPOCH_OPEN);
    h.set_sig_alg(key->alg());
    h.set_assurance(trail::v1::ASSURANCE_SOFTWARE);
    h.set_tenant(options.tenant);
    h.set_agent_id(options.agent_id);
    h.set_boot_id(options.boot_id);
    h.set_epoch(epoch);
    h.set_seq(seq());
    const trail::ChainHead& before = head.known ? head : previous;
    h.set_prev_hash(trail::Bytes(before.known ? before.batch_hash : trail::Hash{}));
    h.set_signer_key(key->public_key());
    if (next) h.set_next_key(next->public_key());
    h.set_first_event_seq(content.first_event_seq);
    h.set_last_event_seq(content.last_event_seq);
    h.set_event_count(content.event_count);
    h.set_first_boot_ns(content.first_boot_ns);
    h.set_last_boot_ns(content.last_boot_ns);
    h.set_first_wall_ns(content.first_wall_ns);
    h.set_last_wall_ns(content.last_wall_ns);
    const ClockQuality quality = options.clock_quality();
    h.set_clock_error_ns(quality.max_error_ns);
    h.set_clock_unsynced(quality.unsynced);
    h.set_critical_flush(content.critical_flush);
    *h.mutable_losses() = content.losses;
    AddLosses(base_losses, h.mutable_losses());
    h.set_config_sha256(trail::Bytes(options.config_sha256));
    h.set_program_sha256(trail::Bytes(options.program_sha256));
    if (!head.known) *h.mutable_epoch_open() = opening;
    h.set_sealed_wall_ns(options.clock->WallNs());
    if (const SealedSeen seen = options.seen ? options.seen() : SealedSeen{}; seen.size > 0) {
      h.set_seen_size(seen.size);
      h.set_seen_root(trail::Bytes(seen.root));
    }
    return h;
  }
};

Sealer::Sealer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Sealer::~Sealer() = default;

Result<std::unique_ptr<Sealer>> Sealer::Open(SealerOptions options) {
  NT_CHECK(options.clock != nullptr);
  if (!trail::ValidId(options.tenant))
    return InvalidArgument(fmt::format("seal: \"{}\" is not a legal tenant", options.tenant));
  if (!trail::ValidId(options.agent_id)) {
    return InvalidArgument(fmt::format("seal: \"{}\" is not a legal agent id", options.agent_id));
  }
  if (options.boot_id.empty()) {
    NT_ASSIGN_OR_RETURN(options.boot_id, ReadBootId());
  }
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  if (!impl->Continue()) NT_RETURN_IF_ERROR(impl->NewEpoch(impl->options.spool_head));
  return std::unique_ptr<Sealer>(new Sealer(std::move(impl)));
}

Result<trail::SealedBatch> Sealer::Seal(const BatchContent& content) {
  Impl& s = *impl_;
  if (s.pending) return FailedPrecondition("seal: the batch before is neither committed nor abandoned");
  if (s.closed) return FailedPrecondition("seal: the epoch ended with its clean shutdown");
  const bool last = content.type == trail::v1::BATCH_TYPE_CLEAN_SHUTDOWN;
  if (last && !s.head.known) return FailedPrecondition("seal: an epoch can't be closed by the batch that opens it");

  trail::SealedBatch out;
  if (!last) s.next = trail::RatchetKey::Generate(s.key->alg());
  out.header = s.Header(content);
  if (content.raw_body.empty()) {
    out.header.set_body_codec(trail::v1::BODY_CODEC_NONE);
  } else {
    auto body = trail::CompressBody(content.raw_body, s.options.zstd_level);
    if (!body.ok()) {
      s.next.reset();
      return Annotate(body.status(), "seal");
    }
    out.body = std::move(*body);
    out.header.set_body_codec(trail::v1::BODY_CODEC_ZSTD);
    out.header.set_raw_body_len(content.raw_body.size());
    out.header.set_stored_body_len(out.body.size());
    out.header.set_events_root(trail::Bytes(content.events_root));
    out.header.set_body_sha256(trail::Bytes(trail::Sha256Of(out.body)));
  }
  auto leaf = trail::MakeLeaf(out.header.SerializeAsString(), *s.key);
  if (!leaf.ok()) {
    s.next.reset();
    return Annotate(leaf.status(), "seal");
  }
  out.leaf = std::move(*leaf);
  out.batch_hash = trail::BatchHash(out.leaf);
  s.pending = trail::HeadOf(out.header, out.batch_hash);
  // Before the spool has the batch: after it, a crash must find this key.
  if (s.next) s.keys->Put({s.epoch, s.seq() + 1}, *s.next);
  return out;
}

void Sealer::Commit() {
  Impl& s = *impl_;
  NT_CHECK(s.pending.has_value());
  if (NT_GUARD(ratchet_erase, true)) s.keys->Erase({s.epoch, s.seq()});
  s.key = std::move(s.next);  // the old one is wiped as it goes
  s.next.reset();
  s.head = *s.pending;
  s.pending.reset();
  if (s.head.clean) {
    s.closed = true;
    s.keys->EraseAll();
  }
}

void Sealer::Abandon() {
  Impl& s = *impl_;
  NT_CHECK(s.pending.has_value());
  if (s.next) s.keys->Erase({s.epoch, s.seq() + 1});
  s.next.reset();
  s.pending.reset();
}

uint64_t Sealer::epoch() const { return impl_->epoch; }
uint64_t Sealer::next_seq() const { return impl_->seq(); }
uint64_t Sealer::next_event_seq() const { return impl_->head.known ? impl_->head.last_event_seq + 1 : 1; }
bool Sealer::continued() const { return impl_->continued; }
bool Sealer::previous_unclean() const { return !impl_->continued && impl_->previous.known && !impl_->previous.clean; }
const trail::ChainHead& Sealer::previous() const { return impl_->previous; }
int Sealer::KeyFd() const { return impl_->closed ? -1 : impl_->keys->fd(); }

}  // namespace nodetrail::agent
