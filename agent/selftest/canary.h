// SPDX-License-Identifier: Apache-2.0
//
// A child process that does one harmless act of each domain: a file made and
// deleted, a group id given up, a connection to itself, a memory file, and at
// last an exec. Whether the probes saw it is agent/selftest/selftest.h.
#ifndef NODETRAIL_AGENT_SELFTEST_CANARY_H_
#define NODETRAIL_AGENT_SELFTEST_CANARY_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "nodetrail/base/status.h"

namespace nodetrail::agent {

struct CanaryReport {
  // errno of the act, by domain; 0: done. A domain that isn't there: the child
  // ended before it. A group id that is refused counts as done: it is recorded.
  std::map<std::string, int, std::less<>> acts;
};

// Owner: the composition root. Thread: pipeline only.
class Canary {
 public:
  virtual ~Canary() = default;
  // Starts the child, which waits. Its pid is not given to another process
  // before Reap(). Returns once the child's program is loaded.
  virtual Result<uint32_t> Launch() = 0;
  // It may act now.
  virtual Status Release() = 0;
  // What it did, once it has ended. Never blocks.
  virtual std::optional<CanaryReport> Ended() = 0;
  // Lets go of the pid; kills the child if it is still there.
  virtual void Reap() = 0;
};

// `program`: path of nodetrail-canary. `dir`: where its file may be made.
std::unique_ptr<Canary> MakeCanary(std::string program, std::string dir);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SELFTEST_CANARY_H_
