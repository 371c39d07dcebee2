// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/person.h"

#include <sys/socket.h>

#include "agent/attribute/table_fixture.h"

namespace nodetrail::agent {
namespace {

constexpr uint32_t kAlice = 1000, kBob = 1001;
constexpr uint64_t kStart = 900'000'000'000;

std::vector<std::string> Told(const Process& process) {
  std::vector<std::string> out;
  if (process.elevation == nullptr) return out;
  for (const Elevation& link : *process.elevation) {
    out.push_back(std::to_string(link.from_uid) + ">" + std::to_string(link.to_uid) + " " + link.tool);
  }
  return out;
}

class PersonTest : public TableFixture {
 protected:
  // A process by its records: what it is now is in `task`.
  struct Actor {
    nt_task task;
    Process* process;
  };

  Actor Start(Actor& parent, uint32_t pid) {
    const uint64_t start = kStart + pid;
    Actor child{parent.task, Take(Fork(parent.task, pid, start))};
    child.task.tgid = child.task.pid = child.task.ns_tgid = child.task.ns_pid = pid;
    child.task.start_boottime_ns = start;
    child.task.ppid = parent.task.tgid;
    child.task.parent_start_boottime_ns = parent.task.start_boottime_ns;
    return child;
  }
  // `mode`: of the file. A set-user-ID file is root's.
  void Run(Actor* actor, const std::string& exe, uint32_t mode = 0100755, const std::vector<std::string>& argv = {}) {
    nt_exec body{};
    body.has_old_cred = 1;
    body.old_cred = actor->task.cred;
    body.argc = static_cast<uint32_t>(argv.size());
    body.argv_len = JoinArgv(argv).size();
    body.exe.flags = NT_FILE_VALID;
    body.exe.ino = 77;
    body.exe.mode = mode;
    if ((mode & 04000U) != 0) actor->task.cred.euid = actor->task.cred.suid = actor->task.cred.fsuid = 0;
    actor->process = Take(RecordBuilder(NT_EXEC)
                              .Task(actor->task)
                              .Body(body)
                              .Path(NT_TAIL_PATH, exe)
                              .Path(NT_TAIL_CWD, "/")
                              .Argv(argv)
                              .Time(actor->task.start_boottime_ns + 500));
  }
  static void Become(Actor* actor, uint32_t uid) {
    actor->task.cred.uid = actor->task.cred.euid = actor->task.cred.suid = actor->task.cred.fsuid = uid;
  }
  Actor Daemon() {
    Make();
    EXPECT_TRUE(table->SeedHost().ok());
    return {Sshd(), nullptr};
  }
  void Accept(const Actor& actor, nt_u8 last_octet) {
    nt_net net{};
    net.family = AF_INET;
    net.protocol = 6;
    net.inbound = 1;
    net.remote_addr[0] = 192;
    net.remote_addr[2] = 2;
    net.remote_addr[3] = last_octet;
    net.remote_port = 40001;
    Take(RecordBuilder(NT_NET_ACCEPT).Task(actor.task).Body(net).Time(kStart));
  }
  // The shell of alice, who came over the network.
  Actor AliceLogsIn(Actor* sshd) {
    Accept(*sshd, 7);
    Actor session = Start(*sshd, 200);
    Run(&session, "/usr/sbin/sshd", 0100755, {"sshd", "-R"});
    session.task.loginuid = kAlice;
    Actor shell = Start(session, 201);
    Become(&shell, kAlice);
    Run(&shell, "/bin/bash", 0100755, {"-bash"});
    return shell;
  }
};

TEST_F(PersonTest, SshSudoSuNamesEverybody) {
  Actor sshd = Daemon();
  Actor shell = AliceLogsIn(&sshd);
  ASSERT_NE(shell.process->entry, nullptr);
  EXPECT_EQ(shell.process->entry->kind, EntryKind::kSsh);
  EXPECT_EQ(shell.process->entry->exe, "/bin/bash");
  EXPECT_FALSE(shell.process->entry->from_proc);
  ASSERT_NE(shell.process->login, nullptr);
  EXPECT_EQ(shell.process->login->address[3], 7);
  EXPECT_EQ(Told(*shell.process), std::vector<std::string>{});

  Actor sudo = Start(shell, 202);
  Run(&sudo, "/usr/bin/sudo", 0104755, {"sudo", "su", "bob"});
  EXPECT_EQ(Told(*sudo.process), std::vector<std::string>{"1000>0 /usr/bin/sudo"});
  Become(&sudo, 0);
  Actor su = Start(sudo, 203);
  Run(&su, "/usr/bin/su", 0104755, {"su", "bob"});
  EXPECT_EQ(Told(*su.process), std::vector<std::string>{"1000>0 /usr/bin/sudo"});
  Actor cat = Start(su, 204);
  Become(&cat, kBob);
  Run(&cat, "/bin/cat", 0100755, {"cat", "/etc/shadow"});
  EXPECT_EQ(Told(*cat.process), (std::vector<std::string>{"1000>0 /usr/bin/sudo", "0>1001 /usr/bin/su"}));
  EXPECT_EQ(cat.process->elevation->at(1).command, std::vector<std::string>{"bob"});
  EXPECT_EQ(cat.process->entry, shell.process->entry);
  EXPECT_EQ(cat.process->login->address[3], 7);
  EXPECT_TRUE(GapsOf(*cat.process).empty());
}

TEST_F(PersonTest, EachConnectionHasItsOwnSource) {
  Actor sshd = Daemon();
  Accept(sshd, 7);
  Accept(sshd, 8);  // the first was dropped without a child
  EXPECT_EQ(Start(sshd, 300).process->login->address[3], 8);
  EXPECT_EQ(Start(sshd, 301).process->login, nullptr);
  Accept(sshd, 9);
  EXPECT_EQ(Start(sshd, 302).process->login->address[3], 9);
}

TEST_F(PersonTest, OnlySshdsConnectionsAreLogins) {
  Actor sshd = Daemon();
  Actor web = Start(sshd, 300);
  Run(&web, "/usr/sbin/nginx");
  Accept(web, 7);
  EXPECT_EQ(Start(web, 301).process->login, nullptr);
}

TEST_F(PersonTest, AUsersOwnFileIsNoBroker) {
  Image image;
  image.exe = "/home/mallory/sshd";
  image.has_file = true;
  image.file.uid = 1002;
  EXPECT_EQ(BrokerOf(&image, 300), EntryKind::kNone);
  image.file.uid = 0;
  EXPECT_EQ(BrokerOf(&image, 300), EntryKind::kSsh);
  image.exe = "/memfd:runc_cloned:/proc/self/exe";
  EXPECT_EQ(BrokerOf(&image, 300), EntryKind::kContainer);
  image.exe = "/usr/bin/containerd-shim-runc-v2";
  EXPECT_EQ(BrokerOf(&image, 300), EntryKind::kContainer);
  image.exe = "/usr/bin/sshd-keygen";
  EXPECT_EQ(BrokerOf(&image, 300), EntryKind::kNone);
  EXPECT_EQ(BrokerOf(nullptr, 300), EntryKind::kNone);
}

TEST_F(PersonTest, WhatRanBeforeIsConcludedFromProc) {
  auto user = [](ProcInfo* info, uint32_t uid, uint32_t euid) {
    info->cred.uid = uid;
    info->cred.euid = euid;
    info->loginuid = kAlice;
    info->cred.cap_permitted = euid == 0 ? ~0ULL : 0;
  };
  user(&proc.Add(200, 100, 600'000'000, "/usr/sbin/sshd"), 0, 0);
  user(&proc.Add(201, 200, 610'000'000, "/bin/bash"), kAlice, kAlice);
  ProcInfo& sudo = proc.Add(202, 201, 620'000'000, "/usr/bin/sudo");
  user(&sudo, 0, 0);
  sudo.file.mode = 0104755;
  ProcInfo& su = proc.Add(203, 202, 630'000'000, "/usr/bin/su");
  user(&su, 0, 0);
  su.file.mode = 0104755;
  user(&proc.Add(204, 203, 640'000'000, "/bin/bash"), kBob, kBob);
  // A tool's child whose tool has ended: nothing tells how.
  user(&proc.Add(205, 1, 650'000'000, "/usr/bin/python3"), 0, 0);
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  const Process* shell = table->Newest(204);
  EXPECT_EQ(Told(*shell), (std::vector<std::string>{"1000>0 /usr/bin/sudo", "0>1001 /usr/bin/su"}));
  EXPECT_TRUE(shell->elevation->front().from_proc);
  EXPECT_EQ(shell->elevation->front().cause, ElevationCause::kUnknown);
  ASSERT_NE(shell->entry, nullptr);
  EXPECT_EQ(shell->entry->kind, EntryKind::kSsh);
  EXPECT_EQ(shell->entry->pid, 201U);
  EXPECT_TRUE(shell->entry->from_proc);
  EXPECT_EQ(shell->login, nullptr);
  EXPECT_TRUE(GapsOf(*shell).empty());
  EXPECT_TRUE(GapsOf(*table->Newest(200)).empty());
  const Process* orphan = table->Newest(205);
  EXPECT_EQ(Told(*orphan), std::vector<std::string>{});
  EXPECT_EQ(GapsOf(*orphan), std::vector<std::string>{"actor.elevation"});
}

TEST_F(PersonTest, ALostExecOfTheToolIsNotBlamedOnTheShell) {
  Actor sshd = Daemon();
  Actor shell = AliceLogsIn(&sshd);
  Actor sudo = Start(shell, 202);
  // The exec of sudo is lost, and sudo has ended when its child is first seen.
  Become(&sudo, 0);
  sudo.task.cred.cap_permitted = ~0ULL;
  Actor child = Start(sudo, 203);
  Run(&child, "/usr/bin/id");
  ASSERT_EQ(child.process->elevation->size(), 1U);
  EXPECT_EQ(child.process->elevation->back().tool, "");
  EXPECT_EQ(child.process->elevation->back().to_uid, 0U);
}

TEST_F(PersonTest, AThreadThatTurnsAloneTurnsWhatItStarts) {
  Actor sshd = Daemon();
  Actor server = Start(sshd, 300);
  Run(&server, "/usr/sbin/smbd");
  server.task.loginuid = kAlice;
  // A thread becomes bob, the leader stays root.
  nt_task thread = server.task;
  thread.pid = 310;
  thread.cred.uid = thread.cred.euid = kBob;
  const Process* by_thread = Take(Fork(thread, 301, kStart + 301));
  EXPECT_EQ(Told(*by_thread), std::vector<std::string>{"0>1001 /usr/sbin/smbd"});
  EXPECT_EQ(Told(*Take(Fork(server.task, 302, kStart + 302))), std::vector<std::string>{});
}

}  // namespace
}  // namespace nodetrail::agent
