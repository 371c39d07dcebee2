// SPDX-License-Identifier: Apache-2.0
#include "agent/continuity.h"

#include <fmt/format.h>

#include <string>

namespace nodetrail::agent {

std::optional<event::v1::AgentEvent> GapSince(const trail::ChainHead& last, const Clock& clock) {
  if (!last.known) return std::nullopt;
  event::v1::AgentEvent gap;
  gap.set_clean(last.clean);
  gap.set_reason(last.clean ? "the agent was stopped in order" : "the agent ended without an orderly stop");
  gap.set_last_epoch(last.epoch);
  gap.set_last_batch_seq(last.seq);
  gap.set_last_batch_hash(std::string(last.batch_hash.begin(), last.batch_hash.end()));
  gap.set_from_wall_ns(last.last_wall_ns);
  gap.set_to_wall_ns(clock.WallNs());
  gap.set_from_boot_ns(last.last_boot_ns);
  gap.set_to_boot_ns(clock.BootNs());
  return gap;
}

StartInfo MakeStartInfo(const trail::ChainHead& before, bool continued, std::string_view version, const Clock& clock) {
  StartInfo info;
  info.reason = !before.known  ? "first start"
                : continued    ? "restarted, the epoch goes on"
                : before.clean ? "started"
                               : "started after an unclean end";
  info.previous_clean = !before.known || before.clean;
  info.version = version;
  info.gap = GapSince(before, clock);
  return info;
}

std::vector<event::v1::AgentEvent> SpoolLosses(const SpoolRecovery& recovery) {
  std::vector<event::v1::AgentEvent> losses;
  for (const SpoolRecovery::Missing& missing : recovery.missing) {
    event::v1::AgentEvent& loss = losses.emplace_back();
    loss.set_stage("spool");
    loss.set_reason(fmt::format("batches {}..{} of epoch {} were damaged on disk before they were acknowledged",
                                missing.from_seq, missing.to_seq, missing.epoch));
    loss.set_last_epoch(missing.epoch);
    loss.set_seq_from(missing.from_seq);
    loss.set_seq_to(missing.to_seq);
    loss.set_count(missing.to_seq - missing.from_seq + 1);
  }
  return losses;
}

event::v1::AgentEvent LossOfUnread(const SpoolUnread& unread) {
  event::v1::AgentEvent loss;
  loss.set_stage("spool");
  loss.set_reason(fmt::format("batches {}..{} of epoch {} could not be read when they were to be sent: {}",
                              unread.seq_from, unread.seq_to, unread.epoch, unread.place));
  loss.set_last_epoch(unread.epoch);
  loss.set_seq_from(unread.seq_from);
  loss.set_seq_to(unread.seq_to);
  loss.set_count(unread.events);
  loss.set_from_wall_ns(unread.from_wall_ns);
  loss.set_to_wall_ns(unread.to_wall_ns);
  return loss;
}

event::v1::AgentEvent LossOfBodies(const SpoolEviction& evicted, SpoolLevel level) {
  event::v1::AgentEvent loss;
  loss.set_stage("spool");
  loss.set_body_only(true);
  loss.set_reason(fmt::format("{} of the batches {}..{} of epoch {} are without their body: the spool is at {}",
                              evicted.batches, evicted.seq_from, evicted.seq_to, evicted.epoch, SpoolLevelName(level)));
  loss.set_last_epoch(evicted.epoch);
  loss.set_seq_from(evicted.seq_from);
  loss.set_seq_to(evicted.seq_to);
  loss.set_count(evicted.events);
  loss.set_from_wall_ns(evicted.first_wall_ns);
  loss.set_to_wall_ns(evicted.last_wall_ns);
  return loss;
}

}  // namespace nodetrail::agent
