// SPDX-License-Identifier: Apache-2.0
//
// A real act on this kernel becomes a signed, verified, queryable fact.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/e2e/harness.h"

namespace nodetrail::e2e {
namespace {

constexpr uint32_t kLoginUid = 4242;

class FirstLight : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    node_ = new Node("first-light");
    node_->StartCollector();
    node_->StartAgent();
  }
  static void TearDownTestSuite() {
    delete node_;
    node_ = nullptr;
  }
  void SetUp() override { ASSERT_TRUE(node_->agent.running() && node_->collector.running()); }

  // Runs `script` under a login uid, as a login would set it; its stdout.
  static Output Login(const std::string& script) {
    return RunCommand({"sh", "-c", "echo 4242 > /proc/self/loginuid && cat /proc/self/sessionid && " + script});
  }

  // The only event that `args` finds, within the 2 s that a reader may wait.
  static Json Only(const std::vector<std::string>& args) {
    std::vector<Json> found;
    Eventually([&] { return !(found = node_->Query(args)).empty(); }, seconds(2));
    EXPECT_EQ(found.size(), 1U) << Json(args).dump() << " found " << Json(found).dump(1);
    return found.empty() ? Json::object() : found.front();
  }

  static std::vector<std::string> AncestorExes(const Json& event) {
    std::vector<std::string> out;
    for (const Json& a : event.at("actor").at("ancestors"))
      out.push_back(a.at("exe").is_string() ? a.at("exe").get<std::string>() : "");
    return out;
  }

  static Node* node_;
};

Node* FirstLight::node_ = nullptr;

TEST_F(FirstLight, AReaderSeesWhoCreatedAndWhoDeletedAFile) {
  const std::string path = node_->dir() + "/nt-probe";
  const Output acted = Login("echo hi > " + path + " && rm " + path);
  ASSERT_EQ(acted.exit_code, 0) << acted.err;
  const auto session = static_cast<uint32_t>(std::stoul(acted.out));

  const Json created = Only({"--kind", "file.create", "--path", path});
  EXPECT_TRUE(created.at("outcome").at("success").get<bool>());
  EXPECT_EQ(created.at("resource").at("path_source"), "kernel_object");
  EXPECT_EQ(created.at("actor").at("comm"), "sh");
  EXPECT_EQ(created.at("actor").at("login_uid"), kLoginUid);
  EXPECT_EQ(created.at("actor").at("session_id"), session);

  const Json deleted = Only({"--kind", "file.delete", "--path", path});
  EXPECT_TRUE(deleted.at("outcome").at("success").get<bool>());
  EXPECT_EQ(deleted.at("outcome").at("errno"), 0);
  const Json& actor = deleted.at("actor");
  EXPECT_EQ(std::filesystem::path(actor.at("exe").get<std::string>()).filename(), "rm");
  EXPECT_EQ(actor.at("argv"), Json({"rm", path}));
  EXPECT_EQ(actor.at("uid"), 0);
  EXPECT_EQ(actor.at("user"), "root");
  EXPECT_EQ(actor.at("login_uid"), kLoginUid);
  EXPECT_EQ(actor.at("session_id"), session);
  // rm's parent is the shell, its parent is this test.
  const auto exes = AncestorExes(deleted);
  ASSERT_GE(exes.size(), 2U);
  EXPECT_EQ(exes[0], std::filesystem::canonical("/bin/sh").string());
  EXPECT_EQ(exes[1], std::filesystem::read_symlink("/proc/self/exe").string());
}

TEST_F(FirstLight, SwitchingUserShowsTheCredentialsBeforeAndAfter) {
  const Output acted = Login("su nobody -s /bin/sh -c id");
  ASSERT_EQ(acted.exit_code, 0) << acted.err;
  const auto session = static_cast<uint32_t>(std::stoul(acted.out));
  const Json id =
      Only({"--kind", "process.exec", "--user", "nobody", "exe:*/id", "session:" + std::to_string(session)});
  EXPECT_EQ(id.at("actor").at("uid"), 65534);
  EXPECT_EQ(id.at("actor").at("user"), "nobody");
  EXPECT_EQ(id.at("actor").at("login_uid"), kLoginUid);
  std::vector<Json> changes;
  ASSERT_TRUE(Eventually(
      [&] {
        changes = node_->Query({"--kind", "cred.change", "session:" + std::to_string(session)});
        return std::any_of(changes.begin(), changes.end(), [](const Json& c) {
          return c.at("before").at("uid") == 0 && c.at("after").at("uid") == 65534;
        });
      },
      seconds(2)))
      << Json(changes).dump(1);
}

TEST_F(FirstLight, ADeniedReadIsSeenWithItsErrno) {
  const Output acted = Login("su nobody -s /bin/sh -c 'cat /etc/shadow' 2>/dev/null; true");
  const std::string session = std::to_string(std::stoul(acted.out));
  const Json denied = Only({"--kind", "file.denied", "--path", "/etc/shadow", "session:" + session});
  EXPECT_FALSE(denied.at("outcome").at("success").get<bool>());
  EXPECT_EQ(denied.at("outcome").at("errno"), EACCES);
  EXPECT_EQ(denied.at("outcome").at("errno_name"), "EACCES");
  EXPECT_EQ(denied.at("resource").at("path"), "/etc/shadow");
  EXPECT_EQ(denied.at("resource").at("path_source"), "user_string_resolved");
  EXPECT_EQ(denied.at("actor").at("user"), "nobody");
  EXPECT_EQ(denied.at("actor").at("argv"), Json({"cat", "/etc/shadow"}));
  EXPECT_EQ(denied.at("actor").at("login_uid"), kLoginUid);
}

// Connects from this process, so that the ports are known.
int Connect(int port, int* local_port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int err = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0 ? 0 : errno;
  socklen_t length = sizeof(address);
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
  if (local_port != nullptr) *local_port = ntohs(address.sin_port);
  ::close(fd);
  return err;
}

TEST_F(FirstLight, AConnectShowsItsRealOutcome) {
  const int closed = FreePort();
  ASSERT_EQ(Connect(closed, nullptr), ECONNREFUSED);
  const Json refused = Only({"--kind", "net.connect", "remote_port:" + std::to_string(closed)});
  EXPECT_FALSE(refused.at("outcome").at("success").get<bool>());
  EXPECT_EQ(refused.at("outcome").at("errno"), ECONNREFUSED);
  EXPECT_EQ(refused.at("resource").at("remote_ip"), "127.0.0.1");
  EXPECT_EQ(refused.at("actor").at("pid"), ::getpid());

  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener, 4), 0);
  socklen_t length = sizeof(address);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), 0);
  const int open = ntohs(address.sin_port);
  int local = 0;
  ASSERT_EQ(Connect(open, &local), 0);
  const int accepted = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  ASSERT_GE(accepted, 0);
  ::close(accepted);
  ::close(listener);
  const Json connected = Only({"--kind", "net.connect", "remote_port:" + std::to_string(open)});
  EXPECT_TRUE(connected.at("outcome").at("success").get<bool>());
  EXPECT_EQ(connected.at("resource").at("local_port"), local);
  const Json in = Only({"--kind", "net.accept", "local_port:" + std::to_string(open)});
  EXPECT_EQ(in.at("resource").at("remote_port"), local);
  EXPECT_EQ(in.at("resource").at("direction"), "inbound");
}

TEST_F(FirstLight, EveryEventCanBeShownWithItsProof) {
  const std::string path = node_->dir() + "/shown";
  ASSERT_EQ(RunCommand({"touch", path}).exit_code, 0);
  const Json created = Only({"--kind", "file.create", "--path", path});
  Output shown;
  // The proof needs a checkpoint over the leaf; they are made at most a second apart.
  ASSERT_TRUE(Eventually(
      [&] {
        shown = node_->Cli({"show", created.at("event_id").get<std::string>(), "--json"});
        return shown.exit_code == 0 &&
               Json::parse(shown.out, nullptr, false).value("/proof/status"_json_pointer, "") == "verified";
      },
      seconds(5)))
      << shown.out << shown.err;
}

TEST_F(FirstLight, TheTreeNamesAncestorsAndDescendants) {
  const std::string path = node_->dir() + "/tree";
  ASSERT_EQ(RunCommand({"sh", "-c", "touch " + path + "; rm " + path}).exit_code, 0);
  const Json deleted = Only({"--kind", "file.delete", "--path", path});
  const Json& parent = deleted.at("actor").at("ancestors").at(0);
  const Output tree = node_->Cli({"tree", parent.at("proc_uid").get<std::string>()});
  EXPECT_EQ(tree.exit_code, 0) << tree.err;
  EXPECT_NE(tree.out.find("touch"), std::string::npos) << tree.out;
  EXPECT_NE(tree.out.find("rm"), std::string::npos) << tree.out;
  EXPECT_NE(tree.out.find(path), std::string::npos) << tree.out;
}

TEST_F(FirstLight, SequenceNumbersHaveNoHoles) {
  ASSERT_TRUE(node_->Settled());
  std::set<uint64_t> seqs;
  for (const Json& event : node_->Query({"--since", "1h"})) seqs.insert(event.at("seq").get<uint64_t>());
  ASSERT_FALSE(seqs.empty());
  EXPECT_EQ(*seqs.begin(), 1U);
  EXPECT_EQ(*seqs.rbegin(), seqs.size()) << "a sequence number is missing";
}

TEST_F(FirstLight, CoverageAndStartAreInTheTrail) {
  const Json coverage = Only({"--kind", "agent.coverage"});
  EXPECT_FALSE(coverage.at("resource").at("hooks").empty());
  EXPECT_EQ(coverage.at("resource").at("scope"), "process_tree:" + std::to_string(::getpid()));
  Only({"--kind", "agent.start"});
}

}  // namespace
}  // namespace nodetrail::e2e
