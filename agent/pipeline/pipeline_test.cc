// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>

#include <set>
#include <string>

#include "agent/pipeline/pipeline_fixture.h"
#include "agent/policy/policy.h"
#include "nodetrail/abi/reserved.h"

namespace nodetrail::agent {
namespace {

using event::v1::Event;

using PipelineTest = PipelineFixture;

TEST_F(PipelineTest, AnExecBecomesAnAttributedEvent) {
  source.AddHook(
      {"tp_btf/sched_process_exec", "tracepoint", "process", HookState::kAttached, "attached", {"process.exec"}});
  source.AddHook({"tracepoint/syscalls/sys_exit_openat",
                  "tracepoint",
                  "file",
                  HookState::kAttached,
                  "attached",
                  {"file.open", "file.create"}});
  Start();
  const nt_task task = Spawn(200, "/usr/bin/touch", {"touch", "/tmp/probe"}, 1000);
  source.Push(Open(task, "/tmp/probe", true).Time(clock.boot_ns + 2000));
  TickAndFlush();

  const auto execs = sink.Events(event::v1::KIND_PROCESS_EXEC);
  ASSERT_EQ(execs.size(), 1U);
  const Event& exec = execs[0];
  EXPECT_EQ(exec.hook(), "tp_btf/sched_process_exec");
  EXPECT_EQ(exec.exec_count(), 1U);
  EXPECT_EQ(exec.exec().prev_exe(), "/usr/sbin/sshd");
  EXPECT_TRUE(exec.outcome().success());
  const auto actor = sink.ActorOf(exec);
  EXPECT_EQ(actor.exe(), "/usr/bin/touch");
  ASSERT_EQ(actor.argv_size(), 2);
  EXPECT_EQ(actor.argv(1), "/tmp/probe");
  EXPECT_EQ(actor.cwd(), "/tmp");
  EXPECT_FALSE(actor.from_proc());
  ASSERT_EQ(actor.ancestors_size(), 2);
  EXPECT_EQ(actor.ancestors(0).exe(), "/usr/sbin/sshd");
  EXPECT_EQ(actor.ancestors(1).exe(), "/sbin/init");
  EXPECT_EQ(actor.parent_uid(), actor.ancestors(0).proc_uid());
  EXPECT_EQ(exec.names().user(), "alice");
  EXPECT_EQ(exec.cred().uid(), 1000U);

  const auto creates = sink.Events(event::v1::KIND_FILE_CREATE);
  ASSERT_EQ(creates.size(), 1U);
  EXPECT_EQ(creates[0].file().path().path(), "/tmp/probe");
  EXPECT_EQ(creates[0].file().path().source(), event::v1::PATH_SOURCE_KERNEL_OBJECT);
  EXPECT_EQ(creates[0].file().syscall(), "openat");
  EXPECT_EQ(creates[0].hook(), "tracepoint/syscalls/sys_exit_openat");
  EXPECT_EQ(creates[0].outcome().retval(), 3);
  EXPECT_EQ(creates[0].proc_uid(), exec.proc_uid());
}

TEST_F(PipelineTest, SequenceNumbersHaveNoGapsAcrossBatches) {
  Start();
  const nt_task task = Spawn(200, "/bin/true", {"true"});
  for (uint64_t i = 0; i < 5000; ++i)
    source.Push(Open(task, "/tmp/f" + std::to_string(i), false).Time(clock.boot_ns + i), i % 2);
  TickAndFlush();
  Stop();
  uint64_t next = 1;
  for (const ParsedBatch& got : sink.batches) {
    if (got.content.event_count == 0) continue;
    EXPECT_EQ(got.content.first_event_seq, next);
    for (const Event& event : got.events) EXPECT_EQ(event.seq(), next++);
    EXPECT_EQ(got.content.last_event_seq, next - 1);
  }
  EXPECT_GT(sink.batches.size(), 3U);
  EXPECT_EQ(pipeline->Stats().events_total, next - 1);
  EXPECT_EQ(sink.batches.back().content.type, trail::v1::BATCH_TYPE_CLEAN_SHUTDOWN);
  EXPECT_EQ(sink.batches.back().events.back().kind(), event::v1::KIND_AGENT_STOP);
}

TEST_F(PipelineTest, StartTellsWhatIsWatchedAndWhatRan) {
  source.AddHook(
      {"tp_btf/sched_process_exec", "tracepoint", "process", HookState::kAttached, "attached", {"process.exec"}});
  source.AddHook(
      {"tracepoint/syscalls/sys_exit_openat2", "tracepoint", "file", HookState::kAbsent, "ENOENT", {"file.open"}});
  Make();
  StartInfo info;
  info.reason = "started";
  info.previous_clean = false;
  info.version = "0.1.0";
  info.gap.emplace().set_last_epoch(7);
  ASSERT_TRUE(pipeline->Start(info).ok());
  TickAndFlush();
  const auto events = sink.Events();
  ASSERT_EQ(events.size(), 5U);
  EXPECT_EQ(events[0].kind(), event::v1::KIND_AGENT_START);
  EXPECT_FALSE(events[0].agent().clean());
  EXPECT_EQ(events[0].agent().version(), "0.1.0");
  EXPECT_EQ(events[1].kind(), event::v1::KIND_AGENT_COVERAGE);
  ASSERT_EQ(events[1].agent().hooks_size(), 2);
  EXPECT_EQ(events[1].agent().hooks(1).state(), "absent");
  EXPECT_EQ(events[1].agent().hooks(1).why(), "ENOENT");
  EXPECT_EQ(events[1].agent().scope(), "host");
  EXPECT_EQ(events[2].kind(), event::v1::KIND_AGENT_GAP);
  EXPECT_EQ(events[2].agent().last_epoch(), 7U);
  EXPECT_EQ(events[3].kind(), event::v1::KIND_PROCESS_SNAPSHOT);
  EXPECT_EQ(sink.ActorOf(events[4]).exe(), "/usr/sbin/sshd");
  EXPECT_TRUE(sink.ActorOf(events[4]).from_proc());
  ASSERT_GT(events[4].gaps_size(), 0);
  EXPECT_EQ(events[4].gaps(0).what(), "actor.proc_uid");
  event::v1::Host host;
  ASSERT_TRUE(host.ParseFromString(sink.batches[0].body.host()));
  EXPECT_EQ(host.hostname(), "web-1");
}

TEST_F(PipelineTest, TheHostIsWholeOnceAndNamedAfterwards) {
  Start();
  TickAndFlush();
  Spawn(200, "/bin/true", {"true"});
  TickAndFlush();
  ASSERT_GE(sink.batches.size(), 2U);
  EXPECT_FALSE(sink.batches[0].body.host().empty());
  EXPECT_TRUE(sink.batches[1].body.host().empty());
  EXPECT_EQ(sink.batches[1].body.host_sha256(), sink.batches[0].body.host_sha256());
  EXPECT_EQ(sink.batches[1].body.host_sha256(), trail::Bytes(trail::Sha256Of(sink.batches[0].body.host())));
}

TEST_F(PipelineTest, AProcessIsWrittenOncePerBatch) {
  Start();
  TickAndFlush();
  const nt_task task = Spawn(200, "/bin/cat", {"cat"});
  for (int i = 0; i < 50; ++i) source.Push(Open(task, "/tmp/a", false).Time(clock.boot_ns));
  TickAndFlush();
  const ParsedBatch& first = sink.batches.back();
  EXPECT_EQ(first.processes.size(), 3U);  // sshd, cat as forked, cat as run
  source.Push(Open(task, "/tmp/b", false).Time(clock.boot_ns));
  TickAndFlush();
  EXPECT_EQ(sink.batches.back().processes.size(), 1U);
}

TEST_F(PipelineTest, SecretsAreGoneAndTheRestIsThere) {
  Start();
  const nt_task task = Spawn(200, "/usr/bin/mysql", {"mysql", "-pS3cr3tValue77", "--host=db-marker"});
  source.Push(Open(task, "/tmp/ghp_0123456789abcdefghijABCDEFGHIJ012345", true).Time(clock.boot_ns + 5000));
  // The child shows it as argv of its own and of its ancestor.
  nt_fork fork{};
  fork.child_tgid = 201;
  fork.child_start_boottime_ns = clock.boot_ns + 6000;
  fork.child_ppid = 200;
  fork.child_parent_start_boottime_ns = task.start_boottime_ns;
  source.Push(RecordBuilder(NT_FORK).Task(task).Body(fork).Time(clock.boot_ns + 6000));
  Stop();
  std::string everything;
  for (const ParsedBatch& got : sink.batches) everything += got.content.raw_body;
  EXPECT_EQ(everything.find("S3cr3tValue77"), std::string::npos);
  EXPECT_EQ(everything.find("ghp_0123456789"), std::string::npos);
  EXPECT_NE(everything.find("db-marker"), std::string::npos);
  const auto execs = sink.Events(event::v1::KIND_PROCESS_EXEC);
  ASSERT_EQ(execs.size(), 1U);
  ASSERT_EQ(execs[0].redactions_size(), 1);
  EXPECT_EQ(execs[0].redactions(0).field(), "actor.argv[1]");
  EXPECT_EQ(sink.ActorOf(execs[0]).argc(), 3U);
  EXPECT_EQ(sink.Events(event::v1::KIND_FILE_CREATE)[0].redactions_size(), 3);  // the actor's, path, user string
  EXPECT_EQ(pipeline->Stats().redact_errors_total, 0U);
  EXPECT_GE(pipeline->Stats().redactions_total, 2U);
}

TEST_F(PipelineTest, LossIsCountedExactlyAndLocated) {
  Start();
  const nt_task task = Spawn(200, "/bin/cat", {"cat"});
  source.Push(Open(task, "/tmp/a", false).Time(clock.boot_ns + 100));
  source.Lose(NT_FILE_OPEN, 7);
  source.Lose(NT_FILE_DELETE, 2);
  source.Push(Open(task, "/tmp/b", false).Time(clock.boot_ns + 200));
  source.Lose(NT_EXEC, 3, 1);
  source.Lose(NT_NET_CLOSE, 5, 0, true);
  source.Lose(NT_CGROUP, 1, 1);  // no event
  TickAndFlush();
  std::map<std::string, event::v1::AgentEvent> losses;
  for (const Event& event : sink.Events(event::v1::KIND_AGENT_LOSS)) {
    losses[event.agent().stage() + "/" + event.agent().kind()] = event.agent();
  }
  ASSERT_EQ(losses.size(), 4U);
  EXPECT_EQ(losses["ring/file.open"].count(), 7U);
  EXPECT_EQ(losses["ring/file.delete"].count(), 2U);
  EXPECT_EQ(losses["ring/process.exec"].count(), 3U);
  EXPECT_EQ(losses["ring/process.exec"].cpu(), 1U);
  EXPECT_EQ(losses["map/net.close"].count(), 5U);
  EXPECT_LE(losses["ring/file.open"].seq_from(), 4U);
  EXPECT_GE(losses["ring/file.open"].seq_to(), 12U);
  EXPECT_EQ(pipeline->Stats().lost_total, 17U);
  EXPECT_EQ(sink.batches.back().content.losses.ring(), 12U);
  EXPECT_EQ(sink.batches.back().content.losses.map(), 5U);
  // Told once.
  source.Lose(NT_FILE_OPEN, 1);
  Stop();
  uint64_t total = 0;
  for (const Event& event : sink.Events(event::v1::KIND_AGENT_LOSS)) total += event.agent().count();
  EXPECT_EQ(total, 18U);
}

// A storm makes thousands of holes a second: /proc is read again for those alone
// that may hide an exec or a fork.
TEST_F(PipelineTest, OnlyWhereAnImageMayBeLostIsItAskedForAgain) {
  Start();
  const nt_task task = Spawn(200, "/bin/old", {"old"});
  proc.Add(200, 100, task.start_boottime_ns, "/bin/new").file.ino = 78;
  TickAndFlush();
  const uint64_t reads = proc.reads;
  for (int i = 0; i < 100; ++i) {
    source.Lose(NT_FILE_OPEN, 3);
    source.Push(Open(task, "/tmp/a", false).Time(clock.boot_ns));
  }
  TickAndFlush();
  EXPECT_EQ(proc.reads, reads);
  source.Lose(NT_EXEC, 1);
  source.Push(Open(task, "/tmp/b", false).Time(clock.boot_ns));
  ASSERT_TRUE(pipeline->Tick().ok());
  EXPECT_EQ(pipeline->Stats().proc_repairs_total, 1U) << "before the counters were read";
  Stop();
  const auto opens = sink.Events(event::v1::KIND_FILE_OPEN);
  ASSERT_EQ(opens.size(), 101U);
  EXPECT_EQ(sink.ActorOf(opens[99]).exe(), "/bin/old");
  EXPECT_EQ(sink.ActorOf(opens[100]).exe(), "/bin/new");
}

TEST_F(PipelineTest, LossesAreToldByTheSortOfRing) {
  Start();
  Spawn(200, "/bin/cat", {"cat"});
  source.Lose(NT_FILE_OPEN, 7);
  source.Lose(NT_CRED, 2);
  source.SetRingUse({4096, 100, 4000, 9}, {2048, 1, 2, 3});
  TickAndFlush();
  std::map<std::string, std::string> reasons;
  for (const Event& event : sink.Events(event::v1::KIND_AGENT_LOSS))
    reasons[event.agent().kind()] = event.agent().reason();
  EXPECT_EQ(reasons["file.open"], "no room in the ring");
  EXPECT_EQ(reasons["cred.change"], "no room in the ring, nor in the reserve");
  const PipelineStats stats = pipeline->Stats();
  EXPECT_EQ(stats.lost_ring, 9U);
  EXPECT_EQ(stats.lost_reserved, 2U);
  EXPECT_EQ(stats.bulk.peak_bytes, 4000U);
  EXPECT_EQ(stats.reserve.records, 3U);
}

// abi/reserved.h against event.proto.
TEST(ReservedTypes, AreTheCriticalKindsAndWhatTheProcessTableIsKeptBy) {
  constexpr int kPrivilege = 2, kKernel = 5;  // hundreds of the kinds' numbers
  for (uint16_t type = NT_NONE + 1; type <= NT_TYPE_LAST; ++type) {
    const event::v1::Kind kind = KindOfType(type);
    const int domain = kind / 100;
    const bool expected = schema::KindIsCritical(kind) || domain == kPrivilege || domain == kKernel ||
                          type == NT_FORK || type == NT_EXIT || type == NT_CGROUP;
    EXPECT_EQ(NT_IS_RESERVED(type), expected) << "type " << type << ", " << schema::KindLabel(kind);
  }
  EXPECT_EQ(NT_RESERVED_TYPES >> NT_TYPE_LAST >> 1, 0U) << "types there are not";
}

TEST_F(PipelineTest, RejectedBytesAreALossNotAnEvent) {
  Start();
  const nt_task task = Spawn(200, "/bin/cat", {"cat"});
  RecordBuilder bad = Open(task, "/tmp/a", false);
  bad.Tail(NT_TAIL_PATH, "again");
  source.Push(bad.Time(clock.boot_ns + 7));
  source.PushBytes({std::byte{1}, std::byte{2}});
  source.Push(Open(task, "/tmp/b", false).Time(clock.boot_ns + 9));
  Stop();
  const auto losses = sink.Events(event::v1::KIND_AGENT_LOSS);
  ASSERT_EQ(losses.size(), 2U);
  for (const Event& loss : losses) EXPECT_EQ(loss.agent().stage(), "decode");
  EXPECT_EQ(pipeline->Stats().lost_decode, 2U);
  EXPECT_EQ(sink.batches.back().content.losses.decode(), 2U);
  EXPECT_EQ(sink.Events(event::v1::KIND_FILE_OPEN).size(), 1U);
}

TEST_F(PipelineTest, UnderPressureNothingIsDroppedAndNothingIsDrained) {
  batch.set_max_bytes(4096);
  Start();
  TickAndFlush();
  const nt_task task = Spawn(200, "/bin/cat", {"cat"});
  for (int i = 0; i < 500; ++i) source.Push(Open(task, "/tmp/f" + std::to_string(i), false).Time(clock.boot_ns));
  sink.answer = ResourceExhausted("full");
  ASSERT_TRUE(pipeline->Tick().ok());
  const size_t left = source.queued();
  EXPECT_GT(left, 400U);
  EXPECT_TRUE(pipeline->Stats().backpressure);
  for (int i = 0; i < 20; ++i) {
    clock.Advance(1'000'000'000);
    ASSERT_TRUE(pipeline->Tick().ok());
  }
  EXPECT_EQ(source.queued(), left);
  EXPECT_EQ(pipeline->Stop("later").code(), Code::kResourceExhausted);
  sink.answer = OkStatus();
  Stop();
  EXPECT_FALSE(pipeline->Stats().backpressure);
  EXPECT_EQ(sink.Events(event::v1::KIND_FILE_OPEN).size(), 500U);
  EXPECT_EQ(sink.Events(event::v1::KIND_AGENT_STOP).size(), 1U);
  EXPECT_EQ(sink.batches.back().content.type, trail::v1::BATCH_TYPE_CLEAN_SHUTDOWN);
  Stop();  // again: nothing more
  EXPECT_EQ(sink.Events(event::v1::KIND_AGENT_STOP).size(), 1U);
}

TEST_F(PipelineTest, UnderPressureTheAgentsWordsWaitForABatchOfTheirOwn) {
  batch.set_max_bytes(4096);
  Start();
  TickAndFlush();
  const nt_task task = Spawn(200, "/bin/cat", {"cat"});
  for (int i = 0; i < 100; ++i) source.Push(Open(task, "/tmp/f" + std::to_string(i), false).Time(clock.boot_ns));
  source.Lose(NT_FILE_OPEN, 7);
  sink.answer = ResourceExhausted("full");
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(pipeline->Tick().ok());
    clock.Advance(1'000'000'000);
  }
  event::v1::AgentEvent word;
  word.set_stage("spool");
  word.set_count(11);
  ASSERT_TRUE(pipeline->Report(event::v1::KIND_AGENT_LOSS, word).ok());
  EXPECT_TRUE(sink.Events(event::v1::KIND_AGENT_LOSS).empty());
  sink.answer = OkStatus();
  ASSERT_TRUE(pipeline->Tick().ok());
  uint64_t total = 0;
  for (const Event& event : sink.Events(event::v1::KIND_AGENT_LOSS)) total += event.agent().count();
  EXPECT_EQ(total, 18U);
  EXPECT_EQ(sink.Events(event::v1::KIND_FILE_OPEN).size(), 100U);
}

TEST_F(PipelineTest, ManyWordsAreSmallBatches) {
  Start();
  TickAndFlush();
  sink.batches.clear();
  size_t lost = 0;
  for (uint16_t type = NT_NONE + 1; type < NT_TYPE_MAX; ++type) {
    if (KindOfType(type) == event::v1::KIND_UNSPECIFIED) continue;
    for (const uint32_t cpu : {0U, 1U}) {
      for (const bool map : {false, true}) source.Lose(static_cast<nt_type>(type), ++lost, cpu, map);
    }
  }
  TickAndFlush();
  EXPECT_EQ(sink.Events(event::v1::KIND_AGENT_LOSS).size(), lost);
  EXPECT_GE(sink.batches.size(), 2U);
  for (const ParsedBatch& got : sink.batches) EXPECT_LT(got.content.raw_body.size(), 13U * 1024);
}

TEST_F(PipelineTest, AFatalSinkStopsTheLineAndKeepsTheBatch) {
  Start();
  Spawn(200, "/bin/cat", {"cat"});
  sink.answer = DataLoss("key gone");
  ASSERT_TRUE(pipeline->Tick().ok());
  clock.Advance(300'000'000);
  EXPECT_EQ(pipeline->Tick().code(), Code::kDataLoss);
  EXPECT_EQ(pipeline->Tick().code(), Code::kDataLoss);
  sink.answer = OkStatus();
  Stop();
  EXPECT_EQ(sink.Events(event::v1::KIND_PROCESS_EXEC).size(), 1U);
}

TEST_F(PipelineTest, IdleGivesHeartbeatsAndNothingElse) {
  Start();
  TickAndFlush();
  sink.batches.clear();
  source.CountSelf(NT_SELF_AGENT, NT_FILE_OPEN, 9);
  source.CountSelf(NT_SELF_COMPANION, NT_NET_CLOSE, 4, 1);
  for (int i = 0; i < 300; ++i) {
    clock.Advance(1'000'000'000);
    ASSERT_TRUE(pipeline->Tick().ok());
  }
  ASSERT_EQ(sink.batches.size(), 10U);
  for (const ParsedBatch& got : sink.batches) {
    EXPECT_EQ(got.content.type, trail::v1::BATCH_TYPE_HEARTBEAT);
    ASSERT_GE(got.events.size(), 1U);
    EXPECT_EQ(got.events[0].kind(), event::v1::KIND_AGENT_HEARTBEAT);
    EXPECT_TRUE(got.processes.empty());
  }
  ASSERT_EQ(sink.batches[0].events.size(), 2U);
  const auto& filtered = sink.batches[0].events[1].agent().filtered();
  ASSERT_EQ(filtered.size(), 2);
  EXPECT_EQ(filtered[0].rule(), "self.agent");
  EXPECT_EQ(filtered[0].kind(), "file.open");
  EXPECT_EQ(filtered[0].count(), 9U);
  EXPECT_EQ(filtered[1].rule(), "self.companion");
  EXPECT_EQ(filtered[1].count(), 4U);
  EXPECT_EQ(sink.batches[1].events.size(), 1U);  // told once
  EXPECT_EQ(sink.batches[0].content.losses.limited(), 13U);
  EXPECT_EQ(pipeline->Stats().heartbeats_total, 10U);
}

TEST_F(PipelineTest, HeartbeatsGoOnUnderLoad) {
  Start();
  TickAndFlush();
  const nt_task task = Spawn(200, "/bin/cat", {"cat"});
  for (int i = 0; i < 61; ++i) {
    source.Push(Open(task, "/tmp/a", false).Time(clock.boot_ns));
    clock.Advance(1'000'000'000);
    ASSERT_TRUE(pipeline->Tick().ok());
  }
  EXPECT_EQ(pipeline->Stats().heartbeats_total, 2U);
  for (const ParsedBatch& got : sink.batches) {
    if (got.content.type != trail::v1::BATCH_TYPE_HEARTBEAT) continue;
    for (const Event& event : got.events) EXPECT_EQ(event.kind(), event::v1::KIND_AGENT_HEARTBEAT);
  }
}

TEST_F(PipelineTest, CriticalEventsCloseTheBatchEarly) {
  Start();
  TickAndFlush();
  const size_t before = sink.batches.size();
  const nt_task task = Spawn(200, "/bin/cat", {"cat"});  // an exec is critical
  ASSERT_TRUE(pipeline->Tick().ok());
  EXPECT_EQ(sink.batches.size(), before);
  clock.Advance(16'000'000);
  ASSERT_TRUE(pipeline->Tick().ok());
  ASSERT_EQ(sink.batches.size(), before + 1);
  EXPECT_TRUE(sink.batches.back().content.critical_flush);
  source.Push(Open(task, "/tmp/a", false).Time(clock.boot_ns));  // an open isn't
  ASSERT_TRUE(pipeline->Tick().ok());
  clock.Advance(100'000'000);
  ASSERT_TRUE(pipeline->Tick().ok());
  EXPECT_EQ(sink.batches.size(), before + 1);
  clock.Advance(150'000'000);
  ASSERT_TRUE(pipeline->Tick().ok());
  ASSERT_EQ(sink.batches.size(), before + 2);
  EXPECT_FALSE(sink.batches.back().content.critical_flush);
}

TEST_F(PipelineTest, CredentialsAndLoginComeFromTheRecord) {
  Start();
  nt_task task = Spawn(200, "/bin/sh", {"sh"});
  task.loginuid = 4242;
  task.sessionid = 17;
  task.cred.euid = 1000;
  task.flags = NT_T_NO_NEW_PRIVS;
  source.Push(Open(task, "/tmp/a", true).Time(clock.boot_ns + 5000));
  task.loginuid = 1000;
  source.Push(Open(task, "/tmp/b", true).Time(clock.boot_ns + 6000));
  Stop();
  const auto events = sink.Events(event::v1::KIND_FILE_CREATE);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0].login_uid(), 4242U);
  EXPECT_EQ(events[0].session_id(), 17U);
  EXPECT_EQ(events[0].names().user(), "root");
  EXPECT_EQ(events[0].names().euser(), "alice");
  EXPECT_EQ(events[0].names().login_user(), "");
  EXPECT_TRUE(events[0].cred().no_new_privs());
  EXPECT_EQ(events[1].login_uid(), 1000U);
  EXPECT_EQ(events[1].names().login_user(), "alice");
}

TEST_F(PipelineTest, APendingNameIsAGapUntilItComes) {
  names.pending.insert(1000);
  Start();
  const nt_task task = Spawn(200, "/bin/sh", {"sh"}, 1000);
  TickAndFlush();
  const auto gap = [](const Event& event) {
    for (const auto& g : event.gaps()) {
      if (g.what() == "actor.user") return true;
    }
    return false;
  };
  EXPECT_TRUE(gap(sink.Events(event::v1::KIND_PROCESS_EXEC)[0]));
  names.pending.clear();
  ++names.generation;
  source.Push(Open(task, "/tmp/a", true).Time(clock.boot_ns));
  TickAndFlush();
  const Event after = sink.Events(event::v1::KIND_FILE_CREATE)[0];
  EXPECT_FALSE(gap(after));
  EXPECT_EQ(after.names().user(), "alice");
  EXPECT_EQ(sink.ActorOf(after).names().user(), "alice");
}

TEST_F(PipelineTest, FailuresCarryTheCallersPathAndErrno) {
  Start();
  const nt_task task = Spawn(200, "/bin/cat", {"cat"});
  nt_file_open open{};
  open.ret = -13;
  open.syscall_nr = 257;
  source.Push(RecordBuilder(NT_FILE_DENIED)
                  .Task(task)
                  .Body(open)
                  .Tail(NT_TAIL_USER_PATH, "../etc/./shadow")
                  .Path(NT_TAIL_BASE, "/tmp")
                  .Time(clock.boot_ns + 5000));
  nt_act names_body{};
  names_body.syscall_nr = 87;
  names_body.args[0] = names_body.args[1] = names_body.args[3] = 1;  // pointers that are not null
  names_body.has = NT_ACT_READ_LATE;
  source.Push(RecordBuilder(NT_FILE_DELETE)
                  .Task(task)
                  .Body(names_body)
                  .Tail(NT_TAIL_USER_PATH, "/tmp/x")
                  .Time(clock.boot_ns + 6000));
  names_body.syscall_nr = 316;
  source.Push(RecordBuilder(NT_FILE_RENAME)
                  .Task(task)
                  .Body(names_body)
                  .Tail(NT_TAIL_USER_PATH, "a")
                  .Path(NT_TAIL_BASE, "/tmp")
                  .Time(clock.boot_ns + 7000));
  Stop();
  const Event denied = sink.Events(event::v1::KIND_FILE_DENIED)[0];
  EXPECT_EQ(denied.file().path().path(), "/etc/shadow");
  EXPECT_EQ(denied.file().path().user_string(), "../etc/./shadow");
  EXPECT_EQ(denied.file().path().source(), event::v1::PATH_SOURCE_USER_STRING_RESOLVED);
  EXPECT_FALSE(denied.outcome().success());
  EXPECT_EQ(denied.outcome().error(), 13);
  EXPECT_EQ(denied.outcome().retval(), -13);
  const Event deleted = sink.Events(event::v1::KIND_FILE_DELETE)[0];
  EXPECT_EQ(deleted.file().syscall(), "unlink");
  ASSERT_EQ(deleted.gaps_size(), 0 + 2);  // the cgroup, and the late string
  const Event renamed = sink.Events(event::v1::KIND_FILE_RENAME)[0];
  EXPECT_EQ(renamed.file().path().path(), "/tmp/a");
  EXPECT_EQ(renamed.file().new_path().path(), "");
  EXPECT_EQ(renamed.gaps(1).what() == "resource.new_path" || renamed.gaps(2).what() == "resource.new_path", true);
}

// Their records have no pointers: what is named is told by the tails.
TEST_F(PipelineTest, RequestsOfIoUringAreTheSameKinds) {
  Start();
  const nt_task task = Spawn(200, "/bin/cat", {"cat"});
  nt_act removed{};
  removed.syscall_nr = 263;
  removed.args[0] = static_cast<uint32_t>(-100);
  removed.args[2] = 0x200;  // AT_REMOVEDIR
  source.Push(RecordBuilder(NT_FILE_DELETE)
                  .Task(task)
                  .Flags(NT_F_IO_URING)
                  .Body(removed)
                  .Tail(NT_TAIL_USER_PATH, "d")
                  .Path(NT_TAIL_BASE, "/tmp")
                  .Time(clock.boot_ns + 5000));
  nt_act renamed{};
  renamed.syscall_nr = 316;
  renamed.args[4] = 1;  // RENAME_NOREPLACE
  renamed.ret = -14;
  source.Push(RecordBuilder(NT_FILE_RENAME)
                  .Task(task)
                  .Flags(NT_F_IO_URING | NT_F_URING_ENTRY)
                  .Body(renamed)
                  .Tail(NT_TAIL_USER_PATH, "/tmp/a")
                  .Time(clock.boot_ns + 6000));
  Stop();
  const Event deleted = sink.Events(event::v1::KIND_FILE_DELETE)[0];
  EXPECT_TRUE(deleted.from_io_uring());
  EXPECT_TRUE(deleted.file().directory());
  EXPECT_EQ(deleted.file().syscall(), "io_uring");
  EXPECT_EQ(deleted.file().path().path(), "/tmp/d");
  EXPECT_TRUE(deleted.outcome().success());
  const Event refused = sink.Events(event::v1::KIND_FILE_RENAME)[0];
  EXPECT_TRUE(refused.from_io_uring());
  EXPECT_EQ(refused.file().rename_flags(), 1U);
  EXPECT_EQ(refused.outcome().error(), 14);
  EXPECT_EQ(refused.file().path().path(), "/tmp/a");
  std::set<std::string> gaps;
  for (const auto& gap : refused.gaps()) gaps.insert(gap.what());
  EXPECT_EQ(gaps.count("resource.new_path"), 1U) << "a name that could not be read is missed";
  EXPECT_EQ(gaps.count("resource"), 1U) << "it was told from the caller's memory";
}

TEST_F(PipelineTest, CallsTellWhatTheyWereAskedToDo) {
  Start();
  const nt_task task = Spawn(200, "/bin/mount", {"mount"});
  const nt_task other = Spawn(201, "/bin/target", {"target"});
  uint64_t at = clock.boot_ns + 5000;
  const auto act = [](uint32_t nr, std::initializer_list<uint64_t> args) {
    nt_act body{};
    body.syscall_nr = nr;
    std::copy(args.begin(), args.end(), body.args);
    return body;
  };
  const auto push = [&](nt_type type, const nt_act& body) {
    return RecordBuilder(type).Task(task).Body(body).Time(at += 10);
  };
  source.Push(push(NT_FS_MOUNT, act(165, {1, 1, 1, 6}))
                  .Tail(NT_TAIL_USER_PATH, "mnt")
                  .Path(NT_TAIL_BASE, "/srv")
                  .Tail(NT_TAIL_USER_PATH2, "none")
                  .Path(NT_TAIL_BASE2, "/srv")
                  .Tail(NT_TAIL_TEXT, "tmpfs"));
  source.Push(push(NT_FS_MOUNT, act(165, {1, 1, 0, 4096}))
                  .Tail(NT_TAIL_USER_PATH, "/mnt")
                  .Tail(NT_TAIL_USER_PATH2, "a")
                  .Path(NT_TAIL_BASE2, "/srv"));
  source.Push(push(NT_PTRACE, act(101, {16, 201})));
  nt_act chmod = act(91, {3, 04755});
  chmod.before = {.dev = 1,
                  .ino = 7,
                  .size = 9,
                  .mode = 0100644,
                  .uid = 0,
                  .gid = 0,
                  .nlink = 1,
                  .fs_magic = 0,
                  .flags = NT_FILE_VALID};
  chmod.after = chmod.before;
  chmod.after.mode = 0104755;
  source.Push(push(NT_FILE_CHMOD, chmod).Path(NT_TAIL_PATH, "/bin/tool"));
  source.Push(push(NT_FILE_CHOWN, act(92, {1, 0, 0xffffffff})).Tail(NT_TAIL_USER_PATH, "/x"));
  source.Push(push(NT_FILE_SETXATTR, act(188, {1, 1})).Tail(NT_TAIL_USER_PATH, "/x"));
  nt_act failed = act(59, {1});
  failed.ret = -2;
  source.Push(push(NT_EXEC_FAILED, failed).Tail(NT_TAIL_USER_PATH, "/no/such"));
  Stop();
  const auto mounts = sink.Events(event::v1::KIND_FS_MOUNT);
  ASSERT_EQ(mounts.size(), 2U);
  EXPECT_EQ(mounts[0].call().path().path(), "/srv/mnt");
  EXPECT_EQ(mounts[0].call().source().path(), "none") << "no file: not joined to the working directory";
  EXPECT_EQ(mounts[0].call().text(), "tmpfs");
  EXPECT_EQ(mounts[0].call().operation(), "MS_NOSUID|MS_NODEV");
  EXPECT_EQ(mounts[0].call().args_size(), 6);
  EXPECT_EQ(mounts[1].call().source().path(), "/srv/a") << "a bind mount's source is a file";
  const Event ptrace = sink.Events(event::v1::KIND_PTRACE)[0];
  EXPECT_EQ(ptrace.call().operation(), "PTRACE_ATTACH");
  EXPECT_EQ(ptrace.call().target_pid(), other.tgid);
  EXPECT_EQ(ptrace.call().target_exe(), "/bin/target");
  EXPECT_EQ(ptrace.call().target_uid().size(), 16U);
  const Event mode = sink.Events(event::v1::KIND_FILE_CHMOD)[0];
  EXPECT_EQ(mode.file().path().path(), "/bin/tool");
  EXPECT_EQ(mode.file().before().mode(), 0100644U);
  EXPECT_EQ(mode.file().file().mode(), 0104755U);
  EXPECT_EQ(mode.file().requested().mode(), 04755U);
  const auto lacks = [](const Event& event, const std::string& what) {
    return std::any_of(event.gaps().begin(), event.gaps().end(), [&](const auto& gap) { return gap.what() == what; });
  };
  EXPECT_FALSE(lacks(mode, "resource.before"));
  const Event owner = sink.Events(event::v1::KIND_FILE_CHOWN)[0];
  EXPECT_TRUE(lacks(owner, "resource.before"));
  EXPECT_TRUE(owner.file().requested().has_uid()) << "root is a request as well";
  EXPECT_EQ(owner.file().requested().uid(), 0U);
  EXPECT_EQ(owner.file().requested().gid(), 0xffffffffU);
  EXPECT_TRUE(lacks(sink.Events(event::v1::KIND_FILE_SETXATTR)[0], "resource.text"));
  const Event exec = sink.Events(event::v1::KIND_PROCESS_EXEC_FAILED)[0];
  EXPECT_EQ(exec.outcome().error(), 2);
  EXPECT_EQ(exec.call().syscall(), "execve");
  EXPECT_EQ(exec.call().path().path(), "/no/such");
}

TEST_F(PipelineTest, NetworkExitAndCredentialChange) {
  Start();
  nt_task task = Spawn(200, "/bin/nc", {"nc"});
  nt_net net{};
  net.family = AF_INET;
  net.protocol = 6;
  net.err = 111;
  net.remote_addr[0] = 127;
  net.remote_addr[3] = 1;
  net.remote_port = 8080;
  nt_task owner = task;
  owner.flags |= NT_T_SNAPSHOT;
  source.Push(RecordBuilder(NT_NET_CONNECT).Task(owner).Body(net).Time(clock.boot_ns + 3000));
  net.family = AF_INET6;
  net.err = 0;
  net.inbound = 1;
  net.bytes_sent = 10;
  net.opened_boot_ns = clock.boot_ns + 1000;
  source.Push(RecordBuilder(NT_NET_CLOSE).Task(owner).Body(net).Time(clock.boot_ns + 4000));
  nt_cred_change change{};
  change.cause = NT_CAUSE_SETRESUID;
  change.nargs = 3;
  change.args[0] = 1000;
  change.args[1] = change.args[2] = 0xffffffffU;
  change.old_cred = task.cred;
  change.ret = -1;
  source.Push(RecordBuilder(NT_CRED).Task(task).Body(change).Time(clock.boot_ns + 5000));
  nt_exit exit{};
  exit.code = 0x8b;  // SIGSEGV, core dumped
  source.Push(RecordBuilder(NT_EXIT).Task(task).Body(exit).Time(clock.boot_ns + 6000));
  Stop();
  const Event connect = sink.Events(event::v1::KIND_NET_CONNECT)[0];
  EXPECT_EQ(connect.outcome().error(), 111);
  EXPECT_EQ(connect.net().remote().ip(), std::string("\x7f\0\0\x01", 4));
  EXPECT_EQ(connect.net().remote().port(), 8080U);
  EXPECT_EQ(connect.net().direction(), "outbound");
  const Event close = sink.Events(event::v1::KIND_NET_CLOSE)[0];
  EXPECT_EQ(close.net().local().ip().size(), 16U);
  EXPECT_EQ(close.net().direction(), "inbound");
  EXPECT_EQ(close.net().duration_ns(), 3000U);
  EXPECT_EQ(close.net().bytes_sent(), 10U);
  const auto as_of_opening = [](const Event& event) {
    for (const auto& gap : event.gaps()) {
      if (gap.what() == "actor.cred") return true;
    }
    return false;
  };
  EXPECT_FALSE(as_of_opening(connect));
  EXPECT_TRUE(as_of_opening(close));
  const Event cred = sink.Events(event::v1::KIND_CRED_CHANGE)[0];
  EXPECT_EQ(cred.cred_change().cause(), event::v1::CRED_CAUSE_SETRESUID);
  EXPECT_EQ(cred.outcome().error(), 1);
  ASSERT_EQ(cred.cred_change().args_size(), 3);
  EXPECT_EQ(cred.cred_change().args(2), 0xffffffffU);
  const Event died = sink.Events(event::v1::KIND_PROCESS_EXIT)[0];
  EXPECT_EQ(died.exit().signal(), 11U);
  EXPECT_TRUE(died.exit().core_dumped());
  EXPECT_EQ(died.exit().duration_ns(), 6000U);
}

TEST_F(PipelineTest, AChangedPlaceClosesTheBatch) {
  Start();
  nt_task task = Spawn(200, "/bin/runc", {"runc"});
  nt_cgroup cgroup{};
  cgroup.id = 1;
  const auto tell = [&](uint64_t id, const std::string& path) {
    cgroup.id = id;
    source.Push(RecordBuilder(NT_CGROUP).Task(task).Body(cgroup).Path(NT_TAIL_CGROUP, path).Time(clock.boot_ns));
  };
  tell(1, "/");
  source.Push(Open(task, "/tmp/a", true).Time(clock.boot_ns + 5000));
  const std::string id(64, 'a');
  tell(77, "/docker/" + id);
  task.cgroup_v2_id = 77;
  source.Push(Open(task, "/tmp/b", true).Time(clock.boot_ns + 6000));
  Stop();
  const auto events = sink.Events(event::v1::KIND_FILE_CREATE);
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(sink.ActorOf(events[0]).container().id(), "");
  EXPECT_EQ(sink.ActorOf(events[1]).container().id(), id);
  EXPECT_EQ(sink.ActorOf(events[1]).container().runtime(), "docker");
  EXPECT_EQ(events[1].cgroup_id(), 77U);
}

TEST_F(PipelineTest, NumbersGoOnFromTheEpochsLast) {
  Dependencies deps;
  deps.source = &source;
  deps.clock = &clock;
  deps.proc = &proc;
  deps.names = &names;
  deps.sink = &sink;
  deps.capture = capture;
  deps.batch = batch;
  deps.boot_id = kTestBootId;
  deps.first_event_seq = 1058;
  pipeline = *Pipeline::Create(std::move(deps));
  Start();
  Stop();
  EXPECT_EQ(sink.Events().front().seq(), 1058U);
  EXPECT_EQ(sink.batches.front().content.first_event_seq, 1058U);
}

TEST_F(PipelineTest, ABadRedactionRuleIsNamed) {
  auto* rule = redact.add_rules();
  rule->set_id("mine");
  rule->set_pattern("(unclosed");
  Dependencies deps;
  deps.source = &source;
  deps.clock = &clock;
  deps.proc = &proc;
  deps.names = &names;
  deps.sink = &sink;
  deps.redact = redact;
  deps.boot_id = kTestBootId;
  const auto made = Pipeline::Create(std::move(deps));
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), Code::kInvalidArgument);
  EXPECT_NE(std::string(made.status().message()).find("mine"), std::string::npos);
}

TEST_F(PipelineTest, TheEndOfABatchNeverGoesBack) {
  Start();
  TickAndFlush();
  const nt_task task = Spawn(200, "/bin/cat", {"cat"});
  TickAndFlush();
  clock.Advance(40'000'000'000);
  ASSERT_TRUE(pipeline->Tick().ok());  // a heartbeat, now
  source.Push(Open(task, "/tmp/a", true).Time(clock.boot_ns - 2'000'000));
  TickAndFlush();
  Stop();
  for (size_t i = 0; i < sink.batches.size(); ++i) {
    const BatchContent& content = sink.batches[i].content;
    EXPECT_LE(content.first_boot_ns, content.last_boot_ns);
    if (i > 0) {
      EXPECT_GE(content.last_boot_ns, sink.batches[i - 1].content.last_boot_ns);
      EXPECT_GE(content.last_wall_ns, sink.batches[i - 1].content.last_wall_ns);
    }
  }
  EXPECT_EQ(sink.Events(event::v1::KIND_FILE_CREATE)[0].t_wall_ns() + 2'000'000 + 300'000'000, clock.wall_ns);
}

TEST_F(PipelineTest, WallTimeFollowsTheClock) {
  Start();
  const nt_task task = Spawn(200, "/bin/cat", {"cat"});
  source.Push(Open(task, "/tmp/a", true).Time(clock.boot_ns + 123));
  ASSERT_TRUE(pipeline->Tick().ok());
  const uint64_t first = clock.wall_ns + 123;
  clock.wall_ns -= 3'600'000'000'000;  // an hour back
  clock.Advance(1'000'000'000);
  source.Push(Open(task, "/tmp/b", true).Time(clock.boot_ns));
  const uint64_t second = clock.wall_ns;
  Stop();
  const auto events = sink.Events(event::v1::KIND_FILE_CREATE);
  EXPECT_EQ(events[0].t_wall_ns(), first);
  EXPECT_EQ(events[1].t_wall_ns(), second);
  EXPECT_LT(events[1].t_wall_ns(), events[0].t_wall_ns());
}

}  // namespace
}  // namespace nodetrail::agent
