// SPDX-License-Identifier: Apache-2.0
#include "collector/admin/hold_desk.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "nodetrail/base/fd.h"
#include "nodetrail/base/log.h"
#include "nodetrail/trail/body.h"
#include "nodetrail/trail/leaf.h"
#include "nodetrail/trail/trail_store.h"

namespace nodetrail::collector {
namespace {

constexpr size_t kMaxReasonBytes = 1024;
constexpr int kMaxHoldAgents = 500;  // with ids of 64 bytes an entry still fits a leaf
constexpr uint64_t kConfirmWithinNs = 86'400'000'000'000;
constexpr size_t kMaxAskedBytes = 1 << 20;
// Who asks waits 60 s for an answer.
constexpr auto kCountFor = std::chrono::seconds(20);

}  // namespace

HoldDesk::HoldDesk(Committer* committer, std::string trail_dir, const Clock* clock)
    : committer_(committer), trail_dir_(std::move(trail_dir)), clock_(clock) {
  Load();
}

void HoldDesk::Load() {
  const std::string path = trail_dir_ + "/holds/asked";
  const auto bytes = ReadFile(path, kMaxAskedBytes);
  if (bytes.status().code() == Code::kNotFound) return;
  enrol::v1::AskedReleases kept;
  if (!bytes.ok() || !kept.ParseFromString(*bytes)) {
    log::Error(fmt::format("hold: {}: {}; releases that were asked for must be asked for again", path,
                           bytes.ok() ? "is damaged" : bytes.status().message()));
    return;
  }
  const auto retention = committer_->Retained();
  for (const auto& asked : kept.asked()) {
    if (retention->holds().contains(asked.id())) asked_[asked.id()] = {asked.person(), asked.at_wall_ns()};
  }
}

Status HoldDesk::Save() const {
  enrol::v1::AskedReleases kept;
  for (const auto& [id, asked] : asked_) {
    auto* to = kept.add_asked();
    to->set_id(id);
    to->set_person(asked.person);
    to->set_at_wall_ns(asked.at_wall_ns);
  }
  NT_RETURN_IF_ERROR(MakeDirectories(trail_dir_ + "/holds", 0750));
  return WriteFileAtomically(trail_dir_ + "/holds/asked", kept.SerializeAsString(), 0640);
}

void HoldDesk::CountGone(const trail::v1::Hold& hold, enrol::v1::AddHoldResponse* response) const {
  const auto until = std::chrono::steady_clock::now() + kCountFor;
  const auto retention = committer_->Retained();
  if (retention->named().empty()) return;
  auto reader = trail::TrailReader::Open(trail_dir_);
  Status trouble = reader.status();
  uint64_t since = UINT64_MAX;
  uint64_t last_ns = 0;
  uint64_t bodies = 0;
  for (const auto& run : retention->named()) {
    if (!trouble.ok()) break;
    const auto take = [&](const trail::LeafLocation& where, std::string_view leaf) {
      if (where.index > run.second) return false;
      if (std::chrono::steady_clock::now() > until) {
        trouble =
            Status(Code::kDeadlineExceeded, fmt::format("there are too many: counted up to leaf {}", where.index));
        return false;
      }
      const auto parsed = trail::ParseLeaf(leaf);
      if (!parsed.ok()) return true;
      const auto sha256 = trail::HashFromBytes(parsed->header.body_sha256());
      const trail::TimeSpan time = trail::TimeOf(parsed->header);
      if (!sha256 || !trail::Covers(hold, parsed->header.agent_id(), time)) return true;
      // Named, and not deleted yet: from now on the hold keeps it.
      if (::access(fmt::format("{}/{}", trail_dir_, trail::BodyPath(*sha256)).c_str(), F_OK) == 0) return true;
      ++bodies;
      since = std::min(since, time.from_ns);
      last_ns = std::max(last_ns, time.to_ns);
      return true;
    };
    const Status read = (*reader)->ForEach(run.first, take);
    if (trouble.ok()) trouble = read;
  }
  response->set_gone_unknown(std::string(trouble.message()));
  if (bodies == 0) return;
  response->set_gone_bodies(bodies);
  response->set_gone_since_wall_ns(since);
  response->set_gone_until_wall_ns(last_ns);
}

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
  const trail::v1::Hold placed = *hold;
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
  // The hold is in the log: nothing that it covers goes any more.
  CountGone(placed, &response);
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
    if (const Status saved = Save(); !saved.ok()) {
      asked_.erase(it);
      return saved;
    }
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
  // A request that stays in the file is of a hold that is no more, and so dropped when it is read.
  if (const Status saved = Save(); !saved.ok()) log::Error(fmt::format("hold: {}", saved.message()));
  response.set_released(true);
  response.set_log_index(index);
  log::Warn(fmt::format("hold: {} released by {}, confirmed by {}, entry {}", request.id(), response.requested_by(),
                        person, index));
  return response;
}

}  // namespace nodetrail::collector
