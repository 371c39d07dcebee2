// SPDX-License-Identifier: Apache-2.0
//
// What agents have seen against the log they are in: an honest one, one that
// was cut, one that showed another tree.
#include "trail/verify_seen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "nodetrail/trail/trail_store.h"
#include "nodetrail/trail/verify.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::trail {
namespace {

using testing::HasSubstr;

class VerifySeenTest : public ::testing::Test {
 protected:
  // A log of one trail directory, as a collector keeps it.
  struct Log {
    explicit Log(const std::string& path) : dir(path), writer(*TrailWriter::Open(path)) {}
    void Append(const SealedBatch& batch) {
      ASSERT_TRUE(writer->PutBody(*HashFromBytes(batch.header.body_sha256()), batch.body).ok());
      const std::string_view leaf = batch.leaf;
      ASSERT_TRUE(writer->AppendLeaves({&leaf, 1}).ok());
      tree.Append(LeafHash(leaf));
    }
    std::string dir;
    std::unique_ptr<TrailWriter> writer;
    CompactRange tree;
  };

  static TestAgent::Edit Saw(uint64_t size, const Hash& root) {
    return [=](v1::BatchHeader* h) {
      h->set_seen_size(size);
      h->set_seen_root(Bytes(root));
    };
  }
  static TestAgent::Edit Saw(const Log& log) { return Saw(log.tree.size(), log.tree.Root()); }

  VerifyReport Verify(Log* log) {
    const Checkpoint checkpoint{"trail.example.org/acme", log->tree.size(), log->tree.Root(), {}};
    EXPECT_TRUE(log->writer->WriteCheckpoint(*SignCheckpoint(checkpoint, log_key_)).ok());
    VerifyPolicy policy;
    policy.identity_ca_pem = ca_.CertPem();
    policy.log_key = *NoteVerifier::Make("trail.example.org/acme", log_key_.public_key());
    auto report = VerifyTrail(log->dir, policy);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    return *report;
  }

  TempDir dir_;
  TestCa ca_;
  Ed25519Key log_key_ = Ed25519Key::Generate();
  TestAgent one_{ca_, "acme", "web-1"};
  TestAgent two_{ca_, "acme", "web-2"};
};

TEST_F(VerifySeenTest, AnHonestLogHasWhatItsAgentsSaw) {
  Log log(dir_ / "trail");
  std::vector<std::pair<uint64_t, Hash>> sizes;
  for (int i = 0; i < 20; ++i) {
    log.Append(i % 3 == 0 || sizes.empty()
                   ? one_.Batch()
                   : two_.Batch(1, Saw(sizes[sizes.size() / 2].first, sizes[sizes.size() / 2].second)));
    sizes.emplace_back(log.tree.size(), log.tree.Root());
  }
  // The newest possible: all that was there before it.
  log.Append(one_.Batch(1, Saw(log)));
  const VerifyReport report = Verify(&log);
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact) << report.summary;
}

// One log, two faces: web-1 is shown a tree without web-2's batches.
TEST_F(VerifySeenTest, ASplitViewIsFoundThroughTheAgentThatSawTheOther) {
  Log face(dir_ / "face");
  Log log(dir_ / "trail");
  const SealedBatch first = one_.Batch();
  face.Append(first);
  log.Append(two_.Batch());
  log.Append(first);
  const SealedBatch second = one_.Batch(1, Saw(face));
  face.Append(second);
  log.Append(second);
  const VerifyReport shown = Verify(&face);
  EXPECT_EQ(shown.verdict, TrailVerdict::kIntact) << shown.summary;
  const VerifyReport report = Verify(&log);
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  ASSERT_TRUE(report.first_bad.has_value());
  EXPECT_EQ(report.first_bad->batch, "web-1:1:1");
  EXPECT_EQ(report.first_bad->log_index, 2U);
  const Hash theirs = LeafHash(first.leaf);
  EXPECT_THAT(report.first_bad->text, HasSubstr(Hex(theirs)));
  EXPECT_THAT(report.first_bad->text, HasSubstr("another tree"));
  // The batch itself holds: nobody says that it is missing.
  for (const AgentCoverage& agent : report.agents) EXPECT_TRUE(agent.holes.empty()) << agent.agent_id;
}

TEST_F(VerifySeenTest, ALogThatWasLongerIsFoundThroughWhoSawIt) {
  Log longer(dir_ / "longer");
  Log log(dir_ / "trail");
  const SealedBatch first = one_.Batch();
  longer.Append(first);
  log.Append(first);
  for (int i = 0; i < 3; ++i) longer.Append(two_.Batch());
  log.Append(one_.Batch(1, Saw(longer)));
  const VerifyReport report = Verify(&log);
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  ASSERT_TRUE(report.first_bad.has_value());
  EXPECT_EQ(report.first_bad->batch, "web-1:1:1");
  EXPECT_THAT(report.first_bad->text, HasSubstr("a checkpoint of 4 leaves"));
  EXPECT_THAT(report.first_bad->text, HasSubstr("longer once"));
}

// A checkpoint that covers the batch itself can't have been seen before it.
TEST_F(VerifySeenTest, ABatchCannotHaveSeenItself) {
  Log log(dir_ / "trail");
  log.Append(one_.Batch());
  log.Append(one_.Batch(1, Saw(2, Sha256Of("whatever"))));
  EXPECT_EQ(Verify(&log).verdict, TrailVerdict::kTamper);
}

TEST_F(VerifySeenTest, EachWrongClaimIsNamedOnceAndTheRestCounted) {
  Log log(dir_ / "trail");
  for (int i = 0; i < 5; ++i) log.Append(one_.Batch());
  for (int i = 0; i < 4; ++i) log.Append(one_.Batch(1, Saw(3, Sha256Of("other"))));
  const VerifyReport report = Verify(&log);
  size_t named = 0;
  bool counted = false;
  for (const Finding& finding : report.findings) {
    named += finding.kind == FindingKind::kTamper ? 1 : 0;
    counted = counted || finding.text.starts_with("3 further batches");
  }
  EXPECT_EQ(named, 1U);
  EXPECT_TRUE(counted);
}

// Claims about sizes whose roots are not kept any more are answered by reading
// the leaves again: at the end, and whenever too many wait.
TEST_F(VerifySeenTest, OldClaimsAreAnsweredFromTheLeaves) {
  Log log(dir_ / "trail");
  std::vector<Hash> roots{EmptyRoot()};
  for (int i = 0; i < 30; ++i) {
    log.Append(one_.Batch());
    roots.push_back(log.tree.Root());
  }
  for (const size_t max_waiting : {size_t{1}, size_t{3}, size_t{100}}) {
    for (const bool honest : {true, false}) {
      Findings findings(100);
      SeenCheck check(log.dir, &findings, 2, max_waiting);
      auto reader = *TrailReader::Open(log.dir);
      ASSERT_TRUE(reader
                      ->Inspect([&](const LeafLocation& where, std::string_view leaf, bool) {
                        check.Append(LeafHash(leaf));
                        v1::BatchHeader header = ParseLeaf(leaf)->header;
                        const uint64_t size = where.index / 2;
                        if (size == 0) return true;
                        header.set_seen_size(size);
                        header.set_seen_root(Bytes(honest || size % 4 != 3 ? roots[size] : roots[size - 1]));
                        EXPECT_TRUE(check.Take(header, where).ok());
                        return true;
                      })
                      .ok());
      ASSERT_TRUE(check.Finish().ok());
      VerifyReport report;
      findings.Conclude(&report);
      EXPECT_EQ(report.verdict, honest ? TrailVerdict::kIntact : TrailVerdict::kTamper) << max_waiting;
      if (!honest) {
        EXPECT_EQ(report.first_bad->log_index, 6U);
      }
    }
  }
}

}  // namespace
}  // namespace nodetrail::trail
