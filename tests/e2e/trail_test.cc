// SPDX-License-Identifier: Apache-2.0
//
// What an auditor sees: an intact trail, and each way of touching it.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/trail_store.h"
#include "tests/e2e/harness.h"

namespace nodetrail::e2e {
namespace {

namespace fs = std::filesystem;

class Trail : public testing::Test {
 protected:
  // One trail with a few dozen batches, stopped in order; each test spoils a copy.
  static void SetUpTestSuite() {
    node_ = new Node("trail");
    node_->StartCollector();
    node_->StartAgent();
    for (int i = 0; i < 30; ++i) {
      RunCommand({"sh", "-c", "echo " + std::to_string(i) + " > " + node_->dir() + "/f; rm " + node_->dir() + "/f"});
    }
    ASSERT_TRUE(node_->Settled());
    EXPECT_EQ(node_->StopAgent(), 0);
    EXPECT_EQ(node_->StopCollector(), 0);
  }
  static void TearDownTestSuite() {
    delete node_;
    node_ = nullptr;
  }

  void SetUp() override {
    copy_ = node_->dir() + "/copy";
    fs::remove_all(copy_);
    fs::copy(node_->trail_dir(), copy_, fs::copy_options::recursive);
  }

  static void FlipByte(const fs::path& path, uint64_t offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const int byte = file.get();
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(static_cast<char>(byte ^ 0x01));
  }

  static std::vector<fs::path> Files(const fs::path& dir) {
    std::vector<fs::path> out;
    for (const auto& entry : fs::recursive_directory_iterator(dir)) {
      if (entry.is_regular_file()) out.push_back(entry.path());
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  static Node* node_;
  std::string copy_;
};

Node* Trail::node_ = nullptr;

TEST_F(Trail, AnUntouchedTrailIsIntact) {
  const auto [code, report] = node_->Verify(copy_);
  EXPECT_EQ(code, 0) << report.dump(1);
}

TEST_F(Trail, OneByteOfABodyIsTamperAndTheBatchIsNamed) {
  const auto bodies = Files(copy_ + "/bodies");
  ASSERT_GT(bodies.size(), 3U);
  const fs::path victim = bodies[bodies.size() / 2];
  FlipByte(victim, fs::file_size(victim) / 2);
  const Output text = node_->Cli({"verify", copy_});
  EXPECT_EQ(text.exit_code, 3) << text.out << text.err;
  // Which batch it is: the one whose header names this body.
  std::string batch;
  auto reader = trail::TrailReader::Open(node_->trail_dir());
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  for (uint64_t i = 0; i < (*reader)->Size().value(); ++i) {
    auto leaf = (*reader)->Leaf(i);
    ASSERT_TRUE(leaf.ok());
    if (trail::IsLogEntry(*leaf)) continue;  // somebody asked
    auto parsed = trail::ParseLeaf(*leaf);
    ASSERT_TRUE(parsed.ok());
    if (victim.stem() == trail::HexEncode(parsed->header.body_sha256())) {
      batch = "trail:" + std::to_string(parsed->header.epoch()) + ":" + std::to_string(parsed->header.seq());
    }
  }
  ASSERT_FALSE(batch.empty());
  EXPECT_NE((text.out + text.err).find(batch), std::string::npos) << text.out << text.err;
}

TEST_F(Trail, OneByteOfALeafIsTamper) {
  const auto segments = Files(copy_ + "/log");
  const auto segment =
      std::find_if(segments.begin(), segments.end(), [](const fs::path& p) { return p.extension() == ".leaves"; });
  ASSERT_NE(segment, segments.end());
  const uint64_t size = fs::file_size(*segment);
  for (const uint64_t offset : {size / 4, size / 2, size - 10}) {
    SCOPED_TRACE(offset);
    SetUp();
    FlipByte(*segment, offset);
    const auto [code, report] = node_->Verify(copy_);
    EXPECT_EQ(code, 3) << report.dump(1);
    EXPECT_FALSE(report.value("first_bad", Json()).is_null()) << report.dump(1);
  }
}

TEST_F(Trail, ARemovedMiddleLeafIsTamper) {
  // Written anew without it, segment checksums and all, as an insider would.
  auto reader = trail::TrailReader::Open(node_->trail_dir());
  ASSERT_TRUE(reader.ok());
  const uint64_t size = (*reader)->Size().value();
  ASSERT_GT(size, 4U);
  for (const fs::path& p : Files(copy_ + "/log")) {
    if (p.extension() == ".leaves") fs::remove(p);
  }
  {
    auto writer = trail::TrailWriter::Open(copy_);
    ASSERT_TRUE(writer.ok()) << writer.status().ToString();
    for (uint64_t i = 0; i < size; ++i) {
      if (i == size / 2) continue;
      auto leaf = (*reader)->Leaf(i);
      ASSERT_TRUE(leaf.ok());
      const std::string bytes(*leaf);
      ASSERT_TRUE((*writer)->AppendLeaves(std::vector<std::string_view>{bytes}).ok());
    }
  }
  const auto [code, report] = node_->Verify(copy_);
  EXPECT_EQ(code, 3) << report.dump(1);
}

TEST_F(Trail, ADeletedBodyIsTamper) {
  const auto bodies = Files(copy_ + "/bodies");
  fs::remove(bodies[bodies.size() / 2]);
  EXPECT_EQ(node_->Verify(copy_).first, 3);
}

TEST_F(Trail, ACutTailUnderASignedRootIsTamper) {
  for (const fs::path& p : Files(copy_ + "/log")) {
    if (p.extension() == ".leaves") fs::resize_file(p, fs::file_size(p) / 2);
  }
  EXPECT_EQ(node_->Verify(copy_).first, 3);
}

TEST_F(Trail, AnIndexWipedByHandIsRebuiltFromTheBodies) {
  node_->StartCollector();
  ASSERT_TRUE(Eventually([] { return node_->Status().value("index_lag_seconds", 1.0) == 0.0; }, seconds(20)));
  const auto before = node_->Query({"--since", "1h"});
  ASSERT_GT(before.size(), 60U);
  EXPECT_EQ(node_->StopCollector(), 0);
  fs::remove_all(node_->trail_dir() + "/index");
  node_->StartCollector();
  std::vector<Json> after;
  ASSERT_TRUE(Eventually(
      [&] {
        after = node_->Query({"--since", "1h"});
        return after.size() >= before.size();
      },
      seconds(30)));
  EXPECT_EQ(Json(before), Json(after));
  EXPECT_EQ(node_->StopCollector(), 0);
}

}  // namespace
}  // namespace nodetrail::e2e
