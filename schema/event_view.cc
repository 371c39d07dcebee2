// SPDX-License-Identifier: Apache-2.0
#include "nodetrail/schema/event_view.h"

#include <fmt/format.h>

#include <charconv>

namespace nodetrail::schema {

const event::v1::Names& EventView::Names() const {
  if (event.has_names()) return event.names();
  if (process != nullptr && process->has_names() && event.has_cred() && process->cred().uid() == event.cred().uid() &&
      process->cred().euid() == event.cred().euid() && process->login_uid() == event.login_uid()) {
    return process->names();
  }
  return event::v1::Names::default_instance();
}

std::string_view EventView::EffectiveUser() const {
  const auto& names = Names();
  if (!names.euser().empty()) return names.euser();
  return event.cred().uid() == event.cred().euid() ? std::string_view(names.user()) : std::string_view();
}

std::string FormatEventId(std::string_view agent_id, uint64_t epoch, uint64_t seq) {
  return fmt::format("{}:{}:{}", agent_id, epoch, seq);
}

std::string FormatEventId(const EventView& view) {
  return FormatEventId(view.facts.agent_id, view.facts.epoch, view.event.seq());
}

std::optional<EventId> ParseEventId(std::string_view text) {
  const size_t second = text.rfind(':');
  if (second == std::string_view::npos || second == 0) return std::nullopt;
  const size_t first = text.rfind(':', second - 1);
  if (first == std::string_view::npos || first == 0) return std::nullopt;
  EventId id;
  id.agent_id = text.substr(0, first);
  const auto number = [](std::string_view part, uint64_t* out) {
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), *out);
    return error == std::errc() && end == part.data() + part.size() && !part.empty();
  };
  if (!number(text.substr(first + 1, second - first - 1), &id.epoch)) return std::nullopt;
  if (!number(text.substr(second + 1), &id.seq)) return std::nullopt;
  return id;
}

}  // namespace nodetrail::schema
