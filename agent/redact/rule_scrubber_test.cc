// SPDX-License-Identifier: Apache-2.0
#include "agent/redact/rule_scrubber.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace nodetrail::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

config::v1::AgentConfig::Redact Rules(const std::vector<std::pair<std::string, std::string>>& rules) {
  config::v1::AgentConfig::Redact config;
  for (const auto& [id, pattern] : rules) {
    auto* rule = config.add_rules();
    rule->set_id(id);
    rule->set_pattern(pattern);
  }
  return config;
}

class RuleScrubberTest : public testing::Test {
 protected:
  std::vector<std::string> Scrub(const std::vector<std::string>& argv, bool cut = false) {
    std::string bytes;
    for (const std::string& arg : argv) bytes.append(arg).push_back('\0');
    if (cut) bytes.pop_back();
    std::vector<std::string> out;
    notes_.clear();
    scrubber_->ScrubArgv("/usr/bin/" + argv.at(0), bytes, cut, &out, &notes_);
    return out;
  }
  std::vector<std::string> Notes() const {
    std::vector<std::string> notes;
    for (const RedactionNote& note : notes_) notes.push_back(note.field + " " + note.rule);
    return notes;
  }
  std::unique_ptr<RuleScrubber> scrubber_ = RuleScrubber::Create({}).value();
  std::vector<RedactionNote> notes_;
};

TEST_F(RuleScrubberTest, KeepsWhatNamesTheSecret) {
  EXPECT_THAT(Scrub({"app", "--password=abc", "--user", "joe"}),
              ElementsAre("app", "--password=[redacted:option]", "--user", "joe"));
  EXPECT_THAT(Notes(), ElementsAre("actor.argv[1] option"));
  EXPECT_THAT(Scrub({"git", "clone", "https://joe:abc@example.com/x"}),
              ElementsAre("git", "clone", "https://joe:[redacted:url-password]@example.com/x"));
}

TEST_F(RuleScrubberTest, NotesEachRuleOncePerArgument) {
  Scrub({"env", "A_TOKEN=one,B_TOKEN=two", "x"});
  Scrub({"app", R"({"password":"one","secret":"two","url":"ftp://u:pw1@h/"})"});
  EXPECT_THAT(Notes(), ElementsAre("actor.argv[1] structured", "actor.argv[1] url-password"));
}

TEST_F(RuleScrubberTest, SplitsAsTheKernelWritesIt) {
  std::vector<std::string> out;
  scrubber_->ScrubArgv("/bin/x", std::string_view("x\0\0a\0", 5), false, &out, &notes_);
  EXPECT_THAT(out, ElementsAre("x", "", "a"));
  out.clear();
  scrubber_->ScrubArgv("/bin/x", "", false, &out, &notes_);
  EXPECT_TRUE(out.empty());
  scrubber_->ScrubArgv("/bin/x", std::string_view("x\0ab", 4), true, &out, &notes_);
  EXPECT_THAT(out, ElementsAre("x", "ab"));
}

TEST_F(RuleScrubberTest, TakesRulesOfTheConfiguration) {
  auto made = RuleScrubber::Create(Rules({{"ticket", "ticket-(?P<secret>[0-9]+)"}, {"badge", "B[0-9]{6}"}}));
  ASSERT_TRUE(made.ok());
  scrubber_ = std::move(made).value();
  EXPECT_THAT(Scrub({"app", "ticket-123 ticket-9", "B123456"}),
              ElementsAre("app", "ticket-[redacted:ticket] ticket-[redacted:ticket]", "[redacted:badge]"));
  EXPECT_THAT(Notes(), ElementsAre("actor.argv[1] ticket", "actor.argv[2] badge"));
  std::string path = "/srv/ticket-77/x";
  EXPECT_TRUE(scrubber_->ScrubPath("resource.path", &path, &notes_));
  EXPECT_EQ(path, "/srv/ticket-[redacted:ticket]/x");
  const auto counts = scrubber_->Counts();
  ASSERT_EQ(counts.size(), 2U);
  EXPECT_EQ(counts[0].rule, "ticket");
  EXPECT_EQ(counts[0].redactions, 3U);
  EXPECT_EQ(scrubber_->redactions_total(), 4U);
}

TEST_F(RuleScrubberTest, NamesARuleThatDoesNotCompile) {
  const auto made = RuleScrubber::Create(Rules({{"fine", "a"}, {"broken", "a("}}));
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(std::string(made.status().message()), HasSubstr("'broken'"));
}

TEST_F(RuleScrubberTest, ScrubsATokenInAPath) {
  std::string path = "/tmp/ghp_" + std::string(36, 'a') + "/x";
  EXPECT_TRUE(scrubber_->Suspect(path));
  EXPECT_TRUE(scrubber_->ScrubPath("resource.path", &path, &notes_));
  EXPECT_EQ(path, "/tmp/[redacted:github-token]/x");
  EXPECT_THAT(Notes(), ElementsAre("resource.path github-token"));
  path = "/home/joe/password=abc";
  EXPECT_FALSE(scrubber_->ScrubPath("resource.path", &path, &notes_));
}

// Its second part is looked for behind the end of the first: there may be nothing.
TEST_F(RuleScrubberTest, LeavesHalfATokenAtTheEnd) {
  const std::string half = "SG." + std::string(22, 'a');
  EXPECT_THAT(Scrub({"app", half}), ElementsAre("app", half));
  std::string path = "/tmp/" + half;
  EXPECT_FALSE(scrubber_->ScrubPath("resource.path", &path, &notes_));
}

// Scripts within scripts without end: the argument goes as a whole.
TEST_F(RuleScrubberTest, DropsWhatItCannotRead) {
  std::string script = "--password x";
  for (int i = 0; i < 12; ++i) script = "echo $(" + script + ")";
  EXPECT_THAT(Scrub({"sh", "-c", script}), ElementsAre("sh", "-c", "[redacted:error]"));
  EXPECT_THAT(Notes(), ElementsAre("actor.argv[2] error"));
  EXPECT_EQ(scrubber_->errors_total(), 1U);
}

TEST_F(RuleScrubberTest, TakesACutTailForASecret) {
  EXPECT_THAT(Scrub({"app", "--password=t"}, true), ElementsAre("app", "--password=[redacted:option]"));
  EXPECT_THAT(Scrub({"app", "--password=true"}, false), ElementsAre("app", "--password=true"));
  EXPECT_THAT(Scrub({"curl", "https://user:secretpas"}, true),
              ElementsAre("curl", "https://user:[redacted:url-password]"));
  EXPECT_THAT(Scrub({"sh", "-c", "echo abcdefgh"}, true), ElementsAre("sh", "-c", "echo [redacted:stdin]"));
  EXPECT_THAT(Scrub({"sh", "-c", "echo abcdefgh"}, false), ElementsAre("sh", "-c", "echo abcdefgh"));
}

}  // namespace
}  // namespace nodetrail::agent
