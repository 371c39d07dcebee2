// SPDX-License-Identifier: Apache-2.0
//
// Ship: takes sealed batches from the spool, sends them to the collector over
// mutual TLS, and acknowledges in the spool, so that it may delete them, those
// that are as safe as `release` asks: durable at the collector, or in its log
// as a receipt shows, or cosigned by witnesses too. Batches are kept nowhere
// else: after any failure it starts again from the oldest that the spool holds,
// and the collector knows duplicates.
//
// There is no way to ship without TLS. Certificates are read from their files
// at each connection attempt, so a renewed one is taken without a restart.
#ifndef NODETRAIL_AGENT_SHIP_SHIPPER_H_
#define NODETRAIL_AGENT_SHIP_SHIPPER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/ship/batch_source.h"
#include "agent/ship/log_watch.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"
#include "nodetrail/config/v1/config.pb.h"

namespace nodetrail::agent {

enum class ShipState {
  kIdle,        // not started, or stopped
  kConnecting,  // trying, or waiting to try again
  kConnected,   // Welcome received
  kHalted,      // the collector refuses the oldest batch; it is kept, tried again each max_backoff_s
  kAlarm,       // its log contradicts itself, or lost what it had; nothing is deleted, tried again as above
};

// "idle", "connecting", "connected", "halted", "alarm".
std::string_view ShipStateName(ShipState state);

struct ShipStats {
  ShipState state = ShipState::kIdle;
  bool connected = false;  // state is kConnected
  std::string endpoint;    // the one that is used, or tried, now
  // One line: endpoint, cause, fix. Empty once connected and nothing is wrong.
  std::string last_error;
  uint64_t last_error_wall_ns = 0;
  uint64_t attempts = 0;      // connections tried
  uint64_t connects = 0;      // of them, those that got a Welcome
  uint64_t sent_batches = 0;  // frames written, resent ones included
  uint64_t sent_bytes = 0;
  uint64_t acked_batches = 0;  // durable at the collector
  uint64_t acked_bytes = 0;
  uint64_t receipts = 0;              // that hold
  uint64_t bad_receipts = 0;          // that do not: each is an alarm
  uint64_t unwitnessed_receipts = 0;  // that hold, but without the policy's quorum
  uint64_t log_alarms = 0;            // the log contradicted itself, or lost what it had
  // The last alarm about log or receipts, in one line; it stays until the end of the process.
  std::string alarm;
  uint64_t alarm_wall_ns = 0;
  uint64_t awaiting_receipts = 0;  // durable batches without the receipt they wait for
  uint64_t log_size = 0;           // of the newest checkpoint that is valid under the whole policy
  uint64_t nacks_expected = 0;
  uint64_t nacks_retry = 0;
  uint64_t rejected = 0;        // Nacks REJECTED and EQUIVOCATION: each is an alarm
  uint64_t bad_acks = 0;        // acknowledgements that fit nothing we sent
  uint64_t holes_declared = 0;  // sent although the collector lacks batches before it, which we no longer have
  uint64_t late_batches = 0;    // that the collector keeps beside its log, which has what follows them
  uint64_t unread_batches = 0;  // that the spool could not read, and the collector went on without
  BatchPosition last_acked;     // epoch 0: none since start
  uint64_t last_ack_wall_ns = 0;
  uint64_t in_flight_batches = 0;
  uint64_t in_flight_bytes = 0;
  // When the oldest batch that waits for its acknowledgement was sealed; 0: none waits.
  uint64_t oldest_unacked_wall_ns = 0;
};

// What a batch must be before the spool may delete it.
enum class Release { kDurable, kLogged, kWitnessed };
// Of ship.release. Nothing: not one of its words.
std::optional<Release> ParseRelease(std::string_view word);

struct ShipOptions {
  config::v1::AgentConfig::Ship config;
  // Verifies receipts; outlives the Shipper. Null: none are asked for, and
  // config.release must be durable, or empty.
  LogWatch* log_watch = nullptr;
  std::string tenant;
  std::string agent_id;
  // Without Welcome, or with batches in flight and no acknowledgement for this
  // long, the connection counts as a black hole and is dropped.
  std::chrono::milliseconds welcome_timeout{10'000};
  std::chrono::milliseconds ack_timeout{30'000};
  // A receipt without the quorum that release asks for is asked for again after this.
  std::chrono::milliseconds unwitnessed_retry{10'000};
  // First step of the full-jitter exponential backoff; config.max_backoff_s caps it.
  std::chrono::milliseconds initial_backoff{200};
};

// Owner: the agent's composition root. One thread of its own ("ship"); the
// public methods may be called from any thread.
class Shipper {
 public:
  // `source` and `clock` outlive the Shipper. Reads no file yet: a bad
  // certificate is an error in Stats(), and shipping goes on trying.
  Shipper(ShipOptions options, BatchSource* source, const Clock* clock);
  ~Shipper();  // Stop(0)
  Shipper(const Shipper&) = delete;
  Shipper& operator=(const Shipper&) = delete;

  void Start();
  // The spool has something new. Cheap; from the pipeline thread after each append.
  void Notify();
  // Sends what is left until all is acknowledged or `timeout` is over, then
  // ends the thread. OK if nothing was left; else DeadlineExceeded, and the
  // spool keeps the rest. A second call returns the first one's result.
  Status Stop(std::chrono::milliseconds timeout);

  [[nodiscard]] ShipStats Stats() const;
  // Ranges that the collector lacks for good because the spool could not read
  // them, each once, since the last call: for agent.loss.
  std::vector<SpoolUnread> TakeUnread();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SHIP_SHIPPER_H_
