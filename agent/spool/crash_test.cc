// SPDX-License-Identifier: Apache-2.0
//
// An agent's sealing and spooling killed at any moment, a hundred times over
// one spool: what was committed is there, and one chain runs through it all.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>

#include "agent/seal/sealer.h"
#include "agent/spool/testing_spool.h"
#include "nodetrail/base/fd.h"
#include "nodetrail/trail/chain.h"

namespace nodetrail::agent {
namespace {

constexpr int kRounds = 100;
constexpr uint64_t kMaxBatchesPerRound = 400;

struct Committed {
  uint64_t epoch;
  uint64_t seq;
  trail::Hash hash;
};

class SpoolCrashTest : public SpoolTestBase {
 protected:
  SpoolCrashTest() {
    const trail::TestCa::Identity identity = ca_.IssueAgent("acme", "web-1");
    std::ofstream(dir_ / "cert.pem") << identity.cert_pem;
    std::ofstream(dir_ / "key.pem") << identity.key_pem;
    ::chmod((dir_ / "key.pem").c_str(), 0600);
    options_.segment_bytes = 32 * 1024;
  }

  // Seals and appends until it is killed; tells `out` what is committed.
  [[noreturn]] void Write(int out) {
    auto spool = Spool::Open(options_);
    if (!spool.ok()) ::_exit(2);
    FakeClock clock;
    SealerOptions options;
    options.tenant = "acme";
    options.agent_id = "web-1";
    options.identity_cert_file = dir_ / "cert.pem";
    options.identity_key_file = dir_ / "key.pem";
    options.boot_id = "boot";
    options.spool_head = (*spool)->head();
    options.clock = &clock;
    auto sealer = Sealer::Open(std::move(options));
    if (!sealer.ok()) ::_exit(3);
    for (uint64_t i = 0; i < kMaxBatchesPerRound; ++i) {
      BatchContent content;
      content.type = trail::v1::BATCH_TYPE_HEARTBEAT;
      content.raw_body = std::string(300, static_cast<char>('a' + i % 26));
      const auto sealed = (*sealer)->Seal(content);
      if (!sealed.ok()) ::_exit(4);
      if (!(*spool)->Append(*sealed).ok()) ::_exit(5);
      (*sealer)->Commit();
      const Committed line{sealed->header.epoch(), sealed->header.seq(), sealed->batch_hash};
      if (::write(out, &line, sizeof(line)) != sizeof(line)) ::_exit(6);
      // What waited at the start is the collector's: the test handed it over.
      if (i % 5 != 4) continue;
      const auto batch = (*spool)->Next(std::chrono::milliseconds(0));
      if (batch && batch->epoch < line.epoch && !(*spool)->Ack(batch->epoch, batch->seq).ok()) ::_exit(7);
    }
    ::_exit(0);
  }
};

TEST_F(SpoolCrashTest, NothingCommittedIsLostAndTheChainHolds) {
  const auto cas = trail::CaSet::FromPem(ca_.CertPem());
  trail::ChainVerifier collector({"acme", "web-1", &*cas, 1 << 20});
  std::mt19937 random(static_cast<unsigned>(::getpid()));
  uint64_t total = 0;
  std::map<std::pair<uint64_t, uint64_t>, trail::Hash> committed;
  for (int round = 0; round < kRounds; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::close(pipe[0]);
      Write(pipe[1]);
    }
    ::close(pipe[1]);
    // Killed after a random number of commits, wherever it then is.
    const auto after = random() % 25;
    Committed line{};
    for (uint64_t n = 0; n < after && ::read(pipe[0], &line, sizeof(line)) == sizeof(line); ++n) {
      committed[{line.epoch, line.seq}] = line.hash;
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << "exit " << WEXITSTATUS(status);
    while (::read(pipe[0], &line, sizeof(line)) == sizeof(line)) committed[{line.epoch, line.seq}] = line.hash;
    ::close(pipe[0]);

    const auto spool = Open();
    ASSERT_NE(spool, nullptr);
    EXPECT_TRUE(spool->recovery().missing.empty());
    EXPECT_EQ(spool->recovery().tampered, 0U);
    EXPECT_EQ(spool->recovery().rotten_ranges, 0U);
    EXPECT_EQ(spool->recovery().quarantined_files, 0U);
    if (!committed.empty()) {
      const auto& [last, hash] = *committed.rbegin();
      ASSERT_GE(std::pair(spool->head().epoch, spool->head().seq), last);
    }
    for (const SpooledBatch& batch : Drain(spool.get())) {
      const auto known = committed.find({batch.epoch, batch.seq});
      if (known != committed.end()) {
        EXPECT_EQ(known->second, batch.batch_hash);
      }
      const trail::ChainResult result = collector.Check(batch.leaf, batch.body);
      ASSERT_TRUE(result.accepted() || result.verdict == trail::ChainVerdict::kDuplicate ||
                  result.verdict == trail::ChainVerdict::kOld)
          << trail::ChainVerdictName(result.verdict) << ": " << result.reason;
      ++total;
    }
    // The collector has all of it now, so nothing committed may be ahead of it.
    if (!committed.empty()) {
      const auto& [last, hash] = *committed.rbegin();
      ASSERT_GE(std::pair(collector.state().head.epoch, collector.state().head.seq), last);
    }
    if (round % 3 == 2 && spool->head().known) {
      EXPECT_TRUE(spool->Ack(spool->head().epoch, spool->head().seq).ok());
    }
  }
  EXPECT_GT(total, 100U);
}

}  // namespace
}  // namespace nodetrail::agent
