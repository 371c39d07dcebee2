// SPDX-License-Identifier: Apache-2.0
//
// Deletes bodies that are older than a rule keeps them: names them in the log,
// waits until a checkpoint covers that, deletes them, says so in the log.
// docs/adr/0015-retention.md has the order of commit.
//
// A hold wins. It and the Retire are put in order by the one thread that writes
// the log: a hold that is in the log first protects from being named; one that
// comes later still protects each body that is not deleted yet, because that
// thread deletes too, between its groups.
#ifndef NODETRAIL_COLLECTOR_RETENTION_RETENTION_JOB_H_
#define NODETRAIL_COLLECTOR_RETENTION_RETENTION_JOB_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "collector/ingest/committer.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"
#include "nodetrail/trail/bundle.h"
#include "nodetrail/trail/trail_store.h"

namespace nodetrail::collector {

// Owner: the collector, or a test that calls Step. A small state machine: it
// keeps nothing that the log does not say, so a process that is killed anywhere
// goes on from what the log says.
class RetentionJob {
 public:
  struct Options {
    std::string trail_dir;
    std::string policy;       // its name in the log, an id
    uint64_t max_age_ns = 0;  // of a body, from when it was sealed and received; > 0
    size_t leaves_per_step = 512;
    size_t bodies_per_entry = 1000;  // at most 1,900: an entry fits a leaf
    size_t bodies_per_step = 32;     // deleted between two groups of the log
    size_t bodies_per_run = 20'000;  // named in one pass over the log
    const Clock* clock = nullptr;    // outlives the job
    // Leaves under the checkpoint that is on the disk. Any thread.
    std::function<uint64_t()> covered;
    // What else holds a copy of this body drops it. May be empty.
    std::function<void(const trail::Hash& body_sha256)> forget;
  };
  enum class Progress {
    kMore,     // there is more to do at once
    kWaiting,  // for the log: ask again soon
    kIdle,     // nothing to do until time passes, or holds are released
  };

  // `committer` outlives the job. An error: the trail can't be read.
  static Result<std::unique_ptr<RetentionJob>> Open(Options options, Committer* committer);
  ~RetentionJob();  // Stop()
  RetentionJob(const RetentionJob&) = delete;
  RetentionJob& operator=(const RetentionJob&) = delete;

  // A thread that steps, and begins anew `interval` after it found nothing to do.
  void Start(std::chrono::milliseconds interval);
  // Ends it after the step under way. The committer must still run, or have
  // stopped: what waits for it is dropped. Idempotent.
  void Stop();

  // One small step. An error leaves the job where it was; it may be asked again.
  Result<Progress> Step();

 private:
  struct Candidate {
    uint64_t index = 0;
    trail::Hash sha256{};
    std::string agent_id;
    trail::TimeSpan time;
    uint64_t kept_from_ns = 0;
  };
  // Of an entry of the log whose bodies are being deleted.
  struct Deletion {
    uint64_t entry = 0;
    std::vector<Candidate> bodies;
    size_t next = 0;
    uint64_t kept = 0;  // held, or named by another leaf as well
    std::set<std::string> dirs;
    uint64_t looked_to = 0;        // leaves behind the entry that name none of the bodies, but
    std::set<trail::Hash> shared;  // these
  };
  // What was asked of the writer; shared with it, for it may come to it when this
  // object is gone.
  struct Asked {
    std::mutex mutex;
    bool dropped = false;
    std::optional<Result<uint64_t>> answer;
  };

  RetentionJob(Options options, Committer* committer) : options_(std::move(options)), committer_(committer) {}
  void Run(std::chrono::milliseconds interval);
  Result<Progress> Scan();
  Result<Progress> FindShared();
  Progress Announce();
  Result<Progress> BeginDeletion(uint64_t entry);
  Result<Progress> Delete();
  Status DeletePortion(const trail::Retention& retention, uint64_t log_size);
  Result<Progress> FinishDeletion();
  // Nothing: the body stays.
  Result<std::optional<Candidate>> Examine(uint64_t index, const trail::v1::BatchHeader& header);
  Result<std::optional<Candidate>> Describe(uint64_t index, const trail::Hash& sha256);
  Status LookFor(const std::set<trail::Hash>& wanted, uint64_t from, uint64_t to, std::set<trail::Hash>* found);
  void Ask(trail::v1::LogEntry entry, Committer::PrepareEntry prepare);
  void BeginRun();

  const Options options_;
  Committer* const committer_;
  std::unique_ptr<trail::TrailReader> reader_;
  std::shared_ptr<Asked> asked_;  // null: nothing is

  // Of this run over the log.
  uint64_t low_ = 0;  // leaves before it have no body that could go
  uint64_t cursor_ = 0;
  uint64_t end_ = 0;
  bool prefix_ = true;  // nothing was kept before the cursor
  std::vector<Candidate> candidates_;
  bool checked_ = false;  // for bodies that two leaves name
  uint64_t check_cursor_ = 0;
  std::map<trail::Hash, int> named_;

  std::optional<Deletion> deletion_;
  // Entries that a hold kept from being finished, and what the holds were then.
  std::map<uint64_t, size_t> parked_;

  std::mutex mutex_;
  std::condition_variable cv_;
  bool stop_ = false;
  std::jthread thread_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_RETENTION_RETENTION_JOB_H_
