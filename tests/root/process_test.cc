// SPDX-License-Identifier: Apache-2.0
//
// process.exec, process.fork, process.exit.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "tests/root/expect.h"
#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

class ProcessTest : public RootTest {
 protected:
  void SetUp() override {
    RootTest::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) OpenCapture();
  }

  struct ExecWant {
    std::vector<std::string> argv = {};  // as the kernel lays it out
    std::string script = {};             // "" for none
    uint32_t secureexec = 0;
    uint32_t file_flags = NT_FILE_VALID;
  };

  // The exec between the truths "before" and "main".
  void ExpectExec(const Outcome& run, const ExecWant& want) {
    const json& before = run.Truth("before");
    const json& report = run.Truth("main");
    ASSERT_TRUE(before.contains("task") && report.contains("task")) << run.standard_error;
    const Record* record = nullptr;
    for (const Record* r : run.Of(TgidOf(report), NT_EXEC)) {
      if (r->event.header.ktime_boot_ns > before.at("before_ns").get<uint64_t>()) {
        ASSERT_EQ(record, nullptr) << "two exec records for one exec";
        record = r;
      }
    }
    ASSERT_NE(record, nullptr) << "no exec record";
    const nt_exec& exec = record->event.body.exec;
    const std::string argv = JoinArgv(want.argv);
    EXPECT_LE(record->event.header.ktime_boot_ns, report.at("after_ns").get<uint64_t>());
    EXPECT_EQ(record->event.header.flags, argv.size() > NT_ARGV_MAX ? NT_F_TRUNCATED : 0u);
    ExpectTask(record->event.task, report);
    ExpectFile(exec.exe, report.at("exe"), want.file_flags);
    EXPECT_EQ(record->Path(NT_TAIL_PATH), PathOf(report.at("exe")));
    EXPECT_EQ(record->Path(NT_TAIL_CWD), Bytes(report.at("cwd")));
    EXPECT_EQ(exec.has_old_cred, 1u);
    ExpectCred(exec.old_cred, CredOf(before.at("task")), "credentials before");
    EXPECT_EQ(exec.argc, want.argv.size());
    EXPECT_EQ(exec.argv_len, argv.size());
    EXPECT_EQ(record->event.Tail(NT_TAIL_ARGV), std::string_view(argv).substr(0, NT_ARGV_MAX));
    EXPECT_EQ(exec.secureexec, want.secureexec);
    EXPECT_EQ(exec.old_pid, TidOf(before));
    std::vector<nt_tail> tails = {NT_TAIL_PATH, NT_TAIL_CWD, NT_TAIL_ARGV};
    if (!want.script.empty()) {
      tails.push_back(NT_TAIL_SCRIPT);
      EXPECT_EQ(record->event.Tail(NT_TAIL_SCRIPT), want.script);
    }
    ExpectTails(*record, tails);
  }

  // The exit of the process of `truth`.
  const Record* ExpectExit(const Outcome& run, const json& truth, uint32_t code) {
    const auto exits = run.Of(TgidOf(truth), NT_EXIT);
    EXPECT_EQ(exits.size(), 1u) << "one exit record for a process";
    if (exits.size() != 1) return nullptr;
    EXPECT_EQ(exits[0]->event.body.exit.code, code);
    ExpectTask(exits[0]->event.task, truth, NT_T_EXITING);
    ExpectTails(*exits[0], {});
    EXPECT_EQ(exits[0]->event.body.exit.pad, 0u);
    EXPECT_EQ(exits[0]->event.header.flags, 0u);
    EXPECT_GE(exits[0]->event.header.ktime_boot_ns, truth.at("before_ns").get<uint64_t>());
    EXPECT_LE(exits[0]->event.header.ktime_boot_ns, run.after_ns);
    return exits[0];
  }
};

TEST_F(ProcessTest, ExecTellsProgramArgumentsAndPlace) {
  const Outcome run =
      DoOk({"chdir=" + MakeDir("work"), "exec", workload(), workload(), "report", "", "two words", "\xff\n"});
  ExpectExec(run, {.argv = {workload(), "report", "", "two words", "\xff\n"}});
}

TEST_F(ProcessTest, ExecInNamespacesTellsThem) {
  const Outcome run =
      DoOk({"ns", "netns", "mntns", "nnp", "setsid", "login=4242", "pty", "exec", workload(), "argv0", "report"});
  const json& report = run.Truth("main");
  EXPECT_EQ(Bytes(report.at("task").at("loginuid")), "4242");
  EXPECT_NE(Bytes(report.at("task").at("sessionid")), "4294967295");
  EXPECT_NE(StatNumber(Bytes(report.at("task").at("stat")), 7), 0) << "a terminal";
  ExpectExec(run, {.argv = {"argv0", "report"}});
}

TEST_F(ProcessTest, ExecInAPidNamespaceTellsBothNumbers) {
  const Outcome run = DoOk({"pidns", "exec", workload(), "w", "report"});
  const json& report = run.Truth("main");
  EXPECT_EQ(report.at("task").at("pid_in_ns"), 1);
  ExpectExec(run, {.argv = {"w", "report"}});
}

TEST_F(ProcessTest, ExecInAUserNamespaceTellsItsLevel) {
  const Outcome run = DoOk({"userns", "exit", "0"});
  const json& truth = run.Truth("main");
  const auto exits = run.Of(TgidOf(truth), NT_EXIT);
  ASSERT_EQ(exits.size(), 1u);
  EXPECT_EQ(exits[0]->event.task.cred.userns_level, 1u);
  EXPECT_EQ(exits[0]->event.task.cred.uid, 0u) << "of the initial namespace, not the overflow id";
  ExpectTask(exits[0]->event.task, truth, NT_T_EXITING);
}

TEST_F(ProcessTest, TwoMegabytesOfArgvAreCutAndCounted) {
  const Outcome run = DoOk({"exec_big", "32", "65000", workload()});
  std::vector<std::string> argv = {workload(), "report"};
  for (int i = 0; i < 32; ++i) argv.push_back(std::string(64999, static_cast<char>('a' + i % 26)));
  EXPECT_EQ(run.Truth("main").at("act_argv_len").get<size_t>() + workload().size() + 1, JoinArgv(argv).size());
  ExpectExec(run, {.argv = argv});
}

TEST_F(ProcessTest, ArgvOfExactlyTheBoundIsWhole) {
  const std::string fill(NT_ARGV_MAX - 2 - 7 - 1, 'x');  // "w", "report", fill
  const Outcome run = DoOk({"exec", workload(), "w", "report", fill});
  ExpectExec(run, {.argv = {"w", "report", fill}});
}

TEST_F(ProcessTest, ScriptTellsInterpreterAndScript) {
  const std::string script = MakeFile("script", 0755, "#!" + workload() + " report\n");
  const Outcome run = DoOk({"exec", script, "ignored", "arg"});
  ExpectExec(run, {.argv = {workload(), "report", script, "arg"}, .script = script});
}

TEST_F(ProcessTest, ExecByAThreadTellsTheThread) {
  const Outcome run = DoOk({"exec_thread", workload(), "w", "report"});
  EXPECT_NE(TidOf(run.Truth("before")), TgidOf(run.Truth("before")));
  ExpectExec(run, {.argv = {"w", "report"}});
  EXPECT_EQ(run.Of(TgidOf(run.Truth("main")), NT_EXIT).size(), 1u) << "the leader that made way is no exit";
}

TEST_F(ProcessTest, VforkThenExec) {
  const Outcome run = DoOk({"exec_vfork", workload(), "w", "report"});
  ExpectExec(run, {.argv = {"w", "report"}});
  const json& parent = run.Truth("parent");
  const Record* fork = nullptr;
  for (const Record* r : run.Of(TgidOf(parent), NT_FORK)) fork = r;
  ASSERT_NE(fork, nullptr);
  EXPECT_EQ(fork->event.body.fork.child_tgid, parent.at("child").get<uint32_t>());
  ExpectTask(fork->event.task, parent);
}

TEST_F(ProcessTest, ExecOfAMemfd) {
  const Outcome run = DoOk({"exec_memfd", workload(), "w", "report"});
  // Outcome through /dev/fd/N: the name the kernel gave it is its script name.
  const auto execs = run.Of(TgidOf(run.Truth("main")), NT_EXEC);
  ASSERT_EQ(execs.size(), 2u);
  ExpectExec(run, {.argv = {"w", "report"}, .file_flags = NT_FILE_VALID | NT_FILE_MEMFD});
}

TEST_F(ProcessTest, SetuidProgramTellsBothIdentities) {
  const std::string suid = Dir("suid");
  std::ofstream(suid, std::ios::binary) << std::ifstream(workload(), std::ios::binary).rdbuf();
  ASSERT_EQ(chmod(suid.c_str(), 04755), 0);
  const Outcome run = DoOk({"uid=65534", "exec", suid, suid, "report"});
  const json& report = run.Truth("main");
  ASSERT_TRUE(report.contains("task"));
  ASSERT_EQ(CredOf(report.at("task")).euid, 0u) << "the file system must honour setuid";
  ASSERT_EQ(CredOf(report.at("task")).uid, 65534u);
  ExpectExec(run, {.argv = {suid, "report"}, .secureexec = 1});
  const Record* changed = nullptr;
  for (const Record* r : run.Of(TgidOf(report), NT_CRED)) {
    if (r->event.body.cred.cause == NT_CAUSE_EXEC) changed = r;
  }
  ASSERT_NE(changed, nullptr) << "an exec that changes credentials is a change of credentials";
  const nt_cred_change& change = changed->event.body.cred;
  ExpectTask(changed->event.task, report);
  ExpectCred(change.old_cred, CredOf(run.Truth("before").at("task")), "before");
  EXPECT_EQ(change.ret, 0);
  EXPECT_EQ(change.nargs, 0u);
  EXPECT_EQ(change.pad, 0u);
  ExpectTails(*changed, {});
}

TEST_F(ProcessTest, FailedExecsAreNoExec) {
  const std::string denied = MakeFile("not-executable", 0644, "x");
  const std::string no_interpreter = MakeFile("no-interpreter", 0755, "#!/nonexistent/interpreter\n");
  const std::string no_format = MakeFile("no-format", 0755, "this is no program");
  const std::vector<std::pair<std::string, int>> cases = {
      {Dir("missing"), -ENOENT}, {denied, -EACCES}, {no_interpreter, -ENOENT}, {no_format, -ENOEXEC}};
  for (const auto& [file, error] : cases) {
    SCOPED_TRACE(file);
    const Outcome run = DoOk({"exec", file, "w"});
    const json& failed = run.Truth("failed");
    EXPECT_EQ(failed.at("ret"), error);
    EXPECT_EQ(run.Of(TgidOf(failed), NT_EXEC).size(), 1u) << "only the workload's own";
  }
}

TEST_F(ProcessTest, ExecAfterAFailedOneTellsTheRightCredentials) {
  // The failed exec's memory of credentials must not be the next one's.
  const Outcome run = DoOk({"exec", Dir("missing"), "w"});
  const Outcome next = DoOk({"uid=65534", "exec", workload(), "w", "report"});
  ExpectExec(next, {.argv = {"w", "report"}});
  EXPECT_EQ(run.Truth("failed").at("ret"), -ENOENT);
}

TEST_F(ProcessTest, ForkTellsParentAndChild) {
  for (const char* kind : {"fork", "vfork", "clone3", "clone_parent"}) {
    SCOPED_TRACE(kind);
    const Outcome run = DoOk({"fork", kind});
    const json& parent = run.Truth("parent");
    const json& child = run.Truth("child");
    ASSERT_TRUE(parent.contains("task") && child.contains("task"));
    const Record* record = run.Only(parent);
    ASSERT_NE(record, nullptr);
    ASSERT_EQ(record->type(), NT_FORK);
    const nt_fork& fork = record->event.body.fork;
    const std::string stat = Bytes(child.at("task").at("stat"));
    const bool sibling = std::string(kind) == "clone_parent";
    ExpectTask(record->event.task, parent);
    ExpectTime(*record, parent);
    ExpectTails(*record, {});
    EXPECT_EQ(record->event.header.flags, 0u);
    EXPECT_EQ(fork.child_tgid, TgidOf(child));
    EXPECT_EQ(fork.child_ns_tgid, child.at("task").at("pid_in_ns").get<uint32_t>());
    EXPECT_EQ(fork.child_ppid, static_cast<uint32_t>(StatNumber(stat, 4)));
    EXPECT_EQ(fork.child_ppid == TgidOf(parent), !sibling);
    EXPECT_EQ(fork.child_start_boottime_ns / 10'000'000, static_cast<uint64_t>(StatNumber(stat, 22)));
    EXPECT_GE(fork.child_start_boottime_ns, parent.at("before_ns").get<uint64_t>());
    EXPECT_EQ(fork.pad, 0u);
    const auto exits = run.Of(TgidOf(child), NT_EXIT);
    ASSERT_EQ(exits.size(), 1u);
    EXPECT_EQ(exits[0]->event.task.start_boottime_ns, fork.child_start_boottime_ns) << "one identity";
    EXPECT_EQ(fork.child_parent_start_boottime_ns,
              sibling ? record->event.task.parent_start_boottime_ns : record->event.task.start_boottime_ns);
    EXPECT_EQ(exits[0]->event.task.parent_start_boottime_ns, fork.child_parent_start_boottime_ns);
    ExpectTask(exits[0]->event.task, child, NT_T_EXITING);
  }
}

TEST_F(ProcessTest, ForkIntoAPidNamespaceTellsTheChildsNumber) {
  const Outcome run = DoOk({"pidns", "exit", "0"});
  const json& child = run.Truth("main");
  const auto forks = run.Of(static_cast<uint32_t>(run.pid), NT_FORK);
  ASSERT_EQ(forks.size(), 1u);
  EXPECT_EQ(forks[0]->event.body.fork.child_tgid, TgidOf(child));
  EXPECT_EQ(forks[0]->event.body.fork.child_ns_tgid, 1u);
}

TEST_F(ProcessTest, AThreadIsNoFork) {
  const Outcome run = DoOk({"fork", "thread"});
  const json& parent = run.Truth("parent");
  EXPECT_NE(TidOf(run.Truth("thread")), TidOf(parent));
  EXPECT_TRUE(run.During(parent).empty());
  EXPECT_EQ(run.Of(TgidOf(parent), NT_FORK).size(), 0u);
  EXPECT_EQ(run.Of(TgidOf(parent), NT_EXIT).size(), 1u) << "nor is its end an exit";
}

TEST_F(ProcessTest, ExitTellsTheCode) {
  for (const int code : {0, 1, 3, 255}) {
    const Outcome run = Do({"exit", std::to_string(code)});
    EXPECT_EQ(static_cast<uint32_t>(run.status), static_cast<uint32_t>(code) << 8);
    ExpectExit(run, run.Truth("main"), static_cast<uint32_t>(run.status));
  }
}

TEST_F(ProcessTest, ExitBySignalTellsTheSignal) {
  for (const int sig : {SIGKILL, SIGTERM, SIGABRT, SIGSEGV}) {
    const Outcome run = Do({"signal", std::to_string(sig)});
    ASSERT_TRUE(WIFSIGNALED(run.status));
    EXPECT_EQ(WTERMSIG(run.status), sig);
    ExpectExit(run, run.Truth("main"), static_cast<uint32_t>(run.status));
  }
}

TEST_F(ProcessTest, ExitOfALeaderThatLeftFirst) {
  for (const char* how : {"thread", "group"}) {
    SCOPED_TRACE(how);
    const Outcome run = Do({"exit_leader_first", "3", "5", how});
    ExpectExit(run, run.Truth("thread"), static_cast<uint32_t>(run.status));
  }
}

TEST_F(ProcessTest, ExitTellsWhatTheProcessUsed) {
  const Outcome run = DoOk({"burn", "120"});
  const Record* record = ExpectExit(run, run.Truth("main"), 0);
  ASSERT_NE(record, nullptr);
  const nt_exit& exit = record->event.body.exit;
  const auto ns = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_usec) * 1e3;
  };
  // wait4 counts a little more: the rest of the exit, after the probe.
  const double used = static_cast<double>(exit.user_ns + exit.system_ns);
  const double told = ns(run.usage.ru_utime) + ns(run.usage.ru_stime);
  EXPECT_GE(used, 100e6);
  EXPECT_LE(used, told + 1e6);
  EXPECT_GE(used, told - 30e6);
  EXPECT_NEAR(static_cast<double>(exit.system_ns), ns(run.usage.ru_stime), 40e6);
  EXPECT_NEAR(static_cast<double>(exit.max_rss_bytes), static_cast<double>(run.usage.ru_maxrss) * 1024, 1 << 20);
  EXPECT_GE(exit.max_rss_bytes, 24u << 20);
}

}  // namespace
}  // namespace nodetrail::root_test
