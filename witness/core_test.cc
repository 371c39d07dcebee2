// SPDX-License-Identifier: Apache-2.0
#include "witness/core.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "nodetrail/base/fd.h"
#include "tests/fakes/temp_dir.h"
#include "witness/dir_store.h"
#include "witness/key.h"
#include "witness/metrics.h"
#include "witness/restore.h"
#include "witness/testing/test_log.h"

namespace nodetrail::witness {
namespace {

using nodetrail::testing::TempDir;

constexpr char kName[] = "witness.example.com/w1";

trail::Ed25519Key WitnessKey() { return *trail::Ed25519Key::FromSeed(std::string(32, 'w')); }
trail::CosignerVerifier WitnessVerifier() { return *trail::CosignerVerifier::Make(kName, WitnessKey().public_key()); }

class MemoryStore final : public Store {
 public:
  Result<Record> Load(const std::string& origin) override {
    const auto it = records.find(origin);
    return it == records.end() ? Record{} : it->second;
  }
  Status Save(const std::string& origin, const Record& record) override {
    if (++inside != 1) overlapped = true;
    std::this_thread::yield();
    --inside;
    if (fail) return Unavailable("no disk");
    saved.push_back(record.size);
    records[origin] = record;
    return OkStatus();
  }
  void KeepFork(const std::string&, const Record& known, const Record& other) override {
    forks.emplace_back(known.note, other.note);
  }

  std::map<std::string, Record> records;
  std::vector<uint64_t> saved;
  std::vector<std::pair<std::string, std::string>> forks;
  bool fail = false;
  std::atomic<int> inside = 0;
  std::atomic<bool> overlapped = false;
};

class WitnessCore : public ::testing::Test {
 protected:
  void Open() { witness_ = Make(&store_); }
  std::unique_ptr<Witness> Make(Store* store) {
    return *Witness::Create(kName, WitnessKey(), {{"trail.example.com/default", {log_.Verifier()}}}, store, &clock_);
  }
  // The cosignature is right, over this text, of the clock's time.
  void ExpectCosigns(const Answer& answer, const std::string& text) {
    ASSERT_EQ(answer.status, 200) << answer.body;
    const auto note = trail::ParseNote(text + "\n" + answer.body);
    ASSERT_TRUE(note.ok()) << note.status().ToString();
    ASSERT_EQ(note->signatures.size(), 1U);
    EXPECT_EQ(note->signatures[0].name, kName);
    EXPECT_EQ(note->signatures[0].key_id, WitnessVerifier().key_id);
    const auto time = trail::VerifyCosignature(text, note->signatures[0], WitnessVerifier());
    ASSERT_TRUE(time.ok()) << time.status().ToString();
    EXPECT_EQ(*time, clock_.wall_ns / 1'000'000'000);
  }
  Answer Ask(uint64_t old_size, uint64_t size) { return witness_->AddCheckpoint(log_.Request(old_size, size)); }

  TestLog log_;
  FakeClock clock_;
  MemoryStore store_;
  std::unique_ptr<Witness> witness_;
};

TEST_F(WitnessCore, CosignsWhatGrows) {
  Open();
  ExpectCosigns(Ask(0, 3), log_.Text(3));
  ExpectCosigns(Ask(3, 3), log_.Text(3));  // again: a later time
  for (const uint64_t size : std::vector<uint64_t>{4, 7, 8, 255, 256, 257, 600}) {
    const uint64_t old_size = store_.saved.back();
    ExpectCosigns(Ask(old_size, size), log_.Text(size));
  }
  EXPECT_EQ(store_.saved, (std::vector<uint64_t>{3, 3, 4, 7, 8, 255, 256, 257, 600}));
}

TEST_F(WitnessCore, TheEmptyTreeIsACheckpointToo) {
  Open();
  ExpectCosigns(Ask(0, 0), log_.Text(0));
  const std::string other = *trail::SignCheckpoint({"trail.example.com/default", 0, log_.Root(1), {}}, log_.Key());
  EXPECT_EQ(witness_->AddCheckpoint("old 0\n\n" + other).status, 409);
  ExpectCosigns(Ask(0, 5), log_.Text(5));
}

TEST_F(WitnessCore, MalformedRequestsAre400) {
  Open();
  const std::string good = log_.Request(0, 3);
  const std::string note = log_.Checkpoint(3);
  for (const std::string& body : {std::string(),
                                  std::string("old"),
                                  std::string("old 0"),
                                  std::string("old 0\n"),
                                  "Old 0\n\n" + note,
                                  "old \n\n" + note,
                                  "old 00\n\n" + note,
                                  "old 01\n\n" + note,
                                  "old +1\n\n" + note,
                                  "old -1\n\n" + note,
                                  "old 18446744073709551616\n\n" + note,
                                  "old 0 \n\n" + note,
                                  "old  0\n\n" + note,
                                  "old 0\r\n\n" + note,
                                  "old 0\nAAAA\n\n" + note,
                                  "old 0\n!\n\n" + note,
                                  "old 0\n" + trail::Base64Encode(std::string(33, 'x')) + "\n\n" + note,
                                  std::string("old 0\n\n"),
                                  "old 0\n\n" + log_.Text(3),
                                  good.substr(0, good.size() - 1),
                                  "\n" + good,
                                  "old 0\n\n\n" + note,
                                  std::string(kMaxRequestBytes + 1, 'o')}) {
    const Answer answer = witness_->AddCheckpoint(body);
    EXPECT_EQ(answer.status, 400) << body << answer.body;
    EXPECT_FALSE(answer.is_size);
  }
  // One proof line too many, and just not too many (then it is the proof that is wrong).
  std::string lines;
  for (size_t i = 0; i < kMaxProofLines; ++i) lines += trail::Base64Encode(std::string(32, 'p')) + "\n";
  EXPECT_EQ(witness_->AddCheckpoint("old 0\n" + lines + "\n" + note).status, 422);
  EXPECT_EQ(
      witness_->AddCheckpoint("old 0\n" + lines + trail::Base64Encode(std::string(32, 'p')) + "\n\n" + note).status,
      400);
  EXPECT_TRUE(store_.saved.empty());
}

TEST_F(WitnessCore, AnOldSizeAboveTheCheckpointsIs400) {
  Open();
  EXPECT_EQ(Ask(4, 3).status, 400);
  ExpectCosigns(Ask(0, 5), log_.Text(5));
  EXPECT_EQ(Ask(5, 3).status, 400);
}

TEST_F(WitnessCore, UnknownLogsAre404AndForeignSignatures403) {
  Open();
  EXPECT_EQ(witness_->AddCheckpoint(TestLog("trail.example.com/other").Request(0, 3)).status, 404);
  EXPECT_EQ(witness_->AddCheckpoint(TestLog("trail.example.com/default", 'x').Request(0, 3)).status, 403);
  // The log's line is there, over another text.
  std::string note = log_.Checkpoint(3);
  const std::string four = log_.Checkpoint(4);
  note = note.substr(0, note.find("\n\n") + 2) + four.substr(four.find("\n\n") + 2);
  EXPECT_EQ(witness_->AddCheckpoint("old 0\n\n" + note).status, 403);
  // Further signatures of unknown keys don't matter.
  const std::string cosigned =
      *trail::CosignNote(log_.Checkpoint(3), "someone.example.com", *trail::Ed25519Key::FromSeed(std::string(32, 's')));
  ExpectCosigns(witness_->AddCheckpoint("old 0\n\n" + cosigned), log_.Text(3));
  EXPECT_EQ(witness_->OtherAnswers(), (std::map<int, uint64_t>{{404, 1}}));
}

TEST_F(WitnessCore, AnotherOldSizeIs409WithTheSize) {
  Open();
  ExpectCosigns(Ask(0, 5), log_.Text(5));
  for (const auto& [old_size, size] :
       std::vector<std::pair<uint64_t, uint64_t>>{{0, 5}, {0, 9}, {4, 9}, {6, 9}, {0, 3}, {0, 0}}) {
    const Answer answer = Ask(old_size, size);
    EXPECT_EQ(answer.status, 409);
    EXPECT_EQ(answer.body, "5\n");
    EXPECT_TRUE(answer.is_size);
  }
  EXPECT_TRUE(store_.forks.empty());
}

TEST_F(WitnessCore, AnotherRootAtTheSameSizeIs409AndKept) {
  Open();
  ExpectCosigns(Ask(0, 5), log_.Text(5));
  const TestLog fork = log_.ForkAt(3);
  for (const uint64_t old_size : std::vector<uint64_t>{0, 5}) {
    const Answer answer = witness_->AddCheckpoint(fork.Request(old_size, 5));
    EXPECT_EQ(answer.status, 409);
    EXPECT_EQ(answer.body, "5\n");
  }
  ASSERT_EQ(store_.forks.size(), 2U);
  EXPECT_EQ(store_.forks[0].first, log_.Checkpoint(5));
  EXPECT_EQ(store_.forks[0].second, fork.Checkpoint(5));
  EXPECT_EQ(witness_->Logs()[0].forks, 2U);
  EXPECT_NE(FormatMetrics(*witness_).find("nodetrail_witness_forks_total{log=\"trail.example.com/default\"} 2\n"),
            std::string::npos);
}

TEST_F(WitnessCore, AProofThatDoesNotHoldIs422) {
  Open();
  // From nothing there is nothing to prove.
  EXPECT_EQ(witness_->AddCheckpoint("old 0\n" + log_.Proof(3, 5) + "\n" + log_.Checkpoint(5)).status, 422);
  ExpectCosigns(Ask(0, 5), log_.Text(5));
  EXPECT_EQ(witness_->AddCheckpoint(log_.ForkAt(3).Request(5, 9)).status, 422);  // a fork that goes on
  EXPECT_EQ(witness_->AddCheckpoint("old 5\n\n" + log_.Checkpoint(9)).status, 422);
  EXPECT_EQ(witness_->AddCheckpoint("old 5\n" + log_.Proof(4, 9) + "\n" + log_.Checkpoint(9)).status, 422);
  EXPECT_EQ(witness_->AddCheckpoint("old 5\n" + log_.Proof(5, 9) + log_.Proof(5, 9) + "\n" + log_.Checkpoint(9)).status,
            422);
  EXPECT_EQ(witness_->AddCheckpoint("old 5\n" + log_.Proof(5, 9) + "\n" + log_.Checkpoint(5)).status, 422);
  EXPECT_EQ(store_.saved, std::vector<uint64_t>{5});
  ExpectCosigns(Ask(5, 9), log_.Text(9));
}

TEST_F(WitnessCore, NothingIsCosignedThatCouldNotBeSaved) {
  Open();
  store_.fail = true;
  const Answer answer = Ask(0, 5);
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(answer.body.find("\xe2\x80\x94"), std::string::npos);
  store_.fail = false;
  EXPECT_EQ(Ask(5, 9).status, 409);
  ExpectCosigns(Ask(0, 9), log_.Text(9));
}

TEST_F(WitnessCore, ALogMayRollItsKey) {
  const TestLog next("trail.example.com/default", 'n');
  auto logs = LogsOf(std::vector<trail::NoteVerifier>{log_.Verifier(), next.Verifier()});
  ASSERT_TRUE(logs.ok());
  ASSERT_EQ(logs->size(), 1U);
  witness_ = *Witness::Create(kName, WitnessKey(), *logs, &store_, &clock_);
  ExpectCosigns(Ask(0, 3), log_.Text(3));
  ExpectCosigns(witness_->AddCheckpoint(next.Request(3, 5)), log_.Text(5));
  EXPECT_FALSE(LogsOf(std::vector<trail::NoteVerifier>{log_.Verifier(), log_.Verifier()}).ok());
  EXPECT_FALSE(LogsOf({}).ok());
}

// The race of the standard: the check of one request, then another whole, then
// the record of the first. With many at once the records must only grow, and
// each size have one root.
TEST_F(WitnessCore, ConcurrentRequestsNeverRollBack) {
  Open();
  const TestLog fork = log_.ForkAt(1);
  std::mutex mutex;
  std::map<uint64_t, std::set<std::string>> roots;  // cosigned, by size
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      const TestLog& mine = t % 2 == 0 ? log_ : fork;
      uint64_t known = 0;
      for (uint64_t size = 1 + t; size < 200; size += 1 + t % 3) {
        const uint64_t old_size = std::min(known, size);
        const Answer answer = witness_->AddCheckpoint(mine.Request(old_size, size));
        if (answer.status == 409) known = std::stoull(answer.body);
        if (answer.status != 200) continue;
        known = size;
        const std::lock_guard lock(mutex);
        roots[size].insert(trail::Hex(mine.Root(size)));
      }
    });
  }
  threads.clear();
  EXPECT_FALSE(store_.overlapped);
  EXPECT_TRUE(std::is_sorted(store_.saved.begin(), store_.saved.end()));
  EXPECT_FALSE(roots.empty());
  for (const auto& [size, seen] : roots) EXPECT_EQ(seen.size(), 1U) << size;
}

TEST_F(WitnessCore, ADiedWitnessGoesOnWhereItsRecordIs) {
  TempDir dir;
  {
    auto store = *DirStore::Open(dir.path() + "/state");
    ExpectCosigns(Make(store.get())->AddCheckpoint(log_.Request(0, 5)), log_.Text(5));
  }
  auto store = *DirStore::Open(dir.path() + "/state");
  auto again = Make(store.get());
  // The answer to the first was lost: the client still believes in 0.
  EXPECT_EQ(again->AddCheckpoint(log_.Request(0, 5)).body, "5\n");
  ExpectCosigns(again->AddCheckpoint(log_.Request(5, 5)), log_.Text(5));
  EXPECT_EQ(again->AddCheckpoint(log_.ForkAt(2).Request(5, 5)).status, 409);
  EXPECT_EQ(again->AddCheckpoint(log_.ForkAt(2).Request(5, 8)).status, 422);
  // The evidence of the fork is there, once.
  size_t forks = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path() + "/state")) {
    if (entry.path().extension() != ".fork") continue;
    ++forks;
    EXPECT_EQ(*ReadFile(entry.path().string(), 1 << 20), log_.Checkpoint(5) + "\n" + log_.ForkAt(2).Checkpoint(5));
  }
  EXPECT_EQ(forks, 1U);
}

TEST_F(WitnessCore, ForkEvidenceIsBounded) {
  TempDir dir;
  auto store = *DirStore::Open(dir.path());
  auto witness = Make(store.get());
  ExpectCosigns(witness->AddCheckpoint(log_.Request(0, 40)), log_.Text(40));
  for (uint64_t at = 0; at < 40; ++at) EXPECT_EQ(witness->AddCheckpoint(log_.ForkAt(at).Request(40, 40)).status, 409);
  size_t forks = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path()))
    forks += entry.path().extension() == ".fork";
  EXPECT_EQ(forks, 16U);
}

TEST_F(WitnessCore, TwoWitnessesOnOneDirectoryAreRefused) {
  TempDir dir;
  auto first = DirStore::Open(dir.path());
  ASSERT_TRUE(first.ok());
  const auto second = DirStore::Open(dir.path());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), Code::kFailedPrecondition);
  EXPECT_NE(second.status().message().find("another nodetrail-witness"), std::string::npos);
  first->reset();
  EXPECT_TRUE(DirStore::Open(dir.path()).ok());
}

TEST_F(WitnessCore, ADamagedRecordStopsItAndSaysHowToGoOn) {
  TempDir dir;
  auto store = *DirStore::Open(dir.path());
  const std::string path = store->StatePath("trail.example.com/default");
  std::string cosigned = log_.Checkpoint(5);
  cosigned += Make(store.get())->AddCheckpoint(log_.Request(0, 5)).body;
  const std::string good = *ReadFile(path, 1 << 20);
  struct stat st {};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600U);
  for (size_t at = 0; at < good.size(); at += 5) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    std::ofstream(path, std::ios::trunc) << bad;
    const auto record = store->Load("trail.example.com/default");
    ASSERT_FALSE(record.ok()) << "byte " << at;
    EXPECT_EQ(record.status().code(), Code::kDataLoss);
    EXPECT_NE(record.status().message().find("nodetrail-witness restore"), std::string::npos);
  }
  for (size_t size = 0; size < good.size(); size += 17) {
    std::ofstream(path, std::ios::trunc) << good.substr(0, size);
    ASSERT_FALSE(store->Load("trail.example.com/default").ok()) << "cut to " << size;
  }
  // The way out: its own cosignature.
  const std::vector<WitnessedLog> logs{{"trail.example.com/default", {log_.Verifier()}}};
  const trail::CosignerVerifier self = WitnessVerifier();
  EXPECT_FALSE(Restore(log_.Checkpoint(5), logs, self, store.get()).ok());
  std::string forged = log_.ForkAt(1).Checkpoint(5);
  forged += *trail::CosignCheckpoint(forged, kName, *trail::Ed25519Key::FromSeed(std::string(32, 'x')), 1);
  EXPECT_FALSE(Restore(forged, logs, self, store.get()).ok());
  ASSERT_TRUE(Restore(cosigned, logs, self, store.get()).ok());
  EXPECT_EQ(store->Load("trail.example.com/default")->size, 5U);
  // Not back in time.
  EXPECT_EQ(Make(store.get())->AddCheckpoint(log_.Request(5, 9)).status, 200);
  EXPECT_EQ(Restore(cosigned, logs, self, store.get()).status().code(), Code::kFailedPrecondition);
}

TEST_F(WitnessCore, TheRecordOfAnotherLogIsRefused) {
  TempDir dir;
  auto store = *DirStore::Open(dir.path());
  ASSERT_EQ(Make(store.get())->AddCheckpoint(log_.Request(0, 5)).status, 200);
  std::filesystem::copy_file(store->StatePath("trail.example.com/default"), store->StatePath("trail.example.com/b"));
  EXPECT_EQ(store->Load("trail.example.com/b").status().code(), Code::kDataLoss);
}

TEST(WitnessKey, IsMadeOnceAndNotForOthers) {
  TempDir dir;
  const std::string path = dir.path() + "/w.key";
  const auto made = MakeKeyFile(path);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(MakeKeyFile(path).status().code(), Code::kAlreadyExists);
  const auto loaded = LoadKey(path);
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  EXPECT_EQ(loaded->public_key(), made->public_key());
  ::chmod(path.c_str(), 0640);
  EXPECT_EQ(LoadKey(path).status().code(), Code::kPermissionDenied);
}

TEST(WitnessKey, LogKeysComeAsTextOrFile) {
  TempDir dir;
  const TestLog log;
  EXPECT_EQ(LoadLogKeys(log.Verifier().ToString(), "/")->size(), 1U);
  std::ofstream(dir.path() + "/log.vkey") << log.Verifier().ToString() << "\n"
                                          << TestLog("b").Verifier().ToString() << "\n";
  EXPECT_EQ(LoadLogKeys("log.vkey", dir.path())->size(), 2U);
  std::ofstream(dir.path() + "/bad") << "a+b+c\n";
  EXPECT_FALSE(LoadLogKeys("bad", dir.path()).ok());
  EXPECT_FALSE(LoadLogKeys("missing", dir.path()).ok());
}

}  // namespace
}  // namespace nodetrail::witness
