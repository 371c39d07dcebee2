// SPDX-License-Identifier: Apache-2.0
//
// Rows 35 and 15: the collector, killed anywhere in its commit, its checkpoints,
// its tiles and its index, or refused memory; two real shippers go on sending
// meanwhile.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <deque>
#include <filesystem>

#include "agent/ship/shipper.h"
#include "nodetrail/base/clock.h"
#include "tests/fakes/batch_maker.h"
#include "tests/fakes/memory_source.h"
#include "tests/fakes/tcp_proxy.h"
#include "tests/fault/sweep.h"
#include "tests/fault/trail_facts.h"

namespace nodetrail::fault {
namespace {

using std::chrono::milliseconds;
using testing::BatchMaker;
using testing::MemorySource;

constexpr milliseconds kLimit{30'000};
// The workload crosses the 256th leaf, so that a full tile takes the place of
// partial ones.
constexpr int kLeavesBefore = 240;

// A shipper over batches in memory; knows what was acknowledged.
class Shipping {
 public:
  Shipping(const testing::TestPki& pki, const std::string& agent_id, int port, const Clock* clock,
           const std::vector<trail::SealedBatch>& batches)
      : total_(batches.size()) {
    for (const trail::SealedBatch& batch : batches) source_.Add(batch);
    agent::ShipOptions options;
    options.config.set_endpoint(fmt::format("127.0.0.1:{}", port));
    const TlsPaths tls = pki.Agent(agent_id);
    options.config.mutable_tls()->set_ca_file(tls.ca_file);
    options.config.mutable_tls()->set_cert_file(tls.cert_file);
    options.config.mutable_tls()->set_key_file(tls.key_file);
    options.config.set_window_batches(4);
    options.config.set_window_bytes(8U << 20);
    options.config.set_max_backoff_s(1);
    options.tenant = "default";
    options.agent_id = agent_id;
    options.initial_backoff = milliseconds(2);
    shipper_ = std::make_unique<agent::Shipper>(std::move(options), &source_, clock);
    shipper_->Start();
  }
  // How many of the batches, from the first on, are acknowledged.
  [[nodiscard]] size_t acked() const { return total_ - source_.size(); }
  [[nodiscard]] bool done() const { return source_.size() == 0; }
  [[nodiscard]] std::string error() const { return shipper_->Stats().last_error; }

 private:
  MemorySource source_;
  const size_t total_;
  std::unique_ptr<agent::Shipper> shipper_;
};

using Batches = std::vector<trail::SealedBatch>;

// What all points begin from, made once.
class Template {
 public:
  explicit Template(const Bench* bench) : bench_(bench), dir_(bench->Begin("template")) {
    WriteCollectorConfig(bench->pki(), dir_);
    BatchMaker first(bench->pki(), "web-1"), second(bench->pki(), "web-2");
    for (int i = 0; i < kLeavesBefore; ++i) before_.push_back(first.Next(1, 40));
    for (int i = 0; i < 10; ++i) web1_.push_back(first.Next(2, 500));
    web1_.push_back(first.NextWith([](trail::v1::BatchHeader* h) {
      h->set_type(trail::v1::BATCH_TYPE_CLEAN_SHUTDOWN);
      h->clear_next_key();
    }));
    first.NewEpoch(2, true);
    for (int i = 0; i < 8; ++i) web1_.push_back(first.Next(2, 500));
    for (int i = 0; i < 10; ++i) web2_.push_back(second.Next(1, 900));
    Fill();
  }
  [[nodiscard]] const std::string& dir() const { return dir_; }
  [[nodiscard]] const Batches& before() const { return before_; }
  [[nodiscard]] const Batches& web1() const { return web1_; }
  [[nodiscard]] const Batches& web2() const { return web2_; }
  [[nodiscard]] const std::string& wrong() const { return wrong_; }

 private:
  void Fill() {
    SystemClock clock;
    CollectorProcess collector(dir_, {});
    const int port = collector.Port();
    {
      const Shipping shipping(bench_->pki(), "web-1", port, &clock, before_);
      if (!testing::WaitUntil([&] { return shipping.done(); }, kLimit)) wrong_ = "template: " + shipping.error();
    }
    collector.child().Signal(SIGTERM);
    if (collector.child().Wait(kLimit) != 0) wrong_ = "template: " + Tail(dir_ + "/collector.log");
  }

  const Bench* bench_;
  std::string dir_;
  Batches before_, web1_, web2_;
  std::string wrong_;
};

class CollectorPoint {
 public:
  CollectorPoint(const Bench* bench, const Template* base, Fault fault, uint64_t point)
      : bench_(bench),
        base_(base),
        fault_(fault),
        point_(point),
        dir_(bench->Begin(fmt::format("collector-{}", point))) {}
  ~CollectorPoint() { bench_->Done(dir_, wrong_.empty()); }

  PointResult Run(uint64_t* points) {
    const auto began = std::chrono::steady_clock::now();
    PointResult result;
    result.point = point_;
    std::filesystem::copy(base_->dir() + "/trail", dir_ + "/trail", std::filesystem::copy_options::recursive);
    WriteCollectorConfig(bench_->pki(), dir_);
    const auto injection = MakeInjection(fault_, dir_ + "/page", point_);
    Both(injection.get(), &result);
    result.where = injection->Where(point_);
    if (points != nullptr) *points = injection->points();
    result.wrong = wrong_;
    result.took = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - began);
    return result;
  }

 private:
  void Wrong(std::string what) {
    if (wrong_.empty()) wrong_ = std::move(what);
  }

  void Both(Injection* injection, PointResult* result) {
    CollectorProcess first(dir_, injection->Environment(dir_ + "/trail"));
    int port = first.Port();
    injection->Mark(MARK_RUNNING);
    // Where nobody listens: the shippers begin, and find it later.
    testing::TcpProxy proxy(port != 0 ? port : 1);
    const Shipping web1(bench_->pki(), "web-1", proxy.port(), &clock_, base_->web1());
    const Shipping web2(bench_->pki(), "web-2", proxy.port(), &clock_, base_->web2());
    const auto drained = [&] { return web1.done() && web2.done(); };
    testing::WaitUntil([&] { return drained() || first.child().Wait(milliseconds(0)).has_value(); }, kLimit);
    if (drained()) first.child().Signal(SIGTERM);
    const std::optional<int> ended = first.child().Wait(kLimit);
    if (!injection->loaded()) return Wrong("the shim was not loaded");
    result->reached = injection->Reached(ended.value_or(-1));
    result->ended = injection->Ended(ended.value_or(-1));
    const std::string log = Tail(dir_ + "/collector.log");
    if (std::string says = injection->Judge(ended.value_or(-1), log); !says.empty()) {
      return Wrong(fmt::format("the collector: {}\n{}", says, log));
    }
    // Who acknowledged, had it on the disk: it is there now, before anything is sent again.
    JudgeAcked(web1.acked(), web2.acked());
    const std::string checkpoint = dir_ + "/trail/log/checkpoint", prior = dir_ + "/prior";
    std::error_code none;
    std::filesystem::copy_file(checkpoint, prior, none);

    CollectorProcess second(dir_, {});
    port = second.Port();
    if (port == 0) return Wrong("the collector does not start again: " + Tail(dir_ + "/collector.log"));
    proxy.set_target(port);
    if (!testing::WaitUntil(drained, kLimit)) {
      return Wrong(fmt::format("not drained: {} {}", web1.error(), web2.error()));
    }
    second.child().Signal(SIGTERM);
    if (const auto status = second.child().Wait(kLimit); status != 0) {
      return Wrong(fmt::format("the collector that came back ended with {}: {}", status.value_or(-1),
                               Tail(dir_ + "/collector.log")));
    }
    int verdict = 0;
    if (std::string says = VerifyTrailDir(*bench_, dir_ + "/trail", dir_, prior, &verdict); !says.empty()) {
      return Wrong(says);
    }
    if (verdict != 0) Wrong(fmt::format("the verdict is {}, not 0", verdict));
    JudgeWhole();
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_ + "/trail", none)) {
      if (entry.path().extension() == ".tmp") Wrong("left over: " + entry.path().string());
    }
  }

  void JudgeAcked(size_t acked1, size_t acked2) {
    const auto logged = ReadTrail(dir_ + "/trail");
    if (!logged.ok()) {
      // A torn tail is legal; a leaf without its body is not.
      return Wrong("after the kill: " + logged.status().ToString());
    }
    std::map<std::string, std::vector<std::string>> leaves;
    for (const LoggedBatch& batch : *logged) leaves[batch.agent_id].push_back(batch.leaf);
    Begins("web-1", leaves["web-1"], base_->before(), base_->web1(), acked1);
    Begins("web-2", leaves["web-2"], {}, base_->web2(), acked2);
  }

  // The log has `before`, then at least `acked` of `after`, byte for byte.
  void Begins(const std::string& agent, const std::vector<std::string>& leaves, const Batches& before,
              const Batches& after, size_t acked) {
    if (leaves.size() < before.size() + acked || leaves.size() > before.size() + after.size()) {
      return Wrong(
          fmt::format("{}: {} leaves in the log, {} were acknowledged", agent, leaves.size(), before.size() + acked));
    }
    for (size_t i = 0; i < leaves.size(); ++i) {
      const trail::SealedBatch& sent = i < before.size() ? before[i] : after[i - before.size()];
      if (leaves[i] != sent.leaf) return Wrong(fmt::format("{}: its leaf {} is not what was sent", agent, i));
    }
  }

  void JudgeWhole() { JudgeAcked(base_->web1().size(), base_->web2().size()); }

  const Bench* bench_;
  const Template* base_;
  const Fault fault_;
  const uint64_t point_;
  const std::string dir_;
  SystemClock clock_;
  std::string wrong_;
};

class CollectorSide final : public Side {
 public:
  CollectorSide(const Bench* bench, Fault fault) : Side(fault), bench_(bench), base_(bench) {}
  [[nodiscard]] std::string_view name() const override { return "collector"; }
  PointResult RunPoint(uint64_t point, uint64_t* points) override {
    if (!base_.wrong().empty()) {
      PointResult result;
      result.wrong = base_.wrong();
      return result;
    }
    return CollectorPoint(bench_, &base_, fault(), point).Run(points);
  }

 private:
  const Bench* bench_;
  const Template base_;
};

}  // namespace

std::unique_ptr<Side> MakeCollectorSide(const Bench* bench, Fault fault) {
  return std::make_unique<CollectorSide>(bench, fault);
}

}  // namespace nodetrail::fault
