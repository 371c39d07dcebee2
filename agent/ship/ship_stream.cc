// SPDX-License-Identifier: Apache-2.0
#include "agent/ship/ship_stream.h"

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <mutex>
#include <utility>

#include "nodetrail/ingest/v1/ingest.grpc.pb.h"
#include "nodetrail/trail/receipt.h"

namespace nodetrail::agent {
namespace {

// A receipt and its frame; a collector that sends more is not one of ours.
constexpr int kMaxAnswerBytes = static_cast<int>(trail::kMaxReceiptBytes) + 64 * 1024;
// Answers waiting for the ship thread, number and bytes; above it we stop reading.
constexpr size_t kMaxQueuedEvents = 256;
constexpr size_t kMaxQueuedBytes = 4U << 20;

std::shared_ptr<grpc::Channel> MakeChannel(const ShipEndpoint& to, const TlsMaterial& tls,
                                           const std::shared_ptr<Peer>& peer) {
  grpc::ChannelArguments args;
  if (!to.server_name.empty()) args.SetSslTargetNameOverride(to.server_name);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(to.keepalive.count()));
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, static_cast<int>(to.keepalive_timeout.count()));
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, static_cast<int>(to.connect_timeout.count()));
  args.SetInt(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, kMaxAnswerBytes);
  args.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // Each attempt is a connection of its own, with the certificates of now:
  // none is shared or kept by gRPC. No proxy from the environment either.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetServiceConfigJSON("{}");
  args.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  return grpc::CreateCustomChannel(to.endpoint, PeerCredentials(tls, peer), args);
}

}  // namespace

// A hold keeps the call alive while the ship thread may still write; it is
// let go once reading has ended, and then gRPC says how the call ended.
class ShipStream::Call final : public grpc::ClientBidiReactor<ingest::v1::ClientMessage, ingest::v1::ServerMessage> {
 public:
  Call(const ShipEndpoint& endpoint, const TlsMaterial& tls, PeerCheck check, std::function<void()> wake)
      : wake_(std::move(wake)),
        peer_(std::make_shared<Peer>(std::move(check))),
        channel_(MakeChannel(endpoint, tls, peer_)),
        stub_(ingest::v1::Ingest::NewStub(channel_)) {
    stub_->async()->Stream(&context_, this);
    AddHold();
    StartRead(&incoming_);
    StartCall();
  }

  bool Write(ingest::v1::ClientMessage message) {
    const std::lock_guard lock(mutex_);
    if (writing_ || released_ || half_closed_) return false;
    outgoing_ = std::move(message);
    writing_ = true;
    StartWrite(&outgoing_);
    return true;
  }

  void HalfClose() {
    const std::lock_guard lock(mutex_);
    if (released_ || half_closed_) return;
    half_closed_ = true;
    StartWritesDone();
  }

  [[nodiscard]] const Peer& peer() const { return *peer_; }

  std::vector<ShipEvent> Take() {
    const std::lock_guard lock(mutex_);
    std::vector<ShipEvent> events = std::exchange(events_, {});
    queued_bytes_ = 0;
    if (paused_) {
      paused_ = false;
      StartRead(&incoming_);
    }
    return events;
  }

  void CancelAndWait() {
    context_.TryCancel();
    std::unique_lock lock(mutex_);
    if (paused_) Release();  // no read is under way that would end
    done_cv_.wait(lock, [this] { return done_; });
  }

  // The owner may destroy us once a later callback has set done_, so these
  // touch nothing after the lock is gone: wake_ is called under it.
  void OnReadDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    if (!ok) {
      Release();
      return;
    }
    ShipEvent event;
    event.message = std::move(incoming_);
    incoming_ = {};
    queued_bytes_ += event.message.ByteSizeLong();
    events_.push_back(std::move(event));
    if (events_.size() < kMaxQueuedEvents && queued_bytes_ < kMaxQueuedBytes) {
      StartRead(&incoming_);
    } else {
      paused_ = true;
    }
    wake_();
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    outgoing_ = {};
    if (!ok) return;  // the read ends too, and says why
    ShipEvent event;
    event.kind = ShipEvent::Kind::kWritten;
    events_.push_back(std::move(event));
    wake_();
  }

  void OnDone(const grpc::Status& status) override {
    const std::lock_guard lock(mutex_);
    ShipEvent event;
    event.kind = ShipEvent::Kind::kClosed;
    event.status = status.ok() ? OkStatus() : Status(static_cast<Code>(status.error_code()), status.error_message());
    events_.push_back(std::move(event));
    done_ = true;
    wake_();
    done_cv_.notify_all();
  }

 private:
  void Release() {
    if (released_) return;
    released_ = true;
    paused_ = false;
    RemoveHold();
  }

  std::function<void()> wake_;
  const std::shared_ptr<Peer> peer_;
  grpc::ClientContext context_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<ingest::v1::Ingest::Stub> stub_;

  std::mutex mutex_;
  std::condition_variable done_cv_;
  ingest::v1::ServerMessage incoming_;
  ingest::v1::ClientMessage outgoing_;
  std::vector<ShipEvent> events_;
  size_t queued_bytes_ = 0;
  bool writing_ = false;
  bool half_closed_ = false;
  bool paused_ = false;    // the queue is full, no read is under way
  bool released_ = false;  // the hold is gone: nothing may be started any more
  bool done_ = false;
};

ShipStream::ShipStream(const ShipEndpoint& endpoint, const TlsMaterial& tls, PeerCheck check,
                       std::function<void()> wake)
    : call_(std::make_unique<Call>(endpoint, tls, std::move(check), std::move(wake))) {}

ShipStream::~ShipStream() { call_->CancelAndWait(); }

bool ShipStream::Write(ingest::v1::ClientMessage message) { return call_->Write(std::move(message)); }

void ShipStream::HalfClose() { call_->HalfClose(); }

std::vector<ShipEvent> ShipStream::Take() { return call_->Take(); }

Status ShipStream::refusal() const { return call_->peer().refusal(); }

Status ShipStream::CheckAgain() const { return call_->peer().CheckAgain(); }

}  // namespace nodetrail::agent
