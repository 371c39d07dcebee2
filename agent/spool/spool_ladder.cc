// SPDX-License-Identifier: Apache-2.0
//
// What the spool does as it fills: record_format.md, "When it fills".
#include "agent/spool/spool_impl.h"

namespace nodetrail::agent {
namespace {

// A key that does not sign now is not asked again at once.
constexpr std::chrono::seconds kSignerPause{30};
// What the agent says of itself is why the trail can be judged at all: a gap or
// a loss that is given up would be one that nobody declared.
constexpr uint64_t kMaxVitalBody = 4096;

bool StaysWhole(EvidenceClass cls, uint64_t body_bytes) {
  return body_bytes < kMinEvictableBody || (cls == EvidenceClass::kVital && body_bytes <= kMaxVitalBody);
}

}  // namespace

uint64_t Spool::Impl::Used() const {
  const std::lock_guard guard(mu);
  uint64_t total = 0;
  for (const SegmentInfo& segment : segments) total += segment.used;
  return total;
}

bool Spool::Impl::CanSign() const {
  return options.signer != nullptr && std::chrono::steady_clock::now() >= sign_again;
}

void Spool::Impl::EvictionFailed(const Status& status) {
  sign_again = std::chrono::steady_clock::now() + kSignerPause;
  log::Error(fmt::format("{}; nothing can be given up to make room, tried again in {} s", status.message(),
                         kSignerPause.count()));
  const std::lock_guard guard(mu);
  ++counters.eviction_errors;
}

std::optional<SegmentInfo> Spool::Impl::Victim(EvidenceClass* cls, CompactRequest* request) const {
  const std::lock_guard guard(mu);
  request->ack = head.ack;
  request->floor_lsn = in_flight.empty() ? acked.last_lsn : std::max(acked.last_lsn, read.last_lsn);
  for (*cls = EvidenceClass::kBulk; *cls <= EvidenceClass::kNormal;
       *cls = static_cast<EvidenceClass>(static_cast<uint8_t>(*cls) + 1)) {
    for (size_t i = 0; i + (active_fd >= 0 ? 1U : 0U) < segments.size(); ++i) {
      const SegmentInfo& segment = segments[i];
      if (segment.evictable[static_cast<size_t>(*cls)] == 0 || segment.tried_floor == request->floor_lsn) continue;
      // What is on its way moves the floor all the time: leave that segment.
      if (!in_flight.empty() && segment.first_lsn <= request->floor_lsn) continue;
      request->before_lsn = i + 1 < segments.size() ? segments[i + 1].first_lsn : UINT64_MAX;
      return segment;
    }
  }
  return std::nullopt;
}

bool Spool::Impl::MakeRoom() {
  if (!CanSign()) return false;
  CompactRequest request;
  const auto victim = Victim(&request.max_class, &request);
  if (!victim) return false;
  request.at_lsn = next_lsn;
  request.signer = options.signer;
  const std::string temp = options.dir + "/" + kCompactionTemp;
  auto made = WriteCompacted(ops, *victim, temp, request);
  if (made.status().code() == Code::kResourceExhausted && (DropKept() || ops->Unlink(HeaderReservePath()) == 0)) {
    // No room to make room: what was kept as evidence of a bad disk gives it, or what is for headers lends it.
    made = WriteCompacted(ops, *victim, temp, request);
  }
  Status status = made.status();
  if (made.ok()) status = Replace(*victim, temp, &*made);
  if (status.ok()) {
    ops->SyncDir(options.dir);  // if that is lost, the old file is there, and holds more
    KeepReserves();
    return true;
  }
  const std::lock_guard guard(mu);
  for (SegmentInfo& segment : segments) {
    if (segment.first_lsn == victim->first_lsn) segment.tried_floor = request.floor_lsn;
  }
  if (status.code() == Code::kNotFound) return false;
  ++counters.eviction_errors;
  if (status.code() == Code::kFailedPrecondition) sign_again = std::chrono::steady_clock::now() + kSignerPause;
  log::Error(fmt::format("{}; no room can be made there", status.message()));
  return false;
}

Status Spool::Impl::Replace(const SegmentInfo& victim, const std::string& temp, Compaction* made) {
  const std::lock_guard guard(mu);
  const auto it = std::find_if(segments.begin(), segments.end(),
                               [&](const SegmentInfo& s) { return s.first_lsn == victim.first_lsn; });
  if (it == segments.end()) {
    ops->Unlink(temp);
    return NotFound("spool: acknowledged meanwhile");
  }
  if (const int error = ops->Rename(temp, victim.path); error != 0) {
    ops->Unlink(temp);
    return WriteError(error, fmt::format("rename {}", temp));
  }
  const uint64_t before = it->batch_bytes;
  made->segment.generation = it->generation + 1;
  *it = made->segment;
  pending_bytes -= std::min(pending_bytes, before - std::min(before, it->batch_bytes));
  ++counters.compactions;
  for (const EvictedBody& body : made->evicted) Count(body);
  return OkStatus();
}

void Spool::Impl::Count(const EvictedBody& body) {
  evictions.Add(body);
  ++counters.evicted_batches;
  counters.evicted_events += body.events;
}

void Spool::Impl::Appended(const trail::SealedBatch& batch, uint64_t rest, SegmentInfo* segment) {
  const uint64_t bytes = batch.leaf.size() + rest;
  batch_lsns = {batch_lsns[1], segment->last_lsn};
  ++segment->batches;
  segment->batch_bytes += bytes;
  segment->last_batch = {batch.header.epoch(), batch.header.seq()};
  head.head = trail::HeadOf(batch.header, batch.batch_hash);
  if (pending == 0) oldest_wall_ns = batch.header.sealed_wall_ns();
  ++pending;
  pending_bytes += bytes;
  ++counters.appended;
}

Status Spool::Impl::AppendWhole(const trail::SealedBatch& batch, EvidenceClass cls) {
  return Write(
      SpoolRecordType::kBatch, EncodeBatchPayload(batch.leaf, batch.body), true, kAckReserve,
      [&](SegmentInfo* segment) {
        Appended(batch, batch.body.size(), segment);
        NoteEvictable(cls, batch.body.size(), segment);
      },
      cls);
}

Status Spool::Impl::AppendHeader(const trail::SealedBatch& batch, EvidenceClass cls) {
  if (StaysWhole(cls, batch.body.size())) return AppendIntoReserve([&] { return AppendWhole(batch, cls); });
  auto eviction = options.signer->Sign(batch.header, batch.batch_hash);
  options.signer->Done();
  if (!eviction.ok()) {
    EvictionFailed(Annotate(eviction.status(), "spool: sign for an evicted body"));
    return ResourceExhausted("spool: full, and no statement about a body can be signed");
  }
  return AppendIntoReserve([&] {
    return Write(
        SpoolRecordType::kEvicted, EncodeEvictedPayload(next_lsn, batch.leaf, *eviction), true, kAckReserve,
        [&](SegmentInfo* segment) {
          Appended(batch, eviction->size(), segment);
          segment->evicted_at = segment->last_lsn;
          Count(DescribeEviction(batch.header));
          ++counters.header_only;
        },
        cls);
  });
}

Status Spool::Impl::AppendIntoReserve(const std::function<Status()>& write) {
  Status status = write();
  if (status.code() != Code::kResourceExhausted) return status;
  no_room = true;
  NT_RETURN_IF_ERROR(StartHeaderReserve());
  return write();
}

Status Spool::Impl::AppendByLevel(const trail::SealedBatch& batch, EvidenceClass cls) {
  const uint64_t size = RecordBytes(8 + batch.leaf.size() + batch.body.size());
  if (LevelOf(Used() + size, Usable()) >= SpoolLevel::kEvict) MakeRoom();
  const bool low = cls == EvidenceClass::kBulk || cls == EvidenceClass::kNormal;
  const bool stays = StaysWhole(cls, batch.body.size());
  if (low && !stays && CanSign() && LevelOf(Used() + size, Usable()) >= SpoolLevel::kCriticalOnly) {
    return AppendHeader(batch, cls);
  }
  Status status = AppendWhole(batch, cls);
  if (status.code() != Code::kResourceExhausted) return status;
  if (MakeRoom()) status = AppendWhole(batch, cls);
  if (status.code() != Code::kResourceExhausted) return status;
  no_room = true;
  return (stays && options.signer != nullptr) || CanSign() ? AppendHeader(batch, cls) : status;
}

Status Spool::Impl::Append(const trail::SealedBatch& batch, EvidenceClass cls) {
  const std::lock_guard write_guard(write_mu);
  no_room = false;
  Status status = AppendByLevel(batch, cls);
  SpoolLevel level = LevelOf(Used(), Usable());
  if (no_room) level = status.ok() ? SpoolLevel::kHeadersOnly : SpoolLevel::kFull;
  if (status.code() == Code::kResourceExhausted) {
    const std::lock_guard guard(mu);
    ++counters.full_refusals;
  } else if (!status.ok()) {
    status = Status(Code::kUnavailable, std::string(status.message()));
  }
  SetLevel(level);
  if (status.ok()) changed.notify_all();
  return status;
}

void Spool::Impl::SetLevel(SpoolLevel level) {
  SpoolLevel before = SpoolLevel::kOk;
  {
    const std::lock_guard guard(mu);
    before = std::exchange(counters.level, level);
  }
  if (level > before && level >= SpoolLevel::kWarn) {
    log::Warn(fmt::format("{}, at {}: {}", SpoolFullness(level, Used() / std::max<uint64_t>(1, Usable() / 100)),
                          options.dir, SpoolLevelName(level)));
  } else if (before >= SpoolLevel::kWarn && level == SpoolLevel::kOk) {
    log::Info("spool: there is room again");
  }
}

}  // namespace nodetrail::agent
