// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/receipt.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/v1/trail.pb.h"

namespace nodetrail::trail {
namespace {

using testing::HasSubstr;

constexpr const char* kLog = "trail.example.org/acme";

Ed25519Key Key(char fill) { return *Ed25519Key::FromSeed(std::string(32, fill)); }
NoteVerifier LogKey(char fill = '\x03') { return *NoteVerifier::Make(kLog, Key(fill).public_key()); }

std::vector<Hash> Leaves(size_t n) {
  std::vector<Hash> out;
  for (size_t i = 0; i < n; ++i) out.push_back(LeafHash(std::string(1, static_cast<char>('a' + i))));
  return out;
}
std::string NoteOf(const std::vector<Hash>& leaves, char key = '\x03') {
  return *SignCheckpoint({kLog, leaves.size(), MerkleRoot(leaves), {}}, Key(key));
}
std::string TextOf(const std::vector<Hash>& leaves, uint64_t index) {
  return FormatReceipt(index, *InclusionProof(leaves, index), NoteOf(leaves));
}
std::string ParseError(const std::string& text) {
  const auto receipt = ParseReceipt(text);
  return receipt.ok() ? "no error" : std::string(receipt.status().message());
}

// The vector of docs/trail-format.md: leaf "b" of the three of its checkpoint.
TEST(ReceiptTest, IsTheVectorOfTheSpecification) {
  const std::vector<Hash> leaves = Leaves(3);
  const std::string document = *ReadFile(NT_SOURCE_DIR "/docs/trail-format.md", 1 << 20);
  EXPECT_NE(document.find("```vectors-receipt\n" + TextOf(leaves, 1) + "```"), std::string::npos) << TextOf(leaves, 1);
}

TEST(ReceiptTest, SeenIsTheVectorOfTheSpecification) {
  const std::string document = *ReadFile(NT_SOURCE_DIR "/docs/trail-format.md", 1 << 20);
  v1::BatchHeader header;
  header.set_seen_size(3);
  header.set_seen_root(Bytes(MerkleRoot(Leaves(3))));
  const std::string vector = "seen_size, seen_root  " + HexEncode(header.SerializeAsString()) + "\n";
  EXPECT_NE(document.find("```vectors-seen\n" + vector + "```"), std::string::npos) << vector;
}

TEST(ReceiptTest, EveryLeafOfEverySmallLogHasOne) {
  const LogPolicy policy = LogPolicy::OneLog(LogKey());
  for (size_t size = 1; size <= 20; ++size) {
    const std::vector<Hash> leaves = Leaves(size);
    for (size_t i = 0; i < size; ++i) {
      const auto receipt = ParseReceipt(TextOf(leaves, i));
      ASSERT_TRUE(receipt.ok()) << receipt.status().ToString();
      EXPECT_EQ(receipt->index, i);
      const auto checkpoint = VerifyReceipt(leaves[i], *receipt, policy);
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().ToString();
      EXPECT_EQ(checkpoint->size, size);
      // It is nobody else's.
      EXPECT_FALSE(VerifyReceipt(leaves[(i + 1) % size], *receipt, policy).ok() && size > 1);
    }
  }
}

TEST(ReceiptTest, OnlyTheExactTextIsOne) {
  const std::vector<Hash> leaves = Leaves(3);
  const std::string good = TextOf(leaves, 1);
  ASSERT_EQ(ParseError(good), "no error");
  const size_t index = good.find("index");
  const auto with = [&](const std::string& replacement) {
    return good.substr(0, index) + replacement + good.substr(good.find('\n', index));
  };
  EXPECT_THAT(ParseError(""), HasSubstr("not a tlog-proof"));
  EXPECT_THAT(ParseError("c2sp.org/tlog-proof@v2" + good.substr(22)), HasSubstr("not a tlog-proof"));
  EXPECT_THAT(ParseError(good.substr(0, index) + "extra AAAA\n" + good.substr(index)), HasSubstr("no index line"));
  for (const char* bad : {"index ", "index 01", "index -1", "index +1", "index 1 ", "index 18446744073709551616"}) {
    EXPECT_THAT(ParseError(with(bad)), HasSubstr("not a plain decimal number")) << bad;
  }
  EXPECT_THAT(ParseError(with("index 1\nAAAA")), HasSubstr("line 1 of the path is not a hash"));
  EXPECT_THAT(ParseError(with("index 1\n" + Base64Encode(View(leaves[0])) + "\r")), HasSubstr("not a hash"));
  std::string long_path = "index 1";
  for (int i = 0; i < 63; ++i) long_path += "\n" + Base64Encode(View(leaves[0]));
  EXPECT_THAT(ParseError(with(long_path)), HasSubstr("more than 64 hashes"));
  EXPECT_THAT(ParseError(good.substr(0, good.find("\n\n") + 1)), HasSubstr("no empty line"));
  EXPECT_THAT(ParseError(good.substr(0, good.size() - 1)), HasSubstr("last one has no newline"));
  EXPECT_THAT(ParseError(good + "\n"), HasSubstr("receipt: note"));
  EXPECT_THAT(ParseError(good + std::string(kMaxReceiptBytes, 'x')), HasSubstr("longer than 1 MiB"));
}

TEST(ReceiptTest, WhatDoesNotHoldIsRefusedWithItsCause) {
  const std::vector<Hash> leaves = Leaves(5);
  const auto refused = [&](const Receipt& receipt, const LogPolicy& policy, Code code, const std::string& why) {
    const auto checkpoint = VerifyReceipt(leaves[2], receipt, policy);
    ASSERT_FALSE(checkpoint.ok());
    EXPECT_EQ(checkpoint.status().code(), code);
    EXPECT_THAT(std::string(checkpoint.status().message()), HasSubstr(why));
  };
  const LogPolicy policy = LogPolicy::OneLog(LogKey());
  const Receipt good = *ParseReceipt(TextOf(leaves, 2));
  ASSERT_TRUE(VerifyReceipt(leaves[2], good, policy).ok());
  refused(good, LogPolicy::OneLog(LogKey('x')), Code::kDataLoss, "receipt: ");
  Receipt bent = good;
  bent.index = 3;
  refused(bent, policy, Code::kDataLoss, "receipt: ");
  bent = good;
  bent.path[0][5] ^= 1;
  refused(bent, policy, Code::kDataLoss, "receipt: ");
  bent = good;
  bent.path.pop_back();
  refused(bent, policy, Code::kDataLoss, "receipt: ");
  bent = good;
  bent.index = 5;
  refused(bent, policy, Code::kDataLoss, "receipt: ");
  // Of the tree before: the leaf is in it, but this path is not its path there.
  bent = good;
  bent.checkpoint = NoteOf(Leaves(4));
  refused(bent, policy, Code::kDataLoss, "receipt: ");
}

TEST(ReceiptTest, TheQuorumIsAskedOfVerifyAndToldByExamine) {
  const std::vector<Hash> leaves = Leaves(3);
  const std::string vkey = CosignerVerifier::Make("witness.example.org/w", Key('w').public_key())->ToString();
  const auto policy = LogPolicy::Parse(fmt::format("log {}\nwitness w {}\nquorum w\n", LogKey().ToString(), vkey));
  ASSERT_TRUE(policy.ok()) << policy.status().ToString();
  Receipt receipt = *ParseReceipt(TextOf(leaves, 1));
  const auto examined = ExamineReceipt(leaves[1], receipt, *policy);
  ASSERT_TRUE(examined.ok());
  EXPECT_FALSE(examined->quorum);
  const auto verified = VerifyReceipt(leaves[1], receipt, *policy);
  ASSERT_FALSE(verified.ok());
  EXPECT_EQ(verified.status().code(), Code::kFailedPrecondition);
  receipt.checkpoint += *CosignCheckpoint(receipt.checkpoint, "witness.example.org/w", Key('w'), 1'700'000'000);
  EXPECT_TRUE(VerifyReceipt(leaves[1], receipt, *policy).ok());
}

}  // namespace
}  // namespace nodetrail::trail
