// SPDX-License-Identifier: Apache-2.0
//
// The log's side of the protocol over real HTTP against a server that lies,
// and its pure parts.
#include "collector/witness/witness_set.h"

#include <gtest/gtest.h>

#include <fstream>

#include "collector/witness/protocol.h"
#include "nodetrail/base/fd.h"
#include "tests/fakes/canned_server.h"
#include "tests/fakes/temp_dir.h"
#include "witness/core.h"
#include "witness/testing/test_log.h"

namespace nodetrail::collector {
namespace {

using nodetrail::testing::CannedServer;
using nodetrail::testing::TempDir;
using std::chrono::milliseconds;
using witness::TestLog;

constexpr char kName[] = "witness.example.com/w1";

std::string Http(int status, const std::string& body) {
  return fmt::format("HTTP/1.1 {} X\r\nContent-Length: {}\r\n\r\n{}", status, body.size(), body);
}

class WitnessSetTest : public ::testing::Test {
 protected:
  WitnessSetTest() : key_(trail::Ed25519Key::Generate()) { Open(); }

  void Open() {
    auto set = WitnessSet::Open({dir_.path() + "/witnesses", milliseconds(500), &clock_},
                                {{"w1", server_.url(), *trail::CosignerVerifier::Make(kName, key_.public_key())}},
                                *MakeCurlPoster(""));
    ASSERT_TRUE(set.ok()) << set.status().ToString();
    set_ = *std::move(set);
  }
  Cosigner::Outcome Ask(uint64_t size) {
    Cosigner::Request request;
    request.checkpoint = {"trail.example.com/default", size, log_.Root(size), {}};
    request.note = log_.Checkpoint(size);
    request.leaves = size;
    request.proof = [this, size](uint64_t old_size) -> Result<std::vector<trail::Hash>> {
      proofs_.push_back(old_size);
      std::vector<trail::Hash> hashes;
      for (uint64_t i = 0; i < size; ++i) hashes.push_back(trail::LeafHash(fmt::format("leaf {}", i)));
      return trail::ConsistencyProof(hashes, old_size);
    };
    clock_.Advance(60'000'000'000);  // over every backoff
    return set_->Cosign(request);
  }
  std::string Cosignature(uint64_t size, uint64_t time = 5) {
    return *trail::CosignCheckpoint(log_.Checkpoint(size), kName, key_, time);
  }
  std::string Problem() { return set_->GetStatus()[0].problem; }

  TempDir dir_;
  FakeClock clock_;
  TestLog log_;
  trail::Ed25519Key key_;
  CannedServer server_{"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n"};
  std::unique_ptr<WitnessSet> set_;
  std::vector<uint64_t> proofs_;
};

TEST_F(WitnessSetTest, BelievesOnlyWhatVerifies) {
  const trail::Ed25519Key other = trail::Ed25519Key::Generate();
  const std::string foreign = *trail::CosignCheckpoint(log_.Checkpoint(5), kName, other, 5);
  std::string wrong = Cosignature(5);
  wrong = wrong.substr(0, wrong.size() - 10) + "AAAAAAA==\n";
  const struct {
    std::string answer;
    std::string problem;
  } cases[] = {
      {Http(200, ""), "not signature lines"},
      {Http(200, "not a line.\n"), "not signature lines"},
      {Http(200, Cosignature(5) + "\n"), "not signature lines"},
      {Http(200, foreign), "no cosignature by"},
      {Http(200, Cosignature(4)), "its cosignature is wrong"},
      {Http(200, wrong), "wrong"},
      {Http(200, std::string(100'000, 'x')), "longer than"},
      {Http(409, "01\n"), "409 without a size"},
      {Http(409, "1"), "409 without a size"},
      {Http(409, "18446744073709551616\n"), "409 without a size"},
      {Http(409, "0\n"), "refuses size 0 and says that it is there"},
      {Http(403, "no\n"), "does not know this log (HTTP 403)"},
      {Http(404, ""), "does not know this log (HTTP 404)"},
      {Http(500, "\x1b[2J"), "HTTP 500 ?[2J"},
      {"HTTP/1.1 302 X\r\nLocation: " + server_.url() + "/\r\nContent-Length: 0\r\n\r\n", "HTTP 302"},
      {"junk\r\n\r\n", "HTTP/0.9"},
      {"", ""},
  };
  uint64_t failures = 0;
  for (const auto& one : cases) {
    server_.Answer(one.answer);
    const auto outcome = Ask(5);
    EXPECT_EQ(outcome.lines, "") << one.problem;
    EXPECT_TRUE(outcome.conflict.ok()) << outcome.conflict.ToString();
    EXPECT_FALSE(outcome.complete);
    EXPECT_EQ(set_->GetStatus()[0].failures, ++failures) << one.problem;
    EXPECT_NE(Problem().find(one.problem), std::string::npos) << Problem();
    EXPECT_FALSE(Problem().empty());
    EXPECT_EQ(set_->GetStatus()[0].size, 0U);
  }
  server_.Answer(Http(200, foreign + Cosignature(5, 77)));
  const auto outcome = Ask(5);
  EXPECT_EQ(outcome.lines, Cosignature(5, 77));
  EXPECT_TRUE(outcome.complete);
  EXPECT_EQ(Problem(), "");
  EXPECT_EQ(set_->GetStatus()[0].cosigned_wall_s, 77U);
  Open();
  EXPECT_EQ(set_->GetStatus()[0].size, 5U);  // from the book
}

TEST_F(WitnessSetTest, ConflictsNameWitnessSizesAndFix) {
  server_.Answer(Http(409, "6\n"));
  auto outcome = Ask(5);
  EXPECT_NE(outcome.conflict.message().find("witness w1"), std::string::npos);
  EXPECT_NE(outcome.conflict.message().find("at size 6, but the trail has 5 leaves"), std::string::npos);
  EXPECT_NE(outcome.conflict.message().find("take it out of witness.policy_file"), std::string::npos);
  server_.Answer(Http(409, "5\n"));  // asked with 0: goes to 5; there it is another root
  outcome = Ask(5);
  EXPECT_NE(outcome.conflict.message().find("another root of this log at size 5"), std::string::npos);
  server_.Answer(Http(422, ""));
  outcome = Ask(5);
  EXPECT_NE(outcome.conflict.message().find("another history"), std::string::npos);
}

TEST_F(WitnessSetTest, AWitnessThatNeverStandsStillIsGivenUp) {
  // Always the same answer: the second time it is no news.
  server_.Answer(Http(409, "3\n"));
  const auto outcome = Ask(5);
  EXPECT_TRUE(outcome.conflict.ok());
  EXPECT_EQ(proofs_, std::vector<uint64_t>{3});
  EXPECT_NE(Problem().find("refuses size 3"), std::string::npos);
}

TEST_F(WitnessSetTest, FailuresAreAskedLessAndLess) {
  const auto ask_now = [&] {
    const uint64_t failures = set_->GetStatus()[0].failures;
    Cosigner::Request request;
    request.checkpoint = {"trail.example.com/default", 5, log_.Root(5), {}};
    request.note = log_.Checkpoint(5);
    request.leaves = 5;
    set_->Cosign(request);
    return set_->GetStatus()[0].failures > failures;
  };
  EXPECT_TRUE(ask_now());
  EXPECT_TRUE(ask_now());  // the next checkpoint tries again
  for (const uint64_t seconds : std::vector<uint64_t>{1, 2, 4, 8, 16, 30, 30}) {
    EXPECT_FALSE(ask_now());
    clock_.Advance(seconds * 1'000'000'000 - 1);
    EXPECT_FALSE(ask_now()) << seconds;
    clock_.Advance(1);
    EXPECT_TRUE(ask_now()) << seconds;
  }
}

TEST_F(WitnessSetTest, AWitnessInThisProcessUnderstandsUs) {
  // Both sides of the wire format, without a wire.
  struct NoStore final : witness::Store {
    Result<witness::Record> Load(const std::string&) override { return witness::Record{}; }
    nodetrail::Status Save(const std::string&, const witness::Record&) override { return OkStatus(); }
    void KeepFork(const std::string&, const witness::Record&, const witness::Record&) override {}
  } store;
  auto core = *witness::Witness::Create(kName, trail::Ed25519Key::Generate(),
                                        {{"trail.example.com/default", {log_.Verifier()}}}, &store, &clock_);
  const auto verifier = *trail::CosignerVerifier::Parse(core->vkey());
  auto answer = core->AddCheckpoint(FormatAddCheckpoint(0, {}, log_.Checkpoint(5)));
  ASSERT_EQ(answer.status, 200) << answer.body;
  EXPECT_TRUE(FindCosignature(answer.body, log_.Text(5), verifier).ok());
  answer = core->AddCheckpoint(FormatAddCheckpoint(0, {}, log_.Checkpoint(9)));
  ASSERT_EQ(answer.status, 409);
  EXPECT_EQ(ParseSizeBody(answer.body), 5U);
  std::vector<trail::Hash> hashes;
  for (uint64_t i = 0; i < 9; ++i) hashes.push_back(trail::LeafHash(fmt::format("leaf {}", i)));
  answer = core->AddCheckpoint(FormatAddCheckpoint(5, *trail::ConsistencyProof(hashes, 5), log_.Checkpoint(9)));
  EXPECT_EQ(answer.status, 200) << answer.body;
}

TEST(WitnessBookTest, ReadsWhatItWrites) {
  const WitnessBook book{{"a+00000001+BA==", {5, 6, 7}}, {"b c", {UINT64_MAX, 0, 1}}};
  const std::string text = FormatWitnessBook(book);
  const auto again = ParseWitnessBook(text);
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_EQ(again->at("a+00000001+BA==").unix_time, 6U);
  EXPECT_EQ(FormatWitnessBook(*again), text);
  for (size_t i = 0; i < text.size(); ++i) {
    std::string bad = text;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    EXPECT_FALSE(ParseWitnessBook(bad).ok()) << i;
    EXPECT_FALSE(ParseWitnessBook(text.substr(0, i)).ok()) << i;
  }
}

}  // namespace
}  // namespace nodetrail::collector
