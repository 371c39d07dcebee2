// SPDX-License-Identifier: Apache-2.0
//
// Holds over the admin socket of a collector that runs: who may, and that a
// release takes two.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "collector/admin/admin_socket.h"
#include "collector/test_fixture.h"
#include "nodetrail/trail/log_entry.h"

namespace nodetrail::collector {
namespace {

constexpr uid_t kOfficer = 4242;
constexpr uid_t kStranger = 4243;

class HoldsTest : public CollectorTest {
 protected:
  HoldsTest() {
    config_.set_admin_socket(dir_.path() + "/admin.sock");
    config_.add_hold_officers(std::to_string(kOfficer));
  }
  Result<enrol::v1::AdminResponse> Ask(const enrol::v1::AdminRequest& request) {
    return AskCollector(config_.admin_socket(), request);
  }
  // The same as another user: the code of the answer.
  Code AskAs(uid_t uid, const enrol::v1::AdminRequest& request) {
    EXPECT_EQ(::chmod(dir_.path().c_str(), 0755), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      if (::setresuid(uid, uid, uid) != 0) ::_exit(100);
      ::_exit(static_cast<int>(Ask(request).status().code()));
    }
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) != 100);
    return static_cast<Code>(WEXITSTATUS(status));
  }
  static enrol::v1::AdminRequest Add(const std::string& id, const std::string& reason) {
    enrol::v1::AdminRequest request;
    request.mutable_add_hold()->set_id(id);
    request.mutable_add_hold()->set_reason(reason);
    request.mutable_add_hold()->add_agents("web-1");
    return request;
  }
  static enrol::v1::AdminRequest Release(const std::string& id) {
    enrol::v1::AdminRequest request;
    request.mutable_release_hold()->set_id(id);
    return request;
  }
  size_t Open() {
    enrol::v1::AdminRequest request;
    request.mutable_list_holds();
    const auto answer = Ask(request);
    EXPECT_TRUE(answer.ok()) << answer.status().ToString();
    return static_cast<size_t>(answer->list_holds().holds_size());
  }
};

TEST_F(HoldsTest, OnePersonPlacesTwoRelease) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: it asks as another user";
  StartCollector();
  const auto placed = Ask(Add("", "court order 7"));
  ASSERT_TRUE(placed.ok()) << placed.status().ToString();
  const std::string id = placed->add_hold().id();
  EXPECT_EQ(id, "hold-0");
  EXPECT_EQ(placed->add_hold().by(), PersonOf(0));
  EXPECT_EQ(Ask(Add(id, "again")).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Ask(Add("b", "")).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Ask(Add("b", "caf\xc3\xa9")).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(AskAs(kStranger, Release(id)), Code::kUnavailable);  // cut off
  // An officer asks about holds and about nothing else.
  enrol::v1::AdminRequest revoke;
  revoke.mutable_revoke_agent()->set_agent_id("web-1");
  EXPECT_EQ(AskAs(kOfficer, revoke), Code::kPermissionDenied);

  const auto asked = Ask(Release(id));
  ASSERT_TRUE(asked.ok()) << asked.status().ToString();
  EXPECT_FALSE(asked->release_hold().released());
  EXPECT_EQ(Ask(Release(id)).status().code(), Code::kFailedPrecondition);
  EXPECT_EQ(Open(), 1U);
  EXPECT_EQ(AskAs(kOfficer, Release(id)), Code::kOk);
  EXPECT_EQ(Open(), 0U);
  EXPECT_EQ(Ask(Release(id)).status().code(), Code::kNotFound);

  const auto leaves = LogLeaves();
  ASSERT_EQ(leaves.size(), 2U);
  const trail::v1::LogEntry last = trail::ParseLogEntry(leaves[1])->entry;
  EXPECT_EQ(last.release().requested_by(), PersonOf(0));
  EXPECT_EQ(last.release().confirmed_by(), fmt::format("user {}", kOfficer));
}

TEST_F(HoldsTest, AreThereAfterARestart) {
  StartCollector();
  ASSERT_TRUE(Ask(Add("case-7", "court order 7")).ok());
  collector_.reset();
  StartCollector();
  EXPECT_EQ(Open(), 1U);
}

}  // namespace
}  // namespace nodetrail::collector
