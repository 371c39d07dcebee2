// SPDX-License-Identifier: Apache-2.0
//
// The program itself: its port, its command line, and SIGKILL at every point of
// what it does to its files.
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <thread>

#include "nodetrail/trail/note.h"
#include "tests/fakes/temp_dir.h"
#include "witness/http.h"
#include "witness/testing/http_client.h"
#include "witness/testing/test_log.h"
#include "witness/testing/witness_process.h"

namespace nodetrail::witness {
namespace {

using nodetrail::testing::TempDir;

std::string Repeat(std::string_view what, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += what;
  return out;
}

class WitnessDaemon : public ::testing::Test {
 protected:
  TempDir dir_;
  TestLog log_;
  WitnessProcess process_{dir_.path() + "/w", "witness.example.com/w1", log_.Verifier().ToString()};
};

TEST_F(WitnessDaemon, ServesAndTellsItsKey) {
  ASSERT_TRUE(process_.Start()) << process_.log();
  HttpConnection peer(process_.port());
  ASSERT_TRUE(peer.Send("GET / HTTP/1.1\r\nHost: w\r\n\r\n"));
  EXPECT_EQ(peer.Read()->body, process_.vkey() + "\n");
  // The same connection goes on, and bytes may come one at a time.
  const std::string body = log_.Request(0, 5);
  for (const char c : fmt::format("POST /add-checkpoint HTTP/1.1\r\ncontent-length: {}\r\n\r\n{}", body.size(), body)) {
    ASSERT_TRUE(peer.Send({&c, 1}));
  }
  const auto answer = peer.Read();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  const auto verifier = *trail::CosignerVerifier::Parse(process_.vkey());
  const auto lines = trail::ParseNoteSignatures(answer->body);
  ASSERT_TRUE(lines.ok());
  EXPECT_TRUE(trail::VerifyCosignature(log_.Text(5), lines->at(0), verifier).ok());
  // Two at once.
  ASSERT_TRUE(peer.Send("GET /metrics HTTP/1.1\r\n\r\nHEAD /metrics HTTP/1.1\r\n\r\n"));
  EXPECT_NE(peer.Read()->body.find("nodetrail_witness_log_size{log=\"trail.example.com/default\"} 5\n"),
            std::string::npos);
  const auto conflict = Post(process_.port(), log_.Request(0, 9));
  ASSERT_TRUE(conflict);
  EXPECT_EQ(conflict->status, 409);
  EXPECT_EQ(conflict->body, "5\n");
  EXPECT_NE(conflict->head.find("Content-Type: text/x.tlog.size\r\n"), std::string::npos);
  EXPECT_EQ(process_.Stop(), 0);
}

TEST_F(WitnessDaemon, HostileRequestsAreRefusedAndItGoesOn) {
  ASSERT_TRUE(process_.Start()) << process_.log();
  const struct {
    std::string bytes;
    int status;
  } cases[] = {
      {"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 65537\r\n\r\n", 413},
      {"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 18446744073709551615\r\n\r\n", 413},
      {"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n", 400},
      {"POST /add-checkpoint HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400},
      {"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400},
      {"POST /add-checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 501},
      {"POST /add-checkpoint HTTP/2.0\r\n\r\n", 505},
      {"POST /add-checkpoint\r\n\r\n", 400},
      {"\r\n\r\n", 400},
      {"GET  / HTTP/1.1\r\n\r\n", 400},
      {"GET http://w/ HTTP/1.1\r\n\r\n", 400},
      {"GET /\x01 HTTP/1.1\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nA : b\r\n\r\n", 400},
      {std::string("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", 27), 400},
      {Repeat("x", kMaxHeadBytes), 431},
      {"GET / HTTP/1.1\r\n" + Repeat("A: b\r\n", 4000), 431},
      {"DELETE /add-checkpoint HTTP/1.1\r\n\r\n", 405},
      {"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405},
      {"GET /nothing HTTP/1.1\r\n\r\n", 404},
      {"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 4\r\n\r\nold ", 400},
      {"GET / HTTP/1.1\r\nRange: bytes=" + Repeat("0-0,", 1500) + "\r\n\r\n", 200},
  };
  for (const auto& one : cases) {
    HttpConnection peer(process_.port());
    peer.Send(one.bytes);
    const auto answer = peer.Read();
    ASSERT_TRUE(answer) << one.bytes.substr(0, 60);
    EXPECT_EQ(answer->status, one.status) << one.bytes.substr(0, 60);
  }
  // A body that is announced and not sent, a head that never ends, and silence
  // do not keep others away: there are 8 places.
  std::vector<std::unique_ptr<HttpConnection>> idle;
  for (int i = 0; i < 40; ++i) {
    idle.push_back(std::make_unique<HttpConnection>(process_.port()));
    if (i % 3 == 1) idle.back()->Send("POST /add-checkpoint HTTP/1.1\r\nContent-Length: 9\r\n\r\n");
    if (i % 3 == 2) idle.back()->Send("POST /add-");
  }
  idle.resize(7);  // fewer than the places, the others are gone
  EXPECT_EQ(Post(process_.port(), log_.Request(0, 5))->status, 200);
  EXPECT_EQ(process_.Stop(), 0);
}

TEST_F(WitnessDaemon, CommandLine) {
  EXPECT_EQ(process_.Run({"--help"}), 0);
  EXPECT_NE(process_.log().find("Exit status"), std::string::npos);
  EXPECT_EQ(process_.Run({"--version"}), 0);
  EXPECT_EQ(process_.Run({"--no-such-flag"}), 2);
  EXPECT_EQ(process_.Run({"--config", process_.config_path(), "--check-config"}), 0);
  EXPECT_EQ(process_.Run({"vkey", "--config", process_.config_path()}), 0);
  EXPECT_EQ(process_.log(), process_.vkey() + "\n");
  EXPECT_EQ(process_.Run({"keygen", "--name", "a.example", "--out", dir_.path() + "/k"}), 0);
  EXPECT_TRUE(trail::CosignerVerifier::Parse(process_.log().substr(0, process_.log().size() - 1)).ok());
  EXPECT_EQ(process_.Run({"keygen", "--name", "a.example", "--out", dir_.path() + "/k"}), 4);
  EXPECT_EQ(process_.Run({"keygen", "--name", "a b", "--out", dir_.path() + "/l"}), 2);
  EXPECT_FALSE(std::filesystem::exists(process_.state_dir()));
  // All errors at once.
  std::ofstream(dir_.path() + "/bad.yaml") << "nam: x\nlisten: nowhere\nlogs: [nothing, 'a+b+c']\nkey_file: none\n";
  EXPECT_EQ(process_.Run({"--config", dir_.path() + "/bad.yaml"}), 2);
  for (const char* key : {"nam:", "name:", "listen:", "logs[0]:", "logs[1]:", "key_file:"}) {
    EXPECT_NE(process_.log().find(key), std::string::npos) << key << "\n" << process_.log();
  }
}

TEST_F(WitnessDaemon, WhatItCantStartWithIsOneLineAndAStatus) {
  const auto refuses = [&](int status, const std::string& why) {
    EXPECT_FALSE(process_.Start());
    EXPECT_EQ(process_.exit_status(), status);
    const std::string text = process_.log();
    EXPECT_NE(text.find(why), std::string::npos) << text;
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
  };
  ASSERT_TRUE(process_.Start());
  ASSERT_EQ(Post(process_.port(), log_.Request(0, 5))->status, 200);
  ASSERT_EQ(Post(process_.port(), log_.Request(5, 5))->status, 200);
  const auto cosigned = Post(process_.port(), log_.Request(5, 9));
  ASSERT_EQ(process_.Stop(), 0);
  ::chmod((dir_.path() + "/w/witness.key").c_str(), 0644);
  refuses(4, "chmod 0600");
  ::chmod((dir_.path() + "/w/witness.key").c_str(), 0600);
  std::string state;
  for (const auto& entry : std::filesystem::directory_iterator(process_.state_dir())) {
    if (entry.path().extension() == ".state") state = entry.path().string();
  }
  std::ofstream(state, std::ios::app) << "x";
  refuses(5, "nodetrail-witness restore");
  // As the message says.
  std::ofstream(dir_.path() + "/checkpoint") << log_.Checkpoint(9) << cosigned->body;
  EXPECT_EQ(process_.Run({"restore", dir_.path() + "/checkpoint", "--config", process_.config_path()}), 0);
  ASSERT_TRUE(process_.Start()) << process_.log();
  EXPECT_EQ(Post(process_.port(), log_.Request(9, 12))->status, 200);
  // Two on one directory.
  const pid_t first = process_.pid();
  const std::string config = ReadFile(process_.config_path(), 65536).value();
  WitnessProcess second(dir_.path() + "/second", "witness.example.com/w2", log_.Verifier().ToString());
  std::filesystem::create_directory_symlink(process_.state_dir(), dir_.path() + "/second/state");
  EXPECT_FALSE(second.Start());
  EXPECT_EQ(second.exit_status(), 5);
  EXPECT_NE(second.log().find("another nodetrail-witness runs on it"), std::string::npos) << second.log();
  EXPECT_EQ(process_.pid(), first);
}

// The order of a record's way to the disk, as the kernel sees it: whole and
// durable under its name before a byte of the answer goes out.
TEST_F(WitnessDaemon, TheRecordIsDurableBeforeTheAnswer) {
  const std::string trace = dir_.path() + "/trace";
  ASSERT_TRUE(
      process_.Start({"LD_PRELOAD=" NT_KILL_SHIM, "NT_KILL_DIR=" + process_.state_dir(), "NT_KILL_LOG=" + trace}))
      << process_.log();
  ASSERT_EQ(Post(process_.port(), log_.Request(0, 5))->status, 200);
  ASSERT_EQ(Post(process_.port(), log_.Request(5, 9))->status, 200);
  const std::string once = "write\nfsync\nrename\nfsync\nanswer\n";
  EXPECT_EQ(ReadFile(trace, 65536).value_or(""), once + once);
}

// What was cosigned, by whom and when it was asked.
class Cosigned {
 public:
  void Note(uint64_t size, const trail::Hash& root) {
    roots_[size].insert(trail::Hex(root));
    EXPECT_EQ(roots_[size].size(), 1U) << "two roots at size " << size;
    EXPECT_GE(size, last_) << "back in size";
    last_ = size;
  }
  [[nodiscard]] uint64_t last() const { return last_; }

 private:
  std::map<uint64_t, std::set<std::string>> roots_;
  uint64_t last_ = 0;
};

TEST_F(WitnessDaemon, KilledAtEveryPointItNeverCosignsTwoRootsAtOneSize) {
  const TestLog fork = log_.ForkAt(5);
  const struct {
    const TestLog* log;
    uint64_t old_size, size;
  } workload[] = {{&log_, 0, 5}, {&log_, 5, 9}, {&fork, 9, 9}, {&log_, 9, 9}, {&log_, 9, 300}};
  int killed = 0;
  for (int point = 1;; ++point) {
    SCOPED_TRACE(fmt::format("point {}", point));
    std::filesystem::remove_all(process_.state_dir());
    Cosigned cosigned;
    const auto ask = [&](const TestLog& log, uint64_t old_size, uint64_t size) {
      const auto answer = Post(process_.port(), log.Request(old_size, size));
      if (answer && answer->status == 200) cosigned.Note(size, log.Root(size));
      return answer;
    };
    bool died = !process_.Start(
        {"LD_PRELOAD=" NT_KILL_SHIM, "NT_KILL_DIR=" + process_.state_dir(), fmt::format("NT_KILL_AT={}", point)});
    for (const auto& step : workload) {
      if (died) break;
      died = !ask(*step.log, step.old_size, step.size);
    }
    if (!died) {
      process_.Kill();
      break;
    }
    ++killed;
    ASSERT_TRUE(testing::WaitUntil([&] { return process_.Ended(); }));
    ASSERT_EQ(process_.exit_status(), -SIGKILL);
    // It starts, whatever is there, and knows at least what it answered.
    ASSERT_TRUE(process_.Start()) << process_.log();
    const auto where = ask(log_, 0, 0);
    ASSERT_TRUE(where);
    const uint64_t known = where->status == 409 ? std::stoull(where->body) : 0;
    EXPECT_GE(known, cosigned.last());
    // The other history first, at every size that was cosigned and beyond.
    for (const uint64_t size : std::vector<uint64_t>{5, 9, 300}) {
      ask(fork, 0, size);
      if (known <= size) ask(fork, known, size);
    }
    for (const uint64_t size : std::vector<uint64_t>{5, 9, 300}) {
      if (const auto answer = ask(log_, 0, size);
          answer && answer->status == 409 && std::stoull(answer->body) <= size) {
        ask(log_, std::stoull(answer->body), size);
      }
    }
    process_.Kill();
  }
  std::printf("killed at %d points\n", killed);
  EXPECT_GE(killed, 30);
}

}  // namespace
}  // namespace nodetrail::witness
