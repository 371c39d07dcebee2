// SPDX-License-Identifier: Apache-2.0
//
// What an event costs between ring and batch, without kernel and disk: CPU time
// per event of decode, attribute, redact, encode and hash, and bytes per event.
//   nt_pipeline_bench [EVENTS]
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "agent/pipeline/pipeline.h"
#include "tests/fakes/fake_names.h"
#include "tests/fakes/fake_proc_reader.h"
#include "tests/fakes/record_builder.h"

namespace nodetrail::agent {
namespace {

// Records made beforehand, so that making them isn't measured.
class PreparedSource final : public RecordSource {
 public:
  Result<size_t> Drain(const RecordSink& sink, bool /*everything*/) override {
    size_t n = 0;
    while (at < records.size()) {
      ++n;
      if (!sink(records[at++])) break;
    }
    return n;
  }
  Result<SourceCounters> ReadCounters() override {
    SourceCounters counters;
    counters.cpus.resize(1);
    return counters;
  }
  [[nodiscard]] uint64_t LostImages(uint32_t /*cpu*/) const override { return 0; }
  [[nodiscard]] const std::vector<HookCoverage>& Coverage() const override { return coverage; }
  Status MarkSelf(uint32_t /*tgid*/, nt_self_class /*cls*/) override { return OkStatus(); }

  std::vector<std::vector<std::byte>> records;
  std::vector<HookCoverage> coverage;
  size_t at = 0;
};

class CountingSink final : public BatchSink {
 public:
  Status OnBatch(const BatchContent& batch) override {
    bytes += batch.raw_body.size();
    ++batches;
    return OkStatus();
  }
  uint64_t bytes = 0, batches = 0;
};

double CpuSeconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

enum class Mix { kOpens, kExecs, kMixed };

void Fill(Mix mix, uint64_t events, PreparedSource* source) {
  uint64_t seq = 0;
  uint64_t now = 10'000'000'000;
  const nt_task shell = TestTask(100, 500'000'123, 1, 10'000'456, "bash");
  nt_task actor = shell;
  uint32_t pid = 1000;
  const auto push = [&](RecordBuilder builder) {
    source->records.push_back(builder.Time(now += 2000).Cpu(0, ++seq).Build());
  };
  const uint64_t opens_per_process = mix == Mix::kOpens ? events : mix == Mix::kExecs ? 0 : 40;
  while (source->records.size() < events) {
    if (mix != Mix::kOpens) {
      nt_fork fork{};
      fork.child_start_boottime_ns = now;
      fork.child_tgid = fork.child_ns_tgid = ++pid;
      fork.child_ppid = 100;
      fork.child_parent_start_boottime_ns = shell.start_boottime_ns;
      push(RecordBuilder(NT_FORK).Task(shell).Body(fork));
      actor = TestTask(pid, fork.child_start_boottime_ns, 100, shell.start_boottime_ns, "cc1");
      nt_exec exec{};
      exec.exe.flags = NT_FILE_VALID;
      exec.has_old_cred = 1;
      const std::vector<std::string> argv = {"/usr/lib/gcc/x86_64-linux-gnu/12/cc1",
                                             "-quiet",
                                             "-I/usr/include",
                                             "-D_GNU_SOURCE",
                                             "file" + std::to_string(pid) + ".c",
                                             "-O2",
                                             "-o",
                                             "/tmp/cc" + std::to_string(pid) + ".s"};
      exec.argc = static_cast<uint32_t>(argv.size());
      exec.argv_len = JoinArgv(argv).size();
      push(RecordBuilder(NT_EXEC)
               .Task(actor)
               .Body(exec)
               .Path(NT_TAIL_PATH, argv[0])
               .Path(NT_TAIL_CWD, "/home/build/src")
               .Argv(argv));
    }
    for (uint64_t i = 0; i < opens_per_process && source->records.size() < events; ++i) {
      nt_file_open open{};
      open.ret = 3;
      open.syscall_nr = 257;
      open.open_flags = 0x241;
      open.created = i % 4 == 0 ? 1 : 0;
      open.file.flags = NT_FILE_VALID;
      open.file.dev = 0x800001;
      open.file.ino = 100'000 + i;
      open.file.mode = 0100644;
      const std::string path = "/home/build/src/out/dir/object_" + std::to_string(i % 64) + ".o";
      push(RecordBuilder(NT_FILE_OPEN).Task(actor).Body(open).Path(NT_TAIL_PATH, path).Tail(NT_TAIL_USER_PATH, path));
    }
    if (mix != Mix::kOpens) push(RecordBuilder(NT_EXIT).Task(actor).Body(nt_exit{}));
  }
}

void Run(const char* name, Mix mix, uint64_t events) {
  PreparedSource source;
  source.coverage.push_back({"tracepoint/syscalls/sys_exit_openat",
                             "tracepoint",
                             "file",
                             HookState::kAttached,
                             "",
                             {"file.open", "file.create"}});
  Fill(mix, events, &source);
  FakeClock clock;
  clock.boot_ns = 20'000'000'000;
  FakeProcReader proc;
  proc.Add(1, 0, 10'000'456, "/sbin/init");
  proc.Add(100, 1, 500'000'123, "/bin/bash");
  FakeNames names;
  CountingSink sink;
  Dependencies deps;
  deps.source = &source;
  deps.clock = &clock;
  deps.proc = &proc;
  deps.names = &names;
  deps.sink = &sink;
  deps.batch.set_max_bytes(262144);
  deps.batch.set_max_age_ms(250);
  deps.batch.set_critical_max_age_ms(20);
  deps.batch.set_heartbeat_s(30);
  deps.capture.set_drain_interval_ms(5);
  deps.boot_id = "6ce3a6df-0a4d-4508-af43-4e2ade0ef9d3";
  auto made = Pipeline::Create(std::move(deps));
  NT_CHECK(made.ok());
  NT_CHECK((*made)->Start({}).ok());
  const double begin = CpuSeconds();
  NT_CHECK((*made)->Stop("done").ok());
  const double cpu = CpuSeconds() - begin;
  const auto n = static_cast<double>(source.records.size());
  fmt::print("{:<8} {:>8} events  {:7.0f} ns CPU per event  {:6.1f} raw bytes per event  {} batches\n", name,
             source.records.size(), cpu / n * 1e9, static_cast<double>(sink.bytes) / n, sink.batches);
}

}  // namespace
}  // namespace nodetrail::agent

int main(int argc, char** argv) {
  using nodetrail::agent::Mix;
  const uint64_t events = std::max<uint64_t>(argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 200'000, 1000);
  nodetrail::agent::Run("opens", Mix::kOpens, events);
  nodetrail::agent::Run("mixed", Mix::kMixed, events);
  nodetrail::agent::Run("execs", Mix::kExecs, events / 4);
  return 0;
}
