// SPDX-License-Identifier: Apache-2.0
#include "agent/attribute/elevation.h"

#include <gtest/gtest.h>

#include "agent/attribute/process.h"

namespace nodetrail::agent {
namespace {

constexpr uint32_t kAlice = 1000, kBob = 1001, kUnset = 0xffffffffU;
constexpr uint64_t kCapNetRaw = 1U << 13U;

Image Tool(uint64_t id, const std::string& exe, bool setuid, std::vector<std::string> args = {}) {
  Image image;
  image.id = id;
  image.exe = exe;
  image.has_file = true;
  image.file.mode = setuid ? 0104755 : 0100755;
  image.argv = {exe};
  image.argv.insert(image.argv.end(), args.begin(), args.end());
  image.exec_boot_ns = 7000 + id;
  return image;
}

ElevationActor By(const Image& image, uint32_t loginuid, bool may_setuid = true) {
  return {.process = {1}, .image = &image, .loginuid = loginuid, .may_setuid = may_setuid};
}

nt_cred Cred(uint32_t uid, uint32_t euid, uint64_t permitted = 0) {
  nt_cred cred{};
  cred.uid = uid;
  cred.euid = euid;
  cred.cap_permitted = permitted;
  return cred;
}

TEST(Elevation, SudoThenSuIsAliceThenRootThenBob) {
  const Image sudo = Tool(1, "/usr/bin/sudo", true, {"su", "bob"});
  ElevationChain chain = AfterExec(nullptr, By(sudo, kAlice), Cred(kAlice, kAlice), Cred(kAlice, 0));
  ASSERT_NE(chain, nullptr);
  EXPECT_EQ(chain->back().cause, ElevationCause::kSetuidFile);
  EXPECT_EQ(chain->back().boot_ns, 7001U);
  EXPECT_EQ(chain->back().command, (std::vector<std::string>{"su", "bob"}));
  chain = AfterSwitch(chain, By(sudo, kAlice), kAlice, 0);  // sudo becomes root wholly, then execs su
  const Image su = Tool(2, "/usr/bin/su", true, {"bob"});
  chain = AfterExec(chain, By(su, kAlice), Cred(0, 0), Cred(0, 0));
  ASSERT_EQ(chain->size(), 1U);
  chain = AfterSwitch(chain, By(su, kAlice), 0, kBob);
  ASSERT_EQ(chain->size(), 2U);
  EXPECT_EQ(chain->at(0).tool, "/usr/bin/sudo");
  EXPECT_EQ(chain->at(0).from_uid, kAlice);
  EXPECT_EQ(chain->at(0).to_uid, 0U);
  EXPECT_EQ(chain->at(1).tool, "/usr/bin/su");
  EXPECT_EQ(chain->at(1).from_uid, 0U);
  EXPECT_EQ(chain->at(1).to_uid, kBob);
  EXPECT_EQ(chain->at(1).cause, ElevationCause::kCall);
}

TEST(Elevation, AToolThatTurnsTwiceIsOneLink) {
  const Image sudo = Tool(1, "/usr/bin/sudo", true);
  ElevationChain chain = AfterExec(nullptr, By(sudo, kAlice), Cred(kAlice, kAlice), Cred(kAlice, 0));
  chain = AfterSwitch(chain, By(sudo, kAlice), kAlice, 0);
  chain = AfterSwitch(chain, By(sudo, kAlice), 0, kBob);  // sudo -u bob
  ASSERT_EQ(chain->size(), 1U);
  EXPECT_EQ(chain->back().from_uid, kAlice);
  EXPECT_EQ(chain->back().to_uid, kBob);
}

TEST(Elevation, WhatRunsAsTheCallerAgainPassedNobody) {
  const Image tool = Tool(1, "/usr/bin/fusermount", true);
  const ElevationChain chain = AfterExec(nullptr, By(tool, kAlice), Cred(kAlice, kAlice), Cred(kAlice, 0));
  const Image shell = Tool(2, "/bin/sh", false);
  EXPECT_EQ(AfterExec(chain, By(shell, kAlice), Cred(kAlice, kAlice), Cred(kAlice, kAlice)), nullptr);
  // With the effective user kept, the shell is root's.
  EXPECT_EQ(AfterExec(chain, By(shell, kAlice), Cred(kAlice, 0), Cred(kAlice, 0)), chain);
}

TEST(Elevation, TheLoginItselfAndServicesAreNone) {
  const Image sshd = Tool(1, "/usr/sbin/sshd", false);
  EXPECT_EQ(AfterSwitch(nullptr, By(sshd, kAlice), 0, kAlice), nullptr);
  const Image nginx = Tool(2, "/usr/sbin/nginx", false);
  EXPECT_EQ(AfterSwitch(nullptr, By(nginx, kUnset), 0, 33), nullptr);
  // … but of a service that a person starts, the person is known.
  const ElevationChain by_hand = AfterSwitch(nullptr, By(nginx, kAlice), 0, 33);
  ASSERT_NE(by_hand, nullptr);
  EXPECT_EQ(by_hand->back().tool, "/usr/sbin/nginx");
}

TEST(Elevation, RootWhoLoggedInAsRootTurnsIntoAnother) {
  const Image runuser = Tool(1, "/sbin/runuser", false, {"-u", "bob", "id"});
  const ElevationChain chain = AfterSwitch(nullptr, By(runuser, 0), 0, kBob);
  ASSERT_NE(chain, nullptr);
  EXPECT_EQ(chain->back().to_uid, kBob);
  // There and back again.
  EXPECT_EQ(AfterSwitch(chain, By(runuser, 0), kBob, 0), nullptr);
}

TEST(Elevation, AnImageThatCouldNotIsNotNamed) {
  const Image bash = Tool(1, "/bin/bash", false);
  const ElevationChain chain = AfterSwitch(nullptr, By(bash, kBob, false), kAlice, 0);
  ASSERT_NE(chain, nullptr);
  EXPECT_EQ(chain->back().tool, "");
  EXPECT_EQ(chain->back().cause, ElevationCause::kUnknown);
  EXPECT_TRUE(chain->back().from_proc);
}

TEST(Elevation, FileCapabilitiesAreALinkUntilTheyAreLost) {
  const Image ping = Tool(1, "/usr/bin/ping", false);
  const ElevationChain chain =
      AfterExec(nullptr, By(ping, kAlice), Cred(kAlice, kAlice), Cred(kAlice, kAlice, kCapNetRaw));
  ASSERT_NE(chain, nullptr);
  EXPECT_EQ(chain->back().cause, ElevationCause::kCapabilities);
  EXPECT_EQ(chain->back().added_caps, kCapNetRaw);
  const Image shell = Tool(2, "/bin/sh", false);
  EXPECT_EQ(AfterExec(chain, By(shell, kAlice), Cred(kAlice, kAlice, kCapNetRaw), Cred(kAlice, kAlice)), nullptr);
  const nt_cred kept = Cred(kAlice, kAlice, kCapNetRaw);  // ambient
  EXPECT_EQ(AfterExec(chain, By(shell, kAlice), kept, kept), chain);
  // Root's exec, and a first exec in a user namespace, give capabilities that no file has.
  EXPECT_EQ(AfterExec(nullptr, By(shell, 0), Cred(0, 0), Cred(0, 0, ~0ULL)), nullptr);
}

TEST(Elevation, ChainsAndCommandsAreBounded) {
  ElevationChain chain;
  std::vector<Image> tools;
  for (uint64_t i = 1; i <= 40; ++i) tools.push_back(Tool(i, "/usr/bin/su", true, {std::string(2000, 'x')}));
  for (uint32_t i = 0; i < tools.size(); ++i) chain = AfterSwitch(chain, By(tools[i], kAlice), 100 + i, 101 + i);
  ASSERT_EQ(chain->size(), kMaxElevations);
  EXPECT_EQ(chain->front().from_uid, 100U);
  EXPECT_EQ(chain->back().to_uid, 140U);
  EXPECT_TRUE(chain->back().command.empty());
  EXPECT_TRUE(chain->back().command_truncated);
}

}  // namespace
}  // namespace nodetrail::agent
