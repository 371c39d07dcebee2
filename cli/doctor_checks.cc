// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor_checks.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <memory>
#include <set>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::cli {
namespace {

using State = Check::State;
using schema::TerminalSafe;

constexpr int kWarnDays = 14;

void Add(Checks* out, std::string area, State state, std::string what, std::string fix = {}) {
  out->push_back({std::move(area), state, std::move(what), std::move(fix)});
}

void AddGrant(Checks* out, std::string_view what, const agent::Grant& grant, State missing, std::string_view fix) {
  if (grant.granted) {
    Add(out, "kernel", State::kOk, std::string(what));
    return;
  }
  std::string why = grant.err != 0 ? ErrnoName(grant.err) : std::string("not granted");
  if (!grant.detail.empty()) why += ": " + grant.detail;
  Add(out, "kernel", missing, fmt::format("{}: {}", what, TerminalSafe(why)), std::string(fix));
}

std::string Text(const nlohmann::json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return {};
  return TerminalSafe(it->is_string() ? it->get<std::string>() : it->dump());
}

double Number(const nlohmann::json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<double>() : 0.0;
}

// Of a status document: kinds that the reserve is for (nodetrail/abi/reserved.h).
bool CriticalLost(const nlohmann::json& document) {
  const nlohmann::json::json_pointer lost("/rings/reserve/lost");
  return document.contains(lost) && document.at(lost).is_number() && document.at(lost).get<double>() > 0;
}

bool Attached(std::string_view state) { return state == "attached" || state == "fallback"; }

std::vector<std::string> KindsOf(const nlohmann::json& hook) {
  std::vector<std::string> out;
  if (const auto it = hook.find("kinds"); it != hook.end() && it->is_array()) {
    for (const auto& kind : *it) {
      if (kind.is_string()) out.push_back(TerminalSafe(kind.get<std::string>()));
    }
  }
  return out;
}

// A hook that is absent is a failure where nothing else sees its kinds, and a
// warning where something does: part of the events pass by.
void CheckHooks(const nlohmann::json& hooks, Checks* out) {
  std::set<std::string> seen;
  for (const auto& hook : hooks) {
    if (!hook.is_object() || !Attached(Text(hook, "state"))) continue;
    for (auto& kind : KindsOf(hook)) seen.insert(std::move(kind));
  }
  for (const auto& hook : hooks) {
    if (!hook.is_object()) continue;
    const std::string state = Text(hook, "state");
    const std::string why = Text(hook, "why");
    const auto kinds = KindsOf(hook);
    const std::string line =
        fmt::format("{} ({}) {}{}{}{}", Text(hook, "hook"), Text(hook, "family"), state, kinds.empty() ? "" : ": ",
                    fmt::join(kinds, ", "), why.empty() || why == state ? "" : "; " + why);
    if (Attached(state) || state == "off") {
      Add(out, "hooks", State::kOk, line);
      continue;
    }
    std::vector<std::string> blind;
    for (const auto& kind : kinds) {
      if (!seen.contains(kind)) blind.push_back(kind);
    }
    if (blind.empty()) {
      Add(out, "hooks", State::kWarn, line, "other hooks see these kinds, but not by this way");
    } else {
      Add(out, "hooks", State::kFail, line,
          fmt::format("{} are not recorded on this node; see the kernel lines above", fmt::join(blind, ", ")));
    }
  }
}

}  // namespace

void CheckKernelReport(const agent::KernelReport& report, bool root, Checks* out) {
  Add(out, "kernel", State::kOk,
      fmt::format("Linux {} {}", TerminalSafe(report.release), TerminalSafe(report.machine)));
  if (!root) {
    Add(out, "kernel", State::kWarn, "not run as root: what the kernel grants the agent can't be tried",
        "sudo nodetrail doctor");
  }
  const Status fit = agent::CheckKernel(report);
  if (fit.ok()) {
    Add(out, "kernel", State::kOk, fmt::format("capture is possible, system calls by {}", report.syscall_hooks));
  } else {
    Add(out, "kernel", root ? State::kFail : State::kWarn, TerminalSafe(fit.message()),
        root ? "without this nothing is captured" : "run as root to be sure");
  }
  // Without root a refusal says nothing about the agent.
  const State hard = root ? State::kFail : State::kWarn;
  AddGrant(out, "BTF of the running kernel", report.btf, State::kFail, "use a kernel built with CONFIG_DEBUG_INFO_BTF");
  AddGrant(out, "bpf system call", report.bpf, hard,
           "the agent needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN), and lockdown below confidentiality");
  AddGrant(out, "BPF ring buffer", report.ring_buffer, hard, "Linux 5.8 or newer");
  AddGrant(out, "atomic fetch instructions", report.atomics, hard, "Linux 5.12 or newer");
  AddGrant(out, "BTF raw tracepoints", report.tp_btf, hard, "Linux 5.5 or newer with CONFIG_BPF_EVENTS");
  AddGrant(out, "task registers by bpf_task_pt_regs", report.task_pt_regs, State::kWarn,
           "Linux 5.15; without it every system call pays a little");
  AddGrant(out, "tracefs", report.tracefs, State::kWarn,
           "mount tracefs at /sys/kernel/tracing; without it every system call pays a little");
  AddGrant(out, "per-syscall tracepoints", report.syscall_tracepoint, State::kWarn,
           "without them every system call pays a little");
  if (!report.lockdown.empty() && report.lockdown != "none") {
    const bool closed = report.lockdown == "confidentiality";
    Add(out, "kernel", closed ? State::kFail : State::kOk, fmt::format("lockdown is {}", TerminalSafe(report.lockdown)),
        closed ? "boot with lockdown=integrity: confidentiality forbids tracing" : "");
  }
  if (report.audit_enabled) {
    Add(out, "kernel", State::kOk,
        fmt::format("kernel audit is on (daemon pid {}): it slows every system call, and lives well beside the agent",
                    report.audit_pid));
  }
}

void CheckAgentStatus(const nlohmann::json& document, const Status& error, Checks* out) {
  if (!document.is_object()) {
    Add(out, "agent", error.code() == Code::kPermissionDenied ? State::kWarn : State::kFail,
        TerminalSafe(error.message()),
        error.code() == Code::kPermissionDenied ? "sudo nodetrail doctor"
                                                : "systemctl start nodetrail-agent; its log says why it stopped");
    return;
  }
  Add(out, "agent", State::kOk,
      fmt::format("{} runs, pid {}, version {}", Text(document, "agent_id"), Text(document, "pid"),
                  Text(document, "version")));
  bool told = false;
  if (const auto it = document.find("problems"); it != document.end() && it->is_array()) {
    for (const auto& problem : *it) {
      // The hooks tell these themselves, below.
      if (problem.is_string() && problem.get<std::string>().starts_with("hook ")) {
        told = true;
        continue;
      }
      Add(out, "agent", State::kFail, TerminalSafe(problem.is_string() ? problem.get<std::string>() : problem.dump()),
          "the agent's log says more");
      told = true;
    }
  }
  if (Text(document, "health") != "ok" && !told)
    Add(out, "agent", State::kFail, "degraded, without a reason given", "the agent's log says more");
  const double lost = Number(document, "lost_total");
  if (lost > 0) {
    Add(out, "agent", State::kWarn,
        fmt::format("{} events lost since it started {}", Text(document, "lost_total"), Text(document, "lost")),
        CriticalLost(document)
            ? "critical events among them: raise capture.reserve_bytes_per_cpu; nodetrail query "
              "--kind agent.loss says what and when"
            : "raise capture.ring_bytes_per_cpu; nodetrail query --kind agent.loss says what and when");
  } else {
    Add(out, "agent", State::kOk, fmt::format("{} events, none lost", Text(document, "events_total")));
  }
  const auto connected = document.find("connected");
  if (connected != document.end() && connected->is_boolean() && connected->get<bool>()) {
    Add(out, "agent", State::kOk, fmt::format("ships to the collector, {} s behind", Text(document, "lag_seconds")));
  } else {
    const std::string why = Text(document, "ship_error");
    Add(out, "agent", State::kWarn,
        fmt::format("not connected to the collector{}{}; events stay in the spool ({})", why.empty() ? "" : ": ", why,
                    schema::FormatBytes(static_cast<uint64_t>(Number(document, "spool_bytes")))),
        "check ship.endpoint and ship.tls of the agent's configuration, and that the collector runs");
  }
  if (const auto it = document.find("hooks"); it != document.end() && it->is_array()) CheckHooks(*it, out);
}

void CheckClock(Checks* out) {
  struct timex tx {};
  const int state = ::adjtimex(&tx);
  if (state < 0) {
    Add(out, "clock", State::kWarn, fmt::format("adjtimex: {}", ErrnoName(errno)),
        "the synchronisation of the clock can't be judged here");
  } else if (state == TIME_ERROR || (tx.status & STA_UNSYNC) != 0) {
    Add(out, "clock", State::kWarn, "the wall clock is not synchronised; events say so",
        "run chrony or systemd-timesyncd");
  } else {
    Add(out, "clock", State::kOk,
        fmt::format("synchronised, error at most {}",
                    schema::FormatDuration(static_cast<uint64_t>(tx.maxerror) * 1000)));
  }
}

void CheckDisk(const std::string& what, const std::string& dir, uint64_t needed_bytes, Checks* out) {
  std::string place = dir;
  struct statvfs fs {};
  // A folder that will be made lies where its nearest ancestor does.
  while (::statvfs(place.c_str(), &fs) != 0) {
    if (errno != ENOENT || place.size() <= 1) {
      const int err = errno;
      Add(out, "disk", State::kWarn, fmt::format("{} {}: {}", what, dir, ErrnoName(err)),
          err == EACCES ? "sudo nodetrail doctor" : "check the path");
      return;
    }
    const size_t slash = place.rfind('/');
    place = slash == 0 || slash == std::string::npos ? "/" : place.substr(0, slash);
  }
  const uint64_t free = static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize;
  const bool read_only = (fs.f_flag & ST_RDONLY) != 0;
  const std::string line = fmt::format("{} {}: {} free", what, dir, schema::FormatBytes(free));
  if (read_only) Add(out, "disk", State::kFail, line + ", read-only", "remount it for writing");
  else if (fs.f_files > 0 && fs.f_favail < 1000)
    Add(out, "disk", State::kFail, fmt::format("{}, {} inodes left", line, fs.f_favail),
        "remove files, or use another file system");
  else if (free < needed_bytes)
    Add(out, "disk", State::kWarn, fmt::format("{}, it may take {}", line, schema::FormatBytes(needed_bytes)),
        "make room, or lower the limit");
  else Add(out, "disk", State::kOk, line);
}

void CheckCertificate(const std::string& what, const std::string& cert_file, const std::string& key_file,
                      uint64_t now_ns, Checks* out) {
  if (cert_file.empty()) return;
  const auto pem = ReadFile(cert_file, 1U << 20);
  if (!pem.ok()) {
    const bool hidden = pem.status().code() == Code::kPermissionDenied;
    Add(out, "certificates", hidden ? State::kWarn : State::kFail, fmt::format("{}: {}", what, pem.status().message()),
        hidden ? "sudo nodetrail doctor" : "put the certificate there, or correct the path");
    return;
  }
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(pem->data(), static_cast<int>(pem->size())),
                                                      BIO_free);
  const std::unique_ptr<X509, decltype(&X509_free)> cert(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr),
                                                         X509_free);
  struct tm end {};
  struct tm start {};
  if (cert == nullptr || ASN1_TIME_to_tm(X509_get0_notAfter(cert.get()), &end) != 1 ||
      ASN1_TIME_to_tm(X509_get0_notBefore(cert.get()), &start) != 1) {
    Add(out, "certificates", State::kFail, fmt::format("{}: {}: not a PEM certificate", what, cert_file),
        "put the certificate there, or correct the path");
    return;
  }
  const auto now = static_cast<time_t>(now_ns / 1'000'000'000);
  const time_t left = timegm(&end) - now;
  const std::string until = fmt::format("{:04}-{:02}-{:02}", end.tm_year + 1900, end.tm_mon + 1, end.tm_mday);
  const std::string line = fmt::format("{}: {}", what, cert_file);
  if (left <= 0) Add(out, "certificates", State::kFail, fmt::format("{}: expired on {}", line, until), "renew it");
  else if (timegm(&start) > now)
    Add(out, "certificates", State::kFail, fmt::format("{}: not yet valid", line), "check the clock, or wait");
  else if (left < kWarnDays * 86400)
    Add(out, "certificates", State::kWarn, fmt::format("{}: expires in {} days, on {}", line, left / 86400, until),
        "renew it");
  else Add(out, "certificates", State::kOk, fmt::format("{}: valid until {}", line, until));
  struct stat st {};
  if (!key_file.empty() && ::stat(key_file.c_str(), &st) == 0 && (st.st_mode & 0077) != 0) {
    Add(out, "certificates", State::kFail,
        fmt::format("{}: {}: mode {:04o}, others may read the key", what, key_file, st.st_mode & 07777),
        fmt::format("chmod 600 {}", key_file));
  }
}

}  // namespace nodetrail::cli
