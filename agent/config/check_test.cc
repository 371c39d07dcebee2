// SPDX-License-Identifier: Apache-2.0
#include "agent/config/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace nodetrail::agent {
namespace {

using testing::HasSubstr;

// A configuration that is good but for `extra`.
Status Load(const std::string& extra, const std::string& id = "web-1", const std::string& ship = "") {
  const std::string file = testing::TempDir() + "/nt-config-check-file";
  std::ofstream(file) << "x";
  const std::string identity =
      extra.starts_with("identity:") ? "" : "identity: {cert_file: " + file + ", key_file: " + file + "}\n";
  const std::string text = "agent_id: " + id + "\n" + identity + "ship: {" +
                           (ship.empty() ? "endpoint: 'localhost:7443', log_policy_file: " + file : ship) +
                           ", tls: {ca_file: " + file + ", cert_file: " + file + ", key_file: " + file + "}}\n" + extra;
  return LoadConfigText<config::v1::AgentConfig>(text, "agent.yaml", "/", CheckConfig).status();
}

TEST(CheckConfig, DefaultsAreGood) {
  const Status status = Load("");
  EXPECT_TRUE(status.ok()) << status.ToString();
}

TEST(CheckConfig, NamesEachThingThatIsWrong) {
  struct Case {
    const char* yaml;
    const char* key;
    const char* text;
  };
  for (const Case& c : {
           Case{"tenant: a/b", "tenant", "'a/b' is no tenant"},
           Case{"capture: {ring_bytes_per_cpu: 5000}", "capture.ring_bytes_per_cpu", "8192 is the next one"},
           Case{"capture: {reserve_bytes_per_cpu: 5000}", "capture.reserve_bytes_per_cpu", "8192 is the next one"},
           Case{"capture: {reserve_bytes_per_cpu: 64}", "capture.reserve_bytes_per_cpu", "at least 4096"},
           Case{"capture: {scope: {mode: process_tree}}", "capture.scope.root_pid", "needs the pid"},
           Case{"capture: {scope: {root_pid: 7}}", "capture.scope.root_pid", "leave it out"},
           Case{"batch: {max_age_ms: 10}", "batch.critical_max_age_ms", "more than max_age_ms"},
           Case{"spool: {segment_bytes: 1073741824, max_bytes: 1073741824}", "spool.max_bytes",
                "fewer than two segments"},
           Case{"identity: {cert_file: /etc/hostname}", "identity.key_file", "is missing"},
           Case{"identity: {cert_file: /etc/hostname, key_file: /etc/hostname, key_uri: 'pkcs11:x'}",
                "identity.key_file", "leave one out"},
           Case{"identity: {cert_file: /etc/hostname, key_uri: 'pkcs11:object=a?module-path=/m.so&pin-value=1234'}",
                "identity.key_uri", "holds the PIN itself"},
           Case{"identity: {cert_file: /etc/hostname, key_uri: 'file:/x'}", "identity.key_uri", "pkcs11:"},
           Case{"identity: {ratchet_algorithm: rsa}", "identity.ratchet_algorithm", "ecdsa-p256"},
           Case{"redact: {rules: [{id: a, pattern: '('}]}", "redact.rules[0].pattern", "does not compile"},
           Case{"redact: {rules: [{id: a, pattern: 'x*'}]}", "redact.rules[0].pattern", "empty text"},
           Case{"redact: {rules: [{id: a, pattern: x}, {id: a, pattern: y}]}", "redact.rules[1].id", "twice"},
       }) {
    SCOPED_TRACE(c.yaml);
    const Status status = Load(c.yaml);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.key));
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.text));
  }
}

TEST(CheckConfig, ReceiptsNeedAPolicyAndAnEndpointIsNeeded) {
  EXPECT_TRUE(Load("", "web-1", "endpoint: 'h:1', release: durable").ok());
  EXPECT_TRUE(Load("", "web-1", "endpoints: ['h:1', 'h:2'], release: durable").ok());
  for (const char* release : {"logged", "witnessed"}) {
    const Status status = Load("", "web-1", std::string("endpoint: 'h:1', release: ") + release);
    ASSERT_FALSE(status.ok());
    EXPECT_THAT(std::string(status.message()), HasSubstr("ship.log_policy_file"));
    EXPECT_THAT(std::string(status.message()), HasSubstr("release: durable"));
  }
  EXPECT_FALSE(Load("", "web-1", "endpoint: 'h:1'").ok());
  const Status nowhere = Load("", "web-1", "release: durable");
  ASSERT_FALSE(nowhere.ok());
  EXPECT_THAT(std::string(nowhere.message()), HasSubstr("ship.endpoint"));
}

TEST(CheckConfig, TellsAllAtOnce) {
  const Status status = Load("tenant: a/b\ncapture: {ring_bytes_per_cpu: 5000}\n", "'no id'");
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr("agent_id"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("tenant"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("ring_bytes_per_cpu"));
}

}  // namespace
}  // namespace nodetrail::agent
