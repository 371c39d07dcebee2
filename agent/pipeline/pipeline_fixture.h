// SPDX-License-Identifier: Apache-2.0
//
// A pipeline between fakes, and the batches it gave, parsed.
#ifndef NODETRAIL_AGENT_PIPELINE_PIPELINE_FIXTURE_H_
#define NODETRAIL_AGENT_PIPELINE_PIPELINE_FIXTURE_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/pipeline/pipeline.h"
#include "nodetrail/schema/labels.h"
#include "nodetrail/trail/merkle.h"
#include "tests/fakes/fake_names.h"
#include "tests/fakes/fake_proc_reader.h"
#include "tests/fakes/replay_source.h"

namespace nodetrail::agent {

inline constexpr char kTestBootId[] = "6ce3a6df-0a4d-4508-af43-4e2ade0ef9d3";

struct ParsedBatch {
  BatchContent content;
  event::v1::EventBatch body;
  std::vector<event::v1::Event> events;
  std::vector<event::v1::Process> processes;
};

class FakeSink final : public BatchSink {
 public:
  Status OnBatch(const BatchContent& batch) override {
    ++offers;
    if (!answer.ok()) return answer;
    ParsedBatch parsed;
    parsed.content = batch;
    EXPECT_TRUE(parsed.body.ParseFromString(batch.raw_body));
    std::vector<trail::Hash> leaves;
    if (!parsed.body.host().empty()) leaves.push_back(trail::LeafHash(parsed.body.host()));
    for (const std::string& bytes : parsed.body.processes()) {
      EXPECT_TRUE(parsed.processes.emplace_back().ParseFromString(bytes));
      // Canonical: what the generated class would have written.
      EXPECT_EQ(parsed.processes.back().SerializeAsString(), bytes);
      leaves.push_back(trail::LeafHash(bytes));
    }
    for (const std::string& bytes : parsed.body.events()) {
      EXPECT_TRUE(parsed.events.emplace_back().ParseFromString(bytes));
      EXPECT_EQ(parsed.events.back().SerializeAsString(), bytes) << parsed.events.back().ShortDebugString();
      leaves.push_back(trail::LeafHash(bytes));
    }
    for (const std::string& bytes : parsed.body.absent()) leaves.push_back(trail::LeafHash(bytes));
    EXPECT_EQ(batch.events_root, trail::MerkleRoot(leaves));
    EXPECT_EQ(batch.event_count, parsed.events.size());
    EXPECT_LE(batch.raw_body.size(), 8U << 20U);
    // The agent's words never share a batch with what the spool may give up.
    const auto words = std::count_if(parsed.events.begin(), parsed.events.end(), [](const event::v1::Event& event) {
      return schema::KindLabel(event.kind()).starts_with("agent.");
    });
    if (words != 0) {
      EXPECT_EQ(words, batch.event_count);
      const bool tamper = std::any_of(parsed.events.begin(), parsed.events.end(), [](const event::v1::Event& event) {
        return event.kind() == event::v1::KIND_AGENT_TAMPER;
      });
      EXPECT_TRUE(parsed.processes.empty() || tamper);
      EXPECT_TRUE(batch.evidence_class == EvidenceClass::kVital || batch.type == trail::v1::BATCH_TYPE_HEARTBEAT);
    }
    batches.push_back(std::move(parsed));
    return OkStatus();
  }

  // All events in order.
  [[nodiscard]] std::vector<event::v1::Event> Events() const {
    std::vector<event::v1::Event> out;
    for (const ParsedBatch& batch : batches) out.insert(out.end(), batch.events.begin(), batch.events.end());
    return out;
  }
  [[nodiscard]] std::vector<event::v1::Event> Events(event::v1::Kind kind) const {
    std::vector<event::v1::Event> out;
    for (const auto& event : Events()) {
      if (event.kind() == kind) out.push_back(event);
    }
    return out;
  }
  // The dictionary entry that the event's actor has in its own batch.
  [[nodiscard]] event::v1::Process ActorOf(const event::v1::Event& wanted) const {
    for (const ParsedBatch& batch : batches) {
      for (const auto& event : batch.events) {
        if (event.seq() != wanted.seq()) continue;
        for (const auto& process : batch.processes) {
          if (process.proc_uid() == event.proc_uid() && process.exec_count() == event.exec_count()) return process;
        }
      }
    }
    ADD_FAILURE() << "no dictionary entry for the actor of event " << wanted.seq();
    return {};
  }

  Status answer;  // what OnBatch says
  uint64_t offers = 0;
  std::vector<ParsedBatch> batches;
};

class PipelineFixture : public ::testing::Test {
 protected:
  PipelineFixture() {
    proc.Add(1, 0, 10'000'000, "/sbin/init");
    proc.Add(100, 1, 500'000'000, "/usr/sbin/sshd");
    clock.boot_ns = 10'000'000'000;
    batch.set_max_bytes(262144);
    batch.set_max_age_ms(250);
    batch.set_critical_max_age_ms(20);
    batch.set_heartbeat_s(30);
    capture.set_drain_interval_ms(5);
    capture.mutable_scope()->set_mode("host");
  }

  void Make() {
    Dependencies deps;
    deps.source = &source;
    deps.clock = &clock;
    deps.proc = &proc;
    deps.names = &names;
    deps.sink = &sink;
    deps.selftest = selftest;
    deps.own = own;
    deps.capture = capture;
    deps.batch = batch;
    deps.redact = redact;
    deps.boot_id = kTestBootId;
    deps.host.set_hostname("web-1");
    auto made = Pipeline::Create(std::move(deps));
    ASSERT_TRUE(made.ok()) << made.status().ToString();
    pipeline = *std::move(made);
  }
  void Start() {
    if (pipeline == nullptr) Make();
    StartInfo info;
    info.reason = "started";
    info.version = "0.1.0";
    ASSERT_TRUE(pipeline->Start(info).ok());
  }
  // One drain, late enough that every batch with an event closes.
  void TickAndFlush() {
    ASSERT_TRUE(pipeline->Tick().ok());
    clock.Advance(300'000'000);
    ASSERT_TRUE(pipeline->Tick().ok());
  }
  void Stop() {
    const Status status = pipeline->Stop("test");
    ASSERT_TRUE(status.ok()) << status.ToString();
  }

  // A process that forked from 100 and ran `argv`.
  nt_task Spawn(uint32_t pid, const std::string& exe, const std::vector<std::string>& argv, uint32_t uid = 0) {
    const uint64_t start = clock.boot_ns;
    const nt_task parent = TestTask(100, 500'000'123, 1, 10'000'456, "sshd");
    nt_fork fork{};
    fork.child_start_boottime_ns = start;
    fork.child_tgid = fork.child_ns_tgid = pid;
    fork.child_ppid = 100;
    fork.child_parent_start_boottime_ns = parent.start_boottime_ns;
    source.Push(RecordBuilder(NT_FORK).Time(start).Task(parent).Body(fork));
    nt_task task = TestTask(pid, start, 100, parent.start_boottime_ns, exe.substr(exe.rfind('/') + 1));
    task.cred.uid = task.cred.euid = task.cred.suid = task.cred.fsuid = uid;
    source.Push(Exec(task, exe, argv).Time(start + 1000));
    return task;
  }
  static RecordBuilder Exec(const nt_task& task, const std::string& exe, const std::vector<std::string>& argv) {
    nt_exec body{};
    body.exe.flags = NT_FILE_VALID;
    body.exe.ino = 4711;
    body.exe.mode = 0100755;
    body.argc = static_cast<uint32_t>(argv.size());
    body.argv_len = JoinArgv(argv).size();
    body.old_pid = task.tgid;
    body.has_old_cred = 1;
    body.old_cred = task.cred;
    return RecordBuilder(NT_EXEC).Task(task).Body(body).Path(NT_TAIL_PATH, exe).Path(NT_TAIL_CWD, "/tmp").Argv(argv);
  }
  static RecordBuilder Open(const nt_task& task, const std::string& path, bool created) {
    nt_file_open body{};
    body.ret = 3;
    body.open_flags = 0101;
    body.created = created ? 1 : 0;
    body.syscall_nr = 257;
    body.file.flags = NT_FILE_VALID;
    body.file.ino = 99;
    return RecordBuilder(NT_FILE_OPEN).Task(task).Body(body).Path(NT_TAIL_PATH, path).Tail(NT_TAIL_USER_PATH, path);
  }

  FakeClock clock;
  FakeProcReader proc;
  FakeNames names;
  ReplaySource source;
  FakeSink sink;
  Selftest* selftest = nullptr;
  OwnThings own;
  config::v1::AgentConfig::Capture capture;
  config::v1::AgentConfig::Batch batch;
  config::v1::AgentConfig::Redact redact;
  std::unique_ptr<Pipeline> pipeline;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_PIPELINE_PIPELINE_FIXTURE_H_
