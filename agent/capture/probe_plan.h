// SPDX-License-Identifier: Apache-2.0
//
// Every program of the BPF object, what it hooks and which events it feeds.
#ifndef NODETRAIL_AGENT_CAPTURE_PROBE_PLAN_H_
#define NODETRAIL_AGENT_CAPTURE_PROBE_PLAN_H_

#include <string>
#include <string_view>
#include <vector>

namespace nodetrail::agent {

enum class Mechanism {
  kSemantic,    // tp_btf on what happened, whatever call caused it
  kPerSyscall,  // tracepoint/syscalls/sys_{enter,exit}_X
  kSysExit,     // tp_btf/sys_enter, tp_btf/sys_exit
};

struct HookPlan {
  std::string program;  // name in the object
  std::string hook;     // "tp_btf/sched_process_exec"
  std::string event;    // "sched_process_exec", "sys_exit_openat"
  std::string domain;
  Mechanism mechanism = Mechanism::kSemantic;
  std::vector<std::string> kinds;
};

// From a program's name and ELF section: one plan per hook and domain it serves.
// None: not one of ours.
std::vector<HookPlan> PlansOf(std::string_view program, std::string_view section);

}  // namespace nodetrail::agent

#endif  // NODETRAIL_AGENT_CAPTURE_PROBE_PLAN_H_
