// SPDX-License-Identifier: Apache-2.0
//
// The root tier: a real Capture that follows the test process and what it
// starts, workloads that tell the truth, and the records about them.
#ifndef NODETRAIL_TESTS_ROOT_FIXTURE_H_
#define NODETRAIL_TESTS_ROOT_FIXTURE_H_

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agent/capture/capture.h"
#include "agent/decode/decode.h"
#include "nodetrail/base/fd.h"

namespace nodetrail::root_test {

using nlohmann::json;

// Bytes of a truth's string: workloads write one character per byte.
std::string Bytes(const json& value);

struct Record {
  std::vector<std::byte> bytes;
  agent::RawEvent event;  // its tails point into bytes

  [[nodiscard]] uint16_t type() const { return event.header.type; }
  // The absolute path of a path tail; "(none)" where it isn't there.
  [[nodiscard]] std::string Path(nt_tail kind) const;
};

// What one workload did, and what was recorded meanwhile.
struct Outcome {
  pid_t pid = 0;
  int status = 0;  // as wait4(2) gives it
  rusage usage{};
  uint64_t before_ns = 0, after_ns = 0;  // CLOCK_BOOTTIME around its whole life
  std::vector<json> truths;
  std::string standard_error;
  std::vector<const Record*> records;  // of everything in scope, as handed over

  // The first truth of a role. The test fails and gets {} if there is none.
  [[nodiscard]] const json& Truth(const std::string& role) const;
  // Records of a process, of one type (NT_NONE: of any but NT_CGROUP).
  [[nodiscard]] std::vector<const Record*> Of(uint32_t tgid, uint16_t type) const;
  // The only record of a process that lies between the truth's two clock
  // reads; the test fails and gets nullptr if there are none or several.
  [[nodiscard]] const Record* Only(const json& truth) const;
  // Records of the process of `truth` between its two clock reads.
  [[nodiscard]] std::vector<const Record*> During(const json& truth) const;
};

// A workload that runs.
struct Workload {
  pid_t pid = 0;
  UniqueFd in, out, err;  // in: write end of its standard input
  uint64_t before_ns = 0;
};

// How system calls are caught in this run: NODETRAIL_TEST_HOOKS, "per_syscall"
// (the default) or "sys_exit".
agent::SyscallHooks Hooks();

class RootTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // The capture that tests share, since opening one takes a second; of this
  // process and what it starts.
  void OpenCapture();
  // One of this test's own.
  void OpenCapture(agent::CaptureOptions options);

  [[nodiscard]] Workload Start(const std::vector<std::string>& args) const;
  // Waits for it, drains, checks what holds for every record.
  Outcome Finish(Workload workload);
  Outcome Do(const std::vector<std::string>& args) { return Finish(Start(args)); }
  // As Do, and the workload must have exited with 0.
  Outcome DoOk(const std::vector<std::string>& args);

  // Drains what there is and checks it: decodes, numbers without holes unless
  // `losses_expected_`, times in order. Not `everything`: as the agent does, what
  // is younger than the slack waits.
  void Drain(bool everything = true);
  // Each record of Drain, before it is kept.
  virtual void Saw(const nt_header& /*header*/) {}
  // Drains until `done` or 10 s are over; false then.
  bool DrainUntil(const std::function<bool()>& done);
  // All records since the capture was opened.
  [[nodiscard]] const std::vector<std::unique_ptr<Record>>& records() const { return records_; }
  // Refreshes `run.records` with what came since.
  void Refresh(Outcome* run) const;

  // By record type.
  using TypeCounts = std::array<uint64_t, NT_TYPE_MAX>;
  [[nodiscard]] agent::SourceCounters Counters() const;
  static TypeCounts Sum(const agent::SourceCounters& counters, nt_u64 (nt_cpu_stats::*member)[NT_TYPE_MAX]);

  [[nodiscard]] std::string Dir(const std::string& name = "") const { return name.empty() ? dir_ : dir_ + "/" + name; }
  [[nodiscard]] const std::string& workload() const { return workload_; }
  // Creates a file of the test's folder.
  std::string MakeFile(const std::string& name, unsigned mode = 0644, const std::string& content = "") const;
  std::string MakeDir(const std::string& name, unsigned mode = 0755) const;

  agent::Capture* capture_ = nullptr;  // nullptr: not opened
  bool losses_expected_ = false;
  bool keep_records_ = true;
  std::map<uint32_t, uint64_t> holes_;     // per CPU: numbers given and not seen
  std::map<uint32_t, uint64_t> last_seq_;  // per CPU

 private:
  std::string dir_, workload_;
  std::vector<std::unique_ptr<Record>> records_;
  std::unique_ptr<agent::Capture> own_;
};

}  // namespace nodetrail::root_test

#endif  // NODETRAIL_TESTS_ROOT_FIXTURE_H_
