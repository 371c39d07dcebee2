// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/base/config_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/config/v1/config.pb.h"

namespace nodetrail {
namespace {

using config::v1::AgentConfig;
using config::v1::CliConfig;
using config::v1::CollectorConfig;

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

class ConfigLoaderTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "nt_config_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    for (const char* name : {"ca.pem", "a.pem", "a.key"}) {
      ASSERT_TRUE(WriteFileAtomically(dir_ + "/" + name, "x").ok());
    }
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  // A complete agent configuration, and what a test adds to it.
  [[nodiscard]] static std::string Agent(const std::string& more = "") {
    return "agent_id: web-1\n"
           "identity: {cert_file: a.pem, key_file: a.key}\n"
           "ship:\n"
           "  endpoint: c.example:7443\n"
           "  tls: {ca_file: ca.pem, cert_file: a.pem, key_file: a.key}\n" +
           more;
  }
  // The errors of `text`, without the file's name.
  std::vector<std::string> ErrorsOf(const std::string& text) {
    const auto config = LoadConfigText<AgentConfig>(text, "f", dir_);
    if (config.ok()) return {};
    EXPECT_EQ(config.status().code(), Code::kInvalidArgument);
    auto lines = Lines(config.status().message());
    for (auto& line : lines) {
      if (line.starts_with("f:")) line.erase(0, 2);
    }
    return lines;
  }
  std::string dir_;
};

TEST_F(ConfigLoaderTest, FillsValuesDefaultsAndPaths) {
  const auto config =
      LoadConfigText<AgentConfig>(Agent("batch: {max_bytes: 8192, zstd_level: 19}\n"
                                        "labels: {env: prod, \"app.kubernetes.io/name\": \"7\"}\n"
                                        "state_dir: state/../spool\n"
                                        "redact:\n  rules:\n  - {id: a, pattern: 'x+'}\n  - {id: b, pattern: y}\n"),
                                  "f", dir_);
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->agent_id(), "web-1");
  EXPECT_EQ(config->tenant(), "default");
  EXPECT_EQ(config->batch().max_bytes(), 8192U);
  EXPECT_EQ(config->batch().zstd_level(), 19);
  EXPECT_EQ(config->batch().max_age_ms(), 250U);
  EXPECT_EQ(config->capture().ring_bytes_per_cpu(), 4194304U) << "defaults of a block that is absent";
  EXPECT_EQ(config->capture().scope().mode(), "host");
  EXPECT_EQ(config->labels().at("env"), "prod");
  EXPECT_EQ(config->labels().at("app.kubernetes.io/name"), "7");
  EXPECT_EQ(config->state_dir(), dir_ + "/spool");
  EXPECT_EQ(config->identity().cert_file(), dir_ + "/a.pem");
  EXPECT_EQ(config->status_socket(), "/run/nodetrail/agent.sock");
  ASSERT_EQ(config->redact().rules_size(), 2);
  EXPECT_EQ(config->redact().rules(1).pattern(), "y");
}

TEST_F(ConfigLoaderTest, EachMistakeIsNamedWithItsPlaceAndFix) {
  struct Case {
    const char* name;
    const char* text;
    const char* error;
  };
  const Case cases[] = {
      {"typo", "tenat: x", "6:1: tenat: unknown key; did you mean tenant?"},
      {"nested typo", "batch:\n  max_byte: 1", "7:3: batch.max_byte: unknown key; did you mean max_bytes?"},
      {"far from all", "log: {zzzzzzzzzzzz: 1}", "6:7: log.zzzzzzzzzzzz: unknown key; one of: level, format"},
      {"twice", "tenant: a\ntenant: b", "7:1: tenant: given twice; keep one"},
      {"twice in a map", "labels:\n  a: b\n  a: c", "8:3: labels.a: given twice; keep one"},
      {"too big", "capture: {drain_interval_ms: 1001}",
       "6:30: capture.drain_interval_ms: 1001 is out of range; allowed: 1 to 1000"},
      {"too small", "batch: {max_bytes: 1}", "6:20: batch.max_bytes: 1 is out of range; allowed: 4096 to 4194304"},
      {"negative", "batch: {zstd_level: -1}", "6:21: batch.zstd_level: -1 is out of range; allowed: 1 to 19"},
      {"beyond 64 bits", "spool: {max_bytes: 99999999999999999999}",
       "6:20: spool.max_bytes: 99999999999999999999 is out of range; allowed: 33554432 to 18446744073709551615"},
      {"beyond 32 bits", "capture: {scope: {root_pid: 4294967297}}",
       "6:29: capture.scope.root_pid: 4294967297 is out of range; allowed: 0 to 4194304"},
      {"not a number", "batch: {max_bytes: 4k}", "6:20: batch.max_bytes: 4k is not a whole number; write digits only"},
      {"quoted number", "batch: {max_bytes: \"8192\"}",
       "6:20: batch.max_bytes: 8192 in quotes is not a whole number; write digits only"},
      {"lone minus", "batch: {max_bytes: '-'}",
       "6:20: batch.max_bytes: - in quotes is not a whole number; write digits only"},
      {"list for a number", "batch: {max_bytes: [1]}",
       "6:20: batch.max_bytes: a list where a single value is expected"},
      {"value for a block", "batch: 7", "6:8: batch: a single value where a block of keys is expected"},
      {"block for a list", "redact: {rules: {id: a}}",
       "6:17: redact.rules: a block of keys where a list is expected; begin each item with '- '"},
      {"value in a list of blocks", "redact: {rules: [a]}",
       "6:18: redact.rules[0]: a single value where a block of keys is expected"},
      {"missing in a list", "redact:\n  rules:\n  - id: a",
       "8:5: redact.rules[0].pattern: missing; add it (RE2; the group named `secret`, or else the whole match, is "
       "replaced)"},
      {"empty required", "redact:\n  rules:\n  - {id: a, pattern: ''}",
       "8:22: redact.rules[0].pattern: empty; give a value"},
      {"not one of", "log: {level: warning}", "6:14: log.level: warning is not known; did you mean warn?"},
      {"mode", "capture: {scope: {mode: all}}",
       "6:25: capture.scope.mode: all is not known; one of: host, process_tree"},
      {"label with a list", "labels: {a: [b]}", "6:13: labels.a: a list where text is expected"},
      {"alias", "labels: {a: &x b, c: *x}", "6:13: anchors (&name) are not supported; write the value out"},
      {"tag", "tenant: !!binary AAAA", "6:9: tags (!name) are not supported; remove it"},
      {"key that is a list", "? [a]\n: b", "6:3: a key must be a word"},
      {"two documents", "---\ntenant: b", "7:1: a second document; keep one"},
      {"control characters", "log: {level: \"in\\e[31mfo\"}",
       "6:14: log.level: in\\x1b[31mfo is not known; one of: trace, debug, info, warn, error"},
      {"NUL", "tenant: \"a\\0b\"", "6:9: tenant: holds a NUL character; remove it"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(ErrorsOf(Agent(c.text)), testing::Contains(c.error)) << c.name;
  }
}

TEST_F(ConfigLoaderTest, TellsAllErrorsAtOnceInTheOrderOfTheFile) {
  const auto errors = ErrorsOf(
      "agentid: web-1\n"
      "batch: {max_bytes: 1, max_age_ms: x}\n"
      "identity: {cert_file: none.pem, key_file: .}\n"
      "ship:\n"
      "  tls: {ca_file: ca.pem}\n");
  EXPECT_THAT(errors,
              testing::ElementsAre(
                  "1:1: agentid: unknown key; did you mean agent_id?",
                  "1:1: agent_id: missing; add it (as in the certificate's URI SAN: letters, digits, '.', '_', '-')",
                  "2:20: batch.max_bytes: 1 is out of range; allowed: 4096 to 4194304",
                  "2:35: batch.max_age_ms: x is not a whole number; write digits only",
                  "3:23: identity.cert_file: " + dir_ +
                      "/none.pem: ENOENT (No such file or directory); create the file or correct the path",
                  "3:43: identity.key_file: " + dir_ + "/: not a regular file; name a file",
                  "5:8: ship.tls.cert_file: missing; add it (PEM: our certificate and its intermediates)",
                  "5:8: ship.tls.key_file: missing; add it (PEM: our key, readable by its owner only)"));
}

TEST_F(ConfigLoaderTest, SyntaxErrorDoesNotHideWhatStandsBeforeIt) {
  const auto errors = ErrorsOf("tenat: x\nlog: {level: \n  - ]");
  ASSERT_EQ(errors.size(), 2U);
  EXPECT_EQ(errors[0], "1:1: tenat: unknown key; did you mean tenant?");
  EXPECT_THAT(errors[1], testing::HasSubstr("not YAML: "));
}

TEST_F(ConfigLoaderTest, ABlockThatIsOptionalStaysUnset) {
  const auto without = LoadConfigText<CliConfig>("collector: c:1\n");
  ASSERT_TRUE(without.ok()) << without.status().message();
  EXPECT_FALSE(without->has_tls());
  const auto half = LoadConfigText<CliConfig>("tls: {ca_file: ca.pem}\n", "f", dir_);
  ASSERT_FALSE(half.ok());
  EXPECT_THAT(Lines(half.status().message()), testing::SizeIs(2)) << half.status().message();
}

TEST_F(ConfigLoaderTest, EmptyTextLacksWhatIsRequired) {
  for (const char* text : {"", "# nothing\n", "---\n", "~"}) {
    const auto config = LoadConfigText<AgentConfig>(text, "f", dir_);
    ASSERT_FALSE(config.ok());
    EXPECT_THAT(std::string(config.status().message()), testing::HasSubstr("agent_id: missing")) << text;
  }
  EXPECT_THAT(ErrorsOf("- a"), testing::Contains("1:1: a list where a block of keys is expected"));
}

TEST_F(ConfigLoaderTest, ProgramsAddTheirOwnChecks) {
  const auto config = LoadConfigText<AgentConfig>(Agent("capture:\n  ring_bytes_per_cpu: 5000\nnope: 1\n"), "f", dir_,
                                                  [](const AgentConfig& c, ConfigReport& report) {
                                                    EXPECT_EQ(c.capture().ring_bytes_per_cpu(), 5000U);
                                                    report.Add("capture.ring_bytes_per_cpu", "not a power of two");
                                                    report.Add("ship.tls.ca_file", "not PEM");
                                                    report.Add("redact.rules[3].pattern", "no such group");
                                                  });
  ASSERT_FALSE(config.ok());
  EXPECT_THAT(Lines(config.status().message()),
              testing::UnorderedElementsAre(testing::EndsWith("redact.rules[3].pattern: no such group"),
                                            "f:5:9: ship.tls.ca_file: not PEM",
                                            "f:7:3: capture.ring_bytes_per_cpu: not a power of two",
                                            testing::StartsWith("f:8:1: nope: unknown key")));
}

TEST_F(ConfigLoaderTest, HostileTextIsBounded) {
  std::string deep;
  for (int i = 0; i < 400; ++i) deep += "[";
  EXPECT_FALSE(LoadConfigText<AgentConfig>(deep).ok());
  EXPECT_FALSE(LoadConfigText<AgentConfig>("a: " + deep + std::string(400, ']')).ok());
  std::string many = "labels:\n";
  for (int i = 0; i < 12'000; ++i) many += "  k" + std::to_string(i) + ": v\n";
  const auto too_many = LoadConfigText<AgentConfig>(Agent(many), "f", dir_);
  ASSERT_FALSE(too_many.ok());
  EXPECT_THAT(std::string(too_many.status().message()), testing::HasSubstr("more than 10000 values"));
  EXPECT_EQ(LoadConfigText<AgentConfig>(std::string(kMaxConfigBytes + 1, '#')).status().code(),
            Code::kResourceExhausted);
  EXPECT_FALSE(LoadConfigText<AgentConfig>("agent_id: \xff\xfe").ok());
  std::string wrong;
  for (int i = 0; i < 200; ++i) wrong += "wrong" + std::to_string(i) + ": 1\n";
  const auto errors = ErrorsOf(wrong);
  EXPECT_EQ(errors.size(), 51U);
  EXPECT_THAT(errors.back(), testing::StartsWith("and "));
}

TEST_F(ConfigLoaderTest, LoadsAFileRelativeToItsFolder) {
  ASSERT_TRUE(WriteFileAtomically(dir_ + "/agent.yaml", Agent()).ok());
  const auto config = LoadConfig<AgentConfig>(dir_ + "/agent.yaml");
  ASSERT_TRUE(config.ok()) << config.status().message();
  EXPECT_EQ(config->ship().tls().ca_file(), dir_ + "/ca.pem");
  EXPECT_EQ(LoadConfig<AgentConfig>(dir_ + "/none.yaml").status().code(), Code::kNotFound);
  ASSERT_TRUE(WriteFileAtomically(dir_ + "/bad.yaml", "a: 1\n").ok());
  EXPECT_THAT(std::string(LoadConfig<CollectorConfig>(dir_ + "/bad.yaml").status().message()),
              testing::HasSubstr(dir_ + "/bad.yaml:1:1: a: unknown key"));
}

TEST_F(ConfigLoaderTest, TheHashIsOfTheMeaning) {
  const auto hash = [&](const std::string& text) {
    const auto config = LoadConfigText<AgentConfig>(text, "f", dir_);
    EXPECT_TRUE(config.ok());
    return EffectiveConfigSha256(*config);
  };
  const std::string plain = hash(Agent());
  EXPECT_EQ(plain.size(), 64U);
  EXPECT_EQ(plain, hash("# a comment\n" + Agent("tenant: default\nbatch: {max_age_ms: 250}\n")));
  EXPECT_NE(plain, hash(Agent("tenant: other\n")));
  EXPECT_EQ(hash(Agent("labels: {a: x, b: y, c: z}\n")), hash(Agent("labels: {c: z, b: y, a: x}\n")));
}

// A default that its own option forbids would fail every user's start.
TEST(ConfigSchema, EveryDefaultIsValid) {
  EXPECT_TRUE(LoadConfigText<CliConfig>("").ok());
  const auto collector = LoadConfigText<CollectorConfig>("");
  ASSERT_FALSE(collector.ok());
  for (const auto& line : Lines(collector.status().message())) EXPECT_THAT(line, testing::HasSubstr(": missing;"));
  const auto agent = LoadConfigText<AgentConfig>("");
  ASSERT_FALSE(agent.ok());
  for (const auto& line : Lines(agent.status().message())) EXPECT_THAT(line, testing::HasSubstr(": missing;"));
}

}  // namespace
}  // namespace nodetrail
