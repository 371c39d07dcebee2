// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/tile.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_agent.h"

namespace nodetrail::trail {
namespace {

namespace fs = std::filesystem;

// A trail on disk, made of what a test appends.
class VerifyTest : public ::testing::Test {
 protected:
  VerifyTest()
      : log_key_(Ed25519Key::Generate()),
        log_verifier_(*NoteVerifier::Make("trail.example.org/acme", log_key_.public_key())),
        agent_(ca_, "acme", "web-1"),
        writer_(*TrailWriter::Open(dir_ / "trail")) {
    policy_.identity_ca_pem = ca_.CertPem();
    policy_.log_key = log_verifier_;
  }

  std::string trail() { return dir_ / "trail"; }

  void Append(const SealedBatch& batch, bool body = true) {
    if (body) {
      ASSERT_TRUE(writer_->PutBody(*HashFromBytes(batch.header.body_sha256()), batch.body).ok());
    }
    AppendLeaf(batch.leaf);
  }
  void AppendLeaf(std::string_view leaf) {
    ASSERT_TRUE(writer_->AppendLeaves({&leaf, 1}).ok());
    tree_.Append(LeafHash(leaf));
    leaves_.emplace_back(leaf);
  }
  std::string Checkpoint() {
    std::string note = *SignCheckpoint({"trail.example.org/acme", tree_.size(), tree_.Root(), {}}, log_key_);
    EXPECT_TRUE(writer_->WriteCheckpoint(note).ok());
    return note;
  }
  // Ten batches under a checkpoint.
  void Fill() {
    for (int i = 0; i < 10; ++i) {
      batches_.push_back(agent_.Batch());
      Append(batches_.back());
    }
    Checkpoint();
  }
  // As the collector does it before a checkpoint.
  void PublishTiles() {
    TileBuilder builder;
    std::vector<Tile> tiles;
    for (const std::string& leaf : leaves_) builder.Append(leaf, LeafHash(leaf), &tiles);
    for (Tile& tile : builder.Edge()) tiles.push_back(std::move(tile));
    for (const Tile& tile : tiles) {
      const fs::path path = trail() + "/log/" + TilePath(tile.id);
      fs::create_directories(path.parent_path());
      ASSERT_TRUE(WriteFileAtomically(path.string(), tile.bytes).ok());
    }
  }
  // Writes the leaves anew, as somebody with access to the disk would.
  void Rewrite(const std::vector<std::string>& leaves) {
    writer_.reset();
    fs::remove_all(trail() + "/log");
    const std::string note = last_note_;
    auto writer = TrailWriter::Open(trail());
    ASSERT_TRUE(writer.ok());
    for (const std::string_view leaf : leaves) ASSERT_TRUE((*writer)->AppendLeaves({&leaf, 1}).ok());
    if (note.empty()) return;
    ASSERT_TRUE((*writer)->WriteCheckpoint(note).ok());
  }
  VerifyReport Verify() {
    auto report = VerifyTrail(trail(), policy_);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    return report.ok() ? std::move(*report) : VerifyReport();
  }
  void FlipByte(const std::string& file, size_t offset) {
    std::string bytes = *ReadFile(file, 1U << 30);
    ASSERT_LT(offset, bytes.size());
    bytes[offset] = static_cast<char>(bytes[offset] ^ 0x20);
    std::ofstream(file, std::ios::binary) << bytes;
  }
  void KeepNote() { last_note_ = *ReadFile(trail() + "/log/checkpoint", 1U << 20); }

  TempDir dir_;
  TestCa ca_;
  Ed25519Key log_key_;
  NoteVerifier log_verifier_;
  TestAgent agent_;
  std::unique_ptr<TrailWriter> writer_;
  CompactRange tree_;
  std::vector<std::string> leaves_;
  std::vector<SealedBatch> batches_;
  std::string last_note_;
  VerifyPolicy policy_;
};

TEST_F(VerifyTest, AnIntactTrail) {
  Fill();
  Append(agent_.CleanShutdown());
  agent_.Restart();
  Append(agent_.Batch());
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact) << VerifyReportText(report);
  EXPECT_EQ(report.leaves, 12U);
  EXPECT_EQ(report.not_under_checkpoint, 2U);
  EXPECT_TRUE(report.checkpoint_trusted);
  EXPECT_EQ(report.bodies, 12U);
  ASSERT_EQ(report.agents.size(), 1U);
  EXPECT_EQ(report.agents[0].epochs.size(), 2U);
  EXPECT_TRUE(report.agents[0].epochs[0].clean_shutdown);
  const auto json = nlohmann::json::parse(VerifyReportJson(report));
  EXPECT_EQ(json["exit_code"], 0);
  EXPECT_EQ(json["agents"][0]["agent"], "web-1");
}

TEST_F(VerifyTest, TilesAreThoseOfTheLeaves) {
  Fill();
  PublishTiles();
  for (int i = 0; i < 250; ++i) Append(agent_.Batch(1));
  PublishTiles();
  Checkpoint();
  // Under no checkpoint yet: what is in these files is no promise.
  Append(agent_.Batch(1));
  PublishTiles();
  FlipByte(trail() + "/log/tile/0/001.p/5", 3);
  VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact) << VerifyReportText(report);
  // Of 260 leaves: 000 and 001.p/4, twice, and that of level 1; 000.p/10, twice.
  EXPECT_EQ(report.tiles, 7U);
  EXPECT_EQ(report.tiles_missing, 0U);
  EXPECT_EQ(nlohmann::json::parse(VerifyReportJson(report))["tiles"]["checked"], 7);
}

TEST_F(VerifyTest, AWrongTileUnderASignedRootIsTampering) {
  for (int i = 0; i < 10; ++i) Append(agent_.Batch(1));
  PublishTiles();
  for (int i = 0; i < 250; ++i) Append(agent_.Batch(1));
  PublishTiles();
  Checkpoint();
  for (const std::string file : {"log/tile/0/000", "log/tile/0/001.p/4", "log/tile/1/000.p/1", "log/tile/0/000.p/10",
                                 "log/tile/entries/000", "log/tile/entries/001.p/4", "log/tile/entries/000.p/10"}) {
    FlipByte(trail() + "/" + file, 20);
    VerifyReport report = Verify();
    EXPECT_EQ(report.verdict, TrailVerdict::kTamper) << file;
    ASSERT_TRUE(report.first_bad.has_value()) << file;
    EXPECT_EQ(report.first_bad->file, file);
    FlipByte(trail() + "/" + file, 20);
    // Longer is wrong, too.
    std::ofstream(trail() + "/" + file, std::ios::app) << "x";
    EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper) << file;
    fs::resize_file(trail() + "/" + file, fs::file_size(trail() + "/" + file) - 1);
  }
  EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact);
  fs::remove(trail() + "/log/tile/0/000");
  fs::create_directory(trail() + "/log/tile/0/000");
  EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper);
}

TEST_F(VerifyTest, AMissingTileIsNoTampering) {
  Fill();
  VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact);
  EXPECT_EQ(report.tiles_missing, 2U);
  PublishTiles();
  EXPECT_EQ(Verify().tiles_missing, 0U);
  fs::remove(trail() + "/log/tile/0/000.p/10");
  report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact);
  EXPECT_EQ(report.tiles_missing, 1U);
  // The other is that the agent was never enrolled.
  ASSERT_EQ(report.findings.size(), 2U);
  EXPECT_TRUE(std::all_of(report.findings.begin(), report.findings.end(),
                          [](const Finding& f) { return f.kind == FindingKind::kNote; }));
  EXPECT_TRUE(std::any_of(report.findings.begin(), report.findings.end(),
                          [](const Finding& f) { return f.file == "log/tile/0/000.p/10"; }));
}

// A partial tile that gave way to its full tile, under an older checkpoint.
TEST_F(VerifyTest, AFullTileStandsForItsPartialTile) {
  Fill();
  for (int i = 0; i < 250; ++i) Append(agent_.Batch(1));
  PublishTiles();
  VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact);
  EXPECT_EQ(report.checkpoint_size, 10U);
  EXPECT_EQ(report.tiles, 2U);
  EXPECT_EQ(report.tiles_missing, 0U);
  FlipByte(trail() + "/log/tile/0/000", 9 * 32);
  report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_EQ(report.first_bad->file, "log/tile/0/000");
}

TEST_F(VerifyTest, AnEmptyTrailIsIntact) { EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact); }

TEST_F(VerifyTest, AFlippedByteOfABodyNamesItsBatch) {
  Fill();
  const std::string file = BodyPath(*HashFromBytes(batches_[4].header.body_sha256()));
  FlipByte(trail() + "/" + file, batches_[4].body.size() / 2);
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  ASSERT_TRUE(report.first_bad.has_value());
  EXPECT_EQ(report.first_bad->batch, "web-1:1:4");
  EXPECT_EQ(report.first_bad->log_index, 4U);
  EXPECT_EQ(report.first_bad->file, file);
}

TEST_F(VerifyTest, AMissingAndASwappedBodyAreTampering) {
  Fill();
  const std::string a = trail() + "/" + BodyPath(*HashFromBytes(batches_[2].header.body_sha256()));
  const std::string b = trail() + "/" + BodyPath(*HashFromBytes(batches_[7].header.body_sha256()));
  fs::remove(a);
  VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_EQ(report.first_bad->batch, "web-1:1:2");
  fs::copy(b, a);
  report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_EQ(report.first_bad->batch, "web-1:1:2");
}

// Whatever byte of the segment is hit, and with the checksum repaired or not:
// 3, and the right batch.
TEST_F(VerifyTest, EveryFlippedByteOfALeafIsFoundAndNamed) {
  Fill();
  const std::string segment = trail() + "/log/000000.leaves";
  const std::string good = *ReadFile(segment, 1U << 30);
  size_t offset = 32;
  for (size_t leaf = 0; leaf < leaves_.size(); ++leaf) {
    const size_t size = 8 + leaves_[leaf].size();
    for (size_t at = 0; at < size; at += at < 12 ? 1 : 97) {
      std::ofstream(segment, std::ios::binary) << good;
      FlipByte(segment, offset + at);
      const VerifyReport report = Verify();
      EXPECT_EQ(report.verdict, TrailVerdict::kTamper) << "leaf " << leaf << " byte " << at;
      ASSERT_TRUE(report.first_bad.has_value());
      EXPECT_EQ(report.first_bad->batch, "web-1:1:" + std::to_string(leaf)) << "byte " << at << "\n"
                                                                            << VerifyReportText(report);
    }
    offset += size;
  }
}

TEST_F(VerifyTest, AFlippedByteWithARepairedChecksumIsFoundAndNamed) {
  Fill();
  KeepNote();
  for (size_t leaf = 0; leaf < leaves_.size(); ++leaf) {
    for (size_t at = 0; at < leaves_[leaf].size(); at += 101) {
      std::vector<std::string> edited = leaves_;
      edited[leaf][at] = static_cast<char>(edited[leaf][at] ^ 1);
      Rewrite(edited);
      const VerifyReport report = Verify();
      EXPECT_EQ(report.verdict, TrailVerdict::kTamper) << "leaf " << leaf << " byte " << at;
      ASSERT_TRUE(report.first_bad.has_value());
      EXPECT_EQ(report.first_bad->batch, "web-1:1:" + std::to_string(leaf)) << VerifyReportText(report);
    }
  }
}

TEST_F(VerifyTest, ARemovedLeafIsNamed) {
  Fill();
  KeepNote();
  for (size_t leaf = 0; leaf + 1 < leaves_.size(); ++leaf) {
    std::vector<std::string> edited = leaves_;
    edited.erase(edited.begin() + static_cast<std::ptrdiff_t>(leaf));
    Rewrite(edited);
    const VerifyReport report = Verify();
    EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
    ASSERT_TRUE(report.first_bad.has_value());
    EXPECT_EQ(report.first_bad->batch, "web-1:1:" + std::to_string(leaf)) << VerifyReportText(report);
  }
}

TEST_F(VerifyTest, TruncationBelowTheCheckpointIsTampering) {
  Fill();
  KeepNote();
  std::vector<std::string> edited = leaves_;
  edited.pop_back();
  Rewrite(edited);
  EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper);
}

TEST_F(VerifyTest, ReorderedDuplicatedAndSwappedLeavesAreTampering) {
  Fill();
  KeepNote();
  std::vector<std::string> reordered = leaves_;
  std::swap(reordered[3], reordered[4]);
  Rewrite(reordered);
  VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  std::vector<std::string> duplicated = leaves_;
  duplicated.push_back(leaves_[3]);
  Rewrite(duplicated);
  report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_EQ(report.first_bad->batch, "web-1:1:3");
}

// Who stole the log key can sign another root; the agents' chains still tell.
TEST_F(VerifyTest, AnEditedHeaderUnderAFreshRootIsTampering) {
  Fill();
  std::vector<std::string> edited = leaves_;
  edited[5][40] = static_cast<char>(edited[5][40] ^ 1);
  CompactRange tree;
  for (const std::string& leaf : edited) tree.Append(LeafHash(leaf));
  last_note_ = *SignCheckpoint({"trail.example.org/acme", tree.size(), tree.Root(), {}}, log_key_);
  Rewrite(edited);
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_EQ(report.first_bad->batch, "web-1:1:5");
}

TEST_F(VerifyTest, ALeafThatNeverCameIsAGap) {
  for (int i = 0; i < 3; ++i) Append(agent_.Batch());
  agent_.Batch();
  Append(agent_.Batch());
  Checkpoint();
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kUnexplainedGap) << VerifyReportText(report);
  EXPECT_EQ(report.first_bad->batch, "web-1:1:3");
}

TEST_F(VerifyTest, AHoleThatALaterEpochDeclaresIsDeclaredLoss) {
  Append(agent_.Batch());
  agent_.Batch();
  Append(agent_.Batch());
  agent_.Restart();
  Append(agent_.BatchOf({agent_.GapEvent(), TestAgent::SpoolLossEvent(1, 1, 1)}));
  Checkpoint();
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kDeclaredLoss) << VerifyReportText(report);
}

// A hole of batches 1 to 3. A range that ends before it begins covers nothing, nor
// does one of another epoch.
TEST_F(VerifyTest, SeveralStatementsMayCoverAHoleTogether) {
  const auto loss = &TestAgent::SpoolLossEvent;
  Append(agent_.Batch());
  for (int i = 0; i < 3; ++i) agent_.Batch();
  Append(agent_.Batch());
  agent_.Restart();
  Append(agent_.BatchOf({agent_.GapEvent(), loss(1, 3, ~uint64_t{0}), loss(1, 0, 1), loss(1, 2, 1), loss(2, 2, 2)}));
  Checkpoint();
  VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kUnexplainedGap) << VerifyReportText(report);
  agent_.Restart();
  Append(agent_.BatchOf({agent_.GapEvent(), loss(1, 2, 2)}));
  Checkpoint();
  report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kDeclaredLoss) << VerifyReportText(report);
}

// The batches after a hole are tied to no key: they can't excuse it themselves.
TEST_F(VerifyTest, AHoleDeclaredInItsOwnEpochStaysAGap) {
  Append(agent_.Batch());
  agent_.Batch();
  Append(agent_.BatchOf({TestAgent::SpoolLossEvent(1, 1, 1)}));
  Checkpoint();
  EXPECT_EQ(Verify().verdict, TrailVerdict::kUnexplainedGap);
}

TEST_F(VerifyTest, AKilledAgentThatSaysSoIsExactlyDeclaredLoss) {
  Fill();
  agent_.Restart();
  Append(agent_.BatchOf({agent_.GapEvent()}));
  Checkpoint();
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kDeclaredLoss) << VerifyReportText(report);
  ASSERT_EQ(report.agents[0].losses.size(), 1U);
  EXPECT_EQ(report.agents[0].losses[0].stage, "restart");
}

TEST_F(VerifyTest, AKilledAgentThatDoesNotIsAGap) {
  Fill();
  agent_.Restart();
  Append(agent_.Batch());
  Checkpoint();
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kUnexplainedGap);
  EXPECT_EQ(report.first_bad->batch, "web-1:2:0");
}

// The next epoch came without its opening, and what it says is not of this one.
TEST_F(VerifyTest, AnEpochIsJudgedByItsOwnWordsAlsoIfTheNextCameWithoutOpening) {
  Append(agent_.Batch());
  agent_.Restart();
  Append(agent_.Batch(1, [](v1::BatchHeader* header) { header->mutable_losses()->set_probe(3); }));
  agent_.Restart();
  agent_.Batch();
  Append(agent_.BatchOf({agent_.GapEvent()}));
  agent_.Restart();
  Append(agent_.BatchOf({agent_.GapEvent(), TestAgent::SpoolLossEvent(3, 0, 0)}));
  Checkpoint();
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kUnexplainedGap) << VerifyReportText(report);
  ASSERT_TRUE(report.first_bad);
  EXPECT_EQ(report.first_bad->batch, "web-1:2:0");
  EXPECT_NE(VerifyReportText(report).find("the epoch's counters tell of 3 lost events"), std::string::npos);
}

TEST_F(VerifyTest, AWipedSpoolIsAGap) {
  Fill();
  agent_.Restart(false);
  Append(agent_.BatchOf({agent_.GapEvent()}));
  Checkpoint();
  EXPECT_EQ(Verify().verdict, TrailVerdict::kUnexplainedGap);
}

TEST_F(VerifyTest, DeclaredLossByEventAndByCounter) {
  Append(agent_.Batch());
  Append(agent_.BatchOf({TestAgent::LossEvent(17)}));
  Checkpoint();
  VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kDeclaredLoss);
  EXPECT_EQ(report.agents[0].losses.at(0).count, 17U);

  TestAgent other(ca_, "acme", "web-2");
  Append(other.Batch(1, [](auto* h) { h->mutable_losses()->set_ring(3); }));
  Checkpoint();
  report = Verify();
  ASSERT_EQ(report.agents.size(), 2U);
  EXPECT_EQ(report.agents[1].losses.at(0).count, 3U);
}

TEST_F(VerifyTest, CheckpointsAreChecked) {
  Fill();
  const std::string good = *ReadFile(trail() + "/log/checkpoint", 1U << 20);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    ASSERT_TRUE(writer_->WriteCheckpoint(bad).ok());
    EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper) << "byte " << i;
  }
  fs::remove(trail() + "/log/checkpoint");
  EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper);
  policy_.log_key.reset();
  EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact);
}

TEST_F(VerifyTest, TheLogMustExtendAPriorCheckpoint) {
  Append(agent_.Batch());
  Append(agent_.Batch());
  policy_.kept = {{"kept", Checkpoint()}};
  Append(agent_.Batch());
  Checkpoint();
  EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact);
  // Another history of the same length, rightly signed.
  policy_.kept = {{"kept", *SignCheckpoint({"trail.example.org/acme", 2, LeafHash("x"), {}}, log_key_)}};
  EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper);
  policy_.kept = {{"kept", *SignCheckpoint({"trail.example.org/acme", 99, LeafHash("x"), {}}, log_key_)}};
  EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper);
}

TEST_F(VerifyTest, ATornTailAfterTheCheckpointIsNotTampering) {
  Fill();
  const std::string segment = trail() + "/log/000000.leaves";
  std::ofstream(segment, std::ios::binary | std::ios::app) << std::string("\x80\x00\x00\x00\x12\x34", 6);
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact) << VerifyReportText(report);
  // The writer cuts it off and goes on.
  writer_.reset();
  writer_ = *TrailWriter::Open(trail());
  EXPECT_EQ(writer_->size(), 10U);
  Append(agent_.Batch());
  EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact);
}

TEST_F(VerifyTest, ALostSegmentIsTampering) {
  writer_.reset();
  TrailWriter::Options options;
  options.segment_bytes = 2048;
  writer_ = *TrailWriter::Open(trail(), options);
  Fill();
  ASSERT_TRUE(fs::exists(trail() + "/log/000002.leaves"));
  EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact);
  fs::remove(trail() + "/log/000001.leaves");
  EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper);
}

TEST_F(VerifyTest, OtherTenantsAndForeignAuthoritiesAreTampering) {
  Fill();
  policy_.tenant = "other";
  EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper);
  policy_.tenant = "acme";
  EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact);
  policy_.identity_ca_pem = TestCa("stranger").CertPem();
  EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper);
}

TEST_F(VerifyTest, OperationalErrorsAreNoVerdict) {
  EXPECT_EQ(VerifyTrail(dir_ / "nothing", policy_).status().code(), Code::kNotFound);
  policy_.identity_ca_pem = "no certificate";
  EXPECT_FALSE(VerifyTrail(trail(), policy_).ok());
}

}  // namespace
}  // namespace nodetrail::trail
