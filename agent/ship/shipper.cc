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
#include "nodetrail/base/guard.h"
#include "nodetrail/base/log.h"
#include "nodetrail/base/revocation.h"
#include "nodetrail/base/tls_files.h"
#include "nodetrail/trail/merkle.h"
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
// Where the configuration says nothing.
constexpr milliseconds kReceiptTimeout{60'000};
constexpr size_t kReceiptWindow = 512;

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
    case ShipState::kAlarm: return "alarm";
  }
  return "unknown";
}

std::optional<Release> ParseRelease(std::string_view word) {
  if (word == "durable") return Release::kDurable;
  if (word == "logged") return Release::kLogged;
  if (word == "witnessed") return Release::kWitnessed;
  return std::nullopt;
}

class Shipper::Impl {
 public:
  Impl(ShipOptions options, BatchSource* source, const Clock* clock)
      : options_(std::move(options)),
        source_(source),
        clock_(clock),
        random_(std::random_device{}()),
        revocations_(std::make_shared<RevocationFile>(options_.config.crl_file(), options_.config.tls().ca_file())) {
    if (!options_.config.endpoint().empty()) endpoints_.push_back(options_.config.endpoint());
    endpoints_.insert(endpoints_.end(), options_.config.endpoints().begin(), options_.config.endpoints().end());
    NT_CHECK(!endpoints_.empty());
    const auto release = ParseRelease(options_.config.release());
    if (options_.log_watch != nullptr) release_ = release.value_or(Release::kLogged);
    else NT_CHECK(release.value_or(Release::kDurable) == Release::kDurable);
    stats_.endpoint = endpoints_.front();
    if (options_.log_watch != nullptr) stats_.log_size = options_.log_watch->seen().size;
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

  std::vector<SpoolUnread> TakeUnread() {
    const std::lock_guard lock(mutex_);
    return std::exchange(unread_, {});
  }

 private:
  // How a connection ended.
  enum class End {
    kDone,    // stopping, and nothing is left or time is up
    kFailed,  // try again after a backoff
    kAgain,   // try again at once
    kHalted,  // the collector refuses our oldest batch
    kAlarm,   // its log contradicts itself
  };
  // Sent, not durable yet; then durable, without its receipt.
  struct InFlight {
    BatchPosition position;
    trail::Hash batch_hash{};
    trail::Hash leaf_hash{};
    uint64_t bytes = 0;
    uint64_t sealed_wall_ns = 0;
    uint64_t log_index = 0;               // once durable
    bool released = false;                // has the receipt that it waited for
    bool kept = false;                    // beside the log: released once a later one is
    std::optional<SpoolUnread> unread{};  // before it; until it is durable
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
      SetState(end == End::kHalted  ? ShipState::kHalted
               : end == End::kAlarm ? ShipState::kAlarm
                                    : ShipState::kConnecting);
      if (end == End::kAgain && progress_) continue;
      // Another collector may do what this one does not; one that works is kept.
      if (!progress_) endpoint_ = (endpoint_ + 1) % endpoints_.size();
      if (!Backoff(end, failures++ / static_cast<unsigned>(endpoints_.size()))) break;
    }
    SetState(ShipState::kIdle);
  }

  // Waits out the backoff. False: stopping, and time is up or nothing is left.
  bool Backoff(End end, unsigned failures) {
    const milliseconds cap{static_cast<int64_t>(options_.config.max_backoff_s()) * 1000};
    milliseconds wait = cap;
    const bool refused = end == End::kHalted || end == End::kAlarm;
    if (!refused) {
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
    if (refused || !source_->Oldest()) return false;
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
      stats_.endpoint = Endpoint();
    }
    const config::v1::Tls& tls = options_.config.tls();
    Result<TlsMaterial> material = LoadTlsFiles({tls.ca_file(), tls.cert_file(), tls.key_file()}, clock_->WallNs());
    if (!material.ok()) return Fail(fmt::format("{}: not connected: {}", Endpoint(), material.status().message()));

    ShipEndpoint to;
    to.endpoint = Endpoint();
    to.server_name = options_.config.server_name();
    to.connect_timeout = options_.welcome_timeout;
    if (options_.config.keepalive_s() > 0) to.keepalive = std::chrono::seconds(options_.config.keepalive_s());
    if (options_.config.keepalive_timeout_s() > 0) {
      to.keepalive_timeout = std::chrono::seconds(options_.config.keepalive_timeout_s());
    }
    revocations_seen_ = revocations_->Generation();
    CollectorRule rule;
    rule.endpoint = to.endpoint;
    rule.server_name = to.server_name;
    rule.collector_id = options_.config.collector_id();
    rule.tenant = options_.tenant;
    stream_ = std::make_unique<ShipStream>(
        to, *material, CollectorPeerCheck(std::move(rule), material->cert_pem, revocations_, clock_),
        [this] { Wake(); });
    source_->Rewind();
    ingest::v1::ClientMessage hello;
    hello.mutable_hello()->set_protocol_version(1);
    hello.mutable_hello()->set_tenant(options_.tenant);
    hello.mutable_hello()->set_agent_id(options_.agent_id);
    hello.mutable_hello()->set_receipts(options_.log_watch != nullptr);
    if (const auto oldest = source_->Oldest()) {
      hello.mutable_hello()->set_epoch(oldest->epoch);
      hello.mutable_hello()->set_seq(oldest->seq);
    }
    stream_->Write(std::move(hello));
    writing_ = true;
    welcomed_ = false;
    held_.reset();
    gaps_.clear();
    deadline_ = Steady::now() + options_.welcome_timeout;

    for (;;) {
      for (ShipEvent& event : stream_->Take()) {
        if (const std::optional<End> end = Handle(event, *material)) {
          FlushAck();
          return *end;
        }
      }
      if (!FlushAck()) return End::kFailed;
      // Replaced while we are connected: the collector may be among the revoked.
      if (const uint64_t lists = revocations_->Generation(); lists != revocations_seen_) {
        revocations_seen_ = lists;
        if (const Status good = stream_->CheckAgain(); !good.ok()) {
          return Fail(fmt::format("connection dropped: {}", good.message()));
        }
      }
      if (answered_) PublishInFlight();
      if (welcomed_ && !SendNext()) return HoldsAnother(held_->at);
      if (StopOver()) return End::kDone;
      // What is left is what the spool holds, not what was handed to the stream:
      // a write that found the stream closed took its batch with it.
      if (welcomed_ && Stopping() && in_flight_.empty() && !writing_ && !source_->Oldest()) return End::kDone;
      if (Steady::now() >= deadline_) return TimedOut();
      if (Steady::now() >= receipt_deadline_) return WithoutReceipt();
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
    if (message.has_ack() && welcomed_) {
      return message.ack().level() == ingest::v1::ACK_LEVEL_LOGGED ? Logged(message.ack()) : Acked(message.ack());
    }
    if (message.has_nack() && welcomed_) return Nacked(message.nack());
    return Fail(fmt::format("{}: the collector broke the protocol; do the versions fit?", Endpoint()));
  }

  std::optional<End> Welcomed(const ingest::v1::Welcome& welcome) {
    welcomed_ = true;
    const BatchPosition at{welcome.epoch(), welcome.seq()};
    if (welcome.known()) {
      const std::optional<trail::Hash> hash = trail::HashFromBytes(welcome.batch_hash());
      if (!hash) return Fail(fmt::format("{}: Welcome without a batch hash; do the versions fit?", Endpoint()));
      // Without a receipt nothing may go: what it holds is sent again, leaf only,
      // and compared on the way.
      held_ = Held{at, *hash};
      gaps_ = GapsOf(welcome);
      // What it lacks may be here: then it does not go on the Welcome's word.
      const bool resumes = release_ == Release::kDurable && !Wanted();
      const Status resumed = resumes ? source_->ResumeAfter(at, *hash) : NotFound("");
      if (resumed.code() == Code::kFailedPrecondition) {
        return HoldsAnother(at);
      }
      if (!resumed.ok() && resumed.code() != Code::kNotFound) {
        return Fail(fmt::format("{}: acknowledge in the spool: {}", Endpoint(), resumed.message()));
      }
      if (resumed.ok()) progress_ = true;
    }
    if (released_ && (!welcome.known() || at < *released_)) LostReceipted(at, *released_);
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
    const bool kept = ack.level() == ingest::v1::ACK_LEVEL_KEPT && !NT_GUARD(ship_kept_unasked, !Lacks(at));
    if (in_flight_.empty() || in_flight_.front().position != at ||
        ack.batch_hash() != trail::View(in_flight_.front().batch_hash) ||
        (!kept && ack.level() != ingest::v1::ACK_LEVEL_DURABLE)) {
      {
        const std::lock_guard lock(mutex_);
        ++stats_.bad_acks;
      }
      return Fail(fmt::format("{}: the collector acknowledged {}, which is not what we sent; nothing is deleted",
                              Endpoint(), PositionText(at)));
    }
    InFlight batch = std::move(in_flight_.front());
    if (const auto unread = std::exchange(batch.unread, std::nullopt)) NoteUnread(*unread);
    durable_through_ = std::max(durable_through_, at);
    const uint64_t bytes = batch.bytes;
    in_flight_.pop_front();
    in_flight_bytes_ -= bytes;
    if (release_ == Release::kDurable) to_ack_ = at;
    if (options_.log_watch != nullptr) {
      batch.log_index = ack.log_index();
      batch.kept = kept;
      if (awaited_.empty()) receipt_deadline_ = Steady::now() + ReceiptTimeout();
      // Kept ones get no receipt, and must not fill the window.
      if (kept && !awaited_.empty() && awaited_.back().kept) awaited_.pop_back();
      awaited_.push_back(batch);
      // Whoever deletes without receipts does not wait for them either.
      if (release_ == Release::kDurable && awaited_.size() > ReceiptWindow()) awaited_.pop_front();
    }
    progress_ = answered_ = true;
    ResetDeadline();
    {
      const std::lock_guard lock(mutex_);
      ++stats_.acked_batches;
      if (kept) ++stats_.late_batches;
      stats_.acked_bytes += bytes;
      stats_.last_acked = at;
      stats_.last_ack_wall_ns = clock_->WallNs();
    }
    return std::nullopt;
  }

  // The log goes on behind what the spool could not read: now it is a loss. By
  // our own knowledge only: on the Welcome's word alone a collector could have
  // what it dropped excused. Not what it took before the disk failed; a later
  // pass over the same range is below that, too.
  void NoteUnread(const SpoolUnread& range) {
    const BatchPosition from{range.epoch, range.seq_from};
    if (from <= durable_through_ || (held_ && from <= held_->at && !Lacks(from))) return;
    const std::lock_guard lock(mutex_);
    stats_.unread_batches += range.seq_to - range.seq_from + 1;
    unread_.push_back(range);
  }

  // A receipt: verified before anything rests on it.
  std::optional<End> Logged(const ingest::v1::Ack& ack) {
    const BatchPosition at{ack.epoch(), ack.seq()};
    const auto batch = std::find_if(awaited_.begin(), awaited_.end(),
                                    [&](const InFlight& b) { return b.position == at && !b.released; });
    const bool forgotten = release_ == Release::kDurable && batch == awaited_.end();
    if (forgotten && options_.log_watch != nullptr) return std::nullopt;
    if (batch == awaited_.end() || ack.batch_hash() != trail::View(batch->batch_hash) ||
        ack.log_index() != batch->log_index) {
      {
        const std::lock_guard lock(mutex_);
        ++stats_.bad_acks;
      }
      return Fail(
          fmt::format("{}: the collector gave a receipt for {}, which does not wait for one, or is another "
                      "batch; nothing is deleted",
                      Endpoint(), PositionText(at)));
    }
    const LogWatch::Outcome outcome = options_.log_watch->Take(batch->leaf_hash, ack.log_index(), ack.proof());
    switch (outcome.kind) {
      case LogWatch::Outcome::Kind::kHolds: break;
      case LogWatch::Outcome::Kind::kDisk: return Fail(fmt::format("{}: {}", Endpoint(), outcome.text));
      case LogWatch::Outcome::Kind::kBad:
        return Alarm(End::kFailed, &ShipStats::bad_receipts,
                     fmt::format("{}: bad receipt for batch {}: {}", Endpoint(), PositionText(at), outcome.text));
      case LogWatch::Outcome::Kind::kAlarm:
        return Alarm(End::kAlarm, &ShipStats::log_alarms, fmt::format("{}: {}", Endpoint(), outcome.text));
    }
    {
      const std::lock_guard lock(mutex_);
      ++(outcome.quorum ? stats_.receipts : stats_.unwitnessed_receipts);
      stats_.log_size = options_.log_watch->seen().size;
    }
    if (release_ == Release::kWitnessed && !outcome.quorum) {
      shortfall_ = outcome.shortfall;
      receipt_deadline_ = std::min(receipt_deadline_, Steady::now() + options_.unwitnessed_retry);
      return std::nullopt;
    }
    batch->released = answered_ = true;
    while (!awaited_.empty() && (awaited_.front().released || ShowsAsHole())) {
      if (release_ != Release::kDurable && !lost_receipted_) to_ack_ = released_ = awaited_.front().position;
      awaited_.pop_front();
      receipt_deadline_ = Steady::now() + ReceiptTimeout();
      shortfall_.clear();
    }
    if (awaited_.empty()) receipt_deadline_ = Steady::time_point::max();
    return std::nullopt;
  }

  // The first was kept beside the log, and the log provably has what follows
  // it: the trail shows a hole there, whatever becomes of what was kept.
  [[nodiscard]] bool ShowsAsHole() const {
    const bool follows = std::any_of(awaited_.begin(), awaited_.end(), [](const InFlight& b) { return b.released; });
    return awaited_.front().kept && !NT_GUARD(ship_kept_unproven, !follows);
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
    if (const Status refused = stream_->refusal(); !welcomed_ && !refused.ok()) {
      return Fail(fmt::format("not connected: {}", refused.message()));
    }
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

  // False: the collector holds another batch than ours where we both have one.
  bool SendNext() {
    while (!writing_) {
      if (!next_) next_ = source_->Next();
      if (!next_) break;
      // The collector takes it whatever came before: so what was sent before must
      // be in, or it would be passed over for good.
      if (!in_flight_.empty() && (next_->after_hole || declared_hole_ == next_->position)) break;
      const bool held = held_ && next_->position <= held_->at && !Lacks(next_->position);
      if (held_ && next_->position == held_->at && next_->batch_hash != held_->batch_hash) {
        return false;
      }
      // The collector has the body: its leaf alone asks for the receipt.
      if (held) {
        next_->body.clear();
        next_->eviction.clear();
      }
      const uint64_t bytes = next_->leaf.size() + next_->body.size() + next_->eviction.size();
      if (release_ != Release::kDurable && awaited_.size() + in_flight_.size() >= ReceiptWindow()) break;
      // One batch always fits, whatever its size.
      if (!in_flight_.empty() && (in_flight_.size() >= options_.config.window_batches() ||
                                  in_flight_bytes_ + bytes > options_.config.window_bytes())) {
        break;
      }
      ShipBatch batch = *std::exchange(next_, std::nullopt);
      InFlight sent;
      sent.position = batch.position;
      sent.batch_hash = batch.batch_hash;
      sent.unread = std::move(batch.unread);
      if (options_.log_watch != nullptr) sent.leaf_hash = trail::LeafHash(batch.leaf);
      sent.bytes = bytes;
      sent.sealed_wall_ns = SealedWallNs(batch.leaf);
      ingest::v1::ClientMessage message;
      ingest::v1::Frame* frame = message.mutable_frame();
      frame->set_leaf(std::move(batch.leaf));
      frame->set_body(std::move(batch.body));
      frame->set_eviction(std::move(batch.eviction));
      frame->set_after_hole(batch.after_hole || declared_hole_ == batch.position);
      if (!stream_->Write(std::move(message))) break;  // closed: the event is on its way
      writing_ = true;
      if (in_flight_.empty()) deadline_ = Steady::now() + options_.ack_timeout;
      in_flight_.push_back(std::move(sent));
      in_flight_bytes_ += bytes;
      {
        const std::lock_guard lock(mutex_);
        ++stats_.sent_batches;
        stats_.sent_bytes += bytes;
      }
      PublishInFlight();
    }
    return true;
  }

  // What the collector lacks: positions between two that it has.
  struct Gap {
    BatchPosition before;
    BatchPosition after;
  };
  static std::vector<Gap> GapsOf(const ingest::v1::Welcome& welcome) {
    std::vector<Gap> gaps;
    for (const ingest::v1::Gap& gap : welcome.gaps()) {
      gaps.push_back({{gap.before_epoch(), gap.before_seq()}, {gap.after_epoch(), gap.after_seq()}});
    }
    return gaps;
  }
  [[nodiscard]] bool Lacks(const BatchPosition& at) const {
    return std::any_of(gaps_.begin(), gaps_.end(),
                       [&](const Gap& gap) { return (gap.before.epoch == 0 || gap.before < at) && at < gap.after; });
  }
  // Something of that may be in the spool.
  [[nodiscard]] bool Wanted() {
    const std::optional<BatchPosition> oldest = source_->Oldest();
    return oldest && std::any_of(gaps_.begin(), gaps_.end(), [&](const Gap& gap) { return *oldest < gap.after; });
  }

  void ResetDeadline() {
    deadline_ = in_flight_.empty() ? Steady::time_point::max() : Steady::now() + options_.ack_timeout;
  }

  void ClearInFlight() {
    in_flight_.clear();
    awaited_.clear();
    shortfall_.clear();
    receipt_deadline_ = Steady::time_point::max();
    in_flight_bytes_ = 0;
    next_.reset();
    to_ack_.reset();
    PublishInFlight();
  }

  // The age of what waits stays known while nothing is in flight. The spool
  // may be busy syncing: it is asked before the lock is taken.
  void PublishInFlight() {
    answered_ = false;
    const bool waits = !in_flight_.empty() || source_->Oldest().has_value();
    const std::lock_guard lock(mutex_);
    stats_.in_flight_batches = in_flight_.size();
    stats_.in_flight_bytes = in_flight_bytes_;
    stats_.awaiting_receipts = awaited_.size();
    if (release_ != Release::kDurable && !awaited_.empty()) {
      stats_.oldest_unacked_wall_ns = awaited_.front().sealed_wall_ns;
    } else if (!in_flight_.empty()) {
      stats_.oldest_unacked_wall_ns = in_flight_.front().sealed_wall_ns;
    } else if (!waits) {
      stats_.oldest_unacked_wall_ns = 0;
    }
  }

  void WaitForWork() {
    std::unique_lock lock(mutex_);
    Steady::time_point until = std::min({deadline_, receipt_deadline_, Steady::now() + kIdlePoll});
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

  End HoldsAnother(const BatchPosition& at) {
    return Halt(
        fmt::format("{}: the collector holds another batch {} of this agent than ours: two agents with one "
                    "identity, or a restored disk; nothing more is sent",
                    Endpoint(), PositionText(at)));
  }

  // Counted, and kept for whoever asks, whatever comes after it.
  End Alarm(End end, uint64_t ShipStats::*counter, const std::string& text) {
    {
      const std::lock_guard lock(mutex_);
      ++(stats_.*counter);
      stats_.alarm = text;
      stats_.alarm_wall_ns = clock_->WallNs();
    }
    if (SetError(text)) log::Error(fmt::format("ship: ALARM: {}; nothing is deleted", text));
    return end;
  }

  // What a receipt proved to be in the log is not there any more. The batches
  // after it are sent all the same, evidence of what is missing, and kept.
  void LostReceipted(const BatchPosition& at, const BatchPosition& receipted) {
    lost_receipted_ = true;
    (void)Alarm(
        End::kAlarm, &ShipStats::log_alarms,
        fmt::format("{}: the collector holds batches up to {} only, its log gave a receipt for {}: it was cut, "
                    "or restored from a backup; stop it, keep its trail, run nodetrail verify on it, and restart "
                    "the agent once that is settled",
                    Endpoint(), PositionText(at), PositionText(receipted)));
  }

  End WithoutReceipt() {
    const std::string first = awaited_.empty() ? std::string("-") : PositionText(awaited_.front().position);
    if (!shortfall_.empty()) {
      return Fail(
          fmt::format("{}: batch {} has a receipt without the quorum of ship.log_policy_file: {}; check those "
                      "witnesses, or set ship.release: logged; batches stay in the spool",
                      Endpoint(), first, shortfall_));
    }
    return Fail(
        fmt::format("{}: no receipt for batch {} within {} s: the collector signs no checkpoint; its log says "
                    "why; batches stay in the spool",
                    Endpoint(), first, ReceiptTimeout().count() / 1000));
  }

  [[nodiscard]] milliseconds ReceiptTimeout() const {
    const uint32_t seconds = options_.config.receipt_timeout_s();
    return seconds == 0 ? kReceiptTimeout : milliseconds(int64_t{seconds} * 1000);
  }
  [[nodiscard]] size_t ReceiptWindow() const {
    const uint32_t batches = options_.config.receipt_window_batches();
    return batches == 0 ? kReceiptWindow : batches;
  }

  const std::string& Endpoint() const { return endpoints_[endpoint_]; }

  const ShipOptions options_;
  BatchSource* const source_;
  const Clock* const clock_;

  std::vector<std::string> endpoints_;  // at least one
  Release release_ = Release::kDurable;

  // Ship thread only.
  std::mt19937_64 random_;
  const std::shared_ptr<RevocationFile> revocations_;  // outlives the stream
  uint64_t revocations_seen_ = 0;
  size_t endpoint_ = 0;  // of endpoints_
  std::unique_ptr<ShipStream> stream_;
  std::deque<InFlight> in_flight_;
  uint64_t in_flight_bytes_ = 0;
  BatchPosition durable_through_;  // the newest that was acknowledged
  std::deque<InFlight> awaited_;   // in the order of the chain
  std::string shortfall_;          // why a receipt of awaited_ does not suffice
  struct Held {
    BatchPosition at;
    trail::Hash batch_hash{};
  };
  std::optional<Held> held_;               // what the Welcome says
  std::vector<Gap> gaps_;                  // likewise
  std::optional<BatchPosition> released_;  // the last batch that a receipt let go
  bool lost_receipted_ = false;            // the collector lost some of those; for good, somebody must look
  std::optional<ShipBatch> next_;          // read, but the window was full
  std::optional<BatchPosition> to_ack_;
  std::optional<BatchPosition> declared_hole_;
  Steady::time_point deadline_;
  Steady::time_point receipt_deadline_ = Steady::time_point::max();
  bool writing_ = false;
  bool welcomed_ = false;
  bool progress_ = false;  // this connection moved something
  bool answered_ = false;  // the stats do not tell yet

  mutable std::mutex mutex_;
  std::condition_variable cv_;
  bool wake_ = false;
  std::optional<Steady::time_point> stop_at_;
  ShipStats stats_;
  std::vector<SpoolUnread> unread_;
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
std::vector<SpoolUnread> Shipper::TakeUnread() { return impl_->TakeUnread(); }

}  // namespace nodetrail::agent
