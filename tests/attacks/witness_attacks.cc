// SPDX-License-Identifier: Apache-2.0
//
// Against what witnesses are for: two histories, old backups. Real witnesses,
// reached without a network.
#include <deque>
#include <filesystem>

#include "collector/witness/witness_set.h"
#include "tests/attacks/attack.h"
#include "tests/attacks/ground.h"
#include "tests/attacks/node.h"
#include "witness/core.h"
#include "witness/dir_store.h"
#include "witness/testing/test_log.h"

namespace nodetrail::attacks {
namespace {

namespace fs = std::filesystem;
using trail::SealedBatch;
using trail::TestAgent;

constexpr char kWitnessName[] = "witness.example.org/w1";

// A witness with its store on the disk.
class Watcher {
 public:
  explicit Watcher(const trail::NoteVerifier& log) : log_(log) { Start(); }
  void Start() {
    store_ = *witness::DirStore::Open(dir.path() + "/state");
    witness = *witness::Witness::Create(kWitnessName, *trail::Ed25519Key::FromSeed(std::string(32, 'w')),
                                        *witness::LogsOf({&log_, 1}), store_.get(), &clock_);
  }
  void Stop() {
    witness.reset();
    store_.reset();
  }
  static trail::CosignerVerifier Key() {
    return *trail::CosignerVerifier::Make(kWitnessName,
                                          trail::Ed25519Key::FromSeed(std::string(32, 'w'))->public_key());
  }

  trail::TempDir dir;
  std::unique_ptr<witness::Witness> witness;

 private:
  const trail::NoteVerifier log_;
  FakeClock clock_;
  std::unique_ptr<witness::DirStore> store_;
};

class NoNetwork final : public collector::HttpPoster {
 public:
  explicit NoNetwork(Watcher* watcher) : watcher_(watcher) {}
  void Start(size_t id, const std::string& /*url*/, std::string body) override {
    const witness::Answer answer = watcher_->witness->AddCheckpoint(body);
    replies_.push_back({id, OkStatus(), answer.status, answer.body});
  }
  std::optional<collector::HttpReply> Next(TimePoint /*deadline*/) override {
    if (replies_.empty()) return std::nullopt;
    collector::HttpReply out = std::move(replies_.front());
    replies_.pop_front();
    return out;
  }
  void Cancel() override { replies_.clear(); }

 private:
  Watcher* watcher_;
  std::deque<collector::HttpReply> replies_;
};

std::unique_ptr<collector::WitnessSet> SetOf(Watcher* watcher, const Site& site) {
  auto set = collector::WitnessSet::Open({site.trail() + "/log/witnesses", std::chrono::milliseconds(500), &site.clock},
                                         {{"w1", "http://witness.example.org", Watcher::Key()}},
                                         std::make_unique<NoNetwork>(watcher));
  NT_CHECK(set.ok());
  return std::move(*set);
}

TEST_F(Attack, T10_SplitView) {
  // Another history of the same length, rightly signed, for another reader.
  Ground ground;
  ground.Take(8);
  ground.Write();
  ground.policy.kept = {{"kept", ground.ReadCheckpoint()}};
  ASSERT_EQ(ground.Exit(), 0);
  const std::vector<std::string> shown = ground.Leaves();
  const auto watch = ground.Watch("seen");
  using Kind = agent::LogWatch::Outcome::Kind;
  ASSERT_EQ(watch->Take(trail::LeafHash(shown[6]), 6, ground.Receipt(shown, 6)).kind, Kind::kHolds);
  TestAgent puppet(ground.ca, "acme", "web-9");
  puppet.now_ns += 500;
  const auto replace = [&](size_t at, const SealedBatch& batch) {
    ground.batches.resize(at);
    ground.Take(batch);
    NT_CHECK((*trail::TrailWriter::Open(ground.trail()))->PutBody(trail::Sha256Of(batch.body), batch.body).ok());
    ground.RewriteSigned(ground.Leaves());
  };
  replace(7, puppet.Batch());
  auto report = ground.Verify();
  Found("verifier: exit 3, with the checkpoint that the auditor kept", static_cast<int>(report.verdict) == 3,
        VerifyReportText(report));
  // To an agent that was shown the first, and by what it says of that in the second.
  const auto outcome = watch->Take(trail::LeafHash(shown[6]), 6, ground.Receipt(ground.Leaves(), 6));
  Found("agent: alarm, deletes nothing", outcome.kind == Kind::kAlarm, outcome.text);
  ground.policy.kept.clear();
  ASSERT_EQ(ground.Exit(), 0);
  TestAgent late(ground.ca, "acme", "web-2");
  late.now_ns += 700;
  replace(8, Ground::BatchThatSaw(&late, shown));
  report = ground.Verify();
  Found("verifier: exit 3, by what an agent had seen", static_cast<int>(report.verdict) == 3, VerifyReportText(report));

  // Before a witness: the same size with another root, then a longer one.
  const witness::TestLog log(kOrigin, 'l', 20);
  const witness::TestLog fork = log.ForkAt(5);
  Watcher watcher(log.Verifier());
  ASSERT_EQ(watcher.witness->AddCheckpoint(log.Request(0, 8)).status, 200);
  const int same = watcher.witness->AddCheckpoint(fork.Request(8, 8)).status;
  Found("witness: refuses the other history", same == 409 && watcher.witness->Logs()[0].forks == 1,
        std::to_string(same));
  Watcher other(log.Verifier());
  ASSERT_EQ(other.witness->AddCheckpoint(log.Request(0, 8)).status, 200);
  const int longer = other.witness->AddCheckpoint(fork.Request(8, 12)).status;
  Found("witness: refuses the other history", longer == 422, std::to_string(longer));
}

TEST_F(Attack, T11_RestoredBackup) {
  const trail::TestCa ca;
  TestAgent agent(ca, "acme", "web-1");
  Site site(ca);
  Watcher watcher(*site.policy.log_key);
  auto witnesses = SetOf(&watcher, site);
  site.Stop();
  ASSERT_TRUE(site.Start(witnesses.get()).ok());
  std::vector<SealedBatch> batches;
  for (int i = 0; i < 8; ++i) {
    batches.push_back(agent.Batch());
    site.Take(batches.back());
    if (i == 3) {
      ASSERT_EQ(site.Sign(), "");
      fs::copy(site.trail(), site.dir / "backup", fs::copy_options::recursive);
    }
  }
  ASSERT_EQ(site.Sign(), "");
  ASSERT_EQ(site.sequencer->GetHead().size, 8U);
  site.Stop();

  // Only the leaves are of the backup: the newest checkpoint tells.
  fs::rename(site.trail(), site.dir / "newest");
  fs::copy(site.dir / "newest", site.trail(), fs::copy_options::recursive);
  fs::copy(site.dir / "backup/log/000000.leaves", site.trail() + "/log/000000.leaves",
           fs::copy_options::overwrite_existing);
  Status started = site.Start();
  Found("collector: refuses to start, signs nothing", !started.ok(), "leaves removed");
  site.Stop();

  // The whole of it: only the witness knows better.
  fs::remove_all(site.trail());
  fs::copy(site.dir / "backup", site.trail(), fs::copy_options::recursive);
  witnesses = SetOf(&watcher, site);
  started = site.Start(witnesses.get());
  Found("collector: refuses to start, signs nothing", !started.ok(), "a backup, whole");
  site.Stop();
}

TEST_F(Attack, T33_WitnessRolledBack) {
  const trail::TestCa ca;
  TestAgent agent(ca, "acme", "web-1");
  Site site(ca);
  Watcher watcher(*site.policy.log_key);
  const auto witnesses = SetOf(&watcher, site);
  site.Stop();
  ASSERT_TRUE(site.Start(witnesses.get()).ok());
  for (int i = 0; i < 8; ++i) {
    site.Take(agent.Batch());
    if (i == 3) {
      ASSERT_EQ(site.Sign(), "");
      fs::copy(watcher.dir / "state", watcher.dir / "backup", fs::copy_options::recursive);
    }
  }
  ASSERT_EQ(site.Sign(), "");
  ASSERT_EQ(witnesses->GetStatus()[0].size, 8U);
  watcher.Stop();
  fs::remove_all(watcher.dir / "state");
  fs::rename(watcher.dir / "backup", watcher.dir / "state");
  watcher.Start();
  site.Take(agent.Batch());
  ASSERT_EQ(site.Sign(), "");
  const auto status = witnesses->GetStatus()[0];
  Found("collector: says that the witness was rolled back", status.rollbacks == 1, status.problem);
}

}  // namespace
}  // namespace nodetrail::attacks
