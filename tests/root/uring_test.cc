// SPDX-License-Identifier: Apache-2.0
//
// What is done through io_uring, by each of its ways: in the submitter's
// context, by a worker, by the polling thread.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "tests/root/expect.h"
#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

constexpr uint32_t kLargeFile = 0100000;  // O_LARGEFILE: glibc calls it 0 on x86-64
const char* const kWays[] = {"inline", "async", "sqpoll"};

std::string N(int64_t value) { return std::to_string(value); }
std::string S(const std::string& text) { return "s:" + text; }

class UringTest : public RootTest {
 protected:
  void SetUp() override {
    RootTest::SetUp();
    if (!IsSkipped() && !HasFatalFailure()) OpenCapture();
  }

  struct Want {
    uint16_t type = NT_NONE;
    uint32_t nr = 0;                   // of the system call that does the same
    std::vector<uint64_t> args = {};   // the rest is 0
    int64_t error = 0;                 // 0: it succeeds
    std::string name = {}, base = {};  // base "": the name is absolute
    std::string name2 = {}, base2 = {};
    std::string text = {};
    bool by_fd = false;  // its file is known from a descriptor, before and after
    uint32_t flags = NT_F_IO_URING;
  };

  // The task that submitted: the polling thread has a number and a name of its own.
  static json Submitter(const json& truth) {
    json submitter = truth;
    if (truth.contains("poller_tid")) {
      submitter["task"]["tid_in_ns"] = truth.at("poller_tid");
      submitter["task"]["comm"] = truth.at("poller_comm");
      std::string status = Bytes(truth.at("task").at("status"));
      const size_t at = status.find("\nPid:");
      status.replace(at, status.find('\n', at + 1) - at, "\nPid:\t" + N(truth.at("poller_tid").get<int64_t>()));
      submitter["task"]["status"] = status;
    }
    return submitter;
  }

  // Has this kernel the operation? Without it, coverage says so.
  bool Offered(const Outcome& run, const std::string& operation) {
    const bool offered = run.Truth("main").value("offered", 0) != 0;
    for (const agent::HookCoverage& hook : capture_->Coverage()) {
      if (hook.hook != "io_uring/" + operation) continue;
      EXPECT_EQ(hook.state, offered ? agent::HookState::kAttached : agent::HookState::kOff) << hook.why;
      return offered;
    }
    ADD_FAILURE() << "coverage says nothing of " << operation;
    return offered;
  }

  const Record* Begin(const Outcome& run, uint16_t type, int64_t error, uint32_t flags) {
    const json& truth = run.Truth("main");
    if (!truth.contains("task")) {
      ADD_FAILURE() << run.standard_error;
      return nullptr;
    }
    const auto ret = truth.at("ret").get<int64_t>();
    EXPECT_EQ(ret >= 0 ? 0 : ret, error);
    const Record* record = run.Only(truth);
    if (record == nullptr) return nullptr;
    EXPECT_EQ(record->type(), type);
    ExpectTask(record->event.task, Submitter(truth));
    ExpectTime(*record, truth);
    EXPECT_EQ(record->event.header.flags, flags);
    return record->type() == type ? record : nullptr;
  }

  static void ExpectNames(const Record& record, const Want& want, std::vector<nt_tail> tails) {
    const auto user = [&](nt_tail kind, const std::string& text) {
      if (text.empty()) return;
      EXPECT_EQ(record.event.Tail(kind), text);
      tails.push_back(kind);
    };
    const auto base = [&](nt_tail kind, const std::string& path) {
      if (path.empty()) return;
      EXPECT_EQ(record.Path(kind), path);
      tails.push_back(kind);
    };
    user(NT_TAIL_USER_PATH, want.name);
    base(NT_TAIL_BASE, want.base);
    user(NT_TAIL_USER_PATH2, want.name2);
    base(NT_TAIL_BASE2, want.base2);
    user(NT_TAIL_TEXT, want.text);
    ExpectTails(record, tails);
  }

  void ExpectAct(const Outcome& run, const Want& want) {
    const Record* record = Begin(run, want.type, want.error, want.flags);
    ASSERT_NE(record, nullptr);
    const json& truth = run.Truth("main");
    const nt_act& act = record->event.body.act;
    EXPECT_EQ(act.ret, truth.at("ret").get<int64_t>());
    EXPECT_EQ(act.syscall_nr, want.nr);
    EXPECT_EQ(act.has, 0U);
    for (size_t i = 0; i < 6; ++i) EXPECT_EQ(act.args[i], i < want.args.size() ? want.args[i] : 0) << "argument " << i;
    std::vector<nt_tail> tails;
    if (want.by_fd) {
      ExpectFile(act.before, truth.at("file_before"));
      ExpectFile(act.after, truth.at("file_after"));
      EXPECT_EQ(record->Path(NT_TAIL_PATH), PathOf(truth.at("file_before")));
      tails.push_back(NT_TAIL_PATH);
    } else {
      ExpectNoFile(act.before);
      ExpectNoFile(act.after);
    }
    ExpectNames(*record, want, tails);
  }

  // `want.error` 0: what was opened is compared.
  void ExpectOpen(const Outcome& run, const Want& want, uint32_t flags, uint32_t mode, uint32_t created,
                  bool reached = true) {
    const Record* record = Begin(run, want.type, want.error, want.flags);
    ASSERT_NE(record, nullptr);
    const json& truth = run.Truth("main");
    const nt_file_open& open = record->event.body.open;
    EXPECT_EQ(open.ret, truth.at("ret").get<int64_t>());
    EXPECT_EQ(open.open_flags, flags);
    EXPECT_EQ(open.open_mode, mode);
    EXPECT_EQ(open.dfd, truth.at("fd").get<int32_t>());
    EXPECT_EQ(open.created, created);
    EXPECT_EQ(open.syscall_nr, want.nr);
    EXPECT_EQ(open.pad, 0U);
    if (want.error != 0) {
      ExpectNoFile(open.file);
      ExpectNames(*record, want, {});
    } else if (reached && truth.contains("made")) {
      ExpectFile(open.file, truth.at("made"));
      EXPECT_EQ(record->Path(NT_TAIL_PATH), PathOf(truth.at("made")));
      ExpectTails(*record, {NT_TAIL_PATH});
    } else {
      EXPECT_EQ(record->Path(NT_TAIL_PATH), want.name);
    }
  }

  Outcome Ring(const std::string& way, uint32_t operation, std::vector<std::string> words,
               std::vector<std::string> before = {}) {
    before.insert(before.end(), {"ring", way, N(operation)});
    before.insert(before.end(), words.begin(), words.end());
    return DoOk(before);
  }

  static uint64_t Fd(const Outcome& run) { return static_cast<uint32_t>(run.Truth("main").value("fd", int64_t{-1})); }

  const Record* OfSocket(const Outcome& run, const json& truth, uint16_t type) {
    const Record* found = nullptr;
    for (const Record* record : run.records) {
      if (record->type() != type || record->event.body.net.cookie != truth.at("cookie").get<uint64_t>()) continue;
      EXPECT_EQ(found, nullptr) << "told twice";
      found = record;
    }
    EXPECT_NE(found, nullptr) << "no record of type " << type;
    return found;
  }

  static void ExpectEnds(const nt_net& net, const json& truth) {
    const auto family = truth.at("family").get<uint16_t>();
    const auto addr = [family](const nt_u8(&bytes)[16]) {
      return std::string(reinterpret_cast<const char*>(bytes), family == AF_INET ? size_t{4} : size_t{16});
    };
    EXPECT_EQ(net.family, family);
    EXPECT_EQ(addr(net.local_addr), Bytes(truth.at("local_addr")));
    EXPECT_EQ(net.local_port, truth.at("local_port").get<uint16_t>());
    EXPECT_EQ(addr(net.remote_addr), Bytes(truth.at("remote_addr")));
    EXPECT_EQ(net.remote_port, truth.at("remote_port").get<uint16_t>());
    EXPECT_EQ(net.netns, truth.at("task").at("net_ns").get<uint32_t>());
    EXPECT_EQ(net.nonblocking, 0U);
    EXPECT_EQ(net.reset, 0U);
  }
};

TEST_F(UringTest, Opens) {
  const std::string dir = MakeDir("d"), secret = MakeFile("secret", 0600);
  for (const std::string way : kWays) {
    SCOPED_TRACE(way);
    const std::string file = Dir("made-" + way), at = "fd=0xffffff9c";
    Outcome run = Ring(way, 18, {at, "addr=" + S(file), "g=0101", "len=0640"}, {"login=4242"});
    if (!Offered(run, "openat")) return;
    ExpectOpen(run, {.type = NT_FILE_OPEN, .nr = 257}, O_CREAT | O_WRONLY | kLargeFile, 0640, 1);
    run = Ring(way, 18, {"fd=d:" + dir, "addr=" + S("../made-" + way), "g=02"});
    ExpectOpen(run, {.type = NT_FILE_OPEN, .nr = 257}, O_RDWR | kLargeFile, 0, 0);
    run = Ring(way, 18, {"fd=d:" + dir, "addr=s:none", "g=01"});
    ExpectOpen(run, {.type = NT_FILE_OPEN, .nr = 257, .error = -ENOENT, .name = "none", .base = dir},
               O_WRONLY | kLargeFile, 0, 0);
    run = Ring(way, 18, {at, "addr=" + S(secret)}, {"uid=65534"});
    ExpectOpen(run, {.type = NT_FILE_DENIED, .nr = 257, .error = -EACCES, .name = secret}, kLargeFile, 0, 0);
    run = Ring(way, 18, {at, "addr=s:none", "g=01"}, {"chdir=" + dir, "uid=65534"});
    ExpectOpen(run, {.type = NT_FILE_OPEN, .nr = 257, .error = -ENOENT, .name = "none", .base = dir},
               O_WRONLY | kLargeFile, 0, 0);
    run = Ring(way, 28, {at, "addr=" + S(file), "off=w:1", "len=24"});
    if (Offered(run, "openat2")) ExpectOpen(run, {.type = NT_FILE_OPEN, .nr = 437}, O_WRONLY | kLargeFile, 0, 0);
    run = Ring(way, 18, {at, "addr=" + S(file)});
    EXPECT_TRUE(run.During(run.Truth("main")).empty()) << "a plain read";
    run = Ring(way + "+direct", 18, {at, "addr=" + S(file), "g=01"});
    ExpectOpen(run, {.type = NT_FILE_OPEN, .nr = 257, .name = file}, O_WRONLY | kLargeFile, 0, 0);
  }
}

TEST_F(UringTest, Names) {
  const std::string dir = MakeDir("d");
  const uint64_t cwd = 0xffffff9c;
  for (const std::string way : kWays) {
    SCOPED_TRACE(way);
    const std::string file = MakeFile("f"), at = "fd=0xffffff9c";
    Outcome run = Ring(way, 37, {"fd=d:" + dir, "addr=" + S(way), "len=0750"}, {"login=4242"});
    if (Offered(run, "mkdirat")) {
      ExpectAct(run, {.type = NT_FILE_MKDIR, .nr = 258, .args = {Fd(run), 0, 0750}, .name = way, .base = dir});
      run = Ring(way, 37, {at, "addr=" + S(dir), "len=0700"});
      ExpectAct(run, {.type = NT_FILE_MKDIR, .nr = 258, .args = {cwd, 0, 0700}, .error = -EEXIST, .name = dir});
      run = Ring(way, 36, {at, "addr=" + S(way), "g=0x200"}, {"chdir=" + dir});
      ExpectAct(run, {.type = NT_FILE_DELETE, .nr = 263, .args = {cwd, 0, 0x200}, .name = way, .base = dir});
    }
    run = Ring(way, 38, {at, "addr=s:/no/where", "off=" + S(Dir("s-" + way))});
    if (Offered(run, "symlinkat")) {
      ExpectAct(run,
                {.type = NT_FILE_SYMLINK, .nr = 266, .args = {0, cwd}, .name = Dir("s-" + way), .text = "/no/where"});
    }
    run = Ring(way, 39, {at, "addr=" + S(file), "len=0xffffff9c", "off=" + S("l-" + way), "g=0x400"}, {"chdir=" + dir});
    if (Offered(run, "linkat")) {
      ExpectAct(run, {.type = NT_FILE_LINK,
                      .nr = 265,
                      .args = {cwd, 0, cwd, 0, 0x400},
                      .name = file,
                      .name2 = "l-" + way,
                      .base2 = dir});
    }
    run = Ring(way, 35, {at, "addr=s:f", "len=0xffffff9c", "off=" + S(Dir("g")), "g=1"}, {"chdir=" + Dir()});
    if (Offered(run, "renameat")) {
      ExpectAct(run, {.type = NT_FILE_RENAME,
                      .nr = 316,
                      .args = {cwd, 0, cwd, 0, 1},
                      .name = "f",
                      .base = Dir(),
                      .name2 = Dir("g")});
    }
    run = Ring(way, 36, {"fd=d:" + Dir(), "addr=s:g"});
    if (Offered(run, "unlinkat")) {
      ExpectAct(run, {.type = NT_FILE_DELETE, .nr = 263, .args = {Fd(run)}, .name = "g", .base = Dir()});
      MakeFile("h");
      run = Ring(way, 36, {at, "addr=" + S(Dir("h"))}, {"uid=65534"});
      ExpectAct(run, {.type = NT_FILE_DELETE, .nr = 263, .args = {cwd}, .error = -EACCES, .name = Dir("h")});
    }
  }
}

TEST_F(UringTest, LongNames) {
  std::string deep = Dir();
  for (int i = 0; i < 12; ++i) {
    deep += "/" + std::string(200, static_cast<char>('a' + i));
    MakeDir(deep.substr(Dir().size() + 1));
  }
  const std::string name = fmt::format("../{}/{}", std::string(200, 'l'), std::string(256, 'n'));
  for (const std::string way : kWays) {
    SCOPED_TRACE(way);
    const Outcome run = Ring(way, 37, {"fd=d:" + deep, "addr=" + S(name), "len=0700"});
    if (!Offered(run, "mkdirat")) return;
    ExpectAct(run, {.type = NT_FILE_MKDIR,
                    .nr = 258,
                    .args = {Fd(run), 0, 0700},
                    .error = -ENAMETOOLONG,
                    .name = name,
                    .base = deep});
  }
}

TEST_F(UringTest, AttributesAndSizes) {
  const std::string file = MakeFile("f", 0644, "0123456789");
  for (const std::string way : kWays) {
    SCOPED_TRACE(way);
    // A file system may lack user attributes: the attempt is told either way.
    const auto error = [](const Outcome& run) {
      const auto ret = run.Truth("main").value("ret", int64_t{0});
      return ret < 0 ? ret : int64_t{0};
    };
    Outcome run = Ring(way, 42, {"addr=s:user.nt", "off=s:v", "x=" + S(file), "len=1"});
    if (Offered(run, "setxattr")) {
      ExpectAct(run, {.type = NT_FILE_SETXATTR,
                      .nr = 188,
                      .args = {0, 0, 0, 1},
                      .error = error(run),
                      .name = file,
                      .text = "user.nt"});
    }
    run = Ring(way, 41, {"fd=f:" + file, "addr=s:user.nt", "off=s:v", "len=1"});
    if (Offered(run, "fsetxattr")) {
      ExpectAct(run, {.type = NT_FILE_SETXATTR,
                      .nr = 190,
                      .args = {Fd(run), 0, 0, 1},
                      .error = error(run),
                      .text = "user.nt",
                      .by_fd = true});
    }
    for (const std::string fixed : {"", "+fixed"}) {
      run = Ring(way + fixed, 55, {"fd=r:" + file, "off=99"});
      if (Offered(run, "ftruncate")) {
        ExpectAct(run, {.type = NT_FILE_TRUNCATE, .nr = 77, .args = {Fd(run), 99}, .by_fd = true});
      }
    }
  }
}

TEST_F(UringTest, RefusedBeforeItWasSubmitted) {
  const uint32_t flags = NT_F_IO_URING | NT_F_URING_ENTRY;
  const uint64_t cwd = 0xffffff9c;
  for (const std::string way : kWays) {
    SCOPED_TRACE(way);
    Outcome run = Ring(way, 36, {"fd=0xffffff9c", "addr=1"});
    if (!Offered(run, "unlinkat")) return;
    ExpectAct(run, {.type = NT_FILE_DELETE, .nr = 263, .args = {cwd}, .error = -EFAULT, .flags = flags});
    run = Ring(way, 37, {"fd=0xffffff9c", "addr=" + S(Dir("x")), "len=0711", "b=1"});
    ExpectAct(
        run,
        {.type = NT_FILE_MKDIR, .nr = 258, .args = {cwd, 0, 0711}, .error = -EINVAL, .name = Dir("x"), .flags = flags});
    run = Ring(way, 18, {"fd=0xffffff9c", "addr=1", "g=01"});
    ExpectOpen(run, {.type = NT_FILE_OPEN, .nr = 257, .error = -EFAULT, .flags = flags}, O_WRONLY, 0, 0);
  }
}

// Its success is told nobody: what can't be recorded is counted.
TEST_F(UringTest, WithoutACompletionItIsACountedLoss) {
  const auto lost = [this] {
    uint64_t sum = 0;
    const auto counters = capture_->ReadCounters();
    EXPECT_TRUE(counters.ok());
    if (counters.ok()) {
      for (const nt_cpu_stats& cpu : counters->cpus) sum += cpu.lost_map[NT_FILE_DELETE];
    }
    return sum;
  };
  for (const std::string way : kWays) {
    SCOPED_TRACE(way);
    MakeFile("f");
    const uint64_t before = lost();
    const Outcome run = Ring(way + "+quiet", 36, {"fd=0xffffff9c", "addr=" + S(Dir("f"))});
    if (!Offered(run, "unlinkat")) return;
    EXPECT_NE(access(Dir("f").c_str(), F_OK), 0) << "it was not done";
    EXPECT_EQ(lost() - before, 1U);
    EXPECT_TRUE(run.During(run.Truth("main")).empty());
  }
}

// Credentials that the ring keeps: the request is done, and told, with them.
TEST_F(UringTest, APersonality) {
  const std::string secret = MakeFile("secret", 0600);
  for (const std::string way : kWays) {
    SCOPED_TRACE(way);
    const Outcome run = Ring(way + "+person", 18, {"fd=0xffffff9c", "addr=" + S(secret), "g=01"});
    const json& truth = run.Truth("main");
    ASSERT_TRUE(truth.contains("task")) << run.standard_error;
    EXPECT_EQ(truth.at("ret").get<int64_t>(), -EACCES);
    const Record* record = run.Only(truth);
    ASSERT_NE(record, nullptr);
    EXPECT_EQ(record->type(), NT_FILE_DENIED);
    nt_cred want = CredOf(truth.at("task"));
    want.euid = want.egid = want.fsuid = want.fsgid = 65534;
    want.cap_effective = 0;
    ExpectCred(record->event.task.cred, want, "the personality");
  }
}

TEST_F(UringTest, Connects) {
  for (const std::string way : kWays) {
    for (const std::string family : {"4", "6"}) {
      SCOPED_TRACE(fmt::format("{} {}", way, family));
      Outcome run = DoOk({"login=4242", "ring_connect", way, family, "ok"});
      const json& truth = run.Truth("client");
      ASSERT_TRUE(truth.contains("cookie")) << run.standard_error;
      ASSERT_EQ(truth.at("ret").get<int64_t>(), 0);
      const Record* record = OfSocket(run, truth, NT_NET_CONNECT);
      ASSERT_NE(record, nullptr);
      ExpectTask(record->event.task, Submitter(truth), NT_T_SNAPSHOT);
      ExpectEnds(record->event.body.net, truth);
      ExpectTime(*record, truth);
      EXPECT_EQ(record->event.header.flags, NT_F_IO_URING);
      EXPECT_EQ(record->event.body.net.err, 0);
      EXPECT_EQ(record->event.body.net.addr_from_user, 0U);

      run = DoOk({"ring_connect", way, family, "refused"});
      const json& refused = run.Truth("client");
      ASSERT_EQ(refused.at("ret").get<int64_t>(), -ECONNREFUSED);
      record = run.Only(refused);
      ASSERT_NE(record, nullptr);
      ExpectTask(record->event.task, Submitter(refused), NT_T_SNAPSHOT);
      EXPECT_EQ(record->event.header.flags, NT_F_IO_URING);
      EXPECT_EQ(record->event.body.net.err, ECONNREFUSED);
      EXPECT_EQ(record->event.body.net.remote_port, refused.at("asked_port").get<uint16_t>());
    }
  }
}

// No interface: it fails before the first SYN.
TEST_F(UringTest, ConnectWithoutARoute) {
  for (const std::string way : kWays) {
    SCOPED_TRACE(way);
    const Outcome run = DoOk({"ring_connect", way, "away", "9"});
    const json& truth = run.Truth("client");
    ASSERT_TRUE(truth.contains("task")) << run.standard_error;
    const auto ret = truth.at("ret").get<int64_t>();
    ASSERT_LT(ret, 0);
    const Record* record = run.Only(truth);
    ASSERT_NE(record, nullptr);
    ASSERT_EQ(record->type(), NT_NET_CONNECT);
    const nt_net& net = record->event.body.net;
    ExpectTask(record->event.task, Submitter(truth));
    EXPECT_EQ(record->event.header.flags, NT_F_IO_URING);
    EXPECT_EQ(net.err, -ret);
    EXPECT_EQ(net.addr_from_user, 1U);
    EXPECT_EQ(net.remote_port, 9U);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(net.remote_addr), 4), Bytes(truth.at("asked_addr")));
  }
}

TEST_F(UringTest, Accepts) {
  for (const std::string way : kWays) {
    for (const auto& [mode, count] : std::vector<std::pair<std::string, size_t>>{{"", 1}, {"", 3}, {"+direct", 1}}) {
      SCOPED_TRACE(fmt::format("{}{} {}", way, mode, count));
      const Outcome run = DoOk({"ring_accept", way + mode, "4", std::to_string(count)});
      EXPECT_EQ(run.Of(static_cast<uint32_t>(run.pid), NT_NET_ACCEPT).size(), count);
      size_t seen = 0;
      for (const json& truth : run.truths) {
        ++seen;
        if (truth.at("role") == "hidden") continue;  // no way to look at a registered file before 6.8
        const Record* record = OfSocket(run, truth, NT_NET_ACCEPT);
        EXPECT_NE(record, nullptr) << "connection " << seen;
        if (record == nullptr) continue;
        ExpectTask(record->event.task, Submitter(truth));
        ExpectEnds(record->event.body.net, truth);
        ExpectTime(*record, truth);
        EXPECT_EQ(record->event.header.flags, NT_F_IO_URING);
        EXPECT_EQ(record->event.body.net.inbound, 1U);
      }
      EXPECT_EQ(seen, count) << run.standard_error;
    }
  }
}

}  // namespace
}  // namespace nodetrail::root_test
