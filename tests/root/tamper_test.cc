// SPDX-License-Identifier: Apache-2.0
//
// Acts on the agent, which is this process here: signals to it, its own BPF
// objects in others' hands, its links closed.
#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

class TamperTest : public RootTest {
 protected:
  // Runs `act` in a child; its pid.
  static pid_t InChild(const std::function<void()>& act) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      act();
      ::_exit(0);
    }
    EXPECT_GT(pid, 0);
    EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
    return pid;
  }

  std::vector<const Record*> Told(uint32_t tgid, uint16_t type) {
    Drain();
    std::vector<const Record*> out;
    for (const auto& record : records()) {
      if (record->type() == type && record->event.task.tgid == tgid) out.push_back(record.get());
    }
    return out;
  }

  [[nodiscard]] uint32_t IdOf(const std::string& name) const {
    for (const agent::OwnObject& own : capture_->OwnObjects()) {
      if (own.name == name) return own.id;
    }
    ADD_FAILURE() << "no object " << name;
    return 0;
  }

  static long Bpf(int command, bpf_attr* attr) { return ::syscall(SYS_bpf, command, attr, sizeof *attr); }
  static int MapById(uint32_t id) {
    bpf_attr attr{};
    attr.map_id = id;
    return static_cast<int>(Bpf(BPF_MAP_GET_FD_BY_ID, &attr));
  }
  static long Update(int fd, const void* key, const void* value) {
    bpf_attr attr{};
    attr.map_fd = static_cast<uint32_t>(fd);
    attr.key = reinterpret_cast<uint64_t>(key);
    attr.value = reinterpret_cast<uint64_t>(value);
    return Bpf(BPF_MAP_UPDATE_ELEM, &attr);
  }
  static long Delete(int fd, const void* key) {
    bpf_attr attr{};
    attr.map_fd = static_cast<uint32_t>(fd);
    attr.key = reinterpret_cast<uint64_t>(key);
    return Bpf(BPF_MAP_DELETE_ELEM, &attr);
  }

  // A child kills one of its own user and one of another.
  struct Killed {
    pid_t of_another = 0;
    std::vector<const Record*> told;
  };
  Killed KillTwo() {
    std::vector<pid_t> targets;
    for (const uid_t uid : {0U, 1234U}) {
      int ready[2];
      EXPECT_EQ(::pipe(ready), 0);
      targets.push_back(::fork());
      if (targets.back() == 0) {
        if (::setresuid(uid, uid, uid) != 0 || ::write(ready[1], "x", 1) != 1) ::_exit(1);
        for (;;) ::pause();
      }
      char byte = 0;
      EXPECT_EQ(::read(ready[0], &byte, 1), 1);
      ::close(ready[0]);
      ::close(ready[1]);
    }
    const pid_t sender = InChild([&targets] {
      for (const pid_t target : targets) ::kill(target, SIGKILL);
    });
    for (const pid_t target : targets) EXPECT_EQ(::waitpid(target, nullptr, 0), target);
    return {targets[1], Told(static_cast<uint32_t>(sender), NT_SIGNAL)};
  }

  static uint64_t Arg(const Record* record, size_t index) { return record->event.body.act.args[index]; }
};

TEST_F(TamperTest, ASignalToTheAgentByWhateverCall) {
  OpenCapture();
  if (HasFatalFailure()) return;
  const pid_t agent = ::getpid();
  sigset_t set;
  sigset_t before;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  ASSERT_EQ(::sigprocmask(SIG_BLOCK, &set, &before), 0);
  const pid_t sender = InChild([agent] {
    ::kill(agent, SIGUSR1);
    ::syscall(SYS_tgkill, agent, agent, SIGUSR1);
    const int fd = static_cast<int>(::syscall(SYS_pidfd_open, agent, 0));
    ::syscall(SYS_pidfd_send_signal, fd, SIGUSR1, nullptr, 0);
    ::sigqueue(agent, SIGUSR1, {});
    ::kill(agent, 0);              // only asks
    ::kill(::getpid(), SIGWINCH);  // to itself
  });
  ::signal(SIGUSR1, SIG_IGN);  // what is pending goes
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  ::signal(SIGUSR1, SIG_DFL);

  const auto told = Told(static_cast<uint32_t>(sender), NT_SIGNAL);
  ASSERT_EQ(told.size(), 4U);
  const int codes[] = {SI_USER, SI_TKILL, SI_USER, SI_QUEUE};
  for (size_t i = 0; i < told.size(); ++i) {
    EXPECT_EQ(Arg(told[i], NT_SIGNAL_NUMBER), static_cast<uint64_t>(SIGUSR1)) << i;
    EXPECT_EQ(static_cast<int64_t>(Arg(told[i], NT_SIGNAL_CODE)), codes[i]) << i;
    EXPECT_EQ(Arg(told[i], NT_SIGNAL_TGID), static_cast<uint64_t>(agent)) << i;
    EXPECT_EQ(Arg(told[i], NT_SIGNAL_TID), static_cast<uint64_t>(agent)) << i;
    // The first waits; for a thread it waits apart from those for the process.
    EXPECT_EQ(Arg(told[i], NT_SIGNAL_RESULT), i < 2 ? 0U : 2U) << i;
    EXPECT_EQ(Arg(told[i], NT_SIGNAL_START), told[i]->event.task.parent_start_boottime_ns) << i;
    EXPECT_EQ(told[i]->event.body.act.has & NT_ACT_BY_KERNEL, 0U);
  }
  // That the child ended, the kernel says, in the course of things.
  EXPECT_TRUE(Told(static_cast<uint32_t>(agent), NT_SIGNAL).empty());

  // Kept for the next run, too.
  const auto kept = agent::ReadLastSignals(capture_->LastSignalsFd());
  ASSERT_TRUE(kept.ok()) << kept.status().ToString();
  ASSERT_GE(kept->size(), 4U);
  agent::RawEvent event;
  ASSERT_EQ(agent::Decode(kept->back(), &event), agent::Reject::kNone);
  EXPECT_EQ(event.header.type, NT_SIGNAL);
  EXPECT_EQ(event.task.tgid, static_cast<uint32_t>(sender));
  EXPECT_EQ(event.header.cpu_seq, told.back()->event.header.cpu_seq);
}

TEST_F(TamperTest, SignalsToOthersAreNotRecorded) {
  OpenCapture();
  if (HasFatalFailure()) return;
  EXPECT_TRUE(KillTwo().told.empty());
}

TEST_F(TamperTest, SignalsToOtherUsersAreBySwitch) {
  agent::CaptureOptions options;
  options.signals_cross_uid = true;
  OpenCapture(options);
  if (HasFatalFailure()) return;
  const Killed killed = KillTwo();
  ASSERT_EQ(killed.told.size(), 1U);
  EXPECT_EQ(Arg(killed.told[0], NT_SIGNAL_NUMBER), static_cast<uint64_t>(SIGKILL));
  EXPECT_EQ(Arg(killed.told[0], NT_SIGNAL_TGID), static_cast<uint64_t>(killed.of_another));
}

TEST_F(TamperTest, OurMapsInOthersHands) {
  OpenCapture();
  if (HasFatalFailure()) return;
  const uint32_t scope = IdOf("nt_scope");
  const uint32_t own = IdOf("nt_own");
  const pid_t pid = InChild([scope, own] {
    const uint32_t nobody = 0x7fffffff;
    const uint8_t one = 1;
    const uint64_t key = 0;
    const int fd = MapById(scope);
    Update(fd, &nobody, &one);
    Delete(fd, &nobody);
    Delete(fd, &nobody);
    Delete(MapById(own), &key);
    // Of others: nothing.
    bpf_attr attr{};
    attr.map_type = BPF_MAP_TYPE_HASH;
    attr.key_size = attr.value_size = 4;
    attr.max_entries = 1;
    const auto theirs = static_cast<int>(Bpf(BPF_MAP_CREATE, &attr));
    Update(theirs, &nobody, &nobody);
    Delete(theirs, &nobody);
    Delete(-1, &nobody);
    Delete(0, &nobody);
  });
  struct Want {
    int command;
    uint32_t id;
    int64_t ret;
  };
  const std::vector<Want> want = {{BPF_MAP_GET_FD_BY_ID, scope, 1}, {BPF_MAP_UPDATE_ELEM, scope, 0},
                                  {BPF_MAP_DELETE_ELEM, scope, 0},  {BPF_MAP_DELETE_ELEM, scope, -ENOENT},
                                  {BPF_MAP_GET_FD_BY_ID, own, 1},   {BPF_MAP_DELETE_ELEM, own, -EPERM}};
  const auto told = Told(static_cast<uint32_t>(pid), NT_BPF_OWN);
  ASSERT_EQ(told.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_EQ(Arg(told[i], NT_OWN_COMMAND), static_cast<uint64_t>(want[i].command)) << i;
    EXPECT_EQ(Arg(told[i], NT_OWN_OBJECT), static_cast<uint64_t>(NT_OWN_MAP)) << i;
    EXPECT_EQ(Arg(told[i], NT_OWN_ID), want[i].id) << i;
    const int64_t ret = told[i]->event.body.act.ret;
    EXPECT_TRUE(want[i].ret == 1 ? ret > 0 : ret == want[i].ret) << i << ": " << ret;
  }
}

// Who is written into nt_self is seen no more; not so when he acts on us.
TEST_F(TamperTest, WhoHidesInOurListIsFoundAndHisHandStaysSeen) {
  const agent::CaptureOptions options;
  OpenCapture(options);
  if (HasFatalFailure()) return;
  const uint32_t self = IdOf("nt_self");
  const pid_t pid = InChild([self] {
    uint32_t slots[16] = {static_cast<uint32_t>(::getpid()), NT_SELF_AGENT};
    const uint32_t zero = 0;
    const int fd = MapById(self);
    Update(fd, &zero, slots);
    Update(fd, &zero, slots);
  });
  EXPECT_EQ(Told(static_cast<uint32_t>(pid), NT_BPF_OWN).size(), 3U);

  InChild([self] {
    uint32_t slots[16] = {1, NT_SELF_AGENT};
    const uint32_t zero = 0;
    Update(MapById(self), &zero, slots);
  });
  const std::vector<agent::Damage> damage = capture_->Inspect({});
  ASSERT_EQ(damage.size(), 1U);
  EXPECT_EQ(damage[0].object, "map");
  EXPECT_EQ(damage[0].what, "altered");
  EXPECT_TRUE(capture_->Inspect({}).empty()) << "it was put back";
}

TEST_F(TamperTest, ALinkThatWasClosedIsAttachedAgain) {
  const agent::CaptureOptions options;
  std::vector<int> before;
  const auto descriptors = [] {
    std::vector<int> out;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code error;
      if (std::filesystem::read_symlink(entry.path(), error).string().find("bpf_link") == std::string::npos) continue;
      out.push_back(std::stoi(entry.path().filename().string()));
    }
    std::sort(out.begin(), out.end());
    return out;
  };
  before = descriptors();
  OpenCapture(options);
  if (HasFatalFailure()) return;
  std::vector<int> links;
  const std::vector<int> after = descriptors();
  std::set_difference(after.begin(), after.end(), before.begin(), before.end(), std::back_inserter(links));
  ASSERT_GT(links.size(), 5U);
  EXPECT_TRUE(capture_->Inspect({}).empty());
  // One number becomes another file's: that one stays open.
  const UniqueFd other(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::dup2(other.get(), links[0]), links[0]);
  for (size_t i = 1; i < links.size(); ++i) ASSERT_EQ(::close(links[i]), 0);
  Drain();
  losses_expected_ = true;  // exits whose enter was not seen are counted

  const std::vector<agent::Damage> damage = capture_->Inspect({});
  ASSERT_EQ(damage.size(), 1U);
  EXPECT_EQ(damage[0].what, "closed");
  EXPECT_TRUE(damage[0].restored);
  EXPECT_EQ(damage[0].targets.size(), links.size());
  EXPECT_TRUE(capture_->Inspect({}).empty());
  struct stat st {};
  ASSERT_EQ(::fstat(links[0], &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  ::close(links[0]);
  const auto again =
      std::count_if(capture_->Coverage().begin(), capture_->Coverage().end(),
                    [](const agent::HookCoverage& hook) { return hook.why.starts_with("attached again"); });
  EXPECT_GE(static_cast<size_t>(again), links.size());

  const std::string path = Dir("after");
  const pid_t pid = InChild([&path] { ::close(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644)); });
  EXPECT_EQ(Told(static_cast<uint32_t>(pid), NT_FILE_OPEN).size(), 1U);
  EXPECT_EQ(Told(static_cast<uint32_t>(pid), NT_EXIT).size(), 1U);
}

TEST_F(TamperTest, HooksThatTellNothingAreAttachedAnewButNotOverAndOver) {
  const agent::CaptureOptions options;
  OpenCapture(options);
  if (HasFatalFailure()) return;
  Drain();
  losses_expected_ = true;  // exits whose enter was not seen are counted
  const std::vector<agent::Damage> damage = capture_->Inspect({"file"});
  ASSERT_EQ(damage.size(), 1U);
  EXPECT_EQ(damage[0].what, "deaf");
  EXPECT_TRUE(damage[0].restored);
  EXPECT_TRUE(capture_->Inspect({"file"}).empty());
  const std::string path = Dir("after");
  const pid_t pid = InChild([&path] { ::close(::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0644)); });
  EXPECT_EQ(Told(static_cast<uint32_t>(pid), NT_FILE_OPEN).size(), 1U) << "not by two links";
}

}  // namespace
}  // namespace nodetrail::root_test
