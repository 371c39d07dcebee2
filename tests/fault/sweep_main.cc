// SPDX-License-Identifier: Apache-2.0
//
// nt_fault_sweep --side agent|collector [--fault kill|memory] [--points N | --full] [--point N] [--jobs N]
//                [--json FILE] [--keep]
//
// Rows 1, 35 and 15 of the fault table. A counting run says how many points
// there are; then N of them. Of kills they are evenly spread, or all. Refused
// allocations are many more: the first half of the N is every one from the
// first on, the rest is spread over all others. Some points of each phase of the
// workload come on top, counted within it: point 30000004 is the fourth of the
// third phase.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "nodetrail/base/log.h"
#include "tests/fault/sweep.h"

namespace nodetrail::fault {
namespace {

// Some are not reached: a run has not always the same number of checkpoints.
constexpr uint64_t kDefaultPoints[] = {320, 400};  // by Fault
constexpr uint64_t kPerPhase = 16;

struct Options {
  std::string side;
  Fault fault = Fault::kKill;
  uint64_t points = 0;  // 0: kDefaultPoints
  bool full = false;
  uint64_t point = 0;
  unsigned jobs = 2;
  std::string json;
  bool keep = false;
};

bool Parse(int argc, char** argv, Options* o) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg == "--full" || arg == "--keep") {
      (arg == "--full" ? o->full : o->keep) = true;
      continue;
    }
    if (i + 1 == argc) return false;
    const char* value = argv[++i];
    if (arg == "--side") o->side = value;
    else if (arg == "--fault" && std::string_view(value) == "kill") o->fault = Fault::kKill;
    else if (arg == "--fault" && std::string_view(value) == "memory") o->fault = Fault::kMemory;
    else if (arg == "--json") o->json = value;
    else if (arg == "--points") o->points = std::strtoull(value, nullptr, 10);
    else if (arg == "--point") o->point = std::strtoull(value, nullptr, 10);
    else if (arg == "--jobs") o->jobs = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
    else return false;
  }
  if (o->points == 0) o->points = kDefaultPoints[static_cast<size_t>(o->fault)];
  return (o->side == "agent" || o->side == "collector") && o->jobs > 0 && o->jobs <= 64;
}

class Sweep {
 public:
  Sweep(const Options& options, Side* side) : options_(options), side_(side) {}

  // Exit status.
  int Run() {
    uint64_t total = 0;
    const PointResult counting = side_->RunPoint({}, &total);
    if (!counting.wrong.empty()) {
      fmt::print("{}: the run without a kill fails: {}\n", side_->name(), counting.wrong);
      return 1;
    }
    if (side_->fault() == Fault::kKill) {
      fmt::print("{}: {} points (before and after each of {} calls), a run takes {} ms\n", side_->name(), total,
                 total / 2, counting.took.count());
    } else {
      fmt::print("{}: {} allocations while it runs, a run takes {} ms\n", side_->name(), total, counting.took.count());
    }
    std::fflush(stdout);
    in_phase_ = counting.phases;
    std::vector<Point> points;
    if (options_.point != 0) {
      points.push_back(Point::Of(options_.point));
    } else {
      points = Points(total);
    }
    RunAll(points);
    return Report(total, points.size());
  }

 private:
  [[nodiscard]] std::vector<Point> Points(uint64_t total) const {
    std::vector<Point> points;
    const bool all = options_.full && side_->fault() == Fault::kKill;
    const uint64_t wanted = all ? total : std::min(options_.full ? 10 * options_.points : options_.points, total);
    const uint64_t dense = side_->fault() == Fault::kMemory ? wanted / 2 : 0;
    for (uint64_t i = 0; i < dense; ++i) points.push_back({0, 1 + i});
    for (uint64_t i = 0; i < wanted - dense; ++i) {
      points.push_back({0, dense + 1 + i * (total - dense) / (wanted - dense)});
    }
    const std::vector<Phase>& phases = side_->phases();
    for (size_t p = 0; p < phases.size(); ++p) {
      const auto of = in_phase_.find(phases[p].name);
      const uint64_t there = of == in_phase_.end() ? 0 : of->second;
      const uint64_t count = std::min(kPerPhase, there);
      for (uint64_t i = 0; i < count; ++i) points.push_back({p + 1, 1 + i * there / count});
    }
    return points;
  }

  [[nodiscard]] std::string Again(const Point& point) const {
    return fmt::format("./dev test-fault --side {}{} --point {}", side_->name(),
                       side_->fault() == Fault::kMemory ? " --fault memory" : "", point.Number());
  }

  void RunAll(const std::vector<Point>& points) {
    std::atomic<size_t> next = 0;
    const auto work = [&] {
      for (size_t i = next++; i < points.size(); i = next++) {
        PointResult result = side_->RunPoint(points[i], nullptr);
        const std::lock_guard lock(mutex_);
        Take(std::move(result), points.size());
      }
    };
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < options_.jobs; ++i) threads.emplace_back(work);
    for (std::thread& thread : threads) thread.join();
  }

  void Take(PointResult result, size_t of) {
    ++done_;
    took_ += result.took;
    if (!result.reached) ++not_reached_;
    else ++ended_[result.ended];
    if (result.reached && result.point.phase != 0) ++killed_in_[side_->phases()[result.point.phase - 1].name];
    if (!result.wrong.empty()) {
      fmt::print("{}: point {} ({}): {}\n    again: {}\n", side_->name(), result.point.Number(), result.where,
                 result.wrong, Again(result.point));
      failures_.push_back(std::move(result));
    } else if (options_.point != 0) {
      fmt::print("{}: point {} ({}): {}\n", side_->name(), result.point.Number(), result.where,
                 result.reached ? result.ended + ", holds" : "not reached in this run");
    }
    if (done_ % 50 == 0 || done_ == of) {
      fmt::print("{}: {} of {}\n", side_->name(), done_, of);
    }
    std::fflush(stdout);
  }

  int Report(uint64_t total, size_t of) const {
    fmt::print("\n{:<26}{}\n", "the program", "times");
    for (const auto& [how, times] : ended_) fmt::print("{:<26}{}\n", how, times);
    fmt::print("{}: {} points of {}: at {} of them all holds, {} not reached, {} FAILED; {} ms each\n\n", side_->name(),
               of, total, of - not_reached_ - Reached(failures_), not_reached_, failures_.size(),
               of == 0 ? 0 : took_.count() / static_cast<int64_t>(of));
    const bool crossed = ReportPhases();
    if (!options_.json.empty()) {
      nlohmann::ordered_json out;
      out["side"] = side_->name();
      out["fault"] = side_->fault() == Fault::kKill ? "kill" : "memory";
      out["points_total"] = total;
      out["points_run"] = of;
      out["not_reached"] = not_reached_;
      out["ended"] = ended_;
      out["phases"] = in_phase_;
      out["killed_in"] = killed_in_;
      out["crossed"] = crossed;
      out["failures"] = nlohmann::ordered_json::array();
      for (const PointResult& failure : failures_) {
        out["failures"].push_back({{"point", failure.point.Number()},
                                   {"where", failure.where},
                                   {"wrong", failure.wrong},
                                   {"again", Again(failure.point)}});
      }
      std::ofstream(options_.json) << out.dump(2) << "\n";
    }
    // A point that the run no longer has tests nothing: a few are the threads' doing, many are a mistake.
    if (options_.point == 0 && not_reached_ * 5 > of) {
      fmt::print("{}: too many points were not reached\n", side_->name());
      return 1;
    }
    return failures_.empty() && crossed ? 0 : 1;
  }

  // A phase in which nothing was done was not tested.
  [[nodiscard]] bool ReportPhases() const {
    const std::vector<Phase>& phases = side_->phases();
    if (side_->fault() != Fault::kKill || options_.point != 0) return true;
    bool crossed = true;
    fmt::print("{:<26}{:>7}{:>13}\n", "phase", "points", "killed there");
    for (const Phase& phase : phases) {
      const auto of = [&](const std::map<std::string, uint64_t>& counts) {
        const auto it = counts.find(phase.name);
        return it == counts.end() ? 0 : it->second;
      };
      const bool good = of(in_phase_) > 0 && of(killed_in_) > 0;
      fmt::print("{:<26}{:>7}{:>13}{}\n", phase.name, of(in_phase_), of(killed_in_), good ? "" : "  FAILED: none");
      crossed = crossed && good;
    }
    fmt::print("\n");
    return crossed;
  }

  static size_t Reached(const std::vector<PointResult>& results) {
    size_t n = 0;
    for (const PointResult& result : results) n += result.reached ? 1 : 0;
    return n;
  }

  const Options& options_;
  Side* side_;
  std::mutex mutex_;
  size_t done_ = 0, not_reached_ = 0;
  std::chrono::milliseconds took_{0};
  std::map<std::string, uint64_t> ended_;
  std::map<std::string, uint64_t> in_phase_, killed_in_;
  std::vector<PointResult> failures_;
};

}  // namespace
}  // namespace nodetrail::fault

int main(int argc, char** argv) {
  using namespace nodetrail::fault;
  Options options;
  if (!Parse(argc, argv, &options)) {
    fmt::print(stderr,
               "usage: nt_fault_sweep --side agent|collector [--fault kill|memory] [--points N | --full] [--point N] "
               "[--jobs N] [--json FILE] [--keep]\n");
    return 64;
  }
  // The collectors and shippers in this process tell of each kill: that is no news.
  nodetrail::log::Init("nt_fault_sweep", nodetrail::log::Level::kError, false);
  const Bench bench(options.keep);
  if (options.keep) fmt::print("kept in {}\n", bench.dir());
  const std::unique_ptr<Side> side =
      options.side == "agent" ? MakeAgentSide(&bench, options.fault) : MakeCollectorSide(&bench, options.fault);
  return Sweep(options, side.get()).Run();
}
