// SPDX-License-Identifier: Apache-2.0
//
// What holds for records of every kind: losses counted, order, scope, self
// exclusion, cgroups announced, coverage.
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>

#include "nodetrail/abi/reserved.h"
#include "tests/root/expect.h"
#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

// A connection with both ends in this process.
void ConnectToOurselves() {
  sockaddr_in addr{};
  addr.sin_family = AF_INET;
  addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t len = sizeof(addr);
  auto* generic = reinterpret_cast<sockaddr*>(&addr);
  UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd client(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(listener.get(), generic, len), 0);
  ASSERT_EQ(listen(listener.get(), 1), 0);
  ASSERT_EQ(getsockname(listener.get(), generic, &len), 0);
  ASSERT_EQ(connect(client.get(), generic, len), 0);
  UniqueFd server(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(server.valid());
  client.Reset();
  char byte = 0;
  ASSERT_EQ(read(server.get(), &byte, 1), 0) << "the other end is closed";
}

class PlumbingTest : public RootTest {
 protected:
  static TypeCounts SumSelf(const agent::SourceCounters& counters, nt_self_class cls) {
    TypeCounts sum{};
    for (const nt_cpu_stats& cpu : counters.cpus) {
      for (size_t i = 0; i < NT_TYPE_MAX; ++i) sum[i] += cpu.self[cls][i];
    }
    return sum;
  }

  TypeCounts Seen() const {
    TypeCounts seen{};
    for (const auto& record : records()) ++seen[record->type()];
    return seen;
  }
};

TEST_F(PlumbingTest, ATinyRingLosesCountedAndPlaced) {
  losses_expected_ = true;
  agent::CaptureOptions options;
  options.ring_bytes_per_cpu = 4096;
  OpenCapture(options);
  if (HasFatalFailure()) return;
  constexpr uint64_t kRounds = 500, kThreads = 4;
  // Nothing is drained while it rages, so that most of it is lost. What the
  // reserve is for fits into that.
  const Outcome run = DoOk({"storm", Dir(), std::to_string(kRounds), std::to_string(kThreads)});
  const json& truth = run.Truth("main");
  const agent::SourceCounters counters = Counters();
  const TypeCounts submitted = Sum(counters, &nt_cpu_stats::submitted);
  const TypeCounts lost = Sum(counters, &nt_cpu_stats::lost_ring);
  const TypeCounts lost_map = Sum(counters, &nt_cpu_stats::lost_map);
  const auto told = [&](uint16_t type) { return submitted[type] + lost[type] + lost_map[type]; };

  EXPECT_EQ(truth.at("creates"), kRounds * kThreads);
  EXPECT_EQ(told(NT_FILE_OPEN), truth.at("creates").get<uint64_t>());
  EXPECT_EQ(told(NT_FILE_DELETE), truth.at("deletes").get<uint64_t>());
  EXPECT_EQ(told(NT_FILE_RENAME), truth.at("renames").get<uint64_t>());
  EXPECT_EQ(told(NT_CRED), truth.at("creds").get<uint64_t>());
  EXPECT_EQ(told(NT_FORK), 1u) << "the test's own; threads are none";
  EXPECT_EQ(told(NT_EXEC), 1u);
  EXPECT_EQ(told(NT_EXIT), 1u);
  EXPECT_EQ(counters.skipped_probes, 0u);

  uint64_t all_lost = 0;
  const TypeCounts seen = Seen();
  for (uint16_t type = 0; type < NT_TYPE_MAX; ++type) {
    EXPECT_EQ(seen[type], submitted[type]) << "type " << type << ": what entered the ring comes out";
    EXPECT_EQ(lost_map[type], 0u) << "type " << type;
    if (NT_IS_RESERVED(type)) {
      EXPECT_EQ(lost[type], 0u) << "type " << type;
    }
    all_lost += lost[type];
  }
  EXPECT_GT(all_lost, 1000u) << "a ring this small must overflow, or this test shows nothing";

  // A record that gets through after the storm closes the last hole of a CPU;
  // what came after the last record is cpu_seq of the counters.
  uint64_t holes = 0;
  for (uint32_t cpu = 0; cpu < counters.cpus.size(); ++cpu) {
    holes += holes_[cpu] + counters.cpus[cpu].cpu_seq - last_seq_[cpu];
  }
  EXPECT_EQ(holes, all_lost) << "every loss is a hole, every hole a loss";
}

TEST_F(PlumbingTest, AnAmpleRingLosesNothing) {
  OpenCapture();
  if (HasFatalFailure()) return;
  const agent::SourceCounters before = Counters();
  const Outcome run = DoOk({"storm", Dir(), "300", "4"});
  const json& truth = run.Truth("main");
  const auto pid = static_cast<uint32_t>(run.pid);
  EXPECT_EQ(run.Of(pid, NT_FILE_OPEN).size(), truth.at("creates").get<size_t>());
  EXPECT_EQ(run.Of(pid, NT_FILE_DELETE).size(), truth.at("deletes").get<size_t>());
  EXPECT_EQ(run.Of(pid, NT_FILE_RENAME).size(), truth.at("renames").get<size_t>());
  EXPECT_EQ(run.Of(pid, NT_CRED).size(), truth.at("creds").get<size_t>());
  const agent::SourceCounters after = Counters();
  EXPECT_EQ(after.skipped_probes, before.skipped_probes);
  const auto grew = [&](nt_u64(nt_cpu_stats::*member)[NT_TYPE_MAX], uint16_t type) {
    return Sum(after, member)[type] - Sum(before, member)[type];
  };
  for (uint16_t type = 0; type < NT_TYPE_MAX; ++type) {
    EXPECT_EQ(grew(&nt_cpu_stats::lost_ring, type), 0u) << "type " << type;
    EXPECT_EQ(grew(&nt_cpu_stats::lost_map, type), 0u) << "type " << type;
    EXPECT_EQ(grew(&nt_cpu_stats::submitted, type), Seen()[type]) << "type " << type;
  }
  std::set<std::string> names;
  for (const Record* r : run.Of(pid, NT_FILE_OPEN)) EXPECT_TRUE(names.insert(r->Path(NT_TAIL_PATH)).second);
  for (const Record* r : run.Of(pid, NT_FILE_RENAME)) {
    EXPECT_EQ(names.count(std::string(r->event.Tail(NT_TAIL_USER_PATH))), 1u);
  }
}

TEST_F(PlumbingTest, OwnActsAreCountedNotTold) {
  OpenCapture();
  if (HasFatalFailure()) return;
  const TypeCounts own_before = SumSelf(Counters(), NT_SELF_COMPANION);
  // The storm waits until it is marked.
  Workload workload = Start({"storm", Dir(), "20", "1", "wait"});
  const Status marked = capture_->MarkSelf(static_cast<uint32_t>(workload.pid), NT_SELF_COMPANION);
  ASSERT_TRUE(marked.ok()) << marked.ToString();
  const Outcome run = Finish(std::move(workload));
  const auto pid = static_cast<uint32_t>(run.pid);
  const TypeCounts own = SumSelf(Counters(), NT_SELF_COMPANION);
  for (const uint16_t type : {NT_FILE_OPEN, NT_FILE_DELETE, NT_FILE_RENAME}) {
    EXPECT_TRUE(run.Of(pid, type).empty()) << "type " << type;
    EXPECT_EQ(own[type] - own_before[type], 20u) << "type " << type;
  }
  EXPECT_EQ(run.Of(pid, NT_CRED).size(), 40u) << "credentials and processes are told, one's own too";
  EXPECT_EQ(run.Of(pid, NT_EXIT).size(), 1u);

  // Once it has exited its number means nothing any more.
  const Outcome other = DoOk({"storm", Dir(), "3", "1"});
  EXPECT_EQ(other.Of(static_cast<uint32_t>(other.pid), NT_FILE_OPEN).size(), 3u);
}

TEST_F(PlumbingTest, ChildrenOfOnesOwnAreTold) {
  OpenCapture(agent::CaptureOptions{});
  if (HasFatalFailure()) return;
  const Status marked = capture_->MarkSelf(static_cast<uint32_t>(getpid()), NT_SELF_AGENT);
  ASSERT_TRUE(marked.ok()) << marked.ToString();
  const Outcome run = DoOk({"storm", Dir(), "5", "1"});
  EXPECT_EQ(run.Of(static_cast<uint32_t>(run.pid), NT_FILE_OPEN).size(), 5u);
  MakeFile("by-the-test");
  Drain();
  for (const auto& record : records()) {
    EXPECT_FALSE(record->event.task.tgid == static_cast<uint32_t>(getpid()) && record->type() == NT_FILE_OPEN);
  }
  const Outcome tcp = DoOk({"self_tcp", "4"});
  EXPECT_EQ(tcp.Of(static_cast<uint32_t>(tcp.pid), NT_NET_CONNECT).size(), 1u);
  ConnectToOurselves();
  Drain();
  for (const auto& record : records()) {
    if (record->event.task.tgid != static_cast<uint32_t>(getpid()) || record->type() == NT_CGROUP) continue;
    EXPECT_LT(record->type(), NT_FILE_OPEN) << "of our own only processes and credentials are told";
  }
  const auto own = [&](uint16_t type) { return SumSelf(Counters(), NT_SELF_AGENT)[type]; };
  EXPECT_EQ(own(NT_FILE_OPEN), 1u);
  EXPECT_EQ(own(NT_NET_CONNECT), 1u);
  EXPECT_EQ(own(NT_NET_ACCEPT), 1u);
  // The later of the two closes may come when the last packet does.
  EXPECT_TRUE(DrainUntil([&] { return own(NT_NET_CLOSE) == 2; })) << own(NT_NET_CLOSE);
}

TEST_F(PlumbingTest, TheTreeAsItWasIsFollowedAndNothingElse) {
  // Two forks away: its parent is no longer one of ours.
  Workload starter = Start({"daemon", Dir()});
  int status = 0;
  ASSERT_EQ(waitpid(starter.pid, &status, 0), starter.pid);
  std::string line;
  for (char c = 0; read(starter.out.get(), &c, 1) == 1 && c != '\n';) line.push_back(c);
  const json ready = json::parse(line, nullptr, false);
  ASSERT_FALSE(ready.is_discarded()) << line;
  const uint32_t daemon = TgidOf(ready);
  // This one is ours, and ran before.
  Workload child = Start({"storm", Dir(), "4", "1", "wait"});

  OpenCapture(agent::CaptureOptions{});
  if (HasFatalFailure()) return;
  starter.in.Reset();  // it acts, and goes
  std::string rest;
  for (char c = 0; read(starter.out.get(), &c, 1) == 1;) rest.push_back(c);
  EXPECT_NE(rest.find("done"), std::string::npos) << "the daemon did its acts";
  const Outcome run = Finish(std::move(child));
  EXPECT_EQ(run.Of(static_cast<uint32_t>(run.pid), NT_FILE_OPEN).size(), 4u);
  EXPECT_EQ(run.Of(static_cast<uint32_t>(run.pid), NT_EXIT).size(), 1u);
  for (const auto& record : records()) {
    EXPECT_NE(record->event.task.tgid, daemon);
    EXPECT_NE(record->Path(NT_TAIL_PATH), Dir("daemon"));
  }
  uint64_t out_of_scope = 0;
  for (const nt_cpu_stats& cpu : Counters().cpus) out_of_scope += cpu.out_of_scope;
  EXPECT_GE(out_of_scope, 2u) << "its create and its delete were left out, and counted";
}

TEST_F(PlumbingTest, ParentsForkComesBeforeTheChildsFirstAct) {
  OpenCapture();
  if (HasFatalFailure()) return;
  constexpr size_t kChildren = 2000;
  const Outcome run = DoOk({"fork_storm", std::to_string(kChildren)});
  std::set<std::pair<uint32_t, uint64_t>> born;  // tgid, start
  size_t forks = 0, opens = 0, exits = 0;
  for (const Record* record : run.records) {
    const nt_task& task = record->event.task;
    if (record->type() == NT_FORK && task.tgid == static_cast<uint32_t>(run.pid)) {
      const nt_fork& fork = record->event.body.fork;
      EXPECT_TRUE(born.emplace(fork.child_tgid, fork.child_start_boottime_ns).second);
      ++forks;
    } else if (task.ppid == static_cast<uint32_t>(run.pid) && record->type() != NT_CGROUP) {
      EXPECT_EQ(born.count({task.tgid, task.start_boottime_ns}), 1u)
          << "process " << task.tgid << " acts (type " << record->type() << ") before its fork";
      if (record->type() == NT_FILE_OPEN) ++opens;
      if (record->type() == NT_EXIT) ++exits;
    }
  }
  EXPECT_EQ(forks, kChildren);
  EXPECT_EQ(opens, kChildren) << "children that live a moment only";
  EXPECT_EQ(exits, kChildren);
}

TEST_F(PlumbingTest, ACgroupIsAnnouncedBeforeItsFirstUse) {
  OpenCapture(agent::CaptureOptions{});
  if (HasFatalFailure()) return;
  const Outcome run = DoOk({"fork_storm", "100"});
  std::map<std::pair<uint32_t, uint64_t>, std::string> announced;  // hierarchy, id → path
  for (const auto& record : records()) {
    const nt_task& task = record->event.task;
    if (record->type() == NT_CGROUP) {
      const nt_cgroup& cgroup = record->event.body.cgroup;
      EXPECT_TRUE(announced.emplace(std::pair{cgroup.hierarchy, cgroup.id}, record->Path(NT_TAIL_CGROUP)).second)
          << "told once";
      EXPECT_EQ(cgroup.pad, 0u);
      EXPECT_EQ(cgroup.id, cgroup.hierarchy == 0 ? task.cgroup_v2_id : task.cgroup_v1_id);
      ExpectTails(*record, {NT_TAIL_CGROUP});
      continue;
    }
    EXPECT_EQ(announced.count({0, task.cgroup_v2_id}), 1u) << "record of type " << record->type();
    if (task.cgroup_v1_id != 0) {
      EXPECT_EQ(announced.count({task.cgroup_v1_hierarchy, task.cgroup_v1_id}), 1u);
    }
  }
  ASSERT_FALSE(announced.empty());
  // The paths are those of /proc/self/cgroup, the workload being in ours.
  std::ifstream self("/proc/self/cgroup");
  for (std::string line; std::getline(self, line);) {
    const auto hierarchy = static_cast<uint32_t>(std::stoul(line));
    for (const auto& [key, path] : announced) {
      if (key.first == hierarchy) {
        EXPECT_EQ(path, line.substr(line.find(':', line.find(':') + 1) + 1)) << line;
      }
    }
  }
}

TEST_F(PlumbingTest, CoverageNamesEveryHook) {
  OpenCapture();
  if (HasFatalFailure()) return;
  std::map<std::string, const agent::HookCoverage*> hooks;
  std::set<std::string> blind;
  for (const agent::HookCoverage& hook : capture_->Coverage()) {
    hooks[hook.hook + " " + hook.domain] = &hook;
    EXPECT_NE(hook.why, "") << hook.hook;
    EXPECT_NE(hook.family, "") << hook.hook;
    EXPECT_FALSE(hook.kinds.empty()) << hook.hook;
    if (hook.state == agent::HookState::kAbsent) blind.insert(hook.hook);
  }
  // What it can't see it says.
  std::set<std::string> known = {"io_uring/sockets"};
  if (Hooks() == agent::SyscallHooks::kPerSyscall) known.insert("syscall/compat32");
  EXPECT_EQ(blind, known);
  const auto attached = [&](const std::string& key) {
    const auto it = hooks.find(key);
    ASSERT_NE(it, hooks.end()) << key;
    EXPECT_TRUE(it->second->state == agent::HookState::kAttached) << key << ": " << it->second->why;
  };
  attached("tp_btf/sched_process_fork process");
  attached("tp_btf/sched_process_exec process");
  attached("tp_btf/sched_process_exit process");
  attached("tp_btf/inet_sock_set_state network");
  if (Hooks() == agent::SyscallHooks::kPerSyscall) {
    for (const char* call : {"open", "creat", "openat", "openat2"}) {
      attached(fmt::format("tracepoint/syscalls/sys_exit_{} file", call));
    }
    for (const char* call : {"unlink", "unlinkat", "rmdir", "rename", "renameat", "renameat2"}) {
      attached(fmt::format("tracepoint/syscalls/sys_enter_{} file", call));
      attached(fmt::format("tracepoint/syscalls/sys_exit_{} file", call));
    }
    for (const char* call : {"setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid",
                             "setfsgid", "setgroups", "capset"}) {
      attached(fmt::format("tracepoint/syscalls/sys_enter_{} privilege", call));
      attached(fmt::format("tracepoint/syscalls/sys_exit_{} privilege", call));
    }
    attached("tracepoint/syscalls/sys_enter_connect network");
    attached("tracepoint/syscalls/sys_exit_connect network");
    attached("tracepoint/syscalls/sys_exit_accept network");
    attached("tracepoint/syscalls/sys_exit_accept4 network");
    attached("tracepoint/syscalls/sys_enter_execve process");
    attached("tracepoint/syscalls/sys_enter_execveat process");
  } else {
    for (const char* domain : {"process", "privilege", "file", "network"}) {
      attached(fmt::format("tp_btf/sys_enter {}", domain));
      attached(fmt::format("tp_btf/sys_exit {}", domain));
    }
  }
}

TEST_F(PlumbingTest, OptionsOutOfRangeAreRefused) {
  agent::CaptureOptions small;
  small.ring_bytes_per_cpu = 1;
  auto result = agent::Capture::Open(small);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), Code::kInvalidArgument) << result.status().ToString();
  agent::CaptureOptions large;
  large.reserve_bytes_per_cpu = uint64_t{1} << 40;
  result = agent::Capture::Open(large);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), Code::kInvalidArgument) << result.status().ToString();
  agent::CaptureOptions dead;
  dead.scope = agent::CaptureScope::kProcessTree;
  Workload workload = Start({"exit", "0"});
  int status = 0;
  ASSERT_EQ(waitpid(workload.pid, &status, 0), workload.pid);
  dead.root_pid = static_cast<uint32_t>(workload.pid);
  result = agent::Capture::Open(dead);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), Code::kInvalidArgument) << result.status().ToString();
}

}  // namespace
}  // namespace nodetrail::root_test
