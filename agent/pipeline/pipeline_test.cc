// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>

#include "agent/pipeline/pipeline_fixture.h"

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

}  // namespace
}  // namespace nodetrail::agent
