// SPDX-License-Identifier: Apache-2.0
//
// The order of a verification; each check has a file of its own:
// verify_bundle, verify_checkpoint, verify_tiles, verify_chains,
// verify_entries, verify_seen, verify_bodies, verify_retired, verify_coverage,
// verify_quarantine; verify_findings
// decides, verify_report prints.
#include "nodetrail/trail/verify.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "nodetrail/base/guard.h"
#include "nodetrail/trail/log_entry.h"
#include "nodetrail/trail/trail_store.h"
#include "trail/verify_bodies.h"
#include "trail/verify_bundle.h"
#include "trail/verify_chains.h"
#include "trail/verify_checkpoint.h"
#include "trail/verify_entries.h"
#include "trail/verify_findings.h"
#include "trail/verify_quarantine.h"
#include "trail/verify_retired.h"
#include "trail/verify_seen.h"
#include "trail/verify_tiles.h"

namespace nodetrail::trail {
namespace {

constexpr uint64_t kProgressEvery = 4096;

class TrailVerification {
 public:
  TrailVerification(TrailReader* reader, const VerifyPolicy& policy, const CaSet& cas)
      : reader_(reader),
        policy_(policy),
        cas_(cas),
        findings_(policy.max_findings),
        bundle_(reader, &findings_),
        checkpoint_(reader, policy, &findings_),
        seen_(reader->dir(), &findings_),
        entries_(policy, &findings_),
        retired_(&findings_) {}

  Result<VerifyReport> Run(const std::function<void(uint64_t)>& progress) {
    const auto begin = std::chrono::steady_clock::now();
    NT_RETURN_IF_ERROR(bundle_.Read());
    scope_ = bundle_.scope();
    report_.bundle = bundle_.manifest();
    report_.heartbeat_ns = policy_.heartbeat_ns;
    chains_.emplace(policy_, cas_, scope_, &entries_, &findings_);
    bodies_.emplace(reader_, cas_, reader_->is_bundle() ? &scope_ : nullptr, &*chains_, &retired_, &findings_);
    if (!reader_->is_bundle()) quarantine_.emplace(*reader_, &findings_);
    NT_RETURN_IF_ERROR(checkpoint_.Read(&report_));
    NT_RETURN_IF_ERROR(bundle_.ReadReceipts(
        [this](const std::string& file, std::string_view text) { checkpoint_.AddReceipt(file, text); }));
    entries_.Begin(checkpoint_.logs(), report_.bundle ? std::optional(report_.bundle->tenant) : std::nullopt);
    if (checkpoint_.size() && !reader_->is_bundle()) tiles_.emplace(reader_, *checkpoint_.size());
    Status failed;
    NT_RETURN_IF_ERROR(reader_->Inspect([&](const LeafLocation& where, std::string_view leaf, bool whole) {
      failed = TakeLeaf(where, leaf, whole);
      if (progress && report_.leaves % kProgressEvery == 0) progress(report_.leaves);
      return failed.ok();
    }));
    NT_RETURN_IF_ERROR(failed);
    for (const std::string& damage : reader_->damage()) findings_.Add(FindingKind::kTamper, reason::kSegment, damage);
    checkpoint_.Finish(&report_);
    NT_RETURN_IF_ERROR(seen_.Finish());
    FinishTiles();
    retired_.Finish();
    report_.bodies = bodies_->checked();
    report_.bodies_evicted = bodies_->evicted();
    report_.bodies_retired = retired_.retired();
    report_.bodies_outside = bodies_->absent_outside();
    chains_->Finish(checkpoint_.root_broken(), &report_);
    entries_.Finish(&report_);
    bundle_.Finish(checkpoint_.checkpoint(), report_.leaves,
                   policy_.check_bodies ? std::optional(bodies_->in_scope()) : std::nullopt, report_);
    findings_.Conclude(&report_);
    report_.duration_ns = static_cast<uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - begin).count());
    report_.summary = Summary();
    return std::move(report_);
  }

 private:
  Status TakeLeaf(const LeafLocation& where, std::string_view leaf, bool whole) {
    if (leaf.empty()) {
      TakeUnreadable(where);
      return OkStatus();
    }
    ++report_.leaves;
    const Hash leaf_hash = LeafHash(leaf);
    checkpoint_.Append(leaf_hash);
    seen_.Append(leaf_hash);
    if (tiles_) NT_RETURN_IF_ERROR(tiles_->Append(leaf, leaf_hash));
    if (IsLogEntry(leaf)) {
      checkpoint_.CheckReceipts(where, leaf_hash, {});
      const auto entry = entries_.Take(where, leaf, whole);
      if (entry) retired_.Take(*entry, where, !checkpoint_.size() || checkpoint_.covers(where.index));
      return OkStatus();
    }
    auto parsed = ParseLeaf(leaf);
    checkpoint_.CheckReceipts(where, leaf_hash, parsed.ok() ? BatchName(parsed->header) : std::string());
    if (!parsed.ok()) {
      findings_.AddBadLeaf(where, std::string(parsed.status().message()), {});
      return OkStatus();
    }
    const v1::BatchHeader& h = parsed->header;
    if (!whole) {
      findings_.AddBadLeaf(where, "the record's checksum is wrong", BatchName(h));
      return OkStatus();
    }
    const bool alien = report_.bundle && h.tenant() != report_.bundle->tenant;
    const bool stranger = alien || (!policy_.tenant.empty() && h.tenant() != policy_.tenant);
    if (NT_GUARD(verify_tenant, stranger)) {
      // Only what is rightly signed is of whom it says.
      const std::string text = fmt::format("a batch of tenant {}", h.tenant());
      if (VerifyLeafSignature(*parsed)) {
        findings_.Add(FindingKind::kTamper, alien ? reason::kBundle : reason::kTenant, text, BatchName(h), &where);
      } else {
        findings_.AddBadLeaf(where, text, BatchName(h));
      }
      return OkStatus();
    }
    AgentState* agent = chains_->Take(where, leaf, *parsed);
    if (agent == nullptr) return OkStatus();
    report_.events += h.event_count();
    if (quarantine_) quarantine_->Take(h, parsed->batch_hash, where);
    NT_RETURN_IF_ERROR(seen_.Take(h, where));
    return policy_.check_bodies ? bodies_->Take(agent, h, where) : OkStatus();
  }

  void TakeUnreadable(const LeafLocation& where) {
    if (!checkpoint_.covers(where.index) && reader_->torn_bytes() > 0) {
      findings_.Note(fmt::format("an unfinished write of {} bytes at the end of the log", reader_->torn_bytes()), {},
                     &where);
    } else {
      findings_.AddBadLeaf(where, fmt::format("leaf {} at offset {} can't be read", where.index, where.offset), {});
    }
  }

  // A tile proves nothing, and with other bytes than the leaves under a signed
  // root it is what somebody put there.
  void FinishTiles() {
    if (!tiles_) return;
    if (checkpoint_.root_broken()) {
      findings_.Note("the tiles were not judged: the leaves themselves do not have the checkpoint's root");
      return;
    }
    report_.tiles = tiles_->checked();
    report_.tiles_missing = tiles_->missing();
    for (const TileCheck::Wrong& wrong : tiles_->wrong()) {
      findings_.Add(FindingKind::kTamper, reason::kTile, wrong.text, {}, nullptr, wrong.file);
    }
    if (report_.tiles_missing > 0) {
      findings_.Note(
          fmt::format("{} tiles are missing, this is the first: the log can't be served from files; no tampering, the "
                      "collector makes them anew from the leaves when it starts",
                      report_.tiles_missing),
          {}, nullptr, tiles_->first_missing());
    }
  }

  [[nodiscard]] std::string Summary() const {
    if (report_.first_bad) {
      const Finding& bad = *report_.first_bad;
      return fmt::format("{}: {}{}{}", TrailVerdictName(report_.verdict), bad.batch.empty() ? "" : bad.batch + ": ",
                         bad.text,
                         bad.log_index ? fmt::format(" (leaf {}, {})", *bad.log_index, bad.file)
                                       : (bad.file.empty() ? "" : fmt::format(" ({})", bad.file)));
    }
    return fmt::format("{}: {} batches, {} events of {} agents; {}", TrailVerdictName(report_.verdict),
                       report_.leaves - report_.entries, report_.events, report_.agents.size(),
                       report_.checkpoint_trusted ? fmt::format("the signed root covers {}", report_.checkpoint_size)
                                                  : std::string("no signed root covers them"));
  }

  TrailReader* reader_;
  const VerifyPolicy& policy_;
  const CaSet& cas_;
  VerifyReport report_;
  Findings findings_;
  BundleCheck bundle_;
  CheckpointCheck checkpoint_;
  SeenCheck seen_;
  EntriesCheck entries_;
  RetiredCheck retired_;
  BundleScope scope_;
  std::optional<ChainsCheck> chains_;  // these two once the scope is known
  std::optional<BodiesCheck> bodies_;
  std::optional<QuarantineCheck> quarantine_;  // of a trail
  std::optional<TileCheck> tiles_;             // if there is a checkpoint
};

}  // namespace

std::string_view TrailVerdictName(TrailVerdict verdict) {
  switch (verdict) {
    case TrailVerdict::kIntact: return "intact";
    case TrailVerdict::kDeclaredLoss: return "declared_loss";
    case TrailVerdict::kUnexplainedGap: return "unexplained_gap";
    case TrailVerdict::kTamper: return "tamper";
  }
  return "unknown";
}

Result<VerifyReport> VerifyTrail(const std::string& dir, const VerifyPolicy& policy,
                                 const std::function<void(uint64_t)>& progress) {
  const auto cas = CaSet::FromPem(policy.identity_ca_pem);
  if (!cas.ok()) return Annotate(cas.status(), "verify: enrolment authorities");
  NT_ASSIGN_OR_RETURN(const std::unique_ptr<TrailReader> reader, TrailReader::OpenTrailOrBundle(dir));
  return TrailVerification(reader.get(), policy, *cas).Run(progress);
}

}  // namespace nodetrail::trail
