// SPDX-License-Identifier: Apache-2.0
#include "agent/spool/spool.h"

#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <utility>

#include "agent/spool/spool_impl.h"

namespace nodetrail::agent {

Spool::Spool(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Spool::~Spool() = default;

Result<std::unique_ptr<Spool>> Spool::Open(const SpoolOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->ops = options.ops != nullptr ? options.ops : &SystemFileOps();
  NT_RETURN_IF_ERROR(MakeDirectories(options.dir, 0700));
  NT_RETURN_IF_ERROR(MakeDirectories(options.dir + "/quarantine", 0700));
  const std::string lock_path = options.dir + "/LOCK";
  NT_ASSIGN_OR_RETURN(impl->lock, OpenFd(lock_path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (::flock(impl->lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) {
      return FailedPrecondition(fmt::format("spool: {}: another agent uses this spool; stop it first", options.dir));
    }
    return ErrnoStatus(errno, fmt::format("spool: lock {}", lock_path));
  }
  RecoveredSpool recovered = RecoverSpool(options.dir, impl->ops);
  impl->segments = std::move(recovered.segments);
  impl->head = std::move(recovered.head);
  impl->next_lsn = recovered.next_lsn;
  impl->batch_lsns = recovered.batch_lsns;
  impl->counters.evicted_batches = recovered.uncounted_batches;
  impl->counters.evicted_events = recovered.uncounted_events;
  impl->PlaceCursors();
  impl->FindKept();
  impl->ops->Unlink(impl->HeaderReservePath());  // a crash may have left a beginning in it
  impl->KeepReserves();
  impl->SetLevel(LevelOf(impl->Used(), impl->Usable()));
  impl->recovery = std::move(recovered.report);
  impl->recovery.batches_pending = impl->pending;
  return std::unique_ptr<Spool>(new Spool(std::move(impl)));
}

const SpoolRecovery& Spool::recovery() const { return impl_->recovery; }
Status Spool::Append(const trail::SealedBatch& batch, EvidenceClass cls) { return impl_->Append(batch, cls); }

std::vector<SpoolEviction> Spool::TakeEvictions() {
  const std::lock_guard guard(impl_->mu);
  return impl_->evictions.Take();
}

std::optional<SpooledBatch> Spool::Next(std::chrono::milliseconds timeout) { return impl_->Next(timeout); }

void Spool::Rewind() {
  const std::lock_guard guard(impl_->mu);
  impl_->read = impl_->acked;
  impl_->in_flight.clear();
}

Status Spool::Ack(uint64_t epoch, uint64_t seq) {
  switch (impl_->Advance({epoch, seq}, nullptr)) {
    case Impl::AckResult::kAlready: return OkStatus();
    case Impl::AckResult::kDone: break;
    default: return NotFound(fmt::format("spool: ack of {}:{}, which is not here", epoch, seq));
  }
  impl_->UpdateOldest();
  return impl_->PersistAck();
}

Status Spool::ResumeAfter(uint64_t epoch, uint64_t seq, const trail::Hash& batch_hash) {
  switch (impl_->Advance({epoch, seq}, &batch_hash)) {
    case Impl::AckResult::kAlready: return OkStatus();
    case Impl::AckResult::kDone: break;
    case Impl::AckResult::kNotFound: return NotFound(fmt::format("spool: {}:{} is not here", epoch, seq));
    case Impl::AckResult::kOtherHash:
      return FailedPrecondition(
          fmt::format("spool: the collector holds another batch {}:{} than this spool", epoch, seq));
  }
  impl_->UpdateOldest();
  return impl_->PersistAck();
}

void Spool::Stop() {
  {
    const std::lock_guard guard(impl_->mu);
    impl_->stopped = true;
  }
  impl_->changed.notify_all();
}

trail::ChainHead Spool::head() const {
  const std::lock_guard guard(impl_->mu);
  return impl_->head.head;
}

SpoolStats Spool::stats() const {
  const std::lock_guard guard(impl_->mu);
  SpoolStats out = impl_->counters;
  uint64_t used = 0;
  for (const SegmentInfo& segment : impl_->segments) {
    out.bytes += segment.bytes;
    used += segment.used;
  }
  out.used_percent = used / std::max<uint64_t>(1, impl_->Usable() / 100);
  out.batches_pending = impl_->pending;
  out.pending_bytes = impl_->pending_bytes;
  out.oldest_wall_ns = impl_->oldest_wall_ns;
  out.unread_kept = impl_->kept.size();
  for (const auto& file : impl_->kept) out.unread_kept_bytes += file.bytes;
  return out;
}

std::optional<Spool::Position> Spool::oldest_pending() const {
  Impl::Cursor cursor;
  {
    const std::lock_guard guard(impl_->mu);
    if (impl_->pending == 0) return std::nullopt;
    if (!impl_->in_flight.empty()) return impl_->in_flight.front().position;
    cursor = impl_->acked;
  }
  const auto found = impl_->ReadFrom(&cursor);
  if (!found) return std::nullopt;
  return Position{found->batch.epoch, found->batch.seq};
}

}  // namespace nodetrail::agent
