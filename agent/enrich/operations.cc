// SPDX-License-Identifier: Apache-2.0
#include "agent/enrich/operations.h"

#include <fmt/format.h>
#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/ptrace.h>

#include <cstring>
#include <span>
#include <string_view>

namespace nodetrail::agent {
namespace {

struct Name {
  uint64_t value;
  std::string_view name;
};

#define NT_NAME(symbol) \
  { static_cast<uint64_t>(symbol), #symbol }

constexpr Name kPtrace[] = {NT_NAME(PTRACE_TRACEME), NT_NAME(PTRACE_POKETEXT),  NT_NAME(PTRACE_POKEDATA),
                            {6, "PTRACE_POKEUSR"},   NT_NAME(PTRACE_SETREGS),   NT_NAME(PTRACE_SETFPREGS),
                            NT_NAME(PTRACE_ATTACH),  NT_NAME(PTRACE_SETREGSET), NT_NAME(PTRACE_SEIZE)};
constexpr Name kPrctl[] = {NT_NAME(PR_SET_DUMPABLE),     NT_NAME(PR_SET_KEEPCAPS),   NT_NAME(PR_SET_SECCOMP),
                           NT_NAME(PR_CAPBSET_DROP),     NT_NAME(PR_SET_SECUREBITS), NT_NAME(PR_SET_MM),
                           NT_NAME(PR_SET_NO_NEW_PRIVS), NT_NAME(PR_CAP_AMBIENT),    NT_NAME(PR_SET_PTRACER)};
constexpr Name kSeccomp[] = {NT_NAME(SECCOMP_SET_MODE_STRICT), NT_NAME(SECCOMP_SET_MODE_FILTER),
                             NT_NAME(SECCOMP_GET_ACTION_AVAIL), NT_NAME(SECCOMP_GET_NOTIF_SIZES)};
constexpr Name kKeyctl[] = {NT_NAME(KEYCTL_JOIN_SESSION_KEYRING),
                            NT_NAME(KEYCTL_UPDATE),
                            NT_NAME(KEYCTL_REVOKE),
                            NT_NAME(KEYCTL_CHOWN),
                            NT_NAME(KEYCTL_SETPERM),
                            NT_NAME(KEYCTL_CLEAR),
                            NT_NAME(KEYCTL_LINK),
                            NT_NAME(KEYCTL_UNLINK),
                            NT_NAME(KEYCTL_INSTANTIATE),
                            NT_NAME(KEYCTL_NEGATE),
                            NT_NAME(KEYCTL_SET_REQKEY_KEYRING),
                            NT_NAME(KEYCTL_SET_TIMEOUT),
                            NT_NAME(KEYCTL_ASSUME_AUTHORITY),
                            NT_NAME(KEYCTL_SESSION_TO_PARENT),
                            NT_NAME(KEYCTL_REJECT),
                            NT_NAME(KEYCTL_INSTANTIATE_IOV),
                            NT_NAME(KEYCTL_INVALIDATE),
                            NT_NAME(KEYCTL_RESTRICT_KEYRING),
                            NT_NAME(KEYCTL_MOVE)};
// Numbers: <linux/bpf.h> of the build machine may be older than the kernel.
constexpr Name kBpf[] = {{2, "BPF_MAP_UPDATE_ELEM"},
                         {3, "BPF_MAP_DELETE_ELEM"},
                         {5, "BPF_PROG_LOAD"},
                         {6, "BPF_OBJ_PIN"},
                         {8, "BPF_PROG_ATTACH"},
                         {9, "BPF_PROG_DETACH"},
                         {10, "BPF_PROG_TEST_RUN"},
                         {14, "BPF_MAP_GET_FD_BY_ID"},
                         {17, "BPF_RAW_TRACEPOINT_OPEN"},
                         {21, "BPF_MAP_LOOKUP_AND_DELETE_ELEM"},
                         {22, "BPF_MAP_FREEZE"},
                         {25, "BPF_MAP_LOOKUP_AND_DELETE_BATCH"},
                         {26, "BPF_MAP_UPDATE_BATCH"},
                         {27, "BPF_MAP_DELETE_BATCH"},
                         {28, "BPF_LINK_CREATE"},
                         {29, "BPF_LINK_UPDATE"},
                         {34, "BPF_LINK_DETACH"},
                         {35, "BPF_PROG_BIND_MAP"}};
constexpr Name kReboot[] = {{0x01234567, "LINUX_REBOOT_CMD_RESTART"},    {0xcdef0123, "LINUX_REBOOT_CMD_HALT"},
                            {0x89abcdef, "LINUX_REBOOT_CMD_CAD_ON"},     {0, "LINUX_REBOOT_CMD_CAD_OFF"},
                            {0x4321fedc, "LINUX_REBOOT_CMD_POWER_OFF"},  {0xa1b2c3d4, "LINUX_REBOOT_CMD_RESTART2"},
                            {0xd000fce2, "LINUX_REBOOT_CMD_SW_SUSPEND"}, {0x45584543, "LINUX_REBOOT_CMD_KEXEC"}};
constexpr Name kClone[] = {NT_NAME(CLONE_NEWNS),   NT_NAME(CLONE_NEWCGROUP), NT_NAME(CLONE_NEWUTS),
                           NT_NAME(CLONE_NEWIPC),  NT_NAME(CLONE_NEWUSER),   NT_NAME(CLONE_NEWPID),
                           NT_NAME(CLONE_NEWNET),  {0x80, "CLONE_NEWTIME"},  NT_NAME(CLONE_FS),
                           NT_NAME(CLONE_FILES),   NT_NAME(CLONE_SYSVSEM),   NT_NAME(CLONE_VM),
                           NT_NAME(CLONE_SIGHAND), NT_NAME(CLONE_THREAD)};
constexpr Name kMount[] = {
    NT_NAME(MS_RDONLY),      NT_NAME(MS_NOSUID),      NT_NAME(MS_NODEV),      NT_NAME(MS_NOEXEC),
    NT_NAME(MS_SYNCHRONOUS), NT_NAME(MS_REMOUNT),     NT_NAME(MS_MANDLOCK),   NT_NAME(MS_DIRSYNC),
    {256, "MS_NOSYMFOLLOW"}, NT_NAME(MS_NOATIME),     NT_NAME(MS_NODIRATIME), NT_NAME(MS_BIND),
    NT_NAME(MS_MOVE),        NT_NAME(MS_REC),         NT_NAME(MS_SILENT),     NT_NAME(MS_POSIXACL),
    NT_NAME(MS_UNBINDABLE),  NT_NAME(MS_PRIVATE),     NT_NAME(MS_SLAVE),      NT_NAME(MS_SHARED),
    NT_NAME(MS_RELATIME),    NT_NAME(MS_STRICTATIME), NT_NAME(MS_LAZYTIME)};
constexpr Name kUmount[] = {NT_NAME(MNT_FORCE), NT_NAME(MNT_DETACH), NT_NAME(MNT_EXPIRE), NT_NAME(UMOUNT_NOFOLLOW)};
constexpr Name kMemfd[] = {
    {1, "MFD_CLOEXEC"}, {2, "MFD_ALLOW_SEALING"}, {4, "MFD_HUGETLB"}, {8, "MFD_NOEXEC_SEAL"}, {16, "MFD_EXEC"}};
#undef NT_NAME

std::string OneOf(std::span<const Name> names, uint64_t value) {
  for (const Name& name : names) {
    if (name.value == value) return std::string(name.name);
  }
  return fmt::format("0x{:x}", value);
}

std::string SignalName(uint64_t number) {
  // Above the named ones the C library has none; they are counted from SIGRTMIN.
  const char* const name = number < 32 ? ::sigabbrev_np(static_cast<int>(number)) : nullptr;
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", number);
}

std::string FlagsOf(std::span<const Name> names, uint64_t value) {
  std::string out;
  const auto add = [&out](std::string_view text) {
    if (!out.empty()) out += '|';
    out += text;
  };
  for (const Name& name : names) {
    if ((value & name.value) != name.value) continue;
    value &= ~name.value;
    add(name.name);
  }
  if (value != 0) add(fmt::format("0x{:x}", value));
  return out.empty() ? "0" : out;
}

}  // namespace

std::string OperationName(uint16_t type, const nt_act& act, bool compat32) {
  const auto word = [&act](size_t i) { return act.args[i] & 0xffffffffU; };
  switch (type) {
    case NT_PTRACE: return OneOf(kPtrace, word(0));
    case NT_PRCTL: return OneOf(kPrctl, word(0));
    case NT_SECCOMP: return OneOf(kSeccomp, word(0));
    case NT_KEYCTL: return OneOf(kKeyctl, word(0));
    case NT_BPF_LOAD:
    case NT_BPF_ATTACH:
    case NT_BPF_DETACH:
    case NT_BPF_OWN: return OneOf(kBpf, word(0));
    case NT_SIGNAL: return SignalName(word(NT_SIGNAL_NUMBER));
    case NT_REBOOT: return OneOf(kReboot, word(2));
    case NT_NS_UNSHARE: return FlagsOf(kClone, word(0));
    case NT_NS_SETNS: return word(1) == 0 ? "any" : FlagsOf(kClone, word(1));
    // 0xC0ED in the upper half is what old programs put there.
    case NT_FS_MOUNT: return FlagsOf(kMount, (word(3) & 0xffff0000U) == 0xc0ed0000U ? word(3) & 0xffffU : word(3));
    case NT_FS_UMOUNT: return compat32 && act.syscall_nr == 22 ? "0" : FlagsOf(kUmount, word(1));
    case NT_MEMFD_CREATE: return FlagsOf(kMemfd, word(1));
    default: return {};
  }
}

}  // namespace nodetrail::agent
