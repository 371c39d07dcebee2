// SPDX-License-Identifier: Apache-2.0
#include "agent/capture/capture.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/perf_event.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent/capture/kernel_report.h"
#include "agent/capture/own_links.h"
#include "agent/capture/probe_plan.h"
#include "agent/capture/ring_reader.h"
#include "agent/capture/scope_seed.h"
#include "agent/capture/tracefs.h"
#include "agent/capture/uring.h"
#include "agent/decode/acts.h"
#include "nodetrail.skel.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/base/log.h"

namespace nodetrail::agent {
namespace {

constexpr uint64_t kMinRing = 4096;
constexpr uint64_t kMaxRing = uint64_t{256} << 20;
constexpr uint64_t kMaxSlackNs = 1'000'000'000;
constexpr uint32_t kScratchPerCpu = 2;  // NT_SCRATCH_PER_CPU, bpf/maps.bpf.h
constexpr uint32_t kRingsPerCpu = 2;    // NT_RINGS_PER_CPU: bulk, reserve
constexpr uint32_t kSelfSlots = 8;      // NT_SELF_SLOTS
constexpr uint32_t kScopeTree = 1;      // NT_SCOPE_TREE

struct SelfSlot {
  uint32_t tgid;
  uint32_t cls;
};

// Our debug log, one line each: libbpf speaks on standard error otherwise.
int PrintLibbpf(libbpf_print_level level, const char* format, va_list args) {
  if (level == LIBBPF_DEBUG) return 0;
  char text[1024];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  const int n = std::vsnprintf(text, sizeof text, format, args);
#pragma GCC diagnostic pop
  std::string_view line(text, std::min<size_t>(n < 0 ? 0 : static_cast<size_t>(n), sizeof text - 1));
  while (!line.empty() && line.back() == '\n') line.remove_suffix(1);
  log::Debug(fmt::format("libbpf: {}", line));
  return 0;
}

struct SkeletonDeleter {
  void operator()(nt_probes* skeleton) const { nt_probes__destroy(skeleton); }
};
using SkeletonPtr = std::unique_ptr<nt_probes, SkeletonDeleter>;

// munmap on destruction.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* at, size_t size) : at_(at), size_(size) {}
  ~Mapping() {
    if (at_ != nullptr) ::munmap(at_, size_);
  }
  Mapping(Mapping&& other) noexcept : at_(std::exchange(other.at_, nullptr)), size_(other.size_) {}
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(at_, other.at_);
    std::swap(size_, other.size_);
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  [[nodiscard]] void* at() const { return at_; }

 private:
  void* at_ = nullptr;
  size_t size_ = 0;
};

Result<Mapping> Map(int fd, size_t size, int protection, off_t offset, std::string_view what) {
  void* at = ::mmap(nullptr, size, protection, MAP_SHARED, fd, offset);
  if (at == MAP_FAILED) return ErrnoStatus(errno, fmt::format("capture: map {}", what));
  return Mapping(at, size);
}

size_t PageSize() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }
size_t RoundUp(size_t n, size_t to) { return (n + to - 1) / to * to; }

// CPU numbers of "0-3,8", as /sys/devices/system/cpu/online has them.
std::vector<uint32_t> OnlineCpus(uint32_t possible) {
  std::vector<uint32_t> cpus;
  const auto text = ReadFile("/sys/devices/system/cpu/online", 4096);
  if (text.ok()) {
    for (size_t at = 0; at < text->size();) {
      unsigned first = 0;
      unsigned last = 0;
      int used = 0;
      if (std::sscanf(text->c_str() + at, "%u%n", &first, &used) != 1) break;
      at += static_cast<size_t>(used);
      last = first;
      if (at < text->size() && (*text)[at] == '-') {
        if (std::sscanf(text->c_str() + at, "-%u%n", &last, &used) != 1) break;
        at += static_cast<size_t>(used);
      }
      for (unsigned cpu = first; cpu <= last && cpu < possible; ++cpu) cpus.push_back(cpu);
      if (at >= text->size() || (*text)[at] != ',') break;
      ++at;
    }
  }
  if (cpus.empty()) {
    for (uint32_t cpu = 0; cpu < possible; ++cpu) cpus.push_back(cpu);
  }
  return cpus;
}

// Does tp_btf/sched_process_exit say whether the group is dead? See
// bpf/compat.bpf.h. BTF has the prototype with the leading void*.
bool ExitTellsGroupDead(const btf* kernel) {
  const int id = btf__find_by_name_kind(kernel, "btf_trace_sched_process_exit", BTF_KIND_TYPEDEF);
  if (id < 0) return false;
  const btf_type* type = btf__type_by_id(kernel, static_cast<uint32_t>(id));
  type = btf__type_by_id(kernel, type->type);  // pointer
  if (type == nullptr) return false;
  type = btf__type_by_id(kernel, type->type);  // prototype
  return type != nullptr && btf_is_func_proto(type) && btf_vlen(type) >= 3;
}

Result<bpf_prog_info> InfoOf(const bpf_program* program) {
  bpf_prog_info info{};
  uint32_t size = sizeof info;
  if (bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size) != 0) {
    return ErrnoStatus(errno, fmt::format("capture: counters of {}", bpf_program__name(program)));
  }
  return info;
}

class CaptureImpl final : public Capture {
 public:
  CaptureImpl(const CaptureOptions& options, uint32_t cpus) : options_(options), possible_cpus_(cpus) {}

  ~CaptureImpl() override = default;
  CaptureImpl(const CaptureImpl&) = delete;
  CaptureImpl& operator=(const CaptureImpl&) = delete;

  Status Start(const KernelReport& report);

  Result<size_t> Drain(const RecordSink& sink, bool everything) override {
    const uint64_t now = clock_.BootNs();
    const uint64_t slack = everything ? 0 : options_.slack_ns;
    return merge_.Drain(sink, now > slack ? now - slack : 0);
  }

  Result<SourceCounters> ReadCounters() override;

  [[nodiscard]] uint64_t LostImages(uint32_t cpu) const override {
    if (cpu >= possible_cpus_) return 0;
    const nt_cpu_stats& stats = static_cast<const nt_cpu_stats*>(stats_.at())[cpu];
    return __atomic_load_n(&stats.lost_ring[NT_FORK], __ATOMIC_RELAXED) +
           __atomic_load_n(&stats.lost_ring[NT_EXEC], __ATOMIC_RELAXED);
  }

  [[nodiscard]] const std::vector<HookCoverage>& Coverage() const override { return coverage_; }

  [[nodiscard]] Result<std::vector<ProgramCost>> Costs() const override;

  Status MarkSelf(uint32_t tgid, nt_self_class cls) override;

  std::vector<Damage> Inspect(const std::vector<std::string>& deaf) override;

  [[nodiscard]] std::vector<OwnObject> OwnObjects() const override;

  [[nodiscard]] int LastSignalsFd() const override { return bpf_map__fd(skeleton_->maps.nt_last_signals); }

  [[nodiscard]] std::vector<HookCoverage> CoverageCopy() const override {
    const std::lock_guard lock(coverage_mutex_);
    return coverage_;
  }

 private:
  Status Load(const KernelReport& report);
  Result<SkeletonPtr> OpenSkeleton(const std::set<std::string>& wanted) const;
  Status MapRings();
  Result<RingView> MakeRing(uint32_t index, uint64_t bytes, const std::string& what);
  Status Attach(const KernelReport& report);
  Status AttachOne(const HookPlan& plan, const Tracefs* tracefs);
  Status KnowOwn();
  Damage AttachAgain(const std::set<size_t>& plans, std::string_view what);
  std::optional<Damage> InspectSelf();
  void Cover(const HookPlan& plan, HookState state, std::string why);
  void CoverBlindSpots(const KernelReport& report);
  Status Seed();
  Status TakeIntoScope(uint32_t tgid);

  const CaptureOptions options_;
  const uint32_t possible_cpus_;
  SystemClock clock_;
  UringFacts uring_;
  bool module_types_ = false;  // libbpf may read the types of modules
  bool per_syscall_ = false;
  bool fell_back_ = false;  // auto, and per-syscall wasn't granted
  std::string fallback_why_;
  std::vector<HookPlan> plans_;
  std::set<std::string> loaded_;                              // programs
  std::vector<std::pair<std::string, std::string>> refused_;  // program, why
  SkeletonPtr skeleton_;
  std::vector<Mapping> ring_mappings_;
  std::vector<UniqueFd> ring_fds_;
  Mapping stats_;
  Mapping self_;
  RingMerge merge_;
  std::vector<HookCoverage> coverage_;
  std::map<std::string, size_t> plan_of_hook_;  // that attached it
  std::map<uint32_t, uint32_t> marked_;         // what nt_self is to hold: class by tgid
  uint64_t forced_ns_ = 0;                      // when deaf hooks were last attached anew
  mutable std::mutex coverage_mutex_;           // between Inspect and CoverageCopy
  OwnLinks links_;                              // detached before the maps go
};

Result<SkeletonPtr> CaptureImpl::OpenSkeleton(const std::set<std::string>& wanted) const {
  bpf_object_open_opts open{};
  open.sz = sizeof open;
  // A type that the kernel itself lacks is looked for in its modules, which takes
  // CAP_SYS_ADMIN; without it libbpf before 1.2 gives up on the whole object,
  // unless it is told where all types are.
  if (!module_types_) open.btf_custom_path = "/sys/kernel/btf/vmlinux";
  SkeletonPtr skeleton(nt_probes__open_opts(&open));
  if (skeleton == nullptr) return ErrnoStatus(errno, "capture: open the BPF object");
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton->obj) {
    bpf_program__set_autoload(program, wanted.count(bpf_program__name(program)) != 0);
  }
  skeleton->rodata->nt_scope_mode = options_.scope == CaptureScope::kProcessTree ? kScopeTree : 0;
  const std::unique_ptr<btf, void (*)(btf*)> kernel(btf__load_vmlinux_btf(), btf__free);
  skeleton->rodata->nt_exit_tells_group_dead = kernel != nullptr && ExitTellsGroupDead(kernel.get());
  skeleton->rodata->nt_agent_tgid = static_cast<uint32_t>(::getpid());
  skeleton->rodata->nt_signals_cross_uid = options_.signals_cross_uid;
  skeleton->rodata->nt_uring_has_cqe = uring_.has_cqe;
  skeleton->rodata->nt_uring_creds_bit = uring_.creds_bit;
  const bool per_cpu_allocator =
      kernel != nullptr && btf__find_by_name_kind(kernel.get(), "bpf_mem_alloc", BTF_KIND_STRUCT) > 0;

  auto& maps = skeleton->maps;
  int err = bpf_map__set_max_entries(maps.nt_rings, possible_cpus_ * kRingsPerCpu);
  err = err != 0 ? err : bpf_map__set_max_entries(maps.nt_stats, possible_cpus_);
  err = err != 0 ? err : bpf_map__set_max_entries(maps.nt_scratches, possible_cpus_ * kScratchPerCpu);
  err = err != 0 ? err : bpf_map__set_max_entries(maps.nt_socks, options_.max_sockets);
  if (options_.scope == CaptureScope::kHost) err = err != 0 ? err : bpf_map__set_max_entries(maps.nt_scope, 1);
  if (skeleton->rodata->nt_exit_tells_group_dead) err = err != 0 ? err : bpf_map__set_max_entries(maps.nt_exited, 1);
  // Since 6.1 hash entries come from per-CPU caches, safe in any context:
  // memory then grows with the connections there are, not with the bound.
  for (bpf_map* map :
       {maps.nt_socks, maps.nt_uring_small, maps.nt_uring_large, maps.nt_uring_connects, maps.nt_uring_accepts}) {
    if (per_cpu_allocator) err = err != 0 ? err : bpf_map__set_map_flags(map, BPF_F_NO_PREALLOC);
    // Kernels without it are older than the tracepoints of io_uring that tell the request.
    if (!per_cpu_allocator && map != maps.nt_socks) err = err != 0 ? err : bpf_map__set_max_entries(map, 1);
  }
  err = err != 0 ? err : bpf_map__set_autocreate(maps.nt_abi_pins, false);
  if (err != 0) return ErrnoStatus(-err, "capture: size the BPF maps");
  return skeleton;
}

Status CaptureImpl::Load(const KernelReport& report) {
  std::set<std::string> wanted;
  for (const HookPlan& plan : plans_) {
    if (plan.mechanism == Mechanism::kPerSyscall && !per_syscall_) continue;
    if (plan.mechanism == Mechanism::kSysExit && per_syscall_) continue;
    if (JudgeUringHook(uring_, plan.event).state != HookState::kAttached) continue;
    wanted.insert(plan.program);
  }
  {
    auto skeleton = OpenSkeleton(wanted);
    if (!skeleton.ok()) return std::move(skeleton).status();
    const int err = nt_probes__load(skeleton->get());
    if (err == 0) {
      skeleton_ = std::move(*skeleton);
      loaded_ = std::move(wanted);
      return OkStatus();
    }
    if (err == -EPERM) {
      return PermissionDenied(
          "capture: load the BPF object: EPERM (Operation not permitted); run as root or with CAP_BPF and CAP_PERFMON");
    }
    log::Warn(
        fmt::format("capture: the whole BPF object is refused ({}); trying its programs one by one", ErrnoName(-err)));
  }
  // One program this kernel refuses must not take the others with it.
  std::set<std::string> good;
  for (const std::string& program : wanted) {
    auto alone = OpenSkeleton({program});
    if (!alone.ok()) return std::move(alone).status();
    const int err = nt_probes__load(alone->get());
    if (err == 0) {
      good.insert(program);
    } else {
      refused_.emplace_back(program, fmt::format("the kernel refuses the program: {}", ErrnoName(-err)));
    }
  }
  if (good.empty()) {
    return FailedPrecondition(
        fmt::format("capture: kernel {} loads none of the {} programs ({}); see `nodetrail doctor` for what it grants",
                    report.release, wanted.size(), refused_.empty() ? "no reason given" : refused_.front().second));
  }
  auto skeleton = OpenSkeleton(good);
  if (!skeleton.ok()) return std::move(skeleton).status();
  if (const int err = nt_probes__load(skeleton->get()); err != 0) {
    return ErrnoStatus(-err, "capture: load the BPF object");
  }
  skeleton_ = std::move(*skeleton);
  loaded_ = std::move(good);
  return OkStatus();
}

// Makes a ring, gives it to the probes as their `index`-th, and maps it.
Result<RingView> CaptureImpl::MakeRing(uint32_t index, uint64_t bytes, const std::string& what) {
  if (bytes == 0) return RingView{};
  const size_t page = PageSize();
  const uint64_t size = std::bit_ceil(std::max<uint64_t>(bytes, page));
  UniqueFd ring(bpf_map_create(BPF_MAP_TYPE_RINGBUF, "nt_ring", 0, 0, static_cast<uint32_t>(size), nullptr));
  if (!ring.valid()) return ErrnoStatus(errno, fmt::format("capture: {} of {} bytes", what, size));
  const int fd = ring.get();
  if (bpf_map_update_elem(bpf_map__fd(skeleton_->maps.nt_rings), &index, &fd, BPF_ANY) != 0) {
    return ErrnoStatus(errno, fmt::format("capture: {}", what));
  }
  NT_ASSIGN_OR_RETURN(Mapping consumer, Map(fd, page, PROT_READ | PROT_WRITE, 0, what + ": consumer page"));
  NT_ASSIGN_OR_RETURN(Mapping producer, Map(fd, page + 2 * size, PROT_READ, static_cast<off_t>(page), what + ": data"));
  RingView view;
  view.consumer_pos = static_cast<uint64_t*>(consumer.at());
  view.producer_pos = static_cast<const uint64_t*>(producer.at());
  view.data = static_cast<const std::byte*>(producer.at()) + page;
  view.size = size;
  ring_mappings_.push_back(std::move(consumer));
  ring_mappings_.push_back(std::move(producer));
  ring_fds_.push_back(std::move(ring));
  return view;
}

Status CaptureImpl::MapRings() {
  const size_t page = PageSize();
  for (const uint32_t cpu : OnlineCpus(possible_cpus_)) {
    const uint32_t first = cpu * kRingsPerCpu;
    NT_ASSIGN_OR_RETURN(const RingView bulk,
                        MakeRing(first, options_.ring_bytes_per_cpu, fmt::format("ring of CPU {}", cpu)));
    NT_ASSIGN_OR_RETURN(const RingView reserve,
                        MakeRing(first + 1, options_.reserve_bytes_per_cpu, fmt::format("reserve of CPU {}", cpu)));
    merge_.Add(bulk, reserve);
  }
  NT_ASSIGN_OR_RETURN(stats_, Map(bpf_map__fd(skeleton_->maps.nt_stats),
                                  RoundUp(sizeof(nt_cpu_stats) * possible_cpus_, page), PROT_READ, 0, "counters"));
  NT_ASSIGN_OR_RETURN(self_, Map(bpf_map__fd(skeleton_->maps.nt_self), page, PROT_READ | PROT_WRITE, 0, "self table"));
  return OkStatus();
}

void CaptureImpl::Cover(const HookPlan& plan, HookState state, std::string why) {
  HookCoverage hook;
  hook.hook = plan.hook;
  hook.family = "tracepoint";
  hook.domain = plan.domain;
  hook.state = state;
  hook.why = std::move(why);
  hook.kinds = plan.kinds;
  coverage_.push_back(std::move(hook));
}

Status CaptureImpl::AttachOne(const HookPlan& plan, const Tracefs* tracefs) {
  bpf_program* program = bpf_object__find_program_by_name(skeleton_->obj, plan.program.c_str());
  if (program == nullptr) return Internal("not in the object");
  bpf_link* link = nullptr;
  if (plan.mechanism == Mechanism::kPerSyscall) {
    if (tracefs == nullptr) return FailedPrecondition("no tracefs");
    NT_ASSIGN_OR_RETURN(const uint64_t id, tracefs->SyscallEventId(plan.event));
    perf_event_attr attr{};
    attr.type = PERF_TYPE_TRACEPOINT;
    attr.size = sizeof attr;
    attr.config = id;
    // pid -1 on one CPU: the program hangs on the event, not on the CPU.
    UniqueFd event(static_cast<int>(::syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
    if (!event.valid()) return ErrnoStatus(errno, "perf_event_open");
    link = bpf_program__attach_perf_event(program, event.get());
    if (link != nullptr) event.Release();  // the link's now
  } else {
    link = bpf_program__attach(program);
  }
  if (link == nullptr) return ErrnoStatus(errno, "attach");
  const auto at = static_cast<size_t>(&plan - plans_.data());
  plan_of_hook_[plan.hook] = at;
  links_.Add(at, LinkPtr(link));
  return OkStatus();
}

Status CaptureImpl::Attach(const KernelReport& report) {
  std::optional<Tracefs> tracefs;
  std::string no_tracefs;
  if (per_syscall_) {
    auto opened = Tracefs::Open();
    if (opened.ok()) {
      tracefs.emplace(std::move(*opened));
    } else {
      no_tracefs = opened.status().message();
    }
  }
  size_t attached = 0;
  std::string first_refusal;
  std::map<std::string, Status> outcome;
  // Forks first: whoever is added to the scope afterwards has its children added too.
  for (const HookPlan& plan : plans_) {
    const auto refused = std::find_if(refused_.begin(), refused_.end(),
                                      [&plan](const auto& entry) { return entry.first == plan.program; });
    if (refused != refused_.end()) {
      Cover(plan, HookState::kAbsent, refused->second);
      if (first_refusal.empty()) first_refusal = fmt::format("{}: {}", plan.hook, refused->second);
      continue;
    }
    if (UringVerdict uring = JudgeUringHook(uring_, plan.event); uring.state != HookState::kAttached) {
      Cover(plan, uring.state, std::move(uring.why));
      continue;
    }
    if (loaded_.count(plan.program) == 0) {
      Cover(plan, HookState::kOff,
            per_syscall_ ? "per-syscall tracepoints are in use" : "the sys_enter and sys_exit switch is in use");
      continue;
    }
    auto known = outcome.find(plan.hook);  // a hook may serve several domains
    if (known == outcome.end()) {
      known = outcome.emplace(plan.hook, AttachOne(plan, tracefs ? &*tracefs : nullptr)).first;
    }
    const Status& status = known->second;
    if (status.code() == Code::kNotFound && plan.mechanism == Mechanism::kPerSyscall) {
      Cover(plan, HookState::kOff, "this kernel has no such system call");
      continue;
    }
    if (!status.ok()) {
      const std::string why(no_tracefs.empty() ? status.message() : std::string_view(no_tracefs));
      log::Warn(fmt::format("capture: {} isn't attached: {}", plan.hook, why));
      if (first_refusal.empty()) first_refusal = fmt::format("{}: {}", plan.hook, why);
      Cover(plan, HookState::kAbsent, why);
      continue;
    }
    ++attached;
    if (plan.mechanism == Mechanism::kSysExit && fell_back_) {
      Cover(plan, HookState::kFallback, fallback_why_);
    } else {
      Cover(plan, HookState::kAttached, "attached");
    }
  }
  if (attached == 0) {
    return FailedPrecondition(fmt::format("capture: kernel {} attaches no probe ({}); see `nodetrail doctor`",
                                          report.release, first_refusal));
  }
  CoverBlindSpots(report);
  return OkStatus();
}

// What no hook of this plan sees, said as plainly as what is attached.
void CaptureImpl::CoverBlindSpots(const KernelReport& report) {
  HookPlan compat;
  compat.hook = "syscall/compat32";
  compat.domain = "file";
  compat.kinds = {"file.open", "file.create", "file.denied",      "cred.change",    "net.connect",      "net.accept",
                  "net.bind",  "net.listen",  "net.unix_connect", "net.raw_socket", "net.packet_socket"};
  // Of what this kernel has at all: some are built without modules or kexec.
  for (const ActType& type : ActTypes()) {
    const bool seen = std::any_of(coverage_.begin(), coverage_.end(), [&](const HookCoverage& hook) {
      return (hook.state == HookState::kAttached || hook.state == HookState::kFallback) &&
             std::find(hook.kinds.begin(), hook.kinds.end(), type.kind) != hook.kinds.end();
    });
    if (seen) compat.kinds.emplace_back(type.kind);
  }
  if (!report.ia32_emulation) {
    Cover(compat, HookState::kOff, "this kernel runs no 32-bit system calls");
  } else if (per_syscall_) {
    Cover(compat, HookState::kAbsent,
          "32-bit system calls (int 0x80) pass by the per-syscall tracepoints; syscall_hooks: sys_exit sees them");
  } else {
    Cover(compat, HookState::kAttached, "seen by tp_btf/sys_exit");
  }
  for (HookCoverage& operation : CoverUring(uring_, coverage_)) coverage_.push_back(std::move(operation));
  HookPlan sockets;
  sockets.hook = "io_uring/sockets";
  sockets.domain = "network";
  sockets.kinds = {"net.bind", "net.listen", "net.unix_connect", "net.raw_socket", "net.packet_socket"};
  if (uring_.present) {
    Cover(sockets, HookState::kAbsent, "socket, bind, listen, and connect to unix sockets, submitted by io_uring");
  } else {
    Cover(sockets, HookState::kOff, "this kernel has no io_uring");
  }
}

Status CaptureImpl::Seed() {
  const int scope = bpf_map__fd(skeleton_->maps.nt_scope);
  return SeedProcessTree(
      options_.root_pid, [this](uint32_t tgid) { return TakeIntoScope(tgid); },
      [scope](uint32_t tgid) { bpf_map_delete_elem(scope, &tgid); });
}

Status CaptureImpl::Start(const KernelReport& report) {
  module_types_ = report.cap_sys_admin;
  per_syscall_ = options_.syscall_hooks == SyscallHooks::kPerSyscall ||
                 (options_.syscall_hooks == SyscallHooks::kAuto && report.syscall_hooks == "per_syscall");
  if (options_.syscall_hooks == SyscallHooks::kAuto && !per_syscall_) {
    fell_back_ = true;
    fallback_why_ = !report.tracefs.granted        ? report.tracefs.detail
                    : !report.task_pt_regs.granted ? report.task_pt_regs.detail
                                                   : report.syscall_tracepoint.detail;
  }
  {
    const std::unique_ptr<btf, void (*)(btf*)> kernel(btf__load_vmlinux_btf(), btf__free);
    uring_ = ReadUringFacts(kernel.get());
  }
  {
    const SkeletonPtr skeleton(nt_probes__open());
    if (skeleton == nullptr) return ErrnoStatus(errno, "capture: open the BPF object");
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton->obj) {
      auto plans = PlansOf(bpf_program__name(program), bpf_program__section_name(program));
      if (plans.empty()) return Internal(fmt::format("capture: program {} is in no plan", bpf_program__name(program)));
      std::move(plans.begin(), plans.end(), std::back_inserter(plans_));
    }
  }
  // Semantic hooks first, enters before exits: an exit without its enter would count a loss.
  std::stable_sort(plans_.begin(), plans_.end(), [](const HookPlan& a, const HookPlan& b) {
    const auto rank = [](const HookPlan& plan) {
      if (plan.mechanism == Mechanism::kSemantic) return plan.event == "sched_process_fork" ? 0 : 1;
      return plan.event.starts_with("sys_enter") ? 2 : 3;
    };
    return rank(a) < rank(b);
  });
  NT_RETURN_IF_ERROR(Load(report));
  NT_RETURN_IF_ERROR(MapRings());
  NT_RETURN_IF_ERROR(KnowOwn());
  NT_RETURN_IF_ERROR(Attach(report));
  if (options_.scope == CaptureScope::kProcessTree) NT_RETURN_IF_ERROR(Seed());
  return OkStatus();
}

Result<SourceCounters> CaptureImpl::ReadCounters() {
  SourceCounters counters;
  counters.cpus.resize(possible_cpus_);
  const auto* stats = static_cast<const nt_cpu_stats*>(stats_.at());
  for (uint32_t cpu = 0; cpu < possible_cpus_; ++cpu) {
    // The kernel adds while we read: word by word, so that no value is torn, and each before
    // the sequence number, so that none is younger than it.
    const auto* from = reinterpret_cast<const uint64_t*>(stats + cpu);
    auto* to = reinterpret_cast<uint64_t*>(&counters.cpus[cpu]);
    for (size_t i = 0; i < sizeof(nt_cpu_stats) / sizeof(uint64_t); ++i) {
      to[i] = __atomic_load_n(from + i, __ATOMIC_ACQUIRE);
    }
    counters.cpus[cpu].cpu_seq = __atomic_load_n(&stats[cpu].cpu_seq, __ATOMIC_RELAXED);
  }
  counters.bulk = merge_.BulkUse();
  counters.reserve = merge_.ReserveUse();
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton_->obj) {
    if (bpf_program__fd(program) < 0) continue;
    NT_ASSIGN_OR_RETURN(const bpf_prog_info info, InfoOf(program));
    counters.skipped_probes += info.recursion_misses;
  }
  return counters;
}

Status CaptureImpl::TakeIntoScope(uint32_t tgid) {
  if (options_.scope == CaptureScope::kHost) return OkStatus();
  const uint8_t one = 1;
  if (bpf_map_update_elem(bpf_map__fd(skeleton_->maps.nt_scope), &tgid, &one, BPF_ANY) == 0) return OkStatus();
  return ErrnoStatus(errno, fmt::format("capture: scope: process {}", tgid));
}

Result<std::vector<ProgramCost>> CaptureImpl::Costs() const {
  std::vector<ProgramCost> costs;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton_->obj) {
    ProgramCost& cost = costs.emplace_back();
    cost.program = bpf_program__name(program);
    cost.loaded = bpf_program__fd(program) >= 0;
    if (!cost.loaded) continue;
    NT_ASSIGN_OR_RETURN(const bpf_prog_info info, InfoOf(program));
    cost.verified_insns = info.verified_insns;
  }
  return costs;
}

Status CaptureImpl::MarkSelf(uint32_t tgid, nt_self_class cls) {
  if (tgid == 0 || cls <= NT_SELF_NONE || cls >= NT_SELF_MAX) {
    return InvalidArgument(fmt::format("capture: mark process {} as class {}", tgid, static_cast<int>(cls)));
  }
  if (cls == NT_SELF_CANARY) return TakeIntoScope(tgid);
  auto* slots = static_cast<SelfSlot*>(self_.at());
  SelfSlot* free_slot = nullptr;
  for (uint32_t i = 0; i < kSelfSlots; ++i) {
    const uint32_t held = __atomic_load_n(&slots[i].tgid, __ATOMIC_ACQUIRE);
    if (held == tgid) {
      marked_[tgid] = cls;
      __atomic_store_n(&slots[i].cls, cls, __ATOMIC_RELEASE);
      return OkStatus();
    }
    if (held == 0 && free_slot == nullptr) free_slot = &slots[i];
  }
  if (free_slot == nullptr) {
    return ResourceExhausted(fmt::format("capture: {} processes are marked as our own already", kSelfSlots));
  }
  marked_[tgid] = cls;
  __atomic_store_n(&free_slot->cls, cls, __ATOMIC_RELEASE);
  __atomic_store_n(&free_slot->tgid, tgid, __ATOMIC_RELEASE);
  return OkStatus();
}

std::vector<OwnObject> CaptureImpl::OwnObjects() const {
  std::vector<OwnObject> own;
  const auto add_map = [&own](int fd, const char* name) {
    bpf_map_info info{};
    uint32_t size = sizeof info;
    if (fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0) own.push_back({NT_OWN_MAP, info.id, name});
  };
  const bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton_->obj) add_map(bpf_map__fd(map), bpf_map__name(map));
  for (const UniqueFd& ring : ring_fds_) add_map(ring.get(), "nt_ring");
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton_->obj) {
    if (bpf_program__fd(program) < 0) continue;
    const Result<bpf_prog_info> info = InfoOf(program);
    if (info.ok()) own.push_back({NT_OWN_PROGRAM, info->id, bpf_program__name(program)});
  }
  return own;
}

// The probes compare by it; from then on nobody changes it, us included.
Status CaptureImpl::KnowOwn() {
  const int own = bpf_map__fd(skeleton_->maps.nt_own);
  for (const OwnObject& object : OwnObjects()) {
    const uint64_t key = (uint64_t{object.object} << 32U) | object.id;
    const uint8_t one = 1;
    if (bpf_map_update_elem(own, &key, &one, BPF_ANY) != 0) {
      return ErrnoStatus(errno, fmt::format("capture: note {} as ours", object.name));
    }
  }
  if (bpf_map_freeze(own) != 0) return ErrnoStatus(errno, "capture: freeze nt_own");
  return OkStatus();
}

// Of the hooks with these numbers; what they are called stands in the coverage.
Damage CaptureImpl::AttachAgain(const std::set<size_t>& plans, std::string_view what) {
  Damage damage{"link", std::string(what), {}, true};
  std::optional<Tracefs> tracefs;
  if (auto opened = Tracefs::Open(); opened.ok()) tracefs.emplace(std::move(*opened));
  for (const size_t at : plans) {
    const HookPlan& plan = plans_[at];
    const Status status = AttachOne(plan, tracefs ? &*tracefs : nullptr);
    damage.targets.push_back(plan.hook);
    damage.restored = damage.restored && status.ok();
    const std::lock_guard lock(coverage_mutex_);
    for (HookCoverage& hook : coverage_) {
      if (hook.hook != plan.hook || hook.state == HookState::kOff) continue;
      if (status.ok()) {
        hook.why = fmt::format("attached again: it was {}", what);
      } else {
        hook.state = HookState::kAbsent;
        hook.why = fmt::format("it was {}, and could not be attached again: {}", what, status.message());
      }
    }
  }
  return damage;
}

// A slot that we did not fill hides somebody; ours that was emptied lets the
// agent's own acts into the record, each a cause of the next.
std::optional<Damage> CaptureImpl::InspectSelf() {
  auto* slots = static_cast<SelfSlot*>(self_.at());
  const auto agent = static_cast<uint32_t>(::getpid());
  const bool expected = marked_.count(agent) != 0;
  bool altered = false;
  bool found = false;
  for (uint32_t i = 0; i < kSelfSlots; ++i) {
    const uint32_t held = __atomic_load_n(&slots[i].tgid, __ATOMIC_ACQUIRE);
    if (held == 0) continue;
    const auto ours = marked_.find(held);
    const bool right = ours != marked_.end() && __atomic_load_n(&slots[i].cls, __ATOMIC_ACQUIRE) == ours->second;
    found = found || (right && held == agent);
    if (right) continue;
    altered = true;
    __atomic_store_n(&slots[i].tgid, 0, __ATOMIC_RELEASE);
  }
  if (expected && !found) {
    altered = true;
    MarkSelf(agent, NT_SELF_AGENT).Ignore();
  }
  if (!altered) return std::nullopt;
  return Damage{"map", "altered", {"nt_self"}, true};
}

std::vector<Damage> CaptureImpl::Inspect(const std::vector<std::string>& deaf) {
  // Attached anew and still deaf: once more does not help soon.
  constexpr uint64_t kForceNs = 300'000'000'000;
  std::vector<Damage> damage;
  const std::vector<size_t> lost = links_.TakeLost();
  if (!lost.empty()) damage.push_back(AttachAgain({lost.begin(), lost.end()}, "closed"));
  const uint64_t now = clock_.BootNs();
  if (lost.empty() && !deaf.empty() && (forced_ns_ == 0 || now > forced_ns_ + kForceNs)) {
    forced_ns_ = now;
    std::set<size_t> again;
    for (const HookCoverage& hook : coverage_) {
      const auto at = plan_of_hook_.find(hook.hook);
      if (at != plan_of_hook_.end() && std::find(deaf.begin(), deaf.end(), hook.domain) != deaf.end()) {
        again.insert(at->second);
      }
    }
    links_.Detach(again);
    if (!again.empty()) damage.push_back(AttachAgain(again, "deaf"));
  }
  if (auto self = InspectSelf()) damage.push_back(*std::move(self));
  return damage;
}

}  // namespace

bool ParseSyscallHooks(const std::string& text, SyscallHooks* hooks) {
  if (text == "auto" || text.empty()) {
    *hooks = SyscallHooks::kAuto;
  } else if (text == "per_syscall") {
    *hooks = SyscallHooks::kPerSyscall;
  } else if (text == "sys_exit") {
    *hooks = SyscallHooks::kSysExit;
  } else {
    return false;
  }
  return true;
}

Result<std::unique_ptr<Capture>> Capture::Open(const CaptureOptions& options) {
  if (options.ring_bytes_per_cpu < kMinRing || options.ring_bytes_per_cpu > kMaxRing) {
    return InvalidArgument(fmt::format("capture: ring of {} bytes per CPU; give {} to {}", options.ring_bytes_per_cpu,
                                       kMinRing, kMaxRing));
  }
  if (options.reserve_bytes_per_cpu > kMaxRing) {
    return InvalidArgument(fmt::format("capture: reserve of {} bytes per CPU; give at most {}, or 0 for none",
                                       options.reserve_bytes_per_cpu, kMaxRing));
  }
  if (options.slack_ns > kMaxSlackNs) {
    return InvalidArgument(fmt::format("capture: slack of {} ns; give at most {}", options.slack_ns, kMaxSlackNs));
  }
  if (options.max_sockets == 0) return InvalidArgument("capture: max_sockets is 0");
  libbpf_set_print(PrintLibbpf);
  const KernelReport report = ProbeKernel();
  NT_RETURN_IF_ERROR(CheckKernel(report));
  if (options.syscall_hooks == SyscallHooks::kPerSyscall && !report.syscall_tracepoint.granted) {
    return FailedPrecondition(
        fmt::format("capture: syscall_hooks: per_syscall isn't granted here ({}); use auto or sys_exit",
                    report.syscall_tracepoint.detail));
  }
  const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) return ErrnoStatus(-cpus, "capture: number of CPUs");
  auto capture = std::make_unique<CaptureImpl>(options, static_cast<uint32_t>(cpus));
  NT_RETURN_IF_ERROR(capture->Start(report));
  return std::unique_ptr<Capture>(std::move(capture));
}

std::string BpfObjectSha256() {
  size_t size = 0;
  const void* bytes = nt_probes__elf_bytes(&size);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned digest_len = 0;
  NT_CHECK(EVP_Digest(bytes, size, digest, &digest_len, EVP_sha256(), nullptr) == 1);
  std::string text;
  for (unsigned i = 0; i < digest_len; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace nodetrail::agent
