// SPDX-License-Identifier: Apache-2.0
#include "tests/attacks/prove.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "nodetrail/base/guard.h"
#include "tests/attacks/attack.h"

namespace nodetrail::attacks {
namespace {

namespace fs = std::filesystem;

// The proof is of what is shipped: there the mark is the condition, no more.
#define NT_TEXT_OF(...) #__VA_ARGS__
#define NT_EXPANDED(...) NT_TEXT_OF(__VA_ARGS__)
static_assert(std::string_view(NT_EXPANDED(NT_GUARD(name, a == b))) == "(a == b)");

struct Outcome {
  bool passed = false;
  int went_through = 0;  // attacks that nothing found
  std::string output;
};

// A program to its end; what it printed.
Outcome Run(const std::string& program, const Row& row, const std::string& removed) {
  Outcome out;
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return out;
  std::vector<std::string> args = {program, "--gtest_filter=Attack." + row.test, "--gtest_color=no"};
  std::vector<std::string> env = {"NODETRAIL_GUARDS_REMOVED=" + removed};
  // Thousands of fsyncs of which none matters here.
  if (::access("/dev/shm", W_OK) == 0) env.emplace_back("TMPDIR=/dev/shm");
  for (char** one = ::environ; *one != nullptr; ++one) env.emplace_back(*one);
  std::vector<char*> argv;
  std::vector<char*> envp;
  for (std::string& arg : args) argv.push_back(arg.data());
  for (std::string& one : env) envp.push_back(one.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, pipe[1], 1);
  ::posix_spawn_file_actions_adddup2(&actions, pipe[1], 2);
  pid_t child = -1;
  const int error = ::posix_spawn(&child, program.c_str(), &actions, nullptr, argv.data(), envp.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(pipe[1]);
  std::array<char, 4096> chunk{};
  ssize_t n = 0;
  while (error == 0 && ((n = ::read(pipe[0], chunk.data(), chunk.size())) > 0 || (n < 0 && errno == EINTR))) {
    if (n > 0) out.output.append(chunk.data(), static_cast<size_t>(n));
  }
  ::close(pipe[0]);
  int status = -1;
  if (error == 0) {
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  }
  out.passed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  for (size_t at = out.output.find(kWentThrough); at != std::string::npos; at = out.output.find(kWentThrough, at + 1)) {
    ++out.went_through;
  }
  return out;
}

std::string Names(const std::vector<std::string>& guards, const std::string& but = "") {
  std::string out;
  for (const std::string& guard : guards) {
    if (guard != but) out += (out.empty() ? "" : ",") + guard;
  }
  return out;
}

std::string FoundBy(const Row& row) {
  std::string out;
  for (const std::string& by : row.found) out += (out.empty() ? "" : "; ") + by;
  return out.empty() ? "not detectable, documented" : out;
}

// What is wrong with the row; empty if nothing.
std::string ProveRow(const Row& row, const std::string& intact, const std::string& mutant) {
  const Outcome whole = Run(intact, row, "");
  if (!whole.passed) return "fails as it is:\n" + whole.output;
  if (row.guards.empty()) return "";
  // The same objects with every guard standing: what fails below fails by the guards.
  const Outcome standing = Run(mutant, row, "");
  if (!standing.passed) return "fails with removable guards though all stand:\n" + standing.output;
  const Outcome bare = Run(mutant, row, Names(row.guards));
  if (bare.passed) return "still passes without " + Names(row.guards);
  if (bare.went_through == 0) {
    return fmt::format("without {} it fails otherwise than by an attack that goes through:\n{}", Names(row.guards),
                       bare.output);
  }
  if (row.guards.size() == 1) return "";
  for (const std::string& guard : row.guards) {
    if (Run(mutant, row, guard).went_through > 0) continue;
    if (Run(mutant, row, Names(row.guards, guard)).went_through < bare.went_through) continue;
    return fmt::format("guard {} makes no difference to it", guard);
  }
  return "";
}

std::string ReadText(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Guard -> where, in C++ sources but those of the tests and the header itself.
std::map<std::string, std::string> GuardsInSource() {
  std::map<std::string, std::string> out;
  const fs::path root = NT_SOURCE_DIR;
  const std::regex mark(R"(NT_GUARD\(\s*([a-z0-9_]+)\s*,)");
  for (const char* dir : {"agent", "base", "cli", "collector", "include", "trail", "witness"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / dir)) {
      const std::string extension = entry.path().extension().string();
      if ((extension != ".cc" && extension != ".h") || entry.path().filename() == "guard.h") continue;
      const std::string text = ReadText(entry.path());
      for (std::sregex_iterator it(text.begin(), text.end(), mark), end; it != end; ++it) {
        out.emplace((*it)[1].str(), fs::relative(entry.path(), root).string());
      }
    }
  }
  return out;
}

std::set<std::string> Tests() {
  std::set<std::string> out;
  const auto* unit = ::testing::UnitTest::GetInstance();
  for (int s = 0; s < unit->total_test_suite_count(); ++s) {
    const auto* suite = unit->GetTestSuite(s);
    for (int t = 0; t < suite->total_test_count(); ++t) out.insert(suite->GetTestInfo(t)->name());
  }
  return out;
}

}  // namespace

int Prove(const std::vector<std::string>& tests) {
  const fs::path intact = fs::read_symlink("/proc/self/exe");
  const fs::path mutant = intact.parent_path() / "nt_attack_mutant";
  if (!fs::exists(mutant)) {
    fmt::print(stderr, "{} is missing: build nt_attack_mutant\n", mutant.string());
    return 1;
  }
  int failed = 0;
  size_t proven = 0;
  for (const Row& row : Rows()) {
    if (!tests.empty() && std::find(tests.begin(), tests.end(), row.test) == tests.end() &&
        std::find(tests.begin(), tests.end(), row.id) == tests.end()) {
      continue;
    }
    ++proven;
    if (row.programs() && (::geteuid() != 0 || ::access("/sys/kernel/btf/vmlinux", R_OK) != 0)) {
      fmt::print("{:4} {:58} not run: it needs root and BTF\n", row.id, row.attack);
      continue;
    }
    const std::string wrong = ProveRow(row, intact.string(), mutant.string());
    const std::string without = row.guards.empty() ? "no check of ours to remove"
                                                   : fmt::format("fails as it must without {}", Names(row.guards));
    fmt::print("{:4} {:58} {}; {}\n", row.id, row.attack, FoundBy(row), wrong.empty() ? without : "WRONG: " + wrong);
    std::fflush(stdout);
    if (!wrong.empty()) ++failed;
  }
  if (proven == 0 || proven < tests.size()) {
    fmt::print(stderr, "no such row\n");
    return 1;
  }
  fmt::print("{} rows, {} wrong\n", proven, failed);
  return failed == 0 ? 0 : 1;
}

std::string Markdown() {
  std::string out =
      "# Attacks\n\n"
      "Every attack that the design counts on, made on the real parts, and who finds it. This page is written by\n"
      "`./dev test-attacks --markdown`; `./dev test-attacks` makes the attacks, and makes each again with the checks "
      "of the\n"
      "last column compiled out: then it must go through, or the row would prove nothing. *Verifier* is `nodetrail "
      "verify`, with\n"
      "its exit code (3: tampering, 2: a gap that nobody explains, 1: a declared loss).\n\n"
      "| | attack | found by | what is not found | checks that find it |\n|---|---|---|---|---|\n";
  for (const Row& row : Rows()) {
    std::string guards;
    for (const std::string& guard : row.guards) guards += (guards.empty() ? "`" : ", `") + guard + "`";
    out += fmt::format("| {} | {} | {} | {} | {} |\n", row.id, row.attack, FoundBy(row), row.limit,
                       guards.empty() ? "–" : guards);
  }
  out +=
      "\nA check is marked in the source by its name (`include/nodetrail/base/guard.h`). More checks than these exist; "
      "a mark\n"
      "means that an attack of this table is proven to need it.\n";
  return out;
}

int CheckTable() {
  int wrong = 0;
  const auto say = [&](const std::string& text) {
    fmt::print("{}\n", text);
    ++wrong;
  };
  const std::map<std::string, std::string> guards = GuardsInSource();
  std::set<std::string> used;
  std::set<std::string> rows;
  for (const Row& row : Rows()) {
    rows.insert(row.test);
    used.insert(row.guards.begin(), row.guards.end());
    if (row.found.empty() && row.limit.empty()) say(row.id + ": found by nobody, and no reason is given");
    if (!row.guards.empty() && row.found.empty()) say(row.id + ": guards, but nobody finds it");
    for (const std::string& guard : row.guards) {
      if (!guards.contains(guard)) say(fmt::format("{}: no guard {} in the source", row.id, guard));
    }
  }
  for (const auto& [guard, file] : guards) {
    if (!used.contains(guard)) say(fmt::format("{}: guard {} is in no row", file, guard));
  }
  const std::set<std::string> tests = Tests();
  for (const std::string& test : tests) {
    if (!rows.contains(test)) say("a test without a row: " + test);
  }
  for (const std::string& row : rows) {
    if (!tests.contains(row)) say("a row without a test: " + row);
  }
  if (ReadText(fs::path(NT_SOURCE_DIR) / "docs/attacks.md") != Markdown()) {
    say("docs/attacks.md is not what the table says; ./dev test-attacks --markdown > docs/attacks.md");
  }
  return wrong == 0 ? 0 : 1;
}

}  // namespace nodetrail::attacks
