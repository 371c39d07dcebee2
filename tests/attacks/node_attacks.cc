// SPDX-License-Identifier: Apache-2.0
//
// By root on a node: its keys, its spool, its machine.
#include <filesystem>
#include <functional>

#include "agent/spool/file_ops.h"
#include "agent/spool/record_format.h"
#include "tests/attacks/attack.h"
#include "tests/attacks/ground.h"
#include "tests/attacks/node.h"

namespace nodetrail::attacks {
namespace {

namespace fs = std::filesystem;
using trail::SealedBatch;

TEST_F(Attack, T12_RewriteWithLiveKey) {
  const trail::TestCa ca;
  Node node(ca);
  node.Start();
  for (int i = 0; i < 5; ++i) node.Batch();
  const std::vector<trail::Ed25519Key> keys = node.StealKeys();
  ASSERT_FALSE(keys.empty());

  // The newest batch shows the break-in. Is its key still somewhere?
  const SealedBatch& victim = node.batches.back();
  const trail::Ed25519Key* key = keys.data();
  for (const trail::Ed25519Key& stolen : keys) {
    if (trail::View(stolen.public_key()) == victim.header.signer_key()) key = &stolen;
  }
  const auto attempt = [&](const std::function<void(trail::v1::BatchHeader*)>& edit) {
    Site site(ca);
    for (size_t i = 0; i + 1 < node.batches.size(); ++i) site.Take(node.batches[i]);
    trail::v1::BatchHeader forged = victim.header;
    forged.set_critical_flush(!forged.critical_flush());
    edit(&forged);
    const auto answer = site.Send("web-1", *trail::MakeLeaf(forged.SerializeAsString(), *key), victim.body);
    Found("collector: refused, quarantined", Refused(answer) && site.committer->Totals().quarantined == 1,
          answer.ShortDebugString());
  };
  attempt([](auto*) {});
  attempt([&](auto* h) { h->set_signer_key(trail::Bytes(key->public_key())); });
}

TEST_F(Attack, T13_DropUnsentAndGoOn) {
  const trail::TestCa ca;
  Node node(ca);
  node.Start();
  Site site(ca);
  for (int i = 0; i < 3; ++i) site.Take(node.Batch());
  node.Batch();
  node.Batch();
  // Two batches go; the running agent, which has the next key, goes on.
  const SealedBatch after = node.Batch();
  const auto asked = site.Send(after);
  Found(
      "collector: asks for the missing batch",
      asked.has_nack() && asked.nack().reason() == ingest::v1::NACK_REASON_EXPECTED && asked.nack().expected_seq() == 3,
      asked.ShortDebugString());
  // Root says that they are gone for good.
  ASSERT_TRUE(Acked(site.Send(after, true)));
  ASSERT_EQ(site.Sign(), "");
  const auto report = site.Verify();
  Found("verifier: exit 2", static_cast<int>(report.verdict) == 2, VerifyReportText(report));
  // Or makes a batch for the place of the first, with the key of the fourth.
  for (const trail::Ed25519Key& key : node.StealKeys()) {
    Site other(ca);
    for (int i = 0; i < 3; ++i) other.Take(node.batches[static_cast<size_t>(i)]);
    trail::v1::BatchHeader forged = node.batches[3].header;
    forged.set_signer_key(trail::Bytes(key.public_key()));
    const auto answer = other.Send("web-1", *trail::MakeLeaf(forged.SerializeAsString(), key), node.batches[3].body);
    Found("collector: refused, quarantined", Refused(answer), answer.ShortDebugString());
  }
}

TEST_F(Attack, T14_DropUnsentAndRestart) {
  const trail::TestCa ca;
  Node node(ca);
  node.Start();
  Site site(ca);
  for (int i = 0; i < 3; ++i) site.Take(node.Batch());
  // The spool as it is now, put back after two more batches.
  fs::copy(node.spool_dir(), node.dir / "before", fs::copy_options::recursive);
  node.Batch();
  node.Batch();
  const int key = node.CloneKeys();
  node.Stop();
  fs::remove_all(node.spool_dir());
  fs::rename(node.dir / "before", node.spool_dir());
  node.clock.Advance(5'000'000'000);
  node.Start(key);
  Found("agent: the key does not continue that spool, a new epoch", !node.sealer->continued());
  site.Take(node.Batch());
  ASSERT_EQ(site.Sign(), "");
  const auto report = site.Verify();
  Found("verifier: exit 2", static_cast<int>(report.verdict) == 2, VerifyReportText(report));
}

TEST_F(Attack, T21_CloneKey) {
  const trail::TestCa ca;
  Node node(ca);
  node.Start();
  Site site(ca);
  for (int i = 0; i < 3; ++i) site.Take(node.Batch());
  // The machine is copied as it runs: memory and disk. Both go on.
  Node clone(ca);
  fs::copy(node.spool_dir(), clone.spool_dir(), fs::copy_options::recursive);
  clone.clock.wall_ns = node.clock.wall_ns + 77;
  clone.Start(node.CloneKeys());
  ASSERT_TRUE(clone.sealer->continued());
  const SealedBatch one = node.Batch();
  const SealedBatch two = clone.Batch(3);
  ASSERT_EQ(one.header.seq(), two.header.seq());
  site.Take(one);
  const auto answer = site.Send(two);
  Found("collector: equivocation, both kept as evidence",
        answer.has_nack() && answer.nack().reason() == ingest::v1::NACK_REASON_EQUIVOCATION &&
            site.committer->Totals().equivocations == 1 && site.committer->Totals().quarantined == 1,
        answer.ShortDebugString());
  // Two hosts that went on as one may not pass as one that is whole.
  ASSERT_EQ(site.Sign(), "");
  const auto told = site.Verify();
  Found("verifier: exit 3, by what the collector quarantined", static_cast<int>(told.verdict) == 3,
        VerifyReportText(told));
  // A collector that puts both into its log.
  Ground ground;
  ground.policy.identity_ca_pem = ca.CertPem();
  for (const SealedBatch& batch : node.batches) ground.Take(batch);
  ground.Take(two);
  ground.Write();
  const auto report = ground.Verify();
  Found("verifier: exit 3", static_cast<int>(report.verdict) == 3, VerifyReportText(report));
}

// The only segment of a spool, with batch `index` exchanged for a forged leaf:
// salt, numbers and checksums are right.
void EditSpool(const std::string& dir, size_t index) {
  std::string file;
  for (const auto& entry : fs::directory_iterator(dir)) {
    if (entry.path().extension() == ".seg") file = entry.path().string();
  }
  const std::string bytes = Slurp(file);
  const auto header = agent::DecodeSegmentHeader(std::string_view(bytes).substr(0, agent::kSpoolHeaderBytes));
  ASSERT_TRUE(header.has_value());
  std::string out = bytes.substr(0, agent::kSpoolHeaderBytes);
  size_t batches = 0;
  for (size_t at = agent::kSpoolHeaderBytes; at + agent::kSpoolRecordHeaderBytes <= bytes.size();) {
    const auto record = agent::DecodeRecordHeader(std::string_view(bytes).substr(at, agent::kSpoolRecordHeaderBytes));
    if (!record) break;
    std::string payload = bytes.substr(at + agent::kSpoolRecordHeaderBytes, record->length);
    at += agent::RecordBytes(record->length);
    if (record->type == agent::SpoolRecordType::kBatch && batches++ == index) {
      const auto batch = agent::DecodeBatchPayload(payload);
      ASSERT_TRUE(batch.has_value());
      const std::string leaf =
          EditHeader(std::string(batch->leaf), [](auto* h) { h->set_critical_flush(!h->critical_flush()); });
      payload = agent::EncodeBatchPayload(leaf, batch->body);
    }
    out += agent::EncodeRecord(record->type, record->lsn, payload, header->salt);
  }
  ASSERT_GT(batches, index);
  Spill(file, out);
}

TEST_F(Attack, T35_EditSpoolWithChecksums) {
  const trail::TestCa ca;
  for (const size_t victim : {2U, 4U}) {  // in the middle, and the newest
    Node node(ca);
    node.Start();
    for (int i = 0; i < 5; ++i) node.Batch();
    node.Stop();
    EditSpool(node.spool_dir(), victim);
    agent::SpoolOptions options;
    options.dir = node.spool_dir();
    const auto spool = agent::Spool::Open(options);
    ASSERT_TRUE(spool.ok());
    Found("agent: tamper alarm at its next start", (*spool)->recovery().tampered > 0,
          "edited batch " + std::to_string(victim));
    // Nothing is repaired: the collector gets it as it is.
    Site site(ca);
    ingest::v1::ServerMessage answer;
    for (size_t i = 0; i <= victim; ++i) {
      const auto batch = (*spool)->Next(std::chrono::milliseconds(0));
      ASSERT_TRUE(batch.has_value());
      answer = site.Send("web-1", batch->leaf, batch->body);
      ASSERT_EQ(Acked(answer) || i == victim, true) << answer.ShortDebugString();
    }
    Found("collector: refused, quarantined", Refused(answer), answer.ShortDebugString());
  }
}

}  // namespace
}  // namespace nodetrail::attacks
