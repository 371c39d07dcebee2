// SPDX-License-Identifier: Apache-2.0
//
// What do the two mechanisms for system calls cost: per-syscall tracepoints
// and tp_btf/sys_enter + sys_exit? Real probes, attached to this process's
// worker only (scope process_tree), against none, in turns: A B A B.
//
//   nt_hooks_bench [--rounds N] [--scale PERCENT]
//
// Prints per workload the median ns of CPU per call and the median of the ratios of
// neighbouring runs. tests/bench/hooks.sh runs it.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "agent/capture/capture.h"
#include "agent/capture/kernel_report.h"
#include "nodetrail/base/log.h"

namespace nodetrail::agent {
namespace {

// CPU time of the worker, not wall time: probes run on the caller's account,
// and neighbours on a shared machine don't.
uint64_t CpuNs() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

struct Workload {
  const char* name;
  const char* what;
  long calls;
  void (*run)(long calls);
};

char g_file[80];
char g_dir[64];

void RunGetppid(long calls) {
  for (long i = 0; i < calls; ++i) ::syscall(SYS_getppid);
}

void RunOpenRead(long calls) {
  for (long i = 0; i < calls; ++i) ::close(::open(g_file, O_RDONLY | O_CLOEXEC));
}

void RunOpenWrite(long calls) {
  for (long i = 0; i < calls; ++i) ::close(::open(g_file, O_WRONLY | O_CLOEXEC));
}

void RunCreateUnlink(long calls) {
  const std::string path = fmt::format("{}/x", g_dir);
  for (long i = 0; i < calls; ++i) {
    ::close(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ::unlink(path.c_str());
  }
}

void RunSetresuid(long calls) {
  for (long i = 0; i < calls; ++i) {
    ::syscall(SYS_setresuid, -1, 65534, -1);
    ::syscall(SYS_setresuid, -1, 0, -1);
  }
}

const Workload kWorkloads[] = {
    {"getppid", "a call nobody audits", 2'000'000, RunGetppid},
    {"open_read", "open for reading, close: audited calls, no record", 300'000, RunOpenRead},
    {"open_write", "open for writing, close: one record", 300'000, RunOpenWrite},
    {"create_unlink", "create, close, unlink: two records", 100'000, RunCreateUnlink},
    {"setresuid", "there and back: two records", 100'000, RunSetresuid},
};

// The observed process: reads a workload's number, runs it, answers its ns.
class Worker {
 public:
  explicit Worker(long scale) {
    int to[2];
    int from[2];
    NT_CHECK(::pipe(to) == 0 && ::pipe(from) == 0);
    pid_ = ::fork();
    NT_CHECK(pid_ >= 0);
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::close(to[1]);
      ::close(from[0]);
      uint32_t which = 0;
      while (::read(to[0], &which, sizeof which) == sizeof which) {
        const Workload& workload = kWorkloads[which];
        const uint64_t start = CpuNs();
        workload.run(workload.calls * scale / 100);
        const uint64_t took = CpuNs() - start;
        if (::write(from[1], &took, sizeof took) != sizeof took) break;
      }
      ::_exit(0);
    }
    ::close(to[0]);
    ::close(from[1]);
    to_ = to[1];
    from_ = from[0];
    NT_CHECK(::fcntl(from_, F_SETFL, O_NONBLOCK) == 0);
  }
  ~Worker() {
    ::close(to_);
    ::waitpid(pid_, nullptr, 0);
    ::close(from_);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  [[nodiscard]] uint32_t pid() const { return static_cast<uint32_t>(pid_); }

  // Drains `capture` (may be null) every 5 ms meanwhile, as the agent does.
  uint64_t Run(uint32_t which, Capture* capture, uint64_t* records) {
    NT_CHECK(::write(to_, &which, sizeof which) == sizeof which);
    uint64_t took = 0;
    while (::read(from_, &took, sizeof took) != sizeof took) {
      Drain(capture, records);
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    Drain(capture, records);
    return took;
  }

 private:
  static void Drain(Capture* capture, uint64_t* records) {
    if (capture == nullptr) return;
    const auto drained = capture->Drain([](std::span<const std::byte>) { return true; }, false);
    if (drained.ok()) *records += *drained;
  }

  pid_t pid_ = 0;
  int to_ = -1;
  int from_ = -1;
};

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

struct Series {
  std::vector<double> ns;      // per call
  std::vector<double> ratios;  // against the run without probes just before
};

uint64_t Lost(Capture* capture) {
  const auto counters = capture->ReadCounters();
  if (!counters.ok()) return UINT64_MAX;
  uint64_t lost = counters->skipped_probes;
  for (const nt_cpu_stats& cpu : counters->cpus) {
    for (uint32_t type = 0; type < NT_TYPE_MAX; ++type) lost += cpu.lost_ring[type] + cpu.lost_map[type];
  }
  return lost;
}

int Main(int argc, char** argv) {
  long rounds = 5;
  long scale = 100;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--rounds") == 0) rounds = std::max(1L, std::atol(argv[i + 1]));
    if (std::strcmp(argv[i], "--scale") == 0) scale = std::max(1L, std::atol(argv[i + 1]));
  }
  log::Init("nt_hooks_bench", log::Level::kWarn, false);
  const KernelReport report = ProbeKernel();
  if (const Status status = CheckKernel(report); !status.ok()) {
    fmt::print(stderr, "{}\n", status.ToString());
    return 3;
  }
  if (report.audit_enabled) {
    fmt::print(stderr, "kernel audit is on: every system call takes its slow path, the numbers mean nothing\n");
    return 3;
  }
  std::snprintf(g_dir, sizeof g_dir, "/dev/shm/nt-hooks-bench.%d", static_cast<int>(::getpid()));
  NT_CHECK(::mkdir(g_dir, 0755) == 0);
  std::snprintf(g_file, sizeof g_file, "%s/file", g_dir);
  ::close(::open(g_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0666));

  Worker worker(scale);
  const std::array<std::pair<const char*, SyscallHooks>, 2> modes = {
      {{"per_syscall", SyscallHooks::kPerSyscall}, {"sys_exit", SyscallHooks::kSysExit}}};
  std::map<std::string, std::map<std::string, Series>> result;
  uint64_t records = 0;
  for (uint32_t which = 0; which < std::size(kWorkloads); ++which) worker.Run(which, nullptr, &records);  // warm up
  for (long round = 0; round < rounds; ++round) {
    for (const auto& [mode, hooks] : modes) {
      std::vector<double> bare;
      for (uint32_t which = 0; which < std::size(kWorkloads); ++which) {
        bare.push_back(static_cast<double>(worker.Run(which, nullptr, &records)));
      }
      CaptureOptions options;
      options.scope = CaptureScope::kProcessTree;
      options.root_pid = worker.pid();
      options.syscall_hooks = hooks;
      options.ring_bytes_per_cpu = uint64_t{32} << 20;
      auto capture = Capture::Open(options);
      if (!capture.ok()) {
        fmt::print("{}: {}\n", mode, capture.status().ToString());
        continue;
      }
      for (uint32_t which = 0; which < std::size(kWorkloads); ++which) {
        const auto took = static_cast<double>(worker.Run(which, capture->get(), &records));
        const auto calls = static_cast<double>(kWorkloads[which].calls * scale / 100);
        result[kWorkloads[which].name]["none"].ns.push_back(bare[which] / calls);
        result[kWorkloads[which].name][mode].ns.push_back(took / calls);
        result[kWorkloads[which].name][mode].ratios.push_back(took / bare[which]);
      }
      if (const uint64_t lost = Lost(capture->get()); lost != 0) {
        fmt::print("{}: {} records lost; the numbers of this round are too good\n", mode, lost);
      }
    }
  }
  fmt::print("kernel {}, {} rounds, scale {} %, {} records\n", report.release, rounds, scale, records);
  fmt::print("{:<14} {:>10} {:>24} {:>24}   {}\n", "workload", "none", "per_syscall", "sys_exit", "what");
  for (const Workload& workload : kWorkloads) {
    auto& series = result[workload.name];
    const auto cell = [&series](const char* mode) {
      const Series& s = series[mode];
      return s.ns.empty() ? std::string("-") : fmt::format("{:.0f} ns  x{:.2f}", Median(s.ns), Median(s.ratios));
    };
    fmt::print("{:<14} {:>7.0f} ns {:>24} {:>24}   {}\n", workload.name, Median(series["none"].ns), cell("per_syscall"),
               cell("sys_exit"), workload.what);
  }
  ::unlink(g_file);
  ::rmdir(g_dir);
  return 0;
}

}  // namespace
}  // namespace nodetrail::agent

int main(int argc, char** argv) { return nodetrail::agent::Main(argc, argv); }
