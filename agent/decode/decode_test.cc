// SPDX-License-Identifier: Apache-2.0
#include "agent/decode/decode.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>

#include "agent/decode/acts.h"
#include "agent/decode/paths.h"
#include "tests/fakes/seed_records.h"

namespace nodetrail::agent {
namespace {

using Bytes = std::vector<std::byte>;

template <typename T>
void Poke(Bytes* record, size_t at, T value) {
  std::memcpy(record->data() + at, &value, sizeof value);
}
// Sets total_len to what is there.
Bytes Resized(Bytes record, size_t size) {
  record.resize(size);
  Poke(&record, offsetof(nt_header, total_len), static_cast<uint32_t>(size));
  return record;
}
Reject DecodeOf(const Bytes& record) {
  RawEvent event;
  return Decode(record, &event);
}
constexpr size_t kFixed = sizeof(nt_header) + sizeof(nt_task);

TEST(Decode, EveryTypeRoundTrips) {
  std::vector<bool> seen(NT_TYPE_MAX);
  for (const auto& [name, builder] : SeedRecords()) {
    SCOPED_TRACE(name);
    const Bytes record = builder.Build();
    RawEvent event;
    ASSERT_EQ(Decode(record, &event), Reject::kNone);
    EXPECT_EQ(event.header.total_len, record.size());
    EXPECT_EQ(event.header.cpu_seq, 77U);
    EXPECT_EQ(event.task.tgid, 4242U);
    EXPECT_EQ(event.task.start_boottime_ns, 5'000'000'123U);
    seen[event.header.type] = true;
  }
  for (uint16_t type = 1; type < NT_TYPE_MAX; ++type) EXPECT_EQ(seen[type], BodySize(type) >= 0) << type;
}

TEST(Decode, FieldsAndTailsAreWhereTheyWereWritten) {
  nt_file_open open{};
  open.ret = -13;
  open.open_flags = 0x241;
  const Bytes record = RecordBuilder(NT_FILE_DENIED)
                           .Task(TestTask(7, 8))
                           .Body(open)
                           .Tail(NT_TAIL_USER_PATH, "x/y")
                           .Path(NT_TAIL_BASE, "/srv/www")
                           .Build();
  RawEvent event;
  ASSERT_EQ(Decode(record, &event), Reject::kNone);
  EXPECT_EQ(event.body.open.ret, -13);
  EXPECT_EQ(event.body.open.open_flags, 0x241U);
  EXPECT_EQ(event.Tail(NT_TAIL_USER_PATH), "x/y");
  EXPECT_EQ(event.Tail(NT_TAIL_BASE), std::string_view("www\0srv\0", 8));
  EXPECT_FALSE(event.Has(NT_TAIL_PATH));
}

TEST(Decode, EveryTruncationIsRejectedOrLosesWholeTails) {
  for (const auto& [name, builder] : SeedRecords()) {
    const Bytes whole = builder.Build();
    for (size_t size = 0; size < whole.size(); ++size) {
      const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_NE(DecodeOf(cut), Reject::kNone) << name << " " << size;  // total_len is another
      if (size < sizeof(nt_header)) continue;
      RawEvent event;
      if (Decode(Resized(whole, size), &event) != Reject::kNone) continue;
      // Accepted: cut exactly between two tails.
      size_t tails = 0;
      for (unsigned kind = 0; kind < NT_TAIL_MAX; ++kind) {
        if (event.Has(static_cast<nt_tail>(kind))) tails += sizeof(nt_tail_header) + event.tails[kind].size();
      }
      EXPECT_EQ(kFixed + static_cast<size_t>(BodySize(event.header.type)) + tails, size) << name;
    }
  }
}

TEST(Decode, NamesWhatIsWrong) {
  const Bytes good = SeedRecords()[0].second.Build();
  Bytes bad = good;
  EXPECT_EQ(DecodeOf({}), Reject::kShort);
  Poke(&bad, offsetof(nt_header, abi_version), uint16_t{NT_ABI_VERSION + 1});
  EXPECT_EQ(DecodeOf(bad), Reject::kVersion);
  bad = good;
  bad.push_back(std::byte{0});
  EXPECT_EQ(DecodeOf(bad), Reject::kLength);
  EXPECT_EQ(DecodeOf(Resized(good, NT_RECORD_MAX + 1)), Reject::kLength);
  for (const uint16_t type : {uint16_t{0}, uint16_t{NT_TYPE_LAST + 1}, uint16_t{0xffff}}) {
    bad = good;
    Poke(&bad, offsetof(nt_header, type), type);
    EXPECT_EQ(DecodeOf(bad), Reject::kType) << type;
  }
  EXPECT_EQ(DecodeOf(Resized(good, kFixed + sizeof(nt_exec) - 1)), Reject::kBody);
  EXPECT_EQ(DecodeOf(Resized(good, kFixed + sizeof(nt_exec) + 3)), Reject::kTailHeader);

  const auto with = [](nt_tail kind, std::string_view bytes) {
    return RecordBuilder(NT_FILE_DELETE).Body(nt_act{}).Tail(kind, bytes);
  };
  EXPECT_EQ(DecodeOf(with(NT_TAIL_MAX, "x").Build()), Reject::kTailKind);
  EXPECT_EQ(DecodeOf(with(static_cast<nt_tail>(0), "").Build()), Reject::kTailKind);
  EXPECT_EQ(DecodeOf(with(NT_TAIL_PATH, "no terminator").Build()), Reject::kPath);
  EXPECT_EQ(DecodeOf(with(NT_TAIL_PATH, std::string_view("a\0\0b\0", 5)).Build()), Reject::kPath);
  EXPECT_EQ(DecodeOf(with(NT_TAIL_PATH, std::string_view("\0a\0", 3)).Build()), Reject::kPath);
  EXPECT_EQ(DecodeOf(with(NT_TAIL_PATH, std::string_view("\0", 1)).Build()), Reject::kNone);  // nameless object
  EXPECT_EQ(DecodeOf(with(NT_TAIL_USER_PATH, std::string_view("a\0b", 3)).Build()), Reject::kUserString);
  EXPECT_EQ(DecodeOf(with(NT_TAIL_USER_PATH, std::string(NT_PATH_MAX, 'a')).Build()), Reject::kNone);
  EXPECT_EQ(DecodeOf(with(NT_TAIL_USER_PATH, std::string(NT_PATH_MAX + 1, 'a')).Build()), Reject::kTailLength);
  EXPECT_EQ(DecodeOf(with(NT_TAIL_ARGV, std::string(NT_ARGV_MAX + 1, 'a')).Build()), Reject::kTailLength);
  EXPECT_EQ(DecodeOf(with(NT_TAIL_USER_PATH, "a").Tail(NT_TAIL_USER_PATH, "b").Build()), Reject::kTailRepeated);
  bad = with(NT_TAIL_USER_PATH, "abc").Build();
  Poke(&bad, bad.size() - 3 - 2, uint16_t{4});
  EXPECT_EQ(DecodeOf(bad), Reject::kTailLength);

  nt_net net{};
  net.family = 1;
  EXPECT_EQ(DecodeOf(RecordBuilder(NT_NET_CONNECT).Body(net).Build()), Reject::kFamily);
  nt_socket socket{};
  socket.family = 1;
  EXPECT_EQ(DecodeOf(RecordBuilder(NT_NET_BIND).Body(socket).Build()), Reject::kNone);
  socket.addr_family = 1;
  EXPECT_EQ(DecodeOf(RecordBuilder(NT_NET_BIND).Body(socket).Build()), Reject::kFamily);
  EXPECT_EQ(DecodeOf(with(NT_TAIL_SOCKET_NAME, std::string_view("\0a\0", 3)).Build()), Reject::kNone);
  EXPECT_EQ(DecodeOf(with(NT_TAIL_SOCKET_NAME, std::string(NT_SUN_PATH_MAX + 1, 'a')).Build()), Reject::kTailLength);
  for (uint8_t reason = 0; reason < static_cast<uint8_t>(Reject::kMax); ++reason) {
    EXPECT_NE(RejectName(static_cast<Reject>(reason)), "unknown");
  }
}

TEST(Decode, UnalignedBytesAreFine) {
  const Bytes record = SeedRecords()[0].second.Build();
  Bytes shifted(record.size() + 1);
  std::copy(record.begin(), record.end(), shifted.begin() + 1);
  RawEvent event;
  EXPECT_EQ(Decode(std::span<const std::byte>(shifted).subspan(1), &event), Reject::kNone);
}

TEST(Paths, LeafFirstIsTurnedRound) {
  std::string out;
  ReversePath(std::string_view("probe\0tmp\0", 10), &out);
  EXPECT_EQ(out, "/tmp/probe");
  ReversePath({}, &out);
  EXPECT_EQ(out, "/");
  ReversePath(std::string_view("\0", 1), &out);
  EXPECT_EQ(out, "/");
  ReversePath(std::string_view("a\nb\xff\0", 5), &out);
  EXPECT_EQ(out, "/a\nb\xff");
  std::string deep;
  std::string want;
  for (int i = 0; i < 500; ++i) {
    deep += std::to_string(i) + '\0';
    want.insert(0, "/" + std::to_string(i));
  }
  ReversePath(deep, &out);
  EXPECT_EQ(out, want);
}

TEST(Paths, JoinNeverNamesAnotherFile) {
  struct Case {
    const char *base, *user, *want;
  };
  constexpr Case kCases[] = {
      {"/home/a", "x", "/home/a/x"},
      {"/", "x", "/x"},
      {"/home/a", "/etc/passwd", "/etc/passwd"},
      {"/home/a", "./x//y/./", "/home/a/x/y"},
      {"/home/a", ".", "/home/a"},
      {"/home/a", "..", "/home"},
      {"/home/a", "../..", "/"},
      {"/home/a", "../../../../x", "/x"},
      {"/home/a", "../b/x", "/home/b/x"},
      {"/home/a", "link/../x", "/home/a/link/../x"},  // link may be a symbolic link
      {"/home/a", "../link/../x", "/home/link/../x"},
      {"/home/a", "x/../../y", "/home/a/x/../../y"},
      {"/", "/../x", "/x"},
      {"/", "/link/../x", "/link/../x"},
      {"/", "//", "/"},
      {"/home/a", "", ""},
      {"/home/a", "...", "/home/a/..."},
      {"/home/a", "..x", "/home/a/..x"},
  };
  std::string out = "left over";
  for (const Case& c : kCases) {
    JoinPath(c.base, c.user, &out);
    EXPECT_EQ(out, c.want) << c.base << " + " << c.user;
  }
}

TEST(Paths, InRootTheBaseIsNotLeft) {
  std::string out;
  JoinPathInRoot("/srv/jail", "/etc/passwd", &out);
  EXPECT_EQ(out, "/srv/jail/etc/passwd");
  JoinPathInRoot("/srv/jail", "../../x", &out);
  EXPECT_EQ(out, "/srv/jail/x");
  JoinPathInRoot("/", "/x", &out);
  EXPECT_EQ(out, "/x");
  JoinPathInRoot("/srv/jail", "/", &out);
  EXPECT_EQ(out, "/srv/jail");
}

// The seeds under tests/fuzz/corpus/decoder are these records, each behind the
// byte that tells the fuzzer what to repair. NT_UPDATE_CORPUS=1 writes them.
TEST(DecoderCorpus, SeedsAreUpToDate) {
  const std::filesystem::path dir = std::string(NT_SOURCE_DIR) + "/tests/fuzz/corpus/decoder";
  const auto check = [&dir](const std::string& name, char repair, const Bytes& record) {
    std::string want(1, repair);
    want.append(reinterpret_cast<const char*>(record.data()), record.size());
    const std::filesystem::path file = dir / name;
    if (std::getenv("NT_UPDATE_CORPUS") != nullptr) {  // NOLINT(concurrency-mt-unsafe)
      std::filesystem::create_directories(dir);
      std::ofstream(file, std::ios::binary) << want;
    }
    std::ifstream in(file, std::ios::binary);
    const std::string got{std::istreambuf_iterator<char>(in), {}};
    EXPECT_EQ(got, want) << file << ": run with NT_UPDATE_CORPUS=1";
  };
  constexpr char kAsItIs = 7;  // nothing is repaired
  for (const auto& [name, builder] : SeedRecords()) check(name, kAsItIs, builder.Build());
  for (const auto& [name, record] : OddRecords()) check(name, kAsItIs, record);
}

TEST(Acts, EachNumberIsOneCallOfOneType) {
  std::set<uint32_t> native, i386;
  for (const ActCall& call : ActCalls()) {
    SCOPED_TRACE(call.name);
    EXPECT_TRUE(call.nr == 0 || native.insert(call.nr).second);
    EXPECT_TRUE(call.nr32 == 0 || i386.insert(call.nr32).second);
    EXPECT_TRUE(IsAct(call.type));
    for (const uint32_t at : {NT_S_AT_PATH, NT_S_AT_DIR, NT_S_AT_PATH2, NT_S_AT_DIR2, NT_S_AT_FD, NT_S_AT_TEXT}) {
      EXPECT_LE(NT_S_OF(call.shape, at), 4U) << "the probes read the first four only";
    }
    EXPECT_TRUE(call.nr == 0 || FindActCall(call.nr, false) == &call);
    EXPECT_TRUE(call.nr32 == 0 || FindActCall(call.nr32, true) == &call);
  }
  for (const ActType& type : ActTypes()) {
    EXPECT_EQ(BodySize(type.type), static_cast<int>(sizeof(nt_act))) << type.kind;
  }
  EXPECT_EQ(FindActCall(0, true), nullptr);
  EXPECT_EQ(FindActCall(0x40000000 | 545, false), FindActCall(322, false)) << "x32's execveat";
  EXPECT_EQ(FindActCall(39, false), nullptr) << "getpid";
}

TEST(Acts, ArgumentsByTheirMeaning) {
  nt_act act{};
  for (size_t i = 0; i < 6; ++i) act.args[i] = 10 + i;
  const ActCall* mount = FindActCall(165, false);
  ASSERT_NE(mount, nullptr);
  EXPECT_EQ(ActArgument(act, *mount, NT_S_AT_PATH), 11U);
  EXPECT_EQ(ActArgument(act, *mount, NT_S_AT_PATH2), 10U);
  EXPECT_EQ(ActArgument(act, *mount, NT_S_AT_TEXT), 12U);
  EXPECT_EQ(ActArgument(act, *mount, NT_S_AT_FD), std::nullopt);
}

}  // namespace
}  // namespace nodetrail::agent
