// SPDX-License-Identifier: Apache-2.0
//
// The calls of abi/acts.h: every field of every record against the truth.
#include "agent/decode/acts.h"

#include <fcntl.h>
#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "tests/root/expect.h"
#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

std::string N(int64_t value) { return std::to_string(value); }
std::string S(const std::string& text) { return "s:" + text; }

class ActsTest : public RootTest {
 protected:
  void SetUp() override {
    RootTest::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) OpenCapture();
  }

  static constexpr int64_t kAny = 1;

  struct Want {
    uint16_t type = NT_NONE;
    int64_t error = 0;                 // 0: the call succeeds
    std::string name = {}, base = {};  // base "": the name is absolute
    std::string name2 = {}, base2 = {};
    std::string text = {};
    uint32_t has = 0;
    uint32_t flags = 0;  // of the header
    bool by_fd = false;  // its file is known from a descriptor, before and after
    bool makes = false;  // it gives a descriptor
    uint32_t file_flags = NT_FILE_VALID;
    std::string path = {};  // "": what /proc/self/fd told
  };

  void Expect(const Outcome& run, const Want& want) {
    const json& truth = run.Truth("main");
    ASSERT_TRUE(truth.contains("task")) << run.standard_error;
    const auto ret = truth.at("ret").get<int64_t>();
    if (want.error == kAny) {
      ASSERT_LT(ret, 0);
    } else {
      ASSERT_EQ(ret >= 0 ? 0 : ret, want.error);
    }
    const Record* record = run.Only(truth);
    ASSERT_NE(record, nullptr);
    ASSERT_EQ(record->type(), want.type);
    const nt_act& act = record->event.body.act;
    ExpectTask(record->event.task, truth);
    ExpectTime(*record, truth);
    EXPECT_EQ(record->event.header.flags, want.flags);
    EXPECT_EQ(act.ret, ret);
    EXPECT_EQ(act.has, want.has);
    for (int i = 0; i < ((want.flags & NT_F_COMPAT32) != 0 ? 5 : 6); ++i) {
      EXPECT_EQ(act.args[i], truth.at("a" + std::to_string(i)).get<uint64_t>()) << "argument " << i;
    }
    const agent::ActCall* call = agent::FindActCall(act.syscall_nr, (want.flags & NT_F_COMPAT32) != 0);
    ASSERT_NE(call, nullptr) << act.syscall_nr;
    std::vector<nt_tail> tails;
    if (want.by_fd) {
      ExpectFile(act.before, truth.at("file_before"), want.file_flags);
      ExpectFile(act.after, truth.at("file_after"), want.file_flags);
      EXPECT_EQ(record->Path(NT_TAIL_PATH), want.path.empty() ? PathOf(truth.at("file_before")) : want.path);
      tails.push_back(NT_TAIL_PATH);
    } else if (want.makes) {
      ExpectNoFile(act.before);
      ExpectFile(act.after, truth.at("made"), want.file_flags);
      tails.push_back(NT_TAIL_PATH);
    } else {
      ExpectNoFile(act.before);
      ExpectNoFile(act.after);
    }
    const auto user = [&](nt_tail kind, const std::string& text) {
      if (text.empty()) return;
      EXPECT_EQ(record->event.Tail(kind), text);
      tails.push_back(kind);
    };
    const auto base = [&](nt_tail kind, const std::string& path) {
      if (path.empty()) return;
      EXPECT_EQ(record->Path(kind), path);
      tails.push_back(kind);
    };
    user(NT_TAIL_USER_PATH, want.name);
    base(NT_TAIL_BASE, want.base);
    user(NT_TAIL_USER_PATH2, want.name2);
    base(NT_TAIL_BASE2, want.base2);
    user(NT_TAIL_TEXT, want.text);
    ExpectTails(*record, tails);
  }

  void ExpectNothing(const Outcome& run) {
    const auto found = run.During(run.Truth("main"));
    EXPECT_TRUE(found.empty()) << found.size() << " records of an act that is none; the first of type "
                               << found[0]->type();
  }

  // Has this kernel the call? Without it, there is no tracepoint and no record.
  static bool Offered(const Outcome& run) { return run.Truth("main").value("ret", int64_t{0}) != -ENOSYS; }
};

TEST_F(ActsTest, Modes) {
  const std::string file = MakeFile("f", 0644), dir = MakeDir("d");
  MakeFile("d/g");
  Expect(DoOk({"login=4242", "call", "90", S(file), "0600"}), {.type = NT_FILE_CHMOD, .name = file});
  Expect(DoOk({"call", "91", "f:" + file, "04755"}), {.type = NT_FILE_CHMOD, .by_fd = true});
  Expect(DoOk({"call", "268", "d:" + dir, "s:g", "0400"}), {.type = NT_FILE_CHMOD, .name = "g", .base = dir});
  Expect(DoOk({"uid=65534", "call", "90", S(file), "0777"}), {.type = NT_FILE_CHMOD, .error = -EPERM, .name = file});
  Expect(DoOk({"call", "90", S(Dir("none")), "0777"}), {.type = NT_FILE_CHMOD, .error = -ENOENT, .name = Dir("none")});
  const Outcome run = DoOk({"call", "452", "d:" + dir, "s:g", "0440", "0"});  // fchmodat2, since 6.6
  if (Offered(run)) Expect(run, {.type = NT_FILE_CHMOD, .name = "g", .base = dir});
}

TEST_F(ActsTest, Owners) {
  const std::string file = MakeFile("f"), dir = MakeDir("d");
  MakeFile("d/g");
  Expect(DoOk({"call", "92", S(file), "1000", "100"}), {.type = NT_FILE_CHOWN, .name = file});
  Expect(DoOk({"call", "93", "f:" + file, "7", N(0xffffffff)}), {.type = NT_FILE_CHOWN, .by_fd = true});
  Expect(DoOk({"call", "94", S(file), "8", "9"}), {.type = NT_FILE_CHOWN, .name = file});
  Expect(DoOk({"chdir=" + dir, "call", "260", "0xffffff9c", "s:g", "1", "2", "0"}),
         {.type = NT_FILE_CHOWN, .name = "g", .base = dir});
  Expect(DoOk({"uid=65534", "call", "92", S(file), "0", "0"}), {.type = NT_FILE_CHOWN, .error = -EPERM, .name = file});
}

TEST_F(ActsTest, NamesMade) {
  const std::string file = MakeFile("f"), dir = MakeDir("d");
  Expect(DoOk({"call", "86", S(file), S(Dir("l"))}), {.type = NT_FILE_LINK, .name = file, .name2 = Dir("l")});
  Expect(DoOk({"chdir=" + dir, "call", "265", "0xffffff9c", "s:../f", "d:" + dir, "s:m", "0"}),
         {.type = NT_FILE_LINK, .name = "../f", .base = dir, .name2 = "m", .base2 = dir});
  Expect(DoOk({"call", "88", "s:/no/where", S(Dir("s"))}),
         {.type = NT_FILE_SYMLINK, .name = Dir("s"), .text = "/no/where"});
  Expect(DoOk({"call", "266", "s:f", "d:" + dir, "s:t"}),
         {.type = NT_FILE_SYMLINK, .name = "t", .base = dir, .text = "f"});
  Expect(DoOk({"call", "83", S(Dir("new")), "0750"}), {.type = NT_FILE_MKDIR, .name = Dir("new")});
  Expect(DoOk({"call", "258", "d:" + dir, "s:new", "0700"}), {.type = NT_FILE_MKDIR, .name = "new", .base = dir});
  Expect(DoOk({"call", "83", S(Dir("new")), "0750"}), {.type = NT_FILE_MKDIR, .error = -EEXIST, .name = Dir("new")});
  Expect(DoOk({"call", "133", S(Dir("fifo")), N(S_IFIFO | 0600), "0"}), {.type = NT_FILE_MKNOD, .name = Dir("fifo")});
  Expect(DoOk({"call", "259", "d:" + dir, "s:fifo", N(S_IFIFO | 0600), "0"}),
         {.type = NT_FILE_MKNOD, .name = "fifo", .base = dir});
  Expect(DoOk({"uid=65534", "call", "133", S(Dir("dev")), N(S_IFBLK | 0600), "0x801"}),
         {.type = NT_FILE_MKNOD, .error = -EACCES, .name = Dir("dev")});
}

TEST_F(ActsTest, AttributesAndSizes) {
  const std::string file = MakeFile("f", 0644, "0123456789");
  const std::string trusted = "user.nt";
  const auto set = [&](const char* nr, const std::string& on) {
    return DoOk({"call", nr, on, S(trusted), "s:v", "1", "0"});
  };
  // tmpfs may lack user attributes: the attempt is told either way.
  const auto error = [](const Outcome& run) {
    const auto ret = run.Truth("main").value("ret", int64_t{0});
    return ret < 0 ? ret : int64_t{0};
  };
  Outcome run = set("188", S(file));
  Expect(run, {.type = NT_FILE_SETXATTR, .error = error(run), .name = file, .text = trusted});
  run = set("189", S(file));
  Expect(run, {.type = NT_FILE_SETXATTR, .error = error(run), .name = file, .text = trusted});
  run = set("190", "f:" + file);
  Expect(run, {.type = NT_FILE_SETXATTR, .error = error(run), .text = trusted, .by_fd = true});
  run = DoOk({"call", "199", "f:" + file, S(trusted)});
  Expect(run, {.type = NT_FILE_REMOVEXATTR, .error = error(run), .text = trusted, .by_fd = true});
  run = DoOk({"call", "197", S(file), S(trusted)});
  Expect(run, {.type = NT_FILE_REMOVEXATTR, .error = error(run), .name = file, .text = trusted});
  Expect(DoOk({"call", "76", S(file), "4"}), {.type = NT_FILE_TRUNCATE, .name = file});
  Expect(DoOk({"call", "77", "r:" + file, "99"}), {.type = NT_FILE_TRUNCATE, .by_fd = true});
  Expect(DoOk({"call", "77", "f:" + file, "99"}), {.type = NT_FILE_TRUNCATE, .error = -EINVAL, .by_fd = true});
  Expect(DoOk({"call", "280", "0xffffff9c", S(file), "0", "0"}), {.type = NT_FILE_UTIMES, .name = file});
  Expect(DoOk({"call", "280", "f:" + file, "0", "0", "0"}), {.type = NT_FILE_UTIMES, .by_fd = true});
  Expect(DoOk({"call", "132", S(file), "0"}), {.type = NT_FILE_UTIMES, .name = file});
  Expect(DoOk({"call", "235", S(file), "0"}), {.type = NT_FILE_UTIMES, .name = file});
}

TEST_F(ActsTest, Mounts) {
  const std::string dir = MakeDir("m"), other = MakeDir("o");
  Expect(
      DoOk({"mntns", "call", "165", "s:none", S(dir), "s:tmpfs", N(MS_NOSUID | MS_NODEV), "s:size=64k"}),
      {.type = NT_FS_MOUNT, .name = dir, .name2 = "none", .base2 = std::filesystem::current_path(), .text = "tmpfs"});
  Expect(DoOk({"mntns", "chdir=" + Dir(), "call", "165", "s:o", "s:m", "0", N(MS_BIND), "0"}),
         {.type = NT_FS_MOUNT, .name = "m", .base = Dir(), .name2 = "o", .base2 = Dir()});
  Expect(DoOk({"mntns", "call", "165", "0", S(dir), "0", N(MS_PRIVATE), "0"}),
         {.type = NT_FS_MOUNT, .error = -EINVAL, .name = dir});
  Expect(DoOk({"mntns", "tmpfs=" + dir, "call", "166", S(dir), N(MNT_DETACH)}), {.type = NT_FS_UMOUNT, .name = dir});
  Expect(DoOk({"uid=65534", "call", "166", S(dir), "0"}), {.type = NT_FS_UMOUNT, .error = -EPERM, .name = dir});
  Expect(DoOk({"mntns", "tmpfs=" + dir, "call", "429", "0xffffff9c", S(dir), "0xffffff9c", S(other), "0"}),
         {.type = NT_FS_MOVE_MOUNT, .name = other, .name2 = dir});
  Expect(DoOk({"mntns", "call", "155", S(dir), S(other)}),
         {.type = NT_FS_PIVOT_ROOT, .error = kAny, .name = dir, .name2 = other});
}

TEST_F(ActsTest, RootsAndNamespaces) {
  const std::string dir = MakeDir("root");
  Expect(DoOk({"uid=65534", "call", "161", "s:/tmp"}), {.type = NT_FS_CHROOT, .error = -EPERM, .name = "/tmp"});
  // The record's task has the new namespace already.
  const Outcome left = DoOk({"call", "272", N(CLONE_NEWUTS)});
  const Record* unshare = left.Only(left.Truth("main"));
  ASSERT_NE(unshare, nullptr);
  EXPECT_EQ(unshare->type(), NT_NS_UNSHARE);
  EXPECT_EQ(unshare->event.body.act.args[0], uint64_t{CLONE_NEWUTS});
  EXPECT_NE(unshare->event.task.uts_ns, left.Truth("main").at("task").at("uts_ns").get<uint32_t>());
  Expect(DoOk({"uid=65534", "call", "272", N(CLONE_NEWNET)}), {.type = NT_NS_UNSHARE, .error = -EPERM});
  Expect(DoOk({"call", "308", "f:/proc/self/ns/uts", N(CLONE_NEWUTS)}),
         {.type = NT_NS_SETNS, .by_fd = true, .file_flags = NT_FILE_VALID | NT_FILE_DETACHED, .path = "/"});
  const Outcome run = DoOk({"call", "161", S(dir)});
  const Record* record = run.Only(run.Truth("main"));
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->type(), NT_FS_CHROOT);
  EXPECT_EQ(record->event.Tail(NT_TAIL_USER_PATH), dir);
}

TEST_F(ActsTest, PrivilegesOfTheProcess) {
  Expect(DoOk({"call", "157", N(PR_SET_DUMPABLE), "0", "0", "0", "0"}), {.type = NT_PRCTL});
  Expect(DoOk({"call", "157", N(PR_CAP_AMBIENT), N(PR_CAP_AMBIENT_CLEAR_ALL), "0", "0", "0"}), {.type = NT_PRCTL});
  ExpectNothing(DoOk({"call", "157", N(PR_GET_DUMPABLE), "0", "0", "0", "0"}));
  Expect(DoOk({"call", "317", N(SECCOMP_GET_ACTION_AVAIL), "0", "w:0"}), {.type = NT_SECCOMP});
  const Outcome join = DoOk({"call", "250", N(KEYCTL_JOIN_SESSION_KEYRING), "0"});
  if (Offered(join)) {
    Expect(join, {.type = NT_KEYCTL});
    ExpectNothing(DoOk({"call", "250", N(KEYCTL_GET_KEYRING_ID), N(KEY_SPEC_SESSION_KEYRING), "0"}));
  }
}

TEST_F(ActsTest, OtherProcesses) {
  Expect(DoOk({"call", "101", N(PTRACE_SEIZE), "child", "0", "0"}), {.type = NT_PTRACE});
  Expect(DoOk({"call", "101", N(PTRACE_ATTACH), "0x3ffffff", "0", "0"}), {.type = NT_PTRACE, .error = -ESRCH});
  ExpectNothing(DoOk({"call", "101", N(PTRACE_CONT), "child", "0", "0"}));
  Expect(DoOk({"call", "311", "child", "0", "0", "0", "0", "0"}), {.type = NT_PROC_MEM_WRITE});
}

TEST_F(ActsTest, TheKernelItself) {
  Expect(DoOk({"uid=65534", "call", "321", "5", "b:128", "128"}), {.type = NT_BPF_LOAD, .error = -EPERM});
  Expect(DoOk({"uid=65534", "call", "321", "28", "b:64", "64"}), {.type = NT_BPF_ATTACH, .error = kAny});
  ExpectNothing(DoOk({"uid=65534", "call", "321", "0", "b:64", "64"}));  // a map
  Expect(DoOk({"call", "298", "0", "0", "0xffffffffffffffff", "0xffffffffffffffff", "0"}),
         {.type = NT_PERF_OPEN, .error = -EFAULT});
  Expect(DoOk({"uid=65534", "call", "169", "0", "0", "0", "0"}), {.type = NT_REBOOT, .error = -EPERM});
  Expect(DoOk({"uid=65534", "call", "227", "0", "b:16"}), {.type = NT_TIME_CHANGE, .error = -EPERM});
  Expect(DoOk({"uid=65534", "call", "159", "w:0x8000"}), {.type = NT_TIME_CHANGE, .error = kAny});
  ExpectNothing(DoOk({"call", "159", "b:256"}));
  Expect(DoOk({"ns", "call", "170", "s:nt-other-name", "13"}),
         {.type = NT_HOSTNAME, .text = "nt-other-name", .has = NT_ACT_KERNEL_TEXT});
  Expect(DoOk({"ns", "call", "171", "s:nt.example", "12"}),
         {.type = NT_HOSTNAME, .text = "nt.example", .has = NT_ACT_KERNEL_TEXT});
  Expect(DoOk({"uid=65534", "call", "170", "s:x", "1"}), {.type = NT_HOSTNAME, .error = -EPERM});
  Expect(DoOk({"make", "319", "s:nt-memory", "1"}),
         {.type = NT_MEMFD_CREATE, .text = "nt-memory", .makes = true, .file_flags = NT_FILE_VALID | NT_FILE_MEMFD});
  Outcome run = DoOk({"call", "323", N(O_CLOEXEC)});
  if (Offered(run)) Expect(run, {.type = NT_USERFAULTFD});
  run = DoOk({"call", "425", "1", "b:120"});
  if (Offered(run)) Expect(run, {.type = NT_IO_URING_SETUP});
  for (const auto& [nr, type] : std::vector<std::pair<std::string, uint16_t>>{
           {"175", NT_KMOD_LOAD}, {"313", NT_KMOD_LOAD}, {"246", NT_KEXEC}, {"320", NT_KEXEC}}) {
    run = DoOk({"uid=65534", "call", nr, "0xffffffff", "0", "0", "0", "0"});
    if (Offered(run)) Expect(run, {.type = type, .error = kAny});
  }
  run = DoOk({"uid=65534", "call", "176", "s:nt_no_such_module", "0"});
  if (Offered(run)) Expect(run, {.type = NT_KMOD_UNLOAD, .error = -EPERM, .text = "nt_no_such_module"});
  Expect(DoOk({"uid=65534", "call", "304", "0xffffff9c", "b:128", "0"}), {.type = NT_FILE_BY_HANDLE, .error = kAny});
}

TEST_F(ActsTest, ExecsThatFail) {
  const std::string file = MakeFile("script", 0755, "#!/no/such/interpreter\n"), plain = MakeFile("plain", 0644);
  Expect(DoOk({"call", "59", S(Dir("none")), "0", "0"}),
         {.type = NT_EXEC_FAILED, .error = -ENOENT, .name = Dir("none")});
  Expect(DoOk({"call", "59", S(file), "0", "0"}), {.type = NT_EXEC_FAILED, .error = -ENOENT, .name = file});
  Expect(DoOk({"call", "59", S(plain), "0", "0"}), {.type = NT_EXEC_FAILED, .error = -EACCES, .name = plain});
  Expect(DoOk({"call", "322", "d:" + Dir(), "s:plain", "0", "0", "0"}),
         {.type = NT_EXEC_FAILED, .error = -EACCES, .name = "plain", .base = Dir()});
}

// int 0x80: with per-syscall hooks the kernel shows nothing of it, and coverage says so.
TEST_F(ActsTest, ThirtyTwoBitCalls) {
  const std::string file = MakeFile("f", 0644), dir = MakeDir("d");
  const auto run32 = [&](const std::vector<std::string>& args, Want want) {
    const Outcome run = DoOk(args);
    want.flags = NT_F_COMPAT32;
    if (Hooks() == agent::SyscallHooks::kPerSyscall) {
      ExpectNothing(run);
    } else {
      Expect(run, want);
    }
  };
  run32({"call32", "15", S(file), "0600"}, {.type = NT_FILE_CHMOD, .name = file});
  run32({"call32", "94", "f:" + file, "0604"}, {.type = NT_FILE_CHMOD, .by_fd = true});
  run32({"call32", "212", S(file), "3", "4"}, {.type = NT_FILE_CHOWN, .name = file});
  run32({"call32", "182", S(file), "5", "6"}, {.type = NT_FILE_CHOWN, .name = file});
  run32({"call32", "39", S(Dir("d/x")), "0700"}, {.type = NT_FILE_MKDIR, .name = Dir("d/x")});
  run32({"call32", "193", S(file), "7", "0"}, {.type = NT_FILE_TRUNCATE, .name = file});
  run32({"uid=65534", "call32", "310", N(CLONE_NEWUTS)}, {.type = NT_NS_UNSHARE, .error = -EPERM});
  run32({"call32", "26", N(PTRACE_SEIZE), "child", "0", "0"}, {.type = NT_PTRACE});
  run32({"make32", "356", "s:nt-memory", "1"},
        {.type = NT_MEMFD_CREATE, .text = "nt-memory", .makes = true, .file_flags = NT_FILE_VALID | NT_FILE_MEMFD});
  run32({"call32", "11", S(Dir("none")), "0", "0"}, {.type = NT_EXEC_FAILED, .error = -ENOENT, .name = Dir("none")});
}

// A name that fits no small memory of a call under way.
TEST_F(ActsTest, LongNames) {
  const std::string name(200, 'n');
  const std::string a = MakeDir(name), b = MakeDir(name + "/" + name);
  Expect(DoOk({"chdir=" + b, "call", "83", S(name), "0700"}), {.type = NT_FILE_MKDIR, .name = name, .base = b});
  Expect(DoOk({"chdir=" + b, "call", "86", S(name), S(name + "2")}),
         {.type = NT_FILE_LINK, .error = -EPERM, .name = name, .base = b, .name2 = name + "2", .base2 = b});
}

}  // namespace
}  // namespace nodetrail::root_test
