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
#include <nlohmann/json.hpp>

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

const std::vector<Phase>& CollectorPhases() {
  static const std::vector<Phase> phases = {
      {"leaves", " log/00000"},
      {"log file rotation", " log/000001.leaves", 0, 2},
      {"bodies", " bodies/"},
      {"checkpoint", " log/checkpoint"},
      {"tiles", " log/tile/"},
      {"index", " index/"},
      {"revocations exchanged", "", MARK_RELOADED},
      {"token", " enrol/", MARK_ENROL},
      {"enrolment", "", MARK_ENROL},
  };
  return phases;
}

// An agent that is enrolled as its operator would, with the programs.
class Enrolling {
 public:
  Enrolling(const Bench* bench, std::string dir, int port) : bench_(bench), dir_(std::move(dir)), port_(port) {}

  static constexpr char kAgent[] = "web-3";

  // The same token and the same keys as at the last try, as far as there are.
  bool Try() {
    if (token_.empty() && !MakeToken()) return false;
    Child enrol({Binary("nodetrail-agent"), "enrol", "--collector", fmt::format("localhost:{}", port_), "--token-file",
                 dir_ + "/token", "--ca", bench_->pki().File("tls-ca/ca.pem"), "--out", dir_ + "/enrolled",
                 "--agent-id", kAgent},
                dir_ + "/enrol.log");
    return enrol.Wait(kLimit) == 0;
  }
  [[nodiscard]] std::string Says() const { return Tail(dir_ + "/enrol.log"); }

 private:
  bool MakeToken() {
    const std::string file = dir_ + "/token.json";
    std::filesystem::remove(file);
    Child create({Binary("nodetrail-collector"), "--config", dir_ + "/collector.yaml", "token", "create", "--agent",
                  kAgent, "--json"},
                 file);
    if (create.Wait(kLimit) != 0) return false;
    const auto made = nlohmann::json::parse(ReadFile(file, 1 << 16).value_or(std::string()), nullptr, false);
    if (!made.is_object()) return false;
    token_ = made.value("token", "");
    return WriteFileAtomically(dir_ + "/token", token_, 0600).ok();
  }

  const Bench* bench_;
  const std::string dir_;
  const int port_;
  std::string token_;
};

class CollectorPoint {
 public:
  CollectorPoint(const Bench* bench, const Template* base, Fault fault, Point point)
      : bench_(bench),
        base_(base),
        fault_(fault),
        point_(point),
        dir_(bench->Begin(fmt::format("collector-{}", point.Number()))) {}
  ~CollectorPoint() { bench_->Done(dir_, wrong_.empty()); }

  PointResult Run(uint64_t* points) {
    const auto began = std::chrono::steady_clock::now();
    PointResult result;
    result.point = point_;
    std::filesystem::copy(base_->dir() + "/trail", dir_ + "/trail", std::filesystem::copy_options::recursive);
    // The template's file of leaves is larger: the first batch begins another.
    WriteCollectorConfig(bench_->pki(), dir_,
                         fmt::format(R"(log_segment_bytes: 16384
crl_file: {0}/crl.pem
enrol: {{listen: "127.0.0.1:{2}", trust_domain: nodetrail.dev, tls_ca_cert_file: {1}/tls-ca/ca.pem,
  tls_ca_key_file: {1}/tls-ca/ca.key, identity_ca_cert_file: {1}/identity-ca/ca.pem,
  identity_ca_key_file: {1}/identity-ca/ca.key}}
)",
                                     dir_, bench_->pki().dir(), EnrolPort()));
    const auto injection = MakeInjection(fault_, dir_ + "/page", CollectorPhases(), point_);
    Both(injection.get(), &result);
    result.where = injection->Where();
    result.phases = injection->InPhases();
    if (points != nullptr) *points = injection->points();
    result.wrong = wrong_;
    result.took = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - began);
    return result;
  }

 private:
  void Wrong(std::string what) {
    if (wrong_.empty()) wrong_ = std::move(what);
  }

  // Below what the kernel gives to others, and one's own.
  [[nodiscard]] int EnrolPort() const { return 10'000 + static_cast<int>((point_.n + 1000 * point_.phase) % 20'000); }

  void UseRevocations(bool one) {
    std::filesystem::copy_file(bench_->RevocationList(one), dir_ + "/crl.new");
    std::filesystem::rename(dir_ + "/crl.new", dir_ + "/crl.pem");
  }

  // All that an operator and two agents do to a collector, as far as it lives.
  void Load(Injection* injection, CollectorProcess* collector, int proxy_port) {
    const auto ended = [&] { return collector->child().Wait(milliseconds(0)).has_value(); };
    web2_ = std::make_unique<Shipping>(bench_->pki(), "web-2", proxy_port, &clock_, base_->web2());
    testing::WaitUntil([&] { return web2_->done() || ended(); }, kLimit);
    UseRevocations(true);
    web1_ = std::make_unique<Shipping>(bench_->pki(), "web-1", proxy_port, &clock_, base_->web1());
    const std::string log = dir_ + "/collector.log";
    testing::WaitUntil([&] { return Tail(log).find(": 1 certificates are revoked") != std::string::npos || ended(); },
                       kLimit);
    injection->Mark(MARK_RELOADED);
    testing::WaitUntil([&] { return web1_->acked() >= base_->web1().size() / 2 || ended(); }, kLimit);
    injection->Mark(MARK_ENROL);
    if (!ended()) enrolled_ = enrolling_.Try();
    injection->Mark(MARK_RUNNING);
    testing::WaitUntil([&] { return Drained() || ended(); }, kLimit);
  }
  [[nodiscard]] bool Drained() const { return web1_->done() && web2_->done(); }

  void Both(Injection* injection, PointResult* result) {
    UseRevocations(false);
    CollectorProcess first(dir_, injection->Environment(dir_ + "/trail"));
    int port = first.Port();
    injection->Mark(MARK_RUNNING);
    // Where nobody listens: the shippers begin, and find it later.
    testing::TcpProxy proxy(port != 0 ? port : 1);
    Load(injection, &first, proxy.port());
    if (Drained()) first.child().Signal(SIGTERM);
    const std::optional<int> ended = first.child().Wait(kLimit);
    if (!injection->loaded()) return Wrong("the shim was not loaded");
    result->reached = injection->Reached(ended.value_or(-1));
    result->ended = injection->Ended(ended.value_or(-1));
    const std::string log = Tail(dir_ + "/collector.log");
    if (std::string says = injection->Judge(ended.value_or(-1), log); !says.empty()) {
      return Wrong(fmt::format("the collector: {}\n{}", says, log));
    }
    // Who acknowledged, had it on the disk: it is there now, before anything is sent again.
    JudgeAcked(web1_->acked(), web2_->acked());
    const std::string checkpoint = dir_ + "/trail/log/checkpoint", prior = dir_ + "/prior";
    std::error_code none;
    std::filesystem::copy_file(checkpoint, prior, none);

    CollectorProcess second(dir_, {});
    port = second.Port();
    if (port == 0) return Wrong("the collector does not start again: " + Tail(dir_ + "/collector.log"));
    proxy.set_target(port);
    if (!testing::WaitUntil([&] { return Drained(); }, kLimit)) {
      return Wrong(fmt::format("not drained: {} {}", web1_->error(), web2_->error()));
    }
    if (!enrolled_ && !enrolling_.Try()) return Wrong("not enrolled: " + enrolling_.Says());
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

  void JudgeWhole() {
    JudgeAcked(base_->web1().size(), base_->web2().size());
    const auto enrolments = CountEnrolments(dir_ + "/trail", Enrolling::kAgent);
    if (enrolments.value_or(0) != 1) Wrong(fmt::format("enrolled {} times", enrolments.value_or(0)));
  }

  const Bench* bench_;
  const Template* base_;
  const Fault fault_;
  const Point point_;
  const std::string dir_;
  SystemClock clock_;
  Enrolling enrolling_{bench_, dir_, EnrolPort()};
  bool enrolled_ = false;
  std::unique_ptr<Shipping> web1_, web2_;
  std::string wrong_;
};

class CollectorSide final : public Side {
 public:
  CollectorSide(const Bench* bench, Fault fault) : Side(fault), bench_(bench), base_(bench) {}
  [[nodiscard]] std::string_view name() const override { return "collector"; }
  [[nodiscard]] const std::vector<Phase>& phases() const override { return CollectorPhases(); }
  PointResult RunPoint(Point point, uint64_t* points) override {
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
