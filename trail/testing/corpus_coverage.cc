// SPDX-License-Identifier: Apache-2.0
//
// What agents do over time: what both verifiers say of their intervals. Each
// rule once, and then histories thrown together.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <random>
#include <utility>

#include "trail/rfc3339.h"
#include "trail/testing/corpus.h"

namespace nodetrail::trail {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kStart = 1'700'000'000'000'000'000;

uint64_t At(double seconds) { return kStart + static_cast<uint64_t>(seconds * 1e9); }
std::string Quoted(uint64_t wall_ns) { return '"' + FormatRfc3339(wall_ns) + '"'; }

event::v1::Event LossBetween(uint64_t from_ns, uint64_t to_ns) {
  event::v1::Event loss = TestAgent::LossEvent(5);
  loss.mutable_agent()->set_from_wall_ns(from_ns);
  loss.mutable_agent()->set_to_wall_ns(to_ns);
  return loss;
}

// A log of two agents, batch by batch.
class History {
 public:
  using Events = std::vector<event::v1::Event>;

  explicit History(Corpus* m) : m_(m), one(m->ca(), "acme", "web-1"), two(m->ca(), "acme", "web-2") {}

  // Sealed at this time; its body is of no other batch.
  SealedBatch Seal(TestAgent* agent, uint64_t sealed_ns, Events events = {}) {
    agent->now_ns = kStart + ++made_;
    const TestAgent::Edit sealed = [sealed_ns](v1::BatchHeader* header) {
      header->set_first_wall_ns(sealed_ns - std::min<uint64_t>(sealed_ns, 4'000'000'000));
      header->set_last_wall_ns(sealed_ns);
      header->set_sealed_wall_ns(sealed_ns);
    };
    return events.empty() ? agent->Batch(1, sealed) : agent->BatchOf(std::move(events), sealed);
  }
  void Batch(TestAgent* agent, uint64_t sealed_ns, Events events = {}) {
    trail.batches.push_back(Seal(agent, sealed_ns, std::move(events)));
  }
  // Sealed, and never in the log.
  void Lose(TestAgent* agent) { (void)Seal(agent, kStart); }
  // In the log, with a byte changed.
  void Damage(TestAgent* agent) {
    Batch(agent, kStart);
    trail.batches.back().leaf.back() ^= 1;
  }
  void Shutdown(TestAgent* agent, uint64_t sealed_ns) {
    agent->now_ns = sealed_ns;
    trail.batches.push_back(agent->Batch(0, [](v1::BatchHeader* header) {
      header->set_type(v1::BATCH_TYPE_CLEAN_SHUTDOWN);
      header->clear_next_key();
    }));
  }
  // The agent signs that it gave up the body of the newest batch.
  void Evict(TestAgent* agent) {
    evicted.emplace_back(trail.batches.size() - 1, agent->Eviction(trail.batches.back()));
  }
  // Deleted by rule, with an entry of the log's own that says so.
  void Retire(const std::vector<size_t>& leaves) {
    v1::LogEntry entry;
    entry.set_format_version(1);
    entry.set_tenant("acme");
    v1::Retire* retire = entry.mutable_retire();
    retire->set_policy("at-once");
    retire->set_holds_checked_at(trail.batches.size());
    retire->set_not_before_ns(UINT64_MAX);
    entry.set_wall_ns(UINT64_MAX);
    size_t last = 0;
    for (const size_t leaf : leaves) {
      retire->add_leaves(leaf - last);
      last = leaf;
      retire->mutable_body_sha256()->append(trail.batches[leaf].header.body_sha256());
      gone.push_back(leaf);
    }
    trail.batches.push_back(m_->Entry(entry));
  }

  void Add(const Case& c) {
    m_->Add(c, trail, [this](const std::string& d) { OnDisk(d); });
  }
  void AddBundle(const Case& c, const BundleSpec& spec) {
    m_->AddBundle(c, trail, spec, [this](const std::string& d) { OnDisk(d); });
  }

 private:
  void OnDisk(const std::string& d) {
    for (const size_t leaf : gone) fs::remove(d + BodyFile(trail.batches[leaf]));
    for (const auto& [leaf, statement] : evicted) {
      fs::remove(d + BodyFile(trail.batches[leaf]));
      Spill(d + EvictedFile(trail.batches[leaf]), statement);
    }
  }

  Corpus* m_;
  uint64_t made_ = 0;

 public:
  TestAgent one;
  TestAgent two;
  Trail trail;
  std::vector<std::pair<size_t, std::string>> evicted;
  std::vector<size_t> gone;
};

// Every kind of time, of an agent that outlives the other.
History AllKinds(Corpus* m) {
  History h(m);
  h.Batch(&h.one, At(0));
  h.Batch(&h.two, At(5));
  h.Batch(&h.one, At(60));       // two heartbeats: covered
  h.Batch(&h.one, At(120) + 1);  // a nanosecond more: silent
  h.Batch(&h.one, At(170), {LossBetween(At(90), At(130)), LossBetween(At(150), At(155))});
  h.Shutdown(&h.one, At(180));
  h.one.Restart();
  h.Batch(&h.one, At(300));
  h.Lose(&h.one);
  h.Batch(&h.one, At(320));
  h.one.Restart();
  h.Batch(&h.one, At(400), {h.one.GapEvent()});
  h.Batch(&h.one, At(410));
  h.Evict(&h.one);
  h.Batch(&h.one, At(420));
  h.Batch(&h.one, At(430));
  h.Retire({h.trail.batches.size() - 1});
  h.Batch(&h.two, At(500));
  h.Shutdown(&h.two, At(510));
  return h;
}

void AddKinds(Corpus* m) {
  AllKinds(m).Add({.name = "time-all-kinds", .expected = "2"});
  const auto part = [m](const std::string& name, const std::string& since, const std::string& until,
                        std::vector<std::string> agents) {
    // Their number of bodies is not what the case is about: it is right or tampering.
    AllKinds(m).AddBundle({.name = "mutation-time-" + name, .expected = "*", .changed = "a scope"},
                          {.since = since, .until = until, .agents = std::move(agents)});
  };
  part("of-one", "null", "null", {"web-1"});
  part("of-the-other", "null", "null", {"web-2"});
  part("since", Quoted(At(155)), "null", {});
  part("until", "null", Quoted(At(310)), {});
  part("until-later", "null", Quoted(At(2000)), {});
  part("within-one-stretch", Quoted(At(10)), Quoted(At(20)), {"web-1"});
  part("of-one-instant", Quoted(At(60)), Quoted(At(60)), {});
}

// What is broken has one cause or several, and each must be declared.
void AddBroken(Corpus* m) {
  for (const bool restart_told : {false, true}) {
    for (const bool hole_told : {false, true}) {
      History h(m);
      h.Batch(&h.one, At(0));
      h.Lose(&h.one);
      h.one.Restart();
      History::Events events;
      if (restart_told) events.assign(2, h.one.GapEvent());  // twice is not more than once
      if (hole_told) events.push_back(TestAgent::SpoolLossEvent(1, 1, 1));
      h.Batch(&h.one, At(50), events);
      h.Add({.name = fmt::format("time-hole{}-and-restart{}", hole_told ? "-told" : "", restart_told ? "-told" : ""),
             .expected = restart_told && hole_told ? "1" : "2"});
    }
  }
  const auto one = [m](const std::string& name, const std::string& expected, const auto& act) {
    History h(m);
    h.Batch(&h.one, At(0));
    h.Batch(&h.one, At(10));
    act(&h);
    h.Batch(&h.one, At(70));
    h.Add({.name = "time-" + name, .expected = expected});
  };
  one("spool-lost", "2", [](History* h) {
    h->one.Restart(false);
    h->Batch(&h->one, At(40), {h->one.GapEvent()});
  });
  one("told-later", "1", [](History* h) {
    h->one.Restart();
    h->Batch(&h->one, At(30));
    h->Batch(&h->one, At(40));
    h->Batch(&h->one, At(45), {h->one.GapEvent()});
  });
  one("told-too-late", "2", [](History* h) {
    h->one.Restart();
    h->Batch(&h->one, At(30));
    h->Shutdown(&h->one, At(40));
    h->one.Restart();
    h->Batch(&h->one, At(45), {h->one.GapEvent()});
  });
  one("told-in-a-body-that-is-missing", "3", [](History* h) {
    h->one.Restart();
    h->Batch(&h->one, At(30), {h->one.GapEvent()});
    h->gone.push_back(2);
  });
  one("opening-missing", "2", [](History* h) {
    h->one.Restart();
    h->Lose(&h->one);
    h->Batch(&h->one, At(40), {h->one.GapEvent()});
  });
  one("opening-missing-after-a-restart", "2", [](History* h) {
    h->one.Restart();
    h->Batch(&h->one, At(30));
    h->one.Restart();
    h->Lose(&h->one);
    h->Batch(&h->one, At(40), {h->one.GapEvent()});
    h->one.Restart();
    h->Batch(&h->one, At(50), {h->one.GapEvent(), TestAgent::SpoolLossEvent(3, 0, 0)});
  });
  // Damaged leaves take the place of what is missing: of all of it, of half.
  for (const unsigned missing : {0U, 1U}) {
    one(fmt::format("damaged-and-{}-missing", missing), "3", [missing](History* h) {
      h->Damage(&h->one);
      for (unsigned i = 0; i < missing; ++i) h->Lose(&h->one);
      h->Batch(&h->one, At(40));
      h->one.Restart();
      h->Batch(&h->one, At(60), {h->one.GapEvent(), TestAgent::SpoolLossEvent(1, 2, 9)});
    });
  }
  History broken(m);
  broken.Batch(&broken.one, At(0));
  broken.Lose(&broken.one);
  broken.Batch(&broken.one, At(40));
  broken.one.Restart();
  broken.Batch(&broken.one, At(60), {broken.one.GapEvent(), TestAgent::SpoolLossEvent(1, 1, 1)});
  broken.trail.note = m->Note({broken.trail.batches[0], broken.trail.batches[0], broken.trail.batches[2]});
  broken.Add({.name = "time-declared-hole-under-another-root", .expected = "3"});
}

void AddClocks(Corpus* m) {
  const auto one = [m](const std::string& name, const std::string& expected, const auto& act) {
    History h(m);
    act(&h);
    h.Add({.name = "time-" + name, .expected = expected});
  };
  one("clock-back", "0", [](History* h) {
    for (const double at : {0.0, 40.0, 20.0, 20.0, 45.0, 45.0, 110.0}) h->Batch(&h->one, At(at));
  });
  one("broken-with-the-clock-back", "2", [](History* h) {
    h->Batch(&h->one, At(40));
    h->one.Restart();
    h->Batch(&h->one, At(20));  // adds nothing: nothing is unexplained
    h->Batch(&h->one, At(60));
  });
  one("from-0-to-the-last", "0", [](History* h) {
    for (const uint64_t at : {UINT64_C(0), UINT64_C(1), UINT64_MAX}) h->Batch(&h->one, at);
  });
  one("losses", "1", [](History* h) {
    h->Batch(&h->one, At(0));
    h->Batch(&h->one, At(50),
             {LossBetween(At(30), At(20)), LossBetween(At(30), At(30)), LossBetween(0, At(2)),
              LossBetween(At(40), At(45)), LossBetween(At(10), At(12)), LossBetween(At(11), At(15)),
              LossBetween(At(15), At(16)), LossBetween(At(20), At(25)), LossBetween(At(30), At(35)),
              LossBetween(At(24), At(32)), LossBetween(At(49), UINT64_MAX)});
    h->Batch(&h->one, At(60));
    h->Batch(&h->one, At(200));
    h->Batch(&h->two, At(100));
    h->Batch(&h->two, At(150));
  });
  one("retired-and-lost", "1", [](History* h) {
    h->Batch(&h->one, At(0));
    h->Batch(&h->one, At(20));
    h->Batch(&h->one, At(40));
    h->Batch(&h->one, At(30));
    h->Batch(&h->one, At(50), {LossBetween(At(15), At(25))});
    h->Batch(&h->one, At(150));
    h->Retire({0, 1, 2, 3, 5});
  });
  one("heartbeats", "0", [](History* h) {
    h->Batch(&h->one, At(0));
    h->Batch(&h->two, At(1));
    h->Shutdown(&h->two, At(2));
    h->Batch(&h->one, At(59));
    h->two.Restart();
    h->Batch(&h->two, At(100));
  });
}

// One step of an agent's life.
void Live(History* h, TestAgent* agent, uint64_t* clock, std::mt19937_64* random) {
  const auto below = [random](uint64_t n) { return (*random)() % n; };
  constexpr std::array<int64_t, 8> kSteps = {
      0, 1, 20'000'000'000, 60'000'000'000, 60'000'000'001, 61'500'000'000, 200'000'000'000, -30'000'000'000};
  *clock += static_cast<uint64_t>(kSteps.at(below(kSteps.size())));
  const auto loss = [&] {
    return LossBetween(*clock + below(200'000'000'000) - 100'000'000'000, *clock + below(200) * 1'000'000'000);
  };
  switch (below(12)) {
    case 0: h->Lose(agent); break;
    case 1: h->Damage(agent); break;
    case 2:
      h->Batch(agent, *clock);
      h->Evict(agent);
      break;
    case 3: h->Batch(agent, *clock, {loss(), loss(), loss()}); break;
    case 4:
    case 5:
    case 6: {
      const uint64_t how = below(4);
      if (how == 0) h->Shutdown(agent, *clock);
      const uint64_t epoch = agent->epoch();
      agent->Restart(how != 1);
      History::Events events;
      if (below(3) != 0) events.push_back(agent->GapEvent());
      if (below(2) != 0) events.push_back(TestAgent::SpoolLossEvent(epoch, below(2), 1'000));
      if (below(4) == 0) h->Lose(agent);
      *clock += below(100) * 1'000'000'000;
      h->Batch(agent, *clock, events);
      break;
    }
    case 7:
      if (!h->trail.batches.empty()) h->trail.batches.push_back(h->trail.batches[below(h->trail.batches.size())]);
      break;
    default: h->Batch(agent, *clock); break;
  }
}

void AddThrownTogether(Corpus* m, uint64_t seed, int count) {
  std::mt19937_64 random(seed);
  const auto below = [&random](uint64_t n) { return random() % n; };
  for (int i = 0; i < count; ++i) {
    History h(m);
    std::array<uint64_t, 2> clocks = {At(0), At(7)};
    for (uint64_t steps = 4 + below(14); steps > 0; --steps) {
      const size_t who = below(3) == 0 ? 1 : 0;
      Live(&h, who == 0 ? &h.one : &h.two, &clocks.at(who), &random);
    }
    std::vector<size_t> retired;
    for (size_t leaf = 0; leaf < h.trail.batches.size(); ++leaf) {
      if (!h.trail.batches[leaf].body.empty() && below(6) == 0) retired.push_back(leaf);
    }
    if (!retired.empty()) h.Retire(retired);
    const std::string name = fmt::format("mutation-time-{:03}", i);
    h.Add({.name = name, .expected = "*", .changed = "a history"});
    BundleSpec spec;
    if (below(3) != 0) spec.since = Quoted(At(static_cast<double>(below(200))));
    if (below(3) != 0) spec.until = Quoted(At(static_cast<double>(200 + below(1000))));
    if (below(3) == 0) spec.agents = {below(2) == 0 ? "web-1" : "web-2"};
    h.AddBundle({.name = name + "-scope", .expected = "*", .changed = "a history and its scope"}, spec);
  }
}

}  // namespace

void AddCoverage(Corpus* m, uint64_t seed) {
  AddKinds(m);
  AddBroken(m);
  AddClocks(m);
  AddThrownTogether(m, seed, 60);
}

}  // namespace nodetrail::trail
