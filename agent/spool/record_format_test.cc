// SPDX-License-Identifier: Apache-2.0
#include "agent/spool/record_format.h"

#include <gtest/gtest.h>

namespace nodetrail::agent {
namespace {

TEST(RecordFormatTest, SegmentHeadersAndNames) {
  SpoolSegmentHeader header;
  header.first_lsn = 0x1234;
  header.salt.fill(7);
  const std::string bytes = EncodeSegmentHeader(header);
  ASSERT_EQ(bytes.size(), kSpoolHeaderBytes);
  const auto back = DecodeSegmentHeader(bytes);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->first_lsn, 0x1234U);
  EXPECT_EQ(back->salt, header.salt);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string bad = bytes;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    EXPECT_FALSE(DecodeSegmentHeader(bad).has_value()) << i;
  }
  EXPECT_EQ(SegmentName(0x1234), "0000000000001234.seg");
  EXPECT_EQ(ParseSegmentName("0000000000001234.seg"), 0x1234U);
  for (const char* name : {"1234.seg", "000000000000123X.seg", "0000000000001234.tmp", "0000000000001234", ".seg",
                           "-000000000001234.seg"}) {
    EXPECT_FALSE(ParseSegmentName(name).has_value()) << name;
  }
}

TEST(RecordFormatTest, EveryFlippedBitOfARecordIsSeen) {
  SpoolSalt salt;
  salt.fill(9);
  const std::string payload = EncodeBatchPayload("leaf", "body!");
  const std::string bytes = EncodeRecord(SpoolRecordType::kBatch, 42, payload, salt);
  ASSERT_EQ(bytes.size(), RecordBytes(payload.size()));
  ASSERT_EQ(bytes.size() % kSpoolAlign, 0U);
  const auto good = [&](const std::string& record, const SpoolSalt& with) {
    const auto header = DecodeRecordHeader(std::string_view(record).substr(0, kSpoolRecordHeaderBytes));
    if (!header || kSpoolRecordHeaderBytes + header->length > record.size()) return false;
    return RecordCrc(record.substr(0, 20), with, record.substr(kSpoolRecordHeaderBytes, header->length)) == header->crc;
  };
  EXPECT_TRUE(good(bytes, salt));
  for (size_t i = 0; i < kSpoolRecordHeaderBytes + payload.size(); ++i) {
    std::string bad = bytes;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    EXPECT_FALSE(good(bad, salt)) << i;
  }
  SpoolSalt other = salt;
  other[3] = 1;
  EXPECT_FALSE(good(bytes, other)) << "a record of another segment";
}

TEST(RecordFormatTest, PayloadsAreExact) {
  const std::string payload = EncodeBatchPayload("abc", "");
  const auto batch = DecodeBatchPayload(payload);
  ASSERT_TRUE(batch.has_value());
  EXPECT_EQ(batch->leaf, "abc");
  EXPECT_EQ(batch->body, "");
  EXPECT_FALSE(DecodeBatchPayload("1234567").has_value());
  EXPECT_FALSE(DecodeBatchPayload(EncodeBatchPayload("abc", "d") + "x").has_value());
  EXPECT_FALSE(DecodeBatchPayload(std::string("\xff\xff\xff\xff\x01\0\0\0", 8)).has_value());

  SpoolAck ack{true, 7, 9, {}};
  ack.batch_hash.fill(3);
  const auto back = DecodeAckPayload(EncodeAckPayload(ack));
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->seq, 9U);
  EXPECT_EQ(back->batch_hash, ack.batch_hash);
  EXPECT_FALSE(DecodeAckPayload("short").has_value());

  SpoolHead head{ack, {}};
  head.head.known = true;
  head.head.epoch = 7;
  head.head.seq = 11;
  head.head.boot_id = "b";
  const auto head_back = DecodeHeadPayload(EncodeHeadPayload(head));
  ASSERT_TRUE(head_back.has_value());
  EXPECT_EQ(head_back->head.seq, 11U);
  EXPECT_EQ(head_back->head.boot_id, "b");
  EXPECT_EQ(head_back->ack.epoch, 7U);
  EXPECT_FALSE(DecodeHeadPayload(EncodeHeadPayload(head).substr(0, 60)).has_value());
}

}  // namespace
}  // namespace nodetrail::agent
