// SPDX-License-Identifier: Apache-2.0
#include "collector/admin/admin_handler.h"

#include <fmt/format.h>

#include <utility>

#include "collector/admin/admin_socket.h"
#include "nodetrail/base/log.h"

namespace nodetrail::collector {
namespace {

constexpr size_t kMaxReasonBytes = 256;

}  // namespace

Result<enrol::v1::AdminResponse> AdminHandler::Handle(const enrol::v1::AdminRequest& request, uid_t uid) {
  using enrol::v1::AdminRequest;
  enrol::v1::AdminResponse response;
  if (request.request_case() == AdminRequest::kRevokeAgent) {
    NT_ASSIGN_OR_RETURN(*response.mutable_revoke_agent(), RevokeAgent(request.revoke_agent()));
    return response;
  }
  switch (request.request_case()) {
    case AdminRequest::kAddHold: {
      NT_ASSIGN_OR_RETURN(*response.mutable_add_hold(), holds_.Add(request.add_hold(), PersonOf(uid)));
      return response;
    }
    case AdminRequest::kListHolds: *response.mutable_list_holds() = holds_.List(); return response;
    case AdminRequest::kReleaseHold: {
      NT_ASSIGN_OR_RETURN(*response.mutable_release_hold(), holds_.Release(request.release_hold(), PersonOf(uid)));
      return response;
    }
    default: break;
  }
  if (tokens_ == nullptr) {
    return FailedPrecondition("this collector does not enrol agents; add the block enrol to its configuration");
  }
  switch (request.request_case()) {
    case AdminRequest::kCreateToken: {
      const auto& ask = request.create_token();
      NT_ASSIGN_OR_RETURN(*response.mutable_create_token(), tokens_->Create(ask.agent_pattern(), ask.ttl_seconds()));
      const enrol::v1::Token& token = response.create_token().info();
      log::Info(fmt::format("enrol: token {} made for {}", token.id(), token.agent_pattern()));
      return response;
    }
    case AdminRequest::kListTokens:
      for (enrol::v1::Token& token : tokens_->List()) *response.mutable_list_tokens()->add_tokens() = std::move(token);
      return response;
    case AdminRequest::kRevokeToken:
      NT_RETURN_IF_ERROR(tokens_->Revoke(request.revoke_token().id()));
      log::Info(fmt::format("enrol: token {} revoked", request.revoke_token().id()));
      response.mutable_revoke_token();
      return response;
    default: return InvalidArgument("admin: a request that this version does not know");
  }
}

Result<enrol::v1::RevokeAgentResponse> AdminHandler::RevokeAgent(const enrol::v1::RevokeAgentRequest& request) {
  if (!trail::ValidId(request.agent_id())) return InvalidArgument("revoke: not a legal agent id");
  if (request.reason().size() > kMaxReasonBytes) {
    return InvalidArgument(fmt::format("revoke: the reason has more than {} bytes", kMaxReasonBytes));
  }
  if (request.epoch() == 0 && request.effective_seq() != 0) {
    return InvalidArgument("revoke: a batch number needs its epoch");
  }
  trail::v1::LogEntry entry;
  trail::v1::Revoke* revoke = entry.mutable_revoke();
  revoke->set_agent_id(request.agent_id());
  revoke->set_epoch(request.epoch());
  revoke->set_effective_seq(request.effective_seq());
  revoke->set_reason(request.reason());
  enrol::v1::RevokeAgentResponse response;
  const auto prepare = [&response](const Committer::Before& before, trail::v1::LogEntry* to) -> Status {
    const trail::ChainHead* chain = before.chain;
    trail::v1::Revoke* r = to->mutable_revoke();
    if (chain == nullptr && before.enrolments.Find(to->tenant(), r->agent_id()) == nullptr) {
      return NotFound(fmt::format("revoke: no agent {} in this log; nodetrail agents shows them", r->agent_id()));
    }
    if (r->epoch() == 0) {
      r->set_epoch(chain != nullptr ? chain->epoch : 1);
      r->set_effective_seq(chain != nullptr ? chain->seq + 1 : 0);
    }
    response.set_epoch(r->epoch());
    response.set_effective_seq(r->effective_seq());
    return OkStatus();
  };
  NT_ASSIGN_OR_RETURN(const uint64_t index, committer_->EnterAndWait(std::move(entry), prepare));
  response.set_log_index(index);
  log::Warn(fmt::format("enrol: {} is revoked from {}:{} on, by entry {}: {}", request.agent_id(), response.epoch(),
                        response.effective_seq(), index, request.reason()));
  return response;
}

}  // namespace nodetrail::collector
