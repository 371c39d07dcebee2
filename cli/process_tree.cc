// SPDX-License-Identifier: Apache-2.0
#include "cli/process_tree.h"

#include <fmt/format.h>

#include <utility>

#include "cli/render.h"
#include "nodetrail/schema/fields.h"
#include "nodetrail/schema/labels.h"
#include "nodetrail/schema/text.h"

namespace nodetrail::cli {
namespace {

namespace ev = event::v1;
using Json = nlohmann::ordered_json;

// Deeper than any real tree; a hostile record can't make us recurse further.
constexpr size_t kMaxDepth = 512;
constexpr int kFullAncestors = 16;

}  // namespace

ProcessTree::ProcessTree(std::string root) : root_(std::move(root)) {}

ProcessTree::Process& ProcessTree::Get(const std::string& uid) {
  auto& process = processes_[uid];
  process.uid = uid;
  return process;
}

void ProcessTree::SetParent(Process* process, const std::string& parent) {
  if (!process->parent.empty() || parent.empty() || parent == process->uid) return;
  process->parent = parent;
  Get(parent).children.push_back(process->uid);
}

void ProcessTree::Add(const schema::EventView& view) {
  const auto& e = view.event;
  if (e.proc_uid().empty()) return;
  const std::string uid = schema::Hex(e.proc_uid());
  Process& process = Get(uid);
  if (view.process != nullptr) {
    const auto& p = *view.process;
    process.known = true;
    process.pid = p.pid();
    // The last image is what it became; the first command is in its exec event.
    process.command = schema::TerminalSafe(schema::CommandLine(p));
    process.exe = p.exe();
    process.person = Person(p, true);
    if (uid == root_ && forebears_.empty()) {
      for (const auto& a : p.ancestors()) {
        forebears_.push_back({schema::Hex(a.proc_uid()), a.pid(), a.exe().empty() ? a.argv0() : a.exe(), a.user()});
      }
    }
    if (p.ancestors_size() >= kFullAncestors || p.ancestors_truncated()) frontier_.insert(uid);
  }
  process.who = Who(view, true);
  if (view.process != nullptr) SetParent(&process, schema::Hex(view.process->parent_uid()));
  if (e.has_fork() && !e.fork().child_uid().empty()) {
    Process& child = Get(schema::Hex(e.fork().child_uid()));
    if (child.pid == 0) child.pid = e.fork().child_pid();
    SetParent(&child, uid);
  }
  Get(uid).acts.push_back({e.t_wall_ns(), std::string(schema::KindLabel(e.kind())), OutcomeText(e),
                           Describe(view, true), schema::EventJsonLine(view)});
}

std::vector<std::string> ProcessTree::TakeFrontier(size_t most) {
  std::vector<std::string> out;
  for (const auto& uid : frontier_) {
    if (out.size() >= most) break;
    if (told_.insert(uid).second) out.push_back(uid);
  }
  for (const auto& uid : out) frontier_.erase(uid);
  return out;
}

void ProcessTree::DrawProcess(const Context& context, const Process& process, const std::string& indent, size_t events,
                              std::set<std::string>* seen, std::string* out) const {
  if (!seen->insert(process.uid).second || seen->size() > 1'000'000 || indent.size() > kMaxDepth * 6) return;
  const bool u = context.unicode();
  const std::string_view bar = u ? "│  " : "|  ";
  const size_t width = context.width();
  const auto line = [&](const std::string& text, std::string_view color) {
    const std::string cut = width == 0 ? text : schema::FitWidth(text, width, u);
    *out += color.empty() ? cut : context.Paint(color, cut);
    *out += "\n";
  };
  std::vector<const Process*> children;
  for (const auto& uid : process.children) {
    if (const auto it = processes_.find(uid); it != processes_.end() && !seen->contains(uid))
      children.push_back(&it->second);
  }
  // Forks whose child is drawn below are told by the child.
  std::vector<const Act*> acts;
  for (const auto& act : process.acts) {
    if (act.kind != "process.fork" || act.outcome != "ok") acts.push_back(&act);
  }
  const size_t shown = events == 0 || acts.size() <= events ? acts.size() : events;
  for (size_t i = 0; i < shown; ++i) {
    const Act& act = *acts[i];
    line(fmt::format("{}{}{} {} {:<15} {}{}", indent, children.empty() ? "   " : bar, u ? "·" : "-",
                     LocalTime(act.wall_ns, false), act.kind, act.outcome == "ok" ? std::string() : act.outcome + " ",
                     act.text),
         act.outcome == "ok" ? "" : "31");
  }
  if (shown < acts.size()) {
    line(fmt::format("{}{}{} {} more; --events 0 shows all", indent, children.empty() ? "   " : bar, u ? "…" : "...",
                     acts.size() - shown),
         "2");
  }
  for (size_t i = 0; i < children.size(); ++i) {
    const Process& child = *children[i];
    const bool last = i + 1 == children.size();
    const std::string head =
        child.known ? fmt::format("{} [{}] {}", child.command, child.pid, child.who) : fmt::format("[{}]", child.pid);
    line(fmt::format("{}{}{}", indent, last ? (u ? "└─ " : "`- ") : (u ? "├─ " : "|- "), head), "");
    DrawProcess(context, child, indent + std::string(last ? "   " : bar), events, seen, out);
  }
}

std::string ProcessTree::Draw(const Context& context, size_t events) const {
  std::string out;
  std::string indent;
  const bool u = context.unicode();
  for (auto it = forebears_.rbegin(); it != forebears_.rend(); ++it) {
    out += fmt::format("{}{}{} [{}] {}\n", indent,
                       indent.empty() ? ""
                       : u            ? "└─ "
                                      : "`- ",
                       schema::TerminalSafe(it->exe), it->pid, schema::TerminalSafe(it->user));
    indent += indent.empty() && it == forebears_.rbegin() ? "" : "   ";
  }
  const auto root = processes_.find(root_);
  if (root == processes_.end()) return out;
  const auto& p = root->second;
  out += indent + (forebears_.empty() ? "" : u ? "└─ " : "`- ");
  out += context.Paint("1", fmt::format("{} [{}] {}", p.command.empty() ? "?" : p.command, p.pid, p.who)) +
         context.Paint("2", "  " + p.uid) + "\n";
  if (!p.person.empty()) {
    const std::string text = indent + (forebears_.empty() ? "   " : "      ") + "by: " + p.person;
    out += context.Paint("33", context.width() == 0 ? text : schema::FitWidth(text, context.width(), u)) + "\n";
  }
  std::set<std::string> seen;
  DrawProcess(context, p, indent + (forebears_.empty() ? "" : "   "), events, &seen, &out);
  return out;
}

Json ProcessTree::ProcessJson(const Process& process, std::set<std::string>* seen) const {
  Json out;
  out["proc_uid"] = process.uid;
  out["pid"] = process.pid;
  out["exe"] = schema::EscapeInvalidUtf8(process.exe);
  out["command"] = process.command;
  out["person"] = process.person.empty() ? Json(nullptr) : Json(process.person);
  out["events"] = Json::array();
  for (const auto& act : process.acts)
    out["events"].push_back(Json::parse(act.json, nullptr, /*allow_exceptions=*/false));
  out["children"] = Json::array();
  for (const auto& uid : process.children) {
    const auto it = processes_.find(uid);
    if (it != processes_.end() && seen->insert(uid).second && seen->size() < 100'000) {
      out["children"].push_back(ProcessJson(it->second, seen));
    }
  }
  return out;
}

Json ProcessTree::ToJson() const {
  Json out;
  out["ancestors"] = Json::array();
  for (const auto& a : forebears_) {
    out["ancestors"].push_back({{"proc_uid", a.uid},
                                {"pid", a.pid},
                                {"exe", schema::EscapeInvalidUtf8(a.exe)},
                                {"user", schema::EscapeInvalidUtf8(a.user)}});
  }
  std::set<std::string> seen = {root_};
  const auto root = processes_.find(root_);
  out["process"] = root == processes_.end() ? Json(nullptr) : ProcessJson(root->second, &seen);
  return out;
}

}  // namespace nodetrail::cli
