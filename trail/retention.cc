// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/retention.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "nodetrail/base/guard.h"

namespace nodetrail::trail {

bool Covers(const v1::Hold& hold, std::string_view agent_id, const TimeSpan& time) {
  const bool agent =
      hold.agents().empty() || std::find(hold.agents().begin(), hold.agents().end(), agent_id) != hold.agents().end();
  const uint64_t until = hold.until_wall_ns() == 0 ? UINT64_MAX : hold.until_wall_ns();
  return agent && time.from_ns <= until && time.to_ns >= hold.since_wall_ns();
}

Status Retention::Take(const v1::LogEntry& entry, uint64_t log_index) {
  switch (entry.entry_case()) {
    case v1::LogEntry::kHold: return TakeHold(entry.hold());
    case v1::LogEntry::kRelease: return TakeRelease(entry.release());
    case v1::LogEntry::kRetire: return TakeRetire(entry, log_index);
    case v1::LogEntry::kRetired: return TakeRetired(entry.retired());
    default: return OkStatus();
  }
}

Status Retention::TakeHold(const v1::Hold& hold) {
  if (!ids_.insert(hold.id()).second) return InvalidArgument(fmt::format("hold {}: the id was used before", hold.id()));
  holds_[hold.id()] = hold;
  return OkStatus();
}

Status Retention::TakeRelease(const v1::Release& release) {
  if (!holds_.contains(release.id())) return InvalidArgument(fmt::format("release: no hold {} is open", release.id()));
  if (NT_GUARD(retention_two_persons, release.requested_by() == release.confirmed_by())) {
    return InvalidArgument(fmt::format("release of hold {}: asked for and confirmed by one person, {}; it stays open",
                                       release.id(), release.requested_by()));
  }
  holds_.erase(release.id());
  return OkStatus();
}

Status Retention::TakeRetire(const v1::LogEntry& entry, uint64_t log_index) {
  const v1::Retire& retire = entry.retire();
  if (NT_GUARD(retention_not_before, entry.wall_ns() < retire.not_before_ns())) {
    return InvalidArgument(
        fmt::format("retire: made at {} ns, allowed from {} ns on", entry.wall_ns(), retire.not_before_ns()));
  }
  if (retire.holds_checked_at() != log_index) {
    return InvalidArgument(fmt::format("retire: heeds the holds of {} leaves, there are {} before it",
                                       retire.holds_checked_at(), log_index));
  }
  uint64_t last = 0;
  for (const uint64_t step : retire.leaves()) last += step;
  if (last >= log_index) return InvalidArgument(fmt::format("retire: names leaf {}, which is not before it", last));
  uint64_t index = 0;
  for (const uint64_t step : retire.leaves()) Name(index += step);
  retires_[log_index] = unfinished_[log_index] = static_cast<uint64_t>(retire.leaves_size());
  return OkStatus();
}

void Retention::Name(uint64_t index) {
  if (Names(index)) return;
  auto next = named_.upper_bound(index);
  const bool joins_next = next != named_.end() && next->first == index + 1;
  const uint64_t last = joins_next ? next->second : index;
  if (joins_next) next = named_.erase(next);
  if (next != named_.begin()) {
    const auto before = std::prev(next);
    if (before->second + 1 == index) {
      before->second = last;
      return;
    }
  }
  named_[index] = last;
}

bool Retention::Names(uint64_t index) const {
  const auto after = named_.upper_bound(index);
  return after != named_.begin() && std::prev(after)->second >= index;
}

Status Retention::TakeRetired(const v1::Retired& retired) {
  const auto it = retires_.find(retired.retire_index());
  if (it == retires_.end() || it->second != retired.bodies()) {
    return InvalidArgument(
        fmt::format("retired: no entry {} that retires {} bodies", retired.retire_index(), retired.bodies()));
  }
  unfinished_.erase(retired.retire_index());
  return OkStatus();
}

const v1::Hold* Retention::Covering(std::string_view agent_id, const TimeSpan& time) const {
  for (const auto& [id, hold] : holds_) {
    if (Covers(hold, agent_id, time)) return &hold;
  }
  return nullptr;
}

}  // namespace nodetrail::trail
