// SPDX-License-Identifier: Apache-2.0
//
// Seeded damage: files changed in one place; leaves changed with their checksum
// repaired; and what a thief of the keys can do, changed bytes rightly signed.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <random>
#include <utility>

#include "nodetrail/trail/eviction.h"
#include "nodetrail/trail/merkle.h"
#include "trail/testing/corpus.h"

namespace nodetrail::trail {
namespace {

namespace fs = std::filesystem;

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  size_t Below(size_t n) { return static_cast<size_t>(engine_() % n); }

 private:
  std::mt19937_64 engine_;
};

// Always other bytes than before.
void Change(std::string* bytes, Random* random) {
  const std::string before = *bytes;
  while (*bytes == before) {
    if (bytes->empty()) {
      *bytes = "x";
      return;
    }
    const size_t at = random->Below(bytes->size());
    switch (random->Below(12)) {
      case 0: bytes->resize(at); break;
      case 1: bytes->erase(at, 1); break;
      case 2: bytes->insert(at, 1, static_cast<char>(random->Below(256))); break;
      case 3: bytes->replace(at, 4, std::string(4, static_cast<char>(random->Below(256)))); break;
      case 4: bytes->insert(at, bytes->substr(at, 1 + random->Below(40))); break;
      case 5: (*bytes)[at] = static_cast<char>(random->Below(256)); break;
      default:
        (*bytes)[at] = static_cast<char>(static_cast<unsigned char>((*bytes)[at]) ^ (1U << random->Below(8)));
        break;
    }
  }
}

// In a fixed order; leaves come three times, for they are what counts.
std::vector<std::string> FilesOf(const std::string& trail) {
  std::vector<std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(trail)) {
    if (!entry.is_regular_file()) continue;
    const std::string name = entry.path().string().substr(trail.size());
    out.insert(out.end(), name.ends_with(".leaves") ? 3 : 1, name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

// An enrolled agent and another one; a body given up; all kinds of files.
struct Base {
  Trail trail;
  std::string evicted_file;
  std::string eviction;
};

Base MakeBase(Corpus* m) {
  Base out;
  auto& l = out.trail.batches;
  TestAgent one(m->ca(), "acme", "web-1");
  TestAgent two(m->ca(), "acme", "web-2");
  two.sig_alg = v1::SIG_ALG_ECDSA_P256_SHA256;
  two.now_ns += 500;
  if (m->Has("entries")) l.push_back(m->Enrol(one));
  for (int i = 0; i < 4; ++i) l.push_back(one.Batch());
  if (m->Has("entries")) l.push_back(m->Enrol(two, {v1::SIG_ALG_ECDSA_P256_SHA256}));
  for (int i = 0; i < 3; ++i) l.push_back(two.Batch());
  CompactRange tree;
  for (const SealedBatch& batch : l) tree.Append(LeafHash(batch.leaf));
  l.push_back(one.Batch(2, [&](v1::BatchHeader* h) {
    if (!m->Has("seen")) return;
    h->set_seen_size(tree.size());
    h->set_seen_root(Bytes(tree.Root()));
  }));
  if (m->Has("entries")) l.push_back(m->Entry(Corpus::RevokeOf("web-2", 1, 3)));
  l.push_back(one.CleanShutdown());
  one.Restart();
  for (int i = 0; i < 2; ++i) l.push_back(one.Batch());
  out.evicted_file = EvictedFile(l[2]);
  out.eviction = one.Eviction(l[2]);
  l[2].body.clear();
  return out;
}

// Any one file, anywhere.
void OneFile(Corpus* m, const Base& base, const std::string& from, const std::string& name, Random* random) {
  Case c{.name = name, .expected = "!0"};
  const std::vector<std::string> files = FilesOf(m->dir() + "/" + from);
  c.changed = files[random->Below(files.size())];
  const bool remove = random->Below(20) == 0;
  if (remove) {
    const auto of_web_2 = [&](const SealedBatch& batch) {
      return batch.header.agent_id() == "web-2" && BodyFile(batch) == c.changed;
    };
    const bool outside =
        from == "mutation-bundle" && std::any_of(base.trail.batches.begin(), base.trail.batches.end(), of_web_2);
    if (outside) c.spared = "a body outside the bundle's scope was removed";
    if (c.changed.starts_with("/log/tile/")) c.spared = "a tile was removed: it is made anew from the leaves";
    c.changed += " removed";
  }
  m->AddCopy(from, c, [&](const std::string& d) {
    const std::string file = d + c.changed.substr(0, c.changed.find(' '));
    if (remove) {
      fs::remove(file);
      return;
    }
    std::string bytes = Slurp(file);
    Change(&bytes, random);
    Spill(file, bytes);
  });
}

// One leaf, with a right checksum and in its place.
void OneLeaf(Corpus* m, const Base& base, const std::string& from, const std::string& name, Random* random) {
  const SealedBatch& victim = base.trail.batches[random->Below(base.trail.batches.size())];
  m->AddCopy(from, {.name = name, .expected = "!0", .changed = "a leaf"}, [&](const std::string& d) {
    for (int n = 0; fs::exists(fmt::format("{}/log/{:06}.leaves", d, n)); ++n) {
      const std::string file = fmt::format("{}/log/{:06}.leaves", d, n);
      std::string bytes = Slurp(file);
      const std::string old = RecordOf(victim.leaf);
      const size_t at = bytes.find(old);
      if (at == std::string::npos) continue;
      std::string leaf = victim.leaf;
      Change(&leaf, random);
      Spill(file, bytes.replace(at, old.size(), RecordOf(leaf)));
    }
  });
}

// What the keys' owner may sign: nothing is said of the outcome but that both
// verifiers see the same.
void Stolen(Corpus* m, const std::string& name, Random* random) {
  TestAgent agent(m->ca(), "acme", "web-1");
  if (random->Below(3) == 0) agent.sig_alg = v1::SIG_ALG_ECDSA_P256_SHA256;
  Trail t;
  if (m->Has("entries")) t.batches.push_back(m->Enrol(agent, {agent.sig_alg}));
  const size_t before = random->Below(3);
  for (size_t i = 0; i < before; ++i) t.batches.push_back(agent.Batch());
  const size_t what = m->Has("entries") ? random->Below(5) : 1 + random->Below(4);
  size_t evicted_at = 0;
  std::string evicted;
  if (what == 0) {
    v1::LogEntry entry =
        random->Below(2) == 0 ? Corpus::EnrolOf("web-1", std::string(32, 's')) : Corpus::RevokeOf("web-1", 1, 1);
    t.batches.push_back(m->EntryOf([&] {
      std::string bytes = entry.SerializeAsString();
      Change(&bytes, random);
      return bytes;
    }()));
  } else if (what == 1) {
    t.batches.push_back(agent.Batch());
    std::string body = *DecompressBody(t.batches.back().body, t.batches.back().header.raw_body_len());
    Change(&body, random);
    SealedBatch& last = t.batches.back();
    last.body = *CompressBody(body);
    last.header.set_stored_body_len(last.body.size());
    last.header.set_raw_body_len(body.size());
    last.header.set_body_sha256(Bytes(Sha256Of(last.body)));
    event::v1::EventBatch parsed;
    if (parsed.ParseFromString(body)) last.header.set_events_root(Bytes(EventsRoot(parsed)));
    last.leaf = agent.Forge(last.header);
  } else if (what == 2) {
    t.batches.push_back(agent.Batch());
    SealedBatch& last = t.batches.back();
    evicted = agent.EvictionOf([&] {
      std::string bytes = EvictionStatement(last.header, BatchHash(last.leaf), agent.now_ns).SerializeAsString();
      Change(&bytes, random);
      return bytes;
    }());
    last.body.clear();
    evicted_at = t.batches.size() - 1;
  } else {
    t.batches.push_back(agent.Batch());
    SealedBatch& last = t.batches.back();
    std::string header = last.header.SerializeAsString();
    Change(&header, random);
    last.leaf = agent.ForgeBytes(header);
  }
  const size_t after = random->Below(3);
  for (size_t i = 0; i < after; ++i) t.batches.push_back(agent.Batch());
  constexpr std::array<const char*, 5> kWhat = {"an entry", "a body", "an eviction", "a header", "a header"};
  m->Add({.name = name, .expected = "*", .changed = fmt::format("{}, signed again", kWhat.at(what))}, t,
         [&](const std::string& d) {
           if (evicted.empty()) return;
           const std::string file = d + EvictedFile(t.batches[evicted_at]);
           fs::create_directories(fs::path(file).parent_path());
           Spill(file, evicted);
         });
}

// A manifest or a policy, changed by its owner.
void Text(Corpus* m, const std::string& base, const std::string& policy, const std::string& name, Random* random) {
  Case c{.name = name, .expected = "*", .changed = "a manifest, with its hash"};
  if (random->Below(2) == 0) {
    std::string text = policy;
    Change(&text, random);
    c.dir = base;
    c.changed = "a policy";
    c.log_key = "";
    c.policy = m->File(name + ".policy", text);
    m->AddAgain(c);
    return;
  }
  m->AddCopy(base, c, [&](const std::string& d) {
    std::string manifest = Slurp(d + "/manifest.json");
    Change(&manifest, random);
    Spill(d + "/manifest.json", manifest);
    Spill(d + "/manifest.sha256", Hex(Sha256Of(manifest)) + "  manifest.json\n");
  });
}

}  // namespace

void AddMutations(Corpus* m, uint64_t seed, int count) {
  Random random(seed);
  const Base base = MakeBase(m);
  const auto& l = base.trail.batches;
  const auto evict = [&](const std::string& d) {
    fs::create_directories(fs::path(d + base.evicted_file).parent_path());
    Spill(d + base.evicted_file, base.eviction);
  };
  m->Add({.name = "mutation-trail", .expected = "1"}, base.trail, [&](const std::string& d) {
    evict(d);
    WriteTiles(d, l);
  });
  BundleSpec spec;
  spec.agents = {"web-1"};
  spec.in_scope = 8;
  if (m->Has("receipts")) {
    spec.receipts = {{"a.tlog-proof", Corpus::Receipt(l, 3, 9, m->Note(l, 9))},
                     {"b.tlog-proof", Corpus::Receipt(l, 4, l.size(), m->Note(l))}};
  }
  m->AddBundle({.name = "mutation-bundle", .expected = "1"}, base.trail, spec, evict);
  const std::string policy = "log " + Slurp(m->dir() + "/log.key") + "\nwitness w0 " + m->WitnessVkey(0) +
                             "\nwitness w1 " + m->WitnessVkey(1) + "\ngroup g 1 w0 w1\ngroup h all g w0\nquorum none\n";
  for (int i = 0; i < count; ++i) {
    const std::string name = fmt::format("mutation-{:05}", i);
    const std::string from = random.Below(2) == 0 ? "mutation-trail" : "mutation-bundle";
    switch (random.Below(10)) {
      case 0:
      case 1:
      case 2: OneLeaf(m, base, from, name, &random); break;
      case 3:
      case 4: Stolen(m, name, &random); break;
      case 5: Text(m, "mutation-bundle", policy, name, &random); break;
      default: OneFile(m, base, from, name, &random); break;
    }
  }
}

}  // namespace nodetrail::trail
