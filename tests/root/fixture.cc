// SPDX-License-Identifier: Apache-2.0
#include "tests/root/fixture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "agent/decode/paths.h"
#include "nodetrail/base/clock.h"

namespace nodetrail::root_test {
namespace {

// Why probes can't be loaded here; empty if they can.
std::string WhyNot() {
  if (geteuid() != 0) return "not root: the probes need CAP_BPF and CAP_PERFMON, and workloads change ids";
  if (access("/sys/kernel/btf/vmlinux", R_OK) != 0) return "no BTF: /sys/kernel/btf/vmlinux can't be read";
  return "";
}

bool AllowedToSkip() {
  const char* value = std::getenv("NODETRAIL_ALLOW_NO_ROOT_TESTS");
  return value != nullptr && std::string(value) == "1";
}

// Reads both to their ends, so that neither pipe fills up.
void ReadBoth(int out, int err, std::string* out_text, std::string* err_text) {
  pollfd fds[2] = {{out, POLLIN, 0}, {err, POLLIN, 0}};
  std::string* texts[2] = {out_text, err_text};
  const uint64_t deadline = SystemClock().BootNs() + 60'000'000'000;
  while (fds[0].fd >= 0 || fds[1].fd >= 0) {
    if (SystemClock().BootNs() > deadline) {
      ADD_FAILURE() << "a workload ran for 60 s";
      return;
    }
    if (poll(fds, 2, 1000) < 0) return;
    for (int i = 0; i < 2; ++i) {
      if (fds[i].fd < 0 || fds[i].revents == 0) continue;
      char buf[65536];
      const ssize_t n = read(fds[i].fd, buf, sizeof(buf));
      if (n > 0) {
        texts[i]->append(buf, static_cast<size_t>(n));
      } else {
        fds[i].fd = -1;
      }
    }
  }
}

struct Shared {
  std::unique_ptr<agent::Capture> capture;
  std::map<uint32_t, uint64_t> last_seq;  // per CPU
};
Shared shared;

}  // namespace

std::string Bytes(const json& value) {
  std::string bytes;
  const std::string text = value.get<std::string>();
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80 || i + 1 >= text.size()) {
      bytes.push_back(text[i]);
    } else {
      bytes.push_back(static_cast<char>((c & 0x3) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3f)));
    }
  }
  return bytes;
}

agent::SyscallHooks Hooks() {
  const char* value = std::getenv("NODETRAIL_TEST_HOOKS");
  agent::SyscallHooks hooks = agent::SyscallHooks::kPerSyscall;
  if (value != nullptr && !agent::ParseSyscallHooks(value, &hooks)) {
    ADD_FAILURE() << "NODETRAIL_TEST_HOOKS: per_syscall or sys_exit, not " << value;
  }
  return hooks;
}

std::string Record::Path(nt_tail kind) const {
  if (!event.Has(kind)) return "(none)";
  std::string path;
  agent::ReversePath(event.Tail(kind), &path);
  return path;
}

const json& Outcome::Truth(const std::string& role) const {
  static const json kNone = json::object();
  for (const json& truth : truths) {
    if (truth.at("role") == role) return truth;
  }
  ADD_FAILURE() << "the workload told nothing as \"" << role << "\"; it said: " << standard_error;
  return kNone;
}

std::vector<const Record*> Outcome::Of(uint32_t tgid, uint16_t type) const {
  std::vector<const Record*> found;
  for (const Record* record : records) {
    if (record->event.task.tgid != tgid || record->type() == NT_CGROUP) continue;
    if (type == NT_NONE || record->type() == type) found.push_back(record);
  }
  return found;
}

std::vector<const Record*> Outcome::During(const json& truth) const {
  std::vector<const Record*> found;
  uint32_t tgid = 0;
  const std::string text = Bytes(truth.at("task").at("status"));
  const size_t at = text.find("\nTgid:");
  if (at != std::string::npos) tgid = static_cast<uint32_t>(std::strtoul(text.c_str() + at + 6, nullptr, 10));
  for (const Record* record : Of(tgid, NT_NONE)) {
    const uint64_t t = record->event.header.ktime_boot_ns;
    if (t >= truth.at("before_ns").get<uint64_t>() && t <= truth.at("after_ns").get<uint64_t>()) {
      found.push_back(record);
    }
  }
  return found;
}

const Record* Outcome::Only(const json& truth) const {
  const auto found = During(truth);
  if (found.size() == 1) return found[0];
  std::string types;
  for (const Record* record : found) types += fmt::format(" {}", record->type());
  ADD_FAILURE() << "the act left " << found.size() << " records instead of one; types:" << types;
  return nullptr;
}

void RootTest::SetUp() {
  const std::string why = WhyNot();
  if (!why.empty()) {
    if (AllowedToSkip()) GTEST_SKIP() << why;
    FAIL() << why << " (NODETRAIL_ALLOW_NO_ROOT_TESTS=1 skips these tests)";
  }
  char pattern[] = "/tmp/nt-root-test-XXXXXX";
  ASSERT_NE(mkdtemp(pattern), nullptr) << std::strerror(errno);
  dir_ = pattern;
  ASSERT_EQ(chmod(dir_.c_str(), 0755), 0);
  workload_ = dir_ + "/nt_workload";
  std::error_code ec;
  std::filesystem::copy_file(NT_WORKLOAD, workload_, ec);
  ASSERT_FALSE(ec) << NT_WORKLOAD << ": " << ec.message();
  ASSERT_EQ(chmod(workload_.c_str(), 0755), 0);
}

void RootTest::TearDown() {
  if (!own_ && capture_ != nullptr) shared.last_seq = last_seq_;
  own_.reset();
  capture_ = nullptr;
  if (!dir_.empty()) {
    std::error_code ec;
    std::filesystem::remove_all(dir_, ec);
  }
}

void RootTest::OpenCapture() {
  if (!shared.capture) {
    agent::CaptureOptions options;
    options.ring_bytes_per_cpu = uint64_t{16} << 20;
    options.syscall_hooks = Hooks();
    options.scope = agent::CaptureScope::kProcessTree;
    options.root_pid = static_cast<uint32_t>(getpid());
    auto opened = agent::Capture::Open(options);
    ASSERT_TRUE(opened.ok()) << opened.status().ToString();
    shared.capture = std::move(*opened);
  }
  capture_ = shared.capture.get();
  last_seq_ = shared.last_seq;
  Drain();
  records_.clear();
}

void RootTest::OpenCapture(agent::CaptureOptions options) {
  // What the shared one would miss, it need not follow.
  shared = {};
  options.syscall_hooks = Hooks();
  options.scope = agent::CaptureScope::kProcessTree;
  options.root_pid = static_cast<uint32_t>(getpid());
  auto opened = agent::Capture::Open(options);
  ASSERT_TRUE(opened.ok()) << opened.status().ToString();
  own_ = std::move(*opened);
  capture_ = own_.get();
}

Workload RootTest::Start(const std::vector<std::string>& args) const {
  Workload w;
  int in[2], out[2], err[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) {
    ADD_FAILURE() << "pipe2: " << std::strerror(errno);
    return w;
  }
  std::vector<char*> argv = {const_cast<char*>(workload_.c_str())};
  for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  char path[] = "PATH=/usr/bin:/bin";
  char* env[] = {path, nullptr};
  w.before_ns = SystemClock().BootNs();
  const int failed = posix_spawn(&w.pid, workload_.c_str(), &actions, nullptr, argv.data(), env);
  if (failed != 0) ADD_FAILURE() << workload_ << ": " << std::strerror(failed);
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  close(err[1]);
  w.in.Reset(in[1]);
  w.out.Reset(out[0]);
  w.err.Reset(err[0]);
  return w;
}

Outcome RootTest::Finish(Workload workload) {
  Outcome run;
  std::string out;
  workload.in.Reset();
  run.pid = workload.pid;
  run.before_ns = workload.before_ns;
  ReadBoth(workload.out.get(), workload.err.get(), &out, &run.standard_error);
  if (wait4(workload.pid, &run.status, 0, &run.usage) != workload.pid) {
    ADD_FAILURE() << "wait4: " << std::strerror(errno);
  }
  // Children that a workload left to us (CLONE_PARENT).
  while (waitpid(-1, nullptr, 0) > 0) {
  }
  run.after_ns = SystemClock().BootNs();
  for (size_t from = 0; from < out.size();) {
    const size_t end = out.find('\n', from);
    const json line = json::parse(out.substr(from, end - from), nullptr, false);
    if (line.is_discarded()) ADD_FAILURE() << "not a truth: " << out.substr(from, end - from);
    else run.truths.push_back(line);
    if (end == std::string::npos) break;
    from = end + 1;
  }
  EXPECT_EQ(run.standard_error, "");
  if (capture_ != nullptr) {
    // A process is reaped after its exit was recorded: all is in the rings.
    Drain();
    Refresh(&run);
  }
  return run;
}

Outcome RootTest::DoOk(const std::vector<std::string>& args) {
  Outcome run = Do(args);
  EXPECT_TRUE(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 0) << "status " << run.status;
  return run;
}

void RootTest::Refresh(Outcome* run) const {
  run->records.clear();
  for (const auto& record : records_) {
    if (record->event.header.ktime_boot_ns >= run->before_ns) run->records.push_back(record.get());
  }
}

void RootTest::Drain(bool everything) {
  uint64_t last_time = 0;
  uint32_t last_cpu = 0;
  const auto drained = capture_->Drain(
      [&](std::span<const std::byte> bytes) {
        auto record = std::make_unique<Record>();
        record->bytes.assign(bytes.begin(), bytes.end());
        const agent::Reject reject = agent::Decode(record->bytes, &record->event);
        if (reject != agent::Reject::kNone) {
          ADD_FAILURE() << "a record of type " << record->event.header.type
                        << " can't be decoded: " << agent::RejectName(reject);
          return true;
        }
        const nt_header& h = record->event.header;
        EXPECT_EQ(h.abi_version, NT_ABI_VERSION);
        EXPECT_EQ(h.total_len, bytes.size());
        uint64_t& last = last_seq_[h.cpu];
        EXPECT_GT(h.cpu_seq, last) << "CPU " << h.cpu;
        holes_[h.cpu] += h.cpu_seq - last - 1;
        if (!losses_expected_) {
          EXPECT_EQ(h.cpu_seq, last + 1) << "CPU " << h.cpu;
        }
        last = h.cpu_seq;
        if (h.cpu != last_cpu) {
          EXPECT_GE(h.ktime_boot_ns, last_time) << "a record of CPU " << h.cpu << " comes late";
        }
        last_time = std::max(last_time, h.ktime_boot_ns);
        last_cpu = h.cpu;
        Saw(h);
        if (keep_records_) records_.push_back(std::move(record));
        return true;
      },
      everything);
  EXPECT_TRUE(drained.ok()) << drained.status().ToString();
}

bool RootTest::DrainUntil(const std::function<bool()>& done) {
  const uint64_t deadline = SystemClock().BootNs() + 10'000'000'000;
  while (!done()) {
    if (SystemClock().BootNs() > deadline) return false;
    Drain();
    sched_yield();
  }
  return true;
}

agent::SourceCounters RootTest::Counters() const {
  auto counters = capture_->ReadCounters();
  EXPECT_TRUE(counters.ok()) << counters.status().ToString();
  return counters.ok() ? *counters : agent::SourceCounters{};
}

RootTest::TypeCounts RootTest::Sum(const agent::SourceCounters& counters, nt_u64 (nt_cpu_stats::*member)[NT_TYPE_MAX]) {
  TypeCounts sum{};
  for (const nt_cpu_stats& cpu : counters.cpus) {
    for (size_t i = 0; i < NT_TYPE_MAX; ++i) sum[i] += (cpu.*member)[i];
  }
  return sum;
}

std::string RootTest::MakeFile(const std::string& name, unsigned mode, const std::string& content) const {
  const std::string path = Dir(name);
  std::ofstream(path) << content;
  EXPECT_EQ(chmod(path.c_str(), mode), 0) << path;
  return path;
}

std::string RootTest::MakeDir(const std::string& name, unsigned mode) const {
  const std::string path = Dir(name);
  EXPECT_EQ(mkdir(path.c_str(), 0700), 0) << path;
  EXPECT_EQ(chmod(path.c_str(), mode), 0) << path;
  return path;
}

}  // namespace nodetrail::root_test
