// SPDX-License-Identifier: Apache-2.0
//
// nt_sim: many simulated worlds, or one again.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "nodetrail/base/log.h"
#include "nodetrail/base/status.h"
#include "tests/sim/world.h"

namespace nodetrail::sim {
namespace {

struct Args {
  uint64_t first = 1;
  uint64_t seeds = 200;
  uint64_t steps = 500;
  uint64_t seed = 0;
  unsigned jobs = 2;
  std::string bug;
  bool bugs = false;
  bool trace = false;
  bool json = false;
  std::string keep;
  std::string program;
};

std::string TempRoot() {
  const char* base = ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
  return fmt::format("{}/nodetrail-sim-{}", base, ::getpid());
}

// What a verifier needs of a world, and a line for it in cases.jsonl, as the
// verifiers' corpus has it: paths are relative to that file.
void Keep(const std::string& keep, uint64_t seed, const std::string& dir, int verdict) {
  const std::string to = fmt::format("{}/{}", keep, seed);
  std::filesystem::create_directories(to);
  std::filesystem::copy(dir + "/collector/trail", to + "/trail", std::filesystem::copy_options::recursive);
  for (const char* name : {"ca.pem", "policy.txt"}) std::filesystem::copy(dir + "/" + name, to + "/" + name);
  const nlohmann::ordered_json line = {{"name", fmt::format("world-{}", seed)},
                                       {"dir", fmt::format("{}/trail", seed)},
                                       {"expected", fmt::format("{}", verdict)},
                                       {"batch", "-"},
                                       {"reason", "-"},
                                       {"ca", fmt::format("{}/ca.pem", seed)},
                                       {"log_key", ""},
                                       {"policy", fmt::format("{}/policy.txt", seed)},
                                       {"prior", nlohmann::json::array()},
                                       {"require_enrolment", false},
                                       {"changed", ""},
                                       {"spared", ""}};
  std::FILE* cases = std::fopen((keep + "/cases.jsonl").c_str(), "a");
  NT_CHECK(cases != nullptr);
  fmt::print(cases, "{}\n", line.dump());
  std::fclose(cases);
}

// One world in a clean folder.
WorldResult RunOne(const Args& args, uint64_t seed, const std::string& dir) {
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  WorldResult result = RunWorld({.seed = seed, .steps = args.steps, .dir = dir, .bug = args.bug, .trace = args.trace});
  if (!args.keep.empty() && result.verdict >= 0) Keep(args.keep, seed, dir, result.verdict);
  std::filesystem::remove_all(dir);
  return result;
}

// Seeds first, first + stride, ...; stops at the first violation if `until_found`. Prints one JSON object.
void Worker(const Args& args, uint64_t offset, bool until_found, const std::string& dir, std::FILE* out) {
  nlohmann::json tally = {{"worlds", 0}, {"counts", nlohmann::json::object()}, {"violations", nlohmann::json::array()}};
  uint64_t worlds = 0;
  std::map<std::string, uint64_t> counts;
  for (uint64_t i = offset; i < args.seeds; i += args.jobs) {
    const uint64_t seed = args.first + i;
    const WorldResult result = RunOne(args, seed, dir);
    ++worlds;
    for (const auto& [name, count] : result.counts) counts[name] += count;
    if (!result.violation.empty()) {
      tally["violations"].push_back({{"seed", seed}, {"step", result.step}, {"what", result.violation}});
      if (until_found || tally["violations"].size() >= 5) break;
    }
  }
  tally["worlds"] = worlds;
  tally["counts"] = counts;
  fmt::print(out, "{}\n", tally.dump());
}

// Forks `jobs` workers and adds up what they say. `complete` false: one died.
nlohmann::json RunAll(const Args& args, bool until_found, bool* complete) {
  const std::string root = TempRoot();
  std::filesystem::create_directories(root);
  std::vector<std::pair<pid_t, std::FILE*>> workers;
  for (unsigned job = 0; job < args.jobs; ++job) {
    int fds[2];
    NT_CHECK(::pipe(fds) == 0);
    std::fflush(stdout);
    const pid_t pid = ::fork();
    NT_CHECK(pid >= 0);
    if (pid == 0) {
      ::close(fds[0]);
      std::FILE* out = ::fdopen(fds[1], "w");
      Worker(args, job, until_found, fmt::format("{}/{}", root, job), out);
      std::fclose(out);
      std::_Exit(0);
    }
    ::close(fds[1]);
    workers.emplace_back(pid, ::fdopen(fds[0], "r"));
  }
  nlohmann::json all = {{"worlds", 0}, {"violations", nlohmann::json::array()}};
  std::map<std::string, uint64_t> counts;
  *complete = true;
  for (const auto& [pid, in] : workers) {
    std::string text;
    char buffer[4096];
    for (size_t n = 0; (n = std::fread(buffer, 1, sizeof(buffer), in)) > 0;) text.append(buffer, n);
    std::fclose(in);
    int status = 0;
    ::waitpid(pid, &status, 0);
    const nlohmann::json part = nlohmann::json::parse(text, nullptr, false);
    if (status != 0 || part.is_discarded()) {
      *complete = false;
      continue;
    }
    all["worlds"] = all["worlds"].get<uint64_t>() + part["worlds"].get<uint64_t>();
    for (const auto& [name, count] : part["counts"].items()) counts[name] += count.get<uint64_t>();
    for (const auto& violation : part["violations"]) all["violations"].push_back(violation);
  }
  all["counts"] = counts;
  std::filesystem::remove_all(root);
  return all;
}

int RunBugs(Args args) {
  int missed = 0;
  for (const Bug& bug : PlantedBugs()) {
    args.bug = bug.name;
    bool complete = false;
    const nlohmann::json all = RunAll(args, true, &complete);
    const bool found = !all["violations"].empty();
    // A bug may also end a world by an assertion of the code under test.
    fmt::print("{:28} {:9} {:4} worlds  {}\n", bug.name,
               found      ? "found"
               : complete ? "MISSED"
                          : "CRASHED",
               all["worlds"].get<uint64_t>(),
               found ? all["violations"][0]["what"].get<std::string>().substr(0, 110) : std::string(bug.what));
    std::fflush(stdout);
    if (!found) ++missed;
  }
  return missed == 0 ? 0 : 1;
}

int RunMany(const Args& args) {
  bool complete = false;
  nlohmann::json all = RunAll(args, false, &complete);
  bool ok = complete && all["violations"].empty() && all["worlds"] == args.seeds;
  std::vector<std::string> missing;
  for (const Kind& kind : Kinds()) {
    const std::string name(kind.name);
    if (args.seeds >= kind.in_worlds && all["counts"].value(name, uint64_t{0}) == 0) missing.push_back(name);
  }
  if (!missing.empty()) ok = false;
  if (args.json) {
    all["ok"] = ok;
    all["never_happened"] = missing;
    fmt::print("{}\n", all.dump());
    return ok ? 0 : 1;
  }
  for (const auto& [name, count] : all["counts"].items()) fmt::print("{:28} {:10}\n", name, count.get<uint64_t>());
  for (const std::string& kind : missing) fmt::print("never happened: {}\n", kind);
  for (const auto& violation : all["violations"]) {
    fmt::print("seed {} step {}: {}\n  step by step: {} --seed {} --steps {}{} --trace\n",
               violation["seed"].get<uint64_t>(), violation["step"].get<uint64_t>(),
               violation["what"].get<std::string>(), args.program, violation["seed"].get<uint64_t>(), args.steps,
               args.bug.empty() ? "" : " --bug " + args.bug);
  }
  if (!complete) fmt::print("a worker died: the code under test aborted\n");
  fmt::print("{} worlds of {} steps, seeds {} to {}: {}\n", all["worlds"].get<uint64_t>(), args.steps, args.first,
             args.first + args.seeds - 1, ok ? "all invariants hold" : "FAILED");
  return ok ? 0 : 1;
}

int RunSeed(const Args& args) {
  const std::string root = TempRoot();
  const WorldResult first = RunOne(args, args.seed, root);
  for (const auto& [name, count] : first.counts) fmt::print("{:28} {:10}\n", name, count);
  fmt::print("log {}\n{}\n", first.digest, first.violation.empty() ? "all invariants hold" : first.violation);
  return first.violation.empty() ? 0 : 1;
}

}  // namespace
}  // namespace nodetrail::sim

int main(int argc, char** argv) {
  nodetrail::sim::Args args;
  CLI::App app{
      "Runs simulated worlds of agents, a collector and witnesses whose disks, network, clocks and processes fail.\n"
      "The same seed is the same world.\n\n"
      "  nt_sim --seeds 10000 --jobs 2      ten thousand worlds\n"
      "  nt_sim --seed 17 --trace           one of them, told step by step\n"
      "  nt_sim --planted-bugs              each bug that was planted must be found"};
  app.add_option("--seeds", args.seeds, "how many worlds")->check(CLI::PositiveNumber);
  app.add_option("--first", args.first, "the first seed");
  app.add_option("--steps", args.steps, "of each world")->check(CLI::PositiveNumber);
  auto* seed = app.add_option("--seed", args.seed, "this world only");
  app.add_option("--jobs", args.jobs, "processes at once")->check(CLI::Range(1U, 64U));
  app.add_option("--bug", args.bug, "plant this one");
  app.add_flag("--planted-bugs", args.bugs, "plant each bug in turn; fails if one is not found");
  app.add_option("--keep", args.keep, "leave each world's trail in this folder, listed in cases.jsonl");
  app.add_flag("--trace", args.trace, "print each step");
  app.add_flag("--json", args.json, "one JSON object");
  CLI11_PARSE(app, argc, argv);
  args.program = argv[0];
  // Thousands of worlds would tell thousands of stories.
  if (!args.trace) nodetrail::log::Init("nt_sim", nodetrail::log::Level::kError, false);
  if (args.bugs) return nodetrail::sim::RunBugs(args);
  return seed->count() > 0 ? nodetrail::sim::RunSeed(args) : nodetrail::sim::RunMany(args);
}
