// SPDX-License-Identifier: Apache-2.0
#include "trail/testing/test_agent.h"

#include <utility>

#include "nodetrail/trail/eviction.h"

namespace nodetrail::trail {

TestAgent::TestAgent(const TestCa& ca, std::string tenant, std::string agent_id)
    : tenant_(std::move(tenant)), agent_id_(std::move(agent_id)), identity_(ca.IssueAgent(tenant_, agent_id_)) {}

void TestAgent::Restart(bool remember) {
  previous_ = remember ? head_ : ChainHead();
  head_ = ChainHead();
  key_.reset();
  next_event_ = 1;
  ++epoch_;
}

SealedBatch TestAgent::Batch(int events, const Edit& edit) {
  std::vector<event::v1::Event> made(static_cast<size_t>(events));
  for (event::v1::Event& event : made) {
    event.set_kind(event::v1::KIND_FILE_CREATE);
    event.mutable_file()->mutable_path()->set_path("/tmp/example-" + std::to_string(next_event_));
  }
  return BatchOf(std::move(made), edit);
}

SealedBatch TestAgent::BatchOf(std::vector<event::v1::Event> events, const Edit& edit) {
  event::v1::EventBatch batch;
  batch.set_schema_version(1);
  event::v1::Process process;
  process.set_pid(42);
  process.set_comm("example");
  batch.add_processes(process.SerializeAsString());
  const uint64_t first = next_event_;
  for (event::v1::Event& event : events) {
    event.set_schema_version(1);
    event.set_seq(next_event_++);
    event.set_t_wall_ns(now_ns);
    now_ns += 1'000'000;
    batch.add_events(event.SerializeAsString());
  }
  return Seal(batch, first, edit);
}

SealedBatch TestAgent::BatchOfRecords(const event::v1::EventBatch& batch) {
  const uint64_t first = next_event_;
  next_event_ += static_cast<uint64_t>(batch.events_size());
  now_ns += 1'000'000;
  return Seal(batch, first, nullptr);
}

SealedBatch TestAgent::Seal(const event::v1::EventBatch& batch, uint64_t first, const Edit& edit) {
  const bool opening = !head_.known;
  if (!key_) key_ = RatchetKey::Generate(sig_alg);
  RatchetKey next = RatchetKey::Generate(key_->alg());
  const std::string raw = batch.SerializeAsString();

  SealedBatch out;
  out.body = *CompressBody(raw);
  v1::BatchHeader& h = out.header;
  h.set_format_version(1);
  h.set_type(opening ? v1::BATCH_TYPE_EPOCH_OPEN : v1::BATCH_TYPE_EVENTS);
  h.set_sig_alg(key_->alg());
  h.set_body_codec(v1::BODY_CODEC_ZSTD);
  h.set_assurance(v1::ASSURANCE_SOFTWARE);
  h.set_tenant(tenant_);
  h.set_agent_id(agent_id_);
  h.set_boot_id(boot_id);
  h.set_epoch(epoch_);
  h.set_seq(opening ? 0 : head_.seq + 1);
  const ChainHead& before = opening ? previous_ : head_;
  h.set_prev_hash(Bytes(before.batch_hash));
  h.set_signer_key(key_->public_key());
  h.set_next_key(next.public_key());
  h.set_first_event_seq(first);
  h.set_last_event_seq(next_event_ - 1);
  h.set_event_count(static_cast<uint64_t>(batch.events_size()));
  h.set_raw_body_len(raw.size());
  h.set_stored_body_len(out.body.size());
  h.set_events_root(Bytes(EventsRoot(batch)));
  h.set_body_sha256(Bytes(Sha256Of(out.body)));
  h.set_first_wall_ns(now_ns);
  h.set_last_wall_ns(now_ns);
  h.set_first_boot_ns(now_ns - 1'600'000'000'000'000'000);
  h.set_last_boot_ns(now_ns - 1'600'000'000'000'000'000);
  h.set_sealed_wall_ns(now_ns);
  if (opening) {
    v1::EpochStatement s;
    s.set_tenant(tenant_);
    s.set_agent_id(agent_id_);
    s.set_epoch(epoch_);
    s.set_first_key(h.signer_key());
    s.set_boot_id(boot_id);
    if (previous_.known) {
      s.set_prev_known(true);
      s.set_prev_epoch(previous_.epoch);
      s.set_prev_last_seq(previous_.seq);
      s.set_prev_last_hash(Bytes(previous_.batch_hash));
      s.set_prev_clean(previous_.clean);
    }
    if (edit_statement) edit_statement(&s);
    v1::EpochOpen* open = h.mutable_epoch_open();
    open->set_identity_cert(Certificate::FromPem(identity_.cert_pem)->Der());
    open->set_statement(s.SerializeAsString());
    open->set_signature(*EcdsaKey::FromPem(identity_.key_pem)->Sign(Pae(kEpochPayloadType, open->statement())));
    if (edit_open) edit_open(open);
  }
  if (edit) edit(&h);
  out.leaf = *MakeLeaf(h.SerializeAsString(), *key_);
  out.batch_hash = BatchHash(out.leaf);
  head_ = HeadOf(h, out.batch_hash);
  last_key_ = std::move(key_);
  key_ = std::move(next);
  return out;
}

SealedBatch TestAgent::CleanShutdown() {
  return Batch(1, [](v1::BatchHeader* h) {
    h->set_type(v1::BATCH_TYPE_CLEAN_SHUTDOWN);
    h->clear_next_key();
  });
}

event::v1::Event TestAgent::GapEvent() const {
  event::v1::Event event;
  event.set_kind(event::v1::KIND_AGENT_GAP);
  event.mutable_agent()->set_last_epoch(previous_.epoch);
  event.mutable_agent()->set_last_batch_seq(previous_.seq);
  event.mutable_agent()->set_last_batch_hash(Bytes(previous_.batch_hash));
  return event;
}

event::v1::Event TestAgent::LossEvent(uint64_t count) {
  event::v1::Event event;
  event.set_kind(event::v1::KIND_AGENT_LOSS);
  event.mutable_agent()->set_stage("ring");
  event.mutable_agent()->set_count(count);
  return event;
}

event::v1::Event TestAgent::SpoolLossEvent(uint64_t epoch, uint64_t from, uint64_t to) {
  event::v1::Event event;
  event.set_kind(event::v1::KIND_AGENT_LOSS);
  event.mutable_agent()->set_stage("spool");
  event.mutable_agent()->set_last_epoch(epoch);
  event.mutable_agent()->set_seq_from(from);
  event.mutable_agent()->set_seq_to(to);
  return event;
}

std::string TestAgent::Eviction(const SealedBatch& batch, const std::function<void(v1::BodyEvicted*)>& edit) const {
  v1::BodyEvicted statement = EvictionStatement(batch.header, batch.batch_hash, now_ns);
  if (edit) edit(&statement);
  return *SignEviction(statement, *EcdsaKey::FromPem(identity_.key_pem), *Certificate::FromPem(identity_.cert_pem), {});
}

std::string TestAgent::EvictionOf(const std::string& statement) const {
  v1::SignedEviction out;
  out.set_statement(statement);
  out.set_signature(*EcdsaKey::FromPem(identity_.key_pem)->Sign(Pae(kEvictionPayloadType, statement)));
  out.set_identity_cert(identity().Der());
  return out.SerializeAsString();
}

std::string TestAgent::ForgeBytes(const std::string& header) const { return *MakeLeaf(header, *last_key_); }

}  // namespace nodetrail::trail
