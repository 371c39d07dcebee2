// SPDX-License-Identifier: Apache-2.0
#include "agent/selftest/selftest.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "agent/pipeline/pipeline_fixture.h"

namespace nodetrail::agent {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint32_t kPid = 4711;

// A canary whose acts the test says.
class ToldCanary final : public Canary {
 public:
  Result<uint32_t> Launch() override {
    ++launched;
    if (!refusal.ok()) return refusal;
    return kPid;
  }
  Status Release() override { return OkStatus(); }
  std::optional<CanaryReport> Ended() override { return report; }
  void Reap() override { ++reaped; }

  Status refusal;
  std::optional<CanaryReport> report =
      CanaryReport{{{"process", 0}, {"privilege", 0}, {"file", 0}, {"network", 0}, {"kernel", 0}}};
  int launched = 0, reaped = 0;
};

class SelftestTest : public PipelineFixture {
 protected:
  SelftestTest() {
    batch.set_heartbeat_s(3600);
    source.AddHook({"a", "tracepoint", "process", HookState::kAttached, "", {"process.exec", "process.exit"}});
    source.AddHook({"b", "tracepoint", "privilege", HookState::kAttached, "", {"cred.change"}});
    source.AddHook({"c", "tracepoint", "file", HookState::kFallback, "", {"file.create", "file.delete"}});
    source.AddHook({"d", "tracepoint", "network", HookState::kAbsent, "", {"net.connect", "net.accept", "net.close"}});
    source.AddHook({"e", "tracepoint", "kernel", HookState::kAttached, "", {"memfd.create"}});
    selftest = &test;
  }

  [[nodiscard]] nt_task Task(uint32_t tgid) const { return TestTask(tgid, clock.boot_ns, 1, 10'000'456, "canary"); }
  template <typename Body>
  void Push(nt_type type, const Body& body) {
    source.Push(RecordBuilder(type).Time(clock.boot_ns).Task(Task(kPid)).Body(body));
  }
  void PushExec() { source.Push(Exec(Task(kPid), "/usr/libexec/canary", {"canary"}).Time(clock.boot_ns)); }
  void PushDelete() { Push(NT_FILE_DELETE, nt_act{}); }
  void PushOpen(uint32_t tgid = kPid) { source.Push(Open(Task(tgid), "/var/lib/x/canary", true).Time(clock.boot_ns)); }
  // All but the file acts.
  void PushOthers() {
    PushExec();
    Push(NT_CRED, nt_cred_change{});
    Push(NT_MEMFD_CREATE, nt_act{});
    PushExec();
    Push(NT_EXIT, nt_exit{});
  }
  void PushAll() {
    PushOpen();
    PushDelete();
    PushOthers();
  }
  void Pass(uint64_t ns) {
    clock.Advance(ns);
    ASSERT_TRUE(pipeline->Tick().ok());
  }
  [[nodiscard]] Hearing Of(std::string_view domain) const {
    for (const DomainHearing& known : test.View()) {
      if (known.domain == domain) return known.hearing;
    }
    ADD_FAILURE() << "no verdict on " << domain;
    return Hearing::kUntried;
  }
  [[nodiscard]] std::vector<event::v1::Event> Said() const { return sink.Events(event::v1::KIND_AGENT_SELFTEST); }

  ToldCanary canary;
  Selftest test{&canary, &source, 30 * kSecond};
};

TEST_F(SelftestTest, WhatIsHeardIsSaidOnceAndIsNoEvent) {
  Start();
  Pass(5'000'000);
  EXPECT_EQ(canary.launched, 1);
  EXPECT_TRUE(test.View().empty());
  PushAll();
  Pass(5'000'000);
  for (const auto* domain : {"process", "privilege", "file", "kernel"})
    EXPECT_EQ(Of(domain), Hearing::kHeard) << domain;
  EXPECT_EQ(Of("network"), Hearing::kAbsent);
  EXPECT_EQ(canary.reaped, 1);
  ASSERT_EQ(Said().size(), 1U);
  EXPECT_EQ(Said()[0].agent().domains_size(), 5);
  EXPECT_EQ(Said()[0].agent().domains(0).state(), "heard");
  // Again and again, nothing new.
  for (int i = 0; i < 3; ++i) {
    Pass(30 * kSecond);
    PushAll();
    Pass(5'000'000);
  }
  EXPECT_EQ(canary.launched, 4);
  EXPECT_EQ(canary.reaped, 4);
  Stop();
  EXPECT_EQ(Said().size(), 1U);
  EXPECT_TRUE(sink.Events(event::v1::KIND_PROCESS_EXEC).empty());
  EXPECT_TRUE(sink.Events(event::v1::KIND_FILE_CREATE).empty());
  std::map<std::string, uint64_t> filtered;
  for (const auto& event : sink.Events(event::v1::KIND_AGENT_FILTERED)) {
    for (const auto& entry : event.agent().filtered()) filtered[entry.rule() + "/" + entry.kind()] += entry.count();
  }
  EXPECT_EQ(filtered["self.canary/process.exec"], 8U);
  EXPECT_EQ(filtered["self.canary/memfd.create"], 4U);
}

TEST_F(SelftestTest, ADeafDomainIsNamedAndItsReturnToo) {
  Start();
  Pass(5'000'000);
  PushOthers();
  PushDelete();
  Pass(5'000'000);
  EXPECT_TRUE(test.View().empty()) << "judged before the record could come";
  Pass(2 * kSecond);
  EXPECT_EQ(Of("file"), Hearing::kDeaf);
  EXPECT_EQ(Of("process"), Hearing::kHeard);
  ASSERT_EQ(Said().size(), 1U);
  const event::v1::SelftestDomain file = Said()[0].agent().domains(2);
  EXPECT_EQ(file.domain(), "file");
  EXPECT_EQ(file.state(), "deaf");
  ASSERT_EQ(file.missing_size(), 1);
  EXPECT_EQ(file.missing(0), "file.create");
  Pass(30 * kSecond);
  PushAll();
  Pass(5'000'000);
  EXPECT_EQ(Of("file"), Hearing::kHeard);
  EXPECT_EQ(Said().size(), 2U);
}

TEST_F(SelftestTest, ALostRecordIsNoDeafness) {
  Start();
  Pass(5'000'000);
  PushOthers();
  PushOpen();
  source.Lose(NT_FILE_DELETE);
  Pass(5'000'000);
  Pass(2 * kSecond);
  EXPECT_EQ(Of("file"), Hearing::kUnsure);
  // What was known stays.
  Pass(30 * kSecond);
  PushAll();
  Pass(5'000'000);
  EXPECT_EQ(Of("file"), Hearing::kHeard);
  Pass(30 * kSecond);
  source.Lose(NT_FILE_DELETE);
  source.Lose(NT_FILE_OPEN);
  Pass(5'000'000);
  Pass(3 * kSecond);
  EXPECT_EQ(Of("file"), Hearing::kHeard);
}

TEST_F(SelftestTest, WhoHidesInACanaryIsRecorded) {
  Start();
  Pass(5'000'000);
  PushAll();
  // More than a canary does, other kinds, and others.
  PushOpen();
  PushDelete();
  PushExec();
  PushOpen(4712);
  Pass(5'000'000);
  Stop();
  EXPECT_EQ(sink.Events(event::v1::KIND_FILE_CREATE).size(), 2U);
  EXPECT_EQ(sink.Events(event::v1::KIND_FILE_DELETE).size(), 1U);
  EXPECT_EQ(sink.Events(event::v1::KIND_PROCESS_EXEC).size(), 1U);
}

TEST_F(SelftestTest, WhatCouldNotBeDoneIsNoDeafness) {
  canary.report->acts["file"] = ENOSPC;
  canary.report->acts.erase("kernel");
  Start();
  Pass(5'000'000);
  PushExec();
  Push(NT_CRED, nt_cred_change{});
  Push(NT_EXIT, nt_exit{});
  Pass(5'000'000);
  Pass(2 * kSecond);
  EXPECT_EQ(Of("file"), Hearing::kUntried);
  EXPECT_EQ(Of("kernel"), Hearing::kUntried);
  EXPECT_EQ(Of("process"), Hearing::kHeard);
  EXPECT_NE(Said().at(0).agent().domains(2).why().find("ENOSPC"), std::string::npos);
}

TEST_F(SelftestTest, ACanaryThatDoesNotEndOrStart) {
  canary.report.reset();
  Start();
  Pass(5'000'000);
  Pass(19 * kSecond);
  EXPECT_TRUE(test.View().empty());
  Pass(2 * kSecond);
  EXPECT_EQ(Of("file"), Hearing::kUntried);
  EXPECT_EQ(canary.reaped, 1);
  canary.refusal = NotFound("start /nowhere: ENOENT");
  Pass(30 * kSecond);
  ASSERT_EQ(Said().size(), 2U);
  EXPECT_EQ(Said()[1].agent().domains(0).why(), "start /nowhere: ENOENT");
}

// Without letting go of the pid; the test's own limit of time is the deadline.
void AwaitEnd(uint32_t pid) {
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, pid, &info, WEXITED | WNOWAIT), 0);
}

TEST(ChildCanary, ActsAndTells) {
  const std::string dir = testing::TempDir() + "canary-" + std::to_string(::getpid());
  std::filesystem::create_directories(dir);
  const auto canary = MakeCanary(std::string(NT_BINARY_DIR) + "/bin/nodetrail-canary", dir);
  for (int round = 0; round < 3; ++round) {
    const auto pid = canary->Launch();
    ASSERT_TRUE(pid.ok()) << pid.status().ToString();
    EXPECT_FALSE(canary->Ended().has_value()) << "it did not wait";
    ASSERT_TRUE(canary->Release().ok());
    AwaitEnd(*pid);
    const std::optional<CanaryReport> report = canary->Ended();
    ASSERT_TRUE(report.has_value());
    ASSERT_EQ(report->acts.size(), 5U);
    for (const auto& [domain, error] : report->acts) EXPECT_EQ(error, 0) << domain;
    canary->Reap();
    EXPECT_NE(::kill(static_cast<pid_t>(*pid), 0), 0);
  }
  EXPECT_TRUE(std::filesystem::is_empty(dir));
  // Where it can't write.
  const auto gone = MakeCanary(std::string(NT_BINARY_DIR) + "/bin/nodetrail-canary", dir + "/nowhere");
  const auto pid = gone->Launch();
  ASSERT_TRUE(pid.ok()) << pid.status().ToString();
  ASSERT_TRUE(gone->Release().ok());
  AwaitEnd(*pid);
  const std::optional<CanaryReport> report = gone->Ended();
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->acts.at("file"), ENOENT);
  std::filesystem::remove_all(dir);
  EXPECT_FALSE(MakeCanary("/nonexistent/canary", dir)->Launch().ok());
}

}  // namespace
}  // namespace nodetrail::agent
