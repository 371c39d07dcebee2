// SPDX-License-Identifier: Apache-2.0
//
// The agent without its probes: the real pipeline, sealer, spool and shipper,
// fed by records that a script makes. Every step is told on a socket before or
// after it is done, so that the truth outlives a SIGKILL.
//
//   nt_agent_core --dir DIR --ca FILE --identity BASE --tls BASE --endpoint H:P --log-policy FILE
//                 --channel FD --lives N [--groups N] [--key-fd FD] [--first-event N] [--clock-offset-s N]
//
// Told, one message each:
//   life EPOCH CONTINUED        a start; 1 if the epoch goes on
//   event N                     event N is about to be put into the ring
//   lost N                      so many were lost in this life
//   durable EPOCH SEQ HASH LOST AT_MOST    the batch is on disk; so many were lost in this life before the drain in
//                               which it was closed, and after it
//   sending EPOCH SEQ HASH      about to be sent
//   trim EPOCH SEQ              about to be deleted here: the collector has it
//   key                         with the memfd of the chain's key
// Asked, and answered by a message:
//   swap                        exchange the certificates, and cut the connection
//   hold                        cut the connection; nothing answers any more
//   go on                       the collector may be reached again
//
// Exit status: 0 done and all is acknowledged, 3 not acknowledged in time, 5 an error, which is on standard
// error; what the agent has of its own.
#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "agent/continuity.h"
#include "agent/pipeline/pipeline.h"
#include "agent/seal/eviction_signer.h"
#include "agent/seal/sealer.h"
#include "agent/sealing_sink.h"
#include "agent/ship/log_watch.h"
#include "agent/ship/shipper.h"
#include "agent/ship/spool_source.h"
#include "agent/spool/spool.h"
#include "nodetrail/base/last_words.h"
#include "nodetrail/base/log.h"
#include "tests/fakes/fake_names.h"
#include "tests/fakes/fake_proc_reader.h"
#include "tests/fakes/replay_source.h"
#include "tests/fault/shim/kill_page.h"

namespace nodetrail::agent {
namespace {

using std::chrono::milliseconds;

constexpr char kBootId[] = "6ce3a6df-0a4d-4508-af43-4e2ade0ef9d3";
constexpr uint64_t kSegmentBytes = 6000;
// While the collector is held back, so many batches with bodies of some KiB
// are more than the spool may hold: it gives bodies up.
constexpr uint64_t kSpoolBytes = 120'000;
constexpr int kHeldBatches = 32;
constexpr size_t kHeldPadding = 3600;  // bytes of each event's path
constexpr milliseconds kAckDeadline{20'000};
// A group is sealed, then acknowledged, then the next begins: so point N is
// nearly the same place in each run, and both threads still meet in a group.
constexpr int kGroupBatches[] = {1, 3, 2, 5, 1, 4};

// Told to the library that is preloaded, if one is.
void Mark(fault_mark mark) {
  static const auto tell = reinterpret_cast<void (*)(int)>(::dlsym(RTLD_DEFAULT, "nt_fault_mark"));
  if (tell != nullptr) tell(mark);
}

// Real time, which the script moves on so that batches close without waiting.
class StepClock final : public Clock {
 public:
  explicit StepClock(uint64_t offset_ns) : offset_ns_(offset_ns) {}
  [[nodiscard]] uint64_t BootNs() const override { return system_.BootNs() + offset_ns_; }
  [[nodiscard]] uint64_t WallNs() const override { return system_.WallNs() + offset_ns_; }
  void Advance(milliseconds by) { offset_ns_ += static_cast<uint64_t>(by.count()) * 1'000'000; }

 private:
  SystemClock system_;
  std::atomic<uint64_t> offset_ns_;
};

class Channel {
 public:
  explicit Channel(int fd) : fd_(fd) {}
  void Tell(const std::string& text, int with_fd = -1) const {
    iovec io{const_cast<char*>(text.data()), text.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    if (with_fd >= 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      cmsghdr* c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(c), &with_fd, sizeof(int));
    }
    NT_CHECK(::sendmsg(fd_, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
  }
  // Until the other end has done it.
  void Ask(const std::string& text) const {
    Tell(text);
    char answer[16];
    NT_CHECK(::recv(fd_, answer, sizeof(answer), 0) > 0);
  }

 private:
  int fd_;
};

// The spool as ship sees it, told.
class ToldSource final : public BatchSource {
 public:
  ToldSource(Spool* spool, const Channel* channel) : source_(spool), channel_(channel) {}

  std::optional<ShipBatch> Next() override {
    std::optional<ShipBatch> batch = source_.Next();
    if (batch) {
      channel_->Tell(
          fmt::format("sending {} {} {}", batch->position.epoch, batch->position.seq, trail::Hex(batch->batch_hash)));
    }
    return batch;
  }
  void Rewind() override {
    source_.Rewind();
    ++rewinds_;
  }
  // Connections begun.
  [[nodiscard]] uint64_t rewinds() const { return rewinds_; }
  std::optional<BatchPosition> Oldest() override { return source_.Oldest(); }
  Status Ack(const BatchPosition& through) override {
    channel_->Tell(fmt::format("trim {} {}", through.epoch, through.seq));
    const Status status = source_.Ack(through);
    if (status.ok()) Trimmed(through);
    return status;
  }
  Status ResumeAfter(const BatchPosition& through, const trail::Hash& batch_hash) override {
    const Status status = source_.ResumeAfter(through, batch_hash);
    if (status.ok()) {
      channel_->Tell(fmt::format("trim {} {}", through.epoch, through.seq));
      Trimmed(through);
    }
    return status;
  }

  // Pipeline thread: until everything up to `position` is trimmed.
  bool Await(const BatchPosition& position) {
    std::unique_lock lock(mutex_);
    return cv_.wait_for(lock, kAckDeadline, [&] { return trimmed_ >= position; });
  }

 private:
  void Trimmed(const BatchPosition& through) {
    const std::lock_guard lock(mutex_);
    trimmed_ = std::max(trimmed_, through);
    cv_.notify_all();
  }

  SpoolSource source_;
  const Channel* channel_;
  std::atomic<uint64_t> rewinds_ = 0;
  std::mutex mutex_;
  std::condition_variable cv_;
  BatchPosition trimmed_;
};

// The real sink, told.
class ToldSink final : public BatchSink {
 public:
  ToldSink(SealingSink* sink, Spool* spool, const Channel* channel) : sink_(sink), spool_(spool), channel_(channel) {}

  Status OnBatch(const BatchContent& batch) override {
    NT_RETURN_IF_ERROR(sink_->OnBatch(batch));
    const trail::ChainHead head = spool_->head();
    channel_->Tell(
        fmt::format("durable {} {} {} {} {}", head.epoch, head.seq, trail::Hex(head.batch_hash), lost_before, lost));
    last = {head.epoch, head.seq};
    ++batches;
    return OkStatus();
  }

  uint64_t lost = 0;         // the truth, in this life
  uint64_t lost_before = 0;  // of that, before the drain under way
  uint64_t batches = 0;
  BatchPosition last;

 private:
  SealingSink* sink_;
  Spool* spool_;
  const Channel* channel_;
};

class Core {
 public:
  explicit Core(std::map<std::string, std::string, std::less<>> args)
      : args_(std::move(args)), channel_(Int("channel")), clock_(Number("clock-offset-s") * 1'000'000'000) {
    event_ = Number("first-event");
  }

  int Run() {
    const uint64_t lives = Number("lives");
    for (uint64_t life = 0; life < lives; ++life) {
      const Status status = Life(life, lives);
      if (status.ok()) continue;
      std::fprintf(stderr, "nt_agent_core: life %llu: %s\n", static_cast<unsigned long long>(life),
                   status.ToString().c_str());
      return status.code() == Code::kDeadlineExceeded ? 3 : 5;
    }
    return 0;
  }

 private:
  std::string_view Text(std::string_view name) const {
    const auto it = args_.find(name);
    return it == args_.end() ? std::string_view() : it->second;
  }
  uint64_t Number(std::string_view name) const {
    const std::string_view text = Text(name);
    uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  }
  int Int(std::string_view name) const { return static_cast<int>(Number(name)); }

  ShipOptions Shipping(LogWatch* watch) const {
    ShipOptions options;
    options.config.set_endpoint(std::string(Text("endpoint")));
    options.config.mutable_tls()->set_ca_file(std::string(Text("ca")));
    options.config.mutable_tls()->set_cert_file(fmt::format("{}.pem", Text("tls")));
    options.config.mutable_tls()->set_key_file(fmt::format("{}.key", Text("tls")));
    options.config.set_window_batches(4);
    options.config.set_window_bytes(8U << 20);
    options.config.set_max_backoff_s(1);
    options.log_watch = watch;
    options.tenant = "default";
    options.agent_id = "web-1";
    options.initial_backoff = milliseconds(5);
    return options;
  }

  SealerOptions Sealing(const trail::ChainHead& head, bool hole, LogWatch* watch) {
    SealerOptions options;
    options.tenant = "default";
    options.agent_id = "web-1";
    options.identity_cert_file = fmt::format("{}.pem", Text("identity"));
    options.identity_key_file = fmt::format("{}.key", Text("identity"));
    options.boot_id = kBootId;
    options.spool_head = head;
    options.force_new_epoch = hole;
    options.clock = &clock_;
    options.seen = [watch] {
      const SeenCheckpoint seen = watch->seen();
      return SealedSeen{seen.size, seen.root};
    };
    // Of the first life only: later ones of this process had a clean shutdown before.
    if (const int key = Int("key-fd"); key > 0) options.inherited_key = UniqueFd(key);
    args_.erase("key-fd");
    return options;
  }

  // From start to clean shutdown, as the agent's composition root does it.
  Status Life(uint64_t life, uint64_t lives) {
    SpoolOptions spool_options;
    spool_options.dir = fmt::format("{}/spool", Text("dir"));
    spool_options.segment_bytes = kSegmentBytes;
    spool_options.max_bytes = kSpoolBytes;
    IdentityEvictionSigner signer(
        {fmt::format("{}.pem", Text("identity")), fmt::format("{}.key", Text("identity")), "", "default", "web-1"},
        &clock_);
    spool_options.signer = &signer;
    NT_ASSIGN_OR_RETURN(const std::unique_ptr<Spool> spool, Spool::Open(spool_options));
    const SpoolRecovery& found = spool->recovery();
    if (!found.missing.empty() || found.tampered != 0 || found.rotten_ranges != 0 || found.quarantined_files != 0) {
      return DataLoss(fmt::format("a SIGKILL must damage nothing: {}", fmt::join(found.messages, "; ")));
    }
    NT_ASSIGN_OR_RETURN(const std::string policy, ReadFile(std::string(Text("log-policy")), trail::kMaxPolicyBytes));
    NT_ASSIGN_OR_RETURN(const std::unique_ptr<LogWatch> watch,
                        LogWatch::Open(policy, fmt::format("{}/checkpoint", Text("dir"))));
    NT_ASSIGN_OR_RETURN(const std::unique_ptr<Sealer> sealer,
                        Sealer::Open(Sealing(found.head, !found.missing.empty(), watch.get())));
    channel_.Tell(fmt::format("life {} {}", sealer->epoch(), sealer->continued() ? 1 : 0));
    channel_.Tell("key", sealer->KeyFd());

    ToldSource told_source(spool.get(), &channel_);
    Shipper shipper(Shipping(watch.get()), &told_source, &clock_);
    SealingSink sealing(sealer.get(), spool.get(), &clock_, [&] { shipper.Notify(); });
    ToldSink sink(&sealing, spool.get(), &channel_);

    ReplaySource source;
    FakeProcReader proc;
    proc.Add(1, 0, 10'000'000, "/sbin/init");
    FakeNames names;
    Dependencies deps;
    deps.source = &source;
    deps.clock = &clock_;
    deps.proc = &proc;
    deps.names = &names;
    deps.sink = &sink;
    deps.capture.mutable_scope()->set_mode("host");
    deps.capture.set_drain_interval_ms(5);
    deps.batch.set_max_bytes(262144);
    deps.batch.set_max_age_ms(250);
    deps.batch.set_critical_max_age_ms(20);
    deps.batch.set_heartbeat_s(30);
    deps.boot_id = kBootId;
    deps.first_event_seq = sealer->next_event_seq();
    deps.host.set_hostname("web-1");
    deps.evicted = [&spool] {
      const SpoolStats stats = spool->stats();
      return std::pair(stats.evicted_batches, stats.evicted_events);
    };
    NT_ASSIGN_OR_RETURN(const std::unique_ptr<Pipeline> pipeline, Pipeline::Create(std::move(deps)));
    NT_RETURN_IF_ERROR(pipeline->Start(MakeStartInfo(found.head, sealer->continued(), "test", clock_)));
    for (const event::v1::AgentEvent& loss : SpoolLosses(found)) {
      NT_RETURN_IF_ERROR(pipeline->Report(event::v1::KIND_AGENT_LOSS, loss));
    }
    shipper.Start();
    Mark(MARK_RUNNING);

    const uint64_t groups = Number("groups") == 0 ? std::size(kGroupBatches) : Number("groups");
    for (uint64_t group = 0; group < groups; ++group) {
      for (int i = 0; i < kGroupBatches[group % std::size(kGroupBatches)]; ++i) {
        NT_RETURN_IF_ERROR(Batch(pipeline.get(), &source, &sink));
      }
      const bool held = group == 1 && life == 0 && groups > 2;
      if (held) NT_RETURN_IF_ERROR(Hold(told_source, pipeline.get(), &source, &sink));
      NT_RETURN_IF_ERROR(DeclareEvictions(spool.get(), pipeline.get()));
      if (!told_source.Await(sink.last)) return Status(Code::kDeadlineExceeded, "batches are not acknowledged");
      Mark(MARK_RUNNING);
      if (group == groups / 2 && life == 0) NT_RETURN_IF_ERROR(Swap(shipper));
    }
    if (life + 1 < lives) Mark(MARK_EPOCH);
    NT_RETURN_IF_ERROR(pipeline->Stop("test"));
    return shipper.Stop(kAckDeadline);
  }

  static Status Until(const std::function<bool()>& holds, const char* what) {
    const auto until = std::chrono::steady_clock::now() + kAckDeadline;
    while (!holds()) {
      if (std::chrono::steady_clock::now() > until) return Status(Code::kDeadlineExceeded, what);
      std::this_thread::sleep_for(milliseconds(1));
    }
    return OkStatus();
  }

  // More than the spool may hold, while nobody takes it.
  Status Hold(const ToldSource& told, Pipeline* pipeline, ReplaySource* source, ToldSink* sink) {
    const uint64_t rewinds = told.rewinds();
    channel_.Ask("hold");
    // What is on its way to the collector is not given up: until the next attempt, that is some of it.
    NT_RETURN_IF_ERROR(Until([&] { return told.rewinds() > rewinds; }, "the connection is not cut"));
    for (int i = 0; i < kHeldBatches; ++i) NT_RETURN_IF_ERROR(Batch(pipeline, source, sink, kHeldPadding));
    channel_.Ask("go on");
    return OkStatus();
  }

  // The certificates are exchanged; what follows goes over a connection with the new ones.
  Status Swap(const Shipper& shipper) {
    const uint64_t connects = shipper.Stats().connects;
    channel_.Ask("swap");
    NT_RETURN_IF_ERROR(Until([&] { return shipper.Stats().connects > connects; }, "no new connection"));
    Mark(MARK_RELOADED);
    return OkStatus();
  }

  static Status DeclareEvictions(Spool* spool, Pipeline* pipeline) {
    for (const SpoolEviction& e : spool->TakeEvictions()) {
      NT_RETURN_IF_ERROR(pipeline->Report(event::v1::KIND_AGENT_LOSS, LossOfBodies(e, spool->stats().level)));
    }
    return OkStatus();
  }

  // Bytes that don't compress well, the same for the same event.
  [[nodiscard]] std::string Padding(size_t bytes) const {
    std::string out;
    for (int i = 0; out.size() < bytes; ++i) out += trail::Hex(trail::Sha256Of({fmt::format("{} {}", event_, i)}));
    return out.substr(0, bytes);
  }

  // One batch: one to three events, sometimes with losses between them.
  Status Batch(Pipeline* pipeline, ReplaySource* source, ToldSink* sink, size_t padding = 0) {
    const uint64_t before = sink->batches;
    const uint64_t events = 1 + event_ % 3;
    for (uint64_t i = 0; i < events; ++i) {
      ++event_;
      channel_.Tell(fmt::format("event {}", event_));
      nt_file_open body{};
      body.ret = 3;
      body.open_flags = 0101;
      body.created = 1;
      body.syscall_nr = 257;
      body.file.flags = NT_FILE_VALID;
      body.file.ino = event_;
      std::string path = fmt::format("/srv/event/{}", event_);
      if (padding > 0) path += "/" + Padding(padding);
      source->Push(RecordBuilder(NT_FILE_OPEN)
                       .Time(clock_.BootNs())
                       .Task(TestTask(1, 10'000'000, 0, 0, "init"))
                       .Body(body)
                       .Path(NT_TAIL_PATH, path)
                       .Tail(NT_TAIL_USER_PATH, path));
    }
    if (event_ % 5 < 2) {
      const uint64_t lost = 1 + event_ % 4;
      source->Lose(NT_FILE_OPEN, lost, 1);
      sink->lost += lost;
      channel_.Tell(fmt::format("lost {}", sink->lost));
    }
    NT_RETURN_IF_ERROR(pipeline->Tick());
    sink->lost_before = sink->lost;
    for (int i = 0; sink->batches == before; ++i) {
      if (i == 100) return Internal("no batch closes");
      clock_.Advance(milliseconds(100));
      NT_RETURN_IF_ERROR(pipeline->Tick());
    }
    return OkStatus();
  }

  std::map<std::string, std::string, std::less<>> args_;
  const Channel channel_;
  StepClock clock_;
  uint64_t event_ = 0;
};

}  // namespace
}  // namespace nodetrail::agent

int main(int argc, char** argv) {
  std::map<std::string, std::string, std::less<>> args;
  for (int i = 1; i + 1 < argc; i += 2) args[std::string(argv[i]).substr(2)] = argv[i + 1];
  nodetrail::InstallLastWords("nt_agent_core");
  NT_CHECK(nodetrail::InstallOpenSslLastWords());
  nodetrail::log::Init("nt_agent_core", nodetrail::log::Level::kInfo, false);
  return nodetrail::agent::Core(std::move(args)).Run();
}
