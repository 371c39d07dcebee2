// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "nodetrail/trail/verify.h"
#include "trail/rfc3339.h"
#include "trail/testing/trail_maker.h"

namespace nodetrail::trail {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

std::string Slurp(const std::string& file) { return *ReadFile(file, 1 << 26); }
void Spill(const std::string& file, std::string_view bytes) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

BundleManifest Manifest() {
  BundleManifest out;
  out.origin = "trail.example.org/acme";
  out.tenant = "acme";
  out.checkpoint_size = 12;
  out.scope.since_ns = 1'700'000'000'000'000'001;
  out.scope.agents = {"db-1", "web-1"};
  out.bodies = 7;
  return out;
}

TEST(ManifestTest, OneTextForOneContent) {
  const std::string text = FormatManifest(Manifest());
  EXPECT_EQ(text, R"({
  "format": "nodetrail-bundle 1",
  "origin": "trail.example.org/acme",
  "tenant": "acme",
  "checkpoint_size": 12,
  "since": "2023-11-14T22:13:20.000000001Z",
  "until": null,
  "agents": [
    "db-1",
    "web-1"
  ],
  "bodies": 7,
  "receipts": 0
}
)");
  const auto parsed = ParseManifest(text);
  ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
  EXPECT_EQ(parsed->checkpoint_size, 12U);
  EXPECT_EQ(parsed->scope.since_ns, Manifest().scope.since_ns);
  EXPECT_FALSE(parsed->scope.until_ns.has_value());
  for (size_t i = 0; i < text.size(); ++i) {
    EXPECT_FALSE(ParseManifest(text.substr(0, i)).ok()) << i;
    EXPECT_FALSE(ParseManifest(text.substr(0, i) + " " + text.substr(i)).ok()) << i;
  }
  EXPECT_EQ(ManifestSum(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  manifest.json\n");
}

TEST(ManifestTest, HostileValuesAreRefused) {
  const std::string good = FormatManifest(Manifest());
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {"bundle 1", "bundle 2"},
           {"trail.example.org/acme", "two words"},
           {"trail.example.org/acme", ""},
           {"\"acme\"", "\"../acme\""},
           {"\"acme\"", "7"},
           {"12,", "-12,"},
           {"12,", "12.0,"},
           {"12,", "1e1,"},
           {"12,", "012,"},
           {"12,", "9007199254740992,"},
           {"12,", "18446744073709551616,"},
           {"12,", "\"12\","},
           {"2023-11-14T", "2023-02-29T"},
           {"2023-11-14T", "1969-11-14T"},
           {"2023-11-14T", "2262-11-14T"},
           {"T22:", "T24:"},
           {".000000001Z", ".00000000Z"},
           {".000000001Z", ".000000001z"},
           {"\"until\": null", "\"until\": \"2023-11-14T22:13:20.000000000Z\""},
           {"\"until\": null", "\"until\": false"},
           {"\"db-1\",\n    \"web-1\"", "\"web-1\",\n    \"db-1\""},
           {"\"db-1\",\n    \"web-1\"", "\"db-1\",\n    \"db-1\""},
           {"[\n    \"db-1\",\n    \"web-1\"\n  ]", "[]"},
           {"\"db-1\"", "[[[[[[1]]]]]]"},
           {"\"db-1\"", "\".db\""},
           {"\"receipts\": 0", "\"receipts\": 10001"},
           {"\"receipts\": 0", "\"receipts\": 0,\n  \"receipts\": 0"},
           {"\"receipts\": 0", "\"receipts\": 0,\n  \"extra\": 0"},
           {",\n  \"receipts\": 0", ""},
           {"\"web-1\"", "\"web\\u002d1\""},
       }) {
    std::string bad = good;
    const size_t at = bad.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    bad.replace(at, from.size(), to);
    const auto parsed = ParseManifest(bad);
    EXPECT_FALSE(parsed.ok()) << bad;
    EXPECT_TRUE(parsed.ok() || parsed.status().message().starts_with("manifest.json: ")) << bad;
  }
  EXPECT_FALSE(ParseManifest(std::string(100'000, '[')).ok());
  EXPECT_FALSE(ParseManifest(std::string(kMaxManifestBytes + 1, ' ')).ok());
}

TEST(ManifestTest, Times) {
  EXPECT_EQ(ParseRfc3339("1970-01-01T00:00:00.000000000Z"), 0U);
  EXPECT_EQ(ParseRfc3339("2261-12-31T23:59:59.999999999Z"), 9'214'646'399'999'999'999U);
  for (const uint64_t ns : {uint64_t{0}, uint64_t{951'782'400'000'000'000}, uint64_t{9'214'646'399'999'999'999}}) {
    EXPECT_EQ(ParseRfc3339(FormatRfc3339(ns)), ns);
  }
}

TEST(ManifestTest, NamesOfReceipts) {
  for (const char* good : {"a.tlog-proof", "web-1_2.3.tlog-proof"}) EXPECT_TRUE(ValidReceiptFile(good)) << good;
  for (const char* bad : {"", ".tlog-proof", "..tlog-proof", "a/b.tlog-proof", "a.proof", "a b.tlog-proof"}) {
    EXPECT_FALSE(ValidReceiptFile(bad)) << bad;
  }
  EXPECT_FALSE(ValidReceiptFile(std::string(101, 'a') + ".tlog-proof"));
}

TEST(ScopeTest, EndsAreIncluded) {
  BundleScope scope;
  EXPECT_TRUE(scope.Has("web-1", {5, 6}));
  scope.since_ns = 10;
  scope.until_ns = 20;
  EXPECT_FALSE(scope.Meets({5, 9}));
  EXPECT_TRUE(scope.Meets({5, 10}));
  EXPECT_TRUE(scope.Meets({20, 30}));
  EXPECT_FALSE(scope.Meets({21, 30}));
  EXPECT_TRUE(scope.Meets({0, 100}));
  scope.agents = {"a", "c"};
  EXPECT_TRUE(scope.Has("c", {15, 15}));
  EXPECT_FALSE(scope.Has("b", {15, 15}));
  v1::BatchHeader header;
  header.set_sealed_wall_ns(7);
  EXPECT_EQ(TimeOf(header).from_ns, 7U);
  header.set_event_count(1);
  header.set_first_wall_ns(9);
  header.set_last_wall_ns(4);
  EXPECT_EQ(TimeOf(header).from_ns, 4U);
  EXPECT_EQ(TimeOf(header).to_ns, 9U);
}

class BundleTest : public testing::Test {
 protected:
  BundleTest() {
    policy_.identity_ca_pem = maker_.ca.CertPem();
    policy_.log_key = maker_.LogKey();
  }
  // web-1 and web-2, a batch every ten seconds, for a minute.
  void Fill() {
    for (int i = 0; i < 6; ++i) {
      maker_.Batch(&maker_.one, 10 * i);
      maker_.Batch(&maker_.two, 10 * i + 1);
    }
    maker_.Checkpoint();
  }
  Result<ExportReport> Export(const BundleScope& scope = {}, std::vector<std::string> receipts = {}) {
    return ExportBundle(maker_.dir(), bundle_, {scope, std::move(receipts)});
  }
  static BundleScope Seconds(std::optional<double> since, std::optional<double> until) {
    BundleScope scope;
    if (since) scope.since_ns = TrailMaker::At(*since);
    if (until) scope.until_ns = TrailMaker::At(*until);
    return scope;
  }
  VerifyReport Verify(const std::string& dir) {
    auto report = VerifyTrail(dir, policy_);
    EXPECT_TRUE(report.ok()) << report.status().ToString();
    return report.ok() ? *std::move(report) : VerifyReport();
  }
  VerifyReport Verify() { return Verify(bundle_); }
  // What an error may not leave.
  void ExpectNothing() {
    EXPECT_FALSE(fs::exists(bundle_));
    EXPECT_FALSE(fs::exists(bundle_ + ".tmp"));
  }
  // Every file of the bundle, relative.
  [[nodiscard]] std::vector<std::string> Files() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(bundle_)) {
      if (entry.is_regular_file()) out.push_back(fs::relative(entry.path(), bundle_).string());
    }
    return out;
  }

  TrailMaker maker_;
  VerifyPolicy policy_;
  const std::string bundle_ = maker_.path("bundle");
};

TEST_F(BundleTest, TheWholeTrail) {
  Fill();
  maker_.Batch(&maker_.one, 61);  // under no checkpoint yet
  const auto exported = Export();
  ASSERT_TRUE(exported.ok()) << exported.status().ToString();
  EXPECT_EQ(exported->leaves, 12U);
  EXPECT_EQ(exported->beyond_checkpoint, 1U);
  EXPECT_EQ(exported->manifest.bodies, 12U);
  EXPECT_EQ(exported->manifest.tenant, "acme");
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact) << VerifyReportText(report);
  EXPECT_TRUE(report.checkpoint_trusted);
  EXPECT_EQ(report.leaves, 12U);
  EXPECT_EQ(report.bodies, 12U);
  EXPECT_THAT(VerifyReportText(report), HasSubstr("scope: the beginning to the end, all agents\n"));
  // A bundle is no trail: nothing is written to it, nothing served from it.
  EXPECT_FALSE(TrailReader::Open(bundle_).ok());
  EXPECT_FALSE(TrailWriter::Open(bundle_).ok());
}

TEST_F(BundleTest, ANarrowScope) {
  Fill();
  BundleScope scope = Seconds(15, 35);
  scope.agents = {"web-2"};
  const auto exported = Export(scope);
  ASSERT_TRUE(exported.ok()) << exported.status().ToString();
  EXPECT_EQ(exported->leaves, 12U);
  EXPECT_EQ(exported->manifest.bodies, 2U);
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact) << VerifyReportText(report);
  EXPECT_EQ(report.bodies, 2U);
  EXPECT_EQ(report.bodies_outside, 10U);
  ASSERT_EQ(report.agents.size(), 2U);
  EXPECT_TRUE(report.agents[0].intervals.empty()) << "web-1 is not in the scope";
  ASSERT_EQ(report.agents[1].intervals.size(), 1U);
  EXPECT_EQ(report.agents[1].intervals[0].from_ns, *scope.since_ns);
  EXPECT_EQ(report.agents[1].intervals[0].to_ns, *scope.until_ns);
}

// Each byte of each file: none passes as intact, and what is said of a batch
// is named.
TEST_F(BundleTest, NoByteIsWithoutMeaning) {
  Fill();
  const std::string receipt = maker_.path("mine.tlog-proof");
  Spill(receipt, maker_.Receipt(3));
  ASSERT_TRUE(Export(Seconds(5, 45), {receipt}).ok());
  ASSERT_EQ(Verify().verdict, TrailVerdict::kIntact);
  size_t flips = 0;
  for (const std::string& file : Files()) {
    const std::string path = bundle_ + "/" + file;
    const std::string good = Slurp(path);
    const bool leaves = file.ends_with(".leaves");
    for (size_t at = 0; at < good.size(); at += file.starts_with("bodies/") || leaves ? 37U : 1U) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 1);
      Spill(path, bad);
      const auto report = VerifyTrail(bundle_, policy_);
      if (file == "FORMAT") {
        EXPECT_FALSE(report.ok()) << at;
        continue;
      }
      ASSERT_TRUE(report.ok()) << file << " " << at << ": " << report.status().ToString();
      EXPECT_EQ(report->verdict, TrailVerdict::kTamper) << file << " at " << at;
      ASSERT_TRUE(report->first_bad.has_value());
      // The last of several agents' leaves can't be named by what the chains lack.
      if (file.starts_with("bodies/") || (leaves && at >= 32 && at < good.size() / 4 * 3)) {
        EXPECT_NE(report->first_bad->batch, "") << file << at;
      }
      ++flips;
    }
    Spill(path, good);
  }
  EXPECT_GT(flips, 1000U);
  EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact);
}

TEST_F(BundleTest, NoFileIsWithoutMeaning) {
  Fill();
  const std::string receipt = maker_.path("mine.tlog-proof");
  Spill(receipt, maker_.Receipt(3));
  ASSERT_TRUE(Export({}, {receipt}).ok());
  for (const std::string& file : Files()) {
    const std::string path = bundle_ + "/" + file;
    fs::rename(path, maker_.path("kept"));
    const auto report = VerifyTrail(bundle_, policy_);
    EXPECT_TRUE(!report.ok() || report->verdict == TrailVerdict::kTamper) << file;
    EXPECT_EQ(report.ok(), file != "FORMAT") << file;
    fs::rename(maker_.path("kept"), path);
  }
  EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact);
}

TEST_F(BundleTest, MoreThanTheManifestSays) {
  Fill();
  ASSERT_TRUE(Export(Seconds(5, 45)).ok());
  const std::string manifest = Slurp(bundle_ + "/manifest.json");
  const auto edit = [&](const std::function<void(BundleManifest*)>& change) {
    BundleManifest other = *ParseManifest(manifest);
    change(&other);
    Spill(bundle_ + "/manifest.json", FormatManifest(other));
    Spill(bundle_ + "/manifest.sha256", ManifestSum(FormatManifest(other)));
    return Verify();
  };
  EXPECT_EQ(edit([](BundleManifest*) {}).verdict, TrailVerdict::kIntact);
  EXPECT_EQ(edit([](BundleManifest* m) { m->bodies += 1; }).verdict, TrailVerdict::kTamper);
  EXPECT_EQ(edit([](BundleManifest* m) { m->receipts = 1; }).verdict, TrailVerdict::kTamper);
  EXPECT_EQ(edit([](BundleManifest* m) { m->checkpoint_size -= 1; }).verdict, TrailVerdict::kTamper);
  EXPECT_EQ(edit([](BundleManifest* m) { m->origin = "other.example.org"; }).verdict, TrailVerdict::kTamper);
  EXPECT_EQ(edit([](BundleManifest* m) { m->tenant = "other"; }).verdict, TrailVerdict::kTamper);
  // A wider scope lacks bodies; a narrower one counts others.
  EXPECT_EQ(edit([](BundleManifest* m) { m->scope.since_ns.reset(); }).verdict, TrailVerdict::kTamper);
  const VerifyReport narrow = edit([](BundleManifest* m) { m->scope.until_ns = TrailMaker::At(25); });
  EXPECT_EQ(narrow.verdict, TrailVerdict::kTamper);
  EXPECT_THAT(narrow.summary, HasSubstr("manifest.json"));
  EXPECT_EQ(edit([](BundleManifest* m) { m->scope.agents = {"nobody"}; }).verdict, TrailVerdict::kTamper);
}

TEST_F(BundleTest, LeavesBeyondTheCheckpointAreNotHandedOn) {
  Fill();
  ASSERT_TRUE(Export().ok());
  const std::string log = bundle_ + "/log/000000.leaves";
  maker_.Batch(&maker_.one, 61);
  Spill(log, Slurp(maker_.dir() + "/log/000000.leaves"));
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_THAT(VerifyReportText(report), HasSubstr("holds 13 leaves, its checkpoint covers 12"));
}

// The agent was killed at 20 s and tells of it in a batch after the scope.
TEST_F(BundleTest, TheExplanationComesAlong) {
  maker_.Batch(&maker_.one, 0);
  maker_.Batch(&maker_.one, 20);
  maker_.one.Restart();
  maker_.Batch(&maker_.one, 30);
  const SealedBatch told = maker_.Batch(&maker_.one, 40, {maker_.one.GapEvent()});
  maker_.Batch(&maker_.one, 50);
  maker_.Checkpoint();
  ASSERT_EQ(Verify(maker_.dir()).verdict, TrailVerdict::kDeclaredLoss);
  const auto exported = Export(Seconds(0, 35));
  ASSERT_TRUE(exported.ok()) << exported.status().ToString();
  EXPECT_EQ(exported->bodies_outside, 1U);
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kDeclaredLoss) << VerifyReportText(report);
  EXPECT_EQ(report.bodies, 4U);
  EXPECT_EQ(report.bodies_outside, 1U);
  EXPECT_EQ(report.agents[0].covered_ns[static_cast<size_t>(CoverageKind::kDeclared)], 10 * TrailMaker::kSecond);
  // Without it the restart is unexplained.
  fs::remove(bundle_ + "/" + BodyPath(*HashFromBytes(told.header.body_sha256())));
  EXPECT_EQ(Verify().verdict, TrailVerdict::kUnexplainedGap);
}

// What is missing outside the scope is told, and not judged.
TEST_F(BundleTest, GapsOutsideTheScopeAreNotes) {
  maker_.Batch(&maker_.one, 0);
  (void)maker_.one.Batch(1);  // never arrives
  maker_.Batch(&maker_.one, 20);
  maker_.one.Restart();
  maker_.Batch(&maker_.one, 40);  // unclean, never explained
  for (int i = 5; i < 9; ++i) maker_.Batch(&maker_.one, 10 * i);
  maker_.Checkpoint();
  ASSERT_EQ(Verify(maker_.dir()).verdict, TrailVerdict::kUnexplainedGap);
  ASSERT_TRUE(Export(Seconds(50, {})).ok());
  VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact) << VerifyReportText(report);
  EXPECT_THAT(VerifyReportText(report), HasSubstr("nobody says why (outside the scope)"));
  fs::remove_all(bundle_);
  ASSERT_TRUE(Export(Seconds(30, {})).ok());
  report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kUnexplainedGap);
  EXPECT_EQ(report.first_bad->batch, "web-1:2:0");
  fs::remove_all(bundle_);
  ASSERT_TRUE(Export(Seconds(0, 10)).ok());
  report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kUnexplainedGap);
  EXPECT_EQ(report.first_bad->batch, "web-1:1:1");
}

TEST_F(BundleTest, AnEvictedBodyIsDeclaredInTheBundleToo) {
  maker_.Batch(&maker_.one, 0);
  const SealedBatch evicted = maker_.Batch(&maker_.one, 10, {}, false);
  maker_.Batch(&maker_.one, 20);
  maker_.Checkpoint();
  EXPECT_EQ(Export().status().code(), Code::kDataLoss);
  ExpectNothing();
  const std::string statement = maker_.one.Eviction(evicted);
  const std::string path = maker_.dir() + "/" + EvictionPath(*HashFromBytes(evicted.header.body_sha256()));
  fs::create_directories(fs::path(path).parent_path());
  Spill(path, statement);
  const auto exported = Export();
  ASSERT_TRUE(exported.ok()) << exported.status().ToString();
  EXPECT_EQ(exported->evicted, 1U);
  EXPECT_EQ(exported->manifest.bodies, 3U);
  const VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kDeclaredLoss) << VerifyReportText(report);
  EXPECT_EQ(report.bodies_evicted, 1U);
}

TEST_F(BundleTest, ErrorsTeachAndLeaveNothing) {
  const auto error = [this](const BundleScope& scope = {}, std::vector<std::string> receipts = {}) {
    const auto exported = Export(scope, std::move(receipts));
    EXPECT_FALSE(exported.ok());
    ExpectNothing();
    return std::string(exported.status().message());
  };
  maker_.Batch(&maker_.one, 0);
  EXPECT_THAT(error(), HasSubstr("log/checkpoint: none yet"));
  Fill();
  EXPECT_THAT(error(Seconds(1000, {})), HasSubstr("to 2023-11-14T22:14:11"));
  BundleScope scope;
  scope.agents = {"web-9"};
  EXPECT_THAT(error(scope), HasSubstr("no batch of agent web-9; the log has: web-1, web-2"));
  EXPECT_THAT(error({}, {maker_.path("no.tlog-proof")}), HasSubstr("no.tlog-proof"));
  Spill(maker_.path("receipt.txt"), maker_.Receipt(1));
  EXPECT_THAT(error({}, {maker_.path("receipt.txt")}), HasSubstr("NAME.tlog-proof"));
  Spill(maker_.path("bad.tlog-proof"), "c2sp.org/tlog-proof@v1\nindex x\n");
  EXPECT_THAT(error({}, {maker_.path("bad.tlog-proof")}), HasSubstr("bad.tlog-proof"));
  EXPECT_FALSE(ExportBundle(maker_.path("nowhere"), bundle_, {}).ok());
  ExpectNothing();
  EXPECT_EQ(ExportBundle(maker_.dir(), bundle_, {}, [](uint64_t, uint64_t) { return false; }).status().code(),
            Code::kCancelled);
  ExpectNothing();

  fs::create_directory(bundle_);
  EXPECT_EQ(Export().status().code(), Code::kAlreadyExists);
  EXPECT_TRUE(fs::is_empty(bundle_));
  fs::remove(bundle_);
  fs::create_directory(bundle_ + ".tmp");
  EXPECT_THAT(std::string(Export().status().message()), HasSubstr("remove it"));
  fs::remove(bundle_ + ".tmp");

  // A body that is another, and one that is not there.
  const std::string body =
      maker_.dir() + "/" + BodyPath(*HashFromBytes(maker_.Batch(&maker_.one, 70).header.body_sha256()));
  maker_.Checkpoint();
  const std::string good = Slurp(body);
  Spill(body, good.substr(1) + "x");
  EXPECT_THAT(error(), HasSubstr("batch web-1:1:7"));
  fs::remove(body);
  EXPECT_THAT(error(), HasSubstr("is missing"));
  fs::create_directory(body);
  EXPECT_THAT(error(), HasSubstr("batch web-1:1:7"));
  fs::remove(body);
  Spill(body, good);
  // A damaged leaf, and a checkpoint that is not over the leaves.
  const std::string log = maker_.dir() + "/log/000000.leaves";
  const std::string leaves = Slurp(log);
  std::string bad = leaves;
  bad[100] = static_cast<char>(bad[100] ^ 1);
  Spill(log, bad);
  EXPECT_THAT(error(), HasSubstr("the trail is damaged"));
  Spill(log, leaves);
  TrailMaker other;
  other.Batch(&other.one, 0);
  Spill(maker_.dir() + "/log/checkpoint", other.Checkpoint());
  EXPECT_THAT(error(), HasSubstr("the root over the leaves"));
}

TEST_F(BundleTest, ReceiptsAreOfTheirLeaf) {
  Fill();
  const std::string path = maker_.path("mine.tlog-proof");
  Spill(path, maker_.Receipt(3, "a"));
  policy_.log_policy = *LogPolicy::Parse(maker_.Policy("any a b"));
  maker_.Checkpoint("b");
  ASSERT_TRUE(Export({}, {path}).ok());
  EXPECT_EQ(Verify().verdict, TrailVerdict::kIntact) << VerifyReportText(Verify());
  const std::string in_bundle = bundle_ + "/receipts/mine.tlog-proof";
  const std::string good = Slurp(in_bundle);
  // Of another leaf; without a witness; of a log that was never like that.
  Spill(in_bundle, FormatReceipt(4, ParseReceipt(good)->path, ParseReceipt(good)->checkpoint));
  VerifyReport report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_EQ(report.first_bad->reason, "receipt");
  EXPECT_EQ(report.first_bad->batch, "");
  EXPECT_THAT(report.first_bad->text, HasSubstr("leaf 4, batch web-1:1:2: the receipt is not of this leaf"));
  EXPECT_EQ(report.first_bad->file, "receipts/mine.tlog-proof");
  Spill(in_bundle, maker_.Receipt(3));
  maker_.Checkpoint("b");
  report = Verify();
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_EQ(report.first_bad->reason, "receipt");
  EXPECT_THAT(report.first_bad->text, HasSubstr("batch web-2:1:1"));
  EXPECT_THAT(report.first_bad->text, HasSubstr("missing a, b"));
  fs::rename(in_bundle, bundle_ + "/receipts/hidden");
  EXPECT_EQ(Verify().verdict, TrailVerdict::kTamper);
}

TEST_F(BundleTest, AQuorumThatIsMissingIsNamed) {
  Fill();
  policy_.log_key.reset();
  policy_.log_policy = *LogPolicy::Parse(maker_.Policy("all a b"));
  maker_.Checkpoint("ab");
  VerifyReport report = Verify(maker_.dir());
  EXPECT_EQ(report.verdict, TrailVerdict::kIntact) << VerifyReportText(report);
  EXPECT_TRUE(report.checkpoint_trusted);
  EXPECT_EQ(report.witnesses.size(), 2U);
  maker_.Checkpoint("b");
  report = Verify(maker_.dir());
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_FALSE(report.checkpoint_trusted);
  EXPECT_THAT(report.summary, HasSubstr("group g: 1 of 2 (missing a)"));
  EXPECT_THAT(report.witnesses_missing, testing::ElementsAre("a"));
  EXPECT_THAT(VerifyReportText(report), HasSubstr("witness a: missing"));
  EXPECT_THAT(VerifyReportJson(report), HasSubstr("\"witnesses_missing\": [\n      \"a\"\n    ]"));
}

// Older checkpoints and receipts, any number of them.
TEST_F(BundleTest, WhatAnAuditorKept) {
  maker_.Batch(&maker_.one, 0);
  policy_.kept.push_back({"first", maker_.Checkpoint()});
  maker_.Batch(&maker_.one, 10);
  policy_.kept.push_back({"mine.tlog-proof", maker_.Receipt(1)});
  maker_.Batch(&maker_.one, 20);
  policy_.kept.push_back({"last", maker_.Checkpoint()});
  EXPECT_EQ(Verify(maker_.dir()).verdict, TrailVerdict::kIntact) << VerifyReportText(Verify(maker_.dir()));
  // Of another leaf.
  const KeptNote good = policy_.kept[1];
  const Receipt receipt = *ParseReceipt(good.bytes);
  policy_.kept[1].bytes = FormatReceipt(0, receipt.path, receipt.checkpoint);
  VerifyReport report = Verify(maker_.dir());
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_EQ(report.first_bad->reason, "receipt");
  EXPECT_THAT(report.first_bad->text, HasSubstr("batch web-1:1:0"));
  EXPECT_THAT(report.first_bad->text, HasSubstr("mine.tlog-proof"));
  policy_.kept[1] = good;
  // The log forgot what it signed: as if the last checkpoint had been another's.
  Spill(maker_.dir() + "/log/checkpoint", policy_.kept[0].bytes);
  report = Verify(maker_.dir());
  EXPECT_EQ(report.verdict, TrailVerdict::kTamper);
  EXPECT_THAT(VerifyReportText(report), HasSubstr("size 1, than the checkpoint of size 2 you hold (mine.tlog-proof)"));
  EXPECT_THAT(VerifyReportText(report), HasSubstr("size 1, than the checkpoint of size 3 you hold (last)"));
  // What the log key did not sign is an error.
  policy_.kept.push_back({"stranger", *SignCheckpoint({TrailMaker::kOrigin, 1, Hash{}, {}}, Ed25519Key::Generate())});
  EXPECT_THAT(std::string(VerifyTrail(maker_.dir(), policy_).status().message()), HasSubstr("verify: stranger"));
}

uint64_t SecondsOf(const AgentCoverage& agent, CoverageKind kind) {
  return agent.covered_ns[static_cast<size_t>(kind)] / TrailMaker::kSecond;
}

TEST_F(BundleTest, Coverage) {
  TestAgent& a = maker_.one;
  maker_.Batch(&a, 0);
  maker_.Batch(&a, 30);
  maker_.Batch(&a, 90);   // two heartbeats: covered
  maker_.Batch(&a, 151);  // more: silent
  event::v1::Event loss = TestAgent::LossEvent(5);
  loss.mutable_agent()->set_from_wall_ns(TrailMaker::At(160));
  loss.mutable_agent()->set_to_wall_ns(TrailMaker::At(165));
  maker_.Batch(&a, 170, {loss});
  a.now_ns = TrailMaker::At(179.999);  // its one event takes a millisecond
  maker_.Append(a.CleanShutdown());
  a.Restart();
  maker_.Batch(&a, 300);  // stopped for two minutes
  (void)a.Batch(1);       // never arrives
  maker_.Batch(&a, 320);
  a.Restart();
  maker_.Batch(&a, 400, {a.GapEvent()});
  maker_.Batch(&maker_.two, 500);
  maker_.Checkpoint();
  VerifyReport report = Verify(maker_.dir());
  EXPECT_EQ(report.verdict, TrailVerdict::kUnexplainedGap);
  const AgentCoverage& agent = report.agents[0];
  std::string kinds;
  for (const CoverageInterval& interval : agent.intervals) {
    kinds += fmt::format("{} {}-{}, ", CoverageKindName(interval.kind),
                         (interval.from_ns - TrailMaker::kStart) / TrailMaker::kSecond,
                         (interval.to_ns - TrailMaker::kStart) / TrailMaker::kSecond);
  }
  EXPECT_EQ(kinds,
            "covered 0-90, silent 90-151, covered 151-160, declared_lost 160-165, covered 165-180, stopped 180-300, "
            "unexplained 300-320, declared_lost 320-400, silent 400-500, ");
  EXPECT_EQ(SecondsOf(agent, CoverageKind::kCovered), 114U);
  EXPECT_EQ(SecondsOf(agent, CoverageKind::kSilent), 161U);
  EXPECT_EQ(SecondsOf(agent, CoverageKind::kDeclared), 85U);
  EXPECT_THAT(VerifyReportText(report), HasSubstr("silent: 2023-11-14T22:14:50"));
  EXPECT_THAT(VerifyReportJson(report), HasSubstr("\"silent\": 161"));
  // Of what the log ends with an auditor may ask more.
  policy_.coverage_until_ns = TrailMaker::At(1000);
  policy_.heartbeat_ns = 600 * TrailMaker::kSecond;
  report = Verify(maker_.dir());
  EXPECT_EQ(SecondsOf(report.agents[0], CoverageKind::kSilent), 0U);
  policy_.heartbeat_ns = 100 * TrailMaker::kSecond;
  report = Verify(maker_.dir());
  EXPECT_EQ(SecondsOf(report.agents[0], CoverageKind::kSilent), 600U);
  EXPECT_EQ(SecondsOf(report.agents[1], CoverageKind::kSilent), 500U);
}

}  // namespace
}  // namespace nodetrail::trail
