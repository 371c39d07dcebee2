// SPDX-License-Identifier: Apache-2.0
//
// Holds over the admin socket of a collector that runs: who may, and that a
// release takes two.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

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

// Asked for before the restart, confirmed after it.
TEST_F(HoldsTest, AReleaseThatWasAskedForOutlivesARestart) {
  StartCollector();
  ASSERT_TRUE(Ask(Add("case-7", "court order 7")).ok());
  const auto asked = Ask(Release("case-7"));
  ASSERT_TRUE(asked.ok()) << asked.status().ToString();
  collector_.reset();
  StartCollector();
  enrol::v1::AdminRequest request;
  request.mutable_list_holds();
  const auto list = Ask(request);
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(list->list_holds().holds(0).release_requested_by(), asked->release_hold().requested_by());
  EXPECT_EQ(Ask(Release("case-7")).status().code(), Code::kFailedPrecondition);
  if (::geteuid() == 0) {
    EXPECT_EQ(AskAs(kOfficer, Release("case-7")), Code::kOk);
  }
}

// Who places a hold learns what it came too late for.
TEST_F(HoldsTest, SaysWhatWasRetiredBefore) {
  StartCollector();
  BatchMaker maker(pki(), "web-1");
  {
    RawAgent agent(collector_->port(), pki().Agent("web-1"));
    ASSERT_TRUE(agent.Hello("web-1"));
    ASSERT_TRUE(agent.Read().has_welcome());
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(agent.Exchange(maker.Next()).has_ack());
  }
  collector_.reset();
  const auto bodies = [&] {
    std::vector<std::filesystem::path> out;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(config_.trail_dir() + "/bodies")) {
      if (entry.path().extension() == ".zst") out.push_back(entry.path());
    }
    return out;
  };
  ASSERT_EQ(bodies().size(), 3U);
  for (const auto& body : bodies()) {
    std::filesystem::last_write_time(body, std::filesystem::file_time_type::clock::now() - std::chrono::hours(72));
  }
  config_.mutable_retention()->set_policy("one-day");
  config_.mutable_retention()->set_max_age_d(1);
  StartCollector();
  ASSERT_TRUE(WaitUntil([&] { return bodies().empty(); }));
  const auto placed = Ask(Add("late", "court order 7"));
  ASSERT_TRUE(placed.ok()) << placed.status().ToString();
  EXPECT_EQ(placed->add_hold().gone_bodies(), 3U);
  EXPECT_EQ(placed->add_hold().gone_since_wall_ns(), 1'700'000'000'000'000'000U);
  EXPECT_EQ(placed->add_hold().gone_until_wall_ns(), 1'700'000'000'000'000'002U);
  EXPECT_EQ(placed->add_hold().gone_unknown(), "");
  enrol::v1::AdminRequest later = Add("later", "court order 8");
  later.mutable_add_hold()->set_since_wall_ns(1'700'000'000'000'000'002U);
  EXPECT_EQ(Ask(later)->add_hold().gone_bodies(), 1U);
  enrol::v1::AdminRequest other = Add("other", "court order 9");
  other.mutable_add_hold()->set_agents(0, "web-2");
  EXPECT_EQ(Ask(other)->add_hold().gone_bodies(), 0U);
}

// A damaged file is no request, and keeps nothing from starting.
TEST_F(HoldsTest, ADamagedFileOfRequestsIsNone) {
  StartCollector();
  ASSERT_TRUE(Ask(Add("case-7", "court order 7")).ok());
  ASSERT_TRUE(Ask(Release("case-7")).ok());
  collector_.reset();
  ASSERT_TRUE(WriteFileAtomically(config_.trail_dir() + "/holds/asked", "\xff\xff").ok());
  StartCollector();
  const auto again = Ask(Release("case-7"));
  ASSERT_TRUE(again.ok()) << again.status().ToString();
  EXPECT_FALSE(again->release_hold().released());
}

}  // namespace
}  // namespace nodetrail::collector
