// SPDX-License-Identifier: Apache-2.0
#include "agent/capture/kernel_report.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <sstream>

#include "agent/capture/tracefs.h"
#include "nodetrail/base/fd.h"

namespace nodetrail::agent {
namespace {

Grant Granted(std::string detail) { return {true, 0, std::move(detail)}; }
Grant Refused(int err, std::string_view what) {
  return {false, err, fmt::format("{}: {} ({})", what, ErrnoName(err), std::strerror(err))};
}

constexpr bpf_insn Insn(uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm) {
  bpf_insn insn{};
  insn.code = code;
  insn.dst_reg = dst & 0xfU;
  insn.src_reg = src & 0xfU;
  insn.off = off;
  insn.imm = imm;
  return insn;
}

// return 0
constexpr bpf_insn kNothing[] = {
    Insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0),
    Insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
};
// *(u64 *)(fp - 8) = 0; r0 = 1; r0 = xchg(fp - 8, r0); return 0
constexpr bpf_insn kExchange[] = {
    Insn(BPF_ST | BPF_MEM | BPF_DW, BPF_REG_10, 0, -8, 0),
    Insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 1),
    Insn(BPF_STX | BPF_ATOMIC | BPF_DW, BPF_REG_10, BPF_REG_0, -8, BPF_XCHG),
    Insn(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, 0),
    Insn(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
};

// A descriptor, or -errno.
int LoadProgram(bpf_prog_type type, std::span<const bpf_insn> insns, bpf_attach_type attach = bpf_attach_type(0),
                int btf_id = 0) {
  bpf_prog_load_opts opts{};
  opts.sz = sizeof opts;
  opts.expected_attach_type = attach;
  opts.attach_btf_id = static_cast<uint32_t>(btf_id);
  const int fd = bpf_prog_load(type, "nt_grant", "Dual BSD/GPL", insns.data(), insns.size(), &opts);
  return fd >= 0 ? fd : -errno;
}

Grant ProbeTracing(const char* target, bpf_attach_type attach, bpf_prog_type type) {
  const int id = libbpf_find_vmlinux_btf_id(target, attach);
  if (id <= 0) return Refused(-id > 0 ? -id : ENOENT, fmt::format("{} in BTF", target));
  const UniqueFd program(LoadProgram(type, kNothing, attach, id));
  if (program.get() < 0) return Refused(-program.get(), fmt::format("load a program on {}", target));
  // Attached for a moment: some kernels load such programs and refuse here.
  const UniqueFd link(bpf_raw_tracepoint_open(nullptr, program.get()));
  if (!link.valid()) return Refused(errno, fmt::format("attach to {}", target));
  return Granted(target);
}

Grant ProbeSyscallTracepoint() {
  const auto tracefs = Tracefs::Open();
  if (!tracefs.ok()) return {false, EACCES, std::string(tracefs.status().message())};
  const auto id = tracefs->SyscallEventId("sys_exit_openat");
  if (!id.ok()) return {false, ENOENT, std::string(id.status().message())};
  const UniqueFd program(LoadProgram(BPF_PROG_TYPE_TRACEPOINT, kNothing));
  if (program.get() < 0) return Refused(-program.get(), "load a tracepoint program");
  perf_event_attr attr{};
  attr.type = PERF_TYPE_TRACEPOINT;
  attr.size = sizeof attr;
  attr.config = *id;
  attr.disabled = 1;
  const UniqueFd event(static_cast<int>(::syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!event.valid()) return Refused(errno, "perf_event_open of sys_exit_openat");
  return Granted("sys_exit_openat");
}

std::string Trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::string ReadLine(const char* path) {
  auto text = ReadFile(path, 4096);
  return text.ok() ? Trimmed(std::move(*text)) : std::string();
}

int ReadInt(const char* path, int unknown) {
  const std::string text = ReadLine(path);
  int value = unknown;
  if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) return unknown;
  return value;
}

uint64_t EffectiveCapabilities() {
  const auto status = ReadFile("/proc/self/status", 64 * 1024);
  if (!status.ok()) return 0;
  const size_t at = status->find("CapEff:");
  return at == std::string::npos ? 0 : std::strtoull(status->c_str() + at + 7, nullptr, 16);
}

// getpid by the 32-bit gate, in a child: where it is closed, that is a SIGSEGV.
bool RunsCompatCalls() {
#if defined(__x86_64__)
  const pid_t child = ::fork();
  if (child < 0) return true;  // unknown: assume the blind spot is there
  if (child == 0) {
    const rlimit no_core{};
    ::setrlimit(RLIMIT_CORE, &no_core);
    ::signal(SIGSEGV, SIG_DFL);
    long result = 20;  // i386 getpid
    __asm__ volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
    ::_exit(result > 0 ? 0 : 1);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
#else
  return false;
#endif
}

// AUDIT_GET over netlink, as auditctl -s does: reads, changes nothing.
void AskAudit(KernelReport* report) {
  const UniqueFd sock(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_AUDIT));
  if (!sock.valid()) {
    report->audit = Refused(errno, "audit netlink");
    return;
  }
  nlmsghdr request{};
  request.nlmsg_len = sizeof request;
  request.nlmsg_type = AUDIT_GET;
  request.nlmsg_flags = NLM_F_REQUEST;
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  if (::sendto(sock.get(), &request, sizeof request, 0, reinterpret_cast<const sockaddr*>(&kernel), sizeof kernel) <
      0) {
    report->audit = Refused(errno, "audit netlink");
    return;
  }
  pollfd wait{sock.get(), POLLIN, 0};
  if (::poll(&wait, 1, 100) <= 0) {
    report->audit = Refused(ETIMEDOUT, "audit netlink");
    return;
  }
  alignas(nlmsghdr) char buffer[8192];
  const ssize_t n = ::recv(sock.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  nlmsghdr reply{};
  if (n >= static_cast<ssize_t>(sizeof reply)) std::memcpy(&reply, buffer, sizeof reply);
  if (reply.nlmsg_type == NLMSG_ERROR && n >= static_cast<ssize_t>(sizeof reply + sizeof(int))) {
    int err = 0;
    std::memcpy(&err, buffer + sizeof reply, sizeof err);
    report->audit = Refused(err != 0 ? -err : EPROTO, "audit netlink");
    return;
  }
  // audit_status grew over time; mask, enabled, failure, pid are its oldest words.
  uint32_t words[4];
  if (reply.nlmsg_type != AUDIT_GET || n < static_cast<ssize_t>(sizeof reply + sizeof words)) {
    report->audit = Refused(EPROTO, "audit netlink");
    return;
  }
  std::memcpy(words, buffer + sizeof reply, sizeof words);
  report->audit = Granted("answers");
  report->audit_enabled = words[1] != 0;
  report->audit_pid = words[3];
}

void ReadSecurity(KernelReport* report) {
  const std::string lsms = ReadLine("/sys/kernel/security/lsm");
  std::istringstream list(lsms);
  for (std::string name; std::getline(list, name, ',');) report->lsms.push_back(name);
  // "none [integrity] confidentiality"
  const std::string lockdown = ReadLine("/sys/kernel/security/lockdown");
  const size_t open = lockdown.find('[');
  const size_t close = lockdown.find(']');
  if (open != std::string::npos && close != std::string::npos && close > open) {
    report->lockdown = lockdown.substr(open + 1, close - open - 1);
  }
}

int QuietLibbpf(libbpf_print_level, const char*, va_list) { return 0; }

}  // namespace

KernelReport ProbeKernel() {
  KernelReport report;
  const auto print = libbpf_set_print(QuietLibbpf);
  utsname name{};
  ::uname(&name);
  report.release = name.release;
  report.machine = name.machine;

  const uint64_t caps = EffectiveCapabilities();
  const auto has = [caps](int cap) { return (caps >> cap & 1) != 0; };
  report.cap_bpf = has(CAP_BPF);
  report.cap_perfmon = has(CAP_PERFMON);
  report.cap_sys_admin = has(CAP_SYS_ADMIN);
  report.cap_sys_resource = has(CAP_SYS_RESOURCE);
  rlimit memlock{};
  ::getrlimit(RLIMIT_MEMLOCK, &memlock);
  report.memlock_bytes = memlock.rlim_cur;

  const std::unique_ptr<btf, void (*)(btf*)> kernel(btf__load_vmlinux_btf(), btf__free);
  report.btf = kernel != nullptr ? Granted("/sys/kernel/btf/vmlinux") : Refused(errno, "/sys/kernel/btf/vmlinux");

  if (const UniqueFd program(LoadProgram(BPF_PROG_TYPE_TRACEPOINT, kNothing)); program.get() >= 0) {
    report.bpf = Granted("loads a tracepoint program");
  } else {
    report.bpf = Refused(-program.get(), "load a tracepoint program");
  }
  if (const UniqueFd ring(
          bpf_map_create(BPF_MAP_TYPE_RINGBUF, "nt_grant", 0, 0, static_cast<uint32_t>(::getpagesize()), nullptr));
      ring.valid()) {
    report.ring_buffer = Granted("created");
  } else {
    report.ring_buffer = Refused(errno, "create a ring buffer");
  }
  if (const UniqueFd program(LoadProgram(BPF_PROG_TYPE_TRACEPOINT, kExchange)); program.get() >= 0) {
    report.atomics = Granted("xchg");
  } else {
    report.atomics = Refused(-program.get(), "load an atomic exchange");
  }
  const int pt_regs = libbpf_probe_bpf_helper(BPF_PROG_TYPE_TRACEPOINT, BPF_FUNC_task_pt_regs, nullptr);
  report.task_pt_regs =
      pt_regs == 1 ? Granted("bpf_task_pt_regs") : Refused(pt_regs < 0 ? -pt_regs : ENOTSUP, "bpf_task_pt_regs");
  report.tp_btf = ProbeTracing("sys_exit", BPF_TRACE_RAW_TP, BPF_PROG_TYPE_TRACING);
  if (const auto tracefs = Tracefs::Open(); tracefs.ok()) {
    report.tracefs = Granted("opened");
  } else {
    report.tracefs = {false, EACCES, std::string(tracefs.status().message())};
  }
  report.syscall_tracepoint = ProbeSyscallTracepoint();
  // Functions made for tests, which nothing calls in operation.
  report.fentry = ProbeTracing("bpf_fentry_test1", BPF_TRACE_FENTRY, BPF_PROG_TYPE_TRACING);
  ReadSecurity(&report);
  // libbpf adds "bpf_lsm_" to the name.
  report.lsm = ProbeTracing("syslog", BPF_LSM_MAC, BPF_PROG_TYPE_LSM);
  bool listed = false;
  for (const std::string& lsm : report.lsms) listed = listed || lsm == "bpf";
  if (report.lsm.granted && !listed && !report.lsms.empty()) {
    report.lsm = {false, ENOTSUP, "\"bpf\" is not in /sys/kernel/security/lsm: start the kernel with lsm=…,bpf"};
  }
  const bool uring =
      kernel != nullptr && btf__find_by_name_kind(kernel.get(), "btf_trace_io_uring_complete", BTF_KIND_TYPEDEF) > 0;
  report.io_uring = uring && ReadInt("/proc/sys/kernel/io_uring_disabled", 0) < 2
                        ? Granted("io_uring_complete")
                        : Refused(uring ? EPERM : ENOENT, "io_uring");
  report.ia32_emulation = RunsCompatCalls();
  AskAudit(&report);
  report.unprivileged_bpf_disabled = ReadInt("/proc/sys/kernel/unprivileged_bpf_disabled", -1);
  report.perf_event_paranoid = ReadInt("/proc/sys/kernel/perf_event_paranoid", -2);
  // Kernels built with BPF_JIT_ALWAYS_ON may hide the switch: then it is on.
  report.bpf_jit = ReadInt("/proc/sys/net/core/bpf_jit_enable", 1) != 0;

  if (report.syscall_tracepoint.granted && report.task_pt_regs.granted) {
    report.syscall_hooks = "per_syscall";
  } else if (report.tp_btf.granted) {
    report.syscall_hooks = "sys_exit";
  }
  libbpf_set_print(print);
  return report;
}

Status CheckKernel(const KernelReport& report) {
  if (report.machine != "x86_64") {
    return FailedPrecondition(
        fmt::format("capture: machine {} isn't supported; the probes are built for x86_64", report.machine));
  }
  if (!report.bpf.granted && (report.bpf.err == EPERM || report.bpf.err == EACCES)) {
    return PermissionDenied(
        fmt::format("capture: the bpf system call is refused ({}); run as root or with CAP_BPF and CAP_PERFMON",
                    ErrnoName(report.bpf.err)));
  }
  if (!report.btf.granted) {
    return FailedPrecondition(
        fmt::format("capture: no kernel BTF ({}); run a kernel built with CONFIG_DEBUG_INFO_BTF=y", report.btf.detail));
  }
  if (!report.ring_buffer.granted || !report.atomics.granted) {
    return FailedPrecondition(
        fmt::format("capture: kernel {} is too old ({}); 5.15 or later is needed", report.release,
                    !report.ring_buffer.granted ? report.ring_buffer.detail : report.atomics.detail));
  }
  if (!report.tp_btf.granted) {
    const std::string why =
        fmt::format("capture: kernel {} refuses BTF tracepoints ({})", report.release, report.tp_btf.detail);
    if (report.tp_btf.err == EPERM || report.tp_btf.err == EACCES) {
      return PermissionDenied(why + "; run as root or with CAP_BPF and CAP_PERFMON");
    }
    return FailedPrecondition(why + "; 5.15 or later, built with CONFIG_BPF_EVENTS=y, is needed");
  }
  return OkStatus();
}

}  // namespace nodetrail::agent
