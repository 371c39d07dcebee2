// SPDX-License-Identifier: Apache-2.0
//
// How far each program is from the verifier's bound of a million instructions.
// bpf/insns.tsv holds what it walked on the kernels of the matrix.
#include <fmt/format.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>

#include "tests/root/fixture.h"

namespace nodetrail::root_test {
namespace {

using Version = std::pair<int, int>;  // 6.12
using Counts = std::map<std::string, uint64_t>;

// A kernel that is not in the table is held to the newest one before it, or to the oldest.
const Counts& Nearest(const std::map<Version, Counts>& table, Version kernel) {
  auto after = table.upper_bound(kernel);
  if (after != table.begin()) --after;
  return after->second;
}

Version ThisKernel() {
  utsname name{};
  Version version{};
  EXPECT_EQ(uname(&name), 0);
  EXPECT_EQ(std::sscanf(name.release, "%d.%d", &version.first, &version.second), 2) << name.release;
  return version;
}

// Lines of kernel, program and instructions, tabs between them; # begins a comment.
std::map<Version, Counts> ReadTable() {
  std::map<Version, Counts> table;
  std::ifstream file(NT_INSNS);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    Version kernel{};
    char dot = 0;
    std::string program;
    uint64_t insns = 0;
    words >> kernel.first >> dot >> kernel.second >> program >> insns;
    EXPECT_TRUE(words && insns > 0) << NT_INSNS << ": " << line;
    EXPECT_TRUE(table[kernel].emplace(program, insns).second) << NT_INSNS << ": twice: " << line;
  }
  return table;
}

class VerifierTest : public RootTest {};

// `./dev test-kernel --write-insns` reads the properties, and asks with
// NT_UPDATE_INSNS=1 for no judgement.
TEST_F(VerifierTest, WalksNoMoreThanItDid) {
  OpenCapture();
  if (HasFatalFailure()) return;
  const auto costs = capture_->Costs();
  ASSERT_TRUE(costs.ok()) << costs.status().ToString();
  const bool update = std::getenv("NT_UPDATE_INSNS") != nullptr;
  const auto table = update ? std::map<Version, Counts>{{ThisKernel(), {}}} : ReadTable();
  ASSERT_FALSE(table.empty()) << NT_INSNS << " has no lines; ./dev test-kernel --write-insns writes it";
  const Counts& before = Nearest(table, ThisKernel());
  std::set<std::string> programs;
  size_t loaded = 0;
  for (const agent::ProgramCost& cost : *costs) {
    programs.insert(cost.program);
    if (!cost.loaded) continue;
    ++loaded;
    ASSERT_GT(cost.verified_insns, 0u) << cost.program << ": this kernel does not say what its verifier walked";
    RecordProperty(cost.program, std::to_string(cost.verified_insns));
    if (update) continue;
    const auto known = before.find(cost.program);
    if (known == before.end()) {
      ADD_FAILURE() << cost.program << " is not in " << NT_INSNS << "; ./dev test-kernel --write-insns";
      continue;
    }
    EXPECT_LE(cost.verified_insns, known->second * 11 / 10)
        << cost.program << ": the verifier walks more than 10 % more instructions than the " << known->second
        << " before; make it simpler, or accept it with ./dev test-kernel --write-insns";
  }
  EXPECT_GT(loaded, 0u);
  for (const auto& [kernel, counts] : table) {
    for (const auto& [program, insns] : counts) {
      EXPECT_TRUE(programs.contains(program)) << program << " of " << NT_INSNS << " is no program any more";
    }
  }
}

}  // namespace
}  // namespace nodetrail::root_test
