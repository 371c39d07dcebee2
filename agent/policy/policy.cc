// SPDX-License-Identifier: Apache-2.0
#include "agent/policy/policy.h"

#include <array>
#include <utility>

#include "agent/decode/acts.h"
#include "nodetrail/schema/labels.h"

namespace nodetrail::agent {
namespace {

// Counters only grow; one that shrank is of another source and starts over.
uint64_t Delta(uint64_t before, uint64_t now) { return now >= before ? now - before : now; }

constexpr std::array<std::string_view, NT_SELF_MAX> kSelfRules = {"", "self.agent", "self.companion", "self.canary"};

// By the label that abi/acts.h gives: the schema knows the number.
event::v1::Kind KindOfAct(uint16_t type) {
  static const auto kKinds = [] {
    std::array<event::v1::Kind, NT_TYPE_MAX> kinds{};
    for (const ActType& act : ActTypes()) {
      kinds[act.type] = schema::ParseKind(act.kind).value_or(event::v1::KIND_UNSPECIFIED);
    }
    return kinds;
  }();
  return type < kKinds.size() ? kKinds[type] : event::v1::KIND_UNSPECIFIED;
}

}  // namespace

event::v1::Kind KindOfType(uint16_t type) {
  switch (type) {
    case NT_EXEC: return event::v1::KIND_PROCESS_EXEC;
    case NT_FORK: return event::v1::KIND_PROCESS_FORK;
    case NT_EXIT: return event::v1::KIND_PROCESS_EXIT;
    case NT_CRED: return event::v1::KIND_CRED_CHANGE;
    case NT_FILE_OPEN: return event::v1::KIND_FILE_OPEN;
    case NT_FILE_DENIED: return event::v1::KIND_FILE_DENIED;
    case NT_NET_CONNECT: return event::v1::KIND_NET_CONNECT;
    case NT_NET_ACCEPT: return event::v1::KIND_NET_ACCEPT;
    case NT_NET_CLOSE: return event::v1::KIND_NET_CLOSE;
    case NT_NET_BIND: return event::v1::KIND_NET_BIND;
    case NT_NET_LISTEN: return event::v1::KIND_NET_LISTEN;
    case NT_NET_UNIX_CONNECT: return event::v1::KIND_NET_UNIX_CONNECT;
    case NT_NET_RAW_SOCKET: return event::v1::KIND_NET_RAW_SOCKET;
    case NT_NET_PACKET_SOCKET: return event::v1::KIND_NET_PACKET_SOCKET;
    default: return KindOfAct(type);
  }
}

void Policy::CountWithheld(const nt_cpu_stats& before, const nt_cpu_stats& now) {
  for (size_t cls = 1; cls < NT_SELF_MAX; ++cls) {
    for (size_t type = 0; type < NT_TYPE_MAX; ++type) {
      const uint64_t delta = Delta(before.self[cls][type], now.self[cls][type]);
      self_[cls][type] += delta;
      withheld_total_ += delta;
    }
  }
  const uint64_t delta = Delta(before.out_of_scope, now.out_of_scope);
  out_of_scope_ += delta;
  withheld_total_ += delta;
}

void Policy::Withhold(nt_self_class cls, uint16_t type) {
  ++self_[cls % NT_SELF_MAX][type % NT_TYPE_MAX];
  ++withheld_total_;
}

std::vector<event::v1::CountByRule> Policy::TakeWithheld() {
  std::vector<event::v1::CountByRule> out;
  const auto add = [&out](std::string_view rule, std::string_view kind, uint64_t count) {
    event::v1::CountByRule entry;
    entry.set_rule(std::string(rule));
    entry.set_kind(std::string(kind));
    entry.set_count(count);
    out.push_back(std::move(entry));
  };
  for (size_t cls = 1; cls < NT_SELF_MAX; ++cls) {
    for (size_t type = 0; type < NT_TYPE_MAX; ++type) {
      uint64_t& count = self_[cls][type];
      if (count == 0) continue;
      const event::v1::Kind kind = KindOfType(static_cast<uint16_t>(type));
      add(kSelfRules[cls], kind == event::v1::KIND_UNSPECIFIED ? "" : schema::KindLabel(kind), std::exchange(count, 0));
    }
  }
  if (out_of_scope_ != 0) add("scope.process_tree", "", std::exchange(out_of_scope_, 0));
  return out;
}

}  // namespace nodetrail::agent
