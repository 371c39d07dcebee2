// SPDX-License-Identifier: Apache-2.0
//
// What the spool could not read back: which batches, and what becomes of the
// file. record_format.md, "What can't be read back".
#include "agent/spool/spool_impl.h"

namespace nodetrail::agent {
namespace {

namespace fs = std::filesystem;

constexpr char kUnreadSuffix[] = ".unread";

}  // namespace

std::optional<SpoolUnread> Spool::Impl::UnreadBefore(const Cursor& cursor, const trail::v1::BatchHeader& header) const {
  const auto missing = MissingBetween(cursor.before, header);
  // What recovery could not read either has been declared at the start.
  const auto same = [&](const SpoolRecovery::Missing& told) {
    return missing && told.epoch == missing->epoch && told.from_seq <= missing->from_seq &&
           told.to_seq >= missing->to_seq;
  };
  if (!missing || std::any_of(recovery.missing.begin(), recovery.missing.end(), same)) return std::nullopt;
  SpoolUnread out;
  out.epoch = missing->epoch;
  out.seq_from = missing->from_seq;
  out.seq_to = missing->to_seq;
  if (cursor.before_wall_ns != 0) {
    out.from_wall_ns = cursor.before_wall_ns;
    out.to_wall_ns = header.first_wall_ns();
  }
  out.place = cursor.passed;
  // Event numbers begin with 1 in each epoch and have no gaps.
  const bool from_start = missing->from_seq == 0;
  if (missing->epoch == header.epoch() && (from_start || cursor.before_numbered)) {
    const uint64_t next = from_start ? 1 : cursor.before_event_seq + 1;
    out.events = header.first_event_seq() - std::min(header.first_event_seq(), next);
  }
  return out;
}

void Spool::Impl::PassOver(const SegmentInfo& segment, uint64_t offset, std::string_view why, Cursor* cursor) {
  const std::string place = fmt::format("{} at {}: {}", fs::path(segment.path).filename().string(), offset, why);
  log::Error(fmt::format("spool: {}: unreadable: the batches there can't be sent", place));
  if (cursor->passed.empty()) cursor->passed = place;
  const std::lock_guard guard(mu);
  for (SegmentInfo& s : segments) {
    if (s.first_lsn == segment.first_lsn) s.unread = true;
  }
}

void Spool::Impl::FindKept() {
  std::error_code error;
  for (fs::directory_iterator it(options.dir + "/quarantine", error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().find(std::string(".seg") + kUnreadSuffix) == std::string::npos) continue;
    if (!fs::is_regular_file(it->symlink_status(error))) continue;
    const uintmax_t bytes = fs::file_size(it->path(), error);
    if (error) break;
    kept.push_back({it->path().string(), bytes});
  }
  std::sort(kept.begin(), kept.end(), [](const KeptFile& a, const KeptFile& b) { return a.path < b.path; });
}

int Spool::Impl::Remove(const SegmentInfo& segment) {
  if (segment.unread) {
    const std::string to = QuarantineFile(options.dir, segment.path, ops, kUnreadSuffix);
    if (!to.empty()) {
      log::Warn(
          fmt::format("spool: {} had parts that can't be read: kept as {} while there is room", segment.path, to));
      const std::lock_guard guard(mu);
      kept.push_back({to, segment.bytes});
      return 0;
    }
    log::Error(fmt::format("spool: {} had parts that can't be read, and can't be kept: deleted", segment.path));
  }
  return ops->Unlink(segment.path);
}

bool Spool::Impl::DropKept() {
  KeptFile oldest;
  {
    const std::lock_guard guard(mu);
    if (kept.empty()) return false;
    oldest = std::move(kept.front());
    kept.pop_front();
    ++counters.unread_dropped;
  }
  const int error = ops->Unlink(oldest.path);
  log::Warn(fmt::format("spool: {} is deleted to make room: {}", oldest.path, error == 0 ? "ok" : ErrnoName(-error)));
  return true;
}

}  // namespace nodetrail::agent
