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

using std::chrono::milliseconds;

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
  std::vector<enrol::v1::HoldRecord> Holds() {
    enrol::v1::AdminRequest request;
    request.mutable_list_holds();
    const auto answer = Ask(request);
    EXPECT_TRUE(answer.ok()) << answer.status().ToString();
    return {answer->list_holds().holds().begin(), answer->list_holds().holds().end()};
  }
  size_t Open() { return Holds().size(); }
  // 0: no rule.
  void KeepFor(uint32_t days) {
    config_.clear_retention();
    if (days == 0) return;
    config_.mutable_retention()->set_policy("rule");
    config_.mutable_retention()->set_max_age_d(days);
    config_.mutable_retention()->set_interval_s(1);
  }
  void Restart() {
    collector_.reset();
    StartCollector();
  }
  std::vector<std::filesystem::path> Bodies() {
    std::vector<std::filesystem::path> out;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(config_.trail_dir() + "/bodies")) {
      if (entry.path().extension() == ".zst") out.push_back(entry.path());
    }
    return out;
  }
  // A trail with three bodies that came three days ago; the collector is stopped.
  void TakeOldBodies() {
    StartCollector();
    BatchMaker maker(pki(), "web-1");
    {
      RawAgent agent(collector_->port(), pki().Agent("web-1"));
      ASSERT_TRUE(agent.Hello("web-1"));
      ASSERT_TRUE(agent.Read().has_welcome());
      for (int i = 0; i < 3; ++i) ASSERT_TRUE(agent.Exchange(maker.Next()).has_ack());
    }
    collector_.reset();
    ASSERT_EQ(Bodies().size(), 3U);
    for (const auto& body : Bodies()) {
      std::filesystem::last_write_time(body, std::filesystem::file_time_type::clock::now() - std::chrono::hours(72));
    }
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
  KeepFor(1);
  TakeOldBodies();
  StartCollector();
  ASSERT_TRUE(WaitUntil([&] { return Bodies().empty(); }));
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

// One person who can edit the configuration deletes nothing earlier by it.
TEST_F(HoldsTest, AShorterRuleTakesTwo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: it asks as another user";
  KeepFor(3650);
  TakeOldBodies();
  KeepFor(1);
  StartCollector();
  ASSERT_EQ(Open(), 1U);
  const enrol::v1::HoldRecord hold = Holds()[0];
  EXPECT_EQ(hold.id(), "retention-1d-3");
  EXPECT_EQ(hold.by(), "collector");
  EXPECT_TRUE(hold.agents().empty());
  EXPECT_NE(hold.reason().find("from 3650 days to 1 days"), std::string::npos) << hold.reason();
  ASSERT_TRUE(Ask(Release(hold.id())).ok());
  EXPECT_EQ(Ask(Release(hold.id())).status().code(), Code::kFailedPrecondition);
  // Not by a restart either: it is the same hold that waits.
  Restart();
  ASSERT_EQ(Open(), 1U);
  EXPECT_EQ(Holds()[0].id(), hold.id());
  // The rule runs each second; it finds nothing that it may.
  EXPECT_FALSE(WaitUntil([&] { return Bodies().size() != 3; }, milliseconds(1500)));
  EXPECT_EQ(AskAs(kOfficer, Release(hold.id())), Code::kOk);
  EXPECT_TRUE(WaitUntil([&] { return Bodies().empty(); }, milliseconds(10'000)));
  Restart();
  EXPECT_EQ(Open(), 0U);
}

TEST_F(HoldsTest, WhatCountsAsShorter) {
  const auto pending = [&](uint32_t days) {
    collector_.reset();
    KeepFor(days);
    const size_t before = LogLeaves().size();
    StartCollector();
    return LogLeaves().size() - before;
  };
  TakeOldBodies();
  EXPECT_EQ(pending(3650), 1U) << "there was no rule: it was to be kept for ever";
  EXPECT_EQ(pending(3650), 0U) << "that one waits already";
  EXPECT_EQ(pending(0), 0U);
  EXPECT_EQ(pending(3650), 1U) << "and once more";
  EXPECT_EQ(pending(30), 1U) << "shorter still";
  collector_.reset();
  // What was in force is not known: for ever.
  ASSERT_TRUE(WriteFileAtomically(config_.trail_dir() + "/retention/rule.json", "{").ok());
  EXPECT_EQ(pending(30), 1U);
}

// On an empty trail there is nothing that it could shorten; longer is no question.
TEST_F(HoldsTest, TheFirstRuleAndALongerOneTakeOne) {
  KeepFor(30);
  TakeOldBodies();
  StartCollector();
  EXPECT_EQ(Open(), 0U);
  KeepFor(60);
  Restart();
  EXPECT_EQ(Open(), 0U);
  KeepFor(30);
  Restart();
  EXPECT_EQ(Open(), 1U) << "what was lengthened is shortened";
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
