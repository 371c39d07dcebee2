// SPDX-License-Identifier: Apache-2.0
//
// file.delete, file.rename.
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "agent/decode/acts.h"
#include "tests/root/expect.h"
#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

constexpr uint32_t kNrRename = 82, kNrRmdir = 84, kNrUnlink = 87, kNrUnlinkat = 263, kNrRenameat = 264,
                   kNrRenameat2 = 316;

class NamesTest : public RootTest {
 protected:
  void SetUp() override {
    RootTest::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) OpenCapture();
  }

  struct Want {
    uint32_t syscall_nr = 0;
    int64_t ret = 0;
    std::string name = {}, base = {};    // base "": the name is absolute
    std::string name2 = {}, base2 = {};  // of a rename
    uint32_t at_flags = 0, late = 0;
  };

  void Expect(const Outcome& run, uint16_t type, const Want& want) {
    const json& truth = run.Truth("main");
    ASSERT_TRUE(truth.contains("task")) << run.standard_error;
    EXPECT_EQ(truth.at("ret").get<int64_t>(), want.ret);
    const Record* record = run.Only(truth);
    ASSERT_NE(record, nullptr);
    ASSERT_EQ(record->type(), type);
    const nt_act& names = record->event.body.act;
    const agent::ActCall* call = agent::FindActCall(names.syscall_nr, false);
    ASSERT_NE(call, nullptr);
    ExpectTask(record->event.task, truth);
    ExpectTime(*record, truth);
    EXPECT_EQ(record->event.header.flags, 0u);
    EXPECT_EQ(names.ret, truth.at("ret").get<int64_t>());
    const auto dfd = [&](uint32_t at) {
      return static_cast<int32_t>(agent::ActArgument(names, *call, at).value_or(static_cast<uint64_t>(AT_FDCWD)));
    };
    EXPECT_EQ(dfd(NT_S_AT_DIR), truth.value("dfd", AT_FDCWD));
    EXPECT_EQ(dfd(NT_S_AT_DIR2), truth.value("dfd2", AT_FDCWD));
    // The flags are the last argument of those calls that have any.
    const uint64_t at_flags = want.syscall_nr == kNrUnlinkat    ? names.args[2]
                              : want.syscall_nr == kNrRenameat2 ? names.args[4]
                                                                : 0;
    EXPECT_EQ(at_flags, want.at_flags);
    EXPECT_EQ(names.syscall_nr, want.syscall_nr);
    EXPECT_EQ(names.has, want.late != 0 ? uint32_t{NT_ACT_READ_LATE} : 0U);
    ExpectNoFile(names.before);
    ExpectNoFile(names.after);
    std::vector<nt_tail> tails = {NT_TAIL_USER_PATH};
    EXPECT_EQ(record->event.Tail(NT_TAIL_USER_PATH), want.name);
    if (!want.base.empty()) {
      tails.push_back(NT_TAIL_BASE);
      EXPECT_EQ(record->Path(NT_TAIL_BASE), want.base);
    }
    if (type == NT_FILE_RENAME) {
      tails.push_back(NT_TAIL_USER_PATH2);
      EXPECT_EQ(record->event.Tail(NT_TAIL_USER_PATH2), want.name2);
      if (!want.base2.empty()) {
        tails.push_back(NT_TAIL_BASE2);
        EXPECT_EQ(record->Path(NT_TAIL_BASE2), want.base2);
      }
    }
    ExpectTails(*record, tails);
  }
  void ExpectDelete(const Outcome& run, const Want& want) { Expect(run, NT_FILE_DELETE, want); }
  void ExpectRename(const Outcome& run, const Want& want) { Expect(run, NT_FILE_RENAME, want); }
};

TEST_F(NamesTest, Deletes) {
  const std::string dir = MakeDir("d");
  MakeFile("a");
  MakeFile("d/b");
  MakeFile("d/c");
  MakeDir("d/e");
  MakeDir("d/f");
  ExpectDelete(DoOk({"login=4242", "unlink", Dir("a")}), {.syscall_nr = kNrUnlink, .name = Dir("a")});
  ExpectDelete(DoOk({"unlinkat", dir, "b", "0"}), {.syscall_nr = kNrUnlinkat, .name = "b", .base = dir});
  ExpectDelete(DoOk({"chdir=" + dir, "unlink", "../d/./c"}),
               {.syscall_nr = kNrUnlink, .name = "../d/./c", .base = dir});
  ExpectDelete(DoOk({"rmdir", Dir("d/e")}), {.syscall_nr = kNrRmdir, .name = Dir("d/e")});
  ExpectDelete(DoOk({"unlinkat", dir, "f", "0x200"}),
               {.syscall_nr = kNrUnlinkat, .name = "f", .base = dir, .at_flags = AT_REMOVEDIR});
}

TEST_F(NamesTest, DeletesThatFail) {
  MakeDir("full");
  MakeFile("full/x");
  ExpectDelete(DoOk({"unlink", Dir("none")}), {.syscall_nr = kNrUnlink, .ret = -ENOENT, .name = Dir("none")});
  ExpectDelete(DoOk({"unlink", Dir("full")}), {.syscall_nr = kNrUnlink, .ret = -EISDIR, .name = Dir("full")});
  ExpectDelete(DoOk({"rmdir", Dir("full")}), {.syscall_nr = kNrRmdir, .ret = -ENOTEMPTY, .name = Dir("full")});
  ExpectDelete(DoOk({"uid=65534", "unlink", Dir("full/x")}),
               {.syscall_nr = kNrUnlink, .ret = -EACCES, .name = Dir("full/x")});
  ExpectDelete(DoOk({"uid=65534", "unlinkat", Dir(), "full/x", "0"}),
               {.syscall_nr = kNrUnlinkat, .ret = -EACCES, .name = "full/x", .base = Dir()});
  ExpectDelete(DoOk({"unlinkat", Dir(), "x", "0x200"}),
               {.syscall_nr = kNrUnlinkat, .ret = -ENOENT, .name = "x", .base = Dir(), .at_flags = AT_REMOVEDIR});
}

TEST_F(NamesTest, NamesOfAnyBytes) {
  for (const char* name : {"line\nfeed", "\xff\xfe\x80"}) {
    MakeFile(name);
    ExpectDelete(DoOk({"unlink", Dir(name)}), {.syscall_nr = kNrUnlink, .name = Dir(name)});
  }
}

TEST_F(NamesTest, ANameThatIsNotInMemoryYet) {
  MakeFile("cold");
  ExpectDelete(DoOk({"unlink_cold", Dir("cold"), Dir("scratch")}),
               {.syscall_nr = kNrUnlink, .name = Dir("cold"), .base = std::filesystem::current_path(), .late = 1});
}

TEST_F(NamesTest, DeletedWorkingDirectory) {
  const std::string dir = MakeDir("gone");
  ExpectDelete(DoOk({"chdir=" + dir, "rmcwd", "unlink", "x"}),
               {.syscall_nr = kNrUnlink, .ret = -ENOENT, .name = "x", .base = dir});
}

TEST_F(NamesTest, Renames) {
  const std::string from = MakeDir("from"), to = MakeDir("to");
  MakeFile("a");
  ExpectRename(DoOk({"rename", Dir("a"), Dir("b")}), {.syscall_nr = kNrRename, .name = Dir("a"), .name2 = Dir("b")});
  MakeFile("from/x");
  ExpectRename(DoOk({"renameat", from, "x", to, "y"}),
               {.syscall_nr = kNrRenameat, .name = "x", .base = from, .name2 = "y", .base2 = to});
  MakeFile("from/x");
  ExpectRename(DoOk({"renameat2", from, "x", to, "z", "0"}),
               {.syscall_nr = kNrRenameat2, .name = "x", .base = from, .name2 = "z", .base2 = to});
  ExpectRename(DoOk({"renameat2", to, "y", to, "z", "2"}),
               {.syscall_nr = kNrRenameat2, .name = "y", .base = to, .name2 = "z", .base2 = to, .at_flags = 2});
}

TEST_F(NamesTest, RenamesThatFail) {
  MakeFile("a");
  MakeFile("b");
  ExpectRename(
      DoOk({"renameat2", Dir(), "a", "-", Dir("b"), "1"}),
      {.syscall_nr = kNrRenameat2, .ret = -EEXIST, .name = "a", .base = Dir(), .name2 = Dir("b"), .at_flags = 1});
  ExpectRename(DoOk({"rename", Dir("none"), Dir("b")}),
               {.syscall_nr = kNrRename, .ret = -ENOENT, .name = Dir("none"), .name2 = Dir("b")});
  ExpectRename(DoOk({"uid=65534", "rename", Dir("a"), Dir("c")}),
               {.syscall_nr = kNrRename, .ret = -EACCES, .name = Dir("a"), .name2 = Dir("c")});
}

TEST_F(NamesTest, RenamingTheWorkingDirectorysParent) {
  const std::string old_dir = MakeDir("old");
  const std::string sub = MakeDir("old/sub");
  // Relative to the directory as it was called when the act began.
  ExpectRename(DoOk({"chdir=" + sub, "rename", "../../old", "../../new"}),
               {.syscall_nr = kNrRename, .name = "../../old", .base = sub, .name2 = "../../new", .base2 = sub});
  EXPECT_EQ(access(Dir("new/sub").c_str(), F_OK), 0);
}

TEST_F(NamesTest, LongNamesAndBasesAreWhole) {
  // Four tails of nearly the bound: past the small store of pending calls.
  std::string base = Dir();
  for (int i = 0; i < 12; ++i) {
    base += "/" + std::string(250, static_cast<char>('a' + i));
    ASSERT_EQ(mkdir(base.c_str(), 0755), 0);
  }
  const std::string name(255, 'n'), name2(254, 'm');
  const int fd = open((base + "/" + name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  close(fd);
  ExpectRename(DoOk({"renameat", base, name, base, name2}),
               {.syscall_nr = kNrRenameat, .name = name, .base = base, .name2 = name2, .base2 = base});
  ExpectDelete(DoOk({"unlinkat", base, name2, "0"}), {.syscall_nr = kNrUnlinkat, .name = name2, .base = base});
}

}  // namespace
}  // namespace nodetrail::root_test
