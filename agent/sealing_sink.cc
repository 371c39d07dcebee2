// SPDX-License-Identifier: Apache-2.0
#include "agent/sealing_sink.h"

#include <fmt/format.h>

#include <utility>

#include "nodetrail/base/log.h"

namespace nodetrail::agent {
namespace {

constexpr uint64_t kRetryNs = 250'000'000;

}  // namespace

SealingSink::SealingSink(Sealer* sealer, Spool* spool, const Clock* clock, std::function<void()> on_durable,
                         bool halt_on_full)
    : sealer_(sealer), spool_(spool), clock_(clock), on_durable_(std::move(on_durable)), halt_on_full_(halt_on_full) {
  epoch_ = sealer->epoch();
  event_seq_ = sealer->next_event_seq() - 1;
}

Status SealingSink::OnBatch(const BatchContent& batch) {
  if (clock_->BootNs() < retry_at_boot_ns_) return refusal_;
  NT_ASSIGN_OR_RETURN(const trail::SealedBatch sealed, sealer_->Seal(batch));
  const Status appended = spool_->Append(sealed, batch.evidence_class);
  if (!appended.ok()) {
    const bool later = appended.code() == Code::kResourceExhausted || appended.code() == Code::kUnavailable;
    // DataLoss: it may be on disk. Only a new process, which reads the spool
    // again, may go on; so it is fatal and the key is not used a second time.
    if (!later) return appended;
    sealer_->Abandon();
    if (halt_on_full_ && appended.code() == Code::kResourceExhausted) {
      return FailedPrecondition(
          fmt::format("{}; spool.on_full is halt, so the agent stops here: events from now on are not observed",
                      appended.message()));
    }
    if (!refusing_.exchange(true)) {
      log::Error(
          fmt::format("{}; observed events wait in the rings and what they can't hold is counted as lost; "
                      "make room or let the collector catch up",
                      appended.message()));
    }
    refusal_ = appended;
    retry_at_boot_ns_ = clock_->BootNs() + kRetryNs;
    return appended;
  }
  sealer_->Commit();
  if (refusing_.exchange(false)) log::Info("spool: there is room again");
  epoch_ = sealed.header.epoch();
  batch_seq_ = sealed.header.seq();
  if (sealed.header.event_count() != 0) event_seq_ = sealed.header.last_event_seq();
  ++batches_;
  on_durable_();
  return OkStatus();
}

DurablePosition SealingSink::Position() const {
  return {.epoch = epoch_, .batch_seq = batch_seq_, .batches = batches_, .event_seq = event_seq_};
}

}  // namespace nodetrail::agent
