// SPDX-License-Identifier: Apache-2.0
//
// An event as a reader sees it: the record the agent wrote, the process that
// acted, and where in the trail both are. A view owns nothing.
#ifndef NODETRAIL_SCHEMA_EVENT_VIEW_H_
#define NODETRAIL_SCHEMA_EVENT_VIEW_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "nodetrail/event/v1/event.pb.h"

namespace nodetrail::schema {

// 4294967295 in login_uid and session_id: never set.
inline constexpr uint32_t kUnsetId = 0xffffffffU;

// What the trail says about a row beside its record.
struct RowFacts {
  std::string agent_id;
  std::string tenant;
  std::string hostname;  // of the host record; empty if none is known
  uint64_t epoch = 0;
  uint64_t batch_seq = 0;
  uint64_t log_index = 0;
  uint64_t received_wall_ns = 0;
};

struct EventView {
  const event::v1::Event& event;
  const event::v1::Process* process;  // the actor; nullptr if none is known
  const RowFacts& facts;

  // The host name, or the agent's id where no host record is known.
  [[nodiscard]] std::string_view Node() const {
    return facts.hostname.empty() ? std::string_view(facts.agent_id) : std::string_view(facts.hostname);
  }
  // Names at event time; those of the process entry where the event has none
  // and its ids are the same; else empty ones.
  [[nodiscard]] const event::v1::Names& Names() const;
  // Name of the effective user, also where it equals the real one.
  [[nodiscard]] std::string_view EffectiveUser() const;
  // The event was caused by a process (not by the agent itself).
  [[nodiscard]] bool HasActor() const { return !event.proc_uid().empty() || event.has_cred(); }
};

// An address of an event: AGENT:EPOCH:SEQ.
struct EventId {
  std::string agent_id;
  uint64_t epoch = 0;
  uint64_t seq = 0;
};
[[nodiscard]] std::string FormatEventId(std::string_view agent_id, uint64_t epoch, uint64_t seq);
[[nodiscard]] std::string FormatEventId(const EventView& view);
// nullopt unless three non-empty parts, the last two decimal numbers.
[[nodiscard]] std::optional<EventId> ParseEventId(std::string_view text);

// The JSON object of docs/query.md "JSON". Strings are valid UTF-8; bytes that
// were not get an extra "<field>_b64".
[[nodiscard]] nlohmann::ordered_json EventJson(const EventView& view);
// One line without the line feed, pure of raw control characters (also C1 and DEL).
[[nodiscard]] std::string EventJsonLine(const EventView& view);
// As EventJsonLine does, for any document that may hold bytes of the observed.
[[nodiscard]] std::string DumpSafe(const nlohmann::ordered_json& json, int indent = -1);

}  // namespace nodetrail::schema

#endif  // NODETRAIL_SCHEMA_EVENT_VIEW_H_
