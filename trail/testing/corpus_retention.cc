// SPDX-License-Identifier: Apache-2.0
//
// What the log says of reads, of holds, and of bodies deleted by rule.
#include <algorithm>
#include <filesystem>
#include <functional>

#include "trail/testing/corpus.h"

namespace nodetrail::trail {
namespace {

v1::LogEntry AccessOf(const std::string& reader) {
  v1::LogEntry entry;
  entry.set_format_version(1);
  entry.set_tenant("acme");
  entry.set_wall_ns(1'700'000'000'000'000'000);
  v1::Access* access = entry.mutable_access();
  access->set_reader(reader);
  access->set_certificate_sha256(std::string(32, 'c'));
  access->set_method("Search");
  access->set_shape("user:?; since -; until -; limit 0");
  access->set_question_hmac(std::string(32, 'q'));
  return entry;
}

void AddReads(Corpus* m) {
  const auto with = [m](const Case& c, const std::function<void(v1::LogEntry*)>& edit) {
    TestAgent agent(m->ca(), "acme", "web-1");
    v1::LogEntry entry = AccessOf("spiffe://example.org/t/acme/r/ann");
    if (edit) edit(&entry);
    Trail t;
    t.batches = {m->Entry(entry), agent.Batch(), m->Entry(entry), agent.Batch()};
    m->Add(c, t);
  };
  with({.name = "access"}, nullptr);
  with({.name = "access-without-shape"}, [](auto* e) { e->mutable_access()->clear_shape(); });
  const auto bad = [&](const std::string& name, const std::function<void(v1::Access*)>& edit) {
    with({.name = name, .expected = "3", .reason = "damaged-leaf"}, [&](auto* e) { edit(e->mutable_access()); });
  };
  bad("access-by-nobody", [](auto* a) { a->clear_reader(); });
  bad("access-reader-text", [](auto* a) { a->set_reader("ann\x7f"); });
  bad("access-without-method", [](auto* a) { a->clear_method(); });
  bad("access-short-certificate", [](auto* a) { a->set_certificate_sha256("short"); });
  bad("access-without-question", [](auto* a) { a->clear_question_hmac(); });
  bad("access-shape-text", [](auto* a) { a->set_shape("\n"); });
  TestAgent agent(m->ca(), "acme", "web-1");
  Trail t;
  v1::LogEntry alien = AccessOf("spiffe://example.org/t/rival/r/ann");
  alien.set_tenant("rival");
  t.batches = {m->Entry(AccessOf("spiffe://example.org/t/acme/r/ann")), agent.Batch(), m->Entry(alien)};
  m->Add({.name = "access-of-another-tenant", .expected = "3", .reason = "tenant"}, t);
}

constexpr uint64_t kDay = 86'400'000'000'000;
constexpr uint64_t kStart = 1'700'000'000'000'000'000;

using Leaves = std::vector<SealedBatch>;

v1::LogEntry EntryAt(uint64_t wall_ns) {
  v1::LogEntry entry;
  entry.set_format_version(1);
  entry.set_tenant("acme");
  entry.set_wall_ns(wall_ns);
  return entry;
}

v1::LogEntry HoldOf(const std::string& id, const std::vector<std::string>& agents = {}, uint64_t since = 0,
                    uint64_t until = 0) {
  v1::LogEntry entry = EntryAt(kStart);
  v1::Hold* hold = entry.mutable_hold();
  hold->set_id(id);
  for (const std::string& agent : agents) hold->add_agents(agent);
  hold->set_since_wall_ns(since);
  hold->set_until_wall_ns(until);
  hold->set_reason("case 7");
  hold->set_by("ann");
  return entry;
}

v1::LogEntry ReleaseOf(const std::string& id, const std::string& requested = "ann",
                       const std::string& confirmed = "bob") {
  v1::LogEntry entry = EntryAt(kStart);
  entry.mutable_release()->set_id(id);
  entry.mutable_release()->set_requested_by(requested);
  entry.mutable_release()->set_confirmed_by(confirmed);
  return entry;
}

// Retires these leaves as soon as it may, as the next leaf of the log.
v1::LogEntry RetireOf(const Leaves& log, const std::vector<size_t>& leaves) {
  v1::LogEntry entry = EntryAt(0);
  v1::Retire* retire = entry.mutable_retire();
  retire->set_policy("one-day");
  retire->set_max_age_ns(kDay);
  retire->set_holds_checked_at(log.size());
  uint64_t youngest = 0;
  size_t last = 0;
  for (const size_t leaf : leaves) {
    retire->add_leaves(leaf - last);
    last = leaf;
    retire->mutable_body_sha256()->append(log[leaf].header.body_sha256());
    youngest = std::max<uint64_t>(youngest, log[leaf].header.sealed_wall_ns());
  }
  retire->set_not_before_ns(youngest + kDay);
  entry.set_wall_ns(youngest + kDay);
  return entry;
}

v1::LogEntry RetiredOf(uint64_t index, uint64_t bodies) {
  v1::LogEntry entry = EntryAt(kStart + 2 * kDay);
  entry.mutable_retired()->set_retire_index(index);
  entry.mutable_retired()->set_bodies(bodies);
  return entry;
}

class RetentionCases {
 public:
  explicit RetentionCases(Corpus* m) : m_(m) {}

  // Batches 0 to 3 of web-1, 4 and 5 of web-2; then what `act` enters; then one
  // more. The bodies of `gone` are deleted.
  using Act = std::function<void(Leaves*)>;
  void One(const Case& c, const std::vector<size_t>& gone, const Act& act, uint64_t covered = kAll) {
    Trail t = Make(act);
    t.covered = covered;
    m_->Add(c, t, [&](const auto& d) {
      for (const size_t leaf : gone) std::filesystem::remove(d + BodyFile(t.batches[leaf]));
    });
  }
  Trail Make(const Act& act) {
    TestAgent one(m_->ca(), "acme", "web-1");
    TestAgent two(m_->ca(), "acme", "web-2");
    Trail t;
    for (int i = 0; i < 4; ++i) t.batches.push_back(one.Batch());
    for (int i = 0; i < 2; ++i) t.batches.push_back(two.Batch(5));  // no body is another's
    act(&t.batches);
    t.batches.push_back(one.Batch());
    return t;
  }
  void Enter(Leaves* l, const v1::LogEntry& entry) { l->push_back(m_->Entry(entry)); }
  void Retire(Leaves* l, const std::vector<size_t>& leaves, const std::function<void(v1::LogEntry*)>& edit = nullptr) {
    v1::LogEntry entry = RetireOf(*l, leaves);
    if (edit) edit(&entry);
    Enter(l, entry);
  }

 private:
  Corpus* m_;
};

Case Bad(const std::string& name, const std::string& reason, const std::string& batch = "web-1:1:0") {
  return {.name = name, .expected = "3", .batch = batch, .reason = reason};
}

void AddDeletions(Corpus* m) {
  RetentionCases r(m);
  const auto plain = [&](Leaves* l) { r.Retire(l, {0, 1, 4}); };
  r.One({.name = "retired"}, {0, 1, 4}, [&](Leaves* l) {
    plain(l);
    r.Enter(l, RetiredOf(6, 3));
  });
  m->AddAgain({.name = "retired-not-judged-without-key", .dir = "retired", .log_key = ""});
  r.One({.name = "retired-not-deleted-yet"}, {}, plain);
  r.One({.name = "retired-half-deleted"}, {1}, plain);
  r.One({.name = "retired-in-two"}, {0, 1, 5}, [&](Leaves* l) {
    r.Retire(l, {0});
    r.Retire(l, {1, 5});
  });
  r.One(Bad("retired-another-too", "body-missing", "web-1:1:2"), {0, 1, 2, 4}, plain);
  const auto edited = [&](const std::string& name, const std::function<void(v1::LogEntry*)>& edit,
                          const std::string& reason = "retire") {
    r.One(Bad(name, reason), {0, 1, 4}, [&](Leaves* l) { r.Retire(l, {0, 1, 4}, edit); });
  };
  edited("retired-early", [](auto* e) { e->set_wall_ns(e->wall_ns() - 1); });
  edited("retired-too-young", [](auto* e) { e->mutable_retire()->set_max_age_ns(kDay + 10'000'000); });
  edited("retired-age-above-time", [](auto* e) { e->mutable_retire()->set_max_age_ns(UINT64_MAX); });
  edited("retired-another-body", [](auto* e) { e->mutable_retire()->mutable_body_sha256()->at(3) ^= 1; });
  edited("retired-holds-not-heeded", [](auto* e) { e->mutable_retire()->set_holds_checked_at(5); });
  edited(
      "retired-without-policy", [](auto* e) { e->mutable_retire()->clear_policy(); }, "body-missing");
  edited(
      "retired-without-hash", [](auto* e) { e->mutable_retire()->mutable_body_sha256()->resize(64); }, "body-missing");
  edited(
      "retired-leaves-repeat", [](auto* e) { e->mutable_retire()->set_leaves(1, 0); }, "body-missing");
  edited(
      "retired-leaf-beyond", [](auto* e) { e->mutable_retire()->set_leaves(2, 1ULL << 53U); }, "body-missing");
  edited("retired-leaf-after-it", [](auto* e) { e->mutable_retire()->set_leaves(2, 5); });
  r.One(Bad("retired-by-the-last-word", "retire", "-"), {}, [&](Leaves* l) {
    r.Retire(l, {0}, [](auto* e) { e->mutable_retire()->set_leaves(0, 6); });  // itself
  });
  r.One({.name = "retired-young-then-right"}, {0}, [&](Leaves* l) {
    r.Retire(l, {0}, [](auto* e) { e->mutable_retire()->set_max_age_ns(2 * kDay); });
    r.Retire(l, {0});
  });
  r.One(Bad("retired-above-the-checkpoint", "retire"), {0, 1, 4}, plain, 6);
  r.One(Bad("retired-of-nothing", "retire", "-"), {}, [&](Leaves* l) { r.Enter(l, RetiredOf(5, 3)); });
  r.One(Bad("retired-of-another-number", "retire", "-"), {0, 1, 4}, [&](Leaves* l) {
    plain(l);
    r.Enter(l, RetiredOf(6, 2));
  });
  // Two leaves name one body, and only one of them is retired.
  Trail twins;
  TestAgent one(m->ca(), "acme", "web-1");
  TestAgent two(m->ca(), "acme", "web-2");
  twins.batches = {one.Batch(), two.Batch()};
  r.Retire(&twins.batches, {0});
  m->Add(Bad("retired-body-of-two", "body-missing", "web-2:1:0"), twins,
         [&](const auto& d) { std::filesystem::remove(d + BodyFile(twins.batches[0])); });
  const Trail t = r.Make(plain);
  m->AddBundle({.name = "bundle-retired"}, t, {.bodies = {2, 3, 5, 7}, .all_bodies = false, .in_scope = 7});
  m->AddBundle(Bad("bundle-retired-another-too", "body-missing", "web-1:1:2"), t,
               {.bodies = {3, 5, 7}, .all_bodies = false, .in_scope = 7});
}

void AddHolds(Corpus* m) {
  RetentionCases r(m);
  const auto held = [&](const Case& c, const std::vector<v1::LogEntry>& before) {
    r.One(c, {0, 1}, [&](Leaves* l) {
      for (const v1::LogEntry& entry : before) r.Enter(l, entry);
      r.Retire(l, {0, 1});
    });
  };
  held(Bad("hold-of-all", "hold"), {HoldOf("h1")});
  held(Bad("hold-of-an-agent", "hold"), {HoldOf("h1", {"db-1", "web-1"})});
  held({.name = "hold-of-another-agent"}, {HoldOf("h1", {"web-2"})});
  // Batch 0 is at 3 ms, batch 1 at 6 ms.
  held(Bad("hold-of-a-time", "hold"), {HoldOf("h1", {}, kStart, kStart + 3'000'000)});
  held(Bad("hold-of-the-second", "hold", "web-1:1:1"), {HoldOf("h1", {}, kStart + 4'000'000)});
  held({.name = "hold-of-a-time-before"}, {HoldOf("h1", {}, 0, kStart - 1)});
  held({.name = "hold-of-a-time-after"}, {HoldOf("h1", {}, kStart + kDay)});
  held({.name = "hold-released"}, {HoldOf("h1"), ReleaseOf("h1")});
  held(Bad("hold-one-of-two-released", "hold"), {HoldOf("h1"), HoldOf("h2", {"web-1"}), ReleaseOf("h1")});
  held(Bad("hold-released-by-one-person", "hold"), {HoldOf("h1"), ReleaseOf("h1", "ann", "ann")});
  r.One({.name = "hold-after-the-retire"}, {0, 1}, [&](Leaves* l) {
    r.Retire(l, {0, 1});
    r.Enter(l, HoldOf("h1"));
    r.Enter(l, RetiredOf(6, 2));
  });
  const auto said = [&](const Case& c, const std::vector<v1::LogEntry>& entries) {
    r.One(c, {}, [&](Leaves* l) {
      for (const v1::LogEntry& entry : entries) r.Enter(l, entry);
    });
  };
  said({.name = "holds"}, {HoldOf("h1"), HoldOf("h2", {"web-1"}, kStart, kStart), ReleaseOf("h2"), ReleaseOf("h1")});
  said(Bad("hold-id-again", "hold", "-"), {HoldOf("h1"), ReleaseOf("h1"), HoldOf("h1")});
  said(Bad("release-of-no-hold", "release", "-"), {ReleaseOf("h1")});
  said(Bad("release-again", "release", "-"), {HoldOf("h1"), ReleaseOf("h1"), ReleaseOf("h1")});
  said(Bad("release-by-one-person", "release", "-"), {HoldOf("h1"), ReleaseOf("h1", "ann", "ann")});
  const auto malformed = [&](const std::string& name, v1::LogEntry entry,
                             const std::function<void(v1::LogEntry*)>& edit) {
    edit(&entry);
    said(Bad(name, "damaged-leaf", "-"), {entry});
  };
  malformed("hold-by-nobody", HoldOf("h1"), [](auto* e) { e->mutable_hold()->clear_by(); });
  malformed("hold-for-nothing", HoldOf("h1"), [](auto* e) { e->mutable_hold()->clear_reason(); });
  malformed("hold-of-no-id", HoldOf("h1"), [](auto* e) { e->mutable_hold()->set_id("a/b"); });
  malformed("hold-agent-id", HoldOf("h1", {"web-1", ""}), [](auto*) {});
  malformed("hold-ends-before", HoldOf("h1", {}, 5, 4), [](auto*) {});
  malformed("release-by-nobody", ReleaseOf("h1", "ann", ""), [](auto*) {});
  malformed("release-text", ReleaseOf("h1", "ann", "b\n"), [](auto*) {});
}

}  // namespace

void AddRetention(Corpus* m) {
  AddReads(m);
  AddDeletions(m);
  AddHolds(m);
}

}  // namespace nodetrail::trail
