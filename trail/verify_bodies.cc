// SPDX-License-Identifier: Apache-2.0
#include "trail/verify_bodies.h"

#include <string>
#include <utility>

#include "nodetrail/trail/body.h"
#include "trail/verify_evicted.h"

namespace nodetrail::trail {

Status BodiesCheck::Take(AgentState* agent, const v1::BatchHeader& header, const LeafLocation& where) {
  if (header.body_codec() == v1::BODY_CODEC_NONE) return OkStatus();
  const Hash hash = *HashFromBytes(header.body_sha256());
  const auto bad = [&](std::string_view why) {
    findings_->Add(FindingKind::kTamper, reason::kBody, std::string(why), BatchName(header), &where, BodyPath(hash));
    return OkStatus();
  };
  const bool in_scope = scope_ == nullptr || scope_->Has(header);
  if (in_scope) ++in_scope_;
  auto stored = reader_->Body(hash);
  if (!stored.ok()) {
    const Code code = stored.status().code();
    if (code == Code::kNotFound && !in_scope) {
      ++absent_outside_;
      return OkStatus();
    }
    if (code == Code::kNotFound) return TakeEvicted(agent, header, where);
    if (code == Code::kDataLoss || code == Code::kResourceExhausted) return bad(stored.status().message());
    return std::move(stored).status();
  }
  const auto batch = OpenBody(*stored, header);
  if (!batch.ok()) return bad(batch.status().message());
  ++checked_;
  for (const std::string& record : batch->events()) {
    const auto brief = PeekEvent(record);
    if (!brief || (brief->kind != event::v1::KIND_AGENT_LOSS && brief->kind != event::v1::KIND_AGENT_GAP)) continue;
    event::v1::Event event;
    if (event.ParseFromString(record)) chains_->Declare(agent, header, event, where);
  }
  return OkStatus();
}

Status BodiesCheck::TakeEvicted(AgentState* agent, const v1::BatchHeader& header, const LeafLocation& where) {
  NT_ASSIGN_OR_RETURN(const EvictedBody said,
                      CheckEvictedBody(*reader_, cas_, header, agent->chain.state().head.batch_hash, where,
                                       &agent->coverage, findings_));
  if (said == EvictedBody::kNotSaid) retired_->Missing(agent, header, where);
  if (said != EvictedBody::kDeclared) return OkStatus();
  ++evicted_;
  agent->timeline.Declare(TimeOf(header).from_ns, TimeOf(header).to_ns);
  return OkStatus();
}

}  // namespace nodetrail::trail
