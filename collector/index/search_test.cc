// SPDX-License-Identifier: Apache-2.0
//
// The index proposes, the record decides: whatever a query is, searching by the
// index finds exactly what reading everything finds.
#include "collector/index/search.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <random>

#include "collector/index/indexer.h"
#include "collector/index/partition.h"
#include "collector/index/predicate.h"
#include "collector/index/test_trail.h"
#include "nodetrail/base/clock.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::collector {
namespace {

using std::chrono::milliseconds;

class SearchTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = new std::string(fmt::format("{}search_test.{}", testing::TempDir(), ::getpid()));
    std::filesystem::remove_all(*dir_);
    trail_ = new TestTrail(*dir_);
    EventMaker maker(/*seed=*/7, /*breadth=*/40);
    for (int i = 0; i < 60; ++i) {
      // Over several days, so that there are several partitions; one batch of
      // a clock that is wrong by a century.
      maker.wall_ns = kTestTime + static_cast<uint64_t>(i) * 3'600'000'000'000;
      if (i == 30) maker.wall_ns = 7'000'000'000ULL * 1'000'000'000;
      TestBatch batch = maker.Batch(50);
      for (const auto& e : batch.events) events_->push_back(e);
      all_->push_back(batch);
      trail_->Append(std::move(batch));
    }
    TestBatch rare = CallsAndSockets();
    for (const auto& e : rare.events) events_->push_back(e);
    all_->push_back(rare);
    trail_->Append(std::move(rare));
    Indexer::Options options;
    options.trail_dir = *dir_;
    options.partition_hours = 24;
    options.clock = clock_;
    indexer_ = Indexer::Open(options).value().release();
    indexer_->Start();
    indexer_->Notify(trail_->size());
    const Status done = indexer_->WaitIndexed(trail_->size(), milliseconds(30'000));
    ASSERT_TRUE(done.ok()) << done.ToString();
  }
  // What the maker makes none of.
  static TestBatch CallsAndSockets() {
    TestBatch batch;
    batch.agent_id = "web-1";
    batch.processes = {TestProcess(4000, "/usr/bin/gdb", {"gdb"})};
    const auto make = [&](event::v1::Kind kind) {
      batch.events.push_back(TestEvent(kind, batch.processes[0], kTestTime + batch.events.size(), 0, 1000));
      return &batch.events.back();
    };
    auto* call = make(event::v1::KIND_PTRACE)->mutable_call();
    call->set_syscall("ptrace");
    call->set_operation("PTRACE_ATTACH");
    call->set_target_pid(1);
    call = make(event::v1::KIND_FS_MOUNT)->mutable_call();
    call->set_syscall("mount");
    call->mutable_path()->set_path("/etc/x");
    call->mutable_path()->set_source(event::v1::PATH_SOURCE_USER_STRING_RESOLVED);
    auto* net = make(event::v1::KIND_NET_LISTEN)->mutable_net();
    net->set_family("inet6");
    net->set_socket_type("stream");
    net->set_protocol("tcp");
    net->mutable_local()->set_ip(std::string(16, '\0'));
    net->mutable_local()->set_port(443);
    net = make(event::v1::KIND_NET_UNIX_CONNECT)->mutable_net();
    net->set_family("unix");
    net->set_socket_type("stream");
    net->mutable_path()->set_path("/run/docker.sock");
    net->mutable_path()->set_source(event::v1::PATH_SOURCE_KERNEL_OBJECT);
    net->mutable_peer()->set_pid(1);
    net->mutable_peer()->set_exe("/usr/bin/dockerd");
    net = make(event::v1::KIND_NET_UNIX_CONNECT)->mutable_net();
    net->set_family("unix");
    net->set_abstract_name(std::string("\0X11", 4));
    net = make(event::v1::KIND_NET_PACKET_SOCKET)->mutable_net();
    net->set_family("packet");
    net->set_socket_type("raw");
    net->set_protocol("0x0003");
    return batch;
  }

  static void TearDownTestSuite() {
    delete indexer_;
    delete trail_;
    std::filesystem::remove_all(*dir_);
    delete dir_;
  }

  struct Found {
    RowKey key;
    std::string event;
    friend bool operator==(const Found&, const Found&) = default;
  };

  static std::vector<Found> ByIndex(const expr::Node& query, bool oldest_first = true, size_t limit = SIZE_MAX,
                                    std::optional<RowKey> after = std::nullopt, uint64_t since = 0,
                                    uint64_t until = 0) {
    SearchSpec spec;
    spec.query = &query;
    spec.oldest_first = oldest_first;
    spec.after = after;
    spec.since_wall_ns = since;
    spec.until_wall_ns = until;
    std::vector<Found> out;
    const auto stats = Search(indexer_->index_dir(), indexer_->bodies(), spec, [&](const FoundRow& row) {
      out.push_back({row.key, std::string(row.event_bytes)});
      return out.size() < limit;
    });
    EXPECT_TRUE(stats.ok()) << stats.status().ToString();
    return out;
  }

  // Every leaf, every event, put to expr::Matches.
  static std::vector<Found> ByReading(const expr::Node& query) {
    std::vector<Found> out;
    for (const auto& one : Records()) {
      if (expr::Matches(query, {one.event, one.known ? &one.process : nullptr, one.facts})) out.push_back(one.found);
    }
    return out;
  }

  struct Record {
    Found found;
    event::v1::Event event;
    event::v1::Process process;
    bool known = false;
    schema::RowFacts facts;
  };
  static const std::vector<Record>& Records() {
    static const std::vector<Record> kAll = [] {
      auto catalog = Catalog::Open(indexer_->index_dir(), Db::Mode::kReadOnly);
      EXPECT_TRUE(catalog.ok());
      std::vector<Record> out;
      for (uint64_t i = 0; i < trail_->size(); ++i) {
        const auto leaf = catalog->GetLeaf(i).value().value();
        const auto batch = indexer_->bodies()->Open(leaf).value();
        for (int j = 0; j < batch->batch().events_size(); ++j) {
          Record one;
          EXPECT_TRUE(batch->Event(static_cast<size_t>(j), &one.event));
          const auto actor = batch->Actor(one.event);
          one.known = actor.process != nullptr;
          if (one.known) one.process = *actor.process;
          one.facts = leaf.Facts();
          one.found = {{IndexTime(one.event.t_wall_ns()), PositionOf(i, static_cast<size_t>(j))},
                       batch->batch().events(j)};
          out.push_back(std::move(one));
        }
      }
      std::sort(out.begin(), out.end(), [](const Record& a, const Record& b) { return a.found.key < b.found.key; });
      return out;
    }();
    return kAll;
  }

  static expr::Node Parse(const std::string& text) {
    auto query = expr::Parse(text, kTestTime);
    EXPECT_TRUE(query.ok()) << query.status().message();
    return query.ok() ? *query : expr::Node{};
  }

  static void ExpectAgreement(const std::string& text) {
    const auto query = Parse(text);
    const auto reading = ByReading(query);
    const auto index = ByIndex(query);
    ASSERT_EQ(index.size(), reading.size()) << text;
    EXPECT_TRUE(index == reading) << text;
  }

  static size_t Count(const std::string& text) { return ByIndex(Parse(text)).size(); }

  static std::string* dir_;
  static TestTrail* trail_;
  static Indexer* indexer_;
  static FakeClock* clock_;
  static std::vector<event::v1::Event>* events_;
  static std::vector<TestBatch>* all_;
};

std::string* SearchTest::dir_ = nullptr;
TestTrail* SearchTest::trail_ = nullptr;
Indexer* SearchTest::indexer_ = nullptr;
FakeClock* SearchTest::clock_ = new FakeClock;
std::vector<event::v1::Event>* SearchTest::events_ = new std::vector<event::v1::Event>;
std::vector<TestBatch>* SearchTest::all_ = new std::vector<TestBatch>;

TEST_F(SearchTest, TheEmptyQueryFindsEveryEventInOrder) {
  const auto found = ByIndex(Parse(""));
  EXPECT_EQ(found.size(), events_->size());
  EXPECT_TRUE(std::is_sorted(found.begin(), found.end(), [](const Found& a, const Found& b) { return a.key < b.key; }));
  auto back = ByIndex(Parse(""), /*oldest_first=*/false);
  std::reverse(back.begin(), back.end());
  EXPECT_TRUE(found == back);
}

TEST_F(SearchTest, CallsAndSocketsAreFoundByWhatTheySay) {
  for (const char* term : {"syscall:ptrace", "op:PTRACE_*", "path_source:user_string_resolved", "path:/etc/x",
                           "family:inet6", "family:packet", "path:/run/docker.sock", "peer_exe:dockerd", "peer_pid:1",
                           "socket_type:raw", "text:*X11", "protocol:0x0003", "docker.sock"}) {
    EXPECT_EQ(Count(term), 1U) << term;
  }
  EXPECT_EQ(Count("kind:net.unix_connect"), 2U);
  EXPECT_EQ(Count("lport:443 and kind:net.listen"), 1U);
}

// One term for each field, and each operator.
std::vector<std::string> Terms() {
  std::vector<std::string> out;
  for (const auto& field : schema::Fields()) {
    const std::string name(field.name);
    out.emplace_back(field.example);
    out.push_back(name + ":*");
    out.push_back(name + ":unset");
  }
  for (const char* term : {"user:alice",
                           "user:1000",
                           "user:root",
                           "user:m\xc3\xa5*",
                           "login:bob",
                           "login:>1000",
                           "user:[1000..1001]",
                           "euid:0",
                           "uid:[1..1000]",
                           "kind:file.*",
                           "kind:process.exec",
                           "kind:net.connect",
                           "path:/etc/*",
                           "path:/etc/",
                           "path:file-3.conf",
                           "path:*-7.conf",
                           "path:\"/srv/data with space/*\"",
                           "path:/usr/bin/bash",
                           "exe:bash",
                           "exe:/usr/*",
                           "exe:*x*evil",
                           "script:*",
                           "cmd:*--force*",
                           "arg:--force",
                           "arg:arg1?",
                           "comm:curl",
                           "addr:10.0.0.0/8",
                           "addr:10.1.0.0/16",
                           "addr:127.0.0.1",
                           "remote:2001:db8::/32",
                           "remote:10.2.*",
                           "local:127.*",
                           "port:443",
                           "rport:<1024",
                           "lport:>=60000",
                           "outcome:failure",
                           "success:true",
                           "errno:EACCES",
                           "errno:ENOENT",
                           "errno:[1..20]",
                           "retval:<0",
                           "session:7",
                           "session:unset",
                           "login_uid:unset",
                           "container:0000*",
                           "container:*",
                           "node:web-1",
                           "node:host-*",
                           "host:unset",
                           "agent:web-2",
                           "pid:[1000..1010]",
                           "tid:>1005",
                           "ppid:1",
                           "tty:pts/0",
                           "duration:>5s",
                           "exit_code:>0",
                           "cause:setuid",
                           "old_uid:0",
                           "sent:>50000",
                           "stage:ring",
                           "count:3",
                           "cap:CAP_SYS_ADMIN",
                           "mode:0o644",
                           "ino:<1000",
                           "flags:*O_CREAT*",
                           "syscall:openat",
                           "seq:[10..20]",
                           "epoch:1",
                           "batch:0",
                           "log_index:[5..9]",
                           "time:>2026-02-26",
                           "time:2026-02-26",
                           "time:[2026-02-25T10:00..2026-02-27]",
                           "action:delete",
                           "tenant:default",
                           "curl",
                           "ALICE",
                           "10.1",
                           "heartbeat",
                           "file-1",
                           "evil",
                           "host-0",
                           "ring",
                           "nosuchthing",
                           "web-1:1:12",
                           "complete:true",
                           "under:sshd",
                           "under:systemd"}) {
    out.emplace_back(term);
  }
  return out;
}

TEST_F(SearchTest, EveryFieldAgreesWithTheRecords) {
  for (const auto& term : Terms()) {
    ExpectAgreement(term);
    ExpectAgreement("not " + term);
  }
}

TEST_F(SearchTest, IdentitiesAgree) {
  const auto& process = all_->at(10).processes.back();
  const std::string uid = schema::Hex(process.proc_uid());
  const std::string parent = schema::Hex(process.parent_uid());
  for (const auto& text : {"proc:" + uid, "proc:" + uid.substr(0, 5), "parent:" + parent, "ancestor:" + parent,
                           "proc:" + parent + " or ancestor:" + parent, "not ancestor:" + parent, "child:" + uid}) {
    ExpectAgreement(text);
  }
  EXPECT_FALSE(ByIndex(Parse("ancestor:" + parent)).empty());
}

// Random trees of random terms.
TEST_F(SearchTest, RandomQueriesAgree) {
  const auto terms = Terms();
  std::mt19937 random(42);
  const auto pick = [&random](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  const std::function<std::string(int)> tree = [&](int depth) -> std::string {
    if (depth == 0 || pick(3) == 0) return terms[pick(terms.size())];
    switch (pick(4)) {
      case 0: return "not (" + tree(depth - 1) + ")";
      case 1: return "(" + tree(depth - 1) + ") or (" + tree(depth - 1) + ")";
      default: return "(" + tree(depth - 1) + ") and (" + tree(depth - 1) + ")";
    }
  };
  size_t found = 0;
  for (int i = 0; i < 300; ++i) {
    const std::string text = tree(3);
    const auto query = Parse(text);
    const auto reading = ByReading(query);
    found += reading.size();
    ASSERT_TRUE(ByIndex(query) == reading) << text;
  }
  EXPECT_GT(found, 10'000U) << "the queries find too little to say anything";
}

TEST_F(SearchTest, PagesJoinWithoutHoleOrOverlap) {
  for (const bool oldest_first : {true, false}) {
    const auto query = Parse("kind:file.* or user:root");
    const auto whole = ByIndex(query, oldest_first);
    std::vector<Found> pages;
    std::optional<RowKey> after;
    while (true) {
      const auto page = ByIndex(query, oldest_first, 17, after);
      pages.insert(pages.end(), page.begin(), page.end());
      if (page.size() < 17) break;
      after = page.back().key;
    }
    EXPECT_TRUE(pages == whole) << oldest_first;
  }
}

TEST_F(SearchTest, TimeBoundsAreHalfOpen) {
  const auto all = ByIndex(Parse(""));
  const auto from = static_cast<uint64_t>(all[100].key.time);
  const auto to = static_cast<uint64_t>(all[300].key.time);
  const auto found = ByIndex(Parse(""), true, SIZE_MAX, std::nullopt, from, to);
  ASSERT_FALSE(found.empty());
  EXPECT_EQ(static_cast<uint64_t>(found.front().key.time), from);
  EXPECT_LT(static_cast<uint64_t>(found.back().key.time), to);
  EXPECT_EQ(found.size(), static_cast<size_t>(std::count_if(all.begin(), all.end(), [&](const Found& f) {
              const auto t = static_cast<uint64_t>(f.key.time);
              return t >= from && t < to;
            })));
}

TEST_F(SearchTest, StopsWhenTold) {
  const auto query = Parse("");
  SearchSpec spec;
  spec.query = &query;
  int rows = 0;
  spec.stop = [&rows] { return rows >= 10; };
  const auto stats =
      Search(indexer_->index_dir(), indexer_->bodies(), spec, [&rows](const FoundRow&) { return ++rows > 0; });
  EXPECT_EQ(stats.status().code(), Code::kCancelled);
  EXPECT_EQ(rows, 10);
}

// What is selective goes by an index, and what the columns hold is exact.
TEST_F(SearchTest, PlansUseIndexes) {
  auto catalog = Catalog::Open(indexer_->index_dir(), Db::Mode::kReadOnly);
  ASSERT_TRUE(catalog.ok());
  const auto part = catalog->Partitions(0, INT64_MAX).value().front();
  auto db = Db::Open(indexer_->index_dir() + "/" + part.name + ".db", Db::Mode::kReadOnly);
  ASSERT_TRUE(db.ok());
  const auto plan = [&](const std::string& text) {
    const auto query = Parse(text);
    auto predicate = CompilePredicate(&*db, query, 0, INT64_MAX);
    EXPECT_TRUE(predicate.ok()) << text << ": " << predicate.status().ToString();
    return *predicate;
  };
  for (const char* text : {"path:/etc/*", "user:alice", "addr:10.0.0.0/8", "session:7", "exe:bash", "errno:EACCES",
                           "node:web-*", "under:sshd"}) {
    EXPECT_TRUE(plan(text).drivers.has_value()) << text;
    EXPECT_TRUE(plan(text).exact) << text;
  }
  EXPECT_FALSE(plan("exit_code:1").drivers.has_value());
  EXPECT_TRUE(plan("exit_code:1").exact);
  EXPECT_FALSE(plan("cause:setuid").exact);
  EXPECT_TRUE(plan("exit_code:1 and path:/etc/*").drivers.has_value());
}

}  // namespace
}  // namespace nodetrail::collector
