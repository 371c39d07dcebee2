// SPDX-License-Identifier: Apache-2.0
//
// For tests and benches: a trail directory with batches of made-up events,
// sealed with the real primitives. Chains of identity are not made: readers
// below the verifier do not look at them.
#ifndef NODETRAIL_COLLECTOR_INDEX_TEST_TRAIL_H_
#define NODETRAIL_COLLECTOR_INDEX_TEST_TRAIL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/crypto.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/note.h"
#include "nodetrail/trail/trail_store.h"

namespace nodetrail::collector {

inline constexpr uint64_t kTestTime = 1'772'000'000'000'000'000;  // 2026-02-25T06:13:20Z

struct TestBatch {
  std::string agent_id = "web-1";
  uint64_t epoch = 1;
  std::string hostname = "web-1.example.com";
  std::vector<event::v1::Process> processes;
  std::vector<event::v1::Event> events;  // seq is set by Append
  uint64_t lost = 0;                     // cumulative, ring
};

// A failure aborts: it is the test's own.
class TestTrail {
 public:
  explicit TestTrail(const std::string& dir);

  // Durable when it returns; the log's new size.
  uint64_t Append(TestBatch batch);
  // An entry of the log's own; the log's new size.
  uint64_t AppendEntry(const trail::v1::LogEntry& entry);
  // Signs the log as it is.
  void Checkpoint();
  [[nodiscard]] const trail::NoteVerifier& log_key() const { return verifier_; }
  [[nodiscard]] uint64_t size() const { return writer_->size(); }
  // Path of the body of a leaf.
  [[nodiscard]] std::string BodyFile(uint64_t log_index) const { return bodies_.at(log_index); }

 private:
  struct Chain {
    uint64_t next_seq = 1;  // 0 opens an epoch, with an identity
    uint64_t next_event = 1;
    trail::Hash prev{};
    std::unique_ptr<trail::Ed25519Key> key;
    std::string host_sha256;
  };
  const std::string dir_;
  std::unique_ptr<trail::TrailWriter> writer_;
  trail::Ed25519Key log_key_;
  trail::NoteVerifier verifier_;
  trail::CompactRange tree_;
  std::map<std::pair<std::string, uint64_t>, Chain> chains_;
  std::map<uint64_t, std::string> bodies_;
};

// A process with an exec history of one, so that events can refer to it.
event::v1::Process TestProcess(uint32_t pid, const std::string& exe, std::vector<std::string> argv,
                               const event::v1::Process* parent = nullptr);
// An event by `process`, as uid with login uid, at a time.
event::v1::Event TestEvent(event::v1::Kind kind, const event::v1::Process& process, uint64_t wall_ns,
                           uint32_t uid = 1000, uint32_t login_uid = 1000);

// Plausible events of every kind, from one seed. `breadth` sets how many
// different paths, programs and peers there are.
class EventMaker {
 public:
  EventMaker(uint32_t seed, size_t breadth);
  // `count` events, a second apart at most, and their processes.
  TestBatch Batch(size_t count);
  uint64_t wall_ns = kTestTime;

 private:
  size_t Pick(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  event::v1::Event Event(const event::v1::Process& process);
  std::mt19937 random_;
  const size_t breadth_;
  std::vector<event::v1::Process> processes_;
  uint32_t next_pid_ = 1000;
};

}  // namespace nodetrail::collector

#endif  // NODETRAIL_COLLECTOR_INDEX_TEST_TRAIL_H_
