// SPDX-License-Identifier: Apache-2.0
//
// Tiles, entries of the log's own, what agents saw of the log, signatures with
// P-256, and bodies that agents gave up.
#include <fmt/format.h>

#include <filesystem>

#include "nodetrail/trail/merkle.h"
#include "trail/testing/corpus.h"

namespace nodetrail::trail {
namespace {

namespace fs = std::filesystem;

void AddTiles(Corpus* m) {
  const Trail t = m->Good();
  const auto tiled = [&](const Case& c, const Corpus::OnDisk& damage) {
    m->Add(c, t, [&](const std::string& d) {
      WriteTiles(d, t.batches);
      if (damage) damage(d);
    });
  };
  const std::string hashes = "/log/tile/0/000.p/14";
  const std::string entries = "/log/tile/entries/000.p/14";
  tiled({.name = "tiles"}, nullptr);
  tiled({.name = "tile-missing"}, [&](const auto& d) { fs::remove(d + hashes); });
  tiled({.name = "tile-flip", .expected = "3", .reason = "tile"}, [&](const auto& d) { Flip(d + hashes, 100); });
  tiled({.name = "tile-short", .expected = "3", .reason = "tile"},
        [&](const auto& d) { fs::resize_file(d + hashes, 13U * 32); });
  tiled({.name = "tile-long", .expected = "3", .reason = "tile"},
        [&](const auto& d) { Spill(d + hashes, Slurp(d + hashes) + "x"); });
  tiled({.name = "tile-empty", .expected = "3", .reason = "tile"}, [&](const auto& d) { Spill(d + hashes, ""); });
  tiled({.name = "tile-entries-flip", .expected = "3", .reason = "tile"},
        [&](const auto& d) { Flip(d + entries, 100); });
  tiled({.name = "tile-entries-length", .expected = "3", .reason = "tile"},
        [&](const auto& d) { Flip(d + entries, 1); });
  tiled({.name = "tile-narrower-stays"}, [&](const auto& d) { WriteTiles(d, t.batches, 5); });
  tiled({.name = "tile-narrower-flip", .expected = "3", .reason = "tile"}, [&](const auto& d) {
    WriteTiles(d, t.batches, 5);
    Flip(d + "/log/tile/0/000.p/5", 33);
  });
  tiled({.name = "tile-strange-names"}, [&](const auto& d) {
    Spill(d + "/log/tile/0/000.p/014", "x");
    Spill(d + "/log/tile/0/000.p/14.tmp", "x");
    Spill(d + "/log/tile/0/0000", "x");
    fs::create_directories(d + "/log/tile/9");
  });
  Trail part = t;
  part.covered = 9;
  m->Add({.name = "tiles-of-a-larger-tree"}, part, [&](const auto& d) {
    WriteTiles(d, t.batches);
    Flip(d + hashes, 100);
  });

  Trail large;
  large.segment_bytes = 1U << 16;
  TestAgent agent(m->ca(), "acme", "web-1");
  for (int i = 0; i < 300; ++i) large.batches.push_back(agent.Batch(i == 0 ? 1 : 0));
  m->Add({.name = "tiles-300"}, large, [&](const auto& d) { WriteTiles(d, large.batches); });
  m->AddCopy("tiles-300", {.name = "tiles-300-without-full"}, [](const auto& d) { fs::remove(d + "/log/tile/0/000"); });
  for (const std::string file : {"0/000", "0/001.p/44", "1/000.p/1", "entries/000", "entries/001.p/44"}) {
    std::string name = "tiles-300-flip-" + file;
    std::replace(name.begin(), name.end(), '/', '-');
    m->AddCopy("tiles-300", {.name = name, .expected = "3", .reason = "tile"},
               [&](const auto& d) { Flip(fmt::format("{}/log/tile/{}", d, file), 31); });
  }
}

// Enrolled agents; what the log says of them in between.
void AddEntries(Corpus* m) {
  using Act = std::function<void(TestAgent*, std::vector<SealedBatch>*)>;
  const auto one = [m](const Case& c, const Act& act) {
    TestAgent agent(m->ca(), "acme", "web-1");
    Trail t;
    act(&agent, &t.batches);
    m->Add(c, t);
  };
  const auto run = [](TestAgent* a, std::vector<SealedBatch>* l, int batches) {
    for (int i = 0; i < batches; ++i) l->push_back(a->Batch());
  };
  const auto restart = [](TestAgent* a, std::vector<SealedBatch>* l) {
    l->push_back(a->CleanShutdown());
    a->Restart();
    l->push_back(a->Batch());
  };
  one({.name = "enrolled", .require_enrolment = true}, [&](auto* a, auto* l) {
    l->push_back(m->Enrol(*a));
    run(a, l, 3);
    restart(a, l);
  });
  one({.name = "never-enrolled"}, [&](auto* a, auto* l) { run(a, l, 2); });
  one({.name = "never-enrolled-though-required",
       .expected = "3",
       .batch = "web-1:1:0",
       .reason = "enrolment",
       .require_enrolment = true},
      [&](auto* a, auto* l) { run(a, l, 2); });
  one({.name = "enrolled-never-reported"}, [&](auto* a, auto* l) {
    run(a, l, 2);
    l->push_back(m->Entry(Corpus::EnrolOf("web-7", std::string(32, 's'))));
  });
  one({.name = "enrolled-with-another-key", .expected = "3", .batch = "web-1:1:0", .reason = "enrolment"},
      [&](auto* a, auto* l) {
        l->push_back(m->Entry(Corpus::EnrolOf("web-1", std::string(32, 's'))));
        run(a, l, 2);
      });
  one({.name = "enrolled-late-with-another-key"}, [&](auto* a, auto* l) {
    run(a, l, 2);
    l->push_back(m->Entry(Corpus::EnrolOf("web-1", std::string(32, 's'))));
    run(a, l, 1);
  });
  one({.name = "enrolled-late-next-epoch", .expected = "3", .batch = "web-1:2:0", .reason = "enrolment"},
      [&](auto* a, auto* l) {
        run(a, l, 2);
        l->push_back(m->Entry(Corpus::EnrolOf("web-1", std::string(32, 's'))));
        restart(a, l);
      });
  one({.name = "enrolled-again"}, [&](auto* a, auto* l) {
    l->push_back(m->Enrol(*a));
    run(a, l, 2);
    a->Identify(m->ca());
    l->push_back(m->Enrol(*a));
    restart(a, l);
  });
  one({.name = "enrolled-again-old-key", .expected = "3", .batch = "web-1:2:0", .reason = "enrolment"},
      [&](auto* a, auto* l) {
        l->push_back(m->Enrol(*a));
        run(a, l, 2);
        l->push_back(m->Entry(Corpus::EnrolOf("web-1", std::string(32, 's'))));
        restart(a, l);
      });
  one({.name = "revoked", .expected = "3", .batch = "web-1:1:2", .reason = "revoked"}, [&](auto* a, auto* l) {
    l->push_back(m->Enrol(*a));
    run(a, l, 2);
    l->push_back(m->Entry(Corpus::RevokeOf("web-1", 1, 0)));
    run(a, l, 2);
  });
  one({.name = "revoked-and-silent"}, [&](auto* a, auto* l) {
    l->push_back(m->Enrol(*a));
    run(a, l, 2);
    l->push_back(m->Entry(Corpus::RevokeOf("web-1", 1, 0)));
  });
  one({.name = "revoked-from-later-on", .expected = "3", .batch = "web-1:1:4", .reason = "revoked"},
      [&](auto* a, auto* l) {
        l->push_back(m->Enrol(*a));
        l->push_back(m->Entry(Corpus::RevokeOf("web-1", 1, 4)));
        run(a, l, 5);
      });
  one({.name = "revoked-next-epoch", .expected = "3", .batch = "web-1:2:0", .reason = "revoked"},
      [&](auto* a, auto* l) {
        l->push_back(m->Enrol(*a));
        run(a, l, 2);
        l->push_back(m->Entry(Corpus::RevokeOf("web-1", 1, 100)));
        restart(a, l);
      });
  one({.name = "revoked-twice", .expected = "3", .batch = "web-1:1:2", .reason = "revoked"}, [&](auto* a, auto* l) {
    run(a, l, 2);
    l->push_back(m->Entry(Corpus::RevokeOf("web-1", 1, 2)));
    l->push_back(m->Entry(Corpus::RevokeOf("web-1", 3, 0)));
    run(a, l, 1);
  });
  one({.name = "revoked-enrolled-with-the-same-key", .expected = "3", .batch = "web-1:1:2", .reason = "revoked"},
      [&](auto* a, auto* l) {
        l->push_back(m->Enrol(*a));
        run(a, l, 2);
        l->push_back(m->Entry(Corpus::RevokeOf("web-1", 1, 2)));
        l->push_back(m->Enrol(*a));
        run(a, l, 1);
      });
  one({.name = "revoked-enrolled-with-another-key"}, [&](auto* a, auto* l) {
    l->push_back(m->Enrol(*a));
    run(a, l, 2);
    l->push_back(a->CleanShutdown());
    l->push_back(m->Entry(Corpus::RevokeOf("web-1", 1, 2)));
    a->Identify(m->ca());
    l->push_back(m->Enrol(*a));
    a->Restart();
    run(a, l, 2);
  });
  const auto entry = [&](const Case& c, const std::function<SealedBatch(const TestAgent&)>& make) {
    one(c, [&](auto* a, auto* l) {
      run(a, l, 2);
      l->push_back(make(*a));
      run(a, l, 1);
    });
  };
  const Case damaged{.expected = "3", .reason = "damaged-leaf"};
  const auto bad = [&](const std::string& name, const std::function<void(v1::LogEntry*)>& edit) {
    Case c = damaged;
    c.name = name;
    entry(c, [&](const TestAgent&) {
      v1::LogEntry made = Corpus::EnrolOf("web-3", std::string(32, 's'));
      edit(&made);
      return m->Entry(made);
    });
  };
  bad("entry-version", [](auto* e) { e->set_format_version(2); });
  bad("entry-neither", [](auto* e) { e->clear_enrol(); });
  bad("entry-short-hash", [](auto* e) { e->mutable_enrol()->set_identity_spki_sha256("short"); });
  bad("entry-agent-id", [](auto* e) { e->mutable_enrol()->set_agent_id("a/b"); });
  bad("entry-tenant-id", [](auto* e) { e->set_tenant(".acme"); });
  bad("entry-token-text", [](auto* e) { e->mutable_enrol()->set_token_id("\n"); });
  bad("entry-revokes-epoch-0", [](auto* e) { *e = Corpus::RevokeOf("web-3", 0, 0); });
  const auto bytes = [&](const std::string& name, const std::function<void(std::string*)>& edit) {
    Case c = damaged;
    c.name = name;
    entry(c, [&](const TestAgent& a) {
      SealedBatch made = m->Enrol(a);
      edit(&made.leaf);
      return made;
    });
  };
  bytes("entry-signature-flip", [](std::string* leaf) { leaf->back() ^= 1; });
  bytes("entry-content-flip", [](std::string* leaf) { leaf->at(20) ^= 1; });
  bytes("entry-trailing-byte", [](std::string* leaf) { *leaf += 'x'; });
  bytes("entry-without-signature", [](std::string* leaf) { leaf->resize(leaf->size() - 66); });
  entry({.name = "entry-of-another-log-key", .expected = "3", .reason = "damaged-leaf"}, [&](const TestAgent& a) {
    const Ed25519Key other = Ed25519Key::Generate();
    return m->Entry(Corpus::EnrolOf(a.agent_id(), std::string(32, 's')), &other);
  });
  m->AddAgain({.name = "entry-not-judged-without-key", .dir = "entry-of-another-log-key", .log_key = ""});
  one({.name = "entry-of-another-tenant", .expected = "3", .reason = "tenant"}, [&](auto* a, auto* l) {
    l->push_back(m->Enrol(*a));
    run(a, l, 2);
    v1::LogEntry other = Corpus::EnrolOf("web-3", std::string(32, 's'));
    other.set_tenant("rival");
    l->push_back(m->Entry(other));
  });
  one({.name = "entries-only"}, [&](auto* a, auto* l) { l->push_back(m->Enrol(*a)); });
  Trail t;
  TestAgent agent(m->ca(), "acme", "web-1");
  t.batches = {agent.Batch(), m->Enrol(agent), agent.Batch()};
  m->Add({.name = "record-before-an-entry-flip", .expected = "3", .batch = "web-1:1:0"}, t,
         [](const auto& d) { Flip(d + "/log/000000.leaves", 32 + 1); });
}

void AddSeen(Corpus* m) {
  const auto seen = [m](const Case& c, const std::function<void(v1::BatchHeader*, const Hash& root_of_3)>& edit) {
    Trail t = m->Good();
    TestAgent agent(m->ca(), "acme", "web-3");
    CompactRange tree;
    for (size_t i = 0; i < 3; ++i) tree.Append(LeafHash(t.batches[i].leaf));
    t.batches.push_back(agent.Batch());
    t.batches.push_back(agent.Batch(2, [&](auto* h) { edit(h, tree.Root()); }));
    m->Add(c, t);
  };
  const auto set = [](uint64_t size, const std::string& root) {
    return [=](v1::BatchHeader* h, const Hash&) {
      h->set_seen_size(size);
      h->set_seen_root(root);
    };
  };
  seen({.name = "seen"}, [](auto* h, const Hash& root) {
    h->set_seen_size(3);
    h->set_seen_root(Bytes(root));
  });
  const Case bad{.expected = "3", .batch = "web-3:1:1", .reason = "seen"};
  const auto named = [](Case c, const std::string& name) {
    c.name = name;
    return c;
  };
  seen(named(bad, "seen-another-root"), set(3, std::string(32, 'r')));
  seen(named(bad, "seen-a-longer-log"), set(1000, std::string(32, 'r')));
  seen(named(bad, "seen-itself"), set(16, std::string(32, 'r')));
  seen(named(bad, "seen-2-to-the-64"), set(UINT64_MAX, std::string(32, 'r')));
  Case damaged = bad;
  damaged.reason = "damaged-leaf";
  damaged.batch = "-";  // two agents could have been next
  seen(named(damaged, "seen-short-root"), set(3, std::string(31, 'r')));
  seen(named(damaged, "seen-root-without-size"), set(0, std::string(32, 'r')));
  seen(named(damaged, "seen-size-without-root"), set(3, ""));
}

// n - s in the place of s: the other signature that ECDSA lets through.
void TwinOf(std::string* leaf) {
  static constexpr uint8_t order[32] = {0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,    0xff, 0xff, 0xff,
                                        0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
                                        0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
  int borrow = 0;
  for (size_t i = 32; i-- > 0;) {
    char& byte = leaf->at(leaf->size() - 32 + i);
    const int value = order[i] - static_cast<uint8_t>(byte) - borrow;
    borrow = value < 0 ? 1 : 0;
    byte = static_cast<char>(value + 256 * borrow);
  }
}

void AddP256(Corpus* m) {
  using Act = std::function<void(TestAgent*, std::vector<SealedBatch>*)>;
  const auto one = [m](const Case& c, const std::vector<v1::SigAlg>& enrolled, const Act& act) {
    TestAgent agent(m->ca(), "acme", "web-1");
    agent.sig_alg = v1::SIG_ALG_ECDSA_P256_SHA256;
    Trail t;
    if (m->Has("entries")) t.batches.push_back(m->Enrol(agent, enrolled));
    for (int i = 0; i < 3; ++i) t.batches.push_back(agent.Batch());
    if (act) act(&agent, &t.batches);
    m->Add(c, t);
  };
  one({.name = "p256"}, {v1::SIG_ALG_ECDSA_P256_SHA256}, [](TestAgent* a, auto* l) {
    l->push_back(a->CleanShutdown());
    a->Restart();
    l->push_back(a->Batch());
  });
  one({.name = "p256-or-ed25519"}, {v1::SIG_ALG_ED25519, v1::SIG_ALG_ECDSA_P256_SHA256}, [](TestAgent* a, auto* l) {
    l->push_back(a->CleanShutdown());
    a->sig_alg = v1::SIG_ALG_ED25519;
    a->Restart();
    l->push_back(a->Batch());
  });
  m->Need("entries");
  one({.name = "p256-not-enrolled", .expected = "3", .batch = "web-1:1:0", .reason = "enrolment"}, {}, nullptr);
  one({.name = "p256-only-ed25519-enrolled", .expected = "3", .batch = "web-1:1:0", .reason = "enrolment"},
      {v1::SIG_ALG_ED25519}, nullptr);
  m->Need("");
  const Case damaged{.expected = "3", .batch = "web-1:1:2", .reason = "damaged-leaf"};
  const auto bad = [&](const std::string& name, const std::function<void(std::string*)>& edit) {
    Case c = damaged;
    c.name = name;
    one(c, {v1::SIG_ALG_ECDSA_P256_SHA256}, [&](TestAgent*, auto* l) { edit(&l->back().leaf); });
  };
  bad("p256-twin", TwinOf);
  bad("p256-signature-flip", [](std::string* leaf) { leaf->back() ^= 1; });
  bad("p256-r-zero", [](std::string* leaf) { leaf->replace(leaf->size() - 64, 32, std::string(32, '\0')); });
  bad("p256-s-zero", [](std::string* leaf) { leaf->replace(leaf->size() - 32, 32, std::string(32, '\0')); });
  bad("p256-r-order", [](std::string* leaf) { leaf->replace(leaf->size() - 64, 32, std::string(32, '\xff')); });
  const auto key = [&](const std::string& name, const std::function<void(v1::BatchHeader*)>& edit) {
    Case c = damaged;
    c.name = name;
    c.batch = "web-1:1:3";
    one(c, {v1::SIG_ALG_ECDSA_P256_SHA256}, [&](TestAgent* a, auto* l) { l->push_back(a->Batch(2, edit)); });
  };
  key("p256-ed25519-length", [](auto* h) { h->set_signer_key(std::string(32, 'k')); });
  key("p256-next-key-length", [](auto* h) { h->set_next_key(std::string(32, 'k')); });
  key("p256-uncompressed-mark", [](auto* h) { h->mutable_signer_key()->at(0) = 4; });
  key("p256-not-on-the-curve", [](auto* h) { h->set_signer_key("\x02" + std::string(31, '\0') + "\x07"); });
  key("p256-x-too-large", [](auto* h) { h->set_signer_key("\x02" + std::string(32, '\xff')); });
  key("p256-said-to-be-ed25519", [](auto* h) { h->set_sig_alg(v1::SIG_ALG_ED25519); });
  key("algorithm-unknown", [](auto* h) { h->set_sig_alg(static_cast<v1::SigAlg>(3)); });
  key("algorithm-none", [](auto* h) { h->set_sig_alg(v1::SIG_ALG_UNSPECIFIED); });
}

void AddEvictions(Corpus* m) {
  const auto evicted = [m](const Case& c, const std::function<std::string(const TestAgent&, const SealedBatch&)>& make,
                           bool body = false) {
    TestAgent agent(m->ca(), "acme", "web-1");
    Trail t;
    for (int i = 0; i < 4; ++i) t.batches.push_back(agent.Batch());
    m->Add(c, t, [&](const std::string& d) {
      if (!body) fs::remove(d + BodyFile(t.batches[2]));
      Spill(d + EvictedFile(t.batches[2]), make(agent, t.batches[2]));
    });
  };
  evicted({.name = "evicted", .expected = "1"}, [](const auto& a, const auto& b) { return a.Eviction(b); });
  evicted(
      {.name = "evicted-and-there"}, [](const auto& a, const auto& b) { return a.Eviction(b); }, true);
  evicted(
      {.name = "evicted-badly-and-there"}, [](const auto&, const auto&) { return "garbage"; }, true);
  const Case bad{.expected = "3", .batch = "web-1:1:2", .reason = "eviction"};
  const auto named = [&](const std::string& name) {
    Case c = bad;
    c.name = name;
    return c;
  };
  const auto edit = [&](const std::string& name, const std::function<void(v1::BodyEvicted*)>& change) {
    evicted(named(name), [&](const auto& a, const auto& b) { return a.Eviction(b, change); });
  };
  edit("evicted-tenant", [](auto* s) { s->set_tenant("rival"); });
  edit("evicted-agent", [](auto* s) { s->set_agent_id("web-2"); });
  edit("evicted-epoch", [](auto* s) { s->set_epoch(2); });
  edit("evicted-seq", [](auto* s) { s->set_seq(1); });
  edit("evicted-hash", [](auto* s) { s->set_batch_hash(std::string(32, 'h')); });
  edit("evicted-body-hash", [](auto* s) { s->set_body_sha256(std::string(32, 'h')); });
  edit("evicted-count", [](auto* s) { s->set_event_count(1); });
  edit("evicted-first-time", [](auto* s) { s->set_first_wall_ns(1); });
  edit("evicted-last-time", [](auto* s) { s->set_last_wall_ns(1); });
  evicted(named("evicted-empty"), [](const auto&, const auto&) { return ""; });
  evicted(named("evicted-garbage"), [](const auto&, const auto&) { return "garbage"; });
  evicted(named("evicted-too-long"),
          [](const auto& a, const auto& b) { return a.Eviction(b) + std::string(65'536, 'x'); });
  evicted(named("evicted-trailing"),
          [](const auto& a, const auto& b) { return a.Eviction(b) + std::string("\x28\x01"); });
  evicted(named("evicted-signature"), [](const auto& a, const auto& b) {
    v1::SignedEviction made;
    made.ParseFromString(a.Eviction(b));
    made.mutable_signature()->back() ^= 1;
    return made.SerializeAsString();
  });
  evicted(named("evicted-by-another-agent"), [m](const auto& a, const auto& b) {
    v1::SignedEviction made;
    made.ParseFromString(a.Eviction(b));
    const TestAgent other(m->ca(), "acme", "web-2");
    const std::string pae = Pae("application/vnd.nodetrail.body-evicted.v1", made.statement());
    made.set_signature(*EcdsaKey::FromPem(other.identity_key_pem())->Sign(pae));
    made.set_identity_cert(other.identity().Der());
    return made.SerializeAsString();
  });
  evicted(named("evicted-by-a-strangers-certificate"), [](const auto& a, const auto& b) {
    v1::SignedEviction made;
    made.ParseFromString(a.Eviction(b));
    TestAgent other(TestCa("stranger"), "acme", "web-1");
    const std::string pae = Pae("application/vnd.nodetrail.body-evicted.v1", made.statement());
    made.set_signature(*EcdsaKey::FromPem(other.identity_key_pem())->Sign(pae));
    made.set_identity_cert(other.identity().Der());
    return made.SerializeAsString();
  });
}

}  // namespace

void AddEvidence(Corpus* m) {
  AddTiles(m);
  m->Need("entries");
  AddEntries(m);
  m->Need("seen");
  AddSeen(m);
  m->Need("");
  AddP256(m);
  AddEvictions(m);
}

}  // namespace nodetrail::trail
