// SPDX-License-Identifier: Apache-2.0
//
// Hooks that are taken from the agent behind its back: nothing in the kernel
// tells it, so it must find out itself, put them back, and say so.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/e2e/debugger.h"
#include "tests/e2e/harness.h"

namespace nodetrail::e2e {
namespace {

TEST(SelfTest, HooksThatAreTakenAwayAreHeardAgain) {
  Node node("selftest");
  node.StartCollector();
  AgentOptions options;
  options.selftest_interval_s = 1;
  node.StartAgent(options);
  const auto hears = [&](const std::string& domain, const std::string& state) {
    return Eventually([&] { return node.AgentStatus().at("selftest").value(domain, "") == state; }, seconds(20));
  };
  for (const auto* domain : {"process", "privilege", "file", "network", "kernel"}) {
    EXPECT_TRUE(hears(domain, "heard")) << domain << ": " << node.AgentStatus().at("selftest").dump();
  }
  EXPECT_EQ(node.AgentStatus().at("health"), "ok") << node.AgentStatus().at("problems").dump();

  const std::vector<int> links = SyscallLinks(node.agent.pid());
  if (links.empty()) GTEST_SKIP() << "this kernel has no tracefs: no per-syscall hooks that could be taken away";
  CloseFrom(node.agent.pid(), links);
  // Found by the self-test or by a look at the links, whichever comes first.
  const auto told_coverage = [&] { return node.Query({"--since", "1h", "--kind", "agent.coverage"}).size(); };
  EXPECT_TRUE(Eventually([&] { return told_coverage() >= 2; }, seconds(20)));
  EXPECT_TRUE(hears("file", "heard")) << node.AgentStatus().at("selftest").dump();
  EXPECT_TRUE(hears("privilege", "heard"));
  EXPECT_TRUE(hears("process", "heard"));  // its hooks are others
  EXPECT_TRUE(Eventually([&] { return node.AgentStatus().at("health") == "ok"; }, seconds(20)))
      << node.AgentStatus().at("problems").dump();
  ASSERT_TRUE(node.Settled());

  // The trail tells all of it, and none of the canaries' acts.
  std::string told;
  for (const Json& said : node.Query({"--since", "1h", "--kind", "agent.selftest"})) {
    for (const Json& domain : said.at("resource").at("domains")) {
      if (domain.at("domain") == "file") told += domain.at("state").get<std::string>() + " ";
    }
  }
  EXPECT_TRUE(told.starts_with("heard ") && told.ends_with("heard ")) << told;
  EXPECT_TRUE(node.Query({"--since", "1h", "path:" + node.dir() + "/agent/canary"}).empty());
  uint64_t withheld = 0;
  ASSERT_TRUE(node.StopAgent() == 0 && node.Query({"--since", "1h", "--kind", "agent.stop"}).size() == 1);
  for (const Json& event : node.Query({"--since", "1h", "--kind", "agent.filtered"})) {
    for (const Json& entry : event.at("resource").at("filtered")) {
      if (entry.at("rule") == "self.canary") withheld += entry.at("count").get<uint64_t>();
    }
  }
  EXPECT_GT(withheld, 20U);
}

}  // namespace
}  // namespace nodetrail::e2e
