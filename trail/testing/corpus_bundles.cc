// SPDX-License-Identifier: Apache-2.0
//
// Bundles: good ones, and each rule of theirs broken once.
#include <fmt/format.h>

#include <filesystem>

#include "nodetrail/trail/merkle.h"
#include "trail/testing/corpus.h"

namespace nodetrail::trail {
namespace {

namespace fs = std::filesystem;

// The time of the events in Good(): web-1's begin at the first, 3 ms a batch.
std::string Time(uint64_t milliseconds) { return fmt::format("\"2023-11-14T22:13:20.{:03}000000Z\"", milliseconds); }

void Replace(std::string* text, const std::string& from, const std::string& to) {
  const size_t at = text->find(from);
  if (at == std::string::npos) Fail("the manifest has no " + from);
  text->replace(at, from.size(), to);
}

struct Base {
  Trail trail;
  BundleSpec spec;  // everything is in it, with two receipts
};

Base MakeBase(Corpus* m) {
  Base out{.trail = m->Good(), .spec = {}};
  const auto& l = out.trail.batches;
  out.spec.receipts = {{"a.tlog-proof", Corpus::Receipt(l, 3, 9, m->Note(l, 9))},
                       {"b-2.tlog-proof", Corpus::Receipt(l, 13, 14, m->Note(l))}};
  return out;
}

void AddScopes(Corpus* m) {
  const Trail t = m->Good();
  m->AddBundle({.name = "bundle-all"}, t, {});
  m->AddBundle({.name = "bundle-nothing"}, Trail(), {});
  m->AddBundle({.name = "bundle-of-one-agent"}, t, {.agents = {"web-2"}, .bodies = {7, 8, 9, 10}, .all_bodies = false});
  m->AddBundle({.name = "bundle-of-two-agents"}, t, {.agents = {"web-1", "web-2"}});
  m->AddBundle({.name = "bundle-of-nobody"}, t, {.agents = {"web-9"}, .all_bodies = false});
  m->AddBundle({.name = "bundle-with-more-bodies"}, t, {.agents = {"web-2"}, .in_scope = 4});
  // Bodies are named by the time that their header has: web-1's batch i ends at 3 (i + 1) ms.
  m->AddBundle({.name = "bundle-of-a-time"}, t,
               {.since = Time(6), .until = Time(9), .agents = {"web-1"}, .bodies = {1, 2}, .all_bodies = false});
  m->AddBundle(
      {.name = "bundle-of-a-time-one-missing", .expected = "3", .batch = "web-1:1:2", .reason = "body-missing"}, t,
      {.since = Time(6), .until = Time(9), .agents = {"web-1"}, .bodies = {1}, .all_bodies = false, .in_scope = 2});
  m->AddBundle({.name = "bundle-before-everything"}, t,
               {.until = "\"1970-01-01T00:00:00.000000000Z\"", .all_bodies = false});
  m->AddBundle({.name = "bundle-after-everything"}, t,
               {.since = "\"2261-12-31T23:59:59.999999999Z\"", .all_bodies = false});
  // Holes and restarts count if they are in the scope.
  for (const bool inside : {true, false}) {
    const std::string where = inside ? "inside" : "outside";
    const BundleSpec spec = inside ? BundleSpec{} : BundleSpec{.agents = {"web-2"}, .in_scope = 0};
    const auto happened = [&](const std::string& name, const std::string& expected, const std::string& batch,
                              const std::function<void(TestAgent*, std::vector<SealedBatch>*)>& act) {
      Trail trail;
      TestAgent agent(m->ca(), "acme", "web-1");
      trail.batches.push_back(agent.Batch());
      act(&agent, &trail.batches);
      m->AddBundle({.name = fmt::format("bundle-{}-{}", name, where),
                    .expected = inside ? expected : "0",
                    .batch = inside ? batch : "-"},
                   trail, spec);
    };
    happened("hole", "2", "web-1:1:1", [](auto* a, auto* l) {
      a->Batch();
      l->push_back(a->Batch());
    });
    happened("restart", "2", "web-1:2:0", [](auto* a, auto* l) {
      a->Restart();
      l->push_back(a->Batch());
    });
    happened("spool-lost", "2", "web-1:2:0", [](auto* a, auto* l) {
      a->Restart(false);
      l->push_back(a->Batch());
    });
    happened("loss-counter", "1", "-",
             [](auto* a, auto* l) { l->push_back(a->Batch(1, [](auto* h) { h->mutable_losses()->set_probe(3); })); });
  }
  m->AddBundle({.name = "bundle-wrong-counter-outside", .expected = "3", .batch = "web-1:1:2", .reason = "counters"},
               [m] {
                 Trail trail;
                 TestAgent agent(m->ca(), "acme", "web-1");
                 trail.batches.push_back(agent.Batch());
                 trail.batches.push_back(agent.Batch(1, [](auto* h) { h->mutable_losses()->set_map(3); }));
                 trail.batches.push_back(agent.Batch(1, [](auto* h) { h->mutable_losses()->set_map(2); }));
                 return trail;
               }(),
               {.agents = {"web-2"}, .in_scope = 0});
}

void AddManifests(Corpus* m) {
  const Base base = MakeBase(m);
  m->AddBundle({.name = "bundle-receipts"}, base.trail, base.spec);
  const auto edited = [&](const std::string& name, const std::function<void(std::string*)>& edit,
                          const std::string& expected = "3") {
    BundleSpec spec = base.spec;
    spec.edit_manifest = edit;
    m->AddBundle({.name = "manifest-" + name, .expected = expected, .reason = expected == "3" ? "bundle" : "-"},
                 base.trail, spec);
  };
  const auto swapped = [&](const std::string& name, const std::string& from, const std::string& to) {
    edited(name, [=](std::string* text) { Replace(text, from, to); });
  };
  swapped("format", "nodetrail-bundle 1", "nodetrail-bundle 2");
  swapped("origin", kOrigin, "trail.example.org/other");
  swapped("tenant-other", "\"acme\"", "\"rival\"");
  swapped("tenant-no-id", "\"acme\"", "\"ac me\"");
  swapped("size-smaller", ": 14", ": 13");
  swapped("size-larger", ": 14", ": 15");
  swapped("size-text", ": 14", ": \"14\"");
  swapped("size-float", ": 14", ": 14.0");
  swapped("size-exponent", ": 14", ": 1.4e1");
  swapped("size-negative", ": 14", ": -14");
  swapped("size-huge", ": 14", ": 9007199254740993");
  swapped("bodies-fewer", "bodies\": 14", "bodies\": 13");
  swapped("bodies-more", "bodies\": 14", "bodies\": 15");
  m->Need("receipts");
  swapped("receipts-fewer", "receipts\": 2", "receipts\": 1");
  swapped("receipts-more", "receipts\": 2", "receipts\": 3");
  m->Need("");
  swapped("since-milliseconds", "since\": null", "since\": \"2023-11-14T22:13:20.123Z\"");
  swapped("since-offset", "since\": null", "since\": \"2023-11-14T22:13:20.000000000+00:00\"");
  swapped("since-no-such-day", "since\": null", "since\": \"2023-02-30T22:13:20.000000000Z\"");
  swapped("since-1969", "since\": null", "since\": \"1969-12-31T23:59:59.000000000Z\"");
  swapped("until-2262", "until\": null", "until\": \"2262-01-01T00:00:00.000000000Z\"");
  swapped("until-leap-second", "until\": null", "until\": \"2016-12-31T23:59:60.000000000Z\"");
  swapped("until-number", "until\": null", "until\": 0");
  edited("since-after-until", [](std::string* text) {
    Replace(text, "since\": null", "since\": " + Time(9));
    Replace(text, "until\": null", "until\": " + Time(6));
  });
  swapped("agents-empty", "agents\": null", "agents\": []");
  swapped("agents-no-id", "agents\": null", "agents\": [\n    \"a/b\"\n  ]");
  swapped("agents-descending", "agents\": null", "agents\": [\n    \"web-2\",\n    \"web-1\"\n  ]");
  swapped("agents-twice", "agents\": null", "agents\": [\n    \"web-1\",\n    \"web-1\"\n  ]");
  swapped("agents-one-line", "agents\": null", "agents\": [\"web-1\",\"web-2\"]");
  swapped("key-missing", "  \"agents\": null,\n", "");
  swapped("key-more", "{\n", "{\n  \"a\": 1,\n");
  swapped("key-twice", "{\n", "{\n  \"format\": \"nodetrail-bundle 1\",\n");
  swapped("keys-in-another-order", "  \"since\": null,\n  \"until\": null,\n",
          "  \"until\": null,\n  \"since\": null,\n");
  swapped("indented-by-four", "  \"tenant\"", "    \"tenant\"");
  swapped("escaped", "acme", "\\u0061cme");
  swapped("escaped-slash", "/acme", "\\/acme");
  edited("without-newline", [](std::string* text) { text->pop_back(); });
  edited("byte-order-mark", [](std::string* text) { text->insert(0, "\xef\xbb\xbf"); });
  edited("not-utf8", [](std::string* text) { Replace(text, "acme", "ac\xff"); });
  edited("array", [](std::string* text) { *text = "[]\n"; });
  edited("empty", [](std::string* text) { text->clear(); });
  edited("too-long", [](std::string* text) { *text += std::string(1U << 20, '\n'); });
  edited("deep", [](std::string* text) { *text = std::string(100'000, '['); });
  swapped("proto", "{\n", "{\n  \"__proto__\": null,\n");
}

void AddBundleFiles(Corpus* m) {
  const Base base = MakeBase(m);
  const auto& batches = base.trail.batches;
  const auto damaged = [&](const Case& c, const Corpus::OnDisk& damage) {
    m->AddBundle(c, base.trail, base.spec, damage);
  };
  const auto bad = [&](const std::string& name, const std::string& reason, const Corpus::OnDisk& damage,
                       const std::string& batch = "-") {
    damaged({.name = "bundle-" + name, .expected = "3", .batch = batch, .reason = reason}, damage);
  };
  damaged({.name = "bundle-format", .expected = "64"},
          [](const auto& d) { Spill(d + "/FORMAT", "nodetrail-bundle 2\n"); });
  damaged({.name = "bundle-format-missing", .expected = "64"}, [](const auto& d) { fs::remove(d + "/FORMAT"); });
  damaged({.name = "bundle-said-to-be-a-trail"}, [](const auto& d) { Spill(d + "/FORMAT", "nodetrail-trail 1\n"); });
  damaged({.name = "bundle-foreign-files"}, [](const auto& d) { Spill(d + "/README", "x"); });
  bad("manifest-missing", "bundle", [](const auto& d) { fs::remove(d + "/manifest.json"); });
  bad("manifest-flip", "bundle", [](const auto& d) { Flip(d + "/manifest.json", 60); });
  bad("sum-missing", "bundle", [](const auto& d) { fs::remove(d + "/manifest.sha256"); });
  bad("sum-flip", "bundle", [](const auto& d) {
    std::string sum = Slurp(d + "/manifest.sha256");
    sum[0] = sum[0] == '0' ? '1' : '0';
    Spill(d + "/manifest.sha256", sum);
  });
  bad("sum-one-space", "bundle", [](const auto& d) {
    std::string sum = Slurp(d + "/manifest.sha256");
    Spill(d + "/manifest.sha256", sum.erase(64, 1));
  });
  bad("checkpoint-missing", "checkpoint", [](const auto& d) { fs::remove(d + "/log/checkpoint"); });
  bad("checkpoint-flip", "checkpoint", [](const auto& d) { Flip(d + "/log/checkpoint", 40); });
  bad(
      "body-flip", "body", [&](const auto& d) { Flip(d + BodyFile(batches[4]), 20); }, "web-1:1:4");
  bad(
      "body-missing", "body-missing", [&](const auto& d) { fs::remove(d + BodyFile(batches[4])); }, "web-1:1:4");
  bad(
      "leaf-flip", "damaged-leaf", [](const auto& d) { Flip(d + "/log/000000.leaves", 80); }, "web-1:1:0");
  bad("segment-missing", "-", [](const auto& d) { fs::remove(d + "/log/000001.leaves"); });
  m->Need("receipts");
  const std::string a = "/receipts/a.tlog-proof";
  const auto receipt = [&](const std::string& name, const std::function<void(std::string*)>& edit) {
    bad("receipt-" + name, "receipt", [&](const auto& d) {
      std::string text = Slurp(d + a);
      edit(&text);
      Spill(d + a, text);
    });
  };
  receipt("empty", [](std::string* r) { r->clear(); });
  receipt("index", [](std::string* r) { Replace(r, "index 3", "index 4"); });
  receipt("index-large", [](std::string* r) { Replace(r, "index 3", "index 9"); });
  receipt("path-flip", [](std::string* r) {
    char& c = r->at(r->find('\n', r->find("index")) + 5);
    c = c == 'A' ? 'B' : 'A';
  });
  receipt("path-cut", [](std::string* r) { r->erase(r->find('\n', r->find("index")) + 1, 45); });
  receipt("65-hashes", [](std::string* r) {
    const size_t at = r->find('\n', r->find("index")) + 1;
    const std::string line = r->substr(at, 45);
    for (int i = 0; i < 62; ++i) r->insert(at, line);
  });
  receipt("extra-line", [](std::string* r) { r->insert(r->find("index"), "extra AAAA\n"); });
  receipt("signature", [](std::string* r) { r->at(r->size() - 10) = r->at(r->size() - 10) == 'A' ? 'B' : 'A'; });
  receipt("of-another-log", [](std::string* r) {
    SealedBatch only;
    only.leaf = "x";
    const std::string note = *SignCheckpoint({kOrigin, 1, LeafHash("x"), {}}, Ed25519Key::Generate());
    *r = Corpus::Receipt({only}, 0, 1, note);
  });
  receipt("of-another-history", [m](std::string* r) {
    const Trail other = m->Good();
    *r = Corpus::Receipt(other.batches, 3, 9, m->Note(other.batches, 9));
  });
  receipt("of-a-larger-log", [&, m](std::string* r) {
    std::vector<SealedBatch> longer = batches;
    longer.push_back(batches[0]);
    *r = Corpus::Receipt(longer, 3, 15, m->Note(longer));
  });
  bad("receipt-name", "-", [&](const auto& d) { fs::rename(d + a, d + "/receipts/a.proof"); });
  bad("receipt-name-hidden", "-", [&](const auto& d) { fs::rename(d + a, d + "/receipts/.a.tlog-proof"); });
  bad("receipt-is-a-folder", "-", [&](const auto& d) {
    fs::remove(d + a);
    fs::create_directory(d + a);
  });
  bad("receipt-is-a-link", "-", [&](const auto& d) {
    fs::remove(d + a);
    fs::create_symlink("b-2.tlog-proof", d + a);
  });
  bad("receipt-missing", "bundle", [&](const auto& d) { fs::remove(d + a); });
  m->Need("");
}

void AddBundleLeaves(Corpus* m) {
  Trail t = m->Good();
  t.covered = 10;
  m->AddBundle({.name = "bundle-leaves-beyond", .expected = "3", .reason = "bundle"}, t, {});
  Trail two;
  TestAgent one(m->ca(), "acme", "web-1");
  TestAgent rival(m->ca(), "rival", "web-1");
  rival.now_ns += 500;
  two.batches = {one.Batch(), rival.Batch(), one.Batch()};
  m->AddBundle({.name = "bundle-of-two-tenants", .expected = "3", .batch = "web-1:1:0", .reason = "bundle"}, two, {});
  const auto evicted = [m](const Case& c, const BundleSpec& spec, bool right) {
    TestAgent agent(m->ca(), "acme", "web-1");
    Trail trail;
    trail.batches.push_back(agent.Batch());
    for (int i = 0; i < 3; ++i) trail.batches.push_back(agent.Batch());
    m->AddBundle(c, trail, spec, [&](const std::string& d) {
      fs::remove(d + BodyFile(trail.batches[2]));
      Spill(d + EvictedFile(trail.batches[2]), agent.Eviction(trail.batches[right ? 2 : 3]));
    });
  };
  evicted({.name = "bundle-evicted", .expected = "1"}, {}, true);
  evicted({.name = "bundle-evicted-outside"}, {.agents = {"web-2"}, .in_scope = 0}, true);
  evicted({.name = "bundle-evicted-badly-outside"}, {.agents = {"web-2"}, .in_scope = 0}, false);
  evicted({.name = "bundle-evicted-badly", .expected = "3", .batch = "web-1:1:2", .reason = "eviction"}, {}, false);
  Base base = MakeBase(m);
  std::string witnesses = "log " + Slurp(m->dir() + "/log.key") + "\nwitness w0 " + m->WitnessVkey(0) + "\nquorum w0\n";
  const std::string policy = m->File("bundle.policy", witnesses);
  const auto& l = base.trail.batches;
  base.trail.note = m->Cosigned(m->Note(l), {0});
  m->Need("receipts");
  const Case unwitnessed{
      .name = "bundle-receipt-without-quorum", .expected = "3", .reason = "receipt", .log_key = "", .policy = policy};
  m->AddBundle(unwitnessed, base.trail, base.spec);
  base.spec.receipts = {{"a.tlog-proof", Corpus::Receipt(l, 3, 9, m->Cosigned(m->Note(l, 9), {0}))}};
  m->AddBundle({.name = "bundle-receipt-with-quorum", .log_key = "", .policy = policy}, base.trail, base.spec);
  m->AddAgain({.name = "bundle-without-key", .dir = "bundle-receipt-with-quorum", .log_key = ""});
  m->Need("");
}

}  // namespace

void AddBundles(Corpus* m) {
  AddScopes(m);
  AddManifests(m);
  AddBundleFiles(m);
  AddBundleLeaves(m);
}

}  // namespace nodetrail::trail
