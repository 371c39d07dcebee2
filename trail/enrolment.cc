// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/trail/enrolment.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "nodetrail/base/guard.h"
#include "nodetrail/trail/log_entry.h"

namespace nodetrail::trail {

Status Enrolments::Take(const v1::LogEntry& entry, uint64_t log_index) {
  if (tenant_.empty()) tenant_ = entry.tenant();
  if (entry.tenant() != tenant_) {
    return InvalidArgument(fmt::format("an entry of tenant {} in the log of {}", entry.tenant(), tenant_));
  }
  if (!entry.has_enrol() && !entry.has_revoke()) return OkStatus();
  Enrolment& agent = agents_[{entry.tenant(), AgentOf(entry)}];
  if (entry.has_enrol()) {
    const v1::Enrol& enrol = entry.enrol();
    agent.enrolled = true;
    agent.spki_sha256 = *HashFromBytes(enrol.identity_spki_sha256());
    agent.token_id = enrol.token_id();
    agent.sig_algs.assign(enrol.sig_algs().begin(), enrol.sig_algs().end());
    if (agent.sig_algs.empty()) agent.sig_algs.push_back(v1::SIG_ALG_ED25519);
    agent.enrolled_wall_ns = entry.wall_ns();
    agent.enrolled_index = log_index;
    return OkStatus();
  }
  const v1::Revoke& revoke = entry.revoke();
  if (!agent.revoked ||
      std::tuple(revoke.epoch(), revoke.effective_seq()) < std::tuple(agent.from_epoch, agent.from_seq)) {
    agent.from_epoch = revoke.epoch();
    agent.from_seq = revoke.effective_seq();
    agent.reason = revoke.reason();
  }
  agent.revoked = true;
  agent.revoked_wall_ns = entry.wall_ns();
  agent.revoked_index = log_index;
  agent.revoked_key = agent.enrolled ? std::optional(agent.spki_sha256) : std::nullopt;
  return OkStatus();
}

EnrolmentRuling Enrolments::Judge(const v1::BatchHeader& header) const {
  const Enrolment* agent = Find(header.tenant(), header.agent_id());
  const bool enrolled = agent != nullptr && agent->enrolled;
  const bool opens = header.seq() == 0;
  if (opens && !enrolled && required_) {
    return {EnrolmentVerdict::kNotEnrolled, fmt::format("{} was never enrolled", header.agent_id())};
  }
  if (opens && enrolled) {
    const auto identity = Certificate::FromDer(header.epoch_open().identity_cert());
    if (!identity.ok()) return {EnrolmentVerdict::kNotEnrolled, std::string(identity.status().message())};
    if (NT_GUARD(enrol_key, identity->SpkiSha256() != agent->spki_sha256)) {
      return {EnrolmentVerdict::kNotEnrolled,
              fmt::format("opened with key {}, enrolled is {}", Hex(identity->SpkiSha256()), Hex(agent->spki_sha256))};
    }
    if (std::find(agent->sig_algs.begin(), agent->sig_algs.end(), static_cast<int>(header.sig_alg())) ==
        agent->sig_algs.end()) {
      return {EnrolmentVerdict::kNotEnrolled,
              fmt::format("signature algorithm {} was not enrolled", static_cast<int>(header.sig_alg()))};
    }
  }
  if (agent == nullptr || !NT_GUARD(enrol_revoked, agent->Covers(header.epoch(), header.seq()))) return {};
  if (opens && agent->Readmitted()) return {};
  return {EnrolmentVerdict::kRevoked,
          fmt::format("{} was revoked from {}:{} on by entry {}{}{}", header.agent_id(), agent->from_epoch,
                      agent->from_seq, agent->revoked_index, agent->reason.empty() ? "" : ": ", agent->reason)};
}

void Enrolments::Accept(const v1::BatchHeader& header) {
  const auto it = agents_.find({header.tenant(), header.agent_id()});
  if (it == agents_.end()) return;
  Enrolment& agent = it->second;
  agent.reported = true;
  // Wherever the old key's batches were to end: with the new one it is another matter.
  if (header.seq() != 0 || !agent.Readmitted()) return;
  agent.revoked = false;
  agent.revoked_key.reset();
  agent.reason.clear();
}

const Enrolment* Enrolments::Find(const std::string& tenant, const std::string& agent_id) const {
  const auto it = agents_.find({tenant, agent_id});
  return it == agents_.end() ? nullptr : &it->second;
}

}  // namespace nodetrail::trail
