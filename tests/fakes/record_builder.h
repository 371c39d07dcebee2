// SPDX-License-Identifier: Apache-2.0
//
// Ring records as the probes write them, for tests:
//   RecordBuilder(NT_FILE_OPEN).Task(task).Body(open).Path(NT_TAIL_PATH, "/tmp/x").Build()
#ifndef NODETRAIL_TESTS_FAKES_RECORD_BUILDER_H_
#define NODETRAIL_TESTS_FAKES_RECORD_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "nodetrail/abi/record.h"

namespace nodetrail::agent {

// "/tmp/probe" -> "probe\0tmp\0", as the kernel side walks it.
inline std::string LeafFirst(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const size_t slash = path.rfind('/');
    const size_t start = slash == std::string_view::npos ? 0 : slash + 1;
    if (start < path.size()) {
      out.append(path.substr(start));
      out.push_back('\0');
    }
    path = path.substr(0, slash == std::string_view::npos ? 0 : slash);
  }
  return out;
}

inline std::string JoinArgv(const std::vector<std::string>& argv) {
  std::string out;
  for (const std::string& arg : argv) {
    out += arg;
    out.push_back('\0');
  }
  return out;
}

// A task with plausible values: root, no login session, initial user namespace.
inline nt_task TestTask(uint32_t tgid, uint64_t start_boot_ns, uint32_t ppid = 1,
                        uint64_t parent_start_boot_ns = 10'000'000, std::string_view comm = "test") {
  nt_task task{};
  task.tgid = task.pid = task.ns_tgid = task.ns_pid = task.pgid = task.sid = tgid;
  task.start_boottime_ns = start_boot_ns;
  task.ppid = ppid;
  task.parent_start_boottime_ns = parent_start_boot_ns;
  task.loginuid = task.sessionid = 0xffffffffU;
  task.cred.cap_bset = 0x1ffffffffffU;
  task.cred.userns_inum = 4026531837U;
  task.cgroup_v2_id = 1;
  task.pid_ns = 4026531836U;
  task.mnt_ns = 4026531841U;
  task.net_ns = 4026531840U;
  std::memcpy(task.comm, comm.data(), comm.size() < NT_COMM_LEN ? comm.size() : NT_COMM_LEN - 1);
  return task;
}

class RecordBuilder {
 public:
  explicit RecordBuilder(nt_type type) {
    header_.abi_version = NT_ABI_VERSION;
    header_.type = static_cast<uint16_t>(type);
  }

  RecordBuilder& Time(uint64_t boot_ns) { return header_.ktime_boot_ns = boot_ns, *this; }
  RecordBuilder& Cpu(uint32_t cpu, uint64_t cpu_seq) { return header_.cpu = cpu, header_.cpu_seq = cpu_seq, *this; }
  RecordBuilder& Flags(uint32_t flags) { return header_.flags = flags, *this; }
  RecordBuilder& Task(const nt_task& task) { return task_ = task, *this; }
  template <typename T>
  RecordBuilder& Body(const T& body) {
    body_.resize(sizeof body);
    std::memcpy(body_.data(), &body, sizeof body);
    return *this;
  }
  // A tail's bytes as they are.
  RecordBuilder& Tail(nt_tail kind, std::string_view bytes) {
    const nt_tail_header tail{static_cast<uint16_t>(kind), static_cast<uint16_t>(bytes.size())};
    const size_t at = tails_.size();
    tails_.resize(at + sizeof tail);
    std::memcpy(tails_.data() + at, &tail, sizeof tail);
    tails_.append(bytes);
    return *this;
  }
  // A path, written leaf first.
  RecordBuilder& Path(nt_tail kind, std::string_view path) { return Tail(kind, LeafFirst(path)); }
  RecordBuilder& Argv(const std::vector<std::string>& argv) { return Tail(NT_TAIL_ARGV, JoinArgv(argv)); }

  [[nodiscard]] std::vector<std::byte> Build() const {
    nt_header header = header_;
    const size_t size = sizeof header + sizeof task_ + body_.size() + tails_.size();
    header.total_len = static_cast<uint32_t>(size);
    std::vector<std::byte> out(size);
    std::byte* at = out.data();
    std::memcpy(at, &header, sizeof header);
    at += sizeof header;
    std::memcpy(at, &task_, sizeof task_);
    at += sizeof task_;
    if (!body_.empty()) std::memcpy(at, body_.data(), body_.size());
    at += body_.size();
    if (!tails_.empty()) std::memcpy(at, tails_.data(), tails_.size());
    return out;
  }

 private:
  nt_header header_{};
  nt_task task_{};
  std::string body_;
  std::string tails_;
};

}  // namespace nodetrail::agent

#endif  // NODETRAIL_TESTS_FAKES_RECORD_BUILDER_H_
