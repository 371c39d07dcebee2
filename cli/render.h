// SPDX-License-Identifier: Apache-2.0
//
// Events as lines for people. Every text of the observed passes through
// schema::TerminalSafe before it gets here into a line.
#ifndef NODETRAIL_CLI_RENDER_H_
#define NODETRAIL_CLI_RENDER_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "cli/context.h"
#include "nodetrail/schema/event_view.h"

namespace nodetrail::cli {

// What happened, in one line without the actor's name: "/etc/shadow",
// "curl → 192.0.2.7:443", "uid 1000→0 by setuid".
[[nodiscard]] std::string Describe(const schema::EventView& view, bool unicode);
// Who: the effective user, with the login user before it when another person
// logged in ("alice→root"); ids where no name is known.
[[nodiscard]] std::string Who(const schema::EventView& view, bool unicode);
// Who is behind a process, one step after the other: "ssh from 192.0.2.7, alice → root by sudo su - bob → bob by su".
// Empty where nothing is known. Safe for a terminal.
[[nodiscard]] std::string Person(const event::v1::Process& process, bool unicode);
// "ok", or the errno's name.
[[nodiscard]] std::string OutcomeText(const event::v1::Event& event);
// The last component of a path.
[[nodiscard]] std::string_view BaseName(std::string_view path);
// "[pid 12] comm" of the actor: its command line, or what is known of it.
[[nodiscard]] std::string Program(const schema::EventView& view);

// Local time of the terminal, milliseconds: "2026-01-31 10:20:30.123".
[[nodiscard]] std::string LocalTime(uint64_t wall_ns, bool with_date);

// The table of query and tail: fixed columns, so that rows can be printed as
// they come; the last takes the rest of the terminal's width.
class Table {
 public:
  explicit Table(const Context& context);
  [[nodiscard]] std::string Header() const;
  [[nodiscard]] std::string Line(const schema::EventView& view) const;

 private:
  const Context& context_;
  bool with_date_ = true;
  bool with_id_ = true;
  size_t node_ = 14, user_ = 14, kind_ = 15, outcome_ = 12, what_ = 0;
};

}  // namespace nodetrail::cli

#endif  // NODETRAIL_CLI_RENDER_H_
