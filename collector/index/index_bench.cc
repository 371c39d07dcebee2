// SPDX-License-Identifier: Apache-2.0
//
// How fast events are indexed, and how fast the on-call questions are answered:
//   nt_index_bench --events 1000000 --dir /tmp/bench
// A directory that holds a trail already is used as it is.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <filesystem>

#include "collector/index/indexer.h"
#include "collector/index/search.h"
#include "collector/index/test_trail.h"
#include "nodetrail/base/log.h"

namespace nodetrail::collector {
namespace {

using Clock = std::chrono::steady_clock;

double Seconds(Clock::time_point from) { return std::chrono::duration<double>(Clock::now() - from).count(); }

int Run(const std::string& dir, size_t events, size_t per_batch, int rounds) {
  const bool made = std::filesystem::exists(dir + "/FORMAT");
  uint64_t leaves = 0;
  uint64_t last = kTestTime;
  {
    TestTrail trail(dir);
    EventMaker maker(1, 20'000);
    const auto start = Clock::now();
    for (size_t n = 0; !made && n < events; n += per_batch) {
      trail.Append(maker.Batch(per_batch));
      last = maker.wall_ns;
    }
    leaves = trail.size();
    if (!made) fmt::print("made {} events in {} batches in {:.1f} s\n", events, leaves, Seconds(start));
  }
  SystemClock clock;
  Indexer::Options options;
  options.trail_dir = dir;
  options.clock = &clock;
  auto indexer = Indexer::Open(options);
  if (!indexer.ok()) {
    fmt::print(stderr, "{}\n", indexer.status().ToString());
    return 1;
  }
  const uint64_t before = (*indexer)->GetProgress().indexed;
  const auto start = Clock::now();
  (*indexer)->Start();
  (*indexer)->Notify(leaves);
  if (const Status s = (*indexer)->WaitIndexed(leaves, std::chrono::hours(1)); !s.ok()) {
    fmt::print(stderr, "{}\n", s.ToString());
    return 1;
  }
  const double took = Seconds(start);
  uint64_t bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(dir + "/index")) bytes += file.file_size();
  if (before == 0) {
    const double rows = static_cast<double>(leaves * per_batch);
    fmt::print("indexed {:.0f} events in {:.1f} s: {:.0f}/s; {:.0f} bytes of index each\n", rows, took, rows / took,
               static_cast<double>(bytes) / rows);
  }

  fmt::print("{:<62} {:>8} {:>9} {:>9}  (ms: median, worst of {})\n", "question (newest 1000 rows)", "rows", "median",
             "worst", rounds);
  for (const char* text : {"",
                           "kind:process.exec",
                           "user:alice",
                           "login:bob and euid:0",
                           "path:/etc/file-77.conf",
                           "path:/etc/*",
                           "path:file-123.conf",
                           "path:*file-1999?.conf",
                           "kind:file.denied and user:www-data",
                           "addr:10.1.2.0/24",
                           "addr:2001:db8::beef",
                           "session:7 and outcome:failure",
                           "errno:ECONNREFUSED and rport:443",
                           "exe:curl and kind:net.connect",
                           "under:sshd and kind:file.delete",
                           "cmd:*--force*arg199*",
                           "arg19999",
                           "file-19998",
                           "evil and not kind:file.*",
                           "node:web-1 and user:root and path:/tmp/*",
                           "nothing-has-this",
                           "exit_code:2 and duration:>9s",
                           "ino:4711",
                           "cause:capset"}) {
    const auto query = expr::Parse(text, last);
    if (!query.ok()) {
      fmt::print(stderr, "{}\n", query.status().message());
      return 1;
    }
    std::vector<double> times;
    size_t rows = 0;
    for (int i = 0; i < rounds; ++i) {
      rows = 0;
      SearchSpec spec;
      spec.query = &*query;
      const auto begin = Clock::now();
      const auto stats = Search((*indexer)->index_dir(), (*indexer)->bodies(), spec,
                                [&rows](const FoundRow&) { return ++rows < 1000; });
      times.push_back(Seconds(begin) * 1e3);
      if (!stats.ok()) {
        fmt::print(stderr, "{}\n", stats.status().ToString());
        return 1;
      }
    }
    std::sort(times.begin(), times.end());
    fmt::print("{:<62} {:>8} {:>9.1f} {:>9.1f}\n", text[0] == '\0' ? "(everything)" : text, rows,
               times[times.size() / 2], times.back());
  }
  return 0;
}

}  // namespace
}  // namespace nodetrail::collector

int main(int argc, char** argv) {
  CLI::App app("indexes a synthetic trail and times the on-call questions");
  std::string dir;
  size_t events = 1'000'000;
  size_t per_batch = 500;
  int rounds = 5;
  app.add_option("--dir", dir, "trail directory; made if it holds none, and kept")->required();
  app.add_option("--events", events);
  app.add_option("--per-batch", per_batch);
  app.add_option("--rounds", rounds)->check(CLI::Range(1, 1000));
  CLI11_PARSE(app, argc, argv);
  nodetrail::log::Init("nt_index_bench", nodetrail::log::Level::kWarn, false);
  return nodetrail::collector::Run(dir, events, per_batch, rounds);
}
