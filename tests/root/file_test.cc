// SPDX-License-Identifier: Apache-2.0
//
// file.open (for write), file.create, file.denied.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "tests/root/expect.h"
#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

constexpr uint32_t kNrOpen = 2, kNrCreat = 85, kNrOpenat = 257, kNrOpenat2 = 437;
constexpr int kTmpfile = O_TMPFILE;

std::string N(int64_t value) { return std::to_string(value); }

class FileTest : public RootTest {
 protected:
  void SetUp() override {
    RootTest::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) OpenCapture();
  }

  struct Want {
    uint32_t syscall_nr = kNrOpenat;
    uint32_t created = 0;
    uint32_t file_flags = NT_FILE_VALID;
    uint32_t header_flags = 0;
    std::string path = {};  // "": what /proc/self/fd told
    // A failed one:
    uint16_t type = NT_FILE_OPEN;
    int64_t error = 0;
    std::string base = {};  // "": the name was absolute, there is none
  };

  void ExpectOpen(const Outcome& run, const Want& want) {
    const json& truth = run.Truth("main");
    ASSERT_TRUE(truth.contains("task")) << run.standard_error;
    ASSERT_EQ(truth.at("ret").get<int64_t>() >= 0 ? 0 : truth.at("ret").get<int64_t>(), want.error);
    const Record* record = run.Only(truth);
    ASSERT_NE(record, nullptr);
    ASSERT_EQ(record->type(), want.type);
    const nt_file_open& open = record->event.body.open;
    ExpectTask(record->event.task, truth);
    ExpectTime(*record, truth);
    EXPECT_EQ(record->event.header.flags, want.header_flags);
    EXPECT_EQ(open.ret, truth.at("ret").get<int64_t>());
    const auto flags = truth.at("flags").get<uint32_t>();
    EXPECT_EQ(open.open_flags, want.syscall_nr == kNrCreat ? uint32_t{O_CREAT | O_TRUNC | O_WRONLY} : flags);
    const bool has_mode = want.syscall_nr == kNrCreat || (flags & O_CREAT) != 0 || (flags & kTmpfile) == kTmpfile;
    EXPECT_EQ(open.open_mode, has_mode ? truth.at("mode").get<uint32_t>() : 0u);
    EXPECT_EQ(open.dfd, truth.at("dfd").get<int32_t>());
    EXPECT_EQ(open.created, want.created);
    EXPECT_EQ(open.syscall_nr, want.syscall_nr);
    EXPECT_EQ(open.pad, 0u);
    if (want.error == 0) {
      ExpectFile(open.file, truth.at("file"), want.file_flags);
      EXPECT_EQ(record->Path(NT_TAIL_PATH), want.path.empty() ? PathOf(truth.at("file")) : want.path);
      ExpectTails(*record, {NT_TAIL_PATH});
      return;
    }
    ExpectNoFile(open.file);
    EXPECT_EQ(record->event.Tail(NT_TAIL_USER_PATH), Bytes(truth.at("user_path")));
    if (want.base.empty()) {
      ExpectTails(*record, {NT_TAIL_USER_PATH});
    } else {
      ExpectTails(*record, {NT_TAIL_USER_PATH, NT_TAIL_BASE});
      EXPECT_EQ(record->Path(NT_TAIL_BASE), want.base);
    }
  }

  void ExpectNothing(const Outcome& run) {
    const auto found = run.During(run.Truth("main"));
    EXPECT_TRUE(found.empty()) << found.size() << " records of an act that is none; the first of type "
                               << found[0]->type();
  }
};

TEST_F(FileTest, EveryCallThatCreates) {
  const std::string flags = N(O_WRONLY | O_CREAT | O_EXCL);
  ExpectOpen(DoOk({"login=4242", "open", "open", "-", Dir("a"), flags, "0640"}), {.syscall_nr = kNrOpen, .created = 1});
  ExpectOpen(DoOk({"open", "creat", "-", Dir("b"), flags, "0604"}), {.syscall_nr = kNrCreat, .created = 1});
  ExpectOpen(DoOk({"open", "openat", "-", Dir("c"), flags, "0600"}), {.created = 1});
  ExpectOpen(DoOk({"open", "openat2", "-", Dir("d"), flags, "0600"}), {.syscall_nr = kNrOpenat2, .created = 1});
}

TEST_F(FileTest, ExistingFiles) {
  const std::string path = MakeFile("existing", 0644, "some content");
  const std::vector<int> all = {
      O_WRONLY,           O_RDWR,           O_WRONLY | O_CREAT, O_WRONLY | O_APPEND,
      O_WRONLY | O_TRUNC, O_RDWR | O_TRUNC, O_RDONLY | O_TRUNC, O_WRONLY | O_CREAT | O_CLOEXEC};
  for (const int flags : all) {
    SCOPED_TRACE(fmt::format("flags {:o}", flags));
    std::ofstream(path) << "some content";
    ExpectOpen(DoOk({"open", "open", "-", path, N(flags), "0600"}), {.syscall_nr = kNrOpen});
  }
  ExpectOpen(DoOk({"open", "creat", "-", path, "0", "0600"}), {.syscall_nr = kNrCreat});
}

TEST_F(FileTest, Failures) {
  const std::string existing = MakeFile("existing");
  const std::string excl = N(O_WRONLY | O_CREAT | O_EXCL);
  ExpectOpen(DoOk({"open", "open", "-", existing, excl, "0600"}), {.syscall_nr = kNrOpen, .error = -EEXIST});
  ExpectOpen(DoOk({"open", "openat", "-", Dir("no/file"), excl, "0600"}), {.error = -ENOENT});
  ExpectOpen(DoOk({"open", "openat", "-", Dir(), N(O_WRONLY), "0"}), {.error = -EISDIR});
  ExpectOpen(DoOk({"open", "openat", "-", existing + "/x", N(O_WRONLY), "0"}), {.error = -ENOTDIR});
  ExpectOpen(DoOk({"open", "creat", "-", Dir("no/file"), "0", "0600"}), {.syscall_nr = kNrCreat, .error = -ENOENT});
  ExpectOpen(DoOk({"open", "openat2", "-", Dir("no/file"), excl, "0600"}),
             {.syscall_nr = kNrOpenat2, .error = -ENOENT});
  ExpectOpen(DoOk({"open", "openat", "-", "", N(O_WRONLY), "0"}),
             {.error = -ENOENT, .base = std::filesystem::current_path().string()});
}

TEST_F(FileTest, FailedRelativeNamesTellTheirDirectory) {
  const std::string dir = MakeDir("sub");
  ExpectOpen(DoOk({"chdir=" + dir, "open", "openat", "-", "../no/./file", N(O_WRONLY), "0"}),
             {.error = -ENOENT, .base = dir});
  ExpectOpen(DoOk({"open", "openat", dir, "no/file", N(O_WRONLY), "0"}), {.error = -ENOENT, .base = dir});
  ExpectOpen(DoOk({"chdir=/", "open", "openat", "-", "nt-no-such/file", N(O_WRONLY), "0"}),
             {.error = -ENOENT, .base = "/"});
}

TEST_F(FileTest, DeletedWorkingDirectoryIsTheBase) {
  const std::string dir = MakeDir("gone");
  ExpectOpen(DoOk({"chdir=" + dir, "rmcwd", "open", "openat", "-", "file", N(O_WRONLY | O_CREAT), "0600"}),
             {.error = -ENOENT, .base = dir});
}

TEST_F(FileTest, ReadOnlyFileSystem) {
  const std::string dir = MakeDir("ro");
  ExpectOpen(DoOk({"mntns", "rotmpfs=" + dir, "open", "openat", "-", dir + "/present", N(O_WRONLY), "0"}),
             {.error = -EROFS});
  ExpectOpen(DoOk({"mntns", "rotmpfs=" + dir, "open", "openat", "-", dir + "/new", N(O_WRONLY | O_CREAT), "0600"}),
             {.error = -EROFS});
}

TEST_F(FileTest, DeniedReadsAndWrites) {
  const std::string secret = MakeFile("secret", 0600, "s");
  const std::string readable = MakeFile("readable", 0644);
  const std::string closed = MakeDir("closed", 0700);
  ExpectOpen(DoOk({"uid=65534", "open", "openat", "-", secret, N(O_RDONLY), "0"}),
             {.type = NT_FILE_DENIED, .error = -EACCES});
  ExpectOpen(DoOk({"uid=65534", "open", "open", "-", readable, N(O_WRONLY), "0"}),
             {.syscall_nr = kNrOpen, .type = NT_FILE_DENIED, .error = -EACCES});
  ExpectOpen(DoOk({"uid=65534", "open", "openat2", "-", Dir("new"), N(O_WRONLY | O_CREAT), "0600"}),
             {.syscall_nr = kNrOpenat2, .type = NT_FILE_DENIED, .error = -EACCES});
  ExpectOpen(DoOk({"uid=65534", "open", "openat", "-", closed + "/x", N(O_RDONLY), "0"}),
             {.type = NT_FILE_DENIED, .error = -EACCES});
  ExpectOpen(DoOk({"uid=65534", "chdir=" + Dir(), "open", "openat", "-", "secret", N(O_RDONLY), "0"}),
             {.type = NT_FILE_DENIED, .error = -EACCES, .base = Dir()});
  ExpectOpen(DoOk({"uid=65534", "open", "openat", "-", readable, N(O_RDONLY | O_NOATIME), "0"}),
             {.type = NT_FILE_DENIED, .error = -EPERM});
}

TEST_F(FileTest, ReadsAreNoOpensForWrite) {
  const std::string path = MakeFile("existing");
  ExpectNothing(DoOk({"open", "openat", "-", path, N(O_RDONLY), "0"}));
  ExpectNothing(DoOk({"open", "openat", "-", Dir(), N(O_RDONLY | O_DIRECTORY), "0"}));
  ExpectNothing(DoOk({"open", "openat", "-", Dir("missing"), N(O_RDONLY), "0"}));
  ExpectNothing(DoOk({"open", "openat", "-", path, N(O_RDONLY | O_CREAT), "0600"}));
}

TEST_F(FileTest, PathDescriptorsAreNoOpens) {
  const std::string path = MakeFile("existing");
  ExpectNothing(DoOk({"open", "openat", "-", path, N(O_PATH), "0"}));
  ExpectNothing(DoOk({"open", "openat", "-", path, N(O_PATH | O_WRONLY), "0"}));
}

TEST_F(FileTest, CreatedForReadingOnlyIsACreation) {
  ExpectOpen(DoOk({"open", "openat", "-", Dir("new"), N(O_RDONLY | O_CREAT), "0600"}), {.created = 1});
}

TEST_F(FileTest, WhatTheKernelOpenedNotWhatWasSaid) {
  const std::string real = MakeDir("real");
  const std::string sub = MakeDir("real/sub");
  const std::string path = MakeFile("real/file");
  ASSERT_EQ(symlink("real/file", Dir("link").c_str()), 0);
  ASSERT_EQ(symlink(sub.c_str(), Dir("dirlink").c_str()), 0);
  const std::string w = N(O_WRONLY);
  ExpectOpen(DoOk({"open", "openat", "-", Dir("link"), w, "0"}), {.path = path});
  ExpectOpen(DoOk({"open", "openat", "-", Dir("dirlink/../file"), w, "0"}), {.path = path});
  ExpectOpen(DoOk({"open", "openat", "-", Dir("real/./sub/..//file"), w, "0"}), {.path = path});
  ExpectOpen(DoOk({"open", "openat", sub, "../file", w, "0"}), {.path = path});
  ExpectOpen(DoOk({"open", "openat", sub, path, w, "0"}), {.path = path});
  ExpectOpen(DoOk({"chdir=" + sub, "open", "open", "-", "../file", w, "0"}), {.syscall_nr = kNrOpen, .path = path});
  ExpectOpen(DoOk({"reopen", path, w}), {.path = path});
}

TEST_F(FileTest, ResolveInRoot) {
  const std::string root = MakeDir("root");
  MakeDir("root/etc");
  const std::string path = MakeFile("root/etc/file");
  const std::string w = N(O_WRONLY);
  ExpectOpen(DoOk({"open", "openat2", root, "/etc/file", w, "0", "0x10"}), {.syscall_nr = kNrOpenat2, .path = path});
  ExpectOpen(DoOk({"open", "openat2", root, "../../etc/file", w, "0", "0x10"}),
             {.syscall_nr = kNrOpenat2, .path = path});
  // An absolute name still starts below the directory: it is the base.
  ExpectOpen(DoOk({"open", "openat2", root, "/etc/none", w, "0", "0x10"}),
             {.syscall_nr = kNrOpenat2, .error = -ENOENT, .base = root});
}

TEST_F(FileTest, NamesOfAnyBytes) {
  const std::string flags = N(O_WRONLY | O_CREAT);
  for (const char* name : {"line\nfeed", "\xff\xfe\x80", "tab\tquote\"back\\slash", " ", "(deleted)"}) {
    SCOPED_TRACE(name);
    ExpectOpen(DoOk({"open", "openat", "-", Dir(name), flags, "0600"}), {.created = 1, .path = Dir(name)});
  }
  const std::string long_name(255, 'x');
  ExpectOpen(DoOk({"open", "openat", "-", Dir(long_name), flags, "0600"}), {.created = 1, .path = Dir(long_name)});
  ExpectOpen(DoOk({"open", "openat", "-", Dir("no\n\xff/x"), flags, "0600"}), {.error = -ENOENT});
}

TEST_F(FileTest, LongPaths) {
  const std::string flags = N(O_WRONLY | O_CREAT);
  const Outcome run = DoOk({"open", "openat", "-", Dir("long") + "*4000", flags, "0600"});
  EXPECT_EQ(Bytes(run.Truth("main").at("user_path")).size(), 4000u);
  ExpectOpen(run, {.created = 1});
  // 4,095 bytes is the longest that the kernel takes.
  const Outcome longest = DoOk({"open", "openat", "-", Dir("long") + "*4095", flags, "0600"});
  ExpectOpen(longest, {.created = 1});
  const Outcome too_long = DoOk({"open", "openat", "-", Dir("long") + "*4096", flags, "0600"});
  const json& truth = too_long.Truth("main");
  EXPECT_EQ(truth.at("ret"), -ENAMETOOLONG);
  const Record* record = too_long.Only(truth);
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->event.header.flags, NT_F_TRUNCATED);
  EXPECT_EQ(record->event.Tail(NT_TAIL_USER_PATH), Bytes(truth.at("user_path")).substr(0, 4095));
}

TEST_F(FileTest, MountsOfOnesOwn) {
  const std::string source = MakeDir("source"), target = MakeDir("target");
  MakeFile("source/file");
  const std::string w = N(O_WRONLY);
  ExpectOpen(DoOk({"mntns", "bind=" + source + ":" + target, "open", "openat", "-", target + "/file", w, "0"}),
             {.path = target + "/file"});
  ExpectOpen(DoOk({"mntns", "tmpfs=" + target, "open", "openat", "-", target + "/new", N(O_RDWR | O_CREAT), "0600"}),
             {.created = 1, .path = target + "/new"});
  const std::string file = MakeFile("mountpoint");
  ExpectOpen(DoOk({"mntns", "bind=" + source + "/file:" + file, "open", "openat", "-", file, w, "0"}), {.path = file});
}

TEST_F(FileTest, FilesWithoutAName) {
  const Outcome tmp = DoOk({"open", "openat", "-", Dir(), N(kTmpfile | O_RDWR), "0600"});
  ExpectOpen(tmp, {.created = 1, .file_flags = NT_FILE_VALID | NT_FILE_DELETED});
  ExpectOpen(DoOk({"open_deleted", Dir("short-lived")}),
             {.file_flags = NT_FILE_VALID | NT_FILE_DELETED, .path = Dir("short-lived")});
  ExpectOpen(DoOk({"memfd", "nt-memory", "reopen"}), {.file_flags = NT_FILE_VALID | NT_FILE_MEMFD});
  const Outcome only = DoOk({"memfd", "nt-memory", "only"});
  EXPECT_TRUE(only.Of(static_cast<uint32_t>(only.pid), NT_FILE_OPEN).empty());
}

TEST_F(FileTest, Devices) { ExpectOpen(DoOk({"open", "openat", "-", "/dev/null", N(O_WRONLY), "0"}), {}); }

TEST_F(FileTest, ThirtyTwoBitCalls) {
  const std::string flags = N(O_WRONLY | O_CREAT);
  const Outcome open = DoOk({"open", "open32", "-", Dir("a"), flags, "0600"});
  const Outcome openat = DoOk({"open", "openat32", "-", Dir("b"), flags, "0600"});
  const Outcome failed = DoOk({"open", "openat32", "-", Dir("no/b"), flags, "0600"});
  if (Hooks() == agent::SyscallHooks::kSysExit) {
    ExpectOpen(open, {.syscall_nr = 5, .created = 1, .header_flags = NT_F_COMPAT32});
    ExpectOpen(openat, {.syscall_nr = 295, .created = 1, .header_flags = NT_F_COMPAT32});
    ExpectOpen(failed, {.syscall_nr = 295, .header_flags = NT_F_COMPAT32, .error = -ENOENT});
  } else {
    // Known and told: per-call tracepoints are blind to int 0x80 (capture.h).
    ExpectNothing(open);
    ExpectNothing(openat);
    ExpectNothing(failed);
  }
}

}  // namespace
}  // namespace nodetrail::root_test
