// SPDX-License-Identifier: Apache-2.0
//
// Rows 1 and 15: the agent's sealing, spooling and shipping, killed anywhere or
// refused memory; a real collector takes what it ships.
#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>
#include <utility>

#include "collector/collector.h"
#include "nodetrail/base/clock.h"
#include "tests/fakes/tcp_proxy.h"
#include "tests/fault/sweep.h"
#include "tests/fault/trail_facts.h"

namespace nodetrail::fault {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRunLimit{60'000};
constexpr uint64_t kWindowEvents = 4 * 3;  // nt_agent_core: batches on their way, events in each

using Position = std::pair<uint64_t, uint64_t>;

// What the agent told before it died, and after it came back.
struct Truth {
  struct Durable {
    std::string hash;
    // Lost in its life, as the source knows: the counters are read at some time in between.
    uint64_t lost = 0, lost_at_most = 0;
    size_t life = 0;
  };
  std::map<Position, Durable> durable;
  std::map<Position, std::string> sending;
  Position trimmed{0, 0};
  bool any_trimmed = false;
  std::vector<uint64_t> life_epoch;
  std::vector<bool> life_continued;
  uint64_t last_event = 0;
  std::string wrong;

  void Wrong(std::string what) {
    if (wrong.empty()) wrong = std::move(what);
  }
};

const std::vector<Phase>& AgentPhases() {
  static const std::vector<Phase> phases = {
      {"segment rotation", "fallocate spool/0"},
      {"trim", "unlink spool/0"},
      {"eviction", " spool/compact.tmp"},
      {"eviction's rename", "rename spool/0"},
      {"epoch change", "", MARK_EPOCH},
      {"certificate exchanged", "", MARK_RELOADED},
      {"receipt", " checkpoint"},
  };
  return phases;
}

class AgentPoint {
 public:
  AgentPoint(const Bench* bench, Fault fault, Point point)
      : bench_(bench), fault_(fault), point_(point), dir_(bench->Begin(fmt::format("agent-{}", point.Number()))) {}
  ~AgentPoint() { bench_->Done(dir_, truth_.wrong.empty()); }

  PointResult Run(uint64_t* points) {
    const auto began = std::chrono::steady_clock::now();
    PointResult result;
    result.point = point_;
    const auto injection = MakeInjection(fault_, dir_ + "/page", AgentPhases(), point_);
    RunBoth(*injection, &result);
    result.where = injection->Where();
    result.phases = injection->InPhases();
    if (points != nullptr) *points = injection->points();
    result.wrong = truth_.wrong;
    result.took = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - began);
    return result;
  }

 private:
  void RunBoth(const Injection& injection, PointResult* result) {
    for (const char* extension : {"pem", "key"}) UseCertificate("first", extension);
    if (!StartCollector()) return;
    testing::TcpProxy proxy(collector_->port());
    proxy_ = &proxy;
    const int first = RunAgent({"--lives", "2"}, injection.Environment(dir_ + "/agent"));
    if (!injection.loaded()) return truth_.Wrong("the shim was not loaded");
    result->reached = injection.Reached(first);
    result->ended = injection.Ended(first);
    const std::string log = Tail(dir_ + "/agent.log");
    if (std::string says = injection.Judge(first, log); !says.empty()) {
      return truth_.Wrong(fmt::format("the agent: {}\n{}", says, log));
    }
    // Every other call is met with the chain's key kept by the service manager, as over a crash, and without, as
    // over a reboot.
    std::vector<std::string> args = {"--lives",          "1",    "--groups",      "2",
                                     "--clock-offset-s", "3600", "--first-event", fmt::format("{}", truth_.last_event)};
    std::vector<int> passed;
    if (key_.valid() && (point_.n / 2) % 2 == 0) {
      args.insert(args.end(), {"--key-fd", "4"});
      passed.push_back(key_.get());
    }
    Reach(true);
    const int second = RunAgent(args, {}, passed);
    collector_->Stop(milliseconds(1000));
    collector_.reset();
    if (second != 0) {
      return truth_.Wrong(fmt::format("the agent that came back ended with {}: {}", second, Tail(dir_ + "/agent.log")));
    }
    Judge();
  }

  void Reach(bool collector) {
    proxy_->set_target(collector ? collector_->port() : 1);  // nobody listens there
    if (!collector) proxy_->CutAll();
  }

  void UseCertificate(const std::string& from, const std::string& extension) {
    const std::string source = from == "first" ? fmt::format("{}/first.{}", bench_->dir(), extension)
                                               : bench_->pki().File(fmt::format("agents/web-1/tls.{}", extension));
    const std::string to = fmt::format("{}/tls.{}", dir_, extension);
    std::filesystem::copy_file(source, to + ".new");
    std::filesystem::permissions(to + ".new", std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    std::filesystem::rename(to + ".new", to);
  }

  bool StartCollector() {
    config::v1::CollectorConfig config;
    config.set_trail_dir(dir_ + "/trail");
    config.set_listen("127.0.0.1:0");
    config.mutable_tls()->set_ca_file(bench_->pki().File("tls-ca/ca.pem"));
    config.mutable_tls()->set_cert_file(bench_->pki().File("collector/tls.pem"));
    config.mutable_tls()->set_key_file(bench_->pki().File("collector/tls.key"));
    config.set_identity_ca_file(bench_->pki().File("identity-ca/ca.pem"));
    config.set_log_key_file(bench_->pki().File("log/log.key"));
    config.set_log_origin("trail.example.com/default");
    config.set_tenant("default");
    config.set_checkpoint_interval_ms(10);
    config.mutable_index()->set_partition_hours(24);
    collector::Failure failure;
    collector_ = collector::Collector::Start(config, &clock_, &failure);
    if (collector_ == nullptr) truth_.Wrong(fmt::format("no collector: {}", failure.status.ToString()));
    return collector_ != nullptr;
  }

  // Its exit status, once it is over.
  int RunAgent(const std::vector<std::string>& more, const std::map<std::string, std::string>& env,
               std::vector<int> passed = {}) {
    int ends[2];
    NT_CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    const UniqueFd ours(ends[0]);
    UniqueFd theirs(ends[1]);
    std::vector<std::string> argv = {Binary("nt_agent_core"),
                                     "--dir",
                                     dir_ + "/agent",
                                     "--ca",
                                     bench_->pki().File("tls-ca/ca.pem"),
                                     "--identity",
                                     bench_->pki().File("agents/web-1/identity"),
                                     "--tls",
                                     dir_ + "/tls",
                                     "--endpoint",
                                     fmt::format("127.0.0.1:{}", proxy_->port()),
                                     "--log-policy",
                                     bench_->pki().File("log/policy"),
                                     "--channel",
                                     "3"};
    argv.insert(argv.end(), more.begin(), more.end());
    passed.insert(passed.begin(), theirs.get());
    Child agent(argv, dir_ + "/agent.log", env, passed);
    theirs.Reset();
    const auto deadline = std::chrono::steady_clock::now() + kRunLimit;
    while (std::chrono::steady_clock::now() < deadline && Hear(ours.get())) {
    }
    return agent.Wait(milliseconds(10'000)).value_or(-1);
  }

  // One message. False: the agent has closed its end.
  bool Hear(int fd) {
    timeval limit{1, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    char text[512];
    iovec io{text, sizeof(text)};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    const ssize_t n = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    if (const cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr && c->cmsg_type == SCM_RIGHTS) {
      int key = -1;
      std::memcpy(&key, CMSG_DATA(c), sizeof(key));
      key_.Reset(key);
    }
    if (Take(std::string(text, static_cast<size_t>(n)))) ::send(fd, "done", 4, MSG_NOSIGNAL);
    return true;
  }

  // True: it waits for an answer.
  bool Take(const std::string& text) {
    std::istringstream in(text);
    std::string word, hash;
    uint64_t a = 0, b = 0, lost = 0, lost_at_most = 0;
    in >> word;
    if (word == "life") {
      in >> a >> b;
      truth_.life_epoch.push_back(a);
      truth_.life_continued.push_back(b == 1);
    } else if (word == "event") {
      in >> truth_.last_event;
    } else if (word == "durable") {
      in >> a >> b >> hash >> lost >> lost_at_most;
      if (!truth_.durable
               .emplace(Position{a, b}, Truth::Durable{hash, lost, lost_at_most, truth_.life_epoch.size() - 1})
               .second) {
        truth_.Wrong(fmt::format("batch {}:{} was made durable twice", a, b));
      }
    } else if (word == "sending") {
      in >> a >> b >> hash;
      const auto [at, first] = truth_.sending.emplace(Position{a, b}, hash);
      if (!first && at->second != hash) truth_.Wrong(fmt::format("two batches {}:{} were sent", a, b));
    } else if (word == "trim") {
      in >> a >> b;
      truth_.trimmed = std::max(truth_.trimmed, Position{a, b});
      truth_.any_trimmed = true;
    } else if (word == "swap") {
      for (const char* extension : {"pem", "key"}) UseCertificate("second", extension);
      proxy_->CutAll();
      return true;
    } else if (text == "hold" || text == "go on") {
      Reach(text == "go on");
      return true;
    }
    return false;
  }

  void Judge() {
    int verdict = 0;
    if (std::string says = VerifyTrailDir(*bench_, dir_ + "/trail", dir_, "", &verdict); !says.empty()) {
      return truth_.Wrong(says);
    }
    const auto logged = ReadTrail(dir_ + "/trail");
    if (!logged.ok()) return truth_.Wrong(logged.status().ToString());
    std::error_code none;
    for (const char* place : {"/trail/quarantine", "/agent/spool/quarantine"}) {
      // An unfinished append is set aside: that is no loss, it never was durable.
      for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_ + place, none)) {
        const std::string name = entry.path().filename().string();
        if (entry.is_directory(none) || name.ends_with(".bad")) continue;
        truth_.Wrong(fmt::format("quarantined: {}", entry.path().string()));
      }
    }
    JudgeBatches(*logged);
    JudgeEvents(*logged);
    JudgeLosses(*logged);
    JudgeInterval(*logged, verdict);
  }

  // Durable and acknowledged batches are in the log, as they were, once.
  void JudgeBatches(const std::vector<LoggedBatch>& logged) {
    std::map<Position, std::string> in_log;
    size_t unknown = 0;
    for (const LoggedBatch& batch : logged) {
      const Position at{batch.epoch, batch.seq};
      const std::string hash = trail::Hex(batch.hash);
      if (!in_log.emplace(at, hash).second) truth_.Wrong(fmt::format("{}:{} is in the log twice", at.first, at.second));
      const auto sent = truth_.sending.find(at);
      if (sent == truth_.sending.end()) {
        truth_.Wrong(fmt::format("{}:{} is in the log, but was never sent", at.first, at.second));
      } else if (sent->second != hash) {
        truth_.Wrong(fmt::format("{}:{} in the log is not what was sent", at.first, at.second));
      }
      if (!truth_.durable.contains(at)) ++unknown;
    }
    // The one whose append was done, but the kill came before it could be told.
    if (unknown > 1) truth_.Wrong(fmt::format("{} batches in the log that nobody sealed", unknown));
    for (const auto& [at, durable] : truth_.durable) {
      const auto found = in_log.find(at);
      const bool acked = truth_.any_trimmed && at <= truth_.trimmed;
      if (found == in_log.end()) {
        truth_.Wrong(
            fmt::format("{} batch {}:{} is not in the log", acked ? "acknowledged" : "durable", at.first, at.second));
      } else if (found->second != durable.hash) {
        truth_.Wrong(fmt::format("{}:{} in the log is not what was sealed", at.first, at.second));
      }
    }
  }

  // Each event once, and none that never happened; those of durable batches
  // are there because the batches are.
  void JudgeEvents(const std::vector<LoggedBatch>& logged) {
    std::set<uint64_t> seen;
    uint64_t before = 0, given_up = 0;
    for (const LoggedBatch& batch : logged) {
      given_up += batch.evicted_events;
      for (const uint64_t number : batch.events) {
        if (!seen.insert(number).second) truth_.Wrong(fmt::format("event {} is in the trail twice", number));
        if (number > truth_.last_event) truth_.Wrong(fmt::format("event {} never happened", number));
        if (number < before) truth_.Wrong(fmt::format("event {} after {}", number, before));
        before = number;
      }
    }
    // What is missing was on its way in the moment of the kill: one batch of at most three events.
    if (seen.size() + given_up > truth_.last_event || truth_.last_event - seen.size() - given_up > 3) {
      truth_.Wrong(
          fmt::format("{} of {} events are in the trail, {} given up", seen.size(), truth_.last_event, given_up));
    }
  }

  // The counters in the headers are the truth of the moment in which each was sealed.
  void JudgeLosses(const std::vector<LoggedBatch>& logged) {
    uint64_t epoch = 0, base = 0, before = 0, told = 0;
    // A header counts a loss as soon as it is known; the event that locates it is in
    // the next batch. A kill between the two leaves a count without its event: once,
    // and of one header.
    uint64_t raised = 0, cut = 0;
    uint64_t given_up = 0, counted = 0, in_epoch = 0;
    size_t life = SIZE_MAX;
    for (const LoggedBatch& batch : logged) {
      if (batch.epoch != epoch) {
        base = before = told = raised = cut = 0;
        counted += std::exchange(in_epoch, 0);
      }
      given_up += batch.evicted_events;
      in_epoch = batch.lost_evicted;
      epoch = batch.epoch;
      const auto durable = truth_.durable.find({batch.epoch, batch.seq});
      if (durable != truth_.durable.end()) {
        if (durable->second.life != life && batch.seq != 0) {
          base = before;
          if (raised == 1) cut = before - told;
        }
        life = durable->second.life;
        const Truth::Durable& truth = durable->second;
        if (batch.lost_ring < base + truth.lost || batch.lost_ring > base + truth.lost_at_most) {
          truth_.Wrong(fmt::format("{}:{} counts {} losses, {} to {} were true", batch.epoch, batch.seq,
                                   batch.lost_ring, base + truth.lost, base + truth.lost_at_most));
        }
      }
      if (batch.lost_ring > before && batch.loss_events == 0) ++raised;
      before = batch.lost_ring;
      told += batch.loss_events;
      if (told + cut == batch.lost_ring) raised = 0;
      if (batch.clean_shutdown && told + cut != batch.lost_ring) {
        truth_.Wrong(fmt::format("epoch {}: its agent.loss events tell {} losses, its counter {}", batch.epoch, told,
                                 batch.lost_ring));
      }
    }
    // A header counts what was given up before it, over crashes too. The collector may have had some of it: the
    // acknowledgements of a window were under way when the connection was cut.
    counted += in_epoch;
    if (counted < given_up || counted - given_up > kWindowEvents) {
      truth_.Wrong(fmt::format("{} events were given up, the headers count {}", given_up, counted));
    }
  }

  // The time between the last durable batch and the new start is told.
  void JudgeInterval(const std::vector<LoggedBatch>& logged, int verdict) {
    const LoggedBatch* before = nullptr;
    uint64_t lost = 0;
    bool unclean = false, given_up = false;
    for (const LoggedBatch& batch : logged) {
      if (before != nullptr && batch.seq == 0 && !batch.gap) {
        truth_.Wrong(fmt::format("epoch {} does not tell the interval before it", batch.epoch));
      }
      if (before != nullptr && batch.gap) {
        if (Position{batch.gap->epoch, batch.gap->seq} != Position{before->epoch, before->seq} ||
            batch.gap->clean != before->clean_shutdown) {
          truth_.Wrong(fmt::format("{}:{}: its agent.gap does not name the batch before", batch.epoch, batch.seq));
        }
        unclean = unclean || !batch.gap->clean;
      }
      if (batch.seq == 0 && before != nullptr && batch.opens_unclean == before->clean_shutdown) {
        truth_.Wrong(fmt::format("epoch {} is opened as if the one before was {}", batch.epoch,
                                 before->clean_shutdown ? "not stopped in order" : "stopped in order"));
      }
      lost += batch.loss_events;
      given_up = given_up || batch.evicted_events > 0;
      before = &batch;
    }
    // A start in the middle of an epoch has no opening: its gap event must be there.
    for (size_t i = 1; i < truth_.life_epoch.size(); ++i) {
      if (!truth_.life_continued[i]) continue;
      bool told = false;
      for (const LoggedBatch& batch : logged)
        told = told || (batch.epoch == truth_.life_epoch[i] && batch.gap && batch.seq != 0);
      if (!told) truth_.Wrong(fmt::format("epoch {} goes on without telling the interval", truth_.life_epoch[i]));
    }
    const int expected = unclean || lost > 0 || given_up ? 1 : 0;
    if (verdict != expected) truth_.Wrong(fmt::format("the verdict is {}, not {}", verdict, expected));
  }

  const Bench* bench_;
  const Fault fault_;
  const Point point_;
  const std::string dir_;
  SystemClock clock_;
  std::unique_ptr<collector::Collector> collector_;
  testing::TcpProxy* proxy_ = nullptr;
  UniqueFd key_;
  Truth truth_;
};

class AgentSide final : public Side {
 public:
  AgentSide(const Bench* bench, Fault fault) : Side(fault), bench_(bench) {}
  [[nodiscard]] std::string_view name() const override { return "agent"; }
  [[nodiscard]] const std::vector<Phase>& phases() const override { return AgentPhases(); }
  PointResult RunPoint(Point point, uint64_t* points) override {
    return AgentPoint(bench_, fault(), point).Run(points);
  }

 private:
  const Bench* bench_;
};

}  // namespace

std::unique_ptr<Side> MakeAgentSide(const Bench* bench, Fault fault) {
  return std::make_unique<AgentSide>(bench, fault);
}

}  // namespace nodetrail::fault
