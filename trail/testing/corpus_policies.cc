// SPDX-License-Identifier: Apache-2.0
//
// Policies and witnesses, and what an auditor kept.
#include <fmt/format.h>

#include "nodetrail/trail/merkle.h"
#include "trail/testing/corpus.h"

namespace nodetrail::trail {
namespace {

std::string LogLine(Corpus* m) { return "log " + Slurp(m->dir() + "/log.key") + "\n"; }
std::string Witnesses(Corpus* m) {
  std::string out;
  for (size_t i = 0; i < 4; ++i) out += fmt::format("witness w{} {}\n", i, m->WitnessVkey(i));
  return out;
}
std::string Nested(Corpus* m) {
  return "# two of the customer's, one of the others\n" + LogLine(m) + Witnesses(m) +
         "group own 2 w0 w1 w2\n\tgroup  others any w3\ngroup both all own others\nquorum both\n";
}

void AddQuorums(Corpus* m) {
  const std::string nested = m->File("two-groups.policy", Nested(m));
  const Trail good = m->Good();
  const std::string note = m->Note(good.batches);
  const auto with = [&](Case c, const std::string& signed_note) {
    Trail t = good;
    t.note = signed_note;
    c.log_key = "";
    if (c.policy.empty()) c.policy = nested;
    m->Add(c, t);
  };
  with({.name = "quorum"}, m->Cosigned(note, {0, 2, 3}));
  with({.name = "quorum-of-all"}, m->Cosigned(note, {3, 2, 1, 0}));
  const auto missing = [&](const std::string& name, const std::vector<size_t>& who) {
    with({.name = name, .expected = "3", .reason = "quorum"}, m->Cosigned(note, who));
  };
  missing("quorum-one-of-two", {0, 3});
  missing("quorum-without-others", {0, 1, 2});
  missing("quorum-nobody", {});
  with({.name = "quorum-latest-time"}, m->Cosigned(note, {0, 1, 3}, INT64_MAX));
  with({.name = "quorum-time-0"}, m->Cosigned(note, {0, 1, 3}, 0));
  const auto broken = [&](const std::string& name, const std::function<void(std::string*)>& edit,
                          const std::string& reason = "checkpoint") {
    std::string text = m->Cosigned(note, {0, 1, 3});
    edit(&text);
    with({.name = name, .expected = "3", .reason = reason}, text);
  };
  broken("cosignature-twice", [&](std::string* t) { *t += t->substr(t->rfind("— ")); });
  broken("cosignature-flip", [&](std::string* t) { t->at(t->size() - 20) = t->at(t->size() - 20) == 'A' ? 'B' : 'A'; });
  broken("cosignature-of-another-checkpoint", [&](std::string* t) {
    const std::string other = m->Cosigned(m->Note(good.batches, 5), {3});
    t->replace(t->rfind("— "), std::string::npos, other.substr(other.rfind("— ")));
  });
  broken("log-signature-missing", [&](std::string* t) {
    const size_t line = t->find("— ");
    t->erase(line, t->find('\n', line) + 1 - line);
  });
  broken("log-signature-twice", [&](std::string* t) {
    const size_t line = t->find("— ");
    t->insert(line, t->substr(line, t->find('\n', line) + 1 - line));
  });
  with({.name = "cosigned-by-an-unknown-witness"},
       *CosignNote(m->Cosigned(note, {0, 1, 3}), "witness.example.org/stranger", Ed25519Key::Generate()));
  with({.name = "cosigned-under-a-known-name"},
       *CosignNote(m->Cosigned(note, {0, 1, 3}), "witness.example.org/w2", Ed25519Key::Generate()));
}

void AddPolicyTexts(Corpus* m) {
  const Trail good = m->Good();
  Trail cosigned = good;
  cosigned.note = m->Cosigned(m->Note(good.batches), {0, 1});
  m->Add({.name = "policy-base"}, cosigned);
  const std::string log = LogLine(m);
  const std::string all = log + Witnesses(m);
  const auto text = [&](const std::string& name, const std::string& expected, const std::string& policy,
                        const std::string& reason = "-", const std::string& log_key = "") {
    m->AddAgain({.name = "policy-" + name,
                 .dir = "policy-base",
                 .expected = expected,
                 .reason = reason,
                 .log_key = log_key,
                 .policy = m->File(name + ".policy", policy)});
  };
  text("none", "0", log + "quorum none\n");
  text("one", "0", all + "quorum w1\n");
  text("one-missing", "3", all + "quorum w2\n", "quorum");
  text("all", "0", all + "group g all w0 w1\nquorum g\n");
  text("all-missing", "3", all + "group g all w0 w1 w2\nquorum g\n", "quorum");
  text("any", "0", all + "group g any w3 w2 w1\nquorum g\n");
  text("two-of-three", "0", all + "group g 2 w0 w1 w2\nquorum g\n");
  text("three-of-three", "3", all + "group g 3 w0 w1 w2\nquorum g\n", "quorum");
  text("nested", "0", all + "group a 1 w0 w3\ngroup b all a w1\ngroup c any b w2\nquorum c\n");
  text("white-space", "0", "\t \n  # words\n\t" + log + "  quorum \t none  \n");
  text("urls", "0",
       "log " + Slurp(m->dir() + "/log.key") + " https://log.example.org/\nwitness w " + m->WitnessVkey(0) +
           " https://w.example.org/\nquorum w\n");
  text("high-octets", "0", all + "group \xff\xfe any w0\nquorum \xff\xfe\n");
  text("two-logs", "0",
       "log " + NoteVerifier::Make("other.example.org/log", Ed25519Key::Generate().public_key())->ToString() + "\n" +
           log + "quorum none\n");
  text("another-log", "3",
       "log " + NoteVerifier::Make(kOrigin, Ed25519Key::Generate().public_key())->ToString() + "\nquorum none\n",
       "checkpoint");
  text("log-key-besides", "0", Witnesses(m) + "quorum w0\n", "-", "log.key");
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"empty", ""},
      {"no-quorum", all},
      {"two-quorums", all + "quorum w0\nquorum w0\n"},
      {"quorum-unknown", all + "quorum w9\n"},
      {"quorum-two-names", all + "quorum w0 w1\n"},
      {"group-unknown-member", all + "group g any w9\nquorum g\n"},
      {"group-later-member", log + "group g any w0\n" + Witnesses(m) + "quorum g\n"},
      {"group-member-twice", all + "group g 2 w0 w0\nquorum g\n"},
      {"group-none", all + "group g any none\nquorum g\n"},
      {"group-empty", all + "group g any\nquorum none\n"},
      {"group-of-0", all + "group g 0 w0\nquorum g\n"},
      {"group-of-4", all + "group g 4 w0 w1 w2\nquorum g\n"},
      {"group-leading-zero", all + "group g 01 w0\nquorum g\n"},
      {"group-minus", all + "group g -1 w0\nquorum g\n"},
      {"group-huge", all + "group g 99999999999999999999 w0\nquorum g\n"},
      {"name-twice", all + "group w0 any w1\nquorum w0\n"},
      {"name-none", all + "group none any w1\nquorum none\n"},
      {"key-twice", all + "witness again " + m->WitnessVkey(0) + "\nquorum none\n"},
      {"log-twice", log + log + "quorum none\n"},
      {"witness-with-log-key", log + "witness w " + Slurp(m->dir() + "/log.key") + "\nquorum none\n"},
      {"log-with-witness-key", "log " + m->WitnessVkey(0) + "\nquorum none\n"},
      {"vkey-cut", "log " + Slurp(m->dir() + "/log.key").substr(0, 40) + "\nquorum none\n"},
      {"unknown-word", all + "threshold 1\nquorum none\n"},
      {"carriage-return", all + "quorum none\r\n"},
      {"zero-byte", all + std::string("# \0\n", 4) + "quorum none\n"},
      {"log-extra-word", "log " + Slurp(m->dir() + "/log.key") + " u v\nquorum none\n"},
      {"no-log-and-no-key", Witnesses(m) + "quorum none\n"},
      {"last-line-without-newline", log + "quorum none"},
  };
  for (const auto& [name, policy] : bad) text(name, "64", policy);
}

void AddKept(Corpus* m) {
  const Trail t = m->Good();
  m->Add({.name = "kept-base"}, t);
  const auto kept = [&](const std::string& name, const std::string& expected, const std::vector<std::string>& priors,
                        const std::string& reason = "-") {
    Case c{.name = "kept-" + name, .dir = "kept-base", .expected = expected, .reason = reason};
    for (size_t i = 0; i < priors.size(); ++i) c.prior.push_back(m->File(fmt::format("{}.{}", name, i), priors[i]));
    m->AddAgain(c);
  };
  const auto receipt = [&](uint64_t index, uint64_t size) {
    return Corpus::Receipt(t.batches, index, size, m->Note(t.batches, size));
  };
  const Trail other = m->Good();
  kept("three", "0", {m->Note(t.batches, 1), m->Note(t.batches, 7), m->Note(t.batches)});
  kept("empty-log", "0", {m->Note(t.batches, 0)});
  kept("second-is-of-another-history", "3", {m->Note(t.batches, 5), m->Note(other.batches, 6)}, "prior");
  std::vector<SealedBatch> longer = t.batches;
  longer.push_back(other.batches.front());
  kept("longer-log", "3", {m->Note(longer)}, "prior");
  m->Need("receipts");
  for (const auto& [index, size] :
       std::vector<std::pair<uint64_t, uint64_t>>{{0, 1}, {0, 14}, {5, 7}, {13, 14}, {6, 7}}) {
    kept(fmt::format("receipt-{}-of-{}", index, size), "0", {receipt(index, size)});
  }
  kept("receipt-of-another-history", "3", {Corpus::Receipt(other.batches, 2, 9, m->Note(other.batches, 9))});
  std::string wrong = receipt(3, 14);
  wrong.replace(wrong.find("index 3"), 7, "index 2");
  kept("receipt-of-another-index", "3", {wrong}, "receipt");
  Trail swapped = t;
  std::swap(swapped.batches[2], swapped.batches[3]);
  kept("receipt-of-another-leaf", "3", {Corpus::Receipt(swapped.batches, 2, 14, m->Note(t.batches))}, "receipt");
  const auto edited = [&](const std::string& name, const std::function<void(std::string*)>& edit) {
    std::string text = receipt(3, 14);
    edit(&text);
    kept("receipt-" + name, "64", {text});
  };
  edited("garbage", [](std::string* r) { *r = "c2sp.org/tlog-proof@v1\ngarbage\n"; });
  edited("leading-zero", [](std::string* r) { r->replace(r->find("index 3"), 7, "index 03"); });
  edited("extra-line", [](std::string* r) { r->insert(r->find("index"), "extra AAAA\n"); });
  edited("without-empty-line", [](std::string* r) { r->erase(r->find("\n\n"), 1); });
  edited("unsigned", [](std::string* r) { r->resize(r->rfind("— ")); });
  edited("path-cut", [](std::string* r) { r->erase(r->find('\n', r->find("index")) + 1, 45); });
  edited("path-long", [](std::string* r) {
    const size_t at = r->find('\n', r->find("index")) + 1;
    r->insert(at, r->substr(at, 45));
  });
  m->Need("");
  kept("garbage", "64", {"garbage"});
  kept("of-another-key", "64", {*SignCheckpoint({kOrigin, 0, EmptyRoot(), {}}, Ed25519Key::Generate())});
}

}  // namespace

void AddPolicies(Corpus* m) {
  AddQuorums(m);
  AddPolicyTexts(m);
  AddKept(m);
}

}  // namespace nodetrail::trail
