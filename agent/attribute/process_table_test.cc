// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/process_table.h"

#include <gtest/gtest.h>

#include "agent/attribute/table_fixture.h"

namespace nodetrail::agent {
namespace {

using ProcessTableTest = TableFixture;

TEST_F(ProcessTableTest, UidIsTheDocumentedHash) {
  ProcUidMaker maker(kBootId);
  // printf 'nodetrail-proc\n<boot id>' ; 4242 LE32 ; 5000000123 LE64 | sha256sum
  const ProcUid uid = maker.Make(4242, 5'000'000'123);
  EXPECT_EQ(maker.Make(4242, 5'000'000'123), uid);
  EXPECT_NE(maker.Make(4243, 5'000'000'123), uid);
  EXPECT_NE(maker.Make(4242, 5'000'000'124), uid);
  EXPECT_NE(ProcUidMaker("00000000-0a4d-4508-af43-4e2ade0ef9d3").Make(4242, 5'000'000'123), uid);
  constexpr ProcUid kWant = {0x6d, 0x61, 0x13, 0x7f, 0x20, 0x06, 0x66, 0xc9,
                             0xd6, 0xcd, 0x3f, 0xc3, 0x48, 0x40, 0x41, 0x81};
  EXPECT_EQ(uid, kWant);
}

TEST_F(ProcessTableTest, SeededIdentityBecomesExact) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  const ProcUid floored = table->Find(100, 500'000'000)->uid;
  const Process* sshd = Take(Act(Sshd()));
  EXPECT_TRUE(sshd->exact);
  EXPECT_NE(sshd->uid, floored);
  EXPECT_EQ(sshd->image->exe, "/usr/sbin/sshd");
  EXPECT_EQ(table->size(), 2U);
  EXPECT_EQ(table->stats().adopted, 2U);  // its parent too: the record names its start
  EXPECT_EQ(sshd->ancestors.front()->uid, table->Find(1, kInitStart)->uid);
  EXPECT_EQ(table->stats().repairs, 0U);
}

TEST_F(ProcessTableTest, AnotherTickIsAnotherProcess) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  nt_task reused = TestTask(100, 900'000'000, 1, kInitStart, "other");
  const Process* process = Take(Act(reused));
  // /proc still shows the old one: what it says is not believed.
  EXPECT_EQ(process->image->exe, "");
  EXPECT_EQ(GapsOf(*process), (std::vector<std::string>{"actor.exe", "actor.argv", "actor.cwd"}));
  EXPECT_FALSE(process->complete());
  EXPECT_TRUE(table->Find(100, 500'000'000)->exited);
}

TEST_F(ProcessTableTest, ForkAndExecFollow) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  Process* child = Take(Fork(Sshd(), 200, 1'000'000'000));
  EXPECT_EQ(child->exec_count, 0U);
  EXPECT_EQ(child->image->exe, "/usr/sbin/sshd");
  ASSERT_EQ(child->ancestors.size(), 2U);
  const nt_task task = TestTask(200, 1'000'000'000, 100, kSshdStart, "bash");
  child = Take(Exec(task, "/bin/bash"));
  EXPECT_EQ(child->exec_count, 1U);
  EXPECT_EQ(child->image->exe, "/bin/bash");
  EXPECT_TRUE(child->complete()) << ::testing::PrintToString(GapsOf(*child));
  child = Take(Exec(task, "/bin/ls"));
  EXPECT_EQ(child->exec_count, 2U);
  EXPECT_EQ(table->stats().repairs, 0U);
}

TEST_F(ProcessTableTest, AncestryIsByBirthAndOutlivesTheParent) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  const nt_task shell = TestTask(200, 1'000'000'000, 100, kSshdStart, "bash");
  Take(Fork(Sshd(), 200, 1'000'000'000));
  Take(Exec(shell, "/bin/bash"));
  Take(Fork(shell, 201, 1'100'000'000));
  nt_exit exit{};
  Take(RecordBuilder(NT_EXIT).Task(shell).Body(exit));
  // The orphan is init's now, but bash started it.
  const Process* orphan = Take(Act(TestTask(201, 1'100'000'000, 1, kInitStart, "bash")));
  ASSERT_EQ(orphan->ancestors.size(), 3U);
  EXPECT_EQ(orphan->ancestors[0]->exe, "/bin/bash");
  EXPECT_EQ(orphan->ancestors[1]->exe, "/usr/sbin/sshd");
}

TEST_F(ProcessTableTest, AncestorsAreBounded) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  nt_task parent = Sshd();
  for (uint32_t pid = 300; pid < 330; ++pid) {
    const uint64_t start = 1'000'000'000 + uint64_t{pid} * 1'000'000;
    Take(Fork(parent, pid, start));
    parent = TestTask(pid, start, parent.tgid, parent.start_boottime_ns);
  }
  const Process* last = Take(Act(parent));
  EXPECT_EQ(last->ancestors.size(), kMaxAncestors);
  EXPECT_TRUE(last->ancestors_truncated);
  EXPECT_EQ(last->ancestors[0]->pid, 328U);
}

TEST_F(ProcessTableTest, LostForkIsRepairedAndMarked) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  proc.Add(200, 100, 1'000'000'000, "/bin/late");
  const Process* process = Take(Act(TestTask(200, 1'000'000'007, 100, kSshdStart, "late")));
  EXPECT_EQ(process->image->exe, "/bin/late");
  EXPECT_TRUE(process->image->from_proc);
  EXPECT_FALSE(process->complete());
  EXPECT_EQ(GapsOf(*process), (std::vector<std::string>{"actor.exe", "actor.argv"}));
  EXPECT_EQ(process->ancestors[0]->exe, "/usr/sbin/sshd");
  EXPECT_EQ(table->stats().repairs, 1U);
  // Its next exec brings all the facts: complete again.
  EXPECT_TRUE(Take(Exec(TestTask(200, 1'000'000'007, 100, kSshdStart, "sh"), "/bin/sh"))->complete());
}

TEST_F(ProcessTableTest, LostForkOfTheDeadIsAHoleNotAGuess) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  const Process* process = Take(Act(TestTask(200, 1'000'000'007, 150, 990'000'000, "gone")));
  EXPECT_EQ(process->image->exe, "");
  EXPECT_EQ(process->image->comm, "gone");
  EXPECT_TRUE(process->ancestors.empty());
  EXPECT_EQ(GapsOf(*process), (std::vector<std::string>{"actor.ancestors", "actor.exe", "actor.argv", "actor.cwd"}));
}

TEST_F(ProcessTableTest, LostExecIsFoundAfterALoss) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  const nt_task task = TestTask(200, 1'000'000'007, 100, kSshdStart, "x");
  Take(Fork(Sshd(), 200, 1'000'000'007));
  Take(Exec(task, "/bin/old"));
  proc.Add(200, 100, 1'000'000'007, "/bin/new").file.ino = 78;
  EXPECT_EQ(Take(Act(task))->image->exe, "/bin/old");  // nothing lost: /proc isn't asked
  table->NoteLoss();
  const uint64_t reads = proc.reads;
  const Process* process = Take(Act(task));
  EXPECT_EQ(process->image->exe, "/bin/new");
  EXPECT_EQ(process->exec_count, 2U);
  EXPECT_TRUE(process->image->from_proc);
  EXPECT_FALSE(process->complete());
  EXPECT_GT(proc.reads, reads);
  const uint64_t after = proc.reads;
  Take(Act(task));
  EXPECT_EQ(proc.reads, after);  // once per loss
}

TEST_F(ProcessTableTest, AfterALossTheDeadAreInDoubt) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  const nt_task task = TestTask(200, 1'000'000'007, 100, kSshdStart, "x");
  Take(Fork(Sshd(), 200, 1'000'000'007));
  Take(Exec(task, "/bin/old"));
  table->NoteLoss();
  const Process* process = Take(Act(task));
  EXPECT_EQ(process->image->exe, "/bin/old");
  EXPECT_EQ(GapsOf(*process), (std::vector<std::string>{"actor.exe", "actor.argv"}));
}

TEST_F(ProcessTableTest, LateRecordsFindTheExited) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  const nt_task task = TestTask(200, 1'000'000'007, 100, kSshdStart, "x");
  Take(Fork(Sshd(), 200, 1'000'000'007));
  Take(Exec(task, "/bin/curl"));
  nt_exit exit{};
  Take(RecordBuilder(NT_EXIT).Task(task).Body(exit));
  // The pid is taken again, and then a close of the first one's socket comes.
  Take(Fork(Sshd(), 200, 2'000'000'000));
  nt_net net{};
  net.family = 2;
  nt_task owner = task;
  owner.flags |= NT_T_SNAPSHOT;
  EXPECT_EQ(Take(RecordBuilder(NT_NET_CLOSE).Task(owner).Body(net))->image->exe, "/bin/curl");
  EXPECT_EQ(table->stats().repairs, 0U);
}

TEST_F(ProcessTableTest, AMillionShortLivesStayBounded) {
  Make({.max_processes = 1000, .max_exited = 100});
  ASSERT_TRUE(table->SeedHost().ok());
  for (uint64_t i = 0; i < 200'000; ++i) {
    const auto pid = static_cast<uint32_t>(1000 + i % 30'000);
    const uint64_t start = 1'000'000'000 + i * 1000;
    Take(Fork(Sshd(), pid, start));
    nt_exit exit{};
    Take(RecordBuilder(NT_EXIT).Task(TestTask(pid, start, 100, kSshdStart)).Body(exit));
  }
  EXPECT_LE(table->size(), 104U);
  EXPECT_EQ(table->stats().repairs, 0U);
}

TEST_F(ProcessTableTest, ExitsThatWereLostDoNotPileUp) {
  Make({.max_processes = 500, .max_exited = 100});
  ASSERT_TRUE(table->SeedHost().ok());
  for (uint32_t i = 0; i < 5000; ++i) Take(Fork(Sshd(), 1000 + i, 1'000'000'000 + uint64_t{i} * 1000));
  EXPECT_LE(table->size(), 502U);
  EXPECT_NE(table->Find(100, kSshdStart), nullptr);  // it acts: never the oldest
}

TEST_F(ProcessTableTest, ReapFindsWhoLeftUnseen) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  Take(Fork(Sshd(), 200, 1'000'000'000));
  proc.Add(201, 100, 1'000'000'000, "/bin/alive");
  Take(Fork(Sshd(), 201, 1'000'000'001));
  ASSERT_TRUE(table->Reap().ok());
  EXPECT_TRUE(table->Find(200, 1'000'000'000)->exited);
  EXPECT_FALSE(table->Find(201, 1'000'000'001)->exited);
}

TEST_F(ProcessTableTest, TreeSeedingReadsWhatIsInScope) {
  proc.Add(200, 100, 1'000'000'000, "/bin/bash");  // root of the scope
  proc.Add(201, 200, 1'100'000'000, "/bin/make");  // descendants
  proc.Add(202, 201, 1'200'000'000, "/bin/cc");
  proc.Add(300, 100, 1'000'000'000, "/bin/stranger");
  Make();
  ASSERT_TRUE(table->SeedTree(200).ok());
  std::vector<uint32_t> seeded;
  for (const Process* process : table->Seeded()) seeded.push_back(process->tgid);
  EXPECT_EQ(seeded, (std::vector<uint32_t>{200, 201, 202}));
  EXPECT_EQ(proc.full_reads, 3U);
  EXPECT_EQ(table->size(), 5U);  // and two ancestors, by name only
  EXPECT_EQ(table->Find(300, 1'000'000'000), nullptr);
  const Process* cc = table->Find(202, 1'200'000'000);
  ASSERT_EQ(cc->ancestors.size(), 4U);
  EXPECT_EQ(cc->ancestors[0]->exe, "/bin/make");
  EXPECT_EQ(cc->ancestors[3]->exe, "/sbin/init");
  EXPECT_TRUE(table->Find(100, 500'000'000)->minimal);
}

TEST_F(ProcessTableTest, PlaceComesFromTheRecord) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  nt_cgroup body{};
  body.id = 55;
  Take(RecordBuilder(NT_CGROUP).Task(Sshd()).Body(body).Path(NT_TAIL_CGROUP, "/system.slice/ssh.service"));
  nt_task task = Sshd();
  task.cgroup_v2_id = 55;
  const Process* process = Take(Act(task));
  ASSERT_NE(process->place, nullptr);
  EXPECT_EQ(process->place->path, "/system.slice/ssh.service");
  const uint64_t revision = process->revision;
  body.id = 56;
  Take(RecordBuilder(NT_CGROUP).Task(Sshd()).Body(body).Path(NT_TAIL_CGROUP, "/other"));
  task.cgroup_v2_id = 56;
  process = Take(Act(task));
  EXPECT_EQ(process->place->path, "/other");
  EXPECT_GT(process->revision, revision);
  task.cgroup_v2_id = 57;  // its record was lost
  EXPECT_EQ(Take(Act(task))->place, nullptr);
}

TEST_F(ProcessTableTest, CloneParentMakesASibling) {
  Make();
  ASSERT_TRUE(table->SeedHost().ok());
  const nt_task shell = TestTask(200, 1'000'000'000, 100, kSshdStart, "bash");
  Take(Fork(Sshd(), 200, 1'000'000'000));
  nt_fork body{};
  body.child_tgid = 201;
  body.child_start_boottime_ns = 1'100'000'000;
  body.child_ppid = 100;
  body.child_parent_start_boottime_ns = kSshdStart;
  const Process* sibling = Take(RecordBuilder(NT_FORK).Task(shell).Body(body));
  EXPECT_EQ(sibling->ancestors[0]->pid, 100U);
  EXPECT_EQ(sibling->ppid, 100U);
}

}  // namespace
}  // namespace nodetrail::agent
