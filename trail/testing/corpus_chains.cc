// SPDX-License-Identifier: Apache-2.0
//
// What agents do, right and wrong, all of it rightly signed.
#include <fmt/format.h>

#include "trail/testing/corpus.h"

namespace nodetrail::trail {
namespace {

Trail One(Corpus* m, const std::function<void(TestAgent*, std::vector<SealedBatch>*)>& act) {
  Trail out;
  TestAgent agent(m->ca(), "acme", "web-1");
  out.batches.push_back(agent.Batch());
  out.batches.push_back(agent.Batch());
  act(&agent, &out.batches);
  return out;
}

}  // namespace

void AddChains(Corpus* m) {
  using List = std::vector<SealedBatch>*;
  const auto one = [m](const std::string& name, const std::string& expected, const std::string& bad, const auto& act) {
    m->Plain(name, expected, bad, One(m, act));
  };
  one("clean-restart", "0", "-", [](TestAgent* a, List l) {
    l->push_back(a->CleanShutdown());
    a->Restart();
    l->push_back(a->Batch());
  });
  one("unclean-restart", "2", "web-1:2:0", [](TestAgent* a, List l) {
    a->Restart();
    l->push_back(a->Batch());
  });
  one("unclean-restart-told", "1", "-", [](TestAgent* a, List l) {
    a->Restart();
    l->push_back(a->BatchOf({a->GapEvent()}));
  });
  one("spool-lost", "2", "web-1:2:0", [](TestAgent* a, List l) {
    a->Restart(false);
    l->push_back(a->BatchOf({a->GapEvent()}));
  });
  one("hole", "2", "web-1:1:2", [](TestAgent* a, List l) {
    a->Batch();
    l->push_back(a->Batch());
  });
  for (const unsigned to : {2U, 3U}) {
    one(fmt::format("hole-of-two-declared-to-{}", to), to == 3 ? "1" : "2", to == 3 ? "-" : "web-1:1:2",
        [to](TestAgent* a, List l) {
          a->Batch();
          a->Batch();
          l->push_back(a->Batch());
          a->Restart();
          l->push_back(a->BatchOf({a->GapEvent(), TestAgent::SpoolLossEvent(1, 2, static_cast<uint64_t>(to))}));
        });
  }
  // By several statements, which need not come in order, nor in one epoch.
  for (const bool whole : {false, true}) {
    one(fmt::format("hole-of-three-declared-{}", whole ? "piece-by-piece" : "but-for-one"), whole ? "1" : "2",
        whole ? "-" : "web-1:1:2", [whole](TestAgent* a, List l) {
          for (int i = 0; i < 3; ++i) a->Batch();
          l->push_back(a->Batch());
          a->Restart();
          l->push_back(a->BatchOf({a->GapEvent(), TestAgent::SpoolLossEvent(1, 4, 4)}));
          a->Restart();
          l->push_back(a->BatchOf(
              {a->GapEvent(), TestAgent::SpoolLossEvent(1, whole ? 3 : 4, 4), TestAgent::SpoolLossEvent(1, 2, 2)}));
        });
  }
  one("hole-declared-in-own-epoch", "2", "web-1:1:2", [](TestAgent* a, List l) {
    a->Batch();
    l->push_back(a->BatchOf({TestAgent::SpoolLossEvent(1, 2, 2)}));
  });
  one("tail-of-epoch-missing", "2", "web-1:1:2", [](TestAgent* a, List l) {
    a->Batch();
    a->Restart();
    l->push_back(a->BatchOf({a->GapEvent()}));
  });
  one("loss-event", "1", "-", [](TestAgent* a, List l) { l->push_back(a->BatchOf({TestAgent::LossEvent(9)})); });
  one("loss-counter", "1", "-",
      [](TestAgent* a, List l) { l->push_back(a->Batch(1, [](auto* h) { h->mutable_losses()->set_probe(3); })); });
  one("counter-limited-only", "0", "-",
      [](TestAgent* a, List l) { l->push_back(a->Batch(1, [](auto* h) { h->mutable_losses()->set_limited(3); })); });
  one("counter-down", "3", "web-1:1:3", [](TestAgent* a, List l) {
    l->push_back(a->Batch(1, [](auto* h) { h->mutable_losses()->set_map(3); }));
    l->push_back(a->Batch(1, [](auto* h) { h->mutable_losses()->set_map(2); }));
  });
  one("equivocation", "3", "web-1:1:2", [](TestAgent* a, List l) {
    l->push_back(a->Batch());
    SealedBatch forged = l->back();
    forged.header.set_last_wall_ns(7);
    forged.leaf = a->Forge(forged.header);
    l->push_back(forged);
  });
  one("after-shutdown", "3", "web-1:1:3", [](TestAgent* a, List l) {
    l->push_back(a->CleanShutdown());
    l->push_back(a->Batch());
  });
  const auto edit = [&one](const std::string& name, const std::function<void(v1::BatchHeader*)>& change,
                           const std::string& expected = "3", const std::string& bad = "web-1:1:2") {
    one(name, expected, bad, [&change](TestAgent* a, List l) { l->push_back(a->Batch(2, change)); });
  };
  edit("wrong-algorithm", [](auto* h) { h->set_sig_alg(v1::SIG_ALG_ECDSA_P256_SHA256); });
  edit("prev-hash", [](auto* h) { h->set_prev_hash(std::string(32, 'x')); });
  edit("signer-key-small-order", [](auto* h) { h->set_signer_key(std::string(1, '\1') + std::string(31, '\0')); });
  edit("boot-changes", [](auto* h) { h->set_boot_id("another"); });
  edit("other-format", [](auto* h) { h->set_format_version(2); });
  edit("event-numbers-skip", [](auto* h) { h->set_first_event_seq(h->first_event_seq() + 1); });
  edit("raw-length-huge", [](auto* h) { h->set_raw_body_len(UINT64_C(1) << 62); });
  edit("raw-length-bomb", [](auto* h) { h->set_raw_body_len(8U << 20); });
  edit("event-count", [](auto* h) { h->set_event_count(1); });
  edit("events-root", [](auto* h) { h->set_events_root(std::string(32, 'r')); });
  edit(
      "agent-splice", [](auto* h) { h->set_agent_id("web-9"); }, "2", "web-9:1:0");
  edit(
      "tenant-splice", [](auto* h) { h->set_tenant("other"); }, "2", "web-1:1:0");
  one("body-zip-bomb", "3", "web-1:1:2", [](TestAgent* a, List l) {
    const std::string bomb = *CompressBody(std::string(8U << 20, '\0'));
    l->push_back(a->Batch(2, [&](auto* h) {
      h->set_raw_body_len(8U << 20);
      h->set_stored_body_len(bomb.size());
      h->set_body_sha256(Bytes(Sha256Of(bomb)));
    }));
    l->back().body = bomb;
  });
  one("statement-of-another-epoch", "3", "web-1:2:0", [](TestAgent* a, List l) {
    l->push_back(a->CleanShutdown());
    a->Restart();
    a->edit_statement = [](v1::EpochStatement* s) { s->set_epoch(9); };
    l->push_back(a->Batch());
  });
  one("statement-signature", "3", "web-1:2:0", [](TestAgent* a, List l) {
    l->push_back(a->CleanShutdown());
    a->Restart();
    a->edit_open = [](v1::EpochOpen* o) { o->mutable_signature()->back() ^= 1; };
    l->push_back(a->Batch());
  });
  one("prev-clean-lies", "3", "web-1:2:0", [](TestAgent* a, List l) {
    a->Restart();
    a->edit_statement = [](v1::EpochStatement* s) { s->set_prev_clean(true); };
    l->push_back(a->Batch());
  });
  one("spool-rolled-back", "2", "web-1:2:0", [](TestAgent* a, List l) {
    const SealedBatch early = l->at(0);
    a->Restart();
    a->edit_statement = [&](v1::EpochStatement* s) {
      s->set_prev_last_seq(0);
      s->set_prev_last_hash(Bytes(early.batch_hash));
    };
    l->push_back(a->Batch(2, [&](auto* h) { h->set_prev_hash(Bytes(early.batch_hash)); }));
  });
}

}  // namespace nodetrail::trail
