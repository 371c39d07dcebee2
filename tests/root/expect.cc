// SPDX-License-Identifier: Apache-2.0
#include "tests/root/expect.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <optional>
#include <sstream>

namespace nodetrail::root_test {
namespace {

// PROC_USER_INIT_INO of linux/proc_ns.h.
constexpr uint32_t kInitialUserNamespace = 0xeffffffd;

struct CgroupLine {
  uint32_t hierarchy = 0;
  std::string controllers, path;
};

std::vector<CgroupLine> ParseCgroups(const std::string& text) {
  std::vector<CgroupLine> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    lines.push_back({static_cast<uint32_t>(std::stoul(line.substr(0, first))),
                     line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  return lines;
}

bool Lists(const std::string& commas, const std::string& word) {
  return ("," + commas + ",").find("," + word + ",") != std::string::npos;
}

// Inode number of a cgroup's directory, by the mount of its hierarchy.
std::optional<uint64_t> CgroupInode(const CgroupLine& cgroup) {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream left(line), right(line.substr(dash + 3));
    std::string id, parent, dev, root, point, type, source, options;
    left >> id >> parent >> dev >> root >> point;
    right >> type >> source >> options;
    const bool v2 = cgroup.hierarchy == 0;
    if (v2 ? type != "cgroup2" : type != "cgroup" || !Lists(options, cgroup.controllers)) continue;
    if (root != "/") continue;
    struct stat st {};
    if (stat((point + cgroup.path).c_str(), &st) == 0) return st.st_ino;
  }
  return std::nullopt;
}

// As record.h says: the v2 id; and where that is the root, the first of pids,
// memory and cpu on v1 that isn't.
void ExpectCgroups(const nt_task& got, const std::string& text) {
  const auto lines = ParseCgroups(text);
  uint64_t v1 = 0;
  uint32_t hierarchy = 0;
  bool v2_is_root = false;
  for (const CgroupLine& line : lines) {
    if (line.hierarchy != 0) continue;
    v2_is_root = line.path == "/";
    const auto inode = CgroupInode(line);
    if (inode) {
      EXPECT_EQ(got.cgroup_v2_id, *inode) << line.path;
    } else if (v2_is_root) {
      EXPECT_EQ(got.cgroup_v2_id, 1u) << "the root of a hierarchy is kernfs node 1";
    } else {
      ADD_FAILURE() << "no cgroup2 mount to compare " << line.path << " with";
    }
  }
  for (const char* controller : {"pids", "memory", "cpu"}) {
    if (!v2_is_root || hierarchy != 0) break;
    for (const CgroupLine& line : lines) {
      if (line.hierarchy == 0 || !Lists(line.controllers, controller) || line.path == "/") continue;
      const auto inode = CgroupInode(line);
      ASSERT_TRUE(inode.has_value()) << line.path;
      v1 = *inode;
      hierarchy = line.hierarchy;
    }
  }
  EXPECT_EQ(got.cgroup_v1_id, v1);
  EXPECT_EQ(got.cgroup_v1_hierarchy, hierarchy);
}

uint64_t InodeOf(const std::string& path) {
  struct stat st {};
  return stat(path.c_str(), &st) == 0 ? st.st_ino : 0;
}

// start_boottime in the unit of /proc/PID/stat.
uint64_t Ticks(uint64_t ns) { return ns / (1'000'000'000u / static_cast<uint64_t>(sysconf(_SC_CLK_TCK))); }

}  // namespace

uint64_t StatusNumber(const json& task, const std::string& key, size_t index, int base) {
  const std::string status = "\n" + Bytes(task.at("status"));
  const size_t at = status.find("\n" + key + ":");
  if (at == std::string::npos) {
    ADD_FAILURE() << "/proc/PID/status has no " << key;
    return 0;
  }
  std::istringstream in(status.substr(at + key.size() + 2, status.find('\n', at + 1) - at - key.size() - 2));
  std::string word;
  for (size_t i = 0; i <= index; ++i) in >> word;
  return std::strtoull(word.c_str(), nullptr, base);
}

int64_t StatNumber(const std::string& stat, size_t number) {
  const size_t paren = stat.rfind(')');
  if (paren == std::string::npos) {
    ADD_FAILURE() << "not a stat: " << stat;
    return 0;
  }
  std::istringstream in(stat.substr(paren + 1));
  std::string word;
  for (size_t i = 3; i <= number; ++i) in >> word;
  return std::strtoll(word.c_str(), nullptr, 10);
}

uint32_t TgidOf(const json& truth) { return static_cast<uint32_t>(StatusNumber(truth.at("task"), "Tgid")); }
uint32_t TidOf(const json& truth) { return static_cast<uint32_t>(StatusNumber(truth.at("task"), "Pid")); }

nt_cred CredOf(const json& task) {
  nt_cred cred{};
  const auto id = [&](const char* key, size_t i) { return static_cast<uint32_t>(StatusNumber(task, key, i)); };
  cred.uid = id("Uid", 0);
  cred.euid = id("Uid", 1);
  cred.suid = id("Uid", 2);
  cred.fsuid = id("Uid", 3);
  cred.gid = id("Gid", 0);
  cred.egid = id("Gid", 1);
  cred.sgid = id("Gid", 2);
  cred.fsgid = id("Gid", 3);
  cred.cap_inheritable = StatusNumber(task, "CapInh", 0, 16);
  cred.cap_permitted = StatusNumber(task, "CapPrm", 0, 16);
  cred.cap_effective = StatusNumber(task, "CapEff", 0, 16);
  cred.cap_bset = StatusNumber(task, "CapBnd", 0, 16);
  cred.cap_ambient = StatusNumber(task, "CapAmb", 0, 16);
  cred.securebits = task.at("securebits").get<uint32_t>();
  cred.userns_inum = task.at("user_ns").get<uint32_t>();
  cred.userns_level = cred.userns_inum == kInitialUserNamespace ? 0 : 1;
  return cred;
}

void ExpectCred(const nt_cred& got, const nt_cred& want, const std::string& what) {
  SCOPED_TRACE(what);
  EXPECT_EQ(got.uid, want.uid);
  EXPECT_EQ(got.gid, want.gid);
  EXPECT_EQ(got.suid, want.suid);
  EXPECT_EQ(got.sgid, want.sgid);
  EXPECT_EQ(got.euid, want.euid);
  EXPECT_EQ(got.egid, want.egid);
  EXPECT_EQ(got.fsuid, want.fsuid);
  EXPECT_EQ(got.fsgid, want.fsgid);
  EXPECT_EQ(got.cap_inheritable, want.cap_inheritable);
  EXPECT_EQ(got.cap_permitted, want.cap_permitted);
  EXPECT_EQ(got.cap_effective, want.cap_effective);
  EXPECT_EQ(got.cap_bset, want.cap_bset);
  EXPECT_EQ(got.cap_ambient, want.cap_ambient);
  EXPECT_EQ(got.securebits, want.securebits);
  EXPECT_EQ(got.userns_inum, want.userns_inum);
  EXPECT_EQ(got.userns_level, want.userns_level);
  EXPECT_EQ(got.pad, 0u);
}

void ExpectTask(const nt_task& got, const json& truth, uint32_t flags) {
  SCOPED_TRACE("task block");
  const json& task = truth.at("task");
  const std::string stat = Bytes(task.at("stat"));
  EXPECT_EQ(got.tgid, StatusNumber(task, "Tgid"));
  EXPECT_EQ(got.pid, StatusNumber(task, "Pid"));
  EXPECT_EQ(got.ppid, static_cast<uint32_t>(StatNumber(stat, 4)));
  EXPECT_EQ(got.pgid, static_cast<uint32_t>(StatNumber(stat, 5)));
  EXPECT_EQ(got.sid, static_cast<uint32_t>(StatNumber(stat, 6)));
  EXPECT_EQ(got.tty_nr, static_cast<uint32_t>(StatNumber(stat, 7)));
  EXPECT_EQ(Ticks(got.start_boottime_ns), static_cast<uint64_t>(StatNumber(stat, 22)));
  if (task.contains("parent_stat")) {
    EXPECT_EQ(Ticks(got.parent_start_boottime_ns),
              static_cast<uint64_t>(StatNumber(Bytes(task.at("parent_stat")), 22)));
  } else {
    EXPECT_EQ(got.ppid, 0u) << "the parent's start could not be read";
  }
  EXPECT_EQ(got.ns_tgid, task.at("pid_in_ns").get<uint32_t>());
  EXPECT_EQ(got.ns_pid, task.at("tid_in_ns").get<uint32_t>());
  EXPECT_EQ(got.loginuid, std::stoul(Bytes(task.at("loginuid"))));
  EXPECT_EQ(got.sessionid, std::stoul(Bytes(task.at("sessionid"))));
  if (StatusNumber(task, "NoNewPrivs") != 0) flags |= NT_T_NO_NEW_PRIVS;
  EXPECT_EQ(got.flags, flags);
  EXPECT_EQ(got.seccomp_mode, StatusNumber(task, "Seccomp"));
  ExpectCred(got.cred, CredOf(task), "credentials");
  // Inside a cgroup namespace of its own a workload sees itself at the root;
  // it is where this process is, nobody moves it.
  const bool own_view = task.at("cgroup_ns").get<uint64_t>() != InodeOf("/proc/self/ns/cgroup");
  std::ostringstream own_cgroup;
  own_cgroup << std::ifstream("/proc/self/cgroup").rdbuf();
  ExpectCgroups(got, own_view ? own_cgroup.str() : Bytes(task.at("cgroup")));
  EXPECT_EQ(got.pid_ns, task.at("pid_ns").get<uint32_t>());
  EXPECT_EQ(got.mnt_ns, task.at("mnt_ns").get<uint32_t>());
  EXPECT_EQ(got.net_ns, task.at("net_ns").get<uint32_t>());
  EXPECT_EQ(got.ipc_ns, task.at("ipc_ns").get<uint32_t>());
  EXPECT_EQ(got.uts_ns, task.at("uts_ns").get<uint32_t>());
  EXPECT_EQ(got.cgroup_ns, task.at("cgroup_ns").get<uint32_t>());
  EXPECT_EQ(got.pad, 0u);
  EXPECT_EQ(std::string(got.comm, strnlen(got.comm, NT_COMM_LEN)), Bytes(task.at("comm")));
}

void ExpectFile(const nt_file& got, const json& file, uint32_t flags) {
  SCOPED_TRACE("file");
  const auto major = file.at("dev_major").get<uint64_t>();
  const auto minor = file.at("dev_minor").get<uint64_t>();
  EXPECT_EQ(got.dev, (minor & 0xff) | major << 8 | (minor & ~uint64_t{0xff}) << 12);
  EXPECT_EQ(got.ino, file.at("ino").get<uint64_t>());
  EXPECT_EQ(got.size, file.at("size").get<uint64_t>());
  EXPECT_EQ(got.mode, file.at("mode").get<uint32_t>());
  EXPECT_EQ(got.uid, file.at("uid").get<uint32_t>());
  EXPECT_EQ(got.gid, file.at("gid").get<uint32_t>());
  EXPECT_EQ(got.nlink, file.at("nlink").get<uint32_t>());
  EXPECT_EQ(got.fs_magic, file.at("fs_magic").get<uint32_t>());
  EXPECT_EQ(got.flags, flags);
}

void ExpectNoFile(const nt_file& got) {
  const nt_file zero{};
  EXPECT_EQ(std::memcmp(&got, &zero, sizeof(zero)), 0) << "file fields of an open that failed";
}

std::string PathOf(const json& file) {
  std::string path = Bytes(file.at("path"));
  const std::string suffix = " (deleted)";
  if (path.size() > suffix.size() && path.compare(path.size() - suffix.size(), suffix.size(), suffix) == 0) {
    path.resize(path.size() - suffix.size());
  }
  return path;
}

void ExpectTails(const Record& record, const std::vector<nt_tail>& kinds) {
  uint32_t want = 0;
  for (const nt_tail kind : kinds) want |= 1u << kind;
  EXPECT_EQ(record.event.present, want) << "tails that are there, one bit each";
}

void ExpectTime(const Record& record, const json& truth) {
  const uint64_t t = record.event.header.ktime_boot_ns;
  if (truth.contains("before_ns")) {
    EXPECT_GE(t, truth.at("before_ns").get<uint64_t>());
  }
  if (truth.contains("after_ns")) {
    EXPECT_LE(t, truth.at("after_ns").get<uint64_t>());
  }
}

std::string JoinArgv(const std::vector<std::string>& argv) {
  std::string joined;
  for (const std::string& arg : argv) {
    joined += arg;
    joined.push_back('\0');
  }
  return joined;
}

}  // namespace nodetrail::root_test
