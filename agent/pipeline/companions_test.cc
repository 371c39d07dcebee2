// SPDX-License-Identifier: Apache-2.0
#include "agent/pipeline/companions.h"

#include <gtest/gtest.h>

#include "tests/fakes/fake_names.h"
#include "tests/fakes/fake_proc_reader.h"

namespace nodetrail::agent {
namespace {

constexpr char kPath[] = "/usr/sbin/nodetrail-collector";

class CompanionsTest : public ::testing::Test {
 protected:
  CompanionsTest() {
    auto* companion = config.add_companions();
    companion->set_name("collector");
    companion->set_exe(kPath);
    file.flags = NT_FILE_VALID;
    file.mode = 0100755;
    file.dev = 5;
    file.ino = 6;
    image.exe = kPath;
    image.has_file = true;
    image.file = file;
    process.tgid = 10;
    process.start_boot_ns = 1'000'000'007;
  }
  bool Is() {
    process.image = std::make_shared<Image>(image);
    return Companions(config, &proc, &names, [this](const std::string&) { return file; }).Is(process);
  }

  config::v1::AgentConfig::Capture config;
  FakeProcReader proc;
  FakeNames names;
  nt_file file{};
  Image image;
  Process process;
};

TEST_F(CompanionsTest, TheConfiguredFileRunByRoot) { EXPECT_TRUE(Is()); }
TEST_F(CompanionsTest, NotAnotherPath) {
  image.exe = "/tmp/nodetrail-collector";
  EXPECT_FALSE(Is());
}
TEST_F(CompanionsTest, NotAnotherFileAtThePath) {
  image.file.ino = 7;
  EXPECT_FALSE(Is());
}
TEST_F(CompanionsTest, NotIfOthersCanWriteIt) {
  file.mode = 0100775;
  EXPECT_FALSE(Is());
  file.mode = 0100757;
  EXPECT_FALSE(Is());
  file.mode = 0100755;
  file.uid = 1000;
  EXPECT_FALSE(Is());
}
TEST_F(CompanionsTest, OnlyUnderAnAccountOfTheProduct) {
  process.cred.uid = process.cred.euid = 1000;  // alice, maybe with a preloaded library
  EXPECT_FALSE(Is());
  process.cred.uid = process.cred.euid = 990;
  EXPECT_FALSE(Is());  // no name
  names.users[990] = "nodetrail";
  EXPECT_TRUE(Is());
  process.cred.euid = 0;
  EXPECT_FALSE(Is());
}
TEST_F(CompanionsTest, WhereTheKernelsDeviceIsAnotherTheRunningFileIsAsked) {
  image.file.dev = 99;
  EXPECT_FALSE(Is());
  proc.Add(10, 1, 1'000'000'000, kPath).file = file;
  EXPECT_TRUE(Is());
  proc.processes[10].file.ino = 8;
  EXPECT_FALSE(Is());
  proc.Add(10, 1, 2'000'000'000, kPath).file = file;  // another process by now
  EXPECT_FALSE(Is());
}

}  // namespace
}  // namespace nodetrail::agent
