// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/policy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "nodetrail/trail/note.h"

namespace nodetrail::trail {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Ed25519Key Key(char fill) { return *Ed25519Key::FromSeed(std::string(32, fill)); }

constexpr const char* kLog = "log.example.org";

std::string LogVkey() { return NoteVerifier::Make(kLog, Key('l').public_key())->ToString(); }
std::string WitnessVkey(char fill) {
  return CosignerVerifier::Make(fmt::format("witness.example.org/{}", fill), Key(fill).public_key())->ToString();
}
std::string WitnessLine(std::string_view name, char fill) {
  return fmt::format("witness {} {}\n", name, WitnessVkey(fill));
}
std::string Note(const std::string& origin = kLog) {
  return *SignCheckpoint({origin, 7, Sha256Of("root"), {}}, Key('l'));
}
std::string Cosigned(std::string note, std::string_view by) {
  for (const char fill : by) {
    note += *CosignCheckpoint(note, fmt::format("witness.example.org/{}", fill), Key(fill), 1'700'000'000);
  }
  return note;
}
LogPolicy Parsed(const std::string& text) {
  auto policy = LogPolicy::Parse(text);
  EXPECT_TRUE(policy.ok()) << policy.status().ToString() << "\n" << text;
  return policy.ok() ? *std::move(policy) : LogPolicy::OneLog(*NoteVerifier::Parse(LogVkey()));
}
std::string ParseError(const std::string& text) {
  const auto policy = LogPolicy::Parse(text);
  return policy.ok() ? "no error" : std::string(policy.status().message());
}

// Made with another implementation (Python's cryptography): seed 32 x 0x04,
// cosigner "witness.example.org/w1", time 1679315147, the text below.
TEST(CosignatureTest, KnownAnswer) {
  const std::string text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
  const Ed25519Key witness = Key('\x04');
  const std::string note = *SignNote(text, "example.com/behind-the-sofa", Key('l'));
  const auto line = CosignCheckpoint(note, "witness.example.org/w1", witness, 1679315147);
  ASSERT_TRUE(line.ok());
  EXPECT_EQ(
      *line,
      "\xe2\x80\x94 witness.example.org/w1 "
      "B76CegAAAABkGFDL82BuVAliPYXLWoJdqTHPN+gVatFS5l4TLdVUdui5SWFBYaPFa5qCTXt9oXy6f2KKtotpN9mICDJhWyA+srs/Ag==\n");
  const auto cosigner =
      CosignerVerifier::Parse("witness.example.org/w1+07be827a+BMqTrBcFGHBx1nuDx/8O/oEI6OxFMFdddyaHkzPb2r58");
  ASSERT_TRUE(cosigner.ok()) << cosigner.status().ToString();
  const auto parsed = ParseNote(note + *line);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(*VerifyCosignature(parsed->text, parsed->signatures[1], *cosigner), 1679315147U);
}

TEST(CosignatureTest, EveryByteCounts) {
  const auto cosigner = *CosignerVerifier::Parse(WitnessVkey('a'));
  const Checkpoint checkpoint{kLog, 7, Sha256Of("root"), {"an extension"}};
  const std::string text = *CheckpointBody(checkpoint);
  const std::string note = *SignCheckpoint(checkpoint, Key('l'));
  const NoteSignature good = ParseNote(Cosigned(note, "a"))->signatures[1];
  EXPECT_TRUE(VerifyCosignature(text, good, cosigner).ok());
  for (size_t i = 0; i < good.signature.size(); ++i) {
    NoteSignature bad = good;
    bad.signature[i] = static_cast<char>(bad.signature[i] ^ 1);
    EXPECT_FALSE(VerifyCosignature(text, bad, cosigner).ok()) << i;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    std::string other = text;
    other[i] = static_cast<char>(other[i] ^ 1);
    EXPECT_FALSE(VerifyCosignature(other, good, cosigner).ok()) << i;
  }
  NoteSignature shorter = good;
  shorter.signature.pop_back();
  EXPECT_FALSE(VerifyCosignature(text, shorter, cosigner).ok());
  EXPECT_FALSE(VerifyCosignature(text, good, *CosignerVerifier::Parse(WitnessVkey('b'))).ok());
}

TEST(CosignatureTest, TimesAndTextsThatAreNone) {
  EXPECT_TRUE(CosignCheckpoint(Note(), "w", Key('a'), kMaxCosignatureTime).ok());
  EXPECT_EQ(CosignCheckpoint(Note(), "w", Key('a'), kMaxCosignatureTime + 1).status().code(), Code::kOutOfRange);
  EXPECT_FALSE(CosignCheckpoint(*SignNote("no checkpoint\n", "l", Key('l')), "w", Key('a'), 1).ok());
  EXPECT_FALSE(CosignCheckpoint(Note(), "two words", Key('a'), 1).ok());
  // Rightly signed, but the time is not one.
  const auto cosigner = *CosignerVerifier::Make("w", Key('a').public_key());
  NoteSignature line{"w", cosigner.key_id, std::string("\x80\0\0\0\0\0\0\0", 8)};
  line.signature += Bytes(Key('a').Sign("cosignature/v1\ntime 9223372036854775808\ntext\n"));
  EXPECT_THAT(std::string(VerifyCosignature("text\n", line, cosigner).status().message()), HasSubstr("2^63-1"));
}

TEST(CosignatureTest, KeysOfTheOtherTypeAreRefused) {
  EXPECT_FALSE(CosignerVerifier::Parse(LogVkey()).ok());
  EXPECT_FALSE(NoteVerifier::Parse(WitnessVkey('a')).ok());
  const std::string vkey = WitnessVkey('a');
  EXPECT_EQ(CosignerVerifier::Parse(vkey)->ToString(), vkey);
}

// The example of the standard: two groups within one.
std::string Nested() {
  return "# two organisations\nlog " + LogVkey() + " https://log.example.org/\n\n" + WitnessLine("X1", 'a') +
         WitnessLine("X2", 'b') + WitnessLine("X3", 'c') + "group X-witnesses 2 X1 X2 X3\n\n" + WitnessLine("Y1", 'd') +
         WitnessLine("Y2", 'e') + WitnessLine("Y3", 'f') +
         "group Y-witnesses any Y1 Y2 Y3\n\n  group\tX-and-Y  all X-witnesses Y-witnesses \t\n" + "quorum X-and-Y\n";
}

TEST(PolicyTest, NestedGroups) {
  const LogPolicy policy = Parsed(Nested());
  ASSERT_EQ(policy.logs().size(), 1U);
  EXPECT_EQ(policy.logs()[0].url, "https://log.example.org/");
  EXPECT_EQ(policy.witnesses().size(), 6U);
  EXPECT_TRUE(policy.wants_witnesses());
  for (const auto& [by, good] : std::vector<std::pair<std::string, bool>>{{"", false},
                                                                          {"a", false},
                                                                          {"ab", false},
                                                                          {"def", false},
                                                                          {"ad", false},
                                                                          {"abd", true},
                                                                          {"bcf", true},
                                                                          {"abcdef", true},
                                                                          {"fca", true}}) {
    EXPECT_EQ(policy.Check(Cosigned(Note(), by)).ok(), good) << by;
  }
  const auto verdict = policy.Examine(Cosigned(Note(), "bd"));
  ASSERT_TRUE(verdict.ok());
  EXPECT_FALSE(verdict->quorum);
  EXPECT_EQ(verdict->checkpoint.size, 7U);
  EXPECT_EQ(verdict->log, kLog);
  ASSERT_EQ(verdict->cosigned.size(), 2U);
  EXPECT_EQ(verdict->cosigned[0].witness, "X2");
  EXPECT_EQ(verdict->cosigned[0].unix_time, 1'700'000'000U);
  EXPECT_THAT(verdict->missing, ElementsAre("X1", "X3", "Y2", "Y3"));
  EXPECT_EQ(verdict->shortfall,
            "group X-and-Y: 1 of 2 (missing X-witnesses); group X-witnesses: 1 of 2 (missing X1, X3)");
}

TEST(PolicyTest, OneWitnessOrNone) {
  const std::string names = "log " + LogVkey() + "\n" + WitnessLine("w", 'a');
  const LogPolicy none = Parsed(names + "quorum none\n");
  EXPECT_FALSE(none.wants_witnesses());
  EXPECT_TRUE(none.Check(Note()).ok());
  const LogPolicy one = Parsed(names + "quorum w\n");
  const auto missing = one.Check(Note());
  EXPECT_EQ(missing.status().code(), Code::kFailedPrecondition);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("witness w is missing"));
  EXPECT_TRUE(one.Check(Cosigned(Note(), "a")).ok());
  EXPECT_FALSE(one.Check(Cosigned(Note(), "b")).ok()) << "an unknown witness";
}

TEST(PolicyTest, ALineOfAKnownKeyIsRightAndComesOnce) {
  const LogPolicy policy =
      Parsed("log " + LogVkey() + "\n" + WitnessLine("w", 'a') + WitnessLine("v", 'b') + "group g any w v\nquorum g\n");
  const std::string good = Cosigned(Note(), "ab");
  ASSERT_TRUE(policy.Check(good).ok());
  // A wrong line of one witness is not excused by the right one of another.
  std::string other = *SignCheckpoint({kLog, 8, Sha256Of("root"), {}}, Key('l'));
  const std::string foreign = Cosigned(other, "b").substr(other.size());
  EXPECT_EQ(policy.Check(Cosigned(Note(), "a") + foreign).status().code(), Code::kDataLoss);
  EXPECT_EQ(policy.Check(Cosigned(good, "b")).status().code(), Code::kDataLoss);
  EXPECT_FALSE(policy.Check(Note() + Note().substr(Note().rfind("\n\n") + 2)).ok());
  // Unknown keys are ignored, even under a known name.
  const std::string namesake = *CosignCheckpoint(Note(), "witness.example.org/a", Key('z'), 5);
  EXPECT_TRUE(policy.Check(good + namesake).ok());
}

TEST(PolicyTest, TheOriginIsTheNameOfTheLogThatSigned) {
  const std::string second = NoteVerifier::Make("other.example.org", Key('m').public_key())->ToString();
  const LogPolicy policy = Parsed("log " + LogVkey() + "\nlog " + second + "\nquorum none\n");
  EXPECT_EQ(policy.Examine(*SignCheckpoint({"other.example.org", 1, Sha256Of("r"), {}}, Key('m')))->log,
            "other.example.org");
  // Log m signs what says it is of log l.
  const std::string text = *CheckpointBody({kLog, 1, Sha256Of("r"), {}});
  EXPECT_EQ(policy.Check(*SignNote(text, "other.example.org", Key('m'))).status().code(), Code::kDataLoss);
  EXPECT_FALSE(policy.Check(Note("third.example.org")).ok());
  EXPECT_FALSE(policy.Check(*SignNote("hello\n", kLog, Key('l'))).ok());
}

TEST(PolicyTest, ALogBesides) {
  const LogPolicy bare = Parsed("quorum none\n");
  EXPECT_TRUE(bare.logs().empty());
  EXPECT_FALSE(bare.Check(Note()).ok());
  const auto with = bare.WithLog(*NoteVerifier::Parse(LogVkey()));
  ASSERT_TRUE(with.ok());
  EXPECT_TRUE(with->Check(Note()).ok());
  EXPECT_EQ(with->WithLog(*NoteVerifier::Parse(LogVkey())).status().code(), Code::kAlreadyExists);
  EXPECT_TRUE(LogPolicy::OneLog(*NoteVerifier::Parse(LogVkey())).Check(Note()).ok());
}

TEST(PolicyTest, ErrorsNameTheLine) {
  const std::string log = "log " + LogVkey() + "\n";
  const std::string w = WitnessLine("w", 'a');
  for (const auto& [text, error] : std::vector<std::pair<std::string, std::string>>{
           {"", "newline"},
           {log + "quorum none", "newline"},
           {log, "no quorum"},
           {log + "quorum none\nquorum none\n", "line 3: a second quorum"},
           {"Log x\nquorum none\n", "line 1: begins with \"Log\""},
           {"# a\n\nquorum none\r\n", "line 3: a control character"},
           {"quorum none\n#\x7f\n", "line 2: a control character"},
           {"log\nquorum none\n", "line 1: not \"log"},
           {"log " + LogVkey() + " a b\n", "line 1: not \"log"},
           {"log " + WitnessVkey('a') + "\n", "line 1: verifier key: not an Ed25519"},
           {log + "log " + LogVkey() + "\n", "line 2: this log's key is that of an earlier log"},
           {log + "log " + NoteVerifier::Make("alias", Key('l').public_key())->ToString() + "\n", "line 2: this log's"},
           {"witness w\n", "line 1: not \"witness"},
           {w + WitnessLine("v", 'a'), "line 2: this witness's key is that of witness w"},
           {w + WitnessLine("w", 'b'), "line 2: \"w\" is defined already"},
           {WitnessLine("none", 'a'), "line 1: \"none\" can't be defined"},
           {"witness w " + LogVkey() + "\n", "line 1: verifier key: not a key for Ed25519 cosignatures"},
           {w + "group g any\n", "line 2: not \"group"},
           {w + "group g 1 none\n", "line 2: \"none\" is no member"},
           {w + "group g 1 v\n", "line 2: \"v\" is not defined"},
           {w + "group g 1 g\n", "line 2: \"g\" is not defined"},
           {w + "group g 1 w w\n", "line 2: \"w\" is a member"},
           {w + "group g 1 w\ngroup h any w g\n", "line 3: \"w\" is a member of a group already"},
           {w + "group g 0 w\n", "line 2: the threshold"},
           {w + "group g 2 w\n", "line 2: the threshold"},
           {w + "group g 01 w\n", "line 2: the threshold"},
           {w + "group g -1 w\n", "line 2: the threshold"},
           {w + "group g +1 w\n", "line 2: the threshold"},
           {w + "group g 18446744073709551617 w\n", "line 2: the threshold"},
           {w + "group w any w\n", "line 2: \"w\" is defined already"},
           {w + "quorum\n", "line 2: not \"quorum"},
           {w + "quorum w w\n", "line 2: not \"quorum"},
           {"quorum w\n" + w, "line 1: \"w\" is not defined on a line before"},
       }) {
    EXPECT_THAT(ParseError(text), HasSubstr(error)) << text;
  }
  // Names are bytes; comments may be anything but control characters.
  EXPECT_EQ(
      ParseError("  # \xff\xfe\n" + WitnessLine("\xe2\x84\xaa", 'a') + "group all all \xe2\x84\xaa\nquorum all\n"),
      "no error");
}

TEST(PolicyTest, ManyOfEachButNotAnyNumber) {
  const auto key = [](size_t i) { return *Ed25519Key::FromSeed(std::string(31, 'k') + static_cast<char>(i)); };
  std::string text;
  std::string members;
  std::string note = *SignCheckpoint({"log63", 7, Sha256Of("root"), {}}, key(63));
  std::string unfinished;
  for (size_t i = 0; i < kMaxPolicyItems; ++i) {
    text += fmt::format("log {}\n", NoteVerifier::Make(fmt::format("log{}", i), key(i).public_key())->ToString());
    text += fmt::format("witness w{} {}\n", i,
                        CosignerVerifier::Make(fmt::format("w{}", i), key(i).public_key())->ToString());
    if (i + 1 < kMaxPolicyItems) text += fmt::format("group g{} all w{}\n", i, i);
    members += fmt::format(" {}{}", i + 1 < kMaxPolicyItems ? 'g' : 'w', i);
    unfinished = note;
    note += *CosignCheckpoint(note, fmt::format("w{}", i), key(i), i);
  }
  text += "group everybody all" + members + "\nquorum everybody\n";
  const LogPolicy policy = Parsed(text);
  EXPECT_EQ(policy.logs().size(), kMaxPolicyItems);
  EXPECT_TRUE(policy.Check(note).ok()) << policy.Check(note).status().ToString();
  EXPECT_THAT(std::string(policy.Check(unfinished).status().message()), HasSubstr("63 of 64 (missing w63)"));
  EXPECT_THAT(ParseError(text + "log " + LogVkey() + "\n"), HasSubstr("more than 64 logs"));
  EXPECT_THAT(ParseError(text + WitnessLine("x", 'a')), HasSubstr("more than 64 witnesses"));
  EXPECT_THAT(ParseError(text + "group x any everybody\n"), HasSubstr("more than 64 groups"));
  EXPECT_EQ(policy.WithLog(*NoteVerifier::Parse(LogVkey())).status().code(), Code::kFailedPrecondition);
}

// A chain of groups as long as they may be: each within the next.
TEST(PolicyTest, DeepNesting) {
  std::string text = "log " + LogVkey() + "\n" + WitnessLine("g0", 'a');
  for (size_t i = 1; i <= kMaxPolicyItems; ++i) text += fmt::format("group g{} any g{}\n", i, i - 1);
  const LogPolicy policy = Parsed(text + fmt::format("quorum g{}\n", kMaxPolicyItems));
  EXPECT_TRUE(policy.Check(Cosigned(Note(), "a")).ok());
  EXPECT_THAT(std::string(policy.Check(Note()).status().message()), HasSubstr("group g1: 0 of 1 (missing g0)"));
}

}  // namespace
}  // namespace nodetrail::trail
