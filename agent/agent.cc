// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stop_token>
#include <system_error>
#include <thread>
#include <utility>

#include "agent/attribute/proc_reader.h"
#include "agent/capture/capture.h"
#include "agent/continuity.h"
#include "agent/enrich/host.h"
#include "agent/enrich/nss_name_resolver.h"
#include "agent/health/status_document.h"
#include "agent/health/status_socket.h"
#include "agent/own_paths.h"
#include "agent/pipeline/pipeline.h"
#include "agent/seal/eviction_signer.h"
#include "agent/seal/sealer.h"
#include "agent/sealing_sink.h"
#include "agent/selftest/canary.h"
#include "agent/selftest/selftest.h"
#include "agent/ship/log_watch.h"
#include "agent/ship/shipper.h"
#include "agent/ship/spool_source.h"
#include "agent/spool/spool.h"
#include "nodetrail/base/log.h"
#include "nodetrail/base/version.h"

namespace nodetrail::agent {
namespace {

using std::chrono::milliseconds;

constexpr char kRatchetFdName[] = "nodetrail-ratchet";
constexpr char kSignalsFdName[] = "nodetrail-signals";
constexpr size_t kMaxProgramBytes = 512U << 20;
// SIGTERM to exit is promised within 10 s: so long may the last batch wait for
// room in the spool, and so long may shipping go on after that. The kernel
// needs up to 4 s more to let go of the probes.
constexpr milliseconds kStopDrain{3000};
constexpr milliseconds kStopShip{2500};
// The pipeline may be late by this before the watchdog is no longer fed.
constexpr uint64_t kStalledNs = 10'000'000'000;

// Between two statements about bodies that the spool gave up.
constexpr std::chrono::seconds kDeclareInterval{5};

IdentityOptions IdentityFrom(const config::v1::AgentConfig& config) {
  return {config.identity().cert_file(), config.identity().key_file(), config.identity().key_uri(), config.tenant(),
          config.agent_id()};
}

// Over the executable and the probes inside it: which program wrote the trail.
Result<trail::Hash> ProgramHash() {
  NT_ASSIGN_OR_RETURN(const std::string exe, ReadFile("/proc/self/exe", kMaxProgramBytes));
  return trail::Sha256Of({exe, BpfObjectSha256()});
}

Result<std::string> BootId() {
  NT_ASSIGN_OR_RETURN(std::string id, ReadFile("/proc/sys/kernel/random/boot_id", 64));
  while (!id.empty() && id.back() == '\n') id.pop_back();
  if (id.size() != 36) return FailedPrecondition("/proc/sys/kernel/random/boot_id: not a UUID");
  return id;
}

// nodetrail-canary beside this program, else where the package puts it.
std::string CanaryProgram() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path beside = self.parent_path() / "nodetrail-canary";
  if (!error && std::filesystem::exists(beside, error)) return beside.string();
  return "/usr/libexec/nodetrail/nodetrail-canary";
}

}  // namespace

class Agent::Impl {
 public:
  explicit Impl(AgentOptions options) : options_(std::move(options)), config_(options_.config) {}

  Failure Open();
  Failure Run(int signal_fd);

 private:
  Status OpenSpool();
  Status OpenLogWatch();
  Status OpenSealer();
  Status OpenCapture();
  void KeepLastSignals();
  Status OpenPipeline();
  void PipelineThread(const std::stop_token& stop);
  // Ends the run from any thread; the first reason stays.
  void Fail(ExitCode code, const Status& status);
  Status DeclareSpoolLosses(bool now);
  Status StartPipeline();
  void GiveKeyToServiceManager();
  [[nodiscard]] std::string StatusDocument() const;
  void FeedWatchdog();
  Failure Shutdown();

  AgentOptions options_;
  const config::v1::AgentConfig& config_;
  SystemClock clock_;
  std::string boot_id_;
  uint64_t started_boot_ns_ = 0;

  // In the order of the pipeline; destroyed the other way round.
  std::unique_ptr<IdentityEvictionSigner> eviction_signer_;
  std::unique_ptr<Spool> spool_;
  std::unique_ptr<LogWatch> log_watch_;  // null without a log policy
  std::unique_ptr<Sealer> sealer_;
  std::unique_ptr<Capture> capture_;
  std::unique_ptr<ProcReader> proc_;
  std::unique_ptr<NssNameResolver> names_;
  std::unique_ptr<SpoolSource> spool_source_;
  std::unique_ptr<Shipper> shipper_;
  std::unique_ptr<SealingSink> sink_;
  std::unique_ptr<Canary> canary_;
  std::unique_ptr<Selftest> selftest_;  // null where it is off
  std::unique_ptr<Pipeline> pipeline_;
  std::unique_ptr<StatusSocket> status_socket_;
  int stored_key_fd_ = -1;
  std::vector<std::vector<std::byte>> last_signals_;  // to the run before
  uint64_t slack_ns_ = 0;                             // what the capture holds back

  UniqueFd failed_event_;  // readable once Fail() was called
  std::mutex failure_mutex_;
  std::optional<Failure> failure_;  // guarded by failure_mutex_

  // Boot time up to which every record has been handed over.
  std::atomic<uint64_t> drained_to_boot_ns_{0};
  std::atomic<uint64_t> last_tick_boot_ns_{0};
  std::chrono::steady_clock::time_point declare_at_{};  // pipeline thread
  std::string stop_reason_;                             // set before the pipeline thread is asked to stop
  Status stop_status_;                                  // of Pipeline::Stop; read after the join
};

Status Agent::Impl::OpenSpool() {
  SpoolOptions options;
  options.dir = config_.state_dir() + "/spool";
  options.max_bytes = config_.spool().max_bytes();
  options.segment_bytes = config_.spool().segment_bytes();
  eviction_signer_ = std::make_unique<IdentityEvictionSigner>(IdentityFrom(config_), &clock_);
  options.signer = eviction_signer_.get();
  NT_ASSIGN_OR_RETURN(spool_, Spool::Open(options));
  for (const std::string& message : spool_->recovery().messages) log::Warn(message);
  return OkStatus();
}

// Without a policy nothing is asked of the log.
Status Agent::Impl::OpenLogWatch() {
  const std::string& file = config_.ship().log_policy_file();
  if (file.empty()) return OkStatus();
  NT_ASSIGN_OR_RETURN(const std::string policy, ReadFile(file, trail::kMaxPolicyBytes));
  auto watch = LogWatch::Open(policy, config_.state_dir() + "/checkpoint");
  if (!watch.ok()) return Annotate(watch.status(), fmt::format("ship.log_policy_file: {}", file));
  log_watch_ = *std::move(watch);
  return OkStatus();
}

Status Agent::Impl::OpenSealer() {
  SealerOptions options;
  options.tenant = config_.tenant();
  options.agent_id = config_.agent_id();
  options.identity_cert_file = config_.identity().cert_file();
  options.identity_key_file = config_.identity().key_file();
  options.identity_key_uri = config_.identity().key_uri();
  options.ratchet_alg = config_.identity().ratchet_algorithm() == "ecdsa-p256" ? trail::v1::SIG_ALG_ECDSA_P256_SHA256
                                                                               : trail::v1::SIG_ALG_ED25519;
  options.boot_id = boot_id_;
  options.config_sha256 = options_.config_sha256;
  NT_ASSIGN_OR_RETURN(options.program_sha256, ProgramHash());
  options.spool_head = spool_->recovery().head;
  // Only a later epoch can vouch for what follows a hole, and declare the hole.
  options.force_new_epoch = !spool_->recovery().missing.empty();
  options.zstd_level = config_.batch().zstd_level();
  options.clock = &clock_;
  if (log_watch_)
    options.seen = [watch = log_watch_.get()] {
      const SeenCheckpoint seen = watch->seen();
      return SealedSeen{seen.size, seen.root};
    };
  for (InheritedFd& inherited : options_.inherited) {
    if (inherited.name == kRatchetFdName) options.inherited_key = std::move(inherited.fd);
  }
  NT_ASSIGN_OR_RETURN(sealer_, Sealer::Open(std::move(options)));
  return OkStatus();
}

Status Agent::Impl::OpenCapture() {
  CaptureOptions options;
  options.ring_bytes_per_cpu = config_.capture().ring_bytes_per_cpu();
  options.reserve_bytes_per_cpu = config_.capture().reserve_bytes_per_cpu();
  NT_CHECK(ParseSyscallHooks(config_.capture().syscall_hooks(), &options.syscall_hooks));
  if (config_.capture().scope().mode() == "process_tree") {
    options.scope = CaptureScope::kProcessTree;
    options.root_pid = config_.capture().scope().root_pid();
  }
  options.signals_cross_uid = config_.capture().signals() == "cross_uid";
  slack_ns_ = options.slack_ns;
  NT_ASSIGN_OR_RETURN(capture_, Capture::Open(options));
  KeepLastSignals();
  return capture_->MarkSelf(static_cast<uint32_t>(::getpid()), NT_SELF_AGENT);
}

// Who kills the agent can't be told by it any more. The probes keep his record
// in a map, and the service manager keeps the map until the next start.
void Agent::Impl::KeepLastSignals() {
  for (const InheritedFd& inherited : options_.inherited) {
    if (inherited.name != kSignalsFdName) continue;
    auto signals = ReadLastSignals(inherited.fd.get());
    if (signals.ok()) {
      last_signals_ = *std::move(signals);
    } else {
      log::Warn(fmt::format("who signalled the run before is not known: {}", signals.status().message()));
    }
  }
  if (!ServiceNotifier::Present()) return;
  ServiceNotifier::RemoveFds(kSignalsFdName).Ignore();
  if (Status s = ServiceNotifier::StoreFd(kSignalsFdName, capture_->LastSignalsFd()); !s.ok()) {
    log::Warn(fmt::format("the service manager does not keep the last signals, a SIGKILL will have no sender: {}",
                          s.message()));
  }
}

Status Agent::Impl::OpenPipeline() {
  NT_ASSIGN_OR_RETURN(proc_, OpenProcReader("/proc"));
  NT_ASSIGN_OR_RETURN(names_, NssNameResolver::Create());
  spool_source_ = std::make_unique<SpoolSource>(spool_.get());
  ShipOptions ship;
  ship.config = config_.ship();
  ship.tenant = config_.tenant();
  ship.agent_id = config_.agent_id();
  ship.log_watch = log_watch_.get();
  shipper_ = std::make_unique<Shipper>(std::move(ship), spool_source_.get(), &clock_);
  sink_ = std::make_unique<SealingSink>(
      sealer_.get(), spool_.get(), &clock_,
      [this] {
        shipper_->Notify();
        GiveKeyToServiceManager();
      },
      config_.spool().on_full() == "halt");

  Dependencies deps;
  deps.source = capture_.get();
  deps.clock = &clock_;
  deps.proc = proc_.get();
  deps.names = names_.get();
  deps.sink = sink_.get();
  if (const uint64_t seconds = config_.capture().selftest_interval_s(); seconds != 0) {
    canary_ = MakeCanary(CanaryProgram(), config_.state_dir());
    selftest_ = std::make_unique<Selftest>(canary_.get(), capture_.get(), seconds * 1'000'000'000);
    deps.selftest = selftest_.get();
  }
  deps.own.tgid = static_cast<uint32_t>(::getpid());
  deps.own.paths = OwnPathsOf(config_, options_.config_file, CanaryProgram());
  deps.own.objects = capture_->OwnObjects();
  deps.own.thread = [](uint32_t tid) { return ::access(fmt::format("/proc/self/task/{}", tid).c_str(), F_OK) == 0; };
  deps.capture = config_.capture();
  deps.batch = config_.batch();
  deps.redact = config_.redact();
  deps.boot_id = boot_id_;
  deps.first_event_seq = sealer_->next_event_seq();
  deps.host = ReadHost({config_.labels().begin(), config_.labels().end()}, kVersion);
  deps.spool_bytes = [this] { return spool_->stats().pending_bytes; };
  deps.evicted = [this] {
    const SpoolStats stats = spool_->stats();
    return std::pair(stats.evicted_batches, stats.evicted_events);
  };
  NT_ASSIGN_OR_RETURN(pipeline_, Pipeline::Create(std::move(deps)));
  return OkStatus();
}

Failure Agent::Impl::Open() {
  started_boot_ns_ = clock_.BootNs();
  failed_event_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!failed_event_.valid()) return {ExitCode::kInternal, ErrnoStatus(errno, "eventfd")};
  Result<std::string> boot_id = BootId();
  if (!boot_id.ok()) return {ExitCode::kKernelUnsupported, boot_id.status()};
  boot_id_ = *boot_id;
  if (Status s = OpenSpool(); !s.ok()) return {ExitCode::kStorage, s};
  if (Status s = OpenLogWatch(); !s.ok()) return {ExitCode::kConfig, s};
  if (Status s = OpenSealer(); !s.ok()) return {ExitCode::kKeys, s};
  if (Status s = OpenCapture(); !s.ok()) return {ExitCode::kKernelUnsupported, s};
  if (Status s = OpenPipeline(); !s.ok()) return {ExitCode::kConfig, s};
  Result<std::unique_ptr<StatusSocket>> socket = StatusSocket::Open(config_.status_socket());
  if (!socket.ok()) return {ExitCode::kConfig, socket.status()};
  status_socket_ = *std::move(socket);
  return {};
}

void Agent::Impl::Fail(ExitCode code, const Status& status) {
  const std::lock_guard lock(failure_mutex_);
  if (failure_) return;
  failure_ = Failure{code, status};
  const uint64_t one = 1;
  // An eventfd takes 8 bytes or nothing; nothing means that it is readable already.
  if (::write(failed_event_.get(), &one, sizeof(one)) < 0) return;
}

// What the spool could not read, and what it gave up to make room, as events.
// Not for each body, since each such event is itself a batch that wants room.
Status Agent::Impl::DeclareSpoolLosses(bool now) {
  for (const SpoolUnread& range : shipper_->TakeUnread()) {
    NT_RETURN_IF_ERROR(pipeline_->Report(event::v1::KIND_AGENT_LOSS, LossOfUnread(range)));
  }
  const auto at = std::chrono::steady_clock::now();
  if (!now && at < declare_at_) return OkStatus();
  declare_at_ = at + kDeclareInterval;
  for (const SpoolEviction& e : spool_->TakeEvictions()) {
    NT_RETURN_IF_ERROR(pipeline_->Report(event::v1::KIND_AGENT_LOSS, LossOfBodies(e, spool_->stats().level)));
  }
  return OkStatus();
}

// The descriptor is the same for the life of an epoch; its content follows.
void Agent::Impl::GiveKeyToServiceManager() {
  const int fd = sealer_->KeyFd();
  if (fd == stored_key_fd_ || !ServiceNotifier::Present()) return;
  if (stored_key_fd_ >= 0) ServiceNotifier::RemoveFds(kRatchetFdName).Ignore();
  stored_key_fd_ = fd;
  if (fd < 0) return;
  if (Status s = ServiceNotifier::StoreFd(kRatchetFdName, fd); !s.ok()) {
    log::Warn(fmt::format("the service manager does not keep the chain's key, a restart will begin a new epoch: {}",
                          s.message()));
  }
}

Status Agent::Impl::StartPipeline() {
  StartInfo info = MakeStartInfo(spool_->recovery().head, sealer_->continued(), kVersion, clock_);
  info.last_signals = std::move(last_signals_);
  NT_RETURN_IF_ERROR(pipeline_->Start(info));
  for (const event::v1::AgentEvent& loss : SpoolLosses(spool_->recovery())) {
    NT_RETURN_IF_ERROR(pipeline_->Report(event::v1::KIND_AGENT_LOSS, loss));
  }
  return OkStatus();
}

void Agent::Impl::PipelineThread(const std::stop_token& stop) {
  const auto interval = milliseconds(config_.capture().drain_interval_ms());
  auto next = std::chrono::steady_clock::now() + milliseconds(config_.capture().test_hold_ms());
  while (!stop.stop_requested()) {
    std::this_thread::sleep_until(next);
    const uint64_t began = clock_.BootNs();
    if (Status s = pipeline_->Tick(); !s.ok()) return Fail(ExitCode::kStorage, s);
    last_tick_boot_ns_.store(clock_.BootNs(), std::memory_order_relaxed);
    if (!sink_->refusing()) drained_to_boot_ns_.store(began - slack_ns_, std::memory_order_relaxed);
    if (Status s = DeclareSpoolLosses(false); !s.ok()) return Fail(ExitCode::kStorage, s);
    next = std::max(next + interval, std::chrono::steady_clock::now());
  }
  // What can't be stored now, the next start finds in the counters.
  DeclareSpoolLosses(true).Ignore();
  const auto give_up = std::chrono::steady_clock::now() + kStopDrain;
  while (true) {
    stop_status_ = pipeline_->Stop(stop_reason_);
    const bool later = stop_status_.code() == Code::kResourceExhausted || stop_status_.code() == Code::kUnavailable;
    if (!later || std::chrono::steady_clock::now() >= give_up) return;
    std::this_thread::sleep_for(milliseconds(100));
  }
}

std::string Agent::Impl::StatusDocument() const {
  StatusFacts facts;
  facts.config = &config_;
  const std::vector<HookCoverage> coverage = capture_->CoverageCopy();
  facts.coverage = &coverage;
  facts.pipeline = pipeline_->Stats();
  if (selftest_) facts.selftest = selftest_->View();
  facts.spool = spool_->stats();
  facts.ship = shipper_->Stats();
  facts.durable = sink_->Position();
  facts.refusing = sink_->refusing();
  facts.drained_to_boot_ns = drained_to_boot_ns_;
  facts.now_wall_ns = clock_.WallNs();
  facts.uptime_ns = clock_.BootNs() - started_boot_ns_;
  return RenderStatus(facts);
}

void Agent::Impl::FeedWatchdog() {
  const bool stalled = clock_.BootNs() - last_tick_boot_ns_.load(std::memory_order_relaxed) > kStalledNs;
  if (stalled) {
    log::Error("the pipeline has not turned for 10 s; the service manager's watchdog is no longer fed");
    return;
  }
  ServiceNotifier::Watchdog().Ignore();
  const PipelineStats stats = pipeline_->Stats();
  ServiceNotifier::SetStatus(fmt::format("{} events, {} lost, {} batches wait for the collector", stats.events_total,
                                         stats.lost_total, spool_->stats().batches_pending))
      .Ignore();
}

Failure Agent::Impl::Run(int signal_fd) {
  last_tick_boot_ns_ = clock_.BootNs() + uint64_t{config_.capture().test_hold_ms()} * 1'000'000;
  // First the pipeline, which marks the product's own processes, then the ship
  // thread: a collector on this node would else be seen accepting our connection.
  if (Status s = StartPipeline(); !s.ok()) return {ExitCode::kStorage, s};
  shipper_->Start();
  std::jthread pipeline([this](const std::stop_token& stop) { PipelineThread(stop); });
  log::Info(fmt::format("observing {}; epoch {}; shipping to {}",
                        config_.capture().scope().mode() == "process_tree"
                            ? fmt::format("process {} and what it starts", config_.capture().scope().root_pid())
                            : "the whole host",
                        sealer_->epoch(), shipper_->Stats().endpoint));
  ServiceNotifier::Ready("observing").Ignore();

  const auto period = ServiceNotifier::WatchdogInterval().value_or(std::chrono::seconds(20)) / 2;
  const int period_ms = static_cast<int>(std::chrono::duration_cast<milliseconds>(period).count());
  auto next_feed = std::chrono::steady_clock::now();
  bool running = true;
  while (running) {
    pollfd fds[3] = {{signal_fd, POLLIN, 0}, {failed_event_.get(), POLLIN, 0}, {status_socket_->fd(), POLLIN, 0}};
    ::poll(fds, 3, period_ms);
    if (fds[2].revents != 0) status_socket_->Answer(StatusDocument());
    if (fds[1].revents != 0) {
      stop_reason_ = "a stage failed";
      running = false;
    }
    signalfd_siginfo received{};
    if (fds[0].revents != 0 && ::read(signal_fd, &received, sizeof(received)) == sizeof(received)) {
      if (received.ssi_signo == SIGHUP) {
        log::Info("SIGHUP: certificates are read anew at each connection; for a new configuration restart the agent");
      } else {
        stop_reason_ =
            fmt::format("signal {} from pid {}, uid {}", received.ssi_signo, received.ssi_pid, received.ssi_uid);
        running = false;
      }
    }
    if (std::chrono::steady_clock::now() >= next_feed) {
      FeedWatchdog();
      next_feed = std::chrono::steady_clock::now() + period;
    }
  }
  log::Info(fmt::format("stopping: {}", stop_reason_));
  ServiceNotifier::Stopping(stop_reason_).Ignore();
  pipeline.request_stop();
  pipeline.join();
  return Shutdown();
}

Failure Agent::Impl::Shutdown() {
  const Status shipped = shipper_->Stop(kStopShip);
  if (!shipped.ok()) {
    log::Warn(fmt::format("{} batches stay in the spool for the next start", spool_->stats().batches_pending));
  }
  // Met while the last batches were sent: nothing more can be sealed. The log shows the hole.
  for (const SpoolUnread& range : shipper_->TakeUnread()) {
    log::Error(fmt::format("{}; the trail has a hole there", LossOfUnread(range).reason()));
  }
  {
    const std::lock_guard lock(failure_mutex_);
    if (failure_) return *failure_;
  }
  if (!stop_status_.ok()) return {ExitCode::kStorage, Annotate(stop_status_, "the last batch could not be stored")};
  log::Info("stopped in order");
  return {};
}

Agent::Agent(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Agent::~Agent() = default;

std::unique_ptr<Agent> Agent::Create(AgentOptions options, Failure* failure) {
  auto impl = std::make_unique<Impl>(std::move(options));
  *failure = impl->Open();
  if (!failure->status.ok()) return nullptr;
  return std::unique_ptr<Agent>(new Agent(std::move(impl)));
}

Failure Agent::Run(int signal_fd) { return impl_->Run(signal_fd); }

}  // namespace nodetrail::agent
