// SPDX-License-Identifier: Apache-2.0
//
// The witnesses of a log. Asks all at once for their cosignature of a
// checkpoint, with the consistency proof from where each says that it is, and
// believes nothing of an answer that does not verify.
//
// A witness that does not answer delays one checkpoint, by at most `timeout`;
// after its second failure it is asked less and less often (up to 30 s apart).
// A witness that knows more of the log than the log, or another history, ends
// signing for good: the trail is an old copy, or somebody else signs with the
// log's key. The way out of a witness that lies is to take it out of the policy.
#ifndef NODETRAIL_COLLECTOR_WITNESS_WITNESS_SET_H_
#define NODETRAIL_COLLECTOR_WITNESS_WITNESS_SET_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "collector/log/cosigner.h"
#include "collector/witness/http_poster.h"
#include "collector/witness/witness_book.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::collector {

struct WitnessPeer {
  std::string name;  // in the policy
  std::string url;   // submission prefix
  trail::CosignerVerifier key;
};

struct WitnessStatus {
  std::string name;
  std::string url;
  uint64_t size = 0;             // of the largest checkpoint it cosigned
  uint64_t cosigned_wall_s = 0;  // its last cosignature, by its own clock; 0: never
  bool current = false;          // it cosigned the newest checkpoint
  uint64_t failures = 0;         // since start
  uint64_t rollbacks = 0;
  std::string problem;  // of the last try; empty: none
};

class WitnessSet final : public Cosigner {
 public:
  struct Options {
    std::string book_path;  // "<trail>/log/witnesses"
    std::chrono::milliseconds timeout{2000};
    const Clock* clock = nullptr;
  };
  // DataLoss if the book is damaged: the message says how to go on.
  static Result<std::unique_ptr<WitnessSet>> Open(Options options, std::vector<WitnessPeer> peers,
                                                  std::unique_ptr<HttpPoster> poster);

  Outcome Cosign(const Request& request) override;

  // Any thread.
  [[nodiscard]] std::vector<WitnessStatus> GetStatus() const;

 private:
  struct Peer {
    WitnessPeer config;
    std::string vkey;
    std::string line;  // its cosignature of text_; empty: none
    uint64_t failures_in_row = 0;
    uint64_t next_try_boot_ns = 0;
    bool heard = false;            // it said where it is, since start
    bool rolled_back_now = false;  // since start; stays in its problem
    bool behind = false;           // counted as rolled back, and did not cosign since
    // Of the call under way.
    uint64_t old_size = 0;
    unsigned tries = 0;
    bool open = false;
  };
  WitnessSet(Options options, std::unique_ptr<HttpPoster> poster)
      : options_(std::move(options)), poster_(std::move(poster)) {}
  void Ask(size_t i, uint64_t old_size, const Request& request);
  // Not OK: a conflict.
  Status Take(size_t i, const HttpReply& reply, const Request& request);
  Status TakeSize(size_t i, uint64_t size, const Request& request);
  void Fail(size_t i, std::string why);
  void Save();

  const Options options_;
  const std::unique_ptr<HttpPoster> poster_;
  std::vector<Peer> peers_;
  WitnessBook book_;
  bool book_changed_ = false;
  std::string text_;  // of the checkpoint that was asked for last

  mutable std::mutex mutex_;
  std::vector<WitnessStatus> status_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_WITNESS_WITNESS_SET_H_
