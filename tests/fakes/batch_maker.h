// SPDX-License-Identifier: Apache-2.0
//
// Sealed batches of one agent, made from the evidence primitives alone, so
// that a test can also make those that an honest sealer never would.
#ifndef NODETRAIL_TESTS_FAKES_BATCH_MAKER_H_
#define NODETRAIL_TESTS_FAKES_BATCH_MAKER_H_

#include <functional>
#include <string>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/eviction.h"
#include "nodetrail/trail/leaf.h"
#include "tests/fakes/test_pki.h"

namespace nodetrail::testing {

class BatchMaker {
 public:
  using Tweak = std::function<void(trail::v1::BatchHeader*)>;

  // Needs agents/<id>/identity.{pem,key} in `pki`.
  BatchMaker(const TestPki& pki, std::string agent_id, uint64_t epoch = 1, std::string tenant = "default")
      : agent_id_(std::move(agent_id)), tenant_(std::move(tenant)), epoch_(epoch), key_(trail::Ed25519Key::Generate()) {
    const std::string base = pki.File("agents/" + agent_id_ + "/identity");
    identity_cert_ = trail::Certificate::FromPem(ReadFile(base + ".pem", 1 << 16).value()).value().Der();
    identity_key_pem_ = ReadFile(base + ".key", 1 << 16).value();
  }

  // The next batch of the chain: `events` events, `padding` bytes in each.
  trail::SealedBatch Next(uint64_t events = 1, size_t padding = 0) { return Make(events, padding, nullptr, true); }
  // As Next, with a header changed before it is signed.
  trail::SealedBatch NextWith(const Tweak& tweak) { return Make(1, 0, tweak, true); }
  // Another batch at the place where Next would make one; the chain stays.
  trail::SealedBatch Fork(const Tweak& tweak = nullptr) { return Make(2, 7, tweak, false); }
  // The last one's rival: same position and key, other content. For equivocation.
  trail::SealedBatch Rival() {
    std::swap(state_, before_);
    std::swap(key_, rival_key_);
    trail::SealedBatch batch = Make(3, 9, nullptr, false);
    std::swap(key_, rival_key_);
    std::swap(state_, before_);
    return batch;
  }

  // What this agent signs when it gives up the body of `batch`.
  [[nodiscard]] std::string Eviction(const trail::SealedBatch& batch) const {
    return trail::SignEviction(trail::EvictionStatement(batch.header, batch.batch_hash, 1'700'000'100'000'000'000),
                               trail::EcdsaKey::FromPem(identity_key_pem_).value(),
                               trail::Certificate::FromDer(identity_cert_).value(), {})
        .value();
  }

  // `prev_clean`: the last batch was a CLEAN_SHUTDOWN.
  void NewEpoch(uint64_t epoch, bool prev_clean = false) {
    prev_ = state_;
    prev_known_ = true;
    prev_clean_ = prev_clean;
    prev_epoch_ = epoch_;
    epoch_ = epoch;
    state_ = {};
    state_.hash = prev_.hash;
    key_ = trail::Ed25519Key::Generate();
  }

  [[nodiscard]] uint64_t next_seq() const { return state_.seq; }

 private:
  struct State {
    uint64_t seq = 0;
    uint64_t event_seq = 1;
    trail::Hash hash{};
  };

  trail::SealedBatch Make(uint64_t events, size_t padding, const Tweak& tweak, bool advance) {
    event::v1::EventBatch content;
    content.set_schema_version(1);
    for (uint64_t i = 0; i < events; ++i) {
      event::v1::Event event;
      event.set_schema_version(1);
      event.set_seq(state_.event_seq + i);
      event.set_hook(std::string(padding, static_cast<char>('a' + state_.seq % 26)));
      content.add_events(event.SerializeAsString());
    }
    const std::string raw = content.SerializeAsString();
    trail::SealedBatch out;
    out.body = trail::CompressBody(raw, 1).value();
    trail::Ed25519Key next = trail::Ed25519Key::Generate();

    trail::v1::BatchHeader& h = out.header;
    h.set_format_version(1);
    h.set_type(state_.seq == 0 ? trail::v1::BATCH_TYPE_EPOCH_OPEN : trail::v1::BATCH_TYPE_EVENTS);
    h.set_sig_alg(trail::v1::SIG_ALG_ED25519);
    h.set_body_codec(trail::v1::BODY_CODEC_ZSTD);
    h.set_assurance(trail::v1::ASSURANCE_SOFTWARE);
    h.set_tenant(tenant_);
    h.set_agent_id(agent_id_);
    h.set_boot_id("6f9c2a52-6a5e-4f2f-9d35-5b1d7a0c9e11");
    h.set_epoch(epoch_);
    h.set_seq(state_.seq);
    h.set_prev_hash(trail::Bytes(state_.hash));
    h.set_signer_key(trail::Bytes(key_.public_key()));
    h.set_next_key(trail::Bytes(next.public_key()));
    h.set_first_event_seq(state_.event_seq);
    h.set_last_event_seq(state_.event_seq + events - 1);
    h.set_event_count(events);
    h.set_raw_body_len(raw.size());
    h.set_stored_body_len(out.body.size());
    h.set_events_root(trail::Bytes(trail::EventsRoot(content)));
    h.set_body_sha256(trail::Bytes(trail::Sha256Of(out.body)));
    h.set_first_boot_ns(1000 + state_.seq);
    h.set_last_boot_ns(1000 + state_.seq);
    h.set_first_wall_ns(1'700'000'000'000'000'000 + state_.seq);
    h.set_last_wall_ns(1'700'000'000'000'000'000 + state_.seq);
    h.set_config_sha256(std::string(32, 'c'));
    h.set_program_sha256(std::string(32, 'p'));
    h.set_sealed_wall_ns(1'700'000'000'000'000'000 + state_.seq);
    if (state_.seq == 0) Open(&h);
    if (tweak) tweak(&h);

    out.leaf = trail::MakeLeaf(h.SerializeAsString(), key_).value();
    out.batch_hash = trail::BatchHash(out.leaf);
    if (advance) {
      before_ = state_;
      rival_key_ = std::exchange(key_, std::move(next));
      ++state_.seq;
      state_.event_seq += events;
      state_.hash = out.batch_hash;
    }
    return out;
  }

  void Open(trail::v1::BatchHeader* h) const {
    trail::v1::EpochStatement s;
    s.set_tenant(tenant_);
    s.set_agent_id(agent_id_);
    s.set_epoch(epoch_);
    s.set_first_key(h->signer_key());
    s.set_boot_id(h->boot_id());
    if (prev_known_) {
      s.set_prev_known(true);
      s.set_prev_epoch(prev_epoch_);
      s.set_prev_last_seq(prev_.seq - 1);
      s.set_prev_last_hash(trail::Bytes(prev_.hash));
      s.set_prev_clean(prev_clean_);
    }
    trail::v1::EpochOpen* open = h->mutable_epoch_open();
    open->set_identity_cert(identity_cert_);
    open->set_statement(s.SerializeAsString());
    const trail::EcdsaKey identity = trail::EcdsaKey::FromPem(identity_key_pem_).value();
    open->set_signature(identity.Sign(trail::Pae(trail::kEpochPayloadType, open->statement())).value());
  }

  const std::string agent_id_;
  const std::string tenant_;
  uint64_t epoch_;
  std::string identity_cert_;
  std::string identity_key_pem_;
  State state_, before_, prev_;
  bool prev_known_ = false;
  bool prev_clean_ = false;
  uint64_t prev_epoch_ = 0;
  trail::Ed25519Key key_;
  trail::Ed25519Key rival_key_ = trail::Ed25519Key::Generate();
};

}  // namespace nodetrail::testing

#endif  // NODETRAIL_TESTS_FAKES_BATCH_MAKER_H_
