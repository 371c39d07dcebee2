// SPDX-License-Identifier: Apache-2.0
#include "collector/query/expr/expr.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <random>

#include "nodetrail/schema/text.h"

namespace nodetrail::expr {
namespace {

namespace ev = event::v1;
using testing::HasSubstr;

constexpr uint64_t kNow = 1'772'000'000'000'000'000;  // 2026-02-25T06:13:20Z
constexpr uint64_t kSecond = 1'000'000'000;

class ExprTest : public testing::Test {
 protected:
  ExprTest() {
    facts_.agent_id = "web-1";
    facts_.hostname = "web-1.example.com";
    facts_.epoch = 3;
    process_.set_pid(4711);
    process_.set_exe("/usr/bin/curl");
    process_.set_comm("curl");
    for (const char* arg : {"curl", "-s", "https://example.com/a b"}) process_.add_argv(arg);
    event_.set_kind(ev::KIND_NET_CONNECT);
    event_.set_seq(10);
    event_.set_t_wall_ns(kNow - 60 * kSecond);
    event_.set_proc_uid("0123456789abcdef");
    event_.mutable_outcome()->set_success(false);
    event_.mutable_outcome()->set_error(111);
    event_.mutable_cred()->set_uid(0);
    event_.mutable_names()->set_user("root");
    event_.mutable_names()->set_login_user("alice");
    event_.set_login_uid(1000);
    event_.set_session_id(schema::kUnsetId);
    event_.mutable_net()->mutable_remote()->set_ip(*schema::ParseIp("::ffff:10.1.2.3"));
    event_.mutable_net()->mutable_remote()->set_port(443);
  }

  [[nodiscard]] bool Is(const std::string& text) const {
    const auto query = Parse(text, kNow);
    EXPECT_TRUE(query.ok()) << query.status().message();
    return query.ok() && Matches(*query, {event_, &process_, facts_});
  }
  static std::string Error(const std::string& text) {
    const auto query = Parse(text, kNow);
    EXPECT_FALSE(query.ok()) << text;
    return query.ok() ? "" : std::string(query.status().message());
  }

  schema::RowFacts facts_;
  ev::Process process_;
  ev::Event event_;
};

TEST_F(ExprTest, AShapeTellsFieldsAndNoValues) {
  const auto shape = [](const std::string& text, size_t most = 4096) { return Shape(*Parse(text, kNow), most); };
  EXPECT_EQ(shape(""), "all");
  EXPECT_EQ(shape("user:alice"), "user:?");
  EXPECT_EQ(shape("user:alice and (path:/etc/* or \"geheim\") not error:*"),
            "user:? and (path:? or text:?) and not errno:*");
  EXPECT_EQ(shape("not (user:a user:b)"), "not (user:? and user:?)");
  EXPECT_EQ(shape("session:unset"), "session:unset");
  const std::string cut = shape("user:a user:b user:c", 12);
  EXPECT_EQ(cut, "user:? an...");
}

TEST_F(ExprTest, BooleanLogicAndPrecedence) {
  EXPECT_TRUE(Is(""));
  EXPECT_TRUE(Is("user:root pid:4711"));
  EXPECT_FALSE(Is("user:root pid:1"));
  EXPECT_TRUE(Is("pid:1 or user:root"));
  EXPECT_TRUE(Is("user:root or pid:1 and pid:2")) << "and binds tighter";
  EXPECT_FALSE(Is("(user:root or pid:1) and pid:2"));
  EXPECT_TRUE(Is("not pid:1 and NOT (pid:2 OR pid:3)"));
  EXPECT_TRUE(Is("not not user:root"));
}

TEST_F(ExprTest, AliceActingAsRootIsFound) {
  EXPECT_TRUE(Is("user:alice"));
  EXPECT_TRUE(Is("user:1000"));
  EXPECT_TRUE(Is("user:root"));
  EXPECT_TRUE(Is("login:alice and uid:0"));
  EXPECT_FALSE(Is("uid:1000"));
}

TEST_F(ExprTest, PathsAndWildcards) {
  for (const char* yes : {"exe:/usr/bin/curl", "exe:curl", "exe:/usr/*", "exe:/usr/", "exe:c?rl", "exe:*bin*",
                          "cmd:\"*a b\"", "arg:-s", "exe:\"curl\""})
    EXPECT_TRUE(Is(yes)) << yes;
  for (const char* no : {"exe:/usr/bin", "exe:bin", "exe:CURL", "exe:\\*", "exe:/usr/lib/", "arg:curl*x"})
    EXPECT_FALSE(Is(no)) << no;
}

TEST_F(ExprTest, BareWordsIgnoreCaseAndSearchTheMainTexts) {
  for (const char* yes : {"CURL", "example.com", "\"a b\"", "net.conn", "10.1.2", "alice", "web-1", "ur*exam"})
    EXPECT_TRUE(Is(yes)) << yes;
  EXPECT_FALSE(Is("wget"));
}

TEST_F(ExprTest, NumbersRangesAndAbsence) {
  for (const char* yes :
       {"pid:4711",        "pid:0x1267",         "pid:>4710",    "pid:>=4711",         "pid:<4712",
        "pid:<=4711",      "pid:[4000..5000]",   "pid:[4711..]", "pid:[..4711]",       "session:unset",
        "login_uid:*",     "errno:ECONNREFUSED", "errno:111",    "errno:econnrefused", "success:false",
        "outcome:failure", "port:443",           "epoch:3",      "id:web-1:3:10",      "web-1:3:10",
        "proc:3031"})
    EXPECT_TRUE(Is(yes)) << yes;
  for (const char* no : {"pid:>4711", "pid:[1..2]", "session:*", "session:7", "session:[0..99999999999]",
                         "login_uid:unset", "outcome:success", "errno:[1..10]", "proc:3131"})
    EXPECT_FALSE(Is(no)) << no;
}

TEST_F(ExprTest, Addresses) {
  for (const char* yes : {"addr:10.1.2.3", "addr:10.0.0.0/8", "addr:::ffff:10.1.2.3", "remote:0.0.0.0/0", "addr:::/0",
                          "addr:::ffff:10.1.*"})
    EXPECT_TRUE(Is(yes)) << yes;
  for (const char* no : {"addr:11.0.0.0/8", "addr:10.1.2.0/31", "local:10.1.2.3", "addr:2001:db8::/32"})
    EXPECT_FALSE(Is(no)) << no;
}

TEST_F(ExprTest, Times) {
  for (const char* yes : {"time:>2m", "time:<30s", "time:[2m..now]", "time:2026-02-25", "time:2026-02-25T06:12",
                          "time:>=2026-02-25T06:12:20Z", "time:<=2026-02-25T07:12:20+01:00"})
    EXPECT_TRUE(Is(yes)) << yes;
  for (const char* no : {"time:>30s", "time:2026-02-24", "time:>2026-02-25T06:12:20Z"}) EXPECT_FALSE(Is(no)) << no;
  EXPECT_EQ(*ParseTime("1h30m", kNow), kNow - 5400 * kSecond);
  EXPECT_EQ(*ParseTime("@1772000000.5", 0), kNow + kSecond / 2);
  EXPECT_EQ(*ParseTime("2026-02-25T06:13:20.000000007Z", 0), kNow + 7);
  EXPECT_EQ(*ParseTime("2026-02-25T07:13:20+01:00", 0), kNow);
  for (const char* bad : {"", "yesterday", "2026-13-01", "2026-02-30", "2026-02-25T25:00", "10", "10x", "@",
                          "2026-02-25T06:13:20.1234567890Z", "99999999999999w"}) {
    EXPECT_FALSE(ParseTime(bad, kNow).ok()) << bad;
  }
}

TEST_F(ExprTest, ErrorsPointAtThePlace) {
  EXPECT_THAT(Error("pid:1 usr:alice"),
              HasSubstr("unknown field 'usr'; did you mean 'user'?\n  pid:1 usr:alice\n        ^"));
  EXPECT_THAT(Error("kind:process.exe"), HasSubstr("did you mean process.exec"));
  EXPECT_THAT(Error("kind:file.create and ("), HasSubstr("ends where a term is expected"));
  EXPECT_THAT(Error("(a"), HasSubstr("'(' without ')'\n  (a\n  ^"));
  EXPECT_THAT(Error("a)"), HasSubstr("')' without '('"));
  EXPECT_THAT(Error("\"open"), HasSubstr("not closed"));
  EXPECT_THAT(Error("pid:"), HasSubstr("needs a value"));
  EXPECT_THAT(Error("pid:x"), HasSubstr("not a number"));
  EXPECT_THAT(Error("pid:[5..1]"), HasSubstr("empty"));
  EXPECT_THAT(Error("addr:10.0.0.0/99"), HasSubstr("0 to 32"));
  EXPECT_THAT(Error("addr:nowhere"), HasSubstr("not an address"));
  EXPECT_THAT(Error("success:maybe"), HasSubstr("true or false"));
  EXPECT_THAT(Error("time:5m"), HasSubstr("time:>5m"));
  EXPECT_THAT(Error("errno:EFROB"), HasSubstr("errno"));
  EXPECT_THAT(Error("or a"), HasSubstr("expected"));
  EXPECT_THAT(Error("grüß usr:x"), HasSubstr("\n       ^")) << "columns, not bytes";
  EXPECT_EQ(Error("a \x1b[31m usr:x").find('\x1b'), std::string::npos);
}

TEST_F(ExprTest, WhatIsNoFieldIsText) {
  EXPECT_TRUE(Is("https://example.com/a"));
  EXPECT_FALSE(Is("10.9.9.9:443"));
  EXPECT_FALSE(Is("\"usr:alice\""));
}

TEST_F(ExprTest, QueriesAreBounded) {
  EXPECT_THAT(Error(std::string(kMaxQueryBytes + 1, 'a')), HasSubstr("longer"));
  EXPECT_THAT(Error(std::string(100, '(') + "a" + std::string(100, ')')), HasSubstr("nested"));
  std::string nots;
  for (int i = 0; i < 100; ++i) nots += "not ";
  EXPECT_THAT(Error(nots + "a"), HasSubstr("nested"));
  std::string many;
  for (size_t i = 0; i <= kMaxTerms; ++i) many += "a ";
  EXPECT_THAT(Error(many), HasSubstr("terms"));
}

TEST_F(ExprTest, QuotingRoundTrips) {
  for (const std::string& value :
       std::vector<std::string>{"plain", "with space", "quo\"te", "back\\", "a\\*b", "(x)", "[1]", "*"}) {
    process_.set_exe("/" + value);
    EXPECT_TRUE(Is("exe:" + QuoteLiteral("/" + value))) << value;
    EXPECT_TRUE(Parse("path:" + Quote(value), kNow).ok()) << value;
  }
  process_.set_exe("/tmp/a1");
  EXPECT_TRUE(Is("exe:" + Quote("/tmp/a?")));
  EXPECT_FALSE(Is("exe:" + QuoteLiteral("/tmp/a?")));
}

TEST(Patterns, AgreeWithASimpleMatcher) {
  // Recursive, obviously right, exponential.
  const std::function<bool(std::string_view, std::string_view)> simple = [&](std::string_view p,
                                                                             std::string_view t) -> bool {
    if (p.empty()) return t.empty();
    if (p[0] == '*') return simple(p.substr(1), t) || (!t.empty() && simple(p, t.substr(1)));
    if (t.empty()) return false;
    return (p[0] == '?' || p[0] == t[0]) && simple(p.substr(1), t.substr(1));
  };
  std::mt19937 random(1);
  const auto word = [&random](std::string_view letters, size_t most) {
    std::string out(random() % (most + 1), ' ');
    for (char& c : out) c = letters[random() % letters.size()];
    return out;
  };
  int matched = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string p = word("ab*?", 6);
    const std::string t = word("ab", 8);
    const bool expected = simple(p, t);
    matched += expected ? 1 : 0;
    ASSERT_EQ(Pattern::Compile(p).Matches(t), expected) << p << " on " << t;
  }
  EXPECT_GT(matched, 1000);
  EXPECT_TRUE(Pattern::Compile("?").Matches("ü"));
  EXPECT_TRUE(Pattern::CompileContains("FoO").Matches("xfOox"));
}

// Whatever the bytes, parsing ends with a tree or a message.
TEST(Parsing, AnyBytesEndInATreeOrAMessage) {
  std::mt19937 random(5);
  const std::vector<std::string> pieces = {"user:", "(",           ")",     "and", "or",    "not",      " ",
                                           "\"",    "\\",          "*",     "[",   "]",     "..",       "pid",
                                           ":",     ">",           "<=",    "10m", "addr:", "1.2.3.4/", "\xff",
                                           "\0",    "kind:file.*", "time:", "@",   "ü",     "id:a:1:2", "a:1:2"};
  size_t good = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::string text;
    for (size_t n = random() % 12; n > 0; --n) text += pieces[random() % pieces.size()];
    const auto query = Parse(text, kNow);
    if (query.ok()) ++good;
    else EXPECT_THAT(std::string(query.status().message()), HasSubstr("^"));
  }
  EXPECT_GT(good, 1000U);
}

}  // namespace
}  // namespace nodetrail::expr
