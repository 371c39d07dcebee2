// SPDX-License-Identifier: Apache-2.0
//
// The identity key in a file and in a token: a real SoftHSM, made in the
// test's own directory.
#include "agent/seal/identity.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "agent/seal/sealer.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/trail/chain.h"
#include "nodetrail/trail/pkcs11_key.h"
#include "trail/testing/temp_dir.h"
#include "trail/testing/test_pki.h"

namespace nodetrail::agent {
namespace {

constexpr char kModule[] = "/usr/lib/softhsm/libsofthsm2.so";
constexpr char kTool[] = "/usr/bin/softhsm2-util";

int RunTool(std::vector<std::string> args) {
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return -1;
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void WriteFileWithMode(const std::string& path, const std::string& text, mode_t mode) {
  std::ofstream(path) << text;
  ASSERT_EQ(::chmod(path.c_str(), mode), 0);
}

// One token for the process: the engine loads the module once.
class TokenTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!std::filesystem::exists(kModule) || !std::filesystem::exists(kTool)) return;
    dir_ = new trail::TempDir();
    ca_ = new trail::TestCa();
    const trail::TestCa::Identity identity = ca_->IssueAgent("acme", "web-1");
    std::filesystem::create_directory(*dir_ / "tokens");
    WriteFileWithMode(*dir_ / "softhsm2.conf", "directories.tokendir = " + *dir_ / "tokens" + "\n", 0600);
    WriteFileWithMode(*dir_ / "cert.pem", identity.cert_pem, 0644);
    WriteFileWithMode(*dir_ / "key.pem", identity.key_pem, 0600);
    WriteFileWithMode(*dir_ / "pin", "2468\n", 0600);
    ::setenv("SOFTHSM2_CONF", (*dir_ / "softhsm2.conf").c_str(), 1);
    // The PIN of a token that lives as long as this test.
    ASSERT_EQ(RunTool({kTool, "--init-token", "--free", "--label", "nodetrail", "--so-pin", "1357", "--pin", "2468"}),
              0);
    ASSERT_EQ(RunTool({kTool, "--import", *dir_ / "key.pem", "--token", "nodetrail", "--label", "identity", "--id",
                       "a1", "--pin", "2468"}),
              0);
    std::filesystem::remove(*dir_ / "key.pem");
  }
  static void TearDownTestSuite() {
    delete ca_;
    delete dir_;
  }
  void SetUp() override {
    if (dir_ == nullptr) GTEST_SKIP() << "no SoftHSM here: apt install softhsm2 libengine-pkcs11-openssl";
  }
  static std::string Uri(const std::string& object = "identity", const std::string& pin = *dir_ / "pin") {
    return "pkcs11:token=nodetrail;object=" + object + ";type=private?module-path=" + kModule +
           "&pin-source=file:" + pin;
  }
  static IdentityOptions Options(const std::string& uri) { return {*dir_ / "cert.pem", "", uri, "acme", "web-1"}; }
  static inline trail::TempDir* dir_ = nullptr;
  static inline trail::TestCa* ca_ = nullptr;
};

TEST_F(TokenTest, AKeyInATokenOpensAnEpoch) {
  const auto identity = Identity::Load(Options(Uri()));
  ASSERT_TRUE(identity.ok()) << identity.status().ToString();
  const auto signature = identity->key().Sign("words");
  ASSERT_TRUE(signature.ok()) << signature.status().ToString();
  EXPECT_TRUE(identity->certificate().VerifyEcdsa("words", *signature));

  FakeClock clock;
  SealerOptions options;
  options.tenant = "acme";
  options.agent_id = "web-1";
  options.identity_cert_file = *dir_ / "cert.pem";
  options.identity_key_uri = Uri();
  options.boot_id = "boot";
  options.clock = &clock;
  const auto sealer = Sealer::Open(std::move(options));
  ASSERT_TRUE(sealer.ok()) << sealer.status().ToString();
  BatchContent content;
  content.type = trail::v1::BATCH_TYPE_HEARTBEAT;
  const auto sealed = (*sealer)->Seal(content);
  ASSERT_TRUE(sealed.ok());
  const trail::CaSet cas = *trail::CaSet::FromPem(ca_->CertPem());
  trail::ChainVerifier verifier({"acme", "web-1", &cas, 16});
  const trail::ChainResult result = verifier.Check(sealed->leaf, sealed->body);
  EXPECT_TRUE(result.accepted()) << result.reason;
}

TEST_F(TokenTest, WhatIsWrongIsNamedAndThePinIsNot) {
  WriteFileWithMode(*dir_ / "open-pin", "2468\n", 0644);
  WriteFileWithMode(*dir_ / "wrong-pin", "8642\n", 0600);
  const auto error = [](const std::string& uri) {
    const auto identity = Identity::Load(Options(uri));
    EXPECT_FALSE(identity.ok());
    const std::string text = identity.status().ToString();
    EXPECT_EQ(text.find("2468"), std::string::npos) << text;
    EXPECT_EQ(text.find("8642"), std::string::npos) << text;
    return text;
  };
  EXPECT_NE(error(Uri("nobody")).find("no such private key"), std::string::npos);
  EXPECT_NE(error(Uri("identity", *dir_ / "open-pin")).find("chmod 600"), std::string::npos);
  EXPECT_NE(error(Uri("identity", *dir_ / "missing")).find("missing"), std::string::npos);
  EXPECT_NE(error("pkcs11:token=nodetrail;object=identity?module-path=" + std::string(kModule) + "x").find("is loaded"),
            std::string::npos);
  const auto identity = Identity::Load(Options(Uri()));
  EXPECT_TRUE(identity.ok()) << "a mistake before does not spoil the token: " << identity.status().ToString();
}

TEST(Pkcs11Uri, IsReadStrictly) {
  const auto good = trail::ParsePkcs11Uri(
      "pkcs11:token=my%20token;object=id?module-path=/usr/lib/m%20odule.so&pin-source=file:///etc/nodetrail/pin");
  ASSERT_TRUE(good.ok()) << good.status().ToString();
  EXPECT_EQ(good->object, "pkcs11:token=my%20token;object=id");
  EXPECT_EQ(good->module_path, "/usr/lib/m odule.so");
  EXPECT_EQ(good->pin_file, "/etc/nodetrail/pin");
  EXPECT_TRUE(trail::ParsePkcs11Uri("pkcs11:object=a?module-path=/m.so").ok());
  for (const char* bad :
       {"", "file:/x", "pkcs11:object=a", "pkcs11:object=a?module-path=m.so", "pkcs11:object=a?module-path=/m%0",
        "pkcs11:object=a?module-path=/m%00", "pkcs11:object=a?module-path=/m.so&pin-value=1234",
        "pkcs11:object=a;pin-value=1234?module-path=/m.so", "pkcs11:object=a?module-path=/m.so&pin-source=rel",
        "pkcs11:object=a?module-path=/m.so&other=1", "pkcs11:object=a b?module-path=/m.so"}) {
    const auto parsed = trail::ParsePkcs11Uri(bad);
    EXPECT_FALSE(parsed.ok()) << bad;
    EXPECT_EQ(parsed.status().ToString().find("1234"), std::string::npos);
  }
}

}  // namespace
}  // namespace nodetrail::agent
