// SPDX-License-Identifier: Apache-2.0
//
// One plausible record of each type: the fuzzer's seeds and the decoder's
// round-trip tests.
#ifndef NODETRAIL_TESTS_FAKES_SEED_RECORDS_H_
#define NODETRAIL_TESTS_FAKES_SEED_RECORDS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent/decode/acts.h"
#include "tests/fakes/record_builder.h"

namespace nodetrail::agent {

// A call of this type, with all that its shape can carry.
inline RecordBuilder ActRecord(uint16_t type) {
  const auto calls = ActCalls();
  const auto call = std::find_if(calls.begin(), calls.end(), [type](const ActCall& c) { return c.type == type; });
  const bool bpf = type == NT_BPF_ATTACH || type == NT_BPF_DETACH;  // told apart by their first argument
  const uint32_t shape = call == calls.end() ? 0 : call->shape;
  nt_act act{};
  act.syscall_nr = call == calls.end() ? (bpf ? 321 : 0) : call->nr;
  for (nt_u64& arg : act.args) arg = 1;
  RecordBuilder record(static_cast<nt_type>(type));
  record.Body(act);
  if (NT_S_OF(shape, NT_S_AT_PATH) != 0) record.Tail(NT_TAIL_USER_PATH, "a").Path(NT_TAIL_BASE, "/tmp/d");
  if (NT_S_OF(shape, NT_S_AT_PATH2) != 0) record.Tail(NT_TAIL_USER_PATH2, "../b").Path(NT_TAIL_BASE2, "/tmp/d");
  if (NT_S_OF(shape, NT_S_AT_FD) != 0) record.Path(NT_TAIL_PATH, "/tmp/open");
  if (NT_S_OF(shape, NT_S_AT_TEXT) != 0) record.Tail(NT_TAIL_TEXT, "text");
  return record;
}

inline std::vector<std::pair<std::string, RecordBuilder>> SeedRecords() {
  const nt_task task = TestTask(4242, 5'000'000'123, 100, 4'000'000'456, "probe");
  std::vector<std::pair<std::string, RecordBuilder>> out;
  const auto add = [&](const std::string& name, RecordBuilder builder) {
    out.emplace_back(name, builder.Task(task).Time(6'000'000'000).Cpu(1, 77));
  };
  nt_exec exec{};
  exec.exe.flags = NT_FILE_VALID;
  exec.argc = 2;
  exec.argv_len = 9;
  exec.has_old_cred = 1;
  add("exec",
      RecordBuilder(NT_EXEC).Body(exec).Path(NT_TAIL_PATH, "/usr/bin/ls").Path(NT_TAIL_CWD, "/").Argv({"ls", "/home"}));
  add("exec_script", RecordBuilder(NT_EXEC)
                         .Body(exec)
                         .Path(NT_TAIL_PATH, "/bin/sh")
                         .Path(NT_TAIL_CWD, "/home/a")
                         .Argv({"/bin/sh", "./run"})
                         .Tail(NT_TAIL_SCRIPT, "./run")
                         .Path(NT_TAIL_PREV_EXE, "/bin/bash"));
  nt_fork fork{};
  fork.child_tgid = fork.child_ns_tgid = 4243;
  fork.child_ppid = 4242;
  fork.child_start_boottime_ns = 5'999'000'000;
  fork.child_parent_start_boottime_ns = 5'000'000'123;
  add("fork", RecordBuilder(NT_FORK).Body(fork));
  nt_exit exit{};
  exit.code = 1U << 8U;
  add("exit", RecordBuilder(NT_EXIT).Body(exit));
  nt_cred_change cred{};
  cred.cause = NT_CAUSE_SETRESUID;
  cred.nargs = 3;
  cred.args[0] = 1000;
  add("cred", RecordBuilder(NT_CRED).Body(cred));
  nt_file_open open{};
  open.ret = 3;
  open.file.flags = NT_FILE_VALID;
  add("open", RecordBuilder(NT_FILE_OPEN).Body(open).Path(NT_TAIL_PATH, "/tmp/probe").Tail(NT_TAIL_USER_PATH, "probe"));
  open.ret = -13;
  open.file.flags = 0;
  add("denied",
      RecordBuilder(NT_FILE_DENIED).Body(open).Tail(NT_TAIL_USER_PATH, "../etc/shadow").Path(NT_TAIL_BASE, "/tmp"));
  for (const ActType& type : ActTypes()) add(std::string(type.kind), ActRecord(type.type));
  nt_net net{};
  net.family = 2;
  net.protocol = 6;
  net.remote_port = 443;
  add("connect", RecordBuilder(NT_NET_CONNECT).Body(net));
  add("accept", RecordBuilder(NT_NET_ACCEPT).Body(net));
  net.family = 10;
  add("close", RecordBuilder(NT_NET_CLOSE).Body(net));
  nt_socket socket{};
  socket.family = socket.addr_family = 10;
  socket.sock_type = 1;
  socket.protocol = 6;
  socket.local_port = 8443;
  add("bind", RecordBuilder(NT_NET_BIND).Body(socket));
  socket.backlog = 128;
  add("listen", RecordBuilder(NT_NET_LISTEN).Body(socket));
  nt_socket local{};
  local.family = local.sock_type = 1;
  local.flags = NT_SK_PEER;
  local.peer_pid = 1;
  add("unix_connect", RecordBuilder(NT_NET_UNIX_CONNECT)
                          .Body(local)
                          .Path(NT_TAIL_PATH, "/run/docker.sock")
                          .Tail(NT_TAIL_USER_PATH, "docker.sock"));
  local.flags = NT_SK_USER_ADDR;
  local.ret = -111;
  add("unix_connect_abstract",
      RecordBuilder(NT_NET_UNIX_CONNECT).Body(local).Tail(NT_TAIL_SOCKET_NAME, std::string_view("\0a\0b", 4)));
  nt_socket raw{};
  raw.family = 2;
  raw.sock_type = 3;
  raw.protocol = 1;
  add("raw_socket", RecordBuilder(NT_NET_RAW_SOCKET).Body(raw));
  raw.family = 17;
  raw.protocol = 3;
  add("packet_socket", RecordBuilder(NT_NET_PACKET_SOCKET).Body(raw));
  nt_cgroup cgroup{};
  cgroup.id = 188;
  add("cgroup", RecordBuilder(NT_CGROUP).Body(cgroup).Path(NT_TAIL_CGROUP, "/system.slice/ssh.service"));
  return out;
}

// One record per reason to reject, and the odd ones that are accepted.
inline std::vector<std::pair<std::string, std::vector<std::byte>>> OddRecords() {
  std::vector<std::pair<std::string, std::vector<std::byte>>> out;
  const auto names = [](nt_tail kind, std::string_view bytes) {
    return RecordBuilder(NT_FILE_DELETE).Body(nt_act{}).Tail(kind, bytes);
  };
  const std::vector<std::byte> good = SeedRecords().front().second.Build();
  const auto changed = [&good](size_t at, uint16_t value) {
    std::vector<std::byte> bytes = good;
    std::memcpy(bytes.data() + at, &value, sizeof value);
    return bytes;
  };
  const auto cut = [&good](size_t size) {
    return std::vector<std::byte>(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(size));
  };
  constexpr size_t kFixed = sizeof(nt_header) + sizeof(nt_task);
  out.emplace_back("odd_short", cut(40));
  out.emplace_back("odd_version", changed(offsetof(nt_header, abi_version), 9));
  out.emplace_back("odd_length", changed(offsetof(nt_header, total_len), 9));
  out.emplace_back("odd_type", changed(offsetof(nt_header, type), 999));
  out.emplace_back("odd_body", cut(kFixed + 8));
  out.emplace_back("odd_tail_header", cut(kFixed + sizeof(nt_exec) + 2));
  out.emplace_back("odd_tail_length", cut(kFixed + sizeof(nt_exec) + 6));
  out.emplace_back("odd_tail_kind", names(NT_TAIL_MAX, "x").Build());
  out.emplace_back("odd_tail_repeated", names(NT_TAIL_USER_PATH, "a").Tail(NT_TAIL_USER_PATH, "b").Build());
  out.emplace_back("odd_path_open", names(NT_TAIL_PATH, "unterminated").Build());
  out.emplace_back("odd_path_empty", names(NT_TAIL_PATH, std::string_view("a\0\0b\0", 5)).Build());
  out.emplace_back("odd_path_nameless", names(NT_TAIL_PATH, std::string_view("\0", 1)).Build());
  out.emplace_back("odd_user_nul", names(NT_TAIL_USER_PATH, std::string_view("a\0b", 3)).Build());
  out.emplace_back("odd_user_dots",
                   names(NT_TAIL_BASE, LeafFirst("/a/b")).Tail(NT_TAIL_USER_PATH, "../.././/x/../y").Build());
  out.emplace_back("odd_user_absolute",
                   names(NT_TAIL_BASE, LeafFirst("/a")).Tail(NT_TAIL_USER_PATH, "/../etc/").Build());
  nt_net net{};
  net.family = 1;
  out.emplace_back("odd_family", RecordBuilder(NT_NET_CLOSE).Body(net).Build());
  nt_socket socket{};
  socket.addr_family = 1;
  out.emplace_back("odd_socket_family", RecordBuilder(NT_NET_BIND).Body(socket).Build());
  return out;
}

}  // namespace nodetrail::agent

#endif  // NODETRAIL_TESTS_FAKES_SEED_RECORDS_H_
