// SPDX-License-Identifier: Apache-2.0
#include "collector/ingest/ingest_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <utility>

#include "nodetrail/base/log.h"

namespace nodetrail::collector {
namespace {

using ingest::v1::ClientMessage;
using ingest::v1::ServerMessage;

constexpr uint32_t kProtocolVersion = 1;
// A stream is not read from while it holds this much, or has as many answers
// that the peer does not take. Its memory is at most this and one message.
constexpr uint64_t kStreamBytes = 1U << 20;
constexpr size_t kStreamFrames = 64;
constexpr size_t kStreamAnswers = 128;
// Batches that wait for a receipt; 100 bytes each. Above what an agent waits for.
constexpr size_t kStreamAwaited = 2048;
// … and while all streams together hold this, unless it holds nothing itself.
constexpr uint64_t kTotalBytes = 128U << 20;

}  // namespace

Result<trail::SpiffeId> PeerId(const grpc::AuthContext& auth) {
  if (!auth.IsPeerAuthenticated()) return Status(Code::kUnauthenticated, "no client certificate");
  const std::vector<grpc::string_ref> uris = auth.FindPropertyValues("peer_uri");
  if (uris.size() != 1) {
    return Status(Code::kUnauthenticated,
                  fmt::format("the certificate has {} URI names, one is needed: spiffe://<domain>/t/<tenant>/a/<agent>",
                              uris.size()));
  }
  auto id = trail::ParseSpiffeId(std::string_view(uris[0].data(), uris[0].size()));
  if (!id.ok()) return Status(Code::kUnauthenticated, fmt::format("the certificate's URI: {}", id.status().message()));
  return id;
}

// What the committer holds of a stream. It outlives the stream if need be:
// answers to a stream that is gone are dropped.
class IngestService::Link final : public AnswerSink,
                                  public ReceiptTaker,
                                  public std::enable_shared_from_this<IngestService::Link> {
 public:
  Link(Committer* committer, ReceiptIssuer* receipts) : committer_(committer), receipts_(receipts) {}

  void Answer(ServerMessage message, uint64_t freed_bytes) override;
  void Await(const AwaitedBatch& batch) override;
  More TakeDue(uint64_t size, size_t max, std::vector<AwaitedBatch>* due) override;
  void Deliver(std::vector<ServerMessage> receipts) override;
  void PutBack(std::vector<AwaitedBatch> due) override;
  // Ends the stream now.
  void Abort(const grpc::Status& status);
  // Ends it once the answers that wait are written.
  void FinishAfterAnswers(const grpc::Status& status);

 private:
  friend class Reactor;
  void Pump();                              // mutex_ held
  void MaybeRead();                         // mutex_ held
  void Finish(const grpc::Status& status);  // mutex_ held

  Committer* const committer_;
  ReceiptIssuer* const receipts_;
  std::mutex mutex_;
  Reactor* reactor_ = nullptr;  // null: gone
  ClientMessage incoming_;
  std::deque<ServerMessage> answers_;  // front is being written if writing_
  bool writing_ = false;
  bool reading_ = false;
  bool read_closed_ = false;  // the peer has no more
  bool finished_ = false;
  std::optional<grpc::Status> last_;  // to finish with, once nothing is to be written
  uint64_t held_bytes_ = 0;
  size_t held_items_ = 0;
  bool wants_receipts_ = false;
  std::deque<AwaitedBatch> awaited_;
  size_t taken_ = 0;      // by the issuer, not delivered yet
  bool listed_ = false;   // the issuer knows us
  bool blocked_ = false;  // something was due, but the peer does not take its answers
};

// gRPC owns it, until OnDone.
class IngestService::Reactor final : public grpc::ServerBidiReactor<ClientMessage, ServerMessage> {
 public:
  Reactor(IngestService* service, std::string agent_id, AdmittedPeer peer, std::shared_ptr<Link> link)
      : service_(service), agent_id_(std::move(agent_id)), peer_(std::move(peer)), link_(std::move(link)) {
    const std::lock_guard lock(link_->mutex_);
    link_->reactor_ = this;
    link_->MaybeRead();
  }

  void OnReadDone(bool ok) override {
    ClientMessage message;
    const Status admitted = ok ? peer_.StillGood() : OkStatus();
    {
      const std::lock_guard lock(link_->mutex_);
      if (!ok) {
        link_->reading_ = false;
        link_->read_closed_ = true;
        link_->Pump();
        return;
      }
      if (link_->finished_) return;
      message = std::move(link_->incoming_);
      link_->incoming_ = {};
      if (!admitted.ok()) {
        log::Warn(fmt::format("ingest: {}: its stream ends: {}", agent_id_, admitted.message()));
        link_->Finish(grpc::Status(static_cast<grpc::StatusCode>(admitted.code()), std::string(admitted.message())));
        return;
      }
      if (const grpc::Status wrong = CheckOrder(message); !wrong.ok()) {
        log::Warn(fmt::format("ingest: {}: {}", agent_id_, wrong.error_message()));
        link_->Finish(wrong);
        return;
      }
      link_->held_bytes_ +=
          message.frame().leaf().size() + message.frame().body().size() + message.frame().eviction().size();
      ++link_->held_items_;
    }
    if (message.has_hello()) {
      service_->committer_->Hello(link_, agent_id_);
    } else {
      service_->committer_->Submit(link_, agent_id_, std::move(*message.mutable_frame()));
    }
    // Only now may the next read begin: it must not be queued before this one.
    const std::lock_guard lock(link_->mutex_);
    link_->reading_ = false;
    link_->MaybeRead();
    link_->Pump();
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(link_->mutex_);
    link_->writing_ = false;
    link_->answers_.pop_front();
    if (!ok) {
      link_->Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the agent is gone"));
      return;
    }
    link_->Pump();
    link_->MaybeRead();
    if (link_->blocked_ && link_->answers_.size() <= kStreamAnswers / 2) {
      link_->blocked_ = false;
      link_->receipts_->Wake();
    }
  }

  void OnCancel() override {
    const std::lock_guard lock(link_->mutex_);
    link_->Finish(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled"));
  }

  void OnDone() override {
    {
      const std::lock_guard lock(link_->mutex_);
      link_->reactor_ = nullptr;
      link_->answers_.clear();
      link_->awaited_.clear();
    }
    service_->Unregister(agent_id_, link_);
    delete this;
  }

 private:
  // Hello first, once; then frames. link_->mutex_ held.
  grpc::Status CheckOrder(const ClientMessage& message) {
    if (message.has_hello() && !greeted_) {
      const ingest::v1::Hello& hello = message.hello();
      if (hello.protocol_version() != kProtocolVersion) {
        return {grpc::StatusCode::FAILED_PRECONDITION,
                fmt::format("protocol version {} is not known here, {} is; do the versions fit?",
                            hello.protocol_version(), kProtocolVersion)};
      }
      if (hello.agent_id() != agent_id_ || hello.tenant() != service_->tenant_) {
        return {
            grpc::StatusCode::PERMISSION_DENIED,
            fmt::format("the certificate is of agent {} of tenant {}, the agent says otherwise; agent_id and tenant "
                        "must be as in the certificate",
                        agent_id_, service_->tenant_)};
      }
      greeted_ = true;
      link_->wants_receipts_ = hello.receipts();
      return grpc::Status::OK;
    }
    if (message.has_frame() && greeted_) return grpc::Status::OK;
    return {grpc::StatusCode::INVALID_ARGUMENT, "Hello comes first and once, then frames"};
  }

  IngestService* const service_;
  const std::string agent_id_;
  AdmittedPeer peer_;  // reads alone use it, one at a time
  const std::shared_ptr<Link> link_;
  bool greeted_ = false;
};

void IngestService::Link::Answer(ServerMessage message, uint64_t freed_bytes) {
  const std::lock_guard lock(mutex_);
  held_bytes_ -= freed_bytes;
  --held_items_;
  if (reactor_ == nullptr || finished_) return;
  answers_.push_back(std::move(message));
  Pump();
  MaybeRead();
}

void IngestService::Link::Await(const AwaitedBatch& batch) {
  {
    const std::lock_guard lock(mutex_);
    if (!wants_receipts_ || reactor_ == nullptr || finished_) return;
    awaited_.push_back(batch);
    if (!std::exchange(listed_, true)) {
      receipts_->List(weak_from_this());
      return;
    }
  }
  // A batch that came again is due at once.
  if (batch.log_index < receipts_->published_size()) receipts_->Wake();
}

ReceiptTaker::More IngestService::Link::TakeDue(uint64_t size, size_t max, std::vector<AwaitedBatch>* due) {
  const std::lock_guard lock(mutex_);
  const size_t room = answers_.size() < kStreamAnswers ? kStreamAnswers - answers_.size() : 0;
  max = std::min(max, room);
  std::deque<AwaitedBatch> rest;
  size_t more = 0;
  for (const AwaitedBatch& batch : awaited_) {
    if (batch.log_index >= size) {
      rest.push_back(batch);
    } else if (due->size() < max) {
      due->push_back(batch);
    } else {
      rest.push_back(batch);
      ++more;
    }
  }
  awaited_ = std::move(rest);
  taken_ += due->size();
  blocked_ = more > 0 && due->size() >= room;
  if (awaited_.empty() && due->empty()) listed_ = false;
  if (!listed_) return More::kNone;
  return more > 0 && !blocked_ ? More::kNow : More::kLater;
}

void IngestService::Link::Deliver(std::vector<ServerMessage> receipts) {
  const std::lock_guard lock(mutex_);
  taken_ -= receipts.size();
  if (reactor_ == nullptr || finished_) return;
  for (ServerMessage& receipt : receipts) answers_.push_back(std::move(receipt));
  Pump();
  MaybeRead();
}

void IngestService::Link::PutBack(std::vector<AwaitedBatch> due) {
  const std::lock_guard lock(mutex_);
  taken_ -= due.size();
  if (reactor_ == nullptr || finished_) return;
  awaited_.insert(awaited_.begin(), due.begin(), due.end());
}

void IngestService::Link::Abort(const grpc::Status& status) {
  const std::lock_guard lock(mutex_);
  Finish(status);
}

void IngestService::Link::FinishAfterAnswers(const grpc::Status& status) {
  const std::lock_guard lock(mutex_);
  last_ = status;
  Pump();
}

void IngestService::Link::Pump() {
  if (reactor_ == nullptr || finished_ || writing_) return;
  if (!answers_.empty()) {
    writing_ = true;
    reactor_->StartWrite(&answers_.front());
  } else if (last_) {
    Finish(*last_);
  } else if (read_closed_ && held_items_ == 0 && awaited_.empty() && taken_ == 0) {
    Finish(grpc::Status::OK);
  }
}

void IngestService::Link::MaybeRead() {
  if (reactor_ == nullptr || finished_ || reading_ || read_closed_ || last_) return;
  if (held_bytes_ >= kStreamBytes || held_items_ >= kStreamFrames || answers_.size() >= kStreamAnswers) return;
  if (awaited_.size() >= kStreamAwaited) return;
  if (held_items_ > 0 && committer_->queued_bytes() >= kTotalBytes) return;
  reading_ = true;
  reactor_->StartRead(&incoming_);
}

void IngestService::Link::Finish(const grpc::Status& status) {
  if (reactor_ == nullptr || finished_) return;
  finished_ = true;
  reactor_->Finish(status);
}

IngestService::IngestService(std::string tenant, Committer* committer, ReceiptIssuer* receipts, const PeerGate* gate)
    : tenant_(std::move(tenant)), committer_(committer), receipts_(receipts), gate_(gate) {}

IngestService::~IngestService() = default;

grpc::ServerBidiReactor<ClientMessage, ServerMessage>* IngestService::Stream(grpc::CallbackServerContext* context) {
  // A peer that is refused before it has a stream of its own.
  class Refusal final : public grpc::ServerBidiReactor<ClientMessage, ServerMessage> {
   public:
    explicit Refusal(const grpc::Status& status) { Finish(status); }
    void OnDone() override { delete this; }
  };
  const std::shared_ptr<const grpc::AuthContext> auth = context->auth_context();
  AdmittedPeer peer(gate_, auth);
  const Result<trail::SpiffeId> id = PeerId(*auth);
  grpc::Status refusal;
  if (!id.ok()) {
    refusal = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, std::string(id.status().message()));
  } else if (id->role != 'a') {
    refusal = grpc::Status(grpc::StatusCode::PERMISSION_DENIED, "the certificate is a reader's, not an agent's");
  } else if (id->tenant != tenant_) {
    refusal = grpc::Status(grpc::StatusCode::PERMISSION_DENIED,
                           fmt::format("the certificate is of tenant {}, which is not served here", id->tenant));
  } else if (const Status admitted = gate_->Admit(*auth); !admitted.ok()) {
    refusal = grpc::Status(static_cast<grpc::StatusCode>(admitted.code()), std::string(admitted.message()));
  }
  if (refusal.ok()) {
    if (const Status admitted = committer_->Admit(id->name); !admitted.ok()) {
      refusal = grpc::Status(grpc::StatusCode::PERMISSION_DENIED, std::string(admitted.message()));
    }
  }
  if (!refusal.ok()) {
    log::Warn(fmt::format("ingest: a peer is refused: {}", refusal.error_message()));
    return new Refusal(refusal);
  }
  auto link = std::make_shared<Link>(committer_, receipts_);
  auto* reactor = new Reactor(this, id->name, std::move(peer), link);
  Register(id->name, link);
  return reactor;
}

void IngestService::Register(const std::string& agent_id, const std::shared_ptr<Link>& link) {
  std::shared_ptr<Link> older;
  bool shutdown = false;
  {
    const std::lock_guard lock(mutex_);
    shutdown = shutdown_;
    older = std::exchange(links_[agent_id], link);
  }
  log::Info(fmt::format("ingest: {}: connected{}", agent_id, older ? ", its older stream ends" : ""));
  if (older) older->Abort(grpc::Status(grpc::StatusCode::ABORTED, "replaced by a newer stream of the same agent"));
  if (shutdown) link->Abort(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the collector is stopping"));
}

void IngestService::Unregister(const std::string& agent_id, const std::shared_ptr<Link>& link) {
  const std::lock_guard lock(mutex_);
  auto it = links_.find(agent_id);
  if (it == links_.end() || it->second != link) return;
  links_.erase(it);
  log::Info(fmt::format("ingest: {}: disconnected", agent_id));
}

void IngestService::Shutdown() {
  std::vector<std::shared_ptr<Link>> links;
  {
    const std::lock_guard lock(mutex_);
    shutdown_ = true;
    for (const auto& [agent_id, link] : links_) links.push_back(link);
  }
  for (const auto& link : links)
    link->FinishAfterAnswers(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the collector is stopping"));
}

std::vector<IngestAgent> IngestService::Agents() const {
  std::vector<IngestAgent> agents = committer_->Agents();
  const std::lock_guard lock(mutex_);
  for (IngestAgent& agent : agents) agent.connected = links_.contains(agent.agent_id);
  return agents;
}

IngestTotals IngestService::Totals() const {
  IngestTotals totals = committer_->Totals();
  totals.receipts = receipts_->issued();
  const std::lock_guard lock(mutex_);
  totals.streams = links_.size();
  return totals;
}

}  // namespace nodetrail::collector
