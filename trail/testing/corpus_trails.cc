// SPDX-License-Identifier: Apache-2.0
//
// Damage to the files of a trail, and to its leaves below the chains.
#include <fmt/format.h>

#include <filesystem>

#include "trail/testing/corpus.h"

namespace nodetrail::trail {
void AddFiles(Corpus* m) {
  const std::string segment = "/log/000000.leaves";
  m->Plain("good", "0", "-", m->Good());
  m->Plain("empty", "0", "-", Trail());
  Trail t = m->Good();
  t.covered = 10;
  m->Plain("not-all-covered", "0", "-", t);
  t = m->Good();
  m->Plain("body-flip", "3", "web-1:1:4", t, [&](const auto& d) { Flip(d + BodyFile(t.batches[4]), 20); });
  m->Plain("body-missing", "3", "web-1:1:2", t,
           [&](const auto& d) { std::filesystem::remove(d + BodyFile(t.batches[2])); });
  m->Plain("body-swapped", "3", "web-1:1:1", t,
           [&](const auto& d) { Spill(d + BodyFile(t.batches[1]), Slurp(d + BodyFile(t.batches[5]))); });
  m->Plain("body-cut", "3", "web-2:1:0", t,
           [&](const auto& d) { std::filesystem::resize_file(d + BodyFile(t.batches[7]), 9); });
  m->Plain("body-long", "3", "web-2:1:3", t,
           [&](const auto& d) { Spill(d + BodyFile(t.batches[10]), Slurp(d + BodyFile(t.batches[10])) + "x"); });
  m->Plain("body-huge", "3", "web-2:1:3", t,
           [&](const auto& d) { std::filesystem::resize_file(d + BodyFile(t.batches[10]), 9U << 20); });
  m->Plain("header-flip", "3", "web-1:1:0", t, [&](const auto& d) { Flip(d + segment, 32 + 8 + 30); });
  m->Plain("record-length", "3", "web-1:1:0", t, [&](const auto& d) { Flip(d + segment, 32 + 2); });
  m->Plain("record-checksum", "3", "web-1:1:0", t, [&](const auto& d) { Flip(d + segment, 32 + 5); });
  m->Plain("segment-header", "3", "-", t, [&](const auto& d) { Flip(d + "/log/000001.leaves", 18); });
  m->Plain("segment-magic", "3", "-", t, [&](const auto& d) { Flip(d + segment, 1); });
  m->Plain("segment-lost", "3", "-", t, [&](const auto& d) { std::filesystem::remove(d + "/log/000001.leaves"); });
  m->Plain("segment-first-lost", "3", "-", t, [&](const auto& d) { std::filesystem::remove(d + segment); });
  m->Plain("torn-tail", "0", "-", t, [&](const auto& d) {
    std::string last = d + "/log/000000.leaves";
    for (int i = 0; std::filesystem::exists(fmt::format("{}/log/{:06}.leaves", d, i)); ++i) {
      last = fmt::format("{}/log/{:06}.leaves", d, i);
    }
    Spill(last, Slurp(last) + std::string("\x80\x00\x00\x00\x12\x34\x0a", 7));
  });
  m->Plain("stale-records", "0", "-", t, [&](const auto& d) {
    const std::string whole = Slurp(d + segment);
    Spill(d + segment, whole + whole.substr(32));
  });
  // What lies in quarantine/ is evidence only if the key of the log's own batch signed it.
  {
    TestAgent agent(m->ca(), "acme", "web-1");
    Trail cloned;
    for (int i = 0; i < 3; ++i) cloned.batches.push_back(agent.Batch());
    v1::BatchHeader other = cloned.batches[2].header;
    other.set_last_wall_ns(7);
    const std::string rival = agent.Forge(other);  // with the key of batch 2
    cloned.batches.push_back(agent.Batch());
    TestAgent stranger(m->ca(), "acme", "web-1");
    for (int i = 0; i < 2; ++i) stranger.Batch();
    const std::string foreign = stranger.Batch().leaf;
    const auto kept = [&](const std::string& name, const std::string& expected, const std::string& bad,
                          const std::string& leaf, const std::string& file = "/quarantine/web-1-00.leaf") {
      Case c;
      c.name = name;
      c.expected = expected;
      c.batch = bad;
      c.reason = bad == "-" ? "-" : "equivocation";
      m->Add(c, cloned, [&](const auto& d) {
        std::filesystem::create_directories(d + "/quarantine");
        Spill(d + file, leaf);
      });
    };
    kept("quarantine-rival", "3", "web-1:1:2", rival);
    kept("quarantine-rival-other-name", "0", "-", rival, "/quarantine/web-1-00.body");
    kept("quarantine-same", "0", "-", cloned.batches[2].leaf);
    kept("quarantine-foreign-key", "0", "-", foreign);
    kept("quarantine-cut", "0", "-", rival.substr(0, rival.size() - 1));
    std::string unsigned_rival = rival;
    unsigned_rival.back() = static_cast<char>(unsigned_rival.back() ^ 1);
    kept("quarantine-unsigned", "0", "-", unsigned_rival);
  }
  m->Plain("unknown-files", "0", "-", t, [&](const auto& d) { Spill(d + "/log/zero.other", "x"); });
  m->Plain("wrong-ca", "3", "web-1:1:0", t, nullptr, "", "stranger.pem");
  m->Plain("no-checkpoint", "3", "-", t, [&](const auto& d) { std::filesystem::remove(d + "/log/checkpoint"); });
  m->Plain("checkpoint-flip", "3", "-", t, [&](const auto& d) { Flip(d + "/log/checkpoint", 30); });
  m->Plain("checkpoint-foreign-line", "0", "-", t, [&](const auto& d) {
    Spill(d + "/log/checkpoint", *CosignNote(Slurp(d + "/log/checkpoint"), "witness", Ed25519Key::Generate()));
  });
  m->Plain("checkpoint-twice", "3", "-", t, [&](const auto& d) {
    const std::string note = Slurp(d + "/log/checkpoint");
    Spill(d + "/log/checkpoint", note + note.substr(note.find("\n\n") + 2));
  });
  m->Plain("checkpoint-other-key", "3", "-", t, [&](const auto& d) {
    Spill(d + "/log/checkpoint", *SignCheckpoint({kOrigin, 1, LeafHash("x"), {}}, Ed25519Key::Generate()));
  });
}

void AddLeaves(Corpus* m) {
  m->Kept("removed-leaf", "web-1:1:3", [](Trail* t) { t->batches.erase(t->batches.begin() + 3); });
  m->Kept("removed-last", "-", [](Trail* t) { t->batches.pop_back(); });
  m->Kept("removed-second-agent", "-",
          [](Trail* t) { t->batches.erase(t->batches.begin() + 7, t->batches.begin() + 11); });
  m->Kept("reordered", "-", [](Trail* t) { std::swap(t->batches[2], t->batches[3]); });
  m->Kept("duplicated", "web-1:1:3", [](Trail* t) { t->batches.push_back(t->batches[3]); });
  m->Kept("header-repaired-crc", "web-1:1:2", [](Trail* t) { t->batches[2].leaf[40] ^= 1; });
  m->Kept("signature-repaired-crc", "web-1:1:5", [](Trail* t) { t->batches[5].leaf.back() ^= 1; });
  m->Signed("resigned-edit", "3", "web-1:1:5", [](Trail* t) { t->batches[5].leaf[40] ^= 1; });
  m->Signed("resigned-duplicate", "3", "web-1:1:1", [](Trail* t) { t->batches.push_back(t->batches[1]); });
  m->Signed("resigned-removal", "2", "web-1:1:3", [](Trail* t) { t->batches.erase(t->batches.begin() + 3); });
  m->Signed("resigned-reorder", "3", "web-1:1:2", [](Trail* t) { std::swap(t->batches[2], t->batches[3]); });
  m->Signed("resigned-garbage", "3", "-", [](Trail* t) { t->batches[8].leaf = std::string(100, '\x0a'); });
  Trail t = m->Good();
  const std::string older = m->Note(t.batches, UINT64_MAX);
  m->Plain("older-checkpoint", "0", "-", t, nullptr, m->Note(t.batches, 5));
  Trail cut = t;
  cut.batches.pop_back();
  m->Plain("truncated-and-resigned", "0", "-", cut);
  m->Plain("truncated-older-checkpoint", "3", "-", cut, nullptr, older);
  m->Plain("other-history", "3", "-", m->Good(), nullptr, m->Note(t.batches, 5));
}

}  // namespace nodetrail::trail
