// SPDX-License-Identifier: Apache-2.0
//
// Batches that the spool could not read for a while: the collector has taken
// what came after them. A spool on disk, real receipts, a real collector.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>

#include "agent/ship/log_watch.h"
#include "agent/ship/shipper.h"
#include "agent/ship/spool_source.h"
#include "agent/spool/spool.h"
#include "collector/test_fixture.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/leaf.h"
#include "nodetrail/trail/verify.h"

namespace nodetrail::collector {
namespace {

namespace fs = std::filesystem;
using agent::LogWatch;
using agent::Shipper;
using std::chrono::milliseconds;

// A disk of which one file can't be read while `broken` names it.
class SickFileOps final : public agent::FileOps {
 public:
  void Break(const std::string& path) {
    const std::lock_guard lock(mutex_);
    broken_ = path;
  }
  int Open(const std::string& path, int flags, unsigned mode) override {
    const int fd = real_.Open(path, flags, mode);
    const std::lock_guard lock(mutex_);
    if (fd >= 0) paths_[fd] = path;
    return fd;
  }
  void Close(int fd) override {
    {
      const std::lock_guard lock(mutex_);
      paths_.erase(fd);
    }
    real_.Close(fd);
  }
  int64_t RegularSize(int fd) override { return real_.RegularSize(fd); }
  ssize_t Pread(int fd, void* data, size_t size, uint64_t offset) override {
    {
      const std::lock_guard lock(mutex_);
      const auto it = paths_.find(fd);
      if (it != paths_.end() && it->second == broken_) return -EIO;
    }
    return real_.Pread(fd, data, size, offset);
  }
  ssize_t Pwrite(int fd, const void* data, size_t size, uint64_t offset) override {
    return real_.Pwrite(fd, data, size, offset);
  }
  int Fallocate(int fd, uint64_t size) override { return real_.Fallocate(fd, size); }
  int Ftruncate(int fd, uint64_t size) override { return real_.Ftruncate(fd, size); }
  int Fdatasync(int fd) override { return real_.Fdatasync(fd); }
  int Rename(const std::string& from, const std::string& to) override { return real_.Rename(from, to); }
  int Unlink(const std::string& path) override { return real_.Unlink(path); }
  int SyncDir(const std::string& dir) override { return real_.SyncDir(dir); }

 private:
  FileOps& real_ = agent::SystemFileOps();
  std::mutex mutex_;
  std::map<int, std::string> paths_;
  std::string broken_;
};

class LateTest : public CollectorTest {
 protected:
  static constexpr size_t kBatches = 24;

  LateTest() {
    options_.dir = dir_.path() + "/spool";
    options_.segment_bytes = 8192;
    options_.ops = &ops_;
    watch_ = LogWatch::Open(ReadFile(pki().File("log/policy"), 4096).value(), dir_.path() + "/checkpoint").value();
    OpenSpool();
    for (size_t i = 0; i < kBatches; ++i) {
      const trail::SealedBatch batch = maker_.Next(1, 100);
      EXPECT_TRUE(spool_->Append(batch).ok());
      sent_.push_back(batch.leaf);
    }
    for (const auto& entry : fs::directory_iterator(options_.dir)) {
      if (entry.path().extension() == ".seg") segments_.insert(entry.path());
    }
  }

  void OpenSpool() {
    source_.reset();
    spool_.reset();
    auto spool = agent::Spool::Open(options_);
    ASSERT_TRUE(spool.ok()) << spool.status().ToString();
    spool_ = *std::move(spool);
    source_ = std::make_unique<agent::SpoolSource>(spool_.get());
  }
  void Ship(int port, const std::string& release) {
    agent::ShipOptions options = ShipTo(port);
    options.config.set_release(release);
    options.config.set_receipt_timeout_s(receipt_timeout_s_);
    if (release != "durable") options.log_watch = watch_.get();
    shipper_ = std::make_unique<Shipper>(options, source_.get(), &clock_);
    shipper_->Start();
  }
  // All but what lies in one segment arrives, and nothing is let go.
  void ShipWithout(const std::string& segment) {
    config_.set_checkpoint_interval_ms(60'000);
    StartCollector();
    ASSERT_TRUE(WaitUntil([&] { return fs::exists(config_.trail_dir() + "/log/checkpoint"); }));
    ops_.Break(segment);
    Ship(collector_->port(), "logged");
    ASSERT_TRUE(WaitUntil([&] {
      const auto agents = collector_->ingest().Agents();
      return !agents.empty() && agents[0].last_seq == kBatches - 1;
    }));
    shipper_.reset();
    EXPECT_LT(LogLeaves().size(), kBatches);
    EXPECT_EQ(Verify().verdict, trail::TrailVerdict::kUnexplainedGap);
    collector_->Stop(milliseconds(2000));
    collector_.reset();
    ops_.Break("");
    config_.set_checkpoint_interval_ms(20);
  }
  void ExpectDrained() {
    ASSERT_TRUE(WaitUntil([&] { return !source_->Oldest(); }, milliseconds(10'000))) << shipper_->Stats().last_error;
    EXPECT_EQ(spool_->stats().batches_pending, 0U);
  }
  // What is not in the log lies beside it, leaf and body; the hole shows all the same.
  void ExpectAllThere() {
    std::vector<std::string> leaves = LogLeaves();
    const size_t in_log = leaves.size();
    ASSERT_TRUE(WaitUntil([&] { return collector_->head().size == in_log; }));
    for (const auto& entry : fs::directory_iterator(config_.trail_dir() + "/quarantine/late")) {
      if (entry.path().extension() != ".leaf") continue;
      leaves.push_back(ReadFile(entry.path(), 1 << 20).value());
      const auto leaf = trail::ParseLeaf(leaves.back());
      ASSERT_TRUE(leaf.ok());
      const std::string body = ReadFile(fs::path(entry.path()).replace_extension(".body"), 1 << 20).value();
      EXPECT_TRUE(trail::CheckStoredBody(body, leaf->header).ok());
      EXPECT_TRUE(fs::exists(fs::path(entry.path()).replace_extension(".reason")));
    }
    std::sort(leaves.begin(), leaves.end());
    std::vector<std::string> sent = sent_;
    std::sort(sent.begin(), sent.end());
    EXPECT_TRUE(leaves == sent) << leaves.size() << " of " << sent.size();
    EXPECT_EQ(shipper_->Stats().late_batches, kBatches - in_log);
    EXPECT_EQ(collector_->ingest().Totals().late, kBatches - in_log);
    EXPECT_EQ(collector_->ingest().Totals().late_kept, kBatches - in_log);
    EXPECT_EQ(collector_->ingest().Totals().rejected, 0U);
    EXPECT_EQ(Verify().verdict, trail::TrailVerdict::kUnexplainedGap);
  }
  trail::VerifyReport Verify() {
    trail::VerifyPolicy policy;
    policy.identity_ca_pem = ReadFile(pki().File("identity-ca/ca.pem"), 1 << 16).value();
    auto report = trail::VerifyTrail(config_.trail_dir(), policy);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    return *report;
  }

  uint32_t receipt_timeout_s_ = 0;
  SickFileOps ops_;
  agent::SpoolOptions options_;
  BatchMaker maker_{pki(), "web-1"};
  std::vector<std::string> sent_;
  std::set<std::string> segments_;
  std::unique_ptr<LogWatch> watch_;
  std::unique_ptr<agent::Spool> spool_;
  std::unique_ptr<agent::SpoolSource> source_;
  std::unique_ptr<Shipper> shipper_;
};

// Receipts let go: nothing was, so all is sent again, and what is readable again comes late.
TEST_F(LateTest, WhatIsReadableAgainComesLate) {
  ASSERT_GE(segments_.size(), 3U);
  ShipWithout(*std::next(segments_.begin()));
  OpenSpool();
  StartCollector();
  Ship(collector_->port(), "logged");
  ExpectDrained();
  ExpectAllThere();
  EXPECT_EQ(shipper_->Stats().bad_acks + shipper_->Stats().nacks_retry, 0U);
}

// The Welcome lets go what the collector holds, but not what it lacks.
TEST_F(LateTest, AWelcomeLetsNothingGoThatTheCollectorLacks) {
  ASSERT_GE(segments_.size(), 3U);
  ShipWithout(*std::next(segments_.begin()));
  OpenSpool();
  StartCollector();
  Ship(collector_->port(), "durable");
  ExpectDrained();
  ExpectAllThere();
}

// What the spool could not read is a loss once the log goes on behind it. Told
// once, though each reconnect meets the range again; the file is kept.
TEST_F(LateTest, WhatCouldNotBeReadIsToldOnce) {
  ASSERT_GE(segments_.size(), 3U);
  const std::string broken = *std::next(segments_.begin());
  ops_.Break(broken);
  config_.set_checkpoint_interval_ms(60'000);
  receipt_timeout_s_ = 1;  // it connects anew after that, and sends all again
  StartCollector();
  Ship(collector_->port(), "logged");
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().last_acked.seq == kBatches - 1; }));
  const std::vector<std::string> leaves = LogLeaves();
  size_t first = 0;
  while (sent_[first] == leaves[first]) ++first;
  const size_t lost = kBatches - leaves.size();
  const std::vector<agent::SpoolUnread> unread = shipper_->TakeUnread();
  ASSERT_EQ(unread.size(), 1U);
  EXPECT_EQ(unread[0].epoch, 1U);
  EXPECT_EQ(unread[0].seq_from, first);
  EXPECT_EQ(unread[0].seq_to, first + lost - 1);
  uint64_t events = 0;
  for (size_t i = first; i < first + lost; ++i) events += trail::ParseLeaf(sent_[i])->header.event_count();
  EXPECT_EQ(unread[0].events, events);
  EXPECT_GT(events, 0U);
  EXPECT_GT(unread[0].from_wall_ns, 0U);
  EXPECT_GE(unread[0].to_wall_ns, unread[0].from_wall_ns);
  EXPECT_NE(unread[0].place.find(fs::path(broken).filename().string()), std::string::npos) << unread[0].place;
  EXPECT_NE(unread[0].place.find("EIO"), std::string::npos) << unread[0].place;

  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().acked_batches >= 2 * leaves.size(); }, milliseconds(10'000)));
  EXPECT_TRUE(shipper_->TakeUnread().empty());
  config_.set_listen(fmt::format("127.0.0.1:{}", collector_->port()));
  collector_.reset();
  config_.set_checkpoint_interval_ms(20);
  StartCollector();
  ExpectDrained();
  EXPECT_TRUE(shipper_->TakeUnread().empty());
  EXPECT_EQ(shipper_->Stats().unread_batches, lost);
  EXPECT_EQ(spool_->stats().unread_kept, 1U);
  EXPECT_FALSE(fs::exists(broken));
  EXPECT_TRUE(fs::exists(options_.dir + "/quarantine/" + fs::path(broken).filename().string() + ".unread"));
}

// The disk failed after the collector had them: nothing is lost.
TEST_F(LateTest, WhatTheCollectorHasIsNoLoss) {
  ASSERT_GE(segments_.size(), 3U);
  config_.set_checkpoint_interval_ms(60'000);
  StartCollector();
  Ship(collector_->port(), "logged");
  ASSERT_TRUE(WaitUntil([&] { return shipper_->Stats().last_acked.seq == kBatches - 1; }));
  shipper_.reset();
  ops_.Break(*std::next(segments_.begin()));
  collector_.reset();
  config_.set_checkpoint_interval_ms(20);
  StartCollector();
  Ship(collector_->port(), "logged");
  ExpectDrained();
  EXPECT_EQ(LogLeaves().size(), kBatches);
  EXPECT_TRUE(shipper_->TakeUnread().empty());
  EXPECT_EQ(spool_->stats().unread_kept, 1U) << "it was met";
}

// Nobody can put what he likes there: it must be signed, whole, and of a hole.
TEST_F(LateTest, OnlyWhatTheAgentSignedIsKept) {
  ShipWithout(*std::next(segments_.begin()));
  const std::vector<std::string> leaves = LogLeaves();
  size_t missing = 0;
  while (sent_[missing] == leaves[missing]) ++missing;
  OpenSpool();
  std::optional<agent::SpooledBatch> batch;
  do batch = spool_->Next(milliseconds(0));
  while (batch && batch->seq != missing);
  ASSERT_TRUE(batch);
  StartCollector();
  const auto answer = [&](const std::string& leaf, const std::string& body) {
    RawAgent client(collector_->port(), pki().Agent("web-1"));
    client.Hello("web-1");
    const ingest::v1::ServerMessage welcome = client.Read();
    EXPECT_EQ(welcome.welcome().gaps_size(), 1);
    EXPECT_EQ(welcome.welcome().gaps(0).before_seq(), missing - 1);
    EXPECT_EQ(welcome.welcome().gaps(0).after_seq(), missing + kBatches - leaves.size());
    client.Send(leaf, body);
    return client.Read();
  };
  std::string unsigned_leaf = batch->leaf;
  unsigned_leaf.back() = static_cast<char>(unsigned_leaf.back() ^ 1);
  EXPECT_EQ(answer(unsigned_leaf, batch->body).nack().reason(), ingest::v1::NACK_REASON_REJECTED);
  EXPECT_EQ(answer(batch->leaf, "").nack().reason(), ingest::v1::NACK_REASON_REJECTED);
  EXPECT_EQ(collector_->ingest().Totals().late, 0U);
  const ingest::v1::ServerMessage kept = answer(batch->leaf, batch->body);
  EXPECT_EQ(kept.ack().level(), ingest::v1::ACK_LEVEL_KEPT) << kept.ShortDebugString();
  EXPECT_EQ(kept.ack().seq(), missing);
  EXPECT_EQ(LogLeaves(), leaves);
}

}  // namespace
}  // namespace nodetrail::collector
