// SPDX-License-Identifier: Apache-2.0
#include "agent/selftest/selftest.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "nodetrail/base/log.h"

namespace nodetrail::agent {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
// A canary takes milliseconds; a host that is short of CPU may need more.
constexpr uint64_t kMaxActingNs = 20 * kSecond;
// From its end to the verdict: records wait at most 1 s for those of other CPUs.
constexpr uint64_t kHearingNs = 2 * kSecond;

// What a canary does. `most`: of the records that are withheld, since two
// sockets close and its program is loaded twice.
struct Act {
  uint16_t type;
  uint8_t most;
  std::string_view domain;
  std::string_view kind;
  bool required;  // false: seen of it in mode host only
};
constexpr std::array kActs = {
    Act{NT_FORK, 1, "process", "process.fork", false},      Act{NT_EXEC, 2, "process", "process.exec", true},
    Act{NT_EXIT, 1, "process", "process.exit", true},       Act{NT_CRED, 1, "privilege", "cred.change", true},
    Act{NT_FILE_OPEN, 1, "file", "file.create", true},      Act{NT_FILE_DELETE, 1, "file", "file.delete", true},
    Act{NT_NET_BIND, 1, "network", "net.bind", true},       Act{NT_NET_LISTEN, 1, "network", "net.listen", true},
    Act{NT_NET_CONNECT, 1, "network", "net.connect", true}, Act{NT_NET_ACCEPT, 1, "network", "net.accept", true},
    Act{NT_NET_CLOSE, 2, "network", "net.close", true},     Act{NT_MEMFD_CREATE, 1, "kernel", "memfd.create", true},
};
constexpr std::array<std::string_view, 5> kDomains = {"process", "privilege", "file", "network", "kernel"};

bool IsFed(std::string_view kind, const std::vector<HookCoverage>& coverage) {
  return std::any_of(coverage.begin(), coverage.end(), [&](const HookCoverage& hook) {
    return (hook.state == HookState::kAttached || hook.state == HookState::kFallback) &&
           std::find(hook.kinds.begin(), hook.kinds.end(), kind) != hook.kinds.end();
  });
}

uint64_t Lost(const SourceCounters& counters, uint16_t type) {
  uint64_t total = 0;
  for (const nt_cpu_stats& cpu : counters.cpus) total += cpu.lost_ring[type] + cpu.lost_map[type];
  return total;
}

}  // namespace

std::string_view HearingName(Hearing hearing) {
  switch (hearing) {
    case Hearing::kUntried: return "untried";
    case Hearing::kHeard: return "heard";
    case Hearing::kDeaf: return "deaf";
    case Hearing::kUnsure: return "unsure";
    case Hearing::kAbsent: return "absent";
  }
  return "untried";
}

Selftest::Selftest(Canary* canary, RecordSource* source, uint64_t interval_ns)
    : canary_(canary), source_(source), interval_ns_(interval_ns) {}

Selftest::~Selftest() { canary_->Reap(); }

bool Selftest::Take(const RawEvent& raw) {
  if (pid_ == 0) return false;
  const uint16_t type = raw.header.type;
  const uint32_t who = type == NT_FORK ? raw.body.fork.child_tgid : raw.task.tgid;
  if (who != pid_ || type >= budget_.size() || budget_[type] == 0) return false;
  --budget_[type];
  ++heard_[type];
  return true;
}

void Selftest::Begin(uint64_t now_boot_ns, const SourceCounters& counters) {
  next_ns_ = now_boot_ns + interval_ns_;
  deadline_ns_ = now_boot_ns + kMaxActingNs;
  ended_ns_ = 0;
  report_ = {};
  failure_.clear();
  heard_ = {};
  for (const Act& act : kActs) {
    budget_[act.type] = act.most;
    lost_before_[act.type] = Lost(counters, act.type);
  }
  skipped_before_ = counters.skipped_probes;
  const Result<uint32_t> pid = canary_->Launch();
  Status status = pid.status();
  if (pid.ok()) {
    pid_ = *pid;
    status = source_->MarkSelf(pid_, NT_SELF_CANARY);
    if (status.ok()) status = canary_->Release();
  }
  if (!status.ok()) failure_ = status.message();
}

bool Selftest::AllHeard() const {
  const auto& coverage = source_->Coverage();
  return std::all_of(kActs.begin(), kActs.end(), [&](const Act& act) {
    return !act.required || heard_[act.type] != 0 || !IsFed(act.kind, coverage);
  });
}

std::vector<DomainHearing> Selftest::Untried(std::string_view why) const {
  std::vector<DomainHearing> out;
  for (const std::string_view domain : kDomains) {
    out.push_back({std::string(domain), Hearing::kUntried, {}, std::string(why)});
  }
  return out;
}

std::vector<DomainHearing> Selftest::Judge(const SourceCounters& counters) const {
  std::vector<DomainHearing> out;
  for (const std::string_view domain : kDomains) {
    DomainHearing verdict{std::string(domain), Hearing::kAbsent, {}, {}};
    bool lost = counters.skipped_probes != skipped_before_;
    for (const Act& act : kActs) {
      if (act.domain != domain || !act.required || !IsFed(act.kind, source_->Coverage())) continue;
      if (verdict.hearing == Hearing::kAbsent) verdict.hearing = Hearing::kHeard;
      if (heard_[act.type] != 0) continue;
      lost = lost || Lost(counters, act.type) != lost_before_[act.type];
      verdict.missing.emplace_back(act.kind);
    }
    if (verdict.missing.empty()) {
      out.push_back(std::move(verdict));
      continue;
    }
    const auto done = report_.acts.find(domain);
    if (done == report_.acts.end() || done->second != 0) {
      verdict.hearing = Hearing::kUntried;
      verdict.missing.clear();
      verdict.why = done == report_.acts.end() ? "the canary ended before it"
                                               : fmt::format("the act failed: {}", strerrorname_np(done->second));
    } else {
      verdict.hearing = lost ? Hearing::kUnsure : Hearing::kDeaf;
    }
    out.push_back(std::move(verdict));
  }
  return out;
}

std::optional<event::v1::AgentEvent> Selftest::Conclude(std::vector<DomainHearing> verdict) {
  canary_->Reap();
  pid_ = 0;
  for (DomainHearing& domain : verdict) {
    // A record that was lost says nothing new about what was known.
    if (domain.hearing != Hearing::kUnsure) continue;
    for (const DomainHearing& before : view_) {
      if (before.domain == domain.domain) domain = before;
    }
  }
  if (verdict == view_) return {};
  for (const DomainHearing& domain : verdict) {
    if (domain.hearing == Hearing::kDeaf) {
      log::Error(fmt::format("self-test: the {} probes are deaf: {} done, no record came", domain.domain,
                             fmt::join(domain.missing, ", ")));
    } else if (domain.hearing == Hearing::kUntried) {
      log::Warn(fmt::format("self-test: {}: {}", domain.domain, domain.why));
    }
  }
  event::v1::AgentEvent said;
  for (const DomainHearing& domain : verdict) {
    auto* out = said.add_domains();
    out->set_domain(domain.domain);
    out->set_state(std::string(HearingName(domain.hearing)));
    for (const std::string& kind : domain.missing) out->add_missing(kind);
    out->set_why(domain.why);
  }
  const std::lock_guard lock(mutex_);
  view_ = std::move(verdict);
  return said;
}

std::optional<event::v1::AgentEvent> Selftest::Poll(uint64_t now_boot_ns, const SourceCounters& counters) {
  if (pid_ == 0) {
    if (now_boot_ns < next_ns_) return {};
    Begin(now_boot_ns, counters);
    if (!failure_.empty()) return Conclude(Untried(failure_));
    return {};
  }
  if (ended_ns_ == 0) {
    std::optional<CanaryReport> report = canary_->Ended();
    if (!report) {
      if (now_boot_ns < deadline_ns_) return {};
      return Conclude(Untried(fmt::format("the canary did not end within {} s", kMaxActingNs / kSecond)));
    }
    ended_ns_ = now_boot_ns;
    report_ = *std::move(report);
  }
  if (!AllHeard() && now_boot_ns < ended_ns_ + kHearingNs) return {};
  return Conclude(Judge(counters));
}

std::vector<DomainHearing> Selftest::View() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

}  // namespace nodetrail::agent
