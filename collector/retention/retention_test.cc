// SPDX-License-Identifier: Apache-2.0
//
// Retention against holds, one step at a time: whoever orders the steps, and
// wherever the collector is killed, no body goes that a hold in the log covers,
// and what is left verifies.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "collector/ingest/committer.h"
#include "collector/log/sequencer.h"
#include "collector/retention/retention_job.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/verify.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::collector {
namespace {

namespace fs = std::filesystem;
using Progress = RetentionJob::Progress;
using trail::SealedBatch;

constexpr const char* kOrigin = "trail.example.org/acme";
constexpr uint64_t kDay = 86'400'000'000'000;
constexpr uint64_t kStart = 1'700'000'000'000'000'000;

class NoSink : public AnswerSink {
 public:
  void Answer(ingest::v1::ServerMessage message, uint64_t /*freed_bytes*/) override { NT_CHECK(message.has_ack()); }
};

trail::v1::LogEntry HoldOn(const std::string& id, const std::string& agent = "") {
  trail::v1::LogEntry entry;
  entry.mutable_hold()->set_id(id);
  if (!agent.empty()) entry.mutable_hold()->add_agents(agent);
  entry.mutable_hold()->set_reason("court order");
  entry.mutable_hold()->set_by("ann (1000)");
  return entry;
}

trail::v1::LogEntry ReleaseOf(const std::string& id) {
  trail::v1::LogEntry entry;
  entry.mutable_release()->set_id(id);
  entry.mutable_release()->set_requested_by("ann (1000)");
  entry.mutable_release()->set_confirmed_by("bob (1001)");
  return entry;
}

// A collector without threads: the caller owns the order of things.
class Site {
 public:
  Site(std::string dir, const std::string& ca_pem, const trail::Ed25519Key& key) : dir_(std::move(dir)), key_(key) {
    policy_.identity_ca_pem = ca_pem;
    policy_.log_key = *trail::NoteVerifier::Make(kOrigin, key.public_key());
    clock.wall_ns = kStart + 10 * kDay;
    std::array<uint8_t, 32> seed{};
    key_.CopySeed(seed);
    LogSigner signer{kOrigin, *trail::Ed25519Key::FromSeed(trail::View(seed)), *policy_.log_key};
    Committer::Options options;
    options.trail_dir = dir_;
    options.tenant = "acme";
    options.clock = &clock;
    options.log_key = key.public_key();
    options.sign_entry = [this](const trail::v1::LogEntry& entry) { return sequencer->SignEntry(entry); };
    Sequencer::Options signing;
    signing.trail_dir = dir_;
    const auto open_sequencer = [&] {
      auto made = Sequencer::Open(signing, std::move(signer));
      NT_CHECK(made.ok());
      sequencer = std::move(*made);
      return OkStatus();
    };
    auto opened = Committer::Open(options, *trail::CaSet::FromPem(ca_pem), open_sequencer,
                                  [this](std::string_view leaf) { return sequencer->Replay(leaf); });
    NT_CHECK(opened.ok());
    committer = std::move(*opened);
    NT_CHECK(sequencer->ReplayDone().ok());
    sequencer->StartStepping();
    committer->StartStepping(
        [this](uint64_t first, std::span<const trail::Hash> hashes) { sequencer->Appended(first, hashes); });
    RetentionJob::Options rule;
    rule.trail_dir = dir_;
    rule.policy = "one-day";
    rule.max_age_ns = kDay;
    rule.bodies_per_step = 1;
    rule.clock = &clock;
    rule.covered = [this] { return sequencer->GetHead().size; };
    auto made = RetentionJob::Open(rule, committer.get());
    NT_CHECK(made.ok());
    job = std::move(*made);
  }

  void Take(const SealedBatch& batch, uint64_t received_ns) {
    ingest::v1::Frame frame;
    frame.set_leaf(batch.leaf);
    frame.set_body(batch.body);
    committer->Submit(std::make_shared<NoSink>(), batch.header.agent_id(), frame);
    NT_CHECK(committer->Step());
    const timespec at{.tv_sec = static_cast<time_t>(received_ns / 1'000'000'000), .tv_nsec = 0};
    const timespec times[2] = {at, at};
    NT_CHECK(::utimensat(AT_FDCWD, BodyFile(batch).c_str(), times, 0) == 0);
  }
  void Enter(const trail::v1::LogEntry& entry, std::function<void(uint64_t)> done = nullptr) {
    committer->Enter(entry, nullptr, [done = std::move(done)](const Result<uint64_t>& index) {
      NT_CHECK(index.ok());
      if (done) done(*index);
    });
  }
  // Until nothing moves any more.
  void Settle() {
    int idle = 0;  // a look over the log that began before a write does not count
    for (int i = 0; i < 1000; ++i) {
      const auto progress = job->Step();
      NT_CHECK(progress.ok());
      if (committer->Step()) idle = 0;
      NT_CHECK(sequencer->Step());
      if (*progress == Progress::kIdle && ++idle == 2) return;
    }
    FAIL() << "it never comes to rest";
  }
  [[nodiscard]] std::string BodyFile(const SealedBatch& batch) const {
    return dir_ + "/" + trail::BodyPath(*trail::HashFromBytes(batch.header.body_sha256()));
  }
  [[nodiscard]] bool Has(const SealedBatch& batch) const { return fs::exists(BodyFile(batch)); }
  [[nodiscard]] trail::VerifyReport Verify() const {
    auto report = trail::VerifyTrail(dir_, policy_);
    NT_CHECK(report.ok());
    return *std::move(report);
  }
  [[nodiscard]] std::vector<trail::v1::LogEntry> Entries() const {
    std::vector<trail::v1::LogEntry> out;
    auto reader = trail::TrailReader::Open(dir_).value();
    NT_CHECK(reader
                 ->ForEach(0,
                           [&](const trail::LeafLocation&, std::string_view leaf) {
                             if (trail::IsLogEntry(leaf)) out.push_back(trail::ParseLogEntry(leaf)->entry);
                             return true;
                           })
                 .ok());
    return out;
  }
  [[nodiscard]] size_t CountRetired() const {
    size_t out = 0;
    for (const auto& entry : Entries()) out += entry.has_retired() ? 1U : 0U;
    return out;
  }

  FakeClock clock;
  std::unique_ptr<Sequencer> sequencer;
  std::unique_ptr<Committer> committer;
  std::unique_ptr<RetentionJob> job;

 private:
  const std::string dir_;
  const trail::Ed25519Key& key_;
  trail::VerifyPolicy policy_;
};

class RetentionTest : public testing::Test {
 protected:
  RetentionTest() {
    // Two of web-1 and one of web-2 that are old, one of each that is young.
    trail::TestAgent one(ca_, "acme", "web-1");
    trail::TestAgent two(ca_, "acme", "web-2");
    auto site = Open("base");
    for (int i = 0; i < 2; ++i) old_.push_back(one.Batch());
    old_.push_back(two.Batch(5));
    for (const SealedBatch& batch : old_) site->Take(batch, kStart);
    young_ = {one.Batch(2), two.Batch(7)};
    for (const SealedBatch& batch : young_) site->Take(batch, kStart + 10 * kDay - 1);
    NT_CHECK(site->sequencer->Step());
  }
  std::unique_ptr<Site> Open(const std::string& name) {
    return std::make_unique<Site>(dir_ / name, ca_.CertPem(), key_);
  }
  // The base, anew.
  std::string Fresh() {
    const std::string name = fmt::format("run-{}", ++runs_);
    fs::copy(dir_ / "base", dir_ / name, fs::copy_options::recursive);
    // Copies are received now; the rule looks at that time too.
    for (const auto& batches : {old_, young_}) {
      for (const SealedBatch& batch : batches) {
        const std::string file = trail::BodyPath(*trail::HashFromBytes(batch.header.body_sha256()));
        fs::last_write_time(dir_ / name + "/" + file, fs::last_write_time(dir_ / "base" + "/" + file));
      }
    }
    return name;
  }
  void Drop(const std::string& name) { fs::remove_all(dir_ / name); }

  trail::TempDir dir_;
  const trail::TestCa ca_;
  const trail::Ed25519Key key_ = trail::Ed25519Key::Generate();
  std::vector<SealedBatch> old_;
  std::vector<SealedBatch> young_;
  int runs_ = 0;
};

TEST_F(RetentionTest, DeletesWhatIsOldAndSaysSoFirst) {
  const auto site = Open(Fresh());
  site->Settle();
  for (const SealedBatch& batch : old_) EXPECT_FALSE(site->Has(batch));
  for (const SealedBatch& batch : young_) EXPECT_TRUE(site->Has(batch));
  const auto entries = site->Entries();
  ASSERT_EQ(entries.size(), 2U);
  ASSERT_TRUE(entries[0].has_retire());
  EXPECT_EQ(entries[0].retire().policy(), "one-day");
  EXPECT_EQ(entries[0].retire().leaves_size(), 3);
  EXPECT_EQ(entries[1].retired().retire_index(), 5U);
  const auto report = site->Verify();
  EXPECT_EQ(report.verdict, trail::TrailVerdict::kIntact) << report.summary;
  EXPECT_EQ(report.bodies_retired, 3U);
  EXPECT_EQ(report.bodies, 2U);
  // A day later the young ones are old.
  site->clock.wall_ns += kDay;
  site->Settle();
  for (const SealedBatch& batch : young_) EXPECT_FALSE(site->Has(batch));
  EXPECT_EQ(site->Verify().verdict, trail::TrailVerdict::kIntact);
}

TEST_F(RetentionTest, NothingIsDeletedBeforeACheckpointCoversTheWord) {
  const auto site = Open(Fresh());
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(site->job->Step().ok());
    site->committer->Step();
  }
  EXPECT_EQ(site->Entries().size(), 1U);
  for (const SealedBatch& batch : old_) EXPECT_TRUE(site->Has(batch));
}

TEST_F(RetentionTest, HoldsStackAndWhatTheyKeptGoesAfterTheLast) {
  const auto site = Open(Fresh());
  site->Enter(HoldOn("a", "web-1"));
  site->Enter(HoldOn("b"));
  site->Settle();
  for (const SealedBatch& batch : old_) EXPECT_TRUE(site->Has(batch));
  site->Enter(ReleaseOf("b"));
  site->Settle();
  EXPECT_TRUE(site->Has(old_[0]) && site->Has(old_[1]));
  EXPECT_FALSE(site->Has(old_[2]));
  site->Enter(ReleaseOf("a"));
  site->Settle();
  for (const SealedBatch& batch : old_) EXPECT_FALSE(site->Has(batch));
  EXPECT_EQ(site->Verify().verdict, trail::TrailVerdict::kIntact);
}

TEST_F(RetentionTest, AHoldAfterTheWordKeepsWhatIsNotDeletedYet) {
  const auto site = Open(Fresh());
  while (site->Entries().empty()) {
    ASSERT_TRUE(site->job->Step().ok());
    site->committer->Step();
  }
  site->Enter(HoldOn("late", "web-1"));
  ASSERT_TRUE(site->committer->Step());
  site->Settle();
  EXPECT_TRUE(site->Has(old_[0]) && site->Has(old_[1]));
  EXPECT_FALSE(site->Has(old_[2]));
  EXPECT_EQ(site->CountRetired(), 0U);
  EXPECT_EQ(site->Verify().verdict, trail::TrailVerdict::kIntact);
  site->Enter(ReleaseOf("late"));
  site->Settle();
  EXPECT_FALSE(site->Has(old_[0]) || site->Has(old_[1]));
  EXPECT_EQ(site->CountRetired(), 1U);
  EXPECT_EQ(site->Verify().verdict, trail::TrailVerdict::kIntact);
}

TEST_F(RetentionTest, KeepsWhatTellsOfALossAndWhatTwoLeavesName) {
  const auto site = Open(Fresh());
  trail::TestAgent three(ca_, "acme", "web-3");
  trail::TestAgent twin(ca_, "acme", "web-4");
  const SealedBatch opening = three.Batch(9);
  const SealedBatch same = twin.Batch(9);
  const SealedBatch loss = three.BatchOf({trail::TestAgent::LossEvent(4)});
  ASSERT_EQ(opening.body, same.body);
  for (const SealedBatch& batch : {opening, same, loss}) site->Take(batch, kStart);
  site->Settle();
  EXPECT_TRUE(site->Has(opening));
  EXPECT_TRUE(site->Has(loss));
  EXPECT_FALSE(site->Has(old_[0]));
  const auto report = site->Verify();
  EXPECT_EQ(report.verdict, trail::TrailVerdict::kDeclaredLoss) << report.summary;
}

// One choice of who goes next, again and again, until all orders were tried.
class Orders {
 public:
  // Which of `many` (at least 1).
  size_t Choose(size_t many) {
    if (at_ == choices_.size()) choices_.emplace_back(0, many);
    return choices_[at_++].first;
  }
  // To the next order; false: there is none.
  bool Next() {
    at_ = 0;
    while (!choices_.empty() && choices_.back().first + 1 == choices_.back().second) choices_.pop_back();
    if (choices_.empty()) return false;
    ++choices_.back().first;
    return true;
  }

 private:
  std::vector<std::pair<size_t, size_t>> choices_;
  size_t at_ = 0;
};

// Job, writer, and somebody who places a hold at some time, in every order in
// which one of them has something to do.
TEST_F(RetentionTest, Row42NoOrderOfStepsDeletesUnderAHold) {
  Orders orders;
  size_t tried = 0;
  std::map<size_t, size_t> kept;  // bodies of web-1: how often
  do {
    const std::string name = Fresh();
    const auto site = Open(name);
    bool held = false;
    std::optional<uint64_t> hold_index;
    std::vector<const SealedBatch*> there;  // when the hold was durable
    bool job_may = true;
    bool job_asked = false;  // something of the writer
    bool hold_asked = false;
    for (int steps = 0;; ++steps) {
      ASSERT_LT(steps, 500);
      std::string who;
      if (job_may) who += 'J';
      if (job_asked || hold_asked) who += 'W';
      if (!held) who += 'H';
      if (who.empty()) break;
      switch (who[orders.Choose(who.size())]) {
        case 'J': {
          const auto progress = site->job->Step();
          ASSERT_TRUE(progress.ok()) << progress.status().ToString();
          job_may = *progress == Progress::kMore;
          job_asked = job_asked || *progress == Progress::kWaiting;
          break;
        }
        case 'W': {
          // In the order in which they came: a hold before or behind what the job asked.
          ASSERT_TRUE(site->committer->Step());
          while (site->committer->Step()) continue;
          job_asked = hold_asked = false;
          // A checkpoint at once: a job that waits for it is another test's.
          ASSERT_TRUE(site->sequencer->Step());
          job_may = true;
          break;
        }
        default:
          held = hold_asked = true;
          site->Enter(HoldOn("h", "web-1"), [&](uint64_t index) {
            hold_index = index;
            for (const SealedBatch& batch : old_) {
              if (batch.header.agent_id() == "web-1" && site->Has(batch)) there.push_back(&batch);
            }
          });
      }
    }
    ASSERT_TRUE(hold_index);
    // What is entered behind the hold names nothing that it covers: web-2's alone.
    bool hold_seen = false;
    for (const auto& entry : site->Entries()) {
      hold_seen = hold_seen || entry.has_hold();
      if (hold_seen && entry.has_retire()) {
        ASSERT_EQ(entry.retire().leaves_size(), 1) << "order " << tried;
      }
    }
    for (const SealedBatch* batch : there) ASSERT_TRUE(site->Has(*batch)) << "order " << tried;
    const auto report = site->Verify();
    ASSERT_EQ(report.verdict, trail::TrailVerdict::kIntact) << report.summary;
    ++kept[there.size()];
    ++tried;
    Drop(name);
  } while (orders.Next());
  // It came in time for both, for one, for none.
  EXPECT_EQ(kept.size(), 3U);
  RecordProperty("orders", static_cast<int>(tried));
  fmt::print("{} orders; the hold kept 2 bodies in {}, 1 in {}, 0 in {}\n", tried, kept[2], kept[1], kept[0]);
}

// Killed after each step of everybody, with and without a hold that came late.
TEST_F(RetentionTest, Row42SigkillAtEachStepIsMadeGood) {
  for (const bool hold : {false, true}) {
    size_t points = 0;
    for (size_t last = 1;; ++last, ++points) {
      const std::string name = Fresh();
      const pid_t child = ::fork();
      ASSERT_GE(child, 0);
      if (child == 0) {
        const auto site = Open(name);
        size_t steps = 0;
        const auto count = [&] {
          if (++steps == last) ::kill(::getpid(), SIGKILL);
        };
        for (int i = 0; i < 200; ++i) {
          const auto progress = site->job->Step();
          count();
          // Once its word is in the log, before the deed is done.
          if (hold && i > 0 && site->Entries().size() == 1) site->Enter(HoldOn("h", "web-1"));
          const bool wrote = site->committer->Step();
          count();
          site->sequencer->Step();
          count();
          if (progress.ok() && *progress == Progress::kIdle && !wrote) break;
        }
        ::_exit(0);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      const bool through = WIFEXITED(status);
      ASSERT_TRUE(through ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
      std::set<std::string> before;
      bool held = false;
      {
        const auto site = Open(name);
        const auto report = site->Verify();
        ASSERT_EQ(report.verdict, trail::TrailVerdict::kIntact) << last << ": " << report.summary;
        for (const SealedBatch& batch : old_) {
          if (site->Has(batch)) before.insert(site->BodyFile(batch));
        }
        for (const auto& entry : site->Entries()) held = held || entry.has_hold();
        site->Settle();
        const auto after = site->Verify();
        ASSERT_EQ(after.verdict, trail::TrailVerdict::kIntact) << last << ": " << after.summary;
        bool some_stay = false;
        for (const SealedBatch& batch : old_) {
          const bool stays = held && batch.header.agent_id() == "web-1" && before.contains(site->BodyFile(batch));
          some_stay = some_stay || stays;
          EXPECT_EQ(site->Has(batch), stays) << last;
        }
        for (const SealedBatch& batch : young_) EXPECT_TRUE(site->Has(batch));
        EXPECT_EQ(site->committer->Retained()->unfinished().empty(), !some_stay) << last;
      }
      Drop(name);
      if (through) break;
    }
    EXPECT_GT(points, 10U);
    fmt::print("{} points{}\n", points, hold ? ", with a hold" : "");
  }
}

}  // namespace
}  // namespace nodetrail::collector
