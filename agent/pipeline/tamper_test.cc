// SPDX-License-Identifier: Apache-2.0
//
// agent.tamper: what counts as an act on the agent, and who did it.
#include "agent/pipeline/tamper.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "agent/pipeline/pipeline_fixture.h"
#include "tests/fakes/temp_dir.h"

namespace nodetrail::agent {
namespace {

using event::v1::Event;
using event::v1::KIND_AGENT_TAMPER;
constexpr uint32_t kAgent = 4000;
constexpr uint32_t kInitPidNs = 0xeffffffc;

class TamperTest : public PipelineFixture {
 protected:
  TamperTest() {
    state = std::filesystem::canonical(dir.path()).string() + "/state";
    config = std::filesystem::canonical(dir.path()).string() + "/agent.yaml";
    std::filesystem::create_directories(state + "/spool");
    std::ofstream(config) << "x\n";
    std::ofstream(state + "/spool/1.seg") << "x\n";
    own.tgid = kAgent;
    own.thread = [](uint32_t tid) { return tid == kAgent + 1; };
    own.paths = {{"state", state, true}, {"spool", state + "/spool", true}, {"config", config}};
    own.objects = {{NT_OWN_MAP, 42, "nt_scope"}, {NT_OWN_PROGRAM, 42, "tp__sys_exit_openat"}};
  }

  nt_task Somebody(uint32_t pid = 500) {
    nt_task task = Spawn(pid, "/usr/bin/evil", {"evil"});
    task.pid_ns = kInitPidNs;
    return task;
  }
  static RecordBuilder Signal(const nt_task& task, int signal, uint32_t target = kAgent) {
    nt_act act{};
    act.args[NT_SIGNAL_NUMBER] = static_cast<uint64_t>(signal);
    act.args[NT_SIGNAL_TGID] = act.args[NT_SIGNAL_TID] = target;
    return RecordBuilder(NT_SIGNAL).Task(task).Body(act);
  }
  static RecordBuilder Named(nt_type type, uint32_t nr, const nt_task& task, const std::string& path) {
    nt_act act{};
    act.syscall_nr = nr;
    for (auto& arg : act.args) arg = 1;
    return RecordBuilder(type).Task(task).Body(act).Tail(NT_TAIL_USER_PATH, path);
  }
  static RecordBuilder Own(const nt_task& task, uint32_t command, nt_own_object object, uint32_t id) {
    nt_act act{};
    act.syscall_nr = 321;
    act.args[NT_OWN_COMMAND] = command;
    act.args[NT_OWN_OBJECT] = object;
    act.args[NT_OWN_ID] = id;
    return RecordBuilder(NT_BPF_OWN).Task(task).Body(act);
  }
  RecordBuilder At(RecordBuilder record) { return record.Time(clock.boot_ns); }

  // The one agent.tamper since the last call, or nothing.
  std::optional<Event> Told() {
    TickAndFlush();
    const std::vector<Event> all = sink.Events(KIND_AGENT_TAMPER);
    if (all.size() == seen) return {};
    EXPECT_EQ(all.size(), seen + 1);
    seen = all.size();
    return all.back();
  }

  testing::TempDir dir;
  std::string state, config;
  size_t seen = 0;
};

TEST_F(TamperTest, ASignalThatEndsOrStopsIsToldWithItsSender) {
  Start();
  const nt_task task = Somebody();
  source.Push(At(Signal(task, SIGKILL)));
  const auto told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().object(), "process");
  EXPECT_EQ(told->agent().tamper().what(), "SIGKILL");
  EXPECT_EQ(sink.ActorOf(*told).exe(), "/usr/bin/evil");
  EXPECT_TRUE(told->has_cred());
  const std::vector<Event> signals = sink.Events(event::v1::KIND_SIGNAL_SEND);
  ASSERT_EQ(signals.size(), 1U);
  EXPECT_EQ(signals[0].call().operation(), "SIGKILL");
  EXPECT_EQ(signals[0].call().target_pid(), kAgent);
  EXPECT_EQ(told->agent().tamper().event_seq(), signals[0].seq());

  source.Push(At(Signal(task, SIGTERM)));  // asks; the agent itself answers
  EXPECT_FALSE(Told());
  source.Push(At(Signal(task, SIGKILL, kAgent + 7)));
  EXPECT_FALSE(Told());
  EXPECT_EQ(sink.Events(event::v1::KIND_SIGNAL_SEND).size(), 3U);
}

TEST_F(TamperTest, AStopSaysHowLongItWas) {
  Start();
  const nt_task task = Somebody();
  source.Push(At(Signal(task, SIGSTOP)));
  clock.Advance(3'000'000'000);
  const auto told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().stopped_ns(), 3'000'000'000U);
}

TEST_F(TamperTest, TracingByAThreadIdIsTracing) {
  Start();
  const nt_task task = Somebody();
  nt_act act{};
  act.syscall_nr = 101;
  act.args[0] = 0x4206;  // PTRACE_SEIZE
  act.args[1] = kAgent + 1;
  source.Push(At(RecordBuilder(NT_PTRACE).Task(task).Body(act)));
  const auto told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().what(), "PTRACE_SEIZE");
  source.Push(At(RecordBuilder(NT_PTRACE).Task(task).Body(act)));
  EXPECT_FALSE(Told()) << "the same again, at once";
  act.args[1] = kAgent + 2;
  source.Push(At(RecordBuilder(NT_PTRACE).Task(task).Body(act)));
  EXPECT_FALSE(Told());
}

TEST_F(TamperTest, OnlyWhatIsOursAndOnlyWhatChanges) {
  Start();
  const nt_task task = Somebody();
  source.Push(At(Named(NT_FILE_DELETE, 87, task, state + "/spool/1.seg")));
  auto told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().object(), "spool");
  EXPECT_EQ(told->agent().tamper().what(), "file.delete");
  source.Push(At(Open(task, state + "/x", true)));
  told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().object(), "state");
  source.Push(At(Named(NT_FILE_DELETE, 87, task, state + "2/spool")));
  EXPECT_FALSE(Told());
  source.Push(At(Open(task, config + ".new", true)));
  EXPECT_FALSE(Told());
  nt_file_open look{};
  look.ret = -13;
  look.syscall_nr = 257;
  source.Push(At(RecordBuilder(NT_FILE_DENIED).Task(task).Body(look).Tail(NT_TAIL_USER_PATH, config)));
  EXPECT_FALSE(Told());
  look.open_flags = O_WRONLY;
  source.Push(At(RecordBuilder(NT_FILE_DENIED).Task(task).Body(look).Tail(NT_TAIL_USER_PATH, config)));
  told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().object(), "config");
  EXPECT_EQ(told->outcome().error(), 13);
}

TEST_F(TamperTest, AnotherNameForTheSameFileDoesNotHelp) {
  const std::string link = dir.path() + "/elsewhere";
  std::filesystem::create_directory_symlink(state, link);
  const std::string file_link = dir.path() + "/harmless";
  std::filesystem::create_symlink(config, file_link);
  Start();
  const nt_task task = Somebody();
  source.Push(At(Named(NT_FILE_DELETE, 87, task, link + "/spool/1.seg")));
  auto told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().object(), "spool");
  source.Push(At(Named(NT_FILE_TRUNCATE, 76, task, file_link)));
  told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().object(), "config");
  // Open: the kernel tells the inode.
  const auto id = ProbeFile(config);
  ASSERT_TRUE(id);
  nt_file_open open{};
  open.ret = 3;
  open.open_flags = O_WRONLY | O_TRUNC;
  open.syscall_nr = 257;
  open.file = *id;
  source.Push(At(RecordBuilder(NT_FILE_OPEN).Task(task).Body(open).Path(NT_TAIL_PATH, "/mnt/other/name")));
  told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().what(), "file.open");
}

TEST_F(TamperTest, OurBpfObjectsAreNamed) {
  Start();
  const nt_task task = Somebody();
  source.Push(At(Own(task, 3, NT_OWN_MAP, 42)));
  auto told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().object(), "map");
  EXPECT_EQ(told->agent().tamper().what(), "BPF_MAP_DELETE_ELEM");
  EXPECT_EQ(told->agent().tamper().target(), "nt_scope id 42");
  source.Push(At(Own(task, 34, NT_OWN_LINK, 42)));
  told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().object(), "link");
  EXPECT_EQ(told->agent().tamper().target(), "tp__sys_exit_openat id 42");
}

TEST_F(TamperTest, WhatIsFoundGoneIsToldWithWhoTookHoldBefore) {
  source.AddHook({"tracepoint/syscalls/sys_exit_openat", "tracepoint", "file", HookState::kAttached, "attached", {}});
  Start();
  const nt_task task = Somebody();
  nt_act act{};
  act.syscall_nr = 101;
  act.args[0] = 0x4206;
  act.args[1] = kAgent;
  source.Push(At(RecordBuilder(NT_PTRACE).Task(task).Body(act)));
  ASSERT_TRUE(Told());
  source.damage = {{"link", "closed", {"tracepoint/syscalls/sys_exit_openat"}, true}};
  clock.Advance(600'000'000);  // it looks soon after
  const auto told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().object(), "link");
  EXPECT_TRUE(told->agent().tamper().restored());
  EXPECT_EQ(told->agent().tamper().actor_is(), "the last who traced the agent");
  EXPECT_EQ(sink.ActorOf(*told).exe(), "/usr/bin/evil");
  EXPECT_EQ(sink.Events(event::v1::KIND_AGENT_COVERAGE).size(), 2U);

  // Alter a map: nobody was seen near it.
  source.damage = {{"map", "altered", {"nt_self"}, true}};
  clock.Advance(31'000'000'000);
  const auto map = Told();
  ASSERT_TRUE(map);
  EXPECT_TRUE(map->proc_uid().empty());
  EXPECT_EQ(sink.Events(event::v1::KIND_AGENT_COVERAGE).size(), 3U);
}

TEST_F(TamperTest, TheNextRunTellsWhoKilledTheLast) {
  nt_task task = TestTask(100, 500'000'123, 1, 10'000'456, "sshd");
  StartInfo info;
  info.last_signals = {Signal(task, SIGTERM).Time(clock.boot_ns - 2).Build(),
                       Signal(task, SIGKILL).Time(clock.boot_ns - 1).Build(), std::vector<std::byte>(17)};
  Make();
  ASSERT_TRUE(pipeline->Start(info).ok());
  const auto told = Told();
  ASSERT_TRUE(told);
  EXPECT_EQ(told->agent().tamper().what(), "SIGKILL");
  EXPECT_EQ(sink.ActorOf(*told).exe(), "/usr/sbin/sshd");
}

}  // namespace
}  // namespace nodetrail::agent
