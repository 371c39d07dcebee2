// SPDX-License-Identifier: Apache-2.0
//
// The collector's composition root: opens the trail, joins ingest, sequencer,
// index and query, serves them over mutual TLS, and stops them in order.
//
// Threads: main (signals, watchdog) · gRPC's (never wait for the disk in
// ingest) · ingest (verifies, the only writer of the trail) · sequencer
// (checkpoints) · receipts · index.
#ifndef NODETRAIL_COLLECTOR_COLLECTOR_H_
#define NODETRAIL_COLLECTOR_COLLECTOR_H_

#include <chrono>
#include <memory>
#include <string>

#include "collector/ingest/ingest_view.h"
#include "collector/log/sequencer.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/config_loader.h"
#include "nodetrail/base/status.h"
#include "nodetrail/config/v1/config.pb.h"

namespace nodetrail::collector {

// What the schema can't say: ids, the origin, host:port. For LoadConfig.
void CheckConfig(const config::v1::CollectorConfig& config, ConfigReport& report);

// Why the collector does not start, and what it tells its supervisor.
struct Failure {
  ExitCode code = ExitCode::kOk;
  Status status;  // one line: the thing, the cause, the fix
};

// Owner and thread: main.
class Collector {
 public:
  // Opens keys, then the trail, then the port; serves when it returns. Null:
  // `failure` says why, and nothing is left open. `clock` outlives it.
  static std::unique_ptr<Collector> Start(const config::v1::CollectorConfig& config, const Clock* clock,
                                          Failure* failure);
  ~Collector();  // Stop(1 s)
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  // Ends streams, commits what was received, signs it, and closes, within
  // `timeout` plus the commit under way. Idempotent.
  void Stop(std::chrono::milliseconds timeout);

  [[nodiscard]] int port() const;
  [[nodiscard]] int enrol_port() const;  // 0: it does not enrol
  [[nodiscard]] const IngestView& ingest() const;
  [[nodiscard]] Sequencer::Head head() const;
  // One line for the service manager: leaves, streams, problems.
  [[nodiscard]] std::string StatusLine() const;
  // No checkpoint is signed any more, or storage takes nothing.
  [[nodiscard]] bool healthy() const;

 private:
  class Impl;
  explicit Collector(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_COLLECTOR_H_
