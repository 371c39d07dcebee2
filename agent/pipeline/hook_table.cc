// SPDX-License-Identifier: Apache-2.0
#include "agent/pipeline/hook_table.h"

#include <algorithm>

#include "nodetrail/abi/record.h"
#include "nodetrail/schema/labels.h"

namespace nodetrail::agent {
namespace {

constexpr std::string_view kPerSyscall = "tracepoint/syscalls/sys_exit_";
constexpr std::string_view kSysExit = "tp_btf/sys_exit";
constexpr std::string_view kUring = "tp_btf/io_uring_";

// Where the fact itself is seen, and not a system call around it.
bool Semantic(std::string_view hook) {
  return hook.find("sys_enter") == std::string_view::npos && hook.find("sys_exit") == std::string_view::npos;
}

}  // namespace

std::string_view CredCauseSyscall(uint32_t cause) {
  switch (cause) {
    case NT_CAUSE_SETUID: return "setuid";
    case NT_CAUSE_SETGID: return "setgid";
    case NT_CAUSE_SETREUID: return "setreuid";
    case NT_CAUSE_SETREGID: return "setregid";
    case NT_CAUSE_SETRESUID: return "setresuid";
    case NT_CAUSE_SETRESGID: return "setresgid";
    case NT_CAUSE_SETFSUID: return "setfsuid";
    case NT_CAUSE_SETFSGID: return "setfsgid";
    case NT_CAUSE_SETGROUPS: return "setgroups";
    case NT_CAUSE_CAPSET: return "capset";
    default: return {};
  }
}

HookTable::HookTable(const std::vector<HookCoverage>& coverage) {
  for (const HookCoverage& hook : coverage) {
    const bool in_use = hook.state == HookState::kAttached || hook.state == HookState::kFallback;
    // Entry hooks only keep what the exit hook of the same call reports.
    if (in_use && hook.hook.find("sys_enter") == std::string::npos) attached_.push_back(hook);
  }
}

std::string HookTable::Choose(event::v1::Kind kind, std::string_view syscall) const {
  const std::string label(schema::KindLabel(kind));
  std::vector<std::string_view> semantic, per_syscall;
  bool sys_exit = false;
  for (const HookCoverage& hook : attached_) {
    if (std::find(hook.kinds.begin(), hook.kinds.end(), label) == hook.kinds.end()) continue;
    const std::string_view name = hook.hook;
    if (name.starts_with(kUring)) {
      // Its requests alone come by there, told by the tracepoint in a call's place.
      if (!syscall.empty() && name == std::string("tp_btf/") + std::string(syscall)) return hook.hook;
      continue;
    }
    if (name == kSysExit) {
      sys_exit = true;
    } else if (name.starts_with(kPerSyscall)) {
      if (!syscall.empty() && name.substr(kPerSyscall.size()) == syscall) return hook.hook;
      per_syscall.push_back(name);
    } else if (Semantic(name) && name.find('/') != std::string_view::npos && !name.starts_with("syscall/") &&
               !name.starts_with("io_uring/")) {
      semantic.push_back(name);
    }
  }
  if (syscall.empty() && semantic.size() == 1) return std::string(semantic.front());
  if (sys_exit) return std::string(kSysExit);
  if (!syscall.empty() || per_syscall.empty()) return {};
  std::string_view shared = per_syscall.front();
  for (const std::string_view name : per_syscall) {
    const auto [a, b] = std::mismatch(shared.begin(), shared.end(), name.begin(), name.end());
    shared = shared.substr(0, static_cast<size_t>(a - shared.begin()));
  }
  return per_syscall.size() == 1 ? std::string(shared) : std::string(shared) + "*";
}

std::string_view HookTable::Find(event::v1::Kind kind, std::string_view syscall) {
  for (const Known& known : known_) {
    if (known.kind == kind && known.syscall == syscall.data()) return known.hook;
  }
  known_.push_back({kind, syscall.data(), Choose(kind, syscall)});
  return known_.back().hook;
}

}  // namespace nodetrail::agent
