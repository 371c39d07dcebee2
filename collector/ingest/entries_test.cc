// SPDX-License-Identifier: Apache-2.0
//
// The log's own entries on their way into it, and what they do to the batches
// behind them.
#include <future>
#include <memory>
#include <string>

#include "collector/ingest/committer.h"
#include "collector/log/sequencer.h"
#include "collector/test_fixture.h"
#include "nodetrail/trail/log_entry.h"

namespace nodetrail::collector {
namespace {

using ingest::v1::ServerMessage;

class LastAnswer : public AnswerSink {
 public:
  void Answer(ServerMessage message, uint64_t /*freed_bytes*/) override { last = std::move(message); }
  ServerMessage last;
};

// A committer that is stepped by hand.
class EntriesTest : public CollectorTest {
 protected:
  void Open(bool required = false) {
    committer_.reset();
    Committer::Options options;
    options.trail_dir = config_.trail_dir();
    options.tenant = "default";
    options.clock = &clock_;
    options.log_key = key_.public_key();
    options.sign_entry = [this](const trail::v1::LogEntry& entry) { return trail::MakeLogEntry(entry, key_); };
    options.enrol_required = required;
    auto cas = trail::CaSet::FromPem(ReadFile(pki().File("identity-ca/ca.pem"), 1 << 20).value());
    auto committer = Committer::Open(options, *cas, nullptr, [](std::string_view) { return OkStatus(); });
    ASSERT_TRUE(committer.ok()) << committer.status().ToString();
    committer_ = std::move(*committer);
    committer_->StartStepping([](uint64_t, std::span<const trail::Hash>) {});
  }
  Result<uint64_t> Enter(trail::v1::LogEntry entry, Committer::PrepareEntry prepare = nullptr) {
    if (!prepare) prepare = [](const Committer::Before&, trail::v1::LogEntry*) { return OkStatus(); };
    Result<uint64_t> out = Internal("not called");
    committer_->Enter(std::move(entry), std::move(prepare), [&](const Result<uint64_t>& index) { out = index; });
    EXPECT_TRUE(committer_->Step());
    return out;
  }
  ServerMessage Send(const trail::SealedBatch& batch) {
    ingest::v1::Frame frame;
    frame.set_leaf(batch.leaf);
    frame.set_body(batch.body);
    committer_->Submit(sink_, "web-1", frame);
    EXPECT_TRUE(committer_->Step());
    return sink_->last;
  }
  static trail::v1::LogEntry Enrol(const trail::Hash& spki) {
    trail::v1::LogEntry entry;
    entry.mutable_enrol()->set_agent_id("web-1");
    entry.mutable_enrol()->set_identity_spki_sha256(trail::Bytes(spki));
    return entry;
  }
  static trail::v1::LogEntry Revoke(uint64_t epoch, uint64_t seq) {
    trail::v1::LogEntry entry;
    entry.mutable_revoke()->set_agent_id("web-1");
    entry.mutable_revoke()->set_epoch(epoch);
    entry.mutable_revoke()->set_effective_seq(seq);
    return entry;
  }
  static trail::Hash KeyOf(const trail::SealedBatch& opening) {
    return trail::Certificate::FromDer(opening.header.epoch_open().identity_cert())->SpkiSha256();
  }

  const trail::Ed25519Key key_ = *trail::Ed25519Key::FromSeed(std::string(32, 'k'));
  std::unique_ptr<Committer> committer_;
  std::shared_ptr<LastAnswer> sink_ = std::make_shared<LastAnswer>();
  BatchMaker maker_{pki(), "web-1"};
};

TEST_F(EntriesTest, TheEnrolledKeyIsTakenAnotherIsQuarantined) {
  Open();
  const trail::SealedBatch opening = maker_.Next();
  EXPECT_EQ(*Enter(Enrol(trail::Sha256Of("another key"))), 0U);
  EXPECT_EQ(Send(opening).nack().reason(), ingest::v1::NACK_REASON_REJECTED);
  EXPECT_NE(sink_->last.nack().detail().find("not_enrolled"), std::string::npos) << sink_->last.nack().detail();
  EXPECT_EQ(committer_->Totals().quarantined, 1U);
  EXPECT_EQ(*Enter(Enrol(KeyOf(opening))), 1U);
  EXPECT_EQ(Send(opening).ack().log_index(), 2U);
  // And so it is after a restart.
  Open();
  EXPECT_EQ(Send(maker_.Next()).ack().log_index(), 3U);
  EXPECT_TRUE(committer_->Enrolled()->Find("default", "web-1")->enrolled);
}

TEST_F(EntriesTest, NobodyReportsUnenrolledIfAllMustBe) {
  Open();
  const trail::SealedBatch opening = maker_.Next();
  Open(true);
  EXPECT_EQ(Send(opening).nack().reason(), ingest::v1::NACK_REASON_REJECTED);
  Open(false);
  EXPECT_TRUE(Send(opening).has_ack());
  // What is in the log already stays, and goes on.
  Open(true);
  EXPECT_TRUE(Send(maker_.Next()).has_ack());
}

TEST_F(EntriesTest, RevokedBatchesAreQuarantinedAndStreamsRefused) {
  Open();
  const trail::SealedBatch opening = maker_.Next();
  const trail::SealedBatch one = maker_.Next();
  const trail::SealedBatch two = maker_.Next();
  EXPECT_TRUE(Enter(Enrol(KeyOf(opening))).ok());
  EXPECT_TRUE(Send(opening).has_ack());
  EXPECT_TRUE(Enter(Revoke(opening.header.epoch(), 2)).ok());
  EXPECT_TRUE(committer_->Admit("web-1").ok());  // one more may come
  EXPECT_TRUE(Send(one).has_ack());
  EXPECT_EQ(committer_->Admit("web-1").code(), Code::kPermissionDenied);
  EXPECT_EQ(Send(two).nack().reason(), ingest::v1::NACK_REASON_REJECTED);
  EXPECT_NE(sink_->last.nack().detail().find("revoked"), std::string::npos);
  EXPECT_EQ(committer_->Totals().revoked, 1U);
  EXPECT_EQ(committer_->Totals().refused, 1U);
  EXPECT_EQ(committer_->Totals().quarantined, 1U);
  Open();
  EXPECT_EQ(committer_->Admit("web-1").code(), Code::kPermissionDenied);
  EXPECT_EQ(Send(two).nack().reason(), ingest::v1::NACK_REASON_REJECTED);
}

TEST_F(EntriesTest, WhatIsRefusedIsNotInTheLog) {
  Open();
  const auto refuse = [](const Committer::Before& before, trail::v1::LogEntry*) {
    EXPECT_EQ(before.chain, nullptr);
    return Status(Code::kAlreadyExists, "twice");
  };
  EXPECT_EQ(Enter(Enrol(trail::Sha256Of("k")), refuse).status().code(), Code::kAlreadyExists);
  EXPECT_FALSE(Enter(Enrol({}), [](const Committer::Before&, trail::v1::LogEntry* entry) {
                 entry->mutable_enrol()->set_agent_id("no id");
                 return OkStatus();
               }).ok());
  EXPECT_TRUE(LogLeaves().empty());
  EXPECT_EQ(committer_->Enrolled()->Find("default", "web-1"), nullptr);
}

TEST_F(EntriesTest, AnEntryThatIsNotOursStopsTheStart) {
  Open();
  EXPECT_TRUE(Enter(Enrol(trail::Sha256Of("k"))).ok());
  committer_.reset();
  {
    auto writer = trail::TrailWriter::Open(config_.trail_dir()).value();
    trail::v1::LogEntry forged = Enrol(trail::Sha256Of("mine"));
    forged.set_format_version(1);
    forged.set_tenant("default");
    const std::string leaf = *trail::MakeLogEntry(forged, trail::Ed25519Key::Generate());
    const std::vector<std::string_view> leaves{leaf};
    ASSERT_TRUE(writer->AppendLeaves(leaves).ok());
  }
  Committer::Options options;
  options.trail_dir = config_.trail_dir();
  options.tenant = "default";
  options.clock = &clock_;
  options.log_key = key_.public_key();
  auto cas = trail::CaSet::FromPem(ReadFile(pki().File("identity-ca/ca.pem"), 1 << 20).value());
  const auto again = Committer::Open(options, *cas, nullptr, [](std::string_view) { return OkStatus(); });
  EXPECT_EQ(again.status().code(), Code::kDataLoss);
  EXPECT_NE(again.status().message().find("not signed by this log's key"), std::string::npos)
      << again.status().message();
}

}  // namespace
}  // namespace nodetrail::collector
