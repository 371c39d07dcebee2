// SPDX-License-Identifier: Apache-2.0
#include "agent/seal/sealer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "nodetrail/event/v1/event.pb.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/chain.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_pki.h"

namespace nodetrail::agent {
namespace {

class SealerTest : public ::testing::Test {
 protected:
  SealerTest() : cas_(*trail::CaSet::FromPem(ca_.CertPem())), verifier_({"acme", "web-1", &cas_, 1024}) {
    WriteIdentity(ca_.IssueAgent("acme", "web-1"));
  }

  void WriteIdentity(const trail::TestCa::Identity& identity) {
    Write("cert.pem", identity.cert_pem, 0644);
    Write("key.pem", identity.key_pem, 0600);
  }
  void Write(const std::string& name, const std::string& text, mode_t mode) {
    std::ofstream(dir_ / name) << text;
    ASSERT_EQ(::chmod((dir_ / name).c_str(), mode), 0);
  }

  SealerOptions Options() {
    SealerOptions options;
    options.tenant = "acme";
    options.agent_id = "web-1";
    options.identity_cert_file = dir_ / "cert.pem";
    options.identity_key_file = dir_ / "key.pem";
    options.boot_id = "boot-a";
    options.clock = &clock_;
    options.clock_quality = [] { return ClockQuality{1000, false}; };
    return options;
  }
  std::unique_ptr<Sealer> Open(SealerOptions options) {
    auto sealer = Sealer::Open(std::move(options));
    EXPECT_TRUE(sealer.ok()) << sealer.status().ToString();
    return sealer.ok() ? std::move(*sealer) : nullptr;
  }

  BatchContent Content(const Sealer& sealer, int events = 2) {
    event::v1::EventBatch batch;
    batch.set_schema_version(1);
    uint64_t seq = sealer.next_event_seq();
    BatchContent content;
    content.first_event_seq = seq;
    for (int i = 0; i < events; ++i) {
      event::v1::Event event;
      event.set_seq(seq++);
      event.set_kind(event::v1::KIND_FILE_CREATE);
      batch.add_events(event.SerializeAsString());
    }
    content.last_event_seq = seq - 1;
    content.event_count = static_cast<uint64_t>(events);
    content.events_root = trail::EventsRoot(batch);
    content.raw_body = batch.SerializeAsString();
    content.first_wall_ns = content.last_wall_ns = clock_.WallNs();
    return content;
  }
  trail::SealedBatch SealAndCommit(Sealer* sealer, int events = 2) {
    auto sealed = sealer->Seal(Content(*sealer, events));
    EXPECT_TRUE(sealed.ok()) << sealed.status().ToString();
    sealer->Commit();
    return std::move(*sealed);
  }
  void ExpectAccepted(const trail::SealedBatch& batch) {
    const trail::ChainResult result = verifier_.Check(batch.leaf, batch.body);
    EXPECT_TRUE(result.accepted()) << trail::ChainVerdictName(result.verdict) << ": " << result.reason;
    EXPECT_TRUE(trail::OpenBody(batch.body, batch.header).ok());
    EXPECT_EQ(batch.batch_hash, trail::BatchHash(batch.leaf));
  }

  trail::TempDir dir_;
  trail::TestCa ca_;
  trail::CaSet cas_;
  trail::ChainVerifier verifier_;
  FakeClock clock_;
};

TEST_F(SealerTest, WhatItSealsVerifies) {
  const auto sealer = Open(Options());
  EXPECT_EQ(sealer->epoch(), clock_.WallNs() / 1'000'000'000);
  EXPECT_FALSE(sealer->previous_unclean());
  for (int i = 0; i < 10; ++i) ExpectAccepted(SealAndCommit(sealer.get(), i));
  EXPECT_EQ(sealer->next_seq(), 10U);
  BatchContent last = Content(*sealer);
  last.type = trail::v1::BATCH_TYPE_CLEAN_SHUTDOWN;
  const auto closed = sealer->Seal(last);
  ASSERT_TRUE(closed.ok());
  sealer->Commit();
  ExpectAccepted(*closed);
  EXPECT_EQ(sealer->KeyFd(), -1);
  EXPECT_FALSE(sealer->Seal(Content(*sealer)).ok());
}

// The other algorithm: the same chain rules, over a restart too.
TEST_F(SealerTest, AP256RatchetVerifiesAndGoesOnAfterACrash) {
  SealerOptions options = Options();
  options.ratchet_alg = trail::v1::SIG_ALG_ECDSA_P256_SHA256;
  auto sealer = Open(std::move(options));
  trail::SealedBatch last;
  for (int i = 0; i < 5; ++i) {
    last = SealAndCommit(sealer.get());
    EXPECT_EQ(last.header.sig_alg(), trail::v1::SIG_ALG_ECDSA_P256_SHA256);
    EXPECT_EQ(last.header.next_key().size(), 33U);
    ExpectAccepted(last);
  }
  const auto reopen = [&](trail::v1::SigAlg alg, UniqueFd fd) {
    SealerOptions again = Options();
    again.ratchet_alg = alg;
    again.spool_head = trail::HeadOf(last.header, last.batch_hash);
    again.inherited_key = std::move(fd);
    return Open(std::move(again));
  };
  const auto keep = [&] { return UniqueFd(::fcntl(sealer->KeyFd(), F_DUPFD_CLOEXEC, 3)); };
  sealer = reopen(trail::v1::SIG_ALG_ECDSA_P256_SHA256, keep());
  EXPECT_TRUE(sealer->continued());
  last = SealAndCommit(sealer.get());
  ExpectAccepted(last);
  sealer = reopen(trail::v1::SIG_ALG_ED25519, keep());
  EXPECT_FALSE(sealer->continued()) << "another algorithm is another epoch";
  last = SealAndCommit(sealer.get());
  EXPECT_EQ(last.header.sig_alg(), trail::v1::SIG_ALG_ED25519);
  ExpectAccepted(last);
}

TEST_F(SealerTest, ANewEpochNamesTheLastBatchOfTheOneBefore) {
  auto sealer = Open(Options());
  trail::SealedBatch last = SealAndCommit(sealer.get());
  ExpectAccepted(last);
  last = SealAndCommit(sealer.get());
  ExpectAccepted(last);
  SealerOptions options = Options();
  options.spool_head = trail::HeadOf(last.header, last.batch_hash);
  sealer = Open(std::move(options));
  EXPECT_TRUE(sealer->previous_unclean());
  EXPECT_FALSE(sealer->continued());
  EXPECT_EQ(sealer->previous().seq, 1U);
  EXPECT_EQ(sealer->epoch(), last.header.epoch() + 1) << "the clock stood still, the epoch must not";
  ExpectAccepted(SealAndCommit(sealer.get()));
}

TEST_F(SealerTest, TheEpochGrowsAlthoughTheSpoolWasWiped) {
  const uint64_t before = Open(Options())->epoch();
  clock_.Advance(1'000'000'000);
  EXPECT_GT(Open(Options())->epoch(), before);
}

TEST_F(SealerTest, AnInheritedKeyGoesOnInTheSameEpoch) {
  auto sealer = Open(Options());
  BatchContent content = Content(*sealer);
  content.losses.set_ring(7);
  auto first = sealer->Seal(content);
  ASSERT_TRUE(first.ok());
  sealer->Commit();
  ExpectAccepted(*first);
  // What the service manager keeps is another descriptor of the same memory.
  UniqueFd kept(::dup(sealer->KeyFd()));
  sealer.reset();
  SealerOptions options = Options();
  options.spool_head = trail::HeadOf(first->header, first->batch_hash);
  options.inherited_key = std::move(kept);
  sealer = Open(std::move(options));
  EXPECT_TRUE(sealer->continued());
  EXPECT_FALSE(sealer->previous_unclean());
  EXPECT_EQ(sealer->next_seq(), 1U);
  EXPECT_EQ(sealer->next_event_seq(), 3U);
  const trail::SealedBatch second = SealAndCommit(sealer.get());
  EXPECT_EQ(second.header.losses().ring(), 7U) << "counters are the epoch's, not the process's";
  ExpectAccepted(second);
}

// A crash between the spool's fdatasync and Commit, and one before it.
TEST_F(SealerTest, AKilledProcessLeavesTheKeyThatTheSpoolPromises) {
  for (const bool durable : {true, false}) {
    trail::ChainVerifier verifier({"acme", "web-1", &cas_, 1024});
    auto sealer = Open(Options());
    const trail::SealedBatch first = SealAndCommit(sealer.get());
    ASSERT_TRUE(verifier.Check(first.leaf, first.body).accepted());
    const auto second = sealer->Seal(Content(*sealer));
    ASSERT_TRUE(second.ok());
    UniqueFd kept(::dup(sealer->KeyFd()));
    sealer.reset();  // neither Commit nor Abandon
    const trail::SealedBatch& head = durable ? *second : first;
    if (durable) {
      ASSERT_TRUE(verifier.Check(head.leaf, head.body).accepted());
    }
    SealerOptions options = Options();
    options.spool_head = trail::HeadOf(head.header, head.batch_hash);
    options.inherited_key = std::move(kept);
    sealer = Open(std::move(options));
    EXPECT_TRUE(sealer->continued()) << durable;
    const trail::SealedBatch next = SealAndCommit(sealer.get());
    const trail::ChainResult result = verifier.Check(next.leaf, next.body);
    EXPECT_TRUE(result.accepted()) << result.reason;
  }
}

TEST_F(SealerTest, AnInheritedKeyThatDoesNotFitBeginsANewEpoch) {
  const auto with = [&](const std::function<void(SealerOptions*)>& change) {
    auto sealer = Open(Options());
    const trail::SealedBatch last = SealAndCommit(sealer.get());
    UniqueFd kept(::dup(sealer->KeyFd()));
    sealer.reset();
    SealerOptions options = Options();
    options.spool_head = trail::HeadOf(last.header, last.batch_hash);
    options.inherited_key = std::move(kept);
    change(&options);
    return Open(std::move(options))->continued();
  };
  EXPECT_TRUE(with([](SealerOptions*) {}));
  EXPECT_FALSE(with([](SealerOptions* o) { o->boot_id = "boot-b"; }));
  EXPECT_FALSE(with([](SealerOptions* o) { o->spool_head = {}; }));
  EXPECT_FALSE(with([](SealerOptions* o) { o->spool_head.seq = 7; }));
  EXPECT_FALSE(with([](SealerOptions* o) { o->spool_head.next_key = std::string(32, 'x'); }));
  EXPECT_FALSE(with([](SealerOptions* o) { o->spool_head.clean = true; }));
  EXPECT_FALSE(with([](SealerOptions* o) { o->force_new_epoch = true; }));
  EXPECT_FALSE(with([](SealerOptions* o) { o->inherited_key.Reset(::memfd_create("other", MFD_CLOEXEC)); }));
  EXPECT_FALSE(with([](SealerOptions* o) { o->inherited_key.Reset(::open("/dev/null", O_RDWR | O_CLOEXEC)); }));
}

TEST_F(SealerTest, CommitErasesTheKeyFromMemory) {
  const auto sealer = Open(Options());
  const auto slots = [&] {
    std::string bytes(4096, '\0');
    EXPECT_EQ(::pread(sealer->KeyFd(), bytes.data(), bytes.size(), 0), 4096);
    return bytes;
  };
  const std::string at_start = slots();
  SealAndCommit(sealer.get());
  const std::string after = slots();
  // The seed of batch 0 is in slot 0 (after the magic and three counters).
  const std::string seed = at_start.substr(8 + 24, 32);
  ASSERT_NE(seed, std::string(32, '\0'));
  EXPECT_EQ(after.find(seed), std::string::npos);
}

TEST_F(SealerTest, AnAbandonedBatchIsSealedAgainAtTheSamePlace) {
  const auto sealer = Open(Options());
  ExpectAccepted(SealAndCommit(sealer.get()));
  const auto lost = sealer->Seal(Content(*sealer));
  ASSERT_TRUE(lost.ok());
  EXPECT_FALSE(sealer->Seal(Content(*sealer)).ok()) << "one at a time";
  sealer->Abandon();
  const trail::SealedBatch again = SealAndCommit(sealer.get());
  EXPECT_EQ(again.header.seq(), lost->header.seq());
  EXPECT_NE(again.header.next_key(), lost->header.next_key());
  ExpectAccepted(again);
  ExpectAccepted(SealAndCommit(sealer.get()));
}

TEST_F(SealerTest, AHeartbeatWithoutBody) {
  const auto sealer = Open(Options());
  ExpectAccepted(SealAndCommit(sealer.get()));
  BatchContent content;
  content.type = trail::v1::BATCH_TYPE_HEARTBEAT;
  content.first_event_seq = sealer->next_event_seq();
  content.last_event_seq = content.first_event_seq - 1;
  const auto sealed = sealer->Seal(content);
  ASSERT_TRUE(sealed.ok());
  sealer->Commit();
  EXPECT_TRUE(sealed->body.empty());
  ExpectAccepted(*sealed);
}

TEST_F(SealerTest, ABodyAboveTheLimitIsRefusedAndNothingIsStuck) {
  const auto sealer = Open(Options());
  BatchContent content = Content(*sealer);
  content.raw_body.assign(trail::kMaxBodyBytes + 1, 'x');
  EXPECT_EQ(sealer->Seal(content).status().code(), Code::kOutOfRange);
  ExpectAccepted(SealAndCommit(sealer.get()));
}

TEST_F(SealerTest, BadIdentitiesAreRefusedByName) {
  const auto error = [&] { return Sealer::Open(Options()).status(); };
  WriteIdentity(ca_.IssueAgent("acme", "web-2"));
  EXPECT_NE(error().message().find("web-2"), std::string_view::npos);
  WriteIdentity(ca_.Issue("spiffe://example.org/t/acme/a/web-1", "spiffe://example.org/t/acme/a/x"));
  EXPECT_EQ(error().code(), Code::kInvalidArgument);
  WriteIdentity({ca_.IssueAgent("acme", "web-1").cert_pem, ca_.IssueAgent("acme", "web-1").key_pem});
  EXPECT_NE(error().message().find("does not belong"), std::string_view::npos);
  WriteIdentity(ca_.IssueAgent("acme", "web-1"));
  ASSERT_EQ(::chmod((dir_ / "key.pem").c_str(), 0640), 0);
  EXPECT_NE(error().message().find("chmod 600"), std::string_view::npos);
  Write("key.pem", "no key", 0600);
  EXPECT_NE(error().message().find("key.pem"), std::string_view::npos);
  ::unlink((dir_ / "cert.pem").c_str());
  EXPECT_FALSE(error().ok());
}

}  // namespace
}  // namespace nodetrail::agent
