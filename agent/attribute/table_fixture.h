// SPDX-License-Identifier: Apache-2.0
//
// A process table on a /proc with init and sshd, fed with records.
#ifndef NODETRAIL_AGENT_ATTRIBUTE_TABLE_FIXTURE_H_
#define NODETRAIL_AGENT_ATTRIBUTE_TABLE_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "agent/attribute/person.h"
#include "agent/attribute/process_table.h"
#include "tests/fakes/fake_proc_reader.h"
#include "tests/fakes/record_builder.h"

namespace nodetrail::agent {

inline constexpr char kBootId[] = "6ce3a6df-0a4d-4508-af43-4e2ade0ef9d3";
inline constexpr uint64_t kInitStart = 10'000'456;  // within the tick that /proc shows as 10,000,000
inline constexpr uint64_t kSshdStart = 500'000'123;

class PlainScrubber final : public Scrubber {
 public:
  void ScrubArgv(std::string_view /*exe*/, std::string_view argv, bool /*cut*/, std::vector<std::string>* out,
                 std::vector<RedactionNote>* /*notes*/) override {
    while (!argv.empty()) {
      const size_t end = argv.find('\0');
      out->emplace_back(argv.substr(0, end));
      argv.remove_prefix(end == std::string_view::npos ? argv.size() : end + 1);
    }
  }
  bool ScrubPath(std::string_view /*field*/, std::string* /*path*/, std::vector<RedactionNote>* /*notes*/) override {
    return false;
  }
};

class TableFixture : public ::testing::Test {
 protected:
  TableFixture() {
    proc.Add(1, 0, kInitStart, "/sbin/init");
    proc.Add(100, 1, kSshdStart, "/usr/sbin/sshd");
  }
  void Make(TableLimits limits = {}) { table = std::make_unique<ProcessTable>(kBootId, &proc, &scrubber, limits); }

  static nt_task Sshd() { return TestTask(100, kSshdStart, 1, kInitStart, "sshd"); }

  // Decodes and hands over, as the pipeline does.
  Process* Take(const RecordBuilder& builder) {
    record = builder.Build();
    EXPECT_EQ(Decode(record, &event), Reject::kNone);
    if (event.header.type == NT_CGROUP) {
      table->Cgroup(event);
      return nullptr;
    }
    Process* process = table->Actor(event);
    if (event.header.type == NT_FORK) return table->Fork(event, process);
    if (event.header.type == NT_EXEC) table->Exec(event, process);
    if (event.header.type == NT_EXIT) table->Exit(process);
    if (event.header.type == NT_NET_ACCEPT) NoteAccepted(event, process);
    return process;
  }
  static RecordBuilder Fork(const nt_task& parent, uint32_t pid, uint64_t start) {
    nt_fork body{};
    body.child_tgid = body.child_ns_tgid = pid;
    body.child_start_boottime_ns = start;
    body.child_ppid = parent.tgid;
    body.child_parent_start_boottime_ns = parent.start_boottime_ns;
    return RecordBuilder(NT_FORK).Task(parent).Body(body).Time(start);
  }
  static RecordBuilder Exec(const nt_task& task, const std::string& exe) {
    nt_exec body{};
    body.argc = 1;
    body.argv_len = exe.size() + 1;
    body.exe.flags = NT_FILE_VALID;
    body.exe.ino = 77;
    return RecordBuilder(NT_EXEC).Task(task).Body(body).Path(NT_TAIL_PATH, exe).Path(NT_TAIL_CWD, "/").Argv({exe});
  }
  static RecordBuilder Act(const nt_task& task) {
    return RecordBuilder(NT_FILE_DELETE).Task(task).Body(nt_act{}).Tail(NT_TAIL_USER_PATH, "/x");
  }
  static std::vector<std::string> GapsOf(const Process& process) {
    std::vector<std::string> out;
    for (const GapNote& gap : process.gaps) out.emplace_back(gap.what);
    if (process.image != nullptr) {
      for (const GapNote& gap : process.image->gaps) out.emplace_back(gap.what);
    }
    return out;
  }

  FakeProcReader proc;
  PlainScrubber scrubber;
  std::unique_ptr<ProcessTable> table;
  std::vector<std::byte> record;
  RawEvent event;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_ATTRIBUTE_TABLE_FIXTURE_H_
