// SPDX-License-Identifier: Apache-2.0
//
// From a token to a revoked agent, with the programs as an operator runs them.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <fstream>
#include <string>

#include "tests/e2e/harness.h"

namespace nodetrail::e2e {
namespace {

class Enrolment : public testing::Test {
 protected:
  Enrolment() : node_("node-1"), enrol_port_(FreePort()) {
    std::ofstream(node_.collector_config(), std::ios::app) << fmt::format(
        R"(enrol:
  listen: 127.0.0.1:{1}
  trust_domain: nodetrail.dev
  identity_ca_cert_file: {0}/identity-ca/ca.pem
  identity_ca_key_file: {0}/identity-ca/ca.key
  tls_ca_cert_file: {0}/tls-ca/ca.pem
  tls_ca_key_file: {0}/tls-ca/ca.key
enrol_required: true
)",
        node_.pki(), enrol_port_);
  }
  Output Collector(std::vector<std::string> args) const {
    args.insert(args.begin(), {Binary("nodetrail-collector"), "--config", node_.collector_config()});
    return RunCommand(args);
  }
  Output Enrol(const std::string& token, const std::string& out) const {
    const std::string file = node_.dir() + "/token";
    WriteFile(file, token);
    ::chmod(file.c_str(), 0600);
    return RunCommand({Binary("nodetrail-agent"), "enrol", "--collector", fmt::format("127.0.0.1:{}", enrol_port_),
                       "--token-file", file, "--ca", node_.pki() + "/tls-ca/ca.pem", "--out", out, "--agent-id",
                       "node-1"});
  }
  // The agent with the certificates that it was given, not those of the harness.
  void StartEnrolledAgent() {
    node_.WriteAgentConfig({});
    std::string config = ReadAll(node_.agent_config());
    const std::string from = node_.pki() + "/agents/node-1/";
    const std::string to = node_.dir() + "/node/";
    for (size_t at = config.find(from); at != std::string::npos; at = config.find(from)) {
      config.replace(at, from.size(), to);
    }
    WriteFile(node_.agent_config(), config);
    node_.agent = Process({Binary("nodetrail-agent"), "--config", node_.agent_config()}, node_.log("agent"));
    ASSERT_TRUE(Eventually([&] { return !node_.agent.running() || !node_.AgentStatus().is_null(); }, seconds(120)));
    ASSERT_TRUE(node_.agent.running()) << ReadAll(node_.log("agent"));
  }
  Json Agents() const {
    const Output out = node_.Cli({"agents", "--json"});
    EXPECT_EQ(out.exit_code, 0) << out.err;
    return Json::parse(out.out, nullptr, false);
  }
  std::string StateOf(const std::string& agent) const {
    for (const Json& a : Agents()) {
      if (a.value("agent_id", "") == agent) return a.value("state", "");
    }
    return "";
  }

  Node node_;
  int enrol_port_;
};

TEST_F(Enrolment, TokenToRevocation) {
  node_.StartCollector();
  const Output made = Collector({"token", "create", "--agent", "node-*", "--ttl", "10m"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const std::string token = made.out.substr(0, made.out.find('\n'));
  const Output enrolled = Enrol(token, node_.dir() + "/node");
  ASSERT_EQ(enrolled.exit_code, 0) << enrolled.err;
  EXPECT_EQ(StateOf("node-1"), "never-reported");

  const Output again = Enrol(token, node_.dir() + "/thief");
  EXPECT_EQ(again.exit_code, 4);
  EXPECT_NE(again.err.find("token is not valid"), std::string::npos) << again.err;
  EXPECT_EQ(Collector({"token", "list", "--json"}).out.find(token.substr(token.rfind('-') + 1)), std::string::npos);

  StartEnrolledAgent();
  ASSERT_TRUE(node_.Settled());
  EXPECT_TRUE(Eventually([&] { return StateOf("node-1") == "reporting"; }, seconds(30)));

  // Killed, the collector knows it all again.
  node_.collector.Signal(SIGKILL);
  ASSERT_TRUE(node_.collector.Wait(seconds(10)));
  node_.StartCollector();
  EXPECT_EQ(Enrol(token, node_.dir() + "/thief").exit_code, 4);
  ASSERT_TRUE(node_.Settled());

  const Output renewed = RunCommand({Binary("nodetrail-agent"), "renew", "--config", node_.agent_config(), "--force"});
  EXPECT_EQ(renewed.exit_code, 0) << renewed.err;

  const Output revoked = Collector({"revoke", "node-1", "--reason", "disk sold", "--json"});
  ASSERT_EQ(revoked.exit_code, 0) << revoked.err;
  EXPECT_EQ(StateOf("node-1"), "revoked");
  // What it does now is quarantined or stays on the node; never in the log.
  RunCommand({"sh", "-c", "echo x > " + node_.dir() + "/f"});
  EXPECT_TRUE(Eventually(
      [&] {
        const Json status = node_.AgentStatus();
        return status.is_object() && status.value("ship_error", "").find("revoked") != std::string::npos;
      },
      seconds(60)));
  EXPECT_EQ(RunCommand({Binary("nodetrail-agent"), "renew", "--config", node_.agent_config(), "--force"}).exit_code, 4);
  node_.StopAgent();
  EXPECT_EQ(node_.StopCollector(), 0);
  const Output verified = node_.Cli({"verify", "--json", "--require-enrolment", node_.trail_dir()}, seconds(120));
  EXPECT_EQ(verified.exit_code, 0) << verified.out;
  EXPECT_EQ(Json::parse(verified.out, nullptr, false).value("entries", 0), 2);
}

}  // namespace
}  // namespace nodetrail::e2e
