// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cerrno>
#include <fstream>
#include <set>
#include <sstream>

#include "nodetrail/base/status.h"
#include "nodetrail/schema/event_view.h"
#include "nodetrail/schema/fields.h"
#include "nodetrail/schema/labels.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::schema {
namespace {

namespace ev = event::v1;
using nlohmann::ordered_json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

TEST(Text, InvalidUtf8IsEscapedAndValidIsNot) {
  EXPECT_EQ(EscapeInvalidUtf8("gr\xc3\xbc\xc3\x9f"), "grüß");
  EXPECT_EQ(EscapeInvalidUtf8("a\xff"
                              "b\xc3"),
            "a\\xffb\\xc3");
  EXPECT_EQ(EscapeInvalidUtf8("\xc0\xaf"), "\\xc0\\xaf") << "overlong";
  EXPECT_EQ(EscapeInvalidUtf8("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "surrogate";
  EXPECT_FALSE(IsValidUtf8("\xf4\x90\x80\x80"));
  EXPECT_TRUE(IsValidUtf8(""));
}

TEST(Text, NothingReachesATerminalRaw) {
  EXPECT_EQ(TerminalSafe("a\x1b[31mb"), "a\\x1b[31mb");
  EXPECT_EQ(TerminalSafe("line\nbreak\ttab"), "line\\nbreak\\ttab");
  EXPECT_EQ(TerminalSafe("\x7f"), "\\x7f");
  EXPECT_EQ(TerminalSafe("\xc2\x9b"), "\\u{009b}") << "C1";
  EXPECT_EQ(TerminalSafe("\xe2\x80\xae"), "\\u{202e}") << "bidirectional override";
  EXPECT_EQ(TerminalSafe("grüß"), "grüß");
}

TEST(Text, WidthsAndCuts) {
  EXPECT_EQ(DisplayWidth("grüß"), 4U);
  EXPECT_EQ(DisplayWidth("日本"), 4U);
  EXPECT_EQ(DisplayWidth("e\xcc\x81"), 1U);
  EXPECT_EQ(FitWidth("abcdef", 4, true), "abc…");
  EXPECT_EQ(FitWidth("日本語", 4, true), "日…");
  EXPECT_EQ(FitWidth("abcdef", 4, false, /*from_left=*/true), "~def");
  EXPECT_EQ(FitWidth("abc", 3, true), "abc");
}

TEST(Text, Addresses) {
  EXPECT_EQ(FormatIp(std::string("\x7f\0\0\1", 4)), "127.0.0.1");
  EXPECT_EQ(FormatIp(*ParseIp("2001:db8::1")), "2001:db8::1");
  EXPECT_EQ(FormatIp(*ParseIp("::ffff:1.2.3.4")), "::ffff:1.2.3.4");
  EXPECT_EQ(NormaliseIp(*ParseIp("1.2.3.4")), *ParseIp("::ffff:1.2.3.4"));
  EXPECT_FALSE(ParseIp("1.2.3").has_value());
  EXPECT_EQ(FormatIp("123"), "");
}

TEST(Text, TimesDurationsSizes) {
  EXPECT_EQ(FormatTimeUtc(1'772'000'000'000'000'007), "2026-02-25T06:13:20.000000007Z");
  EXPECT_EQ(FormatDuration(90'000'000'000), "1m30s");
  EXPECT_EQ(FormatDuration(1'500'000'000), "1.5s");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatTty(34819), "pts/3");
  EXPECT_EQ(FormatTty(1025), "tty1");
  EXPECT_EQ(Base64("a"), "YQ==");
  EXPECT_EQ(Base64("abc"), "YWJj");
  EXPECT_EQ(*Unhex("00ff"), std::string("\0\xff", 2));
  EXPECT_FALSE(Unhex("0g").has_value());
}

TEST(Labels, ComeFromTheProto) {
  EXPECT_EQ(KindLabel(ev::KIND_PROCESS_EXEC), "process.exec");
  EXPECT_EQ(ParseKind("net.connect"), ev::KIND_NET_CONNECT);
  EXPECT_FALSE(ParseKind("net.frob").has_value());
  EXPECT_EQ(KindLabel(static_cast<ev::Kind>(4711)), "kind.4711");
  EXPECT_TRUE(KindIsCritical(ev::KIND_CRED_CHANGE));
  EXPECT_EQ(KindOcsfClass(ev::KIND_FILE_OPEN), 1001U);
  EXPECT_EQ(CredCauseLabel(ev::CRED_CAUSE_SETRESUID), "setresuid");
  for (const auto kind : AllKinds()) {
    EXPECT_FALSE(KindLabel(kind).empty());
    EXPECT_FALSE(KindSummary(kind).empty());
  }
  EXPECT_EQ(CapabilityName(21), "CAP_SYS_ADMIN");
  EXPECT_EQ(OpenFlagsText(01101), "O_WRONLY|O_CREAT|O_TRUNC");
}

TEST(EventIds, RoundTripAndAreStrict) {
  const auto id = ParseEventId("web-1:3:1057");
  ASSERT_TRUE(id.has_value());
  EXPECT_EQ(id->agent_id, "web-1");
  EXPECT_EQ(FormatEventId(id->agent_id, id->epoch, id->seq), "web-1:3:1057");
  for (const char* bad : {"", "a", "a:1", ":1:2", "a::2", "a:1:", "a:x:2", "a:1:2x", "a:-1:2"})
    EXPECT_FALSE(ParseEventId(bad).has_value()) << bad;
}

class JsonTest : public testing::Test {
 protected:
  JsonTest() {
    facts_.agent_id = "web-1";
    facts_.tenant = "default";
    facts_.epoch = 3;
    facts_.batch_seq = 9;
    facts_.log_index = 44;
    process_.set_proc_uid(std::string(16, '\x3f'));
    process_.set_exec_count(1);
    process_.set_pid(4711);
    process_.set_exe("/usr/bin/rm");
    process_.add_argv("rm");
    process_.add_argv("b\xff");
    process_.set_argc(2);
    process_.set_complete(true);
    auto* parent = process_.add_ancestors();
    parent->set_pid(4700);
    parent->set_exe("/usr/bin/bash");
    event_.set_kind(ev::KIND_FILE_DELETE);
    event_.set_seq(1057);
    event_.set_t_wall_ns(1'772'000'000'000'000'007);
    event_.mutable_outcome()->set_error(EACCES);
    event_.mutable_outcome()->set_retval(-EACCES);
    event_.set_proc_uid(process_.proc_uid());
    event_.set_exec_count(1);
    event_.mutable_cred()->set_euid(33);
    event_.mutable_cred()->mutable_caps()->set_effective(1U << 21);
    event_.set_login_uid(kUnsetId);
    event_.set_session_id(7);
    event_.mutable_names()->set_user("root");
    event_.mutable_file()->mutable_path()->set_path("/tmp/x\x1b]0;\n");
    event_.mutable_file()->mutable_path()->set_source(ev::PATH_SOURCE_USER_STRING_RESOLVED);
  }
  [[nodiscard]] EventView View() const { return {event_, &process_, facts_}; }
  [[nodiscard]] ordered_json Json() const { return ordered_json::parse(EventJsonLine(View())); }

  RowFacts facts_;
  ev::Process process_;
  ev::Event event_;
};

TEST_F(JsonTest, HasTheDocumentedShape) {
  const auto json = Json();
  EXPECT_EQ(json["event_id"], "web-1:3:1057");
  EXPECT_EQ(json["kind"], "file.delete");
  EXPECT_EQ(json["action"], "delete");
  EXPECT_EQ(json["time"], "2026-02-25T06:13:20.000000007Z");
  EXPECT_EQ(json["node"], "web-1");
  EXPECT_EQ(json["outcome"],
            ordered_json({{"success", false}, {"errno", 13}, {"errno_name", "EACCES"}, {"retval", -13}}));
  const auto& actor = json["actor"];
  EXPECT_EQ(actor["proc_uid"], "3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f3f");
  EXPECT_EQ(actor["uid"], 0);
  EXPECT_EQ(actor["euid"], 33);
  EXPECT_EQ(actor["user"], "root");
  EXPECT_TRUE(actor["euser"].is_null()) << "the effective user is another, and not named";
  EXPECT_TRUE(actor["login_uid"].is_null());
  EXPECT_EQ(actor["session_id"], 7);
  EXPECT_EQ(actor["argv"], ordered_json({"rm", "b\\xff"}));
  EXPECT_EQ(actor["argv_b64"], ordered_json({"cm0=", "Yv8="}));
  EXPECT_EQ(actor["caps"]["effective"], "0000000000200000");
  EXPECT_EQ(actor["ancestors"][0]["exe"], "/usr/bin/bash");
  EXPECT_TRUE(actor["container"].is_null());
  EXPECT_EQ(actor["elevation"], ordered_json::array());
  EXPECT_TRUE(actor["entry"].is_null());
  EXPECT_TRUE(actor["login"].is_null());
  EXPECT_EQ(json["resource"]["type"], "file");
  EXPECT_EQ(json["resource"]["path_source"], "user_string_resolved");
  EXPECT_EQ(json["trail"]["log_index"], 44);
  for (const char* key : {"gaps", "redactions"}) EXPECT_TRUE(json[key].is_array()) << key;
}

TEST_F(JsonTest, TellsThePerson) {
  auto* link = process_.add_elevation();
  link->set_tool("/usr/bin/sudo");
  link->set_cause("setuid_file");
  link->set_from_uid(1000);
  link->set_from_user("alice");
  link->set_to_user("root");
  link->add_command("id");
  process_.mutable_entry()->set_kind("ssh");
  process_.mutable_login()->mutable_source()->set_ip(*ParseIp("192.0.2.7"));
  const auto actor = Json()["actor"];
  EXPECT_EQ(actor["elevation"][0]["from_user"], "alice");
  EXPECT_EQ(actor["elevation"][0]["to_uid"], 0);
  EXPECT_EQ(actor["elevation"][0]["command"], ordered_json({"id"}));
  EXPECT_TRUE(actor["elevation"][0]["exec_boot_ns"].is_null());
  EXPECT_EQ(actor["entry"]["kind"], "ssh");
  EXPECT_EQ(actor["login"]["ip"], "192.0.2.7");
}

TEST_F(JsonTest, LinesHoldNoRawControlCharacters) {
  event_.mutable_file()->mutable_path()->set_path("\x1b[2J\x7f\xc2\x9b\xe2\x80\xae\n");
  const std::string line = EventJsonLine(View());
  for (const char c : line) EXPECT_TRUE(static_cast<uint8_t>(c) >= 0x20 && c != 0x7f);
  EXPECT_THAT(line, Not(HasSubstr("\xc2\x9b")));
  EXPECT_THAT(line, Not(HasSubstr("\xe2\x80\xae")));
  EXPECT_EQ(Json()["resource"]["path"], event_.file().path().path()) << "escaped, not lost";
}

TEST_F(JsonTest, EveryKindHasAResource) {
  event_.mutable_cred_change()->set_cause(ev::CRED_CAUSE_SETUID);
  event_.mutable_cred_change()->mutable_before()->set_uid(1000);
  event_.mutable_cred_change()->add_args(kUnsetId);
  auto json = Json();
  EXPECT_EQ(json["resource"]["type"], "credentials");
  EXPECT_TRUE(json["resource"]["args"][0].is_null());
  EXPECT_EQ(json["before"]["uid"], 1000);
  EXPECT_EQ(json["after"]["euid"], 33);
  event_.set_kind(ev::KIND_NET_CONNECT);
  event_.mutable_net()->mutable_remote()->set_ip(*ParseIp("192.0.2.7"));
  event_.mutable_net()->mutable_remote()->set_port(443);
  json = Json();
  EXPECT_EQ(json["resource"]["type"], "connection");
  EXPECT_EQ(json["resource"]["remote_ip"], "192.0.2.7");
  EXPECT_TRUE(json["resource"]["local_port"].is_null());
  event_.clear_net();
  event_.set_kind(ev::KIND_NET_UNIX_CONNECT);
  event_.mutable_net()->set_family("unix");
  event_.mutable_net()->set_abstract_name(std::string("\0a\xff", 3));
  event_.mutable_net()->mutable_peer()->set_pid(1);
  json = Json();
  EXPECT_EQ(json["resource"]["type"], "socket");
  EXPECT_EQ(json["resource"]["family"], "unix");
  EXPECT_EQ(json["resource"]["peer"]["pid"], 1);
  EXPECT_EQ(json["resource"]["peer"]["uid"], 0);
  EXPECT_TRUE(json["resource"]["peer"]["exe"].is_null());
  EXPECT_FALSE(json["resource"].contains("local_ip"));
  EXPECT_NE(json["resource"]["abstract_name"], "");
  event_.mutable_fork()->set_child_pid(5);
  EXPECT_EQ(Json()["resource"]["pid"], 5);
  event_.mutable_exit()->set_exit_code(3);
  EXPECT_EQ(Json()["resource"]["exit_code"], 3);
  event_.mutable_agent()->set_reason("SIGTERM");
  event_.clear_proc_uid();
  event_.clear_cred();
  json = Json();
  EXPECT_EQ(json["resource"]["type"], "agent");
  EXPECT_TRUE(json["actor"].is_null());
}

TEST_F(JsonTest, FieldsReadWhatTheyName) {
  FieldValues values;
  const auto text = [&](FieldId id) {
    GetField(View(), id, &values);
    return std::vector<std::string>(values.text.begin(), values.text.end());
  };
  const auto numbers = [&](FieldId id) {
    GetField(View(), id, &values);
    return values.numbers;
  };
  EXPECT_THAT(text(FieldId::kUser), ElementsAre("root"));
  EXPECT_THAT(numbers(FieldId::kUser), ElementsAre(0, 33));
  EXPECT_THAT(numbers(FieldId::kLoginUid), ElementsAre());
  EXPECT_THAT(numbers(FieldId::kSession), ElementsAre(7));
  EXPECT_THAT(text(FieldId::kCmd), ElementsAre("rm b\xff"));
  EXPECT_THAT(text(FieldId::kCap), ElementsAre("CAP_SYS_ADMIN"));
  EXPECT_THAT(text(FieldId::kAncestorExe), ElementsAre("/usr/bin/bash"));
  EXPECT_THAT(numbers(FieldId::kErrno), ElementsAre(EACCES));
}

TEST(Fields, NamesAreUniqueAndEveryFieldIsThere) {
  std::set<std::string> names;
  std::set<FieldId> ids;
  for (const auto& field : Fields()) {
    EXPECT_TRUE(ids.insert(field.id).second) << field.name;
    EXPECT_TRUE(names.insert(std::string(field.name)).second) << field.name;
    std::istringstream aliases{std::string(field.aliases)};
    for (std::string alias; aliases >> alias;) EXPECT_TRUE(names.insert(alias).second) << alias;
    EXPECT_EQ(FindField(field.name), &field);
    EXPECT_FALSE(field.help.empty());
    EXPECT_FALSE(field.example.empty());
  }
  EXPECT_EQ(ids.size(), static_cast<size_t>(FieldId::kTruncated) + 1);
  EXPECT_EQ(SuggestField("usr"), "user");
  EXPECT_EQ(SuggestField("completely_else"), "");
}

TEST(Fields, TheDocumentHasTheTable) {
  std::ifstream in(NT_SOURCE_DIR "/docs/query.md");
  std::stringstream document;
  document << in.rdbuf();
  EXPECT_THAT(document.str(), HasSubstr(FieldsMarkdown())) << "put this between the markers of docs/query.md:\n"
                                                           << FieldsMarkdown();
}

}  // namespace
}  // namespace nodetrail::schema
