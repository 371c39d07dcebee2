// SPDX-License-Identifier: Apache-2.0
//
// nodetrail export and nodetrail verify as an auditor runs them: over a trail
// on disk, with dd as the attacker.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/bundle.h"
#include "trail/testing/trail_maker.h"

namespace nodetrail::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;
using trail::TrailMaker;

struct Output {
  int exit_code = -1;
  std::string out, err;
};

class BundleCliTest : public testing::Test {
 protected:
  BundleCliTest() {
    for (int i = 0; i < 6; ++i) {
      maker_.Batch(&maker_.one, 10 * i);
      maker_.Batch(&maker_.two, 10 * i + 1);
    }
    Spill(receipt_, maker_.Receipt(4, "a"));
    maker_.Checkpoint("a");
    Spill(maker_.path("policy"), maker_.Policy("any a b"));
    Spill(maker_.path("strict"), maker_.Policy("all a b"));
    Spill(maker_.path("cli.yaml"),
          fmt::format("trail_dir: {}\nidentity_ca_file: {}\n", maker_.dir(), maker_.path("ca.pem")));
  }

  static void Spill(const std::string& file, std::string_view bytes) {
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
  }
  // A shell command, at most 60 s.
  Output Shell(const std::string& command) {
    const std::string base = maker_.path("run");
    const int status = std::system(fmt::format("timeout 60 sh -c '{}' >{}.out 2>{}.err", command, base, base).c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, *ReadFile(base + ".out", 1 << 24),
            *ReadFile(base + ".err", 1 << 24)};
  }
  Output Run(const std::string& arguments) {
    return Shell(fmt::format("{}/bin/nodetrail --config {} {}", NT_BINARY_DIR, maker_.path("cli.yaml"), arguments));
  }
  Output Verify(const std::string& more = "") {
    return Run(fmt::format("verify --json {} --policy {} {}", bundle_, maker_.path("policy"), more));
  }
  // As the README does it: one byte becomes another.
  void Dd(const std::string& file, size_t offset) {
    const std::string path = bundle_ + "/" + file;
    const bool zero = ReadFile(path, 1 << 24)->at(offset) == '0';
    ASSERT_EQ(
        Shell(fmt::format("printf {} | dd of={} bs=1 seek={} conv=notrunc", zero ? 1 : 0, path, offset)).exit_code, 0);
  }
  [[nodiscard]] std::string AnyBody() const {
    for (const auto& entry : fs::recursive_directory_iterator(bundle_ + "/bodies")) {
      if (entry.is_regular_file()) return fs::relative(entry.path(), bundle_).string();
    }
    return {};
  }

  TrailMaker maker_;
  const std::string bundle_ = maker_.path("bundle");
  const std::string receipt_ = maker_.path("mine.tlog-proof");
};

TEST_F(BundleCliTest, ExportAndVerify) {
  const Output exported = Run("export --json --out " + bundle_ + " --receipt " + receipt_);
  ASSERT_EQ(exported.exit_code, 0) << exported.err;
  const json said = json::parse(exported.out);
  EXPECT_EQ(said["leaves"], 12);
  EXPECT_EQ(said["bodies"], 12);
  EXPECT_EQ(said["receipts"], 1);
  const Output output = Verify();
  ASSERT_EQ(output.exit_code, 0) << output.out << output.err;
  const json report = json::parse(output.out);
  EXPECT_EQ(report["verdict"], "intact");
  EXPECT_EQ(report["checkpoint"]["witnesses"][0]["name"], "a");
  EXPECT_EQ(report["bundle"]["receipts"], 1);
  EXPECT_GT(report["speed"]["leaves_per_second"], 0);
  EXPECT_EQ(report["coverage"]["seconds"]["covered"], 100.0);
  const Output text = Run(fmt::format("verify {} --policy {}", bundle_, maker_.path("policy")));
  EXPECT_THAT(text.out, testing::StartsWith("scope: the beginning to the end, all agents\n"));
  EXPECT_THAT(text.out, HasSubstr("quorum: reached"));
}

TEST_F(BundleCliTest, AFlippedByteIsTamperAndNamed) {
  struct Case {
    std::string file;
    size_t offset;
    bool names_batch;
  };
  ASSERT_EQ(Run("export --out " + bundle_ + " --receipt " + receipt_).exit_code, 0);
  const std::string whole = maker_.path("whole");
  fs::copy(bundle_, whole, fs::copy_options::recursive);
  for (const Case& c : {Case{AnyBody(), 20, true}, Case{"log/000000.leaves", 300, true},
                        Case{"log/checkpoint", 60, false}, Case{"manifest.json", 50, false},
                        Case{"manifest.sha256", 3, false}, Case{"receipts/mine.tlog-proof", 40, false}}) {
    Dd(c.file, c.offset);
    const Output output = Verify();
    EXPECT_EQ(output.exit_code, 3) << c.file << output.err;
    const json bad = json::parse(output.out)["first_bad"];
    EXPECT_EQ(bad["batch"].is_string(), c.names_batch) << c.file << bad;
    // Of manifest and hash either may be what was changed.
    EXPECT_EQ(bad["file"], c.file == "manifest.sha256" ? "manifest.json" : c.file) << bad;
    fs::remove_all(bundle_);
    fs::copy(whole, bundle_, fs::copy_options::recursive);
    EXPECT_EQ(Verify().exit_code, 0);
  }
}

TEST_F(BundleCliTest, TheQuorumNamesTheMissingWitness) {
  ASSERT_EQ(Run("export --out " + bundle_).exit_code, 0);
  const Output output = Run(fmt::format("verify {} --policy {}", bundle_, maker_.path("strict")));
  EXPECT_EQ(output.exit_code, 3);
  EXPECT_THAT(output.out, HasSubstr("group g: 1 of 2 (missing b)"));
  EXPECT_THAT(output.out, HasSubstr("witness b: missing"));
}

TEST_F(BundleCliTest, ScopesAreNarrowed) {
  ASSERT_EQ(Run(fmt::format("export --out {} --since 2023-11-14T22:13:35Z --until 2023-11-14T22:13:55Z --agent web-1",
                            bundle_))
                .exit_code,
            0);
  const Output output = Verify();
  EXPECT_EQ(output.exit_code, 0) << output.out;
  const json report = json::parse(output.out);
  EXPECT_EQ(report["bundle"]["since"], "2023-11-14T22:13:35.000000000Z");
  EXPECT_EQ(report["bundle"]["agents"], json({"web-1"}));
  EXPECT_EQ(report["bodies"], 2);
  EXPECT_EQ(report["bodies_outside"], 10);
}

TEST_F(BundleCliTest, PriorsOfBothKinds) {
  Spill(maker_.path("old"), maker_.Checkpoint());
  maker_.Batch(&maker_.one, 70);
  maker_.Checkpoint("b");
  const std::string priors = fmt::format("--prior {} --prior {}", maker_.path("old"), receipt_);
  const std::string verify = fmt::format("verify {} --policy {} {}", maker_.dir(), maker_.path("policy"), priors);
  EXPECT_EQ(Run(verify).exit_code, 0) << Run(verify).out;
  TrailMaker other;
  Spill(maker_.path("stranger"), other.Checkpoint());
  const Output output = Run(verify + " --prior " + maker_.path("stranger"));
  EXPECT_GE(output.exit_code, 64);
  EXPECT_THAT(output.err, HasSubstr(maker_.path("stranger")));
}

TEST_F(BundleCliTest, ErrorsTeach) {
  Output output = Run("export --out " + bundle_ + " --since 2030-01-01");
  EXPECT_EQ(output.exit_code, 66);
  EXPECT_THAT(output.err, HasSubstr("the log's batches are from 2023-11-14T22:13:20"));
  EXPECT_EQ(Run("export --out " + bundle_ + " --since tomorrow-ish").exit_code, 64);
  EXPECT_EQ(Run("export").exit_code, 64);
  Spill(maker_.path("wrong"), "log x\nquorum none\n");
  output = Run(fmt::format("verify --policy {}", maker_.path("wrong")));
  EXPECT_EQ(output.exit_code, 78);
  EXPECT_THAT(output.err, HasSubstr("wrong: policy line 1: verifier key"));
  Spill(maker_.path("nolog"), "quorum none\n");
  output = Run(fmt::format("verify --policy {}", maker_.path("nolog")));
  EXPECT_EQ(output.exit_code, 78);
  EXPECT_THAT(output.err, HasSubstr("names no log"));
  EXPECT_EQ(
      Run(fmt::format("verify --policy {} --log-key {}", maker_.path("nolog"), maker_.path("log.vkey"))).exit_code, 0);
  EXPECT_EQ(Run(fmt::format("verify --policy {} --heartbeat 0", maker_.path("policy"))).exit_code, 64);
  EXPECT_FALSE(fs::exists(bundle_));
}

// A file may not grow past a kilobyte: the disk is as good as full.
TEST_F(BundleCliTest, AFullDiskLeavesNothing) {
  const Output output = Shell(fmt::format("ulimit -f 2; exec {}/bin/nodetrail --config {} export --out {}",
                                          NT_BINARY_DIR, maker_.path("cli.yaml"), bundle_));
  EXPECT_EQ(output.exit_code, 69) << output.err;
  EXPECT_THAT(output.err, HasSubstr("EFBIG"));
  EXPECT_FALSE(fs::exists(bundle_));
  EXPECT_FALSE(fs::exists(bundle_ + ".tmp"));
}

}  // namespace
}  // namespace nodetrail::cli
