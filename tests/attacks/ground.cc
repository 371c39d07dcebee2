// SPDX-License-Identifier: Apache-2.0
#include "tests/attacks/ground.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/merkle.h"
#include "nodetrail/trail/receipt.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/wire.h"

namespace nodetrail::attacks {

namespace fs = std::filesystem;
using trail::SealedBatch;
using trail::TrailWriter;

std::string Slurp(const std::string& file) {
  auto bytes = ReadFile(file, 1U << 28);
  NT_CHECK(bytes.ok());
  return *std::move(bytes);
}
void Spill(const std::string& file, const std::string& bytes) { std::ofstream(file, std::ios::binary) << bytes; }

Ground::Ground() : log_key(trail::Ed25519Key::Generate()), agent(ca, "acme", "web-1") {
  policy.identity_ca_pem = ca.CertPem();
  policy.tenant = "acme";
  policy.log_key = *trail::NoteVerifier::Make(kOrigin, log_key.public_key());
}

void Ground::Take(int count) {
  for (int i = 0; i < count; ++i) batches.push_back(agent.Batch());
}

void Ground::Enter(trail::v1::LogEntry entry) {
  entry.set_format_version(1);
  entry.set_tenant("acme");
  entry.set_wall_ns(agent.now_ns);
  auto leaf = trail::MakeLogEntry(entry, log_key);
  NT_CHECK(leaf.ok());
  batches.push_back({*std::move(leaf), "", {}, {}});
}

void Ground::Write() {
  const auto writer = TrailWriter::Open(trail());
  NT_CHECK(writer.ok());
  for (const SealedBatch& batch : batches) {
    if (!batch.body.empty()) NT_CHECK((*writer)->PutBody(trail::Sha256Of(batch.body), batch.body).ok());
    const std::string_view leaf = batch.leaf;
    NT_CHECK((*writer)->AppendLeaves({&leaf, 1}).ok());
  }
  NT_CHECK((*writer)->WriteCheckpoint(Sign(Leaves())).ok());
}

std::vector<std::string> Ground::Leaves() const {
  std::vector<std::string> out;
  out.reserve(batches.size());
  for (const SealedBatch& batch : batches) out.push_back(batch.leaf);
  return out;
}

std::string Ground::Sign(const std::vector<std::string>& leaves) const {
  trail::CompactRange tree;
  for (const std::string& leaf : leaves) tree.Append(trail::LeafHash(leaf));
  return *trail::SignCheckpoint({kOrigin, tree.size(), tree.Root(), {}}, log_key);
}

std::string Ground::Receipt(const std::vector<std::string>& leaves, uint64_t index) const {
  std::vector<trail::Hash> hashes;
  hashes.reserve(leaves.size());
  for (const std::string& leaf : leaves) hashes.push_back(trail::LeafHash(leaf));
  const auto path = trail::InclusionProof(hashes, index);
  NT_CHECK(path.ok());
  return trail::FormatReceipt(index, *path, Sign(leaves));
}

SealedBatch Ground::BatchThatSaw(trail::TestAgent* agent, const std::vector<std::string>& leaves) {
  trail::CompactRange tree;
  for (const std::string& leaf : leaves) tree.Append(trail::LeafHash(leaf));
  return agent->Batch(3, [&](auto* h) {
    h->set_seen_size(tree.size());
    h->set_seen_root(std::string(trail::View(tree.Root())));
  });
}

std::unique_ptr<agent::LogWatch> Ground::Watch(const std::string& name) const {
  auto watch = agent::LogWatch::Open("log " + policy.log_key->ToString() + "\nquorum none\n", dir / name);
  NT_CHECK(watch.ok());
  return *std::move(watch);
}

void Ground::Rewrite(const std::vector<std::string>& leaves) {
  const std::string note = ReadCheckpoint();
  fs::remove_all(trail() + "/log");
  const auto writer = TrailWriter::Open(trail());
  NT_CHECK(writer.ok());
  for (const std::string_view leaf : leaves) NT_CHECK((*writer)->AppendLeaves({&leaf, 1}).ok());
  NT_CHECK((*writer)->WriteCheckpoint(note).ok());
}

void Ground::RewriteSigned(const std::vector<std::string>& leaves) {
  Rewrite(leaves);
  PutCheckpoint(Sign(leaves));
}

void Ground::PutCheckpoint(const std::string& note) const { Spill(trail() + "/log/checkpoint", note); }
std::string Ground::ReadCheckpoint() const { return Slurp(trail() + "/log/checkpoint"); }

std::string Ground::BodyFile(const SealedBatch& batch) const {
  return trail() + "/" + trail::BodyPath(*trail::HashFromBytes(batch.header.body_sha256()));
}

trail::VerifyReport Ground::Verify() const {
  auto report = trail::VerifyTrail(trail(), policy);
  EXPECT_TRUE(report.ok()) << report.status().ToString();
  return report.ok() ? *std::move(report) : trail::VerifyReport();
}

bool Ground::Names(const SealedBatch& batch, std::string_view reason) const {
  const trail::VerifyReport report = Verify();
  const std::string name = fmt::format("{}:{}:{}", batch.header.agent_id(), batch.header.epoch(), batch.header.seq());
  return std::any_of(report.findings.begin(), report.findings.end(), [&](const trail::Finding& finding) {
    return finding.kind == trail::FindingKind::kTamper && finding.batch == name && finding.reason == reason;
  });
}

trail::v1::LogEntry EnrolEntry(const trail::TestAgent& agent) {
  trail::v1::LogEntry entry;
  entry.mutable_enrol()->set_agent_id(agent.agent_id());
  entry.mutable_enrol()->set_identity_spki_sha256(trail::Bytes(agent.identity().SpkiSha256()));
  return entry;
}

trail::v1::LogEntry RevokeEntry(const SealedBatch& from) {
  trail::v1::LogEntry entry;
  entry.mutable_revoke()->set_agent_id(from.header.agent_id());
  entry.mutable_revoke()->set_epoch(from.header.epoch());
  entry.mutable_revoke()->set_effective_seq(from.header.seq());
  entry.mutable_revoke()->set_reason("stolen");
  return entry;
}

std::string EditHeader(const std::string& leaf, const std::function<void(trail::v1::BatchHeader*)>& edit) {
  auto parsed = trail::ParseLeaf(leaf);
  NT_CHECK(parsed.ok());
  edit(&parsed->header);
  std::string out;
  trail::AppendBytesField(&out, 1, parsed->header.SerializeAsString());
  trail::AppendBytesField(&out, 2, parsed->signature);
  return out;
}

}  // namespace nodetrail::attacks
