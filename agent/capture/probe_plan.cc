// SPDX-License-Identifier: Apache-2.0
#include "agent/capture/probe_plan.h"

#include <array>

namespace nodetrail::agent {
namespace {

struct Feeds {
  std::string_view name;  // event, system call or, of a switch, domain
  std::string_view domain;
  std::array<std::string_view, 5> kinds;
};

constexpr Feeds kSemantic[] = {
    {"sched_process_fork", "process", {"process.fork"}},
    {"sched_process_exec", "process", {"process.exec", "cred.change"}},
    {"sched_process_exit", "process", {"process.exit"}},
    {"inet_sock_set_state", "network", {"net.connect", "net.close"}},
};

// By system call, without sys_enter_ or sys_exit_.
constexpr Feeds kCalls[] = {
    {"execve", "process", {"process.exec", "cred.change"}},
    {"execveat", "process", {"process.exec", "cred.change"}},
    {"open", "file", {"file.open", "file.create", "file.denied"}},
    {"creat", "file", {"file.open", "file.create", "file.denied"}},
    {"openat", "file", {"file.open", "file.create", "file.denied"}},
    {"openat2", "file", {"file.open", "file.create", "file.denied"}},
    {"unlink", "file", {"file.delete"}},
    {"unlinkat", "file", {"file.delete"}},
    {"rmdir", "file", {"file.delete"}},
    {"rename", "file", {"file.rename"}},
    {"renameat", "file", {"file.rename"}},
    {"renameat2", "file", {"file.rename"}},
    {"connect", "network", {"net.connect"}},
    {"accept", "network", {"net.accept", "net.close"}},
    {"accept4", "network", {"net.accept", "net.close"}},
    {"setuid", "privilege", {"cred.change"}},
    {"setgid", "privilege", {"cred.change"}},
    {"setreuid", "privilege", {"cred.change"}},
    {"setregid", "privilege", {"cred.change"}},
    {"setgroups", "privilege", {"cred.change"}},
    {"setresuid", "privilege", {"cred.change"}},
    {"setresgid", "privilege", {"cred.change"}},
    {"setfsuid", "privilege", {"cred.change"}},
    {"setfsgid", "privilege", {"cred.change"}},
    {"capset", "privilege", {"cred.change"}},
};

// The switches of the sys_exit mechanism, by domain, per side.
constexpr Feeds kEnterSwitches[] = {
    {"process", "process", {"process.exec", "cred.change"}},
    {"file", "file", {"file.delete", "file.rename"}},
    {"privilege", "privilege", {"cred.change"}},
    {"network", "network", {"net.connect"}},
};
constexpr Feeds kExitSwitches[] = {
    {"process", "process", {"process.exec", "cred.change"}},
    {"file", "file", {"file.open", "file.create", "file.denied", "file.delete", "file.rename"}},
    {"privilege", "privilege", {"cred.change"}},
    {"network", "network", {"net.connect", "net.accept", "net.close"}},
};

template <size_t N>
const Feeds* Find(const Feeds (&table)[N], std::string_view name) {
  for (const Feeds& feeds : table) {
    if (feeds.name == name) return &feeds;
  }
  return nullptr;
}

bool TakePrefix(std::string_view* text, std::string_view prefix) {
  if (!text->starts_with(prefix)) return false;
  text->remove_prefix(prefix.size());
  return true;
}

}  // namespace

std::vector<HookPlan> PlansOf(std::string_view program, std::string_view section) {
  HookPlan plan;
  plan.program = program;
  plan.hook = section;
  std::vector<const Feeds*> all;
  std::string_view rest = section;
  if (TakePrefix(&rest, "tracepoint/syscalls/")) {
    plan.mechanism = Mechanism::kPerSyscall;
    plan.event = rest;
    if (!TakePrefix(&rest, "sys_enter_") && !TakePrefix(&rest, "sys_exit_")) return {};
    all.push_back(Find(kCalls, rest));
  } else if (TakePrefix(&rest, "tp_btf/")) {
    plan.event = rest;
    if (rest == "sys_enter" || rest == "sys_exit") {
      plan.mechanism = Mechanism::kSysExit;
      const auto& switches = rest == "sys_enter" ? kEnterSwitches : kExitSwitches;
      for (const Feeds& feeds : switches) all.push_back(&feeds);
    } else {
      plan.mechanism = Mechanism::kSemantic;
      all.push_back(Find(kSemantic, rest));
    }
  }
  std::vector<HookPlan> plans;
  for (const Feeds* feeds : all) {
    if (feeds == nullptr) return {};
    plan.domain = feeds->domain;
    plan.kinds.clear();
    for (const std::string_view kind : feeds->kinds) {
      if (!kind.empty()) plan.kinds.emplace_back(kind);
    }
    plans.push_back(plan);
  }
  return plans;
}

}  // namespace nodetrail::agent
