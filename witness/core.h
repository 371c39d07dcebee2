// SPDX-License-Identifier: Apache-2.0
//
// A witness of transparency logs (https://c2sp.org/tlog-witness): it remembers
// the latest checkpoint of each log that it cosigned, and cosigns a later one
// only if a proof shows that the log was appended to. It never cosigns two
// roots at one size, nor a smaller size.
//
// Decide() is the whole judgement, a pure function. Witness keeps the records:
// check and save are one step under the log's lock, and the answer goes out
// only after the record is durable. A request is untrusted input.
#ifndef NODETRAIL_WITNESS_CORE_H_
#define NODETRAIL_WITNESS_CORE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/note.h"

namespace nodetrail::witness {

inline constexpr size_t kMaxRequestBytes = 64 * 1024;
inline constexpr size_t kMaxProofLines = 63;

// The body of add-checkpoint.
struct Request {
  uint64_t old_size = 0;
  std::vector<trail::Hash> proof;
  std::string note;  // the signed checkpoint
};
// Strict; InvalidArgument names the first line that is wrong.
Result<Request> ParseRequest(std::string_view body);

// The latest checkpoint of a log that was cosigned. As made: none yet.
struct Record {
  uint64_t size = 0;
  trail::Hash root = trail::EmptyRoot();
  std::string note;  // as the log signed it; empty: none yet
};

// What a client is told.
struct Answer {
  int status = 200;  // HTTP
  std::string body;
  bool is_size = false;  // the body is a tree size: text/x.tlog.size
};

struct Decision {
  Answer answer;        // unless it is to be cosigned
  bool cosign = false;  // once the record is saved
  Record next;          // to save; if it is to be cosigned
  bool fork = false;    // the log signed another root for the size of `known`
};

// `log_keys`: of the origin; `known`: what was cosigned of it so far; `note`
// and `checkpoint`: those of `request`, parsed.
Decision Decide(std::span<const trail::NoteVerifier> log_keys, const Record& known, const Request& request,
                const trail::Checkpoint& checkpoint);

// Where the records are kept. One thread at a time per origin.
class Store {
 public:
  virtual ~Store() = default;
  // As made if there is none. DataLoss, with the way out, if it is damaged.
  virtual Result<Record> Load(const std::string& origin) = 0;
  // Durable and whole when it returns OK; after an error either the old or the
  // new record will be found.
  virtual Status Save(const std::string& origin, const Record& record) = 0;
  // Keeps both signed checkpoints: evidence that the log forked. Best effort.
  virtual void KeepFork(const std::string& origin, const Record& known, const Record& other) = 0;
};

// A log that is witnessed: its origin and the keys that may sign for it (more
// than one while the log rolls its key).
struct WitnessedLog {
  std::string origin;
  std::vector<trail::NoteVerifier> keys;
};
// Groups verifier keys by their name. InvalidArgument: none, or one twice.
Result<std::vector<WitnessedLog>> LogsOf(std::span<const trail::NoteVerifier> keys);

// Thread-safe.
class Witness {
 public:
  struct LogStatus {
    std::string origin;
    uint64_t size = 0;
    uint64_t cosigned = 0;            // since start
    uint64_t cosigned_wall_s = 0;     // the last one; 0: none since start
    std::map<int, uint64_t> answers;  // by HTTP status
    uint64_t forks = 0;
  };

  // Loads every log's record. `store` and `clock` outlive it. Errors are the
  // store's, or InvalidArgument for an illegal name.
  static Result<std::unique_ptr<Witness>> Create(std::string name, trail::Ed25519Key key,
                                                 std::vector<WitnessedLog> logs, Store* store, const Clock* clock);

  // add-checkpoint, whole: 200 cosignature line · 400 malformed, or old size
  // above the checkpoint's · 403 not signed by the log · 404 unknown log · 409
  // other old size than the record's (the body is that), or another root at the
  // same size · 422 the proof does not verify · 500 the record can't be saved.
  Answer AddCheckpoint(std::string_view body);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& vkey() const { return vkey_; }
  [[nodiscard]] std::vector<LogStatus> Logs() const;
  [[nodiscard]] std::map<int, uint64_t> OtherAnswers() const;  // of no known log

 private:
  struct Log {
    std::vector<trail::NoteVerifier> keys;
    mutable std::mutex mutex;
    Record record;
    LogStatus status;
  };
  Witness(std::string name, trail::Ed25519Key key, Store* store, const Clock* clock)
      : name_(std::move(name)), key_(std::move(key)), store_(store), clock_(clock) {}
  Answer Count(Answer answer);

  const std::string name_;
  const trail::Ed25519Key key_;
  Store* const store_;
  const Clock* const clock_;
  std::string vkey_;
  std::map<std::string, std::unique_ptr<Log>, std::less<>> logs_;
  mutable std::mutex mutex_;  // other_
  std::map<int, uint64_t> other_;
};

}  // namespace nodetrail::witness

#endif  // NODETRAIL_WITNESS_CORE_H_
