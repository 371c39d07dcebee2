// SPDX-License-Identifier: Apache-2.0
#include "agent/ship/shipper.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>

#include "agent/ship/ship_stream.h"
#include "nodetrail/base/log.h"
#include "nodetrail/base/tls_files.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::agent {
namespace {

using std::chrono::milliseconds;
using Steady = std::chrono::steady_clock;

// The spool is looked at this often even if nobody calls Notify.
constexpr milliseconds kIdlePoll{1000};
// While stopping, a refused connection is tried again this soon.
constexpr milliseconds kStopBackoff{200};
constexpr milliseconds kProbeTimeout{2000};

std::string PositionText(const BatchPosition& p) { return fmt::format("{}:{}", p.epoch, p.seq); }

// 0 if the leaf can't be read: it is our own, and only a metric depends on it.
uint64_t SealedWallNs(const std::string& leaf) {
  trail::v1::SignedHeader signed_header;
  trail::v1::BatchHeader header;
  if (!signed_header.ParseFromString(leaf) || !header.ParseFromString(signed_header.header())) return 0;
  return header.sealed_wall_ns();
}

}  // namespace

std::string_view ShipStateName(ShipState state) {
  switch (state) {
    case ShipState::kIdle: return "idle";
    case ShipState::kConnecting: return "connecting";
    case ShipState::kConnected: return "connected";
    case ShipState::kHalted: return "halted";
  }
  return "unknown";
}

class Shipper::Impl {
 public:
  Impl(ShipOptions options, BatchSource* source, const Clock* clock)
      : options_(std::move(options)), source_(source), clock_(clock), random_(std::random_device{}()) {
    stats_.endpoint = options_.config.endpoint();
  }

  void Start() {
    const std::lock_guard lock(mutex_);
    if (thread_.joinable() || stop_at_) return;
    stats_.state = ShipState::kConnecting;
    thread_ = std::jthread([this] { Run(); });
  }

  void Wake() {
    const std::lock_guard lock(mutex_);
    wake_ = true;
    cv_.notify_all();
  }

  Status Stop(milliseconds timeout) {
    {
      const std::lock_guard lock(mutex_);
      if (!stop_at_) stop_at_ = Steady::now() + timeout;
      wake_ = true;
      cv_.notify_all();
    }
    const std::lock_guard stop_lock(stop_mutex_);
    if (thread_.joinable()) thread_.join();
    if (!stop_result_) {
      const std::optional<BatchPosition> left = source_->Oldest();
      stop_result_ = left
                         ? Status(Code::kDeadlineExceeded,
                                  fmt::format("ship: stopped with batches from {} on not acknowledged; the spool keeps "
                                              "them",
                                              PositionText(*left)))
                         : OkStatus();
    }
    return *stop_result_;
  }

  ShipStats Stats() const {
    const std::lock_guard lock(mutex_);
    ShipStats out = stats_;
    out.connected = out.state == ShipState::kConnected;
    return out;
  }

 private:
  // How a connection ended.
  enum class End {
    kDone,    // stopping, and nothing is left or time is up
    kFailed,  // try again after a backoff
    kAgain,   // try again at once
    kHalted,  // the collector refuses our oldest batch
  };
  struct InFlight {
    BatchPosition position;
    trail::Hash batch_hash{};
    uint64_t bytes = 0;
    uint64_t sealed_wall_ns = 0;
  };

  void Run() {
    unsigned failures = 0;
    for (;;) {
      progress_ = false;
      const End end = RunConnection();
      stream_.reset();
      ClearInFlight();
      if (end == End::kDone || StopOver()) break;
      if (progress_) failures = 0;
      SetState(end == End::kHalted ? ShipState::kHalted : ShipState::kConnecting);
      if (end == End::kAgain && progress_) continue;
      if (!Backoff(end, failures++)) break;
    }
    SetState(ShipState::kIdle);
  }

  // Waits out the backoff. False: stopping, and time is up or nothing is left.
  bool Backoff(End end, unsigned failures) {
    const milliseconds cap{static_cast<int64_t>(options_.config.max_backoff_s()) * 1000};
    milliseconds wait = cap;
    if (end != End::kHalted) {
      const milliseconds ceiling =
          std::min(cap, milliseconds{options_.initial_backoff.count() << std::min(failures, 20U)});
      wait = milliseconds{std::uniform_int_distribution<int64_t>(0, ceiling.count())(random_)};
    }
    Steady::time_point until = Steady::now() + wait;
    {
      std::unique_lock lock(mutex_);
      cv_.wait_until(lock, until, [this] { return stop_at_.has_value(); });
      if (!stop_at_) return true;
    }
    if (end == End::kHalted || !source_->Oldest()) return false;
    std::unique_lock lock(mutex_);
    until = std::min({until, Steady::now() + kStopBackoff, *stop_at_});
    cv_.wait_until(lock, until, [] { return false; });
    return Steady::now() < *stop_at_;
  }

  End RunConnection() {
    if (Stopping() && !source_->Oldest()) return End::kDone;
    {
      const std::lock_guard lock(mutex_);
      ++stats_.attempts;
    }
    const config::v1::Tls& tls = options_.config.tls();
    Result<TlsMaterial> material = LoadTlsFiles({tls.ca_file(), tls.cert_file(), tls.key_file()}, clock_->WallNs());
    if (!material.ok()) return Fail(fmt::format("{}: not connected: {}", Endpoint(), material.status().message()));

    ShipEndpoint to{Endpoint(), options_.config.server_name(), options_.welcome_timeout};
    stream_ = std::make_unique<ShipStream>(to, *material, [this] { Wake(); });
    source_->Rewind();
    ingest::v1::ClientMessage hello;
    hello.mutable_hello()->set_protocol_version(1);
    hello.mutable_hello()->set_tenant(options_.tenant);
    hello.mutable_hello()->set_agent_id(options_.agent_id);
    if (const auto oldest = source_->Oldest()) {
      hello.mutable_hello()->set_epoch(oldest->epoch);
      hello.mutable_hello()->set_seq(oldest->seq);
    }
    stream_->Write(std::move(hello));
    writing_ = true;
    welcomed_ = false;
    deadline_ = Steady::now() + options_.welcome_timeout;

    for (;;) {
      for (ShipEvent& event : stream_->Take()) {
        if (const std::optional<End> end = Handle(event, *material)) {
          FlushAck();
          return *end;
        }
      }
      if (!FlushAck()) return End::kFailed;
      if (welcomed_) SendNext();
      if (StopOver()) return End::kDone;
      // What is left is what the spool holds, not what was handed to the stream:
      // a write that found the stream closed took its batch with it.
      if (welcomed_ && Stopping() && in_flight_.empty() && !writing_ && !source_->Oldest()) return End::kDone;
      if (Steady::now() >= deadline_) return TimedOut();
      WaitForWork();
    }
  }

  // nullopt: the connection goes on.
  std::optional<End> Handle(ShipEvent& event, const TlsMaterial& material) {
    switch (event.kind) {
      case ShipEvent::Kind::kWritten: writing_ = false; return std::nullopt;
      case ShipEvent::Kind::kClosed: return Closed(event.status, material);
      case ShipEvent::Kind::kMessage: break;
    }
    const ingest::v1::ServerMessage& message = event.message;
    if (message.has_welcome() && !welcomed_) return Welcomed(message.welcome());
    if (message.has_ack() && welcomed_) return Acked(message.ack());
    if (message.has_nack() && welcomed_) return Nacked(message.nack());
    return Fail(fmt::format("{}: the collector broke the protocol; do the versions fit?", Endpoint()));
  }

  std::optional<End> Welcomed(const ingest::v1::Welcome& welcome) {
    welcomed_ = true;
    const BatchPosition at{welcome.epoch(), welcome.seq()};
    if (welcome.known()) {
      const std::optional<trail::Hash> hash = trail::HashFromBytes(welcome.batch_hash());
      if (!hash) return Fail(fmt::format("{}: Welcome without a batch hash; do the versions fit?", Endpoint()));
      const Status resumed = source_->ResumeAfter(at, *hash);
      if (resumed.code() == Code::kFailedPrecondition) {
        return Halt(
            fmt::format("{}: the collector holds another batch {} of this agent than ours: two agents with one "
                        "identity, or a restored disk; nothing more is sent",
                        Endpoint(), PositionText(at)));
      }
      if (!resumed.ok() && resumed.code() != Code::kNotFound) {
        return Fail(fmt::format("{}: acknowledge in the spool: {}", Endpoint(), resumed.message()));
      }
      if (resumed.ok()) progress_ = true;
    }
    source_->Rewind();
    next_.reset();
    if (!source_->Oldest()) progress_ = true;
    ResetDeadline();
    {
      const std::lock_guard lock(mutex_);
      ++stats_.connects;
      stats_.state = ShipState::kConnected;
      stats_.last_error.clear();
    }
    log::Info(fmt::format("ship: connected to {}; it holds {}", Endpoint(),
                          welcome.known() ? PositionText(at) : std::string("nothing of this agent yet")));
    return std::nullopt;
  }

  std::optional<End> Acked(const ingest::v1::Ack& ack) {
    const BatchPosition at{ack.epoch(), ack.seq()};
    if (in_flight_.empty() || in_flight_.front().position != at ||
        ack.batch_hash() != trail::View(in_flight_.front().batch_hash) ||
        ack.level() != ingest::v1::ACK_LEVEL_DURABLE) {
      {
        const std::lock_guard lock(mutex_);
        ++stats_.bad_acks;
      }
      return Fail(fmt::format("{}: the collector acknowledged {}, which is not what we sent; nothing is deleted",
                              Endpoint(), PositionText(at)));
    }
    const uint64_t bytes = in_flight_.front().bytes;
    in_flight_.pop_front();
    in_flight_bytes_ -= bytes;
    to_ack_ = at;
    progress_ = true;
    ResetDeadline();
    {
      const std::lock_guard lock(mutex_);
      ++stats_.acked_batches;
      stats_.acked_bytes += bytes;
      stats_.last_acked = at;
      stats_.last_ack_wall_ns = clock_->WallNs();
    }
    return std::nullopt;
  }

  // Acknowledgements that arrived together cost the spool one write.
  bool FlushAck() {
    if (!to_ack_) return true;
    const BatchPosition at = *std::exchange(to_ack_, std::nullopt);
    const Status status = source_->Ack(at);
    PublishInFlight();
    if (status.ok()) return true;
    Fail(fmt::format("acknowledge {} in the spool: {}", PositionText(at), status.message()));
    return false;
  }

  std::optional<End> Nacked(const ingest::v1::Nack& nack) {
    const BatchPosition at{nack.epoch(), nack.seq()};
    switch (nack.reason()) {
      case ingest::v1::NACK_REASON_EXPECTED: {
        {
          const std::lock_guard lock(mutex_);
          ++stats_.nacks_expected;
        }
        const BatchPosition expected{nack.expected_epoch(), nack.expected_seq()};
        FlushAck();
        const std::optional<BatchPosition> oldest = source_->Oldest();
        if (oldest && expected < *oldest && declared_hole_ != oldest) {
          // It once acknowledged them, or they rotted here; either way they
          // are gone, and what follows is still evidence.
          declared_hole_ = oldest;
          const std::lock_guard lock(mutex_);
          ++stats_.holes_declared;
          log::Error(
              fmt::format("ship: {}: the collector asks for batch {}, the oldest here is {}: those between are "
                          "lost; was the collector restored from a backup? The trail will show the hole",
                          Endpoint(), PositionText(expected), PositionText(*oldest)));
          progress_ = true;
        }
        SetError(fmt::format("{}: the collector asks for batch {} first", Endpoint(), PositionText(expected)));
        return End::kAgain;
      }
      case ingest::v1::NACK_REASON_RETRY: {
        {
          const std::lock_guard lock(mutex_);
          ++stats_.nacks_retry;
        }
        progress_ = false;
        return Fail(
            fmt::format("{}: the collector can't store now: {}; batches stay in the spool", Endpoint(), nack.detail()));
      }
      case ingest::v1::NACK_REASON_REJECTED:
      case ingest::v1::NACK_REASON_EQUIVOCATION: {
        {
          const std::lock_guard lock(mutex_);
          ++stats_.rejected;
        }
        const bool twice = nack.reason() == ingest::v1::NACK_REASON_EQUIVOCATION;
        return Halt(fmt::format("{}: the collector refuses batch {}: {}{}; it is kept, nothing after it is sent",
                                Endpoint(), PositionText(at), twice ? "it holds another batch with this number: " : "",
                                nack.detail()));
      }
      default: return Fail(fmt::format("{}: a refusal of an unknown kind; do the versions fit?", Endpoint()));
    }
  }

  std::optional<End> Closed(const Status& status, const TlsMaterial& material) {
    if (Stopping() && in_flight_.empty() && !source_->Oldest()) return End::kDone;
    if (welcomed_ || status.code() != Code::kUnavailable) {
      const std::string_view cause = status.ok() ? "it closed the stream" : status.message();
      return Fail(
          fmt::format("{}: {}: {}", Endpoint(), welcomed_ ? "connection lost" : "the collector refuses us", cause));
    }
    // gRPC says only that the handshake failed. Look for ourselves.
    if (!Stopping()) {
      const Status probe = ProbeTls(Endpoint(), options_.config.server_name(), material, kProbeTimeout);
      if (!probe.ok()) return Fail(std::string(probe.message()));
    }
    return Fail(fmt::format("{}: not connected: {}", Endpoint(), status.message()));
  }

  End TimedOut() {
    if (!welcomed_) {
      return Fail(fmt::format("{}: no answer within {} ms; is something between that drops packets?", Endpoint(),
                              options_.welcome_timeout.count()));
    }
    return Fail(fmt::format("{}: no acknowledgement within {} ms; the connection is dropped", Endpoint(),
                            options_.ack_timeout.count()));
  }

  void SendNext() {
    while (!writing_) {
      if (!next_) next_ = source_->Next();
      if (!next_) break;
      // The collector takes it whatever came before: so what was sent before must
      // be in, or it would be passed over for good.
      if (!in_flight_.empty() && (next_->after_hole || declared_hole_ == next_->position)) break;
      const uint64_t bytes = next_->leaf.size() + next_->body.size() + next_->eviction.size();
      // One batch always fits, whatever its size.
      if (!in_flight_.empty() && (in_flight_.size() >= options_.config.window_batches() ||
                                  in_flight_bytes_ + bytes > options_.config.window_bytes())) {
        break;
      }
      ShipBatch batch = *std::exchange(next_, std::nullopt);
      InFlight sent{batch.position, batch.batch_hash, bytes, SealedWallNs(batch.leaf)};
      ingest::v1::ClientMessage message;
      ingest::v1::Frame* frame = message.mutable_frame();
      frame->set_leaf(std::move(batch.leaf));
      frame->set_body(std::move(batch.body));
      frame->set_eviction(std::move(batch.eviction));
      frame->set_after_hole(batch.after_hole || declared_hole_ == batch.position);
      if (!stream_->Write(std::move(message))) break;  // closed: the event is on its way
      writing_ = true;
      if (in_flight_.empty()) deadline_ = Steady::now() + options_.ack_timeout;
      in_flight_.push_back(sent);
      in_flight_bytes_ += bytes;
      {
        const std::lock_guard lock(mutex_);
        ++stats_.sent_batches;
        stats_.sent_bytes += bytes;
      }
      PublishInFlight();
    }
  }

  void ResetDeadline() {
    deadline_ = in_flight_.empty() ? Steady::time_point::max() : Steady::now() + options_.ack_timeout;
  }

  void ClearInFlight() {
    in_flight_.clear();
    in_flight_bytes_ = 0;
    next_.reset();
    to_ack_.reset();
    PublishInFlight();
  }

  // The age of what waits stays known while nothing is in flight. The spool
  // may be busy syncing: it is asked before the lock is taken.
  void PublishInFlight() {
    const bool waits = !in_flight_.empty() || source_->Oldest().has_value();
    const std::lock_guard lock(mutex_);
    stats_.in_flight_batches = in_flight_.size();
    stats_.in_flight_bytes = in_flight_bytes_;
    if (!in_flight_.empty()) {
      stats_.oldest_unacked_wall_ns = in_flight_.front().sealed_wall_ns;
    } else if (!waits) {
      stats_.oldest_unacked_wall_ns = 0;
    }
  }

  void WaitForWork() {
    std::unique_lock lock(mutex_);
    Steady::time_point until = std::min(deadline_, Steady::now() + kIdlePoll);
    if (stop_at_) until = std::min(until, *stop_at_);
    cv_.wait_until(lock, until, [this] { return wake_; });
    wake_ = false;
  }

  bool Stopping() const {
    const std::lock_guard lock(mutex_);
    return stop_at_.has_value();
  }
  bool StopOver() const {
    const std::lock_guard lock(mutex_);
    return stop_at_ && Steady::now() >= *stop_at_;
  }

  void SetState(ShipState state) {
    const std::lock_guard lock(mutex_);
    stats_.state = state;
  }

  // True if the error is another than the last one logged.
  bool SetError(const std::string& error) {
    const std::lock_guard lock(mutex_);
    stats_.last_error = error;
    stats_.last_error_wall_ns = clock_->WallNs();
    return std::exchange(logged_error_, error) != error;
  }

  End Fail(const std::string& error) {
    if (SetError(error)) log::Warn("ship: " + error);
    return End::kFailed;
  }

  End Halt(const std::string& error) {
    if (SetError(error)) log::Error("ship: " + error);
    return End::kHalted;
  }

  const std::string& Endpoint() const { return options_.config.endpoint(); }

  const ShipOptions options_;
  BatchSource* const source_;
  const Clock* const clock_;

  // Ship thread only.
  std::mt19937_64 random_;
  std::unique_ptr<ShipStream> stream_;
  std::deque<InFlight> in_flight_;
  uint64_t in_flight_bytes_ = 0;
  std::optional<ShipBatch> next_;  // read, but the window was full
  std::optional<BatchPosition> to_ack_;
  std::optional<BatchPosition> declared_hole_;
  Steady::time_point deadline_;
  bool writing_ = false;
  bool welcomed_ = false;
  bool progress_ = false;  // this connection moved something

  mutable std::mutex mutex_;
  std::condition_variable cv_;
  bool wake_ = false;
  std::optional<Steady::time_point> stop_at_;
  ShipStats stats_;
  std::string logged_error_;

  std::mutex stop_mutex_;
  std::optional<Status> stop_result_;
  std::jthread thread_;
};

Shipper::Shipper(ShipOptions options, BatchSource* source, const Clock* clock)
    : impl_(std::make_unique<Impl>(std::move(options), source, clock)) {}

Shipper::~Shipper() { impl_->Stop(milliseconds(0)).Ignore(); }

void Shipper::Start() { impl_->Start(); }
void Shipper::Notify() { impl_->Wake(); }
Status Shipper::Stop(milliseconds timeout) { return impl_->Stop(timeout); }
ShipStats Shipper::Stats() const { return impl_->Stats(); }

}  // namespace nodetrail::agent
