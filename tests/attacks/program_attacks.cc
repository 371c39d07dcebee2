// SPDX-License-Identifier: Apache-2.0
//
// By root against the running agent. Real programs; needs root and BTF.
#include <linux/bpf.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>
#include <sstream>

#include "nodetrail/trail/verify.h"
#include "tests/attacks/attack.h"
#include "tests/attacks/ground.h"
#include "tests/e2e/harness.h"

namespace nodetrail::attacks {
namespace {

using e2e::Eventually;
using e2e::Json;

constexpr uint64_t kSecond = 1'000'000'000;

trail::VerifyReport VerifyNode(const e2e::Node& node, std::optional<uint64_t> until_ns = std::nullopt) {
  trail::VerifyPolicy policy;
  policy.identity_ca_pem = Slurp(node.pki() + "/identity-ca/ca.pem");
  std::string vkey = Slurp(node.trail_dir() + "/log/log.vkey");
  vkey.resize(vkey.find('\n'));
  policy.log_key = *trail::NoteVerifier::Parse(vkey);
  policy.heartbeat_ns = kSecond;
  policy.coverage_until_ns = until_ns;
  auto report = trail::VerifyTrail(node.trail_dir(), policy);
  EXPECT_TRUE(report.ok()) << report.status().ToString();
  return report.ok() ? *std::move(report) : trail::VerifyReport();
}

uint64_t LongestSilence(const trail::VerifyReport& report) {
  uint64_t longest = 0;
  for (const auto& interval : report.agents.at(0).intervals) {
    if (interval.kind == trail::CoverageKind::kSilent) longest = std::max(longest, interval.to_ns - interval.from_ns);
  }
  return longest;
}

TEST_F(Attack, T17_StopOrKillAgent) {
  e2e::Node node("t17");
  node.StartCollector();
  e2e::AgentOptions options;
  options.heartbeat_s = 1;
  node.StartAgent(options);
  ASSERT_TRUE(node.Settled());
  node.agent.Signal(SIGSTOP);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(4);
  ASSERT_TRUE(Eventually([&] { return std::chrono::steady_clock::now() >= until; }, std::chrono::seconds(10)));
  node.agent.Signal(SIGCONT);
  ASSERT_TRUE(node.Settled());
  auto report = VerifyNode(node);
  Found("verifier: a silence in the coverage", LongestSilence(report) > 3 * kSecond, VerifyReportText(report));

  node.agent.Signal(SIGKILL);
  ASSERT_EQ(node.agent.Wait(std::chrono::seconds(10)).value_or(-1), 128 + SIGKILL);
  // Never started again: silent up to the day of the audit.
  const uint64_t last = report.agents.at(0).intervals.back().to_ns;
  report = VerifyNode(node, last + 3600 * kSecond);
  Found("verifier: a silence in the coverage", LongestSilence(report) > 3500 * kSecond, VerifyReportText(report));
  // Started again: it says itself what it did not see.
  node.StartAgent(options);
  ASSERT_TRUE(node.Settled());
  EXPECT_EQ(node.StopAgent(), 0);
  EXPECT_EQ(node.StopCollector(), 0);
  report = VerifyNode(node);
  Found("verifier: exit 1", static_cast<int>(report.verdict) == 1, VerifyReportText(report));
}

// Ids of the agent's own links: nobody else's are touched.
std::set<uint32_t> LinkIds(pid_t pid) {
  std::set<uint32_t> out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fdinfo")) {
    std::istringstream lines(e2e::ReadAll(entry.path().string()));
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("link_id:")) {
        out.insert(static_cast<uint32_t>(std::strtoul(line.c_str() + std::strlen("link_id:"), nullptr, 10)));
      }
    }
  }
  return out;
}

TEST_F(Attack, T18_DetachLinks) {
  e2e::Node node("t18");
  node.StartCollector();
  node.StartAgent();
  const std::set<uint32_t> links = LinkIds(node.agent.pid());
  ASSERT_FALSE(links.empty());
  size_t refused = 0;
  std::string detail;
  for (const uint32_t id : links) {
    bpf_attr attr;
    std::memset(&attr, 0, sizeof(attr));
    attr.link_id = id;
    const auto fd = static_cast<int>(::syscall(SYS_bpf, BPF_LINK_GET_FD_BY_ID, &attr, sizeof(attr)));
    ASSERT_GE(fd, 0);
    std::memset(&attr, 0, sizeof(attr));
    attr.link_detach.link_fd = static_cast<uint32_t>(fd);
    const auto detached = ::syscall(SYS_bpf, BPF_LINK_DETACH, &attr, sizeof(attr));
    if (detached != 0 && errno == EOPNOTSUPP) ++refused;
    else detail += "link " + std::to_string(id) + ": " + (detached == 0 ? "detached" : std::strerror(errno)) + "\n";
    ::close(fd);
  }
  const std::string file = node.dir() + "/after-it";
  e2e::RunCommand({"sh", "-c", "echo x > " + file});
  const bool seen = Eventually(
      [&] {
        return !node.Query({"--since", "1h", "--path", file}).empty();
      },
      std::chrono::seconds(20));
  Found("kernel: detaches no link of another process", refused == links.size() && seen, detail);
}

}  // namespace
}  // namespace nodetrail::attacks
