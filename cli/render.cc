// SPDX-License-Identifier: Apache-2.0
#include "cli/render.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <utility>
#include <vector>

#include "nodetrail/schema/fields.h"
#include "nodetrail/schema/labels.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::cli {
namespace {

namespace ev = event::v1;
using schema::TerminalSafe;

constexpr std::string_view kDim = "2";
constexpr std::string_view kRed = "31";
constexpr std::string_view kYellow = "33";
constexpr std::string_view kBold = "1";

std::string EndpointText(const ev::Endpoint& endpoint) {
  const std::string ip = schema::FormatIp(endpoint.ip());
  if (ip.empty()) return "?";
  return ip.find(':') != std::string::npos ? fmt::format("[{}]:{}", ip, endpoint.port())
                                           : fmt::format("{}:{}", ip, endpoint.port());
}

std::string_view Arrow(bool unicode) { return unicode ? "→" : "->"; }

std::string CredText(const ev::Event& e, bool unicode) {
  std::string out;
  const auto& before = e.cred_change().before();
  const auto& after = e.cred();
  const auto add = [&](std::string_view name, uint32_t from, uint32_t to) {
    if (from != to) out += fmt::format("{}{} {}{}{}", out.empty() ? "" : ", ", name, from, Arrow(unicode), to);
  };
  add("uid", before.uid(), after.uid());
  add("euid", before.euid(), after.euid());
  add("suid", before.suid(), after.suid());
  add("gid", before.gid(), after.gid());
  add("egid", before.egid(), after.egid());
  if (before.caps().effective() != after.caps().effective()) {
    out += fmt::format("{}caps {:x}{}{:x}", out.empty() ? "" : ", ", before.caps().effective(), Arrow(unicode),
                       after.caps().effective());
  }
  if (out.empty() && !e.outcome().success()) out = "refused";
  // What else a record can be about: it exists only because something changed.
  if (out.empty()) {
    out =
        e.cred_change().cause() == ev::CRED_CAUSE_SETGROUPS ? "supplementary groups replaced" : "other fields changed";
  }
  return fmt::format("{} by {}", out, schema::CredCauseLabel(e.cred_change().cause()));
}

std::string AgentText(const ev::Event& e) {
  const auto& a = e.agent();
  switch (e.kind()) {
    case ev::KIND_AGENT_START:
      return fmt::format("{} {}{}", TerminalSafe(a.version()), TerminalSafe(a.reason()),
                         a.clean() ? "" : " (the last run did not end in order)");
    case ev::KIND_AGENT_STOP: return TerminalSafe(a.reason());
    case ev::KIND_AGENT_LOSS:
      return fmt::format("lost {} {} events at {}", a.count(), TerminalSafe(a.kind()), TerminalSafe(a.stage()));
    case ev::KIND_AGENT_GAP:
      return fmt::format("nothing observed from {} to {}", LocalTime(a.from_wall_ns(), true),
                         LocalTime(a.to_wall_ns(), true));
    case ev::KIND_AGENT_HEARTBEAT: return fmt::format("{} events, {} lost", a.events_total(), a.lost_total());
    case ev::KIND_AGENT_FILTERED: {
      uint64_t count = 0;
      for (const auto& f : a.filtered()) count += f.count();
      return fmt::format("{} events withheld by {} rules", count, a.filtered_size());
    }
    case ev::KIND_AGENT_COVERAGE: {
      int attached = 0;
      for (const auto& hook : a.hooks()) attached += hook.state() == "attached" || hook.state() == "fallback" ? 1 : 0;
      return fmt::format("{} of {} hooks attached, scope {}", attached, a.hooks_size(), TerminalSafe(a.scope()));
    }
    case ev::KIND_AGENT_SELFTEST: {
      std::map<std::string, std::vector<std::string>> by_state;
      for (const auto& domain : a.domains()) {
        by_state[TerminalSafe(domain.state())].push_back(TerminalSafe(domain.domain()));
      }
      std::vector<std::string> parts;
      for (const auto& [state, domains] : by_state)
        parts.push_back(fmt::format("{}: {}", state, fmt::join(domains, ", ")));
      return fmt::format("{}", fmt::join(parts, "; "));
    }
    case ev::KIND_AGENT_TAMPER: {
      const auto& tamper = a.tamper();
      return fmt::format("{} of the agent: {} {}{}", TerminalSafe(tamper.object()), TerminalSafe(tamper.what()),
                         TerminalSafe(tamper.target()), tamper.restored() ? " (put back)" : "");
    }
    default: return {};
  }
}

std::string ExitText(const ev::ExitEvent& exit) {
  std::string out = exit.signal() != 0 ? fmt::format("killed by signal {}{}", exit.signal(),
                                                     exit.core_dumped() ? " (core dumped)" : "")
                                       : fmt::format("exit {}", exit.exit_code());
  if (exit.duration_ns() != 0) out += fmt::format(" after {}", schema::FormatDuration(exit.duration_ns()));
  return out;
}

std::string PathText(const ev::Path& path) {
  if (!path.path().empty()) return TerminalSafe(path.path());
  return path.user_string().empty() ? std::string("?") : TerminalSafe(path.user_string());
}

// Padded to `columns`, cut if longer (not if columns is 0).
std::string Cell(std::string_view text, size_t columns, bool unicode) {
  std::string out = schema::FitWidth(text, columns, unicode);
  const size_t width = schema::DisplayWidth(out);
  if (width < columns) out.append(columns - width, ' ');
  return out;
}

std::string OwnerText(uint32_t id) { return id == schema::kUnsetId ? "" : fmt::format("{}", id); }

// What a change of attributes asked for, and what was before where that is known.
std::string ChangeText(const ev::FileEvent& file, bool unicode) {
  std::string out;
  const auto& asked = file.requested();
  if (asked.has_mode()) {
    out += " mode ";
    if (file.has_before()) out += fmt::format("{:04o} {} ", file.before().mode() & 07777U, Arrow(unicode));
    out += fmt::format("{:04o}", asked.mode() & 07777U);
  }
  if (asked.has_uid()) {
    out += " owner ";
    if (file.has_before()) out += fmt::format("{}:{} {} ", file.before().uid(), file.before().gid(), Arrow(unicode));
    out += fmt::format("{}:{}", OwnerText(asked.uid()), OwnerText(asked.gid()));
  }
  if (asked.has_size()) {
    out += " size ";
    if (file.has_before()) out += fmt::format("{} {} ", file.before().size(), Arrow(unicode));
    out += fmt::format("{}", asked.size());
  }
  if (!file.xattr().empty()) out += " " + TerminalSafe(file.xattr());
  if (!file.link_target().empty()) out += fmt::format(" {} {}", Arrow(unicode), TerminalSafe(file.link_target()));
  return out;
}

std::string CallText(const ev::CallEvent& call, bool unicode) {
  std::string out = TerminalSafe(call.syscall());
  const auto word = [&out](const std::string& text) {
    if (!text.empty()) out += " " + text;
  };
  word(TerminalSafe(call.operation()));
  if (call.target_pid() != 0) {
    word(fmt::format("pid {}", call.target_pid()));
    if (!call.target_exe().empty()) word(fmt::format("({})", TerminalSafe(BaseName(call.target_exe()))));
  }
  if (call.has_source()) word(PathText(call.source()) + " " + std::string(Arrow(unicode)));
  if (call.has_path()) word(PathText(call.path()));
  word(TerminalSafe(call.text()));
  return out;
}

std::string SocketText(const ev::Event& e, bool unicode) {
  const auto& net = e.net();
  std::string out;
  const auto word = [&out](std::string_view text) {
    if (!text.empty()) out += (out.empty() ? "" : " ") + TerminalSafe(text);
  };
  if (e.kind() == ev::KIND_NET_UNIX_CONNECT) out = Arrow(unicode);
  word(net.family());
  word(net.protocol());
  if (net.socket_type() != "raw" || net.family() == "packet") word(net.socket_type());
  if (net.has_local()) word(EndpointText(net.local()));
  if (net.has_path()) out += " " + PathText(net.path());
  // As ss(8) has it: @ for the NUL of an abstract name.
  if (!net.abstract_name().empty()) word("@" + net.abstract_name().substr(1));
  if (e.kind() == ev::KIND_NET_LISTEN) out += fmt::format(", backlog {}", net.backlog());
  if (net.has_peer()) {
    const auto& peer = net.peer();
    const std::string exe = peer.exe().empty() ? std::string("?") : TerminalSafe(BaseName(peer.exe()));
    out += fmt::format(", {} (pid {}, uid {})", exe, peer.pid(), peer.uid());
  }
  return out;
}

}  // namespace

std::string_view BaseName(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos || slash + 1 == path.size() ? path : path.substr(slash + 1);
}

std::string Program(const schema::EventView& view) {
  if (view.process == nullptr) return "?";
  const auto& p = *view.process;
  if (!p.exe().empty()) return TerminalSafe(BaseName(p.exe()));
  if (!p.comm().empty()) return TerminalSafe(p.comm());
  return fmt::format("pid {}", p.pid());
}

std::string Describe(const schema::EventView& view, bool unicode) {
  const auto& e = view.event;
  const std::string program = view.HasActor() ? Program(view) : std::string();
  switch (e.body_case()) {
    case ev::Event::kExec: return view.process == nullptr ? "?" : TerminalSafe(schema::CommandLine(*view.process));
    case ev::Event::kFork: return fmt::format("{} {} pid {}", program, Arrow(unicode), e.fork().child_pid());
    case ev::Event::kExit: return fmt::format("{}: {}", program, ExitText(e.exit()));
    case ev::Event::kCredChange: return fmt::format("{}: {}", program, CredText(e, unicode));
    case ev::Event::kFile: {
      std::string out = fmt::format("{}: {}", program, PathText(e.file().path()));
      if (e.file().has_new_path()) out += fmt::format(" {} {}", Arrow(unicode), PathText(e.file().new_path()));
      return out + ChangeText(e.file(), unicode);
    }
    case ev::Event::kCall: return fmt::format("{}: {}", program, CallText(e.call(), unicode));
    case ev::Event::kNet: {
      if (!schema::KindIsConnection(e.kind())) return fmt::format("{}: {}", program, SocketText(e, unicode));
      const bool inbound = e.net().direction() == "inbound";
      std::string out = fmt::format("{} {} {}", program, inbound ? (unicode ? "←" : "<-") : Arrow(unicode),
                                    EndpointText(e.net().remote()));
      if (inbound && e.net().has_local()) out += fmt::format(" on port {}", e.net().local().port());
      if (e.kind() == ev::KIND_NET_CLOSE) {
        out +=
            fmt::format(", {} out, {} in, {}", schema::FormatBytes(e.net().bytes_sent()),
                        schema::FormatBytes(e.net().bytes_received()), schema::FormatDuration(e.net().duration_ns()));
      }
      return out;
    }
    case ev::Event::kAgent: return AgentText(e);
    default: return view.process == nullptr ? program : TerminalSafe(schema::CommandLine(*view.process));
  }
}

std::string Who(const schema::EventView& view, bool unicode) {
  const auto& e = view.event;
  if (!view.HasActor()) return "-";
  const auto name = [](std::string_view text, uint32_t id) {
    return text.empty() ? fmt::format("{}", id) : TerminalSafe(text);
  };
  const auto& names = view.Names();
  std::string now = e.has_cred() ? name(view.EffectiveUser(), e.cred().euid()) : std::string("?");
  std::string first;
  if (e.login_uid() != schema::kUnsetId && (!e.has_cred() || e.login_uid() != e.cred().euid())) {
    first = name(names.login_user(), e.login_uid());
  } else if (e.has_cred() && e.cred().uid() != e.cred().euid()) {
    first = name(names.user(), e.cred().uid());
  }
  return first.empty() || first == now ? now : fmt::format("{}{}{}", first, Arrow(unicode), now);
}

std::string Person(const ev::Process& process, bool unicode) {
  const auto name = [](std::string_view text, uint32_t id) {
    return text.empty() ? fmt::format("{}", id) : TerminalSafe(text);
  };
  std::string out;
  if (process.has_entry()) {
    out = TerminalSafe(process.entry().kind());
    if (process.has_login()) out += " from " + schema::FormatIp(process.login().source().ip());
  }
  bool first = true;
  for (const auto& link : process.elevation()) {
    if (first) out += (out.empty() ? "" : ", ") + name(link.from_user(), link.from_uid());
    first = false;
    std::string_view tool = link.tool();
    tool.remove_prefix(tool.rfind('/') + 1);
    std::string command = tool.empty() ? "a tool that was not seen" : TerminalSafe(tool);
    for (const auto& arg : link.command()) command += " " + TerminalSafe(arg);
    if (link.command_truncated()) command += unicode ? " …" : " ...";
    out += fmt::format(" {} {} by {}", Arrow(unicode), name(link.to_user(), link.to_uid()), command);
  }
  return out;
}

std::string OutcomeText(const ev::Event& event) {
  if (event.outcome().success()) return "ok";
  return event.outcome().error() > 0 ? ErrnoName(event.outcome().error())
                                     : std::string(event.has_agent() ? "ok" : "failed");
}

std::string LocalTime(uint64_t wall_ns, bool with_date) {
  const auto seconds = static_cast<time_t>(wall_ns / 1'000'000'000);
  struct tm tm {};
  if (localtime_r(&seconds, &tm) == nullptr) return fmt::format("@{}", seconds);
  const std::string time =
      fmt::format("{:02}:{:02}:{:02}.{:03}", tm.tm_hour, tm.tm_min, tm.tm_sec, wall_ns / 1'000'000 % 1000);
  return with_date ? fmt::format("{:04}-{:02}-{:02} {}", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, time) : time;
}

Table::Table(const Context& context) : context_(context) {
  const size_t width = context.width();
  if (width == 0) return;  // not a terminal: whole texts, one space apart
  with_date_ = width >= 110;
  with_id_ = width >= 150;
  if (width < 90) node_ = 8, user_ = 10;
  const size_t used = (with_date_ ? 23 : 12) + node_ + user_ + kind_ + outcome_ + 10 + (with_id_ ? 24 : 0);
  what_ = width > used + 16 ? width - used : 16;
}

std::string Table::Header() const {
  const bool u = context_.unicode();
  std::string out = fmt::format("{}  {}  {}  {}  {}  {}", Cell("TIME", with_date_ ? 23 : 12, u), Cell("NODE", node_, u),
                                Cell("USER", user_, u), Cell("KIND", kind_, u), Cell("OUTCOME", outcome_, u),
                                what_ != 0 ? Cell("WHAT", with_id_ ? what_ : 4, u) : std::string("WHAT"));
  if (with_id_) out += what_ != 0 ? " ID" : "  ID";
  return context_.Paint(kBold, out) + "\n";
}

std::string Table::Line(const schema::EventView& view) const {
  const bool u = context_.unicode();
  const bool cut = context_.width() != 0;
  const auto cell = [&](std::string_view text, size_t columns) {
    return Cell(text, cut ? columns : std::max(columns, schema::DisplayWidth(text)), u);
  };
  const std::string outcome = OutcomeText(view.event);
  const bool failed = outcome != "ok";
  const bool loss = view.event.kind() == ev::KIND_AGENT_LOSS || view.event.kind() == ev::KIND_AGENT_GAP;
  std::string what = Describe(view, u);
  if (cut) what = with_id_ ? cell(what, what_) : schema::FitWidth(what, what_, u);
  std::string out = context_.Paint(kDim, LocalTime(view.event.t_wall_ns(), with_date_));
  out += "  " + cell(TerminalSafe(view.Node()), node_) + "  " + cell(Who(view, u), user_) + "  ";
  out += context_.Paint(loss ? kYellow : "36", cell(schema::KindLabel(view.event.kind()), kind_)) + "  ";
  out += failed ? context_.Paint(kRed, cell(outcome, outcome_)) : context_.Paint(kDim, cell(outcome, outcome_));
  out += "  " + (failed ? context_.Paint(kRed, what) : what);
  if (with_id_) out += (cut ? " " : "  ") + context_.Paint(kDim, TerminalSafe(schema::FormatEventId(view)));
  return out + "\n";
}

}  // namespace nodetrail::cli
