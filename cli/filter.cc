// SPDX-License-Identifier: Apache-2.0
#include "cli/filter.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "collector/query/expr/expr.h"

namespace nodetrail::cli {
namespace {

std::string Alternatives(std::string_view field, const std::vector<std::string>& values) {
  std::string out;
  for (const auto& value : values) out += fmt::format("{}{}:{}", out.empty() ? "" : " or ", field, expr::Quote(value));
  return values.size() > 1 ? fmt::format("({})", out) : out;
}

}  // namespace

void Filter::AddTo(CLI::App* command) {
  command->add_option("--node", nodes, "host name or agent id; wildcards")->type_name("NODE")->allow_extra_args(false);
  command
      ->add_option("--user", users,
                   "acting user or the one who logged in, by name or id: alice acting as root is found")
      ->type_name("USER")
      ->allow_extra_args(false);
  command->add_option("--kind", kinds, "process.exec, file.*, net.connect, ...")
      ->type_name("KIND")
      ->allow_extra_args(false);
  command->add_option("--path", paths, "/etc/shadow, /etc/* or a file name")
      ->type_name("PATH")
      ->allow_extra_args(false);
  command->add_option("--addr", addresses, "192.0.2.7 or 10.0.0.0/8, either end")
      ->type_name("ADDR")
      ->allow_extra_args(false);
  command->add_option("terms", terms, "further terms: field:value, words, and or not ( )")->type_name("TERM");
}

Result<std::string> Filter::Expression(uint64_t now_ns) const {
  std::string out;
  const auto add = [&out](const std::string& part) {
    if (!part.empty()) out += (out.empty() ? "" : " and ") + part;
  };
  add(Alternatives("node", nodes));
  add(Alternatives("user", users));
  add(Alternatives("kind", kinds));
  add(Alternatives("path", paths));
  add(Alternatives("addr", addresses));
  // The shell has split what was typed, so `a or b` comes as three words; but
  // one that is an alternative in itself ("a or b", quoted) stays together.
  std::string typed;
  for (const auto& term : terms) {
    const auto alone = expr::Parse(term, now_ns);
    const bool group = alone.ok() && alone->kind == expr::Node::Kind::kOr;
    typed += fmt::format("{}{}", typed.empty() ? "" : " ", group ? fmt::format("({})", term) : term);
  }
  if (!typed.empty()) {
    // Checked as it was typed, so that the caret is where the user looks.
    NT_RETURN_IF_ERROR(expr::Parse(typed, now_ns).status());
    add(out.empty() ? typed : fmt::format("({})", typed));
  }
  NT_RETURN_IF_ERROR(expr::Parse(out, now_ns).status());
  return out;
}

}  // namespace nodetrail::cli
