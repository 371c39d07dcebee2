// SPDX-License-Identifier: Apache-2.0
#include "collector/admin/hold_desk.h"

#include <fmt/format.h>

#include <utility>

#include "nodetrail/base/log.h"

namespace nodetrail::collector {
namespace {

constexpr size_t kMaxReasonBytes = 1024;
constexpr int kMaxHoldAgents = 500;  // with ids of 64 bytes an entry still fits a leaf
constexpr uint64_t kConfirmWithinNs = 86'400'000'000'000;

}  // namespace

Result<enrol::v1::AddHoldResponse> HoldDesk::Add(const enrol::v1::AddHoldRequest& request, const std::string& person) {
  if (request.reason().empty() || request.reason().size() > kMaxReasonBytes) {
    return InvalidArgument(
        fmt::format("hold: a reason is needed, of at most {} bytes; it is in the log for ever", kMaxReasonBytes));
  }
  if (request.agents_size() > kMaxHoldAgents) {
    return InvalidArgument(fmt::format("hold: more than {} agents; place several, or one for all", kMaxHoldAgents));
  }
  trail::v1::LogEntry entry;
  trail::v1::Hold* hold = entry.mutable_hold();
  hold->set_id(request.id());
  *hold->mutable_agents() = request.agents();
  hold->set_since_wall_ns(request.since_wall_ns());
  hold->set_until_wall_ns(request.until_wall_ns());
  hold->set_reason(request.reason());
  hold->set_by(person);
  enrol::v1::AddHoldResponse response;
  const auto prepare = [&response](const Committer::Before& before, trail::v1::LogEntry* to) -> Status {
    if (to->hold().id().empty()) to->mutable_hold()->set_id(fmt::format("hold-{}", before.log_index));
    response.set_id(to->hold().id());
    return OkStatus();
  };
  NT_ASSIGN_OR_RETURN(const uint64_t index, committer_->EnterAndWait(std::move(entry), prepare));
  response.set_log_index(index);
  response.set_by(person);
  log::Info(fmt::format("hold: {} placed by {}, entry {}", response.id(), person, index));
  return response;
}

void HoldDesk::DropOld() {
  const uint64_t now = clock_->WallNs();
  std::erase_if(asked_, [now](const auto& asked) {
    return now < asked.second.at_wall_ns || now - asked.second.at_wall_ns > kConfirmWithinNs;
  });
}

enrol::v1::ListHoldsResponse HoldDesk::List() {
  DropOld();
  enrol::v1::ListHoldsResponse response;
  const auto retention = committer_->Retained();
  for (const auto& [id, hold] : retention->holds()) {
    enrol::v1::HoldRecord* record = response.add_holds();
    record->set_id(id);
    *record->mutable_agents() = hold.agents();
    record->set_since_wall_ns(hold.since_wall_ns());
    record->set_until_wall_ns(hold.until_wall_ns());
    record->set_reason(hold.reason());
    record->set_by(hold.by());
    if (const auto it = asked_.find(id); it != asked_.end()) record->set_release_requested_by(it->second.person);
  }
  return response;
}

Result<enrol::v1::ReleaseHoldResponse> HoldDesk::Release(const enrol::v1::ReleaseHoldRequest& request,
                                                         const std::string& person) {
  DropOld();
  if (request.reason().size() > kMaxReasonBytes) {
    return InvalidArgument(fmt::format("hold: the reason has more than {} bytes", kMaxReasonBytes));
  }
  if (!committer_->Retained()->holds().contains(request.id())) {
    return NotFound(fmt::format("hold: none of id {} is open; hold list shows them", request.id()));
  }
  enrol::v1::ReleaseHoldResponse response;
  const auto [it, first] = asked_.try_emplace(request.id(), Asked{person, clock_->WallNs()});
  response.set_requested_by(it->second.person);
  if (first) {
    log::Warn(fmt::format("hold: {} asks to release {}", person, request.id()));
    return response;
  }
  if (it->second.person == person) {
    return FailedPrecondition(
        fmt::format("hold: {} asked to release {}; another person must confirm, within a day", person, request.id()));
  }
  trail::v1::LogEntry entry;
  entry.mutable_release()->set_id(request.id());
  entry.mutable_release()->set_requested_by(it->second.person);
  entry.mutable_release()->set_confirmed_by(person);
  entry.mutable_release()->set_reason(request.reason());
  NT_ASSIGN_OR_RETURN(const uint64_t index, committer_->EnterAndWait(std::move(entry)));
  asked_.erase(it);
  response.set_released(true);
  response.set_log_index(index);
  log::Warn(fmt::format("hold: {} released by {}, confirmed by {}, entry {}", request.id(), response.requested_by(),
                        person, index));
  return response;
}

}  // namespace nodetrail::collector
