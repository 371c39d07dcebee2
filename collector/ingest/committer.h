// SPDX-License-Identifier: Apache-2.0
//
// The ingest thread: verifies the batches of all agents in the order in which
// they came, makes them durable in groups, then acknowledges them. It alone
// writes to the trail. Nothing is acknowledged before it is on the disk, and
// nothing that does not verify is stored but in quarantine.
#ifndef NODETRAIL_COLLECTOR_INGEST_COMMITTER_H_
#define NODETRAIL_COLLECTOR_INGEST_COMMITTER_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "collector/ingest/agent_chain.h"
#include "collector/ingest/ingest_view.h"
#include "collector/ingest/receipt_issuer.h"
#include "collector/ingest/roster.h"
#include "collector/store/disk_guard.h"
#include "collector/store/quarantine.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/status.h"
#include "nodetrail/ingest/v1/ingest.pb.h"
#include "nodetrail/trail/trail_store.h"

namespace nodetrail::collector {

// Where answers go: a stream, or what is left of one. Any thread.
class AnswerSink {
 public:
  virtual ~AnswerSink() = default;
  // `freed_bytes` of this sink's input are no longer held.
  virtual void Answer(ingest::v1::ServerMessage message, uint64_t freed_bytes) = 0;
  // Follows each Ack DURABLE: whoever wants to know waits for the receipt.
  virtual void Await(const AwaitedBatch& /*batch*/) {}
};

class Committer {
 public:
  struct Options {
    std::string trail_dir;
    std::string tenant;
    uint64_t min_free_bytes = 0;
    uint64_t segment_bytes = trail::kLeafSegmentBytes;
    const Clock* clock = nullptr;
    // Entries of the log's own: the key they are checked with at start, and
    // what signs new ones. All agents must have been enrolled, if asked.
    trail::PublicKey log_key{};
    Roster::Sign sign_entry;
    bool enrol_required = false;
    // A group is what waits, up to these.
    size_t group_batches = 512;
    uint64_t group_bytes = 32U << 20;
    QuarantineLimits quarantine;
    // Of batches that came late: what an agent's spool may hold.
    QuarantineLimits late{60'000, 2ULL << 30};
  };
  // Leaves from `first` on are durable, with these leaf hashes. On the ingest
  // thread; returns at once.
  using OnDurable = std::function<void(uint64_t first, std::span<const trail::Hash> leaf_hashes)>;
  // A leaf of the log at start, in order.
  using OnReplay = std::function<Status(std::string_view leaf)>;

  // Opens the trail for writing (`on_open`, if given, is called once it holds
  // the lock), and rebuilds every agent's chain from it: DataLoss if a leaf
  // does not continue its chain. FailedPrecondition: another collector has the
  // trail, or it is another tenant's.
  static Result<std::unique_ptr<Committer>> Open(Options options, trail::CaSet identity_cas,
                                                 const std::function<Status()>& on_open, const OnReplay& on_replay);
  ~Committer();  // Stop()
  Committer(const Committer&) = delete;
  Committer& operator=(const Committer&) = delete;

  void Start(OnDurable on_durable);
  // Instead of Start: no thread; the caller's calls of Step are the ingest
  // thread. For those who must own the order of things.
  void StartStepping(OnDurable on_durable);
  // Commits one group of what waits and answers it. False: nothing waited.
  bool Step();
  // Commits what is queued, answers, then ends the thread. Idempotent.
  void Stop();

  // `agent_id` as in the peer's certificate. Both are answered through `sink`,
  // in order; a frame by exactly one Ack or Nack. After Stop they are dropped.
  void Hello(std::shared_ptr<AnswerSink> sink, const std::string& agent_id);
  void Submit(std::shared_ptr<AnswerSink> sink, const std::string& agent_id, ingest::v1::Frame frame);

  // An entry of the log's own. `prepare` sees what the log holds before it, and
  // may complete it, or refuse; `done` gets its index once it is durable, or why
  // it is not in the log. Both are called on the ingest thread and return at once.
  // Any thread.
  struct Before {
    const trail::Enrolments& enrolments;
    const trail::Retention& retention;
    const trail::ChainHead* chain;  // of the agent it is about; null: there is none
    uint64_t log_index;             // of the entry
  };
  using PrepareEntry = std::function<Status(const Before& before, trail::v1::LogEntry* entry)>;
  using EntryDone = std::function<void(const Result<uint64_t>& log_index)>;
  void Enter(trail::v1::LogEntry entry, PrepareEntry prepare, EntryDone done);
  // The same, back when it is done. `prepare` may be null. Any thread but the ingest's.
  Result<uint64_t> EnterAndWait(trail::v1::LogEntry entry, PrepareEntry prepare = nullptr);

  // Runs `task` on the ingest thread between two groups, with what the durable
  // log says and its size: no entry comes while it runs. After Stop it is dropped.
  // Any thread.
  using WriterTask = std::function<void(const trail::Retention& retention, uint64_t log_size)>;
  void OnWriter(WriterTask task);

  // Holds, and deletions that are announced, of what is durable. Any thread.
  [[nodiscard]] std::shared_ptr<const trail::Retention> Retained() const { return roster_.Retained(); }
  // Who is enrolled and revoked, of what is durable. Any thread.
  [[nodiscard]] std::shared_ptr<const trail::Enrolments> Enrolled() const { return roster_.Snapshot(); }
  // Why no stream of this agent is taken: OK, or PermissionDenied if the next
  // batch of its chain would be one that was revoked. Counted. Any thread.
  Status Admit(const std::string& agent_id);

  // Bytes of frames that wait. Any thread.
  [[nodiscard]] uint64_t queued_bytes() const;
  // Any thread. `connected` and `streams` are the service's to fill.
  [[nodiscard]] std::vector<IngestAgent> Agents() const;
  [[nodiscard]] IngestTotals Totals() const;
  [[nodiscard]] const DiskGuard& disk() const { return disk_; }

 private:
  struct EntryRequest {
    trail::v1::LogEntry entry;
    PrepareEntry prepare;
    EntryDone done;
    std::string leaf;  // once it is of the group
  };
  struct Item {
    std::shared_ptr<AnswerSink> sink;
    std::string agent_id;
    std::optional<ingest::v1::Frame> frame;  // nothing: Hello
    uint64_t bytes = 0;
    std::unique_ptr<EntryRequest> entry = nullptr;  // then nothing else
    WriterTask task = nullptr;                      // then nothing else
  };
  // A batch of this group that is to become durable, or was before.
  struct Pending {
    std::shared_ptr<AnswerSink> sink;
    ingest::v1::ServerMessage answer;
    uint64_t bytes = 0;
    bool appended = false;               // a leaf of this group
    bool waits = false;                  // true only if the group becomes durable
    const AgentChain* greets = nullptr;  // a Welcome, with where this chain then ends
    trail::Hash leaf_hash{};             // of an Ack
  };
  // An entry of this group, or why it is none.
  struct Entered {
    EntryDone done;
    Result<uint64_t> log_index;
  };
  struct AgentCounters {
    uint64_t rejected = 0;
    uint64_t last_received_wall_ns = 0;
    uint64_t epoch = 0;
    uint64_t last_seq = 0;
    uint64_t batches = 0;
    bool clean = false;
  };

  Committer(Options options, trail::CaSet identity_cas)
      : options_(std::move(options)),
        identity_cas_(std::move(identity_cas)),
        roster_(options_.tenant, options_.sign_entry),
        disk_(options_.trail_dir, options_.min_free_bytes) {}
  Status Rebuild(const OnReplay& on_replay);
  Status ReplayBatch(std::string_view leaf, uint64_t log_index);
  AgentChain& Chain(const std::string& agent_id);
  void Run();
  void CommitGroup(std::vector<Item> items);
  Entered CheckEntry(EntryRequest* request, const Status& room);
  void CheckFrame(Item& item, const Status& room, std::vector<Pending>* pending);
  // A batch of a hole that the log shows: kept beside it.
  ingest::v1::ServerMessage KeepLate(const std::string& agent_id, const ingest::v1::Frame& frame,
                                     const trail::ParsedLeaf& leaf);
  void Reject(const std::string& agent_id, const ingest::v1::Frame& frame, const trail::ChainResult& result);
  Status MakeDurable();
  void Publish(const std::string& agent_id, const AgentChain& chain);

  const Options options_;
  const trail::CaSet identity_cas_;
  Roster roster_;
  const DiskGuard disk_;

  // Ingest thread, or the opener before Start.
  std::unique_ptr<trail::TrailWriter> writer_;
  std::unique_ptr<trail::TrailReader> reader_;
  std::unique_ptr<Quarantine> quarantine_;
  std::unique_ptr<Quarantine> late_;
  std::map<std::string, std::unique_ptr<AgentChain>> chains_;
  OnDurable on_durable_;
  // Of the group under way.
  std::vector<Item> group_;
  std::vector<std::string_view> group_leaves_;
  std::vector<std::pair<trail::Hash, std::string_view>> group_bodies_;
  std::vector<std::pair<trail::Hash, std::string_view>> group_evictions_;
  std::vector<std::string> group_agents_;
  std::string storage_problem_;

  mutable std::mutex mutex_;
  std::condition_variable cv_;
  std::deque<Item> queue_;
  uint64_t queued_bytes_ = 0;
  bool stop_ = false;
  IngestTotals totals_;
  std::map<std::string, AgentCounters> counters_;
  std::jthread thread_;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INGEST_COMMITTER_H_
