// SPDX-License-Identifier: Apache-2.0
#include "agent/capture/probe_plan.h"

#include <algorithm>

#include "agent/decode/acts.h"

namespace nodetrail::agent {
namespace {

struct Feeds {
  std::string_view name;  // event or system call
  std::string_view domain;
  std::vector<std::string_view> kinds;
  bool enters = false;  // something is read when the call enters, too
};

const std::vector<Feeds>& Semantic() {
  static const std::vector<Feeds> kSemantic = {
      {"sched_process_fork", "process", {"process.fork"}},
      {"sched_process_exec", "process", {"process.exec", "cred.change"}},
      {"sched_process_exit", "process", {"process.exit"}},
      {"inet_sock_set_state", "network", {"net.connect", "net.close"}},
      {"signal_generate", "kernel", {"signal.send"}},
  };
  return kSemantic;
}

// A request of io_uring: of each domain what its operations do.
const std::vector<Feeds>& Uring() {
  static const std::vector<Feeds> kUring = {
      {"file",
       "file",
       {"file.open", "file.create", "file.denied", "file.delete", "file.rename", "file.link", "file.symlink",
        "file.mkdir", "file.setxattr", "file.truncate"}},
      {"network", "network", {"net.connect", "net.accept"}},
  };
  return kUring;
}

// By system call, without sys_enter_ or sys_exit_.
std::vector<Feeds> MakeCalls() {
  std::vector<Feeds> calls = {
      {"execve", "process", {"process.exec", "process.exec_failed", "cred.change"}, true},
      {"execveat", "process", {"process.exec", "process.exec_failed", "cred.change"}, true},
      {"connect", "network", {"net.connect", "net.unix_connect"}, true},
      {"accept", "network", {"net.accept", "net.close"}},
      {"accept4", "network", {"net.accept", "net.close"}},
      {"bind", "network", {"net.bind"}},
      {"listen", "network", {"net.listen"}},
      {"socket", "network", {"net.raw_socket", "net.packet_socket"}},
  };
  for (const std::string_view open : {"open", "creat", "openat", "openat2"}) {
    calls.push_back({open, "file", {"file.open", "file.create", "file.denied"}});
  }
  for (const std::string_view change : {"setuid", "setgid", "setreuid", "setregid", "setgroups", "setresuid",
                                        "setresgid", "setfsuid", "setfsgid", "capset"}) {
    calls.push_back({change, "privilege", {"cred.change"}, true});
  }
  for (const ActCall& call : ActCalls()) {
    const auto types = ActTypes();
    const auto type = std::find_if(types.begin(), types.end(), [&](const ActType& t) { return t.type == call.type; });
    if (call.nr == 0 || type == types.end() || call.type == NT_EXEC_FAILED) continue;
    Feeds feeds{call.name, type->domain, {type->kind}, call.named};
    if (call.type == NT_BPF_LOAD) feeds.kinds = {"bpf.load", "bpf.attach", "bpf.detach", "bpf.own"};
    calls.push_back(feeds);
  }
  return calls;
}

const std::vector<Feeds>& Calls() {
  static const std::vector<Feeds> kCalls = MakeCalls();
  return kCalls;
}

// The switches of the sys_exit mechanism serve every call: one entry per domain.
std::vector<Feeds> MakeSwitches(bool enter) {
  std::vector<Feeds> switches;
  for (const Feeds& call : Calls()) {
    if (enter && !call.enters) continue;
    auto found =
        std::find_if(switches.begin(), switches.end(), [&](const Feeds& f) { return f.domain == call.domain; });
    if (found == switches.end()) found = switches.insert(found, {call.domain, call.domain, {}});
    for (const std::string_view kind : call.kinds) {
      if (std::find(found->kinds.begin(), found->kinds.end(), kind) == found->kinds.end()) found->kinds.push_back(kind);
    }
  }
  return switches;
}

const std::vector<Feeds>& Switches(bool enter) {
  static const std::vector<Feeds> kEnter = MakeSwitches(true), kExit = MakeSwitches(false);
  return enter ? kEnter : kExit;
}

const Feeds* Find(const std::vector<Feeds>& table, std::string_view name) {
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

constexpr std::string_view kActsEnter = "tracepoint/syscalls/sys_enter_acts";
constexpr std::string_view kActsExit = "tracepoint/syscalls/sys_exit_acts";

// One program for the tracepoints of many calls.
std::vector<HookPlan> ActPlans(HookPlan plan, bool enter) {
  std::vector<HookPlan> plans;
  plan.mechanism = Mechanism::kPerSyscall;
  for (const ActCall& call : ActCalls()) {
    if (call.nr == 0 || call.type == NT_EXEC_FAILED || (enter && !call.named)) continue;
    const Feeds* feeds = Find(Calls(), call.name);
    if (feeds == nullptr) return {};
    plan.event = std::string(enter ? "sys_enter_" : "sys_exit_") + std::string(call.name);
    plan.hook = "tracepoint/syscalls/" + plan.event;
    plan.domain = feeds->domain;
    plan.kinds.assign(feeds->kinds.begin(), feeds->kinds.end());
    plans.push_back(plan);
  }
  return plans;
}

}  // namespace

std::vector<HookPlan> PlansOf(std::string_view program, std::string_view section) {
  HookPlan plan;
  plan.program = program;
  plan.hook = section;
  std::vector<const Feeds*> all;
  std::string_view rest = section;
  if (section == kActsEnter || section == kActsExit) return ActPlans(plan, section == kActsEnter);
  if (TakePrefix(&rest, "tracepoint/syscalls/")) {
    plan.mechanism = Mechanism::kPerSyscall;
    plan.event = rest;
    if (!TakePrefix(&rest, "sys_enter_") && !TakePrefix(&rest, "sys_exit_")) return {};
    all.push_back(Find(Calls(), rest));
  } else if (TakePrefix(&rest, "tp_btf/")) {
    plan.event = rest;
    if (rest == "sys_enter" || rest == "sys_exit") {
      plan.mechanism = Mechanism::kSysExit;
      for (const Feeds& feeds : Switches(rest == "sys_enter")) all.push_back(&feeds);
    } else if (rest.starts_with("io_uring_")) {
      for (const Feeds& feeds : Uring()) all.push_back(&feeds);
    } else {
      all.push_back(Find(Semantic(), rest));
    }
  }
  std::vector<HookPlan> plans;
  for (const Feeds* feeds : all) {
    if (feeds == nullptr) return {};
    plan.domain = feeds->domain;
    plan.kinds.assign(feeds->kinds.begin(), feeds->kinds.end());
    plans.push_back(plan);
  }
  return plans;
}

}  // namespace nodetrail::agent
