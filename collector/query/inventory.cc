// SPDX-License-Identifier: Apache-2.0
#include "collector/query/inventory.h"

#include <map>
#include <utility>

namespace nodetrail::collector {
namespace {

constexpr uint64_t kGoneNs = 24ULL * 3600 * 1'000'000'000;

uint64_t Since(uint64_t then, uint64_t now) { return now > then ? now - then : 0; }

query::v1::AgentState StateOf(const query::v1::AgentRecord& agent, const trail::Enrolment* enrolment,
                              const InventoryFacts& facts) {
  const bool reported = agent.batches() > 0;
  if (enrolment != nullptr && enrolment->revoked && !enrolment->Readmitted() &&
      (!reported || enrolment->Covers(agent.epoch(), agent.last_seq() + 1))) {
    return query::v1::AGENT_STATE_REVOKED;
  }
  if (!reported) return query::v1::AGENT_STATE_NEVER_REPORTED;
  const uint64_t age = Since(agent.last_batch_wall_ns(), facts.now_wall_ns);
  if (facts.stopped->contains(agent.agent_id())) {
    return age > kGoneNs ? query::v1::AGENT_STATE_GONE : query::v1::AGENT_STATE_STOPPED;
  }
  return age > 2 * facts.heartbeat_ns ? query::v1::AGENT_STATE_SILENT : query::v1::AGENT_STATE_REPORTING;
}

void FillEnrolment(const trail::Enrolment& enrolment, query::v1::AgentRecord* out) {
  if (enrolment.enrolled) {
    out->set_enrolled_wall_ns(enrolment.enrolled_wall_ns);
    out->set_token_id(enrolment.token_id);
    out->set_identity_spki_sha256(trail::Bytes(enrolment.spki_sha256));
    out->set_enrolled_log_index(enrolment.enrolled_index);
  }
  if (enrolment.revoked) {
    out->set_revoked_wall_ns(enrolment.revoked_wall_ns);
    out->set_revoked_epoch(enrolment.from_epoch);
    out->set_revoked_seq(enrolment.from_seq);
    out->set_revoke_reason(enrolment.reason);
  }
}

}  // namespace

query::v1::AgentsResponse BuildInventory(const InventoryFacts& facts) {
  std::map<trail::Enrolments::Key, query::v1::AgentRecord> agents;
  for (const query::v1::AgentStatus& status : facts.status->agents()) {
    query::v1::AgentRecord& agent = agents[{status.tenant(), status.agent_id()}];
    agent.set_hostname(status.hostname());
    agent.set_connected(status.connected());
    agent.set_epoch(status.epoch());
    agent.set_last_seq(status.last_seq());
    agent.set_batches(status.batches());
    agent.set_rejected(status.rejected());
    agent.set_last_batch_wall_ns(status.last_received_wall_ns());
  }
  for (const auto& [key, enrolment] : facts.enrolments->agents()) FillEnrolment(enrolment, &agents[key]);
  query::v1::AgentsResponse out;
  out.set_now_wall_ns(facts.now_wall_ns);
  for (auto& [key, agent] : agents) {
    agent.set_tenant(key.first);
    agent.set_agent_id(key.second);
    agent.set_state(StateOf(agent, facts.enrolments->Find(key.first, key.second), facts));
    *out.add_agents() = std::move(agent);
  }
  return out;
}

}  // namespace nodetrail::collector
