// SPDX-License-Identifier: Apache-2.0
//
// cred.change by system call.
#include "tests/root/expect.h"
#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

constexpr uint32_t kMinusOne = 0xffffffff;

class PrivilegeTest : public RootTest {
 protected:
  void SetUp() override {
    RootTest::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) OpenCapture();
  }

  // `ret`: as the record should have it, where it isn't what the call returned.
  void ExpectChange(const Outcome& run, nt_cred_cause cause, const std::vector<uint32_t>& args,
                    std::optional<int64_t> ret = {}, uint32_t header_flags = 0) {
    const json& before = run.Truth("before");
    const json& after = run.Truth("after");
    ASSERT_TRUE(before.contains("task") && after.contains("task")) << run.standard_error;
    const Record* record = run.Only(after);
    ASSERT_NE(record, nullptr);
    ASSERT_EQ(record->type(), NT_CRED);
    const nt_cred_change& change = record->event.body.cred;
    ExpectTask(record->event.task, after);
    ExpectCred(change.old_cred, CredOf(before.at("task")), "before");
    EXPECT_EQ(change.ret, ret.value_or(after.at("ret").get<int64_t>()));
    EXPECT_EQ(change.cause, static_cast<uint32_t>(cause));
    EXPECT_EQ(change.nargs, args.size());
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(change.args[i], i < args.size() ? args[i] : 0) << "argument " << i;
    EXPECT_EQ(change.pad, 0u);
    EXPECT_EQ(record->event.header.flags, header_flags);
    ExpectTails(*record, {});
  }

  void ExpectNothing(const Outcome& run) {
    EXPECT_TRUE(run.During(run.Truth("after")).empty()) << "a call that changes nothing is no change";
  }
};

struct Change {
  std::vector<std::string> act;
  nt_cred_cause cause;
  std::vector<uint32_t> args;
};

TEST_F(PrivilegeTest, EveryCallThatSucceeds) {
  const std::vector<Change> changes = {
      {{"setuid", "1001"}, NT_CAUSE_SETUID, {1001}},
      {{"setgid", "1002"}, NT_CAUSE_SETGID, {1002}},
      {{"setreuid", "1003", "1004"}, NT_CAUSE_SETREUID, {1003, 1004}},
      {{"setreuid", "-1", "1004"}, NT_CAUSE_SETREUID, {kMinusOne, 1004}},
      {{"setregid", "1005", "-1"}, NT_CAUSE_SETREGID, {1005, kMinusOne}},
      {{"setresuid", "1006", "1007", "1008"}, NT_CAUSE_SETRESUID, {1006, 1007, 1008}},
      {{"setresuid", "-1", "-1", "1008"}, NT_CAUSE_SETRESUID, {kMinusOne, kMinusOne, 1008}},
      {{"setresgid", "1009", "1010", "1011"}, NT_CAUSE_SETRESGID, {1009, 1010, 1011}},
      {{"setfsuid", "1012"}, NT_CAUSE_SETFSUID, {1012}},
      {{"setfsgid", "1013"}, NT_CAUSE_SETFSGID, {1013}},
      {{"capset", "0x1", "keep", "keep"}, NT_CAUSE_CAPSET, {}},
      {{"capset", "0x3", "0xff", "0x5"}, NT_CAUSE_CAPSET, {}},
  };
  for (const Change& change : changes) {
    SCOPED_TRACE(testing::PrintToString(change.act));
    std::vector<std::string> args = {"login=4242", "cred"};
    args.insert(args.end(), change.act.begin(), change.act.end());
    const Outcome run = DoOk(args);
    EXPECT_GE(run.Truth("after").at("ret").get<int64_t>(), 0);
    ExpectChange(run, change.cause, change.args);
  }
}

TEST_F(PrivilegeTest, EveryCallThatIsRefused) {
  const std::vector<Change> changes = {
      {{"setuid", "0"}, NT_CAUSE_SETUID, {0}},
      {{"setgid", "0"}, NT_CAUSE_SETGID, {0}},
      {{"setreuid", "0", "-1"}, NT_CAUSE_SETREUID, {0, kMinusOne}},
      {{"setregid", "-1", "0"}, NT_CAUSE_SETREGID, {kMinusOne, 0}},
      {{"setresuid", "0", "0", "0"}, NT_CAUSE_SETRESUID, {0, 0, 0}},
      {{"setresgid", "0", "0", "0"}, NT_CAUSE_SETRESGID, {0, 0, 0}},
      {{"setgroups", "0", "1"}, NT_CAUSE_SETGROUPS, {2}},
      {{"capset", "0x1", "0x1", "0x0"}, NT_CAUSE_CAPSET, {}},
  };
  for (const Change& change : changes) {
    SCOPED_TRACE(testing::PrintToString(change.act));
    std::vector<std::string> args = {"uid=65534", "cred"};
    args.insert(args.end(), change.act.begin(), change.act.end());
    const Outcome run = DoOk(args);
    EXPECT_EQ(run.Truth("after").at("ret"), -EPERM);
    ExpectChange(run, change.cause, change.args);
  }
}

TEST_F(PrivilegeTest, RefusedSetfsuidIsToldThoughItReturnsAnId) {
  const Outcome user = DoOk({"uid=65534", "cred", "setfsuid", "0"});
  EXPECT_EQ(user.Truth("after").at("ret"), 65534);
  ExpectChange(user, NT_CAUSE_SETFSUID, {0}, -EPERM);
  const Outcome group = DoOk({"uid=65534", "cred", "setfsgid", "0"});
  ExpectChange(group, NT_CAUSE_SETFSGID, {0}, -EPERM);
}

TEST_F(PrivilegeTest, GroupsAreCounted) {
  const Outcome run = DoOk({"cred", "setgroups", "5", "6", "7"});
  EXPECT_EQ(run.Truth("after").at("ret"), 0);
  ExpectChange(run, NT_CAUSE_SETGROUPS, {3});
}

TEST_F(PrivilegeTest, NoChangeIsNoRecord) {
  const std::vector<std::vector<std::string>> acts = {{"setresuid", "-1", "-1", "-1"},
                                                      {"setresgid", "-1", "-1", "-1"},
                                                      {"setreuid", "-1", "-1"},
                                                      {"setuid", "0"},
                                                      {"setresuid", "0", "0", "0"},
                                                      {"setfsuid", "-1"},
                                                      {"setfsuid", "0"},
                                                      {"setfsgid", "-1"},
                                                      {"capset", "keep", "keep", "keep"}};
  for (const auto& act : acts) {
    SCOPED_TRACE(testing::PrintToString(act));
    std::vector<std::string> args = {"cred"};
    args.insert(args.end(), act.begin(), act.end());
    ExpectNothing(DoOk(args));
  }
}

TEST_F(PrivilegeTest, AThreadAloneChanges) {
  const Outcome run = DoOk({"cred_thread", "setresuid", "1", "2", "3"});
  const json& after = run.Truth("after");
  EXPECT_NE(TidOf(after), TgidOf(after));
  EXPECT_EQ(CredOf(run.Truth("leader").at("task")).uid, 0u) << "the leader keeps its own";
  ExpectChange(run, NT_CAUSE_SETRESUID, {1, 2, 3});
}

TEST_F(PrivilegeTest, InAUserNamespaceIdsAreTheHosts) {
  const Outcome run = DoOk({"userns", "cred", "setuid", "0"});
  // Nothing is mapped: the kernel refuses any id.
  EXPECT_EQ(run.Truth("after").at("ret"), -EINVAL);
  ExpectChange(run, NT_CAUSE_SETUID, {0});
  const Record* record = run.Only(run.Truth("after"));
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->event.task.cred.uid, 0u);
  EXPECT_EQ(record->event.task.cred.userns_level, 1u);
}

TEST_F(PrivilegeTest, ThirtyTwoBitCalls) {
  const std::vector<Change> changes = {{{"setuid32", "1001"}, NT_CAUSE_SETUID, {1001}},
                                       {{"setgid32", "1001"}, NT_CAUSE_SETGID, {1001}},
                                       {{"setuid16", "1001"}, NT_CAUSE_SETUID, {1001}},
                                       {{"setresuid32", "1", "-1", "3"}, NT_CAUSE_SETRESUID, {1, kMinusOne, 3}}};
  for (const Change& change : changes) {
    SCOPED_TRACE(testing::PrintToString(change.act));
    std::vector<std::string> args = {"cred"};
    args.insert(args.end(), change.act.begin(), change.act.end());
    const Outcome run = DoOk(args);
    ASSERT_EQ(run.Truth("after").at("ret"), 0) << "this kernel must run 32-bit calls";
    if (Hooks() == agent::SyscallHooks::kSysExit) {
      ExpectChange(run, change.cause, change.args, {}, NT_F_COMPAT32);
    } else {
      // Known and told: per-call tracepoints are blind to int 0x80 (capture.h).
      ExpectNothing(run);
    }
  }
}

}  // namespace
}  // namespace nodetrail::root_test
