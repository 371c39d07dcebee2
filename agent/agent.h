// SPDX-License-Identifier: Apache-2.0
//
// The agent's composition root: makes the stages, joins them, runs them and
// stops them in order. The only place that sees them all.
//
// Threads: main (signals, status, watchdog) · pipeline (rings to spool, owns
// its state, no mutex) · ship · lookup (names).
#ifndef NODETRAIL_AGENT_AGENT_H_
#define NODETRAIL_AGENT_AGENT_H_

#include <memory>
#include <string>
#include <vector>

#include "nodetrail/base/notify.h"
#include "nodetrail/base/status.h"
#include "nodetrail/config/v1/config.pb.h"
#include "nodetrail/trail/crypto.h"

namespace nodetrail::agent {

struct AgentOptions {
  config::v1::AgentConfig config;  // validated
  std::string config_file;         // where it came from
  trail::Hash config_sha256{};     // of the effective configuration
  std::vector<InheritedFd> inherited;
};

// Why the process ends, and what it tells its supervisor.
struct Failure {
  ExitCode code = ExitCode::kOk;
  Status status;
};

// Owner and thread: main.
class Agent {
 public:
  // Opens keys, spool, kernel and status socket, in this order, so that a
  // failure names the first thing that is wrong. Then nothing is left open.
  static std::unique_ptr<Agent> Create(AgentOptions options, Failure* failure);
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // Starts the threads, says READY, and serves until `signal_fd` (a signalfd
  // with SIGTERM, SIGINT, SIGHUP) asks to stop or a stage fails. Then drains,
  // seals a clean shutdown and ships what it can: at most 10 s.
  Failure Run(int signal_fd);

 private:
  class Impl;
  explicit Agent(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_AGENT_H_
