// SPDX-License-Identifier: Apache-2.0
//
// What the agent knows of the collector's log: verifies receipts under the log
// policy and keeps the newest checkpoint on disk. A log that was longer once,
// or that has two roots at one size, is found here, over restarts too.
#ifndef NODETRAIL_AGENT_SHIP_LOG_WATCH_H_
#define NODETRAIL_AGENT_SHIP_LOG_WATCH_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "nodetrail/base/status.h"
#include "nodetrail/trail/policy.h"

namespace nodetrail::agent {

// A checkpoint as a batch tells of it: seen_size, seen_root.
struct SeenCheckpoint {
  uint64_t size = 0;  // 0: none
  trail::Hash root{};
};

// Owner: the composition root. The ship thread calls Take; the rest from any
// thread.
class LogWatch {
 public:
  struct Outcome {
    enum class Kind {
      kHolds,
      kBad,    // the receipt does not verify: it proves nothing
      kAlarm,  // it verifies, and contradicts what the log said before
      kDisk,   // the checkpoint could not be kept: nothing may rest on it
    };
    Kind kind = Kind::kHolds;
    std::string text;       // one line: the cause and the fix; empty if kHolds
    bool quorum = false;    // the policy's quorum is reached
    std::string shortfall;  // why not
  };

  // `policy_text` as in the policy file, `checkpoint_file` in the state
  // directory; there may be none yet. InvalidArgument: the policy does not
  // parse, or names no log. A kept checkpoint that can't be read or is not
  // valid under the policy is no error here: every Take is an alarm then.
  static Result<std::unique_ptr<LogWatch>> Open(std::string_view policy_text, std::string checkpoint_file);

  // A receipt for the leaf at `index`. On kHolds the checkpoint, if it is the
  // newest, is durable.
  Outcome Take(const trail::Hash& leaf_hash, uint64_t index, std::string_view receipt);

  // The newest checkpoint that is valid under the whole policy.
  [[nodiscard]] SeenCheckpoint seen() const;

 private:
  LogWatch(trail::LogPolicy policy, std::string file) : policy_(std::move(policy)), file_(std::move(file)) {}
  void Load();

  const trail::LogPolicy policy_;
  const std::string file_;
  std::string unusable_;  // why the kept checkpoint is
  // Ship thread: the newest that a log of the policy signed.
  std::optional<trail::Checkpoint> newest_;

  mutable std::mutex mutex_;
  SeenCheckpoint seen_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_SHIP_LOG_WATCH_H_
