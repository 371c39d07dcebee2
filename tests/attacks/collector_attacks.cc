// SPDX-License-Identifier: Apache-2.0
//
// At the collector's door, and at its disk while it runs.
#include <functional>

#include "tests/attacks/attack.h"
#include "tests/attacks/ground.h"
#include "tests/attacks/node.h"
#include "trail/segment_format.h"

namespace nodetrail::attacks {
namespace {

using trail::SealedBatch;
using trail::TestAgent;

TEST_F(Attack, T07_Replay) {
  const trail::TestCa ca;
  TestAgent agent(ca, "acme", "web-1");
  Site site(ca);
  std::vector<SealedBatch> sent;
  for (int i = 0; i < 6; ++i) {
    sent.push_back(agent.Batch());
    site.Take(sent.back());
  }
  // On the wire: the same batch again is confirmed again, and stored once.
  const auto answer = site.Send(sent[3]);
  Found("collector: confirmed again, stored once",
        Acked(answer) && answer.ack().log_index() == 3 && site.committer->Totals().log_size == 6,
        answer.ShortDebugString());
  // By the collector, into its own log, under a root that it signs.
  Ground ground;
  ground.policy.identity_ca_pem = ca.CertPem();
  for (const SealedBatch& batch : sent) ground.Take(batch);
  ground.Take(sent[3]);
  ground.Write();
  const auto report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, VerifyReportText(report));
}

TEST_F(Attack, T34_BitFlipsBeforeSigning) {
  const trail::TestCa ca;
  TestAgent agent(ca, "acme", "web-1");
  Site site(ca);
  for (int i = 0; i < 4; ++i) site.Take(agent.Batch());
  ASSERT_EQ(site.Sign(), "");
  ASSERT_EQ(site.sequencer->GetHead().size, 4U);
  const SealedBatch batch = agent.Batch();
  site.Take(batch);
  // Durable, not yet signed: memory or disk changes a bit, checksum and all.
  const std::string file = site.trail() + "/log/000000.leaves";
  std::string bytes = Slurp(file);
  const size_t at = bytes.rfind(batch.leaf);
  ASSERT_NE(at, std::string::npos);
  bytes[at + 40] = static_cast<char>(bytes[at + 40] ^ 1);
  std::string crc;
  trail::PutLe(&crc, trail::Crc32c(std::string_view(bytes).substr(at, batch.leaf.size())), 4);
  bytes.replace(at - 4, 4, crc);
  Spill(file, bytes);
  const std::string problem = site.Sign();
  Found("collector: signs no more, and says so", !problem.empty() && site.sequencer->GetHead().size == 4, problem);
}

}  // namespace
}  // namespace nodetrail::attacks
