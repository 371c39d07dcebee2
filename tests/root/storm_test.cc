// SPDX-License-Identifier: Apache-2.0
//
// More than the rings hold: each act is told or counted as lost, at the place
// where it was, and what the reserve is for gets through.
//
// Seconds in the everyday run; with NODETRAIL_FULL=1 ten minutes and one.
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/pipeline/loss_ledger.h"
#include "nodetrail/abi/reserved.h"
#include "nodetrail/base/clock.h"
#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

constexpr uint64_t kMs = 1'000'000;
// As the agent has them.
constexpr int kDrainMs = 5;
constexpr uint64_t kSettleNs = 100 * kMs;

bool Full() {
  const char* value = std::getenv("NODETRAIL_FULL");
  return value != nullptr && std::string(value) == "1";
}

class StormTest : public RootTest {
 protected:
  using Range = std::pair<uint64_t, uint64_t>;  // positions, inclusive

  // Rages for so long while it is drained as the agent drains.
  Outcome Rage(agent::CaptureOptions options, uint64_t milliseconds, const std::vector<std::string>& workers) {
    losses_expected_ = true;
    keep_records_ = false;
    OpenCapture(options);
    if (HasFatalFailure()) return {};
    std::vector<std::string> args = {"rage", Dir(), std::to_string(milliseconds)};
    args.insert(args.end(), workers.begin(), workers.end());
    Workload workload = Start(args);
    pollfd truth{workload.out.get(), POLLIN, 0};
    const SystemClock clock;
    for (uint64_t settled = 0; poll(&truth, 1, kDrainMs) == 0;) {
      Drain(/*everything=*/false);
      if (clock.BootNs() - settled < kSettleNs) continue;
      settled = clock.BootNs();
      Settle();
    }
    Outcome run = Finish(std::move(workload));
    EXPECT_TRUE(WIFEXITED(run.status) && WEXITSTATUS(run.status) == 0) << "status " << run.status;
    return run;
  }

  void Saw(const nt_header& header) override {
    ++seen_[header.type & (NT_TYPE_MAX - 1)];
    Place& place = places_[header.cpu];
    if (header.cpu_seq > place.last + 1) place.holes.emplace_back(place.last + 1, header.cpu_seq - 1);
    place.last = header.cpu_seq;
    ledger_.See(header.cpu, header.cpu_seq, header.ktime_boot_ns);
  }

  // What the agent would say of losses now; and which holes that explains.
  void Settle() {
    const SystemClock clock;
    const uint64_t asked = clock.BootNs();
    counters_ = Counters();
    std::vector<agent::Loss> losses;
    ledger_.Settle(counters_, asked, clock.BootNs(), &losses);
    for (const agent::Loss& loss : losses) {
      if (loss.stage != "ring") continue;
      said_[loss.type] += loss.count;
      std::vector<Range>& said = places_[loss.cpu].said;
      if (said.empty() || loss.seq_from > said.back().second + 1) {
        said.emplace_back(loss.seq_from, loss.seq_to);
      } else {
        said.back().first = std::min(said.back().first, loss.seq_from);
        said.back().second = std::max(said.back().second, loss.seq_to);
      }
    }
    for (auto& [cpu, place] : places_) {
      std::erase_if(place.holes, [&said = place.said](const Range& hole) {
        return std::any_of(said.rbegin(), said.rend(), [&](const Range& range) {
          return range.first <= hole.first && hole.second <= range.second;
        });
      });
    }
  }

  // Received and counted lost are what was done, kind by kind; each hole is a
  // loss, each loss a hole, and the agent would have said where.
  void ExpectAllToldOrCounted(const json& truth) {
    const std::map<uint16_t, uint64_t> done = {
        {NT_FORK, truth.at("forks").get<uint64_t>() + 1},  // of the workload itself
        {NT_EXEC, truth.at("execs").get<uint64_t>() + 1},
        {NT_EXIT, truth.at("exits").get<uint64_t>() + 1},
        {NT_CRED, truth.at("creds")},
        {NT_FILE_OPEN, truth.at("opens")},
        {NT_NET_BIND, truth.at("binds")},
        {NT_NET_LISTEN, truth.at("listens")},
        {NT_NET_CONNECT, truth.at("connects")},
        {NT_NET_ACCEPT, truth.at("accepts")},
        {NT_NET_CLOSE, truth.at("closes")},
    };
    // The last connections may be closed a little later.
    EXPECT_TRUE(DrainUntil([&] {
      return seen_[NT_NET_CLOSE] + Sum(Counters(), &nt_cpu_stats::lost_ring)[NT_NET_CLOSE] >= done.at(NT_NET_CLOSE);
    }));
    Drain();
    Settle();
    const TypeCounts submitted = Sum(counters_, &nt_cpu_stats::submitted);
    const TypeCounts lost_map = Sum(counters_, &nt_cpu_stats::lost_map);
    lost_ = Sum(counters_, &nt_cpu_stats::lost_ring);
    EXPECT_EQ(counters_.skipped_probes, 0u);
    for (uint16_t type = 0; type < NT_TYPE_MAX; ++type) {
      EXPECT_EQ(seen_[type], submitted[type]) << "type " << type << ": what entered a ring comes out";
      EXPECT_EQ(lost_map[type], 0u) << "type " << type;
      EXPECT_EQ(said_[type], lost_[type]) << "type " << type << ": what the agent would say";
      if (const auto it = done.find(type); it != done.end()) {
        EXPECT_EQ(seen_[type] + lost_[type], it->second) << "type " << type;
      } else if (type != NT_CGROUP) {
        EXPECT_EQ(seen_[type] + lost_[type], 0u) << "type " << type << " isn't done by the storm";
      }
    }
    for (uint32_t cpu = 0; cpu < counters_.cpus.size(); ++cpu) {
      const nt_cpu_stats& stats = counters_.cpus[cpu];
      uint64_t lost = 0;
      for (const uint64_t count : stats.lost_ring) lost += count;
      EXPECT_EQ(holes_[cpu] + stats.cpu_seq - last_seq_[cpu], lost) << "CPU " << cpu;
      for (const Range& hole : places_[cpu].holes) {
        ADD_FAILURE() << "CPU " << cpu << ": nobody would say that " << hole.first << " to " << hole.second
                      << " are lost";
      }
    }
  }

  // What the reserve is for, and the rest.
  [[nodiscard]] Range Lost() const {
    Range lost{0, 0};
    for (uint16_t type = 0; type < NT_TYPE_MAX; ++type) {
      (NT_IS_RESERVED(type) ? lost.first : lost.second) += lost_[type];
    }
    return lost;
  }

  void Tell(const json& truth) {
    uint64_t all = 0, critical = 0;
    for (uint16_t type = 0; type < NT_TYPE_MAX; ++type) {
      all += seen_[type] + lost_[type];
      if (NT_IS_RESERVED(type)) critical += seen_[type] + lost_[type];
    }
    const double seconds = static_cast<double>(truth.at("elapsed_ns").get<uint64_t>()) / 1e9;
    critical_per_second_ = static_cast<double>(critical) / seconds;
    fmt::print(
        "{} records in {:.1f} s ({:.0f}/s), {} lost; critical {} ({:.0f}/s), {} lost; "
        "most in one reserve {} of {} bytes, {} records there\n",
        all, seconds, static_cast<double>(all) / seconds, Lost().first + Lost().second, critical, critical_per_second_,
        Lost().first, counters_.reserve.peak_bytes, counters_.reserve.size_bytes, counters_.reserve.records);
  }

  agent::SourceCounters counters_;
  double critical_per_second_ = 0;

 private:
  struct Place {
    uint64_t last = 0;
    std::vector<Range> holes;  // not explained yet
    std::vector<Range> said;
  };
  TypeCounts seen_{}, said_{}, lost_{};
  std::map<uint32_t, Place> places_;
  agent::LossLedger ledger_;
};

TEST_F(StormTest, EveryActIsToldOrCounted) {
  agent::CaptureOptions options;
  options.ring_bytes_per_cpu = options.reserve_bytes_per_cpu = 65536;  // so that both lose
  const Outcome run = Rage(options, Full() ? 600'000 : 8'000, {"all", "all", "all", "all"});
  if (HasFatalFailure()) return;
  const json& truth = run.Truth("main");
  ExpectAllToldOrCounted(truth);
  Tell(truth);
  EXPECT_GT(Lost().second, 1000u) << "rings this small must overflow, or this test shows nothing";
}

TEST_F(StormTest, AFileStormEvictsNothingCritical) {
  agent::CaptureOptions options;
  options.ring_bytes_per_cpu = 65536;
  const Outcome run = Rage(options, Full() ? 60'000 : 5'000, {"files", "files", "critical=9500", "critical=9500"});
  if (HasFatalFailure()) return;
  const json& truth = run.Truth("main");
  ExpectAllToldOrCounted(truth);
  Tell(truth);
  EXPECT_GT(Lost().second, 1000u) << "the file storm must overflow its ring, or this test shows nothing";
  EXPECT_EQ(Lost().first, 0u);
  EXPECT_GT(counters_.reserve.records, 0u);
  EXPECT_LE(critical_per_second_, 20'000) << "more than is promised";
  EXPECT_GE(critical_per_second_, 1'000) << "too few to show anything";
}

// The same without it: what the test above shows is the reserve's doing.
TEST_F(StormTest, WithoutAReserveItWould) {
  agent::CaptureOptions options;
  options.ring_bytes_per_cpu = 65536;
  options.reserve_bytes_per_cpu = 0;
  const Outcome run = Rage(options, 1'500, {"files", "files", "critical=9500", "critical=9500"});
  if (HasFatalFailure()) return;
  ExpectAllToldOrCounted(run.Truth("main"));
  EXPECT_GT(Lost().first, 0u);
  EXPECT_EQ(counters_.reserve.records, 0u);
}

}  // namespace
}  // namespace nodetrail::root_test
