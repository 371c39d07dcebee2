// SPDX-License-Identifier: Apache-2.0
#ifndef NODETRAIL_TESTS_FAKES_FAKE_PROC_READER_H_
#define NODETRAIL_TESTS_FAKES_FAKE_PROC_READER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "agent/attribute/proc_reader.h"

namespace nodetrail::agent {

// A /proc that a test fills.
class FakeProcReader final : public ProcReader {
 public:
  static constexpr uint64_t kTick = 10'000'000;

  ProcInfo& Add(uint32_t tgid, uint32_t ppid, uint64_t start_boot_ns, const std::string& exe) {
    ProcInfo& info = processes[tgid];
    info = ProcInfo();
    info.tgid = info.ns_tgid = info.pgid = info.sid = tgid;
    info.ppid = ppid;
    info.start_boot_ns = start_boot_ns / kTick * kTick;
    info.comm = exe.substr(exe.rfind('/') + 1);
    info.exe = exe;
    info.has_exe = info.has_argv = info.has_cwd = info.has_cred = info.has_file = true;
    info.argv = exe + '\0';
    info.cwd = "/";
    info.file.flags = NT_FILE_VALID;
    info.file.ino = tgid;
    info.cgroups = {{0, "", "/"}};
    return info;
  }

  Result<std::vector<uint32_t>> List() override {
    std::vector<uint32_t> out;
    for (const auto& entry : processes) out.push_back(entry.first);
    return out;
  }
  Result<ProcInfo> Read(uint32_t tgid, ProcDetail detail) override {
    ++reads;
    if (detail == ProcDetail::kFull) ++full_reads;
    const auto it = processes.find(tgid);
    if (it == processes.end()) return NotFound("no such process");
    if (detail != ProcDetail::kIdentity) return it->second;
    ProcInfo identity;
    identity.tgid = it->second.tgid;
    identity.ppid = it->second.ppid;
    identity.start_boot_ns = it->second.start_boot_ns;
    return identity;
  }
  [[nodiscard]] uint64_t TickNs() const override { return kTick; }

  std::map<uint32_t, ProcInfo> processes;
  uint64_t reads = 0, full_reads = 0;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_TESTS_FAKES_FAKE_PROC_READER_H_
