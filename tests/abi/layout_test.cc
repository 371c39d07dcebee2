// SPDX-License-Identifier: Apache-2.0
//
// The layout the probes were compiled with (BTF of the BPF object, another
// compiler, another target) against the layout this binary has: size, and
// offset and size of every member, in both directions. A member added to the
// ABI and not here fails.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "nodetrail/abi/record.h"

namespace nodetrail {
namespace {

struct Member {
  std::string name;
  size_t offset;
  size_t size;
};
struct Layout {
  std::string name;
  size_t size;
  std::vector<Member> members;
};

void PrintTo(const Layout& layout, std::ostream* out) { *out << layout.name; }

#define NT_MEMBER(type, member) \
  { #member, offsetof(type, member), sizeof(type::member) }

std::vector<Layout> OurLayouts() {
  return {
      {"nt_header",
       sizeof(nt_header),
       {NT_MEMBER(nt_header, abi_version), NT_MEMBER(nt_header, type), NT_MEMBER(nt_header, total_len),
        NT_MEMBER(nt_header, ktime_boot_ns), NT_MEMBER(nt_header, cpu), NT_MEMBER(nt_header, flags),
        NT_MEMBER(nt_header, cpu_seq)}},
      {"nt_cred",
       sizeof(nt_cred),
       {NT_MEMBER(nt_cred, uid), NT_MEMBER(nt_cred, gid), NT_MEMBER(nt_cred, suid), NT_MEMBER(nt_cred, sgid),
        NT_MEMBER(nt_cred, euid), NT_MEMBER(nt_cred, egid), NT_MEMBER(nt_cred, fsuid), NT_MEMBER(nt_cred, fsgid),
        NT_MEMBER(nt_cred, cap_inheritable), NT_MEMBER(nt_cred, cap_permitted), NT_MEMBER(nt_cred, cap_effective),
        NT_MEMBER(nt_cred, cap_bset), NT_MEMBER(nt_cred, cap_ambient), NT_MEMBER(nt_cred, securebits),
        NT_MEMBER(nt_cred, userns_inum), NT_MEMBER(nt_cred, userns_level), NT_MEMBER(nt_cred, pad)}},
      {"nt_task",
       sizeof(nt_task),
       {NT_MEMBER(nt_task, start_boottime_ns),
        NT_MEMBER(nt_task, parent_start_boottime_ns),
        NT_MEMBER(nt_task, tgid),
        NT_MEMBER(nt_task, pid),
        NT_MEMBER(nt_task, ppid),
        NT_MEMBER(nt_task, ns_tgid),
        NT_MEMBER(nt_task, ns_pid),
        NT_MEMBER(nt_task, pgid),
        NT_MEMBER(nt_task, sid),
        NT_MEMBER(nt_task, tty_nr),
        NT_MEMBER(nt_task, loginuid),
        NT_MEMBER(nt_task, sessionid),
        NT_MEMBER(nt_task, flags),
        NT_MEMBER(nt_task, seccomp_mode),
        NT_MEMBER(nt_task, cred),
        NT_MEMBER(nt_task, cgroup_v2_id),
        NT_MEMBER(nt_task, cgroup_v1_id),
        NT_MEMBER(nt_task, cgroup_v1_hierarchy),
        NT_MEMBER(nt_task, pid_ns),
        NT_MEMBER(nt_task, mnt_ns),
        NT_MEMBER(nt_task, net_ns),
        NT_MEMBER(nt_task, ipc_ns),
        NT_MEMBER(nt_task, uts_ns),
        NT_MEMBER(nt_task, cgroup_ns),
        NT_MEMBER(nt_task, pad),
        NT_MEMBER(nt_task, comm)}},
      {"nt_file",
       sizeof(nt_file),
       {NT_MEMBER(nt_file, dev), NT_MEMBER(nt_file, ino), NT_MEMBER(nt_file, size), NT_MEMBER(nt_file, mode),
        NT_MEMBER(nt_file, uid), NT_MEMBER(nt_file, gid), NT_MEMBER(nt_file, nlink), NT_MEMBER(nt_file, fs_magic),
        NT_MEMBER(nt_file, flags)}},
      {"nt_tail_header", sizeof(nt_tail_header), {NT_MEMBER(nt_tail_header, kind), NT_MEMBER(nt_tail_header, len)}},
      {"nt_exec",
       sizeof(nt_exec),
       {NT_MEMBER(nt_exec, exe), NT_MEMBER(nt_exec, old_cred), NT_MEMBER(nt_exec, has_old_cred),
        NT_MEMBER(nt_exec, argc), NT_MEMBER(nt_exec, argv_len), NT_MEMBER(nt_exec, secureexec),
        NT_MEMBER(nt_exec, old_pid)}},
      {"nt_fork",
       sizeof(nt_fork),
       {NT_MEMBER(nt_fork, child_start_boottime_ns), NT_MEMBER(nt_fork, child_tgid), NT_MEMBER(nt_fork, child_ns_tgid),
        NT_MEMBER(nt_fork, child_ppid), NT_MEMBER(nt_fork, pad), NT_MEMBER(nt_fork, child_parent_start_boottime_ns)}},
      {"nt_exit",
       sizeof(nt_exit),
       {NT_MEMBER(nt_exit, code), NT_MEMBER(nt_exit, pad), NT_MEMBER(nt_exit, user_ns), NT_MEMBER(nt_exit, system_ns),
        NT_MEMBER(nt_exit, max_rss_bytes)}},
      {"nt_cred_change",
       sizeof(nt_cred_change),
       {NT_MEMBER(nt_cred_change, old_cred), NT_MEMBER(nt_cred_change, ret), NT_MEMBER(nt_cred_change, cause),
        NT_MEMBER(nt_cred_change, nargs), NT_MEMBER(nt_cred_change, args), NT_MEMBER(nt_cred_change, pad)}},
      {"nt_file_open",
       sizeof(nt_file_open),
       {NT_MEMBER(nt_file_open, file), NT_MEMBER(nt_file_open, ret), NT_MEMBER(nt_file_open, open_flags),
        NT_MEMBER(nt_file_open, open_mode), NT_MEMBER(nt_file_open, dfd), NT_MEMBER(nt_file_open, created),
        NT_MEMBER(nt_file_open, syscall_nr), NT_MEMBER(nt_file_open, pad)}},
      {"nt_act",
       sizeof(nt_act),
       {NT_MEMBER(nt_act, before), NT_MEMBER(nt_act, after), NT_MEMBER(nt_act, ret), NT_MEMBER(nt_act, args),
        NT_MEMBER(nt_act, syscall_nr), NT_MEMBER(nt_act, has)}},
      {"nt_net",
       sizeof(nt_net),
       {NT_MEMBER(nt_net, cookie), NT_MEMBER(nt_net, bytes_sent), NT_MEMBER(nt_net, bytes_received),
        NT_MEMBER(nt_net, opened_boot_ns), NT_MEMBER(nt_net, netns), NT_MEMBER(nt_net, family),
        NT_MEMBER(nt_net, protocol), NT_MEMBER(nt_net, local_addr), NT_MEMBER(nt_net, remote_addr),
        NT_MEMBER(nt_net, local_port), NT_MEMBER(nt_net, remote_port), NT_MEMBER(nt_net, err),
        NT_MEMBER(nt_net, inbound), NT_MEMBER(nt_net, nonblocking), NT_MEMBER(nt_net, reset),
        NT_MEMBER(nt_net, addr_from_user)}},
      {"nt_socket",
       sizeof(nt_socket),
       {NT_MEMBER(nt_socket, cookie), NT_MEMBER(nt_socket, inode), NT_MEMBER(nt_socket, ret),
        NT_MEMBER(nt_socket, peer_start_boottime_ns), NT_MEMBER(nt_socket, netns), NT_MEMBER(nt_socket, protocol),
        NT_MEMBER(nt_socket, family), NT_MEMBER(nt_socket, sock_type), NT_MEMBER(nt_socket, addr_family),
        NT_MEMBER(nt_socket, local_port), NT_MEMBER(nt_socket, local_addr), NT_MEMBER(nt_socket, flags),
        NT_MEMBER(nt_socket, backlog), NT_MEMBER(nt_socket, ifindex), NT_MEMBER(nt_socket, peer_pid),
        NT_MEMBER(nt_socket, peer_uid), NT_MEMBER(nt_socket, peer_gid)}},
      {"nt_cgroup",
       sizeof(nt_cgroup),
       {NT_MEMBER(nt_cgroup, id), NT_MEMBER(nt_cgroup, hierarchy), NT_MEMBER(nt_cgroup, pad)}},
      {"nt_cpu_stats",
       sizeof(nt_cpu_stats),
       {NT_MEMBER(nt_cpu_stats, cpu_seq), NT_MEMBER(nt_cpu_stats, submitted), NT_MEMBER(nt_cpu_stats, lost_ring),
        NT_MEMBER(nt_cpu_stats, lost_map), NT_MEMBER(nt_cpu_stats, self), NT_MEMBER(nt_cpu_stats, out_of_scope),
        NT_MEMBER(nt_cpu_stats, pad)}},
  };
}

#undef NT_MEMBER

// Every BTF type of the object, by id.
class ObjectBtf {
 public:
  static const ObjectBtf& Get() {
    static const ObjectBtf btf;
    return btf;
  }

  [[nodiscard]] const nlohmann::json* Struct(const std::string& name) const {
    const auto found = structs_.find(name);
    return found == structs_.end() ? nullptr : &types_.at(found->second);
  }

  [[nodiscard]] size_t SizeOf(int id) const {
    const nlohmann::json& type = types_.at(id);
    const std::string kind = type.at("kind");
    if (kind == "PTR") return 8;
    if (kind == "ARRAY") return type.at("nr_elems").get<size_t>() * SizeOf(type.at("type_id"));
    if (kind == "TYPEDEF" || kind == "CONST" || kind == "VOLATILE") return SizeOf(type.at("type_id"));
    return type.at("size");
  }

  [[nodiscard]] bool ok() const { return !types_.empty(); }

 private:
  ObjectBtf() {
    const std::string command = fmt::format("{} -j btf dump file {}", NT_BPFTOOL, NT_BPF_OBJECT);
    const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
    if (pipe == nullptr) return;
    std::string text;
    std::array<char, 65536> buffer;
    for (size_t n = 0; (n = std::fread(buffer.data(), 1, buffer.size(), pipe.get())) > 0;)
      text.append(buffer.data(), n);
    const auto dump = nlohmann::json::parse(text, nullptr, false);
    if (dump.is_discarded()) return;
    for (const auto& type : dump.at("types")) {
      const int id = type.at("id");
      if (type.at("kind") == "STRUCT") structs_[type.at("name")] = id;
      types_[id] = type;
    }
  }

  std::map<int, nlohmann::json> types_;
  std::map<std::string, int> structs_;
};

class LayoutTest : public ::testing::TestWithParam<Layout> {};

TEST_P(LayoutTest, IsTheProbes) {
  const ObjectBtf& btf = ObjectBtf::Get();
  ASSERT_TRUE(btf.ok()) << NT_BPFTOOL << " can't dump the BTF of " << NT_BPF_OBJECT;
  const Layout& ours = GetParam();
  const nlohmann::json* theirs = btf.Struct(ours.name);
  ASSERT_NE(theirs, nullptr) << "no struct " << ours.name << " in the probes' BTF: nothing pins it";
  EXPECT_EQ(theirs->at("size").get<size_t>(), ours.size);
  const auto& members = theirs->at("members");
  ASSERT_EQ(members.size(), ours.members.size()) << "a member is missing on one side";
  for (size_t i = 0; i < ours.members.size(); ++i) {
    const Member& member = ours.members[i];
    EXPECT_EQ(members[i].at("name").get<std::string>(), member.name);
    EXPECT_EQ(members[i].at("bits_offset").get<size_t>(), member.offset * 8) << member.name;
    EXPECT_EQ(btf.SizeOf(members[i].at("type_id")), member.size) << member.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Abi, LayoutTest, ::testing::ValuesIn(OurLayouts()),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace nodetrail
