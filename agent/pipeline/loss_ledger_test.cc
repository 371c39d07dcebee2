// SPDX-License-Identifier: Apache-2.0
#include "agent/pipeline/loss_ledger.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "agent/pipeline/hook_table.h"

namespace nodetrail::agent {
namespace {

SourceCounters Counters(uint64_t cpu_seq, uint64_t lost_open) {
  SourceCounters counters;
  counters.cpus.resize(1);
  counters.cpus[0].cpu_seq = cpu_seq;
  counters.cpus[0].lost_ring[NT_FILE_OPEN] = lost_open;
  counters.cpus[0].submitted[NT_FILE_OPEN] = cpu_seq - std::min(cpu_seq, lost_open);
  return counters;
}

TEST(LossLedger, HolesThatExplainTheCountGiveTheExactPlace) {
  LossLedger ledger;
  std::vector<Loss> out;
  EXPECT_FALSE(ledger.See(0, 1, 100));
  EXPECT_TRUE(ledger.See(0, 5, 200));  // 2, 3, 4 are missing
  EXPECT_FALSE(ledger.See(0, 6, 300));
  ledger.Settle(Counters(20, 3), 1000, 1000, &out);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].count, 3U);
  EXPECT_EQ(out[0].seq_from, 2U);
  EXPECT_EQ(out[0].seq_to, 4U);
  EXPECT_EQ(out[0].from_boot_ns, 100U);
  EXPECT_EQ(out[0].to_boot_ns, 200U);
}

TEST(LossLedger, OtherwiseThePlaceIsAsWideAsItMustBe) {
  LossLedger ledger;
  std::vector<Loss> out;
  ledger.See(0, 1, 100);
  ledger.Settle(Counters(4, 0), 500, 500, &out);
  EXPECT_TRUE(out.empty());
  ledger.See(0, 2, 510);
  ledger.Settle(Counters(9, 2), 1000, 1000, &out);  // the holes are not seen yet
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].count, 2U);
  EXPECT_EQ(out[0].seq_from, 5U);
  EXPECT_EQ(out[0].seq_to, 9U);
  EXPECT_EQ(out[0].from_boot_ns, 500U);
  EXPECT_EQ(out[0].to_boot_ns, 1000U);
}

// Twice two are lost after the newest record: what is seen of the first two by
// the second settlement is as many as the second counts, and not those.
TEST(LossLedger, HolesOfLossesCountedBeforeExplainNoLaterOnes) {
  LossLedger ledger;
  std::vector<Loss> out;
  ledger.See(0, 1, 100);
  ledger.Settle(Counters(3, 2), 500, 510, &out);  // 2 and 3 are lost
  ledger.See(0, 4, 600);
  ledger.See(0, 5, 700);
  out.clear();
  ledger.Settle(Counters(7, 4), 1000, 1010, &out);  // 6 and 7 are lost
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].count, 2U);
  EXPECT_GE(out[0].seq_to, 7U);
  EXPECT_EQ(out[0].to_boot_ns, 1010U) << "when the counters were read";
  // Once all holes are seen, the place of the next loss is exact again.
  ledger.See(0, 8, 1100);
  out.clear();
  ledger.Settle(Counters(8, 4), 1500, 1510, &out);
  EXPECT_TRUE(out.empty());
  ledger.See(0, 10, 1600);  // 9 is lost
  ledger.Settle(Counters(10, 5), 2000, 2010, &out);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].seq_from, 9U);
  EXPECT_EQ(out[0].seq_to, 9U);
}

// Position 4 was given before the first settlement, and counted after it.
TEST(LossLedger, ALossUnderWayAtASettlementIsPlacedWhereItWas) {
  LossLedger ledger;
  std::vector<Loss> out;
  SourceCounters counters = Counters(4, 0);
  counters.cpus[0].submitted[NT_FILE_OPEN] = 3;
  for (uint64_t seq = 1; seq <= 3; ++seq) ledger.See(0, seq, seq);
  ledger.Settle(counters, 500, 510, &out);
  EXPECT_TRUE(out.empty());
  counters.cpus[0].lost_ring[NT_FILE_OPEN] = 1;
  ledger.Settle(counters, 1000, 1010, &out);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].seq_from, 4U);
  EXPECT_EQ(out[0].seq_to, 4U);
  EXPECT_EQ(out[0].from_boot_ns, 500U) << "before the counters were read the last time";
}

// The reserve lets records through where the bulk ring is full.
TEST(LossLedger, RecordsBetweenTheLostOnesChangeNoCount) {
  LossLedger ledger;
  std::vector<Loss> out;
  uint64_t lost = 0;
  for (uint64_t seq = 1; seq <= 1000; ++seq) {
    if (seq % 10 == 1) {
      EXPECT_EQ(ledger.See(0, seq, seq), seq != 1);
    } else {
      ++lost;
    }
  }
  ledger.See(0, 1001, 1001);
  ledger.Settle(Counters(1001, lost), 2000, 2010, &out);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(out[0].count, lost);
  EXPECT_EQ(out[0].seq_from, 2U);
  EXPECT_EQ(out[0].seq_to, 1000U);
}

TEST(LossLedger, CountsAddUpWhateverTheOrder) {
  LossLedger ledger;
  uint64_t total = 0;
  for (uint64_t step = 1; step <= 100; ++step) {
    std::vector<Loss> out;
    if (step % 3 == 0) ledger.See(0, step * 10, step * 1000);
    ledger.Settle(Counters(step * 10, step * step), step * 1000, step * 1000, &out);
    for (const Loss& loss : out) {
      total += loss.count;
      EXPECT_LE(loss.seq_from, loss.seq_to);
    }
  }
  EXPECT_EQ(total, 100U * 100U);
}

TEST(LossLedger, MapAndProbeLossesAreTheirOwnStages) {
  LossLedger ledger;
  std::vector<Loss> out;
  SourceCounters counters = Counters(0, 0);
  counters.cpus[0].lost_map[NT_NET_CLOSE] = 4;
  counters.skipped_probes = 2;
  ledger.Settle(counters, 10, 10, &out);
  ASSERT_EQ(out.size(), 2U);
  EXPECT_EQ(out[0].stage, "map");
  EXPECT_EQ(out[0].count, 4U);
  EXPECT_EQ(out[1].stage, "probe");
  EXPECT_EQ(out[1].count, 2U);
  EXPECT_FALSE(ledger.See(1'000'000, 5, 1));  // no such CPU: not believed
}

TEST(HookTable, TheHookThatSawIt) {
  const auto hook = [](const char* name, HookState state, std::vector<std::string> kinds) {
    return HookCoverage{name, "tracepoint", "file", state, "", std::move(kinds)};
  };
  HookTable table({
      hook("tp_btf/sched_process_exec", HookState::kAttached, {"process.exec", "cred.change"}),
      hook("tracepoint/syscalls/sys_enter_execve", HookState::kAttached, {"process.exec", "cred.change"}),
      hook("tracepoint/syscalls/sys_exit_execve", HookState::kAttached, {"process.exec", "cred.change"}),
      hook("tracepoint/syscalls/sys_exit_openat", HookState::kAttached, {"file.open"}),
      hook("tracepoint/syscalls/sys_exit_open", HookState::kAbsent, {"file.open"}),
      hook("tracepoint/syscalls/sys_exit_setuid", HookState::kAttached, {"cred.change"}),
      hook("tracepoint/syscalls/sys_exit_accept", HookState::kAttached, {"net.accept"}),
      hook("tracepoint/syscalls/sys_exit_accept4", HookState::kAttached, {"net.accept"}),
  });
  EXPECT_EQ(table.Find(event::v1::KIND_PROCESS_EXEC, ""), "tp_btf/sched_process_exec");
  EXPECT_EQ(table.Find(event::v1::KIND_CRED_CHANGE, ""), "tp_btf/sched_process_exec");
  EXPECT_EQ(table.Find(event::v1::KIND_CRED_CHANGE, CredCauseSyscall(NT_CAUSE_SETUID)),
            "tracepoint/syscalls/sys_exit_setuid");
  EXPECT_EQ(table.Find(event::v1::KIND_FILE_OPEN, "openat"), "tracepoint/syscalls/sys_exit_openat");
  EXPECT_EQ(table.Find(event::v1::KIND_FILE_OPEN, "open"), "");  // not attached
  EXPECT_EQ(table.Find(event::v1::KIND_NET_ACCEPT, ""), "tracepoint/syscalls/sys_exit_accept*");
  HookTable rings({
      hook("tp_btf/inet_sock_set_state", HookState::kAttached, {"net.connect"}),
      hook("tp_btf/io_uring_complete", HookState::kAttached, {"file.open", "net.connect"}),
      hook("tp_btf/io_uring_req_failed", HookState::kAttached, {"file.open", "net.connect"}),
      hook("io_uring/connect", HookState::kAttached, {"net.connect"}),
  });
  EXPECT_EQ(rings.Find(event::v1::KIND_NET_CONNECT, ""), "tp_btf/inet_sock_set_state");
  EXPECT_EQ(rings.Find(event::v1::KIND_NET_CONNECT, "io_uring_complete"), "tp_btf/io_uring_complete");
  EXPECT_EQ(rings.Find(event::v1::KIND_FILE_OPEN, "io_uring_req_failed"), "tp_btf/io_uring_req_failed");
  EXPECT_EQ(rings.Find(event::v1::KIND_FILE_OPEN, "openat"), "");
  HookTable fallback({hook("tp_btf/sys_exit", HookState::kFallback, {"file.open"})});
  EXPECT_EQ(fallback.Find(event::v1::KIND_FILE_OPEN, "openat"), "tp_btf/sys_exit");
}

}  // namespace
}  // namespace nodetrail::agent
